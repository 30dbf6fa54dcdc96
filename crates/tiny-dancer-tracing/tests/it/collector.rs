//! An OTLP collector in this process, and one that never answers.

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{MethodRouter, post};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
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
pub(crate) struct Received<T = ExportTraceServiceRequest> {
    pub(crate) headers: HeaderMap,
    pub(crate) request: T,
}

/// Listens for http-protobuf at the paths of OTLP, on a thread and a runtime of its own.
pub(crate) struct Collector {
    address: SocketAddr,
    answer: Arc<AtomicU16>,
    received: Receiver<Received>,
    /// The exports of metrics, as they arrive.
    pub(crate) metrics: Receiver<Received<ExportMetricsServiceRequest>>,
    /// The exports of log records, as they arrive.
    pub(crate) logs: Receiver<Received<ExportLogsServiceRequest>>,
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
        let (send_metrics, metrics) = channel();
        let (send_logs, logs) = channel();
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(AtomicU16::new(200));
        let status = Arc::clone(&answer);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
            let app = Router::new()
                .route("/v1/traces", take(send, &status, &body))
                .route("/v1/metrics", take(send_metrics, &status, &body))
                .route("/v1/logs", take(send_logs, &status, &body))
                .layer(DefaultBodyLimit::disable());
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, app).await.unwrap();
            });
        });
        Self { address, answer, received, metrics, logs }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers with this status from now on.
    pub(crate) fn answer(&self, status: u16) {
        self.answer.store(status, Ordering::SeqCst);
    }

    /// A configuration that exports here and records everything.
    pub(crate) fn config(&self) -> TracingConfig {
        TracingConfig {
            service_name: "my-service".to_owned(),
            otlp_endpoint: Some(self.endpoint()),
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

/// Decodes each export, sends it to a channel, and answers with the status and the body.
fn take<T: Message + Default + 'static>(
    received: Sender<Received<T>>,
    status: &Arc<AtomicU16>,
    answer: &[u8],
) -> MethodRouter {
    let (status, answer) = (Arc::clone(status), answer.to_vec());
    post(move |headers: HeaderMap, body: Bytes| {
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
            let request = T::decode(body).unwrap();
            let _ = received.send(Received { headers, request });
            (status, answer)
        }
    })
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
