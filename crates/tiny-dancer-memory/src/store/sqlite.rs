//! A store in a file of SQLite.
//!
//! The file is in WAL mode with `synchronous=EXTRA`, which has all of `FULL`: a commit is durable once its part of the write-ahead log is synchronized,
//! and readers see the last commit and never wait. The tables are described in `sqlite/schema_1.sql` and what changes it; rows are
//! read and written in `sqlite/rows.rs`.
//!
//! Beside `memory.db` there are SQLite's own files `memory.db-wal` and `memory.db-shm`, and `memory.db-writer`: the store that
//! writes holds a lock on it, and it has the id of that process. The lock ends with the process.

mod rows;

use super::{Change, Committed, Erasure, Expiry, Reader, Removed, Stats, Store, StoreError, Vectors};
use crate::record::{Entry, LogEntry, RequestId};
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, params};
use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use tiny_dancer_core::budget::AccountState;

/// The KiB of pages that a connection keeps. The writer appends, and the readers look up single rows or read all once.
const CACHE: i64 = 4096;

/// Marks a file of SQLite as a memory: `TDm` and a byte that is not text.
const APPLICATION: i32 = 0x5444_6d01;

/// The steps that make a schema from the one before. The version of a file is the number of steps that it has made.
const MIGRATIONS: &[&str] = &[
    include_str!("sqlite/schema_1.sql"),
    include_str!("sqlite/schema_2.sql"),
    include_str!("sqlite/schema_3.sql"),
];

/// The next step of an erasure, as it is stored: the file is rewritten, or the write-ahead log is cut.
const REWRITE: i64 = 1;
const CUT: i64 = 2;

/// A memory's file, opened to be written.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    path: PathBuf,
    /// What was removed by commits that returned an error later.
    removed: Committed,
    /// Closed after the connection.
    _lock: File,
}

/// A memory's file, opened to be read, also while another process writes it.
#[derive(Debug)]
pub struct SqliteReader {
    connection: Connection,
    path: PathBuf,
}

impl SqliteStore {
    /// Opens the file at `path`, makes it if it is absent, and migrates an older version.
    ///
    /// # Errors
    /// If another store writes the same file ([`StoreError::Locked`]), if the file is not a memory, is damaged or of a newer
    /// version, or cannot be written.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_by(path.as_ref(), None, MIGRATIONS)
    }

    /// Opens by a named VFS of SQLite, and with the migrations of another version.
    fn open_by(path: &Path, vfs: Option<&str>, migrations: &[&str]) -> Result<Self, StoreError> {
        let path = absolute(path)?;
        let lock = lock(&path)?;
        let opened = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE, vfs);
        let prepared = opened.and_then(|mut connection| {
            prepare(&mut connection, &path, migrations)?;
            // A file that was cut must not be written: the rest of its write-ahead log is copied, and then its length is known.
            checkpoint(&connection)?;
            require_complete(&connection, &path)?;
            Ok(connection)
        });
        let connection = prepared.map_err(|cause| cause.at(&path))?;
        let store = Self { connection, path, removed: Committed::default(), _lock: lock };
        store.finish_erasing().map_err(|cause| cause.at(&store.path))?;
        Ok(store)
    }

    /// Rewrites the file and cuts its write-ahead log, if erased bytes may still be in them: pages keep bytes of rows that were
    /// moved. The steps that are made are stored, so a reader that prevents the second one causes no second rewrite.
    fn finish_erasing(&self) -> Result<(), Cause> {
        match rows::meta(&self.connection, "erasing")? {
            None => return Ok(()),
            Some(REWRITE) => {
                self.connection.execute_batch("VACUUM")?;
                self.connection.execute("UPDATE meta SET value = ?1 WHERE name = 'erasing'", [CUT])?;
            }
            Some(_) => {}
        }
        self.cut_log()?;
        self.connection.execute("DELETE FROM meta WHERE name = 'erasing'", [])?;
        Ok(())
    }

    /// Copies the write-ahead log, with the pages that a rewrite has made, into the file, which has the old ones until then.
    fn cut_log(&self) -> Result<(), Cause> {
        if checkpoint(&self.connection)? {
            return Ok(());
        }
        Err(StoreError::Locked { path: self.path.clone(), process: None }.into())
    }

    fn make(&mut self, changes: &[Change]) -> Result<Committed, Cause> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut vectors = rows::vectors(&transaction)?;
        let mut committed = Committed::default();
        for change in changes {
            match change {
                Change::Account(state) => rows::set_account(&transaction, state)?,
                Change::Bind(new) => {
                    if vectors.as_ref() != Some(new) {
                        transaction.prepare_cached("DELETE FROM entries")?.execute([])?;
                        rows::set_vectors(&transaction, new)?;
                        vectors = Some(new.clone());
                    }
                }
                Change::Remember(entry) => {
                    let dimensions = entry.embedding.len();
                    if let Some(stored) = &vectors {
                        stored.require(&Vectors { embedder: stored.embedder.clone(), dimensions })?;
                    } else {
                        let new = Vectors { embedder: None, dimensions };
                        rows::set_vectors(&transaction, &new)?;
                        vectors = Some(new);
                    }
                    rows::remember(&transaction, entry)?;
                }
                Change::Log(entry) => rows::log(&transaction, entry)?,
                Change::Serve(id, served) => rows::serve(&transaction, *id, served)?,
                Change::Judge(id, verdict) => rows::judge(&transaction, *id, verdict)?,
                Change::Settle(id, worse) => rows::settle(&transaction, *id, *worse)?,
                Change::Erase(erasure) => add(&mut committed.erased, erase(&transaction, erasure)?),
                Change::Expire(expiry) => add(&mut committed.expired, expire(&transaction, expiry)?),
            }
        }
        transaction.commit()?;
        Ok(committed)
    }
}

