//! Which bucket a number falls into, without a search.
//!
//! A request of a hundred candidates makes two hundred observations, so finding a bucket must cost next to nothing.
//! The first bits of a float, its exponent and some of its mantissa, cut the numbers into cells so narrow that none has
//! more than one bound in it. A table says how many bounds lie below a number's cell, and one comparison says the rest.

/// More bounds than a histogram has: as many as a `u8` can count, so that an index needs no check.
const BOUNDS: usize = 256;

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
    /// nanoseconds.
    pub(crate) const fn of_durations(bounds: &[f64]) -> Self {
        let mut grid = Self { bounds: [f64::INFINITY; BOUNDS], below: [0; CELLS], shift: 52 - 6 };
        let mut i = 0;
        while i < bounds.len() {
            grid.bounds[i] = (bounds[i] * 1e9).round();
            i += 1;
        }
        grid.fill(1.0, LONGEST as f64)
    }

    /// For [probabilities](Self::probability): 256 cells of the same width from 0 to 1.
    pub(crate) const fn of_probabilities(bounds: &[f64]) -> Self {
        let mut grid = Self { bounds: [f64::INFINITY; BOUNDS], below: [0; CELLS], shift: 52 - 8 };
        let mut i = 0;
        while i < bounds.len() {
            grid.bounds[i] = 1.0 + (bounds[i] as f32 as f64);
            i += 1;
        }
        grid.fill(1.0, 2.0)
    }

    /// Counts the bounds below each cell, from that of one number to that of another.
    const fn fill(mut self, from: f64, to: f64) -> Self {
        let (mut prefix, last) = (from.to_bits() >> self.shift, to.to_bits() >> self.shift);
        assert!(last - prefix < CELLS as u64, "two cells in one place");
        let mut bound = 0;
        assert!(self.bounds[0] > from, "the first bound is below the first cell");
        while prefix <= last {
            self.below[prefix as usize % CELLS] = bound as u8;
            if self.bounds[bound].to_bits() >> self.shift == prefix {
                bound += 1;
            }
            prefix += 1;
            assert!(
                self.bounds[bound].to_bits() >> self.shift >= prefix,
                "bounds fall, or two are in one cell"
            );
        }
        assert!(self.bounds[bound] == f64::INFINITY, "the last bound is above the last cell");
        self
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
