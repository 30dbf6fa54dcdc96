//! The records under benches/record/: measurements with their machine and commit.

use super::goals;
use crate::workspace::output;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Ratios, with and without a goal.
pub(crate) const RATIOS: &str = "benches/record/ratios.json";
/// Criterion's times.
pub(crate) const TIMES: &str = "benches/record/route.json";

/// A measurement, as the program `ratios` prints it and the record keeps it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Measurement {
    pub(crate) id: String,
    /// The vector instructions of the router.
    pub(crate) kernel: String,
    /// The medians of the measured times, by name.
    pub(crate) nanoseconds: BTreeMap<String, f64>,
    pub(crate) quartiles: [f64; 2],
    /// The median over all rounds.
    pub(crate) value: f64,
}

/// Writes the ratios of a whole run.
pub(crate) fn write_ratios(root: &Path, command: &str, measurements: &[Measurement]) -> Result<()> {
    let goals = goals::judge(measurements, true);
    let record = json!({
        "command": command, "goals": goals, "machine": machine(root)?, "measurements": measurements,
    });
    write(root, RATIOS, &record)
}

/// Writes the times of a whole run.
pub(crate) fn write_times(root: &Path, command: &str, times: &[Value]) -> Result<()> {
    write(root, TIMES, &json!({ "benchmarks": times, "command": command, "machine": machine(root)? }))
}

/// Writes measurements without goals of [`goals`].
pub(crate) fn write_measurements(
    root: &Path,
    file: &str,
    command: &str,
    measurements: &[Measurement],
) -> Result<()> {
    write(root, file, &json!({ "command": command, "machine": machine(root)?, "measurements": measurements }))
}

/// Writes what another program measured.
pub(crate) fn write_value(root: &Path, file: &str, command: &str, measured: &Value) -> Result<()> {
    write(root, file, &json!({ "command": command, "machine": machine(root)?, "measured": measured }))
}

/// On what a record was measured, as a sentence.
pub(crate) fn machine_of(record: &Value) -> Result<String> {
    let kernel = record["measurements"][0]["kernel"].as_str().unwrap_or_default();
    let kernel = if kernel.is_empty() { String::new() } else { format!(", kernel `{kernel}`") };
    let machine = &record["machine"];
    let field = |name: &str| machine[name].as_str().with_context(|| format!("the record has no {name}"));
    let (cpu, commit) = (field("cpu")?, field("commit")?);
    let commit = commit.get(..12).unwrap_or(commit);
    let changed = if machine["uncommitted_changes"] == false { "" } else { " with changes" };
    Ok(format!(
        "Measured on {} cores of an {cpu} (family {}{kernel}), {}, at commit {commit}{changed}, by `{}`.\n",
        machine["cores"],
        field("family_and_model")?,
        field("rustc")?,
        record["command"].as_str().context("the record has no command")?
    ))
}

fn write(root: &Path, file: &str, record: &Value) -> Result<()> {
    fs::write(root.join(file), serde_json::to_string_pretty(record)? + "\n").context(file.to_owned())
}

/// The record of the ratios, and its measurements.
pub(crate) fn read_ratios(root: &Path) -> Result<(Value, Vec<Measurement>)> {
    read(root, RATIOS)
}

/// A record, and its measurements.
pub(crate) fn read(root: &Path, file: &'static str) -> Result<(Value, Vec<Measurement>)> {
    let text = fs::read_to_string(root.join(file)).context(file)?;
    let record: Value = serde_json::from_str(&text).context(file)?;
    let measurements = Vec::deserialize(&record["measurements"]).context(file)?;
    Ok((record, measurements))
}

/// The machine, the compiler and the measured commit.
fn machine(root: &Path) -> Result<Value> {
    let printed = |program: &str, arguments: &[&str]| -> Result<String> {
        Ok(output(Command::new(program).args(arguments).current_dir(root))?.trim().to_owned())
    };
    // Each run changes the records and the documents made from them.
    let not_made = [".", ":!benches/record", ":!docs/performance*", ":!docs/tour.md", ":!docs/pictures"];
    let status = [&["status", "--porcelain", "--untracked-files=no", "--"], &not_made[..]].concat();
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = |name: &str| {
        let value = cpu.lines().find_map(|line| line.strip_prefix(name)?.split_once(": "));
        value.map_or("unknown", |(_, value)| value).to_owned()
    };
    Ok(json!({
        "cpu": cpu("model name"),
        "family_and_model": format!("{} and {}", cpu("cpu family"), cpu("model\t")),
        "cores": std::thread::available_parallelism()?.get(),
        "rustc": printed("rustc", &["--version"])?,
        "commit": printed("git", &["rev-parse", "HEAD"])?,
        "uncommitted_changes": !printed("git", &status)?.is_empty(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Measurement {
        pub(crate) fn of(id: &str, value: f64, times: &[(&str, f64)]) -> Self {
            Self {
                id: id.to_owned(),
                kernel: "avx2".to_owned(),
                nanoseconds: times.iter().map(|(name, time)| ((*name).to_owned(), *time)).collect(),
                quartiles: [value, value],
                value,
            }
        }
    }

    #[test]
    fn a_measurement_without_a_number_is_an_error() {
        let line = |time: Value| {
            json!({
                "id": "metrics/10x384", "kernel": "avx2", "value": 1.0864, "quartiles": [1.05, 1.15],
                "nanoseconds": { "none": time, "observed": 1736.0 },
            })
        };
        let measurement = Measurement::deserialize(line(1597.9.into())).unwrap();
        assert_eq!(measurement.nanoseconds["observed"], 1736.0);
        assert_eq!(json!(measurement), line(1597.9.into()));
        assert!(Measurement::deserialize(line(Value::Null)).is_err());
    }

    #[test]
    fn the_file_of_the_ratios_is_written_as_it_is_read() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let (mut record, measurements) = read_ratios(&root).unwrap();
        record["measurements"] = json!(measurements);
        let text = fs::read_to_string(root.join(RATIOS)).unwrap();
        assert_eq!(serde_json::to_string_pretty(&record).unwrap() + "\n", text);
    }
}
