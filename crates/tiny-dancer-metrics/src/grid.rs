//! Which bucket a number falls into, without a search.
//!
//! A request of a hundred candidates makes two hundred observations, so finding a bucket must cost next to nothing.
//! The first bits of a float, its exponent and some of its mantissa, cut the numbers into cells so narrow that none has
//! more than one bound in it. A table says how many bounds lie below a number's cell, and one comparison says the rest.

/// More bounds than a histogram has: as many as a `u8` can count, so that an index needs no check.
const BOUNDS: usize = 256;

/// The most bounds that a histogram may have.
pub(crate) const MOST_BOUNDS: usize = 48;

/// How many cells a table has; a number's cell is its first bits modulo this.
const CELLS: usize = 2048;

/// Finds buckets.
#[derive(Debug)]
pub(crate) struct Grid {
    bounds: [f64; BOUNDS],
    /// How many bounds lie below each cell.
    below: [u8; CELLS],
    /// How many bits of a float don't matter for its cell.
    shift: u32,
}

impl Grid {
    /// For [durations](Self::duration) and bounds in seconds: 64 cells from each power of two to the next, in
    /// nanoseconds. The error says what the bounds should be.
    pub(crate) fn of_durations(bounds: &[f64]) -> Result<Self, &'static str> {
        let in_range = |&bound: &f64| (2e-9..=2.1).contains(&bound);
        if !bounds.iter().all(in_range) {
            return Err("bounds from 2 ns to 2.1 s, in seconds");
        }
        Self::new(bounds.iter().map(|bound| (bound * 1e9).round()), 52 - 6, LONGEST as f64)
            .ok_or("rising bounds, each at least 1/32 above the one before, and at most 48 of them")
    }

    /// For [probabilities](Self::probability): 256 cells of the same width from 0 to 1.
    pub(crate) fn of_probabilities(bounds: &[f64]) -> Result<Self, &'static str> {
        let in_range = |&bound: &f64| bound > 0.0 && bound <= 1.0;
        if !bounds.iter().all(in_range) {
            return Err("bounds above 0 and up to 1");
        }
        Self::new(bounds.iter().map(|&bound| 1.0 + f64::from(bound as f32)), 52 - 8, 2.0)
            .ok_or("rising bounds, at least 1/128 from each other, and at most 48 of them")
    }

    /// Counts the bounds below each cell, from that of 1 to that of `last`. `None` where there is no bound or too many,
    /// where they fall, or where two share a cell.
    fn new(bounds: impl ExactSizeIterator<Item = f64>, shift: u32, last: f64) -> Option<Self> {
        if !(1..=MOST_BOUNDS).contains(&bounds.len()) {
            return None;
        }
        let mut grid = Self { bounds: [f64::INFINITY; BOUNDS], below: [0; CELLS], shift };
        for (place, bound) in grid.bounds.iter_mut().zip(bounds) {
            *place = bound;
        }
        let (mut prefix, last) = (1.0_f64.to_bits() >> shift, last.to_bits() >> shift);
        let mut bound = 0;
        while prefix <= last {
            grid.below[prefix as usize % CELLS] = bound as u8;
            if grid.bounds[bound].to_bits() >> shift == prefix {
                bound += 1;
            }
            prefix += 1;
            if grid.bounds[bound].to_bits() >> shift < prefix {
                return None;
            }
        }
        (grid.bounds[bound] == f64::INFINITY).then_some(grid)
    }

    /// The bucket of a duration, in nanoseconds. 0 shares its cell with 2, below all bounds.
    #[inline]
    pub(crate) fn duration(&self, nanoseconds: u64) -> usize {
        self.bucket(f64::from(nanoseconds.min(LONGEST) as u32))
    }

    /// The bucket of a number between 0 and 1.
    ///
    /// Bounds are rounded to `f32` as the number was: 0.85 is in the bucket up to 0.85. One is added to both, which
    /// makes all cells as wide and needs no rounding where it could matter.
    #[inline]
    pub(crate) fn probability(&self, probability: f32) -> usize {
        self.bucket(1.0 + f64::from(probability))
    }

    /// How many bounds are less than `value`.
    #[inline]
    fn bucket(&self, value: f64) -> usize {
        let cell = (value.to_bits() >> self.shift) as usize % CELLS;
        let below = usize::from(self.below[cell]);
        below + usize::from(self.bounds[below] < value)
    }
}

/// More than any bound, in nanoseconds. Longer durations are in the same bucket.
const LONGEST: u64 = 1 << 31;

#[cfg(test)]
mod tests;
