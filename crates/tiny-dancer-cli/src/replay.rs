//! `tiny-dancer replay`: computes the decisions of exported spans once more, and says whether they are equal.
//!
//! It reads OTLP as JSON, as collectors write it into files: one object or one a line, anything around the spans; or what
//! `enable_stdout` prints. Each event `routing_decision` in it holds what the router read and what came of it.

use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use tiny_dancer::core::Kernel;
use tiny_dancer::core::replay::Recorded;
use tiny_dancer::tracing::fields;
use tiny_dancer::{Model, Reason};

mod printed;

#[derive(Args)]
pub(crate) struct ReplayArgs {
    /// OTLP as JSON, as a collector's file exporter writes it, or what a program with `enable_stdout` printed; `-` is
    /// standard input.
    #[arg(value_name = "FILE")]
    spans: PathBuf,
    /// The model that decided; the embedded one where none is named.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
}

/// Prints a line a decision, and fails where one is not what it was.
pub(crate) fn replay(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let text = if args.spans.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin()).context("cannot read standard input")?
    } else {
        std::fs::read_to_string(&args.spans).with_context(|| args.spans.display().to_string())?
    };
    let model = args.model.as_ref().map_or_else(|| Ok(Model::embedded()), Model::load)?;
    let verdicts = replay_all(&text, &model)?;
    let mut exit = ExitCode::SUCCESS;
    for (span, verdict) in &verdicts {
        println!("{span}: {verdict}");
        if !verdict.is_good() {
            exit = ExitCode::FAILURE;
        }
    }
    Ok(exit)
}

/// What a replay found.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// The same kernel and the same bits.
    Equal,
    /// Another kernel, and within what that may change.
    Close { kernel: String, instead: &'static str },
    /// What was recorded, and what comes of it now.
    Different(Vec<(&'static str, String, String)>),
    /// Nothing was computed.
    Fallback,
    /// Another model decided.
    OtherModel { recorded: String, here: String },
    /// The event is not what the router writes.
    Unreadable(String),
}

impl Verdict {
    fn is_good(&self) -> bool {
        matches!(self, Self::Equal | Self::Close { .. } | Self::Fallback)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equal => f.write_str("equal"),
            Self::Close { kernel, instead } => write!(
                f,
                "close: within 1e-5, computed with {instead}, since this machine has no {kernel}, whose bits may differ"
            ),
            Self::Different(fields) => {
                f.write_str("different")?;
                for (number, (field, recorded, replayed)) in fields.iter().enumerate() {
                    let before = if number == 0 { ": " } else { "; " };
                    write!(f, "{before}{field} was {recorded}, is {replayed}")?;
                }
                Ok(())
            }
            Self::Fallback => f.write_str("nothing to replay: a fallback"),
            Self::OtherModel { recorded, here } => {
                write!(f, "different: model {recorded} decided, this is {here}; name it with --model")
            }
            Self::Unreadable(why) => write!(f, "unreadable: {why}"),
        }
    }
}

/// Every decision in the text, named by its trace and span.
fn replay_all(text: &str, model: &Model) -> anyhow::Result<Vec<(String, Verdict)>> {
    let mut found = Vec::new();
    if text.trim_start().starts_with(['{', '[']) {
        for (number, value) in serde_json::Deserializer::from_str(text).into_iter::<Value>().enumerate() {
            let value = value.with_context(|| format!("JSON value {}", number + 1))?;
            visit(&value, model, &mut found);
        }
    } else {
        visit(&printed::spans(text), model, &mut found);
    }
    if found.is_empty() {
        bail!(
            "no event {:?} in any span: is this OTLP as JSON, or what `enable_stdout` prints?",
            fields::ROUTING_DECISION.name
        );
    }
    Ok(found)
}

/// Looks for spans at any depth.
fn visit(value: &Value, model: &Model, found: &mut Vec<(String, Verdict)>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| visit(value, model, found)),
        Value::Object(members) => {
            for event in members.get("events").and_then(Value::as_array).into_iter().flatten() {
                if event["name"] == fields::ROUTING_DECISION.name {
                    let id = |key| value[key].as_str().unwrap_or("?");
                    let verdict =
                        judge(event, model).unwrap_or_else(|error| Verdict::Unreadable(format!("{error:#}")));
                    found.push((format!("trace {} span {}", id("traceId"), id("spanId")), verdict));
                }
            }
            members.values().for_each(|value| visit(value, model, found));
        }
        _ => {}
    }
}

