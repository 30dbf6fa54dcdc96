//! Split conformal prediction, Mondrian by evidence: how much a confidence is worth.
//!
//! A confidence says what the model believes; conformal prediction says what such beliefs were worth on rows that
//! the model never saw (Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005, sections 2.2
//! and 4.5). The nonconformity score of a label is one minus the probability that the model gave it. The calibration
//! set's scores are kept by *bin*: how similar the nearest candidate was, and how many candidates there were, since
//! a vote of sixty near neighbours is worth more than a glance at one far one. Within its bin a label has the p-value
//!
//! ```text
//! p(label) = (scores >= mine + 1) / (n + 1)
//! ```
//!
//! and the **uncertainty** is the smaller of the two labels' p-values: near 0 when one label is all but excluded, and
//! about the bin's error rate when the model cannot tell. Where a bin holds fewer than [`MIN_BIN_ROWS`] rows nothing
//! is known, and the uncertainty is 1: a query unlike anything remembered is never routed on a lucky score.
//!
//! Coverage is marginal within a bin: of requests that are exchangeable with the bin's calibration rows, at most a
//! share `e` has a true label with p-value `e` or less. It says nothing of one request, nor of other traffic.

use crate::kernel::Kernel;
use pulp::{Simd, WithSimd};

/// A bin with fewer calibration rows answers 1.
pub const MIN_BIN_ROWS: usize = 50;

/// The nonconformity score of a label: one minus the probability that the model gave it.
///
/// `sufficed` is the label "the lightweight model suffices". The other label's probability is `1 - confidence`, so
/// its score is the confidence itself, exactly.
pub fn nonconformity(confidence: f32, sufficed: bool) -> f32 {
    if sufficed { 1.0 - confidence } else { confidence }
}

/// One row of the calibration set, for those who make a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CalibrationRow {
    /// What the model said.
    pub confidence: f32,
    /// What was true: the lightweight model sufficed.
    pub sufficed: bool,
    /// Similarity of the nearest candidate.
    pub top_similarity: f32,
    /// How many candidates there were.
    pub candidates: usize,
}

/// The calibration scores of one use of the cell, by bin.
///
/// A value equal to an edge belongs to the bin above it. Bins are numbered by similarity first:
/// `similarity_bin * (count_edges.len() + 1) + count_bin`.
///
/// ```
/// use tiny_dancer_core::conformal::{CalibrationRow, CalibrationTable};
///
/// let rows = (0..99).map(|i| CalibrationRow {
///     confidence: 0.9, sufficed: i % 10 != 0, top_similarity: 0.7, candidates: 8,
/// });
/// let table = CalibrationTable::new(vec![0.5], vec![], rows);
/// // Ten of the ninety-nine rows were as wrong as "not sufficient" would be here.
/// assert_eq!(table.uncertainty(0.9, 0.7, 8), 11.0 / 100.0);
/// // Nothing was calibrated below a similarity of 0.5.
/// assert_eq!(table.uncertainty(0.9, 0.3, 8), 1.0);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct CalibrationTable {
    /// Where similarity bins meet, ascending.
    pub(crate) similarity_edges: Vec<f32>,
    /// Where bins by number of candidates meet, ascending.
    pub(crate) count_edges: Vec<u32>,
    /// Where each bin's scores start in `scores`, and where the last one's end.
    pub(crate) offsets: Vec<u32>,
    /// Nonconformity scores, ascending within a bin.
    pub(crate) scores: Vec<f32>,
    /// The same for looking up.
    pub(crate) lookup: Lookup,
}

/// P-values by score. A search by halves waits for each of its comparisons; from a cell it is a step or two.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Lookup {
    /// For each bin its scores, and infinity; infinity alone where they are too few.
    scores: Vec<f32>,
    /// For each of these the p-value of what is above those before.
    p_values: Vec<f32>,
    /// For each bin and each [`cell`], where the scores from there on begin.
    starts: Vec<u32>,
}

/// One for each 256th of 0 to 1, and one for 1 itself.
const CELLS: usize = 257;

/// So many bits of a number from 1 on do not matter for its cell.
const CELL_BITS: u32 = 23 - 8;
/// What the others are for 1 itself.
const ONE: u32 = 1.0_f32.to_bits() >> CELL_BITS;

/// Which one a score of 0 to 1 lies in: the first bits behind the point, once it is between 1 and 2. That sum may round
/// up, but never puts a smaller score after a larger one. What is no such score lies in the last one.
#[inline(always)]
fn cell(score: f32) -> usize {
    (((score + 1.0).to_bits() >> CELL_BITS).wrapping_sub(ONE) as usize).min(CELLS - 1)
}

impl Lookup {
    fn new(table: &CalibrationTable) -> Self {
        let mut lookup = Self::default();
        for bin in 0..table.bins() {
            let first = lookup.scores.len();
            let known = table.scores(bin);
            let scores = if known.len() < MIN_BIN_ROWS { &[] } else { known };
            let start = |at| (first + scores.partition_point(|&score| cell(score) < at)) as u32;
            lookup.starts.extend((0..CELLS).map(start));
            lookup.scores.extend(scores.iter().copied().chain([f32::INFINITY]));
            lookup
                .p_values
                .extend((0..=scores.len()).map(|below| ratio(scores.len() - below + 1, scores.len() + 1)));
        }
        lookup
    }

