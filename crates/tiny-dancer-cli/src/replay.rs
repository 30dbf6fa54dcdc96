//! `tiny-dancer replay`: computes the decisions of exported spans again and compares them.
//!
//! It reads OTLP as JSON, as collectors write it into files: one object or one a line, with the spans at any depth.
//! It also reads the output of `enable_stdout`. Each event `routing_decision` has the router's input and its
//! decision.

use crate::{causes, print};
use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use tiny_dancer::parts::core::Thresholds;
use tiny_dancer::parts::core::coin::Draw;
use tiny_dancer::parts::core::replay::Recorded;
use tiny_dancer::parts::core::{Feature, Kernel};
use tiny_dancer::parts::tracing::{fields, rows};
use tiny_dancer::{Model, Reason};

mod printed;

#[derive(Args)]
pub(crate) struct ReplayArgs {
    /// OTLP as JSON, as a collector's file exporter writes it, or the output of a program with `enable_stdout`; `-`
    /// is standard input.
    #[arg(value_name = "FILE")]
    spans: PathBuf,
    /// The file of the model that decided; the embedded model by default.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Also print the features of each decision's candidates: one line per candidate, farthest first.
    #[arg(long)]
    features: bool,
}

/// Prints one line per decision. The exit code is a failure if a decision differs.
pub(crate) fn replay(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let text = if args.spans.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin()).context("cannot read standard input")?
    } else {
        std::fs::read_to_string(&args.spans).with_context(|| args.spans.display().to_string())?
    };
    let model = args.model.as_ref().map_or_else(|| Ok(Model::embedded()), Model::load)?;
    let mut exit = ExitCode::SUCCESS;
    for replayed in replay_all(&text, &model)? {
        print(format_args!("{}: {}", replayed.span, replayed.verdict))?;
        if args.features {
            table(&replayed.candidates).lines().try_for_each(print)?;
        }
        if !replayed.verdict.is_good() {
            exit = ExitCode::FAILURE;
        }
    }
    Ok(exit)
}

/// One replayed decision.
#[derive(Debug)]
struct Replayed {
    /// Its trace and span.
    span: String,
    verdict: Verdict,
    /// The candidates of the joint pass, farthest first; empty if the event can't be read.
    candidates: Vec<Candidate>,
}

/// A candidate's place in the request, and its features.
type Candidate = (i64, [f32; Feature::COUNT]);

/// A head and one line per candidate; empty without candidates.
fn table(candidates: &[Candidate]) -> String {
    let line = |first: String, cells: [String; Feature::COUNT]| {
        let cells = cells.map(|cell| format!("{cell:>18}")).concat();
        format!("    {first:>9}{cells}\n")
    };
    let head = line("candidate".to_owned(), Feature::ALL.map(|feature| feature.name().to_owned()));
    let rows = candidates.iter().map(|(place, row)| line(place.to_string(), row.map(|it| format!("{it:?}"))));
    if candidates.is_empty() { String::new() } else { std::iter::once(head).chain(rows).collect() }
}

/// The result of a replay.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// The same kernel gives the same bits.
    Equal,
    /// This machine lacks the kernel, and another one gives a result within its tolerance.
    Close { kernel: String, instead: &'static str },
    /// Fields that differ, with their recorded and their replayed values.
    Different(Vec<(&'static str, String, String)>),
    /// The decision was a fallback, so there is nothing to compute.
    Fallback,
    /// Another model decided.
    OtherModel { recorded: String, here: String },
    /// The event is not in the router's format.
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

/// Every decision in the text.
fn replay_all(text: &str, model: &Model) -> anyhow::Result<Vec<Replayed>> {
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
fn visit(value: &Value, model: &Model, found: &mut Vec<Replayed>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| visit(value, model, found)),
        Value::Object(members) => {
            for event in members.get("events").and_then(Value::as_array).into_iter().flatten() {
                if event["name"] == fields::ROUTING_DECISION.name {
                    let id = |key| value[key].as_str().unwrap_or("?");
                    let verdict =
                        judge(event, model).unwrap_or_else(|error| Verdict::Unreadable(causes(&error)));
                    let span = format!("trace {} span {}", id("traceId"), id("spanId"));
                    // If the candidates can't be read, the verdict has the reason.
                    let candidates = candidates(event).unwrap_or_default();
                    found.push(Replayed { span, verdict, candidates });
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

    let explore = draw(event)?;
    let recorded = Recorded {
        rows: joint(event, reason)?.into_iter().map(|(_, row)| row).collect(),
        thresholds: Thresholds {
            confidence_threshold: double(event, fields::REPLAY_CONFIDENCE_THRESHOLD)?,
            max_uncertainty: double(event, fields::REPLAY_MAX_UNCERTAINTY)?,
        },
        explore,
        budget_spent: reason == Reason::BudgetSpent.name(),
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

/// The draw of `explore`, if there was one.
fn draw(event: &Value) -> anyhow::Result<Option<Draw>> {
    let Ok(happened) = attribute(event, fields::EXPLORE_HAPPENED) else { return Ok(None) };
    let happened = happened["boolValue"]
        .as_bool()
        .with_context(|| format!("{} is no bool", fields::EXPLORE_HAPPENED))?;
    let probability = attribute(event, fields::EXPLORE_PROBABILITY)?["doubleValue"].as_f64();
    let probability = probability.with_context(|| format!("{} is no double", fields::EXPLORE_PROBABILITY))?;
    Ok(Some(Draw { probability, happened }))
}

/// The candidates from which a decision is computed, if it has some.
fn joint(event: &Value, reason: &str) -> anyhow::Result<Vec<Candidate>> {
    let is_recorded = attribute(event, fields::REPLAY_FEATURES).is_ok();
    // An explored request without candidates, which the budget may have refused.
    let may_lack = [Reason::BudgetSpent, Reason::Explored].iter().any(|may| reason == may.name());
    if !is_recorded && may_lack { Ok(Vec::new()) } else { candidates(event) }
}

/// The candidates of the joint pass, farthest first.
fn candidates(event: &Value) -> anyhow::Result<Vec<Candidate>> {
    let rows = rows::decode(text(event, fields::REPLAY_FEATURES)?).context(fields::REPLAY_FEATURES)?;
    let places = attribute(event, fields::REPLAY_CANDIDATES)?["arrayValue"]["values"].as_array();
    let places = places.with_context(|| format!("{} is not a list", fields::REPLAY_CANDIDATES))?;
    if rows.is_empty() || rows.len() != places.len() {
        bail!("there are {} candidates and the features of {}", places.len(), rows.len());
    }
    let place = |value: &Value| {
        // In OTLP's JSON, integers are text.
        let value = &value["intValue"];
        let place = value.as_i64().or_else(|| value.as_str()?.parse().ok());
        place.with_context(|| format!("{} holds something else", fields::REPLAY_CANDIDATES))
    };
    places.iter().zip(rows).map(|(value, row)| Ok((place(value)?, row))).collect()
}

/// The `f32` in a double. Reading JSON may change the last bits of a double, which are far below those of an `f32`.
fn single(value: &Value) -> Option<f32> {
    let double = value["doubleValue"].as_f64()?;
    let single = double as f32;
    ((f64::from(single) - double).abs() <= 4.0 * f64::EPSILON * double.abs()).then_some(single)
}

#[cfg(test)]
mod tests;
