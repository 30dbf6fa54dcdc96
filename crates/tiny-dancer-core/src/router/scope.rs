//! Scopes: a request that begins before its query and its candidates are known.

use super::observed::Observed;
use super::{Decider, Router, Serving, Source};
use crate::observer::{Observer, Operation, Stage, StageReport};
use crate::{Candidate, CandidateSet, Query, RouteError, RoutingRequest, RoutingResponse, Thresholds};
use std::marker::PhantomData;
use std::sync::Arc;

/// A request that has begun and is not yet routed: [`Router::begin`] opens it.
///
/// The query's embedding and the search for candidates run inside it, as stages. Observers receive these with the four
/// stages of the router: under one start, one sampling decision, one root span and one duration. A scope stays on its
/// thread, and finishes with the model with which it began.
///
/// A scope that is dropped before it is routed ends with [`RouteError::Abandoned`] for observers. If the thread unwinds,
/// the scope's contexts are dropped and no observer is called.
#[must_use = "a scope that is dropped before it is routed counts as a failed request"]
pub struct Scope<'a, O: Observer = ()> {
    router: &'a Router<O>,
    serving: Arc<Serving>,
    thresholds: Thresholds,
    passes_admission: bool,
    /// `None` after the end, and after a panic in a stage.
    observed: Option<Observed<'a, O>>,
    /// Observers are called on one thread, so the scope is neither `Send` nor `Sync`.
    _thread: PhantomData<*const ()>,
}

impl<O: Observer> Router<O> {
    /// Begins a request whose query and candidates are found inside it.
    ///
    /// ```
    /// use tiny_dancer_core::observer::StageErrorKind;
    /// use tiny_dancer_core::{Candidate, Reason, Router, RouterConfig, RoutingRequest};
    ///
    /// # fn embed(text: &str) -> Option<Vec<f32>> {
    /// #     (!text.is_empty()).then(|| vec![0.6, 0.8])
    /// # }
    /// # fn search(query: &[f32]) -> Vec<Candidate> {
    /// #     vec![Candidate { embedding: query.to_vec(), success_rate: 1.0, ..Default::default() }]
    /// # }
    /// let router = Router::new(RouterConfig::default())?;
    /// let route = |text: &str| {
    ///     let mut scope = router.begin();
    ///     let query = scope.embedding(|report| {
    ///         report.items = text.split_whitespace().count();
    ///         let query = embed(text);
    ///         report.error = query.is_none().then_some(StageErrorKind::NoTokens);
    ///         query
    ///     });
    ///     // Without a query there is no evidence: the powerful model answers, and the request is counted.
    ///     let Some(query) = query else { return scope.route_without_evidence() };
    ///     let candidates = scope.memory_search(|report| {
    ///         let candidates = search(&query);
    ///         report.items = candidates.len();
    ///         candidates
    ///     });
    ///     scope.route(RoutingRequest::new(&query, &candidates))
    /// };
    /// assert_ne!(route("What is 6 times 7?")?.reason, Reason::NoEvidence);
    /// assert_eq!(route("")?.reason, Reason::NoEvidence);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn begin(&self) -> Scope<'_, O> {
        let serving = self.serving.load_full();
        let thresholds = self.decider(&serving).thresholds;
        let observed = Some(self.observe(Operation::Scope, &serving));
        Scope { router: self, serving, thresholds, passes_admission: true, observed, _thread: PhantomData }
    }
}

impl<'a, O: Observer> Scope<'a, O> {
    /// Runs the stage `embedding`: turns a text into the query's vector. Returns what `run` returns.
    ///
    /// `run` reports the number of tokens as [`items`](StageReport::items), and the kind of its error. If it panics, the
    /// request is over for observers, and a later call of this scope begins another one.
    pub fn embedding<T>(&mut self, run: impl FnOnce(&mut StageReport) -> T) -> T {
        self.stage(Stage::Embedding, run)
    }

    /// Runs the stage `memory_search`: finds the candidates of the query. Returns what `run` returns.
    ///
    /// `run` reports the number of candidates as [`items`](StageReport::items). The rest is as in
    /// [`embedding`](Self::embedding).
    pub fn memory_search<T>(&mut self, run: impl FnOnce(&mut StageReport) -> T) -> T {
        self.stage(Stage::MemorySearch, run)
    }

