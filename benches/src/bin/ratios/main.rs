//! Ratios of a contender's time to its peer's, measured in short turns, one after the other.
//!
//! `ratios [--full] [FILTER]` prints one JSON object for each measurement with FILTER in its id: `value` is the median over
//! all rounds, `quartiles` are the other two, and `nanoseconds` are the medians of the times. `--full` measures ten times as
//! long. `cargo xtask bench` has the goals.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it prints for cargo xtask bench")]

mod kernels;
mod naive;
mod nearest;
mod observers;
mod remember;
mod scrape;
mod search;
mod stages;
mod text;
mod threads;

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};
use std::time::Duration;
use tiny_dancer::parts::core::Kernel;
use tiny_dancer_benches::{Measured, Quartiles};

fn main() -> Result<()> {
    let (mut full, mut filter) = (false, String::new());
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--full" => full = true,
            option if option.starts_with('-') => bail!("unknown option {option}"),
            _ => filter = argument,
        }
    }
    let run = Run { full, filter };
    naive::measure(&run)?;
    stages::measure(&run)?;
    kernels::measure(&run)?;
    search::measure(&run)?;
    text::measure(&run)?;
    nearest::measure(&run)?;
    remember::measure(&run)?;
    threads::measure(&run)?;
    scrape::measure(&run)?;
    observers::measure(&run)
}

/// The options of the program.
struct Run {
    full: bool,
    filter: String,
}

impl Run {
    fn selects(&self, id: &str) -> bool {
        id.contains(&self.filter)
    }

    /// The time of one comparison.
    fn time(&self) -> Duration {
        Duration::from_millis(if self.full { 12_000 } else { 1_200 })
    }

    fn report(&self, id: &str, value: Quartiles, nanoseconds: &[(&str, f64)]) {
        if self.selects(id) {
            let nanoseconds: Map<String, Value> =
                nanoseconds.iter().map(|(name, time)| ((*name).to_owned(), json!(rounded(*time)))).collect();
            let line = json!({
                "id": id,
                "kernel": Kernel::detect().name(),
                "value": rounded(value.median),
                "quartiles": [rounded(value.low), rounded(value.high)],
                "nanoseconds": nanoseconds,
            });
            println!("{line}");
        }
    }

    /// Reports the ratio of one contender's time to another's.
    fn report_ratio(&self, id: &str, measured: &Measured, name: &str, to: &str) {
        let times: Vec<_> = measured.names().iter().map(|it| (*it, measured.time(it).median)).collect();
        self.report(id, measured.ratio(name, to), &times);
    }
}

/// A number with five digits, which is more than the precision of a measurement.
fn rounded(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}
