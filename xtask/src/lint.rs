//! `cargo xtask lint`: the checks that run no product code.

use crate::arrows::{self, Rules};
use crate::report::Report;
use crate::text;
use crate::workspace::{Workspace, cargo, resolve};
use anyhow::{Result, bail};

/// The platform for which all packages under core are listed; see [`arrows::check`].
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

pub(crate) fn run(workspace: &Workspace, report: &mut Report) {
    report.command("rustfmt", &mut cargo("fmt --all --check"));
    report.command(
        "clippy",
        &mut cargo("clippy --workspace --all-targets --all-features --quiet -- -D warnings"),
    );
    let what = "cargo metadata, all features on, against the rules in xtask/Cargo.toml";
    report.check("dependency arrows", what, || check_arrows(workspace));
    let what =
        "the files that git tracks: silenced lints, postponed work, riddles, paths of one machine, reasons";
    report.check("texts", what, || text::check(workspace));
}

fn check_arrows(workspace: &Workspace) -> Result<()> {
    let linux = resolve(&["--filter-platform", PLATFORM])?;
    let findings = arrows::check(&workspace.metadata, &linux, &Rules::of(&workspace.metadata)?)?;
    if findings.is_empty() { Ok(()) } else { bail!("{} findings\n{}", findings.len(), findings.join("\n")) }
}
