//! What the facade adds to core: observers that cargo features select, and the same router with any of them.
#![expect(clippy::unwrap_used, reason = "tests and their helper functions fail by panicking")]

#[cfg(feature = "metrics")]
mod builder;
mod names;
#[cfg(feature = "otlp")]
mod push;

use std::sync::atomic::{AtomicU64, Ordering};
use tiny_dancer::observer::{Decided, Detail, RequestStart, StageStart};
use tiny_dancer::{
    BuildError, Candidate, CandidateSet, Circuit, CircuitState, ConfigError, ModelType, Observer, Outcome,
    OutcomeResult, Query, Router, RouterConfig, RoutingRequest, Thresholds,
};

/// Counts decisions.
#[derive(Default)]
struct Decisions(AtomicU64);

impl Observer for Decisions {
    type Request = ();
    type Stage = ();
    type Batch = ();

    fn on_request_start(&self, _: &RequestStart<'_>) {}

    fn on_stage_start(&self, (): &mut (), _: &StageStart<'_>) {}

    fn detail(&self, (): &()) -> Detail {
        Detail::Request
    }

    fn on_decision(&self, (): &mut (), _: &Decided<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn candidates() -> [Candidate; 2] {
    let near =
        Candidate { embedding: vec![0.6, 0.8], success_rate: 1.0, access_count: 9, ..Default::default() };
    [near.clone(), Candidate { embedding: vec![0.8, 0.6], ..near }]
}

#[test]
fn the_facade_decides_what_core_decides() {
    let candidates = candidates();
    let request =
        RoutingRequest { query: Query { now: Some(7), ..Query::new(&[1.0, 0.0]) }, candidates: &candidates };
    let facade = Router::new(RouterConfig::default()).unwrap().route(request).unwrap();
    let core =
        tiny_dancer::parts::core::Router::new(RouterConfig::default()).unwrap().route(request).unwrap();
    assert_eq!(facade, core);
}

#[test]
fn a_scope_of_the_facade_decides_what_its_router_decides() {
    let (candidates, router) = (candidates(), Router::new(RouterConfig::default()).unwrap());
    let query = Query { now: Some(7), ..Query::new(&[1.0, 0.0]) };
    let request = RoutingRequest { query, candidates: &candidates };
    let mut scope = router.begin();
    assert_eq!(scope.embedding(|report| report.items), 0);
    assert_eq!(scope.memory_search(|report| report.items), 0);
    assert_eq!(scope.route(request).unwrap(), router.route(request).unwrap());
    let set = CandidateSet::new(candidates.to_vec()).unwrap();
    let expected = router.route_set(query, &set, 1).unwrap();
    assert_eq!(router.begin().route_set(query, &set, 1).unwrap(), expected);
    let expected = router.route(RoutingRequest::new(&[1.0, 0.0], &[])).unwrap();
    assert_eq!(router.begin().route_without_evidence().unwrap(), expected);
}

#[test]
fn a_users_observer_is_notified_too() {
    let router = Router::with_observer(RouterConfig::default(), Decisions::default()).unwrap();
    let candidates = candidates();
    router.route(RoutingRequest::new(&[1.0, 0.0], &candidates)).unwrap();
    router.route(RoutingRequest::new(&[1.0, 0.0], &[])).unwrap();
    assert_eq!(router.observer().0.load(Ordering::Relaxed), 2);
}

#[test]
fn a_bad_configuration_is_refused_with_its_field() {
    let config = RouterConfig { confidence_threshold: 2.0, ..Default::default() };
    let error = Router::new(config).unwrap_err();
    let BuildError::Config(ConfigError::OutOfRange { field, value, .. }) = error else { panic!("{error}") };
    assert_eq!((field, value), ("confidence_threshold", 2.0));
}

#[test]
fn circuits_model_and_thresholds_are_those_of_core() {
    let router = Router::new(RouterConfig::default()).unwrap();
    router.force_open(Circuit::Lightweight);
    assert_eq!(router.circuit_state(Circuit::Lightweight), CircuitState::Open);
    router.reset(Circuit::Lightweight);
    assert_eq!(router.circuit_state(Circuit::Lightweight), CircuitState::Closed);
    assert_eq!(router.reload_model().unwrap().version(), router.model().version());
    assert_eq!(router.thresholds(), Thresholds { confidence_threshold: 0.85, max_uncertainty: 0.15 });
    assert_eq!(router.promise(), None);
    router.record_outcome(Outcome::new(ModelType::Powerful, OutcomeResult::Sufficed));
}

#[cfg(feature = "metrics")]
mod metrics {
    use super::*;

    fn value(text: &str, series: &str) -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{series} is not in\n{text}")).parse().unwrap()
    }

    /// Other tests of this process count in the same registry, so only a lower bound is certain.
    fn fallbacks(router: &Router) -> f64 {
        value(&router.export_metrics().unwrap(), "tiny_dancer_routing_requests_total{status=\"fallback\"}")
    }

    #[test]
    fn routers_share_the_families_and_add_up() {
        let (one, other) =
            (Router::new(RouterConfig::default()).unwrap(), Router::new(RouterConfig::default()).unwrap());
        let before = fallbacks(&one);
        for router in [&one, &other, &one] {
            router.route(RoutingRequest::new(&[1.0, 0.0], &[])).unwrap();
        }
        assert!(fallbacks(&other) >= before + 3.0);
    }

    #[test]
    fn a_users_family_is_exported_too() {
        let counter = prometheus::IntCounter::new("other_total", "Another family.").unwrap();
        prometheus::default_registry().register(Box::new(counter.clone())).unwrap();
        counter.inc_by(7);
        let text = Router::new(RouterConfig::default()).unwrap().export_metrics().unwrap();
        assert_eq!(value(&text, "other_total"), 7.0);
    }
}

#[cfg(all(feature = "metrics", feature = "tracing"))]
#[test]
fn spans_are_a_metric_once_there_is_a_tracing_system() {
    use tiny_dancer::{TraceContext, TracingConfig, TracingSystem};
    let router = Router::new(RouterConfig::default()).unwrap();
    let shown = |result: &str| {
        let series = format!("tiny_dancer_spans_total{{result=\"{result}\"}} ");
        let text = router.export_metrics().unwrap();
        text.lines().find_map(|line| line.strip_prefix(&*series).map(str::to_owned))
    };
    assert_eq!(shown("failed"), None);

    // Nothing listens at this port. Only the requests of this trace are recorded, and no request of another test.
    let config = TracingConfig {
        otlp_endpoint: Some("http://127.0.0.1:1".to_owned()),
        sampling_ratio: 0.0,
        // Exports are retried until then.
        shutdown_timeout: std::time::Duration::from_secs(1),
        ..Default::default()
    };
    let system = TracingSystem::new(config);
    system.init().unwrap();
    let sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse::<TraceContext>().unwrap();
    let attached = sampled.attach();
    router.route(RoutingRequest::new(&[1.0, 0.0], &candidates())).unwrap();
    drop(attached);
    assert_eq!(system.shutdown().failed, 5);
    let five_failed = [Some("0".to_owned()), Some("5".to_owned()), Some("0".to_owned())];
    assert_eq!(["dropped", "failed", "flushed"].map(shown), five_failed);
}

#[cfg(feature = "gzip")]
#[test]
fn compression_needs_no_other_feature() {
    let otlp_endpoint = Some("http://127.0.0.1:4318".to_owned());
    let config = tiny_dancer::TracingConfig { otlp_endpoint, otlp_gzip: true, ..Default::default() };
    tiny_dancer::TracingSystem::new(config).observer().unwrap();
}

#[cfg(feature = "tls")]
#[test]
fn https_needs_no_other_feature() {
    let otlp_endpoint = Some("https://127.0.0.1:4318".to_owned());
    let config = tiny_dancer::TracingConfig { otlp_endpoint, ..Default::default() };
    tiny_dancer::TracingSystem::new(config).observer().unwrap();
}
