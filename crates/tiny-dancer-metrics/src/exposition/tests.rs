use super::*;
use crate::MetricsCollector;
use prometheus::{CounterVec, Gauge, HistogramOpts, HistogramVec, Opts};
use tiny_dancer_core::breaker::CircuitBreakerConfig;
use tiny_dancer_core::observer::{Detail, Observer, RequestStart, SpanIds};
use tiny_dancer_core::testing::{candidate, router, toy_model};
use tiny_dancer_core::{Candidate, RoutingRequest};

const OPEN: Format = Format::OpenMetrics { created: false };

#[test]
fn families_of_any_kind_are_written_as_openmetrics() {
    let registry = Registry::new();
    let opts = Opts::new("work_seconds_total", "Work, \"hard\" \\ soft\nor none.");
    let counter = CounterVec::new(opts, &["name"]).unwrap();
    counter.with_label_values(&["a \"b\" \\ c\nd} 7"]).inc_by(2.5);
    registry.register(Box::new(counter)).unwrap();
    let plain = prometheus::Counter::new("things", "A counter of another style.").unwrap();
    registry.register(Box::new(plain)).unwrap();
    let gauge = Gauge::new("load", "Load.").unwrap();
    gauge.set(f64::NEG_INFINITY);
    registry.register(Box::new(gauge)).unwrap();
    let opts = HistogramOpts::new("size_bytes", "Sizes.").buckets(vec![1e-5, 1.0, 10.0]);
    let histogram = HistogramVec::new(opts, &["of"]).unwrap();
    histogram.with_label_values(&["x"]).observe(1.0);
    registry.register(Box::new(histogram)).unwrap();

    let expected = r#"# TYPE load gauge
# HELP load Load.
load -Inf
# TYPE size_bytes histogram
# UNIT size_bytes bytes
# HELP size_bytes Sizes.
size_bytes_bucket{of="x",le="1e-5"} 0
size_bytes_bucket{of="x",le="1.0"} 1
size_bytes_bucket{of="x",le="10.0"} 1
size_bytes_bucket{of="x",le="+Inf"} 1
size_bytes_count{of="x"} 1
size_bytes_sum{of="x"} 1.0
# TYPE things counter
# HELP things A counter of another style.
things_total 0.0
# TYPE work_seconds counter
# UNIT work_seconds seconds
# HELP work_seconds Work, \"hard\" \\ soft\nor none.
work_seconds_total{name="a \"b\" \\ c\nd} 7"} 2.5
# EOF
"#;
    assert_eq!(export(&registry, OPEN).unwrap(), expected);
}

