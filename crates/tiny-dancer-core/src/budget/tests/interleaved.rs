//! The ledger under a model checker, which chooses when each thread takes its next step.
//!
//! The ledger's source is compiled once more, with the model checker's atomics. The model checker runs one thread at a
//! time, so the tests keep their own count of what is charged beside the ledger's, in plain atomics.

use super::Rule;
use crate::budget::bound::{self, Bound};
use crate::budget::{HeldTicket, Settlement, TicketState};
use ledger::{Admitted, Kind, Ledger, Place, Snapshot, Terms};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

mod sync {
    pub(super) use shuttle::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
}

#[expect(clippy::duplicate_mod, reason = "the same source with other atomics")]
#[path = "../ledger.rs"]
mod ledger;

const SCHEDULES: usize = 2000;
const TIMEOUT: u64 = 1000;
const DELTA: f64 = 0.05;
const Q: f64 = 0.5;

/// A ledger, and what is charged to it as the threads know it: never more than what the ledger must know.
struct Checked {
    ledger: Ledger,
    allowed: f64,
    certain: AtomicU64,
    sampled: AtomicU64,
    places: Mutex<Vec<Place>>,
}

impl Checked {
    fn new(allowed: f64, slots: usize, rule: Rule) -> Arc<Self> {
        let mut ledger = Ledger::new(Some(Bound::new(Q, DELTA)), slots, &Snapshot::default());
        ledger.rule = rule;
        let (certain, sampled, places) = Default::default();
        Arc::new(Self { ledger, allowed, certain, sampled, places })
    }

    fn count(&self, kind: Kind) -> &AtomicU64 {
        match kind {
            Kind::Certain => &self.certain,
            Kind::Sampled => &self.sampled,
        }
    }

    /// Admits an answer. When the coin falls, its charge must fit beside all others.
    fn admit(&self, kind: Kind, judge: bool) -> Option<Admitted> {
        let terms = Terms { allowed: self.allowed, timeout: TIMEOUT };
        let toss = || {
            self.count(kind).fetch_add(1, SeqCst);
            let (certain, sampled) = (self.certain.load(SeqCst), self.sampled.load(SeqCst));
            let by_chance = if sampled > 0 { Bound::new(Q, DELTA).of(sampled) } else { 0.0 };
            let bound = certain as f64 + by_chance;
            assert!(bound <= self.allowed, "{bound} admitted, {} allowed", self.allowed);
            if !judge {
                self.count(kind).fetch_sub(1, SeqCst);
            }
            judge
        };
        let admitted = self.ledger.admit(kind, terms, || 0, toss);
        if let Some(Admitted::Judged(place)) = admitted {
            let mut places = self.places.lock().unwrap();
            assert!(places.iter().all(|held| held.slot != place.slot), "{place:?} is in use");
            places.push(place);
        }
        admitted
    }

    fn leave(&self, place: Place, kind: Kind) {
        self.places.lock().unwrap().retain(|held| *held != place);
        self.count(kind).fetch_sub(1, SeqCst);
    }

    fn settle_good(&self, place: Place, kind: Kind) {
        self.count(kind).fetch_sub(1, SeqCst);
        assert_eq!(self.ledger.settle(place, false, 0, TIMEOUT), Settlement::Settled);
    }

    /// Once all threads have ended, both counts are equal.
    fn assert_exact(&self) {
        let snapshot = self.ledger.snapshot(0, TIMEOUT);
        let counted = (self.certain.load(SeqCst), self.sampled.load(SeqCst));
        assert_eq!((snapshot.certain, snapshot.sampled), counted);
        assert_eq!(self.ledger.bound(), self.ledger.bound_of(counted.0, counted.1));
        assert_eq!(self.ledger.next_bound(Kind::Certain), self.ledger.bound() + 1.0);
    }
}

