//! The facade's router: that of core, with the observers that cargo features select.

use std::sync::Arc;
use tiny_dancer_core::budget::{Account, AccountState, BudgetState, RestoreError, Settlement, Ticket};
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

mod scope;

pub use scope::Scope;

#[cfg(feature = "metrics")]
type Metrics = tiny_dancer_metrics::MetricsCollector;
#[cfg(not(feature = "metrics"))]
type Metrics = ();

#[cfg(feature = "tracing")]
type Tracing = tiny_dancer_tracing::TracingObserver;
#[cfg(not(feature = "tracing"))]
type Tracing = ();

/// Decides for each request whether the lightweight model suffices, and notifies its observers.
///
/// It is the same type under every cargo feature. `O` is an observer of your own, in addition to tracing and metrics.
/// [`Router::builder`] accepts a registry, labels and a tracing system of your own.
///
/// Observers are notified in the order tracing, metrics, `O`, and of ends in the opposite order. So the log lines of your
/// observer are inside the request's span.
pub struct Router<O: Observer = ()>(tiny_dancer_core::Router<(Tracing, Metrics, O)>);

/// Why a router could not be built. Each text includes that of its cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// [`RouterBuilder::collector`] was called together with `registry` or `label`. A collector has its own.
    #[cfg(feature = "metrics")]
    #[error("a collector cannot be combined with a registry or a label: it has its own")]
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
    /// A router with the observers that cargo features select.
    ///
    /// With `metrics`, the first router registers the metric families in prometheus' default registry; later ones share
    /// them and add up. With `tracing`, the router uses the system that `TracingSystem::init` installs, before or after.
    /// With both, `tiny_dancer_spans_total` counts the spans by result, and likewise log records and pushed metrics.
    ///
    /// ```
    /// use tiny_dancer::{Reason, Router, RouterConfig, RoutingRequest};
    ///
    /// let router = Router::new(RouterConfig::default())?;
    /// let response = router.route(RoutingRequest::new(&[0.8, 0.6], &[]))?;
    /// assert_eq!(response.reason, Reason::NoEvidence); // a request without candidates
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the configuration is not valid, or if the default registry refuses a family.
    pub fn new(config: RouterConfig) -> Result<Self, BuildError> {
        Self::builder(config).build()
    }

    /// Begins a router with a registry, labels, a tracing system or an observer of your own. The rest is as in
    /// [`new`](Self::new).
    ///
    /// ```
    /// # #[cfg(feature = "metrics")]
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use prometheus::Registry;
    /// use tiny_dancer::{Router, RouterConfig};
    ///
    /// let registry = Registry::new();
    /// let router = |name| Router::builder(RouterConfig::default()).registry(&registry).label("router", name).build();
    /// let (support, sales) = (router("support")?, router("sales")?);
    /// # let _ = sales;
    /// let series = r#"tiny_dancer_requests_in_flight{router="sales"} 0"#;
    /// assert!(support.export_metrics()?.contains(series));
    /// # Ok(()) }
    /// # #[cfg(not(feature = "metrics"))]
    /// # fn main() {}
    /// ```
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

/// Builds a [`Router`] from a configuration, with telemetry of your own.
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
#[must_use = "only `build` makes a router"]
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
    /// Registers the metric families in this registry instead of prometheus' default registry.
    #[cfg(feature = "metrics")]
    pub fn registry(mut self, registry: &Registry) -> Self {
        self.counting.registry = Some(registry.clone());
        self
    }

    /// Puts a label on all series of this router, in addition to those of earlier calls. Labels distinguish several routers
    /// on one registry, which need the same names of labels and different values.
    #[cfg(feature = "metrics")]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.counting.labels.push((name.into(), value.into()));
        self
    }

    /// Counts with this collector, for example one with prices. With a clone of another router's collector, the two
    /// routers add up. A collector has its own registry and labels.
    #[cfg(feature = "metrics")]
    pub fn collector(mut self, collector: tiny_dancer_metrics::MetricsCollector) -> Self {
        self.counting.collector = Some(collector);
        self
    }

    /// Records with this observer instead of that of the installed system: with `TracingSystem::observer()` of a system that
    /// is not installed. If routers share their metric families, `tiny_dancer_spans_total` shows the system of the router
    /// that was built last.
    #[cfg(feature = "tracing")]
    pub fn tracing(mut self, observer: tiny_dancer_tracing::TracingObserver) -> Self {
        self.tracing = observer;
        self
    }

    /// Sets an observer of your own, instead of an earlier one. A tuple holds several.
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

    /// Builds the router.
    ///
    /// # Errors
    /// If the configuration or a label is not valid, or if the registry refuses a family, for example because it has that of
    /// another router with the same labels. Nothing stays registered then.
    pub fn build(self) -> Result<Router<O>, BuildError> {
        // The configuration is checked before anything is registered, since counts outlive their collectors.
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
        watch_exports(&metrics, &tracing);
        Ok(Router(router.observed_by((tracing, metrics, self.observer))))
    }
}

