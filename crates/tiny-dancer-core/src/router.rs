//! The router: one request through four stages.

use crate::breaker::{Admission, Breaker, Cause, Circuit, CircuitState, OnOpen, Transition, Trip};
use crate::budget::{Account, AccountState, BudgetState, RestoreError, Settlement, Ticket};
use crate::config::{ConfigError, RouterConfig};
use crate::fastgrnn::{FastGrnn, State};
use crate::features::{self, Feature, Features, Scales, Setting};
use crate::kernel::Kernel;
use crate::model::{LoadError, Model};
use crate::observer::{
    BatchContext, BudgetChange, CandidateStep, Detail, MemoryEvent, ModelReload, Observer, Operation, Stage,
};
use crate::order::{self, Tiebreak};
use crate::promise::{self, PromiseMonitor, PromiseState};
use crate::request::Candidates;
use crate::response::{Outcome, OutcomeResult, RoutingDecision, RoutingResponse, Scratch, Thresholds};
use crate::set::{Nearest, engineer_nearest};
use crate::{Candidate, CandidateSet, ModelType, Origin, Query, Reason, RouteError, RoutingRequest};
use arc_swap::ArcSwap;
use draws::Draws;
use observed::{CANDIDATES, Observed, STAGES};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[cfg(any(test, feature = "testing"))]
mod baseline;
mod draws;
mod observed;
mod scope;

pub use scope::Scope;

/// Decides for each request whether the lightweight model suffices.
///
/// It is `Send + Sync`: share one between all threads. `O` is its observer; `()` observes nothing, and costs nothing.
pub struct Router<O: Observer = ()> {
    observer: O,
    config: RouterConfig,
    kernel: Kernel,
    scales: Scales,
    serving: ArcSwap<Serving>,
    /// Tests the promised risk by outcomes.
    promise: Option<Mutex<PromiseMonitor>>,
    /// `None` where nothing is drawn.
    draws: Option<Box<Draws>>,
    /// Decides whether the lightweight model may answer. It is shared with the thread that stores it.
    account: Option<Arc<Account>>,
    inference: Breaker,
    lightweight: Breaker,
}

/// Of how many answers one is an event, so that the observer has the state of a budget whose judgements are rare.
const ANSWERS_PER_EVENT: u64 = 256;

/// A model and its thresholds.
struct Serving {
    model: Arc<Model>,
    thresholds: Thresholds,
    /// The configuration's digest, for observers.
    config_digest: String,
}

/// What decides one request.
#[derive(Clone, Copy)]
struct Decider<'a> {
    serving: &'a Serving,
    /// Those of the model or the configuration, moved by the budget's pacing.
    thresholds: Thresholds,
    /// That of the budget, unless the request does not pass admission.
    account: Option<&'a Account>,
}

impl Serving {
    /// Uses the configured thresholds, or those that keep the promised risk.
    fn new(config: &RouterConfig, model: Model) -> Result<Self, LoadError> {
        let RouterConfig { confidence_threshold, max_uncertainty, .. } = *config;
        let mut thresholds = Thresholds { confidence_threshold, max_uncertainty };
        if let Some(budget) = config.risk {
            let step = promise::resolve(model.risk_path(), budget).map_err(|smallest| LoadError::Risk {
                alpha: budget.alpha,
                delta: budget.delta,
                smallest,
            })?;
            thresholds = step.thresholds();
        }
        Ok(Self { model: Arc::new(model), thresholds, config_digest: config.digest() })
    }

    /// Whether it makes the same promise as `other`, so that the outcomes of one are evidence for the other.
    fn promises_like(&self, other: &Self) -> bool {
        (&self.model, self.thresholds) == (&other.model, other.thresholds)
    }
}

impl Router {
    /// A router without an observer.
    ///
    /// # Errors
    /// If a field is out of range, if the model cannot be loaded, or if it cannot promise the configured risk.
    pub fn new(config: RouterConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let model = load(&config)?;
        Self::unobserved(config, model)
    }

