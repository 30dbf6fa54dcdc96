//! Turns: contenders work in short turns, one after the other, so that a shared machine affects all of them alike.
//!
//! A machine is steady for a millisecond and not for a minute: its clock rate and its other programs change. So contenders
//! are compared within a round, in which each has one turn, and the result is the median over many rounds. A round in
//! which the scheduler preempted one of them is not counted.
//!
//! Two programs that differ only in where the stack begins can differ by an eighth in time, since a vector across two cache
//! lines is read twice, for as long as the program runs. So the stack begins at another place in each round, and one
//! round for each place together count as one.
//!
//! ```
//! use std::{hint::black_box, time::Duration};
//! use tiny_dancer_benches::Turns;
//!
//! let mut turns = Turns::default();
//! turns.add("few", |times| for _ in 0..times { black_box((0..10_u32).map(black_box).sum::<u32>()); });
//! turns.add("many", |times| for _ in 0..times { black_box((0..1000_u32).map(black_box).sum::<u32>()); });
//! let measured = turns.measure(Duration::from_millis(50));
//! assert!(measured.ratio("many", "few").median > 10.0);
//! ```

use crate::preemptions::preemptions;
use std::fmt;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// The approximate length of a turn: long enough that reading the clock is negligible, short enough for many rounds.
const TURN: Duration = Duration::from_micros(500);

/// Empty work would never fill a turn.
const MOST_TIMES: u64 = 1 << 32;

/// Contenders that take turns.
#[derive(Default)]
pub struct Turns<'a> {
    contenders: Vec<Contender<'a>>,
}

struct Contender<'a> {
    name: &'static str,
    work: Box<dyn FnMut(u64) + 'a>,
    /// The repetitions of its work in a turn.
    times: u64,
    /// The number of turns that count as one.
    pooled: u64,
}

/// The number of places where the stack begins.
const PLACES: usize = 8;

/// The least number of rounds of all places.
const ROUNDS: usize = 8;

impl<'a> Turns<'a> {
    /// Adds a contender; `work` is called with the number of repetitions.
    pub fn add(&mut self, name: &'static str, work: impl FnMut(u64) + 'a) {
        self.add_at_least(name, 1, work);
    }

    /// Adds a contender whose work varies, so that only this many repetitions or more have a typical time.
    pub fn add_at_least(&mut self, name: &'static str, times: u64, work: impl FnMut(u64) + 'a) {
        let mut contender = Contender { name, work: Box::new(work), times: 1, pooled: 1 };
        // The first repetitions fill caches and raise the clock rate. Neither they nor a preempted turn measure the work.
        let start = now();
        loop {
            let is_warm = start.elapsed() >= 10 * TURN;
            let (time, preempted) = contender.turn();
            if preempted {
                continue;
            }
            if time < TURN / 2 && contender.times < MOST_TIMES {
                contender.times *= 2;
            } else if is_warm {
                break;
            }
        }
        contender.pooled = times.div_ceil(contender.times);
        self.contenders.push(contender);
    }

    /// Runs rounds for about this time.
    pub fn measure(mut self, time: Duration) -> Measured {
        let names = self.contenders.iter().map(|it| it.name).collect();
        let pooled = self.contenders.iter().map(|it| it.pooled).max().unwrap_or(1) as usize;
        let pooled = pooled.next_multiple_of(PLACES);
        let (mut quiet, mut disturbed) = (Vec::new(), Vec::new());
        let start = now();
        // On a machine without enough quiet rounds, disturbed ones count too.
        while start.elapsed() < time || (quiet.len() < ROUNDS * pooled && start.elapsed() < 8 * time) {
            // The place changes after a quiet round, so that each place has equally many.
            let (mut times, mut was_quiet) = (Vec::new(), false);
            at_place(quiet.len(), &mut || (times, was_quiet) = self.round(quiet.len() + disturbed.len()));
            if was_quiet { quiet.push(times) } else { disturbed.push(times) }
        }
        let share = disturbed.len() as f64 / (quiet.len() + disturbed.len()) as f64;
        if quiet.len() < ROUNDS * pooled {
            quiet.append(&mut disturbed);
        }
        // Rounds are pooled alike for all contenders, and an incomplete pool at the end is dropped.
        let nanoseconds = (0..self.contenders.len()).map(|at| {
            let pool =
                |rounds: &[Vec<f64>]| rounds.iter().map(|times| times[at]).sum::<f64>() / pooled as f64;
            quiet.chunks_exact(pooled).map(pool).collect()
        });
        Measured { names, nanoseconds: nanoseconds.collect(), disturbed: share }
    }

    /// One turn of each contender: nanoseconds, and whether all turns were quiet.
    fn round(&mut self, round: usize) -> (Vec<f64>, bool) {
        let (mut times, mut was_quiet) = (vec![0.0; self.contenders.len()], true);
        for place in 0..self.contenders.len() {
            // Each round begins with another contender.
            let at = (round + place) % self.contenders.len();
            let contender = &mut self.contenders[at];
            let (time, preempted) = contender.turn();
            times[at] = time.as_secs_f64() * 1e9 / contender.times as f64;
            was_quiet &= !preempted;
        }
        (times, was_quiet)
    }
}