/// Runs the threads in one order of steps.
fn run(threads: Vec<Box<dyn FnOnce() + Send>>) {
    let threads: Vec<_> = threads.into_iter().map(shuttle::thread::spawn).collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Two threads that want the last of the money, of one kind or of two, while a third one earns some of it back.
fn compete(rule: Rule, allowed: f64, kinds: [Kind; 2]) {
    let checked = Checked::new(allowed, 8, rule);
    let mut threads: Vec<Box<dyn FnOnce() + Send>> = vec![];
    for kind in kinds {
        for judge in [true, false] {
            let checked = Arc::clone(&checked);
            threads.push(Box::new(move || {
                if let Some(Admitted::Judged(place)) = checked.admit(kind, judge) {
                    checked.settle_good(place, kind);
                    checked.admit(kind, true);
                }
            }));
        }
    }
    run(threads);
    checked.assert_exact();
}

fn one_of_each() -> f64 {
    Bound::new(Q, DELTA).of(1) + 0.5
}

#[test]
fn no_two_requests_spend_the_same_money() {
    for kinds in [[Kind::Certain; 2], [Kind::Sampled; 2], [Kind::Certain, Kind::Sampled]] {
        let allowed = if kinds[1] == Kind::Certain { 1.0 } else { one_of_each() };
        shuttle::check_random(move || compete(Rule::Right, allowed, kinds), SCHEDULES);
        shuttle::check_pct(move || compete(Rule::Right, allowed, kinds), SCHEDULES, 3);
    }
}

#[test]
#[should_panic(expected = "admitted")]
fn two_requests_that_read_before_they_charge_are_noticed() {
    shuttle::check_random(|| compete(Rule::ReadFirst, 1.0, [Kind::Certain; 2]), SCHEDULES);
}

#[test]
fn a_ticket_that_is_settled_and_cancelled_at_once_is_refunded_once() {
    let once = || {
        let checked = Checked::new(5.0, 2, Rule::Right);
        let Some(Admitted::Judged(place)) = checked.admit(Kind::Certain, true) else { panic!("refused") };
        let refunds = Arc::new(AtomicU64::new(0));
        let cancel = {
            let (checked, refunds) = (Arc::clone(&checked), Arc::clone(&refunds));
            move || {
                if checked.ledger.cancel(place, 0, TIMEOUT, false) {
                    checked.leave(place, Kind::Certain);
                    refunds.fetch_add(1, SeqCst);
                }
            }
        };
        let settle = {
            let (checked, refunds) = (Arc::clone(&checked), Arc::clone(&refunds));
            move || {
                if checked.ledger.settle(place, false, 0, TIMEOUT) == Settlement::Settled {
                    checked.count(Kind::Certain).fetch_sub(1, SeqCst);
                    refunds.fetch_add(1, SeqCst);
                }
            }
        };
        let next = {
            let checked = Arc::clone(&checked);
            move || {
                checked.admit(Kind::Certain, true);
            }
        };
        let again = settle.clone();
        run(vec![Box::new(cancel), Box::new(settle), Box::new(again), Box::new(next)]);
        assert_eq!(refunds.load(SeqCst), 1);
        checked.assert_exact();
    };
    shuttle::check_random(once, SCHEDULES);
    shuttle::check_pct(once, SCHEDULES, 3);
}

#[test]
fn two_requests_never_get_one_slot() {
    let compete = || {
        let checked = Checked::new(100.0, 2, Rule::Right);
        let threads = (0..3).map(|_| {
            let checked = Arc::clone(&checked);
            Box::new(move || {
                if let Some(Admitted::Judged(place)) = checked.admit(Kind::Certain, true)
                    && place.generation % 2 == 0
                {
                    checked.leave(place, Kind::Certain);
                    assert!(checked.ledger.cancel(place, 0, TIMEOUT, false));
                }
                checked.admit(Kind::Certain, true);
            }) as Box<dyn FnOnce() + Send>
        });
        run(threads.collect());
        checked.assert_exact();
    };
    shuttle::check_random(compete, SCHEDULES);
}

#[test]
fn whenever_it_is_stored_a_ledger_and_its_lease_cover_all_that_is_drawn() {
    let store = |threads_settle: &[bool], slots: usize| {
        let checked = Checked::new(100.0, slots, Rule::Right);
        checked.ledger.set_room(Some(0));
        checked.ledger.grant(3);
        let stored = Arc::new(Mutex::new(Snapshot::default()));
        let mut threads: Vec<Box<dyn FnOnce() + Send>> = vec![];
        for &settles in threads_settle {
            let checked = Arc::clone(&checked);
            threads.push(Box::new(move || {
                for judge in [true, false, true, true] {
                    if let Some(Admitted::Judged(place)) = checked.admit(Kind::Certain, judge)
                        && settles
                    {
                        checked.settle_good(place, Kind::Certain);
                    }
                }
            }));
        }
        let (reader, result) = (Arc::clone(&checked), Arc::clone(&stored));
        threads.push(Box::new(move || *result.lock().unwrap() = reader.ledger.snapshot(0, TIMEOUT)));
        run(threads);
        let stored = stored.lock().unwrap();
        let covered = stored.certain + stored.undrawn;
        assert!(covered >= checked.certain.load(SeqCst), "{stored:?}");
        let pending = stored.tickets.iter().filter(|ticket| ticket.state == TicketState::Pending).count();
        assert!(stored.certain >= pending as u64, "each refund that may come was charged: {stored:?}");
    };
    // With one thread and few slots, more of the schedules store it while a coin falls.
    for (threads_settle, slots) in [(&[true, false][..], 8), (&[false], 3)] {
        shuttle::check_random(move || store(threads_settle, slots), SCHEDULES);
        shuttle::check_pct(move || store(threads_settle, slots), 5 * SCHEDULES, 4);
    }
}

#[test]
fn what_is_drawn_by_requests_in_flight_is_in_the_last_state() {
    let close = || {
        let checked = Checked::new(100.0, 8, Rule::Right);
        checked.ledger.set_room(Some(0));
        checked.ledger.grant(4);
        let stored = Arc::new(Mutex::new(Snapshot::default()));
        let mut threads: Vec<Box<dyn FnOnce() + Send>> = vec![];
        for _ in 0..2 {
            let checked = Arc::clone(&checked);
            threads.push(Box::new(move || {
                for judge in [false, true] {
                    checked.admit(Kind::Certain, judge);
                }
            }));
        }
        let (closer, result) = (Arc::clone(&checked), Arc::clone(&stored));
        threads.push(Box::new(move || {
            closer.ledger.close();
            *result.lock().unwrap() = closer.ledger.snapshot(0, TIMEOUT);
        }));
        run(threads);
        let stored = stored.lock().unwrap();
        assert!(stored.certain >= checked.certain.load(SeqCst), "{stored:?}");
        assert_eq!((stored.room, stored.undrawn), (Some(0), 0));
        assert_eq!(checked.admit(Kind::Certain, true), None);
    };
    shuttle::check_random(close, SCHEDULES);
    shuttle::check_pct(close, SCHEDULES, 3);
}
