//! The one module that calls observers.

use super::{Decider, Serving, Source};
use crate::breaker::{Circuit, Transition};
use crate::budget::Account;
use crate::clock::{Clock, Tick};
use crate::kernel::Kernel;
use crate::observer::{
    BatchStart, BreakerTransition, BudgetChange, BudgetEvent, CandidateStep, Decided, Detail, Failed,
    MemoryEvent, ModelReload, Observer, Operation, OutcomeReported, PromiseBroken, RequestEnd, RequestStart,
    SpanIds, Stage, StageEnd, StageReport, StageStart, Status,
};
use crate::promise::PromiseState;
use crate::{Outcome, RouteError, RoutingResponse, Thresholds};

/// Levels of [`Detail`] as constant parameters.
pub(super) const STAGES: u8 = Detail::Stages as u8;
pub(super) const CANDIDATES: u8 = Detail::Candidates as u8;

/// One request and its observer's context. If the router unwinds, it drops the context and makes no more calls.
pub(super) struct Observed<'a, O: Observer> {
    observer: &'a O,
    clock: &'a Clock,
    operation: Operation,
    /// How many candidates there are, and the query's dimension. Both are 0 until the request is routed.
    candidates: usize,
    dimensions: usize,
    request: O::Request,
    detail: Detail,
    /// The current stage, or the last one.
    stage: Stage,
    /// The request's start. The clock is read only if the detail includes the duration.
    start: Tick,
    /// The last reading of the clock.
    last: Tick,
}

impl<'a, O: Observer> Observed<'a, O> {
    #[inline(always)]
    pub(super) fn start(observer: &'a O, clock: &'a Clock, operation: Operation, serving: &Serving) -> Self {
        let request =
            observer.on_request_start(&RequestStart { operation, model_version: serving.model.version() });
        let detail = observer.detail(&request);
        let start = if detail >= Detail::Request { clock.tick() } else { Tick::UNREAD };
        let (stage, last) = (Stage::CircuitBreakerCheck, start);
        Self { observer, clock, operation, candidates: 0, dimensions: 0, request, detail, stage, start, last }
    }

    /// Sets the size of the request, before it is routed.
    #[inline(always)]
    pub(super) fn set_size(&mut self, candidates: usize, dimensions: usize) {
        (self.candidates, self.dimensions) = (candidates, dimensions);
    }

    /// Begins the time of the next stage now, so that it does not include the time of the scope's user.
    pub(super) fn resume(&mut self) {
        if self.detail == Detail::Stages {
            self.last = self.clock.tick();
        }
    }

    /// Runs a stage of a scope. It is timed by itself at each detail with stages.
    pub(super) fn outer_stage<T>(&mut self, stage: Stage, run: impl FnOnce(&mut StageReport) -> T) -> T {
        self.stage = stage;
        let is_enabled = self.detail >= Detail::Stages && self.is_enabled(None);
        let begun = is_enabled.then(|| self.begin::<CANDIDATES>(None));
        let mut report = StageReport::default();
        let result = run(&mut report);
        if let Some(begun) = begun {
            self.finish(begun, false, report);
        }
        result
    }

    /// How much of the request the observer receives.
    #[inline(always)]
    pub(super) fn detail(&self) -> Detail {
        self.detail
    }

    /// Runs a whole stage. Where the constant `DETAIL` is below `STAGES`, the check compiles away.
    #[inline(always)]
    pub(super) fn stage<const DETAIL: u8, T>(&mut self, stage: Stage, run: impl FnOnce(&mut Self) -> T) -> T {
        self.stage = stage;
        let begun = (DETAIL >= STAGES && self.is_enabled(None)).then(|| self.begin::<DETAIL>(None));
        // One call for both cases, timed or not, so that the compiler inlines it.
        let result = run(self);
        if let Some(begun) = begun {
            self.finish(begun, false, self.own_report());
        }
        result
    }

    /// Whether the observer enables the current stage, or a candidate's step in it.
    #[inline(always)]
    fn is_enabled(&self, step: Option<CandidateStep<'_>>) -> bool {
        let event = StageStart { stage: self.stage, candidates: self.candidates, step };
        self.observer.is_enabled(&self.request, &event)
    }

    /// Whether the observer enables this step.
    #[inline]
    pub(super) fn is_step_enabled(&self, step: CandidateStep<'_>) -> bool {
        self.is_enabled(Some(step))
    }

    /// Runs one candidate's step of the joint pass, which is enabled, within the stage `model_inference`.
    pub(super) fn step(&mut self, step: CandidateStep<'_>, run: impl FnOnce()) {
        let begun = self.begin::<CANDIDATES>(Some(step));
        run();
        self.finish(begun, true, self.own_report());
    }

    /// The report of the router's own stages.
    #[inline(always)]
    fn own_report(&self) -> StageReport {
        StageReport { items: self.candidates, ..Default::default() }
    }

