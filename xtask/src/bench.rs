//! bench
use crate::report::Report;
use crate::workspace::Workspace;
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}
pub(crate) fn run(_: &Workspace, _: &mut Report, _: &Arguments) {}
