//! A sliding window of calls and failures, without a lock.
//!
//! Time is divided into slices of a sixteenth of the window. A ring of seventeen counters, one per slice, covers the
//! whole window and at most one slice more. A counter of an older slice is reset when it is next used. A counter is one
//! word of slice number, calls and failures, changed by compare-and-swap. When its calls reach their maximum, both
//! counts are halved, which keeps their ratio.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const SLICES: u64 = 16;
const RING: usize = SLICES as usize + 1;
/// Bits of each of the two counts. The other half of the word is the slice's number.
const BITS: u32 = 16;
const MAX: u64 = (1 << BITS) - 1;

/// The calls within the window, and how many of them failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) calls: u64,
    pub(super) failures: u64,
}

#[derive(Debug)]
pub(super) struct Window {
    slice_millis: u64,
    ring: [AtomicU64; RING],
}

impl Window {
    pub(super) fn new(length: Duration) -> Self {
        let slice_millis = (length.as_millis() as u64).div_ceil(SLICES).max(1);
        Self { slice_millis, ring: [const { AtomicU64::new(0) }; RING] }
    }

    /// Counts a call, and returns the window's counts including it. `now` is in milliseconds.
    pub(super) fn record(&self, now: u64, failed: bool) -> Counts {
        let slice = self.slice(now);
        let slot = &self.ring[slice as usize % RING];
        let mut bits = slot.load(Ordering::Acquire);
        loop {
            let (of, counts) = unpack(bits);
            let counts = match counts {
                _ if of != slice => Counts::default(),
                Counts { calls: MAX, failures } => Counts { calls: MAX / 2, failures: failures / 2 },
                counts => counts,
            };
            let counts = Counts { calls: counts.calls + 1, failures: counts.failures + u64::from(failed) };
            let next = pack(slice, counts);
            match slot.compare_exchange_weak(bits, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return self.counts(now),
                Err(newer) => bits = newer,
            }
        }
    }

    /// The counts of the window that ends at `now`.
    pub(super) fn counts(&self, now: u64) -> Counts {
        let newest = self.slice(now);
        let oldest = newest.saturating_sub(SLICES).max(1);
        let recent = |slot: &AtomicU64| {
            let (slice, counts) = unpack(slot.load(Ordering::Acquire));
            (oldest..=newest).contains(&slice).then_some(counts)
        };
        self.ring.iter().filter_map(recent).fold(Counts::default(), |sum, counts| Counts {
            calls: sum.calls + counts.calls,
            failures: sum.failures + counts.failures,
        })
    }

    pub(super) fn clear(&self) {
        self.ring.iter().for_each(|slot| slot.store(0, Ordering::Release));
    }

    /// The number of the slice at `now`. 0 marks an empty slot. With the shortest window, one second, the numbers last
    /// eight years.
    fn slice(&self, now: u64) -> u64 {
        (now / self.slice_millis + 1) & u64::from(u32::MAX)
    }
}

fn pack(slice: u64, counts: Counts) -> u64 {
    slice << (2 * BITS) | counts.calls << BITS | counts.failures
}

fn unpack(bits: u64) -> (u64, Counts) {
    (bits >> (2 * BITS), Counts { calls: (bits >> BITS) & MAX, failures: bits & MAX })
}

#[cfg(test)]
mod tests;
