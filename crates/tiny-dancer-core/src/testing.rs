//! For tests of observers: a contract checker, models with known answers, and a run that causes every event.
//!
//! [`exercise`] sends requests of every kind through a router with a [`ContractChecker`], and counts each event. The crate
//! of an observer compares these counts with what its observer records, so that an event that it ignores is found.

use crate::breaker::CircuitBreakerConfig;
use crate::budget::{BudgetState, JudgeRate, QualityBudget, Settlement, Ticket};
use crate::coin::Draw;
use crate::conformal::{CalibrationRow, CalibrationTable};
use crate::fastgrnn::FastGrnnWeights;
use crate::model::{Ties, TrainingFacts};
use crate::observer::{
    BatchContext, BatchStart, BreakerTransition, BudgetEvent, Decided, Detail, Failed, MemoryChange,
    MemoryErrorKind, MemoryEvent, MemoryState, ModelReload, Observer, Operation, OutcomeReported,
    PromiseBroken, RequestEnd, RequestStart, SpanIds, Stage, StageEnd, StageErrorKind, StageReport,
    StageStart, Status, VerdictKind,
};
use crate::promise::{RiskBudget, RiskStep};
use crate::{
    Candidate, CandidateSet, Circuit, Clock, ErrorKind, ManualClock, Metadata, Model, ModelType, OnOpen,
    Origin, Outcome, OutcomeResult, Query, Reason, Router, RouterConfig, RoutingRequest,
};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::ThreadId;
use std::time::Duration;

pub mod kernels;

/// The time of the clock of [`router`] at the start, in Unix seconds.
pub const NOW: i64 = 1_700_000_000;

/// A model whose confidence follows from the nearest candidate's success rate: 1 gives 0.98, one half gives 0.5, 0 gives
/// 0.02. Below a similarity of 0.5 there are no calibration rows, so the uncertainty is 1. From 0.5 on it is 0.06 for
/// success rates of 0 and 1.
pub fn toy_model() -> Model {
    model(4.0, 0.0)
}

/// A model whose output is infinite unless the success rate is one half.
pub fn broken_model() -> Model {
    // The weights are finite, but their sum is not.
    model(f32::MAX, f32::MAX)
}

fn model(head_weight: f32, head_bias: f32) -> Model {
    // The gate keeps nothing of the old state, so the state is tanh(4 success rate - 2) of the candidate read last.
    let weights = FastGrnnWeights {
        w: vec![0.0, 0.0, 0.0, 4.0, 0.0],
        u: vec![0.0],
        bias_gate: vec![-30.0],
        bias_update: vec![-2.0],
        zeta: 30.0,
        nu: -30.0,
        head_weight: vec![head_weight],
        head_bias,
    };
    let rows = (0..100).map(|i| CalibrationRow {
        confidence: if i < 5 { 0.99 } else { 0.9 },
        sufficed: i >= 5,
        top_similarity: 0.9,
        candidates: 1,
    });
    let table = CalibrationTable::new(vec![0.5], vec![], rows);
    Model::new(weights, Ties::Whole, table.clone(), table, TrainingFacts::new()).expect("the shapes agree")
}

/// A router with this model and a manual clock at [`NOW`], and the handle that advances the clock.
///
/// # Panics
/// Never, since the configuration has no promise.
pub fn router<O: Observer>(
    model: Model,
    circuits: CircuitBreakerConfig,
    observer: O,
) -> (Router<O>, ManualClock) {
    let (clock, manual) = Clock::manual(NOW);
    let config = RouterConfig { clock, circuit_breaker: circuits, ..Default::default() };
    (Router::with_model(config, observer, model).expect("no risk is promised"), manual)
}

/// A candidate with an embedding of two dimensions, whose cosine with the query `[1, 0]` is `similarity`.
pub fn candidate(id: &str, similarity: f32, success_rate: f32) -> Candidate {
    Candidate {
        id: id.to_owned(),
        embedding: vec![similarity, (1.0 - similarity * similarity).max(0.0).sqrt()],
        metadata: Metadata::new(),
        created_at: NOW,
        access_count: 1,
        success_rate,
        win_rate: 0.0,
    }
}

