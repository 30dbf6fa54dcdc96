//! Configured buckets and prices.

use crate::{near, outcome, route, router, scrape};
use std::time::Duration;
use tiny_dancer_core::OutcomeResult::{CallFailed, Insufficient, Sufficed};
use tiny_dancer_core::observer::{Observer, RequestStart, StageStart};
use tiny_dancer_core::{Candidate, testing};
use tiny_dancer_metrics::prometheus::Registry;
use tiny_dancer_metrics::{MetricsCollector, MetricsConfig, Prices, RegisterError};

fn with_buckets(family: &str, bounds: &[f64]) -> Result<MetricsCollector, RegisterError> {
    let buckets = [(family.to_owned(), bounds.to_vec())].into();
    MetricsCollector::with_config(&Registry::new(), &MetricsConfig { buckets, ..Default::default() })
}

fn with_prices(prices: Prices) -> Result<MetricsCollector, RegisterError> {
    let config = MetricsConfig { prices: Some(prices), ..Default::default() };
    MetricsCollector::with_config(&Registry::new(), &config)
}

#[test]
fn configured_buckets_replace_the_catalogues() {
    let metrics = with_buckets("tiny_dancer_confidence_scores", &[0.4, 0.6, 1.0]).unwrap();
    let router = router(metrics.clone());
    // Confidences of 0.98, 0.5 and 0.02.
    let rated = |success_rate| Candidate { success_rate, ..near() };
    route(&router, &[rated(1.0), rated(0.5), rated(0.0)]);
    let shown = scrape(&metrics);
    let bounds: std::collections::BTreeSet<_> = shown
        .series("tiny_dancer_confidence_scores_bucket")
        .map(|(labels, _)| labels["le"].clone())
        .collect();
    assert_eq!(bounds.into_iter().collect::<Vec<_>>(), ["+Inf", "0.4", "0.6", "1"]);
    let up_to = |bound: &str| -> f64 {
        let buckets = shown.series("tiny_dancer_confidence_scores_bucket");
        buckets.filter(|(labels, _)| labels["le"] == bound).map(|(_, count)| count).sum()
    };
    assert_eq!(["0.4", "0.6", "1", "+Inf"].map(up_to), [1.0, 2.0, 3.0, 3.0]);
    // The others are the catalogue's.
    assert_eq!(shown.series("tiny_dancer_uncertainty_estimates_bucket").count(), 2 * 17);
}

#[test]
fn the_maximum_number_of_buckets_fits() {
    let bounds: Vec<_> = (1..=48).map(|i| f64::from(i) / 64.0).collect();
    let metrics = with_buckets("tiny_dancer_confidence_scores", &bounds).unwrap();
    let router = router(metrics.clone());
    for step in 0..=40_u8 {
        route(&router, &[Candidate { success_rate: f32::from(step) / 40.0, ..near() }]);
    }
    let shown = scrape(&metrics);
    assert_eq!(shown.total("tiny_dancer_confidence_scores_count"), 41.0);
    assert_eq!(shown.total("tiny_dancer_uncertainty_estimates_count"), 41.0);
    assert!(shown.total("tiny_dancer_confidence_scores_sum") < 41.0);
}

#[test]
fn durations_fall_into_configured_buckets() {
    /// Advances the clock within each request.
    struct Slow(tiny_dancer_core::ManualClock);
    impl Observer for Slow {
        type Request = ();
        type Stage = ();
        type Batch = ();
        fn on_request_start(&self, _: &RequestStart<'_>) {}
        fn on_stage_start(&self, (): &mut (), _: &StageStart<'_>) {
            self.0.advance(Duration::from_millis(3));
        }
    }
    let metrics = with_buckets("tiny_dancer_routing_latency_seconds", &[0.002, 0.012, 0.02]).unwrap();
    let (clock, hand) = tiny_dancer_core::Clock::manual(testing::NOW);
    let config = tiny_dancer_core::RouterConfig { clock, ..Default::default() };
    let router = tiny_dancer_core::Router::with_observer(config, (metrics.clone(), Slow(hand))).unwrap();
    route(&router, &[near()]); // four stages
    let shown = scrape(&metrics);
    let up_to = |bound: &str| {
        shown.value(&format!(
            r#"tiny_dancer_routing_latency_seconds_bucket{{operation="route",le="{bound}"}}"#
        ))
    };
    assert_eq!([up_to("0.002"), up_to("0.012"), up_to("0.02")], [0.0, 1.0, 1.0]);
}

#[test]
fn invalid_buckets_are_refused_with_the_familys_name() {
    let bad: &[(&str, &[f64])] = &[
        ("tiny_dancer_confidence_scores", &[0.5, 0.4]),
        ("tiny_dancer_confidence_scores", &[2.0]),
        ("tiny_dancer_routing_latency_seconds", &[]),
        ("tiny_dancer_errors_total", &[0.5]),
        ("confidence_scores", &[0.5]),
    ];
    for &(family, bounds) in bad {
        let error = with_buckets(family, bounds).unwrap_err();
        let RegisterError::Buckets { family: named, .. } = &error else { panic!("{family}: {error}") };
        assert_eq!(named, family);
    }
}

#[test]
fn costs_are_those_of_the_decisions() {
    let metrics = with_prices(Prices { lightweight: 0.25, powerful: 2.0, repeated: false }).unwrap();
    let router = router(metrics.clone());
    (0..3).for_each(|_| route(&router, &[near()]));
    route(&router, &[]);
    outcome(&router, Insufficient);
    let shown = scrape(&metrics);
    assert_eq!(shown.value(r#"tiny_dancer_cost_total{model_type="lightweight"}"#), 0.75);
    assert_eq!(shown.value(r#"tiny_dancer_cost_total{model_type="powerful"}"#), 2.0);
    assert_eq!(shown.value("tiny_dancer_baseline_cost_total"), 8.0);
}

#[test]
fn repeated_requests_may_cost_more_than_routing_saves() {
    let metrics = with_prices(Prices { lightweight: 0.5, powerful: 1.0, repeated: true }).unwrap();
    let router = router(metrics.clone());
    for result in [Sufficed, Insufficient, CallFailed] {
        route(&router, &[near()]);
        outcome(&router, result);
    }
    let shown = scrape(&metrics);
    let cost = shown.total("tiny_dancer_cost_total");
    assert_eq!((cost, shown.value("tiny_dancer_baseline_cost_total")), (1.5 + 2.0, 3.0));
}

#[test]
fn invalid_prices_are_refused() {
    for price in [-0.1, f64::NAN, f64::INFINITY] {
        let prices = Prices { powerful: price, ..Default::default() };
        let error = with_prices(prices).unwrap_err();
        assert!(matches!(error, RegisterError::Price { model: "powerful", .. }), "{error}");
    }
}
