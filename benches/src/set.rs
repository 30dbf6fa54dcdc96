//! Sets to search, and a plain read of their bytes.

use anyhow::Result;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::hint::black_box;
use tiny_dancer::Candidate;
use tiny_dancer::parts::core::CandidateSet;

/// A set of candidates from a seed, and a query for it.
///
/// # Errors
/// If a candidate has a zero norm, which this seed never draws.
pub fn random(candidates: usize, dimensions: usize) -> Result<(CandidateSet, Vec<f32>)> {
    let mut rng = ChaCha8Rng::seed_from_u64(candidates as u64);
    let mut embedding = || -> Vec<f32> { (0..dimensions).map(|_| rng.random_range(-1.0..1.0)).collect() };
    let query = embedding();
    let candidate = |_| Candidate { embedding: embedding(), success_rate: 0.5, ..Default::default() };
    Ok((CandidateSet::new((0..candidates).map(candidate).collect())?, query))
}

/// Reads all numbers once, front to back, with just enough work that the compiler keeps the reads.
pub fn read(numbers: &[f32]) {
    // The lanes of half of the vector registers of baseline x86-64.
    let (blocks, rest) = numbers.as_chunks::<32>();
    let mut sums = [0_u32; 32];
    for block in blocks {
        for (sum, number) in sums.iter_mut().zip(block) {
            *sum ^= number.to_bits();
        }
    }
    black_box((sums, rest));
}

#[cfg(test)]
mod tests {
    use super::*;
    use tiny_dancer_core::testing::kernels::embeddings;

    #[test]
    fn a_search_and_a_read_get_the_same_numbers() {
        let (set, query) = random(50, 12).unwrap();
        assert_eq!(embeddings(&set).len(), 50 * 12);
        assert_eq!(set.nearest(&query, 8).unwrap().len(), 8);
        read(embeddings(&set));
    }
}
