//! Two threads: the cost of an operation while another thread does the same with the same object.
//!
//! Two threads may be slower than one for reasons outside of this project: they share a core's units, a clock rate, a cache.
//! So each operation is measured in four ways, in turns: by one thread and by two with a *shared* object, and by one and by
//! two with an object of their *own*. The cost of sharing is
//!
//! ```text
//! (shared by two / shared by one) / (own by two / own by one)
//! ```
//!
//! where the denominator is the machine's slowdown for the same operation with nothing shared. A round counts only if both
//! threads ran at the same time.

use crate::preemptions::preemptions;
use crate::turns::{Measured, Quartiles, now};
use std::hint;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// A repeated operation; the argument is the number of repetitions.
type Work<'a> = Box<dyn FnMut(u64) + Send + 'a>;

/// The contenders, in the order of [`Measured::names`].
const NAMES: [&str; 4] = ["shared, one thread", "shared, two threads", "own, one thread", "own, two threads"];

/// The approximate length of a turn; both threads begin it within a microsecond.
const TURN: Duration = Duration::from_micros(40);

/// The number of attempts at an undisturbed turn within a round.
const TRIES: usize = 20;

/// The least number of rounds.
const ROUNDS: usize = 8;

/// One operation by two threads.
#[derive(Debug)]
pub struct Shared {
    measured: Measured,
}

impl Shared {
    /// Measures one operation for about this time: both threads share the first of three equal objects, and each has one of
    /// the other two. `S` is the state that an operation reuses, one for each thread.
    pub fn of<T: Sync + ?Sized, S: Default + Send>(
        time: Duration,
        objects: [&T; 3],
        operation: impl Fn(&T, &mut S) + Sync,
    ) -> Option<Self> {
        let [shared, own, other_own] = objects;
        let operation = &operation;
        let work = |object| -> Work<'_> {
            let mut state = S::default();
            Box::new(move |times| (0..times).for_each(|_| operation(object, &mut state)))
        };
        Self::measure(time, [work(shared), work(shared)], [work(own), work(other_own)])
    }

    /// Measures for about this time. `shared` is the work of two threads with the same object, `own` with an object each.
    /// This thread does the first of each pair, and alone in the turns of one thread.
    fn measure<'a>(time: Duration, mut shared: [Work<'a>; 2], mut own: [Work<'a>; 2]) -> Option<Self> {
        let (mut nanoseconds, mut disturbed) = (vec![Vec::new(); 4], 0.0);
        let times = calibrate(&mut shared[0]);
        let ([shared, shared_other], [own, own_other]) = (&mut shared, &mut own);
        // The other thread lives through all rounds, so that thread-local state is made once.
        let start_line = StartLine::default();
        thread::scope(|scope| {
            let (jobs, inbox) = mpsc::channel();
            let (outbox, done) = mpsc::channel();
            let line = &start_line;
            scope.spawn(move || {
                for is_shared in inbox {
                    let work = if is_shared { &mut *shared_other } else { &mut *own_other };
                    line.wait();
                    if outbox.send(Turn::take(work, times)).is_err() {
                        break;
                    }
                }
            });
            let begin = now();
            let (mut round, mut taken, mut undisturbed) = (0, 0, 0);
            while begin.elapsed() < time || (nanoseconds[0].len() < ROUNDS && begin.elapsed() < 8 * time) {
                let mut turns = [None; 4];
                for place in 0..4 {
                    let at = (round + place) % 4;
                    let is_shared = at < 2;
                    let work = if is_shared { &mut *shared } else { &mut *own };
                    let both = at % 2 == 1;
                    // On a busy machine most turns are disturbed, so four quiet ones in a row are rare.
                    for _ in 0..TRIES {
                        if both && jobs.send(is_shared).is_ok() {
                            start_line.wait();
                        }
                        let turn = Turn::take(work, times);
                        let other = if both { done.recv().ok() } else { None };
                        turns[at] = turn.beside(&other.unwrap_or(turn));
                        taken += 1;
                        if turns[at].is_some() {
                            undisturbed += 1;
                            break;
                        }
                    }
                }
                round += 1;
                if let [Some(a), Some(b), Some(c), Some(d)] = turns {
                    let round = [a, b, c, d].map(|time| time / times as f64);
                    nanoseconds.iter_mut().zip(round).for_each(|(all, time)| all.push(time));
                }
            }
            disturbed = 1.0 - f64::from(undisturbed) / f64::from(taken);
            drop(jobs);
        });
        // With too few rounds of two threads at the same time there is no measurement.
        (nanoseconds[0].len() >= ROUNDS)
            .then(|| Self { measured: Measured::new(NAMES.to_vec(), nanoseconds, disturbed) })
    }

    /// Median nanoseconds of an operation: shared by one thread and by two, own by one thread and by two.
    pub fn times(&self) -> [f64; 4] {
        NAMES.map(|name| self.measured.time(name).median)
    }

    /// The same, by name.
    pub fn named_times(&self) -> [(&'static str, f64); 4] {
        NAMES.map(|name| (name, self.measured.time(name).median))
    }

    /// The cost of sharing, over all rounds.
    pub fn ratio(&self) -> Quartiles {
        let rounds = NAMES.map(|name| self.measured.rounds(name));
        Quartiles::of((0..rounds[0].len()).map(|round| {
            let [one, two, own_one, own_two] = rounds.map(|times| times[round]);
            (two / one) / (own_two / own_one)
        }))
    }
}

