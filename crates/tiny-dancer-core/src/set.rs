//! Candidate sets: candidates prepared once and searched by many queries.
//!
//! A [`CandidateSet`] checks its candidates when it is made. It stores their embeddings contiguously, with their norms, so
//! that a search reads only these. [`Router::route_set`](crate::Router::route_set) routes a query by its nearest
//! candidates, in the order of the set: with the same bits as [`Router::route`](crate::Router::route) of these candidates.
//!
//! The search is exact: it compares the query with each candidate, without an index. Up to some millions of candidates
//! the bandwidth of memory limits it. Feature `parallel` splits it over the current rayon pool.

use crate::features::{self, Columns, Setting};
use crate::kernel::Kernel;
use crate::order::{self, Tiebreak};
use crate::similarity::{self, Cosine};
use crate::{Candidate, Query, RouteError};
use pulp::{Simd, WithSimd};
use std::cmp::Ordering;

/// Candidates prepared for many queries.
///
/// ```
/// use tiny_dancer_core::{Candidate, CandidateSet, Query, Router, RouterConfig};
///
/// let candidates = (0..1000).map(|i| {
///     let angle = i as f32 / 1000.0;
///     Candidate { id: format!("request {i}"), embedding: vec![angle.cos(), angle.sin()], ..Default::default() }
/// });
/// let set = CandidateSet::new(candidates.collect())?;
/// let router = Router::new(RouterConfig::default())?;
/// let response = router.route_set(Query::new(&[1.0, 0.0]), &set, 64)?;
/// assert_eq!(response.decisions.len(), 64);
/// // The candidates are the first 64.
/// assert!(response.decisions.iter().all(|decision| decision.candidate < 64));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct CandidateSet {
    /// The candidates without their embeddings.
    candidates: Vec<Candidate>,
    /// The embeddings, `n x d`, one row after the other.
    embeddings: Vec<f32>,
    dimensions: usize,
    /// The norm of each embedding; 0 where its square is outside f32's range.
    norms: Vec<f32>,
}

impl CandidateSet {
    /// Checks and prepares candidates. They keep their places.
    ///
    /// The embeddings are copied into one allocation, which is made before the old ones are freed.
    ///
    /// # Errors
    /// If a candidate has another dimension than the first, an embedding of zeros or with an element that is not finite,
    /// or a rate out of range.
    pub fn new(mut candidates: Vec<Candidate>) -> Result<Self, RouteError> {
        let dimensions = candidates.first().map_or(0, |first| first.embedding.len());
        for (index, candidate) in candidates.iter().enumerate() {
            let actual = candidate.embedding.len();
            if actual != dimensions {
                let candidate = Some(index);
                return Err(RouteError::DimensionMismatch { candidate, expected: dimensions, actual });
            }
            features::check_candidate(candidate, index)?;
        }
        let kernel = Kernel::detect();
        let mut embeddings = Vec::with_capacity(candidates.len() * dimensions);
        let mut norms = Vec::with_capacity(candidates.len());
        for candidate in &mut candidates {
            let embedding = std::mem::take(&mut candidate.embedding);
            norms.push(similarity::norm(kernel, &embedding));
            embeddings.extend(embedding);
        }
        Ok(Self { candidates, embeddings, dimensions, norms })
    }

    /// How many candidates there are.
    pub fn len(&self) -> usize {
        self.candidates.len()
    }

    /// Whether there are no candidates.
    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// The dimension of the embeddings; 0 if the set is empty.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// A candidate's name.
    pub fn id(&self, candidate: usize) -> Option<&str> {
        self.candidates.get(candidate).map(|candidate| candidate.id.as_str())
    }

    /// A copy of a candidate, with its embedding.
    pub fn candidate(&self, candidate: usize) -> Option<Candidate> {
        let facts = self.candidates.get(candidate)?.clone();
        let embedding = self.embeddings[candidate * self.dimensions..][..self.dimensions].to_vec();
        Some(Candidate { embedding, ..facts })
    }

