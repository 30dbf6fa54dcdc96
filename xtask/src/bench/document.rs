//! docs/performance.md: its tables and its picture are the record's.

use super::goals::{self, A_TEST};
use super::measurement::Measurement;
use super::{picture, record};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

pub(crate) const DOCUMENT: &str = "docs/performance.md";
pub(crate) const PICTURE: &str = "docs/performance.svg";

/// Writes both anew from the record.
pub(crate) fn write(root: &Path) -> Result<()> {
    let (document, picture) = made(root)?;
    fs::write(root.join(DOCUMENT), document).context(DOCUMENT)?;
    fs::write(root.join(PICTURE), picture).context(PICTURE)
}

/// Both, as the record has them.
fn made(root: &Path) -> Result<(String, String)> {
    let (record, measurements) = record::read_ratios(root)?;
    let mut document = fs::read_to_string(root.join(DOCUMENT)).context(DOCUMENT)?;
    for (name, text) in [
        ("machine", machine(&record, &measurements)?),
        ("stages", stages(&measurements)?),
        ("goals", goals(&measurements)),
        ("kernels", kernels()),
        ("beside", beside(&measurements)),
    ] {
        document = replace(&document, name, &text)?;
    }
    Ok((document, picture::draw(&measurements)?))
}

/// Puts a text where the document has the place for it.
fn replace(document: &str, name: &str, text: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- {name}, from the record -->\n"), format!("<!-- end of {name} -->\n"));
    let Some((before, rest)) = document.split_once(&begin) else {
        bail!("{DOCUMENT} has no place for {name}")
    };
    let Some((_, after)) = rest.split_once(&end) else { bail!("{DOCUMENT}: {name} has no end") };
    Ok(format!("{before}{begin}{text}{end}{after}"))
}

fn machine(record: &Value, measurements: &[Measurement]) -> Result<String> {
    let kernel = measurements.first().map_or("unknown", |it| it.kernel.as_str());
    let machine = &record["machine"];
    let say = |field: &str| machine[field].as_str().with_context(|| format!("the record has no {field}"));
    let (cpu, commit) = (say("cpu")?, say("commit")?);
    let commit = commit.get(..12).unwrap_or(commit);
    let changed = if machine["uncommitted_changes"] == false { "" } else { " with changes" };
    Ok(format!(
        "Measured on {} cores of an {cpu} (family {}, kernel `{kernel}`), {}, at commit {commit}{changed}, by `{}`.\n",
        machine["cores"],
        say("family_and_model")?,
        say("rustc")?,
        record["command"].as_str().context("the record has no command")?
    ))
}

fn stages(measurements: &[Measurement]) -> Result<String> {
    let requests: Vec<_> = measurements.iter().filter(|it| it.id.starts_with("stages/")).collect();
    let Some(first) = requests.first() else { bail!("the record has no stages") };
    let row = |label: &str, cells: Vec<String>| format!("| {label} | {} |\n", cells.join(" | "));
    let sizes = requests.iter().map(|it| it.id.trim_start_matches("stages/").to_owned()).collect();
    let mut table = row("ns of a request", sizes);
    table += &row("---", vec!["---:".to_owned(); requests.len()]);
    let parts: Vec<_> = requests.iter().map(|it| picture::parts(it)).collect();
    for (at, (label, ..)) in picture::parts(first).iter().enumerate() {
        table += &row(label, parts.iter().map(|parts| format!("{:.0}", parts[at].2)).collect());
    }
    table += &row("all of it", requests.iter().map(|it| format!("{:.0}", it.value)).collect());
    Ok(table)
}

fn goals(measurements: &[Measurement]) -> String {
    let head = "| what | goal | measured | verdict |\n| --- | --- | --- | --- |\n".to_owned();
    goals::judge(measurements, true).into_iter().fold(head, |mut table, row| {
        let (measured, verdict) = match row.verdict {
            A_TEST if row.measured.starts_with("cargo ") => (String::new(), format!("`{}`", row.measured)),
            A_TEST => (String::new(), row.measured),
            "misses" => (row.measured, "**misses**".to_owned()),
            verdict => (row.measured, verdict.to_owned()),
        };
        let _ = writeln!(table, "| {} | {} | {measured} | {verdict} |", row.what, row.goal);
        table
    })
}

fn kernels() -> String {
    let head = "| what | kernel | goal there | elsewhere |\n| --- | --- | --- | --- |\n".to_owned();
    goals::by_kernel().fold(head, |mut table, (what, kernel, [there, elsewhere])| {
        let _ = writeln!(table, "| {what} | `{kernel}` | {there} | {elsewhere} |");
        table
    })
}

fn beside(measurements: &[Measurement]) -> String {
    let head = "| what | measured | quartiles |\n| --- | --- | --- |\n".to_owned();
    let beside = measurements.iter().filter(|it| !goals::is_goal(it) && !it.id.starts_with("stages/"));
    beside.fold(head, |mut table, it| {
        let [low, high] = it.quartiles;
        let _ = writeln!(table, "| `{}` | {:.2} | {low:.2} to {high:.2} |", it.id, it.value);
        table
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_and_the_picture_are_those_of_the_record() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let read = |file: &str| fs::read_to_string(root.join(file)).unwrap();
        let (document, picture) = made(&root).unwrap();
        assert!(document == read(DOCUMENT), "{DOCUMENT} is not the record's: cargo xtask codegen");
        assert!(picture == read(PICTURE), "{PICTURE} is not the record's: cargo xtask codegen");
    }

    #[test]
    fn a_document_without_a_place_for_a_table_is_an_error() {
        let document = "<!-- goals, from the record -->\nold\n<!-- end of goals -->\nafter\n";
        let new = replace(document, "goals", "new\n").unwrap();
        assert_eq!(new, "<!-- goals, from the record -->\nnew\n<!-- end of goals -->\nafter\n");
        assert!(replace(document, "stages", "new\n").is_err());
    }
}
