mod disk;
mod faults;

use super::*;
use crate::record::Draws;
use crate::store::tests::{
    DIMENSIONS, account, decision, entries, entry, id, log, logged, remember, served, ticket, verdict,
};
use std::collections::HashSet;
use std::fs;
use tempfile::{TempDir, tempdir};
use tiny_dancer_core::observer::MemoryErrorKind;

fn new() -> (TempDir, PathBuf, SqliteStore) {
    let folder = tempdir().unwrap();
    let path = folder.path().join("memory.db");
    let store = SqliteStore::open(&path).unwrap();
    (folder, path, store)
}

/// A closed file with this many entries and decisions.
fn file_of(count: u8) -> (TempDir, PathBuf) {
    let (folder, path, mut store) = new();
    let changes = (0..count).flat_map(|number| {
        let judge = Change::Judge(id(number), verdict(0.5, 1));
        let account = Change::Account(account(number).into());
        [
            remember(entry(number)),
            log(decision(number)),
            Change::Serve(id(number), served().into()),
            judge,
            account,
        ]
    });
    store.commit(&changes.collect::<Vec<_>>()).unwrap();
    (folder, path)
}

fn execute(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

fn verify(path: &Path) -> Vec<String> {
    SqliteReader::open(path).unwrap().verify().unwrap()
}

#[test]
fn what_is_committed_is_read_after_the_file_is_opened_again() {
    let (_folder, path) = file_of(20);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!((entries(&store).len(), logged(&store).len()), (20, 20));
    assert_eq!(verify(&path), Vec::<String>::new());
}

#[test]
fn a_commit_synchronizes_in_wal_mode() {
    let (_folder, _path, store) = new();
    let pragma =
        |name| store.connection.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0));
    assert_eq!(pragma("journal_mode").unwrap(), "wal".to_owned().into());
    // EXTRA is 3.
    for (name, value) in [("synchronous", 3), ("foreign_keys", 1), ("secure_delete", 1), ("fullfsync", 1)] {
        assert_eq!(pragma(name).unwrap(), value.into(), "{name}");
    }
}

#[test]
fn a_second_writer_is_refused_by_the_id_of_the_process_that_writes() {
    let (_folder, path, store) = new();
    let error = SqliteStore::open(&path).unwrap_err();
    assert!(
        matches!(error, StoreError::Locked { process: Some(process), .. } if process == std::process::id()),
        "{error}"
    );
    assert!(error.to_string().ends_with(&format!("process {}", std::process::id())), "{error}");
    drop(store);
    SqliteStore::open(&path).unwrap();
}

#[cfg(unix)]
#[test]
fn a_second_writer_is_refused_by_a_link_too() {
    let (folder, path, _store) = new();
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert_eq!(SqliteStore::open(&link).unwrap_err().kind(), MemoryErrorKind::Locked);
}

#[test]
fn readers_are_welcome_while_a_store_writes() {
    let (_folder, path, mut store) = new();
    let (reader, other) = (store.reader().unwrap(), SqliteReader::open(&path).unwrap());
    store.commit(&[remember(entry(1))]).unwrap();
    let mut next = 2;
    for reader in [&*reader, &other as &dyn Reader] {
        let mut seen = 0;
        // A read sees one commit from its beginning to its end.
        let read = reader.entries(&mut |_| {
            store.commit(&[remember(entry(next))]).unwrap();
            next += 1;
            seen += 1;
        });
        read.unwrap();
        assert_eq!(seen, 1);
        assert_eq!(reader.stats().unwrap().entries, 2);
        store.commit(&[Change::Expire(Expiry { keep_entries: Some(1), ..Expiry::default() })]).unwrap();
    }
}

#[test]
fn another_program_that_writes_locks_the_store_and_the_same_changes_are_made_later() {
    let (_folder, path, mut store) = new();
    store.connection.busy_timeout(std::time::Duration::ZERO).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.commit(&[remember(entry(1))]).unwrap_err();
    assert!(matches!(error, StoreError::Locked { process: None, .. }), "{error}");
    other.execute_batch("COMMIT").unwrap();
    store.commit(&[remember(entry(1))]).unwrap();
    assert_eq!(entries(&store).len(), 1);
}

