//! `cargo xtask ci`: all checks that a change must pass.

use crate::report::Report;
use crate::workspace::{Workspace, cargo};
use crate::{instructions, lint, test};
use anyhow::{Context, bail};
use std::process::Command;

#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Skips what needs programs of other projects
    #[arg(long)]
    no_services: bool,
}

pub(crate) fn run(workspace: &Workspace, report: &mut Report, arguments: Arguments) {
    lint::run(workspace, report);
    report.command(
        "rustdoc",
        cargo("doc --workspace --all-features --no-deps --quiet").env("RUSTDOCFLAGS", "-D warnings"),
    );
    alone(workspace, report);
    package(workspace, report);
    report.command(
        "packages under core",
        &mut cargo("tree --package tiny-dancer-core --all-features --edges normal"),
    );
    // Last, so that the summaries of the tests are near the end.
    let Arguments { no_services } = arguments;
    test::run(workspace, report, test::Arguments { no_services, only_services: false });
    if no_services {
        report.skip(instructions::HEADLINE, "--no-services");
    } else {
        instructions::run(workspace, report, false, None);
    }
}

/// The largest package that the registry takes, in bytes.
const LARGEST: u64 = 10 << 20;

/// The package of the crate with the static table: it builds by itself, and the registry takes it.
fn package(workspace: &Workspace, report: &mut Report) {
    let mut build = cargo("package --package tiny-dancer-embed --allow-dirty --quiet");
    report.command("package of tiny-dancer-embed", &mut build);
    report.check("its size", &format!("at most {LARGEST} bytes"), || {
        let name = concat!("package/tiny-dancer-embed-", env!("CARGO_PKG_VERSION"), ".crate");
        let bytes = std::fs::metadata(workspace.target.join(name)).context(name)?.len();
        if bytes <= LARGEST { Ok(()) } else { bail!("{name} has {bytes} bytes") }
    });
}

/// Each published crate alone: without features, with each of them, and with all.
///
/// In the whole workspace a crate gets every feature that another crate turns on, so a missing feature shows only in a build
/// of one crate. Warnings are failures, as in `lint`.
fn alone(workspace: &Workspace, report: &mut Report) {
    for package in workspace.metadata.workspace_packages() {
        if !package.manifest_path.starts_with(workspace.metadata.workspace_root.join("crates")) {
            continue;
        }
        let clippy = |features: &[&str]| -> Command {
            let mut command = cargo("clippy --quiet --package");
            command.arg(package.name.as_str()).args(features).args(["--", "-D", "warnings"]);
            command
        };
        let name = &package.name;
        report.command(&format!("{name} without features"), &mut clippy(&["--no-default-features"]));
        let features: Vec<_> = package.features.keys().filter(|feature| *feature != "default").collect();
        for feature in &features {
            report.command(
                &format!("{name} with {feature}"),
                &mut clippy(&["--no-default-features", "--features", feature]),
            );
        }
        if features.len() > 1 {
            report.command(&format!("{name} with all features"), &mut clippy(&["--all-features"]));
        }
    }
}