thread_local! {
    /// How many candidates this thread's request has.
    static CANDIDATES: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// An observer whose requests of two or more candidates have a span.
struct Recording;

impl Observer for Recording {
    type Request = Option<SpanIds>;
    type Stage = ();
    type Batch = ();

    fn on_request_start(&self, _: &RequestStart<'_>) -> Option<SpanIds> {
        let candidates = CANDIDATES.get();
        (candidates > 1).then_some(SpanIds { trace: 0xab << 120 | 1, span: candidates as u64 })
    }

    fn detail(&self, _: &Option<SpanIds>) -> Detail {
        Detail::Unsuccessful
    }

    fn span(&self, request: &Option<SpanIds>) -> Option<SpanIds> {
        *request
    }
}

/// The exemplars of a text: name and labels, value, and the exemplar's labels and value.
fn exemplars(text: &str) -> Vec<(&str, &str)> {
    text.lines().filter_map(|line| line.split_once(" # ")).collect()
}

/// Routes a request of so many candidates.
fn route(router: &tiny_dancer_core::Router<(Recording, MetricsCollector)>, candidates: &[Candidate]) {
    CANDIDATES.set(candidates.len());
    let _ = router.route(RoutingRequest::new(&[1.0, 0.0], candidates));
}

#[test]
fn a_recorded_request_leaves_an_exemplar_and_another_leaves_none() {
    let registry = Registry::new();
    let metrics = MetricsCollector::with_registry(&registry).unwrap();
    let observers = (Recording, metrics);
    let (router, _) = router(toy_model(), CircuitBreakerConfig::default(), observers);
    let near = candidate("near", 0.9, 1.0);

    route(&router, std::slice::from_ref(&near));
    assert_eq!(exemplars(&export(&registry, OPEN).unwrap()), []);

    route(&router, &[near.clone(), near.clone()]);
    let text = export(&registry, OPEN).unwrap();
    let found = exemplars(&text);
    let names: Vec<_> = found.iter().map(|(series, _)| series.split_once(' ').unwrap().0).collect();
    let reason = r#"{model_type="lightweight",reason="confident"}"#;
    assert_eq!(
        names,
        [
            &format!("tiny_dancer_routing_decisions_total{reason}")[..],
            r#"tiny_dancer_routing_latency_seconds_bucket{operation="route",le="2.5e-7"}"#,
            r#"tiny_dancer_routing_requests_total{status="success"}"#,
        ]
    );
    for (_, exemplar) in found {
        let ids = r#"{trace_id="ab000000000000000000000000000001",span_id="0000000000000002"} "#;
        let (value, time) = exemplar.strip_prefix(ids).unwrap().split_once(' ').unwrap();
        // The clock of the router stands still.
        assert!(["0.0", "1.0"].contains(&value), "{exemplar}");
        assert!(time.split('.').next_back().is_some_and(|fraction| fraction.len() == 3), "{exemplar}");
    }

    // A newer request replaces an older one; a failed one is at its error.
    let wrong = Candidate { embedding: vec![1.0], ..near.clone() };
    route(&router, &[near.clone(), near.clone(), near]);
    route(&router, &[wrong.clone(), wrong]);
    let text = export(&registry, OPEN).unwrap();
    let of =
        |series: &str| exemplars(&text).into_iter().find(|(name, _)| name.starts_with(series)).unwrap().1;
    assert!(of("tiny_dancer_routing_decisions_total").contains(r#"span_id="0000000000000003""#), "{text}");
    let error = r#"tiny_dancer_errors_total{error_type="dimension_mismatch"}"#;
    assert!(of(error).contains(r#"span_id="0000000000000002""#), "{text}");

    // The other format has no exemplars.
    assert!(!export(&registry, Format::Text).unwrap().contains("trace_id"));
}

#[test]
fn exemplars_are_found_in_a_registry_with_a_prefix_and_labels() {
    let labels = [("zone".to_owned(), "eu".to_owned())].into();
    let registry = Registry::new_custom(Some("shop".to_owned()), Some(labels)).unwrap();
    let blue = MetricsCollector::with_const_labels(&registry, &[("router", "blue")]).unwrap();
    let green = MetricsCollector::with_const_labels(&registry, &[("router", "green")]).unwrap();
    let near = [candidate("near", 0.9, 1.0), candidate("near", 0.9, 1.0)];
    let (blue, _) = router(toy_model(), CircuitBreakerConfig::default(), (Recording, blue));
    let (_green, _) = router(toy_model(), CircuitBreakerConfig::default(), (Recording, green));
    route(&blue, &near);
    let text = export(&registry, OPEN).unwrap();
    let found = exemplars(&text);
    assert_eq!(found.len(), 3, "{text}");
    assert!(found.iter().all(|(series, _)| series.contains(r#"router="blue""#)), "{text}");
    assert!(found.iter().all(|(series, _)| series.starts_with("shop_tiny_dancer_")), "{text}");
}

#[test]
fn created_series_are_there_only_on_request() {
    let registry = Registry::new();
    let _metrics = MetricsCollector::with_registry(&registry).unwrap();
    assert!(!export(&registry, OPEN).unwrap().contains("_created"));
    let text = export(&registry, Format::OpenMetrics { created: true }).unwrap();
    for series in [
        r#"tiny_dancer_routing_requests_created{status="success"} "#,
        r#"tiny_dancer_routing_latency_seconds_created{operation="route"} "#,
    ] {
        let line = text.lines().find_map(|line| line.strip_prefix(series)).unwrap();
        assert!(line.parse::<f64>().unwrap() > 1.7e9, "{line}");
    }
    assert!(!text.contains("requests_in_flight_created"), "a gauge has no beginning");
}
