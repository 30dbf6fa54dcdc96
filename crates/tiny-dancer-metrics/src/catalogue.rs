//! Every family, once: its name, kind, unit, help, labels with their values, and buckets.
//!
//! [`CATALOGUE`] determines everything else: what is registered, where each series is kept, the documentation, and the
//! checks of dashboards and alert rules. Names are written only here.
//!
//! Label values come from closed enums, so the number of series is fixed at compile time. The exceptions are
//! `tiny_dancer_model_info` and `tiny_dancer_build_info`, which have one series at a time.

use tiny_dancer_core::budget::Settlement;
use tiny_dancer_core::coin::Purpose;
use tiny_dancer_core::observer::{MemoryErrorKind, Operation, StageErrorKind, Status, VerdictKind};
use tiny_dancer_core::{Circuit, CircuitState, ErrorKind, ModelType, Origin, OutcomeResult, Reason, names};

/// A metric family.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Family {
    /// The full name.
    pub name: &'static str,
    /// Its kind in Prometheus.
    pub kind: Kind,
    /// The unit of its values.
    pub unit: Unit,
    /// What it means, in a sentence.
    pub help: &'static str,
    /// Its labels.
    pub labels: &'static [Label],
    /// When it is shown.
    pub presence: Presence,
}

impl Family {
    /// How many series it has from the start. One series of a histogram is its buckets, `+Inf`, sum and count. 0 where the
    /// values of a label are unknown at compile time.
    pub const fn series(&self) -> usize {
        match self.labels {
            [] => 1,
            [label, ..] => label.values.len(),
        }
    }
}

/// When a family is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Presence {
    /// From the first scrape on.
    Always,
    /// Once there is a router with a quality budget.
    WithBudget,
    /// Once a router has a model.
    WithModel,
    /// If the collector is configured with [prices](crate::Prices).
    WithPrices,
    /// Once a router promises a risk.
    WithPromise,
    /// Once a memory beside a router has reported.
    WithMemory,
    /// As long as a tracing system exports [log records](crate::MetricsCollector::watch_log_records).
    WithLogs,
    /// As long as a tracing system exports [metrics](crate::MetricsCollector::watch_metric_points).
    WithPush,
    /// As long as a tracing system counts [spans](crate::MetricsCollector::watch_spans).
    WithTraces,
}

names!(Presence, "presence", {
    Always => "always",
    WithBudget => "once a router has a quality budget",
    WithModel => "once there is a router",
    WithPrices => "if prices are configured",
    WithPromise => "once a router promises a risk",
    WithMemory => "once a memory has reported",
    WithLogs => "once log records are exported",
    WithPush => "once metrics are exported over OTLP",
    WithTraces => "once there is a tracing system",
});

/// A label of a family.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its value in each series of the family, in the order of the series: a column of a table whose rows are series.
    /// With several labels, values repeat. Empty where the values are unknown at compile time.
    pub values: &'static [&'static str],
}

/// The kind of a family in Prometheus.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts observations in buckets.
    Histogram {
        /// The inclusive upper bounds, ascending; `+Inf` is implied.
        buckets: &'static [f64],
    },
}

impl Kind {
    /// The name in the text format.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram { .. } => "histogram",
        }
    }
}

/// The unit of a family's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// Answers of a model.
    Answers,
    /// Candidates.
    Candidates,
    /// Changes of a memory.
    Changes,
    /// Commits of a memory.
    Commits,
    /// Money, in the currency of the configured prices.
    Currency,
    /// Random draws.
    Draws,
    /// Entries of a memory or of its decision log.
    Entries,
    /// Evidence against a promise (an e-value): 1 is none.
    Evidence,
    /// Judgements of answers.
    Judgements,
    /// Log records.
    LogRecords,
    /// Points of metrics.
    MetricPoints,
    /// Always 1: the information is in the label.
    One,
    /// Reported outcomes.
    Outcomes,
    /// From 0 to 1.
    Probability,
    /// 0 kept, 1 broken.
    Promise,
    /// Attempts to load a model.
    Reloads,
    /// Requests.
    Requests,
    /// 0 failed, 1 succeeded.
    Result,
    /// Searches of a memory.
    Searches,
    /// Time, in Prometheus' base unit.
    Seconds,
    /// Segments of an index.
    Segments,
    /// Spans of traces.
    Spans,
    /// 0 closed, 1 half-open, 2 open.
    State,
    /// Texts.
    Texts,
    /// Seconds since 1970.
    Timestamp,
    /// Tokens.
    Tokens,
    /// Changes of a state.
    Transitions,
    /// Verdicts on answers.
    Verdicts,
}

