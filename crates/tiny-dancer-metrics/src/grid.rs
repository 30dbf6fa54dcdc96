//! Which bucket a number falls into, without a search.
//!
//! A request of a hundred candidates makes two hundred observations, so finding a bucket must cost next to nothing. The
//! first bits of a float, its exponent and some of its mantissa, cut the numbers into cells, 64 from each power of two
//! to the next: so narrow that none has more than one bound in it. A table says how many bounds lie below a number's
//! cell, and one comparison says the rest.

/// The most bounds that a histogram may have.
const BOUNDS: usize = 32;

/// Enough for 24 powers of two: for all times from 64 ns to 1 s.
const CELLS: usize = 24 << CELL_BITS;

/// How many bits of the mantissa tell cells apart.
const CELL_BITS: u32 = 6;

/// Finds buckets of numbers that are not negative.
#[derive(Debug)]
pub(crate) struct Grid {
    bounds: [f64; BOUNDS],
    /// How many bounds lie below each cell. The first cell includes all smaller numbers, the last all larger ones.
    below: [u8; CELLS],
    first: u64,
    last: u64,
}

impl Grid {
    /// For bounds in seconds, of numbers in nanoseconds.
    pub(crate) const fn of_nanoseconds(bounds: &[f64]) -> Self {
        let mut nanoseconds = [0.0; BOUNDS];
        let mut i = 0;
        while i < bounds.len() {
            nanoseconds[i] = (bounds[i] * 1e9).round();
            i += 1;
        }
        Self::new(nanoseconds, bounds.len())
    }

    /// For numbers that were `f32`. So are the bounds: 0.85 is in the bucket up to 0.85, which it would not be if the
    /// bound were the `f64` that is nearest to 0.85.
    pub(crate) const fn of_f32(bounds: &[f64]) -> Self {
        let mut rounded = [0.0; BOUNDS];
        let mut i = 0;
        while i < bounds.len() {
            rounded[i] = bounds[i] as f32 as f64;
            i += 1;
        }
        Self::new(rounded, bounds.len())
    }

    const fn new(bounds: [f64; BOUNDS], len: usize) -> Self {
        let (first, last) = (cell(bounds[0]), cell(bounds[len - 1]));
        assert!(last - first < CELLS as u64, "the bounds are too far apart");
        let mut below = [0; CELLS];
        let (mut i, mut bound) = (0, 0);
        while i <= last - first {
            below[i as usize] = bound as u8;
            if cell(bounds[bound]) == first + i {
                bound += 1;
            }
            assert!(bound == len || cell(bounds[bound]) > first + i, "bounds fall, or two are in one cell");
            i += 1;
        }
        Self { bounds, below, first, last }
    }

    /// How many bounds are less than `value`.
    #[inline]
    pub(crate) fn bucket(&self, value: f64) -> usize {
        let cell = cell(value).clamp(self.first, self.last) - self.first;
        let below = usize::from(self.below[cell as usize]);
        below + usize::from(self.bounds[below] < value)
    }
}

#[inline]
const fn cell(value: f64) -> u64 {
    value.to_bits() >> (f64::MANTISSA_DIGITS - 1 - CELL_BITS)
}

#[cfg(test)]
mod tests;
