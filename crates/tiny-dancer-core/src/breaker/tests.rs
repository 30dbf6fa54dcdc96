use super::*;
use crate::clock::ManualClock;
use proptest::prelude::*;

fn config() -> CircuitBreakerConfig {
    CircuitBreakerConfig { probes: 2, ..Default::default() }
}

fn on_failures(limit: u32) -> (Breaker, ManualClock) {
    let (clock, manual) = Clock::manual(0);
    (Breaker::new(Trip::Failures(limit), Duration::from_mins(1), &config(), clock), manual)
}

fn on_ratio() -> (Breaker, ManualClock) {
    let (clock, manual) = Clock::manual(0);
    let trip = Trip::Ratio { failures: 0.5, min_calls: 4 };
    (Breaker::new(trip, Duration::from_mins(1), &config(), clock), manual)
}

fn opened() -> (Breaker, ManualClock) {
    let (breaker, manual) = on_failures(1);
    breaker.failed().unwrap();
    (breaker, manual)
}

/// A half-open circuit that has given its first permit to a probe.
fn probing() -> (Breaker, ManualClock) {
    let (breaker, manual) = opened();
    manual.advance(Duration::from_secs(30));
    assert_eq!(breaker.admit().0, Admission::Probe);
    (breaker, manual)
}

fn transition(from: CircuitState, to: CircuitState, cause: Cause) -> Transition {
    Transition { from, to, cause }
}

use CircuitState::{Closed, HalfOpen, Open};

#[test]
fn the_configured_number_of_failures_within_the_window_opens_it() {
    let (breaker, manual) = on_failures(3);
    assert_eq!(breaker.failed(), None);
    manual.advance(Duration::from_secs(59));
    assert_eq!(breaker.failed(), None);
    assert_eq!(breaker.failed(), Some(transition(Closed, Open, Cause::Failures)));
}

#[test]
fn failures_further_apart_than_the_window_do_not_open_it() {
    let (breaker, manual) = on_failures(2);
    for _ in 0..20 {
        assert_eq!(breaker.failed(), None);
        manual.advance(Duration::from_secs(64));
    }
    assert_eq!(breaker.state(), Closed);
}

#[test]
fn a_reset_of_what_is_not_forced_closes_an_open_and_a_half_open_circuit() {
    for (breaker, from) in [(opened().0, Open), (probing().0, HalfOpen)] {
        assert_eq!(breaker.reset_unless_forced(), Some(transition(from, Closed, Cause::Reset)));
        assert_eq!(breaker.reset_unless_forced(), None, "it is closed");
    }
    let (breaker, _) = on_failures(2);
    breaker.failed();
    assert_eq!(breaker.reset_unless_forced(), None);
    assert_eq!(breaker.failed(), None, "the failure before was cleared");
    breaker.force_open(Cause::Forced);
    assert_eq!((breaker.reset_unless_forced(), breaker.state()), (None, Open));
}

#[test]
fn a_failure_ratio_opens_it_once_there_were_enough_calls() {
    let (breaker, _) = on_ratio();
    assert_eq!(breaker.failed(), None);
    assert_eq!(breaker.failed(), None);
    assert_eq!(breaker.succeeded(true), None);
    assert_eq!(breaker.failed(), Some(transition(Closed, Open, Cause::Failures)));
}

#[test]
fn a_ratio_below_the_limit_keeps_it_closed() {
    let (breaker, _) = on_ratio();
    for _ in 0..100 {
        assert_eq!(breaker.succeeded(true), None);
        assert_eq!(breaker.succeeded(true), None);
        assert_eq!(breaker.failed(), None);
    }
}

#[test]
fn old_outcomes_expire() {
    let (breaker, manual) = on_ratio();
    for _ in 0..3 {
        assert_eq!(breaker.failed(), None);
    }
    manual.advance(Duration::from_secs(64));
    assert_eq!(breaker.failed(), None, "one call in the window, three expired");
}

#[test]
fn an_open_circuit_refuses_until_its_deadline_and_returns_the_wait() {
    let (breaker, manual) = opened();
    let (Admission::Refused { retry_after: Some(wait) }, None) = breaker.admit() else { panic!("it passed") };
    assert!((15..=30).contains(&wait.as_secs()), "{wait:?}");
    let almost = Duration::from_nanos(wait.as_nanos() as u64 - 1);
    manual.advance(almost);
    assert!(matches!(breaker.admit().0, Admission::Refused { .. }));
    manual.advance(Duration::from_nanos(1));
    let expected = Some(transition(Open, HalfOpen, Cause::OpenTimeElapsed));
    assert_eq!(breaker.admit(), (Admission::Probe, expected));
}

