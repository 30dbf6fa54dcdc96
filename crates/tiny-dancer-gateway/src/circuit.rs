//! Whether a model is called at all: not while it fails, and not before the time that it names.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tiny_dancer::Clock;
use tiny_dancer::parts::core::Tick;

/// The failures in a row after which a model is not called for some time: fewer may be chance.
const FAILURES: u32 = 5;
/// How long it is not called then: a failing call costs its client at most this often.
const OPEN_FOR: Duration = Duration::from_secs(5);
/// The longest wait that a model can name.
const LONGEST: Duration = Duration::from_secs(300);

/// The circuit of one model. After the wait, calls are let through again: the first success closes it, and the first failure
/// opens it again.
#[derive(Debug)]
pub(crate) struct Circuit {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open: Option<(Tick, Duration)>,
}

impl Circuit {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// How long the model is not called; `None` if it may be called now.
    pub(crate) fn wait(&self) -> Option<Duration> {
        let (since, open_for) = self.state().open?;
        open_for.checked_sub(self.clock.since(since)).filter(|left| !left.is_zero())
    }

    pub(crate) fn succeeded(&self) {
        *self.state() = State::default();
    }

    /// After a failure for which the model may have named a wait.
    pub(crate) fn failed(&self, retry_after: Option<Duration>) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        let by_failures = (state.failures >= FAILURES).then_some(OPEN_FOR);
        if let Some(open_for) = by_failures.max(retry_after.map(|wait| wait.min(LONGEST))) {
            state.open = Some((self.clock.tick(), open_for));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A poisoned lock is safe to use: no method panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_open_it_and_a_success_after_the_wait_closes_it() {
        let (clock, hand) = Clock::manual(0);
        let circuit = Circuit::new(clock);
        for _ in 1..FAILURES {
            circuit.failed(None);
        }
        assert_eq!(circuit.wait(), None);
        circuit.failed(None);
        assert_eq!(circuit.wait(), Some(OPEN_FOR));
        hand.advance(OPEN_FOR);
        assert_eq!(circuit.wait(), None);
        circuit.failed(None);
        assert_eq!(circuit.wait(), Some(OPEN_FOR), "one failure opens it again");
        hand.advance(OPEN_FOR);
        circuit.succeeded();
        circuit.failed(None);
        assert_eq!(circuit.wait(), None);
    }

    #[test]
    fn a_wait_that_the_model_names_is_respected_up_to_a_limit() {
        let (clock, hand) = Clock::manual(0);
        let circuit = Circuit::new(clock);
        circuit.failed(Some(Duration::from_secs(20)));
        hand.advance(Duration::from_secs(19));
        assert_eq!(circuit.wait(), Some(Duration::from_secs(1)));
        circuit.failed(Some(Duration::MAX));
        assert_eq!(circuit.wait(), Some(LONGEST));
    }
}
