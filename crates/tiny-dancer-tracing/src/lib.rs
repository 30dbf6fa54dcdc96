//! OpenTelemetry traces and structured logs for the Tiny Dancer router.
//!
//! A [`TracingSystem`] sends spans to a collector and writes log lines; a [`TracingObserver`] makes both of what a
//! router does; a [`TraceContext`] carries a trace from one service to the next.
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
//!     // The caller's trace goes on here; it was sampled there, so it is recorded whatever the ratio.
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
//! Whether a request is recorded is decided once, before any span exists. An unsampled one makes no span and allocates
//! nothing; its errors are logged all the same. Spans leave through a bounded queue on a thread of their own: a
//! collector that is dead or slow never holds up a request, and what is lost is counted, see [`ShutdownReport`].
//!
//! # What is in it
//!
//! All spans, keys and log lines are listed in [`fields`], and in the repository's `docs/spans.md`. `RUST_LOG` filters
//! log lines, never spans. No embedding and no prompt is in either, and a candidate's
//! name only in `TRACE` lines, unless `redact_ids` keeps it out of those, too. Warnings and errors that every request
//! would repeat are written ten times in ten seconds; then they are counted.
//!
//! # What it lacks
//!
//! gRPC, which would need an async runtime; log lines over OTLP; records of the `log` crate, unless the program installs
//! `tracing_log`'s bridge itself.
//!
//! # Features
//!
//! - `gzip`: compressed exports, `otlp_gzip`.
//! - `serde`: `Serialize` and `Deserialize` for `TracingConfig`.
//! - `tls`: collectors at `https://` addresses, through rustls.

mod config;
mod context;
pub mod environment;
mod export;
pub mod fields;
mod jaeger;
mod log;
mod observer;
mod otlp;
mod repeats;
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
pub use export::{ShutdownReport, SpanCounts};
pub use log::TraceIds;
pub use observer::TracingObserver;
pub use span::RoutingSpan;
pub use system::TracingSystem;