names!(Unit, "unit", {
    Answers => "answers",
    Candidates => "candidates",
    Changes => "changes",
    Commits => "commits",
    Currency => "your currency",
    Draws => "draws",
    Entries => "entries",
    Evidence => "1 is none, 1/delta refutes",
    Judgements => "judgements",
    LogRecords => "log records",
    MetricPoints => "points",
    One => "always 1",
    Outcomes => "outcomes",
    Probability => "probability",
    Promise => "0 kept, 1 broken",
    Reloads => "reloads",
    Requests => "requests",
    Result => "0 failed, 1 succeeded",
    Searches => "searches",
    Seconds => "seconds",
    Segments => "segments",
    Spans => "spans",
    State => "0 closed, 1 half-open, 2 open",
    Texts => "texts",
    Timestamp => "seconds since 1970",
    Tokens => "tokens",
    Transitions => "transitions",
    Verdicts => "verdicts",
});

/// All families.
pub const CATALOGUE: &[Family] = &[
    ROUTING_LATENCY,
    FEATURE_ENGINEERING_DURATION,
    MODEL_INFERENCE_DURATION,
    EMBEDDING_DURATION,
    MEMORY_SEARCH_DURATION,
    ROUTING_REQUESTS,
    ROUTING_DECISIONS,
    CANDIDATES_PROCESSED,
    CONFIDENCE_SCORES,
    UNCERTAINTY_ESTIMATES,
    CIRCUIT_BREAKER_STATE,
    CIRCUIT_BREAKER_TRANSITIONS,
    ERRORS,
    OUTCOMES,
    DRAWS,
    EMBEDDING_TOKENS,
    EMBEDDING_TRUNCATED,
    EMBEDDING_ERRORS,
    MEMORY_SEARCH_CANDIDATES,
    MEMORY_SEARCH_ERRORS,
    MEMORY_ENTRIES,
    MEMORY_LOG_ENTRIES,
    MEMORY_SEGMENTS,
    MEMORY_QUEUE_LENGTH,
    MEMORY_QUEUE_CAPACITY,
    MEMORY_CHANGES_STORED,
    MEMORY_CHANGES_LOST,
    MEMORY_COMMITS_FAILED,
    MEMORY_COMMIT_DURATION,
    MEMORY_DROPPED,
    MEMORY_VERDICTS,
    MODEL_RELOADS,
    MODEL_LAST_RELOAD_SUCCESSFUL,
    MODEL_LAST_RELOAD_TIMESTAMP,
    MODEL_INFO,
    BUILD_INFO,
    REQUESTS_IN_FLIGHT,
    PROMISED_ALPHA,
    PROMISED_DELTA,
    PROMISE_INSUFFICIENT_RATIO,
    PROMISE_EVIDENCE,
    PROMISE_BROKEN,
    BUDGET_ANSWERS,
    BUDGET_ALLOWED,
    BUDGET_BOUND,
    BUDGET_BALANCE,
    BUDGET_SPENT,
    BUDGET_MISSING,
    BUDGET_JUDGEMENTS,
    BUDGET_JUDGE_PROBABILITY,
    BUDGET_CONFIDENCE_THRESHOLD,
    BUDGET_SETTLEMENTS,
    COST,
    BASELINE_COST,
    SPANS,
    LOG_RECORDS,
    METRIC_POINTS,
];

/// The values of a label: a name for each value of a closed enum, for each pair from two, or for each triple from three.
macro_rules! values {
    ($all:expr, $each:ident => $name:expr) => {
        &const {
            let mut names = [""; $all.len()];
            let mut i = 0;
            while i < names.len() {
                let $each = $all[i];
                names[i] = $name;
                i += 1;
            }
            names
        }
    };
    ($outer:expr, $inner:expr, $pair:ident => $name:expr) => {
        &const {
            let mut names = [""; $outer.len() * $inner.len()];
            let mut i = 0;
            while i < names.len() {
                let $pair = ($outer[i / $inner.len()], $inner[i % $inner.len()]);
                names[i] = $name;
                i += 1;
            }
            names
        }
    };
    ($outer:expr, $middle:expr, $inner:expr, $triple:ident => $name:expr) => {
        &const {
            let mut names = [""; $outer.len() * $middle.len() * $inner.len()];
            let mut i = 0;
            while i < names.len() {
                let pair = i / $inner.len();
                let $triple =
                    ($outer[pair / $middle.len()], $middle[pair % $middle.len()], $inner[i % $inner.len()]);
                names[i] = $name;
                i += 1;
            }
            names
        }
    };
}

