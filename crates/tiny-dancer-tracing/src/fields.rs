//! The vocabulary: every span, attribute and log line there is, stated once.
//!
//! Span attributes and log fields share their keys, so that what was read in a trace can be searched in the logs.
//! `docs/spans.md` is made from this module, and tests hold what is emitted against it.

use crate::environment;
use tiny_dancer_core::observer::{RequestStart, Stage};
use tracing::Level;

/// The `target` of every log line and span from here.
pub const TARGET: &str = "tiny_dancer";

/// What kind of value a key has. Integers are integers on the wire, never text.
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
    /// Its values' kind.
    pub kind: Kind,
    /// What it says.
    pub help: &'static str,
}

/// Each key as a constant, and all of them in a table.
macro_rules! fields {
    ($($name:ident: $kind:ident = $key:literal, $help:literal;)*) => {
        $(
            #[doc = concat!("`", $key, "`: ", $help)]
            pub const $name: &str = $key;
        )*

        /// Every key there is, in the order of the alphabet.
        pub const ALL: &[Field] = &[$(Field { key: $key, kind: Kind::$kind, help: $help }),*];
    };
}

fields! {
    ERROR_TYPE: String = "error.type", "the kind of the error, a name of `ErrorKind`";
    GEN_AI_REQUEST_MODEL: String = "gen_ai.request.model", "the name of the model that the request goes to, where the \
        configuration names it";
    CANDIDATE_ID: String = "tiny_dancer.candidate.id", "the candidate's own name; only in `TRACE` lines and on spans \
        that users open with `RoutingSpan::model_inference`";
    CANDIDATE_INDEX: Int = "tiny_dancer.candidate.index", "the candidate's place in the request, from 0";
    CANDIDATE_LIGHTWEIGHT: Bool = "tiny_dancer.candidate.lightweight", "whether this candidate alone would choose \
        the lightweight model";
    CANDIDATE_RANK: Int = "tiny_dancer.candidate.rank", "how many candidates are nearer to the query: 0 is the nearest";
    CANDIDATE_SIMILARITY: Double = "tiny_dancer.candidate.similarity", "the cosine of the query's and the candidate's \
        embeddings";
    CANDIDATES: Int = "tiny_dancer.candidates", "how many candidates the request has";
    CIRCUIT_CAUSE: String = "tiny_dancer.circuit.cause", "why the circuit changed its state";
    CIRCUIT_NAME: String = "tiny_dancer.circuit.name", "`inference` or `lightweight`";
    CIRCUIT_PREVIOUS: String = "tiny_dancer.circuit.previous", "the state before: `closed`, `half_open` or `open`";
    CONFIDENCE: Double = "tiny_dancer.confidence", "the probability that the lightweight model suffices; of a candidate, \
        what it says by itself";
    CONFIDENCE_THRESHOLD: Double = "tiny_dancer.confidence_threshold", "the confidence that lightweight needs";
    CONFIG_DIGEST: String = "tiny_dancer.config.digest", "twelve digits that differ where a configuration of the router \
        decides differently";
    DECISION_MODEL: String = "tiny_dancer.decision.model", "where the request goes: `lightweight` or `powerful`";
    DECISION_REASON: String = "tiny_dancer.decision.reason", "which test decided, a name of `Reason`";
    DIMENSIONS: Int = "tiny_dancer.dimensions", "the query embedding's dimension";
    DURATION: Double = "tiny_dancer.duration", "seconds that the request took";
    ENDPOINT: String = "tiny_dancer.endpoint", "where spans go: addresses by commas, `standard output` or `none`";
    ERROR_MESSAGE: String = "tiny_dancer.error.message", "what went wrong, in words";
    ERROR_STAGE: String = "tiny_dancer.error.stage", "the stage that failed";
    KERNEL: String = "tiny_dancer.kernel", "the vector instructions that computed it: `scalar`, `avx2`, ...";
    LOG_KIND: String = "tiny_dancer.log.kind", "the reason or the kind of error of lines that were left out";
    LOG_LEFT_OUT: Int = "tiny_dancer.log.left_out", "how many lines like it were not written";
    LOG_MESSAGE: String = "tiny_dancer.log.message", "the message of lines that were left out";
    MAX_UNCERTAINTY: Double = "tiny_dancer.max_uncertainty", "the uncertainty that lightweight may have";
    MODEL_PREVIOUS: String = "tiny_dancer.model.previous", "the version of the model that served before";
    MODEL_VERSION: String = "tiny_dancer.model.version", "the version of the model that serves";
    OPERATION: String = "tiny_dancer.operation", "the method that the request came through";
    OUTCOME_MODEL: String = "tiny_dancer.outcome.model", "the model that was asked";
    OUTCOME_RESULT: String = "tiny_dancer.outcome.result", "how it did, a name of `OutcomeResult`";
    PROMISE_ALPHA: Double = "tiny_dancer.promise.alpha", "the share of insufficient answers that was promised not to be \
        exceeded";
    PROMISE_INSUFFICIENT: Int = "tiny_dancer.promise.insufficient", "answers that were reported as not good enough";
    PROMISE_REPORTED: Int = "tiny_dancer.promise.reported", "answers that were reported as good enough or not";
    REPLAY_CANDIDATES: Ints = "tiny_dancer.replay.candidates", "the places in the request of the candidates that were \
        read together, at most 64, farthest first";
    REPLAY_CONFIDENCE: Double = "tiny_dancer.replay.confidence", "the confidence, to the last bit";
    REPLAY_CONFIDENCE_THRESHOLD: Double = "tiny_dancer.replay.confidence_threshold", "the same of its threshold";
    REPLAY_FEATURES: String = "tiny_dancer.replay.features", "their features: five `f32` each, of eight hexadecimal digits \
        (`tiny_dancer_tracing::rows`)";
    REPLAY_MAX_UNCERTAINTY: Double = "tiny_dancer.replay.max_uncertainty", "the same of the uncertainty's limit";
    REPLAY_UNCERTAINTY: Double = "tiny_dancer.replay.uncertainty", "the uncertainty, to the last bit";
    SAMPLING_RATIO: Double = "tiny_dancer.sampling_ratio", "the share of traces that begin here and are recorded";
    SPANS_LOST: Int = "tiny_dancer.spans.lost", "how many spans never arrived";
    STATUS: String = "tiny_dancer.status", "`success`, `fallback` or `failure`";
    UNCERTAINTY: Double = "tiny_dancer.uncertainty", "the conformal uncertainty: 0 certain, 1 nothing known";
}

