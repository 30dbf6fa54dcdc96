//! Spans for a program's own routing pipeline.

use crate::export::Pipeline;
use crate::fields::{self, TARGET};
use crate::observer::REDACTED;
use tiny_dancer_core::observer::{RequestStart, Stage};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Opens spans with the names and keys of the router's own spans.
///
/// A program that calls features, cell and conformal tables itself gets traces like the router's, and the
/// same queries work on them. These spans are `tracing` spans, which
/// [`TracingSystem`](crate::TracingSystem)'s layer records. The router's own spans need no layer.
///
/// ```
/// use tiny_dancer_tracing::RoutingSpan;
///
/// let request = RoutingSpan::routing_request(2);
/// let confidence = request.in_scope(|| {
///     RoutingSpan::circuit_breaker_check().in_scope(|| { /* may it pass? */ });
///     RoutingSpan::feature_engineering(2).in_scope(|| { /* five numbers a candidate */ });
///     RoutingSpan::model_inference("yesterday's question").in_scope(|| 0.9)
/// });
/// # assert_eq!(confidence, 0.9);
/// ```
#[derive(Clone, Copy, Debug)]
pub enum RoutingSpan {}

impl RoutingSpan {
    /// The whole request, with its number of candidates.
    pub fn routing_request(candidates: usize) -> Span {
        tracing::info_span!(target: TARGET, RequestStart::NAME, { fields::CANDIDATES } = candidates as i64)
    }

    /// The embedding of a text.
    pub fn embedding() -> Span {
        tracing::info_span!(target: TARGET, Stage::Embedding.name())
    }

    /// The search for candidates.
    pub fn memory_search() -> Span {
        tracing::info_span!(target: TARGET, Stage::MemorySearch.name())
    }

    /// The check of the circuits.
    pub fn circuit_breaker_check() -> Span {
        tracing::info_span!(target: TARGET, Stage::CircuitBreakerCheck.name())
    }

    /// The features of this number of candidates.
    pub fn feature_engineering(candidates: usize) -> Span {
        tracing::info_span!(
            target: TARGET,
            Stage::FeatureEngineering.name(),
            { fields::CANDIDATES } = candidates as i64
        )
    }

    /// One candidate's inference. The candidate's name becomes an attribute in the trace. Unlike a field of a
    /// `tracing` span, it is never part of the context in log lines. If the installed system has
    /// `redact_ids`, the attribute is "redacted".
    pub fn model_inference(candidate_id: &str) -> Span {
        let redact = Pipeline::installed().is_some_and(Pipeline::redacts_ids);
        let candidate_id = if redact { REDACTED } else { candidate_id };
        let span = tracing::info_span!(target: TARGET, Stage::ModelInference.name());
        span.set_attribute(fields::CANDIDATE_ID, candidate_id.to_owned());
        span
    }

    /// The estimation of the conformal uncertainty.
    pub fn uncertainty_estimation() -> Span {
        tracing::info_span!(target: TARGET, Stage::UncertaintyEstimation.name())
    }
}
