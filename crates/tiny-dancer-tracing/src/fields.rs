//! The vocabulary: every span, attribute and log line, defined once.
//!
//! Span attributes and log fields share their keys, so that a value from a trace can be searched for in the
//! logs. `docs/spans.md` is generated from this module, and tests compare it with what is recorded.

use crate::environment;
use tiny_dancer_core::observer::{RequestStart, Stage};
use tracing::Level;

/// The `target` of every log line and span of this crate.
pub const TARGET: &str = "tiny_dancer";

/// The type of a key's values. Integers are exported as integers, never as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// true or false
    Bool,
    /// a floating-point number
    Double,
    /// an integer
    Int,
    /// a list of integers
    Ints,
    /// text
    String,
}

/// One key.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Field {
    /// The key.
    pub key: &'static str,
    /// The type of its values.
    pub kind: Kind,
    /// What it means.
    pub help: &'static str,
}

/// Defines each key as a constant, and a table of all keys.
macro_rules! fields {
    ($($name:ident: $kind:ident = $key:literal, $help:literal;)*) => {
        $(
            #[doc = concat!("`", $key, "`: ", $help)]
            pub const $name: &str = $key;
        )*

        /// Every key, in alphabetical order.
        pub const ALL: &[Field] = &[$(Field { key: $key, kind: Kind::$kind, help: $help }),*];
    };
}