/// The key of what a request's span carries to the exporter's thread. It never leaves the process, so it is in no table.
pub(crate) const STAGES: &str = "tiny_dancer.stages";

/// One kind of span.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Span {
    /// The name, as core has it.
    pub name: &'static str,
    /// What it covers.
    pub help: &'static str,
    /// The keys that it may carry.
    pub fields: &'static [&'static str],
}

/// Every span there is: the request, and below it the rest, side by side.
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
            GEN_AI_REQUEST_MODEL,
            CONFIDENCE,
            CONFIDENCE_THRESHOLD,
            UNCERTAINTY,
            MAX_UNCERTAINTY,
            ERROR_TYPE,
            ERROR_STAGE,
        ],
    },
    Span { name: Stage::CircuitBreakerCheck.name(), help: "May this request pass?", fields: &[] },
    Span {
        name: Stage::FeatureEngineering.name(),
        help: "Five numbers a candidate, and every check of what came in.",
        fields: &[CANDIDATES],
    },
    Span {
        name: Stage::ModelInference.name(),
        help: "With `tiny_dancer.candidates`: all candidates alone, and together those that have no span of their \
               own. With `tiny_dancer.candidate.index`: the step of one of the nearest `candidate_spans` candidates, with \
               what it says by itself.",
        fields: &[CANDIDATES, CANDIDATE_INDEX, CANDIDATE_RANK, CANDIDATE_SIMILARITY, CONFIDENCE],
    },
    Span {
        name: Stage::UncertaintyEstimation.name(),
        help: "What the confidences are worth.",
        fields: &[CANDIDATES],
    },
];

