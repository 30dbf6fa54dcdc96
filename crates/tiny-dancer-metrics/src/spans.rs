//! Spans of traces, counted by whoever makes them and shown here.

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

/// Asks whoever makes spans; `None` while nobody does.
type Read = dyn Fn() -> Option<Spans> + Send + Sync;

/// Who is asked at each scrape.
#[derive(Default)]
pub(crate) struct Watched(RwLock<Option<Arc<Read>>>);

impl Watched {
    pub(crate) fn watch(&self, read: impl Fn() -> Option<Spans> + Send + Sync + 'static) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(read));
    }

    /// Asks without the lock: what is asked is somebody else's code.
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