impl Store for SqliteStore {
    fn commit(&mut self, changes: &[Change]) -> Result<Committed, StoreError> {
        let mut commit = || {
            let Committed { erased, expired } = self.make(changes)?;
            add(&mut self.removed.erased, erased);
            add(&mut self.removed.expired, expired);
            if changes.iter().any(|change| matches!(change, Change::Erase(_))) {
                self.finish_erasing()?;
            }
            Ok(std::mem::take(&mut self.removed))
        };
        commit().map_err(|cause: Cause| cause.at(&self.path))
    }

    fn compact(&mut self) -> Result<(), StoreError> {
        let rewritten = self.connection.execute_batch("VACUUM").map_err(Cause::from);
        rewritten.and_then(|()| self.cut_log()).map_err(|cause| cause.at(&self.path))
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(SqliteReader::open(&self.path)?))
    }
}

impl SqliteReader {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// If the file is not a memory, is damaged or of another version, or cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = absolute(path.as_ref())?;
        let connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY, None).and_then(|connection| {
            match version(&connection, &path, MIGRATIONS)? {
                MIGRATED => require_complete(&connection, &path).map(|()| connection),
                version => {
                    Err(StoreError::UnsupportedVersion { path: path.clone(), version, supported: MIGRATED }
                        .into())
                }
            }
        });
        let connection = connection.map_err(|cause| cause.at(&path))?;
        Ok(Self { connection, path })
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T, Cause>) -> Result<T, StoreError> {
        // All statements see the same commit.
        let transaction = self.connection.unchecked_transaction().map_err(Cause::from);
        transaction.and_then(|transaction| read(&transaction)).map_err(|cause| cause.at(&self.path))
    }
}

impl Reader for SqliteReader {
    fn vectors(&self) -> Result<Option<Vectors>, StoreError> {
        self.read(|connection| Ok(rows::vectors(connection)?))
    }

    fn entries(&self, each: &mut dyn FnMut(Entry)) -> Result<(), StoreError> {
        self.read(|connection| Ok(rows::entries(connection, each)?))
    }

    fn entry(&self, id: RequestId) -> Result<Option<Entry>, StoreError> {
        self.read(|connection| Ok(rows::entry(connection, id)?))
    }

    fn log(&self, each: &mut dyn FnMut(LogEntry)) -> Result<(), StoreError> {
        self.read(|connection| Ok(rows::logs(connection, each)?))
    }

    fn compared(&self, since: i64, each: &mut dyn FnMut(LogEntry)) -> Result<(), StoreError> {
        self.read(|connection| Ok(rows::compared(connection, since, each)?))
    }

    fn logged(&self, id: RequestId) -> Result<Option<LogEntry>, StoreError> {
        self.read(|connection| Ok(rows::logged(connection, id)?))
    }

    fn ticketed(&self, generation: u64) -> Result<Option<LogEntry>, StoreError> {
        self.read(|connection| Ok(rows::ticketed(connection, generation)?))
    }

    fn account(&self) -> Result<Option<AccountState>, StoreError> {
        self.read(|connection| Ok(rows::account(connection)?))
    }

    fn stats(&self) -> Result<Stats, StoreError> {
        let mut stats = self.read(|connection| {
            let count = |table| {
                let count = format!("SELECT count(*) FROM {table}");
                connection.query_row(&count, [], |row| row.get::<_, i64>(0)).map(|count| count as u64)
            };
            Ok(Stats {
                entries: count("entries")?,
                evidence: count("verdicts")?,
                log_entries: count("log")?,
                bytes: 0,
            })
        })?;
        stats.bytes = ["", "-wal", "-shm"].map(|suffix| length(&beside(&self.path, suffix))).iter().sum();
        Ok(stats)
    }

