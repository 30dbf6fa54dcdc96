//! The product against real services: what it serves, read by programs that others wrote.
//!
//! Everything is fetched without root and unpacked under `target/services`; nothing is installed. What is started is
//! stopped again, whatever happens.

use crate::report::{Report, now};
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use prometheus::{Programs, Stack};
use served::Served;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

pub(crate) mod debian;
mod exposition;
mod grafana;
pub(crate) mod http;
pub(crate) mod process;
mod prometheus;
pub(crate) mod served;
mod webhook;

pub(crate) const HEADLINE: &str = "metrics, by real services";

/// The example that shows all there is.
const EXAMPLE: &str = "full_observability";

/// The one place where families are named.
const CATALOGUE: &str = "crates/tiny-dancer-metrics/src/catalogue.rs";
const DASHBOARD: &str = "docs/dashboards/tiny-dancer.json";
const ALERTS: &str = "docs/alerts";
const RULES: &str = "docs/alerts/tiny-dancer.rules.yml";

pub(crate) fn run(workspace: &Workspace, report: &mut Report) {
    let folder = workspace.target.join("services");
    let mut programs = None;
    let what = "from PATH, or Debian's packages unpacked under target/services";
    report.check("prometheus, promtool and alertmanager", what, || {
        programs = Some(Found {
            promtool: debian::program("prometheus", "promtool", &folder)?,
            programs: Programs {
                prometheus: debian::program("prometheus", "prometheus", &folder)?,
                // Debian's name for it.
                alertmanager: debian::program("prometheus-alertmanager", "prometheus-alertmanager", &folder)?,
            },
        });
        Ok(())
    });
    let what = format!("promtool check config, check rules and test rules, {ALERTS}");
    report.check("alerts, by promtool", &what, || {
        check_rules(
            &programs.as_ref().context("there is no promtool")?.promtool,
            &workspace.root.join(ALERTS),
        )
    });
    let what = format!("{DASHBOARD}, types of npm's @grafana/schema");
    report.check("dashboard, by tsc", &what, || {
        grafana::check(&dashboard(workspace)?, &folder.join("grafana"))
    });
    let what =
        format!("{EXAMPLE} --serve, every family of {CATALOGUE}, every query of the dashboard, an alert");
    report.check(HEADLINE, &what, || {
        check_served(workspace, programs.as_ref().context("there is no Prometheus")?, &folder.join("run"))
    });
}

struct Found {
    promtool: PathBuf,
    programs: Programs,
}

fn dashboard(workspace: &Workspace) -> Result<serde_json::Value> {
    let text = fs::read_to_string(workspace.root.join(DASHBOARD)).context(DASHBOARD)?;
    serde_json::from_str(&text).context(DASHBOARD)
}

fn check_rules(promtool: &Path, folder: &Path) -> Result<()> {
    let tasks = [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "tiny-dancer.rules.yml"],
        ["test", "rules", "tiny-dancer.test.yml"],
    ];
    for task in tasks {
        let said = Command::new(promtool).args(task).current_dir(folder).output()?;
        if !said.status.success() {
            let said = [said.stdout, said.stderr].concat();
            bail!("promtool {}: failed\n{}", task.join(" "), String::from_utf8_lossy(&said));
        }
    }
    Ok(())
}

/// Everything that needs the example running, in a folder that was emptied.
fn check_served(workspace: &Workspace, found: &Found, folder: &Path) -> Result<()> {
    let catalogue = fs::read_to_string(workspace.root.join(CATALOGUE)).context(CATALOGUE)?;
    let families = exposition::families(&catalogue);
    // Fewer than the design has: names are spelled in another way, or elsewhere.
    if families.len() < 21 {
        bail!("{CATALOGUE} names {} families, expected 21 or more", families.len());
    }
    let queries = prometheus::queries(&dashboard(workspace)?)?;
    let rules = fs::read_to_string(workspace.root.join(RULES)).context(RULES)?;
    let program = served::build(workspace, EXAMPLE)?;
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder)?;
    let served = Served::start(&program, &prometheus::OUTAGES, &workspace.root, folder)?;
    check_metrics(&found.promtool, &scrape(&served, &families)?)?;
    let mut stack = Stack::start(&found.programs, &served, &rules, folder)?;
    stack.check_families(&families)?;
    stack.check_queries(&queries)?;
    stack.check_alert()
}

/// What the example serves, as soon as every family says something.
fn scrape(served: &Served, families: &[String]) -> Result<String> {
    let deadline = now() + Duration::from_secs(60);
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
