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

use crate::activation::exp2;
use crate::kernel::{Kernel, LANES, Work, mul_add};
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
    /// Columns of one length, in the order of [`Feature::ALL`].
    pub(crate) fn from_columns(columns: [&'a [f32]; Feature::COUNT]) -> Self {
        Self { columns }
    }

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
    /// Makes room for `candidates`; allocates, and clears, only when there were never so many.
    fn resize(&mut self, candidates: usize) {
        self.candidates = candidates;
        let length = candidates * (Feature::COUNT + 1);
        if self.values.len() < length {
            self.values.resize(length, 0.0);
        }
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
        let (features, confidences) =
            self.values[..(Feature::COUNT + 1) * n].split_at_mut(Feature::COUNT * n);
        (Features { columns: std::array::from_fn(|f| &features[f * n..(f + 1) * n]) }, confidences)
    }
}

/// What turns a candidate's numbers into features: fixed when a router is made.
#[derive(Debug)]
pub(crate) struct Scales {
    /// Half-lives in a second.
    decay: f64,
    /// [`frequency`] of each access count up to [`FREQUENT`], from which on it is 1.
    frequency: Box<[f32]>,
}

/// The access count from which on a candidate is as frequent as can be.
const FREQUENT: u64 = 1000;

impl Scales {
    pub(crate) fn new(half_life: Duration) -> Self {
        Self { decay: half_life.as_secs_f64().recip(), frequency: (0..=FREQUENT).map(frequency).collect() }
    }

    /// The recency of a candidate, as the power of two that it is.
    #[inline(always)]
    fn log2_recency(&self, now: i64, created_at: i64) -> f32 {
        (-(now.saturating_sub(created_at).max(0) as f64) * self.decay) as f32
    }

    #[inline(always)]
    fn frequency(&self, access_count: u64) -> f32 {
        self.frequency[access_count.min(FREQUENT) as usize]
    }
}

/// Computes the features of all candidates, or says what is wrong with the first bad one.
pub(crate) fn engineer(
    kernel: Kernel,
    request: &RoutingRequest<'_>,
    now: i64,
    scales: &Scales,
    columns: &mut Columns,
) -> Result<(), RouteError> {
    let query = Query::new(kernel, request.query_embedding)?;
    let engineer = Engineer { query, metadata: request.metadata, now, scales };
    columns.resize(request.candidates.len());
    let columns = columns.features_mut();
    #[cfg(feature = "parallel")]
    if request.candidates.len() >= PARALLEL_FROM {
        return engineer.fill_parallel(kernel, request.candidates, columns);
    }
    kernel.run(Fill { engineer: &engineer, first: 0, candidates: request.candidates, columns })
}

/// Fewer candidates are prepared sooner than a thread wakes up.
#[cfg(feature = "parallel")]
const PARALLEL_FROM: usize = 1024;

/// What all candidates of a request have in common.
struct Engineer<'a> {
    query: Query<'a>,
    metadata: Option<&'a Metadata>,
    now: i64,
    scales: &'a Scales,
}

#[cfg(feature = "parallel")]
impl Engineer<'_> {
    /// Shares the candidates out in the current rayon pool.
    fn fill_parallel(
        &self,
        kernel: Kernel,
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
                let columns = [similarity, recency, frequency, success, overlap];
                kernel.run(Fill { engineer: self, first: share * SHARE, candidates, columns }).err()
            });
        error.map_or(Ok(()), Err)
    }
}

/// The columns of some candidates, of which the first has the place `first` in the request.
struct Fill<'a> {
    engineer: &'a Engineer<'a>,
    first: usize,
    candidates: &'a [Candidate],
    columns: [&'a mut [f32]; Feature::COUNT],
}

impl Work for Fill<'_> {
    type Output = Result<(), RouteError>;

    #[inline(always)]
    fn run<const FUSED: bool>(self) -> Self::Output {
        let Self { engineer, first, candidates, columns } = self;
        let [similarity, recency, frequency, success, overlap] =
            columns.map(|column| &mut column[..candidates.len()]);
        for (i, candidate) in candidates.iter().enumerate() {
            similarity[i] = engineer.query.similarity::<FUSED>(&candidate.embedding, first + i)?;
            recency[i] = engineer.scales.log2_recency(engineer.now, candidate.created_at);
            frequency[i] = engineer.scales.frequency(candidate.access_count);
            success[i] = success_rate(candidate, first + i)?;
            overlap[i] = metadata_overlap(engineer.metadata, &candidate.metadata);
        }
        let (blocks, rest) = recency.as_chunks_mut::<LANES>();
        for block in blocks {
            *block = exp2::<FUSED, LANES>(block);
        }
        for recency in rest {
            *recency = exp2::<FUSED, 1>(&[*recency])[0];
        }
        Ok(())
    }
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
    norm: f32,
}

impl<'a> Query<'a> {
    fn new(kernel: Kernel, embedding: &'a [f32]) -> Result<Self, RouteError> {
        if embedding.is_empty() {
            return Err(RouteError::EmptyQuery);
        }
        let squared_norm = kernel.run(SquaredNorm(embedding));
        if !PLAIN.contains(&squared_norm) {
            check(embedding, None)?;
        }
        Ok(Self { embedding, squared_norm, norm: squared_norm.sqrt() })
    }

    /// Cosine with a candidate's embedding, checked on the way: whatever is wrong with it shows in its norm.
    #[inline(always)]
    fn similarity<const FUSED: bool>(&self, embedding: &[f32], candidate: usize) -> Result<f32, RouteError> {
        if embedding.len() != self.embedding.len() {
            let (expected, actual) = (self.embedding.len(), embedding.len());
            return Err(RouteError::DimensionMismatch { candidate, expected, actual });
        }
        let (dot, squared_norm) = products::<FUSED>(self.embedding, embedding);
        if PLAIN.contains(&squared_norm) && PLAIN.contains(&self.squared_norm) {
            return Ok((dot / (self.norm * squared_norm.sqrt())).clamp(-1.0, 1.0));
        }
        check(embedding, Some(candidate))?;
        Ok(similarity_f64(self.embedding, embedding))
    }
}

/// A query's squared norm.
struct SquaredNorm<'a>(&'a [f32]);

impl Work for SquaredNorm<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<const FUSED: bool>(self) -> f32 {
        products::<FUSED>(self.0, self.0).1
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

/// `a . b` and `b . b` of equally long slices, in interleaved sums that hide an addition's latency.
#[inline(always)]
fn products<const FUSED: bool>(a: &[f32], b: &[f32]) -> (f32, f32) {
    let (mut dot, mut squared) = ([0.0_f32; 2 * LANES], [0.0_f32; 2 * LANES]);
    let (a_blocks, a_rest) = a.as_chunks::<{ 2 * LANES }>();
    let (b_blocks, b_rest) = b.as_chunks::<{ 2 * LANES }>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..2 * LANES {
            dot[lane] = mul_add::<FUSED>(a[lane], b[lane], dot[lane]);
            squared[lane] = mul_add::<FUSED>(b[lane], b[lane], squared[lane]);
        }
    }
    for (lane, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        dot[lane] = mul_add::<FUSED>(*a, *b, dot[lane]);
        squared[lane] = mul_add::<FUSED>(*b, *b, squared[lane]);
    }
    (sum(dot), sum(squared))
}

/// The sum of all lanes, by halves.
#[inline(always)]
fn sum(mut lanes: [f32; 2 * LANES]) -> f32 {
    for half in [LANES, 8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
    }
    lanes[0]
}

#[cfg(test)]
mod tests;
