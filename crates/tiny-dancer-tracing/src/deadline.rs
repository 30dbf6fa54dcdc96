//! The deadline of a shutdown, which exporters obey.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tiny_dancer_core::{Clock, Tick};

/// When the exporters must have ended, once a shutdown begins. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deadline(Arc<Shutdown>);

#[derive(Debug, Default)]
struct Shutdown {
    clock: Clock,
    /// When the shutdown began, and how long it may take.
    begun: Mutex<Option<(Tick, Duration)>>,
    begins: Condvar,
}

impl Deadline {
    /// Begins the shutdown, which may take `timeout`.
    pub(crate) fn set(&self, timeout: Duration) {
        *self.begun() = Some((self.0.clock.tick(), timeout));
        self.0.begins.notify_all();
    }

    /// Waits for a shutdown to begin, and returns whether one has.
    pub(crate) fn begins_within(&self, delay: Duration) -> bool {
        let waited = self.0.begins.wait_timeout_while(self.begun(), delay, |begun| begun.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_some()
    }

    pub(crate) fn has_passed(&self) -> bool {
        let begun = *self.begun();
        begun.is_some_and(|begun| self.left(begun).is_zero())
    }

    /// Waits before an attempt, and returns whether there is time for it. When a shutdown begins, the attempt
    /// follows at once, unless the delay is the collector's `Retry-After`.
    pub(crate) fn wait(&self, delay: Duration, is_retry_after: bool) -> bool {
        let start = self.0.clock.tick();
        let begun = self.begun();
        let was_begun = begun.is_some();
        let waited = self.0.begins.wait_timeout_while(begun, delay, |begun| begun.is_none());
        let (begun, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        let Some(shutdown) = *begun else { return timeout.timed_out() };
        let left = self.left(shutdown);
        if !was_begun && !is_retry_after {
            return !left.is_zero();
        }
        let delay = delay.saturating_sub(self.0.clock.since(start));
        if delay >= left {
            return false;
        }
        drop(begun);
        std::thread::sleep(delay);
        true
    }

    fn left(&self, (begun, timeout): (Tick, Duration)) -> Duration {
        timeout.saturating_sub(self.0.clock.since(begun))
    }

    fn begun(&self) -> MutexGuard<'_, Option<(Tick, Duration)>> {
        self.0.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
