//! Codes: for each vector of a sealed segment one bit and one byte a dimension, and a few floats.
//!
//! The one-bit code is that of `RaBitQ` (Gao and Long, SIGMOD 2024). With a centre `c` and a rotation `P`, a vector `x` is `c + r`, and its code is the signs
//! `s` (each 1 or -1) of the elements of `P r`. For a query `q` with `y = P (q - c)`
//!
//! ```text
//! <q, x> = <q, c> - <c, c> + <c, x> + <q - c, r>,    <q - c, r> = <y, P r> ~ <y, s> |r|^2 / |P r|_1
//!          `-- the query --'  offset                                          `--- factor ---'
//! ```
//!
//! The estimate is without bias over rotations, and its standard error is `factor |q - c| sqrt(1 - a^2)`, where
//! `a = |P r|_1 / (|r| sqrt(d))` is near `sqrt(2 / pi)` for each vector.

use crate::kernel::{BLOCK, Instructions, Kernel, VECTORS, Work, integer_product, product};
use crate::rotation::Rotation;
use crate::segment::SEGMENT;
use std::sync::Arc;
use tiny_dancer_core::Candidate;

/// `sqrt(1 - 2 / pi)`: the standard error of an estimate, by `factor |q - c|`.
const ERROR: f32 = 0.602_810_3;

/// The largest byte of a vector's code.
const LARGEST: f32 = 127.0;

/// An element 1 of a query, in integers.
const UNIT: f32 = 32_767.0;

/// The standard error of a product of bytes, by the scale of the bytes: that of rounding, `1 / sqrt(12)`, since a query has
/// length 1.
const ROUNDING: f32 = 0.288_675_13;

/// The point from which vectors are coded: their mean.
#[derive(Debug, Default)]
pub(crate) struct Centre {
    vector: Vec<f32>,
    squared_norm: f32,
}

impl Centre {
    /// The mean of at least one vector.
    pub(crate) fn of<'a>(vectors: impl Iterator<Item = &'a [f32]>, dimensions: usize) -> Self {
        let (mut sums, mut n) = (vec![0.0_f32; dimensions], 0);
        for vector in vectors {
            n += 1;
            for (sum, x) in sums.iter_mut().zip(vector) {
                *sum += x;
            }
        }
        let vector: Vec<f32> = sums.iter().map(|sum| sum / n as f32).collect();
        Self { squared_norm: product(&vector, &vector), vector }
    }
}

/// The codes of a segment's vectors.
#[derive(Debug)]
pub(crate) struct Codes {
    pub(crate) centre: Arc<Centre>,
    /// In the layout of [`Instructions::sums`], one block after the other.
    bits: Vec<u8>,
    offsets: [f32; SEGMENT],
    factors: [f32; SEGMENT],
    /// The elements in units of the scale, one vector after the other.
    bytes: Vec<i8>,
    scales: [f32; SEGMENT],
}

impl Codes {
    /// Codes the vectors of a full segment, each of length 1.
    pub(crate) fn of(
        kernel: Kernel,
        rotation: &Rotation,
        centre: &Arc<Centre>,
        entries: &[Arc<Candidate>],
    ) -> Self {
        kernel.dispatch(Encode { rotation, centre, entries })
    }

    /// The estimates of a block's products with the query, each with the margin of `table` added, and the margins.
    #[inline(always)]
    pub(crate) fn estimates<I: Instructions>(
        &self,
        instructions: I,
        block: usize,
        table: &Table,
    ) -> ([f32; BLOCK], [f32; BLOCK]) {
        let bytes = table.bytes.len();
        let sums = instructions.sums(&self.bits[block * bytes..][..bytes], &table.bytes);
        let (mut upper, mut margins) = ([0.0; BLOCK], [0.0; BLOCK]);
        let offsets = &self.offsets[block * BLOCK..][..BLOCK];
        let factors = &self.factors[block * BLOCK..][..BLOCK];
        for i in 0..BLOCK {
            let signed = f32::from(sums[i]) * table.step + table.bias;
            margins[i] = factors[i] * table.margin;
            upper[i] = table.base + offsets[i] + factors[i] * signed + margins[i];
        }
        (upper, margins)
    }

    /// The product of a row with the query by its bytes, and its standard error.
    #[inline(always)]
    pub(crate) fn product(&self, row: usize, query: &[i16]) -> (f32, f32) {
        let bytes = &self.bytes[row * query.len()..][..query.len()];
        let scale = self.scales[row];
        (integer_product(query, bytes) as f32 * (scale / UNIT), scale * ROUNDING)
    }
}

/// A query of length 1 in integers.
pub(crate) fn integers(query: &[f32]) -> Vec<i16> {
    query.iter().map(|x| (x * UNIT).round() as i16).collect()
}

