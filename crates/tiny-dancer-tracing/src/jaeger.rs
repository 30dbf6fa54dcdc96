//! The Jaeger exporter: sends spans to an agent as Thrift in datagrams.
//!
//! An agent accepts `emitBatch(Batch)` calls of [`agent.thrift`] and [`jaeger.thrift`] in Thrift's compact
//! protocol, one message per datagram. The format is small enough to write here:
//!
//! ```text
//! message = 82 81 seq name  args        82: compact; 81: version 1, one-way
//! args    = { 1: batch }                a struct is its fields and a zero
//! batch   = { 1: process, 2: [span] }
//! field   = (distance to the field before) << 4 | type, value
//! integer = zigzag, then seven bits a byte; text = length, bytes; double = eight bytes, the lowest first
//! ```
//!
//! An agent sends no answer, so this exporter can't know whether the spans arrive. A span that is too large
//! for a datagram is lost and counted.
//!
//! [`agent.thrift`]: https://github.com/jaegertracing/jaeger-idl/blob/main/thrift/agent.thrift
//! [`jaeger.thrift`]: https://github.com/jaegertracing/jaeger-idl/blob/main/thrift/jaeger.thrift

use crate::reports::BatchReports;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status};
use opentelemetry::{Array, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thrift::{Kind, Writer};

mod thrift;

/// The largest datagram in bytes: the size that agents read at once, a little less than UDP allows.
pub(crate) const MAX_DATAGRAM: usize = 65_000;

/// The most bytes of a list's head and the ends of the structs around it.
const FRAME: usize = 16;

/// Sends spans to an agent.
#[derive(Debug)]
pub(crate) struct Exporter {
    /// `host:port`, resolved with every batch, since an agent may move.
    endpoint: String,
    reports: BatchReports,
    /// A message up to its spans.
    head: Vec<u8>,
}

impl Exporter {
    pub(crate) fn new(endpoint: String, reports: BatchReports) -> Self {
        Self { endpoint, reports, head: head(&Resource::builder_empty().build()) }
    }

    /// A socket, and the address that it sends to.
    fn connect(&self) -> std::io::Result<(UdpSocket, SocketAddr)> {
        let addresses: Vec<SocketAddr> = self.endpoint.to_socket_addrs()?.collect();
        // A name may have addresses of both versions, and datagrams can't reveal which one has a listener.
        // Agents always accept IPv4.
        let address = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
        let Some(&address) = address else {
            return Err(std::io::Error::new(std::io::ErrorKind::NotFound, "no such host"));
        };
        let any = if address.is_ipv4() {
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
        } else {
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
        };
        Ok((UdpSocket::bind(any)?, address))
    }
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let failure =
            |error: std::io::Error| OTelSdkError::InternalFailure(format!("{}: {error}", self.endpoint));
        let (socket, address) = self.connect().map_err(failure)?;
        let (datagrams, too_large) = datagrams(&self.head, &batch);
        if too_large > 0 {
            self.reports.refuse(too_large, "too large for a datagram".to_owned());
        }
        let (mut sent, mut last_error) = (0, None);
        for (datagram, spans) in &datagrams {
            // The socket is not connected: on a connected one, an undelivered datagram makes the next send
            // fail, even if an agent listens by then.
            match socket.send_to(datagram, address) {
                Ok(_) => sent += spans,
                Err(error) => {
                    self.reports.refuse(*spans, error.to_string());
                    last_error = Some(error);
                }
            }
        }
        match last_error {
            Some(error) if sent == 0 => {
                self.reports.take_refused(); // the whole batch failed
                Err(failure(error))
            }
            _ => Ok(()),
        }
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.head = head(resource);
    }
}

/// Packs spans into as few datagrams as possible. Returns the datagrams with their numbers of spans, and the
/// number of spans that are too large.
fn datagrams(head: &[u8], batch: &[SpanData]) -> (Vec<(Vec<u8>, u64)>, u64) {
    let room = MAX_DATAGRAM.saturating_sub(head.len() + FRAME);
    let (mut full, mut too_large) = (Vec::new(), 0);
    let (mut spans, mut count) = (Vec::new(), 0_u64);
    let close = |spans: &mut Vec<u8>, count: &mut u64, full: &mut Vec<_>| {
        if *count > 0 {
            full.push((message(head, spans, *count), *count));
            (*spans, *count) = (Vec::new(), 0);
        }
    };
    for span in batch {
        let span = encode(span);
        if span.len() > room {
            too_large += 1;
            continue;
        }
        if spans.len() + span.len() > room {
            close(&mut spans, &mut count, &mut full);
        }
        spans.extend(span);
        count += 1;
    }
    close(&mut spans, &mut count, &mut full);
    (full, too_large)
}

/// A whole message: the head, the spans, and the ends of the batch and the arguments.
fn message(head: &[u8], spans: &[u8], count: u64) -> Vec<u8> {
    let mut writer = Writer::from(head.to_vec());
    writer.list(Kind::Struct, count as usize);
    writer.raw(spans);
    writer.stop();
    writer.stop();
    writer.into_bytes()
}

/// A message up to the head of its list of spans.
fn head(resource: &Resource) -> Vec<u8> {
    let mut service = String::new();
    let mut tags = Vec::new();
    for (key, value) in resource {
        if key.as_str() == "service.name" {
            service = value.to_string();
        } else {
            tags.push(tag(key.as_str(), value));
        }
    }
    let mut writer = Writer::from(vec![0x82, 0x81, 0]);
    writer.text("emitBatch");
    writer.field(1, Kind::Struct); // the batch
    writer.enter();
    writer.field(1, Kind::Struct); // the process
    writer.enter();
    writer.field(1, Kind::Text);
    writer.text(&service);
    write_list(&mut writer, 2, &tags);
    writer.leave();
    writer.field(2, Kind::List); // the spans
    writer.into_bytes()
}

