//! Two threads: what an operation costs when another thread does the same at the same time, with the same thing.
//!
//! Two threads may be slower than one for reasons that are no fault of ours: they share a core's units, a clock rate, a
//! cache. So each operation is done four ways, in turns: by one thread and by two with a thing that is *shared*, and by one
//! and by two where each has a thing of its *own*. What sharing costs is
//!
//! ```text
//! (shared by two / shared by one) / (own by two / own by one)
//! ```
//!
//! and the denominator is the machine's own slowdown, with the same arithmetic and nothing shared. A round counts only if
//! both threads were running all the while.

use crate::preemptions::preemptions;
use crate::turns::{Measured, Quartiles, now};
use std::hint;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// An operation, done so many times.
type Work<'a> = Box<dyn FnMut(u64) + Send + 'a>;

/// Who takes turns, in the order of [`Measured::names`].
const NAMES: [&str; 4] = ["shared, one thread", "shared, two threads", "own, one thread", "own, two threads"];

/// How long a turn lasts, roughly; both threads begin it within a microsecond.
const TURN: Duration = Duration::from_micros(40);

/// How often a turn is taken again within a round because it was disturbed.
const TRIES: usize = 20;

/// Rounds that are needed.
const ROUNDS: usize = 8;

/// One operation by two threads.
#[derive(Debug)]
pub struct Shared {
    measured: Measured,
}

impl Shared {
    /// Measures one operation for about so long: with the first of three equal things by both threads, and with the other
    /// two by one thread each. What an operation leaves behind for the next is `S`, of each thread its own.
    pub fn of<T: Sync + ?Sized, S: Default + Send>(
        time: Duration,
        things: [&T; 3],
        operation: impl Fn(&T, &mut S) + Sync,
    ) -> Option<Self> {
        let [shared, own, other_own] = things;
        let operation = &operation;
        let work = |thing| -> Work<'_> {
            let mut left = S::default();
            Box::new(move |times| (0..times).for_each(|_| operation(thing, &mut left)))
        };
        Self::measure(time, [work(shared), work(shared)], [work(own), work(other_own)])
    }

    /// Measures for about so long. `shared` are two threads' work with the same thing, `own` with a thing each; the first
    /// of both is done by this thread, and alone where there is one thread.
    fn measure<'a>(time: Duration, mut shared: [Work<'a>; 2], mut own: [Work<'a>; 2]) -> Option<Self> {
        let (mut nanoseconds, mut disturbed) = (vec![Vec::new(); 4], 0.0);
        let times = calibrate(&mut shared[0]);
        let ([shared, shared_other], [own, own_other]) = (&mut shared, &mut own);
        // The other thread lives from beginning to end: what operations keep for a thread is made once.
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
                    // On a busy machine most turns are disturbed, and hardly any four in a row are not.
                    for _ in 0..TRIES {
                        if both && jobs.send(is_shared).is_ok() {
                            start_line.wait();
                        }
                        let mine = Turn::take(work, times);
                        let other = if both { done.recv().ok() } else { None };
                        turns[at] = mine.beside(&other.unwrap_or(mine));
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
        // Where two threads were hardly ever running at once nothing was measured, and nothing is told.
        (nanoseconds[0].len() >= ROUNDS)
            .then(|| Self { measured: Measured::new(NAMES.to_vec(), nanoseconds, disturbed) })
    }

    /// Median nanoseconds an operation: shared by one thread and by two, own by one thread and by two.
    pub fn times(&self) -> [f64; 4] {
        NAMES.map(|name| self.measured.time(name).median)
    }

    /// The same, by name.
    pub fn named_times(&self) -> [(&'static str, f64); 4] {
        NAMES.map(|name| (name, self.measured.time(name).median))
    }

    /// What sharing costs, round by round.
    pub fn ratio(&self) -> Quartiles {
        let rounds = NAMES.map(|name| self.measured.rounds(name));
        Quartiles::of((0..rounds[0].len()).map(|round| {
            let [one, two, own_one, own_two] = rounds.map(|times| times[round]);
            (two / one) / (own_two / own_one)
        }))
    }
}

/// How often an operation fits a turn, after some of it.
fn calibrate(work: &mut Work<'_>) -> u64 {
    // The first times make what a thread keeps, and are no measure of the others.
    work(16);
    let mut times = 1;
    loop {
        let turn = Turn::take(work, times);
        // One that was disturbed says nothing.
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

    /// Nanoseconds of both on average, if both were at it all the while: neither was disturbed, and nine tenths of the
    /// longer one are beside the other.
    fn beside(&self, other: &Self) -> Option<f64> {
        let (mine, others) = (self.end - self.start, other.end - other.start);
        let beside = self.end.min(other.end).saturating_duration_since(self.start.max(other.start));
        let is_fair = !self.preempted && !other.preempted && beside >= mine.max(others).mul_f64(0.9);
        is_fair.then_some((mine + others).as_secs_f64() / 2.0 * 1e9)
    }
}

/// Where two threads wait for each other without sleeping, so that both are awake when they go.
#[derive(Default)]
struct StartLine {
    arrived: AtomicU64,
}

impl StartLine {
    fn wait(&self) {
        let mine = self.arrived.fetch_add(1, Ordering::AcqRel);
        // The second of a pair makes the number even.
        let both = (mine / 2 + 1) * 2;
        let mut looks = 0_u32;
        while self.arrived.load(Ordering::Acquire) < both {
            looks += 1;
            // The other one may be waiting for this very core.
            if looks.is_multiple_of(1 << 14) { thread::yield_now() } else { hint::spin_loop() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_threads_do_all_of_their_turns() {
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
        // The first thread works alone, too.
        assert!(shared_first > shared_other && own_first > own_other);
        assert!(shared.is_none_or(|shared| shared.times().iter().all(|time| *time > 0.0)));
    }

    #[test]
    fn the_machines_own_slowdown_is_taken_out() {
        // The machine is half as slow again with two threads, and sharing doubles that.
        let times = [100.0, 300.0, 100.0, 150.0].map(|time| vec![time]).to_vec();
        let shared = Shared { measured: Measured::new(NAMES.to_vec(), times, 0.0) };
        assert_eq!(shared.ratio().median, 2.0);
        assert_eq!(shared.times()[1], 300.0);
    }
}
