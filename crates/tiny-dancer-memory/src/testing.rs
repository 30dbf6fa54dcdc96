//! Vectors for tests, the same on every machine.

use tiny_dancer_core::Candidate;

/// A generator of vectors.
pub(crate) struct Drawn(u64);

impl Drawn {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 24) as f32
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((self.uniform() * n as f32) as usize).min(n - 1)
    }

    /// A vector whose elements are nearly normal.
    pub(crate) fn vector(&mut self, dimensions: usize) -> Vec<f32> {
        (0..dimensions).map(|_| (0..4).map(|_| self.uniform()).sum::<f32>() - 2.0).collect()
    }

    /// Vectors like those of texts: not centred, of topics, and with more variance in some dimensions than in others.
    pub(crate) fn texts(&mut self, n: usize, dimensions: usize) -> Vec<Vec<f32>> {
        let shared = self.vector(dimensions);
        let topics: Vec<_> = (0..40).map(|_| self.vector(dimensions)).collect();
        (0..n)
            .map(|_| {
                let (topic, noise) = (self.below(topics.len()), self.vector(dimensions));
                (0..dimensions)
                    .map(|i| {
                        let spread = 2.0 / (1.0 + 4.0 * i as f32 / dimensions as f32);
                        0.4 * shared[i] + spread * (0.6 * topics[topic][i] + noise[i])
                    })
                    .collect()
            })
            .collect()
    }
}

/// An entry for each vector, with its place as the id.
pub(crate) fn entries(vectors: Vec<Vec<f32>>) -> Vec<Candidate> {
    let entry = |(place, embedding): (usize, _)| Candidate {
        id: place.to_string(),
        embedding,
        ..Candidate::default()
    };
    vectors.into_iter().enumerate().map(entry).collect()
}
