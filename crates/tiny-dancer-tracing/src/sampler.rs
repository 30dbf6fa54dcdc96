//! Sampling: which traces are recorded, and when that is decided.
//!
//! [`samples`] samples a routed request before any span exists, so that an unsampled request pays for no
//! span. The SDK's sampler, [`sampler`], recognizes the span of a sampled request by its first attribute and
//! records it. It samples by the ratio only the root spans that users open themselves, each once. A span with
//! a parent, local or remote, follows its parent.

use crate::fields;
use opentelemetry::trace::{Link, SpanKind, TraceContextExt, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{ParentBasedSampler, Sampler, SamplingResult, ShouldSample};
use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};

/// Whether a request that begins now is recorded: it follows its parent, or without one is sampled at
/// `ratio`.
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

/// The SDK's sampler: a span follows a valid parent, a sampled request is recorded, other roots are sampled
/// at `ratio`.
///
/// The SDK's `Sampler::ParentBased` does not fit: it treats a context with an invalid span as an unsampled
/// parent.
pub(crate) fn sampler(ratio: f64) -> ParentBasedSampler {
    ParentBasedSampler::new(Roots(Sampler::TraceIdRatioBased(ratio)))
}

/// Samples spans without a valid parent.
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
        // Only sampled requests have spans, and this attribute is the first of each such span.
        let decided = attributes.first().is_some_and(|first| first.key.as_str() == fields::OPERATION);
        let sampler = if decided { &Sampler::AlwaysOn } else { &self.0 };
        sampler.should_sample(parent, trace_id, name, kind, attributes, links)
    }
}

/// A random number from 0 to below 1: xorshift64* with one state per thread. It is predictable, so it serves
/// sampling and retry delays, not secrets.
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
