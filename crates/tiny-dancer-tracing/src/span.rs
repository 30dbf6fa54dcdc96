//! Spans for pipelines of one's own.

use crate::export::Pipeline;
use crate::fields::{self, TARGET};
use crate::observer::REDACTED;
use crate::system;
use tiny_dancer_core::observer::{RequestStart, Stage};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Opens spans of the names and keys that the router's own have.
///
/// For those who call features, cell and conformal tables themselves: the traces look the same, and so do the
/// queries on them. They are `tracing` spans, recorded by [`TracingSystem`](crate::TracingSystem)'s layer; the
/// router's own spans are made without one.
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
    /// The whole request, of so many candidates.
    pub fn routing_request(candidates: usize) -> Span {
        tracing::info_span!(target: TARGET, RequestStart::NAME, { fields::CANDIDATES } = candidates as i64)
    }

    /// The check of the circuits.
    pub fn circuit_breaker_check() -> Span {
        tracing::info_span!(target: TARGET, Stage::CircuitBreakerCheck.name())
    }

    /// The features of so many candidates.
    pub fn feature_engineering(candidates: usize) -> Span {
        tracing::info_span!(
            target: TARGET,
            Stage::FeatureEngineering.name(),
            { fields::CANDIDATES } = candidates as i64
        )
    }

    /// One candidate's inference. Its name goes into the trace and, unlike a field of a `tracing` span, never into
    /// the context that log lines print. Where the installed system has `redact_ids`, it goes nowhere.
    pub fn model_inference(candidate_id: &str) -> Span {
        let redact = system::installed().is_some_and(Pipeline::redacts_ids);
        let candidate_id = if redact { REDACTED } else { candidate_id };
        let span = tracing::info_span!(target: TARGET, Stage::ModelInference.name());
        span.set_attribute(fields::CANDIDATE_ID, candidate_id.to_owned());
        span
    }

    /// What the confidences are worth.
    pub fn uncertainty_estimation() -> Span {
        tracing::info_span!(target: TARGET, Stage::UncertaintyEstimation.name())
    }
}
