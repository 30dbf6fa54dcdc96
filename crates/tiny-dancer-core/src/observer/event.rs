//! The events, and their closed vocabularies.

use crate::breaker::{Cause, Circuit, CircuitState};
use crate::budget::{Account, BudgetChange, BudgetState, Ticket};
use crate::coin::Draw;
use crate::features::{Columns, Feature, Features};
use crate::kernel::Kernel;
use crate::model::{LoadError, Model};
use crate::names::names;
use crate::order::JointOrder;
use crate::promise::PromiseState;
use crate::request::Candidates;
use crate::{ErrorKind, ModelType, Outcome, Reason, RouteError, RoutingDecision, Thresholds};
use std::time::Duration;

/// How much of a request an observer receives. Ordered: each level includes the events of the levels before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Detail {
    /// No more events of the request.
    Off,
    /// An error or a fallback, and its end without a duration. No more events of a success.
    Unsuccessful,
    /// Each decision or error, and the end with its duration.
    Request,
    /// ... and the stages that the observer [enables](super::Observer::is_enabled).
    Stages,
    /// ... and the enabled steps of the joint pass: a `model_inference` for each candidate, within that of the stage.
    Candidates,
}

/// The method of the router by which a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Operation {
    /// `route` and `route_into`
    Route,
    /// `route_batch`, once for each of its requests
    RouteBatch,
    /// `route_set` and `route_set_into`
    RouteSet,
    /// `begin`
    Scope,
}

names!(Operation, "operation", {
    Route => "route",
    RouteBatch => "route_batch",
    RouteSet => "route_set",
    Scope => "scope",
});

/// A stage of a request. A [`Scope`](crate::Scope) runs the first two, as often as its user calls them. The
/// [others](Self::ROUTING) are the router's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Stage {
    /// Turns a text into the query's vector.
    Embedding,
    /// Searches a memory for the candidates.
    MemorySearch,
    /// Checks whether the circuits let the request pass.
    CircuitBreakerCheck,
    /// Checks the query and the candidates, and computes each candidate's features.
    FeatureEngineering,
    /// Runs the cell: the per-candidate pass and the joint pass.
    ModelInference,
    /// Computes the uncertainties of the confidences.
    UncertaintyEstimation,
}

names!(Stage, "stage", {
    Embedding => "embedding",
    MemorySearch => "memory_search",
    CircuitBreakerCheck => "circuit_breaker_check",
    FeatureEngineering => "feature_engineering",
    ModelInference => "model_inference",
    UncertaintyEstimation => "uncertainty_estimation",
});

impl Stage {
    /// The four stages of each request, in their order.
    pub const ROUTING: [Self; 4] = [
        Self::CircuitBreakerCheck,
        Self::FeatureEngineering,
        Self::ModelInference,
        Self::UncertaintyEstimation,
    ];

    /// Whether it is one of [`ROUTING`](Self::ROUTING).
    pub const fn is_routing(self) -> bool {
        !matches!(self, Self::Embedding | Self::MemorySearch)
    }
}

/// Why a stage of a scope failed, for labels. Kinds of errors of `tiny-dancer-embed` have the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum StageErrorKind {
    /// The circuit of the service is open.
    CircuitOpen,
    /// The deadline passed.
    DeadlineExceeded,
    /// A vector has another dimension than expected.
    DimensionMismatch,
    /// The vectors are of another embedder than the remembered ones.
    EmbedderMismatch,
    /// A service's response or a stored record is not valid.
    InvalidResponse,
    /// The text has no tokens.
    NoTokens,
    /// An element of the vector is infinite or no number.
    NonFinite,
    /// Another error.
    Other,
    /// The service limits the rate of calls.
    RateLimited,
    /// The service refused the call.
    Rejected,
    /// The service or the store failed.
    Unavailable,
    /// The service or the store could not be reached.
    Unreachable,
    /// The vector is zero, so that it has no direction.
    ZeroNorm,
}

names!(StageErrorKind, "kind of stage error", {
    CircuitOpen => "circuit_open",
    DeadlineExceeded => "deadline_exceeded",
    DimensionMismatch => "dimension_mismatch",
    EmbedderMismatch => "embedder_mismatch",
    InvalidResponse => "invalid_response",
    NoTokens => "no_tokens",
    NonFinite => "non_finite",
    Other => "other",
    RateLimited => "rate_limited",
    Rejected => "rejected",
    Unavailable => "unavailable",
    Unreachable => "unreachable",
    ZeroNorm => "zero_norm",
});