/// The number of each event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Starts of requests.
    pub requests: u64,
    /// Starts of whole stages.
    pub stages: u64,
    /// Starts of candidates' steps.
    pub steps: u64,
    /// Decisions.
    pub decisions: u64,
    /// Errors.
    pub errors: u64,
    /// Outcomes.
    pub outcomes: u64,
    /// Transitions of circuits.
    pub transitions: u64,
    /// Loads of models, the first and the failed ones included.
    pub reloads: u64,
    /// Broken promises.
    pub broken_promises: u64,
    /// Events of a memory.
    pub memory: u64,
    /// Events of a budget.
    pub budget: u64,
}

/// Wraps an observer and panics in the callback that breaks the [contract](crate::observer).
#[derive(Debug, Default)]
pub struct ContractChecker<O = ()> {
    inner: O,
    counts: [AtomicU64; 11],
    ended: AtomicU64,
}

impl<O> ContractChecker<O> {
    /// Wraps `inner`, which receives every event.
    pub fn new(inner: O) -> Self {
        Self { inner, counts: Default::default(), ended: AtomicU64::new(0) }
    }

    /// The wrapped observer.
    pub fn inner(&self) -> &O {
        &self.inner
    }

    /// The number of each event so far.
    pub fn counts(&self) -> Counts {
        let [
            requests,
            stages,
            steps,
            decisions,
            errors,
            outcomes,
            transitions,
            reloads,
            broken_promises,
            memory,
            budget,
        ] = std::array::from_fn(|i| self.counts[i].load(Ordering::SeqCst));
        Counts {
            requests,
            stages,
            steps,
            decisions,
            errors,
            outcomes,
            transitions,
            reloads,
            broken_promises,
            memory,
            budget,
        }
    }

    /// Checks that each request has ended, if its detail includes the end.
    ///
    /// # Panics
    /// If a request has not ended.
    pub fn assert_at_rest(&self) {
        let counts = self.counts();
        assert_eq!(counts.requests, self.ended.load(Ordering::SeqCst), "requests that began and that ended");
    }