#[test]
fn files_of_other_programs_are_refused_and_remain_as_they_are() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("other");
    let text = "a text of more than a hundred bytes, which is longer than the header of a database".repeat(9);
    execute(&folder.path().join("table"), "CREATE TABLE t (x); INSERT INTO t VALUES (1)");
    execute(&folder.path().join("marked"), "PRAGMA application_id = 7");
    let foreign = ["table", "marked"].map(|name| fs::read(folder.path().join(name)).unwrap());
    for bytes in [vec![text.into_bytes()], foreign.into()].concat() {
        fs::write(&path, &bytes).unwrap();
        let error = SqliteStore::open(&path).unwrap_err();
        assert!(matches!(error, StoreError::NotAMemory { .. }), "{error}");
        assert_eq!(SqliteReader::open(&path).unwrap_err().kind(), MemoryErrorKind::Corrupt);
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn a_newer_version_is_refused_and_remains_as_it_is() {
    let (_folder, path) = file_of(1);
    execute(&path, "PRAGMA user_version = 99");
    let bytes = fs::read(&path).unwrap();
    for error in
        [SqliteStore::open(&path).map(drop), SqliteReader::open(&path).map(drop)].map(Result::unwrap_err)
    {
        assert!(
            matches!(error, StoreError::UnsupportedVersion { version: 99, supported: MIGRATED, .. }),
            "{error}"
        );
    }
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn an_older_version_is_migrated_by_the_store_and_refused_by_a_reader() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("memory.db");
    let older = "CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY); INSERT INTO meta VALUES ('one', 1)";
    drop(SqliteStore::open_by(&path, None, &[older]).unwrap());
    // It is as if version 2 were the current one.
    let newer = [older, "INSERT INTO meta VALUES ('two', 2)"];
    let store = SqliteStore::open_by(&path, None, &newer).unwrap();
    let two = rows::meta::<i64>(&store.connection, "two").unwrap();
    assert_eq!((two, version(&store.connection, &path, &newer).ok()), (Some(2), Some(2)));
    drop(store);
    // Each migration is made once.
    drop(SqliteStore::open_by(&path, None, &newer).unwrap());
    let error = SqliteStore::open_by(&path, None, &[older]).unwrap_err();
    assert!(matches!(error, StoreError::UnsupportedVersion { version: 2, supported: 1, .. }), "{error}");
}

#[test]
fn a_file_of_the_first_version_keeps_its_rows_and_gets_tickets_and_an_account() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("memory.db");
    drop(SqliteStore::open_by(&path, None, &MIGRATIONS[..1]).unwrap());
    let old = "INSERT INTO log (id, at, model_version, reason, decided, number, judge_probability, judge)
        VALUES (unhex('00000000000000000000000000000001'), 7, '1.2', 'confident', 'lightweight', 3, 0.5, TRUE)";
    execute(&path, old);
    let mut store = SqliteStore::open(&path).unwrap();
    let read = logged(&store).remove(0);
    assert_eq!((read.id, read.at, read.ticket, read.found_worse), (id(1), 7, None, None));
    assert_eq!(store.reader().unwrap().account().unwrap(), None);
    let ticketed = LogEntry {
        draws: Draws { judge: Some(ticket(2, 9).judge), ..Draws::default() },
        ticket: Some(ticket(2, 9)),
        ..decision(2)
    };
    store.commit(&[log(ticketed.clone()), Change::Account(account(2).into())]).unwrap();
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.reader().unwrap().ticketed(9).unwrap(), Some(ticketed));
    assert_eq!(store.reader().unwrap().account().unwrap(), Some(account(2)));
    assert_eq!(verify(&path), Vec::<String>::new());
}

#[test]
fn a_migration_that_fails_leaves_the_older_version() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("memory.db");
    let older = "CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY)";
    drop(SqliteStore::open_by(&path, None, &[older]).unwrap());
    let broken = [older, "INSERT INTO meta VALUES ('two', 2); INSERT INTO nothing VALUES (1)"];
    assert_eq!(SqliteStore::open_by(&path, None, &broken).unwrap_err().kind(), MemoryErrorKind::Other);
    let store = SqliteStore::open_by(&path, None, &[older]).unwrap();
    assert_eq!(rows::meta::<i64>(&store.connection, "two").unwrap(), None);
}