    /// The p-value of a score of 0 to 1, whose bin and cell say which start is its own.
    #[inline(always)]
    fn p_value(&self, start: usize, score: f32) -> f32 {
        let mut at = self.starts[start] as usize;
        while self.scores[at] < score {
            at += 1;
        }
        self.p_values[at]
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

    /// Makes the lookup.
    pub(crate) fn prepare(&mut self) {
        self.lookup = Lookup::new(self);
    }

    /// How many bins there are.
    pub fn bins(&self) -> usize {
        (self.similarity_edges.len() + 1) * (self.count_edges.len() + 1)
    }

    /// The bin of a request: how similar its nearest candidate is, and how many there are.
    pub fn bin(&self, top_similarity: f32, candidates: usize) -> usize {
        self.similarity_bin(top_similarity) + self.count_bin(candidates)
    }

    /// The first bin of a similarity.
    #[inline]
    fn similarity_bin(&self, top_similarity: f32) -> usize {
        let below = self.similarity_edges.iter().filter(|&&edge| edge <= top_similarity).count();
        below * (self.count_edges.len() + 1)
    }

    /// How many bins come between the first one of a similarity and that of this many candidates.
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
        self.lookup.p_value(bin * CELLS + cell(score), score)
    }

    /// The [`uncertainty`](Self::uncertainty) of each of some confidences, with a similarity each and the same number of
    /// candidates. Slices of one length.
    pub(crate) fn uncertainties(
        &self,
        kernel: Kernel,
        confidences: &[f32],
        similarity: &[f32],
        candidates: usize,
        uncertainties: &mut [f32],
    ) {
        /// For so few, a vector takes longer than they do.
        const FEW: usize = 4;
        let count_bin = self.count_bin(candidates);
        if confidences.len() <= FEW {
            let values = uncertainties.iter_mut().zip(confidences).zip(similarity);
            for ((uncertainty, &confidence), &similarity) in values {
                *uncertainty = self.uncertainty_in(self.similarity_bin(similarity) + count_bin, confidence);
            }
            return;
        }
        kernel.dispatch(Starts {
            table: self,
            confidences,
            similarity,
            count_bin,
            places: &mut *uncertainties,
        });
        for (uncertainty, &confidence) in uncertainties.iter_mut().zip(confidences) {
            let start = uncertainty.to_bits() as usize;
            *uncertainty = self.lookup.p_value(start, larger_score(confidence));
        }
    }

    /// For a vector of confidences, where in the lookup's starts they begin: what [`bin`](Self::bin) and [`cell`] say.
    #[inline(always)]
    fn starts<S: Simd>(
        &self,
        simd: S,
        confidences: S::f32s,
        similarity: S::f32s,
        count_bin: usize,
    ) -> S::f32s {
        let one = simd.splat_f32s(1.0);
        let score = simd.max_f32s(simd.sub_f32s(one, confidences), confidences);
        let bits = simd.transmute_u32s_f32s(simd.add_f32s(score, one));
        let cell = simd.wrapping_dyn_shr_u32s(bits, simd.splat_u32s(CELL_BITS));
        let cell = simd.sub_u32s(cell, simd.splat_u32s(ONE));
        let last = simd.splat_u32s(CELLS as u32 - 1);
        let cell = simd.select_u32s(simd.less_than_u32s(cell, last), cell, last);
        let mut starts = simd.add_u32s(cell, simd.splat_u32s((count_bin * CELLS) as u32));
        let (none, next) =
            (simd.splat_u32s(0), simd.splat_u32s(((self.count_edges.len() + 1) * CELLS) as u32));
        for &edge in &self.similarity_edges {
            let above = simd.less_than_or_equal_f32s(simd.splat_f32s(edge), similarity);
            starts = simd.add_u32s(starts, simd.select_u32s(above, next, none));
        }
        simd.transmute_f32s_u32s(starts)
    }
}

/// The larger score belongs to the smaller p-value. Neither is NaN, which `max` would look for.
#[inline(always)]
fn larger_score(confidence: f32) -> f32 {
    let (sufficed, not) = (nonconformity(confidence, true), nonconformity(confidence, false));
    if sufficed > not { sufficed } else { not }
}

/// Which start each confidence's larger score has, written as the bits of a number.
struct Starts<'a> {
    table: &'a CalibrationTable,
    confidences: &'a [f32],
    similarity: &'a [f32],
    count_bin: usize,
    places: &'a mut [f32],
}

impl WithSimd for Starts<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { table, confidences, similarity, count_bin, places } = self;
        let (confidence_vectors, confidences) = S::as_simd_f32s(confidences);
        let (similarity_vectors, similarity) = S::as_simd_f32s(similarity);
        let (start_vectors, starts) = S::as_mut_simd_f32s(places);
        let vectors = start_vectors.iter_mut().zip(confidence_vectors).zip(similarity_vectors);
        for ((starts, &confidences), &similarity) in vectors {
            *starts = table.starts(simd, confidences, similarity, count_bin);
        }
        if !starts.is_empty() {
            let (confidences, similarity) =
                (simd.partial_load_f32s(confidences), simd.partial_load_f32s(similarity));
            simd.partial_store_f32s(starts, table.starts(simd, confidences, similarity, count_bin));
        }
    }
}

/// Of numbers of rows, which fit 32 bits.
#[inline]
fn ratio(part: usize, whole: usize) -> f32 {
    part as u32 as f32 / whole as u32 as f32
}

/// `(scores >= score + 1) / (n + 1)`, for ascending scores. Shape: `n` scores.
pub fn p_value(scores: &[f32], score: f32) -> f32 {
    let at_least = scores.len() - scores.partition_point(|&other| other < score);
    ratio(at_least + 1, scores.len() + 1)
}

#[cfg(test)]
mod tests;