    /// Checks a decision or an error. The request's end must follow.
    fn check_result<R>(&self, request: &mut Checked<R>, least: Detail, status: Status, is_inferred: bool) {
        let detail = request.check(least);
        assert_eq!(request.open, [], "a decision or an error within a stage");
        assert_eq!(request.status.replace(status), None, "a second decision or error");
        let mut answers = request.answers.borrow_mut();
        if let Some(((stage, step), _)) = answers.iter().find(|(_, answer)| answer.enabled && !answer.began) {
            panic!("{stage:?}, step {step:?}, is enabled and never began");
        }
        if detail >= Detail::Stages && is_inferred {
            let routing = |&&(stage, step): &&(Stage, Option<usize>)| stage.is_routing() && step.is_none();
            let stages = answers.keys().filter(routing).count();
            assert_eq!(stages, Stage::ROUTING.len(), "calls of is_enabled for stages");
        }
        answers.clear();
        if detail <= Detail::Unsuccessful {
            self.ended.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn count(&self, event: usize) {
        self.counts[event].fetch_add(1, Ordering::SeqCst);
    }
}

/// A request under check. A request that is dropped without an end counts as ended only at the detail `Off`, or at the
/// detail `Unsuccessful` if it is a success.
#[derive(Debug)]
pub struct Checked<R> {
    inner: R,
    thread: ThreadId,
    operation: Operation,
    /// The number of candidates, after an event that has it.
    candidates: Option<usize>,
    /// The observer's result of `detail`.
    detail: Cell<Option<Detail>>,
    /// Its result of `span`; after a decision or an error, the span of that event.
    span: Cell<Spans>,
    /// Its results of `is_enabled`, for each stage, and for each step by its rank.
    answers: RefCell<BTreeMap<(Stage, Option<usize>), Answer>>,
    open: Vec<(Stage, bool)>,
    last: Option<Stage>,
    /// The status, after a decision or an error.
    status: Option<Status>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Spans {
    #[default]
    Unknown,
    Known(Option<SpanIds>),
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    enabled: bool,
    began: bool,
}

impl<R> Checked<R> {
    fn check_thread(&self) {
        assert_eq!(std::thread::current().id(), self.thread, "a callback came from another thread");
    }

    /// Checks that a decision or an error has a span if the observer records one: its own, or that of a member before it.
    fn check_span(&self, span: Option<SpanIds>) {
        let Spans::Known(own) = self.span.replace(Spans::Known(span)) else {
            panic!("span is called before the decision or the error")
        };
        assert!(own.is_none() || span.is_some(), "a decision or an error without the span {own:?}");
    }

    /// Checks the number of candidates in a stage: none in a scope's stage, always the same in the router's own.
    fn check_candidates(&mut self, stage: Stage, candidates: usize) {
        let expected = if stage.is_routing() { *self.candidates.get_or_insert(candidates) } else { 0 };
        assert_eq!(candidates, expected, "candidates of {stage:?}");
    }

    /// Checks the thread, and that the observer's detail is at least this one. Returns the detail.
    fn check(&self, least: Detail) -> Detail {
        self.check_thread();
        let detail = self.detail.get().expect("detail is called right after the start");
        assert!(least <= detail, "an observer of detail {detail:?} received an event of detail {least:?}");
        detail
    }
}

/// A batch under check: each of its requests enters it once, and its guards are dropped before the batch.
#[derive(Debug, Default)]
pub struct CheckedBatch<B> {
    inner: B,
    requests: usize,
    entered: AtomicUsize,
    inside: AtomicUsize,
}

/// The guard of a batch that is current on this thread.
#[derive(Debug)]
pub struct Entered<'a, B: BatchContext> {
    inside: &'a AtomicUsize,
    /// The inner guard, which is dropped after this guard's own `drop`.
    _inner: B::Guard<'a>,
}

thread_local! {
    /// How many batches are entered on this thread, one within another.
    static ENTERED: Cell<usize> = const { Cell::new(0) };
}

impl<B: BatchContext> BatchContext for CheckedBatch<B> {
    type Guard<'a> = Entered<'a, B>;

    fn enter(&self) -> Entered<'_, B> {
        self.entered.fetch_add(1, Ordering::SeqCst);
        self.inside.fetch_add(1, Ordering::SeqCst);
        ENTERED.set(ENTERED.get() + 1);
        Entered { inside: &self.inside, _inner: self.inner.enter() }
    }
}

impl<B: BatchContext> Drop for Entered<'_, B> {
    fn drop(&mut self) {
        self.inside.fetch_sub(1, Ordering::SeqCst);
        ENTERED.set(ENTERED.get() - 1);
    }
}

impl<B> Drop for CheckedBatch<B> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(*self.inside.get_mut(), 0, "guards of a batch that outlive it");
            assert_eq!(*self.entered.get_mut(), self.requests, "requests of a batch that entered it");
        }
    }
}

impl<O: Observer> Observer for ContractChecker<O> {
    type Request = Checked<O::Request>;
    type Stage = Option<(O::Stage, Stage, bool)>;
    type Batch = CheckedBatch<O::Batch>;

    fn on_batch_start(&self, event: &BatchStart) -> Self::Batch {
        CheckedBatch {
            inner: self.inner.on_batch_start(event),
            requests: event.requests,
            entered: AtomicUsize::new(0),
            inside: AtomicUsize::new(0),
        }
    }

    fn on_request_start(&self, event: &RequestStart<'_>) -> Self::Request {
        self.count(0);
        let in_batch = event.operation == Operation::RouteBatch;
        assert!(!in_batch || ENTERED.get() > 0, "a request of a batch began outside of it");
        Checked {
            inner: self.inner.on_request_start(event),
            thread: std::thread::current().id(),
            operation: event.operation,
            candidates: None,
            detail: Cell::default(),
            span: Cell::default(),
            answers: RefCell::default(),
            open: Vec::new(),
            last: None,
            status: None,
        }
    }

