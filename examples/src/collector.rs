//! An OTLP collector within the process: it decodes and keeps the spans that an exporter sends over HTTP, and accepts metrics
//! and log records.
//!
//! An example with this collector, instead of an external one, can show its traces.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Spans = Arc<Mutex<Vec<Span>>>;

/// Listens on a free port of this machine, on a thread of its own, until it is dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    spans: Spans,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Collector {
    /// Starts to listen.
    ///
    /// # Errors
    /// If no port can be opened.
    pub fn start() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let spans = Spans::default();
        let accept = || post(|| async { StatusCode::OK });
        let app = Router::new()
            .route("/v1/traces", post(receive))
            .route("/v1/metrics", accept())
            .route("/v1/logs", accept())
            .with_state(Arc::clone(&spans));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    // Serving ends by itself only if the listener fails; the received spans are kept.
                    _ = async { axum::serve(listener, app).await } => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Self { address, spans, stop: Some(stop), thread: Some(thread) })
    }

    /// The value for `otlp_endpoint`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The spans that have arrived so far.
    pub fn spans(&self) -> Vec<Span> {
        lock(&self.spans).clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(()); // it may have stopped by itself
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // its panic has been printed
        }
    }
}

fn lock(spans: &Spans) -> MutexGuard<'_, Vec<Span>> {
    spans.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn receive(State(spans): State<Spans>, body: Bytes) -> Response {
    match ExportTraceServiceRequest::decode(body) {
        Ok(request) => {
            let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
            lock(&spans).extend(scopes.flat_map(|scope| scope.spans));
            let answer = ExportTraceServiceResponse::default().encode_to_vec();
            ([(header::CONTENT_TYPE, "application/x-protobuf")], answer).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

/// The first spans of each trace here: those without a parent, or with a parent in another service.
pub fn roots(spans: &[Span]) -> Vec<&Span> {
    let is_here = |id: &[u8]| spans.iter().any(|span| span.span_id == id);
    spans.iter().filter(|span| !is_here(&span.parent_span_id)).collect()
}

/// An id of a trace or a span, in the hexadecimal digits of headers.
pub fn hex(id: &[u8]) -> String {
    id.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

/// Draws the trace of a root span as a tree: the trace's id, and a line for each span in the order of time, with name,
/// duration and attributes.
pub fn tree(spans: &[Span], root: &Span) -> String {
    let mut text = format!("  trace {}\n", hex(&root.trace_id));
    draw(&mut text, spans, root, "", "");
    text
}

fn draw(text: &mut String, spans: &[Span], span: &Span, indent: &str, branch: &str) {
    let microseconds = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano) as f64 / 1000.0;
    let name = format!("{indent}{branch}{}", span.name);
    let _ = writeln!(text, "  {name:<32} {microseconds:>8.1} us  {}", attributes(span));
    let mut children: Vec<_> = spans.iter().filter(|child| child.parent_span_id == span.span_id).collect();
    children.sort_by_key(|child| (child.start_time_unix_nano, child.end_time_unix_nano));
    let indent = match branch {
        "" => String::new(),
        "`- " => format!("{indent}   "),
        _ => format!("{indent}|  "),
    };
    for (number, child) in children.iter().enumerate() {
        let branch = if number + 1 == children.len() { "`- " } else { "|- " };
        draw(text, spans, child, &indent, branch);
    }
}

fn attributes(span: &Span) -> String {
    let show = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => format!("{number:.3}"),
        Value::BoolValue(truth) => truth.to_string(),
        _ => "...".to_owned(),
    };
    let pairs = span.attributes.iter().filter_map(|attribute| {
        let value = show(attribute.value.as_ref()?.value.as_ref()?);
        let key = attribute.key.strip_prefix("tiny_dancer.").unwrap_or(&attribute.key);
        Some(format!("{key}={value}"))
    });
    pairs.collect::<Vec<_>>().join(" ")
}