    /// The places of the `k` nearest candidates and their similarities, nearest first.
    ///
    /// Of equal similarities the lower `success_rate` counts as nearer, then the lower `win_rate`, the lower
    /// `access_count` (up to 1000), the older candidate, and last the lower place.
    ///
    /// # Errors
    /// If the query is empty, has another dimension, only zeros, or an element that is not finite.
    pub fn nearest(&self, query: &[f32], k: usize) -> Result<Vec<(usize, f32)>, RouteError> {
        let kernel = Kernel::detect();
        let mut nearest = Nearest::default();
        let tiebreak = Tiebreak { metadata: None, now: i64::MAX };
        self.search(kernel, &Cosine::new(kernel, query)?, k, tiebreak, &mut nearest)?;
        nearest.kept.sort_unstable_by(|a, b| self.nearer(tiebreak, a, b));
        Ok(nearest
            .kept
            .iter()
            .map(|neighbour| (neighbour.candidate as usize, neighbour.similarity))
            .collect())
    }

    /// All embeddings, one row after the other.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn embeddings(&self) -> &[f32] {
        &self.embeddings
    }

    /// A candidate with an empty embedding.
    pub(crate) fn without_embedding(&self, candidate: usize) -> &Candidate {
        &self.candidates[candidate]
    }

    /// The order that sorts the nearest first: by similarity, then by the tiebreak, then by place.
    fn nearer(&self, tiebreak: Tiebreak<'_>, a: &Neighbour, b: &Neighbour) -> Ordering {
        let facts = |neighbour: &Neighbour| self.without_embedding(neighbour.candidate as usize);
        order::compare(b.similarity, a.similarity)
            .then_with(|| tiebreak.compare(facts(b), facts(a)))
            .then(a.candidate.cmp(&b.candidate))
    }

    /// Finds the `k` nearest, in the order of the set.
    pub(crate) fn search(
        &self,
        kernel: Kernel,
        cosine: &Cosine<'_>,
        k: usize,
        tiebreak: Tiebreak<'_>,
        nearest: &mut Nearest,
    ) -> Result<(), RouteError> {
        nearest.clear(k);
        if self.is_empty() || k == 0 {
            return Ok(());
        }
        if cosine.dimensions() != self.dimensions {
            let (expected, actual) = (self.dimensions, cosine.dimensions());
            return Err(RouteError::DimensionMismatch { candidate: None, expected, actual });
        }
        // A set larger than the cache is read fastest row after row.
        let blocked = size_of_val(self.embeddings.as_slice()) <= CACHE;
        #[cfg(feature = "parallel")]
        if self.len() >= 2 * SHARE {
            self.search_parallel(kernel, cosine, blocked, tiebreak, nearest);
            nearest.finish(|a, b| self.nearer(tiebreak, a, b));
            return Ok(());
        }
        let (rows, norms) = (&self.embeddings, &self.norms);
        kernel.dispatch(Search { set: self, tiebreak, cosine, blocked, first: 0, rows, norms, nearest });
        nearest.finish(|a, b| self.nearer(tiebreak, a, b));
        Ok(())
    }

    /// Splits the rows over the current rayon pool.
    #[cfg(feature = "parallel")]
    fn search_parallel(
        &self,
        kernel: Kernel,
        cosine: &Cosine<'_>,
        blocked: bool,
        tiebreak: Tiebreak<'_>,
        nearest: &mut Nearest,
    ) {
        use rayon::prelude::*;
        let rows = self.embeddings.par_chunks(SHARE * self.dimensions);
        let shares = rows.zip(self.norms.par_chunks(SHARE)).enumerate().map(|(share, (rows, norms))| {
            let mut found = Nearest::default();
            found.clear(nearest.k);
            let first = (share * SHARE) as u32;
            let nearest = &mut found;
            kernel.dispatch(Search { set: self, tiebreak, cosine, blocked, first, rows, norms, nearest });
            found.kept
        });
        nearest.kept = shares.flatten_iter().collect();
    }
}

