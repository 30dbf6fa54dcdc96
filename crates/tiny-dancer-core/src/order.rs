//! Orders: which candidates are nearest, and which is the most confident.
//!
//! Sorting compares what it can't predict, and each wrong guess costs a dozen comparisons. Up to [`RANKED`] values it is
//! cheaper to compare every value with every other, without a branch: the number of smaller values is a value's place.
//! Equal values get equal places, which their sum betrays; then the values are sorted after all.

use crate::fastgrnn::JOINT_CANDIDATES;
use crate::features::{FREQUENT, metadata_overlap};
use crate::kernel::Kernel;
use crate::{Candidate, Metadata};
use pulp::{Simd, WithSimd};
use std::cmp::Ordering;

/// Above this number of values its square outweighs the logarithm of sorting.
const RANKED: usize = 128;

/// The number of smaller values for each of `n` values. `values` are padded with infinity, which never ranks below a
/// value.
///
/// The loops run over vectors rather than lanes, since a compiler would rather vectorise the outer loop.
struct Rank<'a> {
    n: usize,
    values: &'a [f32],
    places: &'a mut [u32],
}

impl WithSimd for Rank<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (vectors, _) = S::as_simd_f32s(self.values);
        let (places, _) = S::as_mut_simd_u32s(self.places);
        let end = self.n.next_multiple_of(S::F32_LANES);
        let (fours, rest) = self.values[..end].as_chunks::<4>();
        for (&mine, places) in vectors.iter().zip(places).take(end / S::F32_LANES) {
            let mut counts = simd.splat_u32s(0);
            for &[a, b, c, d] in fours {
                counts = one_less_where(simd, counts, simd.less_than_f32s(simd.splat_f32s(a), mine));
                counts = one_less_where(simd, counts, simd.less_than_f32s(simd.splat_f32s(b), mine));
                counts = one_less_where(simd, counts, simd.less_than_f32s(simd.splat_f32s(c), mine));
                counts = one_less_where(simd, counts, simd.less_than_f32s(simd.splat_f32s(d), mine));
            }
            for &a in rest {
                counts = one_less_where(simd, counts, simd.less_than_f32s(simd.splat_f32s(a), mine));
            }
            *places = simd.sub_u32s(simd.splat_u32s(0), counts);
        }
    }
}

/// Counts downwards: a comparison leaves -1 in a lane, so that adding it is all.
#[inline(always)]
fn one_less_where<S: Simd>(simd: S, counts: S::u32s, here: S::m32s) -> S::u32s {
    simd.add_u32s(counts, simd.select_u32s(here, simd.splat_u32s(u32::MAX), simd.splat_u32s(0)))
}

/// Dispatches [`Rank`]. One function for all who need it: a copy for each would push other code out of the nearest cache.
#[inline(never)]
fn rank(kernel: Kernel, n: usize, values: &[f32], places: &mut [u32]) {
    kernel.dispatch_short(Rank { n, values, places });
}

/// Calls `take` with the index of each value and its place in ascending order; false if two values are equal. `values`
/// are at most `N`, none of them NaN.
#[inline]
fn ascending<const N: usize>(
    kernel: Kernel,
    values: impl ExactSizeIterator<Item = f32>,
    mut take: impl FnMut(usize, usize),
) -> bool {
    let (n, mut padded, mut places) = (values.len(), [f32::INFINITY; N], [0; N]);
    for (to, value) in padded.iter_mut().zip(values) {
        *to = value;
    }
    rank(kernel, n, &padded, &mut places);
    let mut sum = 0;
    for (index, &place) in places[..n].iter().enumerate() {
        sum += place as usize;
        take(index, place as usize);
    }
    // Of two different values exactly one is smaller, of two equal ones neither.
    sum == n * (n - 1) / 2
}

