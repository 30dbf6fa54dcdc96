use super::*;
use crate::budget::{JudgeRate, QualityBudget, RestoreError, Settlement, Ticket};
use crate::coin::Draw;
use crate::testing::{NOW, candidate, toy_model};
use crate::{
    Candidate, CandidateSet, Circuit, CircuitBreakerConfig, CircuitState, Clock, ManualClock, Outcome,
    OutcomeResult, Query, Router, RoutingRequest,
};
use std::collections::BTreeSet;
use std::time::Duration;

const QUERY: [f32; 2] = [1.0, 0.0];

fn seed() -> Seed {
    Seed::new(*b"sixteen secrets!")
}

/// A router that draws at these rates. Its `lightweight` circuit has one probe.
fn router(explore: f64, shadow_rate: f64) -> (Router, ManualClock) {
    let (clock, manual) = Clock::manual(NOW);
    let circuit_breaker = CircuitBreakerConfig { probes: 1, ..Default::default() };
    let seed = Some(seed());
    let config = RouterConfig { explore, shadow_rate, seed, circuit_breaker, clock, ..Default::default() };
    (Router::with_model(config, (), toy_model()).unwrap(), manual)
}

/// Candidates for each reason with closed circuits.
fn cases() -> [(Reason, Vec<Candidate>); 4] {
    [
        (Reason::Confident, vec![candidate("near", 0.9, 1.0)]),
        (Reason::HighUncertainty, vec![candidate("far", 0.1, 1.0)]),
        (Reason::LowConfidence, vec![candidate("failed", 0.9, 0.0)]),
        (Reason::NoEvidence, vec![]),
    ]
}

fn route(router: &Router, candidates: &[Candidate]) -> RoutingResponse {
    let query = Query { now: Some(NOW), ..Query::new(&QUERY) };
    router.route(RoutingRequest { query, candidates }).unwrap()
}

#[test]
fn an_explored_request_goes_to_the_lightweight_model_and_keeps_the_rest_of_its_decision() {
    let (always, never) = (router(1.0, 0.0).0, router(0.0, 0.0).0);
    for (reason, candidates) in cases() {
        let (explored, decided) = (route(&always, &candidates), route(&never, &candidates));
        assert_eq!((decided.reason, decided.explore, decided.number), (reason, None, 0));
        let drawn = Some(crate::coin::Draw { probability: 1.0, happened: true });
        let expected = if reason == Reason::Confident {
            RoutingResponse { number: explored.number, ..decided }
        } else {
            let (model, reason) = (ModelType::Lightweight, Reason::Explored);
            RoutingResponse { model, reason, explore: drawn, number: explored.number, ..decided }
        };
        assert_eq!(explored, expected);
    }
}

#[test]
fn a_shadow_changes_nothing_but_the_response_that_asks_for_it() {
    let (always, never) = (router(0.0, 1.0).0, router(0.0, 0.0).0);
    for (reason, candidates) in cases() {
        let (shadowed, decided) = (route(&always, &candidates), route(&never, &candidates));
        assert_eq!(shadowed.shadow.is_some_and(|draw| draw.happened), reason != Reason::Confident);
        assert_eq!(RoutingResponse { shadow: None, number: 0, ..shadowed }, decided);
    }
}

#[test]
fn requests_that_are_numbered_from_one_start_are_drawn_alike() {
    let drawn = |first: u64| -> Vec<_> {
        let (mut router, _) = router(0.0, 0.5);
        router.number_from(first);
        (0..20).map(|_| route(&router, &[])).map(|it| (it.number, it.shadow)).collect()
    };
    assert_eq!(drawn(7), drawn(7));
    assert_eq!(drawn(7)[0].0, 7);
    assert_eq!(drawn(7)[13..], drawn(20)[..7]);
}

