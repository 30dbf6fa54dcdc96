//! The confidences and uncertainties of all candidates of a request, recorded in one go.
//!
//! Bounds lie in vectors, and one candidate after the other is compared with all of them at once: how many candidates are
//! above each bound is counted, and then each bucket gets what is above the bound before and not above its own. Nothing is
//! looked up in a table, and a cell is written once, however many candidates there are.

use crate::catalogue::{CONFIDENCE_SCORES, UNCERTAINTY_ESTIMATES};
use crate::distribution::{BLOCK, Block, Distributions};
use crate::shard::{BUCKETS, Histograms, Shard};
use pulp::{Arch, Simd, WithSimd};
use tiny_dancer_core::{ModelType, RoutingDecision};

const CONFIDENCES: Histograms = Histograms::of(&CONFIDENCE_SCORES);
const UNCERTAINTIES: Histograms = Histograms::of(&UNCERTAINTY_ESTIMATES);

/// Bounds that nothing is above.
const NONE: Block = [f32::INFINITY; BLOCK];

/// Observes each candidate's confidence and uncertainty. The highest confidence comes first.
#[inline]
pub(crate) fn record(
    arch: Arch,
    distributions: &Distributions,
    shard: &Shard,
    decisions: &[RoutingDecision],
    confidence_threshold: f32,
) {
    // They are sorted by confidence: from the first that is not sure enough on, all are for the powerful model.
    let is_sure = |decision: &&RoutingDecision| decision.confidence >= confidence_threshold;
    let sure = &decisions[..decisions.iter().take_while(is_sure).count()];
    let lightweight = sure.iter().filter(|decision| decision.use_lightweight).count() as u32;
    let mut above = [[lightweight; 2], [decisions.len() as u32 - lightweight; 2]];
    let Distributions { confidence, uncertainty, .. } = distributions;
    let blocks = confidence.bounds.len().max(uncertainty.bounds.len());
    for block in 0..blocks {
        let bounds = [confidence, uncertainty].map(|it| it.bounds.get(block).unwrap_or(&NONE));
        let above = &mut above;
        arch.dispatch(Record {
            shard,
            decisions,
            sure,
            has_lightweight: lightweight > 0,
            block,
            bounds,
            above,
        });
    }
    // What is above all bounds.
    let last = BLOCK * blocks % BUCKETS;
    for (model, above) in [ModelType::Lightweight, ModelType::Powerful].into_iter().zip(above) {
        shard.observe(CONFIDENCES, model as usize, last, above[0].into());
        shard.observe(UNCERTAINTIES, model as usize, last, above[1].into());
    }
}

/// Records into the buckets of one block of bounds, which in most cases are all.
struct Record<'a> {
    shard: &'a Shard,
    decisions: &'a [RoutingDecision],
    /// The first of these, among which are all that are for the lightweight model.
    sure: &'a [RoutingDecision],
    /// Whether there are any.
    has_lightweight: bool,
    block: usize,
    /// For confidences, and for uncertainties.
    bounds: [&'a Block; 2],
    /// What is above the block before, for each model.
    above: &'a mut [[u32; 2]; 2],
}

impl WithSimd for Record<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { shard, decisions, sure, has_lightweight, block, bounds, above } = self;
        let mut powerful = Tally::of(simd, bounds, decisions, |_| true);
        if has_lightweight {
            let lightweight = Tally::of(simd, bounds, sure, |decision| decision.use_lightweight);
            powerful.subtract(&lightweight);
            lightweight.flush(shard, ModelType::Lightweight, block, &mut above[0]);
        }
        powerful.flush(shard, ModelType::Powerful, block, &mut above[1]);
    }
}

/// Of confidences and of uncertainties, how many are above each bound, and their sum.
#[derive(Default)]
struct Tally {
    above: [[u32; BLOCK]; 2],
    sums: [f64; 2],
}

impl Tally {
    /// That of the decisions that `counts`.
    #[inline(always)]
    fn of<S: Simd>(
        simd: S,
        bounds: [&Block; 2],
        decisions: &[RoutingDecision],
        counts: impl Fn(&RoutingDecision) -> bool,
    ) -> Self {
        let mut tally = Self::default();
        // 0 is above no bound, and adds nothing to a sum.
        let confidence =
            |decision: &RoutingDecision| if counts(decision) { decision.confidence } else { 0.0 };
        let uncertainty =
            |decision: &RoutingDecision| if counts(decision) { decision.uncertainty } else { 0.0 };
        let [confidences, uncertainties] = &mut tally.above;
        // One family after the other: both numbers of a decision would be read together, which a processor can't do
        // while they, written one by one just now, are on their way to the cache.
        tally.sums = [
            count(simd, bounds[0], decisions, confidence, confidences),
            count(simd, bounds[1], decisions, uncertainty, uncertainties),
        ];
        tally
    }

