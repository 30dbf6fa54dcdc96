//! The tables of docs/performance.md and its picture, made from the record.

use super::goals::{self, PROVED};
use super::picture;
use super::record::{self, Measurement};
use crate::load;
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

pub(crate) const DOCUMENT: &str = "docs/performance.md";
pub(crate) const PICTURE: &str = "docs/performance.svg";

/// Writes both from the record.
pub(crate) fn write(root: &Path) -> Result<()> {
    let (document, picture) = made(root)?;
    fs::write(root.join(DOCUMENT), document).context(DOCUMENT)?;
    fs::write(root.join(PICTURE), picture).context(PICTURE)
}

/// The document and the picture of the record.
fn made(root: &Path) -> Result<(String, String)> {
    let (record, measurements) = record::read_ratios(root)?;
    let (gateway, of_gateway) = record::read(root, load::RECORD)?;
    let mut document = fs::read_to_string(root.join(DOCUMENT)).context(DOCUMENT)?;
    for (name, text) in [
        ("machine", record::machine_of(&record)?),
        ("stages", stages(&measurements)?),
        ("goals", goals(&measurements)),
        ("kernels", kernels()),
        ("beside", beside(&measurements)),
        ("gateway's machine", record::machine_of(&gateway)?),
        ("gateway", load::table::made_of(&of_gateway)),
    ] {
        document = replace(&document, DOCUMENT, name, &text)?;
    }
    Ok((document, picture::draw(&measurements)?))
}

/// Replaces the text between the marks of a name in the document of this file.
pub(crate) fn replace(document: &str, file: &str, name: &str, text: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- {name}, from the record -->\n"), format!("<!-- end of {name} -->\n"));
    let Some((before, rest)) = document.split_once(&begin) else { bail!("{file} has no mark of {name}") };
    let Some((_, after)) = rest.split_once(&end) else { bail!("{file} has no end of {name}") };
    Ok(format!("{before}{begin}{text}{end}{after}"))
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
    table += &row("total", requests.iter().map(|it| format!("{:.0}", it.value)).collect());
    Ok(table)
}

fn goals(measurements: &[Measurement]) -> String {
    let head = "| what | goal | measured | verdict |\n| --- | --- | --- | --- |\n".to_owned();
    goals::judge(measurements, true).into_iter().fold(head, |mut table, row| {
        let (measured, verdict) = match row.verdict {
            PROVED => (String::new(), format!("`{}`", row.measured)),
            "misses" => (row.measured, "**misses**".to_owned()),
            verdict => (row.measured, verdict.to_owned()),
        };
        let _ = writeln!(table, "| {} | {} | {measured} | {verdict} |", row.what, row.goal);
        table
    })
}

fn kernels() -> String {
    let head = "| what | kernel | goal on it | goal on others |\n| --- | --- | --- | --- |\n".to_owned();
    goals::by_kernel().fold(head, |mut table, (what, kernel, [on_it, on_others])| {
        let _ = writeln!(table, "| {what} | `{kernel}` | {on_it} | {on_others} |");
        table
    })
}

fn beside(measurements: &[Measurement]) -> String {
    let head = "| what | measured | quartiles |\n| --- | --- | --- |\n".to_owned();
    let beside =
        measurements.iter().filter(|it| goals::goal_of(it).is_none() && !it.id.starts_with("stages/"));
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
    fn the_tables_and_the_picture_match_the_record() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let read = |file: &str| fs::read_to_string(root.join(file)).unwrap();
        let (document, picture) = made(&root).unwrap();
        assert!(document == read(DOCUMENT), "{DOCUMENT} does not match the record: cargo xtask codegen");
        assert!(picture == read(PICTURE), "{PICTURE} does not match the record: cargo xtask codegen");
    }

    #[test]
    fn a_document_without_the_marks_of_a_table_is_an_error() {
        let document = "<!-- goals, from the record -->\nold\n<!-- end of goals -->\nafter\n";
        let new = replace(document, "a.md", "goals", "new\n").unwrap();
        assert_eq!(new, "<!-- goals, from the record -->\nnew\n<!-- end of goals -->\nafter\n");
        assert!(replace(document, "a.md", "stages", "new\n").is_err());
    }
}
