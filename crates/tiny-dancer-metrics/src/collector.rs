//! The observer that counts.

use crate::candidates;
use crate::catalogue::{
    BUDGET_SETTLEMENTS, BatchSize, CANDIDATES_PROCESSED, CIRCUIT_BREAKER_TRANSITIONS, DropCause,
    EMBEDDING_DURATION, EMBEDDING_ERRORS, EMBEDDING_TOKENS, EMBEDDING_TRUNCATED, ERRORS,
    FEATURE_ENGINEERING_DURATION, MEMORY_CHANGES_LOST, MEMORY_CHANGES_STORED, MEMORY_COMMIT_DURATION,
    MEMORY_COMMITS_FAILED, MEMORY_DROPPED, MEMORY_SEARCH_CANDIDATES, MEMORY_SEARCH_DURATION,
    MEMORY_SEARCH_ERRORS, MEMORY_VERDICTS, MODEL_INFERENCE_DURATION, MODEL_RELOADS, ROUTING_LATENCY,
    ROUTING_REQUESTS, Record, ReloadResult, draw_series, outcome_series,
};
use crate::config::MetricsConfig;
use crate::error::{ExportError, RegisterError};
use crate::exemplars::{Exemplar, Slots};
use crate::exports::Exports;
use crate::exposition::{self, Format};
use crate::families::{Circuits, DECISIONS, DRAWN, Families, REPORTS};
use crate::routers::{Budget, RouterKey};
use crate::shard::{Counters, Histograms, Shard, Writer};
use prometheus::Registry;
use std::sync::{Arc, Mutex, PoisonError};
use tiny_dancer_core::coin::Purpose;
use tiny_dancer_core::observer::{
    BreakerTransition, BudgetChange, BudgetEvent, Decided, Detail, Failed, MemoryChange, MemoryEvent,
    ModelReload, OutcomeReported, RequestEnd, RequestStart, SpanIds, Stage, StageEnd, StageStart,
};
use tiny_dancer_core::{CircuitState, Observer, Outcome};

const REQUESTS: Counters = Counters::of(&ROUTING_REQUESTS);
const CANDIDATES: Counters = Counters::of(&CANDIDATES_PROCESSED);
const FAILURES: Counters = Counters::of(&ERRORS);
const TRANSITIONS: Counters = Counters::of(&CIRCUIT_BREAKER_TRANSITIONS);
const RELOADS: Counters = Counters::of(&MODEL_RELOADS);
const TOKENS: Counters = Counters::of(&EMBEDDING_TOKENS);
const TRUNCATED: Counters = Counters::of(&EMBEDDING_TRUNCATED);
const EMBEDDING_FAILURES: Counters = Counters::of(&EMBEDDING_ERRORS);
const FOUND: Counters = Counters::of(&MEMORY_SEARCH_CANDIDATES);
const SEARCH_FAILURES: Counters = Counters::of(&MEMORY_SEARCH_ERRORS);
const STORED: Counters = Counters::of(&MEMORY_CHANGES_STORED);
const COMMITS_FAILED: Counters = Counters::of(&MEMORY_COMMITS_FAILED);
const LOST: Counters = Counters::of(&MEMORY_CHANGES_LOST);
const DROPPED: Counters = Counters::of(&MEMORY_DROPPED);
const VERDICTS: Counters = Counters::of(&MEMORY_VERDICTS);
const SETTLEMENTS: Counters = Counters::of(&BUDGET_SETTLEMENTS);
const LATENCIES: Histograms = Histograms::of(&ROUTING_LATENCY);
const FEATURE_DURATIONS: Histograms = Histograms::of(&FEATURE_ENGINEERING_DURATION);
const INFERENCE_DURATIONS: Histograms = Histograms::of(&MODEL_INFERENCE_DURATION);
const EMBEDDING_DURATIONS: Histograms = Histograms::of(&EMBEDDING_DURATION);
const SEARCH_DURATIONS: Histograms = Histograms::of(&MEMORY_SEARCH_DURATION);
const COMMIT_DURATIONS: Histograms = Histograms::of(&MEMORY_COMMIT_DURATION);

