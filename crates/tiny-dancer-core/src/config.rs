//! The router's configuration: plain data, checked once.

use crate::breaker::CircuitBreakerConfig;
use crate::budget::QualityBudget;
use crate::clock::Clock;
use crate::coin::Seed;
use crate::model::LoadError;
use crate::promise::RiskBudget;
use std::path::PathBuf;
use std::time::Duration;

/// How a router decides. `Router::new` checks it once.
///
/// ```
/// use tiny_dancer_core::RouterConfig;
///
/// let careful = RouterConfig { confidence_threshold: 0.95, ..Default::default() };
/// assert_eq!(careful.max_uncertainty, 0.15);
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct RouterConfig {
    /// The least confidence for the lightweight model, 0 to 1. Default 0.85: at most one answer in seven is
    /// insufficient, if the confidence is right. The uncertainty measures whether it is.
    pub confidence_threshold: f32,
    /// The largest uncertainty for the lightweight model, 0 to 1. Default 0.15, which is 1 minus the confidence
    /// threshold.
    pub max_uncertainty: f32,
    /// A promise that replaces the two thresholds: the router uses the boldest thresholds for which the model can
    /// promise this risk. A model that cannot promise it is refused, when the router is made and at each reload.
    /// Default none.
    pub risk: Option<RiskBudget>,
    /// How many answers of the lightweight model may be worse, at all times at once: [`budget`](crate::budget). With a budget
    /// the thresholds move, beginning with those of this configuration or of `risk`, and the promise of `risk` is not tested.
    /// Report each delivered answer by [`Router::answered`](crate::Router::answered), or the budget does not grow. Default
    /// none.
    pub budget: Option<QualityBudget>,
    /// Whether the `lightweight` circuit opens, until it is reset, when outcomes refute the promise of `risk`. Default
    /// no: an open circuit sends all requests to the powerful model, which is the operator's decision.
    pub open_on_broken_promise: bool,
    /// The age at which a candidate's recency is one half. Default 7 days, as the embedded model was trained.
    pub recency_half_life: Duration,
    /// The model file; `None` is a model embedded in this package: the one that was made for `embedder`, or
    /// [`Model::embedded`](crate::Model::embedded).
    pub model_path: Option<PathBuf>,
    /// The id of the embedder whose vectors are routed. Confidences and uncertainties are calibrated for the vectors of
    /// one embedder, so a model that was made for another one, or that does not say for which, is refused, when the
    /// router is made and at each reload. Default none: not checked.
    pub embedder: Option<String>,
    /// The probability, 0 to 1, with which a request whose decision is powerful goes to the lightweight model nevertheless:
    /// [`Reason::Explored`](crate::Reason::Explored). So a memory learns of requests that the router would not risk. Never
    /// while a circuit is open. Default 0: an explored answer may be worse.
    pub explore: f64,
    /// The probability, 0 to 1, with which the caller of a powerful answer is asked to call the lightweight model too, after
    /// the answer: [`RoutingResponse::shadow`](crate::RoutingResponse::shadow). Never while a circuit is open; while the
    /// `lightweight` circuit is half-open, the call is a probe, whose outcome returns the permit. Default 0: it costs a second
    /// call.
    pub shadow_rate: f64,
    /// The secret of the draws of `explore`, `shadow_rate` and the budget's judgements: with it and a request's number they can be computed again.
    /// Default none: the operating system's random numbers, and none where nothing is drawn. It is not written with the
    /// configuration.
    #[cfg_attr(feature = "serde", serde(skip_serializing))]
    pub seed: Option<Seed>,
    /// The two circuits.
    pub circuit_breaker: CircuitBreakerConfig,
    /// The clock that the router reads. A configuration file always means the system's.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub clock: Clock,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            confidence_threshold: 0.85,
            max_uncertainty: 0.15,
            risk: None,
            budget: None,
            open_on_broken_promise: false,
            recency_half_life: Duration::from_secs(7 * 24 * 3600),
            model_path: None,
            embedder: None,
            explore: 0.0,
            shadow_rate: 0.0,
            seed: None,
            circuit_breaker: CircuitBreakerConfig::default(),
            clock: Clock::system(),
        }
    }
}

