//! The product under a real Prometheus: what it scraped, what the dashboard's queries find there, and one alert all the
//! way to a receiver and back.
//!
//! Everything is faster than in production: Prometheus scrapes and evaluates every second, a rate looks at ten seconds,
//! and the alert on circuits waits for two seconds instead of a minute. Otherwise the rules are those that are shipped.

use super::debian;
use super::http::{self, encoded};
use super::process::{Running, free_port};
use super::served::Served;
use super::webhook::Webhook;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long anything may take. An outage of the example comes every 24 s.
const PATIENCE: Duration = Duration::from_secs(90);
/// The example's arguments: the lightweight model fails for 12 s of every 24.
pub(crate) const OUTAGES: [&str; 2] = ["--outages", "24"];
/// The alert that goes all the way.
const ALERT: &str = "TinyDancerCircuitOpen";

/// Prometheus, Alertmanager and a receiver, all of them watching a served example.
#[derive(Debug)]
pub(crate) struct Stack {
    prometheus: Running,
    address: SocketAddr,
    /// Held for its end.
    _alertmanager: Running,
    webhook: Webhook,
    /// How many alerts are shipped.
    rules: usize,
}

/// The programs.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) prometheus: PathBuf,
    pub(crate) alertmanager: PathBuf,
}

impl Stack {
    /// Starts all of them, in an empty folder, and waits until the example was scraped.
    pub(crate) fn start(programs: &Programs, served: &Served, rules: &str, folder: &Path) -> Result<Self> {
        let webhook = Webhook::start()?;
        let (port, alert_port) = (free_port()?, free_port()?);
        fs::write(folder.join("rules.yml"), hastened(rules)?)?;
        fs::write(folder.join("alertmanager.yml"), alertmanager_config(webhook.address))?;
        fs::write(folder.join("prometheus.yml"), prometheus_config(served.address, http::local(alert_port)))?;
        let mut command = Command::new(alertmanager(&programs.alertmanager, folder)?);
        command
            .arg("--config.file=alertmanager.yml")
            .arg("--storage.path=alertmanager")
            .arg(format!("--web.listen-address=127.0.0.1:{alert_port}"))
            .arg("--cluster.listen-address=")
            .current_dir(folder);
        let mut alertmanager = Running::start(&mut command, &folder.join("alertmanager.log"))?;
        alertmanager.wait(PATIENCE, "is not ready", |_| http::get(http::local(alert_port), "/-/ready"))?;
        let mut command = Command::new(&programs.prometheus);
        command
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=prometheus")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(folder);
        let prometheus = Running::start(&mut command, &folder.join("prometheus.log"))?;
        let rules = rules.matches("- alert: ").count();
        let mut stack =
            Self { prometheus, address: http::local(port), _alertmanager: alertmanager, webhook, rules };
        stack.wait("has not scraped the example", |stack| {
            stack.query("up{job=\"tiny-dancer\"} == 1").and_then(|found| something(&found))
        })?;
        Ok(stack)
    }

    fn wait<T>(&mut self, what: &str, mut attempt: impl FnMut(&Asked<'_>) -> Result<T>) -> Result<T> {
        let (address, webhook) = (self.address, &self.webhook);
        self.prometheus.wait(PATIENCE, what, |_| attempt(&Asked { address, webhook }))
    }

    /// Fails unless each family has samples in Prometheus.
    pub(crate) fn check_families(&mut self, families: &[String]) -> Result<()> {
        for family in families {
            let query = format!("{{__name__=~\"{family}(_count)?\"}}");
            self.wait(&format!("has no sample of {family}"), |stack| something(&stack.query(&query)?))?;
        }
        Ok(())
    }

    /// Fails unless Prometheus understands each query and finds numbers for it.
    pub(crate) fn check_queries(&mut self, queries: &[(String, String)]) -> Result<()> {
        for (title, query) in queries {
            let concrete = concrete(query);
            self.wait(&format!("has nothing for {title:?}: {query}"), |stack| {
                something(&stack.query(&concrete)?)
            })?;
        }
        Ok(())
    }

    /// Fails unless Prometheus evaluates all rules well, and the alert on circuits reaches the receiver, first as firing
    /// and then as resolved.
    pub(crate) fn check_alert(&mut self) -> Result<()> {
        let expected = self.rules;
        self.wait("has not evaluated all rules well", |stack| {
            let groups = stack.get("/api/v1/rules?type=alert")?;
            let rules = groups["data"]["groups"][0]["rules"].as_array().context("no rules")?;
            let healthy = rules.iter().filter(|rule| rule["health"] == "ok").count();
            if healthy == expected { Ok(()) } else { bail!("{healthy} of {expected} rules are healthy") }
        })?;
        for status in ["firing", "resolved"] {
            let alert = self.wait(&format!("has sent no alert that is {status}"), |stack| {
                stack.webhook.alert(ALERT, status).context("no such alert arrived")
            })?;
            if alert["labels"]["circuit"] != "lightweight" || alert["annotations"]["runbook"].is_null() {
                bail!("{ALERT} arrived without its circuit or its runbook: {alert}");
            }
        }
        Ok(())
    }
}

/// Alertmanager as it can run from `folder`. Debian's insists on finding its templates where its package is installed.
fn alertmanager(program: &Path, folder: &Path) -> Result<PathBuf> {
    const TEMPLATES: &str = "/usr/share/prometheus/alertmanager";
    let installed = Path::new(TEMPLATES);
    let Some(unpacked) = program.ancestors().nth(3).filter(|_| program.is_absolute() && !installed.exists())
    else {
        return Ok(program.to_owned());
    };
    for template in ["default.tmpl", "email.tmpl"] {
        let path = unpacked.join(&TEMPLATES[1..]).join(template);
        fs::copy(&path, folder.join(template)).with_context(|| path.display().to_string())?;
    }
    let copy = folder.join("alertmanager-relocated");
    debian::relocated(program, TEMPLATES, &copy)?;
    Ok(copy)
}

/// What can be asked while one waits.
struct Asked<'a> {
    address: SocketAddr,
    webhook: &'a Webhook,
}

