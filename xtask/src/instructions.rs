//! `cargo xtask bench --ir`: how many instructions a request takes, against what it took when that was last looked at.
//!
//! Time on a machine that others use too says little about a change of a few percent; instructions are the same each
//! time. [`callgrind`] counts them, and they are compared with the [`record`] that is kept in the repository. More than
//! the tolerance is a failure; fewer is a note, so that the record follows what was won.

use crate::bench::goals::Goal;
use crate::report::Report;
use crate::workspace::Workspace;
use anyhow::{Result, bail};
use record::{Key, Record};

mod callgrind;
mod record;

pub(crate) const HEADLINE: &str = "instructions, by callgrind";

/// How to renew the record.
const BLESS: &str = "cargo xtask bench --ir --bless";

/// How much more than recorded a benchmark may take, as a share of it, and how much less without a note.
///
/// Two runs of one program count the same. With the same kernel and minor version of `rustc` two things differ between
/// machines: where the stack begins, which moves what small copies take by up to half a percent, and glibc's `memcpy`.
/// Patch versions of `rustc` bring single fixes. A change that costs more than this was a change of ours.
const TOLERANCE: f64 = 0.02;

/// How the ids of the naive router end. It is counted for comparison and never judged: it allocates, and
/// what that takes depends on what the heap went through before, by some percent from one build to the next.
const NAIVE: &str = "/naive";

/// How many times the instructions of an unobserved router these take, by how their ids end and how those begin.
///
/// Where squares leave f32's range each candidate's sums are computed once more, in f64, and the query's norm once.
const GOALS: [(&str, &str, Goal); 5] = [
    (NAIVE, "route_into/1x", Goal::AtLeast(6.0)),
    (NAIVE, "route_into/10x", Goal::AtLeast(18.0)),
    (NAIVE, "route_into/100x", Goal::AtLeast(20.0)),
    ("/by hand", "route_into/", Goal::AtLeast(0.995)),
    ("/exact", "route_into/", Goal::AtMost(6.0)),
];

/// Instructions a request, by the benchmark's id, in the order of counting.
type Counts = Vec<(String, u64)>;

/// Counts, and compares with the record or renews it. `filter` selects what is compared.
pub(crate) fn run(workspace: &Workspace, report: &mut Report, bless: bool, filter: Option<&str>) {
    let what = format!("{} under valgrind, against {}", callgrind::PROGRAM, record::FILE);
    report.check(HEADLINE, &what, || {
        let counted = callgrind::count(workspace)?;
        let key = Key::new(&counted.kernel, &counted.rustc)?;
        let mut record = Record::read(&workspace.root)?;
        let lines = compare(record.counts(&key), &counted.counts, filter.unwrap_or_default());
        if lines.is_empty() {
            bail!("no benchmark of that name");
        }
        println!("\n    {key}, {}", counted.valgrind);
        print!("{}{}", table(&lines), against_none(&counted.counts));
        if bless {
            record.renew(&key, &counted);
            return record.write(&workspace.root);
        }
        if record.counts(&key).is_empty() {
            bail!("there is no record for {key}: add one with {BLESS}");
        }
        judge(&lines)
    });
}

/// A benchmark, and what is known of it.
#[derive(Debug, PartialEq)]
struct Line<'a> {
    id: &'a str,
    recorded: Option<u64>,
    counted: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    Fewer,
    Missing,
    More,
    New,
    Same,
}

impl Line<'_> {
    fn ratio(&self) -> Option<f64> {
        Some(self.counted? as f64 / self.recorded? as f64)
    }

    fn verdict(&self) -> Verdict {
        match self.ratio() {
            None if self.counted.is_none() => Verdict::Missing,
            None => Verdict::New,
            Some(_) if self.id.ends_with(NAIVE) => Verdict::Same,
            Some(ratio) if ratio > 1.0 + TOLERANCE => Verdict::More,
            Some(ratio) if ratio < 1.0 - TOLERANCE => Verdict::Fewer,
            Some(_) => Verdict::Same,
        }
    }
}

