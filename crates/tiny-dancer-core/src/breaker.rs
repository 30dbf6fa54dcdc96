//! The circuit breaker: stops asking what keeps failing, and carefully asks again.
//!
//! ```text
//!              failures             open_for has passed
//!   closed ----------------> open ----------------------> half-open
//!     ^                       ^                            |     |
//!     |                       +------- a probe fails ------+     |
//!     +---------------------- all probes succeed ----------------+
//! ```
//!
//! One lock-free state machine serves two circuits, which differ in what they count:
//!
//! - `inference` counts the router's own failures, a model output that is not finite. Bad input never counts, or one
//!   client could open it for all. So many failures within a window open it.
//! - `lightweight` counts what callers report of the lightweight model. It opens on a failure ratio within a window,
//!   once there were enough calls.
//!
//! A half-open circuit hands out a few probes as *leases*. A lease comes back with its result, or unused, or not at
//! all: then `probe_timeout` gives it up, so that the circuit can't wedge. Each time the circuit opens again without
//! having closed, it stays open twice as long, with jitter, so that a fleet does not probe in step.
//!
//! The whole state is one word: whoever changes it by compare-and-swap has made the transition, and reports it. On the
//! closed path it is one load, and nothing shared is written.

use crate::clock::{Clock, Tick};
use crate::names::names;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

mod window;
mod word;

use window::{Counts, Window};
use word::Word;

/// One of the router's two circuits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Circuit {
    /// The router's own inference.
    Inference,
    /// The lightweight model, as callers report it.
    Lightweight,
}

names!(Circuit, "circuit", {
    Inference => "inference",
    Lightweight => "lightweight",
});

/// A circuit's state. Ordered from well to ill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CircuitState {
    /// Everything passes.
    Closed,
    /// A few probes pass.
    HalfOpen,
    /// Nothing passes.
    Open,
}

names!(CircuitState, "circuit state", {
    Closed => "closed",
    HalfOpen => "half_open",
    Open => "open",
});

/// What an open circuit does to a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum OnOpen {
    /// The answer is the powerful model, with `Reason::CircuitOpen`.
    #[default]
    Fallback,
    /// The answer is `RouteError::CircuitOpen`.
    Reject,
}

/// How both circuits behave.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct CircuitBreakerConfig {
    /// The `inference` circuit opens at this many failures within `inference_window`. 5: one broken request is an
    /// accident, five are a broken model.
    pub inference_failures: u32,
    /// How long a failure of inference is remembered, to a sixteenth. A minute.
    pub inference_window: Duration,
    /// The `lightweight` circuit opens when this share of the calls within `lightweight_window` failed. One half.
    pub lightweight_failure_ratio: f64,
    /// ... but not before this many calls were reported. 20: fewer say little about a ratio.
    pub lightweight_min_calls: u32,
    /// How long an outcome is remembered, to a sixteenth. A minute.
    pub lightweight_window: Duration,
    /// Whether `Insufficient` counts as a failure of the lightweight model. No: a poor answer is not an outage.
    pub insufficient_is_failure: bool,
    /// How long a circuit stays open the first time; half of it and all of it are the bounds of the jitter. 30 s.
    pub open_for: Duration,
    /// The longest it stays open, however often it failed. 10 minutes.
    pub max_open_for: Duration,
    /// How many probes a half-open circuit lets through at a time, and how many must succeed to close it. 3.
    pub probes: u32,
    /// How long a half-open circuit waits for the result of its probes before it hands out new ones. 30 s.
    pub probe_timeout: Duration,
    /// What an open circuit does to a request.
    pub on_open: OnOpen,
}

impl Default for CircuitBreakerConfig {
    fn default() -> Self {
        Self {
            inference_failures: 5,
            inference_window: Duration::from_secs(60),
            lightweight_failure_ratio: 0.5,
            lightweight_min_calls: 20,
            lightweight_window: Duration::from_secs(60),
            insufficient_is_failure: false,
            open_for: Duration::from_secs(30),
            max_open_for: Duration::from_secs(600),
            probes: 3,
            probe_timeout: Duration::from_secs(30),
            on_open: OnOpen::Fallback,
        }
    }
}

