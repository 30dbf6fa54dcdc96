//! `cargo xtask bench --ir`: the number of instructions of a request, compared with the record.
//!
//! On a machine that runs other programs too, time does not show a change of a few percent; a count of instructions does,
//! since it repeats exactly. [`callgrind`] counts. A count above the record by more than the tolerance is a failure. One
//! below it is a note, since a record that is too high hides the next increase.

use crate::bench::goals::Goal;
use crate::report::Report;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

mod callgrind;

pub(crate) const HEADLINE: &str = "instructions, by callgrind";

const RECORD: &str = "benches/record/instructions.json";
const BLESS: &str = "cargo xtask bench --ir --bless";

/// The tolerated difference from the record, as a share of it.
///
/// Two runs of one program count the same. With the same kernel and minor version of `rustc` two things differ between
/// machines: where the stack begins, which changes the cost of small copies by up to half a percent, and glibc's `memcpy`.
/// Patch versions of `rustc` bring single fixes. A larger difference comes from a change of this project.
const TOLERANCE: f64 = 0.02;

/// The end of the ids of the naive router. It is counted for comparison and never judged: it allocates, and the cost of
/// that depends on the state of the heap, by some percent from one build to the next.
const NAIVE: &str = "/naive";

/// Goals for ratios to the router without an observer, by the end of the ids and by their beginning.
///
/// A quality budget adds the same to each request.
///
/// Where squares leave f32's range each candidate's sums are computed once more, in f64, and the query's norm once.
const GOALS: &[(&str, &str, Goal)] = &[
    (NAIVE, "route_into/1x", Goal::AtLeast(6.0)),
    (NAIVE, "route_into/10x", Goal::AtLeast(18.0)),
    (NAIVE, "route_into/100x", Goal::AtLeast(20.0)),
    ("/by hand", "route_into/", Goal::AtLeast(0.995)),
    ("/exact", "route_into/", Goal::AtMost(6.0)),
    ("/budget", "route_into/100x", Goal::AtMost(1.05)),
];

/// Instructions of a request, by the benchmark's id.
type Counts = BTreeMap<String, u64>;

/// The counts of one run.
#[derive(Debug, Deserialize, Serialize)]
struct Counted {
    instructions_a_request: Counts,
    rustc: String,
    valgrind: String,
}

/// All recorded counts, by kernel and minor version of `rustc`: both change the instructions of the same code.
#[derive(Debug, Deserialize, Serialize)]
struct Record {
    command: String,
    counted: BTreeMap<String, Counted>,
}

/// Counts, and compares with the record or replaces it. `filter` selects the benchmarks to compare.
pub(crate) fn run(workspace: &Workspace, report: &mut Report, bless: bool, filter: Option<&str>) {
    let what = format!("{} under valgrind, against {RECORD}", callgrind::PROGRAM);
    report.check(HEADLINE, &what, || {
        let (kernel, counted) = callgrind::count(workspace)?;
        let key = key(&kernel, &counted.rustc)?;
        let file = workspace.root.join(RECORD);
        let mut record: Record =
            serde_json::from_str(&fs::read_to_string(&file).context(RECORD)?).context(RECORD)?;
        let recorded = record.counted.get(&key).map(|it| &it.instructions_a_request);
        let lines = compare(
            recorded.unwrap_or(&Counts::new()),
            &counted.instructions_a_request,
            filter.unwrap_or_default(),
        );
        if lines.is_empty() {
            bail!("no benchmark has this in its name");
        }
        println!("\n    {key}, {}", counted.valgrind);
        print!("{}{}", table(&lines), against_none(&counted.instructions_a_request));
        if bless {
            BLESS.clone_into(&mut record.command);
            record.counted.insert(key, counted);
            return Ok(fs::write(file, serde_json::to_string_pretty(&record)? + "\n")?);
        }
        if recorded.is_none() {
            bail!("there is no record for {key}: add one with {BLESS}");
        }
        judge(&lines)
    });
}

/// The record's key of a kernel and of the output of `rustc --version`.
fn key(kernel: &str, rustc: &str) -> Result<String> {
    let version = rustc.split_whitespace().nth(1).and_then(|version| version.rsplit_once('.'));
    let (minor, _) = version.with_context(|| format!("rustc is {rustc:?}"))?;
    Ok(format!("{kernel}, rustc {minor}"))
}

