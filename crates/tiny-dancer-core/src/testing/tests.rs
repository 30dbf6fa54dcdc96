//! The checker detects each violation of the contract. The tests make the calls of a router that breaks it.

use super::*;
use crate::observer::CandidateStep;
use crate::request::Candidates;
use crate::{Kernel, Reason, RouteError, RoutingResponse, Thresholds};
use std::panic::resume_unwind;

/// An observer with a given detail. It enables each event, or only the first if it is `inconsistent`.
#[derive(Default)]
struct Observing {
    detail: Option<Detail>,
    inconsistent: bool,
    span: Option<SpanIds>,
    calls: AtomicU64,
}

impl Observer for Observing {
    type Request = ();
    type Stage = ();
    type Batch = ();

    fn on_request_start(&self, _: &RequestStart<'_>) {}

    fn detail(&self, (): &()) -> Detail {
        self.detail.unwrap_or(Detail::Stages)
    }

    fn span(&self, (): &()) -> Option<SpanIds> {
        self.span
    }

    fn is_enabled(&self, (): &(), _: &StageStart<'_>) -> bool {
        !self.inconsistent || self.calls.fetch_add(1, Ordering::SeqCst) == 0
    }
}

type Checker = ContractChecker<Observing>;

fn observing(detail: Detail) -> Checker {
    Checker::new(Observing { detail: Some(detail), ..Default::default() })
}

fn start(checker: &Checker, operation: Operation) -> Checked<()> {
    let event = RequestStart { operation, model_version: "" };
    checker.on_request_start(&event)
}

/// A request that began, observed at a detail.
fn began(detail: Detail) -> (Checker, Checked<()>) {
    let checker = observing(detail);
    let request = start(&checker, Operation::Route);
    if checker.detail(&request) > Detail::Off {
        checker.span(&request);
    }
    (checker, request)
}

fn stage(stage: Stage) -> StageStart<'static> {
    StageStart { stage, candidates: 1, step: None }
}

fn end(stage: Stage) -> StageEnd {
    StageEnd {
        stage,
        report: StageReport { items: 1, ..Default::default() },
        is_step: false,
        start: Duration::ZERO,
        duration: Duration::ZERO,
    }
}

fn run(checker: &Checker, request: &mut Checked<()>, event: &StageStart<'_>) {
    assert!(checker.is_enabled(request, event));
    let context = checker.on_stage_start(request, event);
    checker.on_stage_end(request, context, &end(event.stage));
}

/// Notifies of the decision of a response.
fn decide(
    checker: &Checker,
    request: &mut Checked<()>,
    candidates: &[Candidate],
    response: &RoutingResponse,
) {
    let event = Decided {
        model: response.model,
        confidence: response.confidence,
        uncertainty: response.uncertainty,
        reason: response.reason,
        decisions: &response.decisions,
        number: response.number,
        explore: response.explore,
        shadow: response.shadow,
        ticket: response.ticket,
        columns: &response.scratch.columns,
        joint: &response.scratch.joint,
        candidates: 1,
        dimensions: 2,
        pool: Candidates::Brought(candidates),
        thresholds: Thresholds::default(),
        model_version: "",
        kernel: Kernel::detect(),
        config_digest: "",
        span: None,
    };
    checker.on_decision(request, &event);
}

/// Notifies of an error.
fn fail(checker: &Checker, request: &mut Checked<()>, error: &RouteError, stage: Option<Stage>) {
    checker.on_error(request, &Failed { error, stage, candidates: 1, dimensions: 2, span: None });
}

fn fall_back(checker: &Checker, request: &mut Checked<()>) {
    decide(checker, request, &[], &RoutingResponse::default());
}

fn succeed(checker: &Checker, request: &mut Checked<()>) {
    let (router, _) = router(toy_model(), CircuitBreakerConfig::default(), ());
    let candidates = [candidate("near", 0.9, 1.0)];
    let response = router.route(RoutingRequest::new(&[1.0, 0.0], &candidates)).unwrap();
    assert_eq!(response.reason, Reason::Confident);
    decide(checker, request, &candidates, &response);
}

fn finish(checker: &Checker, request: Checked<()>, operation: Operation, status: Status) {
    checker.on_request_end(
        request,
        &RequestEnd { operation, candidates: 1, status, duration: Duration::ZERO, span: None },
    );
}

