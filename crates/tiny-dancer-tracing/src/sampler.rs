//! Who decides which traces are recorded, and when.
//!
//! For a routed request it is decided here, by [`samples`], before any span exists: an unsampled request must not pay
//! for a span only to be told that nobody wants it. The SDK's own sampler, [`sampler`], then sees a span with a request's
//! first attribute and agrees. It tosses only for the roots that users open themselves, each once: a span with a parent,
//! ours or a remote one, follows it.

use crate::fields;
use opentelemetry::trace::{Link, SpanKind, TraceContextExt, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{ParentBasedSampler, Sampler, SamplingResult, ShouldSample};
use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};

/// Whether a request that begins now is recorded: as its parent is, or else as often as `ratio` says.
pub(crate) fn samples(ratio: f64) -> bool {
    Context::map_current(|current| {
        if current.is_telemetry_suppressed() {
            return false;
        }
        let span = current.span();
        let parent = span.span_context();
        if parent.is_valid() { parent.is_sampled() } else { random() < ratio }
    })
}

/// The SDK's sampler: a valid parent is obeyed, what was decided is recorded, other roots as often as `ratio` says.
///
/// Not the SDK's `Sampler::ParentBased`: that one takes a context with an invalid span for an unsampled parent.
pub(crate) fn sampler(ratio: f64) -> ParentBasedSampler {
    ParentBasedSampler::new(Roots(Sampler::TraceIdRatioBased(ratio)))
}

/// Decides spans without a valid parent.
#[derive(Clone, Debug)]
struct Roots(Sampler);

impl ShouldSample for Roots {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        // Only requests that are recorded have spans, and all of these begin with this attribute.
        let decided = attributes.first().is_some_and(|first| first.key.as_str() == fields::OPERATION);
        let sampler = if decided { &Sampler::AlwaysOn } else { &self.0 };
        sampler.should_sample(parent, trace_id, name, kind, attributes, links)
    }
}

/// A number from 0 to below 1: xorshift64*, a state a thread. It decides what is looked at, nothing that must not be
/// guessed.
pub(crate) fn random() -> f64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().build_hasher().finish() | 1);
    }
    STATE.with(|state| {
        let mut x = state.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        state.set(x);
        // The upper 53 bits fill a double's fraction.
        (x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    })
}

#[cfg(test)]
mod tests;
