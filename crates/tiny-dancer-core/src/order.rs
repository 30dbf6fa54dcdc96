//! Orders: of candidates by similarity, and of decisions by confidence.
//!
//! The branches of a sort are unpredictable, and each misprediction costs a dozen comparisons. Up to [`RANKED`] values it
//! is faster to compare every value with every other, without a branch: the number of smaller values is a value's place.
//! Equal values get equal places, which the sum of the places reveals. Such values are sorted instead.

use crate::fastgrnn::JOINT_CANDIDATES;
use crate::features::{FREQUENT, metadata_overlap};
use crate::kernel::Kernel;
use crate::{Candidate, Metadata};
use pulp::{Simd, WithSimd};
use std::cmp::Ordering;

/// Above this number of values a sort is faster than comparing all pairs.
const RANKED: usize = 128;

/// The number of smaller values for each of `n` values. `values` are padded with infinity, which never ranks below a
/// value.
///
/// The loops run over vectors rather than lanes: with lanes the compiler vectorises the wrong loop, the outer one.
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
        for (&ranked, places) in vectors.iter().zip(places).take(end / S::F32_LANES) {
            let mut counts = simd.splat_u32s(0);
            for &[a, b, c, d] in fours {
                counts = one_less_where(simd, counts, simd.less_than_f32s(simd.splat_f32s(a), ranked));
                counts = one_less_where(simd, counts, simd.less_than_f32s(simd.splat_f32s(b), ranked));
                counts = one_less_where(simd, counts, simd.less_than_f32s(simd.splat_f32s(c), ranked));
                counts = one_less_where(simd, counts, simd.less_than_f32s(simd.splat_f32s(d), ranked));
            }
            for &a in rest {
                counts = one_less_where(simd, counts, simd.less_than_f32s(simd.splat_f32s(a), ranked));
            }
            *places = simd.sub_u32s(simd.splat_u32s(0), counts);
        }
    }
}

/// Subtracts 1 from the counts of some lanes. A comparison gives -1 in such a lane, so this is one addition.
#[inline(always)]
fn one_less_where<S: Simd>(simd: S, counts: S::u32s, here: S::m32s) -> S::u32s {
    simd.add_u32s(counts, simd.select_u32s(here, simd.splat_u32s(u32::MAX), simd.splat_u32s(0)))
}

/// Dispatches [`Rank`]. It is not inlined, since several copies would displace other code from the instruction cache.
#[inline(never)]
fn rank(kernel: Kernel, n: usize, values: &[f32], places: &mut [u32]) {
    kernel.dispatch_short(Rank { n, values, places });
}

/// Calls `take` with the index of each value and its place in ascending order. Returns false if two values are equal.
/// There are at most `N` values, and none is NaN.
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
    // A pair of different values adds 1 to the sum, a pair of equal values adds 0.
    sum == n * (n - 1) / 2
}

/// [`ascending`] with an array that fits the number of values. Above [`RANKED`] values it returns false and calls
/// nothing.
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

/// The order of candidates that are equally similar to the query: by their other features, weakest evidence nearest.
///
/// The candidate with the weaker evidence for the lightweight model counts as nearer, so that the model reads it last and
/// a selection of the k nearest keeps it. The order of the request's candidates therefore does not change the decision.
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

/// The candidates of the joint pass: the nearest, in ascending similarity. A tiebreak orders equal similarities.
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
    /// Selects them by the similarities of all candidates, none of which is NaN. `tie` compares two positions of equal
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

    /// Keeps the nearest so far sorted. Of many candidates in random order only a few are inserted.
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

    /// Removes all candidates.
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

/// Calls `take` with the index of each value and its place in descending order. Returns false if two values are equal, or
/// if there are more than [`RANKED`]: then the caller sorts. All values are finite.
#[inline]
pub(crate) fn descending(kernel: Kernel, values: &[f32], take: impl FnMut(usize, usize)) -> bool {
    ranked(kernel, values.iter().map(|value| -value), take)
}

#[cfg(test)]
mod tests;