pub(crate) const ROUTING_LATENCY: Family = Family {
    name: "tiny_dancer_routing_latency_seconds",
    kind: Kind::Histogram { buckets: LATENCY_BUCKETS },
    unit: Unit::Seconds,
    help: "How long a request took, from start to end, however it ended; a scope includes its embedding and its search.",
    labels: &[Label { name: "operation", values: values!(Operation::ALL, operation => operation.name()) }],
    presence: Presence::Always,
};

pub(crate) const FEATURE_ENGINEERING_DURATION: Family = Family {
    name: "tiny_dancer_feature_engineering_duration_seconds",
    kind: Kind::Histogram { buckets: STAGE_BUCKETS },
    unit: Unit::Seconds,
    help: "How long it took to check the input, to search the set if there is one, and to compute the features, by the number of candidates.",
    labels: &[Label { name: "batch_size", values: values!(BatchSize::ALL, size => size.name()) }],
    presence: Presence::Always,
};

pub(crate) const MODEL_INFERENCE_DURATION: Family = Family {
    name: "tiny_dancer_model_inference_duration_seconds",
    kind: Kind::Histogram { buckets: STAGE_BUCKETS },
    unit: Unit::Seconds,
    help: "How long the per-candidate pass and the joint pass of a request took.",
    labels: &[Label { name: "model_type", values: &["fastgrnn"] }],
    presence: Presence::Always,
};

pub(crate) const EMBEDDING_DURATION: Family = Family {
    name: "tiny_dancer_embedding_duration_seconds",
    kind: Kind::Histogram { buckets: TEXT_BUCKETS },
    unit: Unit::Seconds,
    help: "How long the embedding of a scope's text took, failed ones included.",
    labels: &[],
    presence: Presence::Always,
};

pub(crate) const MEMORY_SEARCH_DURATION: Family = Family {
    name: "tiny_dancer_memory_search_duration_seconds",
    kind: Kind::Histogram { buckets: TEXT_BUCKETS },
    unit: Unit::Seconds,
    help: "How long the search of a scope's candidates took, failed ones included.",
    labels: &[],
    presence: Presence::Always,
};

pub(crate) const ROUTING_REQUESTS: Family = Family {
    name: "tiny_dancer_routing_requests_total",
    kind: Kind::Counter,
    unit: Unit::Requests,
    help: "Requests by how they ended; fallback is the powerful model because of missing evidence or an open circuit.",
    labels: &[Label { name: "status", values: values!(Status::ALL, status => status.name()) }],
    presence: Presence::Always,
};

pub(crate) const ROUTING_DECISIONS: Family = Family {
    name: "tiny_dancer_routing_decisions_total",
    kind: Kind::Counter,
    unit: Unit::Requests,
    help: "Decided requests by the chosen model and the reason.",
    labels: &[
        // The reason determines the model, so there are as many series as reasons.
        Label { name: "model_type", values: values!(Reason::ALL, reason => reason.model().name()) },
        Label { name: "reason", values: values!(Reason::ALL, reason => reason.name()) },
    ],
    presence: Presence::Always,
};

pub(crate) const CANDIDATES_PROCESSED: Family = Family {
    name: "tiny_dancer_candidates_processed_total",
    kind: Kind::Counter,
    unit: Unit::Candidates,
    help: "Candidates that the model read, by the number of candidates in their request.",
    labels: &[Label { name: "batch_size_range", values: values!(BatchSize::ALL, size => size.name()) }],
    presence: Presence::Always,
};

pub(crate) const CONFIDENCE_SCORES: Family = Family {
    name: "tiny_dancer_confidence_scores",
    kind: Kind::Histogram { buckets: CONFIDENCE_BUCKETS },
    unit: Unit::Probability,
    help: "Confidence from the per-candidate pass that the lightweight model suffices, by the model that the candidate alone selects.",
    labels: &[Label { name: "decision_type", values: values!(ModelType::ALL, model => model.name()) }],
    presence: Presence::Always,
};

pub(crate) const UNCERTAINTY_ESTIMATES: Family = Family {
    name: "tiny_dancer_uncertainty_estimates",
    kind: Kind::Histogram { buckets: UNCERTAINTY_BUCKETS },
    unit: Unit::Probability,
    help: "Conformal uncertainty from the per-candidate pass, by the model that the candidate alone selects.",
    labels: &[Label { name: "decision_type", values: values!(ModelType::ALL, model => model.name()) }],
    presence: Presence::Always,
};

