//! Stores: where a memory survives a restart.
//!
//! A [`Store`] makes lists of [`Change`]s durable, one list at a time. [`SqliteStore`] keeps them in a file of SQLite. A
//! [`Writer`] owns a store on a thread of its own, so that no other thread waits for a disk.

use crate::record::{Entry, LogEntry, RequestId, Served, Verdict};
use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use tiny_dancer_core::budget::AccountState;
use tiny_dancer_core::observer::MemoryErrorKind;

#[cfg(test)]
pub(crate) mod in_process;
mod sqlite;
#[cfg(test)]
mod tests;
mod writer;

pub use sqlite::{SqliteReader, SqliteStore};
pub(crate) use writer::{Fate, Receipt};
pub use writer::{Report, Writer};

/// What made the vectors of a store. Vectors of two embedders cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vectors {
    /// The id of the embedder; `None` is an unknown one, whose vectors go with those of another unknown one alone.
    pub embedder: Option<String>,
    /// The length of each vector.
    pub dimensions: usize,
}

impl fmt::Display for Vectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { embedder, dimensions } = self;
        match embedder {
            Some(embedder) => write!(f, "{dimensions} dimensions of {embedder}"),
            None => write!(f, "{dimensions} dimensions of an unknown embedder"),
        }
    }
}

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

/// A change of a store. Making it a second time changes nothing.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// Sets the account of the quality budget.
    Account(Box<AccountState>),
    /// Sets what made the vectors. If that differs from what is stored, all entries are dropped; the log is not.
    Bind(Vectors),
    /// Remembers a request. It replaces the entry of the same id, with its verdict.
    Remember(Box<Entry>),
    /// Logs a decision. It replaces the entry of the same id.
    Log(Box<LogEntry>),
    /// Sets what followed a decision, where the decision is in the log.
    Serve(RequestId, Box<Served>),
    /// Sets the verdict of an entry and in the log, where that request is stored and the verdict
    /// [supersedes](Verdict::supersedes) the stored one. Its time is known.
    Judge(RequestId, Verdict),
    /// Sets whether a judge has found the answer to a logged request worse. One that was once found worse remains so.
    Settle(RequestId, bool),
    /// Erases data so that no byte of it remains in the files.
    Erase(Erasure),
    /// Drops what is old.
    Expire(Expiry),
}

/// How many entries were removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Of the memory.
    pub entries: u64,
    /// Of the decision log.
    pub log_entries: u64,
}

/// What a commit removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// By [`Change::Erase`].
    pub erased: Removed,
    /// By [`Change::Expire`].
    pub expired: Removed,
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Entries.
    pub entries: u64,
    /// Entries with a verdict. The others are pending.
    pub evidence: u64,
    /// Entries of the decision log.
    pub log_entries: u64,
    /// The size of its files.
    pub bytes: u64,
}

/// Where a memory survives a restart.
///
/// One thread writes. Other threads and processes read at the same time through a [`Reader`].
pub trait Store: Send + 'static {
    /// Makes all changes durable, in their order: when it returns, they survive a crash of the machine. After an error either
    /// all or none of them are made, and the same changes may be committed again.
    ///
    /// # Errors
    /// If the store cannot be written, if an entry has other dimensions than those stored, or if erased bytes may remain.
    fn commit(&mut self, changes: &[Change]) -> Result<Committed, StoreError>;

    /// Sets what made the vectors, if the store does not know it, and compares it otherwise.
    ///
    /// # Errors
    /// If the store has other vectors ([`StoreError::EmbedderMismatch`]) or cannot be written.
    fn bind(&mut self, vectors: &Vectors) -> Result<(), StoreError> {
        match self.reader()?.vectors()? {
            None => self.commit(&[Change::Bind(vectors.clone())]).map(drop),
            Some(stored) => stored.require(vectors),
        }
    }

    /// Gives the room of what was removed back to the file system.
    ///
    /// # Errors
    /// If the store cannot be written.
    fn compact(&mut self) -> Result<(), StoreError>;

    /// A second connection to the same store, for reading.
    ///
    /// # Errors
    /// If the store cannot be opened.
    fn reader(&self) -> Result<Box<dyn Reader>, StoreError>;
}