fn encode(span: &SpanData) -> Vec<u8> {
    let mut writer = Writer::default();
    let context = &span.span_context;
    let (high, low) = halves(context);
    let start = microseconds(span.start_time);
    let end = microseconds(span.end_time);
    writer.i64_field(1, low);
    writer.i64_field(2, high);
    writer.i64_field(3, id(context.span_id()));
    writer.i64_field(4, id(span.parent_span_id));
    writer.field(5, Kind::Text);
    writer.text(&span.name);
    // Other spans that this one follows from; field 4 holds its parent.
    let references: Vec<_> = span.links.iter().map(|link| reference(&link.span_context)).collect();
    write_list(&mut writer, 6, &references);
    writer.i32_field(7, i32::from(context.trace_flags().to_u8()));
    writer.i64_field(8, start);
    writer.i64_field(9, (end - start).max(0));
    write_list(&mut writer, 10, &span_tags(span));
    let logs: Vec<_> = span
        .events
        .iter()
        .map(|event| {
            let mut fields = vec![tag("event", &Value::String(event.name.clone().into()))];
            fields.extend(event.attributes.iter().map(attribute));
            let mut writer = Writer::default();
            writer.i64_field(1, microseconds(event.timestamp));
            write_list(&mut writer, 2, &fields);
            writer.stop();
            writer.into_bytes()
        })
        .collect();
    write_list(&mut writer, 11, &logs);
    writer.stop();
    writer.into_bytes()
}

/// The attributes, and the values without a field in Jaeger under the keys of OpenTelemetry's mapping.
fn span_tags(span: &SpanData) -> Vec<Vec<u8>> {
    let text = |key, value: &str| tag(key, &Value::String(value.to_owned().into()));
    let mut tags: Vec<_> = span.attributes.iter().map(attribute).collect();
    match span.span_kind {
        SpanKind::Client => tags.push(text("span.kind", "client")),
        SpanKind::Consumer => tags.push(text("span.kind", "consumer")),
        SpanKind::Producer => tags.push(text("span.kind", "producer")),
        SpanKind::Server => tags.push(text("span.kind", "server")),
        SpanKind::Internal => {}
    }
    match &span.status {
        Status::Unset => {}
        Status::Ok => tags.push(text("otel.status_code", "OK")),
        Status::Error { description } => {
            tags.push(tag("error", &Value::Bool(true)));
            tags.push(text("otel.status_code", "ERROR"));
            tags.push(text("otel.status_description", description));
        }
    }
    tags.push(text("otel.scope.name", span.instrumentation_scope.name()));
    if let Some(version) = span.instrumentation_scope.version() {
        tags.push(text("otel.scope.version", version));
    }
    let state = span.span_context.trace_state().header();
    if !state.is_empty() {
        tags.push(text("w3c.tracestate", &state));
    }
    tags
}

fn attribute(attribute: &KeyValue) -> Vec<u8> {
    tag(attribute.key.as_str(), &attribute.value)
}

fn tag(key: &str, value: &Value) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.field(1, Kind::Text);
    writer.text(key);
    match value {
        Value::Bool(value) => {
            writer.i32_field(2, 2);
            writer.bool_field(5, *value);
        }
        Value::F64(number) => {
            writer.i32_field(2, 1);
            writer.field(4, Kind::Double);
            writer.double(*number);
        }
        Value::I64(number) => {
            writer.i32_field(2, 3);
            writer.i64_field(6, *number);
        }
        // Jaeger has no lists, but its page shows JSON as a table.
        Value::Array(array) => text_value(&mut writer, &json(array)),
        other => text_value(&mut writer, &other.as_str()),
    }
    writer.stop();
    writer.into_bytes()
}

fn text_value(writer: &mut Writer, text: &str) {
    writer.i32_field(2, 0);
    writer.field(3, Kind::Text);
    writer.text(text);
}

/// OpenTelemetry displays lists of numbers and booleans as JSON, except numbers that JSON can't express.
fn json(array: &Array) -> String {
    match array {
        Array::F64(numbers) => {
            let number = |x: &f64| if x.is_finite() { format!("{x:?}") } else { "null".to_owned() };
            format!("[{}]", numbers.iter().map(number).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

fn reference(context: &SpanContext) -> Vec<u8> {
    let mut writer = Writer::default();
    let (high, low) = halves(context);
    writer.i32_field(1, 1); // FOLLOWS_FROM
    writer.i64_field(2, low);
    writer.i64_field(3, high);
    writer.i64_field(4, id(context.span_id()));
    writer.stop();
    writer.into_bytes()
}

/// Writes a list of encoded structs; nothing if there are none.
fn write_list(writer: &mut Writer, field: i16, structs: &[Vec<u8>]) {
    if !structs.is_empty() {
        writer.field(field, Kind::List);
        writer.list(Kind::Struct, structs.len());
        for bytes in structs {
            writer.raw(bytes);
        }
    }
}

/// The higher and the lower half of a trace's id.
fn halves(context: &SpanContext) -> (i64, i64) {
    let id = u128::from_be_bytes(context.trace_id().to_bytes());
    ((id >> 64) as i64, id as i64)
}

fn id(span: SpanId) -> i64 {
    i64::from_be_bytes(span.to_bytes())
}

/// Microseconds since 1970.
fn microseconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_micros() as i64
}

#[cfg(test)]
pub(crate) mod tests;
