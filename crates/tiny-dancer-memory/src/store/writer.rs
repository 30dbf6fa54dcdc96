//! The thread that writes to a store, behind a bounded queue.
//!
//! ```text
//! send --> queue of at most `capacity` changes --> thread: one commit of all that waits --> Store
//!                                                     |
//!                                                     `--> Report: stored, failed, lost
//! ```
//!
//! A commit takes as long as a disk needs to synchronize, so changes that come in the meantime are committed together. A
//! commit of few changes costs nearly as much as one of many, so the thread gathers changes for some milliseconds, unless a flush
//! waits for them.
//!
//! # When a commit fails
//!
//! If the error [is temporary](StoreError::is_temporary), such as a full disk, its changes stay in the queue. The thread
//! tries again when the next change or call of [`flush`](Writer::flush) comes, and after a second otherwise. Nothing is lost
//! until the queue is full: then [`send`](Writer::send) returns the change with an error.
//!
//! After any other error the changes are committed one by one, and those that fail are lost. So a change that a store cannot
//! hold does not take others with it.

use super::{Change, Committed, Store, StoreError};
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tiny_dancer_core::Clock;

/// The most changes of one commit, so that a batch of embeddings takes some megabytes.
const BATCH: usize = 4096;

/// See [`Pauses`].
const PAUSES: Pauses = Pauses { gather: Duration::from_millis(20), retry: Duration::from_secs(1) };

/// What a [`Writer`]'s thread reports.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Report {
    /// Changes are durable.
    Stored {
        /// How many.
        changes: usize,
        /// What they removed.
        committed: Committed,
        /// How long the commit took.
        duration: Duration,
    },
    /// A commit failed. Its changes are kept, and will be committed later.
    Failed {
        /// How many.
        changes: usize,
        /// The error.
        error: Arc<StoreError>,
    },
    /// Changes are lost: the store cannot hold them, or the last commit of a writer that is dropped has failed.
    Lost {
        /// How many.
        changes: usize,
        /// The error.
        error: Arc<StoreError>,
    },
}

/// Writes to a store on a thread of its own. Dropping it commits what waits.
pub struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    capacity: usize,
    /// Notifies the thread of changes, flushes and the end.
    work: Condvar,
    /// Notifies flushes that a commit has ended.
    done: Condvar,
}

#[expect(clippy::struct_excessive_bools, reason = "each is independent of the others")]
#[derive(Default)]
struct State {
    queue: VecDeque<Change>,
    /// How many changes are being committed. They still occupy the queue.
    committing: usize,
    /// How many changes were ever sent.
    sent: u64,
    /// How many of them are durable or lost.
    settled: u64,
    lost: u64,
    /// How many commits failed with a temporary error.
    failures: u64,
    /// The last one.
    error: Option<Arc<StoreError>>,
    /// How many were lost when a flush last returned an error.
    reported: u64,
    /// Whether changes wait for the end of a pause.
    paused: bool,
    /// Whether a flush waits for changes in the queue.
    urgent: bool,
    /// Whether the thread gathers changes, and needs no notice of each.
    gathering: bool,
    ended: bool,
}

impl Writer {
    /// Starts the thread. `report` is called on it after each commit.
    ///
    /// # Errors
    /// If the operating system cannot start a thread.
    pub fn new(
        store: impl Store,
        capacity: usize,
        report: impl FnMut(Report) + Send + 'static,
    ) -> Result<Self, std::io::Error> {
        Self::start(store, capacity, PAUSES, report)
    }

