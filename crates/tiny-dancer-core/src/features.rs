//! Features: five numbers that compare one candidate with the query.
//!
//! | feature | equation | range |
//! | --- | --- | --- |
//! | similarity | cosine of the two embeddings | -1 to 1 |
//! | recency | `2^(-age / half-life)`; a future `created_at` counts as now | 0 to 1 |
//! | frequency | `min(1, ln(1 + access_count) / ln(1001))` | 0 to 1 |
//! | success rate | `success_rate`; a model that counts a tie as one half reads `(success_rate + win_rate) / 2` | 0 to 1 |
//! | metadata overlap | Jaccard index of the key-value pairs; 0 if either side has none | 0 to 1 |
//!
//! They are stored as columns, a slice of `n` numbers for each feature, since the model and the observers read them by
//! column. This module also makes every check of a candidate.

use crate::activation::exp2;
use crate::kernel::Kernel;
use crate::names::names;
use crate::similarity::{self, Cosine};
use crate::{Candidate, Metadata, Query, RouteError};
use pulp::{Simd, WithSimd};
use std::borrow::Borrow;
use std::time::Duration;

/// One of the five features, in the order that the model reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Feature {
    /// Cosine of the query's and the candidate's embeddings.
    Similarity,
    /// Halves with each half-life of age.
    Recency,
    /// Grows with the logarithm of the access count, and is 1 from an access count of 1000 on.
    Frequency,
    /// How often the lightweight model sufficed for the candidate. [`Ties`] states what a tie counts.
    SuccessRate,
    /// Jaccard index of the key-value pairs.
    MetadataOverlap,
}

names!(Feature, "feature", {
    Similarity => "similarity",
    Recency => "recency",
    Frequency => "frequency",
    SuccessRate => "success_rate",
    MetadataOverlap => "metadata_overlap",
});

impl Feature {
    /// The number of features.
    pub const COUNT: usize = Self::ALL.len();
}

/// How a model counts a tie: an answer of the lightweight model that is neither worse nor better than the powerful one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ties {
    /// As one half: the model reads `(success_rate + win_rate) / 2`.
    Half,
    /// As a success: the model reads `success_rate`.
    Whole,
}

names!(Ties, "coding of ties", {
    Half => "half",
    Whole => "whole",
});

impl Ties {
    /// The one rate that a model reads, from a candidate's two.
    ///
    /// ```
    /// use tiny_dancer_core::model::Ties;
    ///
    /// // A tie: never worse, and never better.
    /// assert_eq!([Ties::Half.rate(1.0, 0.0), Ties::Whole.rate(1.0, 0.0)], [0.5, 1.0]);
    /// ```
    #[inline(always)]
    pub fn rate(self, success_rate: f32, win_rate: f32) -> f32 {
        let other = if self == Self::Half { win_rate } else { success_rate };
        (success_rate + other) * 0.5
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
    #[inline(always)]
    pub fn row(&self, candidate: usize) -> [f32; Feature::COUNT] {
        // Written out: a closure would be compiled for the scalar instruction set, and called.
        let columns = &self.columns;
        [
            columns[0][candidate],
            columns[1][candidate],
            columns[2][candidate],
            columns[3][candidate],
            columns[4][candidate],
        ]
    }

    /// All columns, in the order of [`Feature::ALL`].
    #[inline(always)]
    pub(crate) fn columns(&self) -> [&'a [f32]; Feature::COUNT] {
        self.columns
    }

    /// How many candidates there are.
    pub fn len(&self) -> usize {
        self.columns[0].len()
    }

    /// Whether there are no candidates.
    pub fn is_empty(&self) -> bool {
        self.columns[0].is_empty()
    }
}

/// The memory for one request's columns: the five features, each candidate's own confidence, and its uncertainty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Columns {
    values: Vec<f32>,
    candidates: usize,
}

impl Columns {
    /// Makes room for `candidates`. Allocates only if there are more than ever before.
    fn resize(&mut self, candidates: usize) {
        self.candidates = candidates;
        let length = candidates * (Feature::COUNT + 2);
        if self.values.len() < length {
            self.values.resize(length, 0.0);
        }
    }

