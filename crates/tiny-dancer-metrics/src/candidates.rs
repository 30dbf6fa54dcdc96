//! The confidences and uncertainties of all candidates of a request, recorded in one pass.
//!
//! Bounds lie in vectors, and each candidate is compared with all bounds of a block at once. The pass counts, for each
//! bound, the candidates that are not above it, and adds the count to the bound's cell. There is no table lookup, and each
//! cell is written once a request, for any number of candidates.

use crate::catalogue::{CONFIDENCE_SCORES, UNCERTAINTY_ESTIMATES};
use crate::distribution::Bounds;
use crate::shard::{BLOCK, Histograms, Shard};
use pulp::{Arch, Scalar, Simd, WithSimd};
use tiny_dancer_core::{ModelType, RoutingDecision};

const CONFIDENCES: Histograms = Histograms::of(&CONFIDENCE_SCORES);
const UNCERTAINTIES: Histograms = Histograms::of(&UNCERTAINTY_ESTIMATES);

/// Observes each candidate's confidence and uncertainty. `columns` has the two in any order of the candidates; `decisions`
/// has them with what each candidate decides, the highest confidence first.
#[inline(always)]
pub(crate) fn record(
    arch: Arch,
    blocks: &[Bounds],
    shard: &Shard,
    columns: [&[f32]; 2],
    decisions: &[RoutingDecision],
    confidence_threshold: f32,
) {
    for bounds in blocks {
        let record = Record { bounds, shard, columns: &columns, decisions, confidence_threshold };
        if matches!(arch, Arch::Scalar) { record_scalar(record) } else { arch.dispatch(record) }
    }
}

/// Never inlined, since it would enlarge the caller, which each request runs.
#[inline(never)]
fn record_scalar(record: Record<'_>) {
    record.with_simd(Scalar);
}

/// Records into the cells of one block of bounds. It has at most eight words, since so many are passed in registers.
struct Record<'a> {
    bounds: &'a Bounds,
    shard: &'a Shard,
    columns: &'a [&'a [f32]; 2],
    decisions: &'a [RoutingDecision],
    confidence_threshold: f32,
}

impl WithSimd for Record<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { bounds, shard, columns, decisions, confidence_threshold } = self;
        let mut all = Tally::default();
        all.add(simd, bounds, *columns);
        // Decisions are sorted by confidence: if the first is below the threshold, all are for the powerful model.
        if decisions.first().is_some_and(|first| first.confidence >= confidence_threshold) {
            let lightweight = simd.vectorize(Lightweight { bounds, decisions, confidence_threshold });
            all.subtract(&lightweight);
            lightweight.flush(shard, ModelType::Lightweight, bounds);
        }
        all.flush(shard, ModelType::Powerful, bounds);
    }
}

/// Tallies the candidates that are for the lightweight model.
struct Lightweight<'a> {
    bounds: &'a Bounds,
    decisions: &'a [RoutingDecision],
    confidence_threshold: f32,
}

impl WithSimd for Lightweight<'_> {
    type Output = Tally;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Tally {
        /// How many decisions are read at a time.
        const DECISIONS: usize = 64;
        let is_confident = |decision: &&RoutingDecision| decision.confidence >= self.confidence_threshold;
        let (mut tally, mut values) = (Tally::default(), [[0.0; DECISIONS]; 2]);
        for decisions in self.decisions.chunks(DECISIONS) {
            let mut chosen = 0;
            for decision in decisions.iter().take_while(is_confident) {
                (values[0][chosen], values[1][chosen]) = (decision.confidence, decision.uncertainty);
                chosen += usize::from(decision.use_lightweight);
            }
            tally.add(simd, self.bounds, values.each_ref().map(|values| &values[..chosen]));
            if !decisions.last().as_ref().is_some_and(is_confident) {
                break;
            }
        }
        tally
    }
}

/// How many candidates there are; and for confidences and uncertainties, how many are not above each bound, and their sums.
#[derive(Default)]
struct Tally {
    candidates: u32,
    not_above: [[u32; BLOCK]; 2],
    sums: [f64; 2],
}

impl Tally {
    /// Adds more candidates.
    #[inline(always)]
    fn add<S: Simd>(&mut self, simd: S, bounds: &Bounds, columns: [&[f32]; 2]) {
        /// Fewer values than this are summed one by one.
        const MANY: usize = 32;
        self.candidates += columns[0].len() as u32;
        if columns[0].len() < MANY {
            self.count::<S, true>(simd, bounds, columns);
        } else {
            self.count::<S, false>(simd, bounds, columns);
            for family in 0..2 {
                self.sums[family] += simd.vectorize(Sum(columns[family]));
            }
        }
    }