#[test]
fn a_half_open_circuit_gives_no_more_permits_than_probes() {
    let (breaker, _) = probing();
    assert_eq!(breaker.admit(), (Admission::Probe, None));
    assert!(matches!(breaker.admit().0, Admission::Refused { retry_after: Some(_) }));
}

#[test]
fn all_probes_must_succeed_to_close_it() {
    let (breaker, _) = probing();
    assert_eq!(breaker.succeeded(false), None);
    assert_eq!(breaker.admit(), (Admission::Probe, None));
    assert!(matches!(breaker.admit().0, Admission::Refused { .. }), "one has succeeded, one is running");
    assert_eq!(breaker.succeeded(false), Some(transition(HalfOpen, Closed, Cause::ProbesSucceeded)));
    assert_eq!(breaker.admit(), (Admission::Pass, None));
}

#[test]
fn one_failed_probe_opens_it_again_for_longer() {
    let (breaker, manual) = probing();
    assert_eq!(breaker.failed(), Some(transition(HalfOpen, Open, Cause::ProbeFailed)));
    manual.advance(Duration::from_millis(29_999));
    assert!(matches!(breaker.admit().0, Admission::Refused { .. }), "at least half of twice 30 s");
    manual.advance(Duration::from_secs(31));
    assert_eq!(breaker.admit().0, Admission::Probe);
}

#[test]
fn the_open_time_never_exceeds_its_maximum() {
    let (breaker, manual) = opened();
    for _ in 0..40 {
        manual.advance(Duration::from_secs(600));
        assert_eq!(breaker.admit().0, Admission::Probe);
        breaker.failed().unwrap();
    }
}

#[test]
fn the_open_time_is_reset_once_it_has_closed() {
    let (breaker, manual) = probing();
    breaker.failed().unwrap();
    manual.advance(Duration::from_secs(60));
    assert_eq!(breaker.admit().0, Admission::Probe);
    breaker.succeeded(false);
    breaker.succeeded(false).unwrap();
    breaker.failed().unwrap();
    manual.advance(Duration::from_secs(30));
    assert_eq!(breaker.admit().0, Admission::Probe);
}

#[test]
fn a_permit_that_is_returned_unused_is_given_again() {
    let (breaker, _) = probing();
    breaker.admit();
    assert!(matches!(breaker.admit().0, Admission::Refused { .. }));
    breaker.return_unused();
    assert_eq!(breaker.admit(), (Admission::Probe, None));
}

#[test]
fn lost_permits_expire_after_the_timeout() {
    let (breaker, manual) = probing();
    breaker.admit();
    manual.advance(Duration::from_millis(29_999));
    assert!(matches!(breaker.admit().0, Admission::Refused { .. }));
    manual.advance(Duration::from_millis(1));
    assert_eq!(breaker.admit(), (Admission::Probe, None));
}

/// A year, the longest duration that a configuration may hold.
const YEAR: Duration = Duration::from_hours(24 * 365);

#[test]
fn a_circuit_that_opens_in_an_old_process_recovers() {
    for years in [1, 2, 4, 8, 16, 32] {
        let (breaker, manual) = on_failures(1);
        manual.advance(YEAR * years);
        breaker.failed().unwrap();
        manual.advance(Duration::from_secs(14));
        assert!(
            matches!(breaker.admit().0, Admission::Refused { .. }),
            "{years} years: at least half of 30 s"
        );
        manual.advance(Duration::from_secs(16));
        assert_eq!(breaker.admit().0, Admission::Probe, "{years} years: the open time is over");
        assert_eq!(breaker.admit().1, None);
        assert!(
            matches!(breaker.admit().0, Admission::Refused { .. }),
            "{years} years: both permits are in use"
        );
        manual.advance(Duration::from_secs(30));
        assert_eq!(breaker.admit().0, Admission::Probe, "{years} years: lost permits expire");
    }
}

#[test]
fn outcomes_expire_in_an_old_process() {
    let (breaker, manual) = on_ratio();
    manual.advance(YEAR * 3 / 2);
    for _ in 0..20 {
        assert_eq!(breaker.succeeded(true), None);
        assert_eq!(breaker.failed(), None, "one success and one failure a day never open the circuit");
        manual.advance(Duration::from_hours(24));
    }
}

#[test]
fn closing_clears_the_failures_that_opened_it() {
    let (breaker, manual) = on_ratio();
    for _ in 0..4 {
        breaker.failed();
    }
    manual.advance(Duration::from_secs(30));
    breaker.admit();
    breaker.succeeded(true);
    breaker.succeeded(true).unwrap();
    assert_eq!(breaker.failed(), None, "the window was cleared");
}

#[test]
fn forced_open_stays_open_until_reset() {
    let (breaker, manual) = on_failures(1);
    assert_eq!(breaker.force_open(Cause::Forced), Some(transition(Closed, Open, Cause::Forced)));
    manual.advance(Duration::from_hours(24 * 400));
    assert_eq!(breaker.admit(), (Admission::Refused { retry_after: None }, None));
    assert_eq!(breaker.reset(), Some(transition(Open, Closed, Cause::Reset)));
}