/// Why a circuit changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Cause {
    /// Too many failures, or too large a share.
    Failures,
    /// `force_open` or `force_closed`.
    Forced,
    /// It was open long enough.
    OpenTimeElapsed,
    /// A probe failed.
    ProbeFailed,
    /// Outcomes refuted the promised risk.
    PromiseBroken,
    /// All probes succeeded.
    ProbesSucceeded,
    /// `reset`.
    Reset,
}

names!(Cause, "cause", {
    Failures => "failures",
    Forced => "forced",
    OpenTimeElapsed => "open_time_elapsed",
    ProbeFailed => "probe_failed",
    PromiseBroken => "promise_broken",
    ProbesSucceeded => "probes_succeeded",
    Reset => "reset",
});

/// A change of state, made by whoever is given it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transition {
    pub(crate) from: CircuitState,
    pub(crate) to: CircuitState,
    pub(crate) cause: Cause,
}

/// Whether a request may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permit {
    /// The circuit is closed: pass.
    Free,
    /// The circuit is half-open: pass as a probe, and bring the lease back.
    Lease,
    /// Don't pass. The next probe is due then, if that is known.
    Refused { retry_after: Option<Duration> },
}

/// When a circuit opens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trip {
    /// At so many failures.
    Failures(u32),
    /// At a share of failures, once there were so many calls.
    Ratio { failures: f64, min_calls: u32 },
}

impl Trip {
    fn is_due(self, counts: Counts) -> bool {
        match self {
            Self::Failures(limit) => counts.failures >= u64::from(limit),
            Self::Ratio { failures, min_calls } => {
                counts.calls >= u64::from(min_calls)
                    && counts.failures as f64 >= failures * counts.calls as f64
            }
        }
    }
}

/// One circuit.
#[derive(Debug)]
pub(crate) struct Breaker {
    trip: Trip,
    open_for: Duration,
    max_open_for: Duration,
    probes: u32,
    probe_timeout: Duration,
    clock: Clock,
    birth: Tick,
    word: AtomicU64,
    window: Window,
}

impl Breaker {
    pub(crate) fn new(trip: Trip, window: Duration, config: &CircuitBreakerConfig, clock: Clock) -> Self {
        Self {
            trip,
            open_for: config.open_for,
            max_open_for: config.max_open_for,
            probes: config.probes,
            probe_timeout: config.probe_timeout,
            birth: clock.tick(),
            clock,
            word: AtomicU64::new(Word::CLOSED.pack()),
            window: Window::new(window),
        }
    }

    #[inline]
    pub(crate) fn state(&self) -> CircuitState {
        Word::state(self.word.load(Ordering::Acquire))
    }

    /// Asks to pass. The closed path is one load.
    #[inline]
    pub(crate) fn permit(&self) -> (Permit, Option<Transition>) {
        if self.state() == CircuitState::Closed {
            return (Permit::Free, None);
        }
        self.permit_unless_closed()
    }

    #[cold]
    fn permit_unless_closed(&self) -> (Permit, Option<Transition>) {
        self.update(|word, now| match word.state {
            CircuitState::Closed => (None, Permit::Free, None),
            CircuitState::Open if word.forced => (None, Permit::Refused { retry_after: None }, None),
            CircuitState::Open if now < word.deadline => {
                let retry_after = Some(Duration::from_millis(word.deadline - now));
                (None, Permit::Refused { retry_after }, None)
            }
            CircuitState::Open => {
                let probing = Word {
                    state: CircuitState::HalfOpen,
                    leases: 1,
                    successes: 0,
                    deadline: now + millis(self.probe_timeout),
                    ..word
                };
                (Some(probing), Permit::Lease, Some(Cause::OpenTimeElapsed))
            }
            CircuitState::HalfOpen => {
                let given_up = now >= word.deadline;
                let leases = if given_up { 0 } else { word.leases };
                // Successes count as probes that were used: no more are handed out than are needed to close.
                if leases + word.successes >= self.probes {
                    let retry_after = Some(Duration::from_millis(word.deadline.saturating_sub(now)));
                    return (None, Permit::Refused { retry_after }, None);
                }
                let deadline = now + millis(self.probe_timeout);
                (Some(Word { leases: leases + 1, deadline, ..word }), Permit::Lease, None)
            }
        })
    }

    /// Brings back a lease that was not used.
    pub(crate) fn return_unused(&self) {
        self.update(|word, _| {
            let back = Word { leases: word.leases.saturating_sub(1), ..word };
            ((word.state == CircuitState::HalfOpen).then_some(back), (), None)
        });
    }

