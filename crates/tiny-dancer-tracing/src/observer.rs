//! The observer: opens spans for sampled requests, and writes log lines for all.
//!
//! Spans are opened through OpenTelemetry's own interface rather than as `tracing` spans: such a span costs
//! less, its name comes unchanged from core, and an unsampled request needs none. While a request is routed,
//! its context is OpenTelemetry's current one, so that log lines contain its ids. Its [`Stages`] become spans
//! later.

use crate::export::Pipeline;
use crate::fields::{self, TARGET};
use crate::ledger::ExportCounts;
use crate::repeats::{Repeated, Repeats};
use crate::rows;
use crate::stages::Stages;
use opentelemetry::trace::{Status as SpanStatus, TraceContextExt};
use opentelemetry::{Array, Context, ContextGuard, KeyValue, Value};
use std::sync::Arc;
use tiny_dancer_core::coin::Draw;
use tiny_dancer_core::fastgrnn::JOINT_CANDIDATES;
use tiny_dancer_core::observer::{
    BatchContext, BatchStart, BreakerTransition, BudgetChange, BudgetEvent, Decided as Decision, Detail,
    Failed, MemoryChange, MemoryEvent, MemoryState, ModelReload, Observer, Operation, OutcomeReported,
    PromiseBroken, RequestEnd, RequestStart, SpanIds, Stage, StageEnd, StageStart,
};
use tiny_dancer_core::{CircuitState, ErrorKind, Feature, ModelType, Reason};
use tracing::Level;
use tracing::dispatcher::{self, DefaultGuard};
use tracing::span::Entered;

/// Turns a router's events into spans and log lines.
///
/// A request is sampled when it begins: it follows the caller's trace, or else the system's `sampling_ratio`.
/// An unsampled request opens no span and allocates nothing; its errors and its other log lines are still
/// written.
#[derive(Clone, Debug, Default)]
pub struct TracingObserver {
    /// The pipeline of its spans; `None` is the installed system's, if there is one.
    pipeline: Option<Arc<Pipeline>>,
    /// Counts repeated log lines; clones share it.
    repeats: Arc<Repeats>,
}

impl TracingObserver {
    /// The observer of the installed system. Until a system is installed, it only writes log lines.
    pub fn global() -> Self {
        Self::default()
    }

    pub(crate) fn of(pipeline: Arc<Pipeline>) -> Self {
        Self { pipeline: Some(pipeline), ..Self::default() }
    }

    /// The counts of its system's spans so far, for example for a metric of lost spans; `None` without a
    /// system.
    pub fn counts(&self) -> Option<ExportCounts> {
        self.system().map(Pipeline::counts)
    }

    /// The counts of its system's log records so far; `None` without an export of log records.
    pub fn log_record_counts(&self) -> Option<ExportCounts> {
        self.system().and_then(Pipeline::log_record_counts)
    }

    /// The counts of its system's points of metrics so far; `None` without an export of metrics.
    pub fn metric_point_counts(&self) -> Option<ExportCounts> {
        self.system().and_then(Pipeline::metric_point_counts)
    }

    fn system(&self) -> Option<&Pipeline> {
        match &self.pipeline {
            Some(own) => Some(own),
            None => Pipeline::installed(),
        }
    }

    fn pipeline(&self) -> Option<&Pipeline> {
        self.system().filter(|pipeline| pipeline.is_running())
    }

    /// Whether the request that begins now is recorded.
    fn samples(&self) -> bool {
        self.pipeline().is_some_and(Pipeline::samples)
    }

    #[cold]
    fn start_recording(&self, event: &RequestStart<'_>) -> Option<Box<Recording>> {
        self.pipeline().map(|pipeline| Box::new(Recording::start(pipeline, event)))
    }

