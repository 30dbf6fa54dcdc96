//! Decides in about a microsecond whether a lightweight language model suffices for a request.
//!
//! A request brings a query embedding and a handful of remembered [`Candidate`]s. The router turns each candidate into
//! five numbers ([`features`]), reads them with a small recurrent cell ([`fastgrnn`]), says how much its confidence is
//! worth ([`conformal`]), and answers with a model, a confidence, an uncertainty and a reason. A stated risk can take
//! the place of guessed thresholds ([`promise`]), circuits guard it ([`breaker`]), and [`observer`]s are notified of what
//! it does; this crate has no telemetry of its own.
//!
//! ```
//! use tiny_dancer_core::{Candidate, ModelType, Reason, Router, RouterConfig, RoutingRequest};
//!
//! let router = Router::new(RouterConfig::default())?;
//! let remembered = [Candidate {
//!     id: "yesterday's question".into(),
//!     embedding: vec![0.6, 0.8, 0.0],
//!     success_rate: 1.0,
//!     access_count: 1,
//!     ..Default::default()
//! }];
//! let response = router.route(RoutingRequest::new(&[0.0, 0.8, 0.6], &remembered))?;
//! println!("{} because {}", response.model.name(), response.reason.name());
//!
//! // Nothing remembered is no error, but nothing to go by either.
//! let response = router.route(RoutingRequest::new(&[0.0, 0.8, 0.6], &[]))?;
//! assert_eq!((response.model, response.reason), (ModelType::Powerful, Reason::NoEvidence));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The same machine, request, `now` and model give the same bits on any number of threads, and in any order of the
//! candidates.
//!
//! A candidate's [`success_rate`](Candidate::success_rate) says how often the lightweight model's answer was no worse, or good
//! enough, its [`win_rate`](Candidate::win_rate) how often it was better, 0 where that is unknown. Which of them counts for a
//! model is the model's own affair: [`model::Ties`].
//!
//! # Features
//!
//! - `parallel`: requests of very many candidates, large sets and batches are worked on in the current rayon pool. The
//!   answers are the same.
//! - `serde`: `Serialize` and `Deserialize` for the data types and the configuration.
//! - `testing`: what tests of observers need.

mod activation;
pub mod breaker;
mod clock;
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
pub use response::{ModelType, Outcome, OutcomeResult, Reason, RoutingDecision, RoutingResponse, Thresholds};
pub use router::Router;
pub use set::CandidateSet;
