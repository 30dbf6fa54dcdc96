//! Orders: which candidates are nearest, and which is the most confident.
//!
//! Sorting compares what it can't predict, and each wrong guess costs a dozen comparisons. Up to [`RANKED`] values it is
//! cheaper to compare every value with every other, without a branch: the number of values before mine is my place.

use crate::fastgrnn::JOINT_CANDIDATES;
use crate::kernel::Kernel;
use pulp::{Simd, WithSimd};

/// Beyond, the square of the number of values outweighs the logarithm.
const RANKED: usize = 128;

/// For each of `n` values, how many are smaller.
///
/// Over vectors rather than lanes, since compilers would rather make vectors of the outer loop.
struct CountSmaller<'a> {
    n: usize,
    values: &'a [f32; RANKED],
    smaller: &'a mut [u32; RANKED],
}

impl WithSimd for CountSmaller<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (one, zero) = (simd.splat_u32s(1), simd.splat_u32s(0));
        let add = |count, other, mine| {
            let smaller = simd.less_than_f32s(simd.splat_f32s(other), mine);
            simd.add_u32s(count, simd.select_u32s(smaller, one, zero))
        };
        let (vectors, _) = S::as_simd_f32s(self.values);
        let (counts, _) = S::as_mut_simd_u32s(self.smaller);
        let (pairs, rest) = self.values[..self.n].as_chunks::<2>();
        for (&mine, count) in vectors.iter().zip(counts).take(self.n.div_ceil(S::F32_LANES)) {
            // Two counts, so that an addition need not wait for the one before.
            let (mut even, mut odd) = (zero, zero);
            for &[a, b] in pairs {
                (even, odd) = (add(even, a, mine), add(odd, b, mine));
            }
            for &other in rest {
                even = add(even, other, mine);
            }
            *count = simd.add_u32s(even, odd);
        }
    }
}

/// The place of each value in ascending order, ties by index. `values` are at most [`RANKED`], none of them NaN.
fn ascending(kernel: Kernel, values: impl ExactSizeIterator<Item = f32>) -> [u8; RANKED] {
    let n = values.len();
    let (mut padded, mut smaller) = ([f32::INFINITY; RANKED], [0; RANKED]);
    for (to, value) in padded.iter_mut().zip(values) {
        *to = value;
    }
    kernel.dispatch(CountSmaller { n, values: &padded, smaller: &mut smaller });
    let mut places = [0; RANKED];
    // Equal values have equal ranks, and as many places after that: each takes the first that is free.
    let mut taken = 0_u128;
    for (place, rank) in places.iter_mut().zip(smaller).take(n) {
        let free = rank + (!(taken >> rank)).trailing_zeros();
        taken |= 1 << free;
        *place = free as u8;
    }
    places
}

/// The candidates that are read together: the nearest, in ascending similarity, ties by index.
#[derive(Debug)]
pub(crate) struct JointOrder {
    candidates: [u32; RANKED],
    from: usize,
    to: usize,
}

impl JointOrder {
    /// Picks them from the similarities of all candidates, none of which is NaN.
    pub(crate) fn new(kernel: Kernel, similarity: &[f32]) -> Self {
        let mut order = Self { candidates: [0; RANKED], from: 0, to: 0 };
        if similarity.len() <= RANKED {
            let places = ascending(kernel, similarity.iter().copied());
            for (candidate, &place) in (0..).zip(&places[..similarity.len()]) {
                order.candidates[place as usize] = candidate;
            }
            order.to = similarity.len();
            order.from = order.to.saturating_sub(JOINT_CANDIDATES);
        } else {
            order.insert_all(similarity);
        }
        order
    }

    /// Keeps the nearest so far sorted. Of many candidates in any order few are near enough to be inserted.
    fn insert_all(&mut self, similarity: &[f32]) {
        let farther = |a: u32, b: u32| (similarity[a as usize], a) < (similarity[b as usize], b);
        for candidate in 0..similarity.len() as u32 {
            let nearest = &mut self.candidates[..JOINT_CANDIDATES];
            if self.to == JOINT_CANDIDATES {
                if farther(candidate, nearest[0]) {
                    continue;
                }
                nearest.copy_within(1.., 0);
                self.to -= 1;
            }
            let place = nearest[..self.to].partition_point(|&other| farther(other, candidate));
            nearest.copy_within(place..self.to, place + 1);
            nearest[place] = candidate;
            self.to += 1;
        }
    }

    /// Their places in the request, farthest first.
    pub(crate) fn candidates(&self) -> &[u32] {
        &self.candidates[self.from..self.to]
    }
}

/// The place of each value in descending order, ties by index; `None` where there are so many that sorting is cheaper.
///
/// `values` are finite.
pub(crate) fn descending(kernel: Kernel, values: &[f32]) -> Option<[u8; RANKED]> {
    if values.len() > RANKED {
        return None;
    }
    Some(ascending(kernel, values.iter().map(|value| -value)))
}

#[cfg(test)]
mod tests;
