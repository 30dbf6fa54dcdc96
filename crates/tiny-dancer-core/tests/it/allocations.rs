//! How often routing allocates.

use allocation_counter::measure;
use tiny_dancer_core::testing::{broken_model, candidate, router, toy_model};
use tiny_dancer_core::{
    Candidate, CandidateSet, CircuitBreakerConfig, Model, Outcome, OutcomeResult, Query, Router,
    RouterConfig, RoutingRequest, RoutingResponse,
};

fn candidates(n: usize, dimensions: usize) -> Vec<Candidate> {
    let embedding = |i: usize| (0..dimensions).map(|d| ((i * 31 + d * 7) as f32).sin()).collect();
    let one =
        |i: usize| Candidate { embedding: embedding(i), ..candidate(&format!("candidate {i}"), 0.5, 0.7) };
    (1..=n).map(one).collect()
}

#[test]
fn route_into_allocates_nothing() {
    let router = Router::new(RouterConfig::default()).unwrap();
    for dimensions in [2, 128, 384] {
        let query = vec![0.5; dimensions];
        let mut response = RoutingResponse::default();
        for n in [100, 10, 1, 0] {
            let candidates = candidates(n, dimensions);
            let request = RoutingRequest::new(&query, &candidates);
            // The first and largest request allocates the response's memory, and thread-local memory of `arc_swap`.
            if n == 100 {
                router.route_into(request, &mut response).unwrap();
            }
            let counted = measure(|| router.route_into(request, &mut response).unwrap());
            assert_eq!(counted.count_total, 0, "{n} candidates of {dimensions} dimensions");
        }
    }
}

#[test]
fn route_set_into_allocates_nothing() {
    let router = Router::new(RouterConfig::default()).unwrap();
    let set = CandidateSet::new(candidates(3000, 16)).unwrap();
    let mut response = RoutingResponse::default();
    for top_k in [64, 10, 0] {
        let route = |response: &mut RoutingResponse| {
            router.route_set_into(Query::new(&[0.5; 16]), &set, top_k, response).unwrap();
        };
        if top_k == 64 {
            route(&mut response);
        }
        assert_eq!(measure(|| route(&mut response)).count_total, 0, "{top_k}");
    }
}

#[test]
fn route_allocates_twice_for_any_number_of_candidates() {
    let router = Router::new(RouterConfig::default()).unwrap();
    router.route(RoutingRequest::new(&[1.0], &[])).unwrap();
    for n in [1, 10, 1000] {
        let candidates = candidates(n, 16);
        let counted = measure(|| drop(router.route(RoutingRequest::new(&[0.5; 16], &candidates)).unwrap()));
        assert_eq!(counted.count_total, 2, "{n} candidates");
    }
}

#[test]
fn a_scope_allocates_nothing_but_its_answer() {
    let router = Router::new(RouterConfig::default()).unwrap();
    let candidates = candidates(10, 16);
    let route = || {
        let mut scope = router.begin();
        let query = scope.embedding(|_| [0.5; 16]);
        scope.memory_search(|report| report.items = candidates.len());
        scope.route(RoutingRequest::new(&query, &candidates)).unwrap();
    };
    route();
    assert_eq!(measure(route).count_total, 2);
    let without = measure(|| drop(router.begin().route_without_evidence().unwrap()));
    assert_eq!(without.count_total, 0);
}

#[test]
fn a_failure_of_the_model_or_an_outcome_allocates_nothing() {
    for model in [toy_model as fn() -> Model, broken_model] {
        let (router, _) = router(model(), CircuitBreakerConfig::default(), ());
        let candidates = [candidate("a", 0.9, 1.0)];
        let mut response = RoutingResponse::default();
        let request = RoutingRequest::new(&[1.0, 0.0], &candidates);
        let _ = router.route_into(request, &mut response);
        let counted = measure(|| {
            for _ in 0..10 {
                let _ = router.route_into(request, &mut response);
                for model in tiny_dancer_core::ModelType::ALL {
                    router.record_outcome(Outcome::new(model, OutcomeResult::CallFailed));
                }
            }
        });
        assert_eq!(counted.count_total, 0);
    }
}