/// [`ascending`] with no more room than so many values need. False also above [`RANKED`], where nothing is taken.
#[inline]
fn ranked(
    kernel: Kernel,
    values: impl ExactSizeIterator<Item = f32>,
    mut take: impl FnMut(usize, usize),
) -> bool {
    match values.len() {
        0 => true,
        1 => {
            take(0, 0);
            true
        }
        2..=16 => ascending::<16>(kernel, values, take),
        17..=RANKED => ascending::<RANKED>(kernel, values, take),
        _ => false,
    }
}

/// The order of candidates that are equally similar to the query: by what else they say, and cautiously.
///
/// The candidate that says less for the lightweight model counts as nearer, so that the model reads it last and the cut
/// at the k nearest keeps it. Any order of the same candidates therefore gives the same decision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tiebreak<'a> {
    pub(crate) metadata: Option<&'a Metadata>,
    pub(crate) now: i64,
}

impl Tiebreak<'_> {
    /// `Less` where `a` counts as farther than `b`; `Equal` where their features are equal.
    #[cold]
    pub(crate) fn compare(self, a: &Candidate, b: &Candidate) -> Ordering {
        let overlap = |candidate: &Candidate| {
            self.metadata.map_or(0.0, |metadata| metadata_overlap(metadata, &candidate.metadata))
        };
        b.success_rate
            .total_cmp(&a.success_rate)
            .then_with(|| b.win_rate.total_cmp(&a.win_rate))
            .then_with(|| b.access_count.min(FREQUENT).cmp(&a.access_count.min(FREQUENT)))
            .then_with(|| b.created_at.min(self.now).cmp(&a.created_at.min(self.now)))
            .then_with(|| overlap(b).total_cmp(&overlap(a)))
    }
}

/// Compares similarities, none of which is NaN; both zeros are equal.
#[inline]
pub(crate) fn compare(a: f32, b: f32) -> Ordering {
    a.partial_cmp(&b).unwrap_or(Ordering::Equal)
}

/// The candidates of the joint pass: the nearest, in ascending similarity, equal ones in the order of a tiebreak.
#[derive(Debug)]
pub(crate) struct JointOrder {
    candidates: [u32; JOINT_CANDIDATES],
    len: usize,
}

impl Default for JointOrder {
    fn default() -> Self {
        Self { candidates: [0; JOINT_CANDIDATES], len: 0 }
    }
}

impl JointOrder {
    /// Picks them from the similarities of all candidates, none of which is NaN. `tie` compares two positions of equal
    /// similarity: `Less` where the first counts as farther.
    pub(crate) fn fill(
        &mut self,
        kernel: Kernel,
        similarity: &[f32],
        tie: impl Fn(usize, usize) -> Ordering,
    ) {
        self.len = similarity.len().min(JOINT_CANDIDATES);
        let farther = similarity.len() - self.len;
        let ranked = ranked(kernel, similarity.iter().copied(), |position, place| {
            if place >= farther {
                self.candidates[place - farther] = position as u32;
            }
        });
        if !ranked {
            self.insert_all(similarity, tie);
        }
    }

    /// Keeps the nearest so far sorted. Of many candidates in any order few are near enough to be inserted.
    fn insert_all(&mut self, similarity: &[f32], tie: impl Fn(usize, usize) -> Ordering) {
        let farther = |a: u32, b: u32| {
            let (a, b) = (a as usize, b as usize);
            compare(similarity[a], similarity[b]).then_with(|| tie(a, b)).then(a.cmp(&b)).is_lt()
        };
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

    /// Forgets them.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Their positions, farthest first.
    #[inline]
    pub(crate) fn positions(&self) -> &[u32] {
        &self.candidates[..self.len]
    }
}

/// Calls `take` with the index of each value and its place in descending order. False if two values are equal, or if
/// there are so many that sorting is cheaper: then the caller sorts.
///
/// `values` are finite.
#[inline]
pub(crate) fn descending(kernel: Kernel, values: &[f32], take: impl FnMut(usize, usize)) -> bool {
    ranked(kernel, values.iter().map(|value| -value), take)
}

#[cfg(test)]
mod tests;