    /// Removes the candidates, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.candidates = 0;
    }

    /// Whether there are no candidates.
    pub(crate) fn is_empty(&self) -> bool {
        self.candidates == 0
    }

    /// The five features.
    pub(crate) fn features(&self) -> Features<'_> {
        let n = self.candidates;
        Features { columns: std::array::from_fn(|f| &self.values[f * n..(f + 1) * n]) }
    }

    /// Each candidate's own confidence.
    #[inline]
    pub(crate) fn confidences(&self) -> &[f32] {
        &self.values[Feature::COUNT * self.candidates..][..self.candidates]
    }

    /// Each candidate's own uncertainty.
    #[inline]
    pub(crate) fn uncertainties(&self) -> &[f32] {
        &self.values[(Feature::COUNT + 1) * self.candidates..][..self.candidates]
    }

    /// The five features, mutable.
    fn features_mut(&mut self) -> [&mut [f32]; Feature::COUNT] {
        let mut rest = self.values.as_mut_slice();
        std::array::from_fn(|_| rest.split_off_mut(..self.candidates).unwrap_or_default())
    }

    /// The five features, and the columns for confidences and for uncertainties, mutable.
    #[inline]
    pub(crate) fn split(&mut self) -> (Features<'_>, &mut [f32], &mut [f32]) {
        let n = self.candidates;
        let (features, rest) = self.values.split_at_mut(Feature::COUNT * n);
        let (confidences, rest) = rest.split_at_mut(n);
        let features = Features { columns: std::array::from_fn(|f| &features[f * n..(f + 1) * n]) };
        (features, confidences, &mut rest[..n])
    }
}

/// The constants of the features, computed when a router is made.
#[derive(Debug)]
pub(crate) struct Scales {
    /// Minus the number of half-lives in a second: the change of `log2(recency)` for each second of age.
    growth: f64,
    /// [`frequency`] of each access count up to [`FREQUENT`].
    frequency: Box<[f32; FREQUENT as usize + 1]>,
}

/// The access count from which on the frequency is 1.
pub(crate) const FREQUENT: u64 = 1000;

impl Scales {
    pub(crate) fn new(half_life: Duration) -> Self {
        Self {
            growth: -half_life.as_secs_f64().recip(),
            frequency: Box::new(std::array::from_fn(|count| frequency(count as u64))),
        }
    }

    /// The binary logarithm of a candidate's recency.
    #[inline(always)]
    fn log2_recency(&self, now: i64, created_at: i64) -> f32 {
        (now.saturating_sub(created_at).max(0) as f64 * self.growth) as f32
    }

    #[inline(always)]
    fn frequency(&self, access_count: u64) -> f32 {
        self.frequency[access_count.min(FREQUENT) as usize]
    }
}

/// The inputs of a request's features other than its query and its candidates.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    pub(crate) kernel: Kernel,
    pub(crate) scales: &'a Scales,
    pub(crate) ties: Ties,
    /// The time from which recency is measured, in Unix seconds.
    pub(crate) now: i64,
}

/// Computes the features of all candidates, or returns the error of the first bad one.
///
/// It is not generic, as the router is, so that it is compiled within this crate and its parts are inlined.
#[inline(never)]
pub(crate) fn engineer(
    setting: Setting<'_>,
    query: &Query<'_>,
    candidates: &[Candidate],
    columns: &mut Columns,
) -> Result<(), RouteError> {
    engineer_each(setting, query, candidates, columns)
}

/// The same for borrowed candidates.
#[inline(never)]
pub(crate) fn engineer_borrowed(
    setting: Setting<'_>,
    query: &Query<'_>,
    candidates: &[&Candidate],
    columns: &mut Columns,
) -> Result<(), RouteError> {
    engineer_each(setting, query, candidates, columns)
}

fn engineer_each<C: Borrow<Candidate> + Sync>(
    setting: Setting<'_>,
    query: &Query<'_>,
    candidates: &[C],
    columns: &mut Columns,
) -> Result<(), RouteError> {
    let cosine = Cosine::new(setting.kernel, query.embedding)?;
    let engineer = Engineer { cosine, metadata: query.metadata, setting };
    columns.resize(candidates.len());
    let columns = columns.features_mut();
    #[cfg(feature = "parallel")]
    if candidates.len() >= PARALLEL_FROM {
        return engineer.fill_parallel(candidates, columns);
    }
    if setting.kernel.dispatch(Fill { engineer: &engineer, candidates, columns }) {
        Ok(())
    } else {
        Err(engineer.first_error(candidates))
    }
}