#[test]
fn a_request_that_keeps_the_contract_passes() {
    let (checker, mut request) = began(Detail::Stages);
    for each in Stage::ROUTING {
        run(&checker, &mut request, &stage(each));
    }
    succeed(&checker, &mut request);
    finish(&checker, request, Operation::Route, Status::Success);
    checker.assert_at_rest();
    let batch = checker.on_batch_start(&BatchStart { requests: 1 });
    let entered = batch.enter();
    drop(start(&checker, Operation::RouteBatch));
    drop(entered);
}

/// A scope that began, observed with its stages.
fn began_scope() -> (Checker, Checked<()>) {
    let checker = observing(Detail::Stages);
    let request = start(&checker, Operation::Scope);
    checker.detail(&request);
    checker.span(&request);
    (checker, request)
}

/// A stage of a scope, which has no candidates yet.
fn outer(stage: Stage) -> StageStart<'static> {
    StageStart { stage, candidates: 0, step: None }
}

#[test]
fn a_scope_runs_its_stages_in_any_order_and_any_number() {
    let (checker, mut request) = began_scope();
    for each in [Stage::MemorySearch, Stage::Embedding, Stage::MemorySearch] {
        run(&checker, &mut request, &outer(each));
    }
    for each in Stage::ROUTING {
        run(&checker, &mut request, &stage(each));
    }
    succeed(&checker, &mut request);
    finish(&checker, request, Operation::Scope, Status::Success);
    checker.assert_at_rest();
}

#[test]
#[should_panic(expected = "Embedding outside of a scope")]
fn a_scopes_stage_in_another_request_is_noticed() {
    let (checker, mut request) = began(Detail::Stages);
    run(&checker, &mut request, &outer(Stage::Embedding));
}

#[test]
#[should_panic(expected = "Embedding after the scope was routed")]
fn a_scopes_stage_after_the_routers_own_is_noticed() {
    let (checker, mut request) = began_scope();
    run(&checker, &mut request, &stage(Stage::CircuitBreakerCheck));
    run(&checker, &mut request, &outer(Stage::Embedding));
}

#[test]
#[should_panic(expected = "candidates of Embedding")]
fn candidates_of_a_scopes_stage_are_noticed() {
    let (checker, mut request) = began_scope();
    run(&checker, &mut request, &stage(Stage::Embedding));
}

#[test]
#[should_panic(expected = "candidates of FeatureEngineering")]
fn another_number_of_candidates_is_noticed() {
    let (checker, mut request) = began(Detail::Stages);
    run(&checker, &mut request, &stage(Stage::CircuitBreakerCheck));
    run(&checker, &mut request, &StageStart { candidates: 2, ..stage(Stage::FeatureEngineering) });
}

#[test]
#[should_panic(expected = "the report of the router's own stage")]
fn an_error_in_the_report_of_the_routers_own_stage_is_noticed() {
    let (checker, mut request) = began(Detail::Stages);
    let event = stage(Stage::ModelInference);
    assert!(checker.is_enabled(&request, &event));
    let context = checker.on_stage_start(&mut request, &event);
    let report = StageReport { items: 1, error: Some(StageErrorKind::Other), ..Default::default() };
    checker.on_stage_end(&mut request, context, &StageEnd { report, ..end(Stage::ModelInference) });
}

#[test]
#[should_panic(expected = "only a scope can be abandoned")]
fn an_abandoned_request_that_is_no_scope_is_noticed() {
    let (checker, mut request) = began(Detail::Request);
    fail(&checker, &mut request, &RouteError::Abandoned, None);
}

#[test]
#[should_panic(expected = "an abandoned scope that was routed")]
fn an_abandoned_scope_that_was_routed_is_noticed() {
    let (checker, mut request) = began_scope();
    run(&checker, &mut request, &stage(Stage::CircuitBreakerCheck));
    fail(&checker, &mut request, &RouteError::Abandoned, None);
}

#[test]
#[should_panic(expected = "an error comes from a stage")]
fn an_error_without_its_stage_is_noticed() {
    let (checker, mut request) = began(Detail::Request);
    fail(&checker, &mut request, &RouteError::EmptyQuery, None);
}

#[test]
#[should_panic(expected = "a second decision or error")]
fn a_second_decision_is_noticed() {
    let (checker, mut request) = began(Detail::Request);
    fall_back(&checker, &mut request);
    fall_back(&checker, &mut request);
}

#[test]
#[should_panic(expected = "a second decision or error")]
fn an_error_after_a_decision_is_noticed() {
    let (checker, mut request) = began(Detail::Request);
    fall_back(&checker, &mut request);
    fail(&checker, &mut request, &RouteError::EmptyQuery, Some(Stage::FeatureEngineering));
}

