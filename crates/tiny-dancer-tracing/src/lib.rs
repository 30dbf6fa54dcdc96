//! OpenTelemetry traces and structured logs for the Tiny Dancer router.
//!
//! A [`TracingSystem`] exports spans to a collector and writes log lines. A [`TracingObserver`] creates both
//! from a router's events. A [`TraceContext`] carries a trace from one service to the next.
//!
//! ```
//! use tiny_dancer_core::{Router, RouterConfig, RoutingRequest};
//! use tiny_dancer_tracing::{TraceContext, TracingConfig, TracingObserver, TracingSystem};
//!
//! let system = TracingSystem::new(TracingConfig {
//!     service_name: "my-service".to_string(),
//!     // A collector on this machine: otlp_endpoint: Some("http://localhost:4318".to_string()),
//!     sampling_ratio: 0.1,
//!     ..Default::default()
//! });
//! system.init()?;
//!
//! let router = Router::with_observer(RouterConfig::default(), TracingObserver::global())?;
//! let headers = [("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")];
//! {
//!     // The request joins the caller's trace. The caller sampled it, so it is recorded at any ratio.
//!     let _parent = TraceContext::from_headers(headers).ok().map(|caller| caller.attach());
//!     router.route(RoutingRequest::new(&[0.6, 0.8], &[]))?;
//! }
//!
//! let report = system.shutdown();
//! assert_eq!(report.lost(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it costs
//!
//! A request is sampled once, before any span exists. An unsampled request opens no span and allocates
//! nothing; its errors are still logged. A thread of its own exports spans from a bounded queue, so a dead or
//! slow collector never delays a request. Lost spans are counted, see [`ShutdownReport`].
//!
//! # What it records
//!
//! [`fields`] and the repository's `docs/spans.md` list all spans, keys and log lines. `RUST_LOG` filters log
//! lines, never spans. Spans and log lines contain no embeddings and no prompts. A candidate's name appears
//! only in `TRACE` lines; `redact_ids` removes it there too. A warning or error that every request would
//! repeat is written ten times in ten seconds; further ones are only counted.
//!
//! # What it lacks
//!
//! gRPC, which would need an async runtime; delta temporality of metrics; records of the `log` crate, unless the program installs
//! `tracing_log`'s bridge itself.
//!
//! # Features
//!
//! - `gzip`: compressed exports, `otlp_gzip`.
//! - `serde`: `Serialize` and `Deserialize` for `TracingConfig`.
//! - `tls`: collectors at `https://` addresses, through rustls.

mod checked;
mod config;
mod context;
mod deadline;
pub mod environment;
mod export;
pub mod fields;
mod jaeger;
mod ledger;
mod log;
mod observer;
mod otlp;
mod push;
mod repeats;
mod reports;
mod resource;
pub mod rows;
mod sampler;
mod scope;
mod span;
mod stages;
mod system;
#[cfg(test)]
mod testing;

pub use config::{EndpointFault, InitError, LogFormat, TracingConfig};
pub use context::{Guard, TraceContext, TraceContextError, TraceStateError};
pub use export::ShutdownReport;
pub use ledger::ExportCounts;
pub use log::TraceIds;
pub use observer::TracingObserver;
pub use span::RoutingSpan;
pub use system::TracingSystem;
