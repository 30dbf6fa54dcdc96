//! Traces, metrics and logs, read by programs of other projects: a collector of OTLP, OpenTelemetry's own messages in Python, and
//! Apache Thrift with Jaeger's IDL.
//!
//! They are fetched without root and unpacked under `target/services`; nothing is installed. Every started program is
//! stopped again.

use crate::report::Report;
use crate::services::{debian, python, served};
use crate::workspace::{Workspace, output};
use anyhow::{Context, Result, bail};
use rotel::Rotel;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

mod exemplars;
mod push;
mod rotel;

pub(crate) const HEADLINES: &[&str] = &[
    "traces, by rotel",
    "traces, by Apache Thrift",
    "exemplars, by Prometheus and rotel",
    "metrics and logs, by rotel",
    "metrics and logs, by opentelemetry-proto",
];

/// What a client sends that accepts OpenMetrics only.
pub(crate) const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0";

/// The collector and the libraries, in tried versions.
const PYTHON: &[&str] = &[
    "rotel==0.0.1a15",
    "thrift==0.25.0",
    "prometheus-client==0.26.0",
    "opentelemetry-proto==1.45.2",
    "protobuf==7.36.2",
];
/// The package with Jaeger's IDL.
const IDL: &str = "jaeger-client@3.19.0";

/// The names of a request's spans, sorted.
const ROUTE: &[&str] = &[
    "circuit_breaker_check",
    "feature_engineering",
    "model_inference",
    "routing_request",
    "uncertainty_estimation",
];
/// Those of a request that begins with a text.
const SCOPE: &[&str] = &[
    "circuit_breaker_check",
    "embedding",
    "feature_engineering",
    "model_inference",
    "routing_request",
    "uncertainty_estimation",
];

pub(crate) fn run(workspace: &Workspace, report: &mut Report) {
    let folder = workspace.target.join("services");
    let what =
        "full_observability with OTEL_EXPORTER_OTLP_ENDPOINT; each exported span arrives under its parent";
    report.check(HEADLINES[0], what, || otlp(workspace, &folder));
    let what = "jaeger_agent 127.0.0.1:PORT; the datagram, through agent.thrift and jaeger.thrift";
    report.check(HEADLINES[1], what, || jaeger(workspace, &folder));
    let what = "full_observability --serve; an exemplar in Prometheus names a span in rotel, and \
                prometheus-client's strict parser reads /metrics";
    report.check(HEADLINES[2], what, || exemplars::check(workspace, &folder));
    let what = "service with OTEL_METRICS_EXPORTER and OTEL_LOGS_EXPORTER; each value of /metrics arrives, and each line \
                under its span";
    report.check(HEADLINES[3], what, || push::by_rotel(workspace, &folder));
    report.check(HEADLINES[4], what, || push::by_python(workspace, &folder));
}

/// A span as a receiver decoded it.
#[derive(Debug, PartialEq)]
pub(crate) struct Span {
    pub(crate) trace: String,
    pub(crate) id: String,
    /// `None` is a root.
    pub(crate) parent: Option<String>,
    pub(crate) name: String,
}

fn otlp(workspace: &Workspace, folder: &Path) -> Result<()> {
    let program = served::build(workspace, "full_observability")?;
    let rotel = python::packages(folder, PYTHON)?.join("rotel/rotel-agent");
    let mut rotel = Rotel::start(&rotel, &["traces"], &folder.join("rotel.log"))?;
    let printed = output(
        Command::new(program)
            .current_dir(&workspace.root)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", rotel.endpoint()),
    )?;
    let flushed = flushed(&printed)?;
    let spans = rotel.running.wait(Duration::from_secs(30), "has not printed all spans", |running| {
        let spans = rotel::spans(&running.output()?);
        if spans.len() as u64 == flushed { Ok(spans) } else { bail!("{} of {flushed}", spans.len()) }
    })?;
    check_nesting(&spans, SCOPE)
}

/// The number of exported spans, which the example prints at its end.
fn flushed(printed: &str) -> Result<u64> {
    let line =
        printed.lines().rev().find(|line| line.contains("spans flushed")).context("no count of spans")?;
    if line.split(';').any(|counts| !counts.ends_with("0 dropped, 0 failed")) {
        bail!("exports were lost: {line}");
    }
    let number = line.split_whitespace().find_map(|word| word.parse().ok());
    number.with_context(|| format!("no number of spans in {line:?}"))
}

/// Fails unless requests are roots, all other spans are their children, all have one of these names, and a request has all of
/// the names.
fn check_nesting(spans: &[Span], names: &[&str]) -> Result<()> {
    let mut below: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for span in spans {
        if !names.contains(&&*span.name) {
            bail!("a span is named {:?}", span.name);
        }
        match &span.parent {
            None if span.name == "routing_request" => {
                below.entry((&span.trace, &span.id)).or_default();
            }
            None => bail!("{} is a root", span.name),
            Some(parent) => below.entry((&span.trace, parent)).or_default().push(&span.name),
        }
    }
    let mut whole = 0;
    for ((trace, request), mut found) in below {
        let is_request =
            |span: &Span| span.id == request && span.trace == trace && span.name == "routing_request";
        if !spans.iter().any(is_request) {
            bail!("spans of trace {trace} are below {request}, which did not arrive");
        }
        found.push("routing_request");
        found.sort_unstable();
        found.dedup();
        whole += usize::from(found == names);
    }
    if whole == 0 {
        bail!("no request has all {} spans", names.len());
    }
    Ok(())
}

