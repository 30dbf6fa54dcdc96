//! `cargo xtask bench`: how long a request takes, and what each observer adds.
//!
//! Absolute times are criterion's. Ratios are taken in turns within one run, by the program `ratios` of `benches/`; the
//! two are separate since a machine that other people use too is steady over a millisecond and not over a minute.

use crate::instructions;
use crate::report::Report;
use crate::workspace::{Workspace, cargo, output};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Ten times as long
    #[arg(long)]
    full: bool,
    /// Counts instructions instead, by callgrind, and fails where the record is exceeded
    #[arg(long, conflicts_with = "full")]
    ir: bool,
    /// Keeps what was counted as the new record
    #[arg(long, requires = "ir", conflicts_with = "filter")]
    bless: bool,
    /// Only benchmarks whose name contains this; no record is written
    filter: Option<String>,
}

/// Where a whole run is kept.
const RECORD: &str = "benches/record/route.json";

pub(crate) fn run(workspace: &Workspace, report: &mut Report, arguments: &Arguments) {
    if arguments.ir {
        return instructions::run(workspace, report, arguments.bless, arguments.filter.as_deref());
    }
    let (seconds, rounds) = if arguments.full { ("10", "1000") } else { ("1", "100") };
    let home = workspace.target.join("xtask-bench");
    let mut criterion = cargo("bench --package tiny-dancer-benches --bench route -- --noplot --quiet");
    criterion.args(["--warm-up-time", "0.5", "--measurement-time", seconds]).args(&arguments.filter);
    // What an earlier run left there is not this run's. It may have left nothing.
    let _ = fs::remove_dir_all(&home);
    report.command("times, by criterion", criterion.env("CRITERION_HOME", &home));

    let mut results = Vec::new();
    let what = format!("cargo run --release --package tiny-dancer-benches --bin ratios -- --rounds {rounds}");
    report.check("ratios, in turns", &format!("$ {what}"), || {
        let words = what.split_whitespace().skip(1);
        let lines =
            output(Command::new("cargo").args(words).args(&arguments.filter).current_dir(&workspace.root))?;
        results = lines.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        if results.is_empty() {
            bail!("no benchmark of that name");
        }
        results.iter_mut().try_for_each(|result| add_criterion(result, &home))?;
        print!("\n{}", table(&results)?);
        Ok(())
    });
    if arguments.filter.is_some() {
        report.skip("record", "only a whole run is kept");
    } else {
        report.check("record", RECORD, || {
            if results.is_empty() {
                bail!("there is nothing to keep");
            }
            let record = json!({
                "command": if arguments.full { "cargo xtask bench --full" } else { "cargo xtask bench" },
                "machine": machine(&workspace.root)?,
                "benchmarks": results,
            });
            let text = serde_json::to_string_pretty(&record)? + "\n";
            let path = workspace.root.join(RECORD);
            fs::create_dir_all(path.parent().unwrap_or(&path)).context(RECORD)?;
            fs::write(path, text).context(RECORD)
        });
    }
}

/// Adds criterion's median of the same benchmark.
fn add_criterion(result: &mut Value, home: &Path) -> Result<()> {
    let id = result["id"].as_str().context("a result without an id")?;
    let file = home.join(id).join("new/estimates.json");
    let text = fs::read_to_string(&file).with_context(|| format!("criterion says nothing of {id}"))?;
    let estimates: Value = serde_json::from_str(&text)?;
    let median = &estimates["median"];
    let interval = &median["confidence_interval"];
    result["criterion"] = json!({
        "median_nanoseconds": median["point_estimate"],
        "confidence_interval_95": [interval["lower_bound"], interval["upper_bound"]],
    });
    Ok(())
}

fn table(results: &[Value]) -> Result<String> {
    let mut table = format!(
        "{:30} {:>12} {:>12} {:>8}   {}\n",
        "benchmark", "criterion ns", "in turns ns", "ratio", "quartiles of the ratio"
    );
    for result in results {
        let number = |value: &Value| value.as_f64().context("a result that is not a number");
        let quartiles = &result["ratio_quartiles"];
        writeln!(
            table,
            "{:30} {:12.1} {:12.1} {:8.3}   {:.3} to {:.3}",
            result["id"].as_str().unwrap_or_default(),
            number(&result["criterion"]["median_nanoseconds"])?,
            number(&result["nanoseconds"])?,
            number(&result["ratio"])?,
            number(&quartiles[0])?,
            number(&quartiles[1])?,
        )?;
    }
    Ok(table)
}

/// What was measured, and on what.
fn machine(root: &Path) -> Result<Value> {
    let say = |program: &str, arguments: &[&str]| -> Result<String> {
        Ok(output(Command::new(program).args(arguments).current_dir(root))?.trim().to_owned())
    };
    let changed = say("git", &["status", "--porcelain", "--untracked-files=no"])?;
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Ok(json!({
        "cpu": cpu.map_or("unknown", |(_, model)| model),
        "cores": std::thread::available_parallelism()?.get(),
        "rustc": say("rustc", &["--version"])?,
        "commit": say("git", &["rev-parse", "HEAD"])?,
        "uncommitted_changes": !changed.is_empty(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_a_benchmark_and_a_result_without_a_number_is_an_error() {
        let mut result = json!({
            "id": "route_into/1x128/metrics", "nanoseconds": 110.0, "ratio": 1.1, "ratio_quartiles": [1.05, 1.15],
            "criterion": { "median_nanoseconds": 108.26 },
        });
        let table = table(std::slice::from_ref(&result)).unwrap();
        let line = table.lines().nth(1).unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(words, ["route_into/1x128/metrics", "108.3", "110.0", "1.100", "1.050", "to", "1.150"]);
        result["ratio"] = Value::Null;
        assert!(super::table(&[result]).is_err());
    }
}