#[test]
#[should_panic(expected = "an observer of detail Off received an event of detail Unsuccessful")]
fn a_decision_beyond_the_detail_is_noticed() {
    let (checker, mut request) = began(Detail::Off);
    fall_back(&checker, &mut request);
}

#[test]
#[should_panic(expected = "detail was called twice")]
fn a_second_call_of_detail_is_noticed() {
    let (checker, request) = began(Detail::Request);
    checker.detail(&request);
}

#[test]
#[should_panic(expected = "span was called twice")]
fn a_second_call_of_span_is_noticed() {
    let (checker, request) = began(Detail::Request);
    checker.span(&request);
}

#[test]
#[should_panic(expected = "a decision or an error without the span")]
fn a_decision_without_the_span_of_its_observer_is_noticed() {
    let span = Some(SpanIds { trace: 1, span: 2 });
    let checker = Checker::new(Observing { span, ..Default::default() });
    let mut request = start(&checker, Operation::Route);
    checker.detail(&request);
    checker.span(&request);
    fall_back(&checker, &mut request);
}

#[test]
#[should_panic(expected = "the end with another span")]
fn an_end_with_another_span_is_noticed() {
    let (checker, mut request) = began(Detail::Request);
    fall_back(&checker, &mut request);
    let (operation, status) = (Operation::Route, Status::Fallback);
    let span = Some(SpanIds { trace: 1, span: 2 });
    let end = RequestEnd { operation, candidates: 1, status, duration: Duration::ZERO, span };
    checker.on_request_end(request, &end);
}

#[test]
#[should_panic(expected = "detail is called right after the start")]
fn a_decision_before_the_call_of_detail_is_noticed() {
    let checker = observing(Detail::Request);
    let mut request = start(&checker, Operation::Route);
    fall_back(&checker, &mut request);
}

#[test]
#[should_panic(expected = "an observer of detail Request received an event of detail Stages")]
fn a_call_of_is_enabled_beyond_the_detail_is_noticed() {
    let (checker, request) = began(Detail::Request);
    checker.is_enabled(&request, &stage(Stage::ModelInference));
}

#[test]
#[should_panic(expected = "was enabled and was not, in one request")]
fn an_observer_with_inconsistent_results_is_noticed() {
    let checker = Checker::new(Observing { inconsistent: true, ..Default::default() });
    let request = start(&checker, Operation::Route);
    checker.detail(&request);
    for _ in 0..2 {
        checker.is_enabled(&request, &stage(Stage::ModelInference));
    }
}

#[test]
#[should_panic(expected = "came to an observer that did not enable it")]
fn a_stage_that_is_not_enabled_is_noticed() {
    let (checker, mut request) = began(Detail::Stages);
    checker.on_stage_start(&mut request, &stage(Stage::ModelInference));
}

#[test]
#[should_panic(expected = "ModelInference, step None, is enabled and never began")]
fn an_enabled_stage_that_never_began_is_noticed() {
    let (checker, mut request) = began(Detail::Stages);
    assert!(checker.is_enabled(&request, &stage(Stage::ModelInference)));
    fall_back(&checker, &mut request);
}

#[test]
#[should_panic(expected = "calls of is_enabled for stages")]
fn a_stage_without_a_call_of_is_enabled_is_noticed() {
    let (checker, mut request) = began(Detail::Stages);
    for each in [Stage::CircuitBreakerCheck, Stage::FeatureEngineering, Stage::ModelInference] {
        run(&checker, &mut request, &stage(each));
    }
    succeed(&checker, &mut request);
}

#[test]
#[should_panic(expected = "calls of is_enabled for steps")]
fn a_step_without_a_call_of_is_enabled_is_noticed() {
    let (checker, mut request) = began(Detail::Candidates);
    for each in Stage::ROUTING {
        run(&checker, &mut request, &stage(each));
    }
    succeed(&checker, &mut request);
}

#[test]
#[should_panic(expected = "a step outside model_inference")]
fn a_step_within_another_stage_is_noticed() {
    let (checker, mut request) = began(Detail::Candidates);
    let outer = stage(Stage::FeatureEngineering);
    let step = Some(CandidateStep { candidate: 0, rank: 0, id: "" });
    let inner = StageStart { step, ..stage(Stage::ModelInference) };
    assert!(checker.is_enabled(&request, &outer) && checker.is_enabled(&request, &inner));
    checker.on_stage_start(&mut request, &outer);
    checker.on_stage_start(&mut request, &inner);
}

#[test]
#[should_panic(expected = "began twice")]
fn a_stage_that_begins_twice_is_noticed() {
    let (checker, mut request) = began(Detail::Stages);
    run(&checker, &mut request, &stage(Stage::ModelInference));
    run(&checker, &mut request, &stage(Stage::ModelInference));
}

