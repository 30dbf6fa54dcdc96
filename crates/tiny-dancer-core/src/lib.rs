//! Decides in about a microsecond whether a lightweight language model suffices for a request.
//!
//! A request has a query embedding and a few [`Candidate`]s, such as past requests whose success is known. The router
//! computes five features of each candidate ([`features`]). A small recurrent cell reads them and gives a confidence
//! ([`fastgrnn`]). Conformal prediction gives the uncertainty of that confidence ([`conformal`]). The answer is a model,
//! a confidence, an uncertainty and a reason. Thresholds can be set by hand, or resolved from a stated risk
//! ([`promise`]), and a quality budget bounds the worse answers for any traffic ([`budget`]). A [`Scope`] is a request that first embeds a text and searches a memory. A circuit breaker opens when inference or the lightweight model keeps failing ([`breaker`]). An
//! [`observer`] is notified of each event; this crate has no telemetry of its own. At the rates [`RouterConfig::explore`] and
//! [`RouterConfig::shadow_rate`] the router draws requests from which a memory learns.
//!
//! ```
//! use std::time::{SystemTime, UNIX_EPOCH};
//! use tiny_dancer_core::{
//!     Candidate, ModelType, Outcome, OutcomeResult, Reason, RiskBudget, Router, RouterConfig, RoutingRequest,
//! };
//!
//! // The promise: at most 15% of what the lightweight model answers is insufficient, with 95% confidence.
//! let risk = Some(RiskBudget { alpha: 0.15, delta: 0.05 });
//! let router = Router::new(RouterConfig { risk, ..Default::default() })?;
//!
//! // The nearest past requests, from a vector store.
//! let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() as i64;
//! let candidates = [Candidate {
//!     id: "yesterday's question".into(),
//!     embedding: vec![0.7, 0.7, 0.1],
//!     created_at: now - 86_400,
//!     access_count: 1,
//!     success_rate: 1.0, // the lightweight answer was no worse than the powerful one
//!     win_rate: 1.0,     // it was better
//!     ..Default::default()
//! }];
//! let query = [0.6, 0.8, 0.0];
//! let response = router.route(RoutingRequest::new(&query, &candidates))?;
//! assert_eq!((response.model, response.reason), (ModelType::Lightweight, Reason::Confident));
//!
//! // After the answer, report how it was. The circuit and the test of the promise depend on it.
//! router.record_outcome(Outcome::new(response.model, OutcomeResult::Sufficed));
//!
//! // A request without candidates is valid: it goes to the powerful model.
//! let response = router.route(RoutingRequest::new(&query, &[]))?;
//! assert_eq!((response.model, response.reason), (ModelType::Powerful, Reason::NoEvidence));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In `Cargo.toml`, with Rust 1.95 or later: `tiny-dancer-core = { path = "../tiny-dancer/crates/tiny-dancer-core" }`.
//!
//! The same machine, request, `now` and model give the same bits on any number of threads, and in any order of the
//! candidates. Draws are the exception: [`RouterConfig::explore`] replaces some decisions at random, and a request's number
//! depends on the order in which requests come in ([`coin`]).
//!
//! A candidate's [`success_rate`](Candidate::success_rate) is how often the lightweight model's answer was no worse than
//! the powerful one's, or good enough. Its [`win_rate`](Candidate::win_rate) is how often it was better, 0 where that is
//! unknown. Each model file states how it combines the two rates: [`model::Ties`].
//!
//! # Features
//!
//! - `parallel`: requests of very many candidates, large sets and batches are split over the current rayon pool. The
//!   answers are the same.
//! - `serde`: `Serialize` and `Deserialize` for the data types and the configuration.
//! - `testing`: a contract checker and example models for tests of observers.

mod activation;
pub mod breaker;
pub mod budget;
mod clock;
pub mod coin;
mod config;
pub mod conformal;
mod error;
pub mod fastgrnn;
pub mod features;
mod kernel;
pub mod model;
mod names;
pub mod observer;
mod order;
pub mod promise;
pub mod replay;
mod request;
mod response;
mod router;
mod set;
mod similarity;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use breaker::{Circuit, CircuitBreakerConfig, CircuitState, OnOpen};
pub use budget::QualityBudget;
pub use clock::{Clock, ManualClock, Tick};
pub use config::{ConfigError, RouterConfig};
pub use error::{ErrorKind, RouteError};
pub use features::Feature;
pub use kernel::Kernel;
pub use model::{LoadError, Model};
pub use names::UnknownName;
pub use observer::Observer;
pub use promise::RiskBudget;
pub use request::{Candidate, Metadata, Query, RoutingRequest};
pub use response::{
    ModelType, Origin, Outcome, OutcomeResult, Reason, RoutingDecision, RoutingResponse, Thresholds,
};
pub use router::{Router, Scope};
pub use set::CandidateSet;