    /// Writes a decision to the request's span and to log lines.
    #[cold]
    fn record_decision(&self, request: &mut Request, event: &Decision<'_>) {
        if let Some(recording) = &mut request.recording {
            recording.stages.describe(|candidate| {
                let (_, features) = event.joint().find(|&(index, _)| index == candidate)?;
                let decision = event.decisions.iter().find(|decision| decision.candidate == candidate)?;
                Some([features[Feature::Similarity as usize], decision.confidence])
            });
            let span = recording.context.span();
            span.set_attributes([
                int(fields::CANDIDATES, event.candidates),
                int(fields::DIMENSIONS, event.dimensions),
                KeyValue::new(fields::DECISION_MODEL, event.model.name()),
                KeyValue::new(fields::DECISION_REASON, event.reason.name()),
                KeyValue::new(fields::CONFIDENCE, double(event.confidence)),
                KeyValue::new(fields::CONFIDENCE_THRESHOLD, double(event.thresholds.confidence_threshold)),
                KeyValue::new(fields::UNCERTAINTY, double(event.uncertainty)),
                KeyValue::new(fields::MAX_UNCERTAINTY, double(event.thresholds.max_uncertainty)),
            ]);
            if let Some(name) = self.system().and_then(|system| system.model_name(event.model)) {
                span.set_attribute(KeyValue::new(fields::DECISION_MODEL_NAME, name.to_owned()));
            }
            for (key, draw) in [
                (fields::EXPLORE_HAPPENED, event.explore),
                (fields::JUDGE_HAPPENED, judge(event)),
                (fields::SHADOW_HAPPENED, event.shadow),
            ] {
                if let Some(draw) = draw {
                    span.set_attribute(KeyValue::new(key, draw.happened));
                }
            }
            span.add_event(fields::ROUTING_DECISION.name, replay(event));
        }
        let reason = event.reason;
        if reason.is_fallback() && self.writes(Repeated::Fallback(reason), "fallback", reason.name()) {
            tracing::warn!(
                target: TARGET,
                {
                    { fields::DECISION_REASON } = reason.name(),
                    { fields::CANDIDATES } = event.candidates as i64,
                },
                "fallback"
            );
        }
        if tracing::enabled!(target: TARGET, Level::TRACE) {
            log_candidates(event, self.system().is_some_and(Pipeline::redacts_ids));
        }
    }

    /// Writes the line of a scope's stage.
    #[cold]
    fn log_outer_stage(&self, event: &StageEnd) {
        let (report, duration) = (event.report, event.duration.as_secs_f64());
        // A macro, since each line needs its own call site.
        macro_rules! log {
            ($items:expr, $message:literal) => {
                tracing::debug!(
                    target: TARGET,
                    {
                        { $items } = report.items as i64,
                        { fields::TRUNCATED } = report.truncated,
                        { fields::DURATION } = duration,
                    },
                    $message
                )
            };
        }
        match report.error {
            Some(kind) => {
                if self.writes(Repeated::Stage(kind), "stage failed", kind.name()) {
                    tracing::warn!(
                        target: TARGET,
                        {
                            { fields::ERROR_TYPE } = kind.name(),
                            { fields::ERROR_STAGE } = event.stage.name(),
                            { fields::DURATION } = duration,
                        },
                        "stage failed"
                    );
                }
            }
            None if event.stage == Stage::Embedding => log!(fields::TOKENS, "text embedded"),
            None => log!(fields::CANDIDATES, "memory searched"),
        }
    }

    /// Whether to write a line that every request, or every change of a memory, might repeat. If lines were left out before, it first logs
    /// how many.
    fn writes(&self, line: Repeated, message: &'static str, kind: &'static str) -> bool {
        let verdict = self.repeats.count(line);
        if verdict.left_out > 0 {
            tracing::warn!(
                target: TARGET,
                {
                    { fields::LOG_LEFT_OUT } = verdict.left_out as i64,
                    { fields::LOG_MESSAGE } = message,
                    { fields::LOG_KIND } = kind,
                },
                "lines left out"
            );
        }
        verdict.write
    }
}

/// A request in progress.
#[derive(Debug)]
pub struct Request {
    is_scope: bool,
    /// Whether it has lines at `DEBUG` or `TRACE`. Read once at the start, since one line contains the
    /// request's duration.
    has_lines: bool,
    decision: Option<(ModelType, Reason, f32, f32)>,
    /// Boxed, so that moving an unsampled request stays cheap.
    recording: Option<Box<Recording>>,
}

/// The span of a request in progress, and its stages. Dropping it ends them.
#[derive(Debug)]
struct Recording {
    stages: Stages,
    /// An empty context, attached while the features are computed. Meanwhile the router may wait for rayon's
    /// threads, and its own thread may run other work of the pool, such as another request. That request must
    /// not begin inside this one's span.
    outside: Option<ContextGuard>,
    _attached: ContextGuard,
    /// The request's span, and the parent of all others.
    context: Context,
    detail: Detail,
}

/// What is current where a batch starts.
#[derive(Debug)]
pub struct BatchParent {
    subscriber: Option<tracing::Dispatch>,
    span: tracing::Span,
    context: Context,
}

