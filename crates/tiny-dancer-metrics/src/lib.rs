//! Prometheus metrics for the Tiny Dancer router.
//!
//! [`MetricsCollector`] is an observer: give it to a router, and every request, outcome, transition of a circuit and
//! reload of a model is counted. Serve the text that [`export_metrics`](MetricsCollector::export_metrics) returns under
//! `/metrics`; or, if you serve a registry of yours already, register there and change nothing else.
//!
//! ```
//! use tiny_dancer_core::{Candidate, Router, RouterConfig, RoutingRequest};
//! use tiny_dancer_metrics::MetricsCollector;
//!
//! let metrics = MetricsCollector::new()?;
//! let router = Router::with_observer(RouterConfig::default(), metrics.clone())?;
//!
//! let remembered = [Candidate { embedding: vec![0.6, 0.8], success_rate: 1.0, ..Default::default() }];
//! router.route(RoutingRequest::new(&[0.8, 0.6], &remembered))?;
//! router.route(RoutingRequest::new(&[0.8, 0.6], &[]))?;
//!
//! let text = metrics.export_metrics()?;
//! assert!(text.contains(r#"tiny_dancer_routing_requests_total{status="success"} 1"#));
//! assert!(text.contains(r#"tiny_dancer_routing_requests_total{status="fallback"} 1"#));
//! assert!(text.contains(r#"tiny_dancer_candidates_processed_total{batch_size_range="1-10"} 1"#));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is counted
//!
//! [`CATALOGUE`](catalogue::CATALOGUE) has every family with its labels and buckets; `docs/metrics.md` is made from it.
//! All closed series are there from the first scrape on, at 0, so that a rate or an alert never waits for the first
//! event. Labels are closed: no candidate, no query and no message ever becomes one.
//!
//! # What it costs
//!
//! Every thread counts into memory of its own, which a scrape adds up. A request looks its thread's memory up once;
//! after that an increment is a load, an addition and a store, whatever other threads do. Nothing on that path
//! locks, allocates or looks up a label. A thread that ends leaves its counts to the next one that begins.
//! `docs/decisions/0034-what-an-observation-costs.md` says what else was tried.
//!
//! # Several routers
//!
//! Routers add up where they share families: by clones of one collector, or by [`MetricsCollector::new`], which always
//! means the same families. To tell routers apart, give each a constant label with
//! [`MetricsCollector::with_const_labels`]. A gauge that is shared shows the worst circuit, and the model that was
//! loaded last.
//!
//! # Yours beside ours
//!
//! A family of your own goes into the same registry, and an observer of your own into a tuple with ours:
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
//!     fn on_request_start(&self, event: &RequestStart<'_>) {
//!         self.0.set(event.dimensions as i64);
//!     }
//! }
//!
//! let registry = Registry::new();
//! let mine = IntGauge::new("my_query_dimensions", "Dimensions of the last query.")?;
//! registry.register(Box::new(mine.clone()))?;
//! let metrics = MetricsCollector::with_registry(&registry)?;
//! let router = Router::with_observer(RouterConfig::default(), (metrics.clone(), Dimensions(mine)))?;
//!
//! router.route(RoutingRequest::new(&[0.8, 0.6], &[]))?;
//! let text = metrics.export_metrics()?;
//! assert!(text.contains("my_query_dimensions 2"));
//! assert!(text.contains(r#"tiny_dancer_routing_requests_total{status="fallback"} 1"#));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Serving it
//!
//! With the feature `axum` there is a handler, `http::metrics`; with the feature `http` also a server for programs that have no
//! web framework, `MetricsServer::bind("127.0.0.1:9898")`. Another framework's handler answers with the text that
//! [`export_metrics`](MetricsCollector::export_metrics) returns, as `text/plain; version=0.0.4`, and with 500 where that is an
//! error. [`ProcessCollector`] adds the memory, the time and the files of the process.
//!
//! # Features
//!
//! - `axum`: the handler of `/metrics` for programs that use `axum`.
//! - `http`: a small server of `/metrics`; and `axum`.
//! - `serde`: `Serialize` and `Deserialize` for the configurations.
//!
//! # What it lacks
//!
//! No push: Prometheus scrapes. Only the text format 0.0.4: OpenMetrics would add nothing that these families have.

mod candidates;
pub mod catalogue;
mod collector;
mod config;
mod distribution;
mod error;
mod families;
mod grid;
#[cfg(feature = "axum")]
pub mod http;
mod process;
mod promises;
mod shard;
mod slot;
mod spans;

pub use collector::{InFlight, MetricsCollector};
pub use config::{MetricsConfig, Prices};
pub use error::{ExportError, RegisterError};
#[cfg(feature = "http")]
pub use http::{MetricsServer, ServeError, ServerConfig};
pub use process::ProcessCollector;
/// The `prometheus` crate that the types above are of.
pub use prometheus;
pub use spans::Spans;