    /// Counts the values, and sums them if `SUM`.
    #[inline(always)]
    fn count<S: Simd, const SUM: bool>(&mut self, simd: S, bounds: &Bounds, columns: [&[f32]; 2]) {
        // One vector holds all bounds of a block, or two vectors are compared at a time.
        if S::F32_LANES == BLOCK {
            self.count_in::<S, 1, SUM>(simd, bounds, columns, 0);
        } else {
            for first in (0..BLOCK / S::F32_LANES).step_by(2) {
                // Each value is summed once.
                if first == 0 {
                    self.count_in::<S, 2, SUM>(simd, bounds, columns, first);
                } else {
                    self.count_in::<S, 2, false>(simd, bounds, columns, first);
                }
            }
        }
    }

    /// The same for the bounds in `VECTORS` vectors of a block, from the vector `first` on.
    #[inline(always)]
    fn count_in<S: Simd, const VECTORS: usize, const SUM: bool>(
        &mut self,
        simd: S,
        bounds: &Bounds,
        columns: [&[f32]; 2],
        first: usize,
    ) {
        // Counts go down, since a mask that fills its lanes is -1 already. With AVX-512 a mask is bits, and -1 takes one more
        // instruction for each value: 0.5% of those of a request of 100 candidates.
        let (zero, minus_one) = (simd.splat_u32s(0), simd.splat_u32s(u32::MAX));
        let mut downwards = [[zero; VECTORS]; 2];
        for (&confidence, &uncertainty) in columns[0].iter().zip(columns[1]) {
            for (family, value) in [confidence, uncertainty].into_iter().enumerate() {
                if SUM {
                    self.sums[family] += f64::from(value);
                }
                let value = simd.splat_f32s(value);
                for v in 0..VECTORS {
                    let bounds = S::as_simd_f32s(&bounds.values[family]).0[first + v];
                    let change =
                        simd.select_u32s(simd.less_than_or_equal_f32s(value, bounds), minus_one, zero);
                    downwards[family][v] = simd.add_u32s(downwards[family][v], change);
                }
            }
        }
        for family in 0..2 {
            let not_above = S::as_mut_simd_u32s(&mut self.not_above[family]).0;
            for v in 0..VECTORS {
                not_above[first + v] = simd.sub_u32s(not_above[first + v], downwards[family][v]);
            }
        }
    }

    /// Subtracts the tally of some of these candidates.
    #[inline(always)]
    fn subtract(&mut self, part: &Self) {
        self.candidates -= part.candidates;
        for family in 0..2 {
            for bound in 0..BLOCK {
                self.not_above[family][bound] -= part.not_above[family][bound];
            }
            // The difference of two sums may round to a negative number.
            self.sums[family] = (self.sums[family] - part.sums[family]).max(0.0);
        }
    }

    /// Adds the counts to the cells of these bounds.
    #[inline(always)]
    fn flush(&self, shard: &Shard, model: ModelType, bounds: &Bounds) {
        self.flush_family(0, CONFIDENCES, shard, model, bounds);
        self.flush_family(1, UNCERTAINTIES, shard, model, bounds);
    }

    /// The same for one family. `histograms` is a constant, so the compiler knows the cells.
    #[inline(always)]
    fn flush_family(
        &self,
        family: usize,
        histograms: Histograms,
        shard: &Shard,
        model: ModelType,
        bounds: &Bounds,
    ) {
        shard.observe_block(histograms, model as usize, bounds.block, &self.not_above[family]);
        if bounds.is_last {
            // The cell of +Inf.
            shard.observe(histograms, model as usize, (bounds.block + 1) * BLOCK, self.candidates.into());
            shard.add_to_float_sum(histograms, model as usize, self.sums[family]);
        }
    }
}

/// The sum of values from 0 to 1, to within 1e-9 for each of them.
///
/// Single precision has too few bits for the sum, and conversion to doubles takes the values one by one. So each value is
/// split into its whole 2048ths, whose sums are exact, and a rest, whose sums round by much less.
struct Sum<'a>(&'a [f32]);

impl WithSimd for Sum<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        /// From 2^12 on, the last bit of an `f32` is a 2048th, so adding this rounds to whole 2048ths.
        const ROUND: f32 = 6144.0;
        /// How many vectors are summed in single precision.
        const VECTORS: usize = 16;
        let (vectors, rest) = S::as_simd_f32s(self.0);
        let round = simd.splat_f32s(ROUND);
        let mut sum = 0.0;
        for vectors in vectors.chunks(VECTORS) {
            let mut sums = [simd.splat_f32s(0.0); 2];
            for &values in vectors {
                let whole = simd.sub_f32s(simd.add_f32s(values, round), round);
                sums[0] = simd.add_f32s(sums[0], whole);
                sums[1] = simd.add_f32s(sums[1], simd.sub_f32s(values, whole));
            }
            sum += f64::from(simd.reduce_sum_f32s(sums[0])) + f64::from(simd.reduce_sum_f32s(sums[1]));
        }
        for &value in rest {
            sum += f64::from(value);
        }
        sum
    }
}

#[cfg(test)]
mod tests;
