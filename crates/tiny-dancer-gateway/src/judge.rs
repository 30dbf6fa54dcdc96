//! Judges: how good the lightweight answer is beside the powerful one.

use crate::body::quoted;
use crate::config::{JudgeKind, Provider, Timeouts};
use crate::refusal::path;
use crate::upstream::{Call, Context, Upstream, UpstreamError};
use crate::usage::Usage;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use serde::Deserialize;
use tiny_dancer::Clock;
use tiny_dancer_memory::Verdict;

/// Compares two answers.
#[derive(Debug)]
pub(crate) enum Judge {
    /// By their texts.
    Exact,
    /// By a language model.
    Model { upstream: Box<Upstream>, prompt: String },
    /// By a service of the user's.
    Webhook(Box<Upstream>),
}

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answers<'a> {
    pub(crate) id: &'a str,
    pub(crate) question: &'a str,
    pub(crate) lightweight: &'a str,
    pub(crate) powerful: &'a str,
    /// By lot: whether a model reads the lightweight answer first.
    pub(crate) lightweight_first: bool,
}

/// What a webhook answers.
#[derive(Deserialize)]
struct Scores {
    lightweight: f32,
    powerful: f32,
}

impl Judge {
    pub(crate) fn new(config: &JudgeKind, timeouts: &Timeouts, clock: Clock) -> Result<Self, UpstreamError> {
        Ok(match config {
            JudgeKind::Exact => Self::Exact,
            JudgeKind::Model { model, prompt } => Self::Model {
                upstream: Box::new(Upstream::new(model.as_ref().clone(), timeouts, clock, None)?),
                prompt: prompt.clone(),
            },
            JudgeKind::Webhook(service) => {
                Self::Webhook(Box::new(Upstream::new(service.as_ref().clone(), timeouts, clock, None)?))
            }
        })
    }

    /// The name, for the decision log.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Exact => "exact",
            Self::Model { upstream, .. } => &upstream.config.model,
            Self::Webhook(_) => "webhook",
        }
    }

    /// The verdict, or `None` if the judge gave none; and what its call used.
    pub(crate) async fn compare(
        &self,
        answers: Answers<'_>,
        context: &Context,
    ) -> (Option<Verdict>, Option<Usage>) {
        match self {
            Self::Exact => (Some(exact(answers)), None),
            Self::Model { upstream, prompt } => {
                let Ok(usage) = upstream.ask(question(upstream, prompt, answers), context).await else {
                    return (None, None);
                };
                let verdict = usage.text.as_deref().and_then(|text| word(text, answers.lightweight_first));
                (verdict, Some(usage))
            }
            Self::Webhook(service) => {
                let Answers { id, question, lightweight, powerful, .. } = answers;
                let body = format!(
                    r#"{{"id":{},"question":{},"lightweight":{},"powerful":{}}}"#,
                    quoted(id),
                    quoted(question),
                    quoted(lightweight),
                    quoted(powerful)
                );
                let body = service.read(call(String::new(), body), context).await.ok();
                let scores = body.and_then(|body| serde_json::from_slice::<Scores>(&body).ok());
                (scores.map(|scores| Verdict::judged(scores.lightweight, scores.powerful)), None)
            }
        }
    }
}

/// A request with a body of JSON.
fn call(path: String, body: String) -> Call {
    let json = HeaderValue::from_static("application/json");
    Call {
        method: Method::POST,
        path,
        headers: HeaderMap::from_iter([(header::CONTENT_TYPE, json)]),
        body: body.into(),
        operation: None,
        model: None,
        is_streamed: false,
    }
}

fn question(upstream: &Upstream, prompt: &str, answers: Answers<'_>) -> Call {
    let Answers { question, lightweight, powerful, lightweight_first, .. } = answers;
    let (a, b) = if lightweight_first { (lightweight, powerful) } else { (powerful, lightweight) };
    let text = fill(prompt, &[("{question}", question), ("{a}", a), ("{b}", b)]);
    let (model, provider) = (&upstream.config.model, upstream.config.provider);
    let limit = match provider {
        // Required there. It is enough for a model that thinks first.
        Provider::Anthropic => r#""max_tokens":4096,"#,
        Provider::Openai => "",
    };
    let body = format!(
        r#"{{"model":{},{limit}"messages":[{{"role":"user","content":{}}}]}}"#,
        quoted(model),
        quoted(&text)
    );
    let path = path(provider);
    let path = if provider == Provider::Openai { path.trim_start_matches("/v1") } else { path };
    let mut call = call(path.to_owned(), body);
    (call.operation, call.model) = (Some("chat"), Some(model.clone()));
    if provider == Provider::Anthropic {
        call.headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    }
    call
}

