//! Split conformal prediction, Mondrian by evidence: the uncertainty of a confidence.
//!
//! A confidence is the model's own estimate. Conformal prediction compares it with the outcomes of rows that the model
//! was not trained on (Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005, sections 2.2 and
//! 4.5). The nonconformity score of a label is one minus the probability that the model gave it. The calibration set's
//! scores are kept by *bin*: by the similarity of the nearest candidate, and by the number of candidates, since sixty
//! near candidates are better evidence than one far candidate. Within its bin a label has the p-value
//!
//! ```text
//! p(label) = (count(scores >= score(label)) + 1) / (n + 1)
//! ```
//!
//! and the **uncertainty** is the smaller of the two labels' p-values. It is near 0 when one label is almost excluded,
//! and about the bin's error rate when the model cannot separate the labels. In a bin of fewer than [`MIN_BIN_ROWS`]
//! rows the uncertainty is 1: a query that resembles no candidate is never routed by a confidence that is high by
//! chance.
//!
//! Coverage is marginal within a bin: of requests that are exchangeable with the bin's calibration rows, at most a
//! share `e` has a true label with p-value `e` or less. It holds for such requests as a whole, not for a single request
//! or for other traffic.

use crate::kernel::Kernel;
use pulp::{Simd, WithSimd, bytemuck};

/// In a bin with fewer calibration rows the uncertainty is 1.
pub const MIN_BIN_ROWS: usize = 50;

/// The nonconformity score of a label: one minus the probability that the model gave it.
///
/// `sufficed` is the label "the lightweight model suffices". The other label's probability is `1 - confidence`, so its
/// score is exactly the confidence.
pub fn nonconformity(confidence: f32, sufficed: bool) -> f32 {
    if sufficed { 1.0 - confidence } else { confidence }
}

/// One row of the calibration set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CalibrationRow {
    /// The model's confidence.
    pub confidence: f32,
    /// Whether the lightweight model sufficed.
    pub sufficed: bool,
    /// Similarity of the nearest candidate.
    pub top_similarity: f32,
    /// How many candidates there were.
    pub candidates: usize,
}

/// The calibration scores of the joint pass, or of the per-candidate pass, by bin.
///
/// A value equal to an edge belongs to the bin above it. A bin's number is
/// `similarity_bin * (count_edges.len() + 1) + count_bin`.
///
/// ```
/// use tiny_dancer_core::conformal::{CalibrationRow, CalibrationTable};
///
/// let rows = (0..99).map(|i| CalibrationRow {
///     confidence: 0.9, sufficed: i % 10 != 0, top_similarity: 0.7, candidates: 8,
/// });
/// let table = CalibrationTable::new(vec![0.5], vec![], rows);
/// // The label "not sufficient" has the score 0.9. Ten of the 99 rows have this score or a larger one.
/// assert_eq!(table.uncertainty(0.9, 0.7, 8), 11.0 / 100.0);
/// // No calibration row has a similarity below 0.5.
/// assert_eq!(table.uncertainty(0.9, 0.3, 8), 1.0);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct CalibrationTable {
    /// The edges between bins of similarity, ascending.
    pub(crate) similarity_edges: Vec<f32>,
    /// The edges between bins of the number of candidates, ascending.
    pub(crate) count_edges: Vec<u32>,
    /// The start of each bin's scores in `scores`, and the end of the last bin's.
    pub(crate) offsets: Vec<u32>,
    /// Nonconformity scores, ascending within a bin.
    pub(crate) scores: Vec<f32>,
    /// P-values by score, derived from the other fields.
    pub(crate) lookup: Lookup,
}

/// P-values by score. Each comparison of a binary search waits for the one before. From the start of an [`interval`] the
/// search is one or two comparisons.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Lookup {
    /// For each bin its scores, then infinity. Only infinity for a bin with too few rows.
    steps: Vec<Step>,
    /// For each bin and each [`interval`], the index in `steps` of the first score in that interval or a later one.
    starts: Vec<u32>,
}

/// A score, and the p-value of each score that is above the one before and at most this one.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Step {
    score: f32,
    p_value: f32,
}

/// The number of intervals: one for each 256th of the range 0 to 1, and one for 1.
const INTERVALS: usize = 257;

