//! Features: five numbers of one candidate against the query.
//!
//! | feature | equation | range |
//! | --- | --- | --- |
//! | similarity | cosine of the two embeddings | -1 to 1 |
//! | recency | `2^(-age / half-life)`; a future `created_at` counts as now | 0 to 1 |
//! | frequency | `min(1, ln(1 + access_count) / ln(1001))` | 0 to 1 |
//! | success rate | as remembered | 0 to 1 |
//! | metadata overlap | Jaccard of the key-value pairs; 0 if either side has none | 0 to 1 |
//!
//! They are kept as columns, one slice of `n` numbers a feature, since that is how the model reads them in a batch
//! and how observers want them. Everything about a candidate that can be wrong is found here.

use crate::{Candidate, Metadata, RouteError, RoutingRequest};
use std::time::Duration;

/// One of the five features, in the order that the model reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Feature {
    /// Cosine of the query's and the candidate's embeddings.
    Similarity,
    /// Halves with every half-life of age.
    Recency,
    /// Grows with the logarithm of the access count, 1 from a thousand.
    Frequency,
    /// How often the lightweight model sufficed there.
    SuccessRate,
    /// Jaccard index of the key-value pairs.
    MetadataOverlap,
}

impl Feature {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// All five, in the model's order.
    pub const ALL: [Self; 5] =
        [Self::Similarity, Self::Recency, Self::Frequency, Self::SuccessRate, Self::MetadataOverlap];

    /// The name in model files, attributes and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Similarity => "similarity",
            Self::Recency => "recency",
            Self::Frequency => "frequency",
            Self::SuccessRate => "success_rate",
            Self::MetadataOverlap => "metadata_overlap",
        }
    }
}

/// The features of `n` candidates as five slices of length `n`, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Features<'a> {
    columns: [&'a [f32]; Feature::COUNT],
}

impl<'a> Features<'a> {
    /// One feature of all candidates, in the request's order.
    pub fn column(&self, feature: Feature) -> &'a [f32] {
        self.columns[feature as usize]
    }

    /// All features of one candidate, in the order of [`Feature::ALL`].
    ///
    /// # Panics
    /// If there is no such candidate.
    pub fn row(&self, candidate: usize) -> [f32; Feature::COUNT] {
        self.columns.map(|column| column[candidate])
    }

    /// How many candidates there are.
    pub fn len(&self) -> usize {
        self.columns[0].len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.columns[0].is_empty()
    }
}

/// The memory for one request's columns: the five features and, after them, each candidate's own confidence.
#[derive(Clone, Default)]
pub(crate) struct Columns {
    values: Vec<f32>,
    candidates: usize,
}

impl Columns {
    /// Makes room for `candidates`; allocates only when there were never so many.
    fn resize(&mut self, candidates: usize) {
        self.candidates = candidates;
        self.values.resize(candidates * (Feature::COUNT + 1), 0.0);
    }

    /// Forgets the candidates, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.candidates = 0;
    }

    /// The five features.
    pub(crate) fn features(&self) -> Features<'_> {
        let n = self.candidates;
        Features { columns: std::array::from_fn(|f| &self.values[f * n..(f + 1) * n]) }
    }

    /// The five features, to be filled in.
    fn features_mut(&mut self) -> [&mut [f32]; Feature::COUNT] {
        let mut rest = self.values.as_mut_slice();
        std::array::from_fn(|_| rest.split_off_mut(..self.candidates).unwrap_or_default())
    }

    /// The five features, and room for a confidence each.
    pub(crate) fn features_and_confidences(&mut self) -> (Features<'_>, &mut [f32]) {
        let n = self.candidates;
        let (features, confidences) = self.values.split_at_mut(Feature::COUNT * n);
        (Features { columns: std::array::from_fn(|f| &features[f * n..(f + 1) * n]) }, confidences)
    }
}

/// Computes the features of all candidates, or says what is wrong with the first bad one.
pub(crate) fn engineer(
    request: &RoutingRequest<'_>,
    now: i64,
    half_life: Duration,
    columns: &mut Columns,
) -> Result<(), RouteError> {
    let engineer =
        Engineer { query: Query::new(request.query_embedding)?, metadata: request.metadata, now, half_life };
    columns.resize(request.candidates.len());
    let mut columns = columns.features_mut();
    #[cfg(feature = "parallel")]
    if request.candidates.len() >= PARALLEL_FROM {
        return engineer.fill_parallel(request.candidates, columns);
    }
    engineer.fill(0, request.candidates, &mut columns)
}

/// Fewer candidates are prepared sooner than a thread wakes up.
#[cfg(feature = "parallel")]
const PARALLEL_FROM: usize = 1024;

/// What all candidates of a request have in common.
struct Engineer<'a> {
    query: Query<'a>,
    metadata: Option<&'a Metadata>,
    now: i64,
    half_life: Duration,
}

