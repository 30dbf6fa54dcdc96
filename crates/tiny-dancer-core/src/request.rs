//! What the caller brings: a query and what is remembered.

use crate::CandidateSet;
use crate::set::Neighbour;
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
    /// How often the lightweight model's answer was no worse than the powerful one's there, from 0 to 1; where that is
    /// unknown, how often it was good enough. Two wrong answers are no worse: 1.
    pub success_rate: f32,
    /// How often its answer was better than the powerful one's, from 0 to `success_rate`; 0 where that is unknown.
    ///
    /// A file that has a `success_rate` must have a `win_rate`, too: without it, the rates are of an older coding, which a
    /// router would read wrongly.
    pub win_rate: f32,
}

/// A query, before any candidate: what is to be routed.
///
/// It borrows and is `Copy`.
///
/// ```
/// use tiny_dancer_core::{Metadata, Query};
///
/// let metadata: Metadata = [("subject".to_owned(), "algebra".to_owned())].into();
/// let query = Query { metadata: Some(&metadata), ..Query::new(&[0.6, 0.8]) };
/// assert_eq!(query.now, None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Query<'a> {
    /// The embedding, of any dimension.
    pub embedding: &'a [f32],
    /// Key-value pairs; `None` and an empty map mean the same.
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

/// One request: a query, and the candidates to judge it by.
///
/// It borrows and is `Copy`, so nothing is cloned, and one request can be routed twice.
///
/// ```
/// use tiny_dancer_core::{Candidate, Query, RoutingRequest};
///
/// let candidates = vec![Candidate { embedding: vec![0.6, 0.8], success_rate: 1.0, ..Default::default() }];
/// let request = RoutingRequest::new(&[1.0, 0.0], &candidates);
/// let query = Query { now: Some(1_700_000_000), ..request.query };
/// assert_eq!(RoutingRequest { query, ..request }.candidates.len(), 1);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RoutingRequest<'a> {
    /// What is to be routed.
    pub query: Query<'a>,
    /// What is remembered, in any order, of the query's dimension.
    pub candidates: &'a [Candidate],
}

impl<'a> RoutingRequest<'a> {
    /// A request without metadata, at the clock's time. Slices, arrays and vectors will do.
    pub fn new(embedding: &'a [f32], candidates: &'a [Candidate]) -> Self {
        Self { query: Query::new(embedding), candidates }
    }
}

/// The candidates of a request once they are known: those that it brings, or those that were found in a set.
///
/// A *position* counts them in this order. A *place* is where the caller finds one: in the request, or in the set.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Candidates<'a> {
    Brought(&'a [Candidate]),
    Found(&'a CandidateSet, &'a [Neighbour]),
}

impl<'a> Candidates<'a> {
    /// The candidate at a position; without its embedding where it was found in a set.
    pub(crate) fn get(self, position: usize) -> &'a Candidate {
        match self {
            Self::Brought(candidates) => &candidates[position],
            Self::Found(set, _) => set.without_embedding(self.place(position)),
        }
    }

    /// The name of the candidate at a place.
    pub(crate) fn id(self, place: usize) -> &'a str {
        match self {
            Self::Brought(candidates) => &candidates[place].id,
            Self::Found(set, _) => &set.without_embedding(place).id,
        }
    }

    /// Where the caller finds the candidate at a position.
    #[inline(always)]
    pub(crate) fn place(self, position: usize) -> usize {
        match self {
            Self::Brought(_) => position,
            Self::Found(_, neighbours) => neighbours[position].candidate as usize,
        }
    }
}
