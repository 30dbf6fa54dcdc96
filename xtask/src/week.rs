//! `cargo xtask bench --week`: a simulated week of the gateway, its record, and the tables of docs/tour.md made from it.

use crate::bench::document::replace;
use crate::bench::record;
use crate::report::Report;
use crate::workspace::{Workspace, cargo, output};
use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const RECORD: &str = "benches/record/week.json";
pub(crate) const DOCUMENT: &str = "docs/tour.md";
/// The folder of the data, which is not in the repository.
const DATA: &str = "TINY_DANCER_DATA";

pub(crate) fn run(workspace: &Workspace, report: &mut Report) {
    let Some(data) = std::env::var_os(DATA) else {
        report.check("a week", "", || anyhow::bail!("{DATA} is not set: the folder of routing data"));
        return;
    };
    report.check(
        "a week",
        "five times, of a gateway between clients and models that act; seven minutes",
        || {
            let mut week = cargo("run --release --package tiny-dancer-benches --bin week -- docs/pictures");
            let printed = output(week.current_dir(&workspace.root).env(DATA, data))?;
            let measured: Value = serde_json::from_str(&printed).context("the program printed no record")?;
            record::write_value(
                &workspace.root,
                RECORD,
                &format!("{DATA}=... cargo xtask bench --week"),
                &measured,
            )
        },
    );
    report.check("tables", DOCUMENT, || write(&workspace.root));
}

/// Writes the tables of the document from the record.
pub(crate) fn write(root: &Path) -> Result<()> {
    fs::write(root.join(DOCUMENT), made(root)?).context(DOCUMENT)
}

#[derive(Deserialize)]
struct Record {
    measured: Measured,
}

#[derive(Deserialize)]
struct Measured {
    days: Vec<Day>,
    /// The share of the cost that was saved on the live days, of each week. The rest is of the first week.
    saved_live_by_week: Vec<f64>,
    /// See `columns` of the record.
    points: Vec<[f64; 8]>,
}

#[derive(Deserialize)]
struct Day {
    mode: String,
    traffic: String,
    lightweight_share: f64,
    score: f64,
    powerful_score: f64,
    worse: f64,
    cost: f64,
    baseline: f64,
}

fn made(root: &Path) -> Result<String> {
    let record: Value = serde_json::from_str(&fs::read_to_string(root.join(RECORD)).context(RECORD)?)?;
    let machine = record::machine_of(&record)?;
    let Record { measured } = Record::deserialize(&record).context(RECORD)?;
    let document = fs::read_to_string(root.join(DOCUMENT)).context(DOCUMENT)?;
    let document = replace(&document, DOCUMENT, "machine", &machine)?;
    let document = replace(&document, DOCUMENT, "days", &days(&measured))?;
    replace(&document, DOCUMENT, "week", &whole(&measured)?)
}

fn days(measured: &Measured) -> String {
    let mut table = "| day | mode | traffic | to the lightweight model | worse answers | score, powerful alone | cost / powerful alone |\n\
        | ---: | --- | --- | ---: | ---: | --- | ---: |\n"
        .to_owned();
    for (number, day) in measured.days.iter().enumerate() {
        let _ = writeln!(
            table,
            "| {} | {} | {} | {:.0}% | {:.0} | {:.3}, {:.3} | {:.2} |",
            number + 1,
            day.mode,
            day.traffic,
            100.0 * day.lightweight_share,
            day.worse,
            day.score,
            day.powerful_score,
            day.cost / day.baseline
        );
    }
    table
}

fn whole(measured: &Measured) -> Result<String> {
    let [requests, answers, worse, allowed, bound, _, cost, baseline] =
        *measured.points.last().context("the record has no points")?;
    let percent = |saved: f64| format!("{:.0}%", 100.0 * saved);
    let saved = measured.saved_live_by_week.iter().copied().map(percent).collect::<Vec<_>>().join(", ");
    Ok(format!(
        "| {requests:.0} requests | |\n| --- | ---: |\n\
         | answers under the budget | {answers:.0} |\n\
         | worse answers that it allowed | {allowed:.0} |\n\
         | upper bound that the gateway knew, in the end | {bound:.0} |\n\
         | worse answers in truth | {worse:.0} |\n\
         | saved over all days, judging and shadows included | {} |\n\
         | saved on the live days, in each of {} runs of the week | {saved} |\n",
        percent(1.0 - cost / baseline),
        measured.saved_live_by_week.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_of_the_tour_match_the_record() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let document = fs::read_to_string(root.join(DOCUMENT)).unwrap();
        assert!(
            made(&root).unwrap() == document,
            "{DOCUMENT} does not match the record: cargo xtask codegen"
        );
    }
}