#[test]
fn a_file_that_was_cut_at_any_length_gives_a_typed_error() {
    let (_folder, path) = file_of(60);
    let bytes = fs::read(&path).unwrap();
    let steps = (0..bytes.len()).step_by(997).chain([1, 15, 16, 99, 100, 511, 512, 513, 4095, 4096, 4097]);
    for length in steps {
        fs::write(&path, &bytes[..length]).unwrap();
        let opened = SqliteStore::open(&path);
        if length == 0 {
            // A new file is as empty.
            opened.unwrap();
            continue;
        }
        let Err(error) = opened else { panic!("{length} of {} bytes are accepted", bytes.len()) };
        assert_eq!(error.kind(), MemoryErrorKind::Corrupt, "{length}: {error}");
        assert_eq!(SqliteReader::open(&path).unwrap_err().kind(), MemoryErrorKind::Corrupt, "{length}");
    }
}

#[test]
fn damaged_bytes_give_a_typed_error_or_are_found_by_verify() {
    let (_folder, path) = file_of(60);
    let bytes = fs::read(&path).unwrap();
    let page = 4096;
    for place in (page..bytes.len()).step_by(page) {
        let mut damaged = bytes.clone();
        damaged[place..place + 64].fill(0xa5);
        fs::write(&path, &damaged).unwrap();
        match SqliteReader::open(&path) {
            Ok(reader) => assert_ne!(reader.verify().unwrap(), Vec::<String>::new(), "{place}"),
            Err(error) => assert_eq!(error.kind(), MemoryErrorKind::Corrupt, "{place}: {error}"),
        }
        // Reading ends, too.
        if let Ok(store) = SqliteStore::open(&path) {
            let _ = store.reader().and_then(|reader| reader.entries(&mut |_| {}));
            let _ = store.reader().and_then(|reader| reader.log(&mut |_| {}));
        }
    }
}

#[test]
fn verify_finds_values_that_mean_nothing() {
    for (sql, expected) in [
        (
            "UPDATE verdicts SET lightweight = 1.5 WHERE entry = 1",
            "1 entries have a verdict with a score outside 0 to 1",
        ),
        ("UPDATE log SET powerful = -1", "3 entries of the log have a verdict with a score outside 0 to 1"),
        (
            "UPDATE log SET judge_probability = 2, judge = TRUE",
            "3 entries of the log have a draw with a probability outside 0 to 1",
        ),
        (
            "UPDATE entries SET embedding = unhex('0000c07f0000000000000000')",
            "3 entries have an embedding with an infinite element or NaN",
        ),
        ("PRAGMA foreign_keys = OFF; DELETE FROM entries WHERE entry = 2", "1 verdicts have no entry"),
        ("UPDATE entries SET embedding = x'00'", "an embedding of 1 bytes, expected 3 floats"),
        ("UPDATE entries SET id = x'00' WHERE entry = 1", "Cannot read 16 byte value out of 1 byte blob"),
        ("UPDATE log SET reason = 'mood'", "unknown reason \"mood\""),
        ("UPDATE log SET usage = '[{}]'", "usage without a model or a number of tokens"),
        ("UPDATE entries SET metadata = '{'", "EOF while parsing"),
        ("UPDATE account SET tickets = x'00'", "tickets of 1 bytes that mean nothing"),
        (
            "UPDATE account SET tickets = unhex('000000000000000000000000000000000000000003')",
            "tickets of 21 bytes that mean nothing",
        ),
    ] {
        let (_folder, path) = file_of(3);
        execute(&path, sql);
        let found = verify(&path);
        assert!(found.len() == 1 && found[0].contains(expected), "{sql}: {found:?}");
    }
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let folder = tempdir().unwrap();
    let absent = folder.path().join("absent").join("memory.db");
    for error in [
        SqliteStore::open(&absent).map(drop),
        SqliteReader::open(&absent).map(drop),
        SqliteReader::open(folder.path().join("memory.db")).map(drop),
        SqliteStore::open(folder.path()).map(drop),
    ] {
        let error = error.unwrap_err();
        assert_eq!(error.kind(), MemoryErrorKind::Unavailable, "{error}");
    }
}