/// Computes the features of candidates whose similarities are known. Their embeddings may be empty.
pub(crate) fn engineer_found<'c>(
    setting: Setting<'_>,
    cosine: Cosine<'_>,
    metadata: Option<&Metadata>,
    found: impl ExactSizeIterator<Item = (f32, &'c Candidate)> + Clone,
    columns: &mut Columns,
) {
    columns.resize(found.len());
    let [similarities, others @ ..] = columns.features_mut();
    for (known, (similarity, _)) in similarities.iter_mut().zip(found.clone()) {
        *known = similarity;
    }
    let candidates = found.map(|(_, candidate)| candidate);
    let engineer = Engineer { cosine, metadata, setting };
    setting.kernel.dispatch(FillOthers { engineer: &engineer, candidates, columns: others });
}

/// Fewer candidates take less time than waking a thread.
#[cfg(feature = "parallel")]
const PARALLEL_FROM: usize = 1024;

/// The inputs that are the same for all candidates of a request.
struct Engineer<'a> {
    cosine: Cosine<'a>,
    metadata: Option<&'a Metadata>,
    setting: Setting<'a>,
}

impl Engineer<'_> {
    /// Splits the candidates over the current rayon pool.
    #[cfg(feature = "parallel")]
    fn fill_parallel<C: Borrow<Candidate> + Sync>(
        &self,
        candidates: &[C],
        columns: [&mut [f32]; Feature::COUNT],
    ) -> Result<(), RouteError> {
        use rayon::prelude::*;
        const SHARE: usize = PARALLEL_FROM / 4;
        let [similarity, recency, frequency, success, overlap] =
            columns.map(|column| column.par_chunks_mut(SHARE));
        let good = (candidates.par_chunks(SHARE), similarity, recency, frequency, success, overlap)
            .into_par_iter()
            .all(|(candidates, similarity, recency, frequency, success, overlap)| {
                let columns = [similarity, recency, frequency, success, overlap];
                self.setting.kernel.dispatch(Fill { engineer: self, candidates, columns })
            });
        if good { Ok(()) } else { Err(self.first_error(candidates)) }
    }

    /// The error of the first bad candidate, or of the query where all candidates have one other dimension.
    #[cold]
    fn first_error<C: Borrow<Candidate>>(&self, candidates: &[C]) -> RouteError {
        let dimensions = self.cosine.dimensions();
        let candidates = candidates.iter().map(Borrow::borrow);
        let mut lengths = candidates.clone().map(|candidate: &Candidate| candidate.embedding.len());
        let first = lengths.next().expect("one candidate is bad");
        if first != dimensions && lengths.all(|length| length == first) {
            return RouteError::DimensionMismatch { candidate: None, expected: first, actual: dimensions };
        }
        let mut checked = candidates.enumerate().map(|(index, candidate)| {
            let (expected, actual) = (dimensions, candidate.embedding.len());
            if actual != expected {
                return Err(RouteError::DimensionMismatch { candidate: Some(index), expected, actual });
            }
            check_candidate(candidate, index)
        });
        checked.find_map(Result::err).expect("one candidate is bad")
    }
}

/// Checks a candidate of any dimension.
pub(crate) fn check_candidate(candidate: &Candidate, index: usize) -> Result<(), RouteError> {
    similarity::check(&candidate.embedding, Some(index))?;
    let (success_rate, win_rate) = (candidate.success_rate, candidate.win_rate);
    if !(0.0..=1.0).contains(&success_rate) {
        return Err(RouteError::InvalidSuccessRate { candidate: index, value: success_rate });
    }
    if !(0.0..=success_rate).contains(&win_rate) {
        return Err(RouteError::InvalidWinRate { candidate: index, value: win_rate, success_rate });
    }
    Ok(())
}

