//! Times a search beside an exact scan, with its recall and the bytes of an entry.
//!
//! ```text
//! cargo run --release -p tiny-dancer-memory --example search_time [ENTRIES [DIMENSIONS]]
//! ```
//!
//! Vectors are drawn from a fixed generator. If `TINY_DANCER_DATA` names a folder with files `*-minilm.safetensors`, real
//! vectors are searched too, alone and with noise.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]
#![expect(clippy::disallowed_methods, reason = "it measures time, and no test holds it")]

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::Path;
use std::time::{Duration, Instant};
use tiny_dancer_core::{Candidate, CandidateSet, Metadata};
use tiny_dancer_memory::Index;

const K: usize = 64;
const QUERIES: usize = 200;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let numbers: Vec<usize> = std::env::args().skip(1).map(|n| n.parse()).collect::<Result<_, _>>()?;
    let dimensions = numbers.get(1).copied().unwrap_or(256);
    println!("vectors, entries x dimensions: search / exact scan (medians), recall of {K}, bytes an entry");
    match numbers.first() {
        Some(&n) => report("drawn", drawn(n + QUERIES, dimensions))?,
        None => {
            for n in [10_000, 100_000] {
                report("drawn", drawn(n + QUERIES, dimensions))?;
            }
        }
    }
    if let Some(folder) = std::env::var_os("TINY_DANCER_DATA") {
        let real = real(folder.as_ref())?;
        report("real", real.clone())?;
        report("real with noise", noisy(&real, 100_000 + QUERIES))?;
    }
    Ok(())
}

/// Vectors of 1,000 topics around a common centre. Some dimensions vary more than others.
fn drawn(n: usize, dimensions: usize) -> Vec<Vec<f32>> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    // Nearly normal.
    let mut vector = || -> Vec<f32> {
        let mut element = |i| {
            let sum: f32 = (0..4).map(|_| rng.random::<f32>() - 0.5).sum();
            sum / (1.0 + 4.0 * i as f32 / dimensions as f32)
        };
        (0..dimensions).map(&mut element).collect()
    };
    let centre = vector();
    let topics: Vec<_> = (0..1000).map(|_| vector()).collect();
    let mut near = |topic: &[f32]| -> Vec<f32> {
        let noise = vector();
        (0..dimensions).map(|i| 0.4 * centre[i] + topic[i] + noise[i]).collect()
    };
    (0..n).map(|i| near(&topics[i * 7919 % topics.len()])).collect()
}

/// The vectors of all files, mixed, so that the queries are like the entries.
fn real(folder: &Path) -> Result<Vec<Vec<f32>>, Box<dyn std::error::Error>> {
    let mut vectors = Vec::new();
    for file in ["dcrouter", "mmlu-pro", "routellm"] {
        let bytes = std::fs::read(folder.join(format!("{file}-minilm.safetensors")))?;
        let tensors = safetensors::SafeTensors::deserialize(&bytes)?;
        let tensor = tensors.tensor("embeddings")?;
        let halves = tensor.data().as_chunks::<2>().0;
        let values: Vec<f32> = halves.iter().map(|half| half::f16::from_le_bytes(*half).to_f32()).collect();
        vectors.extend(values.chunks_exact(tensor.shape()[1]).map(<[f32]>::to_vec));
    }
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for i in (1..vectors.len()).rev() {
        vectors.swap(i, rng.random_range(0..=i));
    }
    Ok(vectors)
}

/// Each real vector several times, each time with other noise of a third of its length.
fn noisy(real: &[Vec<f32>], n: usize) -> Vec<Vec<f32>> {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    // A uniform element has a variance of a twelfth.
    let scale = 12_f32.sqrt() / 3.0 / (real[0].len() as f32).sqrt();
    let mut noise = |x: &f32| x + scale * (rng.random::<f32>() - 0.5);
    real.iter().cycle().take(n).map(|vector| vector.iter().map(&mut noise).collect()).collect()
}

fn report(name: &str, mut vectors: Vec<Vec<f32>>) -> Result<(), Box<dyn std::error::Error>> {
    let queries = vectors.split_off(vectors.len() - QUERIES);
    let (n, dimensions) = (vectors.len(), queries[0].len());
    let entries: Vec<Candidate> = (0..)
        .zip(vectors)
        .map(|(i, embedding)| Candidate { id: format!("{i}"), embedding, ..Default::default() })
        .collect();
    let set = CandidateSet::new(entries.clone())?;
    let index = Index::new(dimensions);
    let mut inserted = Ok(());
    let counted = allocation_counter::measure(|| inserted = index.insert(entries.clone()));
    inserted?;
    let unfiltered = Metadata::new();

    let mut found = 0;
    let mut exact_times = Vec::new();
    for query in &queries {
        let (exact, time) = timed(|| set.nearest(query, K));
        exact_times.push(time);
        let exact: Vec<_> = exact?.into_iter().filter_map(|(place, _)| set.id(place)).collect();
        let nearest = index.nearest(query, K, &unfiltered)?;
        found += nearest.iter().filter(|found| exact.contains(&found.candidate.id.as_str())).count();
    }
    let mut times = Vec::new();
    for query in queries.iter().cycle().take(40 * QUERIES) {
        let (nearest, time) = timed(|| index.nearest(query, K, &unfiltered));
        nearest?;
        times.push(time);
    }
    let (search, exact) = (median(times), median(exact_times));
    println!(
        "{name}, {n} x {dimensions}: {search:?} / {exact:?} = {:.3}, {:.5}, {}",
        search.as_secs_f64() / exact.as_secs_f64(),
        found as f64 / (K * queries.len()) as f64,
        counted.bytes_current / n as i64,
    );
    Ok(())
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
