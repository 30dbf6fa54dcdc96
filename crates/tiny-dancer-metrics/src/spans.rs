//! Counts of spans of traces, read from the tracing system at each scrape.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// What has become of all spans so far. Each number only rises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    /// There was no place for them, or no time.
    pub dropped: u64,
    /// The collector refused them, or was not there.
    pub failed: u64,
    /// The collector took them.
    pub flushed: u64,
}

/// Reads the counts; `None` where there is no tracing system.
type Read = dyn Fn() -> Option<Spans> + Send + Sync;

/// What is read at each scrape.
#[derive(Default)]
pub(crate) struct Watched(RwLock<Option<Arc<Read>>>);

impl Watched {
    pub(crate) fn watch(&self, read: impl Fn() -> Option<Spans> + Send + Sync + 'static) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(read));
    }

    /// Calls without the lock: the function is another crate's code.
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
