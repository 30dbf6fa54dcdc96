//! The facade's scope: that of core, with the observers that cargo features select.

use super::{Metrics, Router, Tracing};
use tiny_dancer_core::observer::StageReport;
use tiny_dancer_core::{
    Candidate, CandidateSet, Observer, Query, RouteError, RoutingRequest, RoutingResponse, Thresholds,
};

/// A request that has begun and is not yet routed: [`Router::begin`] opens it.
///
/// The query's embedding and the search for candidates run inside it, as stages: below the span `routing_request`, and as
/// part of the request's duration. While it lives, its span is the current one, so that spans and calls of yours belong to its
/// trace. A scope stays on its thread, and finishes with the model with which it began.
///
/// A scope that is dropped before it is routed counts as a failure of the kind `abandoned`. If the thread unwinds, it is not
/// counted.
#[must_use = "a scope that is dropped before it is routed counts as a failed request"]
pub struct Scope<'a, O: Observer = ()>(tiny_dancer_core::Scope<'a, (Tracing, Metrics, O)>);

impl<O: Observer> Router<O> {
    /// Begins a request whose query and candidates are found inside it.
    ///
    /// ```
    /// use tiny_dancer::observer::StageErrorKind;
    /// use tiny_dancer::{Candidate, Reason, Router, RouterConfig, RoutingRequest};
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
    /// # #[cfg(feature = "metrics")] {
    /// let text = router.export_metrics()?;
    /// assert!(text.contains("tiny_dancer_embedding_tokens_total 5"));
    /// assert!(text.contains(r#"tiny_dancer_embedding_errors_total{error_type="no_tokens"} 1"#));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn begin(&self) -> Scope<'_, O> {
        Scope(self.0.begin())
    }
}

impl<O: Observer> Scope<'_, O> {
    /// Runs the stage `embedding`: turns a text into the query's vector. Returns what `run` returns.
    ///
    /// `run` reports the number of tokens as [`items`](StageReport::items), and the kind of its error. If it panics, the
    /// request is over for observers, and a later call of this scope begins another one.
    pub fn embedding<T>(&mut self, run: impl FnOnce(&mut StageReport) -> T) -> T {
        self.0.embedding(run)
    }

    /// Runs the stage `memory_search`: finds the candidates of the query. Returns what `run` returns.
    ///
    /// `run` reports the number of candidates as [`items`](StageReport::items). The rest is as in
    /// [`embedding`](Self::embedding).
    pub fn memory_search<T>(&mut self, run: impl FnOnce(&mut StageReport) -> T) -> T {
        self.0.memory_search(run)
    }

    /// Ends the scope: routes a request.
    ///
    /// # Errors
    /// As [`Router::route`].
    pub fn route(self, request: RoutingRequest<'_>) -> Result<RoutingResponse, RouteError> {
        self.0.route(request)
    }

    /// Ends the scope: routes a query by the `top_k` nearest candidates of a set. The search is part of the stage
    /// `feature_engineering`.
    ///
    /// # Errors
    /// As [`Router::route`].
    pub fn route_set(
        self,
        query: Query<'_>,
        set: &CandidateSet,
        top_k: usize,
    ) -> Result<RoutingResponse, RouteError> {
        self.0.route_set(query, set, top_k)
    }

    /// Ends the scope: routes a query by candidates that stay where they are, such as in a memory. Nothing of them is copied.
    ///
    /// # Errors
    /// As [`Router::route`].
    pub fn route_nearest(
        self,
        query: Query<'_>,
        candidates: &[&Candidate],
    ) -> Result<RoutingResponse, RouteError> {
        self.0.route_nearest(query, candidates)
    }

    /// Ends the scope without a query, for example because the embedder is down: no evidence, so the powerful model.
    ///
    /// # Errors
    /// If a circuit is open, with `OnOpen::Reject`.
    pub fn route_without_evidence(self) -> Result<RoutingResponse, RouteError> {
        self.0.route_without_evidence()
    }

    /// The thresholds by which the request is decided: those of the model with which the scope began.
    pub fn thresholds(&self) -> Thresholds {
        self.0.thresholds()
    }

    /// The version of the model with which the scope began.
    pub fn model_version(&self) -> &str {
        self.0.model_version()
    }
}

impl<O: Observer> std::fmt::Debug for Scope<'_, O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
