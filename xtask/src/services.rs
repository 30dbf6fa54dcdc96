//! The product against real services: what it serves, read by programs that others wrote.
//!
//! Everything is fetched without root and unpacked under `target/services`; nothing is installed. What is started is
//! stopped again, whatever happens.

use crate::report::{Report, now};
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use served::Served;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

mod debian;
mod exposition;
mod served;

pub(crate) const HEADLINE: &str = "metrics, by promtool";

/// The example that shows all there is.
const EXAMPLE: &str = "full_observability";

/// The one place where families are named.
const CATALOGUE: &str = "crates/tiny-dancer-metrics/src/catalogue.rs";

pub(crate) fn run(workspace: &Workspace, report: &mut Report) {
    let folder = workspace.target.join("services");
    let mut promtool = None;
    report.check("promtool", "from PATH, or Debian's package unpacked under target/services", || {
        promtool = Some(debian::program("prometheus", "promtool", &folder)?);
        Ok(())
    });
    let what =
        format!("{EXAMPLE} --serve, GET /metrics | promtool check metrics; every family of {CATALOGUE}");
    report.check(HEADLINE, &what, || {
        let promtool = promtool.context("there is no promtool")?;
        let catalogue = std::fs::read_to_string(workspace.root.join(CATALOGUE)).context(CATALOGUE)?;
        let families = exposition::families(&catalogue);
        // Fewer than the design has: names are spelled in another way, or elsewhere.
        if families.len() < 15 {
            bail!("{CATALOGUE} names {} families, expected 15 or more", families.len());
        }
        let metrics = scrape(workspace, &folder, &families)?;
        check_metrics(&promtool, &metrics)
    });
}

/// What the example serves, as soon as every family says something.
fn scrape(workspace: &Workspace, folder: &Path, families: &[String]) -> Result<String> {
    let program = served::build(workspace, EXAMPLE)?;
    let served = Served::start(&program, &workspace.root, &folder.join(format!("{EXAMPLE}.log")))?;
    let deadline = now() + Duration::from_secs(30);
    loop {
        let metrics = served.get("/metrics")?;
        match exposition::check(&metrics, families) {
            Ok(()) => return Ok(metrics),
            Err(error) if now() > deadline => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// Fails on a warning too: `promtool` exits with zero after some of them.
fn check_metrics(promtool: &Path, metrics: &str) -> Result<()> {
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("promtool's input")?.write_all(metrics.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    if !output.status.success() || !said.trim().is_empty() {
        bail!("promtool check metrics: {}\n{said}", output.status);
    }
    Ok(())
}
