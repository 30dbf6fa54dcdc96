//! The goals: for each measured ratio its limit, and for the rest the command that proves it.
//!
//! A ratio to a peer depends on the peer. Where the peer has different code for longer vectors, or longer vectors read
//! memory differently, a kernel has its own goal: see docs/performance.md.

use super::record::Measurement;
use serde::Serialize;
use std::fmt;

/// A row of the table.
#[derive(Debug)]
struct Row {
    what: &'static str,
    proof: Proof,
}

#[derive(Debug)]
enum Proof {
    /// A measurement and its goal, with another number on [`AVX512`].
    Measured { id: &'static str, goal: Goal, avx512: Option<f64>, unit: &'static str },
    /// A command that fails where the goal does not hold, or reports that.
    Proved { goal: &'static str, by: &'static str },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    /// The goal on a kernel, whose number may differ.
    fn on(self, kernel: &str, avx512: Option<f64>) -> Self {
        match (self, avx512.filter(|_| kernel == AVX512)) {
            (goal, None) => goal,
            (Self::AtLeast(_), Some(number)) => Self::AtLeast(number),
            (Self::AtMost(_), Some(number)) => Self::AtMost(number),
        }
    }

    pub(crate) fn number(self) -> f64 {
        let (Self::AtLeast(number) | Self::AtMost(number)) = self;
        number
    }

    pub(crate) fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if matches!(self, Self::AtLeast(_)) { ">=" } else { "<=" };
        write!(f, "{sign} {}", self.number())
    }
}

const fn measured(what: &'static str, id: &'static str, goal: Goal) -> Row {
    Row { what, proof: Proof::Measured { id, goal, avx512: None, unit: "x" } }
}

/// A row with another number on [`AVX512`].
const fn differing(what: &'static str, id: &'static str, goal: Goal, avx512: f64) -> Row {
    Row { what, proof: Proof::Measured { id, goal, avx512: Some(avx512), unit: "x" } }
}

/// A row with a time or a number instead of a ratio.
const fn time(what: &'static str, id: &'static str, most: f64, unit: &'static str) -> Row {
    Row { what, proof: Proof::Measured { id, goal: Goal::AtMost(most), avx512: None, unit } }
}

/// A row with a number that is good if it is large.
const fn counted(what: &'static str, id: &'static str, least: f64, unit: &'static str) -> Row {
    Row { what, proof: Proof::Measured { id, goal: Goal::AtLeast(least), avx512: None, unit } }
}

const fn proved(what: &'static str, goal: &'static str, by: &'static str) -> Row {
    Row { what, proof: Proof::Proved { goal, by } }
}

/// The kernel whose vectors are as long as a cache line, and for which `simsimd` has its own code.
const AVX512: &str = "avx512";

/// The limit for requests whose squares leave f32's range: each candidate's sums are computed once more, in f64.
const EXACT: Goal = Goal::AtMost(6.0);