/// The families that [`MetricsCollector::new`] registered in the default registry.
static SHARED: Mutex<Option<Arc<Families>>> = Mutex::new(None);

/// Counts and times what routers do, for Prometheus.
///
/// Give each router a clone of its own. Clones count into the same families, so their routers add up. Each clone holds
/// the circuit states of its own router, and takes them out of `circuit_breaker_state` when it is dropped with the
/// router. Routers that share one collector through an `Arc` add up just as well, but the open circuit of a dropped
/// router is shown until the last of them is dropped.
#[derive(Debug)]
pub struct MetricsCollector {
    families: Arc<Families>,
    registry: Registry,
    /// This clone's part of `families.circuits`.
    circuits: Circuits,
    /// This clone's key in `families.routers`.
    key: RouterKey,
}

impl MetricsCollector {
    /// A collector in prometheus' default registry. The second and later ones share the families of the first.
    ///
    /// # Errors
    /// If the registry has one of these families from another collector. Once that is unregistered, a later call may succeed.
    pub fn new() -> Result<Self, RegisterError> {
        let registry = prometheus::default_registry();
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let families = if let Some(families) = &*shared {
            Arc::clone(families)
        } else {
            let families = Families::register(registry, &MetricsConfig::default())?;
            Arc::clone(shared.insert(families))
        };
        Ok(Self::counting(families, registry))
    }

    /// A collector in prometheus' default registry with this configuration, for example with prices. Later calls of
    /// [`new`](Self::new) share its families. Call it before the first router is made.
    ///
    /// ```
    /// use tiny_dancer_metrics::{MetricsCollector, MetricsConfig, Prices};
    ///
    /// let prices = Prices { lightweight: 0.0002, powerful: 0.006, repeated: false };
    /// MetricsCollector::init(&MetricsConfig { prices: Some(prices), ..Default::default() })?;
    /// let text = MetricsCollector::new()?.export_metrics()?;
    /// assert!(text.contains("tiny_dancer_baseline_cost_total 0"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the configuration is not valid, or if the registry has one of these families already, as after [`new`](Self::new).
    pub fn init(config: &MetricsConfig) -> Result<Self, RegisterError> {
        let registry = prometheus::default_registry();
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let families = Families::register(registry, config)?;
        *shared = Some(Arc::clone(&families));
        Ok(Self::counting(families, registry))
    }

    /// A collector in a registry of your own.
    ///
    /// ```
    /// use tiny_dancer_core::{Router, RouterConfig, RoutingRequest};
    /// use tiny_dancer_metrics::MetricsCollector;
    /// use tiny_dancer_metrics::prometheus::{Registry, TextEncoder};
    ///
    /// let registry = Registry::new();
    /// let metrics = MetricsCollector::with_registry(&registry)?;
    /// let router = Router::with_observer(RouterConfig::default(), metrics)?;
    /// router.route(RoutingRequest::new(&[0.8, 0.6], &[]))?;
    /// let text = TextEncoder::new().encode_to_string(&registry.gather())?;
    /// assert!(text.contains(r#"tiny_dancer_routing_requests_total{status="fallback"} 1"#));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the registry has one of these families already, as after a first call: clone that collector instead, or give
    /// each of the two a [constant label](Self::with_const_labels).
    pub fn with_registry(registry: &Registry) -> Result<Self, RegisterError> {
        Self::with_config(registry, &MetricsConfig::default())
    }

    /// A collector in a registry of your own, with this configuration.
    ///
    /// ```
    /// use tiny_dancer_metrics::prometheus::Registry;
    /// use tiny_dancer_metrics::{MetricsCollector, MetricsConfig};
    ///
    /// let buckets = [("tiny_dancer_routing_latency_seconds".to_owned(), vec![1e-6, 1e-5, 1e-4, 0.01])].into();
    /// let config = MetricsConfig { buckets, ..Default::default() };
    /// let metrics = MetricsCollector::with_config(&Registry::new(), &config)?;
    /// let buckets = r#"tiny_dancer_routing_latency_seconds_bucket{operation="route","#;
    /// assert_eq!(metrics.export_metrics()?.matches(buckets).count(), 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the configuration is not valid, or if the registry refuses a family.
    pub fn with_config(registry: &Registry, config: &MetricsConfig) -> Result<Self, RegisterError> {
        Ok(Self::counting(Families::register(registry, config)?, registry))
    }

