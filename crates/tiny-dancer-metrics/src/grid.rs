//! Which bucket a number falls into, without a search.
//!
//! A request of a hundred candidates makes two hundred observations, so finding a bucket must cost next to nothing.
//! The first bits of a float, its exponent and some of its mantissa, cut the numbers into cells so narrow that none has
//! more than one bound in it. A table has an entry for each cell:
//!
//! ```text
//! bits 32 to 63: how many bounds lie below the cell
//! bits 0 to 31:  2^32 - 1 - the bound within the cell, so that adding a greater number carries into what is above
//! ```
//!
//! So the bucket is the upper half of entry and number added up: one look into a table, one addition, no comparison.

use crate::shard::BUCKETS;

/// The most bounds that a histogram may have.
pub(crate) const MOST_BOUNDS: usize = 48;

/// How many bits of an `f32` don't matter for its cell. What is left cuts each power of two into 64.
const SHIFT: u32 = 23 - 6;

/// How many cells a table has: 31 powers of two fit.
const CELLS: usize = 2048;

/// Finds buckets.
#[derive(Debug)]
pub(crate) struct Grid {
    table: Box<[u64; CELLS]>,
}

impl Grid {
    /// For [durations](Self::duration) and bounds in seconds. The error says what the bounds should be.
    pub(crate) fn of_durations(bounds: &[f64]) -> Result<Self, &'static str> {
        let in_range = |&bound: &f64| (2e-9..=2.1).contains(&bound);
        if !bounds.iter().all(in_range) {
            return Err("bounds from 2 ns to 2.1 s, in seconds");
        }
        let nanoseconds: Vec<_> = bounds.iter().map(|bound| (bound * 1e9).round() as u32).collect();
        Self::new(&nanoseconds, |&bound| duration_cell(bound))
            .ok_or("rising bounds, each at least 1/32 above the one before, and at most 48 of them")
    }

    /// For [probabilities](Self::probability). A cell is at most 1/128 wide.
    pub(crate) fn of_probabilities(bounds: &[f64]) -> Result<Self, &'static str> {
        let in_range = |&bound: &f64| bound > 0.0 && bound <= 1.0;
        if !bounds.iter().all(in_range) {
            return Err("bounds above 0 and up to 1");
        }
        let bits: Vec<_> = bounds.iter().map(|&bound| (bound as f32).to_bits()).collect();
        Self::new(&bits, |&bound| probability_cell(bound))
            .ok_or("rising bounds, at least 1/128 from each other, and at most 48 of them")
    }

    /// `None` where there is no bound or too many, where they fall, or where two share a cell.
    fn new(bounds: &[u32], cell: impl Fn(&u32) -> usize) -> Option<Self> {
        let cells: Vec<_> = bounds.iter().map(cell).collect();
        if !(1..=MOST_BOUNDS).contains(&bounds.len()) || !cells.is_sorted_by(|a, b| a < b) {
            return None;
        }
        let mut table = Box::new([0; CELLS]);
        for (cell, entry) in table.iter_mut().enumerate() {
            let below = cells.partition_point(|&of_bound| of_bound < cell);
            let within = cells.get(below).filter(|&&of_bound| of_bound == cell).map(|_| bounds[below]);
            *entry = ((below as u64) << 32) | u64::from(u32::MAX - within.unwrap_or(u32::MAX));
        }
        Some(Self { table })
    }

    /// The bucket of a duration, in nanoseconds.
    #[inline]
    pub(crate) fn duration(&self, nanoseconds: u64) -> usize {
        let nanoseconds = nanoseconds.min(LONGEST) as u32;
        self.bucket(duration_cell(nanoseconds), nanoseconds)
    }

    /// The bucket of a number between 0 and 1. Such numbers are ordered as their bits are.
    ///
    /// Bounds are rounded to `f32` as the number was: 0.85 is in the bucket up to 0.85.
    #[inline]
    pub(crate) fn probability(&self, probability: f32) -> usize {
        let bits = probability.to_bits();
        self.bucket(probability_cell(bits), bits)
    }

    /// How many bounds are less than a number: those below its cell, and the one within if it is less.
    #[inline]
    fn bucket(&self, cell: usize, number: u32) -> usize {
        (self.table[cell].wrapping_add(u64::from(number)) >> 32) as usize % BUCKETS
    }
}

/// More than any bound, in nanoseconds. Longer durations are in the same bucket.
const LONGEST: u64 = 1 << 31;

/// Rounding keeps the order of numbers, so what lies below a cell is less than what lies in it. 0 and 1 are in the first.
#[inline]
fn duration_cell(nanoseconds: u32) -> usize {
    cell_above(1.0, nanoseconds as f32)
}

#[inline]
fn probability_cell(bits: u32) -> usize {
    // Cells below are so narrow that no two bounds could be told apart by them.
    cell_above(1.0 / 256.0, f32::from_bits(bits))
}

/// The cells begin with the one of `first`, which has all that is less, too.
#[inline]
fn cell_above(first: f32, number: f32) -> usize {
    (number.to_bits().saturating_sub(first.to_bits()) >> SHIFT) as usize % CELLS
}

#[cfg(test)]
mod tests;