#[test]
fn an_explored_request_is_not_shadowed_and_one_that_is_not_explored_may_be() {
    let (router, _) = router(0.5, 1.0);
    let responses: Vec<_> = (0..100).map(|_| route(&router, &[])).collect();
    for response in &responses {
        let explored = response.explore.unwrap().happened;
        assert_eq!(explored, response.reason == Reason::Explored);
        assert_eq!(explored, response.shadow.is_none());
    }
    let explored = responses.iter().filter(|response| response.shadow.is_none()).count();
    assert!((20..80).contains(&explored), "{explored} of 100");
}

#[test]
fn a_draw_can_be_computed_again_from_the_seed_and_the_number() {
    let (router, _) = router(0.3, 0.6);
    let coin = Coin::new(seed());
    for _ in 0..200 {
        let response = route(&router, &[]);
        let explore = coin.draw(response.number, Purpose::Explore, 0.3);
        assert_eq!(response.explore, Some(explore));
        let shadow = coin.draw(response.number, Purpose::Shadow, 0.6);
        assert_eq!(response.shadow, (!explore.happened).then_some(shadow));
    }
}

#[test]
fn each_decided_request_has_a_number_of_its_own_by_any_method() {
    let (router, _) = router(0.5, 0.5);
    let candidates = [candidate("near", 0.9, 1.0)];
    let set = CandidateSet::new(candidates.to_vec()).unwrap();
    let (query, request) = (Query::new(&QUERY), RoutingRequest::new(&QUERY, &candidates));
    let mut reused = RoutingResponse::default();
    router.route_into(request, &mut reused).unwrap();
    let mut numbers = vec![
        reused.number,
        router.route(request).unwrap().number,
        router.route_set(query, &set, 1).unwrap().number,
        router.begin().route(request).unwrap().number,
        router.begin().route_set(query, &set, 1).unwrap().number,
        router.begin().route_nearest(query, &[&candidates[0]]).unwrap().number,
        router.begin().route_without_evidence().unwrap().number,
    ];
    numbers.extend(router.route_batch(&[request; 100]).into_iter().map(|response| response.unwrap().number));
    router.route_into(RoutingRequest::new(&[], &[]), &mut reused).unwrap_err();
    assert_eq!(reused, RoutingResponse::default());
    numbers.push(router.route(request).unwrap().number);
    let first = numbers[0];
    let passed: BTreeSet<_> = numbers.iter().map(|number| number.wrapping_sub(first)).collect();
    assert!(passed.into_iter().eq(0..108), "consecutive, and none for an error");
}

#[test]
fn routers_with_the_same_seed_begin_at_different_numbers() {
    let first = || route(&router(0.5, 0.0).0, &[]).number;
    assert_ne!(first(), first());
}

#[test]
fn without_a_seed_each_router_has_a_secret_of_its_own() {
    let drawn = || {
        let router = Router::new(RouterConfig { explore: 0.5, ..Default::default() }).unwrap();
        let draws = router.draws.as_ref().unwrap();
        (0..128).map(|number| draws.coin.draw(number, Purpose::Explore, 0.5).happened).collect::<Vec<_>>()
    };
    assert_ne!(drawn(), drawn());
    assert!(Router::new(RouterConfig::default()).unwrap().draws.is_none());
}

fn fail(router: &Router) {
    while router.circuit_state(Circuit::Lightweight) != CircuitState::Open {
        router.record_outcome(Outcome::new(ModelType::Lightweight, OutcomeResult::CallFailed));
    }
}

#[test]
fn nothing_is_drawn_while_a_circuit_is_open() {
    let (router, _) = router(1.0, 1.0);
    let before = route(&router, &[]).number;
    for circuit in Circuit::ALL {
        router.force_open(circuit);
        let response = route(&router, &[]);
        assert_eq!((response.reason, response.explore, response.shadow), (Reason::CircuitOpen, None, None));
        router.reset(circuit);
    }
    assert_eq!(route(&router, &[]).number, before.wrapping_add(3), "a fallback has a number");
}

