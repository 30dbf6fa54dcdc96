//! The circuit breaker: stops calls to what keeps failing, then tests it with a few probes.
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
//! - `inference` counts the router's own failures: model outputs that are not finite. Bad input never counts, since one
//!   client could then open the circuit for all. It opens at a number of failures within a window.
//! - `lightweight` counts the outcomes that callers report of the lightweight model. It opens at a failure ratio within
//!   a window, once enough calls were reported.
//!
//! A half-open circuit gives permits to a few probes. A permit is returned with a result, or unused. A permit that is
//! lost expires after `probe_timeout`, so that the circuit cannot stay half-open forever. Each time the circuit opens
//! again without having closed, it stays open twice as long, with jitter, so that a fleet does not probe in step.
//!
//! The whole state is one word. The thread whose compare-and-swap changes it has made the transition, and reports it.
//! The closed path is one load and writes nothing shared.

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

/// A circuit's state, ordered from healthy to failing.
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

/// How a request is answered while a circuit is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum OnOpen {
    /// The answer is the powerful model, with `Reason::CircuitOpen`.
    #[default]
    Fallback,
    /// The answer is `RouteError::CircuitOpen`.
    Reject,
}

/// The configuration of both circuits.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct CircuitBreakerConfig {
    /// The `inference` circuit opens at this many failures within `inference_window`. Default 5: one failure can be an
    /// accident, five mean a broken model.
    pub inference_failures: u32,
    /// The time after which a failure of inference expires, to a sixteenth. Default one minute.
    pub inference_window: Duration,
    /// The `lightweight` circuit opens when this share of the calls within `lightweight_window` failed. Default one half.
    pub lightweight_failure_ratio: f64,
    /// The fewest reported calls at which the `lightweight` circuit opens. Default 20: fewer say little about a ratio.
    pub lightweight_min_calls: u32,
    /// The time after which an outcome expires, to a sixteenth. Default one minute.
    pub lightweight_window: Duration,
    /// Whether `Insufficient` counts as a failure of the lightweight model. Default no: a poor answer is not an outage.
    pub insufficient_is_failure: bool,
    /// How long a circuit stays open the first time. Jitter shortens it by up to one half. Default 30 s.
    pub open_for: Duration,
    /// The longest that a circuit stays open after repeated failures. Default 10 minutes.
    pub max_open_for: Duration,
    /// How many probes a half-open circuit lets through at a time, and how many must succeed to close it. Default 3.
    pub probes: u32,
    /// How long a half-open circuit waits for results of its probes before it gives out new permits. Default 30 s.
    pub probe_timeout: Duration,
    /// How a request is answered while a circuit is open. Default the powerful model.
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
    /// Too many failures, or too high a failure ratio.
    Failures,
    /// `force_open` or `force_closed` was called.
    Forced,
    /// The open time has passed.
    OpenTimeElapsed,
    /// A probe failed.
    ProbeFailed,
    /// Outcomes refuted the promised risk.
    PromiseBroken,
    /// All probes succeeded.
    ProbesSucceeded,
    /// `reset` was called, or another model was loaded.
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

/// A change of state, returned to the one thread that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transition {
    pub(crate) from: CircuitState,
    pub(crate) to: CircuitState,
    pub(crate) cause: Cause,
}

/// Whether a request may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// The circuit is closed: the request passes.
    Pass,
    /// The circuit is half-open: the request passes as a probe, and must return the permit.
    Probe,
    /// The request does not pass. The next probe is due after `retry_after`, if that is known.
    Refused { retry_after: Option<Duration> },
}