    fn detail(&self, request: &Self::Request) -> Detail {
        request.check_thread();
        let detail = self.inner.detail(&request.inner);
        assert_eq!(request.detail.replace(Some(detail)), None, "detail was called twice");
        if detail <= Detail::Unsuccessful {
            self.ended.fetch_add(1, Ordering::SeqCst);
        }
        detail
    }

    fn span(&self, request: &Self::Request) -> Option<SpanIds> {
        assert_ne!(
            request.check(Detail::Unsuccessful),
            Detail::Off,
            "span of a request that is not observed"
        );
        let span = self.inner.span(&request.inner);
        assert_eq!(request.span.replace(Spans::Known(span)), Spans::Unknown, "span was called twice");
        span
    }

    fn is_enabled(&self, request: &Self::Request, event: &StageStart<'_>) -> bool {
        request.check(event.detail());
        let enabled = self.inner.is_enabled(&request.inner, event);
        if request.status.is_none() {
            let stage = (event.stage, event.step.map(|step| step.rank));
            let mut answers = request.answers.borrow_mut();
            let before = answers.entry(stage).or_insert(Answer { enabled, began: false });
            assert_eq!(before.enabled, enabled, "{event:?} was enabled and was not, in one request");
            // A scope's stage may follow another of the same kind.
            before.began &= event.stage.is_routing();
        }
        enabled
    }

    fn on_stage_start(&self, request: &mut Self::Request, event: &StageStart<'_>) -> Self::Stage {
        request.check(event.detail());
        assert_eq!(request.status, None, "{event:?} began after the decision or the error");
        let stage = (event.stage, event.step.map(|step| step.rank));
        match request.answers.get_mut().get_mut(&stage) {
            Some(answer @ Answer { enabled: true, began: false }) => answer.began = true,
            Some(Answer { enabled: true, .. }) => panic!("{event:?} began twice"),
            _ => panic!("{event:?} came to an observer that did not enable it"),
        }
        let is_step = event.step.is_some();
        if is_step {
            self.count(2);
            // An observer can enable steps without their stage.
            assert!(
                request.open.iter().all(|open| *open == (Stage::ModelInference, false)),
                "a step outside model_inference"
            );
            assert_eq!(event.stage, Stage::ModelInference, "a step of another stage");
        } else {
            self.count(1);
            assert_eq!(request.open, [], "{:?} began within another stage", event.stage);
            if event.stage.is_routing() {
                assert!(request.last < Some(event.stage), "{:?} after {:?}", event.stage, request.last);
            } else {
                assert_eq!(request.operation, Operation::Scope, "{:?} outside of a scope", event.stage);
                let routed = request.last.filter(|last| last.is_routing());
                assert_eq!(routed, None, "{:?} after the scope was routed", event.stage);
            }
            request.last = Some(event.stage);
        }
        request.check_candidates(event.stage, event.candidates);
        request.open.push((event.stage, is_step));
        Some((self.inner.on_stage_start(&mut request.inner, event), event.stage, is_step))
    }

    fn on_stage_end(&self, request: &mut Self::Request, context: Self::Stage, event: &StageEnd) {
        let (inner, stage, is_step) = context.expect("a stage that ends began");
        request.check(event.detail());
        assert_eq!((event.stage, event.is_step), (stage, is_step), "the end of another stage");
        assert_eq!(request.open.pop(), Some((stage, is_step)), "stages overlap");
        if stage.is_routing() {
            let report = StageReport { items: request.candidates.unwrap_or_default(), ..Default::default() };
            assert_eq!(event.report, report, "the report of the router's own stage {stage:?}");
        }
        self.inner.on_stage_end(&mut request.inner, inner, event);
    }