/// What a stage reports about itself. The closure of a [`Scope`](crate::Scope)'s stage fills it in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StageReport {
    /// How many items it processed: tokens that `embedding` read, candidates that `memory_search` found. In the router's
    /// own stages, the candidates of the request.
    pub items: usize,
    /// Whether it left out a part of its input, such as the rest of a long text.
    pub truncated: bool,
    /// Why it failed; `None` if it succeeded. The router's own errors are in [`Failed`] instead.
    pub error: Option<StageErrorKind>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// With an error.
    Failure,
    /// With the powerful model, because a circuit is open or there are no candidates.
    Fallback,
    /// With a decision of the router's model, or explored.
    Success,
}

names!(Status, "status", {
    Failure => "failure",
    Fallback => "fallback",
    Success => "success",
});

impl Status {
    /// The status of a request that is decided for this reason.
    pub(crate) fn of(reason: Reason) -> Self {
        if reason.is_fallback() { Self::Fallback } else { Self::Success }
    }

    /// The least detail that includes an end of this status.
    pub(crate) fn detail(self) -> Detail {
        if self == Self::Success { Detail::Request } else { Detail::Unsuccessful }
    }
}

/// A batch of requests came in.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct BatchStart {
    /// How many requests it has.
    pub requests: usize,
}

/// A request came in.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RequestStart<'a> {
    /// The method by which it came in.
    pub operation: Operation,
    /// The version of the model that serves it.
    pub model_version: &'a str,
}

impl RequestStart<'_> {
    /// The name of a whole request in spans. [`Stage::name`] is that of a stage.
    pub const NAME: &'static str = "routing_request";
}

/// The ids of a span that an observer records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanIds {
    /// The trace's id, big-endian.
    pub trace: u128,
    /// The span's id, big-endian.
    pub span: u64,
}

/// A stage, or one candidate's step, begins.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct StageStart<'a> {
    /// Which stage.
    pub stage: Stage,
    /// How many candidates the request has; 0 in the stages of a scope, since they precede the candidates.
    pub candidates: usize,
    /// The candidate's step; `None` is the whole stage.
    pub step: Option<CandidateStep<'a>>,
}

impl StageStart<'_> {
    /// The least detail that includes this event.
    pub fn detail(&self) -> Detail {
        if self.step.is_some() { Detail::Candidates } else { Detail::Stages }
    }
}

/// One candidate's step of the joint pass.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CandidateStep<'a> {
    /// The candidate's place in the request, or in the set.
    pub candidate: usize,
    /// How many candidates are nearer: 0 is the nearest candidate, which is read last.
    pub rank: usize,
    /// The candidate's name. Never a label; in logs only at `DEBUG` and below.
    pub id: &'a str,
}

/// A stage, or one candidate's step, ended.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct StageEnd {
    /// Which stage.
    pub stage: Stage,
    /// How many items it processed, and whether it failed.
    pub report: StageReport,
    /// Whether this is a candidate's step rather than the whole stage.
    pub is_step: bool,
    /// The time from the request's start to its own.
    pub start: Duration,
    /// How long it took.
    pub duration: Duration,
}

impl StageEnd {
    /// The least detail that includes this event.
    pub fn detail(&self) -> Detail {
        if self.is_step { Detail::Candidates } else { Detail::Stages }
    }
}

/// The request is decided.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Decided<'a> {
    /// The model that it goes to.
    pub model: ModelType,
    /// The probability that the lightweight model suffices.
    pub confidence: f32,
    /// The conformal uncertainty of the confidence.
    pub uncertainty: f32,
    /// Why it goes to that model.
    pub reason: Reason,
    /// How many candidates the request has. With a set, how many of the set's candidates it uses.
    pub candidates: usize,
    /// The query embedding's dimension; 0 without a query.
    pub dimensions: usize,
    /// The candidates' decisions by the per-candidate pass, highest confidence first. Empty without inference: on a fallback,
    /// and on an explored request without candidates.
    pub decisions: &'a [RoutingDecision],
    /// The number by which the draws can be computed again; 0 where the router draws nothing.
    pub number: u64,
    /// The draw of [`explore`](crate::RouterConfig::explore), if the decision before it was powerful.
    pub explore: Option<Draw>,
    /// The draw of [`shadow_rate`](crate::RouterConfig::shadow_rate), if the answer is powerful.
    pub shadow: Option<Draw>,
    /// The ticket of a lightweight answer under a quality budget.
    pub ticket: Option<Ticket>,
    /// The thresholds of the lightweight model.
    pub thresholds: Thresholds,
    /// The version of the model that decided.
    pub model_version: &'a str,
    /// The kernel that computed it: another kernel may give other bits.
    pub kernel: Kernel,
    /// The configuration's [`digest`](crate::RouterConfig::digest).
    pub config_digest: &'a str,
    /// The request's span, if an observer records one.
    pub span: Option<SpanIds>,
    pub(crate) columns: &'a Columns,
    pub(crate) joint: &'a JointOrder,
    pub(crate) pool: Candidates<'a>,
}

