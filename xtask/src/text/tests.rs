use super::*;

fn findings(file: &str, text: &str) -> Vec<(usize, String)> {
    in_text(file, text, "/somewhere/here/")
}

fn lines(file: &str, text: &str) -> Vec<usize> {
    findings(file, text).into_iter().map(|(line, _)| line).collect()
}

#[test]
fn attributes_that_allow_are_found() {
    let source = "\
        #[ALLOW(dead_code)]\nfn f() {}\n\
        #![ALLOW(missing_docs)]\n\
        #[cfg_attr(test,\n    ALLOW(unused))]\n\
        #[expect(unused, reason = \"[why]\")]\n\
        // #[ALLOW(in_a_comment)]\n\
        fn g(#[ALLOW(unused)] x: u8) {}\n\
        fn ALLOW(_: u8) { v[0].expect(\"it is there\") }\n";
    let source = source.replace("ALLOW", concat!("al", "low"));
    assert_eq!(lines("lib.rs", &source), [1, 3, 5, 8]);
    assert_eq!(lines("lib.md", &source), [] as [usize; 0]);
}

#[test]
fn postponed_work_is_found_in_files_that_people_write() {
    for word in POSTPONED {
        let text = format!("fine\n// {word}: later\nMASTO{word}N is fine");
        assert_eq!(lines("a.rs", &text), [2]);
        assert_eq!(lines("a.md", &text), [2]);
        assert_eq!(lines("prompts.jsonl", &text), [] as [usize; 0]);
    }
}

#[test]
fn unresolved_conflicts_are_found() {
    for marker in CONFLICT {
        assert_eq!(lines("a.md", &format!("fine\n{marker}main\n a {marker}")), [2]);
    }
}

#[test]
fn riddles_are_found_in_comments_and_documents() {
    for word in RIDDLES {
        for (file, comment) in [
            ("a.rs", "/// "),
            ("a.md", ""),
            ("a.toml", "# "),
            ("a.py", "# "),
            ("a.mjs", "// "),
            ("docs/a.json", "\""),
        ] {
            assert_eq!(
                lines(file, &format!("\n{comment}It is {}'s.", word.to_uppercase())),
                [2],
                "{file}: {word}"
            );
        }
        assert_eq!(lines("a.rs", &format!("let it = \"{word}\";\n// x{word}s")), [] as [usize; 0]);
        assert_eq!(lines("a.jsonl", word), [] as [usize; 0]);
    }
}

#[test]
fn paths_of_one_machine_are_found() {
    for path in HOMES {
        assert_eq!(lines("a.json", &format!("a\n\"{path}me\"")), [2]);
        assert_eq!(lines("a.json", &format!("tree{path}x")), [] as [usize; 0]);
    }
    assert_eq!(lines("a.md", "/somewhere/here/target"), [1]);
    assert_eq!(lines("a.md", "/somewhere/else"), [] as [usize; 0]);
}

#[test]
fn hosts_in_a_lock_file_are_found() {
    assert_eq!(lines("web/package-lock.json", "{\n  \"resolved\": \"https://a.host/it\"\n}"), [2]);
}

#[test]
fn summaries_are_found() {
    assert!(in_name(concat!("docs/ROUTER_SUM", "MARY.md")).is_some());
    assert!(in_name("docs/router.md").is_none());
}

#[test]
fn a_dependency_needs_a_reason_and_a_reason_a_dependency() {
    let manifest = "[workspace.dependencies]\ntiny-dancer = 1\n# a comment = no\nanyhow = \"1\"\nclap = 2\n\n[other]\nx = 1";
    assert_eq!(without_reason(manifest, "| `anyhow` | errors |\n| `clap` | arguments |"), [] as [&str; 0]);
    let found = without_reason(manifest, "| `anyhow` | errors |\n| `gone` | colours |");
    assert_eq!(
        found,
        [
            format!("Cargo.toml: clap has no line in {REASONS}"),
            format!("{REASONS}: gone is not a dependency")
        ]
    );
    assert_eq!(without_reason("", "").len(), 1);
}

#[test]
fn observers_are_called_in_one_place_and_known_to_the_router_alone() {
    let core = "crates/tiny-dancer-core/src";
    let call = "fn f() {\n    self.observer.on_decision(request);\n}";
    assert_eq!(lines(&format!("{core}/router.rs"), call), [2]);
    assert_eq!(lines(&format!("{core}/features.rs"), call), [2, 2]);
    assert_eq!(
        lines(&format!("{core}/breaker.rs"), "/// An Observer is notified.\nuse crate::observer::Observer;"),
        [2]
    );
    for file in ["router/observed.rs", "observer/compose.rs", "testing.rs", "router/tests.rs"] {
        assert_eq!(lines(&format!("{core}/{file}"), call), [] as [usize; 0]);
    }
    assert_eq!(lines("examples/mine.rs", call), [] as [usize; 0]);
    assert_eq!(lines(&format!("{core}/breaker.rs"), "match circuits.on_open {"), [] as [usize; 0]);
}
