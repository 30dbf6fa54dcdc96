//! Counts of what a tracing system exports, read from it at each scrape.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// The spans, the log records or the metric points so far, by result. Each number only rises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exports {
    /// Those for which there was no slot in the queue or, after a shutdown, no time.
    pub dropped: u64,
    /// Those that the collector refused, or whose export failed.
    pub failed: u64,
    /// Those that the collector accepted.
    pub flushed: u64,
}

/// Reads the counts; `None` without such an export.
type Read = dyn Fn() -> Option<Exports> + Send + Sync;

/// The function that each scrape calls.
#[derive(Default)]
pub(crate) struct Watched(RwLock<Option<Arc<Read>>>);

impl Watched {
    pub(crate) fn watch(&self, read: impl Fn() -> Option<Exports> + Send + Sync + 'static) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(read));
    }

    /// Calls the function after the lock is released, since it is another crate's code.
    pub(crate) fn read(&self) -> Option<Exports> {
        let read = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        read.and_then(|read| read())
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.read()).finish()
    }
}