    fn start(
        store: impl Store,
        capacity: usize,
        pauses: Pauses,
        report: impl FnMut(Report) + Send + 'static,
    ) -> Result<Self, std::io::Error> {
        let (state, work, done) = Default::default();
        let shared = Arc::new(Shared { state, capacity, work, done });
        let committer = Committer { shared: shared.clone(), store, report, pauses, limit: BATCH };
        let thread =
            std::thread::Builder::new().name("memory-writer".into()).spawn(move || committer.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Puts changes into the queue, all or none, and never waits for the store. They are committed in the order in which they
    /// are sent.
    ///
    /// # Errors
    /// If the queue has no room for them ([`StoreError::QueueFull`]). Then they are lost.
    pub fn send(&self, changes: impl IntoIterator<Item = Change>) -> Result<(), StoreError> {
        self.send_for_receipt(changes).map(drop)
    }

    /// As [`send`](Self::send), and returns by what [`wait_for`](Self::wait_for) knows the changes.
    pub(crate) fn send_for_receipt(
        &self,
        changes: impl IntoIterator<Item = Change>,
    ) -> Result<Receipt, StoreError> {
        // The iterator runs before the lock is taken.
        let changes: Vec<Change> = changes.into_iter().collect();
        let mut state = self.shared.lock();
        if state.queued() + changes.len() > self.shared.capacity {
            return Err(StoreError::QueueFull { capacity: self.shared.capacity });
        }
        state.sent += changes.len() as u64;
        state.queue.extend(changes);
        state.paused = false;
        if !state.gathering || state.queue.len() >= BATCH {
            self.shared.work.notify_one();
        }
        Ok(Receipt { sent: state.sent, lost: state.lost })
    }

    /// Waits for the next commit that decides what happens to changes. What is lost is still returned by the next flush.
    pub(crate) fn wait_for(&self, receipt: &Receipt) -> Fate {
        let mut state = self.shared.lock();
        (state.paused, state.urgent) = (false, true);
        self.shared.work.notify_one();
        let failures = state.failures;
        loop {
            if let Some(error) = &state.error {
                if state.lost > receipt.lost {
                    return Fate::Lost(error.clone());
                }
                if state.failures > failures {
                    return Fate::Waiting(error.clone());
                }
            }
            if state.settled >= receipt.sent {
                return Fate::Durable;
            }
            state = self.shared.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How many changes wait.
    pub fn queued(&self) -> usize {
        self.shared.lock().queued()
    }

    /// How many changes the queue holds.
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }

    /// Waits until all that was sent before is durable, and returns how many changes are durable since the start.
    ///
    /// # Errors
    /// If a commit fails before. The error [is temporary](StoreError::is_temporary) where the changes are still in the queue.
    /// Otherwise changes were lost: if no flush was waiting at that time, the next one returns the error.
    pub fn flush(&self) -> Result<u64, Arc<StoreError>> {
        let flush = self.begin_flush();
        self.wait(&flush)
    }

    fn begin_flush(&self) -> Flush {
        let mut state = self.shared.lock();
        (state.paused, state.urgent) = (false, true);
        self.shared.work.notify_one();
        Flush { sent: state.sent, failures: state.failures, reported: state.reported }
    }

    fn wait(&self, flush: &Flush) -> Result<u64, Arc<StoreError>> {
        let mut state = self.shared.lock();
        loop {
            if let Some(error) = &state.error
                && (state.lost > flush.reported || state.failures > flush.failures)
            {
                let error = error.clone();
                state.reported = state.lost;
                return Err(error);
            }
            if state.settled >= flush.sent {
                return Ok(state.settled - state.lost);
            }
            state = self.shared.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The place of changes in the queue.
#[derive(Debug)]
pub(crate) struct Receipt {
    /// How many changes were sent up to these.
    sent: u64,
    /// How many were lost before.
    lost: u64,
}

/// What happened to changes that were sent.
#[derive(Debug)]
pub(crate) enum Fate {
    /// They are durable.
    Durable,
    /// Changes were lost since these were sent, and these may be among them.
    Lost(Arc<StoreError>),
    /// A commit has failed, and they are still in the queue.
    Waiting(Arc<StoreError>),
}

/// What was known when a flush began.
struct Flush {
    sent: u64,
    failures: u64,
    reported: u64,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.take() {
            // It panics only if the store or the callback does.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("queued", &self.queued()).finish_non_exhaustive()
    }
}

impl Shared {
    /// Each change of the state is complete when its lock is released, also by a panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn queued(&self) -> usize {
        self.queue.len() + self.committing
    }

    fn settle(&mut self, report: Report) {
        match report {
            Report::Stored { changes, .. } => self.settled += changes as u64,
            Report::Failed { error, .. } => {
                // A commit that is tried again in parts is no failure yet.
                self.failures += u64::from(error.is_temporary());
                self.error = Some(error);
            }
            Report::Lost { changes, error } => {
                self.settled += changes as u64;
                self.lost += changes as u64;
                self.error = Some(error);
            }
        }
    }
}

/// How long changes wait.
#[derive(Clone, Copy)]
struct Pauses {
    /// For others, before they are committed.
    gather: Duration,
    /// After a temporary error, until they are committed again.
    retry: Duration,
}

struct Committer<S, R> {
    shared: Arc<Shared>,
    store: S,
    report: R,
    pauses: Pauses,
    /// The most changes of the next commit: one after a change that cannot be stored, then ever more.
    limit: usize,
}

impl<S: Store, R: FnMut(Report)> Committer<S, R> {
    fn run(mut self) {
        let clock = Clock::system();
        while let Some((batch, last)) = self.next() {
            let start = clock.tick();
            let committed = catch_unwind(AssertUnwindSafe(|| self.store.commit(&batch)));
            let duration = clock.since(start);
            let report = match committed.unwrap_or(Err(StoreError::Panicked)) {
                Ok(committed) => {
                    self.limit = (2 * self.limit).min(BATCH);
                    self.shared.lock().committing = 0;
                    Report::Stored { changes: batch.len(), committed, duration }
                }
                Err(error) => self.failed(batch, last, error),
            };
            // Flushes return after the report, and a callback that panics does not end the writer.
            let _ = catch_unwind(AssertUnwindSafe(|| (self.report)(report.clone())));
            self.shared.lock().settle(report);
            self.shared.done.notify_all();
        }
    }

    /// Puts the changes back, unless that cannot help.
    fn failed(&mut self, batch: Vec<Change>, last: bool, error: StoreError) -> Report {
        let (mut changes, temporary, error) = (batch.len(), error.is_temporary(), Arc::new(error));
        let mut state = self.shared.lock();
        state.committing = 0;
        if temporary && last {
            changes += state.queue.drain(..).count();
            return Report::Lost { changes, error };
        }
        if !temporary && changes == 1 {
            return Report::Lost { changes, error };
        }
        if !temporary {
            self.limit = 1;
        }
        state.paused = temporary;
        for change in batch.into_iter().rev() {
            state.queue.push_front(change);
        }
        Report::Failed { changes, error }
    }

    /// Waits for more changes, unless a flush waits for these.
    fn gather<'s>(&self, mut state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        state.gathering = true;
        let waits = |state: &mut State| !state.urgent && !state.ended && state.queue.len() < self.limit;
        let waited = self.shared.work.wait_timeout_while(state, self.pauses.gather, waits);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.gathering = false;
        state
    }

    /// Waits for changes and takes those of the next commit, and whether the writer has ended.
    fn next(&self) -> Option<(Vec<Change>, bool)> {
        let mut state = self.shared.lock();
        loop {
            if !state.queue.is_empty() && (!state.paused || state.ended) {
                state = self.gather(state);
                let changes = state.queue.len().min(self.limit);
                state.committing = changes;
                let changes = state.queue.drain(..changes).collect();
                state.urgent &= !state.queue.is_empty();
                return Some((changes, state.ended));
            }
            // A flush of an empty queue waits for nothing.
            state.urgent = false;
            if state.ended {
                return None;
            }
            let work = &self.shared.work;
            state = if state.paused {
                let (mut state, waited) =
                    work.wait_timeout(state, self.pauses.retry).unwrap_or_else(PoisonError::into_inner);
                state.paused &= !waited.timed_out();
                state
            } else {
                work.wait(state).unwrap_or_else(PoisonError::into_inner)
            };
        }
    }
}

#[cfg(test)]
mod tests;