    #[inline(always)]
    fn subtract(&mut self, other: &Self) {
        for family in 0..2 {
            for bound in 0..BLOCK {
                self.above[family][bound] -= other.above[family][bound];
            }
            // The difference of two sums may round to less than nothing.
            self.sums[family] = (self.sums[family] - other.sums[family]).max(0.0);
        }
    }

    /// Gives it to the cells, for a block of bounds. `above` is what is above the bound before.
    #[inline(always)]
    fn flush(&self, shard: &Shard, model: ModelType, block: usize, above: &mut [u32; 2]) {
        // The remainder is what it was, and spares checks.
        let first = BLOCK * (block % (BUCKETS / BLOCK));
        let [confidences, uncertainties] = &self.above;
        flush(shard, CONFIDENCES, model, first, &mut above[0], confidences);
        flush(shard, UNCERTAINTIES, model, first, &mut above[1], uncertainties);
        if block == 0 {
            shard.add_to_float_sum(CONFIDENCES, model as usize, self.sums[0]);
            shard.add_to_float_sum(UNCERTAINTIES, model as usize, self.sums[1]);
        }
    }
}

/// Gives each bucket what is above the bound before and not above its own.
#[inline(always)]
fn flush(
    shard: &Shard,
    histograms: Histograms,
    model: ModelType,
    first: usize,
    above: &mut u32,
    above_bounds: &[u32; BLOCK],
) {
    for bound in 0..BLOCK {
        shard.observe(histograms, model as usize, first + bound, (*above - above_bounds[bound]).into());
        *above = above_bounds[bound];
    }
}

/// Counts how many values are above each bound, and adds them up.
#[inline(always)]
fn count<S: Simd>(
    simd: S,
    bounds: &Block,
    decisions: &[RoutingDecision],
    value: impl Fn(&RoutingDecision) -> f32,
    above: &mut [u32; BLOCK],
) -> f64 {
    let (bounds, above) = (S::as_simd_f32s(bounds).0, S::as_mut_simd_u32s(above).0);
    let mut sum = 0.0;
    if let [above] = above {
        ([*above], sum) = count_in(simd, [bounds[0]], decisions, &value);
    } else {
        for (bounds, above) in bounds.as_chunks().0.iter().zip(above.as_chunks_mut::<2>().0) {
            (*above, sum) = count_in(simd, *bounds, decisions, &value);
        }
    }
    sum
}

/// The same for bounds in as many vectors as are compared at a time.
#[inline(always)]
fn count_in<S: Simd, const VECTORS: usize>(
    simd: S,
    bounds: [S::f32s; VECTORS],
    decisions: &[RoutingDecision],
    value: impl Fn(&RoutingDecision) -> f32,
) -> ([S::u32s; VECTORS], f64) {
    let zero = simd.splat_u32s(0);
    let mut counts = [zero; VECTORS];
    // Two sums, so that an addition need not wait for the one before.
    let mut sums = [0.0; 2];
    let (pairs, rest) = decisions.as_chunks::<2>();
    for pair in pairs {
        for i in 0..2 {
            let value = value(&pair[i]);
            sums[i] += f64::from(value);
            one_less_below(simd, &bounds, value, &mut counts);
        }
    }
    if let [decision] = rest {
        let value = value(decision);
        sums[0] += f64::from(value);
        one_less_below(simd, &bounds, value, &mut counts);
    }
    for v in 0..VECTORS {
        counts[v] = simd.sub_u32s(zero, counts[v]);
    }
    (counts, sums[0] + sums[1])
}

/// Counts downwards where the value is above the bound: a comparison leaves -1 in a lane, so that adding it is all.
#[inline(always)]
fn one_less_below<S: Simd, const VECTORS: usize>(
    simd: S,
    bounds: &[S::f32s; VECTORS],
    value: f32,
    counts: &mut [S::u32s; VECTORS],
) {
    let (value, zero, less) = (simd.splat_f32s(value), simd.splat_u32s(0), simd.splat_u32s(u32::MAX));
    for v in 0..VECTORS {
        let above = simd.select_u32s(simd.less_than_f32s(bounds[v], value), less, zero);
        counts[v] = simd.add_u32s(counts[v], above);
    }
}

#[cfg(test)]
mod tests;