impl Default for BatchParent {
    fn default() -> Self {
        Self { subscriber: None, span: tracing::Span::none(), context: Context::new() }
    }
}

impl BatchContext for BatchParent {
    type Guard<'a> = (ContextGuard, Entered<'a>, Option<DefaultGuard>);

    fn enter(&self) -> Self::Guard<'_> {
        let subscriber = self.subscriber.as_ref().map(dispatcher::set_default);
        let entered = self.span.enter();
        (self.context.clone().attach(), entered, subscriber)
    }
}

impl Observer for TracingObserver {
    type Request = Request;
    /// Its index among the request's spans, if the request is recorded.
    type Stage = usize;
    type Batch = BatchParent;

    /// Keeps the caller's context, and the subscriber and the span of its log lines.
    fn on_batch_start(&self, _: &BatchStart) -> BatchParent {
        let subscriber = Some(dispatcher::get_default(Clone::clone));
        BatchParent { subscriber, span: tracing::Span::current(), context: Context::current() }
    }

    // The code for an unsampled request is inlined into the router; the rest is a call.

    #[inline]
    fn on_request_start(&self, event: &RequestStart<'_>) -> Request {
        let recording = if self.samples() { self.start_recording(event) } else { None };
        let has_lines = tracing::enabled!(target: TARGET, Level::DEBUG)
            || tracing::enabled!(target: TARGET, Level::TRACE);
        let is_scope = event.operation == Operation::Scope;
        Request { is_scope, has_lines, decision: None, recording }
    }

    /// An unsampled request is observed only if it has a line: for an error, for a fallback, or at `DEBUG`
    /// and `TRACE`. A stage of a scope has a line if it fails.
    #[inline]
    fn detail(&self, request: &Request) -> Detail {
        match &request.recording {
            Some(recording) => recording.detail,
            None if request.is_scope => Detail::Stages,
            None if request.has_lines => Detail::Request,
            None => Detail::Unsuccessful,
        }
    }

    /// The span of a recorded request.
    #[inline]
    fn span(&self, request: &Request) -> Option<SpanIds> {
        request.recording.as_ref().and_then(|recording| recording.ids())
    }

    /// All stages of a recorded request, and the steps of the nearest `candidate_spans` candidates. Of other
    /// requests, only a scope's own stages.
    #[inline]
    fn is_enabled(&self, request: &Request, event: &StageStart<'_>) -> bool {
        let Some(step) = event.step else {
            return request.recording.is_some() || !event.stage.is_routing();
        };
        self.system().is_some_and(|system| step.rank < system.candidate_spans())
    }

    fn on_stage_start(&self, request: &mut Request, event: &StageStart<'_>) -> usize {
        let Some(recording) = &mut request.recording else { return 0 };
        if event.stage == Stage::FeatureEngineering {
            recording.outside = Some(Context::new().attach());
        }
        recording.stages.begin(event)
    }

    fn on_stage_end(&self, request: &mut Request, index: usize, event: &StageEnd) {
        if let Some(recording) = &mut request.recording {
            if event.stage == Stage::FeatureEngineering {
                recording.outside = None;
            }
            recording.stages.end(index, event);
        }
        if !event.stage.is_routing() {
            self.log_outer_stage(event);
        }
    }

    #[inline]
    fn on_decision(&self, request: &mut Request, event: &Decision<'_>) {
        request.decision = Some((event.model, event.reason, event.confidence, event.uncertainty));
        self.record_decision(request, event);
    }

    fn on_error(&self, request: &mut Request, event: &Failed<'_>) {
        let (kind, stage) = (event.kind(), event.stage.map(Stage::name));
        if let Some(recording) = &request.recording {
            let span = recording.context.span();
            span.set_status(SpanStatus::error(event.error.to_string()));
            span.set_attributes([
                int(fields::CANDIDATES, event.candidates),
                int(fields::DIMENSIONS, event.dimensions),
                KeyValue::new(fields::ERROR_TYPE, kind.name()),
            ]);
            if let Some(stage) = stage {
                span.set_attribute(KeyValue::new(fields::ERROR_STAGE, stage));
            }
        }
        // A macro, since each level needs its own call site.
        macro_rules! log {
            ($level:ident, $message:literal) => {
                tracing::$level!(
                    target: TARGET,
                    {
                        { fields::ERROR_MESSAGE } = %event.error,
                        { fields::ERROR_TYPE } = kind.name(),
                        { fields::ERROR_STAGE } = stage,
                        { fields::CANDIDATES } = event.candidates as i64,
                    },
                    $message
                )
            };
        }
        let writes = |message| self.writes(Repeated::Error(kind), message, kind.name());
        if kind == ErrorKind::NonFiniteOutput {
            if writes("inference failed") {
                log!(error, "inference failed");
            }
        } else if kind == ErrorKind::Abandoned {
            if writes("scope abandoned") {
                log!(warn, "scope abandoned");
            }
        } else if writes("request refused") {
            log!(warn, "request refused");
        }
    }

