//! Counts of spans of traces, read from the tracing system at each scrape.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// The spans so far, by result. Each number only rises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    /// Spans for which there was no slot in the queue or, after a shutdown, no time.
    pub dropped: u64,
    /// Spans that the collector refused, or whose export failed.
    pub failed: u64,
    /// Spans that the collector accepted.
    pub flushed: u64,
}

/// Reads the counts; `None` without a tracing system.
type Read = dyn Fn() -> Option<Spans> + Send + Sync;

/// The function that each scrape calls.
#[derive(Default)]
pub(crate) struct Watched(RwLock<Option<Arc<Read>>>);

impl Watched {
    pub(crate) fn watch(&self, read: impl Fn() -> Option<Spans> + Send + Sync + 'static) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(read));
    }

    /// Calls the function after the lock is released, since it is another crate's code.
    pub(crate) fn read(&self) -> Option<Spans> {
        let read = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        read.and_then(|read| read())
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.read()).finish()
    }
}
