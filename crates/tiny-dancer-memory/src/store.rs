//! Stores: where a memory survives a restart.

use crate::record::{Entry, LogEntry, RequestId, Served, Verdict};
use std::path::{Path, PathBuf};

/// Whose data is erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Erasure {
    /// All data of a tenant.
    Tenant(String),
    /// All data of a user of a tenant; `None` is no tenant.
    User {
        /// The tenant.
        tenant: Option<String>,
        /// The user.
        user: String,
    },
}

/// What is dropped because of its age or its count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expiry {
    /// Entries that were made before this time, in Unix seconds, are dropped.
    pub entries_before: Option<i64>,
    /// The oldest entries are dropped until this many are left.
    pub keep_entries: Option<u64>,
    /// Entries of the decision log before this time, in Unix milliseconds, are dropped.
    pub log_before: Option<i64>,
}

/// A change of a store.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// Remembers a request. It replaces the entry of the same id.
    Remember(Box<Entry>),
    /// Logs a decision. It replaces the entry of the same id.
    Log(Box<LogEntry>),
    /// Sets what followed a decision, where the decision is in the log.
    Serve(RequestId, Box<Served>),
    /// Sets the verdict of an entry and in the log, where that request is stored and has no later verdict. Its time is known.
    Judge(RequestId, Verdict),
    /// Erases data so that no byte of it remains in the files.
    Erase(Erasure),
    /// Drops what is old.
    Expire(Expiry),
}

/// Where a memory survives a restart.
///
/// One thread writes. Reading methods may be called from other threads at the same time by another connection, which
/// [`reader`](Self::reader) opens.
pub trait Store: Send + 'static {
    /// Makes all changes, in their order, durable: when it returns, they survive a crash of the machine. After an error none
    /// of them is made.
    ///
    /// # Errors
    /// If the store cannot be written.
    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError>;

    /// A second connection to the same store, for reading.
    ///
    /// # Errors
    /// If the store cannot be opened.
    fn reader(&self) -> Result<Box<dyn Reader>, StoreError>;
}

/// Reads what a [`Store`] has made durable.
pub trait Reader: Send + 'static {
    /// Calls `each` with every entry, oldest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn entries(&self, each: &mut dyn FnMut(Entry)) -> Result<(), StoreError>;

    /// The entry of a request.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn entry(&self, id: RequestId) -> Result<Option<Entry>, StoreError>;

    /// Calls `each` with every entry of the decision log, oldest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn log(&self, each: &mut dyn FnMut(LogEntry)) -> Result<(), StoreError>;

    /// The log's entry of a request.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn logged(&self, id: RequestId) -> Result<Option<LogEntry>, StoreError>;

    /// Copies the store to a new file, while it is written.
    ///
    /// # Errors
    /// If the file exists or cannot be written.
    fn back_up(&self, to: &Path) -> Result<(), StoreError>;
}

/// Why a store failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file is no memory, or is damaged.
    #[error("{path}: not a valid memory: {detail}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
}