#[test]
fn a_request_that_is_explored_or_shadowed_uses_a_probe_of_the_half_open_circuit() {
    for (explore, shadow_rate) in [(1.0, 0.0), (0.0, 1.0)] {
        for (reason, candidates) in cases() {
            let (router, manual) = router(explore, shadow_rate);
            fail(&router);
            manual.advance(Duration::from_secs(30));
            let probe = route(&router, &candidates);
            assert!(probe.calls_lightweight(), "{reason}, {explore}");
            assert_eq!(route(&router, &candidates).reason, Reason::CircuitOpen, "the probe is in use");
            router.record_outcome(Outcome::new(ModelType::Lightweight, OutcomeResult::Sufficed));
            assert_eq!(router.circuit_state(Circuit::Lightweight), CircuitState::Closed);
        }
    }
}

#[test]
fn a_request_for_which_a_draw_does_not_happen_returns_its_permit() {
    // The least rates above 0 never happen.
    let (router, manual) = router(f64::MIN_POSITIVE, f64::MIN_POSITIVE);
    fail(&router);
    manual.advance(Duration::from_secs(30));
    for (reason, candidates) in cases().into_iter().rev() {
        assert_eq!(route(&router, &candidates).reason, reason, "the permit is free");
    }
    assert_eq!(route(&router, &[]).reason, Reason::CircuitOpen, "the confident one uses it");
}

/// A router with a budget of which each answer is judged, and these rates.
fn budgeted(burst: f64, explore: f64, shadow_rate: f64) -> (Router, ManualClock) {
    let (clock, manual) = Clock::manual(NOW);
    let budget = QualityBudget { judge_rate: JudgeRate::Fixed(1.0), burst, ..Default::default() };
    let circuit_breaker = CircuitBreakerConfig { probes: 1, ..Default::default() };
    let budget = Some(budget);
    let config = RouterConfig { budget, explore, shadow_rate, circuit_breaker, clock, ..Default::default() };
    (Router::with_model(config, (), toy_model()).unwrap(), manual)
}

#[test]
fn a_request_that_the_budget_refuses_goes_to_the_powerful_model_and_keeps_the_rest_of_its_decision() {
    let (router, _) = budgeted(1.0, 0.0, 0.0);
    let (_, near) = cases().into_iter().next().unwrap();
    let admitted = route(&router, &near);
    let ticket = admitted.ticket.unwrap();
    assert_eq!((admitted.reason, ticket.judge.happened), (Reason::Confident, true));
    let refused = route(&router, &near);
    assert_eq!(
        (refused.reason, refused.model, refused.ticket),
        (Reason::BudgetSpent, ModelType::Powerful, None)
    );
    assert_eq!(
        (refused.confidence, refused.uncertainty, refused.decisions),
        (admitted.confidence, admitted.uncertainty, admitted.decisions)
    );
    assert!(!refused.reason.is_fallback());
    assert_eq!(router.settle(&ticket, false), Settlement::Settled);
    assert_eq!(route(&router, &near).reason, Reason::Confident);
}

#[test]
fn each_lightweight_answer_under_a_budget_passes_admission_explored_ones_too() {
    let (router, _) = budgeted(2.0, 1.0, 1.0);
    for (_, candidates) in cases().into_iter().take(2) {
        let response = route(&router, &candidates);
        assert_eq!((response.model, response.shadow), (ModelType::Lightweight, None));
        assert!(response.ticket.is_some());
    }
    for (_, candidates) in cases() {
        let response = route(&router, &candidates);
        assert_eq!((response.reason, response.ticket), (Reason::BudgetSpent, None));
        assert!(response.shadow.unwrap().happened, "the draw falls after admission");
    }
    router.force_open(Circuit::Inference);
    assert_eq!(route(&router, &[]).reason, Reason::CircuitOpen);
}

#[test]
fn a_request_that_passes_no_admission_has_no_ticket_and_leaves_the_budget_as_it_is() {
    let (router, _) = budgeted(0.0, 0.0, 0.0);
    let before = router.budget();
    let (_, near) = cases().into_iter().next().unwrap();
    let mut scope = router.begin();
    scope.without_admission();
    let query = Query { now: Some(NOW), ..Query::new(&QUERY) };
    let left_out = scope.route(RoutingRequest { query, candidates: &near }).unwrap();
    assert_eq!((left_out.reason, left_out.ticket), (Reason::Confident, None));
    assert_eq!(router.budget(), before);
    assert_eq!(route(&router, &near).reason, Reason::BudgetSpent);
}

