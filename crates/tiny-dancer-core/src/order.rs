//! Orders: which candidates are nearest, and which is the most confident.
//!
//! Sorting compares what it can't predict, and each wrong guess costs a dozen comparisons. Up to [`RANKED`] values it is
//! cheaper to compare every value with every other, without a branch: the number of values before mine is my place.

use crate::fastgrnn::JOINT_CANDIDATES;
use crate::kernel::{Kernel, LANES, Work};

/// Beyond, the square of the number of values outweighs the logarithm.
const RANKED: usize = 128;

/// For each of up to [`RANKED`] values, how many are smaller.
struct Ranks<'a> {
    values: &'a [f32],
    ranks: &'a mut [[u32; LANES]; RANKED / LANES],
}

impl Work for Ranks<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        for (values, ranks) in self.values.chunks(LANES).zip(self.ranks) {
            let mut mine = [f32::NEG_INFINITY; LANES];
            mine[..values.len()].copy_from_slice(values);
            let mut rank = [0; LANES];
            for &other in self.values {
                for lane in 0..LANES {
                    rank[lane] += u32::from(other < mine[lane]);
                }
            }
            *ranks = rank;
        }
    }
}

/// The place of each value in ascending order, ties by index. `values` are at most [`RANKED`], none of them NaN.
fn ascending(kernel: Kernel, values: &[f32]) -> [u8; RANKED] {
    let mut ranks = [[0; LANES]; RANKED / LANES];
    kernel.run(Ranks { values, ranks: &mut ranks });
    let mut places = [0; RANKED];
    // Equal values have equal ranks, and as many places after that: each takes the first that is free.
    let mut taken = 0_u128;
    for (place, &rank) in places.iter_mut().zip(ranks.as_flattened()).take(values.len()) {
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
            let places = ascending(kernel, similarity);
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
    let mut negated = [0.0; RANKED];
    for (negated, value) in negated.iter_mut().zip(values) {
        *negated = -value;
    }
    Some(ascending(kernel, &negated[..values.len()]))
}

#[cfg(test)]
mod tests;
