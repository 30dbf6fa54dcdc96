//! The router's input: a query and its candidates.

use crate::CandidateSet;
use crate::set::Neighbour;
use std::collections::BTreeMap;

/// Key-value pairs of a query or of a candidate, such as `subject = "algebra"`.
pub type Metadata = BTreeMap<String, String>;

/// Evidence for how well the lightweight model will answer a query: a past request, a profile of many, an agent, a tool.
///
/// Candidates come from the caller's vector store.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Candidate {
    /// The caller's name for it. Never a metric label; in logs only at `DEBUG` and below.
    pub id: String,
    /// The embedding, of the query's dimension and from the same embedding model. It need not be normalised.
    pub embedding: Vec<f32>,
    /// Key-value pairs, compared with the query's.
    #[cfg_attr(feature = "serde", serde(default))]
    pub metadata: Metadata,
    /// When it was made, in Unix seconds. A time in the future counts as now.
    pub created_at: i64,
    /// The number of requests that it summarises; 1 for a single past request.
    pub access_count: u64,
    /// How often the lightweight model's answer was no worse than the powerful one's, from 0 to 1. Where that is unknown,
    /// how often it was good enough. If both answers are wrong, neither is worse, which counts as 1.
    pub success_rate: f32,
    /// How often its answer was better than the powerful one's, from 0 to `success_rate`; 0 where that is unknown.
    ///
    /// A file with a `success_rate` must also have a `win_rate`. A file without it has an older coding of the rates, which
    /// a router would misread.
    pub win_rate: f32,
}

/// A query: the part of a request without its candidates.
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
    /// The time from which recency is measured, in Unix seconds; `None` reads the clock.
    pub now: Option<i64>,
}

impl<'a> Query<'a> {
    /// A query without metadata, at the clock's time.
    pub fn new(embedding: &'a [f32]) -> Self {
        Self { embedding, metadata: None, now: None }
    }
}

/// One request: a query, and the candidates by which it is routed.
///
/// It borrows and is `Copy`: no data is cloned, and one request can be routed twice.
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
    /// The query.
    pub query: Query<'a>,
    /// The candidates, in any order, of the query's dimension.
    pub candidates: &'a [Candidate],
}

impl<'a> RoutingRequest<'a> {
    /// A request without metadata, at the clock's time.
    pub fn new(embedding: &'a [f32], candidates: &'a [Candidate]) -> Self {
        Self { query: Query::new(embedding), candidates }
    }
}

/// The candidates of a request: those that it brings or borrows, or those that were found in a set.
///
/// A *position* is a candidate's index in this order. A *place* is its index for the caller: in the request, or in the
/// set.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Candidates<'a> {
    Borrowed(&'a [&'a Candidate]),
    Brought(&'a [Candidate]),
    Found(&'a CandidateSet, &'a [Neighbour]),
}

impl<'a> Candidates<'a> {
    /// The candidate at a position; without its embedding where it was found in a set.
    pub(crate) fn get(self, position: usize) -> &'a Candidate {
        match self {
            Self::Borrowed(candidates) => candidates[position],
            Self::Brought(candidates) => &candidates[position],
            Self::Found(set, _) => set.without_embedding(self.place(position)),
        }
    }

    /// The name of the candidate at a place.
    pub(crate) fn id(self, place: usize) -> &'a str {
        match self {
            Self::Borrowed(candidates) => &candidates[place].id,
            Self::Brought(candidates) => &candidates[place].id,
            Self::Found(set, _) => &set.without_embedding(place).id,
        }
    }

    /// The place of the candidate at a position.
    #[inline(always)]
    pub(crate) fn place(self, position: usize) -> usize {
        match self {
            Self::Borrowed(_) | Self::Brought(_) => position,
            Self::Found(_, neighbours) => neighbours[position].candidate as usize,
        }
    }
}
