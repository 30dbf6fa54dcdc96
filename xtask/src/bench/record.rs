//! The records under benches/record/: what was measured, on which machine, at which commit.

use super::goals;
use super::measurement::Measurement;
use crate::workspace::output;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// What has a goal, and what stands beside it.
pub(crate) const RATIOS: &str = "benches/record/ratios.json";
/// Criterion's times.
pub(crate) const TIMES: &str = "benches/record/route.json";

/// Keeps a whole run's ratios.
pub(crate) fn write_ratios(root: &Path, command: &str, measurements: &[Measurement]) -> Result<()> {
    let rows: Vec<_> = goals::judge(measurements, true)
        .into_iter()
        .map(|row| json!({ "what": row.what, "goal": row.goal, "measured": row.measured, "verdict": row.verdict }))
        .collect();
    let measurements: Vec<_> = measurements.iter().map(Measurement::to_json).collect();
    write(root, RATIOS, command, "goals", &json!(rows), &json!(measurements))
}

/// Keeps a whole run's times.
pub(crate) fn write_times(root: &Path, command: &str, times: &[Value]) -> Result<()> {
    write(root, TIMES, command, "benchmarks", &json!(times), &Value::Null)
}

fn write(
    root: &Path,
    file: &str,
    command: &str,
    name: &str,
    rows: &Value,
    measurements: &Value,
) -> Result<()> {
    let mut record = json!({ "command": command, "machine": machine(root)?, name: rows });
    if !measurements.is_null() {
        record["measurements"] = measurements.clone();
    }
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap_or(&path)).context(file.to_owned())?;
    fs::write(path, serde_json::to_string_pretty(&record)? + "\n").context(file.to_owned())
}

/// The measurements of the record.
pub(crate) fn read_ratios(root: &Path) -> Result<(Value, Vec<Measurement>)> {
    let text = fs::read_to_string(root.join(RATIOS)).context(RATIOS)?;
    let record: Value = serde_json::from_str(&text).context(RATIOS)?;
    let measurements =
        record["measurements"].as_array().with_context(|| format!("{RATIOS}: no measurements"))?;
    let measurements = measurements.iter().map(Measurement::parse).collect::<Result<_>>()?;
    Ok((record, measurements))
}

/// What was measured on, and what.
fn machine(root: &Path) -> Result<Value> {
    let say = |program: &str, arguments: &[&str]| -> Result<String> {
        Ok(output(Command::new(program).args(arguments).current_dir(root))?.trim().to_owned())
    };
    // Records and what is made of them change with each run.
    let status = [
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        ".",
        ":!benches/record",
        ":!docs/performance*",
    ];
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = |name: &str| {
        let value = cpu.lines().find_map(|line| line.strip_prefix(name)?.split_once(": "));
        value.map_or("unknown", |(_, value)| value).to_owned()
    };
    Ok(json!({
        "cpu": cpu("model name"),
        "family_and_model": format!("{} and {}", cpu("cpu family"), cpu("model\t")),
        "cores": std::thread::available_parallelism()?.get(),
        "rustc": say("rustc", &["--version"])?,
        "commit": say("git", &["rev-parse", "HEAD"])?,
        "uncommitted_changes": !say("git", &status)?.is_empty(),
    }))
}