/// A benchmark with its counts.
#[derive(Debug, PartialEq)]
struct Line {
    id: String,
    recorded: Option<u64>,
    counted: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    Fewer,
    More,
    NotCounted,
    NotRecorded,
    Same,
}

impl Line {
    fn ratio(&self) -> Option<f64> {
        Some(self.counted? as f64 / self.recorded? as f64)
    }

    fn verdict(&self) -> Verdict {
        match self.ratio() {
            None if self.counted.is_none() => Verdict::NotCounted,
            None => Verdict::NotRecorded,
            Some(_) if self.id.ends_with(NAIVE) => Verdict::Same,
            Some(ratio) if ratio > 1.0 + TOLERANCE => Verdict::More,
            Some(ratio) if ratio < 1.0 - TOLERANCE => Verdict::Fewer,
            Some(_) => Verdict::Same,
        }
    }
}

/// All benchmarks with `filter` in their ids.
fn compare(recorded: &Counts, counted: &Counts, filter: &str) -> Vec<Line> {
    let ids: BTreeSet<_> = recorded.keys().chain(counted.keys()).filter(|id| id.contains(filter)).collect();
    let line = |id: &String| Line {
        id: id.clone(),
        recorded: recorded.get(id).copied(),
        counted: counted.get(id).copied(),
    };
    ids.into_iter().map(line).collect()
}

/// Fails if a count exceeds the tolerance, or is not both recorded and counted.
fn judge(lines: &[Line]) -> Result<()> {
    let having = |verdict| lines.iter().filter(move |line| line.verdict() == verdict);
    let (of, percent) = (lines.len(), 100.0 * TOLERANCE);
    let more = having(Verdict::More).filter_map(|line| Some((line.ratio()?, &line.id)));
    if let Some((ratio, id)) = more.max_by(|a, b| a.0.total_cmp(&b.0)) {
        bail!(
            "{} of {of} benchmarks take over {percent:.0}% more instructions than recorded, at most {id}, {:.1}% more. \
             If the change is worth that, renew the record: {BLESS}",
            having(Verdict::More).count(),
            100.0 * (ratio - 1.0),
        );
    }
    if let Some(line) = having(Verdict::NotRecorded).next() {
        bail!("{} is counted and not recorded. Renew the record: {BLESS}", line.id);
    }
    if let Some(line) = having(Verdict::NotCounted).next() {
        bail!("{} is recorded and not counted. Renew the record: {BLESS}", line.id);
    }
    let fewer = having(Verdict::Fewer).count();
    if fewer > 0 {
        println!(
            "    NOTE: {fewer} of {of} benchmarks take over {percent:.0}% fewer instructions than recorded. Renew the \
             record: {BLESS}"
        );
    }
    Ok(())
}

fn table(lines: &[Line]) -> String {
    let head =
        format!("    {:34} {:>10} {:>10} {:>7}\n", "instructions a request", "recorded", "counted", "ratio");
    lines.iter().fold(head, |table, line| {
        let number = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        let (recorded, counted) = (number(line.recorded), number(line.counted));
        let ratio = line.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}"));
        let note = match line.verdict() {
            Verdict::Fewer => "fewer",
            Verdict::More => "MORE",
            Verdict::NotCounted => "not counted",
            Verdict::NotRecorded => "not recorded",
            Verdict::Same => "",
        };
        let row = format!("    {:34} {recorded:>10} {counted:>10} {ratio:>7}  {note}", line.id);
        table + row.trim_end() + "\n"
    })
}

/// The ratios with a goal.
fn against_none(counts: &Counts) -> String {
    let head = format!("\n    {:34} {:>10} {:>10}\n", "instructions / none", "counted", "goal");
    counts.iter().fold(head, |table, (id, &count)| {
        let goal = GOALS.iter().find(|(end, start, _)| id.ends_with(end) && id.starts_with(start));
        let Some((end, _, goal)) = goal else { return table };
        let none = id.strip_suffix(end).and_then(|size| counts.get(&format!("{size}/none")));
        let Some(&none) = none else { return table };
        let ratio = count as f64 / none as f64;
        let verdict = if goal.holds(ratio) { "holds" } else { "misses" };
        table + &format!("    {id:34} {ratio:>10.2} {:>10}  {verdict}\n", goal.to_string())
    })
}

#[cfg(test)]
mod tests;
