//! Orders: which candidates are nearest, and which is the most confident.
//!
//! Sorting compares what it can't predict, and each wrong guess costs a dozen comparisons. Up to [`RANKED`] values it is
//! cheaper to compare every value with every other, without a branch: the number of values before mine is my place.

use crate::fastgrnn::JOINT_CANDIDATES;
use crate::kernel::{Kernel, lanes};
use pulp::{Simd, WithSimd};

/// Beyond, the square of the number of values outweighs the logarithm.
const RANKED: usize = 128;

/// The place of each of `n` values in ascending order, ties by index: how many are smaller, or equal and before. Behind them
/// is infinity, which is smaller than nothing.
///
/// Over vectors rather than lanes, since compilers would rather make vectors of the outer loop.
struct Rank<'a> {
    n: usize,
    values: &'a [f32],
    places: &'a mut [u32],
}

impl WithSimd for Rank<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = lanes::<S>();
        let (vectors, _) = S::as_simd_f32s(self.values);
        let (counts, _) = S::as_mut_simd_u32s(self.places);
        let end = self.n.next_multiple_of(S::F32_LANES);
        let values = &self.values[..end];
        for ((i, &mine), count_of) in vectors.iter().enumerate().zip(counts).take(end / S::F32_LANES) {
            let (before, rest) = values.split_at(i * S::F32_LANES);
            let (beside, after) = rest.split_at(S::F32_LANES);
            let mut places = count::<S, true>(simd, before, mine);
            for lane in 0..S::F32_LANES {
                let other = simd.splat_f32s(beside[lane]);
                let before = simd.less_than_u32s(simd.splat_u32s(lane as u32), lanes);
                let equal = simd.and_m32s(before, simd.less_than_or_equal_f32s(other, mine));
                let smaller = simd.or_m32s(equal, simd.less_than_f32s(other, mine));
                places = one_less_where(simd, places, smaller);
            }
            places = simd.add_u32s(places, count::<S, false>(simd, after, mine));
            *count_of = simd.sub_u32s(simd.splat_u32s(0), places);
        }
    }
}

/// How many of `others`, which are whole vectors, are smaller than each of mine, or not greater.
#[inline(always)]
fn count<S: Simd, const OR_EQUAL: bool>(simd: S, others: &[f32], mine: S::f32s) -> S::u32s {
    let mut counts = simd.splat_u32s(0);
    let (fours, rest) = others.as_chunks::<4>();
    for &[a, b, c, d] in fours {
        counts = one_less_where(simd, counts, precedes::<S, OR_EQUAL>(simd, a, mine));
        counts = one_less_where(simd, counts, precedes::<S, OR_EQUAL>(simd, b, mine));
        counts = one_less_where(simd, counts, precedes::<S, OR_EQUAL>(simd, c, mine));
        counts = one_less_where(simd, counts, precedes::<S, OR_EQUAL>(simd, d, mine));
    }
    for &a in rest {
        counts = one_less_where(simd, counts, precedes::<S, OR_EQUAL>(simd, a, mine));
    }
    counts
}

/// Counts downwards: a comparison leaves -1 in a lane, so that adding it is all.
#[inline(always)]
fn one_less_where<S: Simd>(simd: S, counts: S::u32s, here: S::m32s) -> S::u32s {
    simd.add_u32s(counts, simd.select_u32s(here, simd.splat_u32s(u32::MAX), simd.splat_u32s(0)))
}

#[inline(always)]
fn precedes<S: Simd, const OR_EQUAL: bool>(simd: S, other: f32, mine: S::f32s) -> S::m32s {
    let other = simd.splat_f32s(other);
    if OR_EQUAL { simd.less_than_or_equal_f32s(other, mine) } else { simd.less_than_f32s(other, mine) }
}

/// Dispatches [`Rank`]. One function for all who need it: a copy for each would push other code out of the nearest cache.
#[inline(never)]
fn rank(kernel: Kernel, n: usize, values: &[f32], places: &mut [u32]) {
    kernel.dispatch_short(Rank { n, values, places });
}

/// Calls with the index of each value and its place in ascending order, ties by index. `values` are at most `N`, none of
/// them NaN.
#[inline]
fn ascending<const N: usize>(
    kernel: Kernel,
    values: impl ExactSizeIterator<Item = f32>,
    mut take: impl FnMut(usize, usize),
) {
    let (n, mut padded, mut places) = (values.len(), [f32::INFINITY; N], [0; N]);
    for (to, value) in padded.iter_mut().zip(values) {
        *to = value;
    }
    rank(kernel, n, &padded, &mut places);
    for (index, &place) in places[..n].iter().enumerate() {
        take(index, place as usize);
    }
}

/// The same for any number of values up to [`RANKED`], with no more room than a few of them need; false beyond.
#[inline]
fn ranked(
    kernel: Kernel,
    values: impl ExactSizeIterator<Item = f32>,
    mut take: impl FnMut(usize, usize),
) -> bool {
    match values.len() {
        0 => {}
        1 => take(0, 0),
        2..=16 => ascending::<16>(kernel, values, take),
        17..=RANKED => ascending::<RANKED>(kernel, values, take),
        _ => return false,
    }
    true
}

/// The candidates that are read together: the nearest, in ascending similarity, ties by index.
#[derive(Debug)]
pub(crate) struct JointOrder {
    candidates: [u32; JOINT_CANDIDATES],
    len: usize,
}

impl JointOrder {
    /// Picks them from the similarities of all candidates, none of which is NaN.
    pub(crate) fn new(kernel: Kernel, similarity: &[f32]) -> Self {
        let mut order =
            Self { candidates: [0; JOINT_CANDIDATES], len: similarity.len().min(JOINT_CANDIDATES) };
        let farther = similarity.len() - order.len;
        let ranked = ranked(kernel, similarity.iter().copied(), |candidate, place| {
            if place >= farther {
                order.candidates[place - farther] = candidate as u32;
            }
        });
        if !ranked {
            order.insert_all(similarity);
        }
        order
    }

    /// Keeps the nearest so far sorted. Of many candidates in any order few are near enough to be inserted.
    fn insert_all(&mut self, similarity: &[f32]) {
        let farther = |a: u32, b: u32| (similarity[a as usize], a) < (similarity[b as usize], b);
        let mut len = 0;
        for candidate in 0..similarity.len() as u32 {
            let nearest = &mut self.candidates;
            if len == JOINT_CANDIDATES {
                if farther(candidate, nearest[0]) {
                    continue;
                }
                nearest.copy_within(1.., 0);
                len -= 1;
            }
            let place = nearest[..len].partition_point(|&other| farther(other, candidate));
            nearest.copy_within(place..len, place + 1);
            nearest[place] = candidate;
            len += 1;
        }
    }

    /// Their places in the request, farthest first.
    pub(crate) fn candidates(&self) -> &[u32] {
        &self.candidates[..self.len]
    }
}

/// Calls with the index of each value and its place in descending order, ties by index; false where there are so many
/// that sorting is cheaper.
///
/// `values` are finite.
#[inline]
pub(crate) fn descending(kernel: Kernel, values: &[f32], take: impl FnMut(usize, usize)) -> bool {
    ranked(kernel, values.iter().map(|value| -value), take)
}

#[cfg(test)]
mod tests;