pub(crate) const CIRCUIT_BREAKER_STATE: Family = Family {
    name: "tiny_dancer_circuit_breaker_state",
    kind: Kind::Gauge,
    unit: Unit::State,
    help: "State of a circuit: 0 closed, 1 half-open, 2 open; the worst of all routers that share it.",
    labels: &[Label { name: "circuit", values: values!(Circuit::ALL, circuit => circuit.name()) }],
    presence: Presence::Always,
};

pub(crate) const CIRCUIT_BREAKER_TRANSITIONS: Family = Family {
    name: "tiny_dancer_circuit_breaker_transitions_total",
    kind: Kind::Counter,
    unit: Unit::Transitions,
    help: "Changes of a circuit's state, by the new state.",
    labels: &[
        Label { name: "circuit", values: values!(Circuit::ALL, CircuitState::ALL, pair => pair.0.name()) },
        Label { name: "to", values: values!(Circuit::ALL, CircuitState::ALL, pair => pair.1.name()) },
    ],
    presence: Presence::Always,
};

pub(crate) const ERRORS: Family = Family {
    name: "tiny_dancer_errors_total",
    kind: Kind::Counter,
    unit: Unit::Requests,
    help: "Failed requests by the kind of error.",
    labels: &[Label { name: "error_type", values: values!(ErrorKind::ALL, kind => kind.name()) }],
    presence: Presence::Always,
};

pub(crate) const OUTCOMES: Family = Family {
    name: "tiny_dancer_outcomes_total",
    kind: Kind::Counter,
    unit: Unit::Outcomes,
    help: "Reported outcomes by model, result and why the model was called; the promise is about routed ones.",
    labels: &[
        Label {
            name: "model_type",
            values: values!(ModelType::ALL, OutcomeResult::ALL, Origin::ALL, triple => triple.0.name()),
        },
        Label {
            name: "origin",
            values: values!(ModelType::ALL, OutcomeResult::ALL, Origin::ALL, triple => triple.2.name()),
        },
        Label {
            name: "result",
            values: values!(ModelType::ALL, OutcomeResult::ALL, Origin::ALL, triple => triple.1.name()),
        },
    ],
    presence: Presence::Always,
};

/// The place of an outcome among the series of [`OUTCOMES`].
pub(crate) const fn outcome_series(model: ModelType, result: OutcomeResult, origin: Origin) -> usize {
    (model as usize * OutcomeResult::ALL.len() + result as usize) * Origin::ALL.len() + origin as usize
}

/// The draws of a router. Others are made after it.
const DRAWN: [Purpose; 3] = [Purpose::Explore, Purpose::Judge, Purpose::Shadow];

pub(crate) const DRAWS: Family = Family {
    name: "tiny_dancer_draws_total",
    kind: Kind::Counter,
    unit: Unit::Draws,
    help: "Draws, by what they decide and whether it happened: powerful decisions that are explored or shadowed, lightweight answers that are judged.",
    labels: &[
        Label { name: "happened", values: values!(DRAWN, [false, true], pair => yes_or_no(pair.1)) },
        Label { name: "purpose", values: values!(DRAWN, [false, true], pair => pair.0.name()) },
    ],
    presence: Presence::Always,
};

const fn yes_or_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

/// The place of a draw among the series of [`DRAWS`]: the purpose is one of [`DRAWN`].
pub(crate) fn draw_series(purpose: Purpose, happened: bool) -> usize {
    let place = DRAWN.into_iter().position(|drawn| drawn == purpose).unwrap_or_default();
    place * 2 + usize::from(happened)
}

pub(crate) const EMBEDDING_TOKENS: Family = Family {
    name: "tiny_dancer_embedding_tokens_total",
    kind: Kind::Counter,
    unit: Unit::Tokens,
    help: "Tokens that embedders read in scopes.",
    labels: &[],
    presence: Presence::Always,
};

pub(crate) const EMBEDDING_TRUNCATED: Family = Family {
    name: "tiny_dancer_embedding_truncated_total",
    kind: Kind::Counter,
    unit: Unit::Texts,
    help: "Texts of which the embedder left out a part.",
    labels: &[],
    presence: Presence::Always,
};

pub(crate) const EMBEDDING_ERRORS: Family = Family {
    name: "tiny_dancer_embedding_errors_total",
    kind: Kind::Counter,
    unit: Unit::Texts,
    help: "Texts that could not be embedded, by the kind of error.",
    labels: &[Label { name: "error_type", values: values!(StageErrorKind::ALL, kind => kind.name()) }],
    presence: Presence::Always,
};

