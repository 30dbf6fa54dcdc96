//! `cargo xtask screenshot`: a picture of one trace in a web page, reached from an exemplar.
//!
//! `axum_service` sends the spans of a whole service to otelite, a collector with a web page that draws traces. An exemplar of
//! the latency in its `/metrics` names a trace. A script for node opens that trace in Chromium and takes the picture.

use crate::receivers::OPENMETRICS;
use crate::report::Report;
use crate::services::grafana::install;
use crate::services::process::{self, Running, free_address};
use crate::services::served::Served;
use crate::workspace::{Workspace, built, cargo, output};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The example with an incoming request, its decision, and the call of the chosen model in one trace.
const EXAMPLE: &str = "axum_service";
/// Its spans in one request: both servers', the call between them, the decision and its four stages.
const SPANS: usize = 8;
/// The collector, in a tried version.
const OTELITE: &str = "otelite@0.1.156";
/// The library that drives Chromium, in a tried version.
const PUPPETEER: &str = "puppeteer-core@24.43.1";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The file of the picture
    #[arg(default_value = "target/trace.png")]
    picture: PathBuf,
}

pub(crate) fn run(workspace: &Workspace, report: &mut Report, arguments: &Arguments) {
    let picture = workspace.root.join(&arguments.picture);
    let what = format!("{EXAMPLE}, its spans in otelite, its page in Chromium, {}", picture.display());
    report.check("screenshot", &what, || take(workspace, &workspace.target.join("services"), &picture));
}

fn take(workspace: &Workspace, folder: &Path, picture: &Path) -> Result<()> {
    let chromium = output(Command::new("which").arg("chromium"))
        .context("Chromium is not on PATH; it is Debian's package chromium")?;
    let mut build = cargo("build --package tiny-dancer-examples --message-format json-render-diagnostics");
    let example = built(build.args(["--example", EXAMPLE]).current_dir(&workspace.root), EXAMPLE)?;
    let run = folder.join("screenshot");
    let _ = fs::remove_dir_all(&run);
    fs::create_dir_all(&run)?;
    let (otlp, grpc, page) = (free_address()?, free_address()?, free_address()?);
    let mut command = Command::new(otelite(folder)?);
    command
        .args(["serve", "--addr", &page.to_string(), "--storage-path"])
        .arg(&run)
        .env("OTELITE_OTLP_HTTP_PORT", otlp.port().to_string())
        .env("OTELITE_OTLP_GRPC_PORT", grpc.port().to_string())
        // It writes to the home folder, and fetches prices of language models unless the proxy refuses.
        .envs([("HOME", run.as_os_str()), ("HTTPS_PROXY", "http://127.0.0.1:9".as_ref())]);
    let mut otelite = Running::start(&mut command, &run.join("otelite.log"))?;
    otelite.wait(Duration::from_secs(60), "serves no page", |_| process::get(page, "/", &[]))?;
    let endpoint = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*format!("http://{otlp}"))];
    let served = Served::with_environment(&example, &[], &endpoint, &workspace.root, &run)?;
    process::get(served.address, "/ask/prompt-001", &[])?;
    let trace = exemplar(&process::get_as(served.address, "/metrics", &[], Some(OPENMETRICS))?)?;
    let scripts = folder.join("puppeteer");
    install(&scripts, &[PUPPETEER])?;
    fs::write(scripts.join("picture.mjs"), include_str!("screenshot/picture.mjs"))?;
    let mut node = Command::new("node");
    node.args(["picture.mjs", chromium.trim(), &format!("http://{page}"), &trace, &SPANS.to_string()]);
    output(node.arg(picture).current_dir(&scripts))?;
    Ok(())
}

/// The trace of an exemplar of the latency.
fn exemplar(exposition: &str) -> Result<String> {
    let buckets = exposition.lines().filter(|line| line.contains("_bucket{"));
    let mut traces = buckets.filter_map(|line| line.split_once("trace_id=\"")?.1.split_once('"'));
    Ok(traces.next().context("no bucket has an exemplar")?.0.to_owned())
}

/// The path of otelite, which is built from its package once.
fn otelite(folder: &Path) -> Result<PathBuf> {
    let root = folder.join(OTELITE.replace('@', "-"));
    let program = root.join("bin/otelite");
    if !program.exists() {
        println!("    building {OTELITE} once, which takes some minutes");
        let target = folder.join("otelite.building");
        let mut install = cargo("install --locked --quiet");
        output(install.arg(OTELITE).arg("--root").arg(&root).env("CARGO_TARGET_DIR", &target))?;
        fs::remove_dir_all(target)?;
    }
    Ok(program)
}