/// Why a router could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The model could not be loaded, or cannot promise the configured risk.
    #[error("model: {source}")]
    Model {
        /// The cause.
        #[from]
        source: LoadError,
    },
    /// A field is out of range.
    #[error("{field} is {value}, expected {expected}")]
    OutOfRange {
        /// Which field; times are in seconds.
        field: &'static str,
        /// Its value.
        value: f64,
        /// The range that it must have.
        expected: &'static str,
    },
    /// The operating system has no random numbers for the draws.
    #[error("random numbers: {source}")]
    Random {
        /// The cause.
        #[from]
        source: getrandom::Error,
    },
}

impl RouterConfig {
    /// Twelve hexadecimal digits that differ between configurations that decide differently, for traces. They do not
    /// depend on `model_path` and `embedder`, since the model has a version of its own, and not on the secret `seed`.
    pub fn digest(&self) -> String {
        let Self { confidence_threshold, max_uncertainty, risk, recency_half_life, circuit_breaker, .. } =
            self;
        let Self { open_on_broken_promise, explore, shadow_rate, budget, .. } = self;
        crate::model::digest(
            format!(
                "{confidence_threshold:?} {max_uncertainty:?} {risk:?} {open_on_broken_promise} \
                 {recency_half_life:?} {circuit_breaker:?} {explore:?} {shadow_rate:?} {budget:?}"
            )
            .as_bytes(),
        )
    }

    /// Checks every field.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let breaker = &self.circuit_breaker;
        let unit = |field, value: f64| require(field, value, "0 to 1", (0.0..=1.0).contains(&value));
        let seconds = |field, value: Duration, least: f64, expected| {
            let value = value.as_secs_f64();
            require(field, value, expected, (least..=YEAR).contains(&value))
        };
        unit("confidence_threshold", self.confidence_threshold.into())?;
        unit("max_uncertainty", self.max_uncertainty.into())?;
        if let Some(RiskBudget { alpha, delta }) = self.risk {
            let open = |field, value| require(field, value, "between 0 and 1", value > 0.0 && value < 1.0);
            open("risk.alpha", alpha)?;
            open("risk.delta", delta)?;
        }
        if let Some(budget) = &self.budget {
            budget.validate()?;
        }
        let half_life = self.recency_half_life.as_secs_f64();
        require("recency_half_life", half_life, "more than 0 s", half_life > 0.0)?;
        unit("explore", self.explore)?;
        unit("shadow_rate", self.shadow_rate)?;

        count("circuit_breaker.inference_failures", breaker.inference_failures, "1 to 10000", 10_000)?;
        seconds("circuit_breaker.inference_window", breaker.inference_window, 1.0, "1 s to a year")?;
        let ratio = breaker.lightweight_failure_ratio;
        let field = "circuit_breaker.lightweight_failure_ratio";
        require(field, ratio, "more than 0, at most 1", ratio > 0.0 && ratio <= 1.0)?;
        count("circuit_breaker.lightweight_min_calls", breaker.lightweight_min_calls, "1 to 10000", 10_000)?;
        seconds("circuit_breaker.lightweight_window", breaker.lightweight_window, 1.0, "1 s to a year")?;
        seconds("circuit_breaker.open_for", breaker.open_for, 0.001, "1 ms to a year")?;
        let open_for = breaker.open_for.as_secs_f64();
        seconds("circuit_breaker.max_open_for", breaker.max_open_for, open_for, "open_for to a year")?;
        count("circuit_breaker.probes", breaker.probes, "1 to 255", 255)?;
        seconds("circuit_breaker.probe_timeout", breaker.probe_timeout, 0.001, "1 ms to a year")
    }
}

pub(crate) const YEAR: f64 = 365.0 * 86400.0;

fn count(field: &'static str, value: u32, expected: &'static str, most: u32) -> Result<(), ConfigError> {
    require(field, value.into(), expected, (1..=most).contains(&value))
}

pub(crate) fn require(
    field: &'static str,
    value: f64,
    expected: &'static str,
    holds: bool,
) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError::OutOfRange { field, value, expected }) }
}

#[cfg(test)]
mod tests;
