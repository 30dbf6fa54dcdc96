//! Judgements: a router's decisions on requests whose outcome is known.
//!
//! Each query retrieves its nearest candidates, without itself and its copies, and is routed by the router itself,
//! through `Router::route_into` and without metadata.

use crate::past::Past;
use crate::retrieval::{Nearest, nearest};
use ndarray::Array2;
use rayon::prelude::*;
use tiny_dancer_core::{Candidate, Query, RouteError, Router, RoutingRequest, RoutingResponse};

/// The router's judgement of one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// The probability that the lightweight model suffices.
    pub confidence: f32,
    /// The conformal uncertainty.
    pub uncertainty: f32,
    /// The similarity of the nearest candidate; -1 without candidates.
    pub top_similarity: f32,
    /// The number of candidates.
    pub candidates: usize,
}

/// Routes each query with the `k` nearest of the past. Shape: `q x d`.
///
/// # Errors
/// The router refuses a query.
///
/// # Panics
/// The past has embeddings of another dimension.
pub fn judge(
    router: &Router,
    queries: &Array2<f32>,
    past: &Past,
    k: usize,
) -> Result<Vec<Judgement>, RouteError> {
    let retrieved = nearest(queries, &past.embeddings, k);
    let candidates = past.candidates();
    judge_retrieved(router, queries, &candidates, &retrieved, k)
}

/// Routes each query with the first `k` of its retrieved candidates.
pub(crate) fn judge_retrieved(
    router: &Router,
    queries: &Array2<f32>,
    candidates: &[Candidate],
    retrieved: &[Nearest],
    k: usize,
) -> Result<Vec<Judgement>, RouteError> {
    let one = |response: &mut RoutingResponse, row: usize| {
        let nearest = &retrieved[row].neighbours[..k.min(retrieved[row].neighbours.len())];
        let near: Vec<Candidate> =
            nearest.iter().map(|neighbour| candidates[neighbour.item as usize].clone()).collect();
        let query = queries.row(row).to_vec();
        router.route_into(
            RoutingRequest { query: Query { now: Some(NOW), ..Query::new(&query) }, candidates: &near },
            response,
        )?;
        Ok(Judgement {
            confidence: response.confidence,
            uncertainty: response.uncertainty,
            top_similarity: nearest.first().map_or(-1.0, |neighbour| neighbour.similarity),
            candidates: nearest.len(),
        })
    };
    (0..queries.nrows()).into_par_iter().map_init(RoutingResponse::default, one).collect()
}

/// An arbitrary time. Candidates with a later time or without one count as made now.
const NOW: i64 = 0;

#[cfg(test)]
mod tests;