    fn on_decision(&self, request: &mut Self::Request, event: &Decided<'_>) {
        self.count(3);
        let joint = event.joint().len();
        let steps = request.answers.get_mut().keys().filter(|(_, step)| step.is_some()).count();
        let is_inferred = event.status() == Status::Success && event.candidates > 0;
        self.check_result(request, event.detail(), event.status(), is_inferred);
        request.check_span(event.span);
        request.check_candidates(Stage::UncertaintyEstimation, event.candidates);
        if request.detail.get() == Some(Detail::Candidates) {
            assert_eq!(steps, joint, "calls of is_enabled for steps");
        }
        assert_eq!(event.decisions.len(), event.features().len(), "one decision for each candidate");
        assert_eq!(event.model, event.reason.model(), "a model that contradicts its reason");
        let happened = |draw: Option<Draw>| draw.is_some_and(|draw| draw.happened);
        let explored = matches!(event.reason, Reason::Explored | Reason::BudgetSpent);
        assert!(explored || !happened(event.explore), "a draw against the reason");
        assert!(
            event.reason != Reason::Explored || happened(event.explore),
            "an explored request without a draw"
        );
        assert!(
            event.ticket.is_none() || event.model == ModelType::Lightweight,
            "a ticket of a powerful answer"
        );
        let shadows = event.model == ModelType::Powerful || event.shadow.is_none();
        assert!(shadows, "a draw of shadow_rate for a lightweight answer");
        self.inner.on_decision(&mut request.inner, event);
    }

    fn on_error(&self, request: &mut Self::Request, event: &Failed<'_>) {
        self.count(4);
        self.check_result(request, Detail::Unsuccessful, Status::Failure, false);
        request.check_span(event.span);
        if event.kind() == ErrorKind::Abandoned {
            assert_eq!(request.operation, Operation::Scope, "only a scope can be abandoned");
            let routed = request.last.filter(|last| last.is_routing());
            assert_eq!((routed, event.stage), (None, None), "an abandoned scope that was routed");
        } else {
            let stage = event.stage.expect("an error comes from a stage");
            // The search of a scope's user can refuse the query.
            let is_search = request.operation == Operation::Scope && stage == Stage::MemorySearch;
            assert!(stage.is_routing() || is_search, "an error from {stage:?}");
        }
        request.candidates.get_or_insert(event.candidates);
        assert_eq!(request.candidates, Some(event.candidates), "candidates of an error");
        self.inner.on_error(&mut request.inner, event);
    }

    fn on_request_end(&self, request: Self::Request, event: &RequestEnd) {
        self.ended.fetch_add(1, Ordering::SeqCst);
        request.check(event.detail());
        let status = request.status.expect("ended without a decision or an error");
        let began = (request.operation, request.candidates.unwrap_or_default());
        let ended = (event.operation, event.candidates);
        assert_eq!(ended, began, "the end of another request");
        assert_eq!(event.status, status, "the end of another decision or error");
        assert_eq!(Spans::Known(event.span), request.span.get(), "the end with another span");
        self.inner.on_request_end(request.inner, event);
    }

    fn on_outcome(&self, event: &OutcomeReported) {
        self.count(5);
        self.inner.on_outcome(event);
    }

    fn on_promise_broken(&self, event: &PromiseBroken) {
        self.count(8);
        assert!(event.promise.broken, "a promise that was not refuted");
        self.inner.on_promise_broken(event);
    }

    fn on_breaker_transition(&self, event: &BreakerTransition) {
        self.count(6);
        assert_ne!(event.from, event.to, "a transition to the same state");
        self.inner.on_breaker_transition(event);
    }

    fn on_model_reload(&self, event: &ModelReload<'_>) {
        self.count(7);
        self.inner.on_model_reload(event);
    }

    fn on_budget(&self, event: &BudgetEvent<'_>) {
        self.count(10);
        let state = event.state();
        let BudgetState { allowed, bound, balance, judged, worse, .. } = state;
        assert!((allowed - bound - balance).abs() < 1e-6, "{state:?}");
        assert!(worse <= judged, "{worse} found worse of {judged} judged");
        self.inner.on_budget(event);
    }