fields! {
    ERROR_TYPE: String = "error.type", "the kind of the error, a name of `ErrorKind`; on a scope's stage, of `StageErrorKind`; \
        of a memory, of `MemoryErrorKind`";
    BUDGET_ALLOWED: Double = "tiny_dancer.budget.allowed", "how many worse answers of the lightweight model the quality budget allows";
    BUDGET_BOUND: Double = "tiny_dancer.budget.bound", "the upper bound on the worse answers, with each pending judgement as worse";
    BUDGET_MISSING: Int = "tiny_dancer.budget.missing", "how many delivered answers are missing until the next lightweight one is allowed";
    BUDGET_SETTLEMENT: String = "tiny_dancer.budget.settlement", "what a judge's verdict changed, a name of `Settlement`";
    CANDIDATE_ID: String = "tiny_dancer.candidate.id", "the candidate's own name; only in `TRACE` lines and on spans \
        that users open with `RoutingSpan::model_inference`";
    CANDIDATE_INDEX: Int = "tiny_dancer.candidate.index", "the candidate's index in the request, from 0";
    CANDIDATE_LIGHTWEIGHT: Bool = "tiny_dancer.candidate.lightweight", "whether this candidate alone would choose \
        the lightweight model";
    CANDIDATE_RANK: Int = "tiny_dancer.candidate.rank", "how many candidates are nearer to the query: 0 is the nearest";
    CANDIDATE_SIMILARITY: Double = "tiny_dancer.candidate.similarity", "the cosine of the query's and the candidate's \
        embeddings";
    CANDIDATES: Int = "tiny_dancer.candidates", "how many candidates the request has; on `memory_search`, how many it found";
    CIRCUIT_CAUSE: String = "tiny_dancer.circuit.cause", "why the circuit changed its state";
    CIRCUIT_NAME: String = "tiny_dancer.circuit.name", "`inference` or `lightweight`";
    CIRCUIT_PREVIOUS: String = "tiny_dancer.circuit.previous", "the state before: `closed`, `half_open` or `open`";
    CONFIDENCE: Double = "tiny_dancer.confidence", "the probability that the lightweight model suffices; on a candidate, \
        the result of its per-candidate pass";
    CONFIDENCE_THRESHOLD: Double = "tiny_dancer.confidence_threshold", "the confidence that the lightweight model requires";
    CONFIG_DIGEST: String = "tiny_dancer.config.digest", "twelve digits; they differ between configurations of the router \
        that decide differently";
    DECISION_MODEL: String = "tiny_dancer.decision.model", "where the request goes: `lightweight` or `powerful`";
    DECISION_MODEL_NAME: String = "tiny_dancer.decision.model_name", "the name of the model that the request goes to, \
        where the configuration names it";
    DECISION_REASON: String = "tiny_dancer.decision.reason", "which test decided, a name of `Reason`";
    DIMENSIONS: Int = "tiny_dancer.dimensions", "the query embedding's dimension; 0 without a query";
    DRAW_NUMBER: String = "tiny_dancer.draw.number", "the number of the request, from which its draws follow with the seed";
    DURATION: Double = "tiny_dancer.duration", "seconds that the request or the stage took; of a memory, its opening or commit";
    ENDPOINT: String = "tiny_dancer.endpoint", "where spans go: addresses separated by commas, `standard output` or `none`";
    ERROR_MESSAGE: String = "tiny_dancer.error.message", "the message of the error";
    ERROR_STAGE: String = "tiny_dancer.error.stage", "the stage that failed";
    EXPLORE_HAPPENED: Bool = "tiny_dancer.explore.happened", "whether the request was explored: the draw sent it to the \
        lightweight model";
    EXPLORE_PROBABILITY: Double = "tiny_dancer.explore.probability", "the probability with which it is explored";
    JUDGE_HAPPENED: Bool = "tiny_dancer.judge.happened", "whether the lightweight answer is to be judged, under a quality budget";
    JUDGE_PROBABILITY: Double = "tiny_dancer.judge.probability", "the probability with which it is judged";
    KERNEL: String = "tiny_dancer.kernel", "the vector instructions of the computation: `scalar`, `avx2`, ...";
    LOG_KIND: String = "tiny_dancer.log.kind", "the reason or the kind of error of lines that were left out";
    LOG_LEFT_OUT: Int = "tiny_dancer.log.left_out", "how many lines of this kind were left out";
    LOG_MESSAGE: String = "tiny_dancer.log.message", "the message of lines that were left out";
    LOG_RECORDS_LOST: Int = "tiny_dancer.log_records.lost", "how many log records did not arrive";
    MAX_UNCERTAINTY: Double = "tiny_dancer.max_uncertainty", "the uncertainty that the lightweight model may have at most";
    MEMORY_CHANGES: Int = "tiny_dancer.memory.changes", "how many changes of a memory were stored or lost";
    MEMORY_ENTRIES: Int = "tiny_dancer.memory.entries", "how many entries the memory has; in lines about dropped ones, how many \
        it dropped";
    MEMORY_EVIDENCE: Int = "tiny_dancer.memory.evidence", "how many entries of the memory have a verdict";
    MEMORY_LOG_ENTRIES: Int = "tiny_dancer.memory.log_entries", "how many entries of its decision log the memory dropped";
    MEMORY_QUEUE: Int = "tiny_dancer.memory.queue", "how many changes wait to be made durable";
    MEMORY_VERDICT: String = "tiny_dancer.memory.verdict", "how a verdict relates to what is known of its request, a name of \
        `VerdictKind`";
    METRIC_POINTS_FAILED: Int = "tiny_dancer.metric_points.failed", "how many points of metrics did not arrive; the next push \
        has their counts again";
    MODEL_PREVIOUS: String = "tiny_dancer.model.previous", "the version of the model that served before";
    MODEL_VERSION: String = "tiny_dancer.model.version", "the version of the model that serves";
    OPERATION: String = "tiny_dancer.operation", "the method of the router that was called";
    OUTCOME_MODEL: String = "tiny_dancer.outcome.model", "the model that was called";
    OUTCOME_ORIGIN: String = "tiny_dancer.outcome.origin", "why the model was called, a name of `Origin`";
    OUTCOME_RESULT: String = "tiny_dancer.outcome.result", "the result of the call, a name of `OutcomeResult`";
    PROMISE_ALPHA: Double = "tiny_dancer.promise.alpha", "the promised upper bound of the share of insufficient answers";
    PROMISE_INSUFFICIENT: Int = "tiny_dancer.promise.insufficient", "answers that were reported as insufficient";
    PROMISE_REPORTED: Int = "tiny_dancer.promise.reported", "answers that were reported as sufficient or insufficient";
    REPLAY_CANDIDATES: Ints = "tiny_dancer.replay.candidates", "the indices in the request of the candidates of the \
        joint pass, at most 64, farthest first";
    REPLAY_CONFIDENCE: Double = "tiny_dancer.replay.confidence", "the confidence, exact to the last bit";
    REPLAY_CONFIDENCE_THRESHOLD: Double = "tiny_dancer.replay.confidence_threshold", "the confidence threshold, exact to the last bit";
    REPLAY_FEATURES: String = "tiny_dancer.replay.features", "the features of `tiny_dancer.replay.candidates`: five `f32` \
        each, of eight hexadecimal digits (`tiny_dancer_tracing::rows`)";
    REPLAY_MAX_UNCERTAINTY: Double = "tiny_dancer.replay.max_uncertainty", "the largest allowed uncertainty, exact to the last bit";
    REPLAY_UNCERTAINTY: Double = "tiny_dancer.replay.uncertainty", "the uncertainty, exact to the last bit";
    SAMPLING_RATIO: Double = "tiny_dancer.sampling_ratio", "the recorded share of the traces that begin in this service";
    SHADOW_HAPPENED: Bool = "tiny_dancer.shadow.happened", "whether the request was shadowed: the lightweight model is to be \
        called too";
    SHADOW_PROBABILITY: Double = "tiny_dancer.shadow.probability", "the probability with which it is shadowed";
    SPANS_LOST: Int = "tiny_dancer.spans.lost", "how many spans did not arrive";
    STATUS: String = "tiny_dancer.status", "`success`, `fallback` or `failure`";
    TOKENS: Int = "tiny_dancer.tokens", "how many tokens of the text the embedder read";
    TRUNCATED: Bool = "tiny_dancer.truncated", "whether a part of the input was left out, such as the rest of a long text";
    UNCERTAINTY: Double = "tiny_dancer.uncertainty", "the conformal uncertainty, from 0 (certain) to 1 (nothing is known)";
}

