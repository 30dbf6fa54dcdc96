//! PromQL checked against the families of the router and of the gateway: a query with a wrong name finds nothing, without an error.

use crate::exposition::Scrape;
use crate::read;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use tiny_dancer_metrics::catalogue::{CATALOGUE, Kind};

/// The labels that Prometheus adds to every series, the one that names a router, and the one of Prometheus' own `ALERTS`.
const ADDED: &[&str] = &["alertname", "instance", "job", "router"];
/// What a new gateway shows, which a test of `tiny-dancer-gateway` compares with the gateway.
const GATEWAY: &str = "crates/tiny-dancer-gateway/tests/it/metrics.txt";
/// The prefix of the gateway's families.
pub(crate) const OF_GATEWAY: &str = "tiny_dancer_gateway_";

/// What a query may name.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) name: String,
    /// The bounds of a histogram.
    buckets: Option<Vec<f64>>,
    /// Labels and their values; none where any value is possible.
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// The families of the catalogue, then those of the gateway.
pub(crate) static FAMILIES: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let mut families = Vec::new();
    for family in CATALOGUE {
        let labels = family.labels.iter().map(|label| {
            let values = label.values.iter().map(ToString::to_string);
            (label.name.to_owned(), values.collect())
        });
        let buckets = match family.kind {
            Kind::Histogram { buckets } => Some(buckets.to_vec()),
            _ => None,
        };
        families.push(Known { name: family.name.to_owned(), buckets, labels: labels.collect() });
    }
    let scrape = Scrape::parse(&read(GATEWAY));
    families.extend(scrape.families.iter().map(|(name, family)| of_gateway(&scrape, name, &family.kind)));
    families
});

fn of_gateway(scrape: &Scrape, name: &str, kind: &str) -> Known {
    let is_histogram = kind == "histogram";
    let sample = if is_histogram { format!("{name}_bucket") } else { name.to_owned() };
    let mut labels = BTreeMap::<_, BTreeSet<_>>::new();
    for (of, _) in scrape.series(&sample) {
        for (label, value) in of {
            labels.entry(label.clone()).or_default().insert(value.clone());
        }
    }
    let bounds = labels.remove("le").unwrap_or_default();
    let buckets = bounds.iter().filter_map(|bound| bound.parse().ok()).collect();
    // A configuration names the models.
    if let Some(models) = labels.get_mut("model") {
        models.clear();
    }
    Known { name: name.to_owned(), buckets: is_histogram.then_some(buckets), labels }
}

/// The families that a query names.
///
/// # Panics
/// Where it names one that there is not, or a label or a value that a family does not have.
pub(crate) fn families(query: &str) -> BTreeSet<&'static str> {
    let mut named = BTreeSet::new();
    for (at, _) in query.match_indices("tiny_dancer_") {
        let rest = &query[at..];
        let end = rest.find(|char: char| char != '_' && !char.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let family = family(name).unwrap_or_else(|| panic!("{name} is no family: {query}"));
        if let Some(matchers) = rest.strip_prefix('{') {
            let (matchers, _) = matchers.split_once('}').unwrap_or_else(|| panic!("unclosed: {query}"));
            for matcher in matchers.split(',').map(str::trim).filter(|matcher| !matcher.is_empty()) {
                check_matcher(family, name.ends_with("_bucket"), matcher, query);
            }
        }
        named.insert(&*family.name);
    }
    for label in grouped(query) {
        let has = |name: &&str| family(name).is_some_and(|family| family.labels.contains_key(&label));
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
fn family(name: &str) -> Option<&'static Known> {
    FAMILIES.iter().find(|family| match family.buckets {
        Some(_) => name
            .strip_prefix(&*family.name)
            .is_some_and(|suffix| ["", "_bucket", "_sum", "_count"].contains(&suffix)),
        None => family.name == name,
    })
}

fn check_matcher(family: &Known, is_bucket: bool, matcher: &str, query: &str) {
    let operator = ["=~", "!~", "!=", "="].into_iter().find(|operator| matcher.contains(operator));
    let (label, value) = matcher.split_once(operator.expect("an operator")).expect("an operator");
    let value = value.trim_matches('"');
    if ADDED.contains(&label) {
        return;
    }
    if label == "le" && is_bucket {
        let buckets = family.buckets.as_ref().unwrap_or_else(|| panic!("{query}"));
        let is_bound = value == "+Inf" || value.parse().is_ok_and(|value: f64| buckets.contains(&value));
        return assert!(is_bound, "{value} is no bound of {}: {query}", family.name);
    }
    let known = family.labels.get(label);
    let known = known.unwrap_or_else(|| panic!("{} has no label {label}: {query}", family.name));
    for value in value.split('|').filter(|_| !known.is_empty()) {
        assert!(known.contains(value), "{label} of {} is never {value}: {query}", family.name);
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
fn a_query_names_a_family_of_the_gateway_with_any_model() {
    let query = r#"tiny_dancer_gateway_time_to_first_chunk_seconds_bucket{le="0.25",model="m"}"#;
    assert_eq!(families(query), ["tiny_dancer_gateway_time_to_first_chunk_seconds"].into());
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
        "tiny_dancer_gateway_total",
        r#"tiny_dancer_gateway_requests_total{result="lost"}"#,
        r#"tiny_dancer_gateway_overhead_seconds_bucket{le="0.007"}"#,
    ];
    for query in bad {
        assert!(std::panic::catch_unwind(|| families(query)).is_err(), "{query}");
    }
}