impl Engineer<'_> {
    /// Fills the columns of some candidates, of which the first has the place `first` in the request.
    fn fill(
        &self,
        first: usize,
        candidates: &[Candidate],
        columns: &mut [&mut [f32]; Feature::COUNT],
    ) -> Result<(), RouteError> {
        for (i, candidate) in candidates.iter().enumerate() {
            let row = [
                self.query.similarity(&candidate.embedding, first + i)?,
                recency(self.now, candidate.created_at, self.half_life),
                frequency(candidate.access_count),
                success_rate(candidate, first + i)?,
                metadata_overlap(self.metadata, &candidate.metadata),
            ];
            for (feature, value) in row.into_iter().enumerate() {
                columns[feature][i] = value;
            }
        }
        Ok(())
    }

    /// The same, shared out in the current rayon pool.
    #[cfg(feature = "parallel")]
    fn fill_parallel(
        &self,
        candidates: &[Candidate],
        columns: [&mut [f32]; Feature::COUNT],
    ) -> Result<(), RouteError> {
        use rayon::prelude::*;
        const SHARE: usize = PARALLEL_FROM / 4;
        let [similarity, recency, frequency, success, overlap] =
            columns.map(|column| column.par_chunks_mut(SHARE));
        let error = (candidates.par_chunks(SHARE), similarity, recency, frequency, success, overlap)
            .into_par_iter()
            .enumerate()
            .find_map_first(|(share, (candidates, similarity, recency, frequency, success, overlap))| {
                let columns = &mut [similarity, recency, frequency, success, overlap];
                self.fill(share * SHARE, candidates, columns).err()
            });
        error.map_or(Ok(()), Err)
    }
}

/// The five features of one candidate, in the order of [`Feature::ALL`], for those who make training data.
///
/// # Errors
/// As for a request with this candidate alone.
pub fn of_candidate(
    request: &RoutingRequest<'_>,
    candidate: &Candidate,
    now: i64,
    half_life: Duration,
) -> Result<[f32; Feature::COUNT], RouteError> {
    let mut columns = Columns::default();
    let alone = RoutingRequest { candidates: std::slice::from_ref(candidate), ..*request };
    engineer(&alone, now, half_life, &mut columns)?;
    Ok(columns.features().row(0))
}

/// `2^(-age / half-life)`, where a time in the future has age 0.
pub fn recency(now: i64, created_at: i64, half_life: Duration) -> f32 {
    let age = now.saturating_sub(created_at).max(0) as f64;
    (-age / half_life.as_secs_f64()).exp2() as f32
}

/// `min(1, ln(1 + access_count) / ln(1001))`.
pub fn frequency(access_count: u64) -> f32 {
    ((access_count as f64).ln_1p() / 1001_f64.ln()).min(1.0) as f32
}

fn success_rate(candidate: &Candidate, index: usize) -> Result<f32, RouteError> {
    let value = candidate.success_rate;
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err(RouteError::InvalidSuccessRate { candidate: index, value })
    }
}

/// Jaccard index of two sets of key-value pairs: shared pairs over all pairs, 0 if either has none.
fn metadata_overlap(query: Option<&Metadata>, candidate: &Metadata) -> f32 {
    let Some(query) = query else { return 0.0 };
    if query.is_empty() || candidate.is_empty() {
        return 0.0;
    }
    let shared = query.iter().filter(|(key, value)| candidate.get(*key) == Some(value)).count();
    shared as f32 / (query.len() + candidate.len() - shared) as f32
}

/// A squared norm in this range is as precise as f32 gets; outside, squares over- or underflow, and f64 takes over.
const PLAIN: std::ops::RangeInclusive<f32> = 1e-30..=1e30;

/// A checked query, with its norm.
struct Query<'a> {
    embedding: &'a [f32],
    squared_norm: f32,
}

impl<'a> Query<'a> {
    fn new(embedding: &'a [f32]) -> Result<Self, RouteError> {
        if embedding.is_empty() {
            return Err(RouteError::EmptyQuery);
        }
        let (squared_norm, _) = products(embedding, embedding);
        if !PLAIN.contains(&squared_norm) {
            check(embedding, None)?;
        }
        Ok(Self { embedding, squared_norm })
    }

    /// Cosine with a candidate's embedding, checked on the way: whatever is wrong with it shows in its norm.
    fn similarity(&self, embedding: &[f32], candidate: usize) -> Result<f32, RouteError> {
        if embedding.len() != self.embedding.len() {
            let (expected, actual) = (self.embedding.len(), embedding.len());
            return Err(RouteError::DimensionMismatch { candidate, expected, actual });
        }
        let (dot, squared_norm) = products(self.embedding, embedding);
        if PLAIN.contains(&squared_norm) && PLAIN.contains(&self.squared_norm) {
            return Ok((dot / (self.squared_norm.sqrt() * squared_norm.sqrt())).clamp(-1.0, 1.0));
        }
        check(embedding, Some(candidate))?;
        Ok(similarity_f64(self.embedding, embedding))
    }
}

/// Names the first element that is not finite, or an embedding without direction.
#[cold]
fn check(embedding: &[f32], candidate: Option<usize>) -> Result<(), RouteError> {
    if let Some(index) = embedding.iter().position(|x| !x.is_finite()) {
        return Err(RouteError::NonFiniteEmbedding { candidate, index, value: embedding[index] });
    }
    if embedding.iter().all(|&x| x == 0.0) {
        return Err(RouteError::ZeroNorm { candidate });
    }
    Ok(())
}

/// The cosine where f32's range does not hold the squares; f64's holds every sum of squares of f32.
#[cold]
fn similarity_f64(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    (dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt())).clamp(-1.0, 1.0) as f32
}

/// `a . b` and `b . b` of equally long slices, in sixteen interleaved sums that vector units can keep.
fn products(a: &[f32], b: &[f32]) -> (f32, f32) {
    const LANES: usize = 16;
    let (mut dot, mut squared) = ([0.0_f32; LANES], [0.0_f32; LANES]);
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            dot[lane] += a[lane] * b[lane];
            squared[lane] += b[lane] * b[lane];
        }
    }
    for (lane, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        dot[lane] += a * b;
        squared[lane] += b * b;
    }
    (dot.iter().sum(), squared.iter().sum())
}

#[cfg(test)]
mod tests;