    /// A collector in a registry of your own that puts the same labels on all of its series. The labels distinguish
    /// several routers on one registry.
    ///
    /// Collectors on one registry need the same names of constant labels and different values.
    ///
    /// ```
    /// use tiny_dancer_metrics::MetricsCollector;
    /// use tiny_dancer_metrics::prometheus::Registry;
    ///
    /// let registry = Registry::new();
    /// let blue = MetricsCollector::with_const_labels(&registry, &[("router", "blue")])?;
    /// let green = MetricsCollector::with_const_labels(&registry, &[("router", "green")])?;
    /// assert!(blue.export_metrics()?.contains(r#"tiny_dancer_requests_in_flight{router="green"} 0"#));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If a label is not valid, or if the registry refuses a family.
    pub fn with_const_labels(
        registry: &Registry,
        const_labels: &[(&str, &str)],
    ) -> Result<Self, RegisterError> {
        let const_labels = const_labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        let config = MetricsConfig { const_labels: const_labels.collect(), ..Default::default() };
        Self::with_config(registry, &config)
    }

    fn counting(families: Arc<Families>, registry: &Registry) -> Self {
        let key = families.routers.key();
        Self { families, registry: registry.clone(), circuits: Circuits::default(), key }
    }

    /// Shows the counts that `read` returns at each scrape, as `tiny_dancer_spans_total`. While it returns `None`, the
    /// family is absent. Clones share the function, and a later call replaces it.
    ///
    /// Routers of the facade, `tiny-dancer`, set functions that read their tracing system.
    ///
    /// ```
    /// use tiny_dancer_metrics::prometheus::Registry;
    /// use tiny_dancer_metrics::{Exports, MetricsCollector};
    ///
    /// let metrics = MetricsCollector::with_registry(&Registry::new())?;
    /// metrics.watch_spans(|| Some(Exports { flushed: 7, ..Default::default() }));
    /// assert!(metrics.export_metrics()?.contains(r#"tiny_dancer_spans_total{result="flushed"} 7"#));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn watch_spans(&self, read: impl Fn() -> Option<Exports> + Send + Sync + 'static) {
        self.families.spans.watch(read);
    }

    /// The same for log records that are exported, as `tiny_dancer_log_records_total`.
    pub fn watch_log_records(&self, read: impl Fn() -> Option<Exports> + Send + Sync + 'static) {
        self.families.log_records.watch(read);
    }

    /// The same for points of metrics that are exported over OTLP, as `tiny_dancer_metric_points_total`.
    pub fn watch_metric_points(&self, read: impl Fn() -> Option<Exports> + Send + Sync + 'static) {
        self.families.metric_points.watch(read);
    }

    /// All families of its registry, those of other collectors too, in Prometheus' text format.
    ///
    /// # Errors
    /// If a family of another collector cannot be written as text.
    pub fn export_metrics(&self) -> Result<String, ExportError> {
        exposition::export(&self.registry, Format::Text)
    }

    /// The registry that its families are in.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    fn writer(&self) -> Writer {
        self.families.shards.writer()
    }

    /// Records an exemplar of now. Only a recorded request has one, so this is a call, and the path of others stays short.
    #[cold]
    #[inline(never)]
    fn exemplify(&self, slots: &Slots, (series, bucket): (usize, usize), span: SpanIds, value: f64) {
        let time = self.families.clock.unix_milliseconds();
        slots.write(series, bucket, Exemplar { span, value, time });
    }

    /// The same for the latency and the status of a request.
    #[cold]
    #[inline(never)]
    fn exemplify_end(&self, event: &RequestEnd, span: SpanIds) {
        let Families { exemplars, distributions, .. } = &*self.families;
        self.exemplify(&exemplars.requests, (event.status as usize, 0), span, 1.0);
        let bucket = distributions.latency.bucket(event.duration);
        let seconds = event.duration.as_secs_f64();
        self.exemplify(&exemplars.latency, (event.operation as usize, bucket), span, seconds);
    }

    /// Counts a stage of a scope. Only a scope has one, so this is a call, and the path of others stays short.
    #[cold]
    #[inline(never)]
    fn count_outer_stage(&self, shard: &Shard, event: &StageEnd) {
        let (report, distributions) = (event.report, &self.families.distributions);
        let failures = if event.stage == Stage::Embedding {
            distributions.embedding.observe(shard, EMBEDDING_DURATIONS, 0, event.duration);
            shard.increment(TOKENS, 0, report.items as u64);
            shard.increment(TRUNCATED, 0, report.truncated.into());
            EMBEDDING_FAILURES
        } else {
            distributions.memory_search.observe(shard, SEARCH_DURATIONS, 0, event.duration);
            shard.increment(FOUND, 0, report.items as u64);
            SEARCH_FAILURES
        };
        if let Some(kind) = report.error {
            shard.increment(failures, kind as usize, 1);
        }
    }
}

