//! What was acknowledged survives a loss of power at any operation, and a disk that fails at any operation loses nothing.

use super::disk::{Disk, Operation, VFS, lose_power};
use super::*;
use crate::store::Writer;
use crate::store::in_process::InProcessStore;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rusqlite::ffi;

/// How many losses of power a test makes: some, or as many as the environment says.
fn crashes() -> usize {
    std::env::var("TINY_DANCER_CRASHES").map_or(200, |count| count.parse().unwrap())
}

fn open(disk: &Disk) -> SqliteStore {
    let store = SqliteStore::open_by(&disk.path(), Some(VFS), MIGRATIONS).unwrap();
    // A checkpoint every few commits, as a longer run has.
    store.connection.pragma_update(None, "wal_autocheckpoint", 12).unwrap();
    store
}

/// Commits of all kinds of changes. The file is rewritten by two of them.
fn commits(rng: &mut ChaCha8Rng) -> Vec<Vec<Change>> {
    let mut commit = |number: usize| {
        let mut changes = Vec::new();
        for _ in 0..rng.random_range(1..8) {
            let number = rng.random_range(0..40);
            let tenant = Some(["a", "b", "c"][rng.random_range(0..3)].to_owned());
            let embedding = (0..64).map(|_| rng.random()).collect();
            let prompt = Some("word ".repeat(rng.random_range(0..300)));
            changes.push(remember(Entry { tenant: tenant.clone(), prompt, embedding, ..entry(number) }));
            changes.push(log(LogEntry { tenant, ..decision(number) }));
            changes.push(Change::Serve(id(rng.random_range(0..40)), served().into()));
            changes.push(Change::Judge(id(rng.random_range(0..40)), verdict(0.5, rng.random_range(0..9))));
            changes.push(Change::Settle(id(rng.random_range(0..40)), rng.random()));
        }
        // Of one page and of several.
        changes.push(Change::Account(account(rng.random()).into()));
        match number {
            10 | 20 => changes.push(Change::Erase(Erasure::Tenant("a".into()))),
            15 => changes.push(Change::Expire(Expiry { keep_entries: Some(9), ..Expiry::default() })),
            _ => {}
        }
        changes
    };
    (0..25).map(&mut commit).collect()
}

type Content = (Vec<Entry>, Vec<LogEntry>, Option<AccountState>);

fn content(store: &dyn Store) -> Content {
    (entries(store), logged(store), store.reader().unwrap().account().unwrap())
}

/// What a store holds before the first commit and after each.
fn contents(commits: &[Vec<Change>]) -> Vec<Content> {
    let mut store = InProcessStore::default();
    let after = commits.iter().map(|changes| {
        store.commit(changes).unwrap();
        content(&store)
    });
    std::iter::once(Content::default()).chain(after.collect::<Vec<_>>()).collect()
}

/// Loses power at random operations, and returns how often the file was not as it has to be.
fn violations(operations: &[Operation], contents: &[Content], rng: &mut ChaCha8Rng) -> usize {
    let violated = |rng: &mut ChaCha8Rng| {
        let cut = rng.random_range(0..=operations.len());
        let folder = tempdir().unwrap();
        lose_power(&operations[..cut], folder.path(), rng);
        let acknowledged =
            operations[..cut].iter().filter(|&operation| *operation == Operation::Acknowledged).count();
        let Ok(store) = SqliteStore::open(folder.path().join("memory.db")) else { return true };
        let reader = store.reader().unwrap();
        if !reader.verify().is_ok_and(|found| found.is_empty()) {
            return true;
        }
        // The commit after the last acknowledged one may be there, too.
        let found = content(&store);
        !contents[acknowledged..].iter().take(2).any(|content| *content == found)
    };
    (0..crashes()).filter(|_| violated(rng)).count()
}

/// Commits all, and acknowledges each commit.
fn run(disk: &Disk, synchronous: &str, commits: &[Vec<Change>]) -> Vec<Operation> {
    let mut store = open(disk);
    store.connection.pragma_update(None, "synchronous", synchronous).unwrap();
    for changes in commits {
        store.commit(changes).unwrap();
        disk.recorded().operations.push(Operation::Acknowledged);
    }
    drop(store);
    std::mem::take(&mut disk.recorded().operations)
}

#[test]
fn what_a_commit_acknowledged_survives_a_loss_of_power_at_any_operation() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let commits = commits(&mut rng);
    let operations = run(&Disk::new(), "extra", &commits);
    assert_eq!(violations(&operations, &contents(&commits), &mut rng), 0);
}

