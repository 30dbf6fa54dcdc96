//! Decides in about a microsecond whether a lightweight language model suffices for a request, and lets you see why.
//!
//! This is the facade: one [`Router`] that carries the observers which its cargo features choose, and everything you
//! need to use it. `metrics` and `tracing` are on by default. Without them the router is the same, decides the same,
//! and notifies no observer of ours.
//!
//! # Metrics
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let candidates = [tiny_dancer::Candidate { embedding: vec![0.6, 0.8], success_rate: 0.9, ..Default::default() }];
//! # let request = tiny_dancer::RoutingRequest::new(&[1.0, 0.0], &candidates);
//! use tiny_dancer::{Router, RouterConfig};
//! let router = Router::new(RouterConfig::default())?;   // metrics automatically enabled
//! let response = router.route(request)?;                // automatic instrumentation
//! # #[cfg(feature = "metrics")] {
//! let metrics = router.export_metrics()?;
//! # assert!(metrics.contains("tiny_dancer_routing_requests_total{status=\"success\"} 1"));
//! # }
//! # assert_eq!(response.decisions.len(), 1);
//! # Ok(()) }
//! ```
//!
//! # Traces and logs
//!
//! ```standalone_crate
//! # #[cfg(feature = "tracing")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let candidates = [tiny_dancer::Candidate { embedding: vec![0.6, 0.8], success_rate: 0.9, ..Default::default() }];
//! # let request = tiny_dancer::RoutingRequest::new(&[1.0, 0.0], &candidates);
//! # let router = tiny_dancer::Router::new(tiny_dancer::RouterConfig::default())?;
//! use tiny_dancer::{TracingConfig, TracingSystem};
//! let config = TracingConfig { service_name: "my-service".to_string(), otlp_endpoint: Some("http://localhost:4318".to_string()), ..Default::default() };
//! let tracing_system = TracingSystem::new(config);
//! tracing_system.init()?;
//! let response = router.route(request)?;                // tracing automatic
//! tracing_system.shutdown();
//! # Ok(()) }
//! # #[cfg(not(feature = "tracing"))]
//! # fn main() {}
//! ```
//!
//! # Features
//!
//! None of them changes what is decided.
//!
//! | feature | brings | on by default |
//! | --- | --- | --- |
//! | `metrics` | Prometheus metrics of every router | yes |
//! | `tracing` | traces and logs, once `TracingSystem::init` was called | yes |
//! | `axum` | the handler of `/metrics` for programs that use `axum`; and `metrics` | no |
//! | `http` | a small server of `/metrics` for programs that have none; and `axum` | no |
//! | `gzip` | compressed exports of traces, `TracingConfig::otlp_gzip`; and `tracing` | no |
//! | `tls` | collectors of traces at `https://` addresses, through rustls; and `tracing` | no |
//! | `parallel` | requests of very many candidates are prepared in the current rayon pool | no |
//! | `serde` | `Serialize` and `Deserialize` for the data types, and for every configuration | no |
//!
//! # What is global
//!
//! [`Router::new`] registers the metric families in prometheus' default registry; `TracingSystem::init` installs a
//! subscriber and a propagator. Nothing else is. A router without globals is given its registry, and the observer of a
//! tracing system that was not installed; [`Router::builder`] shows both.
//!
//! # Names
//!
//! What most programs need lies flat in this crate, and `use tiny_dancer::*` brings no name that hides another crate's.
//! All the rest is in [`parts`].

mod router;

pub use router::{BuildError, Router, RouterBuilder};
pub use tiny_dancer_core::{
    Candidate, CandidateSet, Circuit, CircuitBreakerConfig, CircuitState, Clock, ConfigError, ErrorKind,
    Feature, LoadError, ManualClock, Metadata, Model, ModelType, Observer, OnOpen, Outcome, OutcomeResult,
    Query, Reason, RiskBudget, RouteError, RouterConfig, RoutingDecision, RoutingRequest, RoutingResponse,
    Thresholds, UnknownName, observer,
};
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

/// The crates that this one is made of.
///
/// They are one level down because their short names are those of other crates: `core` and `tracing`.
///
/// ```
/// use tiny_dancer::parts::core;
///
/// // A router without observers, and so without telemetry.
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

/// The README's code runs.
#[cfg(all(doctest, feature = "axum", feature = "tracing"))]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// ... and the operator's guide's.
#[cfg(all(doctest, feature = "http", feature = "serde", feature = "tracing"))]
#[doc = include_str!("../../../docs/OBSERVABILITY.md")]
struct Observability;

/// ... and that of the page on logs.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/bring-your-own-logs.md")]
struct BringYourOwnLogs;
