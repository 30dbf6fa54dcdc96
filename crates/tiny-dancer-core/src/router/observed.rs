//! The one module that calls observers.

use super::{Asked, Serving};
use crate::breaker::{Circuit, Transition};
use crate::clock::{Clock, Tick};
use crate::guarantee::PromiseState;
use crate::kernel::Kernel;
use crate::model::{LoadError, Model};
use crate::observer::{
    BatchStart, BreakerTransition, CandidateStep, Decided, Detail, Failed, ModelReload, Observer, Operation,
    OutcomeReported, PromiseBroken, RequestEnd, RequestStart, Stage, StageEnd, StageStart, Status,
};
use crate::{Outcome, RouteError, RoutingResponse};

/// Levels of [`Detail`], for what is compiled for each.
pub(super) const STAGES: u8 = Detail::Stages as u8;
pub(super) const CANDIDATES: u8 = Detail::Candidates as u8;

/// One request as its observer sees it. If the router unwinds, the context is dropped with it and nothing is called.
pub(super) struct Observed<'a, O: Observer> {
    observer: &'a O,
    clock: &'a Clock,
    operation: Operation,
    candidates: usize,
    request: O::Request,
    detail: Detail,
    /// The stage that runs, or ran last.
    stage: Stage,
    /// When the request began; read only where somebody will be told.
    start: Tick,
    /// When the clock was last read.
    last: Tick,
}

impl<'a, O: Observer> Observed<'a, O> {
    #[inline(always)]
    pub(super) fn start(
        observer: &'a O,
        clock: &'a Clock,
        operation: Operation,
        asked: &Asked<'_>,
        model: &Model,
    ) -> Self {
        let (candidates, dimensions) = (asked.candidates(), asked.embedding().len());
        let context = observer.on_request_start(&RequestStart {
            operation,
            candidates,
            dimensions,
            model_version: model.version(),
        });
        let detail = observer.detail(&context);
        let start = if detail >= Detail::Request { clock.tick() } else { Tick::UNREAD };
        let stage = Stage::CircuitBreakerCheck;
        Self { observer, clock, operation, candidates, request: context, detail, stage, start, last: start }
    }

    /// How much anybody may hear.
    #[inline(always)]
    pub(super) fn detail(&self) -> Detail {
        self.detail
    }

    /// Runs a whole stage, of which nobody hears more than `DETAIL`: where that is known, nothing is left of the question.
    #[inline(always)]
    pub(super) fn stage<const DETAIL: u8, T>(&mut self, stage: Stage, run: impl FnOnce(&mut Self) -> T) -> T {
        self.stage = stage;
        if DETAIL >= STAGES && self.hears(None) { self.timed::<DETAIL, T>(None, run) } else { run(self) }
    }

    /// Whether somebody hears of the stage, or of a candidate's step in it.
    #[inline(always)]
    fn hears(&self, step: Option<CandidateStep<'_>>) -> bool {
        self.observer.hears(&StageStart { stage: self.stage, candidates: self.candidates, step })
    }

    /// Whether somebody hears of this one.
    #[inline]
    pub(super) fn hears_step(&self, step: CandidateStep<'_>) -> bool {
        self.hears(Some(step))
    }

    /// Runs one candidate's step of the joint pass, within the stage `model_inference`, for somebody who hears it.
    pub(super) fn step(&mut self, step: CandidateStep<'_>, run: impl FnOnce()) {
        self.timed::<CANDIDATES, _>(Some(step), |_| run());
    }

    #[inline(always)]
    fn timed<const DETAIL: u8, T>(
        &mut self,
        step: Option<CandidateStep<'_>>,
        run: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let (stage, candidates, is_step) = (self.stage, self.candidates, step.is_some());
        let context =
            self.observer.on_stage_start(&mut self.request, &StageStart { stage, candidates, step });
        // Where nobody traces, a stage begins when the one before ended: reading the clock would take longer than the
        // callbacks between. A trace's callbacks take longer, and must not count.
        let start = if DETAIL == STAGES { self.last } else { self.clock.tick() };
        let result = run(self);
        self.last = self.clock.tick();
        let end = StageEnd {
            stage,
            candidates,
            is_step,
            start: self.clock.between(self.start, start),
            duration: self.clock.between(start, self.last),
        };
        self.observer.on_stage_end(&mut self.request, context, &end);
        result
    }

    /// Tells the decision and the end.
    #[inline(always)]
    pub(super) fn decided(
        mut self,
        asked: &Asked<'_>,
        kernel: Kernel,
        serving: &Serving,
        response: &RoutingResponse,
    ) {
        let status = Status::of(response.reason);
        if self.detail < status.detail() {
            return;
        }
        // Where nobody traces, a request ends with its last stage, for the same reason: what is left is a comparison.
        let ended = if self.detail == Detail::Stages && self.hears(None) { self.last } else { self.now() };
        let event = Decided {
            model: response.model,
            confidence: response.confidence,
            uncertainty: response.uncertainty,
            reason: response.reason,
            decisions: &response.decisions,
            columns: &response.columns,
            joint: &response.joint,
            confidence_threshold: serving.confidence_threshold,
            max_uncertainty: serving.max_uncertainty,
            model_version: serving.model.version(),
            kernel,
            config_digest: &serving.config_digest,
            names: asked.names(&response.nearest),
        };
        self.observer.on_decision(&mut self.request, &event);
        self.end(status, ended);
    }

    /// Tells the error and the end.
    #[inline(always)]
    pub(super) fn failed(mut self, error: &RouteError) {
        if self.detail == Detail::Off {
            return;
        }
        let ended = self.now();
        self.observer.on_error(&mut self.request, &Failed { error, stage: self.stage });
        self.end(Status::Failure, ended);
    }

    /// This moment, for those who asked how long the request takes.
    #[inline(always)]
    fn now(&self) -> Tick {
        if self.detail >= Detail::Request { self.clock.tick() } else { Tick::UNREAD }
    }

    #[inline(always)]
    fn end(self, status: Status, ended: Tick) {
        let Self { observer, operation, candidates, request, clock, start, .. } = self;
        let duration = clock.between(start, ended);
        observer.on_request_end(request, &RequestEnd { operation, candidates, status, duration });
    }
}

/// What enters the caller's context on another thread.
pub(super) fn batch<'a, O: Observer>(
    observer: &'a O,
    event: &'a BatchStart,
) -> impl Fn(&mut dyn FnMut()) + Send + Sync + use<'a, O> {
    observer.on_batch_start(event)
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

pub(super) fn model_reload<O: Observer>(
    observer: &O,
    kernel: Kernel,
    serving: &Serving,
    result: Result<&Model, &LoadError>,
    previous: Option<&str>,
) {
    let &Serving { confidence_threshold, max_uncertainty, .. } = serving;
    observer.on_model_reload(&ModelReload {
        result,
        previous,
        confidence_threshold,
        max_uncertainty,
        kernel,
    });
}
