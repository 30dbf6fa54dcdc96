//! The product under a real Prometheus: scraped families, the dashboard's queries, and three alerts that reach a receiver
//! through Alertmanager, firing and resolved.
//!
//! It runs faster than production: Prometheus scrapes and evaluates every second, a rate covers ten seconds, and the alerts
//! on circuits and on missing targets wait for two seconds. Otherwise the rules are those of docs/alerts.

use super::dashboard::{self, Query, Selection};
use super::process::{self, Running, free_address};
use super::served::Served;
use super::webhook::Webhook;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The longest time of one check. The example has an outage every 24 s.
const PATIENCE: Duration = Duration::from_secs(90);
/// The example's arguments: the lightweight model fails for 12 s of every 24.
pub(crate) const OUTAGES: [&str; 2] = ["--outages", "24"];
/// The `router` labels of the examples, one each.
pub(crate) const ROUTERS: [&str; 2] = ["support", "sales"];
/// The job of the examples, which the alerts on targets expect.
pub(crate) const JOB: &str = "tiny-dancer";
/// The job of the gateways.
pub(crate) const GATEWAYS: &str = "gateway";
/// The alerts that are followed to the receiver.
const CIRCUIT_OPEN: &str = "TinyDancerCircuitOpen";
const RELOAD_FAILING: &str = "TinyDancerReloadFailing";
const TARGET_GONE: &str = "TinyDancerTargetGone";
/// The alerts that wait for two seconds, and for how long they wait in production.
const HASTENED: [(&str, &str); 2] = [(CIRCUIT_OPEN, "1m"), (TARGET_GONE, "5m")];
/// The file of Prometheus' targets, which it reads again when it changes.
const TARGETS: &str = "targets.json";

/// Two instances of a program.
pub(crate) struct Pair {
    pub(crate) job: &'static str,
    pub(crate) served: [Served; 2],
    /// The values of their labels `router`, or what selects instances without one.
    pub(crate) routers: [&'static str; 2],
}

/// Prometheus, which scrapes two served examples and two gateways, Alertmanager, and a receiver.
pub(crate) struct Stack {
    prometheus: Running,
    address: SocketAddr,
    _alertmanager: Running,
    webhook: Webhook,
    /// The number of rules.
    rules: usize,
    folder: PathBuf,
}

/// The programs.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) prometheus: PathBuf,
    pub(crate) alertmanager: PathBuf,
}

impl Stack {
    /// Starts them in an empty folder, and waits until all instances were scraped.
    pub(crate) fn start(programs: &Programs, pairs: [&Pair; 2], rules: &str, folder: &Path) -> Result<Self> {
        let webhook = Webhook::start()?;
        let (address, alertmanager_address) = (free_address()?, free_address()?);
        let receiver = webhook.address().context("the receiver has no address")?;
        fs::write(folder.join("rules.yml"), hastened(rules)?)?;
        fs::write(folder.join("alertmanager.yml"), alertmanager_config(receiver))?;
        fs::write(folder.join("prometheus.yml"), prometheus_config(alertmanager_address))?;
        write_targets(folder, &pairs)?;
        let mut command = alertmanager(&programs.alertmanager);
        command
            .arg("--config.file=alertmanager.yml")
            .arg("--storage.path=alertmanager")
            .arg(format!("--web.listen-address={alertmanager_address}"))
            .arg("--cluster.listen-address=")
            .current_dir(folder);
        let mut alertmanager = Running::start(&mut command, &folder.join("alertmanager.log"))?;
        alertmanager
            .wait(PATIENCE, "is not ready", |_| process::get(alertmanager_address, "/-/ready", &[]))?;
        let mut command = Command::new(&programs.prometheus);
        command
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=prometheus")
            .arg("--enable-feature=exemplar-storage")
            .arg(format!("--web.listen-address={address}"))
            .current_dir(folder);
        let prometheus = Running::start(&mut command, &folder.join("prometheus.log"))?;
        let rules = rules.matches("- alert: ").count() + rules.matches("- record: ").count();
        let folder = folder.to_owned();
        let mut stack = Self { prometheus, address, _alertmanager: alertmanager, webhook, rules, folder };
        for Pair { job, .. } in pairs {
            let query = format!("sum(up{{job=\"{job}\"}}) == 2");
            stack.wait_for(&format!("has not scraped both instances of {job}"), &query)?;
        }
        Ok(stack)
    }