/// The event on the request's span that says what was decided, and holds what it takes to decide it again.
pub const ROUTING_DECISION: Span = Span {
    name: "routing_decision",
    help: "On the request's span. Unless it was a fallback, `tiny-dancer replay` computes the decision again from this, \
           and compares all bits. A double holds each `f32` exactly.",
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

/// Every log line there is, the gravest first.
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
        "Outcomes refuted the promised risk. Said once, until a reset or a reload.",
        &[PROMISE_ALPHA, PROMISE_REPORTED, PROMISE_INSUFFICIENT],
    ),
    line(
        Level::WARN,
        "fallback",
        "A circuit is open, or there are no candidates: powerful, unasked.",
        &[DECISION_REASON, CANDIDATES],
    ),
    line(
        Level::WARN,
        "lines left out",
        "Of `fallback`, `request refused` and `inference failed` ten of a kind are written in ten seconds. Told before \
         the first one after that.",
        &[LOG_LEFT_OUT, LOG_MESSAGE, LOG_KIND],
    ),
    line(
        Level::WARN,
        "model reload failed",
        "The old model goes on serving.",
        &[ERROR_MESSAGE, MODEL_VERSION],
    ),
    line(
        Level::WARN,
        "request refused",
        "Something is wrong with what came in, or a circuit is open and so configured.",
        &[ERROR_MESSAGE, ERROR_TYPE, ERROR_STAGE, CANDIDATES],
    ),
    line(
        Level::WARN,
        "spans can't be exported",
        "The collector is away or refuses them. Said once, until it takes some again.",
        &[ERROR_MESSAGE],
    ),
    line(Level::WARN, "spans were lost", "Told when the tracing system is dropped.", &[SPANS_LOST]),
    line(
        Level::INFO,
        "circuit closed",
        "All is well again.",
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
        "model reloaded",
        "Another model serves.",
        &[MODEL_VERSION, MODEL_PREVIOUS, CONFIDENCE_THRESHOLD, MAX_UNCERTAINTY],
    ),
    line(
        Level::INFO,
        "router started",
        "It has its first model. Without a tracing system spans go nowhere, `none`; the line of one that is installed later says where.",
        &[MODEL_VERSION, KERNEL, CONFIDENCE_THRESHOLD, MAX_UNCERTAINTY, ENDPOINT, SAMPLING_RATIO],
    ),
    line(
        Level::INFO,
        "spans are exported again",
        "The collector is back. What was lost in between stays lost.",
        &[SPANS_LOST],
    ),
    line(Level::INFO, "tracing started", "The tracing system is installed.", &[ENDPOINT, SAMPLING_RATIO]),
    line(
        Level::DEBUG,
        "outcome reported",
        "The caller said how the chosen model did.",
        &[OUTCOME_MODEL, OUTCOME_RESULT],
    ),
    line(
        Level::DEBUG,
        "request decided",
        "One a request that has an answer.",
        &[STATUS, DECISION_MODEL, DECISION_REASON, CONFIDENCE, UNCERTAINTY, CANDIDATES, DURATION],
    ),
    line(
        Level::DEBUG,
        "request failed",
        "One a request that has none; why, another line says.",
        &[STATUS, CANDIDATES, DURATION],
    ),
    line(
        Level::TRACE,
        "candidate",
        "One a candidate: what it says by itself.",
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

Made from `crates/tiny-dancer-tracing/src/fields.rs`; a test compares the two. After a change there, run
`BLESS=1 cargo test -p tiny-dancer-tracing --lib docs_spans_md`.

## Spans

A recorded request is one tree. The request's span is a child of the caller's current span, or of the context that was
attached, or else the root of a new trace; everything else is a child of the request's span.

```text
routing_request
|- circuit_breaker_check
|- feature_engineering
|- model_inference
`- uncertainty_estimation
```

With `candidate_spans: 3` each of the three nearest candidates has a span of its own, behind that of the stage, the farthest of
them first; a step takes well below a microsecond, so there are none by default.

```text
|- model_inference          candidates alone, and the far ones together
|- model_inference          the nearest candidate but two
|- model_inference          the nearest but one
|- model_inference          the nearest
```

An open circuit or a request without candidates ends early, and so does its tree. All spans are of the kind `internal`.
No span and no line holds an embedding or a prompt.

| span | covers | attributes |
| --- | --- | --- |
";

const EVENTS: &str = "
## Events

| event | says | attributes |
| --- | --- | --- |
";

const ATTRIBUTES: &str = "
## Keys

Spans and log lines share them.

| key | kind | says |
| --- | --- | --- |
";

const LOG_LINES: &str = "
## Log lines

The target of each is `tiny_dancer`. Where there is a trace, a line carries `trace_id` and `span_id` as well.

| level | message | when | fields |
| --- | --- | --- | --- |
";

const ENVIRONMENT: &str = "
## Environment variables

Of OpenTelemetry's own variables these are heard. What the configuration says wins; a field that holds its default says
nothing. `RUST_LOG`, where it is set, is read in the place of `log_filter`.

| variable | says |
| --- | --- |
";

#[cfg(test)]
mod tests;