    /// A router with a checked configuration and any model; `model_path` is not read.
    fn unobserved(config: RouterConfig, model: Model) -> Result<Self, ConfigError> {
        let serving = Serving::new(&config, model)?;
        let circuits = &config.circuit_breaker;
        let on_failures = Trip::Failures(circuits.inference_failures);
        let on_ratio = Trip::Ratio {
            failures: circuits.lightweight_failure_ratio,
            min_calls: circuits.lightweight_min_calls,
        };
        let breaker = |trip, window| Breaker::new(trip, window, circuits, config.clock.clone());
        Ok(Self {
            observer: (),
            inference: breaker(on_failures, circuits.inference_window),
            lightweight: breaker(on_ratio, circuits.lightweight_window),
            kernel: Kernel::detect(),
            scales: Scales::new(config.recency_half_life),
            serving: ArcSwap::from_pointee(serving),
            promise: config
                .risk
                .filter(|_| config.budget.is_none())
                .map(|budget| Mutex::new(PromiseMonitor::new(budget))),
            draws: Draws::new(&config)?,
            account: config
                .budget
                .as_ref()
                .map(|budget| Account::new(budget, config.clock.clone()).map(Arc::new))
                .transpose()?,
            config,
        })
    }

    /// The same router, with `observer` from now on.
    ///
    /// An observer that is expensive to make, or that registers itself, can thus be made after the configuration was
    /// checked:
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tiny_dancer_core::{Router, RouterConfig};
    ///
    /// # struct Expensive;
    /// # impl tiny_dancer_core::Observer for Expensive {
    /// #     type Request = ();
    /// #     type Stage = ();
    /// #     type Batch = ();
    /// #     fn on_request_start(&self, _: &tiny_dancer_core::observer::RequestStart<'_>) {}
    /// # }
    /// let router = Router::new(RouterConfig::default())?.observed_by(Arc::new(Expensive));
    /// # Ok::<(), tiny_dancer_core::ConfigError>(())
    /// ```
    pub fn observed_by<O: Observer>(self, observer: O) -> Router<O> {
        let Self {
            observer: (),
            config,
            kernel,
            scales,
            serving,
            promise,
            draws,
            account,
            inference,
            lightweight,
        } = self;
        let router = Router {
            observer,
            config,
            kernel,
            scales,
            serving,
            promise,
            draws,
            account,
            inference,
            lightweight,
        };
        router.notify_reload(Ok(()), None);
        router.notify_opened();
        router
    }
}

impl<O: Observer> Router<O> {
    /// A router with an observer.
    ///
    /// # Errors
    /// As [`Router::new`].
    pub fn with_observer(config: RouterConfig, observer: O) -> Result<Self, ConfigError> {
        Ok(Router::new(config)?.observed_by(observer))
    }

