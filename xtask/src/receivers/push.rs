//! Metrics and log records of the guide's service, as two receivers read them.

use super::{PYTHON, rotel};
use crate::services::process::{self, Running};
use crate::services::{python, served};
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use rotel::Rotel;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The longest time of one wait.
const PATIENCE: Duration = Duration::from_secs(60);

/// The families that change with the exports themselves.
const EXPORTS: &[&str] =
    &["tiny_dancer_spans_total", "tiny_dancer_log_records_total", "tiny_dancer_metric_points_total"];

/// A question to the service: the candidate is the query's equal, and was always good enough.
const QUESTION: &str = r#"{"embedding": [0.6, 0.8], "candidates": [{"id": "a", "embedding": [0.6, 0.8],
    "created_at": 1700000000, "access_count": 12, "success_rate": 1.0, "win_rate": 0.5}]}"#;
/// How often it is sent.
const QUESTIONS: usize = 5;

pub(crate) type Labels = BTreeMap<String, String>;

/// What a receiver has read so far.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// The last value of each series, with its labels. A histogram's series are those of the text format.
    pub(crate) metrics: BTreeMap<(String, Labels), f64>,
    /// The body of each record, with the ids of its trace and its span.
    pub(crate) records: Vec<(String, String, String)>,
}

pub(super) fn by_rotel(workspace: &Workspace, services: &Path) -> Result<()> {
    let folder = emptied(services, "push-rotel")?;
    let program = python::packages(services, PYTHON)?.join("rotel/rotel-agent");
    let mut rotel = Rotel::start(&program, &["traces", "metrics", "logs"], &folder.join("rotel.log"))?;
    let endpoint = rotel.endpoint();
    run(workspace, &folder, &endpoint, |shown| {
        rotel.running.wait(PATIENCE, "has not received the values of /metrics", |running| {
            agree(shown, &rotel::received(&running.output()?))
        })?;
        rotel.running.wait(PATIENCE, "has not received the lines", |running| {
            let printed = running.output()?;
            let spans = rotel::spans(&printed);
            let ids: Vec<_> = spans.iter().map(|span| (&*span.trace, &*span.id)).collect();
            have_lines(&rotel::received(&printed), &ids)
        })
    })
}

pub(super) fn by_python(workspace: &Workspace, services: &Path) -> Result<()> {
    let folder = emptied(services, "push-python")?;
    let script = workspace.root.join("xtask/src/receivers/receive.py");
    let mut command = Command::new("python3");
    command.arg("-u").arg(script).arg(python::packages(services, PYTHON)?);
    let mut running = Running::start(&mut command, &folder.join("receive.log"))?;
    let port = running.wait(PATIENCE, "prints no port", |running| {
        let printed = running.output()?;
        let (port, _) = printed.split_once('\n').context("no line yet")?;
        port.parse::<u16>().context(printed.clone())
    })?;
    run(workspace, &folder, &format!("http://127.0.0.1:{port}"), |shown| {
        running.wait(PATIENCE, "has not received the values of /metrics", |running| {
            agree(shown, &decoded(&running.output()?)?.0)
        })?;
        running.wait(PATIENCE, "has not received the lines", |running| {
            let (received, spans) = decoded(&running.output()?)?;
            let ids: Vec<_> = spans.iter().map(|(trace, id)| (&**trace, &**id)).collect();
            have_lines(&received, &ids)
        })
    })
}

fn emptied(services: &Path, name: &str) -> Result<PathBuf> {
    let folder = services.join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Runs the service, sends it questions, and calls `check` with what `/metrics` shows then. Nothing else happens in the
/// service meanwhile, so each later push has the same values.
fn run(
    workspace: &Workspace,
    folder: &Path,
    endpoint: &str,
    check: impl FnOnce(&BTreeMap<(String, Labels), f64>) -> Result<()>,
) -> Result<()> {
    let mut command = Command::new(served::build(workspace, "service")?);
    command.current_dir(&workspace.root).env("LISTEN", "127.0.0.1:0").envs([
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_METRICS_EXPORTER", "otlp"),
        ("OTEL_LOGS_EXPORTER", "otlp"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "500"),
    ]);
    let mut service = Running::start(&mut command, &folder.join("service.log"))?;
    let address: SocketAddr = service.wait(PATIENCE, "does not say where it serves", |running| {
        let output = running.output()?;
        let lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let serving = lines.into_iter().find(|line| line["message"] == "serving").context("no such line")?;
        Ok(serving["address"].as_str().context("no address")?.parse()?)
    })?;
    for _ in 0..QUESTIONS {
        let request = ureq::post(format!("http://{address}/decide"))
            .header("content-type", "application/json")
            .config()
            .proxy(None)
            .timeout_global(Some(Duration::from_secs(10)))
            .build();
        request.send(QUESTION)?;
    }
    let shown = scraped(&process::get(address, "/metrics", &[])?);
    ensure!(shown.len() > 300, "{} series", shown.len());
    check(&shown)
}

/// The steady series of the product in the text format.
fn scraped(text: &str) -> BTreeMap<(String, Labels), f64> {
    let number = |value: &str| if value == "+Inf" { Some(f64::INFINITY) } else { value.parse().ok() };
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.trim_end_matches('}').split("\",").filter_map(|label| label.split_once("=\""));
        let labels = labels.map(|(label, value)| {
            let value = value.trim_end_matches('"');
            let bound = (label == "le").then(|| number(value)).flatten();
            (label.to_owned(), bound.map_or_else(|| value.to_owned(), |bound| bound.to_string()))
        });
        Some(((name.to_owned(), labels.collect()), number(value)?))
    };
    text.lines().filter_map(sample).filter(|((name, _), _)| is_steady(name)).collect()
}