/// The low bits of a float between 1 and 2 that do not determine its interval.
const INTERVAL_BITS: u32 = 23 - 8;
/// The remaining bits of 1.
const ONE: u32 = 1.0_f32.to_bits() >> INTERVAL_BITS;

/// The interval of a score from 0 to 1: the first eight bits of the mantissa of `score + 1`. The sum may round up, but the
/// intervals of ascending scores ascend. Any other value is in the last interval.
#[inline(always)]
fn interval(score: f32) -> usize {
    (((score + 1.0).to_bits() >> INTERVAL_BITS).wrapping_sub(ONE) as usize).min(INTERVALS - 1)
}

impl Lookup {
    fn new(table: &CalibrationTable) -> Self {
        let mut lookup = Self::default();
        for bin in 0..table.bins() {
            let first = lookup.steps.len();
            let all = table.scores(bin);
            let scores = if all.len() < MIN_BIN_ROWS { &[] } else { all };
            let start = |at| (first + scores.partition_point(|&score| interval(score) < at)) as u32;
            lookup.starts.extend((0..INTERVALS).map(start));
            let step =
                |(below, score)| Step { score, p_value: ratio(scores.len() - below + 1, scores.len() + 1) };
            lookup.steps.extend(scores.iter().copied().chain([f32::INFINITY]).enumerate().map(step));
        }
        lookup
    }

    /// The p-value of a score from 0 to 1. `start` is the index in `starts` of its bin and interval.
    #[inline(always)]
    fn p_value(&self, start: usize, score: f32) -> f32 {
        let mut at = self.starts[start] as usize;
        while self.steps[at].score < score {
            at += 1;
        }
        self.steps[at].p_value
    }
}

impl CalibrationTable {
    /// Sorts rows into bins. Edges must ascend.
    pub fn new(
        similarity_edges: Vec<f32>,
        count_edges: Vec<u32>,
        rows: impl IntoIterator<Item = CalibrationRow>,
    ) -> Self {
        let mut table = Self {
            similarity_edges,
            count_edges,
            offsets: vec![0],
            scores: vec![],
            lookup: Lookup::default(),
        };
        let mut bins = vec![vec![]; table.bins()];
        for row in rows {
            bins[table.bin(row.top_similarity, row.candidates)]
                .push(nonconformity(row.confidence, row.sufficed));
        }
        for mut scores in bins {
            scores.sort_unstable_by(f32::total_cmp);
            table.scores.append(&mut scores);
            table.offsets.push(table.scores.len() as u32);
        }
        table.prepare();
        table
    }

    /// Computes the lookup.
    pub(crate) fn prepare(&mut self) {
        self.lookup = Lookup::new(self);
    }

    /// How many bins there are.
    pub fn bins(&self) -> usize {
        (self.similarity_edges.len() + 1) * (self.count_edges.len() + 1)
    }

    /// The bin of a request, by the similarity of its nearest candidate and the number of candidates.
    pub fn bin(&self, top_similarity: f32, candidates: usize) -> usize {
        self.similarity_bin(top_similarity) + self.count_bin(candidates)
    }

    /// The first bin of a similarity.
    #[inline]
    fn similarity_bin(&self, top_similarity: f32) -> usize {
        let below = self.similarity_edges.iter().filter(|&&edge| edge <= top_similarity).count();
        below * (self.count_edges.len() + 1)
    }

    /// The offset of the bin of this many candidates from the first bin of its similarity.
    #[inline]
    fn count_bin(&self, candidates: usize) -> usize {
        self.count_edges.iter().filter(|&&edge| edge as usize <= candidates).count()
    }

    /// A bin's nonconformity scores, ascending.
    ///
    /// # Panics
    /// If there is no such bin.
    pub fn scores(&self, bin: usize) -> &[f32] {
        &self.scores[self.offsets[bin] as usize..self.offsets[bin + 1] as usize]
    }

    /// The smaller of the two labels' p-values, or 1 where the bin has too few rows.
    pub fn uncertainty(&self, confidence: f32, top_similarity: f32, candidates: usize) -> f32 {
        self.uncertainty_in(self.bin(top_similarity, candidates), confidence)
    }

    #[inline(always)]
    fn uncertainty_in(&self, bin: usize, confidence: f32) -> f32 {
        let score = larger_score(confidence);
        self.lookup.p_value(bin * INTERVALS + interval(score), score)
    }