/// Fills the places of a text. What is filled in has no places of its own.
fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((at, (place, value))) =
        values.iter().filter_map(|entry| rest.find(entry.0).map(|at| (at, *entry))).min_by_key(|(at, _)| *at)
    {
        filled.push_str(&rest[..at]);
        filled.push_str(value);
        rest = &rest[at + place.len()..];
    }
    filled + rest
}

/// The verdict of a model's last line.
fn word(text: &str, lightweight_first: bool) -> Option<Verdict> {
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    let word = last.trim_matches(|letter: char| !letter.is_ascii_alphabetic()).to_ascii_uppercase();
    let (lightweight, powerful) = match (word.as_str(), lightweight_first) {
        ("TIE", _) => (0.5, 0.5),
        ("A", true) | ("B", false) => (1.0, 0.0),
        ("A", false) | ("B", true) => (0.0, 1.0),
        _ => return None,
    };
    Some(Verdict::judged(lightweight, powerful))
}

/// Whether the answers are the same text, or end in the same number. If not, the lightweight one counts as worse.
fn exact(answers: Answers<'_>) -> Verdict {
    let normal = |text: &str| {
        let words: Vec<_> = text.split_whitespace().map(str::to_lowercase).collect();
        words.join(" ").trim_end_matches('.').to_owned()
    };
    let Answers { lightweight, powerful, .. } = answers;
    let is_number = || number(lightweight).is_some_and(|last| number(powerful) == Some(last));
    let is_same = normal(lightweight) == normal(powerful) || is_number();
    Verdict::judged(f32::from(u8::from(is_same)), 1.0)
}

/// The last number of a text. Commas between digits are those of thousands.
fn number(text: &str) -> Option<f64> {
    let text = text.replace(',', "");
    let is_of_number = |letter: char| letter.is_ascii_digit() || letter == '.' || letter == '-';
    let parts = text.split(|letter| !is_of_number(letter));
    parts.rev().find_map(|part| part.trim_end_matches(['.', '-']).parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers<'a>(lightweight: &'a str, powerful: &'a str) -> Answers<'a> {
        Answers { id: "1", question: "?", lightweight, powerful, lightweight_first: true }
    }

    #[test]
    fn texts_are_the_same_but_for_case_and_spaces_or_if_they_end_in_the_same_number() {
        let same = |lightweight, powerful| exact(answers(lightweight, powerful)).lightweight == 1.0;
        assert!(same("Paris", " paris.\n"));
        assert!(same("The answer is 42.", "6 * 7 = **42**"));
        assert!(same("1,000.0", "That makes 1000"));
        assert!(!same("41", "42"));
        assert!(!same("Paris", "Rome"));
        assert!(!same("Paris", "42"));
    }

    #[test]
    fn a_models_last_line_is_read_by_the_order_of_the_answers() {
        let scores = |text, first| word(text, first).map(|verdict| (verdict.lightweight, verdict.powerful));
        assert_eq!(scores("Both are fine.\n\nTIE\n", true), Some((0.5, Some(0.5))));
        assert_eq!(scores("**A**", true), Some((1.0, Some(0.0))));
        assert_eq!(scores("A.", false), Some((0.0, Some(1.0))));
        assert_eq!(scores("b", false), Some((1.0, Some(0.0))));
        assert_eq!((scores("Answer A is better", true), scores("", true)), (None, None));
    }

    #[test]
    fn an_answer_that_looks_like_a_place_is_not_filled() {
        let filled = fill("{question}: {a} or {b}", &[("{question}", "{b}?"), ("{a}", "{b}"), ("{b}", "x")]);
        assert_eq!(filled, "{b}?: {b} or x");
    }
}