/// [`Codes::of`].
struct Encode<'a> {
    rotation: &'a Rotation,
    centre: &'a Arc<Centre>,
    entries: &'a [Arc<Candidate>],
}

impl Work for Encode<'_> {
    type Output = Codes;

    #[inline(always)]
    fn run<I: Instructions>(self, _: I) -> Codes {
        let Self { rotation, centre, entries } = self;
        let (dimensions, padded) = (centre.vector.len(), rotation.dimensions());
        let mut codes = Codes {
            centre: centre.clone(),
            bits: vec![0; SEGMENT * padded / 8],
            offsets: [0.0; SEGMENT],
            factors: [0.0; SEGMENT],
            bytes: Vec::with_capacity(SEGMENT * dimensions),
            scales: [0.0; SEGMENT],
        };
        let mut rotated = vec![0.0; padded];
        for (row, entry) in entries.iter().enumerate() {
            let vector = entry.embedding.as_slice();
            subtract(vector, &centre.vector, &mut rotated);
            let squared_norm = product(&rotated, &rotated);
            rotation.rotate(&mut rotated);
            let sum: f32 = rotated.iter().map(|x| x.abs()).sum();
            codes.offsets[row] = product(vector, &centre.vector);
            codes.factors[row] = if sum > 0.0 { squared_norm / sum } else { 0.0 };
            let (block, place) = (row / BLOCK, row % BLOCK);
            let block = &mut codes.bits[block * padded * 4..][..padded * 4];
            let byte = VECTORS.iter().position(|&vector| vector == place % 16).unwrap_or(0);
            for (group, four) in rotated.chunks_exact(4).enumerate() {
                let signs = (0..4).fold(0, |signs, i| signs | u8::from(four[i] > 0.0) << i);
                block[16 * group + byte] |= signs << (place / 16 * 4);
            }
            let largest = vector.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
            codes.bytes.extend(vector.iter().map(|x| (x * (LARGEST / largest)).round() as i8));
            codes.scales[row] = largest / LARGEST;
        }
        codes
    }
}

/// `a - b`, padded with zeros.
#[inline(always)]
fn subtract(a: &[f32], b: &[f32], difference: &mut [f32]) {
    difference[a.len()..].fill(0.0);
    for (difference, (a, b)) in difference.iter_mut().zip(a.iter().zip(b)) {
        *difference = a - b;
    }
}

/// What a query adds to the codes of one centre: `<y, s>` as a sum of bytes, one for each group of four dimensions.
#[derive(Debug)]
pub(crate) struct Table {
    /// For each group, `<y, s>` of each of the sixteen signs of its dimensions, from the smallest, in steps.
    bytes: Vec<u8>,
    step: f32,
    /// The sum of the smallest products of all groups.
    bias: f32,
    /// `<q, c> - <c, c>`
    base: f32,
    /// As many standard errors as a search allows, by the factor.
    margin: f32,
}

impl Table {
    /// A table of a query of length 1. Estimates have a margin of `allowed` standard errors.
    #[inline(always)]
    pub(crate) fn new(query: &[f32], rotation: &Rotation, centre: &Centre, allowed: f32) -> Self {
        let mut rotated = vec![0.0; rotation.dimensions()];
        subtract(query, &centre.vector, &mut rotated);
        let norm = product(&rotated, &rotated).sqrt();
        rotation.rotate(&mut rotated);
        let (groups, _) = rotated.as_chunks::<4>();
        let (mut widest, mut sum) = (0.0_f32, 0.0);
        for four in groups {
            let absolute = four[0].abs() + four[1].abs() + four[2].abs() + four[3].abs();
            widest = widest.max(absolute);
            sum += absolute;
        }
        // A group's products span twice its sum. The rounded sums of all groups stay below 2^16.
        let most = f32::from(u16::MAX) - groups.len() as f32;
        let step = (2.0 * widest / 255.0).max(2.0 * sum / most).max(f32::MIN_POSITIVE);
        let mut bytes = vec![0; 16 * groups.len()];
        for (bytes, four) in bytes.as_chunks_mut::<16>().0.iter_mut().zip(groups) {
            let smallest = four[0].abs() + four[1].abs() + four[2].abs() + four[3].abs();
            for (signs, byte) in bytes.iter_mut().enumerate() {
                let signed = |i: usize| if signs >> i & 1 == 1 { four[i] } else { -four[i] };
                let product = signed(0) + signed(1) + signed(2) + signed(3);
                *byte = ((product + smallest) / step + 0.5) as i32 as u8;
            }
        }
        let base = product(query, &centre.vector) - centre.squared_norm;
        Self { bytes, step, bias: -sum, base, margin: allowed * ERROR * norm }
    }
}

#[cfg(test)]
mod tests;
