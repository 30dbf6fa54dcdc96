//! Which bucket a duration falls into, without a search.
//!
//! The first bits of a float, its exponent and some of its mantissa, divide the numbers into cells so narrow that each
//! has at most one bound in it. A table has an entry for each cell:
//!
//! ```text
//! bits 32 to 63: how many bounds lie below the cell
//! bits 0 to 31:  2^32 - 1 - the bound within the cell, so that adding a greater number carries into bit 32
//! ```
//!
//! The bucket is the upper half of the sum of entry and number: one table lookup, one addition, no comparison.

use crate::shard::{BUCKETS, MOST_BOUNDS};

/// How many low bits of an `f32` its cell ignores. The others divide each power of two into 64 cells.
const SHIFT: u32 = 23 - 6;

/// How many cells a table has: enough for 31 powers of two.
const CELLS: usize = 2048;

/// Finds the bucket of a duration.
#[derive(Debug)]
pub(crate) struct Grid {
    table: Box<[u64; CELLS]>,
}

impl Grid {
    /// For bounds in seconds. The error names the bounds that are expected.
    pub(crate) fn new(bounds: &[f64]) -> Result<Self, &'static str> {
        let in_range = |&bound: &f64| (2e-9..=2.1).contains(&bound);
        if !bounds.iter().all(in_range) {
            return Err("bounds from 2 ns to 2.1 s, in seconds");
        }
        let bounds: Vec<_> = bounds.iter().map(|bound| (bound * 1e9).round() as u32).collect();
        let cells: Vec<_> = bounds.iter().map(|&bound| cell(bound)).collect();
        if !(1..=MOST_BOUNDS).contains(&bounds.len()) || !cells.is_sorted_by(|a, b| a < b) {
            return Err("rising bounds, each at least 1/32 above the one before, and at most 48 of them");
        }
        let mut table = Box::new([0; CELLS]);
        for (cell, entry) in table.iter_mut().enumerate() {
            let below = cells.partition_point(|&of_bound| of_bound < cell);
            let within = cells.get(below).filter(|&&of_bound| of_bound == cell).map(|_| bounds[below]);
            *entry = ((below as u64) << 32) | u64::from(u32::MAX - within.unwrap_or(u32::MAX));
        }
        Ok(Self { table })
    }

    /// The bucket of a duration in nanoseconds: the number of bounds that are less than it.
    #[inline]
    pub(crate) fn bucket(&self, nanoseconds: u64) -> usize {
        let nanoseconds = nanoseconds.min(LONGEST) as u32;
        (self.table[cell(nanoseconds)].wrapping_add(u64::from(nanoseconds)) >> 32) as usize % BUCKETS
    }
}

/// More than any bound, in nanoseconds. Longer durations are in the same bucket.
const LONGEST: u64 = 1 << 31;

/// The cell of a number. Rounding keeps the order of numbers, so the numbers of a lower cell are less. 0 and 1 are in the
/// first cell.
#[inline]
fn cell(nanoseconds: u32) -> usize {
    ((nanoseconds as f32).to_bits().saturating_sub(1_f32.to_bits()) >> SHIFT) as usize % CELLS
}

#[cfg(test)]
mod tests;