    #[inline]
    fn on_request_end(&self, request: Request, event: &RequestEnd) {
        if request.recording.is_some() || request.has_lines {
            record_end(&request, event);
        }
    }

    fn on_outcome(&self, event: &OutcomeReported) {
        tracing::debug!(
            target: TARGET,
            {
                { fields::OUTCOME_MODEL } = event.outcome.model.name(),
                { fields::OUTCOME_RESULT } = event.outcome.result.name(),
                { fields::OUTCOME_ORIGIN } = event.outcome.origin.name(),
            },
            "outcome reported"
        );
    }

    fn on_promise_broken(&self, event: &PromiseBroken) {
        tracing::error!(
            target: TARGET,
            {
                { fields::PROMISE_ALPHA } = event.promise.alpha,
                { fields::PROMISE_REPORTED } = event.promise.reported as i64,
                { fields::PROMISE_INSUFFICIENT } = event.promise.insufficient as i64,
            },
            "promise broken"
        );
    }

    fn on_breaker_transition(&self, event: &BreakerTransition) {
        macro_rules! log {
            ($level:ident, $message:literal) => {
                tracing::$level!(
                    target: TARGET,
                    {
                        { fields::CIRCUIT_NAME } = event.circuit.name(),
                        { fields::CIRCUIT_PREVIOUS } = event.from.name(),
                        { fields::CIRCUIT_CAUSE } = event.cause.name(),
                    },
                    $message
                )
            };
        }
        match event.to {
            CircuitState::Closed => log!(info, "circuit closed"),
            CircuitState::HalfOpen => log!(info, "circuit half-open"),
            CircuitState::Open => log!(error, "circuit opened"),
        }
    }

    fn on_model_reload(&self, event: &ModelReload<'_>) {
        match (event.result, event.previous) {
            (Ok(model), None) => tracing::info!(
                target: TARGET,
                {
                    { fields::MODEL_VERSION } = model.version(),
                    { fields::KERNEL } = event.kernel.name(),
                    { fields::CONFIDENCE_THRESHOLD } = double(event.thresholds.confidence_threshold),
                    { fields::MAX_UNCERTAINTY } = double(event.thresholds.max_uncertainty),
                    { fields::ENDPOINT } = self.system().map_or("none", Pipeline::endpoint),
                    { fields::SAMPLING_RATIO } = self.system().map_or(0.0, Pipeline::sampling_ratio),
                },
                "router started"
            ),
            (Ok(model), Some(previous)) => tracing::info!(
                target: TARGET,
                {
                    { fields::MODEL_VERSION } = model.version(),
                    { fields::MODEL_PREVIOUS } = previous,
                    { fields::CONFIDENCE_THRESHOLD } = double(event.thresholds.confidence_threshold),
                    { fields::MAX_UNCERTAINTY } = double(event.thresholds.max_uncertainty),
                },
                "model reloaded"
            ),
            (Err(error), serving) => tracing::warn!(
                target: TARGET,
                {
                    { fields::ERROR_MESSAGE } = %error,
                    { fields::MODEL_VERSION } = serving.unwrap_or_default(),
                },
                "model reload failed"
            ),
        }
    }

    fn on_budget(&self, event: &BudgetEvent<'_>) {
        // A macro, since each line needs its own call site.
        macro_rules! log {
            ($level:ident, $message:literal) => {{
                let state = event.state();
                tracing::$level!(
                    target: TARGET,
                    {
                        { fields::BUDGET_ALLOWED } = state.allowed,
                        { fields::BUDGET_BOUND } = state.bound,
                        { fields::BUDGET_MISSING } = state.missing as i64,
                    },
                    $message
                );
            }};
        }
        match event.change {
            BudgetChange::Cancelled => tracing::debug!(target: TARGET, "admission cancelled"),
            BudgetChange::Opened => log!(info, "budget opened"),
            BudgetChange::Recovered => log!(info, "budget recovered"),
            BudgetChange::Settled { settlement } => tracing::debug!(
                target: TARGET,
                { { fields::BUDGET_SETTLEMENT } = settlement.name() },
                "judgement settled"
            ),
            BudgetChange::Spent => log!(warn, "budget spent"),
            // Delivered answers have no line of their own.
            _ => {}
        }
    }

