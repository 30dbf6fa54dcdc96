//! Several routers on one registry.

use crate::{collector, near, route, router, scrape};
use std::sync::{Arc, Mutex};
use tiny_dancer_core::{Circuit, Observer, Router};
use tiny_dancer_metrics::prometheus::Registry;
use tiny_dancer_metrics::{Exports, MetricsCollector};

fn state(metrics: &MetricsCollector) -> f64 {
    scrape(metrics).value(r#"tiny_dancer_circuit_breaker_state{circuit="inference"}"#)
}

const CLOSED: f64 = 0.0;
const OPEN: f64 = 2.0;

fn open<O: Observer>(router: &Router<O>) {
    router.force_open(Circuit::Inference);
}

#[test]
fn routers_that_share_families_add_up() {
    let metrics = collector();
    let (one, other) = (router(metrics.clone()), router(metrics.clone()));
    route(&one, &[near()]);
    route(&other, &[near(), near()]);
    let shown = scrape(&metrics);
    assert_eq!(shown.total("tiny_dancer_routing_requests_total"), 2.0);
    assert_eq!(shown.total("tiny_dancer_candidates_processed_total"), 3.0);
}

#[test]
fn spans_are_shown_as_the_tracing_system_counts_them() {
    let metrics = collector();
    let counts = Arc::new(Mutex::new(None));
    let read = Arc::clone(&counts);
    metrics.clone().watch_spans(move || *read.lock().unwrap());
    let name = "tiny_dancer_spans_total";
    assert!(!scrape(&metrics).families.contains_key(name));
    for flushed in [3, 5] {
        *counts.lock().unwrap() = Some(Exports { dropped: 1, failed: 2, flushed });
        let shown = scrape(&metrics);
        let value = |result| shown.value(&format!("{name}{{result=\"{result}\"}}"));
        assert_eq!(["dropped", "failed", "flushed"].map(value), [1.0, 2.0, flushed as f64]);
    }
    metrics.watch_spans(|| None);
    assert!(!scrape(&metrics).families.contains_key(name));
}

#[test]
fn constant_labels_distinguish_routers() {
    let registry = Registry::new();
    let of = |name| MetricsCollector::with_const_labels(&registry, &[("router", name)]).unwrap();
    let (blue, green) = (router(of("blue")), router(of("green")));
    route(&blue, &[near()]);
    route(&green, &[]);
    open(&green);
    let shown = scrape(blue.observer());
    let value = |series: &str| shown.value(&format!("tiny_dancer_{series}"));
    assert_eq!(value(r#"routing_requests_total{router="blue",status="success"}"#), 1.0);
    assert_eq!(value(r#"routing_requests_total{router="blue",status="fallback"}"#), 0.0);
    assert_eq!(value(r#"routing_requests_total{router="green",status="fallback"}"#), 1.0);
    assert_eq!(value(r#"circuit_breaker_state{circuit="inference",router="blue"}"#), CLOSED);
    assert_eq!(value(r#"circuit_breaker_state{circuit="inference",router="green"}"#), OPEN);
    assert_eq!(shown.series("tiny_dancer_model_info").count(), 2);
}

#[test]
fn a_shared_state_is_the_worst_one() {
    let metrics = collector();
    let (one, other) = (router(metrics.clone()), router(metrics.clone()));
    open(&one);
    open(&other);
    one.reset(Circuit::Inference);
    assert_eq!(state(&metrics), OPEN, "the other is still open");
    other.force_closed(Circuit::Inference);
    assert_eq!(state(&metrics), CLOSED);
    let shown = scrape(&metrics);
    assert_eq!(shown.value(r#"tiny_dancer_circuit_breaker_state{circuit="lightweight"}"#), CLOSED);
    let to = |state| {
        format!(r#"tiny_dancer_circuit_breaker_transitions_total{{circuit="inference",to="{state}"}}"#)
    };
    assert_eq!((shown.value(&to("open")), shown.value(&to("closed"))), (2.0, 2.0));
}

#[test]
fn the_open_circuit_of_a_dropped_router_is_shown_no_longer() {
    let metrics = collector();
    let (one, other) = (router(metrics.clone()), router(metrics.clone()));
    open(&one);
    drop(one);
    assert_eq!(state(&metrics), CLOSED);
    open(&other);
    assert_eq!(state(&metrics), OPEN);
}

/// Such routers share the collector's circuit states, which are subtracted with the last of them.
#[test]
fn the_circuits_of_routers_that_share_one_collector_are_shown_no_longer_either() {
    let metrics = collector();
    let shared = Arc::new(metrics.clone());
    let (one, other) = (router(Arc::clone(&shared)), router(shared));
    open(&one);
    open(&other);
    other.reset(Circuit::Inference);
    assert_eq!(state(&metrics), OPEN, "one is still open");
    drop(one);
    drop(other);
    assert_eq!(state(&metrics), CLOSED);
}

#[test]
fn a_clone_counts_into_the_same_families_but_holds_no_circuits() {
    let metrics = collector();
    let router = router(metrics.clone());
    open(&router);
    let clone = router.observer().clone();
    assert_eq!(clone.export_metrics().unwrap(), metrics.export_metrics().unwrap());
    drop(clone);
    assert_eq!(state(&metrics), OPEN, "the clone was not the router's");
}