    /// Leaves the request out of the [quality budget](crate::RouterConfig::budget): it passes no admission, and moves no threshold.
    ///
    /// This is for requests that the powerful model answers in any case, for example while decisions are only observed. The response
    /// has no ticket, so a lightweight answer must not be delivered, and [`Router::answered`] must not count it.
    pub fn without_admission(&mut self) {
        self.passes_admission = false;
    }

    /// Ends the scope: routes a request.
    ///
    /// # Errors
    /// As [`Router::route`].
    pub fn route(self, request: RoutingRequest<'_>) -> Result<RoutingResponse, RouteError> {
        self.finish(&request.query, Source::Request(request.candidates))
    }

    /// Ends the scope: routes a query by the `top_k` nearest candidates of a set, as [`Router::route_set`]. The search is
    /// part of the stage `feature_engineering`.
    ///
    /// # Errors
    /// As [`Router::route`].
    pub fn route_set(
        self,
        query: Query<'_>,
        set: &CandidateSet,
        top_k: usize,
    ) -> Result<RoutingResponse, RouteError> {
        self.finish(&query, Source::Set(set, top_k))
    }

    /// Ends the scope: routes a query by candidates that stay where they are, such as in a memory. Nothing of them is copied.
    /// The answer has the same bits as that of [`route`](Self::route) with these candidates in this order.
    ///
    /// # Errors
    /// As [`Router::route`].
    pub fn route_nearest(
        self,
        query: Query<'_>,
        candidates: &[&Candidate],
    ) -> Result<RoutingResponse, RouteError> {
        self.finish(&query, Source::Nearest(candidates))
    }

    /// Ends the scope without a query, for example because the embedder is down: no evidence, so the powerful model.
    ///
    /// # Errors
    /// If a circuit is open, with `OnOpen::Reject`.
    pub fn route_without_evidence(self) -> Result<RoutingResponse, RouteError> {
        self.finish(&Query::default(), Source::Nothing)
    }

    /// The thresholds by which the request is decided: those with which the scope began.
    pub fn thresholds(&self) -> Thresholds {
        self.thresholds
    }

    /// The version of the model with which the scope began.
    pub fn model_version(&self) -> &str {
        self.serving.model.version()
    }

    /// Ends the scope with the error of a search that refuses the query, for example because its embedding has another
    /// dimension than those in a memory. Observers receive it as an error of the stage `memory_search`. Returns the error.
    pub fn fail(mut self, error: RouteError) -> RouteError {
        self.take_observed().search_failed(&error);
        error
    }

    fn stage<T>(&mut self, stage: Stage, run: impl FnOnce(&mut StageReport) -> T) -> T {
        // If `run` panics, the context is dropped here.
        let mut observed = self.take_observed();
        let result = observed.outer_stage(stage, run);
        self.observed = Some(observed);
        result
    }

    fn finish(mut self, query: &Query<'_>, source: Source<'_>) -> Result<RoutingResponse, RouteError> {
        let mut observed = self.take_observed();
        observed.resume();
        let mut response = RoutingResponse::default();
        let account = self.router.account().map(AsRef::as_ref).filter(|_| self.passes_admission);
        let decider = Decider { serving: &self.serving, thresholds: self.thresholds, account };
        self.router.answer_observed(observed, query, source, decider, &mut response)?;
        Ok(response)
    }

    /// The request in progress, or another one after a panic in a stage.
    fn take_observed(&mut self) -> Observed<'a, O> {
        self.observed.take().unwrap_or_else(|| self.router.observe(Operation::Scope, &self.serving))
    }
}

impl<O: Observer> std::fmt::Debug for Scope<'_, O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scope").field("model", &self.serving.model.version()).finish_non_exhaustive()
    }
}

impl<O: Observer> Drop for Scope<'_, O> {
    fn drop(&mut self) {
        if let Some(observed) = self.observed.take()
            && !std::thread::panicking()
        {
            observed.abandoned();
        }
    }
}

#[cfg(test)]
mod tests;
