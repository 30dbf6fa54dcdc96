//! The facade's router: core's, with the observers that cargo features choose.

use std::sync::Arc;
use tiny_dancer_core::promise::PromiseState;
use tiny_dancer_core::{
    CandidateSet, Circuit, CircuitState, ConfigError, LoadError, Model, Observer, Outcome, Query, RouteError,
    RouterConfig, RoutingRequest, RoutingResponse, Thresholds,
};

#[cfg(feature = "metrics")]
use tiny_dancer_metrics::{
    MetricsConfig,
    prometheus::{Registry, default_registry},
};

#[cfg(feature = "metrics")]
type Metrics = tiny_dancer_metrics::MetricsCollector;
#[cfg(not(feature = "metrics"))]
type Metrics = ();

#[cfg(feature = "tracing")]
type Tracing = tiny_dancer_tracing::TracingObserver;
#[cfg(not(feature = "tracing"))]
type Tracing = ();

/// Decides for each request whether the lightweight model suffices, and notifies the observers that ride inside.
///
/// It is the same type under every cargo feature; `O` is an observer of your own, beside ours. [`Router::builder`] takes
/// a registry, labels and a tracing system of yours.
///
/// Observers are notified in the order tracing, metrics, yours, and of ends in the opposite order: what your observer
/// logs stands inside the request's span.
pub struct Router<O: Observer = ()>(tiny_dancer_core::Router<(Tracing, Metrics, O)>);

/// Why a router could not be made. The text of each holds its cause's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// [`RouterBuilder::collector`] was called beside `registry` or `label`, which the collector has already.
    #[cfg(feature = "metrics")]
    #[error("collector is given beside registry or label, which it already has")]
    Collector,
    /// The configuration is out of range, or its model could not be loaded.
    #[error("the configuration is not valid: {0}")]
    Config(#[from] ConfigError),
    /// A label is not valid, or the registry refused a metric family.
    #[cfg(feature = "metrics")]
    #[error("the metrics cannot be registered: {0}")]
    Metrics(#[from] tiny_dancer_metrics::RegisterError),
}

impl Router {
    /// A router with the observers that cargo features choose.
    ///
    /// With `metrics`, the first one registers the metric families in prometheus' default registry; later ones share
    /// them and add up. With `tracing`, it picks up the system that `TracingSystem::init` installs, before or after. With
    /// both, what becomes of spans is a metric, too: `tiny_dancer_spans_total`.
    ///
    /// # Errors
    /// If the configuration is not valid, or if the default registry refuses a family.
    pub fn new(config: RouterConfig) -> Result<Self, BuildError> {
        Self::builder(config).build()
    }

    /// Begins a router whose registry, labels, tracing system or further observer are yours. What the builder is not
    /// given is as in [`new`](Self::new).
    pub fn builder(config: RouterConfig) -> RouterBuilder {
        RouterBuilder {
            config,
            #[cfg(feature = "metrics")]
            counting: Counting::default(),
            #[cfg(feature = "tracing")]
            tracing: Tracing::global(),
            observer: (),
        }
    }
}

/// Makes a [`Router`] from a configuration, and from what of its telemetry is yours.
///
/// ```
/// # #[cfg(all(feature = "metrics", feature = "tracing"))]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tiny_dancer::{Router, RouterConfig, RoutingRequest, TracingConfig, TracingSystem};
///
/// let registry = prometheus::Registry::new();
/// let system = TracingSystem::new(TracingConfig::default()); // not installed
/// let router = Router::builder(RouterConfig::default())
///     .registry(&registry)
///     .label("router", "support")
///     .tracing(system.observer()?)
///     .build()?;
///
/// router.route(RoutingRequest::new(&[0.8, 0.6], &[]))?;
/// let series = r#"tiny_dancer_routing_requests_total{router="support",status="fallback"} 1"#;
/// assert!(router.export_metrics()?.contains(series));
/// println!("{}", system.shutdown());
/// # Ok(()) }
/// # #[cfg(not(all(feature = "metrics", feature = "tracing")))]
/// # fn main() {}
/// ```
#[must_use = "a builder makes a router when `build` is called"]
pub struct RouterBuilder<O: Observer = ()> {
    config: RouterConfig,
    #[cfg(feature = "metrics")]
    counting: Counting,
    #[cfg(feature = "tracing")]
    tracing: Tracing,
    observer: O,
}

/// Where metrics go. The default is as in [`Router::new`].
#[cfg(feature = "metrics")]
#[derive(Debug, Default)]
struct Counting {
    registry: Option<Registry>,
    labels: Vec<(String, String)>,
    collector: Option<Metrics>,
}

impl<O: Observer> RouterBuilder<O> {
    /// Registers the metric families here instead of in prometheus' default registry.
    #[cfg(feature = "metrics")]
    pub fn registry(mut self, registry: &Registry) -> Self {
        self.counting.registry = Some(registry.clone());
        self
    }

    /// Puts a label on all series of this router, beside those of earlier calls, so that several routers on one registry
    /// can be told apart. They need the same names of labels, and each of them other values.
    #[cfg(feature = "metrics")]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.counting.labels.push((name.into(), value.into()));
        self
    }

    /// Counts with this collector: one with prices or buckets of its own, or the clone of another router's, with which
    /// this router then adds up. A collector has its registry and labels already.
    #[cfg(feature = "metrics")]
    pub fn collector(mut self, collector: tiny_dancer_metrics::MetricsCollector) -> Self {
        self.counting.collector = Some(collector);
        self
    }

    /// Records with this observer, which is `TracingSystem::observer()` of a system that was not installed, instead of
    /// the installed system's. Where routers share their metric families, `tiny_dancer_spans_total` shows the system of
    /// the router that was made last.
    #[cfg(feature = "tracing")]
    pub fn tracing(mut self, observer: tiny_dancer_tracing::TracingObserver) -> Self {
        self.tracing = observer;
        self
    }

    /// Adds an observer of yours, and replaces an earlier one. A tuple holds several.
    pub fn observer<P: Observer>(self, observer: P) -> RouterBuilder<P> {
        RouterBuilder {
            config: self.config,
            #[cfg(feature = "metrics")]
            counting: self.counting,
            #[cfg(feature = "tracing")]
            tracing: self.tracing,
            observer,
        }
    }

    /// Makes the router.
    ///
    /// # Errors
    /// If the configuration or a label is not valid, or if the registry refuses a family: it has those of another router
    /// with the same labels, for one. Nothing stays registered then.
    pub fn build(self) -> Result<Router<O>, BuildError> {
        // What is not valid is found before anything is registered, since counts outlive their collectors.
        let router = tiny_dancer_core::Router::new(self.config)?;
        #[cfg(feature = "tracing")]
        let tracing = self.tracing;
        #[cfg(not(feature = "tracing"))]
        let tracing = ();
        #[cfg(feature = "metrics")]
        let metrics = self.counting.collector()?;
        #[cfg(not(feature = "metrics"))]
        let metrics = ();
        #[cfg(all(feature = "metrics", feature = "tracing"))]
        show_spans(&metrics, tracing.clone());
        Ok(Router(router.observed_by((tracing, metrics, self.observer))))
    }
}

