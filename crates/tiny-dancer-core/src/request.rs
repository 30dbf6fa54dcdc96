//! What the caller brings: a query and what is remembered.

use std::collections::BTreeMap;

/// Key-value pairs of a query or of a candidate, such as `subject = "algebra"`.
pub type Metadata = BTreeMap<String, String>;

/// Something remembered that may tell how the query will go: a past request, a profile of many, an agent, a tool.
///
/// Candidates come from the caller's vector store.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Candidate {
    /// The caller's name for it. Never a metric label; in logs only at `DEBUG` and below.
    pub id: String,
    /// The embedding, of the query's dimension and from the same embedding model; need not be normalised.
    pub embedding: Vec<f32>,
    /// Key-value pairs, compared with the query's.
    #[cfg_attr(feature = "serde", serde(default))]
    pub metadata: Metadata,
    /// When it was made, in Unix seconds. The future counts as now.
    pub created_at: i64,
    /// How many requests stand behind it; 1 for a single past request.
    pub access_count: u64,
    /// How often the lightweight model sufficed there, from 0 to 1, as the model in use codes it.
    ///
    /// The embedded model was trained on *win rates*: a past request counts 1 where the lightweight model did better than
    /// the powerful one, one half where they did equally well, 0 where it did worse. So where all you know is that its
    /// answer was good enough, count one half. `Model::training` says under `target` what a model codes; `tiny-dancer
    /// train --target suffices` makes one that counts 1 for every answer that was good enough.
    pub success_rate: f32,
}

/// One request: a query embedding and the candidates to judge it by.
///
/// It borrows and is `Copy`, so nothing is cloned, and one request can be routed twice.
///
/// ```
/// use tiny_dancer_core::{Candidate, RoutingRequest};
///
/// let candidates = [Candidate { embedding: vec![0.6, 0.8], success_rate: 1.0, ..Default::default() }];
/// let request = RoutingRequest { now: Some(1_700_000_000), ..RoutingRequest::new(&[1.0, 0.0], &candidates) };
/// assert_eq!(request.candidates.len(), 1);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RoutingRequest<'a> {
    /// The query's embedding, of any dimension.
    pub query_embedding: &'a [f32],
    /// What is remembered, in any order, of the same dimension.
    pub candidates: &'a [Candidate],
    /// Key-value pairs of the query; `None` and an empty map mean the same.
    pub metadata: Option<&'a Metadata>,
    /// The moment that recency is measured from, in Unix seconds; `None` reads the clock.
    pub now: Option<i64>,
}

impl<'a> RoutingRequest<'a> {
    /// A request without metadata, at the clock's time.
    pub fn new(query_embedding: &'a [f32], candidates: &'a [Candidate]) -> Self {
        Self { query_embedding, candidates, metadata: None, now: None }
    }
}

/// A query without candidates: those come from a [`CandidateSet`](crate::CandidateSet).
///
/// It borrows and is `Copy`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Query<'a> {
    /// The query's embedding, of the set's dimension.
    pub embedding: &'a [f32],
    /// Key-value pairs of the query; `None` and an empty map mean the same.
    pub metadata: Option<&'a Metadata>,
    /// The moment that recency is measured from, in Unix seconds; `None` reads the clock.
    pub now: Option<i64>,
}

impl<'a> Query<'a> {
    /// A query without metadata, at the clock's time.
    pub fn new(embedding: &'a [f32]) -> Self {
        Self { embedding, metadata: None, now: None }
    }
}
