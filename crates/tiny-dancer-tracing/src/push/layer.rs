//! The layer that turns log lines into log records.

use super::LogRecords;
use crate::fields::TARGET;
use crate::log;
use crate::stages::now;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};
use std::borrow::Cow;
use std::fmt::Debug;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// The crates under the HTTP client. Their own lines are no records, because sending a record would cause others.
const CLIENT: &[&str] =
    &["h2", "hyper", "hyper_util", "mio", "opentelemetry", "opentelemetry_sdk", "reqwest", "rustls", "want"];

/// Pushes each event as a log record.
pub(crate) fn layer<S: Subscriber>(records: LogRecords) -> impl Layer<S> {
    Records(records)
}

struct Records(LogRecords);

impl<S: Subscriber> Layer<S> for Records {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if !self.0.is_open() {
            return;
        }
        let metadata = event.metadata();
        let mut visited = Visited { target: metadata.target().into(), record: record(metadata) };
        event.record(&mut visited);
        let Visited { target, mut record } = visited;
        if CLIENT.contains(&target.split("::").next().unwrap_or_default()) {
            return;
        }
        if target == TARGET {
            record.event_name = event_name(&record);
        }
        self.0.push(target, record);
    }
}

/// A record without the event's fields.
fn record(metadata: &Metadata<'_>) -> LogRecord {
    let now = now().unsigned_abs();
    let (level, severity) = match *metadata.level() {
        Level::ERROR => ("ERROR", SeverityNumber::Error),
        Level::WARN => ("WARN", SeverityNumber::Warn),
        Level::INFO => ("INFO", SeverityNumber::Info),
        Level::DEBUG => ("DEBUG", SeverityNumber::Debug),
        Level::TRACE => ("TRACE", SeverityNumber::Trace),
    };
    let mut record = LogRecord {
        time_unix_nano: now,
        observed_time_unix_nano: now,
        severity_number: severity.into(),
        severity_text: level.to_owned(),
        ..LogRecord::default()
    };
    // Without a name of its own, an event has that of its file and line.
    if !metadata.name().starts_with("event ") {
        metadata.name().clone_into(&mut record.event_name);
    }
    if let Some((trace_id, span_id, flags)) = log::current_span() {
        record.trace_id = trace_id.to_bytes().to_vec();
        record.span_id = span_id.to_bytes().to_vec();
        record.flags = flags.to_u8().into();
    }
    record
}

/// The name of one of our lines: `tiny_dancer.` and its message in snake case.
fn event_name(record: &LogRecord) -> String {
    let Some(Value::StringValue(message)) = record.body.as_ref().and_then(|body| body.value.as_ref()) else {
        return String::new();
    };
    let letter = |letter: char| match letter {
        '\'' => None,
        other if other.is_ascii_alphanumeric() => Some(other.to_ascii_lowercase()),
        _ => Some('_'),
    };
    format!("{TARGET}.{}", message.chars().filter_map(letter).collect::<String>())
}

/// A record that receives the event's fields.
struct Visited {
    target: Cow<'static, str>,
    record: LogRecord,
}

impl Visited {
    fn add(&mut self, field: &Field, value: Value) {
        let value = AnyValue { value: Some(value) };
        match field.name() {
            "message" => self.record.body = Some(value),
            // The bridge of the `log` crate keeps a record's target and place in fields.
            "log.target" => {
                if let Some(Value::StringValue(target)) = value.value {
                    self.target = target.into();
                }
            }
            "log.file" | "log.line" | "log.module_path" => {}
            name => {
                let key = name.strip_prefix("r#").unwrap_or(name).to_owned();
                self.record.attributes.push(KeyValue { key, value: Some(value), ..Default::default() });
            }
        }
    }
}

impl Visit for Visited {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, Value::BoolValue(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, Value::StringValue(format!("{value:?}")));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, Value::DoubleValue(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, Value::IntValue(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, Value::StringValue(value.to_owned()));
    }

    /// A number that does not fit into OTLP's integer is text.
    fn record_u64(&mut self, field: &Field, value: u64) {
        let value =
            i64::try_from(value).map_or_else(|_| Value::StringValue(value.to_string()), Value::IntValue);
        self.add(field, value);
    }
}
