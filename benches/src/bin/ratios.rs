//! What an observer costs: the time under it over the time without, as the median of many short turns.
//!
//! In each round every observer routes the same request [`TURN`] times, one after the other, beginning with another one
//! each time; the ratio is taken within the round, where the machine's clock rate and its other work are the same for
//! all. Prints one JSON object a benchmark: `ratios [--rounds N] [FILTER]`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is what it is for")]

use anyhow::{Context, Result, bail};
use serde_json::json;
use std::time::{Duration, Instant};
use tiny_dancer_benches::{Case, Subject, subjects};

/// Requests a turn: ten of them are traced at one in a hundred, so that each turn has its share of what those cost.
const TURN: u64 = 1000;

fn main() -> Result<()> {
    let (mut rounds, mut filter) = (100_usize, String::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--rounds" => rounds = arguments.next().context("--rounds needs a number")?.parse()?,
            option if option.starts_with('-') => bail!("unknown option {option}"),
            _ => filter = argument,
        }
    }
    if rounds == 0 {
        bail!("--rounds needs a number above 0");
    }
    let (mut subjects, system) = subjects()?;
    for (size, case) in Case::all() {
        let names: Vec<_> = subjects.iter().map(|it| format!("route_into/{size}/{}", it.name())).collect();
        if !names.iter().any(|name| name.contains(&filter)) {
            continue;
        }
        let times = measure(&mut subjects, &case, rounds);
        let alone = &times[0];
        for (name, times) in names.iter().zip(&times).filter(|(name, _)| name.contains(&filter)) {
            let ratios = times.iter().zip(alone).map(|(time, alone)| time / alone);
            let [_, nanoseconds, _] = quartiles(times.iter().copied());
            let [low, ratio, high] = quartiles(ratios);
            let line = json!({
                "id": name, "nanoseconds": nanoseconds, "ratio": ratio, "ratio_quartiles": [low, high],
            });
            println!("{line}");
        }
    }
    eprintln!("traces: {}", system.shutdown());
    Ok(())
}

/// Nanoseconds a request, by subject and round.
fn measure(subjects: &mut [Box<dyn Subject>], case: &Case, rounds: usize) -> Vec<Vec<f64>> {
    let mut times = vec![Vec::with_capacity(rounds); subjects.len()];
    for round in 0..rounds {
        for place in 0..subjects.len() {
            let at = (round + place) % subjects.len();
            let time = turn(&mut *subjects[at], case);
            times[at].push(time.as_secs_f64() * 1e9 / TURN as f64);
        }
    }
    times
}

#[expect(clippy::disallowed_methods, reason = "a benchmark has the real time")]
fn turn(subject: &mut dyn Subject, case: &Case) -> Duration {
    let start = Instant::now();
    subject.route(case, TURN);
    start.elapsed()
}

/// A quarter of the values is below the first, half below the second, three quarters below the third.
fn quartiles(values: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}