    fn on_memory(&self, event: &MemoryEvent) {
        let MemoryState { entries, evidence, queue, .. } = event.state;
        // A macro, since each line needs its own call site.
        macro_rules! log {
            ($level:ident, $message:literal, $($key:ident = $value:expr),+) => {
                tracing::$level!(target: TARGET, { $({ fields::$key } = $value),+ }, $message)
            };
        }
        match event.change {
            MemoryChange::Erased { entries, log_entries } => log!(
                info,
                "memory data erased",
                MEMORY_ENTRIES = entries as i64,
                MEMORY_LOG_ENTRIES = log_entries as i64
            ),
            MemoryChange::Expired { entries, log_entries } => log!(
                debug,
                "memory data expired",
                MEMORY_ENTRIES = entries as i64,
                MEMORY_LOG_ENTRIES = log_entries as i64
            ),
            MemoryChange::Failed { changes, kind }
                if self.writes(Repeated::Memory(kind), "memory commit failed", kind.name()) =>
            {
                log!(
                    warn,
                    "memory commit failed",
                    ERROR_TYPE = kind.name(),
                    MEMORY_CHANGES = changes as i64,
                    MEMORY_QUEUE = queue as i64
                );
            }
            MemoryChange::Lost { changes, kind }
                if self.writes(Repeated::Memory(kind), "memory changes lost", kind.name()) =>
            {
                log!(
                    warn,
                    "memory changes lost",
                    ERROR_TYPE = kind.name(),
                    MEMORY_CHANGES = changes as i64,
                    MEMORY_QUEUE = queue as i64
                );
            }
            MemoryChange::Opened { duration } => log!(
                info,
                "memory opened",
                MEMORY_ENTRIES = entries as i64,
                MEMORY_EVIDENCE = evidence as i64,
                DURATION = duration.as_secs_f64()
            ),
            MemoryChange::Stored { changes, duration } => log!(
                debug,
                "memory changes stored",
                MEMORY_CHANGES = changes as i64,
                MEMORY_QUEUE = queue as i64,
                DURATION = duration.as_secs_f64()
            ),
            MemoryChange::Verdict { kind } => log!(debug, "verdict recorded", MEMORY_VERDICT = kind.name()),
            // Failures and losses that would repeat a line, and changes that this version does not know, have none.
            _ => {}
        }
    }
}

/// The draw that decides whether a lightweight answer is judged.
fn judge(event: &Decision<'_>) -> Option<Draw> {
    event.ticket.map(|ticket| ticket.judge)
}

/// Records in a request's span how it ended, and writes its line.
#[cold]
fn record_end(request: &Request, event: &RequestEnd) {
    let status = event.status.name();
    if let Some(recording) = &request.recording {
        recording.context.span().set_attribute(KeyValue::new(fields::STATUS, status));
    }
    let candidates = event.candidates as i64;
    if let Some((model, reason, confidence, uncertainty)) = request.decision {
        tracing::debug!(
            target: TARGET,
            {
                { fields::STATUS } = status,
                { fields::DECISION_MODEL } = model.name(),
                { fields::DECISION_REASON } = reason.name(),
                { fields::CONFIDENCE } = double(confidence),
                { fields::UNCERTAINTY } = double(uncertainty),
                { fields::CANDIDATES } = candidates,
                { fields::DURATION } = event.duration.as_secs_f64(),
            },
            "request decided"
        );
    } else {
        tracing::debug!(
            target: TARGET,
            {
                { fields::STATUS } = status,
                { fields::CANDIDATES } = candidates,
                { fields::DURATION } = event.duration.as_secs_f64(),
            },
            "request failed"
        );
    }
}

