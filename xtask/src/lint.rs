//! `cargo xtask lint`: what a reader would complain about.

use crate::arrows::{self, Graph, rules::RULES};
use crate::report::Report;
use crate::text;
use crate::workspace::{Workspace, cargo, resolve};
use anyhow::{Result, bail};

/// For whom core's whole closure is written down; see [`arrows::check`].
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

pub(crate) fn run(workspace: &Workspace, report: &mut Report) {
    report.command("rustfmt", &mut cargo("fmt --all --check"));
    report.command(
        "clippy",
        &mut cargo("clippy --workspace --all-targets --all-features --quiet -- -D warnings"),
    );
    let what = "cargo metadata, all features on, against xtask/src/arrows/rules.rs";
    report.check("dependency arrows", what, || check_arrows(workspace));
    let what = "the files git tracks: silenced lints, postponed work, paths of one machine, reasons";
    report.check("texts", what, || text::check(workspace));
}

fn check_arrows(workspace: &Workspace) -> Result<()> {
    let graph = Graph::new(&workspace.metadata)?;
    let linux = Graph::new(&resolve(&["--filter-platform", PLATFORM])?)?;
    let violations = arrows::check(&graph, &linux, &RULES);
    if violations.is_empty() {
        return Ok(());
    }
    let lines: Vec<_> = violations.iter().map(ToString::to_string).collect();
    bail!("{} violations\n{}", lines.len(), lines.join("\n"));
}
