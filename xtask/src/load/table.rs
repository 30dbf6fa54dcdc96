//! The table of the gateway under load.

use super::{CLIENTS, STREAMS};
use crate::bench::goals::Goal;
use crate::bench::record::Measurement;
use std::fmt::Write as _;

/// The goal of a measurement.
fn goal(id: &str) -> Option<Goal> {
    Some(match id {
        "gateway/throughput/litellm" => Goal::AtLeast(60.0),
        "gateway/added-p50" => Goal::AtMost(0.2),
        "gateway/memory" => Goal::AtMost(100.0),
        _ => return None,
    })
}

/// Rows of a Markdown table: what, goal, measured.
pub(crate) fn made_of(measurements: &[Measurement]) -> String {
    let mut table = "| what | goal | measured | quartiles | |\n| --- | --- | ---: | --- | --- |\n".to_owned();
    for it in measurements {
        let (goal, verdict) = match goal(&it.id) {
            Some(goal) => {
                let verdict = if goal.holds(it.value) { "holds" } else { "**misses**" };
                (format!("{goal} {}", unit(&it.id)), verdict)
            }
            None => (String::new(), ""),
        };
        let [low, high] = it.quartiles;
        let _ = writeln!(
            table,
            "| {} | {goal} | {} {} | {} to {} | {verdict} |",
            what(&it.id),
            rounded(it.value),
            unit(&it.id),
            rounded(low),
            rounded(high)
        );
    }
    table
}

fn rounded(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

fn what(id: &str) -> String {
    let parts: Vec<_> = id.split('/').collect();
    match parts[..] {
        ["gateway", "throughput", other] => {
            format!("throughput of the gateway / of {other}, {CLIENTS} clients")
        }
        ["gateway", "added-p50"] => {
            "median time that the gateway adds to a direct call, one client".to_owned()
        }
        ["gateway", "memory"] => "memory of the gateway after the load".to_owned(),
        ["streams", "finished"] => format!("streams that arrived whole, {STREAMS} at a time, of all"),
        ["streams", "time"] => {
            format!("median time of a stream through the gateway / direct, {STREAMS} at a time")
        }
        ["streams", "memory"] => format!("memory of the gateway after {STREAMS} streams at a time"),
        [target, "requests"] => format!("requests a second, {target}, {CLIENTS} clients"),
        [target, "p50"] => format!("median time, {target}, one client"),
        [target, "p99"] => format!("99th percentile, {target}, one client"),
        [target, "memory"] => format!("memory of {target}"),
        _ => id.to_owned(),
    }
}

fn unit(id: &str) -> &'static str {
    match id.rsplit('/').next().unwrap_or_default() {
        "requests" => "/s",
        "p50" | "p99" | "added-p50" => "ms",
        "memory" => "MB",
        "finished" => "",
        _ => "x",
    }
}
