//! `cargo xtask ci`: everything that anyone runs before others see a change.

use crate::report::Report;
use crate::workspace::{Workspace, cargo};
use crate::{lint, test};
use std::process::Command;

pub(crate) fn run(workspace: &Workspace, report: &mut Report) {
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
    test::run(workspace, report, test::Arguments::default());
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
