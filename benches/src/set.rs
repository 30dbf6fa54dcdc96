//! Sets to search, and what it takes to read their bytes once.

use anyhow::Result;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::hint::black_box;
use tiny_dancer::Candidate;
use tiny_dancer::parts::core::CandidateSet;

/// A set of that many candidates, from a seed, and a query for it.
///
/// # Errors
/// If a candidate is drawn without a direction, which none is.
pub fn remembered(candidates: usize, dimensions: usize) -> Result<(CandidateSet, Vec<f32>)> {
    let mut rng = ChaCha8Rng::seed_from_u64(candidates as u64);
    let mut embedding = || -> Vec<f32> { (0..dimensions).map(|_| rng.random_range(-1.0..1.0)).collect() };
    let query = embedding();
    let candidate = |_| Candidate { embedding: embedding(), success_rate: 0.5, ..Default::default() };
    Ok((CandidateSet::new((0..candidates).map(candidate).collect())?, query))
}

/// Reads all of it once, front to back, and does no more with it than a compiler needs to see.
pub fn read(numbers: &[f32]) {
    // As many lanes as the plainest vectors of x86-64 keep in half of their registers.
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
    fn a_search_and_a_reading_see_the_same_numbers() {
        let (set, query) = remembered(50, 12).unwrap();
        assert_eq!(embeddings(&set).len(), 50 * 12);
        assert_eq!(set.nearest(&query, 8).unwrap().len(), 8);
        read(embeddings(&set));
    }
}
