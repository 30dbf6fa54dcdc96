//! Decides in about a microsecond whether a lightweight language model suffices for a request, and shows why.
//!
//! This is the facade: one [`Router`] with the observers that its cargo features select, and all types that it needs. The
//! features `metrics` and `tracing` are on by default; a router without them decides the same.
//!
//! ```toml
//! [dependencies] # Rust 1.95 or later, and a clone of the repository beside your project
//! tiny-dancer = { path = "../tiny-dancer/crates/tiny-dancer" }
//! ```
//!
//! # Route a request
//!
//! Your program keeps a memory of past requests: their embeddings, and how well the lightweight model did. For each query it
//! retrieves the nearest of them, which are the [`Candidate`]s.
//!
//! ```
//! use tiny_dancer::{
//!     Candidate, Clock, ModelType, Outcome, OutcomeResult, RiskBudget, Router, RouterConfig, RoutingRequest,
//! };
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // The promise: at most 15% of the lightweight model's answers are insufficient, with 95% confidence.
//!     let risk = Some(RiskBudget { alpha: 0.15, delta: 0.05 });
//!     let router = Router::new(RouterConfig { risk, ..Default::default() })?; // metrics automatically enabled
//!
//!     // Twelve past requests like the query: the lightweight model was never worse, and better in half of them.
//!     let candidates = [Candidate {
//!         id: "password resets".to_string(),
//!         embedding: vec![0.6, 0.8, 0.0],
//!         created_at: Clock::system().unix_seconds(),
//!         access_count: 12,
//!         success_rate: 1.0,
//!         win_rate: 0.5,
//!         ..Default::default()
//!     }];
//!     let response = router.route(RoutingRequest::new(&[0.7, 0.7, 0.1], &candidates))?; // automatic instrumentation
//!     assert_eq!(response.model, ModelType::Lightweight);
//!     println!("{} because {}", response.model, response.reason); // lightweight because confident
//!
//!     // Call the model here. Report how it did: the circuits and the promise depend on it.
//!     router.record_outcome(Outcome::new(response.model, OutcomeResult::Sufficed));
//!
//! #   #[cfg(feature = "metrics")]
//! #   {
//!     let metrics = router.export_metrics()?;
//!     println!("{metrics}");
//! #   let series = r#"tiny_dancer_outcomes_total{model_type="lightweight",origin="routed",result="sufficed"} 1"#;
//! #   assert!(metrics.contains(series), "{metrics}");
//! #   }
//!     Ok(())
//! }
//! ```
//!
//! The embedded model can promise an `alpha` of 0.12 or more at a `delta` of 0.05, for traffic like the rows that certified
//! it; `docs/model.md` describes them.
//!
//! # Traces and logs
//!
//! ```standalone_crate
//! # #[cfg(feature = "tracing")]
//! use tiny_dancer::{Router, RouterConfig, RoutingRequest, TracingConfig, TracingSystem};
//!
//! # #[cfg(feature = "tracing")]
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let config = TracingConfig {
//!         service_name: "my-service".to_string(),
//!         otlp_endpoint: Some("http://localhost:4318".to_string()),
//!         ..Default::default()
//!     };
//!     let tracing_system = TracingSystem::new(config);
//!     tracing_system.init()?;
//!
//!     let router = Router::new(RouterConfig::default())?;
//!     router.route(RoutingRequest::new(&[0.7, 0.7, 0.1], &[]))?; // tracing automatic
//!
//!     println!("{}", tracing_system.shutdown()); // the numbers of flushed, dropped and failed spans
//!     Ok(())
//! }
//! # #[cfg(not(feature = "tracing"))]
//! # fn main() {}
//! ```
//!
//! # Metrics and logs without a scrape
//!
//! The same system exports metrics and log records over OTLP, if the configuration or the environment says so:
//!
//! ```standalone_crate
//! # #[cfg(feature = "otlp")]
//! use tiny_dancer::{Router, RouterConfig, TracingConfig, TracingSystem, otlp};
//!
//! # #[cfg(feature = "otlp")]
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // Or OTEL_METRICS_EXPORTER=otlp and OTEL_LOGS_EXPORTER=otlp.
//!     let config = TracingConfig { otlp_metrics: true, otlp_logs: true, ..Default::default() };
//! #   let config = TracingConfig { otlp_metrics: false, otlp_logs: false, ..config };
//!     let tracing_system = TracingSystem::new(config);
//!     tracing_system.init()?;
//!
//!     let router = Router::new(RouterConfig::default())?;
//!     tracing_system.push_metrics(otlp::source(router.registry())); // each minute, and at the shutdown
//!
//!     println!("{}", tracing_system.shutdown());
//!     Ok(())
//! }
//! # #[cfg(not(feature = "otlp"))]
//! # fn main() {}
//! ```
//!
//! # Features
//!
//! No feature changes a decision.
//!
//! | feature | brings | on by default |
//! | --- | --- | --- |
//! | `metrics` | Prometheus metrics of every router | yes |
//! | `tracing` | traces and logs, once `TracingSystem::init` is called | yes |
//! | `axum` | the handlers of `/metrics` and `/readyz` for programs that use `axum`; and `metrics` | no |
//! | `http` | a small server of `/metrics`, `/healthz` and `/readyz` for programs without a web framework; and `axum` | no |
//! | `otlp` | the export of metrics over OTLP, `otlp::source`; and `metrics` and `tracing` | no |
//! | `gzip` | compressed exports, `TracingConfig::otlp_gzip`; and `tracing` | no |
//! | `tls` | collectors at `https://` addresses, through rustls; and `tracing` | no |
//! | `parallel` | requests of very many candidates are prepared in the current rayon pool | no |
//! | `serde` | `Serialize` and `Deserialize` for the data types, and for every configuration | no |
//!
//! # What is global
//!
//! [`Router::new`] registers the metric families in prometheus' default registry, and `TracingSystem::init` installs a
//! subscriber and a propagator. Nothing else is global. [`Router::builder`] makes a router without globals, with a registry
//! of your own and a tracing system that is not installed.
//!
//! # Names
//!
//! The types that most programs need are at the root of this crate, and `use tiny_dancer::*` imports no name that hides
//! another crate. Everything else is in [`parts`].

mod router;

pub use router::{BuildError, Router, RouterBuilder, Scope};
pub use tiny_dancer_core::{
    Candidate, CandidateSet, Circuit, CircuitBreakerConfig, CircuitState, Clock, ConfigError, ErrorKind,
    Feature, LoadError, ManualClock, Metadata, Model, ModelType, Observer, OnOpen, Origin, Outcome,
    OutcomeResult, QualityBudget, Query, Reason, RiskBudget, RouteError, RouterConfig, RoutingDecision,
    RoutingRequest, RoutingResponse, Thresholds, UnknownName, observer,
};
#[cfg(feature = "otlp")]
pub use tiny_dancer_metrics::otlp;
#[cfg(feature = "metrics")]
pub use tiny_dancer_metrics::{
    ExportError, MetricsCollector, MetricsConfig, Prices, ProcessCollector, RegisterError,
};
#[cfg(feature = "http")]
pub use tiny_dancer_metrics::{MetricsServer, ServeError, ServerConfig};
#[cfg(feature = "tracing")]
pub use tiny_dancer_tracing::{
    InitError, LogFormat, RoutingSpan, TraceContext, TracingConfig, TracingObserver, TracingSystem,
};

/// The crates that this one consists of.
///
/// They are one level down because other crates have the names `core` and `tracing`, too.
///
/// ```
/// use tiny_dancer::parts::core;
///
/// // A router without observers has no telemetry.
/// let router = core::Router::new(core::RouterConfig::default())?;
/// # Ok::<(), core::ConfigError>(())
/// ```
pub mod parts {
    pub use tiny_dancer_core as core;
    #[cfg(feature = "metrics")]
    pub use tiny_dancer_metrics as metrics;
    #[cfg(feature = "tracing")]
    pub use tiny_dancer_tracing as tracing;
}

/// Runs the README's code.
#[cfg(all(doctest, feature = "axum", feature = "tracing"))]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// Runs the code of the operator's guide.
#[cfg(all(doctest, feature = "http", feature = "otlp", feature = "serde"))]
#[doc = include_str!("../../../docs/OBSERVABILITY.md")]
struct Observability;
