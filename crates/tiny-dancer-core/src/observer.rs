//! The observer seam: an [`Observer`] is notified of what the router does.
//!
//! Dispatch is static, contexts live on the router's stack, and events are borrowed, so that an observer pays for what it
//! uses and `()`, which uses nothing, costs nothing.
//!
//! # The contract
//!
//! For each request, in this order and on the thread that routes:
//!
//! ```text
//! on_request_start
//! detail                                      once; it decides what follows
//!     is_enabled                              of each stage, and of each step
//!     on_stage_start .. on_stage_end          of those that are enabled: properly nested, an end for each start
//! on_decision  or  on_error                   exactly one
//! on_request_end
//! ```
//!
//! - After [`Detail::Off`] nothing follows, not even the end: the request's context is dropped. Nor does anything follow
//!   [`Detail::Unsuccessful`] where the request is a success.
//! - The router calls [`is_enabled`](Observer::is_enabled) only for what the detail has, more than once for some stages, and
//!   expects the same answer throughout a request. A stage that is enabled begins.
//! - A stage is timed only where it is enabled: the time of another one counts to the next stage that is enabled.
//! - Each request of a batch runs within a guard of its [`BatchContext`], which is dropped before the batch returns.
//! - The router holds no lock in a callback.
//! - If the router unwinds, contexts are dropped and nothing is called: what must be undone belongs in a `Drop`.
//! - [`on_outcome`](Observer::on_outcome), [`on_promise_broken`](Observer::on_promise_broken),
//!   [`on_breaker_transition`](Observer::on_breaker_transition) and [`on_model_reload`](Observer::on_model_reload)
//!   always arrive, within a request or outside.
//!
//! `ContractChecker`, in the module `testing` behind the feature of that name, wraps an observer and panics where this is
//! broken, by the router or by a tuple, or where the observer's own answers contradict each other.
//!
//! Observers compose: a tuple of two to four is one. The router works at the most detailed level of its members, and each
//! member receives only what its own level has. `Option<O>` is chosen at run time, `Arc<O>` is shared.
//!
//! ```
//! use std::sync::atomic::{AtomicU64, Ordering};
//! use tiny_dancer_core::observer::{Decided, Detail, Observer, RequestStart};
//! use tiny_dancer_core::{Router, RouterConfig, RoutingRequest};
//!
//! /// Counts answers that cost money.
//! #[derive(Default)]
//! struct Powerful(AtomicU64);
//!
//! impl Observer for Powerful {
//!     type Request = ();
//!     type Stage = ();
//!     type Batch = ();
//!     fn on_request_start(&self, _: &RequestStart<'_>) {}
//!     fn detail(&self, (): &()) -> Detail {
//!         Detail::Request
//!     }
//!     fn on_decision(&self, (): &mut (), event: &Decided<'_>) {
//!         if event.model == tiny_dancer_core::ModelType::Powerful {
//!             self.0.fetch_add(1, Ordering::Relaxed);
//!         }
//!     }
//! }
//!
//! let router = Router::with_observer(RouterConfig::default(), Powerful::default())?;
//! router.route(RoutingRequest::new(&[1.0, 0.0], &[]))?;
//! assert_eq!(router.observer().0.load(Ordering::Relaxed), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod compose;
mod event;

pub use batch::BatchContext;
pub use event::{
    BatchStart, BreakerTransition, CandidateStep, Decided, Detail, Failed, ModelReload, Operation,
    OutcomeReported, PromiseBroken, RequestEnd, RequestStart, Stage, StageEnd, StageStart, Status,
};

/// Is notified of what a router does. See the [module](self) for the contract.
pub trait Observer: Send + Sync + 'static {
    /// Lives from a request's start to its end.
    type Request: 'static;
    /// Lives from a stage's start to its end. Its default is what [`on_stage_start`](Self::on_stage_start) returns
    /// unless it is implemented.
    type Stage: Default + 'static;
    /// Lives as long as a batch, and is entered on each thread that routes one of its requests.
    type Batch: BatchContext;

    /// Several requests came in together, and may be routed on other threads.
    ///
    /// An observer that keeps a context by thread takes it here; [`BatchContext::enter`] restores it around each
    /// request, so that each request has the parent that the batch had.
    #[inline]
    fn on_batch_start(&self, event: &BatchStart) -> Self::Batch {
        let _ = event;
        Self::Batch::default()
    }

    /// A request came in.
    fn on_request_start(&self, event: &RequestStart<'_>) -> Self::Request;

    /// A stage, or one candidate's step within `model_inference`, begins.
    #[inline]
    fn on_stage_start(&self, request: &mut Self::Request, event: &StageStart<'_>) -> Self::Stage {
        let _ = (request, event);
        Self::Stage::default()
    }

    /// How much of this request it receives. Called once, right after its start.
    #[inline]
    fn detail(&self, request: &Self::Request) -> Detail {
        let _ = request;
        Detail::Stages
    }

    /// Whether it receives a stage, or one candidate's step. Called only where its [`detail`](Self::detail) has such at
    /// all. The answer must be the same throughout a request.
    ///
    /// Reading the clock takes as long as some stages do, and steps that are not enabled run in one go.
    #[inline]
    fn is_enabled(&self, request: &Self::Request, event: &StageStart<'_>) -> bool {
        let _ = (request, event);
        true
    }

    /// A stage, or one candidate's step, ended, well or not.
    #[inline]
    fn on_stage_end(&self, request: &mut Self::Request, stage: Self::Stage, event: &StageEnd) {
        let _ = (request, stage, event);
    }

    /// The request was decided.
    #[inline]
    fn on_decision(&self, request: &mut Self::Request, event: &Decided<'_>) {
        let _ = (request, event);
    }

    /// The request failed.
    #[inline]
    fn on_error(&self, request: &mut Self::Request, event: &Failed<'_>) {
        let _ = (request, event);
    }

    /// The request is over.
    #[inline]
    fn on_request_end(&self, request: Self::Request, event: &RequestEnd) {
        let _ = (request, event);
    }

    /// The caller reported how the chosen model did.
    #[inline]
    fn on_outcome(&self, event: &OutcomeReported) {
        let _ = event;
    }

    /// Outcomes refuted the promised risk: once, until a reset or a new promise.
    #[inline]
    fn on_promise_broken(&self, event: &PromiseBroken) {
        let _ = event;
    }

    /// A circuit changed its state.
    #[inline]
    fn on_breaker_transition(&self, event: &BreakerTransition) {
        let _ = event;
    }

    /// The router got its first model, or another one, or failed to.
    #[inline]
    fn on_model_reload(&self, event: &ModelReload<'_>) {
        let _ = event;
    }
}
