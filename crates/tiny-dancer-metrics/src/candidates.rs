//! The confidences and uncertainties of all candidates of a request, recorded in one go.
//!
//! Bounds lie in vectors, and one candidate after the other is compared with all of them at once: how many candidates are
//! not above each bound is counted, and added to what the bound's cell has. Nothing is looked up in a table, and a cell is
//! written once, however many candidates there are.

use crate::catalogue::{CONFIDENCE_SCORES, UNCERTAINTY_ESTIMATES};
use crate::distribution::Bounds;
use crate::shard::{BLOCK, Histograms, Shard};
use pulp::{Arch, Scalar, Simd, WithSimd};
use tiny_dancer_core::{ModelType, RoutingDecision};

const CONFIDENCES: Histograms = Histograms::of(&CONFIDENCE_SCORES);
const UNCERTAINTIES: Histograms = Histograms::of(&UNCERTAINTY_ESTIMATES);

/// Observes each candidate's confidence and uncertainty: these two as columns, in any order, and with what they decide, the
/// highest confidence first.
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

/// Never inlined, since each request calls the caller, which would grow by it.
#[inline(never)]
fn record_scalar(record: Record<'_>) {
    record.with_simd(Scalar);
}

/// Records what there is to a block of bounds. Up to eight words of it are passed in registers.
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
        // Decisions are sorted by confidence: where the first is not sure enough, all are for the powerful model.
        if decisions.first().is_some_and(|first| first.confidence >= confidence_threshold) {
            let lightweight = simd.vectorize(Lightweight { bounds, decisions, confidence_threshold });
            all.subtract(&lightweight);
            lightweight.flush(shard, ModelType::Lightweight, bounds);
        }
        all.flush(shard, ModelType::Powerful, bounds);
    }
}

/// Makes the tally of those that are for the lightweight model.
struct Lightweight<'a> {
    bounds: &'a Bounds,
    decisions: &'a [RoutingDecision],
    confidence_threshold: f32,
}

impl WithSimd for Lightweight<'_> {
    type Output = Tally;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Tally {
        /// So many decisions are looked through at a time.
        const DECISIONS: usize = 64;
        let is_sure = |decision: &&RoutingDecision| decision.confidence >= self.confidence_threshold;
        let (mut tally, mut values) = (Tally::default(), [[0.0; DECISIONS]; 2]);
        for decisions in self.decisions.chunks(DECISIONS) {
            let mut chosen = 0;
            for decision in decisions.iter().take_while(is_sure) {
                (values[0][chosen], values[1][chosen]) = (decision.confidence, decision.uncertainty);
                chosen += usize::from(decision.use_lightweight);
            }
            tally.add(simd, self.bounds, values.each_ref().map(|values| &values[..chosen]));
            if !decisions.last().as_ref().is_some_and(is_sure) {
                break;
            }
        }
        tally
    }
}

/// Confidences and uncertainties: how many there are, how many of them are not above each bound, and their sums.
#[derive(Default)]
struct Tally {
    values: u32,
    not_above: [[u32; BLOCK]; 2],
    sums: [f64; 2],
}

impl Tally {
    /// Takes more values in.
    #[inline(always)]
    fn add<S: Simd>(&mut self, simd: S, bounds: &Bounds, columns: [&[f32]; 2]) {
        /// Fewer values are added up one by one.
        const MANY: usize = 32;
        self.values += columns[0].len() as u32;
        if columns[0].len() < MANY {
            self.count::<S, true>(simd, bounds, columns);
        } else {
            self.count::<S, false>(simd, bounds, columns);
            for family in 0..2 {
                self.sums[family] += simd.vectorize(Sum(columns[family]));
            }
        }
    }

    /// Counts, and adds up where `SUM` says so.
    #[inline(always)]
    fn count<S: Simd, const SUM: bool>(&mut self, simd: S, bounds: &Bounds, columns: [&[f32]; 2]) {
        // Either one vector has all bounds of a block, or two at a time are compared.
        if S::F32_LANES == BLOCK {
            self.count_in::<S, 1, SUM>(simd, bounds, columns, 0);
        } else {
            for first in (0..BLOCK / S::F32_LANES).step_by(2) {
                // Each value once.
                if first == 0 {
                    self.count_in::<S, 2, SUM>(simd, bounds, columns, first);
                } else {
                    self.count_in::<S, 2, false>(simd, bounds, columns, first);
                }
            }
        }
    }

    /// The same for bounds in some vectors of a block, of which `first` is the first.
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
                    let here = simd.select_u32s(simd.less_than_or_equal_f32s(value, bounds), minus_one, zero);
                    downwards[family][v] = simd.add_u32s(downwards[family][v], here);
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

    /// Takes out what is in here.
    #[inline(always)]
    fn subtract(&mut self, part: &Self) {
        self.values -= part.values;
        for family in 0..2 {
            for bound in 0..BLOCK {
                self.not_above[family][bound] -= part.not_above[family][bound];
            }
            // The difference of two sums may round to less than nothing.
            self.sums[family] = (self.sums[family] - part.sums[family]).max(0.0);
        }
    }

    /// Gives it to the cells of these bounds.
    #[inline(always)]
    fn flush(&self, shard: &Shard, model: ModelType, bounds: &Bounds) {
        self.flush_family(0, CONFIDENCES, shard, model, bounds);
        self.flush_family(1, UNCERTAINTIES, shard, model, bounds);
    }

    /// The same for a family, whose cells the compiler knows.
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
            // Where no bound is left.
            shard.observe(histograms, model as usize, (bounds.block + 1) * BLOCK, self.values.into());
            shard.add_to_float_sum(histograms, model as usize, self.sums[family]);
        }
    }
}

/// The sum of values from 0 to 1, to within 1e-9 for each of them.
///
/// Single precision has too few bits for a sum, and doubles would have to be made of the values one by one. So each value is cut
/// in two: its part in whole 2048ths, of which sums are exact, and the rest, of which sums round by so much less.
struct Sum<'a>(&'a [f32]);

impl WithSimd for Sum<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        /// From 2^12 on, a 2048th is what the last bit stands for, so that adding this rounds to whole ones.
        const ROUND: f32 = 6144.0;
        /// So many vectors are added up in single precision.
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
