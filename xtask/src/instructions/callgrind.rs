//! valgrind's callgrind: counts the instructions that a program executes, on a processor that it emulates.
//!
//! The program says which benchmarks there are and how many requests each routes in its first turn and in its second.
//! Callgrind counts only within one function, and writes down what it counted each time that function is left. The
//! emulated processor has AVX2 and no AVX-512, whatever the real one has, so two machines count alike.

use super::Counts;
use crate::services::debian;
use crate::workspace::{Workspace, built, cargo, output};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program that is counted.
pub(super) const PROGRAM: &str = "instructions";
/// The function within which it is counted, as callgrind shows its name.
const FUNCTION: &str = "instructions::requests_that_callgrind_counts";

/// What was counted, and with what.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) kernel: String,
    pub(super) rustc: String,
    pub(super) valgrind: String,
    pub(super) counts: Counts,
}

/// Builds the program and counts.
pub(super) fn count(workspace: &Workspace) -> Result<Counted> {
    let folder = workspace.target.join("services");
    let valgrind = debian::program_run_by(clean, "valgrind", "valgrind", &folder).context(
        "callgrind comes with Debian's package valgrind, which is not installed and could not be had",
    )?;
    let program = build(workspace)?;
    let dumps = workspace.target.join("callgrind.out");
    // Of this run, or of none.
    let _ = fs::remove_file(&dumps);
    let mut command = clean(&valgrind);
    command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", dumps.display()));
    command.arg("--combine-dumps=yes");
    command.args(["--toggle-collect", "--dump-after"].map(|option| format!("{option}={FUNCTION}")));
    let said = output(command.arg(&program))?;
    let said: Value = serde_json::from_str(&said).with_context(|| format!("{PROGRAM} said {said:?}"))?;
    let dumps = fs::read_to_string(&dumps).with_context(|| dumps.display().to_string())?;
    Ok(Counted {
        kernel: said["kernel"].as_str().context("the program names no kernel")?.to_owned(),
        rustc: output(Command::new("rustc").arg("--version"))?.trim().to_owned(),
        valgrind: output(clean(&valgrind).arg("--version"))?.trim().to_owned(),
        counts: counts(&said["benchmarks"], &totals(&dumps)?)?,
    })
}

/// valgrind, without variables of the environment that could change what a program does or where its stack begins.
fn clean(valgrind: &Path) -> Command {
    let mut command = Command::new(valgrind);
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    // Unpacked and not installed, it does not find its tools by itself.
    if let Some(usr) = valgrind.ancestors().nth(2).filter(|usr| usr.ends_with("usr")) {
        command.env("VALGRIND_LIB", usr.join("libexec/valgrind"));
    }
    command
}

fn build(workspace: &Workspace) -> Result<PathBuf> {
    let mut command =
        cargo("build --release --package tiny-dancer-benches --message-format json-render-diagnostics");
    command.args(["--bin", PROGRAM]).current_dir(&workspace.root);
    built(&mut command, PROGRAM)
}

/// Instructions of each time that the function was left.
fn totals(dumps: &str) -> Result<Vec<u64>> {
    let (mut totals, mut is_counted) = (Vec::new(), false);
    for line in dumps.lines() {
        if let Some(trigger) = line.strip_prefix("desc: Trigger: ") {
            // The last one is the program's end.
            is_counted = trigger.starts_with("--dump-after=");
        } else if let Some(total) = line.strip_prefix("totals: ").filter(|_| is_counted) {
            totals.push(total.trim().parse().with_context(|| format!("callgrind says {line:?}"))?);
        }
    }
    Ok(totals)
}

/// Instructions a request: what the second turn took more than the first, over how many more requests it had.
fn counts(benchmarks: &Value, totals: &[u64]) -> Result<Counts> {
    let benchmarks = benchmarks.as_array().context("the program names no benchmarks")?;
    if totals.len() != 2 * benchmarks.len() || totals.is_empty() {
        bail!(
            "{} benchmarks in two turns each, and {FUNCTION} was left {} times",
            benchmarks.len(),
            totals.len()
        );
    }
    let count = |(benchmark, turns): (&Value, &[u64])| -> Result<_> {
        let id = benchmark["id"].as_str().context("a benchmark without an id")?;
        let requests = |turn: usize| benchmark["requests"][turn].as_u64().context("a turn without requests");
        let more = (requests(1)?.checked_sub(requests(0)?), turns[1].checked_sub(turns[0]));
        let (Some(requests @ 1..), Some(instructions)) = more else {
            bail!("{id}: the second turn is no longer than the first, {turns:?}");
        };
        Ok((id.to_owned(), (instructions + requests / 2) / requests))
    };
    benchmarks.iter().zip(totals.chunks(2)).map(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const DUMPS: &str = "desc: Trigger: --dump-after=f\nfn=(1) f\n16 3\ntotals: 1034\n\
                         desc: Trigger: --dump-after=f\ntotals: 2035\ndesc: Trigger: Program termination\ntotals: 7\n";

    #[test]
    fn a_request_takes_what_the_longer_turn_took_more() {
        let benchmarks = json!([{ "id": "route/1x2/none", "requests": [10, 20] }]);
        let totals = totals(DUMPS).unwrap();
        assert_eq!(totals, [1034, 2035]);
        assert_eq!(counts(&benchmarks, &totals).unwrap(), [("route/1x2/none".to_owned(), 100)]);
    }

    #[test]
    fn a_function_that_was_not_found_is_no_count() {
        let benchmarks = json!([{ "id": "a", "requests": [1, 2] }]);
        let error = counts(&benchmarks, &totals("desc: Trigger: Program termination\ntotals: 0\n").unwrap());
        assert!(error.unwrap_err().to_string().ends_with("was left 0 times"));
        assert!(counts(&json!([]), &[]).is_err());
    }

    #[test]
    fn a_turn_that_is_not_longer_is_no_count() {
        let error = |requests: [u64; 2], totals: [u64; 2]| {
            counts(&json!([{ "id": "a", "requests": requests }]), &totals).unwrap_err().to_string()
        };
        assert!(error([2, 2], [3, 4]).starts_with("a: the second turn"));
        assert!(error([1, 2], [4, 3]).starts_with("a: the second turn"));
        assert!(totals("desc: Trigger: --dump-after=f\ntotals: many\n").is_err());
    }
}
