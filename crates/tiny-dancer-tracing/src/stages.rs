//! The stages of a recorded request: a few numbers each, until the exporter's thread makes spans of them.
//!
//! The caller would wait for a dozen spans to be made. Nobody needs them before they are exported: no stage's span is ever a
//! current one. So the request's span carries them as an
//! attribute, through one place in the queue, and [`unpack`] takes it out again. Their ids follow from the request's, so that
//! each exporter sends the same ones.

use crate::{fields, rows};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status};
use opentelemetry::{Array, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use std::time::{Duration, SystemTime};
use tiny_dancer_core::observer::{Stage, StageEnd, StageStart};

/// What is kept of a span: which [`Stage`]; how many candidates it is about, or the place of the one; that one's rank; start
/// and end, in nanoseconds since 1970; the one's similarity and confidence, in millionths.
type Numbers = [i64; 7];

/// The rank where a span is about a whole stage.
const WHOLE: i64 = -1;

/// In the place of millionths, as long as nothing is decided, and for a whole stage.
const UNKNOWN: i64 = i64::MIN;

const MILLION: f64 = 1e6;

/// Start and end of a span that runs.
const RUNNING: [i64; 2] = [-1; 2];

/// The stages of a request under way.
#[derive(Debug)]
pub(crate) struct Stages {
    /// When the request began, as the first stage that ended tells.
    start: Option<i64>,
    spans: Vec<Numbers>,
}

impl Stages {
    /// With room for so many spans; more only take longer.
    pub(crate) fn with_room_for(spans: usize) -> Self {
        Self { start: None, spans: Vec::with_capacity(spans) }
    }

    /// A stage, or one candidate's step, begins: its place among the spans.
    pub(crate) fn begin(&mut self, event: &StageStart<'_>) -> usize {
        let (about, rank) =
            event.step.map_or((event.candidates, WHOLE), |step| (step.candidate, step.rank as i64));
        let [start, end] = RUNNING;
        self.spans.push([event.stage as i64, about as i64, rank, start, end, UNKNOWN, UNKNOWN]);
        self.spans.len() - 1
    }

    /// The one at this place ended.
    pub(crate) fn end(&mut self, place: usize, event: &StageEnd) {
        let [start, duration] =
            [event.start, event.duration].map(|it| i64::try_from(it.as_nanos()).unwrap_or(i64::MAX));
        let now_after = start.saturating_add(duration);
        let request = *self.start.get_or_insert_with(|| now().saturating_sub(now_after));
        let start = request.saturating_add(start);
        // Within `model_inference`, what the candidates without a span of their own needed ends where the first that has one
        // begins.
        let end = match self.spans.get(place + 1) {
            Some(&[_, _, _, step, ..]) => step,
            None => start.saturating_add(duration),
        };
        if let Some([_, _, _, starts, ends, ..]) = self.spans.get_mut(place) {
            (*starts, *ends) = (start, end);
        }
    }

    /// Notes what is known of each candidate that has a span of its own: similarity and confidence.
    pub(crate) fn describe(&mut self, candidate: impl Fn(usize) -> Option<[f32; 2]>) {
        for [_, about, rank, _, _, similarity, confidence] in &mut self.spans {
            if *rank != WHOLE
                && let Some(values) = candidate(*about as usize)
            {
                [*similarity, *confidence] = values.map(|value| (f64::from(value) * MILLION).round() as i64);
            }
        }
    }

    /// The attribute that carries them.
    pub(crate) fn pack(&mut self) -> KeyValue {
        let mut last = self.start.unwrap_or_else(now);
        for [_, _, _, start, end, ..] in &mut self.spans {
            // The router unwinds.
            if [*start, *end] == RUNNING {
                (*start, *end) = (last, now());
            }
            last = *end;
        }
        let numbers = std::mem::take(&mut self.spans).into_flattened();
        KeyValue::new(fields::STAGES, Value::Array(Array::I64(numbers)))
    }
}

/// How many spans a span stands for: itself, and the stages that it carries.
pub(crate) fn spans(span: &SpanData) -> u64 {
    1 + packed(&span.attributes).map_or(0, |(_, stages)| stages.len() as u64)
}

/// Makes spans of the stages that a span carries, and puts them behind the others, and it behind them. What else it carries
/// as numbers becomes text.
pub(crate) fn unpack(mut span: SpanData, spans: &mut Vec<SpanData>) {
    let attributes = std::mem::take(&mut span.attributes);
    let packed = packed(&attributes);
    if let Some((_, stages)) = packed {
        spans.extend(stages.iter().zip(1..).map(|(numbers, place)| stage(&span, *numbers, place)));
    }
    let place = packed.map(|(place, _)| place);
    span.attributes = attributes;
    if let Some(place) = place {
        span.attributes.remove(place);
    }
    rows::write(&mut span.events.events);
    spans.push(span);
}

/// The stages among the attributes, where they were added last, and which attribute it is.
fn packed(attributes: &[KeyValue]) -> Option<(usize, &[Numbers])> {
    let place = attributes.iter().rposition(|attribute| attribute.key.as_str() == fields::STAGES)?;
    let Value::Array(Array::I64(numbers)) = &attributes[place].value else { return None };
    let (stages, rest) = numbers.as_chunks();
    // A user's own attribute may have this key.
    let known = |[stage, ..]: &Numbers| (0..Stage::ALL.len() as i64).contains(stage);
    (rest.is_empty() && stages.iter().all(known)).then_some((place, stages))
}

/// The span of one of the stages of a request, from 1.
fn stage(request: &SpanData, numbers: Numbers, place: u64) -> SpanData {
    let [stage, about, rank, start, end, similarity, confidence] = numbers;
    let stage = Stage::ALL[stage as usize];
    let attributes = match rank {
        WHOLE if stage == Stage::CircuitBreakerCheck => vec![],
        WHOLE => vec![KeyValue::new(fields::CANDIDATES, about)],
        rank => {
            let places = [(fields::CANDIDATE_INDEX, about), (fields::CANDIDATE_RANK, rank)];
            let values = [(fields::CANDIDATE_SIMILARITY, similarity), (fields::CONFIDENCE, confidence)];
            let known = values.into_iter().filter(|&(_, millionths)| millionths != UNKNOWN);
            let known = known.map(|(key, millionths)| KeyValue::new(key, millionths as f64 / MILLION));
            places.map(|(key, number)| KeyValue::new(key, number)).into_iter().chain(known).collect()
        }
    };
    let context = &request.span_context;
    SpanData {
        span_context: SpanContext::new(
            context.trace_id(),
            id(context.span_id(), place),
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

/// The id of a stage's span: the request's, which is drawn by chance, stirred as `SplitMix64` does (Steele, Lea and Flood,
/// 2014), so that different places never give the same.
fn id(request: SpanId, place: u64) -> SpanId {
    let request = u64::from_be_bytes(request.to_bytes());
    let mut z = request.wrapping_add(place.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    // 0 is no id.
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
