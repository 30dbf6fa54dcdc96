//! The facade's router: core's, with the observers that cargo features choose.

use std::sync::Arc;
use tiny_dancer_core::promise::PromiseState;
use tiny_dancer_core::{
    CandidateSet, Circuit, CircuitState, ConfigError, LoadError, Model, Observer, Outcome, Query, RouteError,
    RouterConfig, RoutingRequest, RoutingResponse, Thresholds,
};

#[cfg(feature = "metrics")]
type Metrics = tiny_dancer_metrics::MetricsCollector;
#[cfg(not(feature = "metrics"))]
type Metrics = ();

#[cfg(feature = "tracing")]
type Tracing = tiny_dancer_tracing::TracingObserver;
#[cfg(not(feature = "tracing"))]
type Tracing = ();

/// Decides for each request whether the lightweight model suffices, and tells the observers that ride inside.
///
/// It is the same type under every cargo feature; `O` is an observer of your own, beside ours.
///
/// Observers are told in the order tracing, metrics, yours, and of ends in the opposite order: what your observer logs
/// stands inside the request's span.
pub struct Router<O: Observer = ()>(tiny_dancer_core::Router<(Tracing, Metrics, O)>);

/// Why a router could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The configuration is out of range, or its model could not be loaded.
    #[error("the configuration is not valid")]
    Config(#[from] ConfigError),
    /// The metric families could not be registered in prometheus' default registry.
    #[cfg(feature = "metrics")]
    #[error("the metrics cannot be registered")]
    Metrics(#[from] tiny_dancer_metrics::RegisterError),
}

impl Router {
    /// A router with the observers that cargo features choose.
    ///
    /// With `metrics`, the first one registers the metric families in prometheus' default registry; later ones share
    /// them and add up. With `tracing`, it picks up whatever `TracingSystem::init` installs, before or after. With both,
    /// what becomes of spans is a metric, too: `tiny_dancer_spans_total`.
    pub fn new(config: RouterConfig) -> Result<Self, BuildError> {
        Self::with_observer(config, ())
    }
}

impl<O: Observer> Router<O> {
    /// A router with an observer of yours beside ours.
    pub fn with_observer(config: RouterConfig, observer: O) -> Result<Self, BuildError> {
        #[cfg(feature = "metrics")]
        let metrics = tiny_dancer_metrics::MetricsCollector::new()?;
        #[cfg(not(feature = "metrics"))]
        let metrics = ();
        #[cfg(feature = "tracing")]
        let tracing = tiny_dancer_tracing::TracingObserver::global();
        #[cfg(not(feature = "tracing"))]
        let tracing = ();
        #[cfg(all(feature = "metrics", feature = "tracing"))]
        show_spans(&metrics, tracing.clone());
        Ok(Self(tiny_dancer_core::Router::with_observer(config, (tracing, metrics, observer))?))
    }

    /// Everything in prometheus' default registry as Prometheus text: this router's families, those of others, yours.
    #[cfg(feature = "metrics")]
    pub fn export_metrics(&self) -> Result<String, tiny_dancer_metrics::ExportError> {
        self.0.observer().1.export_metrics()
    }

    /// Routes one request. Allocates twice, however many candidates there are, and whatever observers allocate.
    pub fn route(&self, request: RoutingRequest<'_>) -> Result<RoutingResponse, RouteError> {
        self.0.route(request)
    }

    /// Routes one request into a response that is kept for reuse, and allocates nothing once that has held as many
    /// candidates.
    ///
    /// After an error the response says what [`RoutingResponse::default`] says.
    pub fn route_into(
        &self,
        request: RoutingRequest<'_>,
        response: &mut RoutingResponse,
    ) -> Result<(), RouteError> {
        self.0.route_into(request, response)
    }

    /// Routes one query by the `top_k` nearest candidates of a set. A decision's `candidate` is its place in the set.
    pub fn route_set(
        &self,
        query: Query<'_>,
        set: &CandidateSet,
        top_k: usize,
    ) -> Result<RoutingResponse, RouteError> {
        self.0.route_set(query, set, top_k)
    }

    /// [`route_set`](Self::route_set) into a response that is kept for reuse.
    pub fn route_set_into(
        &self,
        query: Query<'_>,
        set: &CandidateSet,
        top_k: usize,
        response: &mut RoutingResponse,
    ) -> Result<(), RouteError> {
        self.0.route_set_into(query, set, top_k, response)
    }

    /// Routes several requests, in their order and with the same bits as one by one; with feature `parallel` in the
    /// current rayon pool. Observers are called on the thread that routes, and each request's trace has the parent that
    /// was current here.
    pub fn route_batch(&self, requests: &[RoutingRequest<'_>]) -> Vec<Result<RoutingResponse, RouteError>> {
        self.0.route_batch(requests)
    }

    /// Takes the report of how the chosen model did: once a request, as late as the caller likes.
    pub fn record_outcome(&self, outcome: Outcome) {
        self.0.record_outcome(outcome);
    }

    /// Loads the model anew from where the configuration says, while requests go on. A bad file leaves the old model
    /// serving.
    pub fn reload_model(&self) -> Result<Arc<Model>, LoadError> {
        self.0.reload_model()
    }

    /// The model that serves.
    pub fn model(&self) -> Arc<Model> {
        self.0.model()
    }

    /// The configuration, as it was checked.
    pub fn config(&self) -> &RouterConfig {
        self.0.config()
    }

    /// The thresholds in use: the configured ones, or those that keep the promised risk.
    pub fn thresholds(&self) -> Thresholds {
        self.0.thresholds()
    }

    /// What outcomes say of the promised risk; `None` where none was promised.
    pub fn promise(&self) -> Option<PromiseState> {
        self.0.promise()
    }

    /// Forgets what outcomes said of the promised risk: the promise counts as kept from here on.
    pub fn reset_promise(&self) {
        self.0.reset_promise();
    }

    /// Your observer.
    pub fn observer(&self) -> &O {
        &self.0.observer().2
    }

    /// The state of a circuit. An open one becomes half-open with the first request after its time.
    pub fn circuit_state(&self, circuit: Circuit) -> CircuitState {
        self.0.circuit_state(circuit)
    }

    /// Opens a circuit until [`reset`](Self::reset) or [`force_closed`](Self::force_closed).
    pub fn force_open(&self, circuit: Circuit) {
        self.0.force_open(circuit);
    }

    /// Closes a circuit and keeps it closed, whatever fails, until [`reset`](Self::reset) or
    /// [`force_open`](Self::force_open).
    pub fn force_closed(&self, circuit: Circuit) {
        self.0.force_closed(circuit);
    }

    /// Closes a circuit and forgets its failures.
    pub fn reset(&self, circuit: Circuit) {
        self.0.reset(circuit);
    }
}

/// Metrics and tracing don't know each other: what became of spans is carried over here, at each scrape.
#[cfg(all(feature = "metrics", feature = "tracing"))]
fn show_spans(metrics: &Metrics, tracing: Tracing) {
    metrics.watch_spans(move || {
        let counts = tracing.counts()?;
        Some(tiny_dancer_metrics::Spans {
            dropped: counts.dropped,
            failed: counts.failed,
            flushed: counts.flushed,
        })
    });
}

impl<O: Observer> std::fmt::Debug for Router<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
