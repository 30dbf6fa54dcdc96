//! The allocations of an unsampled request.

use allocation_counter::measure;
use tiny_dancer_core::observer::StageErrorKind;
use tiny_dancer_core::testing::{broken_model, candidate, router, toy_model};
use tiny_dancer_core::{CircuitBreakerConfig, Model, RoutingRequest, RoutingResponse};
use tiny_dancer_tracing::{TraceContext, TracingConfig, TracingObserver, TracingSystem};

/// Allocations of 100 requests, after a first request has made all lasting allocations.
fn allocations(observer: TracingObserver, model: Model) -> u64 {
    let (router, _) = router(model, CircuitBreakerConfig::default(), observer);
    let candidates = [candidate("near", 0.9, 1.0), candidate("nearer", 0.95, 1.0)];
    let request = RoutingRequest::new(&[1.0, 0.0], &candidates);
    let mut response = RoutingResponse::default();
    let _ = router.route_into(request, &mut response);
    measure(|| {
        for _ in 0..100 {
            let _ = router.route_into(request, &mut response);
        }
    })
    .count_total
}

#[test]
fn an_unsampled_request_allocates_nothing() {
    let system = TracingSystem::new(TracingConfig { sampling_ratio: 0.0, ..Default::default() });
    assert_eq!(allocations(system.observer().unwrap(), toy_model()), 0);
    assert_eq!(allocations(system.observer().unwrap(), broken_model()), 0);
    assert_eq!(allocations(TracingObserver::global(), toy_model()), 0);
}

#[test]
fn an_unsampled_scope_allocates_nothing() {
    let system = TracingSystem::new(TracingConfig { sampling_ratio: 0.0, ..Default::default() });
    let (router, _) = router(toy_model(), CircuitBreakerConfig::default(), system.observer().unwrap());
    let route = || {
        let mut scope = router.begin();
        scope.embedding(|report| report.error = Some(StageErrorKind::DeadlineExceeded));
        scope.route_without_evidence().unwrap();
    };
    route();
    assert_eq!(measure(route).count_total, 0);
}

#[test]
fn a_request_in_an_unsampled_trace_allocates_nothing() {
    let system = TracingSystem::new(TracingConfig::default());
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let _guard = parent.parse::<TraceContext>().unwrap().attach();
    assert_eq!(allocations(system.observer().unwrap(), toy_model()), 0);
}

#[test]
fn after_a_shutdown_a_request_allocates_nothing() {
    let system = TracingSystem::new(TracingConfig::default());
    let observer = system.observer().unwrap();
    system.shutdown();
    assert_eq!(allocations(observer, toy_model()), 0);
}

#[test]
fn a_sampled_request_allocates_so_the_counter_works() {
    let system = TracingSystem::new(TracingConfig::default());
    assert!(allocations(system.observer().unwrap(), toy_model()) > 100);
}