/// Reads what a [`Store`] has made durable. Each method sees the commits that were complete when it was called.
pub trait Reader: Send + 'static {
    /// What made the vectors; `None` if nothing was stored yet.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn vectors(&self) -> Result<Option<Vectors>, StoreError>;

    /// Calls `each` with every entry, oldest first, and those of the same time in the order of their ids.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn entries(&self, each: &mut dyn FnMut(Entry)) -> Result<(), StoreError>;

    /// The entry of a request.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn entry(&self, id: RequestId) -> Result<Option<Entry>, StoreError>;

    /// Calls `each` with every entry of the decision log, in the same order.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn log(&self, each: &mut dyn FnMut(LogEntry)) -> Result<(), StoreError>;

    /// Calls `each` with the log's entries of which a judge was asked, from a time in Unix milliseconds, in the same order.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn compared(&self, since: i64, each: &mut dyn FnMut(LogEntry)) -> Result<(), StoreError>;

    /// The log's entry of a request.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn logged(&self, id: RequestId) -> Result<Option<LogEntry>, StoreError>;

    /// The log's entry whose ticket has this generation.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn ticketed(&self, generation: u64) -> Result<Option<LogEntry>, StoreError>;

    /// The account of the quality budget; `None` if none was stored.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn account(&self) -> Result<Option<AccountState>, StoreError>;

    /// What it holds.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn stats(&self) -> Result<Stats, StoreError>;

    /// Reads all of it, and lists what is wrong, without any content. A sound store gives an empty list.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn verify(&self) -> Result<Vec<String>, StoreError>;

    /// Copies the store to a new file, while it is written. When it returns, the copy survives a crash of the machine.
    ///
    /// # Errors
    /// If the file exists or cannot be written.
    fn back_up(&self, to: &Path) -> Result<(), StoreError>;
}

impl Vectors {
    fn require(&self, actual: &Self) -> Result<(), StoreError> {
        if self == actual {
            return Ok(());
        }
        Err(StoreError::EmbedderMismatch { stored: self.clone(), actual: actual.clone() })
    }
}

/// Why a store failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file is damaged.
    #[error("{path} is damaged: {detail}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The vectors of the store are those of another embedder.
    #[error("the store has {stored}, expected {actual}")]
    EmbedderMismatch {
        /// What made the stored vectors.
        stored: Vectors,
        /// What made the vectors in use.
        actual: Vectors,
    },
    /// There is no room on the disk.
    #[error("{path}: the disk is full")]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// Another process writes the file, or a reader prevents that it is written.
    #[error("{path} is in use by {}", user(*process))]
    Locked {
        /// The file.
        path: PathBuf,
        /// The id of the process that writes it, if it is known.
        process: Option<u32>,
    },
    /// The file is not a memory.
    #[error("{path} is not a memory")]
    NotAMemory {
        /// The file.
        path: PathBuf,
    },
    /// An error of the database that has no variant.
    #[error("{path}: {source}")]
    Other {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The store has panicked.
    #[error("the store has panicked")]
    Panicked,
    /// More changes wait to be stored than the queue holds.
    #[error("{capacity} changes wait to be stored, and the queue is full")]
    QueueFull {
        /// How many the queue holds.
        capacity: usize,
    },
    /// The file or its folder can be read only.
    #[error("{path} can be read only")]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be opened, read or written.
    #[error("{path} cannot be opened, read or written: {source}")]
    Unavailable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The file was written by a newer version of this crate, or needs a writer to migrate it.
    #[error("{path} has version {version}, expected {supported}")]
    UnsupportedVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: i64,
        /// The version that this crate reads.
        supported: i64,
    },
}

fn user(process: Option<u32>) -> String {
    process.map_or_else(|| "a reader or another process".to_owned(), |process| format!("process {process}"))
}

impl StoreError {
    /// Its kind, for labels.
    pub const fn kind(&self) -> MemoryErrorKind {
        match self {
            Self::Corrupt { .. } | Self::NotAMemory { .. } => MemoryErrorKind::Corrupt,
            Self::EmbedderMismatch { .. } => MemoryErrorKind::EmbedderMismatch,
            Self::Full { .. } => MemoryErrorKind::Full,
            Self::Locked { .. } => MemoryErrorKind::Locked,
            Self::Other { .. } | Self::Panicked => MemoryErrorKind::Other,
            Self::QueueFull { .. } => MemoryErrorKind::QueueFull,
            Self::ReadOnly { .. } => MemoryErrorKind::ReadOnly,
            Self::Unavailable { .. } => MemoryErrorKind::Unavailable,
            Self::UnsupportedVersion { .. } => MemoryErrorKind::UnsupportedVersion,
        }
    }

    /// Whether the same changes can succeed later, without a change of the program: the disk has room again, or the other
    /// process has ended.
    pub const fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Full { .. }
                | Self::Locked { .. }
                | Self::QueueFull { .. }
                | Self::ReadOnly { .. }
                | Self::Unavailable { .. }
        )
    }
}