impl<'a> Decided<'a> {
    /// The candidates' features, in the order of the request. With a set: those of its nearest candidates, in the order
    /// of the set.
    pub fn features(&self) -> Features<'a> {
        self.columns.features()
    }

    /// The confidences of [`decisions`](Self::decisions) as a slice, in the order of [`features`](Self::features).
    #[inline]
    pub fn confidences(&self) -> &'a [f32] {
        self.columns.confidences()
    }

    /// The uncertainties of [`decisions`](Self::decisions) as a slice, in the same order.
    #[inline]
    pub fn uncertainties(&self) -> &'a [f32] {
        self.columns.uncertainties()
    }

    /// The name of each decision's candidate, in the order of [`decisions`](Self::decisions). Never a label; in logs only at
    /// `DEBUG` and below.
    pub fn candidate_ids(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let pool = self.pool;
        self.decisions.iter().map(move |decision| pool.id(decision.candidate))
    }

    /// The candidates of the joint pass, farthest first: for each its place in the request, or in the set, and its
    /// features in the order of [`Feature::ALL`]. Empty without inference.
    pub fn joint(&self) -> impl ExactSizeIterator<Item = (usize, [f32; Feature::COUNT])> + use<'a> {
        let (pool, features) = (self.pool, self.features());
        self.joint.positions().iter().map(move |&position| {
            let position = position as usize;
            (pool.place(position), features.row(position))
        })
    }

    /// How the request ended.
    pub fn status(&self) -> Status {
        Status::of(self.reason)
    }

    /// The least detail that includes this event.
    pub fn detail(&self) -> Detail {
        self.status().detail()
    }
}

/// The request failed.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Failed<'a> {
    /// The error.
    pub error: &'a RouteError,
    /// The stage that returned it; `None` if a scope was abandoned.
    pub stage: Option<Stage>,
    /// How many candidates the request has; 0 if a scope was abandoned.
    pub candidates: usize,
    /// The query embedding's dimension; 0 without a query.
    pub dimensions: usize,
    /// The request's span, if an observer records one.
    pub span: Option<SpanIds>,
}

impl Failed<'_> {
    /// The error's kind, for labels.
    pub fn kind(&self) -> ErrorKind {
        self.error.kind()
    }
}

/// The request is over.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RequestEnd {
    /// The method by which it came in.
    pub operation: Operation,
    /// How many candidates it had.
    pub candidates: usize,
    /// How it ended.
    pub status: Status,
    /// How long it took; 0 where the detail is below [`Detail::Request`].
    pub duration: Duration,
    /// The request's span, if an observer records one.
    pub span: Option<SpanIds>,
}

impl RequestEnd {
    /// The least detail that includes this event.
    pub fn detail(&self) -> Detail {
        self.status.detail()
    }
}

/// The caller reported the outcome of a call to a model.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct OutcomeReported {
    /// The outcome.
    pub outcome: Outcome,
    /// The state of the promise, this outcome included; `None` where no risk is promised.
    pub promise: Option<PromiseState>,
}

/// Outcomes refuted the promised risk.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PromiseBroken {
    /// The state of the promise.
    pub promise: PromiseState,
}

/// A circuit changed its state.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct BreakerTransition {
    /// Which circuit.
    pub circuit: Circuit,
    /// The old state.
    pub from: CircuitState,
    /// The new state.
    pub to: CircuitState,
    /// The cause.
    pub cause: Cause,
}

/// The router has its first model, has loaded another one, or failed to load one.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ModelReload<'a> {
    /// The model that serves from now on, or the error for which the previous model continues to serve.
    pub result: Result<&'a Model, &'a LoadError>,
    /// The version that served before; `None` for the router's first model.
    pub previous: Option<&'a str>,
    /// The thresholds of the lightweight model from now on.
    pub thresholds: Thresholds,
    /// The kernel that decides.
    pub kernel: Kernel,
    /// When it happened, by the router's clock, in Unix seconds.
    pub unix_seconds: i64,
    /// The state of the promise; `None` where no risk is promised.
    pub promise: Option<PromiseState>,
}