pub(crate) const MEMORY_SEARCH_CANDIDATES: Family = Family {
    name: "tiny_dancer_memory_search_candidates_total",
    kind: Kind::Counter,
    unit: Unit::Candidates,
    help: "Candidates that the searches of scopes found.",
    labels: &[],
    presence: Presence::Always,
};

pub(crate) const MEMORY_SEARCH_ERRORS: Family = Family {
    name: "tiny_dancer_memory_search_errors_total",
    kind: Kind::Counter,
    unit: Unit::Searches,
    help: "Searches of scopes that failed, by the kind of error.",
    labels: &[Label { name: "error_type", values: values!(StageErrorKind::ALL, kind => kind.name()) }],
    presence: Presence::Always,
};

pub(crate) const MEMORY_ENTRIES: Family = Family {
    name: "tiny_dancer_memory_entries",
    kind: Kind::Gauge,
    unit: Unit::Entries,
    help: "Remembered requests: those with a verdict are evidence, the others are pending.",
    labels: &[Label { name: "state", values: values!(EntryState::ALL, state => state.name()) }],
    presence: Presence::WithMemory,
};

pub(crate) const MEMORY_LOG_ENTRIES: Family = Family {
    name: "tiny_dancer_memory_log_entries",
    kind: Kind::Gauge,
    unit: Unit::Entries,
    help: "Entries of the decision log, where their number is known.",
    labels: &[],
    presence: Presence::WithMemory,
};

pub(crate) const MEMORY_SEGMENTS: Family = Family {
    name: "tiny_dancer_memory_segments",
    kind: Kind::Gauge,
    unit: Unit::Segments,
    help: "Segments of the memory's index.",
    labels: &[],
    presence: Presence::WithMemory,
};

pub(crate) const MEMORY_QUEUE_LENGTH: Family = Family {
    name: "tiny_dancer_memory_queue_length",
    kind: Kind::Gauge,
    unit: Unit::Changes,
    help: "Changes of the memory that wait to be made durable, when it last reported.",
    labels: &[],
    presence: Presence::WithMemory,
};

pub(crate) const MEMORY_QUEUE_CAPACITY: Family = Family {
    name: "tiny_dancer_memory_queue_capacity",
    kind: Kind::Gauge,
    unit: Unit::Changes,
    help: "Changes for which the queue before the memory's store has room; further ones are lost.",
    labels: &[],
    presence: Presence::WithMemory,
};

pub(crate) const MEMORY_CHANGES_STORED: Family = Family {
    name: "tiny_dancer_memory_changes_stored_total",
    kind: Kind::Counter,
    unit: Unit::Changes,
    help: "Changes of the memory that are durable.",
    labels: &[],
    presence: Presence::WithMemory,
};

pub(crate) const MEMORY_CHANGES_LOST: Family = Family {
    name: "tiny_dancer_memory_changes_lost_total",
    kind: Kind::Counter,
    unit: Unit::Changes,
    help: "Changes of the memory that will not be durable, by the kind of error.",
    labels: &[Label { name: "error_type", values: values!(MemoryErrorKind::ALL, kind => kind.name()) }],
    presence: Presence::WithMemory,
};

pub(crate) const MEMORY_COMMITS_FAILED: Family = Family {
    name: "tiny_dancer_memory_commits_failed_total",
    kind: Kind::Counter,
    unit: Unit::Commits,
    help: "Commits of the memory that failed, by the kind of error; their changes wait and are committed again.",
    labels: &[Label { name: "error_type", values: values!(MemoryErrorKind::ALL, kind => kind.name()) }],
    presence: Presence::WithMemory,
};

pub(crate) const MEMORY_COMMIT_DURATION: Family = Family {
    name: "tiny_dancer_memory_commit_duration_seconds",
    kind: Kind::Histogram { buckets: COMMIT_BUCKETS },
    unit: Unit::Seconds,
    help: "How long it took to make changes of the memory durable, one observation a commit.",
    labels: &[],
    presence: Presence::WithMemory,
};

pub(crate) const MEMORY_DROPPED: Family = Family {
    name: "tiny_dancer_memory_dropped_total",
    kind: Kind::Counter,
    unit: Unit::Entries,
    help: "Entries that the memory and its decision log dropped: erased by request, or expired by age or number.",
    labels: &[
        Label { name: "cause", values: values!(DropCause::ALL, Record::ALL, pair => pair.0.name()) },
        Label { name: "record", values: values!(DropCause::ALL, Record::ALL, pair => pair.1.name()) },
    ],
    presence: Presence::WithMemory,
};