/// When a circuit opens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trip {
    /// At this number of failures.
    Failures(u32),
    /// At a share of failures, from `min_calls` calls on.
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

    /// Decides whether a request may pass. The closed path is one load.
    #[inline]
    pub(crate) fn admit(&self) -> (Admission, Option<Transition>) {
        if self.state() == CircuitState::Closed {
            return (Admission::Pass, None);
        }
        self.admit_unless_closed()
    }

    #[cold]
    fn admit_unless_closed(&self) -> (Admission, Option<Transition>) {
        self.update(|word, now| match word.state {
            CircuitState::Closed => (None, Admission::Pass, None),
            CircuitState::Open if word.forced => (None, Admission::Refused { retry_after: None }, None),
            CircuitState::Open if now < word.deadline => {
                let retry_after = Some(Duration::from_millis(word.deadline - now));
                (None, Admission::Refused { retry_after }, None)
            }
            CircuitState::Open => {
                let probing = Word {
                    state: CircuitState::HalfOpen,
                    permits: 1,
                    successes: 0,
                    deadline: now + millis(self.probe_timeout),
                    ..word
                };
                (Some(probing), Admission::Probe, Some(Cause::OpenTimeElapsed))
            }
            CircuitState::HalfOpen => {
                let given_up = now >= word.deadline;
                let permits = if given_up { 0 } else { word.permits };
                // A success uses up its probe, so that only the probes needed to close get permits.
                if permits + word.successes >= self.probes {
                    let retry_after = Some(Duration::from_millis(word.deadline.saturating_sub(now)));
                    return (None, Admission::Refused { retry_after }, None);
                }
                let deadline = now + millis(self.probe_timeout);
                (Some(Word { permits: permits + 1, deadline, ..word }), Admission::Probe, None)
            }
        })
    }

    /// Returns a permit that was not used.
    pub(crate) fn return_unused(&self) {
        self.update(|word, _| {
            let back = Word { permits: word.permits.saturating_sub(1), ..word };
            ((word.state == CircuitState::HalfOpen).then_some(back), (), None)
        });
    }

    /// Records a success, which returns a permit if the circuit is half-open. `counted` adds it to the window, for a
    /// ratio.
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
            (Some(Word { successes, permits: word.permits.saturating_sub(1), ..word }), (), None)
        });
        if transition.is_some() {
            self.window.clear();
        }
        transition
    }

    /// Records a failure, which may open the circuit.
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

    /// Closes it, and ignores failures until `reset` or `force_open`.
    pub(crate) fn force_closed(&self) -> Option<Transition> {
        self.force(Word { forced: true, ..Word::CLOSED }, Cause::Forced)
    }

    /// Closes it and clears its window.
    pub(crate) fn reset(&self) -> Option<Transition> {
        self.window.clear();
        self.force(Word::CLOSED, Cause::Reset)
    }

    /// The same, unless it was forced or is closed.
    pub(crate) fn reset_unless_forced(&self) -> Option<Transition> {
        self.window.clear();
        let closed = |word: Word, _| match word {
            Word { forced: true, .. } | Word { state: CircuitState::Closed, .. } => (None, (), None),
            _ => (Some(Word::CLOSED), (), Some(Cause::Reset)),
        };
        self.update(closed).1
    }

    fn force(&self, target: Word, cause: Cause) -> Option<Transition> {
        self.update(|_, _| (Some(target), (), Some(cause))).1
    }

    /// The state of a circuit that opens now.
    fn opened(&self, word: Word, now: u64) -> Word {
        let doubled = self.open_for.saturating_mul(1 << word.openings.min(30));
        let longest = millis(doubled.min(self.max_open_for));
        // From one half to all of it, by a hash of the time: circuits that opened together probe at different times.
        let jitter = split_mix(self.clock.tick().raw()) % (longest / 2 + 1);
        let deadline = now + longest - jitter;
        Word {
            state: CircuitState::Open,
            openings: (word.openings + 1).min(Word::MAX_OPENINGS),
            permits: 0,
            successes: 0,
            forced: false,
            deadline,
        }
    }

    /// Replaces the word by a function of it and of the time. Returns the transition if this call changed the state.
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

/// A configured duration in milliseconds. The cap keeps the sum of a time and a few durations inside the word's
/// deadline. It exceeds one year, the longest duration that a configuration may hold.
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
