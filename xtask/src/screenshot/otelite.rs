//! otelite, a collector of OTLP with a web page that draws traces.

use crate::services::http;
use crate::services::process::{Running, free_port};
use crate::workspace::{cargo, output};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Of a version that was tried.
const PACKAGE: &str = "otelite@0.1.156";

/// How long it may take until it listens.
const PATIENCE: Duration = Duration::from_secs(60);

/// The running collector. Dropped, it is ended.
#[derive(Debug)]
pub(super) struct Otelite {
    running: Running,
    otlp: u16,
    page: u16,
}

/// A trace, as it is listed.
#[derive(Debug, PartialEq)]
pub(super) struct Trace {
    pub(super) id: String,
    pub(super) spans: u64,
}

/// The program, built from its package unless it was before.
pub(super) fn program(folder: &Path) -> Result<PathBuf> {
    let root = folder.join(PACKAGE.replace('@', "-"));
    let program = root.join("bin/otelite");
    if !program.exists() {
        println!("    building {PACKAGE}, which takes some minutes, once");
        let target = folder.join("otelite.building");
        let mut install = cargo("install --locked --quiet");
        output(install.arg(PACKAGE).arg("--root").arg(&root).env("CARGO_TARGET_DIR", &target))?;
        fs::remove_dir_all(target)?;
    }
    Ok(program)
}

impl Otelite {
    /// Starts it, with all that it writes in `folder`, and waits until it listens.
    pub(super) fn start(program: &Path, folder: &Path) -> Result<Self> {
        let (otlp, grpc, page) = (free_port()?, free_port()?, free_port()?);
        let mut command = Command::new(program);
        command.args(["serve", "--addr", &http::local(page).to_string(), "--storage-path"]).arg(folder);
        command
            .env("OTELITE_OTLP_HTTP_PORT", otlp.to_string())
            .env("OTELITE_OTLP_GRPC_PORT", grpc.to_string());
        // It keeps a file in the home folder, and would ask the internet for prices of language models.
        command.env("HOME", folder).env("HTTPS_PROXY", "http://127.0.0.1:9");
        let running = Running::start(&mut command, &folder.join("otelite.log"))?;
        let mut otelite = Self { running, otlp, page };
        otelite.running.wait(PATIENCE, "shows no page", |_| http::get(http::local(page), "/"))?;
        Ok(otelite)
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://{}", http::local(self.otlp))
    }

    /// The page with the list of traces.
    pub(super) fn page(&self) -> String {
        format!("http://{}/#traces", http::local(self.page))
    }

    /// The trace with the most spans, as soon as all that were sent are there.
    pub(super) fn largest_trace_of(&mut self, sent: u64, patience: Duration) -> Result<Trace> {
        let page = http::local(self.page);
        self.running.wait(patience, "does not list all spans", |_| {
            largest(&serde_json::from_str(&http::get(page, "/api/traces")?)?, sent)
        })
    }
}

fn largest(listed: &Value, sent: u64) -> Result<Trace> {
    let traces = listed["traces"].as_array().context("no list of traces")?;
    let trace = |trace: &Value| {
        let (id, spans) = (trace["trace_id"].as_str()?.to_owned(), trace["span_count"].as_u64()?);
        Some(Trace { id, spans })
    };
    let traces: Vec<_> = traces.iter().filter_map(trace).collect();
    let arrived: u64 = traces.iter().map(|trace| trace.spans).sum();
    if arrived != sent {
        bail!("{sent} spans were sent, {arrived} are listed");
    }
    traces.into_iter().max_by_key(|trace| trace.spans).context("no trace is listed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_largest_trace_is_found_once_all_spans_are_there() {
        let listed = json!({ "traces": [
            { "trace_id": "a", "span_count": 3 }, { "trace_id": "b", "span_count": 11 }, { "trace_id": "c", "span_count": 1 },
        ] });
        assert_eq!(largest(&listed, 15).unwrap(), Trace { id: "b".to_owned(), spans: 11 });
        assert_eq!(largest(&listed, 16).unwrap_err().to_string(), "16 spans were sent, 15 are listed");
        assert!(largest(&json!({ "traces": [] }), 0).is_err());
        assert!(largest(&json!({}), 0).is_err());
    }
}
