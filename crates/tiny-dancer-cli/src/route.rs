//! `tiny-dancer route`: a stream of requests in, a stream of decisions out, in the same order.

use crate::Memory;
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::{BufRead, Write, stdin, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use tiny_dancer::parts::core::fastgrnn::JOINT_CANDIDATES;
use tiny_dancer::parts::core::{Router, RouterConfig};
use tiny_dancer::{Candidate, Metadata, ModelType, Query, Reason, RiskBudget, RoutingRequest};
use tiny_dancer_train::past::Past;

#[derive(Args)]
pub(crate) struct RouteArgs {
    /// The model; the embedded one where none is named.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    #[command(flatten)]
    memory: Memory,
    /// Promise that at most this share of the requests sent to the lightweight model is insufficient, in the place of
    /// the default thresholds.
    #[arg(long)]
    alpha: Option<f64>,
    /// The probability with which the promise may be broken all the same.
    #[arg(long, default_value_t = 0.05, requires = "alpha")]
    delta: f64,
}

/// One line of the input.
#[derive(Deserialize)]
pub(crate) struct Request {
    pub(crate) id: Value,
    pub(crate) embedding: Vec<f32>,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) now: Option<i64>,
}

/// One line of the output.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Decided { id: Value, model: &'static str, confidence: f32, uncertainty: f32, reason: &'static str },
    Failed { line: usize, error: String },
}

/// What requests remember.
pub(crate) struct Remembered {
    past: Past,
    candidates: Vec<Candidate>,
}

impl Remembered {
    /// The past as candidates.
    pub(crate) fn new(past: Past) -> Self {
        Self { candidates: past.candidates(), past }
    }

    /// The nearest candidates of a query, itself included if it was seen before. A query that is no direction among
    /// the remembered gets any, and the router says what is wrong with it.
    pub(crate) fn nearest(&self, query: &[f32]) -> Vec<Candidate> {
        match self.past.nearest(query, JOINT_CANDIDATES) {
            Some(items) => items.into_iter().map(|item| self.candidates[item].clone()).collect(),
            None => self.candidates.iter().take(1).cloned().collect(),
        }
    }
}

pub(crate) fn route(args: &RouteArgs) -> anyhow::Result<ExitCode> {
    let risk = args.alpha.map(|alpha| RiskBudget { alpha, delta: args.delta });
    let router =
        Router::new(RouterConfig { model_path: args.model.clone(), risk, ..RouterConfig::default() })?;
    let remembered = Remembered::new(args.memory.read()?);
    let bad = stream(&router, &remembered, stdin().lock(), stdout().lock())?;
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Answers each line as it comes, and says how many could not be routed.
fn stream(
    router: &Router,
    remembered: &Remembered,
    mut input: impl BufRead,
    mut output: impl Write,
) -> std::io::Result<usize> {
    let (mut text, mut line, mut bad) = (vec![], 0, 0);
    while input.read_until(b'\n', &mut text)? > 0 {
        line += 1;
        let answer = answer(router, remembered, &text).unwrap_or_else(|error| {
            bad += 1;
            Answer::Failed { line, error: format!("{error:#}") }
        });
        serde_json::to_writer(&mut output, &answer)?;
        output.write_all(b"\n")?;
        // Whoever sent one line and waits for its answer gets it.
        output.flush()?;
        text.clear();
    }
    Ok(bad)
}

fn answer(router: &Router, remembered: &Remembered, text: &[u8]) -> anyhow::Result<Answer> {
    let Request { id, embedding, metadata, now } = serde_json::from_slice(text)?;
    let candidates = remembered.nearest(&embedding);
    let request = RoutingRequest {
        query: Query { metadata: metadata.as_ref(), now, ..Query::new(&embedding) },
        candidates: &candidates,
    };
    let response = router.route(request)?;
    let (model, reason): (ModelType, Reason) = (response.model, response.reason);
    let (confidence, uncertainty) = (response.confidence, response.uncertainty);
    Ok(Answer::Decided { id, model: model.name(), confidence, uncertainty, reason: reason.name() })
}

#[cfg(test)]
mod tests;
