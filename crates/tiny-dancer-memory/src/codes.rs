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

use crate::kernel::{BLOCK, Instructions, Kernel, LARGEST_STEP, Line, VECTORS, Work, product};
use crate::rotation::Rotation;
use crate::segment::SEGMENT;
use std::hint::black_box;
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

/// The elements of a line.
const ELEMENTS: usize = size_of::<Line>();

/// The lines of the offsets of a block, and of its factors.
const FLOATS: usize = BLOCK * size_of::<f32>() / ELEMENTS;

/// The point from which vectors are coded: their mean.
#[derive(Debug, Default)]
pub(crate) struct Centre {
    vector: Vec<f32>,
    rotated: Vec<f32>,
    squared_norm: f32,
}

impl Centre {
    /// The mean of at least one vector.
    pub(crate) fn of<'a>(rotation: &Rotation, vectors: impl Iterator<Item = &'a [f32]>) -> Self {
        let (mut sums, mut n) = (vec![0.0_f32; rotation.dimensions()], 0);
        for vector in vectors {
            n += 1;
            for (sum, x) in sums.iter_mut().zip(vector) {
                *sum += x;
            }
        }
        let vector: Vec<f32> = sums.iter().map(|sum| sum / n as f32).collect();
        let mut rotated = vector.clone();
        rotation.rotate(&mut rotated);
        Self { squared_norm: product(&vector, &vector), rotated, vector }
    }
}

/// The codes of a segment's vectors.
#[derive(Debug)]
pub(crate) struct Codes {
    pub(crate) centre: Arc<Centre>,
    /// Of each block the signs, in the layout of [`Instructions::sums`], then the offsets and the factors.
    blocks: Vec<Line>,
    /// The elements in units of the scale, one vector after the other, each padded to whole lines.
    bytes: Vec<Line>,
    /// Of each [`SEGMENT`] vectors.
    scales: Vec<f32>,
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

    /// These codes and the next in one, if both have one centre.
    pub(crate) fn merged(&self, next: &Self) -> Option<Self> {
        Arc::ptr_eq(&self.centre, &next.centre).then(|| Self {
            centre: self.centre.clone(),
            blocks: [self.blocks.as_slice(), &next.blocks].concat(),
            bytes: [self.bytes.as_slice(), &next.bytes].concat(),
            scales: [self.scales.as_slice(), &next.scales].concat(),
        })
    }

    /// The blocks, of equally many lines.
    #[inline(always)]
    pub(crate) fn blocks(&self) -> std::slice::ChunksExact<'_, Line> {
        self.blocks.chunks_exact(self.blocks.len() / (self.scales.len() * SEGMENT / BLOCK))
    }

    /// Brings the bytes of a row of so many lines to the caches. The processor loads many rows at a time where it need not
    /// compare them.
    #[inline(always)]
    pub(crate) fn load(&self, row: usize, lines: usize) {
        for line in &self.bytes[row * lines..][..lines] {
            black_box(line.0[0]);
        }
    }

    /// The product of a row with the query by its bytes, and its standard error.
    #[inline(always)]
    pub(crate) fn product<I: Instructions>(
        &self,
        instructions: I,
        row: usize,
        query: &[[i16; ELEMENTS]],
    ) -> (f32, f32) {
        let (row_bytes, scale) =
            (&self.bytes[row * query.len()..][..query.len()], self.scales[row / SEGMENT]);
        (instructions.product(query, row_bytes) as f32 * (scale / UNIT), scale * ROUNDING)
    }
}

/// A query of length 1 in integers, padded to whole lines.
pub(crate) fn integers(query: &[f32]) -> Vec<[i16; ELEMENTS]> {
    let mut integers = vec![[0; ELEMENTS]; query.len().div_ceil(ELEMENTS)];
    for (integer, x) in integers.as_flattened_mut().iter_mut().zip(query) {
        *integer = (x * UNIT).round() as i16;
    }
    integers
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
        let padded = rotation.dimensions();
        let signs = padded * BLOCK / 8 / ELEMENTS;
        let mut blocks = vec![Line([0; ELEMENTS]); SEGMENT / BLOCK * (signs + 2 * FLOATS)];
        let largest = entries.iter().flat_map(|entry| &entry.embedding).fold(0.0_f32, |a, x| a.max(x.abs()));
        let scale = largest / LARGEST;
        let mut bytes = Vec::new();
        let mut rotated = vec![0.0; padded];
        for (row, entry) in entries.iter().enumerate() {
            let vector = entry.embedding.as_slice();
            rotated[vector.len()..].fill(0.0);
            for (rotated, (x, c)) in rotated.iter_mut().zip(vector.iter().zip(&centre.vector)) {
                *rotated = x - c;
            }
            let squared_norm = product(&rotated, &rotated);
            rotation.rotate(&mut rotated);
            let sum: f32 = rotated.iter().map(|x| x.abs()).sum();
            let offset = product(vector, &centre.vector[..vector.len()]);
            let factor = if sum > 0.0 { squared_norm / sum } else { 0.0 };
            let place = row % BLOCK;
            let block = &mut blocks[row / BLOCK * (signs + 2 * FLOATS)..][..signs + 2 * FLOATS];
            let byte = VECTORS.iter().position(|&vector| vector == place % 16).unwrap_or(0);
            for (group, four) in rotated.chunks_exact(4).enumerate() {
                let bits = (0..4).fold(0, |bits, i| bits | u8::from(four[i] > 0.0) << i);
                block[group / 4].0[group % 4 * 16 + byte] |= bits << (place / 16 * 4);
            }
            for (float, lines) in [(offset, signs), (factor, signs + FLOATS)] {
                let line = &mut block[lines + place / 16].0;
                line.as_chunks_mut::<4>().0[place % 16] = float.to_le_bytes();
            }
            for elements in vector.chunks(ELEMENTS) {
                let mut line = Line([0; ELEMENTS]);
                for (byte, x) in line.0.iter_mut().zip(elements) {
                    *byte = ((x / scale).round() as i8).cast_unsigned();
                }
                bytes.push(line);
            }
        }
        Codes { centre: centre.clone(), blocks, bytes, scales: vec![scale] }
    }
}