    /// The [`uncertainty`](Self::uncertainty) of each confidence, with its own similarity and a common number of
    /// candidates. The slices have one length.
    pub(crate) fn uncertainties(
        &self,
        kernel: Kernel,
        confidences: &[f32],
        similarity: &[f32],
        candidates: usize,
        uncertainties: &mut [f32],
    ) {
        /// Up to this number, one at a time is faster than a vector.
        const FEW: usize = 4;
        let count_bin = self.count_bin(candidates);
        if confidences.len() <= FEW {
            let values = uncertainties.iter_mut().zip(confidences).zip(similarity);
            for ((uncertainty, &confidence), &similarity) in values {
                *uncertainty = self.uncertainty_in(self.similarity_bin(similarity) + count_bin, confidence);
            }
            return;
        }
        kernel.dispatch(Estimation { table: self, confidences, similarity, count_bin, uncertainties });
    }

    /// The index in the lookup's `starts` for each of a vector of confidences: the same as by [`bin`](Self::bin) and
    /// [`interval`].
    #[inline(always)]
    fn starts<S: Simd>(
        &self,
        simd: S,
        (confidences, similarity): (S::f32s, S::f32s),
        count_bin: usize,
    ) -> S::u32s {
        let one = simd.splat_f32s(1.0);
        let score = simd.max_f32s(simd.sub_f32s(one, confidences), confidences);
        let bits = simd.transmute_u32s_f32s(simd.add_f32s(score, one));
        let interval = simd.wrapping_dyn_shr_u32s(bits, simd.splat_u32s(INTERVAL_BITS));
        let interval = simd.sub_u32s(interval, simd.splat_u32s(ONE));
        let last = simd.splat_u32s(INTERVALS as u32 - 1);
        let interval = simd.select_u32s(simd.less_than_u32s(interval, last), interval, last);
        let mut starts = simd.add_u32s(interval, simd.splat_u32s((count_bin * INTERVALS) as u32));
        let (none, next) =
            (simd.splat_u32s(0), simd.splat_u32s(((self.count_edges.len() + 1) * INTERVALS) as u32));
        for &edge in &self.similarity_edges {
            let above = simd.less_than_or_equal_f32s(simd.splat_f32s(edge), similarity);
            starts = simd.add_u32s(starts, simd.select_u32s(above, next, none));
        }
        starts
    }
}

/// The larger of the two labels' scores, which has the smaller p-value. Neither is NaN, so `max`, which checks for it,
/// is not needed.
#[inline(always)]
fn larger_score(confidence: f32) -> f32 {
    let (sufficed, not) = (nonconformity(confidence, true), nonconformity(confidence, false));
    if sufficed > not { sufficed } else { not }
}

/// Computes the uncertainty of each confidence. The indices in the lookup's `starts` are computed in vectors, and the
/// p-values one at a time.
struct Estimation<'a> {
    table: &'a CalibrationTable,
    confidences: &'a [f32],
    similarity: &'a [f32],
    count_bin: usize,
    uncertainties: &'a mut [f32],
}

impl WithSimd for Estimation<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { table, confidences, similarity, count_bin, uncertainties } = self;
        let lanes = S::F32_LANES;
        let chunks =
            confidences.chunks(lanes).zip(similarity.chunks(lanes)).zip(uncertainties.chunks_mut(lanes));
        for ((confidences, similarity), uncertainties) in chunks {
            let vectors = (simd.partial_load_f32s(confidences), simd.partial_load_f32s(similarity));
            let starts = [table.starts(simd, vectors, count_bin)];
            let starts: &[u32] = bytemuck::cast_slice(&starts);
            for ((uncertainty, &confidence), &start) in uncertainties.iter_mut().zip(confidences).zip(starts)
            {
                *uncertainty = table.lookup.p_value(start as usize, larger_score(confidence));
            }
        }
    }
}

/// The ratio of two numbers of rows, which fit 32 bits.
#[inline]
fn ratio(part: usize, whole: usize) -> f32 {
    part as u32 as f32 / whole as u32 as f32
}

/// `(count(scores >= score) + 1) / (n + 1)`, for `n` ascending scores.
pub fn p_value(scores: &[f32], score: f32) -> f32 {
    let at_least = scores.len() - scores.partition_point(|&other| other < score);
    ratio(at_least + 1, scores.len() + 1)
}

#[cfg(test)]
mod tests;