/// The key of the attribute that carries a request's stages to the exporter's thread. It is never exported,
/// so no table lists it.
pub(crate) const STAGES: &str = "tiny_dancer.stages";

/// One kind of span.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Span {
    /// Its name.
    pub name: &'static str,
    /// What it covers.
    pub help: &'static str,
    /// The keys that it may carry.
    pub fields: &'static [&'static str],
}

/// Every span: the request, and its children.
pub const SPANS: &[Span] = &[
    Span {
        name: RequestStart::NAME,
        help: "The whole request. On an error its status is `Error`.",
        fields: &[
            OPERATION,
            CANDIDATES,
            DIMENSIONS,
            MODEL_VERSION,
            STATUS,
            DECISION_MODEL,
            DECISION_REASON,
            DECISION_MODEL_NAME,
            CONFIDENCE,
            CONFIDENCE_THRESHOLD,
            UNCERTAINTY,
            MAX_UNCERTAINTY,
            EXPLORE_HAPPENED,
            JUDGE_HAPPENED,
            SHADOW_HAPPENED,
            ERROR_TYPE,
            ERROR_STAGE,
        ],
    },
    Span {
        name: Stage::Embedding.name(),
        help: "Only in a scope: text becomes the query's vector. On an error its status is `Error`.",
        fields: &[TOKENS, TRUNCATED, ERROR_TYPE],
    },
    Span {
        name: Stage::MemorySearch.name(),
        help: "Only in a scope: the search for candidates. On an error its status is `Error`.",
        fields: &[CANDIDATES, TRUNCATED, ERROR_TYPE],
    },
    Span {
        name: Stage::CircuitBreakerCheck.name(),
        help: "The check whether the circuit lets the request pass.",
        fields: &[],
    },
    Span {
        name: Stage::FeatureEngineering.name(),
        help: "Five features per candidate, and all checks of the request.",
        fields: &[CANDIDATES],
    },
    Span {
        name: Stage::ModelInference.name(),
        help: "With `tiny_dancer.candidates`: the per-candidate pass of all candidates, and the joint pass of those \
               without a span of their own. With `tiny_dancer.candidate.index`: the joint pass's step of one of the \
               nearest `candidate_spans` candidates, with the result of its per-candidate pass.",
        fields: &[CANDIDATES, CANDIDATE_INDEX, CANDIDATE_RANK, CANDIDATE_SIMILARITY, CONFIDENCE],
    },
    Span {
        name: Stage::UncertaintyEstimation.name(),
        help: "The estimation of the conformal uncertainty.",
        fields: &[CANDIDATES],
    },
];

