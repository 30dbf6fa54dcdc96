//! PromQL checked against the catalogue: a query with a wrong name finds nothing, without an error.

use std::collections::BTreeSet;
use tiny_dancer_metrics::catalogue::{CATALOGUE, Family, Kind};

/// The labels that Prometheus adds to every series, the one that names a router, and the one of Prometheus' own `ALERTS`.
const ADDED: &[&str] = &["alertname", "instance", "job", "router"];

/// The families that a query names.
///
/// # Panics
/// Where it names one that is not in the catalogue, or a label or a value that a family does not have.
pub(crate) fn families(query: &str) -> BTreeSet<&'static str> {
    let mut named = BTreeSet::new();
    for (at, _) in query.match_indices("tiny_dancer_") {
        let rest = &query[at..];
        let end = rest.find(|char: char| char != '_' && !char.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let family = family(name).unwrap_or_else(|| panic!("{name} is not in the catalogue: {query}"));
        if let Some(matchers) = rest.strip_prefix('{') {
            let (matchers, _) = matchers.split_once('}').unwrap_or_else(|| panic!("unclosed: {query}"));
            for matcher in matchers.split(',').map(str::trim).filter(|matcher| !matcher.is_empty()) {
                check_matcher(family, name.ends_with("_bucket"), matcher, query);
            }
        }
        named.insert(family.name);
    }
    for label in grouped(query) {
        let has = |name: &&str| {
            family(name).is_some_and(|family| family.labels.iter().any(|known| known.name == label))
        };
        let is_made = query.contains(&format!(r#", "{label}", "$1", "#));
        assert!(
            is_made || label == "le" || ADDED.contains(&&*label) || named.iter().any(has),
            "nothing has the label {label}: {query}"
        );
    }
    named
}

/// The labels that a query groups by.
pub(crate) fn grouped(query: &str) -> BTreeSet<String> {
    let mut labels = BTreeSet::new();
    for group in ["by (", "by("] {
        for (at, _) in query.match_indices(group) {
            let (list, _) = query[at + group.len()..].split_once(')').expect("a closed group");
            labels.extend(list.split(',').map(|label| label.trim().to_owned()));
        }
    }
    labels
}

/// The family of a name, which may be that of a histogram's part.
fn family(name: &str) -> Option<&'static Family> {
    CATALOGUE.iter().find(|family| match family.kind {
        Kind::Histogram { .. } => name
            .strip_prefix(family.name)
            .is_some_and(|suffix| ["", "_bucket", "_sum", "_count"].contains(&suffix)),
        _ => family.name == name,
    })
}

fn check_matcher(family: &Family, is_bucket: bool, matcher: &str, query: &str) {
    let operator = ["=~", "!~", "!=", "="].into_iter().find(|operator| matcher.contains(operator));
    let (label, value) = matcher.split_once(operator.expect("an operator")).expect("an operator");
    let value = value.trim_matches('"');
    if ADDED.contains(&label) {
        return;
    }
    if label == "le" && is_bucket {
        let Kind::Histogram { buckets } = family.kind else { panic!("{query}") };
        let is_bound = value == "+Inf" || value.parse().is_ok_and(|value: f64| buckets.contains(&value));
        return assert!(is_bound, "{value} is no bound of {}: {query}", family.name);
    }
    let known = family.labels.iter().find(|known| known.name == label);
    let known = known.unwrap_or_else(|| panic!("{} has no label {label}: {query}", family.name));
    for value in value.split('|') {
        assert!(known.values.contains(&value), "{label} of {} is never {value}: {query}", family.name);
    }
}

#[test]
fn a_valid_query_names_its_families() {
    let query = r#"sum by (model_type, le) (rate(tiny_dancer_routing_decisions_total{reason=~"confident|no_evidence", instance="a"}[5m]))
        / sum(rate(tiny_dancer_routing_latency_seconds_bucket{le="0.01"}[5m]))"#;
    let named = ["tiny_dancer_routing_decisions_total", "tiny_dancer_routing_latency_seconds"];
    assert_eq!(families(query).into_iter().collect::<Vec<_>>(), named);
}

#[test]
fn a_query_with_a_wrong_name_is_refused() {
    let bad = [
        "tiny_dancer_requests_total",
        "tiny_dancer_errors",
        "tiny_dancer_errors_total_count",
        r#"tiny_dancer_errors_total{kind="empty_query"}"#,
        r#"tiny_dancer_errors_total{error_type="empty"}"#,
        r#"tiny_dancer_errors_total{error_type=~"empty_query|empty"}"#,
        r#"tiny_dancer_routing_latency_seconds_bucket{le="0.0123"}"#,
        "sum by (status) (tiny_dancer_errors_total)",
    ];
    for query in bad {
        assert!(std::panic::catch_unwind(|| families(query)).is_err(), "{query}");
    }
}