    /// A router with a checked configuration and any model; `model_path` is not read.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn with_model(config: RouterConfig, observer: O, model: Model) -> Result<Self, ConfigError> {
        Ok(Router::unobserved(config, model)?.observed_by(observer))
    }

    /// Routes one request. Allocates twice, for any number of candidates; [`route_into`](Self::route_into) allocates
    /// nothing.
    ///
    /// # Errors
    /// If the query or a candidate is bad, if the model's output is not finite, or, with `OnOpen::Reject`, if a circuit is
    /// open: [`RouteError`] lists the cases.
    pub fn route(&self, request: RoutingRequest<'_>) -> Result<RoutingResponse, RouteError> {
        let mut response = RoutingResponse::default();
        self.route_into(request, &mut response)?;
        Ok(response)
    }

    /// Routes one request into a response that is reused. It allocates nothing once the response has held as many
    /// candidates.
    ///
    /// After an error the response is equal to [`RoutingResponse::default`].
    ///
    /// # Errors
    /// As [`route`](Self::route).
    pub fn route_into(
        &self,
        request: RoutingRequest<'_>,
        response: &mut RoutingResponse,
    ) -> Result<(), RouteError> {
        self.answer(Operation::Route, &request.query, Source::Request(request.candidates), response)
    }

    /// Routes one query by the `top_k` nearest candidates of a set. The answer has the same bits as that of
    /// [`route`](Self::route) with those candidates in the order of the set. Only their places differ: a decision's
    /// `candidate` is the place in the set.
    ///
    /// # Errors
    /// As [`route`](Self::route).
    pub fn route_set(
        &self,
        query: Query<'_>,
        set: &CandidateSet,
        top_k: usize,
    ) -> Result<RoutingResponse, RouteError> {
        let mut response = RoutingResponse::default();
        self.route_set_into(query, set, top_k, &mut response)?;
        Ok(response)
    }

    /// [`route_set`](Self::route_set) into a response that is reused.
    ///
    /// # Errors
    /// As [`route`](Self::route).
    pub fn route_set_into(
        &self,
        query: Query<'_>,
        set: &CandidateSet,
        top_k: usize,
        response: &mut RoutingResponse,
    ) -> Result<(), RouteError> {
        self.answer(Operation::RouteSet, &query, Source::Set(set, top_k), response)
    }

    /// Routes several requests. The answers are in the order of the requests, with the same bits as one by one.
    ///
    /// Feature `parallel` splits them over the current rayon pool. Observers are called on the thread that routes, within
    /// the context that was current on the calling thread: see [`on_batch_start`](Observer::on_batch_start).
    pub fn route_batch(&self, requests: &[RoutingRequest<'_>]) -> Vec<Result<RoutingResponse, RouteError>> {
        let batch = observed::batch(&self.observer, requests.len());
        let route = |request: &RoutingRequest<'_>| {
            let _entered = batch.enter();
            let mut response = RoutingResponse::default();
            let source = Source::Request(request.candidates);
            self.answer(Operation::RouteBatch, &request.query, source, &mut response).map(|()| response)
        };
        #[cfg(feature = "parallel")]
        return {
            use rayon::prelude::*;
            requests.par_iter().map(route).collect()
        };
        #[cfg(not(feature = "parallel"))]
        requests.iter().map(route).collect()
    }

    /// Decides, and notifies the observer.
    #[inline(always)]
    fn answer(
        &self,
        operation: Operation,
        query: &Query<'_>,
        source: Source<'_>,
        response: &mut RoutingResponse,
    ) -> Result<(), RouteError> {
        let serving = self.serving.load();
        let decider = self.decider(&serving);
        self.answer_observed(self.observe(operation, &serving), query, source, decider, response)
    }

    /// The model and the thresholds for a request that begins now.
    #[inline(always)]
    fn decider<'s>(&'s self, serving: &'s Serving) -> Decider<'s> {
        let (first, account) = (serving.thresholds, self.account().map(AsRef::as_ref));
        let thresholds = account.map_or(first, |account| account.thresholds(first));
        Decider { serving, thresholds, account }
    }

    /// Notifies the observer of a request's start.
    #[inline(always)]
    fn observe(&self, operation: Operation, serving: &Serving) -> Observed<'_, O> {
        Observed::start(&self.observer, &self.config.clock, operation, serving)
    }

    /// Decides a request that has begun.
    #[inline(always)]
    fn answer_observed(
        &self,
        mut observed: Observed<'_, O>,
        query: &Query<'_>,
        source: Source<'_>,
        decider: Decider<'_>,
        response: &mut RoutingResponse,
    ) -> Result<(), RouteError> {
        observed.set_size(source.len(), query.embedding.len());
        let result = match observed.detail() {
            Detail::Candidates => self.decide::<CANDIDATES>(query, source, decider, &mut observed, response),
            Detail::Stages => self.decide::<STAGES>(query, source, decider, &mut observed, response),
            _ => self.decide::<0>(query, source, decider, &mut observed, response),
        };
        match &result {
            Ok(()) => observed.decided(source, self.kernel, decider, response),
            Err(error) => {
                response.fall_back(Reason::NoEvidence);
                observed.failed(error);
            }
        }
        result
    }

    /// Records the outcome of a call to a model: once per call, at any time.
    ///
    /// Outcomes of the lightweight model can change the state of the `lightweight` circuit, for each
    /// [`Origin`](crate::Origin). Those of routed requests are the evidence for or against the promise. An outcome does not identify
    /// its request, so while that circuit is half-open, any outcome of the lightweight model counts as that of a probe.
    pub fn record_outcome(&self, outcome: Outcome) {
        // The state changes first, so that it changes even if an observer panics.
        let (promise, broken) = self.judge_promise(outcome);
        let moved = self.move_lightweight_circuit(outcome);
        let forced = (broken && self.config.open_on_broken_promise)
            .then(|| self.lightweight.force_open(Cause::PromiseBroken))
            .flatten();
        observed::outcome(&self.observer, outcome, promise);
        observed::transition(&self.observer, Circuit::Lightweight, moved);
        if let Some(promise) = promise.filter(|_| broken) {
            observed::promise_broken(&self.observer, promise);
        }
        observed::transition(&self.observer, Circuit::Lightweight, forced);
    }

    /// Settles the judgement of a lightweight answer under a [quality budget](RouterConfig::budget): `worse` than the powerful
    /// model's. Only a judge settles; what a user says is evidence, and not a judgement. A call that fails after a part of the
    /// answer was delivered is worse.
    ///
    /// A verdict may come late or again, and may contradict the one before: [`Settlement`] says what it changed.
    pub fn settle(&self, ticket: &Ticket, worse: bool) -> Settlement {
        let Some(account) = &self.account else { return Settlement::Unknown };
        let settlement = account.settle(ticket, worse);
        self.notify_budget(account, BudgetChange::Settled { settlement });
        settlement
    }

    /// Takes back the admission of a lightweight answer of which no byte was delivered, such as that of a call that failed at
    /// once. Returns whether its judgement was pending.
    pub fn cancel(&self, ticket: &Ticket) -> bool {
        let Some(account) = &self.account else { return false };
        let cancelled = account.cancel(ticket);
        if cancelled {
            self.notify_budget(account, BudgetChange::Cancelled);
        }
        cancelled
    }

    /// Records that the answer to a routed request was delivered, of either model: a [quality budget](RouterConfig::budget)
    /// grows by each. Requests that failed, or that the router did not decide, do not count.
    pub fn answered(&self) {
        if let Some(account) = &self.account
            && account.answered() % ANSWERS_PER_EVENT == 0
        {
            self.notify_budget(account, BudgetChange::Answered);
        }
    }

    /// The state of the quality budget; `None` where there is none.
    pub fn budget(&self) -> Option<BudgetState> {
        self.account.as_ref().map(|account| account.state())
    }

    /// The account of the quality budget, to store it and to limit its judgements; `None` where there is no budget. Observers
    /// are notified of what is settled, cancelled and answered through the router.
    pub fn account(&self) -> Option<&Arc<Account>> {
        self.account.as_ref()
    }

    /// Continues the account of the quality budget from a stored state, before the first request.
    ///
    /// # Errors
    /// If there is no budget, or as [`Account::restored`].
    pub fn restore_account(&mut self, state: &AccountState) -> Result<(), RestoreError> {
        let budget = self.config.budget.as_ref().ok_or(RestoreError::NoBudget)?;
        self.account = Some(Arc::new(Account::restored(budget, self.config.clock.clone(), state)?));
        self.notify_opened();
        Ok(())
    }

    /// Numbers the next decided request `first`, so that a simulation with a fixed [`seed`](RouterConfig::seed) draws the same
    /// each time. A router that serves keeps its random start: two routers with one seed and one start draw alike.
    pub fn number_from(&mut self, first: u64) {
        if let Some(draws) = &mut self.draws {
            draws.number_from(first);
        }
    }

    fn notify_opened(&self) {
        if let Some(account) = &self.account {
            self.notify_budget(account, BudgetChange::Opened);
        }
    }

    #[cold]
    fn notify_budget(&self, account: &Account, change: BudgetChange) {
        observed::budget(&self.observer, account, self.thresholds(), change);
    }

    fn move_lightweight_circuit(&self, outcome: Outcome) -> Option<Transition> {
        if outcome.model == ModelType::Powerful {
            return None;
        }
        let failed = match outcome.result {
            OutcomeResult::CallFailed => true,
            OutcomeResult::Insufficient => self.config.circuit_breaker.insufficient_is_failure,
            OutcomeResult::Sufficed => false,
        };
        if failed { self.lightweight.failed() } else { self.lightweight.succeeded(true) }
    }

    /// The state of the promise; `None` where no risk is promised.
    pub fn promise(&self) -> Option<PromiseState> {
        self.promise_monitor().map(|monitor| monitor.state())
    }

    fn promise_monitor(&self) -> Option<MutexGuard<'_, PromiseMonitor>> {
        // A poisoned lock is safe to use: no method of the monitor panics, so its state is always valid.
        self.promise.as_ref().map(|monitor| monitor.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records an answer of the lightweight model to a request that was routed to it. Returns the state of the promise, and whether this answer refutes it.
    fn judge_promise(&self, outcome: Outcome) -> (Option<PromiseState>, bool) {
        let Some(mut monitor) = self.promise_monitor() else { return (None, false) };
        let broken = match outcome {
            Outcome { model: ModelType::Powerful, .. }
            | Outcome { result: OutcomeResult::CallFailed, .. }
            | Outcome { origin: Origin::Explored | Origin::Shadowed, .. } => false,
            Outcome { result, .. } => monitor.record(result == OutcomeResult::Insufficient),
        };
        (Some(monitor.state()), broken)
    }

    /// Restarts the test of the promise without any outcome.
    pub fn reset_promise(&self) {
        if let Some(mut monitor) = self.promise_monitor() {
            monitor.reset();
        }
    }

    /// Loads the configured model again, while requests continue.
    ///
    /// A request finishes with the model with which it began. If the file is bad, or if the model cannot promise the
    /// configured risk, the old model continues to serve. The state of the promise is kept if the model's version and the
    /// thresholds are the same. Another promise starts without any outcome. A model of another version closes the `inference`
    /// circuit, whose failures were those of the previous one, unless it was forced open.
    ///
    /// # Errors
    /// If the model cannot be loaded, or cannot promise the configured risk.
    pub fn reload_model(&self) -> Result<Arc<Model>, LoadError> {
        match load(&self.config).and_then(|model| Serving::new(&self.config, model)) {
            Ok(serving) => {
                let serving = Arc::new(serving);
                let previous = self.serving.swap(Arc::clone(&serving));
                if !serving.promises_like(&previous) {
                    self.reset_promise();
                }
                self.notify_reload(Ok(()), Some(previous.model.version()));
                if serving.model.version() != previous.model.version() {
                    let closed = self.inference.reset_unless_forced();
                    observed::transition(&self.observer, Circuit::Inference, closed);
                }
                Ok(Arc::clone(&serving.model))
            }
            Err(error) => {
                self.notify_reload(Err(&error), Some(self.serving.load().model.version()));
                Err(error)
            }
        }
    }

    fn notify_reload(&self, result: Result<(), &LoadError>, previous: Option<&str>) {
        let serving = self.serving.load();
        observed::model_reload(
            &self.observer,
            &ModelReload {
                result: result.map(|()| &*serving.model),
                previous,
                thresholds: self.decider(&serving).thresholds,
                kernel: self.kernel,
                unix_seconds: self.config.clock.unix_seconds(),
                promise: self.promise(),
            },
        );
    }

    /// The model that serves.
    pub fn model(&self) -> Arc<Model> {
        Arc::clone(&self.serving.load().model)
    }

    /// The thresholds in use: the configured ones, or those that keep the promised risk; with a quality budget, those to which
    /// its pacing has moved them.
    pub fn thresholds(&self) -> Thresholds {
        self.decider(&self.serving.load()).thresholds
    }

    /// The kernel that computes decisions.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// The configuration.
    pub fn config(&self) -> &RouterConfig {
        &self.config
    }

    /// The observer.
    pub fn observer(&self) -> &O {
        &self.observer
    }

    /// Passes an event of the memory beside this router to the observer.
    ///
    /// The router knows no memory; `tiny-dancer-memory` has one, whose events this method receives:
    /// `memory.observed_by(move |event| router.on_memory(event))`.
    pub fn on_memory(&self, event: &MemoryEvent) {
        observed::memory(&self.observer, event);
    }

    /// The state of a circuit. An open circuit becomes half-open at the first request after its open time.
    pub fn circuit_state(&self, circuit: Circuit) -> CircuitState {
        self.breaker(circuit).state()
    }

    /// Opens a circuit until [`reset`](Self::reset) or [`force_closed`](Self::force_closed).
    pub fn force_open(&self, circuit: Circuit) {
        observed::transition(&self.observer, circuit, self.breaker(circuit).force_open(Cause::Forced));
    }

    /// Closes a circuit and ignores failures, until [`reset`](Self::reset) or [`force_open`](Self::force_open).
    pub fn force_closed(&self, circuit: Circuit) {
        observed::transition(&self.observer, circuit, self.breaker(circuit).force_closed());
    }

    /// Closes a circuit and clears its failures.
    pub fn reset(&self, circuit: Circuit) {
        observed::transition(&self.observer, circuit, self.breaker(circuit).reset());
    }

    fn breaker(&self, circuit: Circuit) -> &Breaker {
        match circuit {
            Circuit::Inference => &self.inference,
            Circuit::Lightweight => &self.lightweight,
        }
    }

    /// The four stages, and the decision. It is compiled for each of the two levels that have stages, and for all other
    /// levels, which most requests have under an observer that samples.
    #[inline(always)]
    fn decide<const DETAIL: u8>(
        &self,
        query: &Query<'_>,
        source: Source<'_>,
        decider: Decider<'_>,
        observed: &mut Observed<'_, O>,
        response: &mut RoutingResponse,
    ) -> Result<(), RouteError> {
        let Decider { serving, thresholds, account } = decider;
        let mut permits = Permits { router: self, inference: false, lightweight: false };
        if !observed.stage::<DETAIL, _>(Stage::CircuitBreakerCheck, |_| self.check_circuits(&mut permits))? {
            response.fall_back(Reason::CircuitOpen);
            self.draw(account, &mut permits, response);
            return Ok(());
        }
        let tiebreak = observed.stage::<DETAIL, _>(Stage::FeatureEngineering, |_| {
            self.engineer(query, source, serving, &mut response.scratch)
        })?;
        if response.scratch.columns.is_empty() {
            response.fall_back(Reason::NoEvidence);
            self.draw(account, &mut permits, response);
            return Ok(());
        }
        let inferred = observed.stage::<DETAIL, _>(Stage::ModelInference, |observed| {
            let cell = serving.model.cell();
            infer(
                self.kernel,
                cell,
                source,
                tiebreak,
                &mut response.scratch,
                |features, joint, candidates, state| {
                    if DETAIL == CANDIDATES {
                        read_in_steps(self.kernel, cell, observed, features, joint, candidates, state);
                    } else {
                        cell.read(self.kernel, features, joint, state);
                    }
                },
            )
        });
        permits.return_inference(inferred.is_ok());
        let joint_pass = inferred?;
        let (confidence, uncertainty) = (joint_pass.confidence, {
            observed.stage::<DETAIL, _>(Stage::UncertaintyEstimation, |_| {
                estimate(self.kernel, decider, &joint_pass, source, response)
            })
        });
        let reason = thresholds.reason(confidence, uncertainty);
        response.decide(reason, confidence, uncertainty);
        self.draw(account, &mut permits, response);
        pace(account, serving, reason, confidence);
        Ok(())
    }

    /// Draws for a decided request, if the router draws, and keeps the permit of a probe in use if the lightweight model
    /// will be called.
    #[inline(always)]
    fn draw(&self, account: Option<&Account>, permits: &mut Permits<'_, O>, response: &mut RoutingResponse) {
        if let Some(draws) = &self.draws {
            draws.draw(account, response);
            self.notice_admission(account, response);
        }
        if response.calls_lightweight() {
            permits.keep_lightweight();
        }
    }

    /// Notifies the observer if this admission or refusal says that the budget has recovered or is spent.
    #[inline(always)]
    fn notice_admission(&self, account: Option<&Account>, response: &RoutingResponse) {
        if let Some(account) = account
            && (response.ticket.is_some() || response.reason == Reason::BudgetSpent)
            && let Some(change) = account.admitted(response.ticket.is_some())
        {
            self.notify_budget(account, change);
        }
    }

    /// Computes the features of the candidates, or of the nearest candidates of a set. Returns the order of equal
    /// similarities.
    #[inline(always)]
    fn engineer<'q>(
        &self,
        query: &Query<'q>,
        source: Source<'_>,
        serving: &Serving,
        scratch: &mut Scratch,
    ) -> Result<Tiebreak<'q>, RouteError> {
        let now = query.now.unwrap_or_else(|| self.config.clock.unix_seconds());
        let setting = Setting { kernel: self.kernel, scales: &self.scales, ties: serving.model.ties(), now };
        let Scratch { columns, nearest, .. } = scratch;
        match source {
            Source::Request(candidates) => features::engineer(setting, query, candidates, columns)?,
            Source::Nearest(candidates) => {
                features::engineer_borrowed(setting, query, candidates, columns)?;
            }
            Source::Set(set, top_k) => {
                engineer_nearest(setting, query, set, top_k, nearest, columns)?;
            }
            Source::Nothing => columns.clear(),
        }
        Ok(Tiebreak { metadata: query.metadata, now })
    }

    /// Checks both circuits. Returns false where one is open and the answer is the fallback.
    #[inline(always)]
    fn check_circuits(&self, permits: &mut Permits<'_, O>) -> Result<bool, RouteError> {
        for circuit in Circuit::ALL {
            let (admission, transition) = self.breaker(circuit).admit();
            match admission {
                Admission::Pass => {}
                Admission::Probe => *permits.of(circuit) = true,
                Admission::Refused { retry_after } => {
                    return match self.config.circuit_breaker.on_open {
                        OnOpen::Fallback => Ok(false),
                        OnOpen::Reject => Err(RouteError::CircuitOpen { circuit, retry_after }),
                    };
                }
            }
            observed::transition(&self.observer, circuit, transition);
        }
        Ok(true)
    }
}

