//! The router: one request through four stages.

use crate::breaker::{Breaker, Cause, Circuit, CircuitState, OnOpen, Permit, Trip};
use crate::config::{ConfigError, RouterConfig};
use crate::fastgrnn::State;
use crate::features::{self, Columns, Feature, Features, Scales};
use crate::guarantee::{self, CoverageMonitor, PromiseState};
use crate::kernel::Kernel;
use crate::model::{LoadError, Model};
use crate::observer::{BatchStart, CandidateStep, Detail, Names, Observer, Operation, Stage};
use crate::order::{self, JointOrder};
use crate::response::{Outcome, OutcomeResult, RoutingDecision, RoutingResponse};
use crate::set::Nearest;
use crate::{CandidateSet, ModelType, Query, Reason, RouteError, RoutingRequest};
use arc_swap::ArcSwap;
use observed::{CANDIDATES, Observed, STAGES};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[cfg(any(test, feature = "testing"))]
mod by_hand;
mod observed;

/// Decides for each request whether the lightweight model suffices.
///
/// It is `Send + Sync`: share one between all threads. `O` is who listens; `()` is nobody, and costs nothing.
pub struct Router<O: Observer = ()> {
    observer: O,
    config: RouterConfig,
    kernel: Kernel,
    scales: Scales,
    serving: ArcSwap<Serving>,
    /// What outcomes say of the promised risk.
    promise: Option<Mutex<CoverageMonitor>>,
    inference: Breaker,
    lightweight: Breaker,
}

/// A model, and the thresholds that go with it.
struct Serving {
    model: Arc<Model>,
    confidence_threshold: f32,
    max_uncertainty: f32,
    /// What the configuration was, for observers.
    config_digest: String,
}

impl Serving {
    /// Takes the configured thresholds, or those that keep the promised risk.
    fn new(config: &RouterConfig, model: Model) -> Result<Self, LoadError> {
        let (mut confidence_threshold, mut max_uncertainty) =
            (config.confidence_threshold, config.max_uncertainty);
        if let Some(budget) = config.risk {
            let step = guarantee::resolve(model.risk_path(), budget).map_err(|smallest| LoadError::Risk {
                alpha: budget.alpha,
                delta: budget.delta,
                smallest,
            })?;
            (confidence_threshold, max_uncertainty) = (step.confidence_threshold, step.max_uncertainty);
        }
        let config_digest = config.digest();
        Ok(Self { model: Arc::new(model), confidence_threshold, max_uncertainty, config_digest })
    }

    /// Which test decides.
    fn reason(&self, confidence: f32, uncertainty: f32) -> Reason {
        Reason::of(confidence, uncertainty, self.confidence_threshold, self.max_uncertainty)
    }
}

impl Router {
    /// A router that nobody observes.
    pub fn new(config: RouterConfig) -> Result<Self, ConfigError> {
        Self::with_observer(config, ())
    }
}

impl<O: Observer> Router<O> {
    /// A router that tells `observer` what it does.
    pub fn with_observer(config: RouterConfig, observer: O) -> Result<Self, ConfigError> {
        config.validate()?;
        let model = load(&config)?;
        Ok(Self::with_model(config, observer, model)?)
    }

    /// A router of a checked configuration and a model that need not come from where that says.
    pub(crate) fn with_model(config: RouterConfig, observer: O, model: Model) -> Result<Self, LoadError> {
        let serving = Serving::new(&config, model)?;
        let circuits = &config.circuit_breaker;
        let on_failures = Trip::Failures(circuits.inference_failures);
        let on_ratio = Trip::Ratio {
            failures: circuits.lightweight_failure_ratio,
            min_calls: circuits.lightweight_min_calls,
        };
        let breaker = |trip, window| Breaker::new(trip, window, circuits, config.clock.clone());
        let router = Self {
            observer,
            inference: breaker(on_failures, circuits.inference_window),
            lightweight: breaker(on_ratio, circuits.lightweight_window),
            kernel: Kernel::detect(),
            scales: Scales::new(config.recency_half_life),
            serving: ArcSwap::from_pointee(serving),
            promise: config.risk.map(|budget| Mutex::new(CoverageMonitor::new(budget))),
            config,
        };
        let serving = router.serving.load();
        observed::model_reload(&router.observer, router.kernel, &serving, Ok(&serving.model), None);
        drop(serving);
        Ok(router)
    }

