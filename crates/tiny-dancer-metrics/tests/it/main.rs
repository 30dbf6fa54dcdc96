//! What a scrape shows of real routers.

#![expect(clippy::unwrap_used, reason = "clippy takes only the test functions for tests, not what they call")]

mod catalogue;
mod documentation;
mod exposition;
mod registration;
mod requests;
mod several;
mod snapshot;

use exposition::Scrape;
use tiny_dancer_core::breaker::CircuitBreakerConfig;
use tiny_dancer_core::{Candidate, Observer, Router, RoutingRequest, testing};
use tiny_dancer_metrics::MetricsCollector;
use tiny_dancer_metrics::prometheus::Registry;

/// A collector in a registry of its own.
fn collector() -> MetricsCollector {
    MetricsCollector::with_registry(&Registry::new()).unwrap()
}

fn scrape(collector: &MetricsCollector) -> Scrape {
    Scrape::parse(&collector.export_metrics().unwrap())
}

/// A router on the toy model, whose clock stands still.
fn router<O: Observer>(observer: O) -> Router<O> {
    testing::router(testing::toy_model(), CircuitBreakerConfig::default(), observer).0
}

/// The toy model is confident and certain.
fn near() -> Candidate {
    testing::candidate("near", 0.9, 1.0)
}

fn route<O: Observer>(router: &Router<O>, candidates: &[Candidate]) {
    router.route(RoutingRequest::new(&[1.0, 0.0], candidates)).unwrap();
}