fn jaeger(workspace: &Workspace, folder: &Path) -> Result<()> {
    let program = served::build(workspace, "jaeger_agent")?;
    let (library, generated) = (python::packages(folder, PYTHON)?, generated(folder)?);
    let script = workspace.root.join("xtask/src/receivers/decode.py");
    let mut reader = Command::new("python3")
        .arg(script)
        .args([&generated, &library])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("python3")?;
    let mut decoded = BufReader::new(reader.stdout.take().context("the decoder's output")?);
    let mut port = String::new();
    decoded.read_line(&mut port)?;
    let sent = Command::new(program).arg(format!("127.0.0.1:{}", port.trim())).output();
    let mut batch = String::new();
    if sent.as_ref().is_ok_and(|sent| sent.status.success()) {
        decoded.read_to_string(&mut batch)?;
    } else {
        // No datagram will arrive.
        let _ = reader.kill();
    }
    let read = reader.wait_with_output()?;
    let sent = sent?;
    if !sent.status.success() || !read.status.success() {
        let errors = [sent.stderr, read.stderr].concat();
        bail!("{}", String::from_utf8_lossy(&errors));
    }
    check_batch(&serde_json::from_str(&batch).context("the decoder's answer")?)
}

/// Fails unless the batch is the example's.
fn check_batch(batch: &Value) -> Result<()> {
    if batch["call"] != "emitBatch" || batch["service"] != "jaeger-agent-example" {
        bail!("call {}, service {}", batch["call"], batch["service"]);
    }
    let decoded = batch["spans"].as_array().context("no spans")?;
    let spans: Vec<_> = decoded
        .iter()
        .map(|span| Span {
            trace: span["trace"].to_string(),
            id: span["id"].to_string(),
            parent: (span["parent"] != 0).then(|| span["parent"].to_string()),
            name: span["name"].as_str().unwrap_or_default().to_owned(),
        })
        .collect();
    check_nesting(&spans, ROUTE)?;
    let request = decoded.iter().find(|span| span["name"] == "routing_request").context("no request")?;
    let event = &request["events"][0];
    // Integers are integers, doubles are doubles, and lists are JSON.
    if request["tags"]["tiny_dancer.candidates"] != 3
        || !request["tags"]["tiny_dancer.confidence"].is_f64()
        || event["event"] != "routing_decision"
        || serde_json::from_str::<[i64; 3]>(event["tiny_dancer.replay.candidates"].as_str().unwrap_or(""))
            .is_err()
    {
        bail!("unexpected attributes or events: {request}");
    }
    Ok(())
}

/// The folder of the code that Apache Thrift's compiler generates from Jaeger's IDL.
fn generated(folder: &Path) -> Result<PathBuf> {
    let generated = folder.join("jaeger-idl").join("gen-py");
    if generated.exists() {
        return Ok(generated);
    }
    let thrift = debian::program("thrift-compiler", "thrift", folder)?;
    let idl = folder.join("jaeger-idl");
    let _ = fs::remove_dir_all(&idl);
    fs::create_dir_all(&idl)?;
    let archive = output(Command::new("npm").args(["pack", "--silent", IDL]).current_dir(&idl))?;
    output(Command::new("tar").args(["-xzf", archive.trim()]).current_dir(&idl))?;
    let thrift_files = idl.join("package/dist/src/jaeger-idl/thrift");
    let made = idl.join("made");
    fs::create_dir_all(&made)?;
    output(
        Command::new(thrift)
            .args(["-r", "--gen", "py", "-out"])
            .arg(&made)
            .arg(thrift_files.join("agent.thrift")),
    )?;
    fs::rename(made, &generated)?;
    Ok(generated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: &str, parent: &str, name: &str) -> Span {
        let parent = (!parent.is_empty()).then(|| parent.to_owned());
        Span { trace: "t".to_owned(), id: id.to_owned(), parent, name: name.to_owned() }
    }

    fn whole() -> Vec<Span> {
        let mut spans = vec![span("r", "", "routing_request")];
        spans.extend(
            ROUTE.iter().filter(|name| **name != "routing_request").map(|name| span(name, "r", name)),
        );
        spans
    }

    #[test]
    fn a_whole_request_passes_with_a_fallback_beside_it() {
        let mut spans = whole();
        check_nesting(&spans, ROUTE).unwrap();
        spans.extend([span("q", "", "routing_request"), span("p", "q", "circuit_breaker_check")]);
        check_nesting(&spans, ROUTE).unwrap();
    }

    #[test]
    fn missing_and_misplaced_spans_are_found() {
        let wrong = |change: fn(&mut Vec<Span>)| {
            let mut spans = whole();
            change(&mut spans);
            check_nesting(&spans, ROUTE).unwrap_err().to_string()
        };
        assert!(wrong(|spans| drop(spans.remove(0))).contains("did not arrive"));
        assert!(wrong(|spans| drop(spans.pop())).contains("all 5"));
        assert!(wrong(|spans| spans[1].parent = None).contains("is a root"));
        assert!(wrong(|spans| spans[1].name = "other".to_owned()).contains("named"));
        assert!(wrong(|spans| spans[1].trace = "u".to_owned()).contains("did not arrive"));
    }

    #[test]
    fn lost_spans_are_an_error() {
        let ok = "1234 spans flushed, 0 dropped, 0 failed";
        assert_eq!(flushed(&format!("...\n  spans: {ok}\n")).unwrap(), 1234);
        assert_eq!(
            flushed(&format!("  spans: {ok}; 5 log records flushed, 0 dropped, 0 failed\n")).unwrap(),
            1234
        );
        assert!(flushed(&format!("  spans: {ok}; 5 log records flushed, 0 dropped, 1 failed\n")).is_err());
        assert!(
            flushed(
                "  spans: 1 spans flushed, 2 dropped, 0 failed; 1 log records flushed, 0 dropped, 0 failed\n"
            )
            .is_err()
        );
        assert!(flushed("nothing").is_err());
    }
}
