//! The observer interface: an [`Observer`] is notified of what the router does.
//!
//! Dispatch is static, contexts are on the router's stack, and events are borrowed. So an observer costs only what it
//! uses, and `()`, which uses nothing, costs nothing.
//!
//! # The contract
//!
//! For each request, in this order and on the thread that routes:
//!
//! ```text
//! on_request_start
//! detail                                      once; it selects the calls below
//!     is_enabled                              for each stage and each step
//!     on_stage_start .. on_stage_end          for those that are enabled: nested, with an end for each start
//! span                                        once, if the detail includes the next call
//! on_decision  or  on_error                   exactly one
//! on_request_end
//! ```
//!
//! - After [`Detail::Off`] no call follows for this request: its context is dropped. The same holds for
//!   [`Detail::Unsuccessful`] if the request is a success.
//! - The router calls [`is_enabled`](Observer::is_enabled) only for events that the detail includes, and more than once
//!   for some stages. The result must be the same throughout a request. Each enabled stage begins.
//! - The [`SpanIds`] that [`span`](Observer::span) returns are in the decision or error and in the end, for all members of
//!   a tuple.
//! - Only enabled stages are timed. The time of a stage that is not enabled counts to the next enabled stage.
//! - A [`Scope`](crate::Scope) is a request whose stages `embedding` and `memory_search` come first, in any order and any
//!   number, each with calls of `is_enabled` of its own. They are timed by themselves. The router's four stages follow when
//!   the scope is routed. A scope that is dropped before that ends with an error of the kind `abandoned`.
//! - Each request of a batch runs within a guard of its [`BatchContext`], which is dropped before the batch returns.
//! - The router holds no lock during a callback.
//! - If the router unwinds, or the thread of a scope, the contexts are dropped and no more calls follow. Cleanup therefore belongs in a `Drop`.
//! - [`on_outcome`](Observer::on_outcome), [`on_promise_broken`](Observer::on_promise_broken),
//!   [`on_breaker_transition`](Observer::on_breaker_transition), [`on_model_reload`](Observer::on_model_reload),
//!   [`on_budget`](Observer::on_budget) and [`on_memory`](Observer::on_memory) are called at every detail, within a request or outside, on any thread.
//! - A memory is beside the router: its owner passes its events on, by [`Router::on_memory`](crate::Router::on_memory).
//!
//! `ContractChecker`, in the module `testing` behind the feature of that name, wraps an observer. It panics where the
//! router or a tuple breaks this contract, or where the observer's results contradict each other.
//!
//! Observers compose: a tuple of two to four observers is an observer. The router works at the most detailed level of its
//! members, and each member receives only the events of its own level. `Option<O>` is chosen at run time, and `Arc<O>` is
//! shared.
//!
//! ```
//! use std::sync::atomic::{AtomicU64, Ordering};
//! use tiny_dancer_core::observer::{Decided, Detail, Observer, RequestStart};
//! use tiny_dancer_core::{Router, RouterConfig, RoutingRequest};
//!
//! /// Counts requests that go to the powerful model.
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

pub use crate::budget::BudgetChange;
pub use batch::BatchContext;
pub use event::{
    BatchStart, BreakerTransition, BudgetEvent, CandidateStep, Decided, Detail, Failed, MemoryChange,
    MemoryErrorKind, MemoryEvent, MemoryState, ModelReload, Operation, OutcomeReported, PromiseBroken,
    RequestEnd, RequestStart, SpanIds, Stage, StageEnd, StageErrorKind, StageReport, StageStart, Status,
    VerdictKind,
};

/// Receives the events of a router. See the [module](self) for the contract.
pub trait Observer: Send + Sync + 'static {
    /// Lives from a request's start to its end.
    type Request: 'static;
    /// Lives from a stage's start to its end. The provided [`on_stage_start`](Self::on_stage_start) returns its default.
    type Stage: Default + 'static;
    /// Lives as long as a batch, and is entered for each of its requests, on the thread that routes it.
    type Batch: BatchContext;

    /// A batch of requests came in, which may be routed on other threads.
    ///
    /// An observer with a context per thread captures it here. [`BatchContext::enter`] restores it around each request,
    /// so that each request has the parent of the batch.
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

    /// How much of this request the observer receives. Called once, right after the request's start.
    #[inline]
    fn detail(&self, request: &Self::Request) -> Detail {
        let _ = request;
        Detail::Stages
    }

    /// The request's span, if the observer records one. Called once, right before the decision or the error. A tuple returns
    /// the first span of its members.
    ///
    /// The ids are in the following events of the request, so that another observer can refer to the span.
    #[inline]
    fn span(&self, request: &Self::Request) -> Option<SpanIds> {
        let _ = request;
        None
    }

    /// Whether the observer receives a stage, or one candidate's step. Called only where its [`detail`](Self::detail)
    /// includes such events. The result must be the same throughout a request.
    ///
    /// Disabled events save time: reading the clock takes as long as some stages, and the cell reads consecutive
    /// candidates whose steps are not enabled in one call.
    #[inline]
    fn is_enabled(&self, request: &Self::Request, event: &StageStart<'_>) -> bool {
        let _ = (request, event);
        true
    }

    /// A stage, or one candidate's step, ended, with or without an error.
    #[inline]
    fn on_stage_end(&self, request: &mut Self::Request, stage: Self::Stage, event: &StageEnd) {
        let _ = (request, stage, event);
    }

    /// The request is decided.
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

    /// The caller reported the outcome of a call to a model.
    #[inline]
    fn on_outcome(&self, event: &OutcomeReported) {
        let _ = event;
    }

    /// Outcomes refuted the promised risk. Called once, until a reset or a new promise.
    #[inline]
    fn on_promise_broken(&self, event: &PromiseBroken) {
        let _ = event;
    }

    /// A circuit changed its state.
    #[inline]
    fn on_breaker_transition(&self, event: &BreakerTransition) {
        let _ = event;
    }

    /// The router has its first model, has loaded another one, or failed to load one.
    #[inline]
    fn on_model_reload(&self, event: &ModelReload<'_>) {
        let _ = event;
    }

    /// The quality budget has changed, or was found spent. Each event has the state; there is none for each admission.
    #[inline]
    fn on_budget(&self, event: &BudgetEvent<'_>) {
        let _ = event;
    }

    /// A memory has changed. Its threads call this, such as the one that writes to the store.
    #[inline]
    fn on_memory(&self, event: &MemoryEvent) {
        let _ = event;
    }
}