#[cfg(feature = "metrics")]
impl Counting {
    /// The collector that was given, or one that is registered here.
    fn collector(self) -> Result<Metrics, BuildError> {
        match (self.collector, self.registry) {
            (Some(collector), None) if self.labels.is_empty() => Ok(collector),
            (Some(_), _) => Err(BuildError::Collector),
            (None, None) if self.labels.is_empty() => Ok(Metrics::new()?),
            (None, registry) => {
                let config = MetricsConfig { const_labels: self.labels, ..Default::default() };
                Ok(Metrics::with_config(registry.as_ref().unwrap_or_else(|| default_registry()), &config)?)
            }
        }
    }
}

impl<O: Observer> std::fmt::Debug for RouterBuilder<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RouterBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<O: Observer> Router<O> {
    /// A router with an observer of yours beside ours: `Router::builder(config).observer(observer).build()`.
    ///
    /// # Errors
    /// As [`Router::new`].
    pub fn with_observer(config: RouterConfig, observer: O) -> Result<Self, BuildError> {
        Router::builder(config).observer(observer).build()
    }

    /// Everything in this router's registry as Prometheus text: its families, those of others, yours.
    ///
    /// # Errors
    /// If another collector in the registry gives what cannot be written.
    #[cfg(feature = "metrics")]
    pub fn export_metrics(&self) -> Result<String, tiny_dancer_metrics::ExportError> {
        self.0.observer().1.export_metrics()
    }

    /// The registry that this router's families are in, for the handler of `/metrics`.
    #[cfg(feature = "metrics")]
    pub fn registry(&self) -> &Registry {
        self.0.observer().1.registry()
    }

    /// Routes one request. Allocates twice for any number of candidates, beside what observers allocate.
    ///
    /// # Errors
    /// Names the query, or the candidate, that is not valid; or says which circuit is open, where the configuration asks
    /// for that; or that the model's output is no number.
    pub fn route(&self, request: RoutingRequest<'_>) -> Result<RoutingResponse, RouteError> {
        self.0.route(request)
    }

    /// Routes one request into a response that is kept for reuse, and allocates nothing once that has held as many
    /// candidates.
    ///
    /// After an error the response says what [`RoutingResponse::default`] says.
    ///
    /// # Errors
    /// As [`route`](Self::route).
    pub fn route_into(
        &self,
        request: RoutingRequest<'_>,
        response: &mut RoutingResponse,
    ) -> Result<(), RouteError> {
        self.0.route_into(request, response)
    }

    /// Routes one query by the `top_k` nearest candidates of a set. A decision's `candidate` is its place in the set.
    ///
    /// # Errors
    /// As [`route`](Self::route).
    pub fn route_set(
        &self,
        query: Query<'_>,
        set: &CandidateSet,
        top_k: usize,
    ) -> Result<RoutingResponse, RouteError> {
        self.0.route_set(query, set, top_k)
    }

    /// [`route_set`](Self::route_set) into a response that is kept for reuse.
    ///
    /// # Errors
    /// As [`route`](Self::route).
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
    ///
    /// # Errors
    /// As [`route`](Self::route), each request by itself.
    pub fn route_batch(&self, requests: &[RoutingRequest<'_>]) -> Vec<Result<RoutingResponse, RouteError>> {
        self.0.route_batch(requests)
    }

    /// Takes the report of how the chosen model did: once a request, as late as the caller likes.
    pub fn record_outcome(&self, outcome: Outcome) {
        self.0.record_outcome(outcome);
    }

    /// Loads the model anew from where the configuration says, while requests go on. A bad file leaves the old model
    /// serving.
    ///
    /// # Errors
    /// If the model cannot be loaded, or cannot keep the configured risk.
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

    /// Closes a circuit and keeps it closed, failures or not, until [`reset`](Self::reset) or
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