/// All goals. The origin of each goal, and what a prototype reached: docs/performance.md.
const ROWS: &[Row] = &[
    measured("naive / router, 1 candidate, 128 dims", "naive/1x128", Goal::AtLeast(6.0)),
    measured("naive / router, 1 candidate, 384 dims", "naive/1x384", Goal::AtLeast(6.0)),
    measured("naive / router, 10 candidates, 128 dims", "naive/10x128", Goal::AtLeast(18.0)),
    measured("naive / router, 10 candidates, 384 dims", "naive/10x384", Goal::AtLeast(18.0)),
    measured("naive / router, 100 candidates, 128 dims", "naive/100x128", Goal::AtLeast(24.0)),
    measured("naive / router, 100 candidates, 384 dims", "naive/100x384", Goal::AtLeast(24.0)),
    proved("the same in instructions, 1 / 10 / 100 candidates", ">= 6 / 18 / 20", "cargo xtask bench --ir"),
    measured("a candidate of 1000 / one of 10, 128 dims", "per-candidate/128", Goal::AtMost(1.2)),
    measured("a candidate of 1000 / one of 10, 384 dims", "per-candidate/384", Goal::AtMost(1.2)),
    time("a joint step of hidden 16", "joint-step", 32.0, "ns"),
    differing("a step with scalar libm / a joint step", "joint-step/libm", Goal::AtLeast(25.0), 23.0),
    differing("simsimd / router, 100 x 384 cosines with norms", "cosine/100x384", Goal::AtLeast(2.5), 1.7),
    differing("search of 100,000 x 384 / one read of the bytes", "search/100000x384", Goal::AtMost(1.1), 1.2),
    differing("search of 1,000,000 x 384, only with --full", "search/1000000x384", Goal::AtMost(1.1), 1.2),
    measured(
        "`tokenizers` with the same table / text to vector, 62 tokens",
        "text/tokenizers",
        Goal::AtLeast(20.0),
    ),
    differing(
        "`model2vec-rs` with the same table / text to vector",
        "text/model2vec",
        Goal::AtLeast(1.3),
        3.0,
    ),
    measured("exact scan / nearest 64 of 10,000 x 256", "nearest/10000", Goal::AtLeast(6.67)),
    measured("exact scan / nearest 64 of 100,000 x 256", "nearest/100000", Goal::AtLeast(25.0)),
    measured("exact scan / nearest 64 of 1,000,000 x 256", "nearest/1000000", Goal::AtLeast(20.0)),
    time("neighbours missed, of 10,000", "nearest/10000/missed", 1.0, "of 1,000"),
    time("neighbours missed, of 100,000", "nearest/100000/missed", 1.0, "of 1,000"),
    time("neighbours missed, of 1,000,000", "nearest/1000000/missed", 1.0, "of 1,000"),
    measured("exact scan / prompt to decision, 100,000 remembered", "decision/100000", Goal::AtLeast(20.0)),
    time("prompt to decision, 10,000 remembered, median", "decision/10000/p50", 25.0, "us"),
    time("prompt to decision, 100,000 remembered, median", "decision/100000/p50", 110.0, "us"),
    time("prompt to decision, 1,000,000 remembered, median", "decision/1000000/p50", 1300.0, "us"),
    time("the same with caches emptied, 10,000", "decision/10000/p50/cold", 75.0, "us"),
    time("the same with caches emptied, 100,000", "decision/100000/p50/cold", 250.0, "us"),
    counted("requests a commit of a memory's file, under load", "remember/commit", 1000.0, "requests"),
    time("opening a memory of 100,000 x 256", "remember/open", 1.0, "s"),
    measured("squares outside of f32's range / plain, 10 candidates, 384 dims", "exact/10x384", EXACT),
    measured("squares outside of f32's range / plain, 100 candidates, 384 dims", "exact/100x384", EXACT),
    measured("metrics on / off, 10 candidates, 384 dims", "metrics/10x384", Goal::AtMost(1.15)),
    measured("metrics on / off, 100 candidates, 384 dims", "metrics/100x384", Goal::AtMost(1.06)),
    measured("tracing at 1% on / off, 10 candidates, 384 dims", "tracing/10x384", Goal::AtMost(1.2)),
    measured("tracing at 1% on / off, 100 candidates, 384 dims", "tracing/100x384", Goal::AtMost(1.03)),
    measured(
        "facade: metrics on / off, 10 candidates, 384 dims",
        "facade metrics/10x384",
        Goal::AtMost(1.15),
    ),
    measured(
        "facade: metrics on / off, 100 candidates, 384 dims",
        "facade metrics/100x384",
        Goal::AtMost(1.06),
    ),
    measured(
        "facade: tracing at 1% on / off, 10 candidates, 384 dims",
        "facade tracing/10x384",
        Goal::AtMost(1.2),
    ),
    measured(
        "facade: tracing at 1% on / off, 100 candidates, 384 dims",
        "facade tracing/100x384",
        Goal::AtMost(1.03),
    ),
    measured("facade: both on / off, 10 candidates, 384 dims", "facade both/10x384", Goal::AtMost(1.38)),
    measured("facade: both on / off, 100 candidates, 384 dims", "facade both/100x384", Goal::AtMost(1.09)),
    time("a scrape of 8 routers, text 0.0.4", "scrape/text", 5.0, "ms"),
    time("a scrape of 8 routers, OpenMetrics", "scrape/openmetrics", 5.0, "ms"),
    measured("a quality budget / none, 100 candidates", "budget/100x384", Goal::AtMost(1.05)),
    measured("a quality budget by two threads / by one", "threads/budget", Goal::AtMost(1.05)),
    measured("metrics by two threads / by one", "threads/metrics", Goal::AtMost(1.3)),
    measured("breaker by two threads / by one", "threads/breaker", Goal::AtMost(1.3)),
    measured("model handle by two threads / by one", "threads/handle", Goal::AtMost(1.3)),
    proved("no observer / the pipeline without the seam", "1.00 in instructions", "cargo xtask bench --ir"),
    proved(
        "allocations of route_into; of route",
        "0; at most 2",
        "cargo test -p tiny-dancer-core --test it allocations",
    ),
    proved("allocations of embed_into", "0", "cargo test -p tiny-dancer-embed --test it"),
    proved("cosine of MiniLM's vectors with the published model's", ">= 0.9999", "cargo xtask test"),
    proved("activations against libm in f64", "<= 1e-6", "cargo test -p tiny-dancer-core --lib activation"),
    proved(
        "APGR of the embedded model, over the mean of the 100 nearest",
        ">= 0",
        "cargo test -p tiny-dancer-train --test it real_rows",
    ),
    proved(
        "share of resplits that break the promised risk",
        "<= delta",
        "cargo test -p tiny-dancer-train --lib -- resplits",
    ),
];