/// Where a request's candidates come from.
#[derive(Clone, Copy)]
enum Source<'a> {
    Request(&'a [Candidate]),
    /// A search, whose results stay where they are.
    Nearest(&'a [&'a Candidate]),
    /// A set, and the number of its nearest candidates to use.
    Set(&'a CandidateSet, usize),
    /// There is no query, either.
    Nothing,
}

impl<'a> Source<'a> {
    /// How many candidates the request uses.
    #[inline(always)]
    fn len(self) -> usize {
        match self {
            Self::Request(candidates) => candidates.len(),
            Self::Nearest(candidates) => candidates.len(),
            Self::Set(set, top_k) => set.len().min(top_k),
            Self::Nothing => 0,
        }
    }

    /// The candidates. `nearest` holds those of a set, after the search.
    #[inline(always)]
    fn candidates<'n>(self, nearest: &'n Nearest) -> Candidates<'n>
    where
        'a: 'n,
    {
        match self {
            Self::Request(candidates) => Candidates::Brought(candidates),
            Self::Nearest(candidates) => Candidates::Borrowed(candidates),
            Self::Set(set, _) => Candidates::Found(set, nearest.neighbours()),
            Self::Nothing => Candidates::Brought(&[]),
        }
    }
}

/// The configured model, or an embedded one.
fn load(config: &RouterConfig) -> Result<Model, LoadError> {
    match (&config.model_path, &config.embedder) {
        (Some(path), None) => Model::load(path),
        (Some(path), Some(embedder)) => Model::load(path)?.made_for(embedder),
        (None, Some(embedder)) => Model::embedded_for(embedder),
        (None, None) => Ok(Model::embedded()),
    }
}