/// The event on the request's span that contains the decision, and the data to replay it.
pub const ROUTING_DECISION: Span = Span {
    name: "routing_decision",
    help: "On the request's span. `tiny-dancer replay` computes each decision except a fallback again from this \
           event, and compares all bits. A double represents each `f32` exactly. The draws are in the event if there were \
           any: what they replaced is computed, and the draw is read. So is the refusal of a quality budget, which follows from all \
           requests and verdicts before.",
    fields: &[
        DECISION_MODEL,
        DECISION_REASON,
        MODEL_VERSION,
        KERNEL,
        CONFIG_DIGEST,
        REPLAY_CANDIDATES,
        REPLAY_FEATURES,
        REPLAY_CONFIDENCE,
        REPLAY_CONFIDENCE_THRESHOLD,
        REPLAY_UNCERTAINTY,
        REPLAY_MAX_UNCERTAINTY,
        DRAW_NUMBER,
        EXPLORE_PROBABILITY,
        EXPLORE_HAPPENED,
        JUDGE_PROBABILITY,
        JUDGE_HAPPENED,
        SHADOW_PROBABILITY,
        SHADOW_HAPPENED,
    ],
};

/// One kind of log line.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Line {
    /// Its level.
    pub level: Level,
    /// Its message.
    pub message: &'static str,
    /// When it is written.
    pub help: &'static str,
    /// The keys that it carries.
    pub fields: &'static [&'static str],
}

const fn line(
    level: Level,
    message: &'static str,
    help: &'static str,
    fields: &'static [&'static str],
) -> Line {
    Line { level, message, help, fields }
}