    /// Notifies the observer of the start of a stage or a step. Returns the context, and the start.
    #[inline(always)]
    fn begin<const DETAIL: u8>(&mut self, step: Option<CandidateStep<'_>>) -> (O::Stage, Tick) {
        let event = StageStart { stage: self.stage, candidates: self.candidates, step };
        let context = self.observer.on_stage_start(&mut self.request, &event);
        // Without steps, a stage begins when the one before ended: reading the clock would take longer than the callbacks
        // between them. With steps, the callbacks of a trace take longer, and their time must not count.
        (context, if DETAIL == STAGES { self.last } else { self.clock.tick() })
    }

    /// Notifies the observer of the end of a stage or a step.
    #[inline(always)]
    fn finish(&mut self, (context, start): (O::Stage, Tick), is_step: bool, report: StageReport) {
        self.last = self.clock.tick();
        let end = StageEnd {
            stage: self.stage,
            report,
            is_step,
            start: self.clock.between(self.start, start),
            duration: self.clock.between(start, self.last),
        };
        self.observer.on_stage_end(&mut self.request, context, &end);
    }

    /// Notifies the observer of the decision and of the end.
    #[inline(always)]
    pub(super) fn decided(
        mut self,
        source: Source<'_>,
        kernel: Kernel,
        Decider { serving, thresholds, .. }: Decider<'_>,
        response: &RoutingResponse,
    ) {
        let status = Status::of(response.reason);
        if self.detail < status.detail() {
            return;
        }
        // Without steps, a request ends with its last stage, for the same reason: only a comparison follows.
        let ended =
            if self.detail == Detail::Stages && self.is_enabled(None) { self.last } else { self.now() };
        let span = self.observer.span(&self.request);
        let event = Decided {
            model: response.model,
            confidence: response.confidence,
            uncertainty: response.uncertainty,
            reason: response.reason,
            candidates: self.candidates,
            dimensions: self.dimensions,
            decisions: &response.decisions,
            number: response.number,
            explore: response.explore,
            shadow: response.shadow,
            ticket: response.ticket,
            columns: &response.scratch.columns,
            joint: &response.scratch.joint,
            pool: source.candidates(&response.scratch.nearest),
            thresholds,
            model_version: serving.model.version(),
            kernel,
            config_digest: &serving.config_digest,
            span,
        };
        self.observer.on_decision(&mut self.request, &event);
        self.end(status, ended, span);
    }

    /// Notifies the observer of the current stage's error and of the end.
    #[inline(always)]
    pub(super) fn failed(self, error: &RouteError) {
        let stage = Some(self.stage);
        self.failed_in(stage, error);
    }

    /// Notifies the observer of the error of a scope's search and of the end.
    pub(super) fn search_failed(self, error: &RouteError) {
        self.failed_in(Some(Stage::MemorySearch), error);
    }

    /// Notifies the observer that the scope was dropped, and of the end.
    pub(super) fn abandoned(self) {
        self.failed_in(None, &RouteError::Abandoned);
    }

    #[inline(always)]
    fn failed_in(mut self, stage: Option<Stage>, error: &RouteError) {
        if self.detail == Detail::Off {
            return;
        }
        let (ended, span) = (self.now(), self.observer.span(&self.request));
        let Self { candidates, dimensions, .. } = self;
        self.observer.on_error(&mut self.request, &Failed { error, stage, candidates, dimensions, span });
        self.end(Status::Failure, ended, span);
    }

    /// The time, if the detail includes the request's duration.
    #[inline(always)]
    fn now(&self) -> Tick {
        if self.detail >= Detail::Request { self.clock.tick() } else { Tick::UNREAD }
    }

    #[inline(always)]
    fn end(self, status: Status, ended: Tick, span: Option<SpanIds>) {
        let Self { observer, operation, candidates, request, clock, start, .. } = self;
        let duration = clock.between(start, ended);
        observer.on_request_end(request, &RequestEnd { operation, candidates, status, duration, span });
    }
}

pub(super) fn batch<O: Observer>(observer: &O, requests: usize) -> O::Batch {
    observer.on_batch_start(&BatchStart { requests })
}

pub(super) fn outcome<O: Observer>(observer: &O, outcome: Outcome, promise: Option<PromiseState>) {
    observer.on_outcome(&OutcomeReported { outcome, promise });
}

pub(super) fn promise_broken<O: Observer>(observer: &O, promise: PromiseState) {
    observer.on_promise_broken(&PromiseBroken { promise });
}

#[inline]
pub(super) fn transition<O: Observer>(observer: &O, circuit: Circuit, transition: Option<Transition>) {
    if let Some(Transition { from, to, cause }) = transition {
        observer.on_breaker_transition(&BreakerTransition { circuit, from, to, cause });
    }
}

pub(super) fn model_reload<O: Observer>(observer: &O, event: &ModelReload<'_>) {
    observer.on_model_reload(event);
}

pub(super) fn budget<O: Observer>(
    observer: &O,
    account: &Account,
    thresholds: Thresholds,
    change: BudgetChange,
) {
    observer.on_budget(&BudgetEvent { change, thresholds, account });
}

pub(super) fn memory<O: Observer>(observer: &O, event: &MemoryEvent) {
    observer.on_memory(event);
}
