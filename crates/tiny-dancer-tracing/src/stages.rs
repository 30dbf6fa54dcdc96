//! The stages of a recorded request: a few numbers each, until the exporter's thread makes spans of them.
//!
//! A dozen spans, made one by one while the request waits, would take most of what a sampled request costs. Nobody needs
//! them before they are exported: no stage's span is ever a current one. So the request's span carries them as an
//! attribute, through one place in the queue, and [`unpack`] takes it out again. Their ids follow from the request's, so that
//! each exporter sends the same ones.

use crate::fields;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status};
use opentelemetry::{Array, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use std::time::{Duration, SystemTime};
use tiny_dancer_core::observer::{Stage, StageEnd, StageStart};

/// The key of the attribute. It never leaves the process.
const KEY: &str = "tiny_dancer.stages";

/// Numbers a span: [`Stage`]; how many candidates it is about, or the place of the one; that one's rank; start and end, in
/// nanoseconds since 1970.
const NUMBERS: usize = 5;

/// The rank where a span is about a whole stage.
const WHOLE: i64 = -1;

/// The end of a span that has none yet.
const RUNNING: i64 = -1;

/// The stages of a request under way.
#[derive(Debug)]
pub(crate) struct Stages(Vec<i64>);

impl Stages {
    /// With room for so many spans; more only take longer.
    pub(crate) fn with_room_for(spans: usize) -> Self {
        Self(Vec::with_capacity(spans * NUMBERS))
    }

    /// A stage, or one candidate's step, begins. What still runs ends: within `model_inference` that is what the candidates
    /// without a span of their own needed.
    pub(crate) fn start(&mut self, event: &StageStart<'_>) {
        let begin = now();
        self.end_at(|_| begin);
        let (about, rank) =
            event.step.map_or((event.candidates, WHOLE), |step| (step.candidate, step.rank as i64));
        self.0.extend([event.stage as i64, about as i64, rank, begin, RUNNING]);
    }

    /// What ran ended.
    pub(crate) fn end(&mut self, event: &StageEnd) {
        self.end_at(|start| {
            start.saturating_add(i64::try_from(event.duration.as_nanos()).unwrap_or(i64::MAX))
        });
    }

    /// Ends what runs, if anything does, at a moment that may depend on when it began.
    fn end_at(&mut self, moment: impl FnOnce(i64) -> i64) {
        if let [.., start, end] = self.0.as_mut_slice()
            && *end == RUNNING
        {
            *end = moment(*start);
        }
    }

    /// The attribute that carries them, after whatever ran has ended.
    pub(crate) fn pack(&mut self) -> KeyValue {
        self.end_at(|_| now());
        KeyValue::new(KEY, Value::Array(Array::I64(std::mem::take(&mut self.0))))
    }
}

/// How many spans a span stands for: itself, and the stages that it carries.
pub(crate) fn spans(span: &SpanData) -> u64 {
    1 + packed(&span.attributes).map_or(0, |(_, stages)| stages.len() as u64)
}

/// Makes spans of the stages that a span carries, and puts them behind the others, and it behind them.
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
    spans.push(span);
}

/// The stages among the attributes, where they were added last, and which attribute it is.
fn packed(attributes: &[KeyValue]) -> Option<(usize, &[[i64; NUMBERS]])> {
    let place = attributes.iter().rposition(|attribute| attribute.key.as_str() == KEY)?;
    let Value::Array(Array::I64(numbers)) = &attributes[place].value else { return None };
    let (stages, rest) = numbers.as_chunks();
    // A user's own attribute may have this key.
    let known = |[stage, ..]: &[i64; NUMBERS]| (0..Stage::ALL.len() as i64).contains(stage);
    (rest.is_empty() && stages.iter().all(known)).then_some((place, stages))
}

/// The span of one of the stages of a request, from 1.
fn stage(request: &SpanData, [stage, about, rank, start, end]: [i64; NUMBERS], place: u64) -> SpanData {
    let stage = Stage::ALL[stage as usize];
    let attributes = match rank {
        WHOLE if stage == Stage::CircuitBreakerCheck => vec![],
        WHOLE => vec![KeyValue::new(fields::CANDIDATES, about)],
        rank => {
            vec![KeyValue::new(fields::CANDIDATE_INDEX, about), KeyValue::new(fields::CANDIDATE_RANK, rank)]
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
