//! The product against real services: programs of other projects read what it serves.
//!
//! They are fetched without root and unpacked under `target/services`; nothing is installed. Every started program is
//! stopped again.

use crate::report::Report;
use crate::workspace::{Workspace, output};
use anyhow::{Context, Result, bail};
use dashboard::{Query, Selection};
use prometheus::{Pair, Programs, Stack};
use served::Served;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

mod dashboard;
pub(crate) mod debian;
pub(crate) mod grafana;
pub(crate) mod process;
mod prometheus;
pub(crate) mod python;
pub(crate) mod served;
mod webhook;

pub(crate) const HEADLINE: &str = "metrics, by real services";

/// The example with every family and a simulated outage.
const EXAMPLE: &str = "full_observability";

/// The program with the gateway.
const GATEWAY: &str = "tiny-dancer";

/// What a new gateway shows.
const SCRAPE: &str = "crates/tiny-dancer-gateway/tests/it/metrics.txt";
/// The source that names the router's families.
const CATALOGUE: &str = "crates/tiny-dancer-metrics/src/catalogue.rs";
/// The model that the example loads.
const MODEL: &str = "crates/tiny-dancer-core/model/static.safetensors";
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
                alertmanager: debian::program("prometheus-alertmanager", "prometheus-alertmanager", &folder)?,
            },
        });
        Ok(())
    });
    let what = format!("promtool check config, check rules and test rules, {ALERTS}");
    report.check("alerts, by promtool", &what, || {
        check_rules(&programs.as_ref().context("promtool is missing")?.promtool, &workspace.root.join(ALERTS))
    });
    let what = format!("{DASHBOARD}, types of npm's @grafana/schema");
    report.check("dashboard, by tsc", &what, || {
        grafana::check(&dashboard(workspace)?, &folder.join("grafana"))
    });
    let what = format!(
        "two of {EXAMPLE} --serve, two of {GATEWAY} serve --demo, every family, every query of the dashboard, three alerts"
    );
    report.check(HEADLINE, &what, || {
        check_served(workspace, programs.as_ref().context("Prometheus is missing")?, &folder.join("run"))
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
        ["test", "rules", "tiny-dancer.slow.test.yml"],
    ];
    for task in tasks {
        output(Command::new(promtool).args(task).current_dir(folder))?;
    }
    Ok(())
}

/// All checks of the running examples and gateways, in an emptied folder.
fn check_served(workspace: &Workspace, found: &Found, folder: &Path) -> Result<()> {
    let catalogue = fs::read_to_string(workspace.root.join(CATALOGUE)).context(CATALOGUE)?;
    let families = families(&catalogue);
    // Fewer are found if the catalogue spells names in another way.
    if families.len() < 21 {
        bail!("{CATALOGUE} names {} families, expected 21 or more", families.len());
    }
    let dashboard = dashboard(workspace)?;
    let (of_gateways, of_examples): (Vec<_>, Vec<_>) =
        dashboard::queries(&dashboard)?.into_iter().partition(Query::is_of_gateway);
    let rules = fs::read_to_string(workspace.root.join(RULES)).context(RULES)?;
    let program = served::build(workspace, EXAMPLE)?;
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder)?;
    let model = |router| folder.join(router).join("model.safetensors");
    let served = |router| {
        let (folder, model) = (folder.join(router), model(router));
        fs::create_dir_all(&folder)?;
        fs::copy(workspace.root.join(MODEL), &model).context(MODEL)?;
        let model = model.to_str().context("a path in UTF-8")?;
        let arguments = [&prometheus::OUTAGES[..], &["--model", model, "--router", router]].concat();
        Served::start(&program, &arguments, &workspace.root, &folder)
    };
    let routers = prometheus::ROUTERS;
    let [first, second] = routers;
    let examples = Pair { job: prometheus::JOB, served: [served(first)?, served(second)?], routers };
    let program = served::build(workspace, GATEWAY)?;
    let served = |name| {
        let folder = folder.join(name);
        fs::create_dir_all(&folder)?;
        Served::demonstration(&program, &workspace.root, &folder)
    };
    let served = [served("first gateway")?, served("second gateway")?];
    let gateways = Pair { job: prometheus::GATEWAYS, served, routers: [".*"; 2] };
    let mut stack = Stack::start(&found.programs, [&examples, &gateways], &rules, folder)?;
    stack.check_families(&families, examples.job, true)?;
    let scrape = fs::read_to_string(workspace.root.join(SCRAPE)).context(SCRAPE)?;
    // The demonstration has no shadows, and no client of it gives feedback.
    stack.check_families(&shown(&scrape), gateways.job, false)?;
    for (pair, queries) in [(&examples, of_examples), (&gateways, of_gateways)] {
        check_metrics(&found.promtool, &process::get(pair.served[0].address, "/metrics", &[])?)?;
        stack.check_queries(&queries, pair, Selection::all(&dashboard, pair.job)?)?;
    }
    stack.check_alerts(&examples, &gateways, &model(first))
}

/// The families of a scrape.
fn shown(scrape: &str) -> Vec<String> {
    let types = scrape.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.map(|(name, _)| name.to_owned()).collect()
}

/// The families that the source of the catalogue names.
fn families(catalogue: &str) -> Vec<String> {
    let names =
        catalogue.lines().filter_map(|line| line.trim_start().strip_prefix("name: \"")?.split_once('"'));
    names.map(|(name, _)| name.to_owned()).filter(|name| name.starts_with("tiny_dancer_")).collect()
}

/// Fails on a warning too, although `promtool` exits with zero after some of them.
fn check_metrics(promtool: &Path, metrics: &str) -> Result<()> {
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("promtool's input")?.write_all(metrics.as_bytes())?;
    let output = child.wait_with_output()?;
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed);
    if !output.status.success() || !printed.trim().is_empty() {
        bail!("promtool check metrics: {}\n{printed}", output.status);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_families_are_those_that_the_catalogue_names() {
        let catalogue =
            "    name: \"tiny_dancer_a_total\",\n    labels: &[Label { name: \"of\" }],\n    name: \"le\",\n";
        assert_eq!(super::families(catalogue), ["tiny_dancer_a_total"]);
    }
}
