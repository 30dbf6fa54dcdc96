//! An OTLP collector in this process, and one that never answers.

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tiny_dancer_tracing::TracingConfig;

/// Listens for http-protobuf at `/v1/traces`, on a thread and a runtime of its own.
pub(crate) struct Collector {
    address: SocketAddr,
    received: Receiver<ExportTraceServiceRequest>,
}

impl Collector {
    pub(crate) fn start() -> Self {
        let (send, received) = channel();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
            runtime.block_on(serve(listener, send));
        });
        Self { address, received }
    }

    /// A configuration that exports here and records everything.
    pub(crate) fn config(&self) -> TracingConfig {
        TracingConfig {
            service_name: "my-service".to_owned(),
            otlp_endpoint: Some(format!("http://{}", self.address)),
            ..patient()
        }
    }

    /// The requests that have arrived. After a shutdown that flushed, these are all.
    pub(crate) fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        self.received.try_iter().collect()
    }

    /// The spans in them.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let resources = self.requests().into_iter().flat_map(|request| request.resource_spans);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }
}

async fn serve(listener: TcpListener, received: Sender<ExportTraceServiceRequest>) {
    let take = move |headers: HeaderMap, body: Bytes| {
        let received = received.clone();
        async move {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            let _ = received.send(ExportTraceServiceRequest::decode(body).unwrap());
            StatusCode::OK
        }
    };
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    axum::serve(listener, Router::new().route("/v1/traces", post(take))).await.unwrap();
}

/// A listener that nobody reads from, and a configuration that exports to it.
pub(crate) fn silent() -> (TcpListener, TracingConfig) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let otlp_endpoint = Some(format!("http://{}", listener.local_addr().unwrap()));
    (listener, TracingConfig { otlp_endpoint, ..patient() })
}

/// A configuration that a busy machine can't make fail.
fn patient() -> TracingConfig {
    TracingConfig { shutdown_timeout: Duration::from_secs(120), ..Default::default() }
}

/// A configuration that exports to where nobody listens.
pub(crate) fn dead() -> TracingConfig {
    silent().1
}

/// A span's attribute.
pub(crate) fn attribute<'a>(span: &'a Span, key: &str) -> Option<&'a Value> {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == key)?;
    attribute.value.as_ref()?.value.as_ref()
}