#[cfg(feature = "metrics")]
impl Counting {
    /// The given collector, or a new one.
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
    /// A router with an observer of your own: `Router::builder(config).observer(observer).build()`.
    ///
    /// # Errors
    /// As [`Router::new`].
    pub fn with_observer(config: RouterConfig, observer: O) -> Result<Self, BuildError> {
        Router::builder(config).observer(observer).build()
    }

    /// All families of this router's registry, those of other collectors too, in Prometheus' text format.
    ///
    /// # Errors
    /// If a family of another collector cannot be written as text.
    #[cfg(feature = "metrics")]
    pub fn export_metrics(&self) -> Result<String, tiny_dancer_metrics::ExportError> {
        self.0.observer().1.export_metrics()
    }

    /// The registry that holds this router's families, for the handler of `/metrics`.
    #[cfg(feature = "metrics")]
    pub fn registry(&self) -> &Registry {
        self.0.observer().1.registry()
    }

    /// Routes one request. Allocates twice for any number of candidates; observers may allocate more.
    ///
    /// # Errors
    /// If the query or a candidate is bad, if the model's output is not finite, or, with `OnOpen::Reject`, if a circuit is
    /// open: [`RouteError`] lists the cases.
    pub fn route(&self, request: RoutingRequest<'_>) -> Result<RoutingResponse, RouteError> {
        self.0.route(request)
    }

    /// Routes one request into a response that is reused. It allocates nothing once the response has held as many
    /// candidates.
    ///
    /// After an error the response is equal to [`RoutingResponse::default`].
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

    /// [`route_set`](Self::route_set) into a response that is reused.
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

    /// Routes several requests. The answers are in the order of the requests, with the same bits as one by one.
    ///
    /// Feature `parallel` splits them over the current rayon pool. Observers are called on the thread that routes, and the
    /// parent of each request's trace is the span that is current on the calling thread.
    ///
    /// # Errors
    /// As [`route`](Self::route), each request by itself.
    pub fn route_batch(&self, requests: &[RoutingRequest<'_>]) -> Vec<Result<RoutingResponse, RouteError>> {
        self.0.route_batch(requests)
    }

    /// Records the outcome of a call to a model: once per call, at any time.
    ///
    /// ```
    /// use tiny_dancer::{ModelType, Outcome, OutcomeResult, Router, RouterConfig};
    ///
    /// let router = Router::new(RouterConfig::default())?;
    /// router.record_outcome(Outcome::new(ModelType::Lightweight, OutcomeResult::Insufficient));
    /// # #[cfg(feature = "metrics")] {
    /// let series = r#"tiny_dancer_outcomes_total{model_type="lightweight",origin="routed",result="insufficient"} 1"#;
    /// assert!(router.export_metrics()?.contains(series));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn record_outcome(&self, outcome: Outcome) {
        self.0.record_outcome(outcome);
    }