/// The result of the joint pass.
struct JointPass {
    confidence: f32,
    top_similarity: f32,
    /// How many candidates the joint pass read.
    candidates: usize,
}

/// Runs the per-candidate pass, and the joint pass. `read` reads the candidates of the joint pass into the state.
#[inline(always)]
fn infer(
    kernel: Kernel,
    cell: &FastGrnn,
    source: Source<'_>,
    tiebreak: Tiebreak<'_>,
    scratch: &mut Scratch,
    read: impl FnOnce(Features<'_>, &[u32], Candidates<'_>, &mut State),
) -> Result<JointPass, RouteError> {
    let Scratch { columns, joint, nearest } = scratch;
    let (features, confidences, _) = columns.split();
    cell.per_candidate(kernel, features, confidences)
        .map_err(|(candidate, value)| RouteError::NonFiniteOutput { candidate: Some(candidate), value })?;
    let (similarity, candidates) = (features.column(Feature::Similarity), source.candidates(nearest));
    joint.fill(kernel, similarity, |a, b| tiebreak.compare(candidates.get(a), candidates.get(b)));
    let mut state = State::ZERO;
    read(features, joint.positions(), candidates, &mut state);
    let confidence = cell
        .confidence(kernel, &state)
        .map_err(|value| RouteError::NonFiniteOutput { candidate: None, value })?;
    let top_similarity = joint.positions().last().map_or(-1.0, |&nearest| similarity[nearest as usize]);
    Ok(JointPass { confidence, top_similarity, candidates: joint.positions().len() })
}