impl Recording {
    fn start(pipeline: &Pipeline, event: &RequestStart<'_>) -> Self {
        let parent = Context::current();
        // With room for the attributes of the decision and of the end.
        let mut attributes = Vec::with_capacity(16);
        attributes.extend([
            KeyValue::new(fields::OPERATION, event.operation.name()),
            KeyValue::new(fields::MODEL_VERSION, event.model_version.to_owned()),
        ]);
        let context = parent.with_span(pipeline.span(RequestStart::NAME, attributes, &parent));
        let detail = if pipeline.candidate_spans() == 0 { Detail::Stages } else { Detail::Candidates };
        let stages =
            Stages::with_room_for(Stage::ALL.len() + pipeline.candidate_spans().min(JOINT_CANDIDATES));
        Self { stages, outside: None, _attached: context.clone().attach(), context, detail }
    }

    /// The ids of the request's span, if the span is exported.
    fn ids(&self) -> Option<SpanIds> {
        let span = self.context.span();
        let context = span.span_context();
        context.is_sampled().then(|| SpanIds {
            trace: u128::from_be_bytes(context.trace_id().to_bytes()),
            span: u64::from_be_bytes(context.span_id().to_bytes()),
        })
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let span = self.context.span();
        span.set_attribute(self.stages.pack());
        span.end();
    }
}

/// The attributes from which a decision is replayed.
fn replay(event: &Decision<'_>) -> Vec<KeyValue> {
    let exact = |key, value: f32| KeyValue::new(key, f64::from(value));
    let mut attributes = Vec::with_capacity(fields::ROUTING_DECISION.fields.len());
    attributes.extend([
        KeyValue::new(fields::DECISION_MODEL, event.model.name()),
        KeyValue::new(fields::DECISION_REASON, event.reason.name()),
        KeyValue::new(fields::MODEL_VERSION, event.model_version.to_owned()),
        KeyValue::new(fields::KERNEL, event.kernel.name()),
        KeyValue::new(fields::CONFIG_DIGEST, event.config_digest.to_owned()),
        exact(fields::REPLAY_CONFIDENCE, event.confidence),
        exact(fields::REPLAY_CONFIDENCE_THRESHOLD, event.thresholds.confidence_threshold),
        exact(fields::REPLAY_UNCERTAINTY, event.uncertainty),
        exact(fields::REPLAY_MAX_UNCERTAINTY, event.thresholds.max_uncertainty),
    ]);
    let draws = [
        (event.explore, fields::EXPLORE_PROBABILITY, fields::EXPLORE_HAPPENED),
        (judge(event), fields::JUDGE_PROBABILITY, fields::JUDGE_HAPPENED),
        (event.shadow, fields::SHADOW_PROBABILITY, fields::SHADOW_HAPPENED),
    ];
    for (draw, probability, happened) in draws {
        if let Some(draw) = draw {
            attributes.push(KeyValue::new(probability, draw.probability));
            attributes.push(KeyValue::new(happened, draw.happened));
        }
    }
    if event.explore.is_some() || event.shadow.is_some() || event.ticket.is_some() {
        // As text, since an attribute has no unsigned integers.
        attributes.push(KeyValue::new(fields::DRAW_NUMBER, event.number.to_string()));
    }
    if event.joint().len() > 0 {
        let rows = event.joint().map(|(_, row)| row);
        attributes.push(KeyValue::new(fields::REPLAY_FEATURES, rows::numbers(rows)));
        let indices = event.joint().map(|(candidate, _)| candidate as i64).collect();
        attributes.push(KeyValue::new(fields::REPLAY_CANDIDATES, Value::Array(Array::I64(indices))));
    }
    attributes
}

/// Writes one line per candidate.
#[cold]
fn log_candidates(event: &Decision<'_>, redact: bool) {
    for (decision, id) in event.decisions.iter().zip(event.candidate_ids()) {
        let id = if redact { REDACTED } else { id };
        tracing::trace!(
            target: TARGET,
            {
                { fields::CANDIDATE_INDEX } = decision.candidate as i64,
                { fields::CANDIDATE_ID } = id,
                { fields::CONFIDENCE } = double(decision.confidence),
                { fields::UNCERTAINTY } = double(decision.uncertainty),
                { fields::CANDIDATE_LIGHTWEIGHT } = decision.use_lightweight,
            },
            "candidate"
        );
    }
}

/// The text that replaces a redacted name.
pub(crate) const REDACTED: &str = "redacted";

fn int(key: &'static str, count: usize) -> KeyValue {
    KeyValue::new(key, count as i64)
}

/// An `f32` as a double with six decimal places, so that 0.98 does not become 0.9800000190734863.
fn double(value: f32) -> f64 {
    (f64::from(value) * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests;
