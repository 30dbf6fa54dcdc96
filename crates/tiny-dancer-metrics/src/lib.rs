//! Prometheus metrics for the Tiny Dancer router.
//!
//! [`MetricsCollector`] is an observer. A router that has one counts every request, outcome, transition of a circuit and
//! reload of a model. Serve the text of [`export_metrics`](MetricsCollector::export_metrics) under `/metrics`. A program
//! that serves a registry already registers the collector there instead: [`MetricsCollector::with_registry`].
//!
//! ```toml
//! [dependencies] # Rust 1.95 or later, and a clone of the repository beside your project
//! tiny-dancer-core = { path = "../tiny-dancer/crates/tiny-dancer-core" }
//! tiny-dancer-metrics = { path = "../tiny-dancer/crates/tiny-dancer-metrics" }
//! ```
//!
//! ```
//! use tiny_dancer_core::{
//!     Candidate, Clock, ModelType, Outcome, OutcomeResult, RiskBudget, Router, RouterConfig, RoutingRequest,
//! };
//! use tiny_dancer_metrics::MetricsCollector;
//!
//! // The promise: at most 15% of the lightweight model's answers are insufficient, with 95% confidence.
//! let risk = Some(RiskBudget { alpha: 0.15, delta: 0.05 });
//! let metrics = MetricsCollector::new()?;
//! let router = Router::with_observer(RouterConfig { risk, ..Default::default() }, metrics.clone())?;
//!
//! // Twelve past requests like the query: the lightweight model was never worse, and better in half of them.
//! let candidates = [Candidate {
//!     id: "password resets".into(),
//!     embedding: vec![0.6, 0.8],
//!     created_at: Clock::system().unix_seconds(),
//!     access_count: 12,
//!     success_rate: 1.0,
//!     win_rate: 0.5,
//!     ..Default::default()
//! }];
//! let response = router.route(RoutingRequest::new(&[0.7, 0.7], &candidates))?;
//! assert_eq!(response.model, ModelType::Lightweight);
//! router.record_outcome(Outcome::new(response.model, OutcomeResult::Sufficed));
//!
//! // Without candidates there is no evidence, and the powerful model is the fallback.
//! router.route(RoutingRequest::new(&[0.7, 0.7], &[]))?;
//!
//! let text = metrics.export_metrics()?;
//! for series in [
//!     r#"tiny_dancer_routing_requests_total{status="success"} 1"#,
//!     r#"tiny_dancer_routing_requests_total{status="fallback"} 1"#,
//!     r#"tiny_dancer_routing_decisions_total{model_type="lightweight",reason="confident"} 1"#,
//!     r#"tiny_dancer_outcomes_total{model_type="lightweight",origin="routed",result="sufficed"} 1"#,
//!     "tiny_dancer_promised_alpha 0.15",
//! ] {
//!     assert!(text.contains(series), "{series}");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is counted
//!
//! [`CATALOGUE`](catalogue::CATALOGUE) has every family with its labels and buckets; `docs/metrics.md` is generated from it.
//! Every series is there from the first scrape on, at 0, so that a rate or an alert does not wait for the first event;
//! the document lists the few families that need a router, a promise, prices or a tracing system. The values of labels
//! are closed lists: a candidate, a query or a message never becomes a label.
//!
//! # What it costs
//!
//! Each thread counts into cells of its own, and a scrape adds up the cells of all threads. A request looks up its
//! thread's cells once. After that an increment is a load, an addition and a store, at any number of threads: there is no
//! lock, no allocation and no lookup of a label. When a thread ends, the next new thread counts on from its counts.
//! `docs/decisions/0034-what-an-observation-costs.md` has the reasons.
//!
//! # Several routers
//!
//! Routers that share families add up. Clones of one collector share them, and so do all collectors that
//! [`MetricsCollector::new`] makes. To distinguish routers, give each a constant label with
//! [`MetricsCollector::with_const_labels`]. A shared gauge shows the worst circuit, and the model that was loaded last.
//!
//! # Your own families and observers
//!
//! Register a family of your own in the same registry. Put an observer of your own into a tuple with the collector:
//!
//! ```
//! use tiny_dancer_core::observer::{Decided, Observer, RequestStart};
//! use tiny_dancer_core::{Router, RouterConfig, RoutingRequest};
//! use tiny_dancer_metrics::MetricsCollector;
//! use tiny_dancer_metrics::prometheus::{IntGauge, Registry};
//!
//! /// Shows how many dimensions the last query had.
//! struct Dimensions(IntGauge);
//!
//! impl Observer for Dimensions {
//!     type Request = ();
//!     type Stage = ();
//!     type Batch = ();
//!     fn on_request_start(&self, _: &RequestStart<'_>) {}
//!     fn on_decision(&self, (): &mut (), event: &Decided<'_>) {
//!         self.0.set(event.dimensions as i64);
//!     }
//! }
//!
//! let registry = Registry::new();
//! let dimensions = IntGauge::new("my_query_dimensions", "Dimensions of the last query.")?;
//! registry.register(Box::new(dimensions.clone()))?;
//! let metrics = MetricsCollector::with_registry(&registry)?;
//! let router = Router::with_observer(RouterConfig::default(), (metrics.clone(), Dimensions(dimensions)))?;
//!
//! router.route(RoutingRequest::new(&[0.8, 0.6], &[]))?;
//! let text = metrics.export_metrics()?;
//! assert!(text.contains("my_query_dimensions 2"));
//! assert!(text.contains(r#"tiny_dancer_routing_requests_total{status="fallback"} 1"#));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Serving
//!
//! With the feature `axum` there are handlers, `http::metrics` and `http::ready`. With the feature `http` there is also a server for programs
//! without a web framework, `MetricsServer::bind("127.0.0.1:9898")`. A handler in another framework answers with the text of
//! [`export_metrics`](MetricsCollector::export_metrics) as `text/plain; version=0.0.4`, and with 500 on an error.
//! [`ProcessCollector`] adds the memory, the processor time and the files of the process.
//!
//! # Features
//!
//! - `axum`: the handlers of `/metrics` and `/readyz` for programs that use `axum`.
//! - `http`: a small server of `/metrics`, `/healthz` and `/readyz`, and `axum`.
//! - `otlp`: the families as OTLP metrics, for a program that pushes them.
//! - `serde`: `Serialize` and `Deserialize` for the configurations.
//!
//! # What it lacks
//!
//! It has no connection of its own to a collector. `TracingSystem::push_metrics` of the crate `tiny-dancer-tracing` pushes
//! what `otlp::source` returns.

mod candidates;
pub mod catalogue;
mod collector;
mod config;
mod distribution;
mod error;
mod exemplars;
mod exports;
pub mod exposition;
mod families;
mod grid;
#[cfg(feature = "axum")]
pub mod http;
mod process;
mod routers;
mod shard;
mod slot;

pub use collector::{InFlight, MetricsCollector};
pub use config::{MetricsConfig, Prices};
pub use error::{ExportError, RegisterError};
pub use exports::Exports;
#[cfg(feature = "otlp")]
pub use exposition::otlp;
#[cfg(feature = "http")]
pub use http::{MetricsServer, ServeError, ServerConfig};
pub use process::ProcessCollector;
/// The version of the `prometheus` crate whose types this crate uses.
pub use prometheus;
