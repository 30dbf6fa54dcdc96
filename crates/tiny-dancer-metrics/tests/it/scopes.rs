//! A scope is one request, and its stages are counted by what they report.

use crate::exposition::Scrape;
use crate::{collector, near, scrape};
use std::time::Duration;
use tiny_dancer_core::breaker::CircuitBreakerConfig;
use tiny_dancer_core::observer::StageErrorKind;
use tiny_dancer_core::{RoutingRequest, testing};

const QUERY: [f32; 2] = [1.0, 0.0];

fn value(shown: &Scrape, series: &str) -> f64 {
    shown.value(&format!("tiny_dancer_{series}"))
}

#[test]
fn the_latency_of_a_scope_includes_its_stages_and_the_time_between_them() {
    let metrics = collector();
    let (router, manual) =
        testing::router(testing::toy_model(), CircuitBreakerConfig::default(), metrics.clone());
    let wait = |seconds| manual.advance(Duration::from_secs(seconds));
    let mut scope = router.begin();
    wait(1);
    let query = scope.embedding(|report| {
        (report.items, report.truncated) = (3, true);
        wait(2);
        QUERY
    });
    wait(4);
    let candidates = scope.memory_search(|report| {
        report.items = 1;
        wait(8);
        [near()]
    });
    wait(16);
    scope.route(RoutingRequest::new(&query, &candidates)).unwrap();

    let shown = scrape(&metrics);
    let total = |family: &str| shown.total(&format!("tiny_dancer_{family}"));
    assert_eq!(value(&shown, r#"routing_latency_seconds_sum{operation="scope"}"#), 31.0);
    assert_eq!(value(&shown, r#"routing_latency_seconds_count{operation="scope"}"#), 1.0);
    assert_eq!(value(&shown, "embedding_duration_seconds_sum"), 2.0);
    assert_eq!(value(&shown, "memory_search_duration_seconds_sum"), 8.0);
    // The router's own stages do not include the time between the search and the route.
    assert_eq!(total("feature_engineering_duration_seconds_sum"), 0.0);
    assert_eq!(total("routing_requests_total"), 1.0);
    for (series, count) in [
        ("embedding_tokens_total", 3.0),
        ("embedding_truncated_total", 1.0),
        ("memory_search_candidates_total", 1.0),
        (r#"feature_engineering_duration_seconds_count{batch_size="1-10"}"#, 1.0),
        (r#"candidates_processed_total{batch_size_range="1-10"}"#, 1.0),
    ] {
        assert_eq!(value(&shown, series), count, "{series}");
    }
    assert_eq!(total("embedding_errors_total") + total("memory_search_errors_total"), 0.0);
}

#[test]
fn an_embedding_that_fails_is_counted_by_its_kind_and_its_request_as_one_without_evidence() {
    let metrics = collector();
    let router = crate::router(metrics.clone());
    let mut scope = router.begin();
    scope.embedding(|report| report.error = Some(StageErrorKind::DeadlineExceeded));
    scope.route_without_evidence().unwrap();
    let shown = scrape(&metrics);
    for series in [
        r#"embedding_errors_total{error_type="deadline_exceeded"}"#,
        "embedding_duration_seconds_count",
        r#"routing_decisions_total{model_type="powerful",reason="no_evidence"}"#,
        r#"routing_requests_total{status="fallback"}"#,
        r#"feature_engineering_duration_seconds_count{batch_size="0"}"#,
    ] {
        assert_eq!(value(&shown, series), 1.0, "{series}");
    }
}

/// The number of candidates is known before the error.
#[test]
fn the_features_of_a_scope_that_fails_are_timed_by_its_number_of_candidates() {
    let metrics = collector();
    let router = crate::router(metrics.clone());
    router.begin().route(RoutingRequest::new(&[0.0, 0.0], &vec![near(); 20])).unwrap_err();
    let shown = scrape(&metrics);
    let series = r#"feature_engineering_duration_seconds_count{batch_size="11-50"}"#;
    assert_eq!(value(&shown, series), 1.0);
    assert_eq!(value(&shown, r#"errors_total{error_type="zero_norm"}"#), 1.0);
}

#[test]
fn a_scope_is_in_flight_until_it_is_routed_or_abandoned() {
    let metrics = collector();
    let router = crate::router(metrics.clone());
    let in_flight = || value(&scrape(&metrics), "requests_in_flight");
    let (first, second) = (router.begin(), router.begin());
    assert_eq!(in_flight(), 2.0);
    first.route_without_evidence().unwrap();
    assert_eq!(in_flight(), 1.0);
    drop(second);
    let shown = scrape(&metrics);
    assert_eq!(value(&shown, "requests_in_flight"), 0.0);
    assert_eq!(value(&shown, r#"errors_total{error_type="abandoned"}"#), 1.0);
    assert_eq!(value(&shown, r#"routing_requests_total{status="failure"}"#), 1.0);
}