    /// A success: brings back a lease if the circuit is half-open. `counted` puts it into the window, for a ratio.
    pub(crate) fn succeeded(&self, counted: bool) -> Option<Transition> {
        if counted {
            self.window.record(self.now(), false);
        }
        if self.state() != CircuitState::HalfOpen {
            return None;
        }
        let ((), transition) = self.update(|word, _| {
            if word.state != CircuitState::HalfOpen {
                return (None, (), None);
            }
            let successes = word.successes + 1;
            if successes >= self.probes {
                return (Some(Word::CLOSED), (), Some(Cause::ProbesSucceeded));
            }
            (Some(Word { successes, leases: word.leases.saturating_sub(1), ..word }), (), None)
        });
        if transition.is_some() {
            self.window.clear();
        }
        transition
    }

    /// A failure: may open the circuit.
    pub(crate) fn failed(&self) -> Option<Transition> {
        let counts = self.window.record(self.now(), true);
        let due = self.trip.is_due(counts);
        let ((), transition) = self.update(|word, now| match word.state {
            CircuitState::Closed if due && !word.forced => {
                (Some(self.opened(Word::CLOSED, now)), (), Some(Cause::Failures))
            }
            CircuitState::HalfOpen => (Some(self.opened(word, now)), (), Some(Cause::ProbeFailed)),
            CircuitState::Closed | CircuitState::Open => (None, (), None),
        });
        transition
    }

    /// Opens it until `reset` or `force_closed`.
    pub(crate) fn force_open(&self, cause: Cause) -> Option<Transition> {
        self.force(Word { state: CircuitState::Open, forced: true, ..Word::CLOSED }, cause)
    }

    /// Closes it, and keeps it closed whatever fails, until `reset` or `force_open`.
    pub(crate) fn force_closed(&self) -> Option<Transition> {
        self.force(Word { forced: true, ..Word::CLOSED }, Cause::Forced)
    }

    /// Closes it and forgets everything.
    pub(crate) fn reset(&self) -> Option<Transition> {
        self.window.clear();
        self.force(Word::CLOSED, Cause::Reset)
    }

    fn force(&self, target: Word, cause: Cause) -> Option<Transition> {
        self.update(|_, _| (Some(target), (), Some(cause))).1
    }

    /// The word of a circuit that opens now.
    fn opened(&self, word: Word, now: u64) -> Word {
        let doubled = self.open_for.saturating_mul(1 << word.openings.min(30));
        let longest = millis(doubled.min(self.max_open_for));
        // Between a half and the whole of it, by a hash of the moment: fleets that opened together drift apart.
        let jitter = split_mix(self.clock.tick().raw()) % (longest / 2 + 1);
        let deadline = now + longest - jitter;
        Word {
            state: CircuitState::Open,
            openings: (word.openings + 1).min(Word::MAX_OPENINGS),
            leases: 0,
            successes: 0,
            forced: false,
            deadline,
        }
    }

    /// Changes the word by a function of it and the time. Whoever swaps it in reports the transition, if the state
    /// is another one.
    fn update<T>(
        &self,
        change: impl Fn(Word, u64) -> (Option<Word>, T, Option<Cause>),
    ) -> (T, Option<Transition>) {
        let now = self.now();
        let mut bits = self.word.load(Ordering::Acquire);
        loop {
            let word = Word::unpack(bits);
            let (next, answer, cause) = change(word, now);
            let Some(next) = next else { return (answer, None) };
            match self.word.compare_exchange_weak(bits, next.pack(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    let transition = cause.filter(|_| next.state != word.state).map(|cause| Transition {
                        from: word.state,
                        to: next.state,
                        cause,
                    });
                    return (answer, transition);
                }
                Err(newer) => bits = newer,
            }
        }
    }

    /// Milliseconds since the circuit was made.
    fn now(&self) -> u64 {
        self.clock.since(self.birth).as_millis() as u64
    }
}

/// A configured duration in milliseconds. The cap keeps the sum of a moment and a few durations inside a word; it
/// exceeds the year that a configuration may hold at most.
fn millis(duration: Duration) -> u64 {
    (duration.as_millis() as u64).min(Word::MAX_DEADLINE / 16)
}

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014: the output function.
fn split_mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