/// What happened to the quality budget.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct BudgetEvent<'a> {
    /// What happened.
    pub change: BudgetChange,
    /// The thresholds in use.
    pub thresholds: Thresholds,
    pub(crate) account: &'a Account,
}

impl BudgetEvent<'_> {
    /// The state of the account now. It is computed here, since it takes some microseconds.
    pub fn state(&self) -> BudgetState {
        self.account.state()
    }
}

/// What happened in a memory, and its size right after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryEvent {
    /// The size of the memory.
    pub state: MemoryState,
    /// What happened.
    pub change: MemoryChange,
}

impl MemoryEvent {
    /// A change, and the state that it led to.
    pub fn new(state: MemoryState, change: MemoryChange) -> Self {
        Self { state, change }
    }
}

/// The size of a memory.
///
/// ```
/// use tiny_dancer_core::observer::MemoryState;
///
/// let mut state = MemoryState::default();
/// (state.entries, state.evidence) = (100, 40);
/// assert_eq!(state.log_entries, None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryState {
    /// The number of remembered requests.
    pub entries: usize,
    /// The number of those that have a verdict, so that they are candidates. The others are pending.
    pub evidence: usize,
    /// The number of the index's segments.
    pub segments: usize,
    /// The number of changes that wait to be made durable.
    pub queue: usize,
    /// The number of changes for which the queue has room.
    pub queue_capacity: usize,
    /// The number of the decision log's entries; `None` where it is not known.
    pub log_entries: Option<usize>,
}

/// What happened in a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemoryChange {
    /// Data were erased by request.
    Erased {
        /// How many entries.
        entries: usize,
        /// How many entries of the decision log.
        log_entries: usize,
    },
    /// Entries were dropped because of their age or their number.
    Expired {
        /// How many entries.
        entries: usize,
        /// How many entries of the decision log.
        log_entries: usize,
    },
    /// A commit failed. Its changes wait, and will be committed again.
    Failed {
        /// How many.
        changes: usize,
        /// The reason.
        kind: MemoryErrorKind,
    },
    /// Changes will not be durable. Routing goes on with those in memory.
    Lost {
        /// How many.
        changes: usize,
        /// The reason.
        kind: MemoryErrorKind,
    },
    /// The memory was read from its store.
    Opened {
        /// How long it took.
        duration: Duration,
    },
    /// Changes are durable.
    Stored {
        /// How many.
        changes: usize,
        /// How long their commit took.
        duration: Duration,
    },
    /// A verdict was recorded.
    Verdict {
        /// How it relates to what was known of its request.
        kind: VerdictKind,
    },
}

/// How a verdict relates to what the memory knows of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum VerdictKind {
    /// It is the first one on its request.
    Accepted,
    /// It replaces an earlier one with other scores.
    Contradicting,
    /// It repeats the one that counts.
    Repeated,
    /// It is older than the one that counts, which remains.
    Superseded,
    /// No such request is known.
    Unknown,
}

names!(VerdictKind, "kind of verdict", {
    Accepted => "accepted",
    Contradicting => "contradicting",
    Repeated => "repeated",
    Superseded => "superseded",
    Unknown => "unknown",
});

/// Why a memory's store failed, for labels. Kinds of errors of `tiny-dancer-memory` have the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum MemoryErrorKind {
    /// The store is damaged, or is something else.
    Corrupt,
    /// The vectors are of another embedder than the remembered ones.
    EmbedderMismatch,
    /// The disk is full.
    Full,
    /// Another process writes to the store.
    Locked,
    /// Another error.
    Other,
    /// The queue before the store is full.
    QueueFull,
    /// The store cannot be written.
    ReadOnly,
    /// The store cannot be reached, or an input or output failed.
    Unavailable,
    /// A newer version has written the store.
    UnsupportedVersion,
}

names!(MemoryErrorKind, "kind of memory error", {
    Corrupt => "corrupt",
    EmbedderMismatch => "embedder_mismatch",
    Full => "full",
    Locked => "locked",
    Other => "other",
    QueueFull => "queue_full",
    ReadOnly => "read_only",
    Unavailable => "unavailable",
    UnsupportedVersion => "unsupported_version",
});
