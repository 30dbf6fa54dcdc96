//! A circuit's whole state in one word, so that one compare-and-swap changes all of it.
//!
//! ```text
//! bits  0..2   state
//! bit   2      forced
//! bits  3..8   openings since it was last closed
//! bits  8..16  permits in use
//! bits 16..24  probes that succeeded
//! bits 24..64  deadline, milliseconds since the circuit was made (40 bits: 34 years)
//! ```
//!
//! At the deadline an open circuit lets a probe through, or a half-open one lets its permits expire.

use super::CircuitState;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) state: CircuitState,
    pub(super) forced: bool,
    pub(super) openings: u32,
    pub(super) permits: u32,
    pub(super) successes: u32,
    pub(super) deadline: u64,
}

impl Word {
    pub(super) const CLOSED: Self = Self {
        state: CircuitState::Closed,
        forced: false,
        openings: 0,
        permits: 0,
        successes: 0,
        deadline: 0,
    };
    /// The most openings that are counted. At this number the open time has reached its maximum.
    pub(super) const MAX_OPENINGS: u32 = (1 << 5) - 1;
    /// The most permits, and the most successes, that a word holds.
    const MAX_COUNT: u32 = u8::MAX as u32;
    pub(super) const MAX_DEADLINE: u64 = (1 << 40) - 1;

    pub(super) fn pack(self) -> u64 {
        let state = match self.state {
            CircuitState::Closed => 0,
            CircuitState::HalfOpen => 1,
            CircuitState::Open => 2,
        };
        let count = |count: u32| u64::from(count.min(Self::MAX_COUNT));
        state
            | u64::from(self.forced) << 2
            | u64::from(self.openings.min(Self::MAX_OPENINGS)) << 3
            | count(self.permits) << 8
            | count(self.successes) << 16
            | self.deadline.min(Self::MAX_DEADLINE) << 24
    }

    /// The state alone.
    #[inline]
    pub(super) fn state(bits: u64) -> CircuitState {
        match bits & 3 {
            0 => CircuitState::Closed,
            1 => CircuitState::HalfOpen,
            _ => CircuitState::Open,
        }
    }

    pub(super) fn unpack(bits: u64) -> Self {
        let count = |shift: u32| (bits >> shift) as u32 & Self::MAX_COUNT;
        Self {
            state: Self::state(bits),
            forced: (bits >> 2) & 1 == 1,
            openings: (bits >> 3) as u32 & Self::MAX_OPENINGS,
            permits: count(8),
            successes: count(16),
            deadline: bits >> 24,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn unpacking_a_packed_word_gives_the_same_word(
            state in 0..3_usize, forced: bool, openings in 0..=Word::MAX_OPENINGS, permits in 0..256_u32,
            successes in 0..256_u32, deadline in 0..=Word::MAX_DEADLINE,
        ) {
            let state = CircuitState::ALL[state];
            let word = Word { state, forced, openings, permits, successes, deadline };
            prop_assert_eq!(Word::unpack(word.pack()), word);
            prop_assert_eq!(Word::state(word.pack()), word.state);
        }
    }
}