    fn on_memory(&self, event: &MemoryEvent) {
        self.count(9);
        let MemoryState { entries, evidence, .. } = event.state;
        assert!(evidence <= entries, "{evidence} entries with a verdict among {entries}");
        self.inner.on_memory(event);
    }
}

/// Causes every kind of request, outcome, transition and reload in routers with `observer`.
///
/// These are: decisions for each [`Reason`], explored and shadowed ones, and by each [`Operation`], errors of each [`ErrorKind`] and
/// each [`StageErrorKind`], outcomes of each kind for both models and of each
/// [`Origin`], both circuits in all their states, a reload
/// that succeeds and one that fails, a broken promise, each [`MemoryChange`], and a budget that is
/// spent and recovers, with each [`Settlement`]. The clock is manual, so durations are zero.
///
/// # Panics
/// If the contract is broken.
pub fn exercise<O: Observer>(observer: O) -> ContractChecker<O> {
    let checker = std::sync::Arc::new(ContractChecker::new(observer));
    decide_everything(checker.clone());
    fail_everything(checker.clone());
    explore_and_shadow(checker.clone());
    open_scopes(checker.clone());
    reload(checker.clone());
    break_the_promise(checker.clone());
    change_a_memory(checker.clone());
    spend_the_budget(checker.clone());
    checker.assert_at_rest();
    std::sync::Arc::into_inner(checker).expect("the routers are dropped")
}

fn report<O: Observer>(router: &Router<O>, model: ModelType, result: OutcomeResult) {
    router.record_outcome(Outcome::new(model, result));
}

fn decide_everything<O: Observer>(observer: O) {
    let circuits = CircuitBreakerConfig { lightweight_min_calls: 4, probes: 1, ..Default::default() };
    let (router, manual) = router(toy_model(), circuits, observer);
    let near = [candidate("near", 0.9, 1.0), candidate("nearer", 0.95, 1.0)];
    let doubtful = [candidate("doubtful", 0.9, 0.5)];
    let far = [candidate("far", 0.1, 1.0)];
    for candidates in [&near[..], &doubtful, &far, &[]] {
        router.route(RoutingRequest::new(&[1.0, 0.0], candidates)).expect("a good request");
    }
    let set = CandidateSet::new(doubtful.iter().chain(&near).cloned().collect()).expect("good candidates");
    router.route_set(Query::new(&[1.0, 0.0]), &set, 2).expect("a good query");
    for result in router.route_batch(&[RoutingRequest::new(&[1.0, 0.0], &far); 2]) {
        result.expect("a good request");
    }
    for model in ModelType::ALL {
        for result in OutcomeResult::ALL {
            report(&router, model, result);
        }
    }
    for origin in Origin::ALL {
        let outcome = Outcome::new(ModelType::Lightweight, OutcomeResult::Sufficed);
        router.record_outcome(outcome.with_origin(origin));
    }
    for _ in 0..8 {
        report(&router, ModelType::Lightweight, OutcomeResult::CallFailed);
    }
    let request = RoutingRequest::new(&[1.0, 0.0], &near);
    let state = || router.circuit_state(Circuit::Lightweight);
    assert_eq!(state(), crate::CircuitState::Open);
    router.route(request).expect("a fallback");
    manual.advance(Duration::from_secs(600));
    router.route(request).expect("a probe");
    assert_eq!(state(), crate::CircuitState::HalfOpen);
    report(&router, ModelType::Lightweight, OutcomeResult::Sufficed);
    assert_eq!(state(), crate::CircuitState::Closed);
}

/// Explores a request with candidates and one without, and shadows the same two.
fn explore_and_shadow<O: Observer>(observer: O) {
    let observer = std::sync::Arc::new(observer);
    let far = [candidate("far", 0.1, 1.0)];
    for (explore, shadow_rate) in [(1.0, 0.0), (0.0, 1.0)] {
        let (clock, _) = Clock::manual(NOW);
        let config = RouterConfig { explore, shadow_rate, clock, ..Default::default() };
        let router = Router::with_model(config, observer.clone(), toy_model()).expect("rates from 0 to 1");
        for candidates in [&far[..], &[]] {
            let response =
                router.route(RoutingRequest::new(&[1.0, 0.0], candidates)).expect("a good request");
            assert_eq!(response.reason == Reason::Explored, explore > 0.0);
            assert_eq!(response.shadow.is_some_and(|draw| draw.happened), shadow_rate > 0.0);
        }
    }
}

