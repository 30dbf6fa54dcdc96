//! `cargo xtask test`: the tests, then the product with real services.

use crate::report::Report;
use crate::workspace::{Workspace, cargo};
use crate::{clients, embedders, receivers, services};

#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct Arguments {
    /// Skips what needs programs of other projects
    #[arg(long)]
    pub(crate) no_services: bool,
    /// Runs only what needs programs of other projects
    #[arg(long, conflicts_with = "no_services")]
    pub(crate) only_services: bool,
}

pub(crate) fn run(workspace: &Workspace, report: &mut Report, arguments: Arguments) {
    if arguments.only_services {
        report.skip("tests", "--only-services");
    } else {
        run_tests(report);
    }
    if arguments.no_services {
        report.skip(services::HEADLINE, "--no-services");
        report.skip(clients::HEADLINE, "--no-services");
        for headline in receivers::HEADLINES.iter().chain(embedders::HEADLINES) {
            report.skip(headline, "--no-services");
        }
    } else {
        services::run(workspace, report);
        receivers::run(workspace, report);
        embedders::run(workspace, report);
        clients::run(workspace, report);
    }
}

fn run_tests(report: &mut Report) {
    report.command("tests", &mut cargo("test --workspace --all-features --no-fail-fast"));
}
