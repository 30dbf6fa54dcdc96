//! `tiny-dancer route`: a stream of requests in, a stream of decisions out, in the same order.

use crate::calibrate::smallest_alpha;
use crate::embedding::{self, EmbedderArgs};
use crate::{Memory, causes, note};
use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, Write, stdin, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use tiny_dancer::parts::core::fastgrnn::JOINT_CANDIDATES;
use tiny_dancer::parts::core::{Router, RouterConfig};
use tiny_dancer::{CandidateSet, Metadata, ModelType, Query, Reason, RiskBudget};
use tiny_dancer_train::fields::{FieldError, Fields};
use tiny_dancer_train::lines::{MAX_LINE_BYTES, read_line};

#[derive(Args)]
pub(crate) struct RouteArgs {
    /// The model's file; by default the embedded model for the embedder of the vectors.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    #[command(flatten)]
    memory: Memory,
    #[command(flatten)]
    embedder: EmbedderArgs,
    /// Promise that at most this share of the answers of the lightweight model is insufficient, instead of using the
    /// default thresholds.
    #[arg(long)]
    alpha: Option<f64>,
    /// The allowed probability that the promise is broken.
    #[arg(long, default_value_t = 0.05, requires = "alpha")]
    delta: f64,
}

/// The keys of a request.
const KEYS: &[&str] = &["embedding", "id", "metadata", "now", "prompt", "subject"];
/// The maximum number of unknown keys that are reported.
const MAX_UNREAD: usize = 8;

/// One line of the input.
pub(crate) struct Request {
    pub(crate) id: Value,
    pub(crate) embedding: Vec<f32>,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) now: Option<i64>,
    /// Its unknown keys.
    unread: Vec<String>,
}

impl Request {
    /// Reads a request, see docs/bring-your-own-logs.md. `memory` is the embedder of the memory, if it is known.
    pub(crate) fn read(text: &[u8], memory: Option<&str>) -> anyhow::Result<Self> {
        let mut fields = Fields::parse(text, KEYS)?;
        let id = fields.any("id").ok_or(FieldError::Missing { field: "id", expected: "any value" })?;
        let (field, other) = ("prompt", "embedding");
        let embedding = match (fields.prompt()?, fields.vector("embedding")?) {
            (Some(prompt), None) => {
                embedding::check(memory)?;
                embedding::embed(&prompt).context("prompt")?
            }
            (None, Some(embedding)) => embedding,
            (Some(_), Some(_)) => return Err(FieldError::Both { field, other }.into()),
            (None, None) => return Err(FieldError::Neither { field, other }.into()),
        };
        let (metadata, now) = (fields.metadata()?, fields.integer("now")?);
        Ok(Self { id, embedding, metadata, now, unread: fields.unread().to_vec() })
    }

    pub(crate) fn query(&self) -> Query<'_> {
        Query { metadata: self.metadata.as_ref(), now: self.now, ..Query::new(&self.embedding) }
    }
}

/// One line of the output.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Decided { id: Value, model: &'static str, confidence: f32, uncertainty: f32, reason: &'static str },
    Failed { line: usize, error: String },
}

pub(crate) fn route(args: &RouteArgs) -> anyhow::Result<ExitCode> {
    let risk = args.alpha.map(|alpha| RiskBudget { alpha, delta: args.delta });
    let past = args.memory.remember(&args.embedder)?;
    let (model_path, embedder) = (args.model.clone(), past.embedder.clone());
    let router = Router::new(RouterConfig { model_path, embedder, risk, ..RouterConfig::default() })?;
    if let (None, Some(alpha)) = (risk, smallest_alpha(router.model().risk_path())) {
        note(format_args!(
            "the model can promise a risk, from --alpha {alpha:.4} on; without --alpha the default thresholds decide"
        ));
    }
    let memory = CandidateSet::new(past.candidates())?;
    let embedder = past.embedder.as_deref();
    let bad = stream(&router, &memory, embedder, stdin().lock(), stdout().lock())?;
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Answers each line as soon as it is read. `embedder` is the memory's, if it is known. Returns the number of lines that could not be routed.
fn stream(
    router: &Router,
    memory: &CandidateSet,
    embedder: Option<&str>,
    mut input: impl BufRead,
    mut output: impl Write,
) -> anyhow::Result<usize> {
    let (mut text, mut line, mut bad, mut unread) = (vec![], 0, 0, BTreeSet::new());
    while read_line(&mut input, &mut text)? > 0 {
        line += 1;
        if text.len() > MAX_LINE_BYTES {
            bail!("line {line} has more than {MAX_LINE_BYTES} bytes");
        }
        let request = Request::read(&text, embedder);
        for key in request.iter().flat_map(|request| &request.unread) {
            if unread.len() < MAX_UNREAD && unread.insert(key.clone()) {
                note(format_args!("line {line}: key {key:?} is not read"));
            }
        }
        let answer = request.and_then(|request| answer(router, memory, request));
        let answer = answer.unwrap_or_else(|error| {
            bad += 1;
            Answer::Failed { line, error: causes(&error) }
        });
        serde_json::to_writer(&mut output, &answer)?;
        output.write_all(b"\n")?;
        // A program may wait for the answer before it sends the next line.
        output.flush()?;
        text.clear();
    }
    Ok(bad)
}

fn answer(router: &Router, memory: &CandidateSet, request: Request) -> anyhow::Result<Answer> {
    let response = router.route_set(request.query(), memory, JOINT_CANDIDATES)?;
    let Request { id, .. } = request;
    let (model, reason): (ModelType, Reason) = (response.model, response.reason);
    let (confidence, uncertainty) = (response.confidence, response.uncertainty);
    Ok(Answer::Decided { id, model: model.name(), confidence, uncertainty, reason: reason.name() })
}

#[cfg(test)]
mod tests;