fn is_steady(name: &str) -> bool {
    name.starts_with("tiny_dancer_") && !EXPORTS.contains(&name)
}

/// Fails unless the receiver has the same series with the same values.
fn agree(shown: &BTreeMap<(String, Labels), f64>, received: &Received) -> Result<()> {
    for (series, value) in shown {
        match received.metrics.get(series) {
            Some(other) if other == value => {}
            other => bail!("{series:?} is {value} at /metrics, and was received as {other:?}"),
        }
    }
    for series in received.metrics.keys().filter(|(name, _)| is_steady(name)) {
        ensure!(shown.contains_key(series), "{series:?} is not at /metrics");
    }
    Ok(())
}

/// Fails unless each decision's line arrived with the ids of a span that arrived.
fn have_lines(received: &Received, spans: &[(&str, &str)]) -> Result<()> {
    let decided: Vec<_> = received.records.iter().filter(|(body, ..)| body == "decided").collect();
    ensure!(decided.len() == QUESTIONS, "{} of {QUESTIONS} lines", decided.len());
    for (_, trace, span) in decided {
        ensure!(spans.contains(&(trace, span)), "no span {span} of trace {trace} in {spans:?}");
    }
    ensure!(received.records.iter().any(|(body, ..)| body == "router started"), "no start of the router");
    Ok(())
}

/// What the script printed: metrics and records, and the ids of spans.
fn decoded(printed: &str) -> Result<(Received, Vec<(String, String)>)> {
    let (mut received, mut spans) = (Received::default(), Vec::new());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    // The first line is the port; the last may be incomplete.
    let whole = printed.rfind('\n').map_or("", |end| &printed[..end]);
    for line in whole.lines().skip(1) {
        let line: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        for sample in line["metrics"].as_array().into_iter().flatten() {
            let labels: Labels = serde_json::from_value(sample[1].clone())?;
            let labels = labels.into_iter().map(|(label, value)| match (&*label, value.parse::<f64>()) {
                ("le", Ok(bound)) => (label, bound.to_string()),
                _ => (label, value),
            });
            let value = sample[2].as_f64().context("a value")?;
            received.metrics.insert((text(&sample[0]), labels.collect()), value);
        }
        for record in line["records"].as_array().into_iter().flatten() {
            received.records.push((text(&record[0]), text(&record[1]), text(&record[2])));
        }
        for span in line["spans"].as_array().into_iter().flatten() {
            spans.push((text(&span[0]), text(&span[1])));
        }
    }
    Ok((received, spans))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE tiny_dancer_x histogram\ntiny_dancer_x_bucket{of=\"a b\",le=\"1\"} 2\n\
                        tiny_dancer_x_bucket{of=\"a b\",le=\"+Inf\"} 3\ntiny_dancer_up 1\n\
                        tiny_dancer_spans_total{result=\"failed\"} 7\nprocess_open_fds 4\n";

    #[test]
    fn a_missing_a_different_and_an_additional_series_are_found() {
        let shown = scraped(TEXT);
        assert_eq!(shown.len(), 3);
        let with = |change: fn(&mut BTreeMap<(String, Labels), f64>)| {
            let mut received = Received { metrics: shown.clone(), ..Received::default() };
            change(&mut received.metrics);
            agree(&shown, &received)
        };
        with(|_| ()).unwrap();
        assert!(with(|metrics| drop(metrics.pop_first())).unwrap_err().to_string().contains("None"));
        let changed = with(|metrics| metrics.values_mut().for_each(|value| *value += 1.0));
        assert!(changed.unwrap_err().to_string().contains("received as Some"));
        let more = with(|metrics| {
            metrics.insert(("tiny_dancer_y".to_owned(), Labels::new()), 0.0);
        });
        assert!(more.unwrap_err().to_string().contains("not at /metrics"));
    }

    #[test]
    fn what_the_script_prints_is_what_metrics_shows() {
        let printed = "4318\n{\"metrics\": [[\"tiny_dancer_x_bucket\", {\"of\": \"a b\", \"le\": \"1.0\"}, 2.0], \
                       [\"tiny_dancer_x_bucket\", {\"of\": \"a b\", \"le\": \"inf\"}, 3.0], [\"tiny_dancer_up\", {}, 1.0]]}\n\
                       {\"records\": [[\"decided\", \"ab\", \"cd\"]]}\n{\"spans\": [[\"ab\", \"cd\"]]}\n{\"spa";
        let (received, spans) = decoded(printed).unwrap();
        agree(&scraped(TEXT), &received).unwrap();
        assert_eq!(spans, [("ab".to_owned(), "cd".to_owned())]);
        assert_eq!(received.records, [("decided".to_owned(), "ab".to_owned(), "cd".to_owned())]);
        assert!(have_lines(&received, &[("ab", "cd")]).unwrap_err().to_string().contains("1 of 5"));
    }
}
