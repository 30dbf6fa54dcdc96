//! The stages of a recorded request, kept as numbers until the exporter's thread turns them into spans.
//!
//! Building a dozen spans would delay the caller, and no stage's span is ever the current one. So the
//! request's span carries its stages as an attribute, through one slot of the queue, and [`unpack`] turns the
//! attribute into spans. Their ids are derived from the request's id, so that all exporters send the same
//! ids.

use crate::{fields, rows};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status};
use opentelemetry::{Array, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use std::time::{Duration, SystemTime};
use tiny_dancer_core::observer::{Stage, StageEnd, StageStart};

/// A span as numbers: its [`Stage`]; the number of candidates, or the index of the one candidate; that
/// candidate's rank, or [`WHOLE`]; start and end in nanoseconds since 1970; that candidate's similarity and
/// confidence in millionths, or [`UNKNOWN`].
type Numbers = [i64; 7];

/// The rank in a span of a whole stage.
const WHOLE: i64 = -1;

/// Similarity and confidence before the decision, and in a span of a whole stage.
const UNKNOWN: i64 = i64::MIN;

const MILLION: f64 = 1e6;

/// Start and end of a span that has not ended.
const RUNNING: [i64; 2] = [-1; 2];

/// The stages of a request in progress.
#[derive(Debug)]
pub(crate) struct Stages {
    /// When the request began, computed when its first stage ends.
    start: Option<i64>,
    spans: Vec<Numbers>,
}

impl Stages {
    /// Reserves room for this number of spans. More spans need another allocation.
    pub(crate) fn with_room_for(spans: usize) -> Self {
        Self { start: None, spans: Vec::with_capacity(spans) }
    }

    /// Begins a stage or one candidate's step, and returns its index among the spans.
    pub(crate) fn begin(&mut self, event: &StageStart<'_>) -> usize {
        let (about, rank) =
            event.step.map_or((event.candidates, WHOLE), |step| (step.candidate, step.rank as i64));
        let [start, end] = RUNNING;
        self.spans.push([event.stage as i64, about as i64, rank, start, end, UNKNOWN, UNKNOWN]);
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
        let end = match self.spans.get(index + 1) {
            Some(&[_, _, _, step, ..]) => step,
            None => start.saturating_add(duration),
        };
        if let Some([_, _, _, starts, ends, ..]) = self.spans.get_mut(index) {
            (*starts, *ends) = (start, end);
        }
    }

    /// Adds similarity and confidence to the span of each candidate that has one.
    pub(crate) fn describe(&mut self, candidate: impl Fn(usize) -> Option<[f32; 2]>) {
        for [_, about, rank, _, _, similarity, confidence] in &mut self.spans {
            if *rank != WHOLE
                && let Some(values) = candidate(*about as usize)
            {
                [*similarity, *confidence] = values.map(|value| (f64::from(value) * MILLION).round() as i64);
            }
        }
    }

    /// The attribute that carries the stages.
    pub(crate) fn pack(&mut self) -> KeyValue {
        let mut last = self.start.unwrap_or_else(now);
        for [_, _, _, start, end, ..] in &mut self.spans {
            // This span has not ended: the router is unwinding from a panic.
            if [*start, *end] == RUNNING {
                (*start, *end) = (last, now());
            }
            last = *end;
        }
        let numbers = std::mem::take(&mut self.spans).into_flattened();
        KeyValue::new(fields::STAGES, Value::Array(Array::I64(numbers)))
    }
}

/// The number of spans that a span becomes: itself, and the stages that it carries.
pub(crate) fn spans(span: &SpanData) -> u64 {
    1 + packed(&span.attributes).map_or(0, |(_, stages)| stages.len() as u64)
}

/// Appends the spans of the stages that a span carries, and then the span itself. Feature rows in its events
/// become text.
pub(crate) fn unpack(mut span: SpanData, spans: &mut Vec<SpanData>) {
    let attributes = std::mem::take(&mut span.attributes);
    let packed = packed(&attributes);
    if let Some((_, stages)) = packed {
        spans.extend(stages.iter().zip(1..).map(|(numbers, position)| stage(&span, *numbers, position)));
    }
    let index = packed.map(|(index, _)| index);
    span.attributes = attributes;
    if let Some(index) = index {
        span.attributes.remove(index);
    }
    rows::write(&mut span.events.events);
    spans.push(span);
}

/// The index of the attribute with the stages, and the stages. They are added last, so the search starts at
/// the end.
fn packed(attributes: &[KeyValue]) -> Option<(usize, &[Numbers])> {
    let index = attributes.iter().rposition(|attribute| attribute.key.as_str() == fields::STAGES)?;
    let Value::Array(Array::I64(numbers)) = &attributes[index].value else { return None };
    let (stages, rest) = numbers.as_chunks();
    // A user's own attribute may have this key.
    let known = |[stage, ..]: &Numbers| (0..Stage::ALL.len() as i64).contains(stage);
    (rest.is_empty() && stages.iter().all(known)).then_some((index, stages))
}

/// The span of a request's stage at this position, from 1.
fn stage(request: &SpanData, numbers: Numbers, position: u64) -> SpanData {
    let [stage, about, rank, start, end, similarity, confidence] = numbers;
    let stage = Stage::ALL[stage as usize];
    let attributes = match rank {
        WHOLE if stage == Stage::CircuitBreakerCheck => vec![],
        WHOLE => vec![KeyValue::new(fields::CANDIDATES, about)],
        rank => {
            let ranking = [(fields::CANDIDATE_INDEX, about), (fields::CANDIDATE_RANK, rank)];
            let values = [(fields::CANDIDATE_SIMILARITY, similarity), (fields::CONFIDENCE, confidence)];
            let known = values.into_iter().filter(|&(_, millionths)| millionths != UNKNOWN);
            let known = known.map(|(key, millionths)| KeyValue::new(key, millionths as f64 / MILLION));
            ranking.map(|(key, number)| KeyValue::new(key, number)).into_iter().chain(known).collect()
        }
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
        start_time: moment(start),
        end_time: moment(end),
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: request.instrumentation_scope.clone(),
    }
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
fn now() -> i64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX)
}

fn moment(nanoseconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds.unsigned_abs())
}

#[cfg(test)]
mod tests;
