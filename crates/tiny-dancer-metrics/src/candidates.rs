//! The confidences and uncertainties of all candidates of a request, recorded in one go.
//!
//! Bounds lie in vectors, and one candidate after the other is compared with all of them at once: how many candidates are
//! not above each bound is counted, and added to what the bound's cell has. Nothing is looked up in a table, and a cell is
//! written once, however many candidates there are.

use crate::catalogue::{CONFIDENCE_SCORES, UNCERTAINTY_ESTIMATES};
use crate::distribution::{BLOCK, Block, Distributions};
use crate::shard::{BUCKETS, Histograms, Shard};
use pulp::{Arch, Simd, WithSimd};
use tiny_dancer_core::{ModelType, RoutingDecision};

/// Confidences, and uncertainties.
const FAMILIES: [Histograms; 2] =
    [Histograms::of(&CONFIDENCE_SCORES), Histograms::of(&UNCERTAINTY_ESTIMATES)];

const LIGHTWEIGHT: usize = ModelType::Lightweight as usize;
const POWERFUL: usize = ModelType::Powerful as usize;

/// Observes each candidate's confidence and uncertainty: these two as columns, in any order, and with what they decide, the
/// highest confidence first.
#[inline]
pub(crate) fn record(
    arch: Arch,
    distributions: &Distributions,
    shard: &Shard,
    columns: [&[f32]; 2],
    decisions: &[RoutingDecision],
    confidence_threshold: f32,
) {
    // Decisions are sorted by confidence: from the first that is not sure enough on, all are for the powerful model.
    let is_sure = |decision: &&RoutingDecision| decision.confidence >= confidence_threshold;
    let sure = &decisions[..decisions.iter().take_while(is_sure).count()];
    arch.dispatch(Record { distributions, shard, columns, sure });
}

struct Record<'a> {
    distributions: &'a Distributions,
    shard: &'a Shard,
    columns: [&'a [f32]; 2],
    /// The first decisions, among which are all that are for the lightweight model.
    sure: &'a [RoutingDecision],
}

/// So many sure decisions are looked through at a time.
const SURE: usize = 64;

impl WithSimd for Record<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { distributions: Distributions { confidence, uncertainty, .. }, shard, columns, sure } =
            self;
        let bounds = [confidence, uncertainty].map(|family| family.bounds.as_slice());
        let blocks = bounds[0].len().max(bounds[1].len());
        let (mut lightweight, mut sums) = (0, [0.0; 2]);
        for block in 0..blocks {
            let mut of_lightweight = [[0; BLOCK]; 2];
            for sure in sure.chunks(SURE) {
                let (mut chosen, mut values) = (0, [[0.0; SURE]; 2]);
                for decision in sure {
                    (values[0][chosen], values[1][chosen]) = (decision.confidence, decision.uncertainty);
                    chosen += usize::from(decision.use_lightweight);
                }
                for family in 0..2 {
                    let values = &values[family][..chosen];
                    count(simd, bounds[family].get(block), values, &mut of_lightweight[family]);
                    if block == 0 {
                        sums[family] += sum(simd, values);
                    }
                }
                if block == 0 {
                    lightweight += chosen as u64;
                }
            }
            // The remainder is what it was, and spares checks.
            let first = BLOCK * (block % (BUCKETS / BLOCK));
            for family in 0..2 {
                let mut of_all = [0; BLOCK];
                count(simd, bounds[family].get(block), columns[family], &mut of_all);
                if lightweight > 0 {
                    for bound in 0..BLOCK {
                        let lightweight = of_lightweight[family][bound];
                        of_all[bound] -= lightweight;
                        shard.observe(FAMILIES[family], LIGHTWEIGHT, first + bound, lightweight.into());
                    }
                }
                for bound in 0..BLOCK {
                    shard.observe(FAMILIES[family], POWERFUL, first + bound, of_all[bound].into());
                }
            }
        }
        for family in 0..2 {
            // Where no bound is left.
            let last = BLOCK * blocks % BUCKETS;
            let (family, all, sum_of_lightweight) = (FAMILIES[family], columns[family], sums[family]);
            if lightweight > 0 {
                shard.observe(family, LIGHTWEIGHT, last, lightweight);
                shard.add_to_float_sum(family, LIGHTWEIGHT, sum_of_lightweight);
            }
            shard.observe(family, POWERFUL, last, all.len() as u64 - lightweight);
            // The difference of two sums may round to less than nothing.
            shard.add_to_float_sum(family, POWERFUL, (sum(simd, all) - sum_of_lightweight).max(0.0));
        }
    }
}