pub(crate) const MEMORY_VERDICTS: Family = Family {
    name: "tiny_dancer_memory_verdicts_total",
    kind: Kind::Counter,
    unit: Unit::Verdicts,
    help: "Recorded verdicts, by how they relate to what is known of their request.",
    labels: &[Label { name: "kind", values: values!(VerdictKind::ALL, kind => kind.name()) }],
    presence: Presence::WithMemory,
};

pub(crate) const MODEL_RELOADS: Family = Family {
    name: "tiny_dancer_model_reloads_total",
    kind: Kind::Counter,
    unit: Unit::Reloads,
    help: "Reloads of a router's model; the load of a new router is not counted.",
    labels: &[Label { name: "result", values: values!(ReloadResult::ALL, result => result.name()) }],
    presence: Presence::Always,
};

pub(crate) const MODEL_LAST_RELOAD_SUCCESSFUL: Family = Family {
    name: "tiny_dancer_model_last_reload_successful",
    kind: Kind::Gauge,
    unit: Unit::Result,
    help: "Whether the last load of a router's model succeeded, the first load included; of all routers that share it, the worst.",
    labels: &[],
    presence: Presence::WithModel,
};

pub(crate) const MODEL_LAST_RELOAD_TIMESTAMP: Family = Family {
    name: "tiny_dancer_model_last_reload_timestamp_seconds",
    kind: Kind::Gauge,
    unit: Unit::Timestamp,
    help: "When a router's model was last loaded successfully, the first load included; of all routers that share it, the earliest.",
    labels: &[],
    presence: Presence::WithModel,
};

pub(crate) const MODEL_INFO: Family = Family {
    name: "tiny_dancer_model_info",
    kind: Kind::Gauge,
    unit: Unit::One,
    help: "The version of the router's model that was loaded last.",
    labels: &[Label { name: "version", values: &[] }],
    presence: Presence::WithModel,
};

pub(crate) const BUILD_INFO: Family = Family {
    name: "tiny_dancer_build_info",
    kind: Kind::Gauge,
    unit: Unit::One,
    help: "The version and the git revision of the library, and the vector instructions that it uses on this machine.",
    labels: &[
        Label { name: "version", values: &[] },
        Label { name: "revision", values: &[] },
        Label { name: "kernel", values: &[] },
    ],
    presence: Presence::Always,
};

pub(crate) const REQUESTS_IN_FLIGHT: Family = Family {
    name: "tiny_dancer_requests_in_flight",
    kind: Kind::Gauge,
    unit: Unit::Requests,
    help: "Requests that have begun and not ended.",
    labels: &[],
    presence: Presence::Always,
};

pub(crate) const PROMISED_ALPHA: Family = Family {
    name: "tiny_dancer_promised_alpha",
    kind: Kind::Gauge,
    unit: Unit::Probability,
    help: "The promised largest share of insufficient answers of the lightweight model; of several promises, that of the worst.",
    labels: &[],
    presence: Presence::WithPromise,
};

pub(crate) const PROMISED_DELTA: Family = Family {
    name: "tiny_dancer_promised_delta",
    kind: Kind::Gauge,
    unit: Unit::Probability,
    help: "The allowed probability that the promise does not hold: evidence of 1/delta refutes it; of several promises, that of the worst.",
    labels: &[],
    presence: Presence::WithPromise,
};

pub(crate) const PROMISE_INSUFFICIENT_RATIO: Family = Family {
    name: "tiny_dancer_promise_insufficient_ratio",
    kind: Kind::Gauge,
    unit: Unit::Probability,
    help: "Share of insufficient answers among the reported answers of the lightweight model under the promise; failed calls are left out.",
    labels: &[],
    presence: Presence::WithPromise,
};

pub(crate) const PROMISE_EVIDENCE: Family = Family {
    name: "tiny_dancer_promise_evidence",
    kind: Kind::Gauge,
    unit: Unit::Evidence,
    help: "Evidence against the promise (an e-value): 1 is none, 1/delta refutes it.",
    labels: &[],
    presence: Presence::WithPromise,
};

pub(crate) const PROMISE_BROKEN: Family = Family {
    name: "tiny_dancer_promise_broken",
    kind: Kind::Gauge,
    unit: Unit::Promise,
    help: "Whether outcomes refuted the promise: 1 until a reset, or a reload that changes the model or its thresholds.",
    labels: &[],
    presence: Presence::WithPromise,
};

