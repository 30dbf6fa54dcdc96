//! The one clock: it reads the time, and gives durations.
//!
//! All code in core that needs the time reads a [`Clock`], so that tests control time. Reading a tick is reading a
//! processor register (the `quanta` crate), whereas `Instant::now` calls the operating system.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Reads the time. Clones read the same time.
#[derive(Clone, Debug)]
pub struct Clock {
    source: Source,
    /// How many nanoseconds 2^32 ticks take. A duration is then a product and a shift.
    scale: u64,
}

#[derive(Clone, Debug)]
enum Source {
    Manual(Arc<Held>),
    System(quanta::Clock),
}

/// A point in time from which durations are measured. It is valid only for the clock that read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(u64);

impl Tick {
    /// Used where the clock is not read.
    pub(crate) const UNREAD: Self = Self(0);

    /// The number of ticks, as a seed.
    pub(crate) fn raw(self) -> u64 {
        self.0
    }
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        let clock = quanta::Clock::new();
        let scale = clock.delta_as_nanos(0, 1 << 32);
        Self { source: Source::System(clock), scale }
    }

    /// A manual clock, and the handle that advances it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tiny_dancer_core::Clock;
    ///
    /// let (clock, manual) = Clock::manual(1_700_000_000);
    /// let start = clock.tick();
    /// manual.advance(Duration::from_secs(3));
    /// assert_eq!(clock.since(start), Duration::from_secs(3));
    /// assert_eq!(clock.unix_seconds(), 1_700_000_003);
    /// ```
    pub fn manual(unix_seconds: i64) -> (Self, ManualClock) {
        let held = Arc::new(Held {
            start: AtomicI64::new(unix_seconds),
            nanoseconds: AtomicU64::new(0),
            reads: AtomicU64::new(0),
        });
        // Ticks of a manual clock are nanoseconds.
        (Self { source: Source::Manual(Arc::clone(&held)), scale: 1 << 32 }, ManualClock(held))
    }

    /// Reads the clock.
    #[inline]
    pub fn tick(&self) -> Tick {
        match &self.source {
            Source::Manual(held) => Tick(held.read()),
            Source::System(clock) => Tick(clock.raw()),
        }
    }

    /// Reads the clock, and returns the time since `start`.
    #[inline]
    pub fn since(&self, start: Tick) -> Duration {
        self.between(start, self.tick())
    }

    /// The time from `start` to `end`, without reading the clock; 0 where `end` is earlier.
    #[inline]
    pub fn between(&self, start: Tick, end: Tick) -> Duration {
        let ticks = end.0.saturating_sub(start.0);
        // 64 bits hold 584 years of nanoseconds.
        Duration::from_nanos(((u128::from(ticks) * u128::from(self.scale)) >> 32) as u64)
    }

    /// Seconds since 1970, the unit of `Query::now`.
    pub fn unix_seconds(&self) -> i64 {
        self.unix_milliseconds().div_euclid(1000)
    }

    /// Milliseconds since 1970.
    #[expect(clippy::disallowed_methods, reason = "the one place where the calendar is read")]
    pub fn unix_milliseconds(&self) -> i64 {
        match &self.source {
            Source::Manual(held) => {
                let start = held.start.load(Ordering::Relaxed).saturating_mul(1000);
                start.saturating_add((held.read() / 1_000_000) as i64)
            }
            Source::System(_) => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => since.as_millis() as i64,
                Err(before) => -(before.duration().as_millis() as i64),
            },
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

/// Advances a manual clock, for tests and simulations.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Held>);

#[derive(Debug)]
struct Held {
    start: AtomicI64,
    nanoseconds: AtomicU64,
    reads: AtomicU64,
}

impl Held {
    fn read(&self) -> u64 {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.load(Ordering::Relaxed)
    }
}

impl ManualClock {
    /// Moves the time forward.
    pub fn advance(&self, by: Duration) {
        self.0.nanoseconds.fetch_add(by.as_nanos() as u64, Ordering::Relaxed);
    }

    /// How often the clock was read so far.
    pub fn reads(&self) -> u64 {
        self.0.reads.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_tick_has_its_measured_length() {
        let clock = Clock::system();
        let Source::System(machine) = &clock.source else { panic!("not the system's clock: {clock:?}") };
        for ticks in [0, 1, 2, 999, 3_000_000_000, 1 << 40, 1 << 60] {
            let (start, end) = (Tick(17), Tick(17 + ticks));
            let (took, measured) = (clock.between(start, end), machine.delta(start.0, end.0));
            let slack = Duration::from_nanos(1) + measured / 1_000_000_000;
            assert!(took.abs_diff(measured) <= slack, "{ticks}: {took:?}, {measured:?}");
            assert_eq!(clock.between(end, start), Duration::ZERO);
        }
    }
}