#[test]
fn a_full_disk_makes_none_of_the_changes_and_the_same_changes_are_made_later() {
    let (_folder, _path, mut store) = new();
    store.commit(&[remember(entry(0))]).unwrap();
    let pages: i64 = store.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    let limit = |store: &SqliteStore, pages: i64| {
        store.connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
    };
    limit(&store, pages);
    let changes: Vec<_> = (1..200).map(|number| remember(entry(number))).collect();
    let error = store.commit(&changes).unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert_eq!(entries(&store).len(), 1);
    limit(&store, 1 << 30);
    store.commit(&changes).unwrap();
    assert_eq!(entries(&store).len(), 200);
}

/// All files that belong to a store.
fn bytes_of(folder: &TempDir) -> Vec<u8> {
    let files = fs::read_dir(folder.path()).unwrap();
    files.flat_map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
}

/// What the rows of the first tenant hold.
struct Traces {
    texts: [&'static str; 5],
    /// The beginnings of the embeddings.
    embeddings: HashSet<[u8; 16]>,
}

impl Traces {
    fn left_in(&self, folder: &TempDir) -> Vec<String> {
        let bytes = bytes_of(folder);
        let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        let texts = self.texts.iter().filter(|text| has(text)).map(|text| (*text).to_owned());
        let embeddings = bytes.windows(16).filter_map(|window| {
            <[u8; 16]>::try_from(window).ok().filter(|window| self.embeddings.contains(window))
        });
        texts.chain(embeddings.map(|embedding| format!("{embedding:?}"))).collect()
    }
}

/// A store in which rows of two tenants were written, replaced and dropped in a mixed order. Pages of this one keep rows of the
/// first tenant after these are deleted with `secure_delete`.
fn mixed() -> (TempDir, SqliteStore, Traces) {
    let (folder, _path, mut store) = new();
    let texts = ["tenant-zebra", "user-yak", "prompt-xenon", "value-walrus", "conversation-vole"];
    let mut embeddings = HashSet::new();
    let dimensions = 64;
    let mut state = 0_u32;
    let mut drawn = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % below
    };
    for _ in 0..60 {
        let mut changes = Vec::new();
        for _ in 0..20 {
            let number = drawn(250) as u8;
            let secret = number.is_multiple_of(2);
            let text = |secret_text: &str| if secret { secret_text.to_owned() } else { "public".to_owned() };
            let embedding: Vec<f32> = (0..dimensions).map(|_| drawn(1 << 24) as f32).collect();
            if secret {
                let mut beginning = [0; 16];
                for (bytes, x) in beginning.as_chunks_mut::<4>().0.iter_mut().zip(&embedding) {
                    *bytes = x.to_le_bytes();
                }
                embeddings.insert(beginning);
            }
            changes.push(remember(Entry {
                created_at: i64::from(drawn(1000)),
                tenant: Some(text("tenant-zebra")),
                user: Some(text("user-yak")),
                prompt: Some(text("prompt-xenon").repeat(drawn(90) as usize)),
                metadata: [("key".to_owned(), text("value-walrus"))].into(),
                embedding,
                ..entry(number)
            }));
            changes.push(log(LogEntry {
                tenant: Some(text("tenant-zebra")),
                user: Some(text("user-yak")),
                conversation: Some(text("conversation-vole").repeat(1 + drawn(30) as usize)),
                ..decision(number)
            }));
            changes.push(Change::Judge(id(drawn(250) as u8), verdict(0.5, i64::from(drawn(9)))));
        }
        let expiry = Expiry { keep_entries: Some(150 + u64::from(drawn(50))), ..Expiry::default() };
        changes.push(Change::Expire(expiry));
        store.commit(&changes).unwrap();
    }
    (folder, store, Traces { texts, embeddings })
}

