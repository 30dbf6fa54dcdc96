//! The counts of what an exporter sends, by its results.

use crate::reports::BatchReports;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counts of a tracing system's spans, log records or metric points so far. With two exporters each span is counted
/// twice.
///
/// `made` is the sum of the others and of those that are being sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportCounts {
    /// Spans that ended, log records, or points of metrics, each counted once per push.
    pub made: u64,
    /// Those that wait to be sent. The queue bounds the number of requests, each with its stages, of other spans, and of
    /// log records.
    pub waiting: u64,
    /// Those that a collector accepted, or that were printed.
    pub flushed: u64,
    /// Those for which there was no slot in the queue or, after a shutdown, no time.
    pub dropped: u64,
    /// Those that the collector refused, or whose export failed.
    pub failed: u64,
}

impl ExportCounts {
    pub(crate) fn add(self, other: Self) -> Self {
        Self {
            made: self.made + other.made,
            waiting: self.waiting + other.waiting,
            flushed: self.flushed + other.flushed,
            dropped: self.dropped + other.dropped,
            failed: self.failed + other.failed,
        }
    }
}

/// The counts of one exporter, by their results.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The slots of the queue. A request with its stages takes one, and so does another span and a log record.
    slots: u64,
    taken: AtomicU64,
    made: AtomicU64,
    waiting: AtomicU64,
    dropped: AtomicU64,
    pub(crate) flushed: AtomicU64,
    failed: AtomicU64,
    /// Those that failed since the last batch without failures.
    failing: AtomicU64,
    /// The numbers of flushed and failed ones at the end of the shutdown. Later exports are not counted, so that the number
    /// of dropped ones never decreases.
    ended: OnceLock<(u64, u64)>,
    reports: BatchReports,
}

impl Ledger {
    pub(crate) fn new(slots: usize, reports: BatchReports) -> Self {
        Self { slots: slots as u64, reports, ..Default::default() }
    }

    /// Counts spans or log records, and returns whether there is a slot for them.
    pub(crate) fn admit(&self, number: u64) -> bool {
        self.made.fetch_add(number, Ordering::SeqCst);
        let free = |taken| (taken < self.slots).then_some(taken + 1);
        let admitted = self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, free).is_ok();
        let counter = if admitted { &self.waiting } else { &self.dropped };
        counter.fetch_add(number, Ordering::SeqCst);
        admitted
    }

    /// Frees slots.
    pub(crate) fn leave(&self, slots: u64, number: u64) {
        self.taken.fetch_sub(slots, Ordering::SeqCst);
        self.waiting.fetch_sub(number, Ordering::SeqCst);
    }

    /// Counts those that are sent without a queue.
    pub(crate) fn make(&self, number: u64) {
        self.made.fetch_add(number, Ordering::SeqCst);
    }

    /// Counts a batch by its result. Logs one line when failures begin and one when they end, and none for
    /// batches between.
    pub(crate) fn book(&self, number: u64, error: Option<&str>) {
        let (refused, why) = self.reports.take_refused();
        let refused = refused.min(number);
        let failed = if error.is_none() { refused } else { number };
        self.flushed.fetch_add(number - failed, Ordering::SeqCst);
        self.failed.fetch_add(failed, Ordering::SeqCst);
        if failed == 0 && error.is_none() {
            self.reports.log_recovery(self.failing.swap(0, Ordering::SeqCst));
        } else {
            self.failing.fetch_add(failed, Ordering::SeqCst);
            let what = self.reports.signal().name();
            self.reports.log_failure(&match error {
                None if why.is_empty() => format!("{refused} of {number} {what} were refused"),
                None => format!("{refused} of {number} {what} were refused: {why}"),
                Some(error) => error.to_owned(),
            });
        }
    }

    /// Ends the count at the end of a shutdown.
    pub(crate) fn end(&self) {
        let ExportCounts { made, waiting, flushed, dropped, failed } = self.counts();
        // Those that an exporter holds at this point and the collector has not confirmed count as failed.
        let unconfirmed = made.saturating_sub(waiting + flushed + dropped + failed);
        let _ = self.ended.set((flushed, failed + unconfirmed));
    }

    pub(crate) fn counts(&self) -> ExportCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        // Counters that are written later are read first, so that a sum never exceeds `made`.
        let (flushed, failed) = (read(&self.flushed), read(&self.failed));
        let (dropped, waiting, made) = (read(&self.dropped), read(&self.waiting), read(&self.made));
        match self.ended.get() {
            None => ExportCounts { made, waiting, flushed, dropped, failed },
            Some(&(flushed, failed)) => {
                ExportCounts { made, waiting: 0, flushed, dropped: made - flushed - failed, failed }
            }
        }
    }
}