/// Fills the columns of some candidates. Returns whether all candidates are valid.
struct Fill<'a, C> {
    engineer: &'a Engineer<'a>,
    candidates: &'a [C],
    columns: [&'a mut [f32]; Feature::COUNT],
}

impl<C: Borrow<Candidate>> WithSimd for Fill<'_, C> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let Self { engineer, candidates, columns: [similarities, others @ ..] } = self;
        FillSimilarities { cosine: &engineer.cosine, candidates, similarities }.with_simd(simd)
            && FillOthers { engineer, candidates: candidates.iter().map(Borrow::borrow), columns: others }
                .with_simd(simd)
    }
}

/// Fills in the similarities of some candidates. Returns whether all embeddings are valid.
pub(crate) struct FillSimilarities<'a, C> {
    pub(crate) cosine: &'a Cosine<'a>,
    pub(crate) candidates: &'a [C],
    pub(crate) similarities: &'a mut [f32],
}

impl<C: Borrow<Candidate>> WithSimd for FillSimilarities<'_, C> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let Self { cosine, candidates, similarities } = self;
        let dimensions = cosine.dimensions();
        candidates.iter().all(|candidate| embedding(candidate).len() == dimensions)
            && cosine.similarities(simd, candidates, embedding, similarities)
    }
}

#[inline(always)]
fn embedding<C: Borrow<Candidate>>(candidate: &C) -> &[f32] {
    &candidate.borrow().embedding
}

/// Fills all columns of some candidates but the similarity. Returns whether all rates are valid.
struct FillOthers<'a, I> {
    engineer: &'a Engineer<'a>,
    candidates: I,
    columns: [&'a mut [f32]; Feature::COUNT - 1],
}

impl<'c, I: Iterator<Item = &'c Candidate> + Clone> WithSimd for FillOthers<'_, I> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let Self { engineer, candidates, columns: [recency, frequency, success, overlap] } = self;
        let Setting { scales, ties, now, .. } = engineer.setting;
        let mut good = true;
        let places = recency.iter_mut().zip(frequency).zip(success);
        for (((recency, frequency), success), candidate) in places.zip(candidates.clone()) {
            *recency = scales.log2_recency(now, candidate.created_at);
            *frequency = scales.frequency(candidate.access_count);
            let (success_rate, win_rate) = (candidate.success_rate, candidate.win_rate);
            *success = ties.rate(success_rate, win_rate);
            // 0 <= win rate <= success rate <= 1, which is false for NaN.
            good &= 0.0 <= win_rate;
            good &= win_rate <= success_rate;
            good &= success_rate <= 1.0;
        }
        match engineer.metadata {
            Some(query) if !query.is_empty() => {
                for (overlap, candidate) in overlap.iter_mut().zip(candidates) {
                    *overlap = metadata_overlap(query, &candidate.metadata);
                }
            }
            _ => overlap.fill(0.0),
        }
        let (vectors, rest) = S::as_mut_simd_f32s(recency);
        for recency in vectors {
            *recency = exp2(simd, *recency);
        }
        if !rest.is_empty() {
            let recency = exp2(simd, simd.partial_load_f32s(rest));
            simd.partial_store_f32s(rest, recency);
        }
        good
    }
}

/// `2^(-age / half-life)`. A time in the future has age 0.
pub fn recency(now: i64, created_at: i64, half_life: Duration) -> f32 {
    let age = now.saturating_sub(created_at).max(0) as f64;
    (-age / half_life.as_secs_f64()).exp2() as f32
}

/// `min(1, ln(1 + access_count) / ln(1001))`.
pub fn frequency(access_count: u64) -> f32 {
    ((access_count as f64).ln_1p() / 1001_f64.ln()).min(1.0) as f32
}

/// Jaccard index of two sets of key-value pairs: the number of shared pairs by that of all pairs, 0 if either set is
/// empty.
pub(crate) fn metadata_overlap(query: &Metadata, candidate: &Metadata) -> f32 {
    if candidate.is_empty() {
        return 0.0;
    }
    let shared = query.iter().filter(|(key, value)| candidate.get(*key) == Some(value)).count();
    shared as f32 / (query.len() + candidate.len() - shared) as f32
}

#[cfg(test)]
mod tests;
