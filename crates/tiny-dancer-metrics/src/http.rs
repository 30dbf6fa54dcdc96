//! `/metrics` over HTTP: a small server for those who have none, and the handler for those who have `axum`.
//!
//! ```
//! use tiny_dancer_metrics::{MetricsCollector, MetricsServer};
//!
//! let metrics = MetricsCollector::new()?;
//! // Port 0 is a free one; in production give Prometheus a port to find.
//! let server = MetricsServer::bind("127.0.0.1:0")?;
//! println!("http://{}/metrics", server.address());
//! server.shutdown();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`metrics`] is the handler alone:
//!
//! ```
//! # use tiny_dancer_metrics::http;
//! let registry = tiny_dancer_metrics::prometheus::Registry::new();
//! let app: axum::Router = axum::Router::new().route("/metrics", http::metrics(registry));
//! ```
//!
//! # What is answered
//!
//! `GET /metrics` with the text format 0.0.4, whatever version was asked for, as Prometheus permits; compressed where
//! gzip is accepted; 406 where no text is. `GET /healthz` with `ok`. Who can reach the server can read the metrics: it
//! has no passwords and no TLS, so let it listen where only Prometheus reaches it.
//!
//! # What a client can't do
//!
//! Keep a connection: each answers one request and is closed, at the latest when [`ServerConfig::timeout`] is over,
//! whether it sends or reads slowly or not at all. Open more than [`ServerConfig::max_connections`] at a time: the others
//! wait in the system's queue. Send more than 64 headers, or more than 16 KiB of them.

use crate::error::ExportError;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use flate2::{Compression, write::GzEncoder};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus::{Registry, TextEncoder};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

mod accept;

/// How many headers a request may have.
const MAX_HEADERS: usize = 64;
/// How many bytes they may have together.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// How a [`MetricsServer`] serves.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where it listens; only this machine reaches the default, `127.0.0.1:9898`. Port 0 is a free one.
    pub address: SocketAddr,
    /// What it shows; by default prometheus' default registry, where `MetricsCollector::new` is.
    pub registry: Registry,
    /// How many clients it serves at a time, at least 1. By default 16: a scraper or two, and people who look.
    pub max_connections: usize,
    /// How long a client may take from its connection to the last byte of its answer. By default 10 s, as long as
    /// Prometheus waits.
    pub timeout: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 9898)),
            registry: prometheus::default_registry().clone(),
            max_connections: 16,
            timeout: Duration::from_secs(10),
        }
    }
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The name of a host has no address.
    #[error("the address to listen at cannot be resolved")]
    Address {
        /// What the system says.
        source: std::io::Error,
    },
    /// The address is in use, or not this machine's.
    #[error("cannot listen at {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// There was no thread for it.
    #[error("the thread that serves cannot be started")]
    Start {
        /// What the system says.
        source: std::io::Error,
    },
}

/// Answers `/metrics` and `/healthz` on a thread of its own, until it is shut down or dropped.
#[derive(Debug)]
pub struct MetricsServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl MetricsServer {
    /// Serves prometheus' default registry at this address.
    pub fn bind(address: impl ToSocketAddrs) -> Result<Self, ServeError> {
        let addresses = address.to_socket_addrs().map_err(|source| ServeError::Address { source })?;
        let mut last = None;
        for address in addresses {
            match Self::start(ServerConfig { address, ..Default::default() }) {
                Ok(server) => return Ok(server),
                Err(error) => last = Some(error),
            }
        }
        let none = || ServeError::Address { source: std::io::ErrorKind::NotFound.into() };
        Err(last.unwrap_or_else(none))
    }

    /// Serves as the configuration says.
    pub fn start(config: ServerConfig) -> Result<Self, ServeError> {
        let address = config.address;
        let listen = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let start = |source| ServeError::Start { source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(start)?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(start)?
        };
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::Builder::new()
            .name("tiny-dancer-http".to_owned())
            .spawn(move || runtime.block_on(serve(listener, config, stopped)))
            .map_err(start)?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests, finishes those that it has, and returns when its thread has ended, at the latest after
    /// [`ServerConfig::timeout`]. Dropping it does the same.
    pub fn shutdown(self) {
        drop(self);
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed, and a second one must not come out of a drop.
            let _ = thread.join();
        }
    }
}

async fn serve(listener: tokio::net::TcpListener, config: ServerConfig, mut stopped: watch::Receiver<bool>) {
    let app = router(config.registry);
    let slots = Arc::new(Semaphore::new(config.max_connections.clamp(1, Semaphore::MAX_PERMITS)));
    let mut connections = JoinSet::new();
    let stopping = stopped.clone();
    let accept = async {
        loop {
            // Before it accepts: who finds no place waits in the system's queue, and takes no memory here.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let connection = connection(stream, app.clone(), stopping.clone());
                    connections.spawn(async move {
                        // Whoever is cut off here knows it.
                        let _ = tokio::time::timeout(config.timeout, connection).await;
                        drop(slot);
                    });
                }
                // No file descriptor is left, for one: trying again at once would take the processor as well.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
            while connections.try_join_next().is_some() {}
        }
    };
    tokio::select! {
        () = accept => {}
        _ = stopped.changed() => {}
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// One request and its answer.
async fn connection(stream: TcpStream, app: axum::Router, mut stopped: watch::Receiver<bool>) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut connection = std::pin::pin!(connection);
    let stop = async {
        // The sender outlives this thread.
        let _ = stopped.wait_for(|&stopped| stopped).await;
    };
    tokio::select! {
        // A client that sends nonsense or goes away is no error of ours.
        _ = connection.as_mut() => return,
        () = stop => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// `/metrics` and `/healthz`.
pub fn router(registry: Registry) -> axum::Router {
    axum::Router::new().route("/metrics", metrics(registry)).route("/healthz", get(|| async { "ok\n" }))
}

/// The handler of `/metrics`, to be mounted where you like.
pub fn metrics<S: Clone + Send + Sync + 'static>(registry: Registry) -> MethodRouter<S> {
    get(move |headers: HeaderMap| {
        let response = answer(&registry, &headers);
        async move { response }
    })
}

fn answer(registry: &Registry, headers: &HeaderMap) -> Response {
    if !accept::text(headers) {
        return (StatusCode::NOT_ACCEPTABLE, "only text/plain; version=0.0.4\n").into_response();
    }
    let text = match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => text,
        Err(source) => {
            let error = ExportError { source };
            return (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}: {}\n", error.source))
                .into_response();
        }
    };
    let compressed = accept::gzip(headers).then(|| gzip(&text)).and_then(Result::ok);
    let is_compressed = compressed.is_some();
    let mut response = compressed.unwrap_or_else(|| text.into_bytes()).into_response();
    let headers = response.headers_mut();
    headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    headers.insert(header::VARY, HeaderValue::from_static("accept, accept-encoding"));
    if is_compressed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn gzip(text: &str) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes())?;
    encoder.finish()
}
