//! rotel, an OpenTelemetry collector, and the spans, metrics and log records that it prints.

use super::Span;
use super::push::{Labels, Received};
use crate::services::process::{Running, free_address};
use anyhow::Result;
use std::fs::{self, Permissions};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The running collector. Drop kills it.
#[derive(Debug)]
pub(crate) struct Rotel {
    pub(crate) running: Running,
    address: SocketAddr,
}

impl Rotel {
    /// Starts it and waits until it listens. It prints these signals.
    pub(crate) fn start(program: &Path, signals: &[&str], log: &Path) -> Result<Self> {
        // The Python package has it as data, which is not executable.
        fs::set_permissions(program, Permissions::from_mode(0o755))?;
        let (address, grpc) = (free_address()?, free_address()?);
        let mut command = Command::new(program);
        command
            .args(["start", "--exporter", "blackhole"])
            .args(signals.iter().flat_map(|signal| ["--debug-log", signal]))
            .args(["--debug-log-verbosity", "detailed", "--batch-timeout", "100ms"])
            .args(["--otlp-http-endpoint", &address.to_string(), "--otlp-grpc-endpoint", &grpc.to_string()])
            .env("NO_COLOR", "1");
        let mut running = Running::start(&mut command, log)?;
        running.wait(Duration::from_secs(60), "does not listen", |_| Ok(TcpStream::connect(address)?))?;
        Ok(Self { running, address })
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// The spans in its output: those with a name, which is printed after the ids.
pub(crate) fn spans(printed: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    let (mut trace, mut parent, mut id) = (String::new(), None, String::new());
    let whole = printed.rfind('\n').map_or("", |end| &printed[..end]);
    for line in whole.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        match key.trim() {
            "Trace ID" => value.clone_into(&mut trace),
            "Parent ID" => parent = (!value.is_empty()).then(|| value.to_owned()),
            "ID" => value.clone_into(&mut id),
            "Name" => spans.push(Span {
                trace: trace.clone(),
                id: id.clone(),
                parent: parent.clone(),
                name: value.to_owned(),
            }),
            _ => {}
        }
    }
    spans
}

/// The metrics and log records in its output. A later value of a series replaces an earlier one.
pub(crate) fn received(printed: &str) -> Received {
    let mut received = Received::default();
    let (mut name, mut labels, mut bounds) = (String::new(), Labels::new(), Vec::new());
    let (mut below, mut is_exemplar, mut trace) = (0.0, false, String::new());
    let whole = printed.rfind('\n').map_or("", |end| &printed[..end]);
    for line in whole.lines() {
        if let Some((key, value)) = line.strip_prefix("     -> ").and_then(|line| line.split_once(": ")) {
            match value.strip_prefix("Str(").and_then(|value| value.strip_suffix(')')) {
                Some(text) => drop(labels.insert(key.to_owned(), text.to_owned())),
                None if key == "Name" => value.clone_into(&mut name),
                None => {}
            }
            continue;
        }
        let (key, value) = line.split_once(':').unwrap_or((line, ""));
        let (key, value) = (key.trim(), value.trim());
        let mut set = |suffix: &str, bound: Option<f64>, value: f64| {
            let mut labels = labels.clone();
            labels.extend(bound.map(|bound| ("le".to_owned(), bound.to_string())));
            received.metrics.insert((format!("{name}{suffix}"), labels), value);
        };
        match key.split('#').next().unwrap_or_default().trim_end() {
            "NumberDataPoints" | "HistogramDataPoints" => {
                (labels, bounds, below, is_exemplar) = (Labels::new(), Vec::new(), 0.0, false);
            }
            "Exemplars" => is_exemplar = true,
            "ExplicitBounds" => bounds.push(value.parse().unwrap_or(f64::NAN)),
            "Buckets" => {
                let count = value.strip_prefix("Count: ").unwrap_or(value);
                below += count.parse().unwrap_or(f64::NAN);
                let index =
                    key.rsplit('#').next().and_then(|key| key.split(',').next()?.parse::<usize>().ok());
                let bound = index.and_then(|index| bounds.get(index)).copied().unwrap_or(f64::INFINITY);
                set("_bucket", Some(bound), below);
            }
            "Count" => set("_count", None, value.parse().unwrap_or(f64::NAN)),
            "Sum" => set("_sum", None, value.parse().unwrap_or(f64::NAN)),
            "Value" if !is_exemplar => set("", None, value.parse().unwrap_or(f64::NAN)),
            "Body" => {
                let body = value.strip_prefix("Str(").and_then(|value| value.strip_suffix(')'));
                received.records.push((body.unwrap_or(value).to_owned(), String::new(), String::new()));
            }
            "Trace ID" => value.clone_into(&mut trace),
            "Span ID" => {
                if let Some(record) = received.records.last_mut() {
                    (record.1, record.2) = (trace.clone(), value.to_owned());
                }
            }
            _ => {}
        }
    }
    received
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_and_records_are_read_as_they_are_printed() {
        let printed = include_str!("rotel/printed.txt");
        let received = received(printed);
        let series = |name: &str, labels: &[(&str, &str)]| {
            let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            received.metrics[&(name.to_owned(), labels.collect())]
        };
        assert_eq!(series("load", &[]), 20000.0);
        assert_eq!(series("decisions_total", &[("reason", "confident")]), 3.0);
        assert_eq!(series("size_bucket", &[("of", "x"), ("le", "0.5")]), 1.0);
        assert_eq!(series("size_bucket", &[("of", "x"), ("le", "inf")]), 3.0);
        assert_eq!((series("size_count", &[("of", "x")]), series("size_sum", &[("of", "x")])), (3.0, 2.5));
        assert_eq!(received.metrics.len(), 6);
        let record =
            |body: &str, trace: &str, span: &str| (body.to_owned(), trace.to_owned(), span.to_owned());
        assert_eq!(received.records, [record("serving", "", ""), record("decided", "c98", "851")]);
    }

    #[test]
    fn spans_are_read_as_they_are_printed() {
        let printed = "Span #0\n    Trace ID       : 94\n    Parent ID      : d3\n    ID             : de\n    \
                       Name           : circuit_breaker_check\n    Kind           : SPAN_KIND_INTERNAL\nSpan #1\n    \
                       Trace ID       : 94\n    Parent ID      : \n    ID             : d3\n    Name           : routing_requ";
        let one = Span {
            trace: "94".to_owned(),
            id: "de".to_owned(),
            parent: Some("d3".to_owned()),
            name: "circuit_breaker_check".to_owned(),
        };
        assert_eq!(spans(printed), [one]);
        let both = spans(&format!("{printed}est\n"));
        assert_eq!((both[1].parent.as_ref(), &*both[1].name), (None, "routing_request"));
    }
}
