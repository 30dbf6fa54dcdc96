//! The stages of a recorded request, kept as numbers until the exporter's thread turns them into spans.
//!
//! Building a dozen spans would delay the caller, and no stage's span is ever the current one. So the
//! request's span carries its stages as an attribute, through one slot of the queue, and [`unpack`] turns the
//! attribute into spans. Their ids are derived from the request's id, so that all exporters send the same
//! ids.

use crate::{fields, rows};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status};
use opentelemetry::{Array, Key, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};
use tiny_dancer_core::observer::{Stage, StageEnd, StageErrorKind, StageReport, StageStart};

/// The key of the attribute that carries the stages. [`carries_stages`] recognizes it by its address, which
/// differs from that of a user's key with the same text.
static KEY: LazyLock<Arc<str>> = LazyLock::new(|| fields::STAGES.into());

/// Whether an attribute was made by [`Stages::pack`].
fn carries_stages(attribute: &KeyValue) -> bool {
    attribute.key.as_str().as_ptr() == KEY.as_ptr()
}

/// A span of a request, before it becomes a span of the SDK.
#[derive(Clone, Copy, Debug, PartialEq)]
struct StageSpan {
    stage: Stage,
    covers: Covers,
    times: Times,
}

/// What a span covers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Covers {
    /// A whole stage.
    Stage { report: StageReport },
    /// One candidate's step: its index in the request, and how many candidates are nearer to the query.
    Step { candidate: usize, rank: usize, scores: Option<Scores> },
}

/// A candidate's similarity and confidence, known after the decision.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scores {
    similarity: f64,
    confidence: f64,
}

/// Start and end in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Times {
    start: i64,
    end: i64,
}

impl StageSpan {
    /// How many numbers encode a span.
    const NUMBERS: usize = 7;
    /// The rank in the span of a whole stage.
    const NO_RANK: i64 = -1;
    /// Similarity and confidence where they are unknown.
    const UNKNOWN: i64 = i64::MIN;
    /// The kind of error of a stage without one.
    const NO_ERROR: i64 = -1;
    /// Similarity and confidence are encoded in millionths.
    const MILLION: f64 = 1e6;

    fn encode(self) -> [i64; Self::NUMBERS] {
        let Self { stage, covers, times: Times { start, end } } = self;
        let millionths = |value: f64| (value * Self::MILLION).round() as i64;
        let (about, rank, more) = match covers {
            Covers::Stage { report: StageReport { items, truncated, error, .. } } => {
                (items, Self::NO_RANK, [truncated.into(), error.map_or(Self::NO_ERROR, |kind| kind as i64)])
            }
            Covers::Step { candidate, rank, scores } => {
                let scores = scores.map_or([Self::UNKNOWN; 2], |scores| {
                    [millionths(scores.similarity), millionths(scores.confidence)]
                });
                (candidate, rank as i64, scores)
            }
        };
        [stage as i64, about as i64, rank, start, end, more[0], more[1]]
    }

    fn decode([stage, about, rank, start, end, more @ ..]: [i64; Self::NUMBERS]) -> Self {
        let covers = if rank == Self::NO_RANK {
            let [truncated, error] = more;
            let mut report = report_of(about as usize);
            report.truncated = truncated != 0;
            report.error = (error != Self::NO_ERROR).then(|| StageErrorKind::ALL[error as usize]);
            Covers::Stage { report }
        } else {
            let [similarity, confidence] = more;
            let scores = (similarity != Self::UNKNOWN).then(|| Scores {
                similarity: similarity as f64 / Self::MILLION,
                confidence: confidence as f64 / Self::MILLION,
            });
            Covers::Step { candidate: about as usize, rank: rank as usize, scores }
        };
        Self { stage: Stage::ALL[stage as usize], covers, times: Times { start, end } }
    }
}

/// A report of this number of items.
fn report_of(items: usize) -> StageReport {
    let mut report = StageReport::default();
    report.items = items;
    report
}

/// The stages of a request in progress.
#[derive(Debug)]
pub(crate) struct Stages {
    /// When the request began, computed when its first stage ends.
    start: Option<i64>,
    spans: Vec<Begun>,
}

/// A span that has begun.
#[derive(Clone, Copy, Debug)]
struct Begun {
    stage: Stage,
    covers: Covers,
    /// `None` until it ends.
    times: Option<Times>,
}

impl Stages {
    /// Reserves room for this number of spans. More spans need another allocation.
    pub(crate) fn with_room_for(spans: usize) -> Self {
        Self { start: None, spans: Vec::with_capacity(spans) }
    }

    /// Begins a stage or one candidate's step, and returns its index among the spans.
    pub(crate) fn begin(&mut self, event: &StageStart<'_>) -> usize {
        let covers = match event.step {
            None => Covers::Stage { report: report_of(event.candidates) },
            Some(step) => Covers::Step { candidate: step.candidate, rank: step.rank, scores: None },
        };
        self.spans.push(Begun { stage: event.stage, covers, times: None });
        self.spans.len() - 1
    }

    /// Ends the span at this index.
    pub(crate) fn end(&mut self, index: usize, event: &StageEnd) {
        let [start, duration] =
            [event.start, event.duration].map(|it| i64::try_from(it.as_nanos()).unwrap_or(i64::MAX));
        let now_after = start.saturating_add(duration);
        let request = *self.start.get_or_insert_with(|| now().saturating_sub(now_after));
        let start = request.saturating_add(start);
        // Within `model_inference`, the stage's span covers the candidates without a span of their own. It
        // ends where the first candidate's span begins.
        let step = self.spans.get(index + 1).and_then(|step| step.times);
        let end = step.map_or(start.saturating_add(duration), |step| step.start);
        if let Some(span) = self.spans.get_mut(index) {
            span.times = Some(Times { start, end });
            if let Covers::Stage { report } = &mut span.covers {
                *report = event.report;
            }
        }
    }