/// The verdict on rows that a command proves.
pub(crate) const PROVED: &str = "proved by a command";

/// A row as the table shows it and the record keeps it.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Judged {
    pub(crate) goal: String,
    /// The measured value, or the command that proves the row.
    pub(crate) measured: String,
    pub(crate) verdict: &'static str,
    pub(crate) what: &'static str,
}

/// Compares each goal with its measurement. Rows without a measurement are left out, unless `all` are requested.
pub(crate) fn judge(measurements: &[Measurement], all: bool) -> Vec<Judged> {
    // All measurements are from one machine.
    let kernel = measurements.first().map_or("unknown", |it| it.kernel.as_str());
    let judged = |Row { what, proof }: &Row| match *proof {
        Proof::Measured { id, goal, avx512, unit } => {
            let measured = measurements.iter().find(|it| it.id == id);
            let of_kernel = goal.on(kernel, avx512);
            let verdict = match measured {
                None if all => "not measured",
                None => return None,
                Some(it) if of_kernel.holds(it.value) => "holds",
                Some(_) => "misses",
            };
            let measured = measured.map_or_else(String::new, |it| format!("{:.2} {unit}", it.value));
            let named = avx512.map_or_else(String::new, |_| format!(", {kernel}"));
            Some(Judged { what, goal: format!("{of_kernel} {unit}{named}"), measured, verdict })
        }
        Proof::Proved { goal, by } => {
            all.then(|| Judged { what, goal: goal.to_owned(), measured: by.to_owned(), verdict: PROVED })
        }
    };
    ROWS.iter().filter_map(judged).collect()
}

/// The goals that differ by kernel: the row, the kernel, the goal on that kernel and on the others.
pub(crate) fn by_kernel() -> impl Iterator<Item = (&'static str, &'static str, [Goal; 2])> {
    ROWS.iter().filter_map(|Row { what, proof }| match *proof {
        Proof::Measured { goal, avx512: avx512 @ Some(_), .. } => {
            Some((*what, AVX512, [goal.on(AVX512, avx512), goal]))
        }
        _ => None,
    })
}

/// The goal of a measurement.
pub(crate) fn goal_of(measurement: &Measurement) -> Option<Goal> {
    ROWS.iter().find_map(|row| match row.proof {
        Proof::Measured { id, goal, avx512, .. } if id == measurement.id => {
            Some(goal.on(&measurement.kernel, avx512))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(id: &str, value: f64) -> Measurement {
        Measurement::of(id, value, &[])
    }

    #[test]
    fn a_goal_holds_at_its_number() {
        assert!(Goal::AtLeast(6.0).holds(6.0) && !Goal::AtLeast(6.0).holds(5.999));
        assert!(Goal::AtMost(1.2).holds(1.2) && !Goal::AtMost(1.2).holds(1.201));
        assert_eq!(
            (Goal::AtLeast(6.0).to_string(), Goal::AtMost(1.06).to_string()),
            (">= 6".into(), "<= 1.06".into())
        );
    }

    #[test]
    fn a_missed_goal_is_reported_and_a_row_without_a_measurement_does_not_hold() {
        let measurements = [measurement("naive/1x128", 5.0), measurement("metrics/10x384", 1.1)];
        let verdicts = |all| -> Vec<_> { judge(&measurements, all).iter().map(|it| it.verdict).collect() };
        assert_eq!(verdicts(false), ["misses", "holds"]);
        let all = verdicts(true);
        assert_eq!(all.len(), ROWS.len());
        assert_eq!(all.iter().filter(|verdict| **verdict == "holds").count(), 1);
        assert!(all.contains(&"not measured") && all.contains(&PROVED));
    }

    #[test]
    fn a_measurement_is_judged_by_the_goal_of_its_kernel_which_the_table_names() {
        let judged = |id, kernel: &str, value| {
            let measurement = Measurement { kernel: kernel.to_owned(), ..measurement(id, value) };
            let row = judge(&[measurement], false).remove(0);
            (row.goal, row.verdict)
        };
        let cosine = |kernel, value| judged("cosine/100x384", kernel, value);
        assert_eq!(cosine("avx512", 1.8), (">= 1.7 x, avx512".to_owned(), "holds"));
        assert_eq!(cosine("avx512", 1.6).1, "misses");
        assert_eq!(cosine("avx2", 1.8), (">= 2.5 x, avx2".to_owned(), "misses"));
        // A goal of all kernels names none.
        assert_eq!(judged("naive/1x128", "avx512", 6.0), (">= 6 x".to_owned(), "holds"));
    }

    #[test]
    fn no_two_rows_have_the_same_measurement() {
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
        let has_goal = |id| goal_of(&measurement(id, 1.0)).is_some();
        assert!(has_goal("naive/1x128") && !has_goal("bridge/1x128"));
    }
}