/// Every log line, the most severe first.
pub const LINES: &[Line] = &[
    line(
        Level::ERROR,
        "circuit opened",
        "Requests go to the powerful model, or are refused, until it closes.",
        &[CIRCUIT_NAME, CIRCUIT_PREVIOUS, CIRCUIT_CAUSE],
    ),
    line(
        Level::ERROR,
        "inference failed",
        "The model's output is not a number: the router's own failure.",
        &[ERROR_MESSAGE, ERROR_TYPE, ERROR_STAGE, CANDIDATES],
    ),
    line(
        Level::ERROR,
        "promise broken",
        "The outcomes refute the promised risk. Logged once, until a reset or a reload.",
        &[PROMISE_ALPHA, PROMISE_REPORTED, PROMISE_INSUFFICIENT],
    ),
    line(
        Level::WARN,
        "budget spent",
        "The quality budget refused fifty requests in a row. They go to the powerful model.",
        &[BUDGET_ALLOWED, BUDGET_BOUND, BUDGET_MISSING],
    ),
    line(
        Level::WARN,
        "fallback",
        "A circuit is open, or there are no candidates: the powerful model is chosen without inference.",
        &[DECISION_REASON, CANDIDATES],
    ),
    line(
        Level::WARN,
        "lines left out",
        "`fallback`, `request refused`, `inference failed`, `scope abandoned`, `stage failed`, `memory commit failed` and \
         `memory changes lost` are written ten times per kind in ten seconds. This line precedes the first one after that.",
        &[LOG_LEFT_OUT, LOG_MESSAGE, LOG_KIND],
    ),
    line(
        Level::WARN,
        "log records can't be exported",
        "The collector is unreachable or refuses log records. Written once, and never exported itself.",
        &[ERROR_MESSAGE],
    ),
    line(
        Level::WARN,
        "log records were lost",
        "Logged when the tracing system is dropped.",
        &[LOG_RECORDS_LOST],
    ),
    line(
        Level::WARN,
        "memory changes lost",
        "Changes of the memory will not be durable. Routing goes on.",
        &[ERROR_TYPE, MEMORY_CHANGES, MEMORY_QUEUE],
    ),
    line(
        Level::WARN,
        "memory commit failed",
        "A commit of the memory failed. Its changes wait, and will be committed again. Routing goes on.",
        &[ERROR_TYPE, MEMORY_CHANGES, MEMORY_QUEUE],
    ),
    line(
        Level::WARN,
        "metrics can't be exported",
        "The collector is unreachable or refuses metrics. Logged once, until it accepts metrics again.",
        &[ERROR_MESSAGE],
    ),
    line(
        Level::WARN,
        "model reload failed",
        "The previous model continues to serve.",
        &[ERROR_MESSAGE, MODEL_VERSION],
    ),
    line(
        Level::WARN,
        "request refused",
        "The request is invalid, or a circuit is open and the configuration refuses requests then.",
        &[ERROR_MESSAGE, ERROR_TYPE, ERROR_STAGE, CANDIDATES],
    ),
    line(
        Level::WARN,
        "scope abandoned",
        "A scope was dropped before it was routed.",
        &[ERROR_MESSAGE, ERROR_TYPE, CANDIDATES],
    ),
    line(
        Level::WARN,
        "spans can't be exported",
        "The collector is unreachable or refuses spans. Logged once, until it accepts spans again.",
        &[ERROR_MESSAGE],
    ),
    line(
        Level::WARN,
        "stage failed",
        "The embedding or the search of a scope failed. How the request ended is in a line of its own.",
        &[ERROR_TYPE, ERROR_STAGE, DURATION],
    ),
    line(Level::WARN, "spans were lost", "Logged when the tracing system is dropped.", &[SPANS_LOST]),
    line(
        Level::INFO,
        "budget opened",
        "The router has the account of its quality budget, a new one or a stored one.",
        &[BUDGET_ALLOWED, BUDGET_BOUND, BUDGET_MISSING],
    ),
    line(
        Level::INFO,
        "budget recovered",
        "The quality budget admits requests again.",
        &[BUDGET_ALLOWED, BUDGET_BOUND, BUDGET_MISSING],
    ),
    line(
        Level::INFO,
        "circuit closed",
        "Requests pass again.",
        &[CIRCUIT_NAME, CIRCUIT_PREVIOUS, CIRCUIT_CAUSE],
    ),
    line(
        Level::INFO,
        "circuit half-open",
        "A few probes pass.",
        &[CIRCUIT_NAME, CIRCUIT_PREVIOUS, CIRCUIT_CAUSE],
    ),
    line(
        Level::INFO,
        "log records are exported again",
        "The collector accepts log records again. Those that were lost in between stay lost.",
        &[LOG_RECORDS_LOST],
    ),
    line(
        Level::INFO,
        "memory data erased",
        "Data of a tenant or a user were erased from the memory, by request.",
        &[MEMORY_ENTRIES, MEMORY_LOG_ENTRIES],
    ),
    line(
        Level::INFO,
        "memory opened",
        "The memory was read from its store.",
        &[MEMORY_ENTRIES, MEMORY_EVIDENCE, DURATION],
    ),
    line(
        Level::INFO,
        "metrics are exported again",
        "The collector accepts metrics again, with the counts of the pushes that failed.",
        &[METRIC_POINTS_FAILED],
    ),
    line(
        Level::INFO,
        "model reloaded",
        "A new model serves.",
        &[MODEL_VERSION, MODEL_PREVIOUS, CONFIDENCE_THRESHOLD, MAX_UNCERTAINTY],
    ),
    line(
        Level::INFO,
        "router started",
        "The router has its first model. Without a tracing system the endpoint is `none`; a system that is \
         installed later logs its own endpoint.",
        &[MODEL_VERSION, KERNEL, CONFIDENCE_THRESHOLD, MAX_UNCERTAINTY, ENDPOINT, SAMPLING_RATIO],
    ),
    line(
        Level::INFO,
        "spans are exported again",
        "The collector accepts spans again. Spans that were lost in between stay lost.",
        &[SPANS_LOST],
    ),
    line(Level::INFO, "tracing started", "The tracing system is installed.", &[ENDPOINT, SAMPLING_RATIO]),
    line(
        Level::DEBUG,
        "admission cancelled",
        "A lightweight answer of which nothing was delivered is no longer charged to the quality budget.",
        &[],
    ),
    line(
        Level::DEBUG,
        "judgement settled",
        "A judge gave a verdict on a lightweight answer.",
        &[BUDGET_SETTLEMENT],
    ),
    line(
        Level::DEBUG,
        "memory data expired",
        "The memory dropped entries because of their age or their number.",
        &[MEMORY_ENTRIES, MEMORY_LOG_ENTRIES],
    ),
    line(
        Level::DEBUG,
        "memory changes stored",
        "One line per commit of the memory's store.",
        &[MEMORY_CHANGES, MEMORY_QUEUE, DURATION],
    ),
    line(
        Level::DEBUG,
        "memory searched",
        "The search of a scope succeeded.",
        &[CANDIDATES, TRUNCATED, DURATION],
    ),
    line(
        Level::DEBUG,
        "outcome reported",
        "The caller reported the result of the called model.",
        &[OUTCOME_MODEL, OUTCOME_RESULT, OUTCOME_ORIGIN],
    ),
    line(
        Level::DEBUG,
        "request decided",
        "One line per answered request.",
        &[STATUS, DECISION_MODEL, DECISION_REASON, CONFIDENCE, UNCERTAINTY, CANDIDATES, DURATION],
    ),
    line(
        Level::DEBUG,
        "request failed",
        "One line per request without an answer. Another line says why.",
        &[STATUS, CANDIDATES, DURATION],
    ),
    line(
        Level::DEBUG,
        "text embedded",
        "The embedding of a scope succeeded.",
        &[TOKENS, TRUNCATED, DURATION],
    ),
    line(Level::DEBUG, "verdict recorded", "The memory received a verdict.", &[MEMORY_VERDICT]),
    line(
        Level::TRACE,
        "candidate",
        "One line per candidate: the result of its per-candidate pass.",
        &[CANDIDATE_INDEX, CANDIDATE_ID, CONFIDENCE, UNCERTAINTY, CANDIDATE_LIGHTWEIGHT],
    ),
];