    /// Adds similarity and confidence to the span of each candidate that has one.
    pub(crate) fn describe(&mut self, candidate_scores: impl Fn(usize) -> Option<[f32; 2]>) {
        for span in &mut self.spans {
            if let Covers::Step { candidate, scores, .. } = &mut span.covers {
                *scores = candidate_scores(*candidate).map(|scores| {
                    let [similarity, confidence] = scores.map(f64::from);
                    Scores { similarity, confidence }
                });
            }
        }
    }

    /// The attribute that carries the stages.
    pub(crate) fn pack(&self) -> KeyValue {
        let mut last = self.start.unwrap_or_else(now);
        let mut numbers = Vec::with_capacity(self.spans.len() * StageSpan::NUMBERS);
        for &Begun { stage, covers, times } in &self.spans {
            // A span that has not ended: the router is unwinding from a panic.
            let times = times.unwrap_or_else(|| Times { start: last, end: now() });
            last = times.end;
            numbers.extend(StageSpan { stage, covers, times }.encode());
        }
        KeyValue::new(Key::from(Arc::clone(&KEY)), Value::Array(Array::I64(numbers)))
    }
}

/// The number of spans that a span becomes: itself, and the stages that it carries.
pub(crate) fn spans(span: &SpanData) -> u64 {
    1 + span.attributes.iter().rev().find_map(packed).map_or(0, |stages| stages.len() as u64)
}

/// Appends the spans of the stages that a span carries, and then the span itself. Feature rows in its events
/// become text.
pub(crate) fn unpack(mut span: SpanData, spans: &mut Vec<SpanData>) {
    // The attribute is added last, so the search starts at the end.
    if let Some(index) = span.attributes.iter().rposition(carries_stages) {
        let attribute = span.attributes.remove(index);
        let stages = packed(&attribute).unwrap_or_default();
        let stages = stages.iter().map(|&numbers| StageSpan::decode(numbers));
        spans.extend(stages.zip(1..).map(|(stage, position)| stage_span(&span, stage, position)));
    }
    rows::write(&mut span.events.events);
    spans.push(span);
}

/// The encoded stages in an attribute.
fn packed(attribute: &KeyValue) -> Option<&[[i64; StageSpan::NUMBERS]]> {
    match &attribute.value {
        Value::Array(Array::I64(numbers)) if carries_stages(attribute) => Some(numbers.as_chunks().0),
        _ => None,
    }
}

/// The SDK's span of a request's stage. `position` counts the request's stages from 1.
fn stage_span(request: &SpanData, span: StageSpan, position: u64) -> SpanData {
    let StageSpan { stage, covers, times } = span;
    let attributes = match covers {
        Covers::Stage { .. } if stage == Stage::CircuitBreakerCheck => vec![],
        Covers::Stage { report } => reported(stage, report),
        Covers::Step { candidate, rank, scores } => {
            let mut attributes = vec![
                KeyValue::new(fields::CANDIDATE_INDEX, candidate as i64),
                KeyValue::new(fields::CANDIDATE_RANK, rank as i64),
            ];
            if let Some(Scores { similarity, confidence }) = scores {
                attributes.push(KeyValue::new(fields::CANDIDATE_SIMILARITY, similarity));
                attributes.push(KeyValue::new(fields::CONFIDENCE, confidence));
            }
            attributes
        }
    };
    let error = match covers {
        Covers::Stage { report } => report.error,
        Covers::Step { .. } => None,
    };
    let context = &request.span_context;
    SpanData {
        span_context: SpanContext::new(
            context.trace_id(),
            id(context.span_id(), position),
            context.trace_flags(),
            false,
            context.trace_state().clone(),
        ),
        parent_span_id: context.span_id(),
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: stage.name().into(),
        start_time: moment(times.start),
        end_time: moment(times.end),
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: error.map_or(Status::Unset, |kind| Status::error(kind.name())),
        instrumentation_scope: request.instrumentation_scope.clone(),
    }
}

/// The attributes of a stage's report. The router's own stages only have candidates.
fn reported(stage: Stage, report: StageReport) -> Vec<KeyValue> {
    let items = if stage == Stage::Embedding { fields::TOKENS } else { fields::CANDIDATES };
    let mut attributes = vec![KeyValue::new(items, report.items as i64)];
    if !stage.is_routing() {
        attributes.push(KeyValue::new(fields::TRUNCATED, report.truncated));
        attributes.extend(report.error.map(|kind| KeyValue::new(fields::ERROR_TYPE, kind.name())));
    }
    attributes
}

/// The id of a stage's span: the request's random id and the stage's position, mixed as in `SplitMix64`
/// (Steele, Lea and Flood, 2014), so that different positions have different ids.
fn id(request: SpanId, position: u64) -> SpanId {
    let request = u64::from_be_bytes(request.to_bytes());
    let mut z = request.wrapping_add(position.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    // 0 is not a valid id.
    SpanId::from(z.max(1))
}

/// Nanoseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "spans of other services have the system's time, too")]
pub(crate) fn now() -> i64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX)
}

fn moment(nanoseconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds.unsigned_abs())
}

#[cfg(test)]
mod tests;
