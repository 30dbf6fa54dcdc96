//! What writers and readers share: a lock, and a pointer to what was published last.
//!
//! In the tests of [interleavings](super::interleavings) other threads may run before and after each use of them.

use arc_swap::{ArcSwap, Guard};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A state `W` that writers change one after the other, and the last published `S`, which readers never wait for.
pub(super) struct Shared<S, W> {
    published: ArcSwap<S>,
    writer: Mutex<W>,
}

impl<S, W> Shared<S, W> {
    pub(super) fn new(published: S, writer: W) -> Self {
        Self { published: ArcSwap::from_pointee(published), writer: Mutex::new(writer) }
    }

    /// What was published last.
    pub(super) fn load(&self) -> Guard<Arc<S>> {
        pause();
        self.published.load()
    }

    /// Changes the state and publishes what `publish` makes of it, before the next writer begins.
    pub(super) fn write<T>(&self, change: impl FnOnce(&mut W) -> T, publish: impl FnOnce(&W) -> S) -> T {
        pause();
        let mut writer = self.lock();
        let result = change(&mut writer);
        pause();
        self.published.store(Arc::new(publish(&writer)));
        pause();
        result
    }

    /// Reads the state that the next writer changes.
    pub(super) fn read<T>(&self, read: impl FnOnce(&W) -> T) -> T {
        pause();
        read(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, W> {
        #[cfg(test)]
        super::interleavings::wait_for(&self.writer);
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
use super::interleavings::pause;

#[cfg(not(test))]
fn pause() {}
