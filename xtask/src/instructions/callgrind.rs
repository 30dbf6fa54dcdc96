//! valgrind's callgrind, which counts the instructions of a program on an emulated processor.
//!
//! The program prints its benchmarks and the numbers of requests of their two turns. Callgrind counts within one function,
//! and writes its count each time that function returns. The emulated processor has AVX2 and no AVX-512 on every
//! machine, so two machines count alike.

use super::{Counted, Counts};
use crate::services::debian;
use crate::workspace::{Workspace, built, cargo, output};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The counted program.
pub(super) const PROGRAM: &str = "instructions";
/// The counted function, as callgrind spells its name.
const FUNCTION: &str = "instructions::requests_that_callgrind_counts";

/// The output of the program.
#[derive(Debug, Deserialize)]
struct Printed {
    kernel: String,
    /// Requests of the first turn and of the second.
    turns: [u64; 2],
    benchmarks: Vec<String>,
}

/// Builds the program and counts, and returns the kernel too.
pub(super) fn count(workspace: &Workspace) -> Result<(String, Counted)> {
    let valgrind = debian::program("valgrind", "valgrind", &workspace.target.join("services"))?;
    let mut build =
        cargo("build --release --package tiny-dancer-benches --message-format json-render-diagnostics");
    let program = built(build.args(["--bin", PROGRAM]).current_dir(&workspace.root), PROGRAM)?;
    let dumps = workspace.target.join("callgrind.out");
    // An earlier run may have left its counts, or nothing.
    let _ = fs::remove_file(&dumps);
    let mut command = clean(&valgrind);
    command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", dumps.display()));
    command.arg("--combine-dumps=yes");
    command.args(["--toggle-collect", "--dump-after"].map(|option| format!("{option}={FUNCTION}")));
    let printed: Printed = serde_json::from_str(&output(command.arg(&program))?).context(PROGRAM)?;
    let dumps = fs::read_to_string(&dumps).with_context(|| dumps.display().to_string())?;
    let counted = Counted {
        rustc: output(Command::new("rustc").arg("--version"))?.trim().to_owned(),
        valgrind: output(clean(&valgrind).arg("--version"))?.trim().to_owned(),
        instructions_a_request: counts(&printed, &totals(&dumps)?)?,
    };
    Ok((printed.kernel, counted))
}

/// valgrind without environment variables, which could change the work of a program or where its stack begins.
fn clean(valgrind: &Path) -> Command {
    let mut command = Command::new(valgrind);
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    // An unpacked valgrind looks for its tools where Debian would install them.
    if let Some(usr) = valgrind.ancestors().nth(2).filter(|usr| usr.ends_with("usr")) {
        command.env("VALGRIND_LIB", usr.join("libexec/valgrind"));
    }
    command
}

/// Instructions between entry and return, for each return of the function.
fn totals(dumps: &str) -> Result<Vec<u64>> {
    let (mut totals, mut is_counted) = (Vec::new(), false);
    for line in dumps.lines() {
        if let Some(trigger) = line.strip_prefix("desc: Trigger: ") {
            // The last dump is triggered by the end of the program.
            is_counted = trigger.starts_with("--dump-after=");
        } else if let Some(total) = line.strip_prefix("totals: ").filter(|_| is_counted) {
            totals.push(total.trim().parse().with_context(|| format!("callgrind wrote {line:?}"))?);
        }
    }
    Ok(totals)
}

/// Instructions of one request: the difference of the two turns over the difference of their requests.
fn counts(Printed { turns, benchmarks, .. }: &Printed, totals: &[u64]) -> Result<Counts> {
    if totals.len() != 2 * benchmarks.len() || totals.is_empty() {
        bail!(
            "{} benchmarks have two turns each, and {FUNCTION} returned {} times",
            benchmarks.len(),
            totals.len()
        );
    }
    let count = |(id, totals): (&String, &[u64])| -> Result<_> {
        let differences = (turns[1].checked_sub(turns[0]), totals[1].checked_sub(totals[0]));
        let (Some(requests @ 1..), Some(instructions)) = differences else {
            bail!("{id}: the second turn is not longer than the first, {turns:?}, {totals:?}");
        };
        Ok((id.clone(), (instructions + requests / 2) / requests))
    };
    benchmarks.iter().zip(totals.chunks(2)).map(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMPS: &str = "desc: Trigger: --dump-after=f\nfn=(1) f\n16 3\ntotals: 1034\n\
                         desc: Trigger: --dump-after=f\ntotals: 2035\ndesc: Trigger: Program termination\ntotals: 7\n";

    fn printed(turns: [u64; 2], benchmarks: &[&str]) -> Printed {
        let benchmarks = benchmarks.iter().map(ToString::to_string).collect();
        Printed { kernel: "avx2".to_owned(), turns, benchmarks }
    }

    #[test]
    fn a_count_is_the_difference_of_the_turns_over_the_difference_of_their_requests() {
        let totals = totals(DUMPS).unwrap();
        assert_eq!(totals, [1034, 2035]);
        let counts = counts(&printed([10, 20], &["route/1x2/none"]), &totals).unwrap();
        assert_eq!(counts, Counts::from([("route/1x2/none".to_owned(), 100)]));
    }

    #[test]
    fn a_function_that_callgrind_does_not_find_is_an_error() {
        let totals = totals("desc: Trigger: Program termination\ntotals: 0\n").unwrap();
        let error = counts(&printed([1, 2], &["a"]), &totals).unwrap_err();
        assert!(error.to_string().ends_with("returned 0 times"));
        assert!(counts(&printed([1, 2], &[]), &[]).is_err());
    }

    #[test]
    fn a_second_turn_that_is_not_longer_is_an_error() {
        let error =
            |turns, totals: [u64; 2]| counts(&printed(turns, &["a"]), &totals).unwrap_err().to_string();
        assert!(error([2, 2], [3, 4]).starts_with("a: the second turn"));
        assert!(error([1, 2], [4, 3]).starts_with("a: the second turn"));
        assert!(totals("desc: Trigger: --dump-after=f\ntotals: many\n").is_err());
    }
}