/// The test above finds a store that does not synchronize.
#[test]
fn without_synchronization_a_loss_of_power_is_found() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let commits = commits(&mut rng);
    let operations = run(&Disk::new(), "off", &commits);
    assert_ne!(violations(&operations, &contents(&commits), &mut rng), 0);
}

/// Without a synchronization at each commit, a checkpoint still makes the file sound, but acknowledged commits are lost.
#[test]
fn with_synchronous_normal_a_loss_of_power_is_found() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let commits = commits(&mut rng);
    let operations = run(&Disk::new(), "normal", &commits);
    assert_ne!(violations(&operations, &contents(&commits), &mut rng), 0);
}

#[test]
fn what_flush_acknowledged_survives_a_loss_of_power_at_any_operation() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let changes: Vec<_> = commits(&mut rng).concat();
    let disk = Disk::new();
    let writer = Writer::new(open(&disk), usize::MAX, |_| {}).unwrap();
    let mut flushed = vec![0];
    for changes in changes.chunks(30) {
        // In groups of any size, as the thread finds them.
        for change in changes {
            writer.send([change.clone()]).unwrap();
        }
        flushed.push(writer.flush().unwrap() as usize);
        disk.recorded().operations.push(Operation::Acknowledged);
    }
    drop(writer);
    let operations = std::mem::take(&mut disk.recorded().operations);
    // What the store holds after each change.
    let each: Vec<_> = changes.iter().map(|change| vec![change.clone()]).collect();
    let contents = contents(&each);
    for _ in 0..crashes() {
        let cut = rng.random_range(0..=operations.len());
        let folder = tempdir().unwrap();
        lose_power(&operations[..cut], folder.path(), &mut rng);
        let acknowledged =
            operations[..cut].iter().filter(|&operation| *operation == Operation::Acknowledged).count();
        let store = SqliteStore::open(folder.path().join("memory.db")).unwrap();
        let found = content(&store);
        let range =
            flushed[acknowledged]..=flushed.get(acknowledged + 1).map_or(changes.len(), |&count| count);
        assert!(contents[range].contains(&found), "{acknowledged} flushes, cut at {cut}");
    }
}

/// How a disk fails, and what is returned.
const CODES: [(i32, MemoryErrorKind); 4] = [
    (ffi::SQLITE_FULL, MemoryErrorKind::Full),
    (ffi::SQLITE_IOERR_WRITE, MemoryErrorKind::Unavailable),
    (ffi::SQLITE_IOERR_FSYNC, MemoryErrorKind::Unavailable),
    (ffi::SQLITE_READONLY, MemoryErrorKind::ReadOnly),
];

#[test]
fn a_file_that_cannot_be_made_completely_is_completed_later() {
    for (code, kind) in CODES {
        for place in 0.. {
            let disk = Disk::new();
            disk.recorded().fault = Some((place, code));
            let opened = SqliteStore::open_by(&disk.path(), Some(VFS), MIGRATIONS);
            disk.recorded().fault = None;
            if !disk.recorded().has_failed {
                break;
            }
            if let Err(error) = opened {
                assert_eq!(error.kind(), kind, "{place}: {error}");
            }
            let mut store = open(&disk);
            store.commit(&[remember(entry(1))]).unwrap();
            assert_eq!(entries(&store).len(), 1);
        }
    }
}

#[test]
fn a_disk_that_fails_at_any_operation_gives_a_typed_error_and_the_same_changes_are_made_later() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let commits = commits(&mut rng);
    let (commits, last) = (&commits[..11], 11);
    let expected = &contents(commits)[last];
    for (code, kind) in CODES {
        for place in 0.. {
            let disk = Disk::new();
            let mut store = open(&disk);
            // Not at each of some thousand operations.
            disk.recorded().fault = Some((13 * place + rng.random_range(0..13), code));
            for changes in commits {
                if let Err(error) = store.commit(changes) {
                    assert_eq!((error.kind(), error.is_temporary()), (kind, true), "{place}: {error}");
                    disk.recorded().fault = None;
                    store.commit(changes).unwrap();
                }
            }
            assert_eq!(content(&store), *expected, "{place}");
            assert_eq!(store.reader().unwrap().verify().unwrap(), Vec::<String>::new());
            // The fault lies behind the end, or a checkpoint has met it and will be made later.
            if !disk.recorded().has_failed {
                break;
            }
        }
    }
}
