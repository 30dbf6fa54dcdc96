//! `cargo xtask ci`: everything that anyone runs before others see a change.

use crate::report::Report;
use crate::workspace::{Workspace, cargo};
use crate::{instructions, lint, test};
use std::process::Command;

#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Leaves out what needs programs from outside, and says so
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
    report.command(
        "what is under core",
        &mut cargo("tree --package tiny-dancer-core --all-features --edges normal"),
    );
    // Last, so that the tests' own summaries stand near the end.
    let Arguments { no_services } = arguments;
    test::run(workspace, report, test::Arguments { no_services, only_services: false });
    if no_services {
        report.skip(instructions::HEADLINE, "--no-services");
    } else {
        instructions::run(workspace, report, false, None);
    }
}

/// Each published crate alone: without its features, with each of them, and with all.
///
/// In the whole workspace a crate gets every feature that any other crate asks for, so only alone does it show that it
/// forgot one. Warnings are failures, as they are in `lint`.
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