    fn verify(&self) -> Result<Vec<String>, StoreError> {
        let mut found = Vec::new();
        match self.read(|connection| Ok(rows::verify(connection, &mut found)?)) {
            Err(StoreError::Corrupt { detail, .. }) => found.push(detail),
            result => result?,
        }
        Ok(found)
    }

    fn back_up(&self, to: &Path) -> Result<(), StoreError> {
        let unavailable = |cause: io::Error| file_error(to, cause);
        // It must be absent, since a file that is left by an error is removed.
        drop(OpenOptions::new().write(true).create_new(true).open(to).map_err(unavailable)?);
        let copied = || {
            let name = to.to_str().ok_or_else(|| rusqlite::Error::InvalidPath(to.to_owned()))?;
            self.connection.execute("VACUUM INTO ?1", [name])
        };
        let copied = copied().map_err(|cause| Cause::from(cause).at(to));
        copied.and_then(|_| synchronize(to).map_err(unavailable)).inspect_err(|_| {
            // The first error is returned.
            let _ = std::fs::remove_file(to);
        })
    }
}

fn add(sum: &mut Removed, removed: Removed) {
    sum.entries += removed.entries;
    sum.log_entries += removed.log_entries;
}

fn erase(connection: &Connection, erasure: &Erasure) -> rusqlite::Result<Removed> {
    let delete = |table: &str| match erasure {
        Erasure::Tenant(tenant) => {
            connection.execute(&format!("DELETE FROM {table} WHERE tenant = ?1"), [tenant])
        }
        Erasure::User { tenant, user } => connection
            .execute(&format!("DELETE FROM {table} WHERE tenant IS ?1 AND user = ?2"), params![tenant, user]),
    };
    let removed = Removed { entries: delete("entries")? as u64, log_entries: delete("log")? as u64 };
    if removed != Removed::default() {
        // A crash before the file is rewritten is made up for when it is opened.
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('erasing', ?1)", [REWRITE])?;
    }
    Ok(removed)
}

fn expire(connection: &Connection, expiry: &Expiry) -> rusqlite::Result<Removed> {
    let mut removed = Removed::default();
    if let Some(before) = expiry.entries_before {
        removed.entries += connection.execute("DELETE FROM entries WHERE created_at < ?1", [before])? as u64;
    }
    if let Some(keep) = expiry.keep_entries {
        let oldest = "DELETE FROM entries WHERE entry IN
            (SELECT entry FROM entries ORDER BY created_at DESC, id DESC LIMIT -1 OFFSET ?1)";
        removed.entries += connection.execute(oldest, [i64::try_from(keep).unwrap_or(i64::MAX)])? as u64;
    }
    if let Some(before) = expiry.log_before {
        removed.log_entries += connection.execute("DELETE FROM log WHERE at < ?1", [before])? as u64;
    }
    Ok(removed)
}

fn connect(path: &Path, flags: OpenFlags, vfs: Option<&str>) -> Result<Connection, Cause> {
    // SQLite takes a file that is shorter than the least page for an empty one, unless a journal has the rest.
    if (1..512).contains(&length(path)) && length(&beside(path, "-journal")) == 0 {
        return Err(StoreError::NotAMemory { path: path.to_owned() }.into());
    }
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs)?,
        None => Connection::open_with_flags(path, flags)?,
    };
    connection.set_prepared_statement_cache_capacity(32);
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "cache_size", -CACHE)?;
    Ok(connection)
}

/// Prepares a connection for writing, once it is clear that the file is a memory.
fn prepare(connection: &mut Connection, path: &Path, migrations: &[&str]) -> Result<(), Cause> {
    let version = version(connection, path, migrations)?;
    // As FULL, and the removal of the journal that leads to WAL mode is durable, too: if a loss of power brings it back, it undoes
    // all that came later.
    connection.pragma_update(None, "synchronous", "extra")?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err(StoreError::ReadOnly { path: path.to_owned() }.into());
    }
    // On macOS, where `fsync` does not reach the disk.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "secure_delete", true)?;
    // 32 MiB: a commit of thousands of entries has some, and a checkpoint synchronizes twice.
    connection.pragma_update(None, "wal_autocheckpoint", 8192)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    for (made, migration) in (1..).zip(migrations).skip(version as usize) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", made)?;
        transaction.commit()?;
    }
    if version == 0 {
        // The name of a new file is durable once its folder is.
        path.parent().map_or(Ok(()), synchronize).map_err(|cause| file_error(path, cause))?;
    }
    Ok(())
}

