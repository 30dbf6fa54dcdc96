//! The gateway with real clients: the providers' own libraries for Python and Node.
//!
//! Tests of `tiny-dancer-gateway` start models that act and run the clients. Without the environment that is set here, they are
//! skipped.

use crate::report::Report;
use crate::services::{grafana, python};
use crate::workspace::{Workspace, built, cargo, output};
use anyhow::{Result, ensure};
use std::path::Path;
use std::process::Command;

pub(crate) const HEADLINE: &str = "the gateway, by openai and anthropic";

/// The libraries, and all that they depend on, in tried versions.
const PYTHON: &[&str] = &[
    "openai==3.57.0",
    "anthropic==2.14.0",
    "annotated-types==0.8.0",
    "anyio==4.16.0",
    "docstring-parser==0.18.0",
    "h11==0.16.0",
    "httpcore2==2.16.2",
    "httpx2==2.16.2",
    "idna==3.20",
    "jiter==0.19.0",
    "opentelemetry-api==1.45.2",
    "pydantic==2.14.4",
    "pydantic-core==2.50.5",
    "sniffio==1.3.1",
    "truststore==0.10.5",
    "typing-extensions==4.16.0",
    "typing-inspection==0.4.5",
];
const NODE: &[&str] = &["openai@6.49.0", "@anthropic-ai/sdk@1.14.0"];

pub(crate) fn run(workspace: &Workspace, report: &mut Report) {
    let folder = workspace.target.join("services");
    let what = "chat, streams, tools, errors, retries and timeouts, by the libraries for Python and Node";
    report.check(HEADLINE, what, || check(workspace, &folder));
}

fn check(workspace: &Workspace, folder: &Path) -> Result<()> {
    let python = python::packages(folder, PYTHON)?;
    let node = folder.join("clients");
    grafana::install(&node, NODE)?;
    let mut build =
        cargo("test --workspace --all-features --no-run --message-format json-render-diagnostics");
    let program = built(build.current_dir(&workspace.root), "gateway")?;
    let mut test = Command::new(program);
    test.args(["a_client_is_served", "--nocapture"])
        .env("TINY_DANCER_CLIENTS_PYTHON", python)
        .env("TINY_DANCER_CLIENTS_NODE", node);
    let printed = output(&mut test)?;
    print!("{printed}");
    ensure!(
        printed.contains("test result: ok. 4 passed"),
        "expected four passed tests named a_client_is_served"
    );
    Ok(())
}
