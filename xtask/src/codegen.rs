//! `cargo xtask codegen`: writes the documents that are made from code.
//!
//! Each crate owns its documents. The test that compares them with the code writes them where `BLESS` is set.

use crate::bench::document;
use crate::report::Report;
use crate::week;
use crate::workspace::{Workspace, cargo};

pub(crate) fn run(workspace: &Workspace, report: &mut Report) {
    report.check("tables and picture of docs/performance.md", document::DOCUMENT, || {
        document::write(&workspace.root)
    });
    report.check("tables of docs/tour.md", week::DOCUMENT, || week::write(&workspace.root));
    // What a new gateway shows is a part of what the metrics' documents are made from.
    let mut scrape = cargo("test --quiet --package tiny-dancer-gateway --test gateway the_stored_scrape");
    report.command("scrape a gateway", scrape.env("BLESS", "1"));
    let mut update = cargo("test --quiet --package tiny-dancer-metrics --package tiny-dancer-tracing");
    report.command("write the documents", update.env("BLESS", "1"));
    let mut promises = cargo("test --quiet --package tiny-dancer-cli --bin tiny-dancer record::tests");
    report.command("tables and picture of docs/promises.md", promises.env("BLESS", "1"));
    report.command(
        "check them",
        &mut cargo("test --quiet --package tiny-dancer-metrics --package tiny-dancer-tracing"),
    );
}