/// Finds the `top_k` nearest candidates of a set and computes their features, in the order of the set.
pub(crate) fn engineer_nearest(
    setting: Setting<'_>,
    query: &Query<'_>,
    set: &CandidateSet,
    top_k: usize,
    nearest: &mut Nearest,
    columns: &mut Columns,
) -> Result<(), RouteError> {
    let cosine = Cosine::new(setting.kernel, query.embedding)?;
    let tiebreak = Tiebreak { metadata: query.metadata, now: setting.now };
    set.search(setting.kernel, &cosine, top_k, tiebreak, nearest)?;
    let found = nearest
        .neighbours()
        .iter()
        .map(|neighbour| (neighbour.similarity, set.without_embedding(neighbour.candidate as usize)));
    features::engineer_found(setting, cosine, query.metadata, found, columns);
    Ok(())
}

/// The number of rows that one thread searches at a time.
#[cfg(feature = "parallel")]
const SHARE: usize = 4096;

/// The size in bytes up to which a set is assumed to fit the processor's cache.
const CACHE: usize = 8 << 20;

impl std::fmt::Debug for CandidateSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CandidateSet")
            .field("candidates", &self.len())
            .field("dimensions", &self.dimensions)
            .finish_non_exhaustive()
    }
}

/// A candidate of a search's result.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Neighbour {
    pub(crate) similarity: f32,
    pub(crate) candidate: u32,
}

/// The nearest so far: up to twice as many as needed, so that a selection among them is rare.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nearest {
    k: usize,
    kept: Vec<Neighbour>,
    /// Candidates below this similarity are not among the nearest.
    floor: f32,
}

impl Nearest {
    fn clear(&mut self, k: usize) {
        self.k = k;
        self.kept.clear();
        self.floor = f32::NEG_INFINITY;
    }

    /// Adds a candidate if it can be among the nearest. `nearer` sorts the nearest first.
    #[inline(always)]
    fn offer(
        &mut self,
        candidate: u32,
        similarity: f32,
        nearer: impl FnMut(&Neighbour, &Neighbour) -> Ordering,
    ) {
        if similarity >= self.floor {
            self.kept.push(Neighbour { similarity, candidate });
            if self.kept.len() / 2 >= self.k {
                self.prune(nearer);
            }
        }
    }

    #[cold]
    fn prune(&mut self, nearer: impl FnMut(&Neighbour, &Neighbour) -> Ordering) {
        if self.kept.len() > self.k {
            let (_, last, _) = self.kept.select_nth_unstable_by(self.k - 1, nearer);
            self.floor = last.similarity;
            self.kept.truncate(self.k);
        }
    }

    fn finish(&mut self, nearer: impl FnMut(&Neighbour, &Neighbour) -> Ordering) {
        self.prune(nearer);
        self.kept.sort_unstable_by_key(|neighbour| neighbour.candidate);
    }

    /// The nearest candidates, in the order of the set.
    pub(crate) fn neighbours(&self) -> &[Neighbour] {
        &self.kept
    }
}

/// Compares a query with rows. The first row has the place `first`.
struct Search<'a> {
    set: &'a CandidateSet,
    tiebreak: Tiebreak<'a>,
    cosine: &'a Cosine<'a>,
    blocked: bool,
    first: u32,
    rows: &'a [f32],
    norms: &'a [f32],
    nearest: &'a mut Nearest,
}

impl WithSimd for Search<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { set, tiebreak, cosine, blocked, mut first, rows, norms, nearest } = self;
        let nearer = |a: &Neighbour, b: &Neighbour| set.nearer(tiebreak, a, b);
        let d = cosine.dimensions();
        let fours = if blocked { norms.len() / 4 } else { 0 };
        let (blocks, rest) = rows.split_at(fours * 4 * d);
        let (block_norms, rest_norms) = norms.split_at(fours * 4);
        for (four, norms) in blocks.chunks_exact(4 * d).zip(block_norms.as_chunks::<4>().0) {
            let rows = [&four[..d], &four[d..2 * d], &four[2 * d..3 * d], &four[3 * d..]];
            let similarities = cosine.similarities_by_norm(simd, rows, norms);
            for (candidate, similarity) in (first..).zip(similarities) {
                nearest.offer(candidate, similarity, nearer);
            }
            first += 4;
        }
        for ((row, norm), candidate) in rest.chunks_exact(d).zip(rest_norms).zip(first..) {
            let [similarity] = cosine.similarities_by_norm(simd, [row], &[*norm]);
            nearest.offer(candidate, similarity, nearer);
        }
    }
}

#[cfg(test)]
mod tests;