/// A gauge of a quality budget.
const fn budget(name: &'static str, unit: Unit, help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, unit, help, labels: &[], presence: Presence::WithBudget }
}

pub(crate) const BUDGET_ANSWERS: Family = budget(
    "tiny_dancer_budget_answers",
    Unit::Answers,
    "Delivered answers of both models, which the quality budget grows by.",
);

pub(crate) const BUDGET_ALLOWED: Family = budget(
    "tiny_dancer_budget_allowed_answers",
    Unit::Answers,
    "How many worse answers the quality budget allows so far.",
);

pub(crate) const BUDGET_BOUND: Family = budget(
    "tiny_dancer_budget_bound_answers",
    Unit::Answers,
    "Upper bound on the worse answers so far, with each pending judgement as worse.",
);

pub(crate) const BUDGET_BALANCE: Family = budget(
    "tiny_dancer_budget_balance_answers",
    Unit::Answers,
    "Allowed worse answers without the bound; of several routers, the smallest.",
);

pub(crate) const BUDGET_SPENT: Family = budget(
    "tiny_dancer_budget_spent_answers",
    Unit::Answers,
    "Estimate of the worse answers so far: those found, each divided by the probability of its judgement.",
);

pub(crate) const BUDGET_MISSING: Family = budget(
    "tiny_dancer_budget_missing_answers",
    Unit::Answers,
    "Delivered answers until the next lightweight one is allowed, if no judgement is settled before; of several routers, the most.",
);

pub(crate) const BUDGET_JUDGEMENTS: Family = Family {
    name: "tiny_dancer_budget_judgements",
    kind: Kind::Gauge,
    unit: Unit::Judgements,
    help: "Drawn judgements by their result; expired ones were not made in time and count as worse.",
    labels: &[Label { name: "state", values: values!(JudgementState::ALL, state => state.name()) }],
    presence: Presence::WithBudget,
};

pub(crate) const BUDGET_JUDGE_PROBABILITY: Family = budget(
    "tiny_dancer_budget_judge_probability",
    Unit::Probability,
    "The probability with which the next lightweight answer is judged; of several routers, the largest.",
);

pub(crate) const BUDGET_CONFIDENCE_THRESHOLD: Family = budget(
    "tiny_dancer_budget_confidence_threshold",
    Unit::Probability,
    "The confidence threshold to which pacing has moved; of several routers, the largest.",
);

pub(crate) const BUDGET_SETTLEMENTS: Family = Family {
    name: "tiny_dancer_budget_settlements_total",
    kind: Kind::Counter,
    unit: Unit::Judgements,
    help: "Verdicts of judges, by what they changed.",
    labels: &[Label {
        name: "settlement",
        values: values!(Settlement::ALL, settlement => settlement.name()),
    }],
    presence: Presence::WithBudget,
};

pub(crate) const COST: Family = Family {
    name: "tiny_dancer_cost_total",
    kind: Kind::Counter,
    unit: Unit::Currency,
    help: "What the decided requests cost, by the model that was paid; a shadowed request pays both, and so does a judged one.",
    labels: &[Label { name: "model_type", values: values!(ModelType::ALL, model => model.name()) }],
    presence: Presence::WithPrices,
};

pub(crate) const BASELINE_COST: Family = Family {
    name: "tiny_dancer_baseline_cost_total",
    kind: Kind::Counter,
    unit: Unit::Currency,
    help: "What the decided requests would have cost, had all gone to the powerful model.",
    labels: &[],
    presence: Presence::WithPrices,
};

pub(crate) const SPANS: Family = Family {
    name: "tiny_dancer_spans_total",
    kind: Kind::Counter,
    unit: Unit::Spans,
    help: "Spans by result: flushed spans reached the collector, dropped and failed ones did not.",
    labels: &[Label { name: "result", values: values!(ExportResult::ALL, result => result.name()) }],
    presence: Presence::WithTraces,
};

pub(crate) const LOG_RECORDS: Family = Family {
    name: "tiny_dancer_log_records_total",
    kind: Kind::Counter,
    unit: Unit::LogRecords,
    help: "Log records by result: flushed ones reached the collector, dropped and failed ones did not.",
    labels: &[Label { name: "result", values: values!(ExportResult::ALL, result => result.name()) }],
    presence: Presence::WithLogs,
};

