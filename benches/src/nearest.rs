//! What a memory is filled with, and the peer of its search: the crate `usearch`.

use crate::text;
use anyhow::{Context, Result};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use std::io::Read as _;
use std::path::Path;
use tiny_dancer::Candidate;
use tiny_dancer_embed::{Embedder, StaticEmbedder};
use usearch::ffi::{IndexOptions, MetricKind, ScalarKind};

/// The prompts that are held out as queries.
const QUERIES: usize = 256;

/// Prompts, some of which are held out as queries, and the vectors of the others.
#[derive(Debug)]
pub struct Prompts {
    /// The prompts that are held out.
    pub queries: Vec<String>,
    vectors: Vec<Vec<f32>>,
}

impl Prompts {
    /// The prompts of the files `*.jsonl.zst` in the folder that `TINY_DANCER_DATA` names, or else those of the examples.
    ///
    /// # Errors
    /// If a file is not read.
    pub fn read() -> Result<Self> {
        let mut prompts = match std::env::var_os("TINY_DANCER_DATA") {
            Some(folder) => real(folder.as_ref())?,
            None => text::prompts()?,
        };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for i in (1..prompts.len()).rev() {
            prompts.swap(i, rng.random_range(0..=i));
        }
        let held_out = QUERIES.min(prompts.len() / 5);
        let queries = prompts.split_off(prompts.len() - held_out);
        let embedder = StaticEmbedder::new();
        let mut vectors = Vec::new();
        for prompt in prompts {
            let mut vector = Vec::new();
            embedder.embed_into(&prompt, &mut vector)?;
            vectors.push(vector);
        }
        Ok(Self { queries, vectors })
    }

    /// This number of entries: the vectors in turn, each time with other noise of a third of their length.
    pub fn entries(&self, n: usize) -> Vec<Candidate> {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        // A uniform element has a variance of a twelfth.
        let scale = 12_f32.sqrt() / 3.0 / (self.vectors[0].len() as f32).sqrt();
        let mut noisy = |x: &f32| x + scale * (rng.random::<f32>() - 0.5);
        let entry = |(i, vector): (usize, &Vec<f32>)| {
            let embedding: Vec<f32> = vector.iter().map(&mut noisy).collect();
            let success_rate = f32::from(u8::from(i.is_multiple_of(2)));
            Candidate { id: i.to_string(), embedding, success_rate, access_count: 1, ..Candidate::default() }
        };
        self.vectors.iter().cycle().take(n).enumerate().map(entry).collect()
    }
}

fn real(folder: &Path) -> Result<Vec<String>> {
    let mut prompts = Vec::new();
    for name in ["dcrouter", "mmlu-pro", "routellm"] {
        let path = folder.join(name).with_extension("jsonl.zst");
        let mut lines = String::new();
        let file = std::fs::File::open(&path).with_context(|| path.display().to_string())?;
        zstd::Decoder::new(file)?.read_to_string(&mut lines)?;
        for line in lines.lines() {
            let row: Value = serde_json::from_str(line)?;
            prompts.push(row["prompt"].as_str().context("a line without a prompt")?.to_owned());
        }
    }
    Ok(prompts)
}

/// The graph of `usearch`.
pub struct Graph(usearch::Index);

impl Graph {
    /// A graph of all entries, built on all cores. The key of an entry is its place.
    ///
    /// # Errors
    /// If there are no entries, or if `usearch` fails.
    pub fn of(entries: &[Candidate]) -> Result<Self> {
        let options = IndexOptions {
            dimensions: entries.first().context("no entries")?.embedding.len(),
            metric: MetricKind::Cos,
            quantization: ScalarKind::F32,
            ..IndexOptions::default()
        };
        let index = usearch::Index::new(&options)?;
        let threads = std::thread::available_parallelism()?.get();
        index.reserve_capacity_and_threads(entries.len(), threads)?;
        std::thread::scope(|scope| -> Result<()> {
            let add = |first: usize| {
                for place in (first..entries.len()).step_by(threads) {
                    index.add(place as u64, &entries[place].embedding)?;
                }
                anyhow::Ok(())
            };
            let threads: Vec<_> = (0..threads).map(|first| scope.spawn(move || add(first))).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
        Ok(Self(index))
    }

    /// The places of the nearest.
    ///
    /// # Errors
    /// If `usearch` fails.
    pub fn nearest(&self, query: &[f32], k: usize) -> Result<Vec<u64>> {
        Ok(self.0.search(query, k)?.keys)
    }

    /// Raises the effort of a search by a half.
    pub fn search_longer(&self) {
        self.0.change_expansion_search(self.0.expansion_search() * 3 / 2);
    }

    /// The effort of a search: how many entries it keeps in view.
    pub fn effort(&self) -> usize {
        self.0.expansion_search()
    }

    /// The bytes in memory.
    pub fn bytes(&self) -> usize {
        self.0.memory_usage()
    }
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graph").field("len", &self.0.size()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tiny_dancer::parts::core::CandidateSet;

    #[test]
    fn a_graph_that_searches_longer_finds_what_an_exact_scan_finds() {
        let prompts = Prompts::read().unwrap();
        let entries = prompts.entries(1000);
        let (graph, set) = (Graph::of(&entries).unwrap(), CandidateSet::new(entries).unwrap());
        while graph.effort() < 1000 {
            graph.search_longer();
        }
        let mut query = Vec::new();
        for prompt in &prompts.queries[..20] {
            StaticEmbedder::new().embed_into(prompt, &mut query).unwrap();
            let found: Vec<_> = set.nearest(&query, 1).unwrap();
            assert_eq!(graph.nearest(&query, 1).unwrap(), [found[0].0 as u64]);
        }
    }
}