/// The text of every scope has three tokens. `embedding` reads two of them.
fn open_scopes<O: Observer>(observer: O) {
    let (router, _) = router(toy_model(), CircuitBreakerConfig::default(), observer);
    let embed = |report: &mut StageReport| {
        (report.items, report.truncated) = (2, true);
        [1.0, 0.0]
    };
    let search = |report: &mut StageReport| {
        report.items = 1;
        [candidate("found", 0.9, 1.0)]
    };
    let mut scope = router.begin();
    let query = scope.embedding(embed);
    let candidates = scope.memory_search(search);
    scope.route(RoutingRequest::new(&query, &candidates)).expect("a good request");

    // Without a stage, and with stages in another order.
    router.begin().route(RoutingRequest::new(&query, &candidates)).expect("a good request");
    let set = CandidateSet::new(candidates.to_vec()).expect("good candidates");
    let mut scope = router.begin();
    scope.memory_search(search);
    scope.memory_search(search);
    let query = scope.embedding(embed);
    scope.route_set(Query::new(&query), &set, 1).expect("a good query");
    let [candidate] = &candidates;
    router.begin().route_nearest(Query::new(&query), &[candidate]).expect("a good request");

    let mut scope = router.begin();
    let query = scope.embedding(embed);
    scope.route(RoutingRequest::new(&query[..0], &candidates)).expect_err("an empty query");
    for kind in StageErrorKind::ALL {
        let mut scope = router.begin();
        scope.embedding(|report| report.error = Some(kind));
        scope.memory_search(|report| report.error = Some(kind));
        scope.route_without_evidence().expect("a fallback");
    }
    drop(router.begin());
    let mut scope = router.begin();
    scope.embedding(embed);
    drop(scope);
}

fn fail_everything<O: Observer>(observer: O) {
    let circuits = CircuitBreakerConfig { on_open: OnOpen::Reject, ..Default::default() };
    let (router, manual) = router(broken_model(), circuits, observer);
    let good = candidate("good", 0.9, 1.0);
    let with = |change: fn(&mut Candidate)| {
        let mut candidate = good.clone();
        change(&mut candidate);
        [candidate]
    };
    let bad = [
        with(|candidate| candidate.embedding = vec![1.0]),
        with(|candidate| candidate.embedding[1] = f32::NAN),
        with(|candidate| candidate.embedding = vec![0.0, 0.0]),
        with(|candidate| candidate.success_rate = 1.5),
        with(|candidate| candidate.win_rate = -0.5),
    ];
    for candidates in &bad {
        router.route(RoutingRequest::new(&[1.0, 0.0], candidates)).expect_err("a bad candidate");
    }
    router.route(RoutingRequest::new(&[], &[])).expect_err("an empty query");
    let candidates = [good];
    let request = RoutingRequest::new(&[1.0, 0.0], &candidates);
    for _ in 0..5 {
        router.route(request).expect_err("an output that is not finite");
    }
    assert_eq!(router.circuit_state(Circuit::Inference), crate::CircuitState::Open);
    router.route(request).expect_err("an open circuit");
    manual.advance(Duration::from_secs(600));
    router.route(request).expect_err("a probe that fails");
    router.reset(Circuit::Inference);
}

