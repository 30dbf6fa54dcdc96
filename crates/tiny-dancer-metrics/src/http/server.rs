//! The server: one thread, and a bounded number of connections, to which a new one is always admitted.

use super::router;
use axum::response::Response;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus::Registry;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// How many headers a request may have.
const MAX_HEADERS: usize = 64;
/// How many bytes they may have together.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// How a [`MetricsServer`] serves.
#[derive(Clone, Debug)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct ServerConfig {
    /// The address to listen at. Only this machine reaches the default, `127.0.0.1:9898`. Port 0 selects a free port.
    pub address: SocketAddr,
    /// The registry to show. By default prometheus' default registry, which `MetricsCollector::new` registers in. A
    /// configuration read from a file always has that one.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub registry: Registry,
    /// How many connections may be open, at least 1. By default 16: enough for a scraper or two and some people. One more
    /// closes the oldest that has not sent its request, or else the oldest.
    pub max_connections: usize,
    /// How long a client may take from its connection to the last byte of its request's headers. By default 2 s: a
    /// well-behaved client sends them at once.
    pub header_timeout: Duration,
    /// How long a client may take from its connection to the last byte of its answer. By default 10 s,
    /// which is Prometheus' default timeout.
    pub timeout: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 9898)),
            registry: prometheus::default_registry().clone(),
            max_connections: 16,
            header_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(10),
        }
    }
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The host name has no address.
    #[error("the address to listen at cannot be resolved: {source}")]
    Address {
        /// The system's error.
        source: std::io::Error,
    },
    /// The address is in use, or belongs to another machine.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// Its thread or its runtime could not be started.
    #[error("the thread that serves cannot be started: {source}")]
    Start {
        /// The system's error.
        source: std::io::Error,
    },
}

/// Answers `/metrics`, `/healthz` and `/readyz` on a thread of its own, until it is shut down or dropped.
#[derive(Debug)]
pub struct MetricsServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl MetricsServer {
    /// Serves prometheus' default registry at this address.
    ///
    /// ```
    /// use tiny_dancer_metrics::{MetricsCollector, MetricsServer};
    ///
    /// let metrics = MetricsCollector::new()?;
    /// // Port 0 selects a free port. In production use a fixed one, which Prometheus is configured with.
    /// let server = MetricsServer::bind("127.0.0.1:0")?;
    /// println!("http://{}/metrics", server.address());
    /// server.shutdown();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the host name has no address, or the address is in use or belongs to another machine.
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

    /// Serves with this configuration.
    ///
    /// # Errors
    /// If the address is in use or belongs to another machine.
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

    /// The address that it listens at.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more requests, finishes the open ones, and returns when its thread has ended, at the latest after
    /// [`ServerConfig::timeout`]. Dropping the server does the same.
    pub fn shutdown(self) {
        drop(self);
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed. A drop must not panic.
            let _ = thread.join();
        }
    }
}

async fn serve(listener: tokio::net::TcpListener, config: ServerConfig, mut stopped: watch::Receiver<bool>) {
    let app = router(config.registry.clone());
    let (mut open, mut tasks) = (Open::default(), JoinSet::new());
    let stopping = stopped.clone();
    let accept = async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    open.make_room(config.max_connections);
                    let has_sent = Arc::new(AtomicBool::new(false));
                    let app = flagging(app.clone(), Arc::clone(&has_sent));
                    let connection = connection(stream, app, config.header_timeout, stopping.clone());
                    let timeout = config.timeout;
                    let task = tasks.spawn(async move {
                        // After the timeout the connection is closed, which the client notices.
                        let _ = tokio::time::timeout(timeout, connection).await;
                    });
                    open.0.push(Connection { task, has_sent });
                }
                // For example, no file descriptor is left. Without a pause, the loop would use the processor up.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
            while tasks.try_join_next().is_some() {}
        }
    };
    tokio::select! {
        () = accept => {}
        _ = stopped.changed() => {}
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

/// The connections that may still be open, the oldest first.
#[derive(Default)]
struct Open(Vec<Connection>);

struct Connection {
    task: AbortHandle,
    has_sent: Arc<AtomicBool>,
}

impl Open {
    /// Closes connections until fewer than `most` are open: first the oldest without a request, since a well-behaved
    /// client sends its request at once; then the oldest, since an answer takes only a moment.
    fn make_room(&mut self, most: usize) {
        self.0.retain(|connection| !connection.task.is_finished());
        while self.0.len() >= most.max(1) {
            let is_idle = |connection: &Connection| !connection.has_sent.load(Ordering::Relaxed);
            let oldest = self.0.iter().position(is_idle).unwrap_or(0);
            self.0.remove(oldest).task.abort();
        }
    }
}

type Request = hyper::Request<hyper::body::Incoming>;

/// Sets the flag when a connection has sent its request's headers.
fn flagging(
    app: axum::Router,
    has_sent: Arc<AtomicBool>,
) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Send {
    let app = TowerToHyperService::new(app);
    service_fn(move |request| {
        has_sent.store(true, Ordering::Relaxed);
        app.call(request)
    })
}

/// Serves one request.
async fn connection(
    stream: TcpStream,
    app: impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Send,
    header_timeout: Duration,
    mut stopped: watch::Receiver<bool>,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .keep_alive(false)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), app);
    let mut connection = std::pin::pin!(connection);
    let stop = async {
        // The sender outlives this thread.
        let _ = stopped.wait_for(|&stopped| stopped).await;
    };
    tokio::select! {
        // A malformed request or a closed connection is the client's error.
        _ = connection.as_mut() => return,
        () = stop => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

#[cfg(all(test, feature = "serde"))]
mod tests {
    use super::*;
    use prometheus::IntGauge;

    #[test]
    fn a_configuration_is_read_from_json_and_a_misspelt_key_is_refused() {
        let json = r#"{"address": "127.0.0.1:9900", "timeout": {"secs": 5, "nanos": 0}}"#;
        let config: ServerConfig = serde_json::from_str(json).unwrap();
        assert_eq!((config.address.port(), config.timeout), (9900, Duration::from_secs(5)));
        assert_eq!(config.max_connections, ServerConfig::default().max_connections);
        // A file does not hold the registry, so it is the default one.
        let registered = IntGauge::new("registered_by_a_test_of_the_server", "A gauge.").unwrap();
        prometheus::register(Box::new(registered)).unwrap();
        let shown = config.registry.gather();
        assert!(shown.iter().any(|family| family.name() == "registered_by_a_test_of_the_server"));

        let again: ServerConfig = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
        assert_eq!((again.address, again.timeout), (config.address, config.timeout));
        let error = serde_json::from_str::<ServerConfig>(r#"{"adress": "127.0.0.1:9900"}"#).unwrap_err();
        assert!(error.to_string().starts_with("unknown field `adress`"), "{error}");
    }
}
