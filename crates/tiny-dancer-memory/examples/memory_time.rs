//! Times a memory in a file: opening, a decision, a verdict, and what becomes durable in a second.
//!
//! ```text
//! cargo run --release -p tiny-dancer-memory --example memory_time [ENTRIES]
//! ```
//!
//! Vectors of 256 dimensions are drawn from a fixed generator.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]
#![expect(clippy::disallowed_methods, reason = "it measures time, and no test holds it")]

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::time::{Duration, Instant};
use tiny_dancer_core::{Metadata, Router, RouterConfig};
use tiny_dancer_memory::{Entry, Memory, MemoryConfig, RequestId, Verdict};

const DIMENSIONS: usize = 256;
const REQUESTS: usize = 2000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let entries = std::env::args().nth(1).map_or(Ok(10_000), |n| n.parse())?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("memory.db");
    let config = MemoryConfig { queue: 100_000, ..MemoryConfig::default() };
    let memory = Memory::open_with(&path, config.clone())?;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut vector = || -> Vec<f32> { (0..DIMENSIONS).map(|_| rng.random::<f32>() - 0.5).collect() };
    let verdict = |n: usize| Verdict { at: Some(n as i64), ..Verdict::lightweight((n % 2) as f32) };

    let start = Instant::now();
    for n in 0..entries {
        memory.remember(Entry {
            id: RequestId::now(),
            created_at: config.clock.unix_seconds(),
            tenant: None,
            user: None,
            metadata: Metadata::new(),
            embedding: vector(),
            prompt: None,
            verdict: Some(verdict(n)),
        })?;
    }
    memory.flush()?;
    let remembered = start.elapsed();
    println!("{entries} entries remembered and durable in {remembered:.1?}");
    drop(memory);

    let start = Instant::now();
    let memory = Memory::open_with(&path, config)?;
    println!("opened in {:.0?}", start.elapsed());

    let router = Router::new(RouterConfig::default())?;
    let queries: Vec<_> = (0..REQUESTS).map(|_| vector()).collect();
    let (mut deciding, mut recording) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    for (n, query) in queries.iter().enumerate() {
        let start = Instant::now();
        let answer = memory.route(router.begin(), query, Metadata::new())?;
        deciding.push(start.elapsed());
        let start = Instant::now();
        memory.record(&router, answer.id, verdict(n))?;
        recording.push(start.elapsed());
    }
    memory.flush()?;
    let durable = REQUESTS as f64 / begun.elapsed().as_secs_f64();
    for (name, mut times) in [("route", deciding), ("record", recording)] {
        times.sort();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        let [median, p99]: [Duration; 2] = [at(0.5), at(0.99)];
        println!("{name}: median {median:.1?}, 99% within {p99:.1?}");
    }
    println!("{durable:.0} requests with their verdicts routed and durable in a second");
    Ok(())
}