#[test]
fn no_byte_of_an_erased_tenant_is_left_in_the_files() {
    let (folder, mut store, traces) = mixed();
    assert!(traces.left_in(&folder).len() > 50);
    let removed = store.commit(&[Change::Erase(Erasure::Tenant("tenant-zebra".into()))]).unwrap().erased;
    assert!(removed.entries > 50 && removed.log_entries > 50, "{removed:?}");
    assert_eq!(traces.left_in(&folder), Vec::<String>::new());
    assert_eq!(store.reader().unwrap().verify().unwrap(), Vec::<String>::new());
    assert!(!entries(&store).is_empty());
}

#[test]
fn no_byte_of_an_erased_user_is_left_in_the_files() {
    let (folder, mut store, traces) = mixed();
    let user = Erasure::User { tenant: Some("tenant-zebra".into()), user: "user-yak".into() };
    store.commit(&[Change::Erase(user)]).unwrap();
    assert_eq!(traces.left_in(&folder), Vec::<String>::new());
}

#[test]
fn an_erasure_that_a_crash_interrupts_is_finished_when_the_file_is_opened() {
    let (folder, mut store, traces) = mixed();
    // The rows are deleted, and the file is not rewritten.
    assert!(store.make(&[Change::Erase(Erasure::Tenant("tenant-zebra".into()))]).is_ok());
    let path = store.path.clone();
    drop(store);
    let store = SqliteStore::open(path).unwrap();
    assert_eq!(traces.left_in(&folder), Vec::<String>::new());
    assert_eq!(rows::meta::<i64>(&store.connection, "erasing").unwrap(), None);
}

#[test]
fn an_erasure_that_a_reader_prevents_is_an_error_until_it_is_finished() {
    let (folder, mut store, traces) = mixed();
    store.connection.busy_timeout(std::time::Duration::ZERO).unwrap();
    let erase = [Change::Erase(Erasure::Tenant("tenant-zebra".into()))];
    let reader = SqliteReader::open(&store.path).unwrap();
    let transaction = reader.connection.unchecked_transaction().unwrap();
    rows::vectors(&transaction).unwrap();
    assert_eq!(store.commit(&erase).unwrap_err().kind(), MemoryErrorKind::Locked);
    assert_eq!(rows::meta(&store.connection, "erasing").unwrap(), Some(CUT));
    drop(transaction);
    // What the first call removed is returned by the one that succeeds.
    assert_ne!(store.commit(&erase).unwrap().erased, Removed::default());
    assert_eq!(store.commit(&erase).unwrap().erased, Removed::default());
    assert_eq!(traces.left_in(&folder), Vec::<String>::new());
}

#[test]
fn a_backup_of_a_store_that_is_written_is_a_memory() {
    let (folder, _path, mut store) = new();
    let vectors = Vectors { embedder: Some("e".into()), dimensions: DIMENSIONS };
    store.bind(&vectors).unwrap();
    store.commit(&[remember(entry(1)), log(decision(1))]).unwrap();
    let copy = folder.path().join("copy.db");
    let reader = store.reader().unwrap();
    reader.back_up(&copy).unwrap();
    store.commit(&[remember(entry(2))]).unwrap();
    let restored = SqliteStore::open(&copy).unwrap();
    assert_eq!((entries(&restored), logged(&restored)), (vec![entry(1)], vec![decision(1)]));
    assert_eq!(restored.reader().unwrap().vectors().unwrap(), Some(vectors));
    let error = reader.back_up(&copy).unwrap_err();
    assert_eq!(error.kind(), MemoryErrorKind::Unavailable, "{error}");
    assert_eq!(entries(&restored).len(), 1);
}

#[test]
fn compacting_gives_room_back() {
    let (_folder, path) = file_of(250);
    let mut store = SqliteStore::open(&path).unwrap();
    let size = |store: &SqliteStore| store.reader().unwrap().stats().unwrap().bytes;
    let expiry = Expiry { keep_entries: Some(1), log_before: Some(i64::MAX), ..Expiry::default() };
    store.commit(&[Change::Expire(expiry)]).unwrap();
    let before = size(&store);
    store.compact().unwrap();
    assert!(size(&store) < before / 2, "{} of {before}", size(&store));
    assert_eq!(entries(&store).len(), 1);
}
