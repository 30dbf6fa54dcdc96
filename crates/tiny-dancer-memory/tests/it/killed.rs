//! A process that remembers is killed at random moments. What it printed as durable is in the file that it leaves.
//!
//! `TINY_DANCER_CRASHES` is the number of kills; in Linux a kill is the signal KILL, which no process can handle.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tiny_dancer_core::{ModelType, Reason, Thresholds};
use tiny_dancer_memory::{
    Change, Draws, Entry, Expiry, LogEntry, Reader, RequestId, SqliteReader, SqliteStore, Store, StoreError,
    Verdict, VerdictSource, Writer,
};

/// The variable by which a process knows the file that it writes.
const FILE: &str = "TINY_DANCER_KILLED_FILE";

const DIMENSIONS: usize = 256;

pub(crate) fn kills() -> u64 {
    std::env::var("TINY_DANCER_CRASHES").map_or(30, |count| count.parse().unwrap())
}

/// Other numbers in each run: the moment of a kill cannot be repeated anyway.
fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(u128::from_be_bytes(*RequestId::now().as_bytes()) as u64)
}

fn id(number: u64) -> RequestId {
    RequestId::from_bytes(u128::from(number).to_be_bytes())
}

/// All that is remembered of a request. Each part can be computed from its number.
fn changes(number: u64) -> [Change; 3] {
    let entry = Entry {
        id: id(number),
        created_at: number as i64,
        tenant: Some(format!("tenant {}", number % 3)),
        user: None,
        metadata: [("number".to_owned(), number.to_string())].into(),
        embedding: (0..DIMENSIONS).map(|i| (number as usize + i) as f32).collect(),
        prompt: Some(format!("prompt {number}")),
        verdict: None,
    };
    let log = LogEntry {
        id: id(number),
        at: number as i64,
        tenant: entry.tenant.clone(),
        user: None,
        conversation: None,
        model_version: "1".into(),
        embedder: None,
        mode: None,
        confidence: 0.5,
        uncertainty: 0.5,
        thresholds: Thresholds { confidence_threshold: 0.5, max_uncertainty: 0.5 },
        reason: Reason::Confident,
        decided: ModelType::Lightweight,
        number,
        draws: Draws::default(),
        ticket: None,
        found_worse: None,
        served: None,
        verdict: None,
    };
    [Change::Remember(Box::new(entry)), Change::Log(Box::new(log)), Change::Judge(id(number), verdict())]
}

fn verdict() -> Verdict {
    Verdict { lightweight: 1.0, powerful: None, source: VerdictSource::Client, at: Some(1) }
}

/// The process that is killed. As a test it does nothing.
#[test]
fn remembers_until_it_is_killed() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let store = SqliteStore::open(path).unwrap();
    let mut next = 0;
    // The last request may be without its verdict, which was not acknowledged. So it is sent again.
    store.reader().unwrap().log(&mut |entry| next = entry.number).unwrap();
    let writer = Writer::new(store, 100_000, |_| {}).unwrap();
    let mut rng = rng();
    loop {
        for _ in 0..rng.random_range(1..60) {
            // The changes of a request are in one commit or in several.
            for change in changes(next) {
                writer.send([change]).unwrap();
            }
            next += 1;
        }
        if rng.random_bool(0.02) {
            let expiry = Expiry { keep_entries: Some(2000), ..Expiry::default() };
            writer.send([Change::Expire(expiry)]).unwrap();
        }
        writer.flush().unwrap();
        println!("durable {next}");
        std::io::stdout().flush().unwrap();
    }
}

/// Starts a test of this program as a process, which knows its file by a variable.
pub(crate) fn start(test: &str, variable: &str, path: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(variable, path);
    command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap()
}

fn durable(line: &str) -> Option<u64> {
    // The test harness has begun the line with the name of the test.
    line.split_once("durable ")?.1.parse().ok()
}

/// Reads what is left, and returns the number of the next request.
fn check(path: &Path, acknowledged: u64) -> u64 {
    let store = SqliteStore::open(path).unwrap();
    let reader = store.reader().unwrap();
    assert_eq!(reader.verify().unwrap(), Vec::<String>::new());
    let mut logged = 0;
    let count_logged = |entry: LogEntry| {
        let [_, Change::Log(mut expected), _] = changes(logged) else { unreachable!() };
        // The last requests may be without a verdict, or without anything.
        expected.verdict = (logged < acknowledged || entry.verdict.is_some()).then(verdict);
        assert_eq!(entry, *expected);
        logged += 1;
    };
    reader.log(&mut { count_logged }).unwrap();
    assert!(logged >= acknowledged, "{logged} of {acknowledged} are left");
    let mut remembered = Vec::new();
    let mut compare = |entry: Entry| {
        let number = entry.created_at as u64;
        let [Change::Remember(mut expected), ..] = changes(number) else { unreachable!() };
        expected.verdict = (number < acknowledged || entry.verdict.is_some()).then(verdict);
        assert_eq!(entry, *expected);
        remembered.push(number);
    };
    reader.entries(&mut compare).unwrap();
    assert!(remembered.is_sorted_by(|one, next| one + 1 == *next), "a gap in {remembered:?}");
    let last = remembered.last().map_or(0, |last| last + 1);
    assert!(last >= acknowledged, "{last} of {acknowledged} are left");
    logged
}

#[test]
fn the_process_that_writes_is_named_and_others_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("memory.db");
    let mut child = start("killed::remembers_until_it_is_killed", FILE, &path);
    // As long as this reads, the process goes on.
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let acknowledged = lines.find_map(|line| durable(&line.unwrap())).unwrap();
    let refused = SqliteStore::open(&path).map(drop);
    let reader = SqliteReader::open(&path).unwrap();
    let read = (reader.verify().unwrap(), reader.stats().unwrap().log_entries >= acknowledged);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        matches!(refused, Err(StoreError::Locked { process: Some(process), .. }) if process == child.id()),
        "{refused:?}"
    );
    assert_eq!(read, (Vec::new(), true));
    SqliteStore::open(&path).unwrap();
}

#[test]
fn what_flush_acknowledged_survives_a_kill_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("memory.db");
    let mut rng = rng();
    for kill in 0..kills() {
        let mut child = start("killed::remembers_until_it_is_killed", FILE, &path);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = 0;
        // A new file is killed while it is made, too.
        let enough = if kill % 8 == 0 { 0 } else { rng.random_range(0..30) };
        let mut seen = 0;
        while seen < enough {
            let line = lines.next().expect("it ends only when it is killed").unwrap();
            if let Some(number) = durable(&line) {
                acknowledged = number;
                seen += 1;
            }
        }
        // Some part of a commit later.
        for _ in 0..rng.random_range(0..2_000_000) {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged =
            lines.map_while(Result::ok).filter_map(|line| durable(&line)).last().unwrap_or(acknowledged);
        check(&path, acknowledged);
        if kill % 8 == 7 {
            std::fs::remove_file(&path).unwrap();
        }
    }
}
