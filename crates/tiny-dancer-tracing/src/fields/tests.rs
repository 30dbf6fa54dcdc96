use super::*;

#[test]
fn docs_spans_md_is_generated_from_this_module() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/spans.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, markdown()).unwrap();
    }
    assert!(
        std::fs::read_to_string(path).unwrap() == markdown(),
        "docs/spans.md is out of date: see its first lines"
    );
}

#[test]
fn keys_are_sorted_unique_and_used() {
    assert!(ALL.is_sorted_by(|a, b| a.key < b.key));
    let used = |key| {
        SPANS.iter().chain([&ROUTING_DECISION]).any(|span| span.fields.contains(&key))
            || LINES.iter().any(|line| line.fields.contains(&key))
    };
    for field in ALL {
        assert!(used(field.key), "{}", field.key);
    }
}

#[test]
fn every_key_that_is_listed_exists() {
    let spans = SPANS.iter().chain([&ROUTING_DECISION]);
    let listed = spans.flat_map(|span| span.fields).chain(LINES.iter().flat_map(|line| line.fields));
    for key in listed {
        assert!(ALL.iter().any(|field| field.key == *key), "{key}");
    }
}

/// Log stores that turn dotted keys into objects refuse a key that is both a value and an object.
#[test]
fn no_key_is_a_namespace_of_another() {
    // The log formats themselves add these keys to a line.
    let formats = ["level", "message", "span_id", "target", "timestamp", "trace_id"];
    let keys: Vec<_> = ALL.iter().map(|field| field.key).chain(formats).chain([STAGES]).collect();
    for namespace in &keys {
        let within: Vec<_> = keys.iter().filter(|key| key.starts_with(&format!("{namespace}."))).collect();
        assert!(within.is_empty(), "{namespace} is the namespace of {within:?}");
    }
}