/// Of each of four dimensions, its sign in each group of four bits.
const SIGNS: [[f32; 16]; 4] = {
    let mut signs = [[-1.0; 16]; 4];
    let mut i = 0;
    while i < 4 * 16 {
        if (i % 16) >> (i / 16) & 1 == 1 {
            signs[i / 16][i % 16] = 1.0;
        }
        i += 1;
    }
    signs
};

/// `2^23`: a float of this size has steps of 1, so that adding it rounds, and the lowest bits are the integer.
const ROUND: f32 = 8_388_608.0;

/// A query as the tables of the codes of one centre: `<y, s>` as a sum of bytes, one for each group of four dimensions.
#[derive(Debug)]
pub(crate) struct Table {
    /// For each group, `<y, s>` of each of the sixteen signs of its dimensions, from the smallest, in steps.
    lines: Vec<Line>,
    step: f32,
    /// The sum of the smallest products of all groups, and the margin: as many standard errors as a search allows.
    bias: f32,
    /// `<q, c> - <c, c>`
    base: f32,
}

impl Table {
    /// A table of a query of length 1, which is rotated and padded too. Estimates have a margin of `allowed` standard errors.
    #[inline(always)]
    pub(crate) fn new(query: &[f32], rotated: &[f32], centre: &Centre, allowed: f32) -> Self {
        let y: Vec<f32> = rotated.iter().zip(&centre.rotated).map(|(q, c)| q - c).collect();
        let norm = product(&y, &y).sqrt();
        let groups = y.as_chunks::<4>().0;
        let (mut widest, mut sum) = (0.0_f32, 0.0);
        for four in groups {
            let absolute = four[0].abs() + four[1].abs() + four[2].abs() + four[3].abs();
            widest = widest.max(absolute);
            sum += absolute;
        }
        // A group's products span twice its sum. The rounded sums of all groups stay below 2^16.
        let most = f32::from(u16::MAX) - groups.len() as f32;
        let largest = f32::from(LARGEST_STEP);
        let step = (2.0 * widest / largest).max(2.0 * sum / most).max(f32::MIN_POSITIVE);
        let steps = step.recip();
        let mut lines = vec![Line([0; ELEMENTS]); groups.len() / 4];
        let bytes = lines.iter_mut().flat_map(|line| line.0.as_chunks_mut::<16>().0);
        for (bytes, four) in bytes.zip(groups) {
            let smallest = four[0].abs() + four[1].abs() + four[2].abs() + four[3].abs();
            *bytes = std::array::from_fn(|i| {
                let signed = |j: usize| SIGNS[j][i] * four[j];
                let product = signed(0) + signed(1) + signed(2) + signed(3);
                ((product + smallest) * steps + ROUND).to_bits() as u8
            });
        }
        let base = product(query, &centre.vector[..query.len()]) - centre.squared_norm;
        Self { lines, step, bias: allowed * ERROR * norm - sum, base }
    }

    /// The estimates of a block's products with the query, each with its margin added.
    #[inline(always)]
    pub(crate) fn upper<I: Instructions>(&self, instructions: I, block: &[Line]) -> [f32; BLOCK] {
        let (signs, floats) = block.split_at(self.lines.len());
        let (offsets, factors) = floats.split_at(FLOATS);
        let sums = instructions.sums(signs, &self.lines);
        let mut upper = [0.0; BLOCK];
        for (half, upper) in upper.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let offsets: [f32; 16] = pulp::cast(offsets[half].0);
            let factors: [f32; 16] = pulp::cast(factors[half].0);
            for i in 0..16 {
                let signed = f32::from(sums[16 * half + i]) * self.step + self.bias;
                upper[i] = self.base + offsets[i] + factors[i] * signed;
            }
        }
        upper
    }
}

#[cfg(test)]
mod tests;
