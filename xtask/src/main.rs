//! The project's own commands: `cargo xtask bench | lint | test | miri | ci | codegen | screenshot`.
//!
//! Each command is a list of steps. A step prints a headline and its command, and passes, fails or is skipped for a
//! printed reason; the steps after a failure run too. At the end is a table of all steps and a closing line, and the exit
//! code is a failure if a step failed. A step that could not run has failed.
#![expect(clippy::print_stdout, reason = "a program for people at a terminal")]

mod arrows;
mod bench;
mod ci;
mod clients;
mod codegen;
mod embedders;
mod instructions;
mod lint;
mod load;
mod miri;
mod receivers;
mod report;
mod screenshot;
mod services;
mod test;
mod text;
mod week;
mod workspace;

use anyhow::Result;
use clap::{Parser, Subcommand};
use report::Report;
use std::process::ExitCode;
use workspace::Workspace;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "The project's own commands")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Runs the benches, prints a table, and writes a record under benches/record/
    Bench(bench::Arguments),
    /// All checks: lint, rustdoc, each crate alone with each of its features, test, instructions
    Ci(ci::Arguments),
    /// Writes the generated documents
    Codegen,
    /// rustfmt, clippy, the dependency arrows, and texts
    Lint,
    /// The tests of core that Miri can run; rustup installs it with a nightly toolchain
    Miri,
    /// A picture of one trace in a web page; needs Chromium
    Screenshot(screenshot::Arguments),
    /// Unit, integration and documentation tests, then the product against real services
    Test(test::Arguments),
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(report) => report.finish(),
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<Report> {
    let workspace = Workspace::find()?;
    let mut report = Report::new(&workspace);
    match arguments.task {
        Task::Bench(arguments) => bench::run(&workspace, &mut report, &arguments),
        Task::Ci(arguments) => ci::run(&workspace, &mut report, arguments),
        Task::Codegen => codegen::run(&workspace, &mut report),
        Task::Lint => lint::run(&workspace, &mut report),
        Task::Miri => miri::run(&mut report),
        Task::Screenshot(arguments) => screenshot::run(&workspace, &mut report, &arguments),
        Task::Test(arguments) => test::run(&workspace, &mut report, arguments),
    }
    Ok(report)
}
