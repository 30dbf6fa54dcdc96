//! Requests to route, made from a seed, so that two runs route the same ones.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tiny_dancer::{Candidate, Query, RoutingRequest};

/// Numbers of candidates of a request.
pub const CANDIDATES: &[usize] = &[1, 10, 100, 1000];

/// Numbers of dimensions of an embedding.
pub const DIMENSIONS: &[usize] = &[128, 384, 768];

/// All sizes: candidates and dimensions.
pub fn sizes() -> impl Iterator<Item = (usize, usize)> {
    CANDIDATES
        .iter()
        .flat_map(|&candidates| DIMENSIONS.iter().map(move |&dimensions| (candidates, dimensions)))
}

/// The time at which all requests are routed.
const NOW: i64 = 1_700_000_000;

/// A request to route.
#[derive(Clone, Debug)]
pub struct Case {
    query: Vec<f32>,
    candidates: Vec<Candidate>,
}

impl Case {
    /// The request of this size, the same one in each call. It has no metadata.
    pub fn new(candidates: usize, dimensions: usize) -> Self {
        Self::nth(candidates, dimensions, 0)
    }

    /// One of many requests of this size.
    pub fn nth(candidates: usize, dimensions: usize, nth: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64((candidates * 10_000 + dimensions) as u64);
        rng.set_stream(nth);
        let query: Vec<f32> = (0..dimensions).map(|_| rng.random_range(-1.0..1.0)).collect();
        let candidates = (0..candidates)
            .map(|i| {
                // Cosines to the query from about 0.5 to 0.95, as nearest neighbours have.
                let noise = rng.random_range(0.3_f32..1.7);
                let embedding = query.iter().map(|x| x + noise * rng.random_range(-1.0_f32..1.0)).collect();
                let created_at = NOW - rng.random_range(0..30 * 86_400);
                let access_count = rng.random_range(1..1000);
                // Equal rates, so that all models read the same rate.
                let rate = rng.random_range(0.0..1.0);
                Candidate {
                    id: format!("request {i}"),
                    embedding,
                    created_at,
                    access_count,
                    success_rate: rate,
                    win_rate: rate,
                    ..Default::default()
                }
            })
            .collect();
        Self { query, candidates }
    }

    /// Requests of the sizes at which routers are compared, by `candidates x dimensions`.
    pub fn all() -> impl Iterator<Item = (String, Self)> {
        [1, 10, 100].into_iter().flat_map(|candidates| {
            [128, 384]
                .map(|dimensions| (format!("{candidates}x{dimensions}"), Self::new(candidates, dimensions)))
        })
    }

    /// The same request with squares outside of f32's range: all embeddings are `10^25` times as long.
    #[must_use]
    pub fn out_of_range(mut self) -> Self {
        let embeddings = self.candidates.iter_mut().map(|candidate| &mut candidate.embedding);
        embeddings.chain([&mut self.query]).flatten().for_each(|x| *x *= 1e25);
        self
    }

    /// As the router takes it.
    pub fn request(&self) -> RoutingRequest<'_> {
        RoutingRequest {
            query: Query { now: Some(NOW), ..Query::new(&self.query) },
            candidates: &self.candidates,
        }
    }

    /// The query's embedding.
    pub fn query(&self) -> &[f32] {
        &self.query
    }

    /// The candidates.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }
}

/// Requests of one size, in an endless cycle.
#[derive(Clone, Debug)]
pub struct Ring {
    cases: Vec<Case>,
    next: usize,
}

/// The number of floats in all embeddings of a ring: 16 MB, more than the caches of one core.
const RING: usize = 4 << 20;

impl Ring {
    /// Enough requests that no cache of one core holds them and no branch predictor learns them, at most 1024.
    pub fn new(candidates: usize, dimensions: usize) -> Self {
        let requests = (RING / (candidates * dimensions)).clamp(4, 1024) as u64;
        Self { cases: (0..requests).map(|nth| Case::nth(candidates, dimensions, nth)).collect(), next: 0 }
    }

    /// The next request.
    pub fn advance(&mut self) -> &Case {
        self.next = if self.next + 1 < self.cases.len() { self.next + 1 } else { 0 };
        &self.cases[self.next]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tiny_dancer::parts::core::Router;

    #[test]
    fn a_request_out_of_range_gets_the_same_decision_as_the_plain_one() {
        let router = Router::new(tiny_dancer::RouterConfig::default()).unwrap();
        let (plain, case) = (Case::new(10, 128), Case::new(10, 128).out_of_range());
        assert!(case.query().iter().map(|x| x * x).sum::<f32>().is_infinite());
        let [plain, exact] = [&plain, &case].map(|case| router.route(case.request()).unwrap());
        assert!((plain.confidence - exact.confidence).abs() < 1e-5, "{plain:?} {exact:?}");
    }
}