/// The text of `docs/spans.md`.
pub fn markdown() -> String {
    let row = |Span { name, help, fields }: &Span| {
        let fields = if fields.is_empty() { "none".to_owned() } else { keys(fields) };
        format!("| `{name}` | {help} | {fields} |\n")
    };
    let attributes = ALL.iter().map(|Field { key, kind, help }| {
        let kind = format!("{kind:?}").to_lowercase();
        format!("| `{key}` | {kind} | {help} |\n")
    });
    let lines = LINES.iter().map(|Line { level, message, help, fields }| {
        format!("| {level} | {message} | {help} | {} |\n", keys(fields))
    });
    let head = |text: &str| std::iter::once(text.to_owned());
    let variables = environment::VARIABLES
        .iter()
        .map(|variable| format!("| `{}` | {} |\n", variable.name, variable.help));
    head(INTRODUCTION)
        .chain(SPANS.iter().map(row))
        .chain(head(EVENTS))
        .chain([row(&ROUTING_DECISION)])
        .chain(head(ATTRIBUTES))
        .chain(attributes)
        .chain(head(LOG_LINES))
        .chain(lines)
        .chain(head(ENVIRONMENT))
        .chain(variables)
        .collect()
}

fn keys(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

const INTRODUCTION: &str = "\
# Spans and log lines

Generated from `crates/tiny-dancer-tracing/src/fields.rs`; a test compares the two. After a change there, run
`BLESS=1 cargo test -p tiny-dancer-tracing --lib docs_spans_md`.

## Spans

A recorded request is one tree. The request's span is a child of the caller's current span or of the attached context,
or else the root of a new trace. All other spans are children of the request's span.

```text
routing_request
|- circuit_breaker_check
|- feature_engineering
|- model_inference
`- uncertainty_estimation
```

With `candidate_spans: 3` each of the three nearest candidates has a span of its own. These spans follow the stage's
span, the farthest candidate first. A candidate's step takes well below a microsecond, so there are none by default.

```text
|- model_inference          the per-candidate pass of all, the joint pass of the far candidates
|- model_inference          the third nearest candidate
|- model_inference          the second nearest candidate
|- model_inference          the nearest candidate
```

A request with an open circuit or without candidates ends early, and so does its tree. All spans have the kind
`internal`. Spans and log lines contain no embeddings and no prompts.

| span | covers | attributes |
| --- | --- | --- |
";

const EVENTS: &str = "
## Events

| event | meaning | attributes |
| --- | --- | --- |
";

const ATTRIBUTES: &str = "
## Keys

Spans and log lines share these keys.

| key | type | meaning |
| --- | --- | --- |
";

const LOG_LINES: &str = "
## Log lines

The target of each line is `tiny_dancer`. Within a trace, a line also contains `trace_id` and `span_id`.

| level | message | when | fields |
| --- | --- | --- | --- |
";

const ENVIRONMENT: &str = "
## Environment variables

The tracing system reads these of OpenTelemetry's variables. The configuration takes precedence: a variable applies only
where the field holds its default. If `RUST_LOG` is set, it replaces `log_filter`.

| variable | meaning |
| --- | --- |
";

#[cfg(test)]
mod tests;