    /// Routes one request. Allocates twice, however many candidates there are; [`route_into`](Self::route_into) not
    /// at all.
    pub fn route(&self, request: RoutingRequest<'_>) -> Result<RoutingResponse, RouteError> {
        let mut response = RoutingResponse::default();
        self.route_into(request, &mut response)?;
        Ok(response)
    }

    /// Routes one request into a response that is kept for reuse, and allocates nothing once that has held as many
    /// candidates.
    ///
    /// After an error the response says what [`RoutingResponse::default`] says.
    pub fn route_into(
        &self,
        request: RoutingRequest<'_>,
        response: &mut RoutingResponse,
    ) -> Result<(), RouteError> {
        self.answer(Operation::Route, &Asked::Request(request), response)
    }

    /// Routes one query by the `top_k` nearest candidates of a set. The answer has the same bits as that of
    /// [`route`](Self::route) with those candidates in the order of the set, but for their places: a decision's `candidate` is
    /// the place in the set.
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

    /// [`route_set`](Self::route_set) into a response that is kept for reuse.
    pub fn route_set_into(
        &self,
        query: Query<'_>,
        set: &CandidateSet,
        top_k: usize,
        response: &mut RoutingResponse,
    ) -> Result<(), RouteError> {
        let result = self.answer(Operation::RouteSet, &Asked::Set { query, set, top_k }, response);
        for decision in &mut response.decisions {
            decision.candidate = response.nearest.neighbours()[decision.candidate].candidate as usize;
        }
        result
    }

    /// Routes several requests, in their order and with the same bits as one by one.
    ///
    /// With feature `parallel` they are shared out in the current rayon pool. Observers are called on the thread that
    /// routes, within what was current on the thread that called this: see
    /// [`on_batch_start`](Observer::on_batch_start).
    pub fn route_batch(&self, requests: &[RoutingRequest<'_>]) -> Vec<Result<RoutingResponse, RouteError>> {
        let event = BatchStart { requests: requests.len() };
        let enter = observed::batch(&self.observer, &event);
        let route = |request: &RoutingRequest<'_>| {
            let mut response = RoutingResponse::default();
            let mut result = Ok(());
            enter(&mut || {
                result = self.answer(Operation::RouteBatch, &Asked::Request(*request), &mut response);
            });
            result.map(|()| response)
        };
        #[cfg(feature = "parallel")]
        return {
            use rayon::prelude::*;
            requests.par_iter().map(route).collect()
        };
        #[cfg(not(feature = "parallel"))]
        requests.iter().map(route).collect()
    }

    /// Decides, and tells.
    #[inline(always)]
    fn answer(
        &self,
        operation: Operation,
        asked: &Asked<'_>,
        response: &mut RoutingResponse,
    ) -> Result<(), RouteError> {
        let serving = self.serving.load();
        let mut observed =
            Observed::start(&self.observer, &self.config.clock, operation, asked, &serving.model);
        let result = match observed.detail() {
            Detail::Candidates => self.decide::<CANDIDATES>(asked, &serving, &mut observed, response),
            Detail::Stages => self.decide::<STAGES>(asked, &serving, &mut observed, response),
            _ => self.decide::<0>(asked, &serving, &mut observed, response),
        };
        match &result {
            Ok(()) => observed.decided(asked, self.kernel, &serving, response),
            Err(error) => {
                response.fall_back(Reason::NoEvidence);
                observed.failed(error);
            }
        }
        result
    }

    /// Takes the report of how the chosen model did: once a request, as late as the caller likes.
    ///
    /// Outcomes of the lightweight model move the `lightweight` circuit. Nothing ties an outcome to its request, so
    /// while that circuit is half-open any outcome of the lightweight model answers for a probe.
    pub fn record_outcome(&self, outcome: Outcome) {
        let (promise, broken) = self.judge_promise(outcome);
        observed::outcome(&self.observer, outcome, promise);
        if outcome.model == ModelType::Powerful {
            return;
        }
        let failed = match outcome.result {
            OutcomeResult::CallFailed => true,
            OutcomeResult::Insufficient => self.config.circuit_breaker.insufficient_is_failure,
            OutcomeResult::Sufficed => false,
        };
        let transition = if failed { self.lightweight.failed() } else { self.lightweight.succeeded(true) };
        observed::transition(&self.observer, Circuit::Lightweight, transition);
        if let Some(promise) = promise.filter(|_| broken) {
            observed::promise_broken(&self.observer, promise);
            if self.config.open_on_broken_promise {
                let transition = self.lightweight.force_open(Cause::PromiseBroken);
                observed::transition(&self.observer, Circuit::Lightweight, transition);
            }
        }
    }