/// Calls a function with the stack beginning at one of several places: multiples of 16 bytes, as compilers align it, at
/// different offsets within a cache line and within a page.
fn at_place(place: usize, work: &mut dyn FnMut()) {
    #[inline(never)]
    fn below<const BYTES: usize>(work: &mut dyn FnMut()) {
        let room = [0_u8; BYTES];
        black_box(&room);
        work();
        black_box(&room);
    }
    match place % PLACES {
        0 => below::<16>(work),
        1 => below::<{ 16 + 528 }>(work),
        2 => below::<{ 16 + 2 * 528 }>(work),
        3 => below::<{ 16 + 3 * 528 }>(work),
        4 => below::<{ 16 + 4 * 528 }>(work),
        5 => below::<{ 16 + 5 * 528 }>(work),
        6 => below::<{ 16 + 6 * 528 }>(work),
        _ => below::<{ 16 + 7 * 528 }>(work),
    }
}

impl Contender<'_> {
    /// The time of a turn, and whether it was preempted.
    fn turn(&mut self) -> (Duration, bool) {
        let before = preemptions();
        let start = now();
        (self.work)(self.times);
        (start.elapsed(), preemptions() != before)
    }
}

impl fmt::Debug for Turns<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.contenders.iter().map(|it| it.name)).finish()
    }
}

/// The time of one repetition, by contender and round.
#[derive(Clone, Debug)]
pub struct Measured {
    names: Vec<&'static str>,
    nanoseconds: Vec<Vec<f64>>,
    disturbed: f64,
}

impl Measured {
    pub(crate) fn new(names: Vec<&'static str>, nanoseconds: Vec<Vec<f64>>, disturbed: f64) -> Self {
        Self { names, nanoseconds, disturbed }
    }

    /// The share of disturbed rounds. They count only where quiet rounds were too few.
    pub fn disturbed(&self) -> f64 {
        self.disturbed
    }

    /// The contenders in the order of addition.
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// A contender's time in each round.
    ///
    /// # Panics
    /// If no contender has that name.
    pub fn rounds(&self, name: &str) -> &[f64] {
        let place = self.names.iter().position(|it| *it == name);
        &self.nanoseconds[place.unwrap_or_else(|| panic!("{name} is none of {:?}", self.names))]
    }

    /// A contender's time.
    pub fn time(&self, name: &str) -> Quartiles {
        Quartiles::of(self.rounds(name).iter().copied())
    }

    /// The ratio of two contenders' times within each round.
    pub fn ratio(&self, name: &str, to: &str) -> Quartiles {
        let pairs = self.rounds(name).iter().zip(self.rounds(to));
        Quartiles::of(pairs.map(|(one, other)| one / other))
    }
}

/// The quartiles of several values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quartiles {
    /// A quarter of the values are below.
    pub low: f64,
    /// Half of the values are below.
    pub median: f64,
    /// Three quarters of the values are below.
    pub high: f64,
}

impl Quartiles {
    /// The quartiles of at least one value.
    ///
    /// # Panics
    /// If there is no value.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.collect();
        values.sort_unstable_by(f64::total_cmp);
        let [low, median, high] = [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4]);
        Self { low, median, high }
    }

    /// All three, multiplied by a factor.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self { low: self.low * factor, median: self.median * factor, high: self.high * factor }
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_values_in_order() {
        let quartiles = Quartiles::of([5.0, 1.0, 3.0, 2.0, 4.0].into_iter());
        assert_eq!(quartiles, Quartiles { low: 2.0, median: 3.0, high: 4.0 });
        assert_eq!(quartiles.times(2.0).median, 6.0);
    }

    #[test]
    fn a_ratio_is_taken_within_each_round() {
        // The machine is ten times slower in the second round.
        let nanoseconds = vec![vec![1.0, 10.0, 1.0], vec![2.0, 20.0, 2.0]];
        let measured = Measured::new(vec!["one", "two"], nanoseconds, 0.0);
        assert_eq!(measured.ratio("two", "one"), Quartiles { low: 2.0, median: 2.0, high: 2.0 });
        assert_eq!(measured.time("two").high, 2.0);
    }

    #[test]
    fn the_stack_begins_at_each_quarter_of_a_line() {
        let mut quarters = [0; 4];
        for place in 0..PLACES {
            at_place(place, &mut || {
                let here = [0_u8; 16];
                quarters[std::ptr::from_ref(black_box(&here)).addr() % 64 / 16] += 1;
            });
        }
        // The frames of the functions may differ by a register, so each quarter need not have two places.
        assert!(quarters.iter().all(|places| *places > 0), "{quarters:?}");
    }

    #[test]
    fn a_slow_first_call_does_not_shorten_the_turns() {
        let mut slow = true;
        let mut turns = Turns::default();
        turns.add("lazy", move |times| {
            let start = now();
            while slow && start.elapsed() < 20 * TURN {}
            slow = false;
            (0..times).for_each(|i| assert_ne!(black_box(i), u64::MAX));
        });
        // An iteration of some nanoseconds, of which half a turn has many.
        assert!(turns.contenders[0].times > 1000, "{}", turns.contenders[0].times);
    }

    #[test]
    fn rounds_are_pooled_until_each_contender_has_its_least_repetitions() {
        let mut turns = Turns::default();
        let (mut done, spin) = (0, |times| (0..times).for_each(|i| assert_ne!(black_box(i), u64::MAX)));
        turns.add("one", spin);
        turns.add_at_least("two", 100_000_000, |times| {
            done += times;
            spin(times);
        });
        let measured = turns.measure(Duration::from_millis(1));
        let rounds = measured.rounds("two").len();
        assert_eq!(measured.rounds("one").len(), rounds);
        assert!(done >= 100_000_000 * rounds as u64, "{done} in {rounds}");
    }
}