    fn wait<T>(
        &mut self,
        what: &str,
        mut attempt: impl FnMut(SocketAddr, &Webhook) -> Result<T>,
    ) -> Result<T> {
        self.prometheus.wait(PATIENCE, what, |_| {
            self.webhook.receive()?;
            attempt(self.address, &self.webhook)
        })
    }

    /// Waits until a query finds a number.
    fn wait_for(&mut self, what: &str, query: &str) -> Result<()> {
        self.wait(what, |address, _| {
            let found = get(address, "/api/v1/query", &[("query", query)])?;
            dashboard::check_found(&found["data"]["result"], 2)
        })
    }

    /// Fails unless Prometheus has a sample of each family of these instances, and its counters and histograms have counted where that is expected.
    pub(crate) fn check_families(
        &mut self,
        families: &[String],
        job: &str,
        have_counted: bool,
    ) -> Result<()> {
        let least = if have_counted { ">" } else { ">=" };
        for family in families {
            // OpenMetrics, which Prometheus prefers, names a counter's family without `_total`.
            let name = family.strip_suffix("_total").unwrap_or(family);
            let kind = self.wait(&format!("does not know {family}"), |address, _| {
                let known = get(address, "/api/v1/metadata", &[("metric", name)])?;
                known["data"][name][0]["type"].as_str().map(str::to_owned).context("no type")
            })?;
            let query = match &*kind {
                "counter" => format!("sum({family}{{job=\"{job}\"}}) {least} 0"),
                "gauge" => format!("{family}{{job=\"{job}\"}}"),
                "histogram" => format!("sum({family}_count{{job=\"{job}\"}}) {least} 0"),
                _ => bail!("{family} is a {kind}"),
            };
            self.wait_for(&format!("finds nothing by {query}"), &query)?;
        }
        Ok(())
    }