/// Counts a draw. Only a router that draws has some, so this is a call. It takes no event: the other events need no place in
/// memory then.
#[cold]
#[inline(never)]
fn count_draw(shard: &Shard, purpose: Purpose, happened: bool) {
    shard.increment(DRAWN, draw_series(purpose, happened), 1);
}

/// Counts into the same families, and holds no circuit states yet.
impl Clone for MetricsCollector {
    fn clone(&self) -> Self {
        Self::counting(Arc::clone(&self.families), &self.registry)
    }
}

impl Drop for MetricsCollector {
    fn drop(&mut self) {
        self.families.circuits.subtract(&self.circuits);
        self.families.routers.forget(self.key);
    }
}

/// A request that has begun and not ended. It counts as in flight until it is dropped, also by a panic.
#[derive(Debug)]
pub struct InFlight {
    writer: Writer,
}

impl InFlight {
    #[inline]
    fn new(writer: Writer) -> Self {
        writer.add_in_flight(1);
        Self { writer }
    }
}

impl Drop for InFlight {
    #[inline]
    fn drop(&mut self) {
        self.writer.add_in_flight(-1);
    }
}

impl Observer for MetricsCollector {
    type Request = InFlight;
    type Stage = ();
    type Batch = ();

    #[inline]
    fn on_request_start(&self, _: &RequestStart<'_>) -> InFlight {
        InFlight::new(self.writer())
    }

    /// Stages, since two of them are timed.
    #[inline]
    fn detail(&self, _: &InFlight) -> Detail {
        Detail::Stages
    }

    /// The two that take time, and those of a scope.
    #[inline]
    fn is_enabled(&self, _: &InFlight, event: &StageStart<'_>) -> bool {
        let is_timed = !matches!(event.stage, Stage::CircuitBreakerCheck | Stage::UncertaintyEstimation);
        is_timed && event.step.is_none()
    }

    #[inline]
    fn on_stage_end(&self, request: &mut InFlight, (): (), event: &StageEnd) {
        let (shard, distributions) = (&*request.writer, &self.families.distributions);
        match event.stage {
            Stage::FeatureEngineering => {
                let size = BatchSize::of(event.report.items) as usize;
                let distribution = &distributions.feature_engineering;
                distribution.observe(shard, FEATURE_DURATIONS, size, event.duration);
            }
            Stage::ModelInference => {
                distributions.model_inference.observe(shard, INFERENCE_DURATIONS, 0, event.duration);
            }
            Stage::Embedding | Stage::MemorySearch => self.count_outer_stage(shard, event),
            _ => {}
        }
    }

    #[inline(always)]
    fn on_decision(&self, request: &mut InFlight, event: &Decided<'_>) {
        let (shard, candidates) = (&*request.writer, event.decisions.len());
        shard.increment(DECISIONS, event.reason as usize, 1);
        shard.increment(CANDIDATES, BatchSize::of(candidates) as usize, candidates as u64);
        if let Some(draw) = event.explore {
            count_draw(shard, Purpose::Explore, draw.happened);
        }
        if let Some(ticket) = event.ticket {
            count_draw(shard, Purpose::Judge, ticket.judge.happened);
        }
        if let Some(draw) = event.shadow {
            count_draw(shard, Purpose::Shadow, draw.happened);
        }
        let Families { arch, distributions, .. } = &*self.families;
        let columns = [event.confidences(), event.uncertainties()];
        let (blocks, threshold) = (&distributions.blocks, event.thresholds.confidence_threshold);
        candidates::record(*arch, blocks, shard, columns, event.decisions, threshold);
        if let Some(span) = event.span {
            self.exemplify(&self.families.exemplars.decisions, (event.reason as usize, 0), span, 1.0);
        }
    }