/// The version of [`MIGRATIONS`].
const MIGRATED: i64 = MIGRATIONS.len() as i64;

/// The version of a file, 0 for an empty one.
fn version(connection: &Connection, path: &Path, migrations: &[&str]) -> Result<i64, Cause> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    let supported = migrations.len() as i64;
    if application == i64::from(APPLICATION) {
        if (1..=supported).contains(&version) {
            return Ok(version);
        }
        return Err(StoreError::UnsupportedVersion { path: path.to_owned(), version, supported }.into());
    }
    let objects: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application == 0 && version == 0 && objects == 0 {
        return Ok(0);
    }
    Err(StoreError::NotAMemory { path: path.to_owned() }.into())
}

/// Copies the write-ahead log into the file and cuts it, and returns whether no reader prevented it.
fn checkpoint(connection: &Connection) -> rusqlite::Result<bool> {
    let busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    Ok(!busy)
}

/// Refuses a file that is shorter than its pages. SQLite ignores that the last one is cut.
fn require_complete(connection: &Connection, path: &Path) -> Result<(), Cause> {
    // As long as this transaction reads, nothing is moved from the write-ahead log to the file.
    let transaction = connection.unchecked_transaction()?;
    let number = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let expected = (number("page_count")? * number("page_size")?) as u64;
    if length(&beside(path, "-wal")) > 0 || length(path) >= expected {
        return Ok(());
    }
    let detail = format!("{} bytes, expected {expected}", length(path));
    Err(StoreError::Corrupt { path: path.to_owned(), detail }.into())
}

/// The path without links, so that all openers of a file use the same lock. The file may be absent.
fn absolute(path: &Path) -> Result<PathBuf, StoreError> {
    let found = path.canonicalize().or_else(|cause| {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match path.file_name() {
            Some(name) if cause.kind() == io::ErrorKind::NotFound => Ok(parent.canonicalize()?.join(name)),
            _ => Err(cause),
        }
    });
    found.map_err(|cause| file_error(path, cause))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// The length of a file, 0 if it is absent. It is not opened, since closing it would release SQLite's locks.
fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

/// Locks the file for one writer. The operating system releases the lock when the process ends, also by a signal.
fn lock(path: &Path) -> Result<File, StoreError> {
    let failed = |cause| file_error(path, cause);
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
    let mut file = options.open(beside(path, "-writer")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::Error(cause)) => return Err(failed(cause)),
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // An id that cannot be read is not known.
            let _ = file.read_to_string(&mut text);
            return Err(StoreError::Locked { path: path.to_owned(), process: text.trim().parse().ok() });
        }
    }
    let named =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
    named.map_err(failed).map(|()| file)
}

fn synchronize(path: &Path) -> io::Result<()> {
    if cfg!(windows) && path.is_dir() {
        return Ok(());
    }
    File::open(path)?.sync_all()
}

fn file_error(path: &Path, cause: io::Error) -> StoreError {
    let path = path.to_owned();
    match cause.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly { path },
        io::ErrorKind::QuotaExceeded | io::ErrorKind::StorageFull => StoreError::Full { path },
        _ => StoreError::Unavailable { path, source: cause.into() },
    }
}

/// An error, which has its file's name or not.
enum Cause {
    Sqlite(rusqlite::Error),
    Store(StoreError),
}

impl From<rusqlite::Error> for Cause {
    fn from(cause: rusqlite::Error) -> Self {
        Self::Sqlite(cause)
    }
}

impl From<StoreError> for Cause {
    fn from(cause: StoreError) -> Self {
        Self::Store(cause)
    }
}

impl Cause {
    fn at(self, path: &Path) -> StoreError {
        let cause = match self {
            Self::Sqlite(cause) => cause,
            Self::Store(error) => return error,
        };
        let path = path.to_owned();
        match (cause.sqlite_error_code(), &cause) {
            (Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked), _) => {
                StoreError::Locked { path, process: None }
            }
            (Some(ErrorCode::DiskFull), _) => StoreError::Full { path },
            (Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied), _) => StoreError::ReadOnly { path },
            (Some(ErrorCode::NotADatabase), _) => StoreError::NotAMemory { path },
            (
                Some(
                    ErrorCode::CannotOpen | ErrorCode::FileLockingProtocolFailed | ErrorCode::SystemIoFailure,
                ),
                _,
            ) => StoreError::Unavailable { path, source: cause.into() },
            (Some(ErrorCode::DatabaseCorrupt), _)
            | (
                None,
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::Utf8Error(..),
            ) => StoreError::Corrupt { path, detail: cause.to_string() },
            _ => StoreError::Other { path, source: cause.into() },
        }
    }
}

#[cfg(test)]
mod tests;
