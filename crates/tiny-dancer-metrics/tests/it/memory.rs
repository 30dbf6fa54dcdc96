//! What a memory beside a router reports, and the draws from which it learns.

use crate::exposition::Scrape;
use crate::{collector, route, router, scrape};
use std::time::Duration;
use tiny_dancer_core::observer::{MemoryChange, MemoryErrorKind, MemoryEvent, MemoryState, VerdictKind};
use tiny_dancer_core::{
    ModelType, Observer, Origin, Outcome, OutcomeResult, Router, RouterConfig, RoutingRequest,
};
use tiny_dancer_metrics::prometheus::Registry;
use tiny_dancer_metrics::{MetricsCollector, MetricsConfig, Prices};

fn value(shown: &Scrape, series: &str) -> f64 {
    shown.value(&format!("tiny_dancer_{series}"))
}

/// A memory of this size, of which 40 entries have a verdict.
fn state(entries: usize, log_entries: Option<usize>) -> MemoryState {
    let mut state = MemoryState::default();
    (state.entries, state.evidence, state.log_entries) = (entries, 40, log_entries);
    (state.segments, state.queue, state.queue_capacity) = (3, 5, 1000);
    state
}

fn report<O: Observer>(router: &Router<O>, change: MemoryChange) {
    router.on_memory(&MemoryEvent::new(state(100, Some(200)), change));
}