fn judge(event: &Value, model: &Model) -> anyhow::Result<Verdict> {
    let reason = text(event, fields::DECISION_REASON)?;
    let known = Reason::ALL.into_iter().find(|known| known.name() == reason);
    if known.with_context(|| format!("{reason:?} is no reason"))?.is_fallback() {
        return Ok(Verdict::Fallback);
    }
    let recorded = text(event, fields::MODEL_VERSION)?;
    if recorded != model.version() {
        return Ok(Verdict::OtherModel { recorded: recorded.to_owned(), here: model.version().to_owned() });
    }
    let name = text(event, fields::KERNEL)?;
    let same = Kernel::available().into_iter().find(|kernel| kernel.name() == name);
    let kernel = same.unwrap_or_else(Kernel::detect);

    let mut columns = Vec::new();
    for key in fields::REPLAY_FEATURES {
        columns.push(doubles(event, key)?);
    }
    let columns: [Vec<f32>; 5] = columns.try_into().unwrap_or_default();
    if columns.iter().any(|column| column.len() != columns[0].len() || column.is_empty()) {
        bail!("the features are not of as many candidates");
    }
    let row = |row| columns.each_ref().map(|column| column[row]);
    let recorded = Recorded {
        rows: (0..columns[0].len()).map(row).collect(),
        confidence_threshold: double(event, fields::REPLAY_CONFIDENCE_THRESHOLD)?,
        max_uncertainty: double(event, fields::REPLAY_MAX_UNCERTAINTY)?,
    };
    let replayed = recorded.replay(model, kernel)?;

    let (confidence, uncertainty) =
        (double(event, fields::REPLAY_CONFIDENCE)?, double(event, fields::REPLAY_UNCERTAINTY)?);
    if same.is_none() && (confidence - replayed.confidence).abs() < 1e-5 && reason == replayed.reason.name() {
        return Ok(Verdict::Close { kernel: name.to_owned(), instead: kernel.name() });
    }
    let mut different = Vec::new();
    for (field, was, is) in
        [("confidence", confidence, replayed.confidence), ("uncertainty", uncertainty, replayed.uncertainty)]
    {
        if was.to_bits() != is.to_bits() {
            different.push((field, was.to_string(), is.to_string()));
        }
    }
    for (field, key, is) in [
        ("reason", fields::DECISION_REASON, replayed.reason.name()),
        ("model", fields::DECISION_MODEL, replayed.reason.model().name()),
    ] {
        let was = text(event, key)?;
        if was != is {
            different.push((field, was.to_owned(), is.to_owned()));
        }
    }
    Ok(if different.is_empty() { Verdict::Equal } else { Verdict::Different(different) })
}

/// An attribute's value.
fn attribute<'a>(event: &'a Value, key: &str) -> anyhow::Result<&'a Value> {
    let attributes = event["attributes"].as_array().context("it has no attributes")?;
    let found = attributes.iter().find(|attribute| attribute["key"] == key);
    Ok(&found.with_context(|| format!("{key} is missing"))?["value"])
}

fn text<'a>(event: &'a Value, key: &str) -> anyhow::Result<&'a str> {
    attribute(event, key)?["stringValue"].as_str().with_context(|| format!("{key} is not text"))
}

fn double(event: &Value, key: &str) -> anyhow::Result<f32> {
    single(attribute(event, key)?).with_context(|| format!("{key} is not an f32"))
}

fn doubles(event: &Value, key: &str) -> anyhow::Result<Vec<f32>> {
    let values = attribute(event, key)?["arrayValue"]["values"].as_array();
    let values = values.with_context(|| format!("{key} is not a list"))?;
    values.iter().map(|value| single(value).with_context(|| format!("{key} holds something else"))).collect()
}

/// A double that holds an `f32`. The last bit of a double may be lost where JSON is read, far below those of an `f32`.
fn single(value: &Value) -> Option<f32> {
    let double = value["doubleValue"].as_f64()?;
    let single = double as f32;
    ((f64::from(single) - double).abs() <= 4.0 * f64::EPSILON * double.abs()).then_some(single)
}

#[cfg(test)]
mod tests;
