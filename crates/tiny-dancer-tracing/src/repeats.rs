//! Log lines that every request, or every change of a memory, would repeat: the first few of a kind are written, the rest are counted.
//!
//! During an outage each request falls back, and one line per request would hide the line with the cause. Of
//! each kind, [`LINES`] lines are written in a window of [`SECONDS`]. The first line of a later window comes
//! with the number of lines that were left out.

use std::sync::atomic::{AtomicU64, Ordering};
use tiny_dancer_core::observer::{MemoryErrorKind, StageErrorKind};
use tiny_dancer_core::{Clock, ErrorKind, Reason, Tick};

/// The length of a window in seconds.
const SECONDS: u64 = 10;
/// The most lines of a kind in a window: enough to see whether they are all alike.
const LINES: u64 = 10;

/// A kind of line.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Repeated {
    Error(ErrorKind),
    Fallback(Reason),
    Memory(MemoryErrorKind),
    Stage(StageErrorKind),
}

/// How many kinds there are.
const KINDS: usize = FIRST_MEMORY + MemoryErrorKind::ALL.len();
/// The index of the first kind of each group.
const FIRST_FALLBACK: usize = ErrorKind::ALL.len();
const FIRST_STAGE: usize = FIRST_FALLBACK + Reason::ALL.len();
const FIRST_MEMORY: usize = FIRST_STAGE + StageErrorKind::ALL.len();

impl Repeated {
    fn index(self) -> usize {
        match self {
            Self::Error(kind) => kind as usize,
            Self::Fallback(reason) => FIRST_FALLBACK + reason as usize,
            Self::Memory(kind) => FIRST_MEMORY + kind as usize,
            Self::Stage(kind) => FIRST_STAGE + kind as usize,
        }
    }
}

/// Whether to write a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) write: bool,
    /// The number of lines of this kind that the last window left out, reported once.
    pub(crate) left_out: u64,
}

/// Counts the lines of each kind.
#[derive(Debug)]
pub(crate) struct Repeats {
    clock: Clock,
    start: Tick,
    /// For each kind, its window in the upper 32 bits and its number of lines in the lower 32 bits.
    kinds: [AtomicU64; KINDS],
}

impl Repeats {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { start: clock.tick(), clock, kinds: [const { AtomicU64::new(0) }; KINDS] }
    }

    /// Counts a line.
    pub(crate) fn count(&self, line: Repeated) -> Verdict {
        // Windows start at 1, since 0 stands for no window.
        let now = 1 + self.clock.since(self.start).as_secs() / SECONDS;
        let mut verdict = Verdict::default();
        let count = |word: u64| {
            let (window, lines) = (word >> 32, word & u64::from(u32::MAX));
            if window < now {
                verdict = Verdict { write: true, left_out: lines.saturating_sub(LINES) };
                return Some(now << 32 | 1);
            }
            verdict = Verdict { write: lines < LINES, left_out: 0 };
            // The count saturates at 32 bits, more lines than ten seconds can have.
            Some(window << 32 | (lines + 1).min(u64::from(u32::MAX)))
        };
        // `count` always returns `Some`, so the update succeeds.
        let _ = self.kinds[line.index()].fetch_update(Ordering::Relaxed, Ordering::Relaxed, count);
        verdict
    }
}

impl Default for Repeats {
    fn default() -> Self {
        Self::new(Clock::system())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const LINE: Repeated = Repeated::Fallback(Reason::CircuitOpen);
    const OTHER: Repeated = Repeated::Error(ErrorKind::CircuitOpen);

    fn written(repeats: &Repeats, line: Repeated, times: usize) -> usize {
        (0..times).filter(|_| repeats.count(line).write).count()
    }

    #[test]
    fn ten_lines_of_a_kind_are_written_and_the_rest_are_reported_later() {
        let (clock, manual) = Clock::manual(0);
        let repeats = Repeats::new(clock);
        assert_eq!(written(&repeats, LINE, 25), 10);
        assert_eq!(written(&repeats, OTHER, 1), 1, "another kind has a count of its own");
        manual.advance(Duration::from_secs(9));
        assert_eq!(written(&repeats, LINE, 1), 0);
        manual.advance(Duration::from_secs(1));
        assert_eq!(repeats.count(LINE), Verdict { write: true, left_out: 16 });
        assert_eq!(repeats.count(LINE), Verdict { write: true, left_out: 0 });
    }

    #[test]
    fn each_kind_has_an_index_of_its_own() {
        let errors = ErrorKind::ALL.into_iter().map(Repeated::Error);
        let fallbacks = Reason::ALL.into_iter().map(Repeated::Fallback);
        let stages = StageErrorKind::ALL.into_iter().map(Repeated::Stage);
        let memory = MemoryErrorKind::ALL.into_iter().map(Repeated::Memory);
        let all = errors.chain(fallbacks).chain(stages).chain(memory);
        let mut indices: Vec<_> = all.map(Repeated::index).collect();
        indices.sort_unstable();
        assert!(indices.into_iter().eq(0..KINDS));
    }

    #[test]
    fn threads_share_the_limit_of_a_kind() {
        let repeats = Repeats::new(Clock::manual(0).0);
        let total: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| written(&repeats, LINE, 1_000))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(total, 10);
    }
}
