//! The one module that notifies a memory's observer.

use crate::store::{Report, StoreError};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tiny_dancer_core::observer::{MemoryChange, MemoryEvent, MemoryState};

/// A function that receives the events of a memory.
type Notify = dyn Fn(&MemoryEvent) + Send + Sync;

/// The sizes of a memory, and its observer. The writer's thread shares them.
#[derive(Default)]
pub(super) struct Shared {
    observer: OnceLock<Box<Notify>>,
    /// How long it took to open the memory.
    pub(super) opened: OnceLock<Duration>,
    pub(super) pending: AtomicUsize,
    pub(super) evidence: AtomicUsize,
    pub(super) segments: AtomicUsize,
    /// How many changes wait for the store.
    pub(super) queue: AtomicUsize,
    pub(super) queue_capacity: usize,
    /// How many changes found the queue full since the last flush.
    pub(super) refused: AtomicUsize,
}

impl Shared {
    pub(super) fn new(queue_capacity: usize) -> Self {
        Self { queue_capacity, ..Self::default() }
    }

    /// Sets the observer, unless there is one. It first receives how the memory was opened.
    pub(super) fn observe(&self, notify: Box<Notify>) {
        let is_new = self.observer.set(notify).is_ok();
        if let Some(&duration) = self.opened.get().filter(|_| is_new) {
            self.notify(MemoryChange::Opened { duration });
        }
    }

    pub(super) fn state(&self) -> MemoryState {
        let read = |size: &AtomicUsize| size.load(Ordering::Relaxed);
        let mut state = MemoryState::default();
        state.evidence = read(&self.evidence);
        state.entries = read(&self.pending) + state.evidence;
        state.segments = read(&self.segments);
        (state.queue, state.queue_capacity) = (read(&self.queue), self.queue_capacity);
        state
    }

    pub(super) fn notify(&self, change: MemoryChange) {
        if let Some(notify) = self.observer.get() {
            notify(&MemoryEvent::new(self.state(), change));
        }
    }

    /// Notifies the observer of what the writer's thread reports.
    pub(super) fn reported(&self, report: &Report) {
        match report {
            Report::Stored { changes, committed, duration } => {
                self.queue.fetch_sub(*changes, Ordering::Relaxed);
                self.notify(MemoryChange::Stored { changes: *changes, duration: *duration });
                let sizes = [committed.erased, committed.expired]
                    .map(|removed| (removed.entries as usize, removed.log_entries as usize));
                let [(entries, log_entries), _] = sizes;
                if (entries, log_entries) != (0, 0) {
                    self.notify(MemoryChange::Erased { entries, log_entries });
                }
                let [_, (entries, log_entries)] = sizes;
                if (entries, log_entries) != (0, 0) {
                    self.notify(MemoryChange::Expired { entries, log_entries });
                }
            }
            Report::Lost { changes, error } => {
                self.queue.fetch_sub(*changes, Ordering::Relaxed);
                self.lost(*changes, error);
            }
            // The changes are still in the queue.
            Report::Failed { changes, error } => {
                self.notify(MemoryChange::Failed { changes: *changes, kind: error.kind() });
            }
        }
    }

    pub(super) fn lost(&self, changes: usize, error: &StoreError) {
        self.notify(MemoryChange::Lost { changes, kind: error.kind() });
    }
}
