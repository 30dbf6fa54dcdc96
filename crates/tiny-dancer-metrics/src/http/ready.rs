//! Whether routers can decide, as a registry shows it.

use crate::catalogue::{CIRCUIT_BREAKER_STATE, MODEL_LAST_RELOAD_SUCCESSFUL};
use crate::exposition;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use prometheus::Registry;
use prometheus::proto::Metric;
use tiny_dancer_core::{Circuit, CircuitState};

/// Whether the routers of a registry can decide by their models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Readiness {
    /// Whether each collector of the registry has a router with a model, and there is a collector.
    pub model: bool,
    /// The state of the `inference` circuit; of several routers, the worst.
    pub inference_circuit: CircuitState,
}

impl Readiness {
    /// Reads the families of all collectors in the registry.
    pub fn of(registry: &Registry) -> Self {
        let families = registry.gather();
        let family = |name| families.iter().find(|family| exposition::is_named(family, name));
        // Each collector has one series of either family, but the second only while it has a router.
        let inference = (CIRCUIT_BREAKER_STATE.labels[0].name, Circuit::Inference.name());
        let states = family(CIRCUIT_BREAKER_STATE.name).map_or_else(Vec::new, |family| {
            let is_inference = |metric: &Metric| {
                metric.get_label().iter().any(|label| (label.name(), label.value()) == inference)
            };
            // A family that cannot be read has no states, and then nothing is ready.
            let states = exposition::values(family).unwrap_or_default();
            let of_inference =
                family.get_metric().iter().zip(states).filter(|(metric, _)| is_inference(metric));
            of_inference.map(|(_, state)| state).collect()
        });
        let models = family(MODEL_LAST_RELOAD_SUCCESSFUL.name).map_or(0, |family| family.get_metric().len());
        let worst = states.iter().copied().fold(0.0, f64::max);
        let is_worst = |state: &CircuitState| f64::from(*state as u8) == worst;
        Self {
            model: models > 0 && models == states.len(),
            inference_circuit: CircuitState::ALL.into_iter().find(is_worst).unwrap_or(CircuitState::Open),
        }
    }

    /// Whether there is a model and the `inference` circuit is not open.
    pub fn is_ready(self) -> bool {
        self.model && self.inference_circuit != CircuitState::Open
    }

    pub(super) fn answer(self) -> (StatusCode, [(HeaderName, HeaderValue); 2], String) {
        let (ready, model, circuit) = (self.is_ready(), self.model, self.inference_circuit.name());
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        let body = format!(r#"{{"ready":{ready},"model":{model},"inference_circuit":"{circuit}"}}"#);
        (status, headers, body + "\n")
    }
}
