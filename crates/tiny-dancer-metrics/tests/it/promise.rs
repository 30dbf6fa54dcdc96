//! A promise, as a scrape shows it.

use crate::{collector, outcome, promising, scrape};
use tiny_dancer_core::OutcomeResult::{CallFailed, Insufficient, Sufficed};
use tiny_dancer_metrics::MetricsCollector;

/// Alpha, the share of failures, the evidence, and whether the promise is broken.
fn shown(metrics: &MetricsCollector) -> [f64; 4] {
    let scrape = scrape(metrics);
    ["promised_alpha", "promise_insufficient_ratio", "promise_evidence", "promise_broken"]
        .map(|family| scrape.value(&format!("tiny_dancer_{family}")))
}

#[test]
fn failures_are_shown_against_the_promise() {
    let metrics = collector();
    let router = promising(metrics.clone());
    for result in [Sufficed, Sufficed, Insufficient, Sufficed, CallFailed] {
        outcome(&router, result);
    }
    let promise = router.promise().unwrap();
    assert_eq!(shown(&metrics), [0.1, 0.25, promise.evidence, 0.0]);
    assert_eq!(scrape(&metrics).value("tiny_dancer_promised_delta"), 0.05);
}

#[test]
fn a_broken_promise_is_shown_until_it_is_reset_even_after_a_reload() {
    let metrics = collector();
    let router = promising(metrics.clone());
    (0..100).for_each(|_| outcome(&router, Insufficient));
    let [_, ratio, evidence, broken] = shown(&metrics);
    assert_eq!((ratio, broken), (1.0, 1.0));
    assert!(evidence >= 20.0, "{evidence}");
    router.reload_model().unwrap();
    assert_eq!(shown(&metrics), [0.1, ratio, evidence, broken], "the same model, the same promise");
    router.reset_promise();
    router.reload_model().unwrap();
    assert_eq!(shown(&metrics), [0.1, 0.0, 1.0, 0.0]);
}

#[test]
fn a_reset_is_shown_with_the_next_outcome() {
    let metrics = collector();
    let router = promising(metrics.clone());
    (0..100).for_each(|_| outcome(&router, Insufficient));
    router.reset_promise();
    outcome(&router, Sufficed);
    let [_, ratio, _, broken] = shown(&metrics);
    assert_eq!((ratio, broken), (0.0, 0.0));
}

#[test]
fn of_two_promises_the_worse_one_is_shown_while_its_router_lives() {
    let metrics = collector();
    let (good, bad) = (promising(metrics.clone()), promising(metrics.clone()));
    (0..100).for_each(|_| outcome(&bad, Insufficient));
    outcome(&good, Sufficed);
    assert_eq!(shown(&metrics)[3], 1.0);
    drop(bad);
    assert_eq!(shown(&metrics)[3], 0.0);
}
