//! The naive bridge: tracing by `tracing` spans alone, to compare `TracingObserver` with.
//!
//! Every request makes every span through `tracing` and `tracing-opentelemetry`, and the SDK's sampler decides after that
//! which one trace in a hundred is recorded. The spans are those of `TracingObserver` for a sampled request. The exporter
//! drops them, which is cheaper than the HTTP export that it is compared with.

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter};
use tiny_dancer::parts::core::observer::{
    Decided, Detail, Observer, RequestEnd, RequestStart, Stage, StageEnd, StageStart,
};
use tracing::{Dispatch, Span, field, info_span};
use tracing_subscriber::layer::SubscriberExt as _;

/// Candidates with a span of their own, as many as by default.
const CANDIDATE_SPANS: usize = 8;

/// The observer. Its spans go to the current subscriber: see [`Subscriber::within`].
#[derive(Clone, Copy, Debug)]
pub struct Bridge;

/// The receiver of its spans.
#[derive(Clone, Debug)]
pub struct Subscriber {
    dispatch: Dispatch,
    _provider: SdkTracerProvider,
}

#[derive(Debug)]
struct Nowhere;

impl SpanExporter for Nowhere {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}

impl Subscriber {
    /// A subscriber that records one request in a hundred.
    pub fn new() -> Self {
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(0.01)));
        let provider =
            SdkTracerProvider::builder().with_sampler(sampler).with_batch_exporter(Nowhere).build();
        let layer = tracing_opentelemetry::layer()
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_tracer(provider.tracer("naive"));
        let dispatch = Dispatch::new(tracing_subscriber::registry().with(layer));
        Self { dispatch, _provider: provider }
    }

    /// Calls a function whose spans go to this subscriber.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        tracing::dispatcher::with_default(&self.dispatch, work)
    }
}

impl Default for Subscriber {
    fn default() -> Self {
        Self::new()
    }
}

/// The open spans of a request.
#[derive(Debug)]
pub struct Request {
    root: Span,
    stage: Option<Span>,
}

impl Observer for Bridge {
    type Request = Request;
    type Stage = Option<Span>;
    type Batch = ();

    fn on_request_start(&self, event: &RequestStart<'_>) -> Request {
        let root = info_span!(
            parent: None,
            "routing_request",
            candidates = field::Empty,
            dimensions = field::Empty,
            model_version = event.model_version,
            model = field::Empty,
            reason = field::Empty,
            confidence = field::Empty,
            uncertainty = field::Empty,
            status = field::Empty,
        );
        Request { root, stage: None }
    }

    fn detail(&self, _: &Request) -> Detail {
        Detail::Candidates
    }

    fn on_stage_start(&self, request: &mut Request, event: &StageStart<'_>) -> Option<Span> {
        let (parent, candidates) = (&request.root, event.candidates as i64);
        if let Some(step) = event.step {
            if step.rank >= CANDIDATE_SPANS {
                return None;
            }
            request.stage = None;
            let (index, rank) = (step.candidate as i64, step.rank as i64);
            return Some(info_span!(parent: parent, "model_inference", index, rank));
        }
        request.stage = Some(match event.stage {
            Stage::CircuitBreakerCheck => info_span!(parent: parent, "circuit_breaker_check"),
            Stage::FeatureEngineering => info_span!(parent: parent, "feature_engineering", candidates),
            Stage::ModelInference => info_span!(parent: parent, "model_inference", candidates),
            Stage::UncertaintyEstimation => info_span!(parent: parent, "uncertainty_estimation", candidates),
            _ => info_span!(parent: parent, "stage", candidates),
        });
        None
    }

    fn on_stage_end(&self, request: &mut Request, step: Option<Span>, event: &StageEnd) {
        drop(step);
        if !event.is_step {
            request.stage = None;
        }
    }

    fn on_decision(&self, request: &mut Request, event: &Decided<'_>) {
        request.root.record("candidates", event.candidates as i64);
        request.root.record("dimensions", event.dimensions as i64);
        request.root.record("model", event.model.name());
        request.root.record("reason", event.reason.name());
        request.root.record("confidence", f64::from(event.confidence));
        request.root.record("uncertainty", f64::from(event.uncertainty));
    }

    fn on_request_end(&self, request: Request, event: &RequestEnd) {
        request.root.record("status", event.status.name());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Case, subject};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tracing_subscriber::Layer;

    /// Counts spans.
    struct Count(Arc<AtomicUsize>);

    impl<S: tracing::Subscriber> Layer<S> for Count {
        fn on_new_span(
            &self,
            _: &tracing::span::Attributes<'_>,
            _: &tracing::Id,
            _: tracing_subscriber::layer::Context<'_, S>,
        ) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn every_request_makes_every_span() {
        let made = Arc::new(AtomicUsize::new(0));
        let count = tracing_subscriber::registry().with(Count(made.clone()));
        let mut bridge = subject("bridge", Bridge).unwrap();
        tracing::subscriber::with_default(count, || bridge.route(&Case::new(10, 8), 3));
        // The request, four stages, and the eight nearest candidates.
        assert_eq!(made.load(Ordering::Relaxed), 3 * (1 + 4 + 8));
        Subscriber::new().within(|| bridge.route(&Case::new(10, 8), 3));
    }
}