#[test]
fn a_probe_that_the_budget_refuses_returns_its_permit() {
    let (router, manual) = budgeted(1.0, 0.0, 0.0);
    let (_, near) = cases().into_iter().next().unwrap();
    let ticket = route(&router, &near).ticket.unwrap();
    fail(&router);
    manual.advance(Duration::from_secs(30));
    for _ in 0..3 {
        assert_eq!(route(&router, &near).reason, Reason::BudgetSpent, "the permit is free");
    }
    assert!(router.cancel(&ticket));
    assert_eq!(route(&router, &near).reason, Reason::Confident);
    assert_eq!(route(&router, &near).reason, Reason::CircuitOpen, "the probe is in use");
}

#[test]
fn the_budget_moves_the_thresholds_and_a_scope_keeps_those_with_which_it_began() {
    let (router, _) = budgeted(10.0, 0.0, 0.0);
    let first = router.thresholds();
    let scope = router.begin();
    let doubtful = [candidate("doubtful", 0.9, 0.5)];
    for _ in 0..10 {
        assert_eq!(route(&router, &doubtful).reason, Reason::LowConfidence);
    }
    let moved = router.thresholds();
    assert!(
        moved.confidence_threshold < first.confidence_threshold
            && moved.max_uncertainty > first.max_uncertainty
    );
    assert_eq!(scope.thresholds(), first);
    scope.route_without_evidence().unwrap();
    route(&router, &[]);
    assert_eq!(router.thresholds(), moved, "a request without inference moves nothing");
}

#[test]
fn with_a_budget_a_risk_gives_the_first_thresholds_and_is_not_tested() {
    let step =
        crate::promise::RiskStep { confidence_threshold: 0.7, max_uncertainty: 0.3, n: 300, failures: 10 };
    let model = toy_model().with_risk_path(vec![step]).unwrap();
    let risk = Some(crate::RiskBudget { alpha: 0.1, delta: 0.05 });
    let config = RouterConfig { risk, budget: Some(QualityBudget::default()), ..Default::default() };
    let router = Router::with_model(config, (), model).unwrap();
    assert_eq!(router.thresholds(), step.thresholds());
    assert_eq!(router.promise(), None);
}

#[test]
fn a_router_continues_from_a_stored_account() {
    let (router, _) = budgeted(1.0, 0.0, 0.0);
    let (_, near) = cases().into_iter().next().unwrap();
    let ticket = route(&router, &near).ticket.unwrap();
    router.answered();
    let stored = router.account().unwrap().save();
    let (mut router, _) = budgeted(1.0, 0.0, 0.0);
    router.restore_account(&stored).unwrap();
    assert_eq!(route(&router, &near).reason, Reason::BudgetSpent);
    assert_eq!(router.settle(&ticket, false), Settlement::Settled);
    let state = router.budget().unwrap();
    assert_eq!((state.answered, state.pending, state.judged), (1, 0, 1));
}

#[test]
fn a_router_without_a_budget_has_no_account() {
    let (mut router, _) = router(0.0, 0.0);
    let (_, near) = cases().into_iter().next().unwrap();
    assert_eq!(route(&router, &near).ticket, None);
    router.answered();
    let ticket = Ticket::new(Draw { probability: 1.0, happened: true }, 0, 0, 0.9);
    assert_eq!((router.settle(&ticket, true), router.cancel(&ticket)), (Settlement::Unknown, false));
    assert!(router.budget().is_none() && router.account().is_none());
    let stored = budgeted(1.0, 0.0, 0.0).0.account().unwrap().save();
    assert!(matches!(router.restore_account(&stored), Err(RestoreError::NoBudget)));
}
