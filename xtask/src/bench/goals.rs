//! The goals: what is to be reached, in the ids of what `ratios` measures, and what proves the rest.
//!
//! A ratio to a peer depends on the peer. Where the peer has other code for longer vectors, or where longer vectors read
//! memory otherwise, the kernel has a goal of its own: see docs/performance.md.

use super::measurement::Measurement;
use std::fmt;

/// A line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) proof: Proof,
}

impl Row {
    /// The goal of that measurement, if this row is about it.
    pub(crate) fn goal_of(&self, measurement: &Measurement) -> Option<Goal> {
        match &self.proof {
            Proof::Measured { id, goals, .. } if *id == measurement.id => {
                Some(goals.by_kernel(&measurement.kernel))
            }
            _ => None,
        }
    }

    /// The same row, of which this number is the goal on one kernel.
    const fn on(self, kernel: &'static str, number: f64) -> Self {
        match self.proof {
            Proof::Measured { id, goals, unit } => {
                let goals = Goals { on: Some((kernel, goals.goal.with(number))), ..goals };
                Self { what: self.what, proof: Proof::Measured { id, goals, unit } }
            }
            Proof::Proved { .. } => self,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Proof {
    /// A measurement, and what it should be.
    Measured { id: &'static str, goals: Goals, unit: &'static str },
    /// A command that fails where it does not hold, or says so.
    Proved { goal: &'static str, by: &'static str },
}

/// A goal, and the kernel that has another one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goals {
    goal: Goal,
    on: Option<(&'static str, Goal)>,
}

impl Goals {
    fn by_kernel(self, kernel: &str) -> Goal {
        self.on.filter(|(name, _)| *name == kernel).map_or(self.goal, |(_, goal)| goal)
    }

    /// The kernel's goal as the table shows it, with the kernel's name where it matters.
    fn show(self, kernel: &str, unit: &str) -> String {
        let on = self.on.map_or_else(String::new, |_| format!(", {kernel}"));
        format!("{} {unit}{on}", self.by_kernel(kernel))
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    /// The same direction with another number.
    const fn with(self, number: f64) -> Self {
        match self {
            Self::AtLeast(_) => Self::AtLeast(number),
            Self::AtMost(_) => Self::AtMost(number),
        }
    }

    pub(crate) fn number(self) -> f64 {
        let (Self::AtLeast(goal) | Self::AtMost(goal)) = self;
        goal
    }

    pub(crate) fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(goal) => value >= goal,
            Self::AtMost(goal) => value <= goal,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, goal) = match self {
            Self::AtLeast(goal) => (">=", goal),
            Self::AtMost(goal) => ("<=", goal),
        };
        write!(f, "{sign} {goal}")
    }
}

const fn measured(what: &'static str, id: &'static str, goal: Goal, unit: &'static str) -> Row {
    Row { what, proof: Proof::Measured { id, goals: Goals { goal, on: None }, unit } }
}

const fn at_least(what: &'static str, id: &'static str, goal: f64) -> Row {
    measured(what, id, Goal::AtLeast(goal), "x")
}

const fn at_most(what: &'static str, id: &'static str, goal: f64) -> Row {
    measured(what, id, Goal::AtMost(goal), "x")
}

const fn proved(what: &'static str, goal: &'static str, by: &'static str) -> Row {
    Row { what, proof: Proof::Proved { goal, by } }
}

/// The kernel on which a vector is as long as a line of the cache, and on which `simsimd` has code of its own.
const AVX512: &str = "avx512";

/// How many times a plain request one may take whose squares leave f32's range: each candidate's sums are computed once
/// more, in f64.
const EXACT: f64 = 6.0;

/// What is to be reached. Where a goal comes from, and what a prototype reached: docs/performance.md.
pub(crate) const ROWS: &[Row] = &[
    at_least("as fast as naive, 1 candidate, 128 dims", "naive/1x128", 6.0),
    at_least("as fast as naive, 1 candidate, 384 dims", "naive/1x384", 6.0),
    at_least("as fast as naive, 10 candidates, 128 dims", "naive/10x128", 18.0),
    at_least("as fast as naive, 10 candidates, 384 dims", "naive/10x384", 18.0),
    at_least("as fast as naive, 100 candidates, 128 dims", "naive/100x128", 24.0),
    at_least("as fast as naive, 100 candidates, 384 dims", "naive/100x384", 24.0),
    proved("the same in instructions, 1 / 10 / 100 candidates", ">= 6 / 18 / 20", "cargo xtask bench --ir"),
    at_most("a candidate of 1000 over one of 10, 128 dims", "per-candidate/128", 1.2),
    at_most("a candidate of 1000 over one of 10, 384 dims", "per-candidate/384", 1.2),
    measured("a joint step of hidden 16", "joint-step", Goal::AtMost(32.0), "ns"),
    at_least("a joint step, as fast as scalar libm", "joint-step/libm", 25.0).on(AVX512, 23.0),
    at_least("as fast as simsimd, 100 x 384 cosines with norms", "cosine/100x384", 2.5).on(AVX512, 1.7),
    at_most("search of 100,000 x 384 over one read of the bytes", "search/100000x384", 1.1).on(AVX512, 1.2),
    at_most("search of 1,000,000 x 384, only with --full", "search/1000000x384", 1.1).on(AVX512, 1.2),
    at_most("squares outside of f32's range / plain, 10 candidates, 384 dims", "exact/10x384", EXACT),
    at_most("squares outside of f32's range / plain, 100 candidates, 384 dims", "exact/100x384", EXACT),
    at_most("metrics on / off, 10 candidates, 384 dims", "metrics/10x384", 1.15),
    at_most("metrics on / off, 100 candidates, 384 dims", "metrics/100x384", 1.06),
    at_most("tracing at 1% on / off, 10 candidates, 384 dims", "tracing/10x384", 1.2),
    at_most("tracing at 1% on / off, 100 candidates, 384 dims", "tracing/100x384", 1.03),
    at_most("facade: metrics on / off, 10 candidates, 384 dims", "facade metrics/10x384", 1.15),
    at_most("facade: metrics on / off, 100 candidates, 384 dims", "facade metrics/100x384", 1.06),
    at_most("facade: tracing at 1% on / off, 10 candidates, 384 dims", "facade tracing/10x384", 1.2),
    at_most("facade: tracing at 1% on / off, 100 candidates, 384 dims", "facade tracing/100x384", 1.03),
    at_most("facade: both on / off, 10 candidates, 384 dims", "facade both/10x384", 1.38),
    at_most("facade: both on / off, 100 candidates, 384 dims", "facade both/100x384", 1.09),
    at_most("metrics by two threads / by one", "threads/metrics", 1.3),
    at_most("breaker by two threads / by one", "threads/breaker", 1.3),
    at_most("model handle by two threads / by one", "threads/handle", 1.3),
    proved(
        "a router nobody watches / the pipeline by hand",
        "1.00 in instructions",
        "cargo xtask bench --ir",
    ),
    proved(
        "allocations of route_into; of route",
        "0; at most 2",
        "cargo test -p tiny-dancer-core --test it allocations",
    ),
    proved("activations against libm in f64", "<= 1e-6", "cargo test -p tiny-dancer-core --lib activation"),
    proved(
        "APGR of the shipped model, over the mean of 100 nearest",
        ">= 0",
        "cargo test -p tiny-dancer-train --test it real_rows",
    ),
    proved(
        "promised risk broken, over resplits",
        "<= delta",
        "cargo test -p tiny-dancer-train --lib -- resplits",
    ),
];

/// The verdict on what is not measured here.
pub(crate) const A_TEST: &str = "a test's to say";

/// A row as it is shown and kept.
#[derive(Debug, PartialEq)]
pub(crate) struct Judged {
    pub(crate) what: &'static str,
    pub(crate) goal: String,
    /// What was measured, or the command that proves it.
    pub(crate) measured: String,
    pub(crate) verdict: &'static str,
}

/// Puts beside each goal what was measured. A row of which nothing was measured is left out, unless `all` are wanted.
pub(crate) fn judge(measurements: &[Measurement], all: bool) -> Vec<Judged> {
    // One machine measures all of them.
    let kernel = measurements.first().map_or("unknown", |it| it.kernel.as_str());
    let judged = |Row { what, proof }: &Row| match proof {
        Proof::Measured { id, goals, unit } => {
            let measured = measurements.iter().find(|it| it.id == *id);
            if measured.is_none() && !all {
                return None;
            }
            let verdict = match measured {
                None => "not measured",
                Some(it) if goals.by_kernel(kernel).holds(it.value) => "holds",
                Some(_) => "misses",
            };
            let measured = measured.map_or_else(String::new, |it| format!("{:.2} {unit}", it.value));
            Some(Judged { what, goal: goals.show(kernel, unit), measured, verdict })
        }
        Proof::Proved { goal, by } => all.then(|| Judged {
            what,
            goal: (*goal).to_owned(),
            measured: (*by).to_owned(),
            verdict: A_TEST,
        }),
    };
    ROWS.iter().filter_map(judged).collect()
}

/// The goals that differ by kernel: of what, on which kernel, there and elsewhere.
pub(crate) fn by_kernel() -> impl Iterator<Item = (&'static str, &'static str, [Goal; 2])> {
    ROWS.iter().filter_map(|Row { what, proof }| match proof {
        Proof::Measured { goals: Goals { goal, on: Some((kernel, there)) }, .. } => {
            Some((*what, *kernel, [*there, *goal]))
        }
        _ => None,
    })
}

/// Whether a goal is about this measurement.
pub(crate) fn is_goal(measurement: &Measurement) -> bool {
    ROWS.iter().any(|row| row.goal_of(measurement).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(id: &str, value: f64) -> Measurement {
        Measurement {
            id: id.to_owned(),
            kernel: "avx2".to_owned(),
            value,
            quartiles: [value, value],
            nanoseconds: Vec::new(),
        }
    }

    #[test]
    fn a_goal_holds_from_its_number_on() {
        assert!(Goal::AtLeast(6.0).holds(6.0) && !Goal::AtLeast(6.0).holds(5.999));
        assert!(Goal::AtMost(1.2).holds(1.2) && !Goal::AtMost(1.2).holds(1.201));
        assert_eq!(
            (Goal::AtLeast(6.0).to_string(), Goal::AtMost(1.06).to_string()),
            (">= 6".into(), "<= 1.06".into())
        );
    }

    #[test]
    fn a_miss_is_said_and_what_was_not_measured_does_not_hold() {
        let measurements = [measurement("naive/1x128", 5.0), measurement("metrics/10x384", 1.1)];
        let verdicts = |all| -> Vec<_> { judge(&measurements, all).iter().map(|it| it.verdict).collect() };
        assert_eq!(verdicts(false), ["misses", "holds"]);
        let all = verdicts(true);
        assert_eq!(all.len(), ROWS.len());
        assert_eq!(all.iter().filter(|verdict| **verdict == "holds").count(), 1);
        assert!(all.contains(&"not measured") && all.contains(&A_TEST));
    }

    #[test]
    fn a_measurement_is_judged_by_the_goal_of_its_kernel_and_the_table_names_that() {
        let judged = |id, kernel: &str, value| {
            let measurement = Measurement { kernel: kernel.to_owned(), ..measurement(id, value) };
            let row = judge(&[measurement], false).remove(0);
            (row.goal, row.verdict)
        };
        let cosine = |kernel, value| judged("cosine/100x384", kernel, value);
        assert_eq!(cosine("avx512", 1.8), (">= 1.7 x, avx512".to_owned(), "holds"));
        assert_eq!(cosine("avx512", 1.6).1, "misses");
        assert_eq!(cosine("avx2", 1.8), (">= 2.5 x, avx2".to_owned(), "misses"));
        // Where all kernels have one goal, none is named.
        assert_eq!(judged("naive/1x128", "avx512", 6.0), (">= 6 x".to_owned(), "holds"));
    }

    #[test]
    fn no_two_rows_are_about_the_same() {
        let mut ids: Vec<_> = ROWS
            .iter()
            .filter_map(|row| match row.proof {
                Proof::Measured { id, .. } => Some(id),
                Proof::Proved { .. } => None,
            })
            .collect();
        let rows = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), rows);
        let has_goal = |id| is_goal(&measurement(id, 1.0));
        assert!(has_goal("naive/1x128") && !has_goal("bridge/1x128"));
    }
}