    #[inline]
    fn on_error(&self, request: &mut InFlight, event: &Failed<'_>) {
        request.writer.increment(FAILURES, event.kind() as usize, 1);
        if let Some(span) = event.span {
            self.exemplify(&self.families.exemplars.errors, (event.kind() as usize, 0), span, 1.0);
        }
    }

    #[inline(always)]
    fn on_request_end(&self, request: InFlight, event: &RequestEnd) {
        let shard = &*request.writer;
        shard.increment(REQUESTS, event.status as usize, 1);
        let latency = &self.families.distributions.latency;
        latency.observe(shard, LATENCIES, event.operation as usize, event.duration);
        if let Some(span) = event.span {
            self.exemplify_end(event, span);
        }
    }

    fn on_outcome(&self, event: &OutcomeReported) {
        let Outcome { model, result, origin, .. } = event.outcome;
        self.writer().increment(REPORTS, outcome_series(model, result, origin), 1);
        if let Some(promise) = event.promise {
            self.families.routers.report_promise(self.key, promise);
        }
    }

    fn on_breaker_transition(&self, event: &BreakerTransition) {
        for circuits in [&self.circuits, &self.families.circuits] {
            circuits.change(event.circuit, event.from, event.to);
        }
        let series = event.circuit as usize * CircuitState::ALL.len() + event.to as usize;
        self.writer().increment(TRANSITIONS, series, 1);
    }

    fn on_model_reload(&self, event: &ModelReload<'_>) {
        if let Ok(model) = event.result {
            self.families.set_model_version(model.version());
            if let Some(promise) = event.promise {
                self.families.routers.report_promise(self.key, promise);
            }
        }
        self.families.routers.report_load(self.key, event.result.is_ok(), event.unix_seconds);
        if event.previous.is_some() {
            let result = if event.result.is_ok() { ReloadResult::Success } else { ReloadResult::Failure };
            self.writer().increment(RELOADS, result as usize, 1);
        }
    }

    fn on_budget(&self, event: &BudgetEvent<'_>) {
        let confidence_threshold = event.thresholds.confidence_threshold;
        self.families.routers.report_budget(self.key, Budget { state: event.state(), confidence_threshold });
        if let BudgetChange::Settled { settlement } = event.change {
            self.writer().increment(SETTLEMENTS, settlement as usize, 1);
        }
    }

    fn on_memory(&self, event: &MemoryEvent) {
        self.families.routers.report_memory(self.key, event.state);
        let writer = self.writer();
        let count_dropped = |cause: DropCause, counts: [usize; Record::ALL.len()]| {
            for (record, count) in Record::ALL.into_iter().zip(counts) {
                let series = cause as usize * Record::ALL.len() + record as usize;
                writer.increment(DROPPED, series, count as u64);
            }
        };
        match event.change {
            MemoryChange::Erased { entries, log_entries } => {
                count_dropped(DropCause::Erased, [entries, log_entries]);
            }
            MemoryChange::Expired { entries, log_entries } => {
                count_dropped(DropCause::Expired, [entries, log_entries]);
            }
            MemoryChange::Failed { kind, .. } => writer.increment(COMMITS_FAILED, kind as usize, 1),
            MemoryChange::Lost { changes, kind } => writer.increment(LOST, kind as usize, changes as u64),
            MemoryChange::Stored { changes, duration } => {
                writer.increment(STORED, 0, changes as u64);
                self.families.distributions.memory_commit.observe(&writer, COMMIT_DURATIONS, 0, duration);
            }
            MemoryChange::Verdict { kind } => writer.increment(VERDICTS, kind as usize, 1),
            // The duration of an opening is in the log. A change that this version does not know is not counted.
            _ => {}
        }
    }
}