    /// What outcomes say of the promised risk; `None` where none was promised.
    pub fn promise(&self) -> Option<PromiseState> {
        self.promise_monitor().map(|monitor| monitor.state())
    }

    fn promise_monitor(&self) -> Option<MutexGuard<'_, CoverageMonitor>> {
        // A monitor can't be half-changed: nothing in it panics.
        self.promise.as_ref().map(|monitor| monitor.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells the monitor of an answer of the lightweight model; true if that refutes the promise.
    fn judge_promise(&self, outcome: Outcome) -> (Option<PromiseState>, bool) {
        let Some(mut monitor) = self.promise_monitor() else { return (None, false) };
        let broken = match outcome {
            Outcome { model: ModelType::Powerful, .. }
            | Outcome { result: OutcomeResult::CallFailed, .. } => false,
            Outcome { result, .. } => monitor.record(result == OutcomeResult::Insufficient),
        };
        (Some(monitor.state()), broken)
    }

    /// Forgets what outcomes said of the promised risk: the promise counts as kept from here on.
    pub fn reset_promise(&self) {
        if let Some(mut monitor) = self.promise_monitor() {
            monitor.reset();
        }
    }

    /// Loads the model anew from where the configuration says, while requests go on.
    ///
    /// Requests under way finish with the model they began with. A bad file leaves the old model serving, and so does
    /// one that can't keep the promised risk.
    pub fn reload_model(&self) -> Result<Arc<Model>, LoadError> {
        match load(&self.config).and_then(|model| Serving::new(&self.config, model)) {
            Ok(serving) => {
                let serving = Arc::new(serving);
                let previous = self.serving.swap(Arc::clone(&serving));
                self.reset_promise();
                let previous = Some(previous.model.version());
                observed::model_reload(&self.observer, self.kernel, &serving, Ok(&serving.model), previous);
                Ok(Arc::clone(&serving.model))
            }
            Err(error) => {
                let serving = self.serving.load();
                let previous = Some(serving.model.version());
                observed::model_reload(&self.observer, self.kernel, &serving, Err(&error), previous);
                Err(error)
            }
        }
    }

    /// The model that serves.
    pub fn model(&self) -> Arc<Model> {
        Arc::clone(&self.serving.load().model)
    }

    /// The thresholds in use, confidence and uncertainty: the configured ones, or those that keep the promised risk.
    pub fn thresholds(&self) -> (f32, f32) {
        let serving = self.serving.load();
        (serving.confidence_threshold, serving.max_uncertainty)
    }

    /// The vector instructions that it decides with.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// The configuration, as it was checked.
    pub fn config(&self) -> &RouterConfig {
        &self.config
    }

    /// Who listens.
    pub fn observer(&self) -> &O {
        &self.observer
    }

    /// The state of a circuit. An open one becomes half-open with the first request after its time.
    pub fn circuit_state(&self, circuit: Circuit) -> CircuitState {
        self.breaker(circuit).state()
    }

    /// Opens a circuit until [`reset`](Self::reset) or [`force_closed`](Self::force_closed).
    pub fn force_open(&self, circuit: Circuit) {
        observed::transition(&self.observer, circuit, self.breaker(circuit).force_open(Cause::Forced));
    }

    /// Closes a circuit and keeps it closed, whatever fails, until [`reset`](Self::reset) or
    /// [`force_open`](Self::force_open).
    pub fn force_closed(&self, circuit: Circuit) {
        observed::transition(&self.observer, circuit, self.breaker(circuit).force_closed());
    }

    /// Closes a circuit and forgets its failures.
    pub fn reset(&self, circuit: Circuit) {
        observed::transition(&self.observer, circuit, self.breaker(circuit).reset());
    }

    fn breaker(&self, circuit: Circuit) -> &Breaker {
        match circuit {
            Circuit::Inference => &self.inference,
            Circuit::Lightweight => &self.lightweight,
        }
    }

    /// The four stages, and the decision. Compiled for each level that stages are heard at, and for requests of which nobody
    /// hears them, as are most under an observer that samples.
    #[inline(always)]
    fn decide<const DETAIL: u8>(
        &self,
        asked: &Asked<'_>,
        serving: &Serving,
        observed: &mut Observed<'_, O>,
        response: &mut RoutingResponse,
    ) -> Result<(), RouteError> {
        let mut leases = Leases { router: self, inference: false, lightweight: false };
        if !observed.stage::<DETAIL, _>(Stage::CircuitBreakerCheck, |_| self.check_circuits(&mut leases))? {
            response.fall_back(Reason::CircuitOpen);
            return Ok(());
        }
        observed.stage::<DETAIL, _>(Stage::FeatureEngineering, |_| {
            let now = asked.now().unwrap_or_else(|| self.config.clock.unix_seconds());
            let (scales, columns) = (&self.scales, &mut response.columns);
            match asked {
                Asked::Request(request) => features::engineer(self.kernel, request, now, scales, columns),
                &Asked::Set { ref query, set, top_k } => {
                    let nearest = &mut response.nearest;
                    features::engineer_nearest(
                        self.kernel,
                        query,
                        (set, top_k),
                        now,
                        scales,
                        nearest,
                        columns,
                    )
                }
            }
        })?;
        if response.columns.is_empty() {
            response.fall_back(Reason::NoEvidence);
            return Ok(());
        }
        let inferred = observed.stage::<DETAIL, _>(Stage::ModelInference, |observed| {
            if DETAIL == CANDIDATES {
                infer_in_steps(self.kernel, asked, &serving.model, observed, response)
            } else {
                infer(self.kernel, &serving.model, response)
            }
        });
        leases.return_inference(inferred.is_ok());
        let evidence = inferred?;
        let (confidence, uncertainty) = (evidence.confidence, {
            observed.stage::<DETAIL, _>(Stage::UncertaintyEstimation, |_| {
                estimate(self.kernel, serving, &evidence, response)
            })
        });
        let reason = serving.reason(confidence, uncertainty);
        response.decide(reason, confidence, uncertainty);
        leases.return_lightweight(reason.model());
        Ok(())
    }

    /// Asks both circuits; false is the fallback of an open one.
    #[inline(always)]
    fn check_circuits(&self, leases: &mut Leases<'_, O>) -> Result<bool, RouteError> {
        for circuit in Circuit::ALL {
            let (permit, transition) = self.breaker(circuit).permit();
            match permit {
                Permit::Free => {}
                Permit::Lease => *leases.of(circuit) = true,
                Permit::Refused { retry_after } => {
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

/// What is asked: a request that brings its candidates, or a query for those of a set.
enum Asked<'a> {
    Request(RoutingRequest<'a>),
    Set { query: Query<'a>, set: &'a CandidateSet, top_k: usize },
}

impl<'a> Asked<'a> {
    /// How many candidates there will be.
    fn candidates(&self) -> usize {
        match self {
            Self::Request(request) => request.candidates.len(),
            Self::Set { set, top_k, .. } => set.len().min(*top_k),
        }
    }

    fn embedding(&self) -> &'a [f32] {
        match self {
            Self::Request(request) => request.query_embedding,
            Self::Set { query, .. } => query.embedding,
        }
    }

    fn now(&self) -> Option<i64> {
        match self {
            Self::Request(request) => request.now,
            Self::Set { query, .. } => query.now,
        }
    }

    /// Where the candidates' names are.
    fn names<'n>(&self, nearest: &'n Nearest) -> Names<'n>
    where
        'a: 'n,
    {
        match self {
            Self::Request(request) => Names::Request(request.candidates),
            Self::Set { set, .. } => Names::Set(set, nearest),
        }
    }
}

/// The configured model, or the embedded one.
fn load(config: &RouterConfig) -> Result<Model, LoadError> {
    config.model_path.as_ref().map_or_else(|| Ok(Model::embedded()), Model::load)
}

/// What the joint pass found.
struct Evidence {
    confidence: f32,
    top_similarity: f32,
    /// How many candidates were read together.
    candidates: usize,
}

/// Runs the cell on candidates alone, whose confidences it keeps in the response, and together.
fn infer(kernel: Kernel, model: &Model, response: &mut RoutingResponse) -> Result<Evidence, RouteError> {
    response.joint.clear();
    infer_by(kernel, model, &mut response.columns, |features, candidates, state| {
        model.cell().read(kernel, features, candidates, state);
    })
}

/// [`infer`], for somebody who hears of candidates' steps, and may ask which candidates were read together.
fn infer_in_steps<O: Observer>(
    kernel: Kernel,
    asked: &Asked<'_>,
    model: &Model,
    observed: &mut Observed<'_, O>,
    response: &mut RoutingResponse,
) -> Result<Evidence, RouteError> {
    let (cell, names, joint) = (model.cell(), asked.names(&response.nearest), &mut response.joint);
    infer_by(kernel, model, &mut response.columns, |features, candidates, state| {
        joint.clear();
        joint.extend_from_slice(candidates);
        let mut unread = candidates;
        for (farther, &place) in candidates.iter().enumerate() {
            let (candidate, rank) = (place as usize, candidates.len() - 1 - farther);
            let step = CandidateStep { candidate, rank, names };
            if observed.hears_step(step) {
                let (unheard, from_here) = unread.split_at(unread.len() - 1 - rank);
                let (one, rest) = from_here.split_at(1);
                cell.read(kernel, features, unheard, state);
                observed.step(step, || cell.read(kernel, features, one, state));
                unread = rest;
            }
        }
        cell.read(kernel, features, unread, state);
    })
}

/// Runs the cell on candidates alone, and on those that `read` reads together.
#[inline(always)]
fn infer_by(
    kernel: Kernel,
    model: &Model,
    columns: &mut Columns,
    read: impl FnOnce(Features<'_>, &[u32], &mut State),
) -> Result<Evidence, RouteError> {
    let cell = model.cell();
    let (features, confidences, _) = columns.split();
    cell.alone(kernel, features, confidences)
        .map_err(|(candidate, value)| RouteError::NonFiniteOutput { candidate: Some(candidate), value })?;
    let similarity = features.column(Feature::Similarity);
    let order = JointOrder::new(kernel, similarity);
    let candidates = order.candidates();
    let mut state = State::ZERO;
    read(features, candidates, &mut state);
    let confidence = cell
        .confidence(kernel, &state)
        .map_err(|value| RouteError::NonFiniteOutput { candidate: None, value })?;
    let top_similarity = candidates.last().map_or(-1.0, |&nearest| similarity[nearest as usize]);
    Ok(Evidence { confidence, top_similarity, candidates: candidates.len() })
}

/// What the confidences are worth: writes the candidates' decisions, and returns the request's uncertainty.
fn estimate(kernel: Kernel, serving: &Serving, evidence: &Evidence, response: &mut RoutingResponse) -> f32 {
    let (features, confidences, uncertainties) = response.columns.split();
    let confidences: &[f32] = confidences;
    let similarity = features.column(Feature::Similarity);
    let (alone, together) = (serving.model.alone(), serving.model.together());
    alone.uncertainties(kernel, confidences, similarity, 1, uncertainties);
    let decide = |candidate| {
        let (confidence, uncertainty): (f32, f32) = (confidences[candidate], uncertainties[candidate]);
        let use_lightweight = serving.reason(confidence, uncertainty) == Reason::Confident;
        RoutingDecision { candidate, confidence, uncertainty, use_lightweight }
    };
    let decisions = &mut response.decisions;
    // Every place is written anew.
    decisions.resize(confidences.len(), RoutingDecision::default());
    let ranked = order::descending(kernel, confidences, |candidate, place| {
        decisions[place] = decide(candidate);
    });
    if !ranked {
        (0..).zip(&mut *decisions).for_each(|(candidate, decision)| *decision = decide(candidate));
        decisions.sort_unstable_by(|a, b| {
            b.confidence.total_cmp(&a.confidence).then(a.candidate.cmp(&b.candidate))
        });
    }
    together.uncertainty(evidence.confidence, evidence.top_similarity, evidence.candidates)
}

/// The leases that a request holds as a probe of half-open circuits. Those that were not used go back on drop.
struct Leases<'a, O: Observer> {
    router: &'a Router<O>,
    inference: bool,
    lightweight: bool,
}

impl<O: Observer> Leases<'_, O> {
    fn of(&mut self, circuit: Circuit) -> &mut bool {
        match circuit {
            Circuit::Inference => &mut self.inference,
            Circuit::Lightweight => &mut self.lightweight,
        }
    }

    /// Tells the `inference` circuit how it went. On the closed path success says nothing.
    fn return_inference(&mut self, succeeded: bool) {
        let breaker = &self.router.inference;
        let transition = match (succeeded, std::mem::take(&mut self.inference)) {
            (true, false) => return,
            (true, true) => breaker.succeeded(false),
            (false, _) => breaker.failed(),
        };
        observed::transition(&self.router.observer, Circuit::Inference, transition);
    }

    /// Keeps the lease out where the lightweight model was chosen: its outcome brings it back.
    fn return_lightweight(&mut self, chosen: ModelType) {
        if chosen == ModelType::Lightweight {
            self.lightweight = false;
        }
    }
}

impl<O: Observer> Drop for Leases<'_, O> {
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