pub(crate) const METRIC_POINTS: Family = Family {
    name: "tiny_dancer_metric_points_total",
    kind: Kind::Counter,
    unit: Unit::MetricPoints,
    help: "Points of metrics that were pushed, by result; the next push has the counts of failed ones again.",
    labels: &[Label { name: "result", values: values!(ExportResult::ALL, result => result.name()) }],
    presence: Presence::WithPush,
};

/// Fine around 10 ms, the limit of the alert on latency. A request of ten candidates takes about a microsecond.
const LATENCY_BUCKETS: &[f64] = &[
    250e-9, 500e-9, 1e-6, 2e-6, 4e-6, 8e-6, 16e-6, 32e-6, 64e-6, 125e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3,
    7.5e-3, 9e-3, 10e-3, 11e-3, 12.5e-3, 15e-3, 20e-3, 50e-3, 100e-3, 250e-3, 1.0,
];

/// From a stage with one candidate to a stage with a hundred thousand.
const STAGE_BUCKETS: &[f64] = &[
    50e-9, 100e-9, 250e-9, 500e-9, 1e-6, 2e-6, 4e-6, 8e-6, 16e-6, 32e-6, 64e-6, 125e-6, 250e-6, 500e-6, 1e-3,
    2.5e-3, 5e-3, 10e-3, 50e-3, 250e-3,
];

/// From a table in memory, which takes a microsecond, to a service that takes seconds.
const TEXT_BUCKETS: &[f64] = &[
    500e-9, 1e-6, 2e-6, 4e-6, 8e-6, 16e-6, 64e-6, 250e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3,
    250e-3, 500e-3, 1.0, 2.0,
];

/// From a disk with a cache that survives a crash, which takes some 100 us a commit, to one that is overloaded.
const COMMIT_BUCKETS: &[f64] =
    &[100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1.0, 2.0];

/// Fine where the embedded model's confidences of single candidates lie on real prompts, and so uneven:
/// docs/decisions/0035-buckets-from-real-prompts.md. 0.85 is the default threshold. Sixteen bounds fit into one or two
/// vectors.
const CONFIDENCE_BUCKETS: &[f64] =
    &[0.5, 0.7, 0.775, 0.82, 0.825, 0.828, 0.83, 0.832, 0.833, 0.834, 0.835, 0.836, 0.84, 0.85, 0.9, 1.0];

/// 0.15 is the default limit for the lightweight model. Two single values are frequent, and each has a bucket of its own: 1,
/// from a bin with too few calibration rows, and 33/249, below 0.133.
const UNCERTAINTY_BUCKETS: &[f64] =
    &[0.01, 0.025, 0.05, 0.075, 0.1, 0.125, 0.132, 0.133, 0.15, 0.175, 0.2, 0.25, 0.35, 0.5, 0.99, 1.0];

/// The number of a request's candidates, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BatchSize {
    None,
    UpTo10,
    UpTo50,
    UpTo100,
    More,
}

names!(BatchSize, "range of batch sizes", {
    None => "0",
    UpTo10 => "1-10",
    UpTo50 => "11-50",
    UpTo100 => "51-100",
    More => "101+",
});

impl BatchSize {
    pub(crate) const fn of(candidates: usize) -> Self {
        match candidates {
            0 => Self::None,
            1..=10 => Self::UpTo10,
            11..=50 => Self::UpTo50,
            51..=100 => Self::UpTo100,
            _ => Self::More,
        }
    }
}

/// Why an entry of a memory was dropped, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DropCause {
    Erased,
    Expired,
}

names!(DropCause, "cause of a dropped entry", {
    Erased => "erased",
    Expired => "expired",
});

/// Whether an entry of a memory has a verdict, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryState {
    Evidence,
    Pending,
}

names!(EntryState, "state of an entry", {
    Evidence => "evidence",
    Pending => "pending",
});

/// The result of a drawn judgement, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JudgementState {
    Expired,
    Good,
    Pending,
    Worse,
}

names!(JudgementState, "state of a judgement", {
    Expired => "expired",
    Good => "good",
    Pending => "pending",
    Worse => "worse",
});

/// What a memory keeps of a request, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Entry,
    LogEntry,
}

names!(Record, "kind of record", {
    Entry => "entry",
    LogEntry => "log_entry",
});

/// The result of a reload, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReloadResult {
    Failure,
    Success,
}

names!(ReloadResult, "result of a reload", {
    Failure => "failure",
    Success => "success",
});

/// The result of an export, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExportResult {
    Dropped,
    Failed,
    Flushed,
}

names!(ExportResult, "result of an export", {
    Dropped => "dropped",
    Failed => "failed",
    Flushed => "flushed",
});

#[cfg(test)]
mod tests;
