//! `/metrics` and `/readyz` over HTTP: handlers for programs that use `axum`, and a small server for programs without a web
//! framework.
//!
//! The handlers are [`metrics`] and [`ready`]. With the feature `http` there is also `MetricsServer`.
//!
//! # Answers
//!
//! `GET /metrics` answers in OpenMetrics 1.0, with exemplars, if the client prefers it, as Prometheus does. Otherwise it
//! answers in the text format 0.0.4, also if the client requests another version, as Prometheus permits. With
//! `?created=true`, OpenMetrics has a `_created` series for each counter and histogram. The answer is compressed if the client
//! accepts gzip. The status is 406 if the client accepts neither format, and 500 with the cause if the registry cannot be
//! written. `GET /readyz` answers 200 if the routers can decide, else 503, and says why as JSON. The server also answers
//! `GET /healthz` with `ok` while it runs. It has no passwords and no
//! TLS, and each client that reaches it can read the metrics, so let it listen where only Prometheus reaches it.
//!
//! # Limits of the server
//!
//! A connection answers one request and is closed: after `ServerConfig::header_timeout` if the request's headers are
//! incomplete, and after `ServerConfig::timeout` in any case. A new connection is always accepted. If
//! `ServerConfig::max_connections` are open, it closes the oldest that has not sent its request, or else the oldest. A
//! request has at most 64 headers, in at most 16 KiB.

use crate::exposition::{self, Format};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use flate2::{Compression, write::GzEncoder};
use prometheus::Registry;
use std::io::Write as _;

mod ready;
#[cfg(feature = "http")]
mod server;

pub use ready::Readiness;
#[cfg(feature = "http")]
pub use server::{MetricsServer, ServeError, ServerConfig};

/// `/metrics`, `/healthz` and `/readyz`.
pub fn router(registry: Registry) -> axum::Router {
    axum::Router::new()
        .route("/metrics", metrics(registry.clone()))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", ready(registry))
}

/// The handler of `/metrics`, for any path and any state of an `axum::Router`.
///
/// ```
/// use tiny_dancer_metrics::{MetricsCollector, http};
///
/// let metrics = MetricsCollector::new()?;
/// let app: axum::Router = axum::Router::new().route("/metrics", http::metrics(metrics.registry().clone()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn metrics<S: Clone + Send + Sync + 'static>(registry: Registry) -> MethodRouter<S> {
    get(move |uri: Uri, headers: HeaderMap| {
        let response = answer(&registry, &uri, &headers);
        async move { response }
    })
}

/// The handler of `/readyz`, for any path and any state of an `axum::Router`.
///
/// It answers 200 if each collector of the registry has a router with a model and no `inference` circuit is open, else
/// 503. The body has each condition, for example `{"ready":false,"model":true,"inference_circuit":"open"}`.
///
/// A model of another version closes the `inference` circuit, so an instance is ready again after such a reload. Otherwise an
/// open circuit waits for a request, which it lets through as a probe: an instance that receives no requests while it is not
/// ready stays open until `Router::reset`. With `OnOpen::Fallback` it can answer: a load balancer that must keep it uses
/// `/healthz`.
///
/// ```
/// use tiny_dancer_metrics::{MetricsCollector, http};
///
/// let metrics = MetricsCollector::new()?;
/// let app: axum::Router = axum::Router::new().route("/readyz", http::ready(metrics.registry().clone()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn ready<S: Clone + Send + Sync + 'static>(registry: Registry) -> MethodRouter<S> {
    get(move || {
        let response = Readiness::of(&registry).answer();
        async move { response }
    })
}

fn answer(registry: &Registry, uri: &Uri, headers: &HeaderMap) -> Response {
    let format = match joined(headers, &header::ACCEPT).as_deref().map(Format::of) {
        None => Format::Text,
        Some(Some(Format::OpenMetrics { .. })) => Format::OpenMetrics { created: asks_for_created(uri) },
        Some(Some(format)) => format,
        Some(None) => {
            let text = "only application/openmetrics-text; version=1.0.0 and text/plain; version=0.0.4\n";
            return (StatusCode::NOT_ACCEPTABLE, text).into_response();
        }
    };
    let text = match exposition::export(registry, format) {
        Ok(text) => text,
        Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    };
    let accepts_gzip =
        joined(headers, &header::ACCEPT_ENCODING).is_some_and(|accept| exposition::accepts_gzip(&accept));
    let compressed = accepts_gzip.then(|| gzip(&text)).and_then(Result::ok);
    let is_compressed = compressed.is_some();
    let mut response = compressed.unwrap_or_else(|| text.into_bytes()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    headers.insert(header::VARY, HeaderValue::from_static("accept, accept-encoding"));
    if is_compressed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// The lines of a header as one. Lines that are not text are ignored.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines: Vec<_> = headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect();
    headers.contains_key(name).then(|| lines.join(","))
}

fn asks_for_created(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| query.split('&').any(|parameter| parameter == "created=true"))
}

fn gzip(text: &str) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes())?;
    encoder.finish()
}
