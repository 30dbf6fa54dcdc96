//! Exemplars: for each bucket of the latency, and for some counters, the newest request that has a span.
//!
//! A slot is a sequence lock: its version is odd while a thread writes it. A thread that finds an odd version leaves its
//! exemplar out, since the other one is as new. A reader retries until it reads one version twice. So neither waits for a
//! lock. A request without a span touches no slot.

use crate::catalogue::{ERRORS, Family, ROUTING_DECISIONS, ROUTING_LATENCY, ROUTING_REQUESTS};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering, fence};
use tiny_dancer_core::observer::SpanIds;

/// A request that stands for a bucket or a counter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Exemplar {
    pub(crate) span: SpanIds,
    /// In the unit of the family; 1 for a counter.
    pub(crate) value: f64,
    /// In milliseconds since 1970.
    pub(crate) time: i64,
}

/// The exemplars of the families that have some.
#[derive(Debug)]
pub(crate) struct Exemplars {
    pub(crate) decisions: Slots,
    pub(crate) errors: Slots,
    pub(crate) latency: Slots,
    pub(crate) requests: Slots,
}

impl Exemplars {
    /// For a latency with this many buckets, that of +Inf included.
    pub(crate) fn new(buckets: usize) -> Self {
        Self {
            decisions: Slots::new(&ROUTING_DECISIONS, 1),
            errors: Slots::new(&ERRORS, 1),
            latency: Slots::new(&ROUTING_LATENCY, buckets),
            requests: Slots::new(&ROUTING_REQUESTS, 1),
        }
    }

    /// The exemplars of a series, by its buckets; empty where the family has none.
    pub(crate) fn of(&self, family: &Family, series: usize) -> Vec<Option<Exemplar>> {
        let all = [&self.decisions, &self.errors, &self.latency, &self.requests];
        all.into_iter().find(|slots| slots.family == family.name).map_or_else(Vec::new, |slots| {
            slots.all[series * slots.buckets..][..slots.buckets].iter().map(Slot::read).collect()
        })
    }
}

/// The slots of a family: one per series and bucket.
#[derive(Debug)]
pub(crate) struct Slots {
    family: &'static str,
    buckets: usize,
    all: Box<[Slot]>,
}

impl Slots {
    fn new(family: &Family, buckets: usize) -> Self {
        let all = (0..family.series() * buckets).map(|_| Slot::default()).collect();
        Self { family: family.name, buckets, all }
    }

    /// Replaces the exemplar of a series' bucket.
    pub(crate) fn write(&self, series: usize, bucket: usize, exemplar: Exemplar) {
        self.all[series * self.buckets + bucket].write(exemplar);
    }
}

/// An exemplar, or none while the version is 0. Aligned to a cache line, so that two slots do not share one.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Slot {
    version: AtomicU64,
    trace: [AtomicU64; 2],
    span: AtomicU64,
    value: AtomicU64,
    time: AtomicI64,
}

impl Slot {
    fn write(&self, exemplar: Exemplar) {
        let version = self.version.load(Ordering::Relaxed);
        let is_mine = version.is_multiple_of(2)
            && self
                .version
                .compare_exchange(version, version + 1, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if !is_mine {
            return;
        }
        // The odd version is visible before any of the values, and these before the even one.
        fence(Ordering::Release);
        let SpanIds { trace, span } = exemplar.span;
        self.trace[0].store((trace >> 64) as u64, Ordering::Relaxed);
        self.trace[1].store(trace as u64, Ordering::Relaxed);
        self.span.store(span, Ordering::Relaxed);
        self.value.store(exemplar.value.to_bits(), Ordering::Relaxed);
        self.time.store(exemplar.time, Ordering::Relaxed);
        self.version.store(version + 2, Ordering::Release);
    }

    fn read(&self) -> Option<Exemplar> {
        loop {
            let version = self.version.load(Ordering::Acquire);
            if version == 0 {
                return None;
            }
            let [high, low] = [0, 1].map(|half| u128::from(self.trace[half].load(Ordering::Relaxed)));
            let span = self.span.load(Ordering::Relaxed);
            let value = f64::from_bits(self.value.load(Ordering::Relaxed));
            let time = self.time.load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            if version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version {
                return Some(Exemplar { span: SpanIds { trace: high << 64 | low, span }, value, time });
            }
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests;
