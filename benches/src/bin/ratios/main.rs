//! What has a goal, measured as a ratio: each contender and its peer in short turns, one after the other, and the median.
//!
//! Prints one JSON object a measurement, in which `value` is the median over all rounds and `quartiles` are the others;
//! `nanoseconds` tells the medians of the times behind it. `ratios [--full] [FILTER]`: ten times as long, and only what
//! has this in its name. What the goals are is for `cargo xtask bench` to know.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is what it is for")]

mod kernels;
mod naive;
mod observers;
mod search;
mod stages;
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
    threads::measure(&run)?;
    observers::measure(&run)
}

/// What is to be measured, and how long.
struct Run {
    full: bool,
    filter: String,
}

impl Run {
    fn wants(&self, id: &str) -> bool {
        id.contains(&self.filter)
    }

    /// How long one comparison takes.
    fn time(&self) -> Duration {
        Duration::from_millis(if self.full { 12_000 } else { 1_200 })
    }

    fn tell(&self, id: &str, value: Quartiles, nanoseconds: &[(&str, f64)]) {
        if self.wants(id) {
            let nanoseconds: Map<String, Value> =
                nanoseconds.iter().map(|(name, time)| ((*name).to_owned(), json!(time))).collect();
            let line = json!({
                "id": id,
                "kernel": Kernel::detect().name(),
                "value": value.median,
                "quartiles": [value.low, value.high],
                "nanoseconds": nanoseconds,
            });
            println!("{line}");
        }
    }

    /// Tells how much longer one contender takes than another.
    fn tell_ratio(&self, id: &str, measured: &Measured, name: &str, to: &str) {
        let times: Vec<_> = measured.names().iter().map(|it| (*it, measured.time(it).median)).collect();
        self.tell(id, measured.ratio(name, to), &times);
    }
}