impl Asked<'_> {
    fn get(&self, path: &str) -> Result<Value> {
        Ok(serde_json::from_str(&http::get(self.address, path)?)?)
    }

    /// The result of a query now.
    fn query(&self, query: &str) -> Result<Value> {
        Ok(self.get(&format!("/api/v1/query?query={}", encoded(query)))?["data"]["result"].take())
    }
}

/// Fails unless there is a number among the series that a query found.
fn something(found: &Value) -> Result<()> {
    let numbers = found.as_array().context("no vector")?.iter().filter_map(|series| {
        let number: f64 = series["value"][1].as_str()?.parse().ok()?;
        number.is_finite().then_some(number)
    });
    if numbers.count() == 0 {
        bail!("no number: {found}")
    }
    Ok(())
}

/// A query of the dashboard's, with the values that Grafana substitutes for its variables.
fn concrete(query: &str) -> String {
    query.replace("$__rate_interval", "10s").replace("$instance", ".+")
}

/// Titles and queries of a dashboard: of panels, annotations and variables.
pub(crate) fn queries(dashboard: &Value) -> Result<Vec<(String, String)>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut queries = Vec::new();
    for panel in list(&dashboard["panels"]) {
        for target in list(&panel["targets"]) {
            queries.push((text(&panel["title"]), text(&target["expr"])));
        }
    }
    for annotation in list(&dashboard["annotations"]["list"]) {
        queries.push((text(&annotation["name"]), text(&annotation["expr"])));
    }
    for variable in list(&dashboard["templating"]["list"]) {
        // `label_values(metric, label)`: the values of a label, as a query has them.
        if let Some((metric, label)) = text(&variable["query"])
            .strip_prefix("label_values(")
            .and_then(|rest| rest.strip_suffix(')')?.split_once(", "))
        {
            queries
                .push((text(&variable["name"]), format!("count by ({label}) ({metric}{{{label}!=\"\"}})")));
        }
    }
    if queries.len() < 30 || queries.iter().any(|(_, query)| query.is_empty()) {
        bail!("the dashboard has {} queries, expected 30 or more and none of them empty", queries.len());
    }
    Ok(queries)
}

/// The rules that are shipped, but for the minute that the alert on circuits waits.
fn hastened(rules: &str) -> Result<String> {
    let at = rules.find(&format!("- alert: {ALERT}\n")).with_context(|| format!("no {ALERT}"))?;
    let (before, rest) = rules.split_at(at);
    // Other alerts may wait for a minute, too.
    let end = rest[1..].find("- alert: ").map_or(rest.len(), |end| 1 + end);
    let (rule, after) = rest.split_at(end);
    let hastened = rule.replacen("for: 1m\n", "for: 2s\n", 1);
    if hastened == rule {
        bail!("{ALERT} does not wait for a minute");
    }
    Ok(format!("{before}{hastened}{after}"))
}

fn prometheus_config(target: SocketAddr, alertmanager: SocketAddr) -> String {
    format!(
        "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\n\
         rule_files: [rules.yml]\n\
         alerting:\n  alertmanagers:\n    - static_configs:\n        - targets: ['{alertmanager}']\n\
         scrape_configs:\n  - job_name: tiny-dancer\n    static_configs:\n      - targets: ['{target}']\n"
    )
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
    use serde_json::json;

    #[test]
    fn only_numbers_are_something() {
        let of = |values: &[&str]| {
            let series: Vec<_> = values.iter().map(|value| json!({ "value": [1.5, value] })).collect();
            something(&Value::from(series)).is_ok()
        };
        assert!(of(&["0"]) && of(&["NaN", "1e3"]));
        assert!(!of(&[]) && !of(&["NaN", "+Inf"]));
        assert!(something(&Value::Null).is_err());
    }

    #[test]
    fn only_the_alert_on_circuits_is_hastened() {
        let rules = "- alert: Other\n  for: 1m\n- alert: TinyDancerCircuitOpen\n  for: 1m\n- alert: Third\n  for: 1m\n";
        let hastened = hastened(rules).unwrap();
        assert_eq!(hastened.matches("for: 1m\n").count(), 2);
        assert!(hastened.contains("- alert: TinyDancerCircuitOpen\n  for: 2s\n"), "{hastened}");
        assert!(super::hastened("- alert: TinyDancerCircuitOpen\n  for: 5m\n").is_err());
        assert!(
            super::hastened("- alert: TinyDancerCircuitOpen\n  for: 5m\n- alert: B\n  for: 1m\n").is_err()
        );
        assert!(super::hastened("- alert: Other\n  for: 1m\n").is_err());
    }

    #[test]
    fn a_dashboard_without_queries_is_refused() {
        assert!(queries(&json!({ "panels": [] })).is_err());
    }
}