/// The sum of values from 0 to 1, to within 1e-9 for each of them.
///
/// Single precision has too few bits for a sum, and a conversion for each value takes longer than everything else here. So
/// each is cut in two: its part in whole 2048ths, of which sums are exact, and the rest, of which sums round by so much less.
#[inline(always)]
fn sum<S: Simd>(simd: S, values: &[f32]) -> f64 {
    /// From 2^12 on, a 2048th is what the last bit stands for, so that adding this rounds to whole ones.
    const ROUND: f32 = 6144.0;
    /// So many vectors are added up in single precision.
    const VECTORS: usize = 16;
    /// Fewer values are added up one by one.
    const MANY: usize = 32;
    let mut sum = 0.0;
    let mut rest = values;
    if values.len() >= MANY {
        let vectors;
        (vectors, rest) = S::as_simd_f32s(values);
        let round = simd.splat_f32s(ROUND);
        for vectors in vectors.chunks(VECTORS) {
            let mut sums = [simd.splat_f32s(0.0); 2];
            for &values in vectors {
                let whole = simd.sub_f32s(simd.add_f32s(values, round), round);
                sums[0] = simd.add_f32s(sums[0], whole);
                sums[1] = simd.add_f32s(sums[1], simd.sub_f32s(values, whole));
            }
            sum += f64::from(simd.reduce_sum_f32s(sums[0])) + f64::from(simd.reduce_sum_f32s(sums[1]));
        }
    }
    let (fours, rest) = rest.as_chunks::<4>();
    for &[a, b, c, d] in fours {
        sum += (f64::from(a) + f64::from(b)) + (f64::from(c) + f64::from(d));
    }
    for &value in rest {
        sum += f64::from(value);
    }
    sum
}

/// Counts how many values are not above each bound, or none where there are no bounds.
#[inline(always)]
fn count<S: Simd>(simd: S, bounds: Option<&Block>, values: &[f32], counts: &mut [u32; BLOCK]) {
    let Some(bounds) = bounds else { return };
    let (bounds, counts) = (S::as_simd_f32s(bounds).0, S::as_mut_simd_u32s(counts).0);
    if let [counts] = counts {
        count_in(simd, [bounds[0]], values, std::slice::from_mut(counts));
    } else {
        for (bounds, counts) in bounds.as_chunks::<2>().0.iter().zip(counts.chunks_mut(2)) {
            count_in(simd, *bounds, values, counts);
        }
    }
}

/// The same for bounds in as many vectors as are compared at a time.
#[inline(always)]
fn count_in<S: Simd, const VECTORS: usize>(
    simd: S,
    bounds: [S::f32s; VECTORS],
    values: &[f32],
    counts: &mut [S::u32s],
) {
    let (zero, less) = (simd.splat_u32s(0), simd.splat_u32s(u32::MAX));
    let mut downwards = [zero; VECTORS];
    for &value in values {
        let value = simd.splat_f32s(value);
        for v in 0..VECTORS {
            // A comparison leaves -1 in a lane, so that adding it is all.
            let here = simd.select_u32s(simd.less_than_or_equal_f32s(value, bounds[v]), less, zero);
            downwards[v] = simd.add_u32s(downwards[v], here);
        }
    }
    for v in 0..VECTORS {
        counts[v] = simd.sub_u32s(counts[v], downwards[v]);
    }
}

#[cfg(test)]
mod tests;
