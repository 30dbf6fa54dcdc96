//! Times a store: one synchronization of the disk, remembering through a writer, and opening.
//!
//! ```text
//! cargo run --release -p tiny-dancer-memory --example store_time [ENTRIES [DIMENSIONS [FOLDER]]]
//! ```
//!
//! An entry is what a request leaves: its embedding, an entry of the decision log, what followed, and a verdict. The folder is
//! on the disk that is measured; it is the current one unless named.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]
#![expect(clippy::disallowed_methods, reason = "it measures time, and no test holds it")]

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tiny_dancer_core::{Candidate, ModelType, Reason, Thresholds};
use tiny_dancer_memory::{
    Change, Draws, Entry, Index, LogEntry, Reader, Report, RequestId, Served, SqliteReader, SqliteStore,
    Tokens, Usage, Verdict, Writer,
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// How many changes the queue holds.
const QUEUE: usize = 65_536;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let entries = arguments.next().map_or(Ok(100_000), |n| n.parse())?;
    let dimensions = arguments.next().map_or(Ok(256), |n| n.parse())?;
    let folder = tempfile::tempdir_in(arguments.next().map_or(PathBuf::from("."), PathBuf::from))?;
    println!("one synchronization of 4 KiB: {:?}", synchronization(folder.path())?);
    let path = folder.path().join("memory.db");
    let requests = (0..entries).map(request(dimensions)).collect();
    remember(&path, requests)?;
    open(&path, dimensions)?;
    one_by_one(&folder.path().join("slow.db"), (0..200).map(request(dimensions)).collect())
}

/// The median time to append 4 KiB to a file durably.
fn synchronization(folder: &Path) -> Result<Duration> {
    let mut file = File::create(folder.join("file"))?;
    let mut times = Vec::new();
    for _ in 0..200 {
        file.write_all(&[1; 4096])?;
        let start = Instant::now();
        file.sync_data()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

/// The changes that a request leads to.
fn request(dimensions: usize) -> impl FnMut(u64) -> [Change; 4] {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    move |number| {
        let id = RequestId::from_bytes(u128::from(number).to_be_bytes());
        let tenant = Some(format!("tenant-{}", number % 10));
        let user = Some(format!("user-{}", number % 1000));
        let entry = Entry {
            id,
            created_at: 1_700_000_000 + number as i64,
            tenant: tenant.clone(),
            user: user.clone(),
            metadata: [("domain".to_owned(), "mathematics".to_owned())].into(),
            embedding: (0..dimensions).map(|_| rng.random::<f32>() - 0.5).collect(),
            prompt: None,
            verdict: None,
        };
        let log = LogEntry {
            id,
            at: 1_700_000_000_000 + number as i64,
            tenant,
            user,
            conversation: Some(format!("conversation-{}", number / 4)),
            model_version: "0123456789abcdef".into(),
            embedder: Some("static-256".into()),
            mode: None,
            confidence: 0.7,
            uncertainty: 0.1,
            thresholds: Thresholds { confidence_threshold: 0.6, max_uncertainty: 0.2 },
            reason: Reason::Confident,
            decided: ModelType::Lightweight,
            number,
            draws: Draws::default(),
            served: None,
            verdict: None,
        };
        let served = Served {
            model: ModelType::Lightweight,
            usage: vec![Usage {
                model: "small".into(),
                tokens: Tokens { input: 100, cached_input: 0, output: 300 },
            }],
            price_version: Some("2026-11".into()),
            judge: None,
            draws: Draws::default(),
        };
        let verdict = Verdict { at: Some(1_700_000_001_000), ..Verdict::lightweight(0.9) };
        [
            Change::Remember(Box::new(entry)),
            Change::Log(Box::new(log)),
            Change::Serve(id, Box::new(served)),
            Change::Judge(id, verdict),
        ]
    }
}

/// Sends requests as fast as the queue takes them.
fn remember(path: &Path, requests: Vec<[Change; 4]>) -> Result<()> {
    let count = requests.len() as f64;
    let commits = Arc::new(Mutex::new(Vec::new()));
    let reported = commits.clone();
    let writer = Writer::new(SqliteStore::open(path)?, QUEUE, move |report| {
        if let Report::Stored { changes, duration, .. } = report
            && let Ok(mut commits) = reported.lock()
        {
            commits.push((changes, duration));
        }
    })?;
    let start = Instant::now();
    let mut sends = Vec::with_capacity(requests.len());
    for request in requests {
        while writer.queued() + request.len() > writer.capacity() {
            std::thread::yield_now();
        }
        let sent = Instant::now();
        writer.send(request)?;
        sends.push(sent.elapsed());
    }
    writer.flush()?;
    let elapsed = start.elapsed();
    drop(writer);
    sends.sort_unstable();
    let mut commits = commits.lock().map_err(|_| "a report has panicked")?.clone();
    commits.sort_unstable_by_key(|commit| commit.1);
    println!(
        "remember {count} requests of 4 changes: {:.1} us a request, {} commits, {:.0} requests a commit, a commit takes {:?} \
         (median) to {:?}, send {:?} (median) to {:?}",
        elapsed.as_secs_f64() * 1e6 / count,
        commits.len(),
        count / commits.len() as f64,
        commits[commits.len() / 2].1,
        commits[commits.len() - 1].1,
        sends[sends.len() / 2],
        sends[sends.len() - 1],
    );
    let file = std::fs::metadata(path)?.len();
    println!("{:.0} bytes a request in the file", file as f64 / count);
    Ok(())
}

/// Reads all entries, and makes the index.
fn open(path: &Path, dimensions: usize) -> Result<()> {
    for _ in 0..3 {
        let start = Instant::now();
        drop(SqliteStore::open(path)?);
        let opened = start.elapsed();
        let reader = SqliteReader::open(path)?;
        let mut candidates = Vec::new();
        reader.entries(&mut |entry| {
            candidates.push(Candidate {
                id: entry.id.to_string(),
                embedding: entry.embedding,
                metadata: entry.metadata,
                ..Candidate::default()
            });
        })?;
        let read = start.elapsed();
        let index = Index::new(dimensions);
        index.insert(candidates)?;
        println!("open {opened:?}, and read {read:?}, and make the index {:?}", start.elapsed());
    }
    Ok(())
}

/// Remembers requests of which each is flushed: the slowest way.
fn one_by_one(path: &Path, requests: Vec<[Change; 4]>) -> Result<()> {
    let writer = Writer::new(SqliteStore::open(path)?, QUEUE, |_| {})?;
    let mut times = Vec::new();
    for request in requests {
        let start = Instant::now();
        writer.send(request)?;
        writer.flush()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    println!("remember and flush one request: {:?}", times[times.len() / 2]);
    Ok(())
}
