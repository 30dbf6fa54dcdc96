//! Exemplars: Prometheus scrapes one from the product, and its trace is in a collector of the same run.

use super::rotel::{self, Rotel};
use super::{OPENMETRICS, PYTHON, Span};
use crate::services::process::{self, Running, free_address};
use crate::services::{debian, python, served, served::Served};
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The longest time of one check.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many of the product's families have exemplars in a run without errors: the latency, the decisions and the requests.
const FAMILIES: usize = 3;

/// The whole check, in an emptied folder.
pub(super) fn check(workspace: &Workspace, services: &Path) -> Result<()> {
    let folder = services.join("exemplars");
    let program = served::build(workspace, "full_observability")?;
    let library = python::packages(services, PYTHON)?;
    let prometheus = debian::program("prometheus", "prometheus", services)?;
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;

    let mut rotel = Rotel::start(&library.join("rotel/rotel-agent"), &["traces"], &folder.join("rotel.log"))?;
    let endpoint = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*rotel.endpoint())];
    let served = Served::with_environment(&program, &[], &endpoint, &workspace.root, &folder)?;
    let address = free_address()?;
    fs::write(folder.join("prometheus.yml"), config(served.address))?;
    let mut command = Command::new(prometheus);
    command
        .arg("--config.file=prometheus.yml")
        .arg("--storage.tsdb.path=prometheus")
        .arg("--enable-feature=exemplar-storage")
        .arg(format!("--web.listen-address={address}"))
        .current_dir(&folder);
    let mut prometheus = Running::start(&mut command, &folder.join("prometheus.log"))?;
    let found = prometheus.wait(PATIENCE, "has too few exemplars", |_| exemplars(address))?;
    for (family, exemplars) in &found {
        // Spans leave the product some seconds after their requests.
        rotel.running.wait(PATIENCE, &format!("has no span of an exemplar of {family}"), |running| {
            leads_to_a_request(exemplars, &rotel::spans(&running.output()?))
        })?;
    }
    strict(&library, &process::get_as(served.address, "/metrics", &[], Some(OPENMETRICS))?)
}

fn config(target: SocketAddr) -> String {
    format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: tiny-dancer\n  static_configs:\n  \
         - targets: [\"{target}\"]\n"
    )
}

/// The trace and the span of each exemplar that Prometheus stores, by families; an error while these are too few.
fn exemplars(address: SocketAddr) -> Result<BTreeMap<String, Vec<(String, String)>>> {
    let query = [("query", "{__name__=~\"tiny_dancer_.+\"}")];
    let stored: Value = serde_json::from_str(&process::get(address, "/api/v1/query_exemplars", &query)?)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for series in stored["data"].as_array().context("no data")? {
        for exemplar in series["exemplars"].as_array().context("no exemplars")? {
            let ids = (text(&exemplar["labels"]["trace_id"]), text(&exemplar["labels"]["span_id"]));
            found.entry(text(&series["seriesLabels"]["__name__"])).or_default().push(ids);
        }
    }
    ensure!(found.len() >= FAMILIES, "{} families have exemplars: {stored}", found.len());
    Ok(found)
}

/// Fails unless the span of an exemplar is a request's.
fn leads_to_a_request(exemplars: &[(String, String)], spans: &[Span]) -> Result<()> {
    let is_found = |(trace, id): &&(String, String)| {
        spans.iter().any(|span| span.trace == *trace && span.id == *id && span.name == "routing_request")
    };
    match exemplars.iter().find(is_found) {
        Some(_) => Ok(()),
        None => bail!("none of {} exemplars is among {} spans", exemplars.len(), spans.len()),
    }
}

/// Fails unless the strict parser reads the exposition, and exemplars in it.
fn strict(library: &Path, exposition: &str) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/receivers/openmetrics.py");
    let mut parser = Command::new("python3")
        .arg(script)
        .arg(library)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("python3")?;
    parser.stdin.take().context("the parser's input")?.write_all(exposition.as_bytes())?;
    let output = parser.wait_with_output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let [samples, exemplars]: [usize; 2] = serde_json::from_slice(&output.stdout)?;
    ensure!(samples > 300 && exemplars >= FAMILIES, "{samples} samples, {exemplars} exemplars");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exemplar_must_name_the_span_of_a_request() {
        let ids = [("ab".to_owned(), "cd".to_owned())];
        let span = |id: &str, name: &str| Span {
            trace: "ab".to_owned(),
            id: id.to_owned(),
            parent: None,
            name: name.to_owned(),
        };
        leads_to_a_request(&ids, &[span("cd", "routing_request")]).unwrap();
        for other in [span("cd", "model_inference"), span("ce", "routing_request")] {
            assert!(leads_to_a_request(&ids, &[other]).is_err());
        }
    }
}
