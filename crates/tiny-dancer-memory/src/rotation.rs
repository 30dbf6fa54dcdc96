//! A random rotation, which spreads each vector evenly over the dimensions.
//!
//! A code of signs is a good approximation of a vector whose elements are about equally large. After a rotation that is
//! chosen without regard to the data, every vector is such a vector, with high probability.
//!
//! A random orthogonal matrix takes `d^2` products. This one takes `8 d log d` additions: in each of four rounds, elements get
//! random signs, and a Hadamard transform (of `2^k` elements, where `2^k <= d`) mixes the first or the last elements. Both
//! are orthogonal, so lengths and products stay.

/// The seed of the signs. It is fixed so that codes are the same in each process.
const SEED: u64 = 0x7269_6e67_2072_6f74;

const ROUNDS: usize = 4;

/// The multiple of dimensions to which vectors are padded with zeros: four groups of four, a vector of AVX-512.
const PADDING: usize = 16;

/// A rotation of vectors with up to this number of dimensions.
#[derive(Debug)]
pub(crate) struct Rotation {
    /// Of each round, 1 or -1 for each dimension, by the scale of the transform.
    signs: Vec<f32>,
    dimensions: usize,
}

impl Rotation {
    /// Rotates vectors of this dimension, padded.
    pub(crate) fn new(dimensions: usize) -> Self {
        let dimensions = dimensions.max(1).next_multiple_of(PADDING);
        let scale = (window(dimensions) as f32).sqrt().recip();
        let mut state = SEED;
        let mut bits = || {
            // SplitMix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        let first = |round: usize| if round.is_multiple_of(2) { 0 } else { dimensions - window(dimensions) };
        let signs = (0..ROUNDS).flat_map(|round| {
            let mixed = first(round)..first(round) + window(dimensions);
            (0..dimensions).map(move |i| if mixed.contains(&i) { scale } else { 1.0 })
        });
        let signs = signs.map(|scale| if bits() >> 63 == 0 { scale } else { -scale }).collect();
        Self { signs, dimensions }
    }

    /// The number of dimensions after padding, a multiple of 16.
    pub(crate) fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Rotates a padded vector in place.
    #[inline(always)]
    pub(crate) fn rotate(&self, vector: &mut [f32]) {
        let window = window(self.dimensions);
        for (round, signs) in self.signs.chunks_exact(self.dimensions).enumerate() {
            for (x, sign) in vector.iter_mut().zip(signs) {
                *x *= sign;
            }
            let first = if round.is_multiple_of(2) { 0 } else { self.dimensions - window };
            transform(&mut vector[first..first + window]);
        }
    }
}

/// The number of elements that a round mixes: the largest power of two.
#[inline(always)]
fn window(dimensions: usize) -> usize {
    1 << dimensions.ilog2()
}

/// The Hadamard transform of a multiple of sixteen elements, without its scale.
#[inline(always)]
fn transform(vector: &mut [f32]) {
    let mut half = vector.len() / 2;
    while half >= PADDING {
        for pair in vector.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            for (a, b) in low.iter_mut().zip(high) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half /= 2;
    }
    for sixteen in vector.as_chunks_mut::<PADDING>().0 {
        mix::<8>(sixteen);
        mix::<4>(sixteen);
        mix::<2>(sixteen);
        mix::<1>(sixteen);
    }
}

#[inline(always)]
fn mix<const HALF: usize>(vector: &mut [f32; PADDING]) {
    let before = *vector;
    for i in 0..PADDING {
        vector[i] = before[i & !HALF] + if i & HALF == 0 { 1.0 } else { -1.0 } * before[i | HALF];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_keeps_products_and_spreads_each_axis() {
        for dimensions in [1, 16, 100, 256, 384, 1000] {
            let rotation = Rotation::new(dimensions);
            let padded = rotation.dimensions();
            let rotated: Vec<Vec<f32>> = [0, dimensions - 1, dimensions / 2]
                .into_iter()
                .map(|axis| {
                    let mut vector = vec![0.0; padded];
                    vector[axis] = 1.0;
                    rotation.rotate(&mut vector);
                    vector
                })
                .collect();
            for (i, a) in rotated.iter().enumerate() {
                let largest = a.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
                assert!(largest < 6.0 / (padded as f32).sqrt(), "{dimensions}: {largest}");
                for (j, b) in rotated.iter().enumerate() {
                    let product: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                    let same = i == j || dimensions == 1;
                    assert!((product - f32::from(u8::from(same))).abs() < 1e-5, "{dimensions}: {product}");
                }
            }
        }
    }
}
