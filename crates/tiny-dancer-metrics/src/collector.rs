//! The observer.

use crate::candidates;
use crate::catalogue::{
    BatchSize, CANDIDATES_PROCESSED, CIRCUIT_BREAKER_TRANSITIONS, ERRORS, FEATURE_ENGINEERING_DURATION,
    MODEL_INFERENCE_DURATION, MODEL_RELOADS, OUTCOMES, ROUTING_DECISIONS, ROUTING_LATENCY, ROUTING_REQUESTS,
    ReloadResult,
};
use crate::distribution::Distribution;
use crate::error::{ExportError, RegisterError};
use crate::families::{Circuits, Families};
use crate::shard::{Counters, Writer};
use prometheus::{Registry, TextEncoder};
use std::sync::{Arc, Mutex, PoisonError};
use tiny_dancer_core::observer::{
    BreakerTransition, Decided, Detail, Failed, ModelReload, OutcomeReported, RequestEnd, RequestStart,
    Stage, StageEnd, StageStart,
};
use tiny_dancer_core::{CircuitState, Observer, OutcomeResult};

static LATENCY: Distribution = Distribution::of(&ROUTING_LATENCY);
static FEATURE_ENGINEERING: Distribution = Distribution::of(&FEATURE_ENGINEERING_DURATION);
static MODEL_INFERENCE: Distribution = Distribution::of(&MODEL_INFERENCE_DURATION);
const REQUESTS: Counters = Counters::of(&ROUTING_REQUESTS);
const DECISIONS: Counters = Counters::of(&ROUTING_DECISIONS);
const CANDIDATES: Counters = Counters::of(&CANDIDATES_PROCESSED);
const FAILURES: Counters = Counters::of(&ERRORS);
const REPORTS: Counters = Counters::of(&OUTCOMES);
const TRANSITIONS: Counters = Counters::of(&CIRCUIT_BREAKER_TRANSITIONS);
const RELOADS: Counters = Counters::of(&MODEL_RELOADS);

/// What [`MetricsCollector::new`] registered in the default registry.
static SHARED: Mutex<Option<Arc<Families>>> = Mutex::new(None);

/// Counts and times what routers do, for Prometheus.
///
/// Give each router a clone of its own. Clones count into the same families, so their routers add up. What differs
/// between clones is whose circuits they know of: when a clone goes away with its router, so does that router's part
/// of `circuit_breaker_state`. Routers that share one collector through an `Arc` add up just as well, but a router
/// that goes away while its circuit is open leaves it shown as open until the last of them is gone.
#[derive(Debug)]
pub struct MetricsCollector {
    families: Arc<Families>,
    registry: Registry,
    /// This clone's part of `families.circuits`.
    circuits: Circuits,
}

impl MetricsCollector {
    /// A collector in prometheus' default registry. The second and later ones share the families of the first.
    ///
    /// # Errors
    /// If somebody else has a family of ours there. Once it is gone, a later call may succeed.
    pub fn new() -> Result<Self, RegisterError> {
        let registry = prometheus::default_registry();
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let families = match &*shared {
            Some(families) => Arc::clone(families),
            None => Arc::clone(shared.insert(Families::register(registry, &[])?)),
        };
        Ok(Self::counting(families, registry))
    }

    /// A collector in a registry of yours.
    ///
    /// # Errors
    /// If the registry has a family of ours, as it has after the first call: clone that collector instead, or tell
    /// them apart by [constant labels](Self::with_const_labels).
    pub fn with_registry(registry: &Registry) -> Result<Self, RegisterError> {
        Self::with_const_labels(registry, &[])
    }

    /// A collector in a registry of yours that puts the same labels on all of its series, so that several routers on
    /// one registry can be told apart.
    ///
    /// All collectors on one registry need the same names of constant labels, and each of them other values.
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
    /// If a label can't be a constant one, or if the registry refuses a family.
    pub fn with_const_labels(
        registry: &Registry,
        const_labels: &[(&str, &str)],
    ) -> Result<Self, RegisterError> {
        Ok(Self::counting(Families::register(registry, const_labels)?, registry))
    }

    fn counting(families: Arc<Families>, registry: &Registry) -> Self {
        Self { families, registry: registry.clone(), circuits: Circuits::default() }
    }

    /// All that its registry has, including what is not ours, in Prometheus' text format.
    pub fn export_metrics(&self) -> Result<String, ExportError> {
        TextEncoder::new().encode_to_string(&self.registry.gather()).map_err(|source| ExportError { source })
    }

    fn writer(&self) -> Writer {
        self.families.shards.writer()
    }
}

/// Counts into the same families, and knows of no circuits yet.
impl Clone for MetricsCollector {
    fn clone(&self) -> Self {
        Self::counting(Arc::clone(&self.families), &self.registry)
    }
}

impl Drop for MetricsCollector {
    fn drop(&mut self) {
        self.families.circuits.subtract(&self.circuits);
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

    #[inline]
    fn on_request_start(&self, _: &RequestStart<'_>) -> InFlight {
        InFlight::new(self.writer())
    }

    #[inline]
    fn on_stage_start(&self, _: &mut InFlight, _: &StageStart<'_>) {}

    /// The stages, for the durations of two of them.
    #[inline]
    fn detail(&self, _: &InFlight) -> Detail {
        Detail::Stages
    }

    #[inline]
    fn on_stage_end(&self, request: &mut InFlight, (): (), event: &StageEnd) {
        let writer = &request.writer;
        match event.stage {
            Stage::FeatureEngineering => {
                FEATURE_ENGINEERING.observe(writer, BatchSize::of(event.candidates) as usize, event.duration);
            }
            Stage::ModelInference => MODEL_INFERENCE.observe(writer, 0, event.duration),
            Stage::CircuitBreakerCheck | Stage::UncertaintyEstimation => {}
        }
    }

    #[inline]
    fn on_decision(&self, request: &mut InFlight, event: &Decided<'_>) {
        let (writer, candidates) = (&request.writer, event.decisions.len());
        writer.increment(DECISIONS, event.reason as usize, 1);
        writer.increment(CANDIDATES, BatchSize::of(candidates) as usize, candidates as u64);
        candidates::record(writer, event.decisions);
    }

    #[inline]
    fn on_error(&self, request: &mut InFlight, event: &Failed<'_>) {
        request.writer.increment(FAILURES, event.kind() as usize, 1);
    }

    #[inline]
    fn on_request_end(&self, request: InFlight, event: &RequestEnd) {
        request.writer.increment(REQUESTS, event.status as usize, 1);
        LATENCY.observe(&request.writer, event.operation as usize, event.duration);
    }

    fn on_outcome(&self, event: &OutcomeReported) {
        let series = event.outcome.model as usize * OutcomeResult::ALL.len() + event.outcome.result as usize;
        self.writer().increment(REPORTS, series, 1);
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
        }
        if event.previous.is_some() {
            let result = if event.result.is_ok() { ReloadResult::Success } else { ReloadResult::Failure };
            self.writer().increment(RELOADS, result as usize, 1);
        }
    }
}
