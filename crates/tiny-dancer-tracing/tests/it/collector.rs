//! An OTLP collector in this process, and one that never answers.

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tiny_dancer_tracing::TracingConfig;

/// A received export.
pub(crate) struct Received {
    pub(crate) headers: HeaderMap,
    pub(crate) request: ExportTraceServiceRequest,
}

/// Listens for http-protobuf at `/v1/traces`, on a thread and a runtime of its own.
pub(crate) struct Collector {
    address: SocketAddr,
    answer: Arc<AtomicU16>,
    received: Receiver<Received>,
}

impl Collector {
    pub(crate) fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), vec![])
    }

    /// A collector that answers each export with this body.
    pub(crate) fn answering(body: Vec<u8>) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), body)
    }

    pub(crate) fn start_at(address: SocketAddr, body: Vec<u8>) -> Self {
        let (send, received) = channel();
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(AtomicU16::new(200));
        let status = Arc::clone(&answer);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
            runtime.block_on(serve(listener, send, status, body));
        });
        Self { address, answer, received }
    }

    /// Answers with this status from now on.
    pub(crate) fn answer(&self, status: u16) {
        self.answer.store(status, Ordering::SeqCst);
    }

    /// A configuration that exports here and records everything.
    pub(crate) fn config(&self) -> TracingConfig {
        TracingConfig {
            service_name: "my-service".to_owned(),
            otlp_endpoint: Some(format!("http://{}", self.address)),
            ..patient()
        }
    }

    /// Waits for the next export, accepted or refused.
    pub(crate) fn next(&self) -> Received {
        self.received.recv().unwrap()
    }

    /// The exports that have arrived so far. After a complete shutdown these are all exports.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.try_iter().collect()
    }

    /// The requests in them.
    pub(crate) fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        self.received().into_iter().map(|received| received.request).collect()
    }

    /// The spans in them.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.requests().into_iter().flat_map(spans_of).collect()
    }
}

/// The spans of an export.
pub(crate) fn spans_of(request: ExportTraceServiceRequest) -> impl Iterator<Item = Span> {
    let resources = request.resource_spans.into_iter();
    resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans)
}

async fn serve(listener: TcpListener, received: Sender<Received>, status: Arc<AtomicU16>, answer: Vec<u8>) {
    let take = move |headers: HeaderMap, body: Bytes| {
        let (received, answer) = (received.clone(), answer.clone());
        let status = StatusCode::from_u16(status.load(Ordering::SeqCst)).unwrap();
        async move {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            let body = if headers.get("content-encoding").is_some_and(|coding| coding == "gzip") {
                let mut plain = Vec::new();
                flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
                plain.into()
            } else {
                body
            };
            let request = ExportTraceServiceRequest::decode(body).unwrap();
            let _ = received.send(Received { headers, request });
            (status, answer)
        }
    };
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let app = Router::new().route("/v1/traces", post(take)).layer(DefaultBodyLimit::disable());
    axum::serve(listener, app).await.unwrap();
}

/// A listener whose connections are never read, and a configuration that exports to it.
pub(crate) fn silent() -> (TcpListener, TracingConfig) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let otlp_endpoint = Some(format!("http://{}", listener.local_addr().unwrap()));
    (listener, TracingConfig { otlp_endpoint, ..patient() })
}

/// A configuration with all kinds of spans, and with a timeout that is sufficient on a busy machine.
pub(crate) fn patient() -> TracingConfig {
    TracingConfig { shutdown_timeout: Duration::from_secs(120), candidate_spans: 8, ..Default::default() }
}

/// A configuration that exports to a port without a listener. This port is never assigned to a program; a
/// released port may be assigned to another test.
pub(crate) fn dead() -> TracingConfig {
    TracingConfig {
        otlp_endpoint: Some("http://127.0.0.1:1".to_owned()),
        // A shutdown continues its attempts for this long, which is sufficient to attempt all spans.
        shutdown_timeout: Duration::from_secs(1),
        ..patient()
    }
}

/// The value of a span's attribute.
pub(crate) fn attribute<'a>(span: &'a Span, key: &str) -> Option<&'a Value> {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == key)?;
    attribute.value.as_ref()?.value.as_ref()
}
