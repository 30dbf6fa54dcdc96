//! `cargo xtask codegen`: writes the documents anew that are made from code.
//!
//! Each crate owns its documents, and the test that compares them with the code writes them where `UPDATE_DOCS` is set.

use crate::report::Report;
use crate::workspace::cargo;

pub(crate) fn run(report: &mut Report) {
    let mut update = cargo("test --quiet --package tiny-dancer-metrics --package tiny-dancer-tracing");
    report.command("write the documents", update.env("UPDATE_DOCS", "1"));
    report.command(
        "check them",
        &mut cargo("test --quiet --package tiny-dancer-metrics --package tiny-dancer-tracing"),
    );
}