    /// Settles the judgement of a lightweight answer under a [quality budget](RouterConfig::budget): `worse` than the powerful
    /// model's. Only a judge settles; a call that fails after a part of the answer was delivered is worse.
    ///
    /// ```
    /// use tiny_dancer::{QualityBudget, Router, RouterConfig, RoutingRequest};
    ///
    /// let router = Router::new(RouterConfig { budget: Some(QualityBudget::default()), ..Default::default() })?;
    /// let response = router.route(RoutingRequest::new(&[0.7, 0.7, 0.1], &[]))?;
    /// // Call the model and deliver the answer.
    /// router.answered();
    /// // Then ask a judge for both answers, if the ticket says so.
    /// if let Some(ticket) = response.ticket.filter(|ticket| ticket.judge.happened) {
    ///     router.settle(&ticket, false);
    /// }
    /// assert_eq!(router.budget().map(|state| state.answered), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn settle(&self, ticket: &Ticket, worse: bool) -> Settlement {
        self.0.settle(ticket, worse)
    }

    /// Takes back the admission of a lightweight answer of which no byte was delivered. Returns whether its judgement was
    /// pending.
    pub fn cancel(&self, ticket: &Ticket) -> bool {
        self.0.cancel(ticket)
    }

    /// Records that the answer to a routed request was delivered, of either model: a quality budget grows by each.
    pub fn answered(&self) {
        self.0.answered();
    }

    /// The state of the quality budget; `None` where there is none.
    pub fn budget(&self) -> Option<BudgetState> {
        self.0.budget()
    }

    /// The account of the quality budget, to store it and to limit its judgements; `None` where there is no budget.
    pub fn account(&self) -> Option<&Arc<Account>> {
        self.0.account()
    }

    /// Continues the account of the quality budget from a stored state, before the first request.
    ///
    /// # Errors
    /// If there is no budget, or if the state does not belong to it.
    pub fn restore_account(&mut self, state: &AccountState) -> Result<(), RestoreError> {
        self.0.restore_account(state)
    }

    /// Loads the configured model again, while requests continue. If the file is bad, or if the model cannot promise the
    /// configured risk, the old model continues to serve. A model of another version closes the `inference` circuit.
    ///
    /// # Errors
    /// If the model cannot be loaded, or cannot promise the configured risk.
    pub fn reload_model(&self) -> Result<Arc<Model>, LoadError> {
        self.0.reload_model()
    }

    /// The model that serves.
    pub fn model(&self) -> Arc<Model> {
        self.0.model()
    }

    /// The configuration.
    pub fn config(&self) -> &RouterConfig {
        self.0.config()
    }

    /// The thresholds in use: the configured ones, or those that keep the promised risk; with a quality budget, those to which
    /// its pacing has moved them.
    pub fn thresholds(&self) -> Thresholds {
        self.0.thresholds()
    }

    /// The state of the promise; `None` where no risk is promised.
    pub fn promise(&self) -> Option<PromiseState> {
        self.0.promise()
    }

    /// Restarts the test of the promise without any outcome: the promise counts as kept.
    pub fn reset_promise(&self) {
        self.0.reset_promise();
    }

    /// The router of core inside this one, with all of its observers. The parts that depend on core alone take it.
    ///
    /// A memory reports to these observers:
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tiny_dancer::observer::{MemoryChange, MemoryEvent, MemoryState, VerdictKind};
    /// use tiny_dancer::{Router, RouterConfig};
    ///
    /// let router = Arc::new(Router::new(RouterConfig::default())?);
    /// let beside = Arc::clone(&router);
    /// // The function for `memory.observed_by(...)`.
    /// let observe = move |event: &MemoryEvent| beside.core().on_memory(event);
    /// # let change = MemoryChange::Verdict { kind: VerdictKind::Accepted };
    /// # observe(&MemoryEvent::new(MemoryState::default(), change));
    /// # #[cfg(feature = "metrics")] {
    /// # let series = r#"tiny_dancer_memory_verdicts_total{kind="accepted"} 1"#;
    /// # assert!(router.export_metrics()?.contains(series));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn core(&self) -> &tiny_dancer_core::Router<impl Observer + use<O>> {
        &self.0
    }

    /// Your observer.
    pub fn observer(&self) -> &O {
        &self.0.observer().2
    }

    /// The state of a circuit. An open circuit becomes half-open at the first request after its open time.
    pub fn circuit_state(&self, circuit: Circuit) -> CircuitState {
        self.0.circuit_state(circuit)
    }

    /// Opens a circuit until [`reset`](Self::reset) or [`force_closed`](Self::force_closed).
    pub fn force_open(&self, circuit: Circuit) {
        self.0.force_open(circuit);
    }

    /// Closes a circuit and ignores failures, until [`reset`](Self::reset) or [`force_open`](Self::force_open).
    pub fn force_closed(&self, circuit: Circuit) {
        self.0.force_closed(circuit);
    }

    /// Closes a circuit and clears its failures.
    pub fn reset(&self, circuit: Circuit) {
        self.0.reset(circuit);
    }
}

/// Lets each scrape read the counts of what is exported. The crates of metrics and tracing are independent of each other, so the
/// facade connects them.
#[cfg(all(feature = "metrics", feature = "tracing"))]
fn watch_exports(metrics: &Metrics, tracing: &Tracing) {
    type Counts = Option<tiny_dancer_tracing::ExportCounts>;
    let read = |counts: fn(&Tracing) -> Counts| {
        let tracing = tracing.clone();
        move || {
            let tiny_dancer_tracing::ExportCounts { dropped, failed, flushed, .. } = counts(&tracing)?;
            Some(tiny_dancer_metrics::Exports { dropped, failed, flushed })
        }
    };
    metrics.watch_spans(read(Tracing::counts));
    metrics.watch_log_records(read(Tracing::log_record_counts));
    metrics.watch_metric_points(read(Tracing::metric_point_counts));
}

impl<O: Observer> std::fmt::Debug for Router<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
