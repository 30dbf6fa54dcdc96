//! Remembering in a file: one synchronization of the disk, group commits under load, and opening.
//!
//! A request leaves four changes: its embedding, an entry of the decision log, what followed, and a verdict. The file is in the
//! folder for temporary files, so that variable `TMPDIR` selects the disk.

use crate::Run;
use anyhow::{Result, anyhow};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tiny_dancer::{ModelType, Reason, Thresholds};
use tiny_dancer_benches::Quartiles;
use tiny_dancer_memory::{
    Change, Draws, Entry, LogEntry, Memory, MemoryConfig, Report, RequestId, Served, SqliteStore, Tokens,
    Usage, Verdict, Writer,
};

/// How many requests are remembered.
const REQUESTS: u64 = 100_000;

/// The dimension of the static embedder's vectors.
const DIMENSIONS: usize = 256;

/// How many changes the queue holds.
const QUEUE: usize = 65_536;

pub(crate) fn measure(run: &Run) -> Result<()> {
    if !run.selects("remember") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("memory.db");
    synchronization(run, folder.path())?;
    let requests = (0..REQUESTS).map(request()).collect();
    under_load(run, &path, requests)?;
    let open = || -> Result<f64> {
        let start = now();
        // The requests are of a fixed time, which is long ago.
        let memory = Memory::open_with(&path, MemoryConfig { max_age: None, ..Default::default() })?;
        let seconds = start.elapsed().as_secs_f64();
        anyhow::ensure!(memory.stats().evidence as u64 == REQUESTS, "the memory has {:?}", memory.stats());
        Ok(seconds)
    };
    let seconds: Vec<f64> = (0..3).map(|_| open()).collect::<Result<_>>()?;
    run.report("remember/open", Quartiles::of(seconds.into_iter()), &[]);
    Ok(())
}

/// Appends 4 KiB to a file durably.
fn synchronization(run: &Run, folder: &Path) -> Result<()> {
    let mut file = File::create(folder.join("file"))?;
    let mut times = Vec::new();
    for _ in 0..200 {
        file.write_all(&[1; 4096])?;
        let start = now();
        file.sync_data()?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    run.report("remember/synchronization", Quartiles::of(times.into_iter()), &[]);
    Ok(())
}

/// Sends requests as fast as the queue takes them, from one thread.
fn under_load(run: &Run, path: &Path, requests: Vec<[Change; 4]>) -> Result<()> {
    let count = requests.len() as f64;
    let commits = Arc::new(Mutex::new(0));
    let counted = commits.clone();
    let writer = Writer::new(SqliteStore::open(path)?, QUEUE, move |report| {
        if let Report::Stored { .. } = report
            && let Ok(mut commits) = counted.lock()
        {
            *commits += 1;
        }
    })?;
    let (start, mut sends) = (now(), Vec::with_capacity(requests.len()));
    for request in requests {
        while writer.queued() + request.len() > writer.capacity() {
            std::thread::yield_now();
        }
        let sent = now();
        writer.send(request)?;
        sends.push(sent.elapsed().as_secs_f64() * 1e9);
    }
    writer.flush()?;
    let elapsed = start.elapsed();
    drop(writer);
    let commits = *commits.lock().map_err(|_| anyhow!("a report has panicked"))?;
    let one = |value| Quartiles::of(std::iter::once(value));
    run.report("remember/commit", one(count / f64::from(commits)), &[]);
    run.report("remember/request", one(elapsed.as_secs_f64() * 1e6 / count), &[]);
    run.report("remember/send", Quartiles::of(sends.into_iter()), &[]);
    run.report("remember/bytes", one(std::fs::metadata(path)?.len() as f64 / count), &[]);
    Ok(())
}

/// The changes that a request leads to.
fn request() -> impl FnMut(u64) -> [Change; 4] {
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
            embedding: (0..DIMENSIONS).map(|_| rng.random::<f32>() - 0.5).collect(),
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
            ticket: None,
            found_worse: None,
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

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}
