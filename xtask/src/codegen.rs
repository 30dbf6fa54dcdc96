//! `cargo xtask codegen`: writes the documents anew that are made from code.
//!
//! The code map is made here. Each crate owns its documents, and the test that compares them with the code writes them
//! where `BLESS` is set.

use crate::bench::document;
use crate::codemap;
use crate::report::Report;
use crate::workspace::{Workspace, cargo};

pub(crate) fn run(workspace: &Workspace, report: &mut Report) {
    report.check("code map", "docs/architecture.md", || codemap::write(workspace));
    report
        .check("tables and picture of the benches", document::DOCUMENT, || document::write(&workspace.root));
    let mut update = cargo("test --quiet --package tiny-dancer-metrics --package tiny-dancer-tracing");
    report.command("write the documents", update.env("BLESS", "1"));
    report.command(
        "check them",
        &mut cargo("test --quiet --package tiny-dancer-metrics --package tiny-dancer-tracing"),
    );
}