#[test]
#[should_panic(expected = "FeatureEngineering after Some(ModelInference)")]
fn stages_in_another_order_are_noticed() {
    let (checker, mut request) = began(Detail::Stages);
    run(&checker, &mut request, &stage(Stage::ModelInference));
    run(&checker, &mut request, &stage(Stage::FeatureEngineering));
}

#[test]
#[should_panic(expected = "the end of another stage")]
fn the_end_of_another_stage_is_noticed() {
    let (checker, mut request) = began(Detail::Stages);
    let event = stage(Stage::ModelInference);
    assert!(checker.is_enabled(&request, &event));
    let context = checker.on_stage_start(&mut request, &event);
    checker.on_stage_end(&mut request, context, &end(Stage::FeatureEngineering));
}

#[test]
#[should_panic(expected = "a decision or an error within a stage")]
fn a_decision_within_a_stage_is_noticed() {
    let (checker, mut request) = began(Detail::Stages);
    let event = stage(Stage::ModelInference);
    assert!(checker.is_enabled(&request, &event));
    checker.on_stage_start(&mut request, &event);
    fall_back(&checker, &mut request);
}

#[test]
#[should_panic(expected = "began after the decision or the error")]
fn a_stage_after_the_decision_is_noticed() {
    let (checker, mut request) = began(Detail::Stages);
    fall_back(&checker, &mut request);
    run(&checker, &mut request, &stage(Stage::ModelInference));
}

#[test]
#[should_panic(expected = "ended without a decision or an error")]
fn an_end_without_a_decision_is_noticed() {
    let (checker, request) = began(Detail::Request);
    finish(&checker, request, Operation::Route, Status::Fallback);
}

#[test]
#[should_panic(expected = "the end of another request")]
fn the_end_of_another_request_is_noticed() {
    let (checker, mut request) = began(Detail::Request);
    fall_back(&checker, &mut request);
    finish(&checker, request, Operation::RouteSet, Status::Fallback);
}

#[test]
#[should_panic(expected = "the end of another decision or error")]
fn an_end_of_another_status_is_noticed() {
    let (checker, mut request) = began(Detail::Request);
    fall_back(&checker, &mut request);
    finish(&checker, request, Operation::Route, Status::Success);
}

#[test]
#[should_panic(expected = "requests that began and that ended")]
fn a_request_that_never_ends_is_noticed() {
    let (checker, mut request) = began(Detail::Request);
    fall_back(&checker, &mut request);
    drop(request);
    checker.assert_at_rest();
}

#[test]
#[should_panic(expected = "a callback came from another thread")]
fn a_callback_from_another_thread_is_noticed() {
    let (checker, mut request) = began(Detail::Request);
    let elsewhere = std::thread::spawn(move || fall_back(&checker, &mut request));
    resume_unwind(elsewhere.join().unwrap_err());
}

#[test]
#[should_panic(expected = "a request of a batch began outside of it")]
fn a_request_of_a_batch_outside_of_its_context_is_noticed() {
    let checker = observing(Detail::Request);
    let batch = checker.on_batch_start(&BatchStart { requests: 1 });
    drop(batch.enter());
    start(&checker, Operation::RouteBatch);
}

#[test]
#[should_panic(expected = "requests of a batch that entered it")]
fn a_request_that_does_not_enter_its_batch_is_noticed() {
    let batch = observing(Detail::Request).on_batch_start(&BatchStart { requests: 2 });
    drop(batch.enter());
}

#[test]
#[should_panic(expected = "guards of a batch that outlive it")]
fn a_guard_that_is_never_dropped_is_noticed() {
    let batch = observing(Detail::Request).on_batch_start(&BatchStart { requests: 1 });
    std::mem::forget(batch.enter());
}

#[test]
#[should_panic(expected = "a promise that was not refuted")]
fn a_broken_promise_that_was_not_refuted_is_noticed() {
    let monitor = crate::promise::PromiseMonitor::new(RiskBudget { alpha: 0.1, delta: 0.05 });
    observing(Detail::Off).on_promise_broken(&PromiseBroken { promise: monitor.state() });
}

#[test]
#[should_panic(expected = "a transition to the same state")]
fn a_transition_to_the_same_state_is_noticed() {
    let (from, to) = (crate::CircuitState::Open, crate::CircuitState::Open);
    let event =
        BreakerTransition { circuit: Circuit::Inference, from, to, cause: crate::breaker::Cause::Forced };
    observing(Detail::Off).on_breaker_transition(&event);
}