/// The repetitions of an operation that fit a turn.
fn calibrate(work: &mut Work<'_>) -> u64 {
    // The first repetitions create thread-local state.
    work(16);
    let mut times = 1;
    loop {
        let turn = Turn::take(work, times);
        // A disturbed turn is no measure.
        if !turn.preempted {
            times *= 2;
            if turn.end - turn.start > TURN / 2 {
                return times;
            }
        }
    }
}

/// One thread's turn.
#[derive(Clone, Copy)]
struct Turn {
    start: Instant,
    end: Instant,
    preempted: bool,
}

impl Turn {
    fn take(work: &mut Work<'_>, times: u64) -> Self {
        let before = preemptions();
        let start = now();
        work(times);
        let end = now();
        Self { start, end, preempted: preemptions() != before }
    }

    /// The mean nanoseconds of both turns, if neither was disturbed and they overlap by nine tenths of the longer one.
    fn beside(&self, other: &Self) -> Option<f64> {
        let (own, others) = (self.end - self.start, other.end - other.start);
        let beside = self.end.min(other.end).saturating_duration_since(self.start.max(other.start));
        let is_fair = !self.preempted && !other.preempted && beside >= own.max(others).mul_f64(0.9);
        is_fair.then_some((own + others).as_secs_f64() / 2.0 * 1e9)
    }
}

/// A barrier at which two threads spin, so that both are awake when they start.
#[derive(Default)]
struct StartLine {
    arrived: AtomicU64,
}

impl StartLine {
    fn wait(&self) {
        let arrival = self.arrived.fetch_add(1, Ordering::AcqRel);
        // The second of a pair makes the number even.
        let both = (arrival / 2 + 1) * 2;
        let mut looks = 0_u32;
        while self.arrived.load(Ordering::Acquire) < both {
            looks += 1;
            // The other thread may be waiting for this core.
            if looks.is_multiple_of(1 << 14) { thread::yield_now() } else { hint::spin_loop() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_threads_take_their_turns() {
        let counts = [0, 1, 2, 3].map(|_| AtomicU64::new(0));
        let work = |i: usize| -> Work<'_> {
            let count = &counts[i];
            Box::new(move |times| {
                for _ in 0..times {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let shared = Shared::measure(Duration::from_millis(300), [work(0), work(1)], [work(2), work(3)]);
        let [shared_first, shared_other, own_first, own_other] = counts.map(AtomicU64::into_inner);
        assert!(shared_other > 0 && own_other > 0);
        // The first thread has turns alone too.
        assert!(shared_first > shared_other && own_first > own_other);
        assert!(shared.is_none_or(|shared| shared.times().iter().all(|time| *time > 0.0)));
    }

    #[test]
    fn the_slowdown_of_the_machine_is_divided_out() {
        // Two threads are slower by half with nothing shared, and sharing doubles that.
        let times = [100.0, 300.0, 100.0, 150.0].map(|time| vec![time]).to_vec();
        let shared = Shared { measured: Measured::new(NAMES.to_vec(), times, 0.0) };
        assert_eq!(shared.ratio().median, 2.0);
        assert_eq!(shared.times()[1], 300.0);
    }
}