/// What was counted, and then what was recorded only; of both what has `filter` in its name.
fn compare<'a>(recorded: &'a [(String, u64)], counted: &'a [(String, u64)], filter: &str) -> Vec<Line<'a>> {
    let find = |all: &[(String, u64)], id: &str| all.iter().find(|(other, _)| other == id).map(|it| it.1);
    let ids = counted.iter().chain(recorded.iter().filter(|(id, _)| find(counted, id).is_none()));
    ids.map(|(id, _)| Line { id, recorded: find(recorded, id), counted: find(counted, id) })
        .filter(|line| line.id.contains(filter))
        .collect()
}

/// Fails if any takes more than it may, or is not both recorded and counted.
fn judge(lines: &[Line<'_>]) -> Result<()> {
    let having = |verdict| lines.iter().filter(move |line| line.verdict() == verdict);
    let more: Vec<_> = having(Verdict::More).collect();
    let worst =
        more.iter().filter_map(|line| Some((line.ratio()?, line.id))).max_by(|a, b| a.0.total_cmp(&b.0));
    if let Some((ratio, id)) = worst {
        bail!(
            "{} of {} benchmarks take over {:.0}% more instructions than recorded, at most {id}, {:.1}% more. If that \
             is what it has to cost, renew the record: {BLESS}",
            more.len(),
            lines.len(),
            100.0 * TOLERANCE,
            100.0 * (ratio - 1.0),
        );
    }
    if let Some(line) = having(Verdict::New).chain(having(Verdict::Missing)).next() {
        let which =
            if line.counted.is_some() { "counted and not recorded" } else { "recorded and not counted" };
        bail!("{} is {which}. Renew the record: {BLESS}", line.id);
    }
    let fewer = having(Verdict::Fewer).count();
    if fewer > 0 {
        println!(
            "    NOTE: {fewer} of {} benchmarks take over {:.0}% fewer instructions than recorded. Keep what was won, \
             renew the record: {BLESS}",
            lines.len(),
            100.0 * TOLERANCE,
        );
    }
    Ok(())
}

fn table(lines: &[Line<'_>]) -> String {
    let head =
        format!("    {:34} {:>10} {:>10} {:>7}\n", "instructions a request", "recorded", "counted", "ratio");
    lines.iter().fold(head, |table, line| {
        let number = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        let (recorded, counted) = (number(line.recorded), number(line.counted));
        let ratio = line.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}"));
        let note = match line.verdict() {
            Verdict::Fewer => "fewer",
            Verdict::Missing => "not counted",
            Verdict::More => "MORE",
            Verdict::New => "not recorded",
            Verdict::Same => "",
        };
        let row = format!("    {:34} {recorded:>10} {counted:>10} {ratio:>7}  {note}", line.id);
        table + row.trim_end() + "\n"
    })
}

/// How many times the instructions of an unobserved router the others take that have a goal.
fn against_none(counts: &[(String, u64)]) -> String {
    let head = format!("\n    {:34} {:>10} {:>10}\n", "instructions / none", "counted", "goal");
    counts.iter().fold(head, |table, (id, count)| {
        let goal = GOALS.iter().find(|(end, start, _)| id.ends_with(end) && id.starts_with(start));
        let Some((end, _, goal)) = goal else { return table };
        let none = counts.iter().find(|(other, _)| other.strip_suffix("/none") == id.strip_suffix(end));
        let Some((_, none)) = none else { return table };
        let ratio = *count as f64 / *none as f64;
        let verdict = if goal.holds(ratio) { "holds" } else { "misses" };
        table + &format!("    {id:34} {ratio:>10.2} {:>10}  {verdict}\n", goal.to_string())
    })
}

#[cfg(test)]
mod tests;