fn break_the_promise<O: Observer>(observer: O) {
    let step = RiskStep { confidence_threshold: 0.9, max_uncertainty: 0.2, n: 100, failures: 1 };
    let model = toy_model().with_risk_path(vec![step]).expect("a good path");
    let (clock, _) = Clock::manual(NOW);
    let risk = Some(RiskBudget { alpha: 0.1, delta: 0.05 });
    let config = RouterConfig { clock, risk, open_on_broken_promise: true, ..Default::default() };
    let router = Router::with_model(config, observer, model).expect("a promise that can be kept");
    for _ in 0..100 {
        report(&router, ModelType::Lightweight, OutcomeResult::Insufficient);
    }
    assert_eq!(router.circuit_state(Circuit::Lightweight), crate::CircuitState::Open);
    router.reset(Circuit::Lightweight);
}

/// Spends a budget whose answers are all judged, and earns it back: each settlement, a cancellation, and both changes.
fn spend_the_budget<O: Observer>(observer: O) {
    let (clock, manual) = Clock::manual(NOW);
    let timeout = Duration::from_secs(10);
    let budget = QualityBudget {
        judge_rate: JudgeRate::Fixed(1.0),
        burst: 5.0,
        judgement_timeout: timeout,
        ..Default::default()
    };
    let config = RouterConfig { budget: Some(budget), clock, ..Default::default() };
    let router = Router::with_model(config, observer, toy_model()).expect("a good budget");
    let near = [candidate("near", 0.9, 1.0)];
    let route = || router.route(RoutingRequest::new(&[1.0, 0.0], &near)).expect("a good request");
    let admit = || route().ticket.expect("the budget allows it");
    let settle = |ticket, worse| router.settle(ticket, worse);
    let (one, late, cancelled) = (admit(), admit(), admit());
    assert!(router.cancel(&cancelled));
    let undrawn = Ticket::new(Draw { probability: 0.5, happened: false }, 0, 0, 0.9);
    let mut settlements = vec![settle(&one, false), settle(&one, false), settle(&one, true)];
    manual.advance(timeout);
    settlements.extend([settle(&late, false), settle(&undrawn, true), settle(&cancelled, true)]);
    settlements.sort();
    assert_eq!(settlements, Settlement::ALL);
    while route().reason != Reason::BudgetSpent {}
    for _ in 1..50 {
        assert_eq!(route().reason, Reason::BudgetSpent);
    }
    for _ in 0..256 {
        router.answered();
    }
    assert_eq!(route().reason, Reason::Confident);
}

fn change_a_memory<O: Observer>(observer: O) {
    let (router, _) = router(toy_model(), CircuitBreakerConfig::default(), observer);
    let state = MemoryState {
        entries: 100,
        evidence: 40,
        segments: 3,
        queue: 5,
        queue_capacity: 1000,
        log_entries: Some(200),
    };
    let duration = Duration::from_millis(2);
    let changes = [
        MemoryChange::Opened { duration },
        MemoryChange::Stored { changes: 7, duration },
        MemoryChange::Expired { entries: 3, log_entries: 5 },
        MemoryChange::Erased { entries: 2, log_entries: 4 },
    ];
    let verdicts = VerdictKind::ALL.map(|kind| MemoryChange::Verdict { kind });
    let losses = MemoryErrorKind::ALL.map(|kind| MemoryChange::Lost { changes: 2, kind });
    let failures = MemoryErrorKind::ALL.map(|kind| MemoryChange::Failed { changes: 2, kind });
    for change in changes.into_iter().chain(verdicts).chain(failures).chain(losses) {
        router.on_memory(&MemoryEvent::new(state, change));
    }
}

fn reload<O: Observer>(observer: O) {
    let directory = std::env::temp_dir().join(format!("tiny-dancer-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a folder for temporary files");
    let path = directory.join(format!("{:?}.safetensors", std::thread::current().id()));
    std::fs::write(&path, toy_model().to_bytes()).expect("a temporary file");
    let config = RouterConfig { model_path: Some(path.clone()), ..Default::default() };
    let router = Router::with_observer(config, observer).expect("a good model");
    router.reload_model().expect("the same model");
    std::fs::write(&path, b"not a model").expect("a temporary file");
    router.reload_model().expect_err("not a model");
    std::fs::remove_file(&path).expect("the temporary file");
}

#[cfg(test)]
mod tests;
