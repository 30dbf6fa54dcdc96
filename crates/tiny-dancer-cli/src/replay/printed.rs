//! The spans that `enable_stdout` prints, converted to OTLP's JSON.
//!
//! OpenTelemetry's printed format is meant for people, and a program may print other lines in between, so unknown
//! lines are skipped. Numbers are printed with all of their digits, so a decision is the same to the last bit.
//!
//! ```text
//! Span #0
//!     TraceId      : 1cdee8214c233e9153689c2695493084
//!     SpanId       : 15acf1b2f9eb8d6f
//!     Attributes:
//!          ->  tiny_dancer.candidates: I64(2)
//!     Event #0
//!     Name      : routing_decision
//!          ->  tiny_dancer.replay.candidates: Array(I64([1, 0]))
//! ```

use serde_json::{Value, json};

/// The spans with their events, as a JSON array.
pub(super) fn spans(text: &str) -> Value {
    let mut spans: Vec<Value> = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("Span #") {
            spans.push(json!({ "events": [] }));
        }
        let Some(span) = spans.last_mut() else { continue };
        if line.starts_with("Event #") {
            push(&mut span["events"], json!({ "attributes": [] }));
        }
        let event = span["events"].as_array_mut().and_then(|events| events.last_mut());
        if let Some((key, value)) = line.strip_prefix("->").and_then(|line| line.split_once(": ")) {
            if let (Some(event), Some(value)) = (event, value_of(value)) {
                push(&mut event["attributes"], json!({ "key": key.trim(), "value": value }));
            }
        } else if let Some((key, value)) = line.split_once(':') {
            match (key.trim(), event) {
                ("Name", Some(event)) => event["name"] = json!(value.trim()),
                ("TraceId", None) => span["traceId"] = json!(value.trim()),
                ("SpanId", None) => span["spanId"] = json!(value.trim()),
                _ => {}
            }
        }
    }
    Value::Array(spans)
}

fn push(array: &mut Value, value: Value) {
    if let Some(array) = array.as_array_mut() {
        array.push(value);
    }
}

/// An attribute's value, of the types that a decision uses.
fn value_of(text: &str) -> Option<Value> {
    if let Some(list) = inside(text, "Array") {
        let (kind, list) = list.split_once('(')?;
        let list = list.strip_prefix('[')?.strip_suffix("])")?;
        let values = list.split(", ").filter(|number| !number.is_empty());
        let values: Option<Vec<_>> = values.map(|number| number_of(kind, number)).collect();
        return Some(json!({ "arrayValue": { "values": values? } }));
    }
    if let Some(text) = inside(text, "String") {
        // The printed form contains the type of the string, as in `Static("route")`.
        return Some(json!({ "stringValue": text.split_once('"')?.1.rsplit_once('"')?.0 }));
    }
    let (kind, number) = text.split_once('(')?;
    number_of(kind, number.strip_suffix(')')?)
}

fn number_of(kind: &str, number: &str) -> Option<Value> {
    match kind {
        "F64" => Some(json!({ "doubleValue": number.parse::<f64>().ok()? })),
        "I64" => Some(json!({ "intValue": number })),
        "Bool" => Some(json!({ "boolValue": number.parse::<bool>().ok()? })),
        _ => None,
    }
}

/// The text in brackets after this word.
fn inside<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    text.strip_prefix(word)?.strip_prefix('(')?.strip_suffix(')')
}
