//! Judgements: what a router says of requests whose outcome is known.
//!
//! The router itself is asked, not a model of it: each query retrieves its nearest candidates, never itself nor a copy
//! of itself, and goes through `Router::route_into` without metadata.

use crate::past::Past;
use crate::retrieval::{Nearest, nearest};
use ndarray::Array2;
use rayon::prelude::*;
use tiny_dancer_core::{Candidate, Query, RouteError, Router, RoutingRequest, RoutingResponse};

/// What the router said of one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// The probability that the lightweight model suffices.
    pub confidence: f32,
    /// The conformal uncertainty.
    pub uncertainty: f32,
    /// Similarity of the nearest candidate; -1 where there was none.
    pub top_similarity: f32,
    /// How many candidates there were.
    pub candidates: usize,
}

/// Asks the router about each query, with the `k` nearest of the past. Shape: `q x d`.
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
    ask(router, queries, &candidates, &retrieved, k)
}

/// Asks the router about each query, with the first `k` of what it retrieved.
pub(crate) fn ask(
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

/// Any moment: what has no age is as old as the request.
const NOW: i64 = 0;

#[cfg(test)]
mod tests;