#[test]
fn forced_closed_ignores_failures_until_reset() {
    let (breaker, _) = opened();
    assert_eq!(breaker.force_closed(), Some(transition(Open, Closed, Cause::Forced)));
    for _ in 0..10 {
        assert_eq!(breaker.failed(), None);
    }
    assert_eq!(breaker.admit(), (Admission::Pass, None));
    assert_eq!(breaker.reset(), None, "closed already");
    assert_eq!(breaker.failed(), Some(transition(Closed, Open, Cause::Failures)));
}

#[test]
fn the_closed_path_reads_no_clock() {
    let (clock, manual) = Clock::manual(0);
    let breaker = Breaker::new(Trip::Failures(1), Duration::from_mins(1), &config(), clock);
    let before = manual.reads();
    assert_eq!(breaker.admit(), (Admission::Pass, None));
    assert_eq!(breaker.succeeded(false), None);
    assert_eq!(manual.reads(), before);
}

#[test]
fn each_transition_is_reported_once_with_several_threads() {
    let (clock, manual) = Clock::manual(0);
    let config = CircuitBreakerConfig { probes: 3, ..Default::default() };
    let breaker = Breaker::new(Trip::Failures(1), Duration::from_mins(1), &config, clock);
    // Fewer rounds under Miri, which is slow.
    for round in 0..if cfg!(miri) { 3 } else { 200 } {
        let reported = std::sync::Mutex::new(vec![]);
        manual.advance(Duration::from_secs(700));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (breaker, reported) = (&breaker, &reported);
                scope.spawn(move || {
                    for i in 0..20 {
                        let (admission, transition) = breaker.admit();
                        let after = match (admission, (thread + i + round) % 3) {
                            (Admission::Refused { .. }, _) => None,
                            (Admission::Probe, 0) => {
                                breaker.return_unused();
                                None
                            }
                            (_, 1) => breaker.failed(),
                            _ => breaker.succeeded(false),
                        };
                        reported.lock().unwrap().extend(transition.into_iter().chain(after));
                    }
                });
            }
        });
        // The list may have another order than the transitions. Each state is left as often as it is entered, but for
        // the first state and the last.
        let reported = reported.into_inner().unwrap();
        for state in CircuitState::ALL {
            let entered = reported.iter().filter(|transition| transition.to == state).count();
            let left = reported.iter().filter(|transition| transition.from == state).count();
            assert!(entered.abs_diff(left) <= 1, "{state:?}: {reported:?}");
        }
    }
}

/// A call to a circuit, or time that passes.
#[derive(Clone, Copy, Debug)]
enum Event {
    Fail,
    Admit,
    Return,
    Succeed,
    Wait(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Admit),
        Just(Event::Fail),
        Just(Event::Return),
        Just(Event::Succeed),
        (0..40_u64).prop_map(Event::Wait),
    ]
}

proptest! {
    #[test]
    fn it_never_skips_half_open_on_its_way_to_closed(events in proptest::collection::vec(event(), 1..200)) {
        let (breaker, manual) = on_failures(2);
        let mut state = Closed;
        for event in events {
            let transition = match event {
                Event::Admit => breaker.admit().1,
                Event::Fail => breaker.failed(),
                Event::Return => {
                    breaker.return_unused();
                    None
                }
                Event::Succeed => breaker.succeeded(true),
                Event::Wait(seconds) => {
                    manual.advance(Duration::from_secs(seconds));
                    None
                }
            };
            if let Some(Transition { from, to, .. }) = transition {
                prop_assert_eq!(from, state, "a transition starts at the state of the one before");
                prop_assert!(matches!(
                    (from, to),
                    (Closed | HalfOpen, Open) | (Open, HalfOpen) | (HalfOpen, Closed)
                ));
                state = to;
            }
            prop_assert_eq!(breaker.state(), state, "each change is reported");
        }
    }

    #[test]
    fn it_always_recovers_when_failures_stop(events in proptest::collection::vec(event(), 0..100)) {
        let (breaker, manual) = on_failures(2);
        for event in events {
            match event {
                Event::Admit => _ = breaker.admit(),
                Event::Fail => _ = breaker.failed(),
                Event::Return => breaker.return_unused(),
                Event::Succeed => _ = breaker.succeeded(true),
                Event::Wait(seconds) => manual.advance(Duration::from_secs(seconds)),
            }
        }
        for _ in 0..4 {
            manual.advance(Duration::from_secs(601));
            if breaker.admit().0 == Admission::Probe {
                breaker.succeeded(true);
            }
        }
        prop_assert_eq!(breaker.state(), Closed);
    }
}
