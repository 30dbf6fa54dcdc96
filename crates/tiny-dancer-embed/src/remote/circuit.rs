//! The circuit: keeps calls from a service that fails, then tests it with one call.
//!
//! A call takes a lock twice, for a few instructions beside a request over a network.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Circuit {
    open_after: u32,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// With the number of failures in a row.
    Closed(u32),
    /// A probe is under way.
    HalfOpen,
    /// Until this time.
    Open(Duration),
}

/// A call that may be made. One that is dropped has failed.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    circuit: &'a Circuit,
    is_probe: bool,
    entered: Duration,
    open_for: Duration,
    is_finished: bool,
}

impl Circuit {
    pub(super) fn new(open_after: u32) -> Self {
        Self { open_after, state: Mutex::new(State::Closed(0)) }
    }

    /// A permit, or the time until the next probe. If the call fails and the circuit opens, it stays open for `open_for`.
    pub(super) fn enter(&self, now: Duration, open_for: Duration) -> Result<Permit<'_>, Duration> {
        let mut state = self.lock();
        let is_probe = match *state {
            State::Closed(_) => false,
            State::HalfOpen => return Err(Duration::ZERO),
            State::Open(until) => {
                let left = until.saturating_sub(now);
                if !left.is_zero() {
                    return Err(left);
                }
                *state = State::HalfOpen;
                true
            }
        };
        Ok(Permit { circuit: self, is_probe, entered: now, open_for, is_finished: false })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs while it is locked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    pub(super) fn finish(mut self, now: Duration, is_failure: bool) {
        self.is_finished = true;
        self.report(now, is_failure);
    }

    fn report(&self, now: Duration, is_failure: bool) {
        let mut state = self.circuit.lock();
        let open = State::Open(now.saturating_add(self.open_for));
        *state = match (*state, self.is_probe, is_failure) {
            (State::HalfOpen, true, true) => open,
            (State::HalfOpen, true, false) | (State::Closed(_), _, false) => State::Closed(0),
            (State::Closed(failures), _, true) if failures + 1 >= self.circuit.open_after => open,
            (State::Closed(failures), _, true) => State::Closed(failures + 1),
            // A call that began before the circuit opened.
            (state, ..) => state,
        };
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.is_finished {
            self.report(self.entered, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OPEN_FOR: Duration = Duration::from_secs(10);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn call(circuit: &Circuit, now: u64, is_failure: bool) -> Result<(), Duration> {
        circuit.enter(seconds(now), OPEN_FOR).map(|permit| permit.finish(seconds(now), is_failure))
    }

    fn open() -> Circuit {
        let circuit = Circuit::new(3);
        for _ in 0..3 {
            call(&circuit, 0, true).unwrap();
        }
        circuit
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_them_does_not_count() {
        let circuit = Circuit::new(3);
        for is_failure in [true, true, false, true, true] {
            call(&circuit, 0, is_failure).unwrap();
        }
        assert_eq!(*circuit.lock(), State::Closed(2));
        call(&circuit, 1, true).unwrap();
        assert_eq!(call(&circuit, 4, false), Err(seconds(7)));
    }

    #[test]
    fn one_call_at_a_time_is_the_probe_and_its_result_decides() {
        let circuit = open();
        let probe = circuit.enter(seconds(10), OPEN_FOR).unwrap();
        assert_eq!(call(&circuit, 10, false), Err(Duration::ZERO));
        probe.finish(seconds(12), true);
        assert_eq!(call(&circuit, 21, false), Err(seconds(1)));
        call(&circuit, 22, false).unwrap();
        assert_eq!(*circuit.lock(), State::Closed(0));
    }

    #[test]
    fn a_probe_that_is_lost_has_failed() {
        let circuit = open();
        drop(circuit.enter(seconds(10), OPEN_FOR).unwrap());
        assert_eq!(call(&circuit, 13, false), Err(seconds(7)));
    }

    #[test]
    fn a_call_that_began_before_it_opened_changes_nothing() {
        for is_failure in [false, true] {
            let circuit = Circuit::new(1);
            let [early, late] = [(); 2].map(|()| circuit.enter(seconds(0), OPEN_FOR).unwrap());
            call(&circuit, 1, true).unwrap();
            early.finish(seconds(2), is_failure);
            assert_eq!(call(&circuit, 3, false), Err(seconds(8)));
            let probe = circuit.enter(seconds(11), OPEN_FOR).unwrap();
            late.finish(seconds(12), is_failure);
            assert_eq!(*circuit.lock(), State::HalfOpen);
            probe.finish(seconds(12), false);
        }
    }

    proptest! {
        #[test]
        fn it_never_closes_but_by_a_success_and_never_opens_but_by_a_failure(
            calls in proptest::collection::vec((0_u64..20, any::<bool>()), 1..200),
        ) {
            let circuit = Circuit::new(3);
            let mut now = 0;
            for (after, is_failure) in calls {
                now += after;
                let before = *circuit.lock();
                let called = call(&circuit, now, is_failure).is_ok();
                let state = *circuit.lock();
                prop_assert!(state != State::HalfOpen);
                if matches!(before, State::Open(_)) && matches!(state, State::Closed(_)) {
                    prop_assert!(called && !is_failure);
                }
                if matches!(before, State::Closed(_)) && matches!(state, State::Open(_)) {
                    prop_assert!(called && is_failure);
                }
                if !called {
                    prop_assert_eq!(before, state);
                }
            }
        }
    }
}