#[test]
fn a_memory_is_shown_with_its_size_and_its_changes() {
    let metrics = collector();
    let router = router(metrics.clone());
    assert!(!metrics.export_metrics().unwrap().contains("tiny_dancer_memory_changes"), "no memory yet");
    report(&router, MemoryChange::Opened { duration: Duration::from_millis(20) });
    let shown = scrape(&metrics);
    for family in ["changes_stored_total", "changes_lost_total", "dropped_total", "verdicts_total"] {
        assert_eq!(shown.total(&format!("tiny_dancer_memory_{family}")), 0.0, "{family} begins at zero");
    }
    report(&router, MemoryChange::Stored { changes: 7, duration: Duration::from_millis(2) });
    report(&router, MemoryChange::Stored { changes: 3, duration: Duration::from_millis(4) });
    report(&router, MemoryChange::Failed { changes: 9, kind: MemoryErrorKind::Full });
    report(&router, MemoryChange::Lost { changes: 9, kind: MemoryErrorKind::QueueFull });
    report(&router, MemoryChange::Erased { entries: 1, log_entries: 2 });
    report(&router, MemoryChange::Expired { entries: 3, log_entries: 4 });
    report(&router, MemoryChange::Verdict { kind: VerdictKind::Contradicting });
    let shown = scrape(&metrics);
    for (series, expected) in [
        (r#"memory_entries{state="evidence"}"#, 40.0),
        (r#"memory_entries{state="pending"}"#, 60.0),
        ("memory_log_entries", 200.0),
        ("memory_segments", 3.0),
        ("memory_queue_length", 5.0),
        ("memory_queue_capacity", 1000.0),
        ("memory_changes_stored_total", 10.0),
        (r#"memory_changes_lost_total{error_type="queue_full"}"#, 9.0),
        (r#"memory_changes_lost_total{error_type="full"}"#, 0.0),
        (r#"memory_commits_failed_total{error_type="full"}"#, 1.0),
        (r#"memory_commits_failed_total{error_type="queue_full"}"#, 0.0),
        ("memory_commit_duration_seconds_count", 2.0),
        ("memory_commit_duration_seconds_sum", 0.006),
        (r#"memory_commit_duration_seconds_bucket{le="0.0025"}"#, 1.0),
        (r#"memory_dropped_total{cause="erased",record="entry"}"#, 1.0),
        (r#"memory_dropped_total{cause="erased",record="log_entry"}"#, 2.0),
        (r#"memory_dropped_total{cause="expired",record="entry"}"#, 3.0),
        (r#"memory_dropped_total{cause="expired",record="log_entry"}"#, 4.0),
        (r#"memory_verdicts_total{kind="contradicting"}"#, 1.0),
        (r#"memory_verdicts_total{kind="accepted"}"#, 0.0),
    ] {
        assert_eq!(value(&shown, series), expected, "{series}");
    }
}

#[test]
fn memories_of_routers_that_share_families_add_up_until_their_router_is_dropped() {
    let metrics = collector();
    let (one, other) = (router(metrics.clone()), router(metrics.clone()));
    let change = MemoryChange::Verdict { kind: VerdictKind::Accepted };
    one.on_memory(&MemoryEvent::new(state(100, None), change));
    assert!(!metrics.export_metrics().unwrap().contains("tiny_dancer_memory_log_entries"), "not known");
    other.on_memory(&MemoryEvent::new(state(50, Some(70)), change));
    let sizes = || {
        let shown = scrape(&metrics);
        ["memory_log_entries", "memory_segments", r#"memory_entries{state="pending"}"#]
            .map(|series| value(&shown, series))
    };
    assert_eq!(sizes(), [70.0, 6.0, 70.0]);
    drop(one);
    assert_eq!(sizes(), [70.0, 3.0, 10.0]);
    drop(other);
    let text = metrics.export_metrics().unwrap();
    assert!(!text.contains("tiny_dancer_memory_segments"), "no memory is left");
    assert!(text.contains(r#"tiny_dancer_memory_verdicts_total{kind="accepted"} 2"#));
}

fn drawing(metrics: &MetricsCollector, explore: f64, shadow_rate: f64) -> Router<MetricsCollector> {
    let config = RouterConfig { explore, shadow_rate, ..Default::default() };
    Router::with_observer(config, metrics.clone()).unwrap()
}

#[test]
fn draws_are_counted_by_purpose_and_result() {
    let metrics = collector();
    route(&router(metrics.clone()), &[]);
    assert_eq!(scrape(&metrics).total("tiny_dancer_draws_total"), 0.0, "without rates nothing is drawn");
    let routers = [(1.0, 0.0), (1e-300, 1.0), (0.0, 1e-300)];
    let routers = routers.map(|(explore, shadow_rate)| drawing(&metrics, explore, shadow_rate));
    for router in &routers {
        router.route(RoutingRequest::new(&[1.0, 0.0], &[])).unwrap();
    }
    let shown = scrape(&metrics);
    for (series, expected) in [
        (r#"draws_total{happened="yes",purpose="explore"}"#, 1.0),
        (r#"draws_total{happened="no",purpose="explore"}"#, 1.0),
        (r#"draws_total{happened="yes",purpose="shadow"}"#, 1.0),
        (r#"draws_total{happened="no",purpose="shadow"}"#, 1.0),
        (r#"routing_decisions_total{model_type="lightweight",reason="explored"}"#, 1.0),
        (r#"routing_requests_total{status="success"}"#, 1.0),
        (r#"routing_requests_total{status="fallback"}"#, 3.0),
    ] {
        assert_eq!(value(&shown, series), expected, "{series}");
    }
}

#[test]
fn outcomes_are_counted_by_their_origin_and_a_shadowed_request_pays_both_models_once() {
    let registry = Registry::new();
    let prices = Some(Prices { lightweight: 1.0, powerful: 10.0, repeated: true });
    let config = MetricsConfig { prices, ..Default::default() };
    let metrics = MetricsCollector::with_config(&registry, &config).unwrap();
    let router = drawing(&metrics, 0.0, 1.0);
    router.route(RoutingRequest::new(&[1.0, 0.0], &[])).unwrap();
    let insufficient = Outcome::new(ModelType::Lightweight, OutcomeResult::Insufficient);
    router.record_outcome(insufficient.with_origin(Origin::Shadowed));
    let shown = scrape(&metrics);
    let series = |origin: &str| {
        let labels = format!(r#"model_type="lightweight",origin="{origin}",result="insufficient""#);
        value(&shown, &format!("outcomes_total{{{labels}}}"))
    };
    assert_eq!(["explored", "routed", "shadowed"].map(series), [0.0, 0.0, 1.0]);
    let cost = || {
        let shown = scrape(&metrics);
        ["lightweight", "powerful"]
            .map(|model| value(&shown, &format!("cost_total{{model_type=\"{model}\"}}")))
    };
    assert_eq!(cost(), [1.0, 10.0], "its powerful answer is not repeated");
    router.record_outcome(insufficient.with_origin(Origin::Explored));
    assert_eq!(cost(), [1.0, 20.0], "an explored answer is");
}