/// Reads the joint pass's candidates: each enabled step in a call of its own, the candidates between them in one call.
fn read_in_steps<O: Observer>(
    kernel: Kernel,
    cell: &FastGrnn,
    observed: &mut Observed<'_, O>,
    features: Features<'_>,
    joint: &[u32],
    candidates: Candidates<'_>,
    state: &mut State,
) {
    let mut read = 0;
    for (farther, &position) in joint.iter().enumerate() {
        let candidate = candidates.place(position as usize);
        let step = CandidateStep { candidate, rank: joint.len() - 1 - farther, id: candidates.id(candidate) };
        if observed.is_step_enabled(step) {
            cell.read(kernel, features, &joint[read..farther], state);
            observed.step(step, || cell.read(kernel, features, &joint[farther..=farther], state));
            read = farther + 1;
        }
    }
    cell.read(kernel, features, &joint[read..], state);
}

/// Moves the thresholds after a decision of the model, if there is a budget.
#[inline(always)]
fn pace(account: Option<&Account>, serving: &Serving, reason: Reason, confidence: f32) {
    if let Some(account) = account {
        account.decided(serving.thresholds, (reason == Reason::Confident).then_some(confidence));
    }
}

/// Computes the uncertainties: writes the candidates' decisions, and returns the request's uncertainty.
#[inline(always)]
fn estimate(
    kernel: Kernel,
    Decider { serving, thresholds, .. }: Decider<'_>,
    joint_pass: &JointPass,
    source: Source<'_>,
    response: &mut RoutingResponse,
) -> f32 {
    let Scratch { columns, nearest, .. } = &mut response.scratch;
    let (features, confidences, uncertainties) = columns.split();
    let candidates = source.candidates(nearest);
    let confidences: &[f32] = confidences;
    let similarity = features.column(Feature::Similarity);
    let (per_candidate, joint) = (serving.model.per_candidate(), serving.model.joint());
    per_candidate.uncertainties(kernel, confidences, similarity, 1, uncertainties);
    let decide = |position| {
        let (confidence, uncertainty): (f32, f32) = (confidences[position], uncertainties[position]);
        let use_lightweight = thresholds.reason(confidence, uncertainty) == Reason::Confident;
        RoutingDecision { candidate: position, confidence, uncertainty, use_lightweight }
    };
    let decisions = &mut response.decisions;
    // Every element is overwritten below.
    decisions.resize(confidences.len(), RoutingDecision::default());
    let ranked = order::descending(kernel, confidences, |position, rank| {
        decisions[rank] = decide(position);
    });
    if !ranked {
        (0..).zip(&mut *decisions).for_each(|(position, decision)| *decision = decide(position));
        decisions.sort_unstable_by(|a, b| {
            b.confidence.total_cmp(&a.confidence).then(a.candidate.cmp(&b.candidate))
        });
    }
    // The candidates of a set are in its order, so sorting ties by position sorts them by place.
    if let Candidates::Found(..) = candidates {
        for decision in decisions {
            decision.candidate = candidates.place(decision.candidate);
        }
    }
    joint.uncertainty(joint_pass.confidence, joint_pass.top_similarity, joint_pass.candidates)
}