    /// Fails unless each query finds numbers, and exemplars if Grafana asks for them: of both instances where all are selected
    /// and the query shows them, and of each instance where it is selected alone.
    pub(crate) fn check_queries(&mut self, queries: &[Query], pair: &Pair, all: Selection) -> Result<()> {
        let alone = pair.served.iter().zip(pair.routers).map(|(served, router)| Selection {
            job: pair.job.to_owned(),
            instance: served.address.to_string(),
            router: router.to_owned(),
        });
        let selections: Vec<_> = [(all, 2)].into_iter().chain(alone.map(|one| (one, 1))).collect();
        for query in queries {
            let selections = if query.is_selective() { &selections[..] } else { &selections[..1] };
            for (selection, instances) in selections {
                let (title, expr) = (&query.title, query.concrete(selection));
                self.wait(&format!("finds nothing for {title:?}: {expr}"), |address, _| {
                    let found = get(address, "/api/v1/query", &[("query", &expr)])?;
                    dashboard::check_found(&found["data"]["result"], *instances)?;
                    if query.has_exemplars {
                        let found = get(address, "/api/v1/query_exemplars", &[("query", &expr)])?;
                        dashboard::check_exemplars(&found["data"], *instances)?;
                    }
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// Fails unless Prometheus evaluates all rules without errors, and three alerts reach the receiver, first as firing and
    /// then as resolved: on a circuit, which the example's outages open; on the first example's model file, which is broken and
    /// repaired; and on the targets, which leave service discovery and return.
    pub(crate) fn check_alerts(&mut self, examples: &Pair, gateways: &Pair, model: &Path) -> Result<()> {
        let expected = self.rules;
        self.wait("has not evaluated all rules without errors", |address, _| {
            let groups = get(address, "/api/v1/rules", &[])?;
            let groups = groups["data"]["groups"].as_array().context("no groups")?;
            let rules = groups.iter().filter_map(|group| group["rules"].as_array()).flatten();
            let healthy = rules.filter(|rule| rule["health"] == "ok").count();
            if healthy == expected { Ok(()) } else { bail!("{healthy} of {expected} rules are healthy") }
        })?;
        let circuit = ("circuit", "lightweight");
        self.check_arrival(CIRCUIT_OPEN, "firing", circuit)?;
        self.check_arrival(CIRCUIT_OPEN, "resolved", circuit)?;

        let (instance, good) = (examples.served[0].address.to_string(), fs::read(model)?);
        fs::write(model, "not a model")?;
        self.check_arrival(RELOAD_FAILING, "firing", ("instance", &instance))?;
        fs::write(model, good)?;
        self.check_arrival(RELOAD_FAILING, "resolved", ("instance", &instance))?;

        write_targets(&self.folder, &[gateways])?;
        self.check_arrival(TARGET_GONE, "firing", ("job", JOB))?;
        write_targets(&self.folder, &[examples, gateways])?;
        self.check_arrival(TARGET_GONE, "resolved", ("job", JOB))
    }

    /// Fails unless the receiver gets an alert with a status, a label and a runbook.
    fn check_arrival(&mut self, name: &str, status: &str, (label, value): (&str, &str)) -> Result<()> {
        let alert = self.wait(&format!("has sent no {name} that is {status}"), |_, webhook| {
            webhook.alert(name, status).context("no such alert arrived")
        })?;
        let anchor = format!("#{}", name.to_lowercase());
        let runbook = alert["annotations"]["runbook_url"].as_str().unwrap_or_default();
        if alert["labels"][label] != value || !runbook.ends_with(&anchor) {
            bail!("{name} arrived without its {label} or its runbook: {alert}");
        }
        Ok(())
    }
}

/// Alertmanager. Debian's program opens its templates at an absolute path under `/usr/share`, which no option changes, so an
/// unpacked one runs in a mount namespace with the package's `usr/share` at that path.
fn alertmanager(program: &Path) -> Command {
    let Some(unpacked) = program.ancestors().nth(3).filter(|_| program.is_absolute()) else {
        return Command::new(program);
    };
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c"]);
    command.arg("mount --bind \"$0\" /usr/share && exec \"$@\"").arg(unpacked.join("usr/share")).arg(program);
    command
}

/// A response of Prometheus.
fn get(address: SocketAddr, path: &str, query: &[(&str, &str)]) -> Result<Value> {
    Ok(serde_json::from_str(&process::get(address, path, query)?)?)
}

/// The rules, with two seconds for the alerts of [`HASTENED`], and without an interval for a group.
fn hastened(rules: &str) -> Result<String> {
    let mut hastened = rules.replace("    interval: 1m\n", "");
    for (alert, wait) in HASTENED {
        let at = hastened.find(&format!("- alert: {alert}\n")).with_context(|| format!("no {alert}"))?;
        let (before, rest) = hastened.split_at(at);
        // Other alerts may wait as long.
        let end = rest[1..].find("- alert: ").map_or(rest.len(), |end| 1 + end);
        let (rule, after) = rest.split_at(end);
        let hurried = rule.replacen(&format!("for: {wait}\n"), "for: 2s\n", 1);
        if hurried == rule {
            bail!("{alert} does not wait for {wait}");
        }
        hastened = format!("{before}{hurried}{after}");
    }
    Ok(hastened)
}

fn prometheus_config(alertmanager: SocketAddr) -> String {
    format!(
        "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\n\
         rule_files: [rules.yml]\n\
         alerting:\n  alertmanagers:\n    - static_configs:\n        - targets: ['{alertmanager}']\n\
         scrape_configs:\n  - job_name: {JOB}\n    file_sd_configs:\n      - files: [{TARGETS}]\n        \
         refresh_interval: 1s\n"
    )
}

/// The instances that service discovery finds.
fn write_targets(folder: &Path, pairs: &[&Pair]) -> Result<()> {
    let targets = pairs.iter().map(|Pair { job, served, .. }| {
        let addresses = served.each_ref().map(|served| served.address);
        json!({ "targets": addresses, "labels": { "job": job } })
    });
    fs::write(folder.join(TARGETS), targets.collect::<Value>().to_string()).context(TARGETS)
}

fn alertmanager_config(webhook: SocketAddr) -> String {
    format!(
        "route:\n  receiver: ours\n  group_by: [alertname, circuit]\n  group_wait: 1s\n  group_interval: 1s\n\
         receivers:\n  - name: ours\n    webhook_configs:\n      - url: 'http://{webhook}/'\n        send_resolved: true\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_alerts_are_hastened_and_no_other() {
        let rules = |circuit: &str, gone: &str| {
            let alerts = [("Other", "1m"), (CIRCUIT_OPEN, circuit), ("Third", "1m"), (TARGET_GONE, gone)];
            let alerts = alerts.map(|(name, wait)| format!("- alert: {name}\n  for: {wait}\n"));
            format!("    interval: 1m\n{}", alerts.concat())
        };
        let hastened = hastened(&rules("1m", "5m")).unwrap();
        assert_eq!(hastened, rules("2s", "2s").replace("    interval: 1m\n", ""));
        assert!(super::hastened(&rules("5m", "5m")).is_err());
        assert!(super::hastened(&rules("1m", "1m")).is_err());
        assert!(super::hastened("- alert: Other\n  for: 1m\n").is_err());
    }
}