/// The permits that a request holds as a probe of half-open circuits. Unused permits are returned on drop.
struct Permits<'a, O: Observer> {
    router: &'a Router<O>,
    inference: bool,
    lightweight: bool,
}

impl<O: Observer> Permits<'_, O> {
    fn of(&mut self, circuit: Circuit) -> &mut bool {
        match circuit {
            Circuit::Inference => &mut self.inference,
            Circuit::Lightweight => &mut self.lightweight,
        }
    }

    /// Records the result of inference in the `inference` circuit. On the closed path a success is not recorded.
    fn return_inference(&mut self, succeeded: bool) {
        let breaker = &self.router.inference;
        let transition = match (succeeded, std::mem::take(&mut self.inference)) {
            (true, false) => return,
            (true, true) => breaker.succeeded(false),
            (false, _) => breaker.failed(),
        };
        observed::transition(&self.router.observer, Circuit::Inference, transition);
    }

    /// Keeps the permit in use: the outcome of the lightweight model returns it.
    fn keep_lightweight(&mut self) {
        self.lightweight = false;
    }
}

impl<O: Observer> Drop for Permits<'_, O> {
    fn drop(&mut self) {
        if self.inference {
            self.router.inference.return_unused();
        }
        if self.lightweight {
            self.router.lightweight.return_unused();
        }
    }
}

impl<O: Observer> std::fmt::Debug for Router<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router")
            .field("config", &self.config)
            .field("model", &self.serving.load().model.version())
            .field("inference", &self.inference.state())
            .field("lightweight", &self.lightweight.state())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
