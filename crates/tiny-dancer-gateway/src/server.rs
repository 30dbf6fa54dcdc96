//! The server: accepts connections until it is stopped, then lets open requests finish.

use crate::config::Config;
use axum::Router as Web;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::time::Duration;
use tokio::net::TcpListener;

/// Serves until `stop` ends, and then at most `Timeouts::drain` longer. Returns whether all open requests were finished.
pub async fn serve(
    listener: TcpListener,
    service: Web,
    config: Config,
    stop: impl Future<Output = ()>,
) -> bool {
    let (limits, timeouts) = (&config.limits, &config.timeouts);
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.headers)
        .max_headers(limits.headers)
        .max_buf_size(limits.header_bytes);
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.as_mut() => break,
        };
        let Ok((stream, _)) = accepted else {
            // For example, no file descriptor is left. Without a pause, the loop would use the processor up.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // A chunk is sent when it comes.
        let _ = stream.set_nodelay(true);
        let connection =
            server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service.clone()));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A malformed request or a closed connection is the client's error.
            let _ = connection.await;
        });
    }
    drop(listener);
    tokio::time::timeout(timeouts.drain, graceful.shutdown()).await.is_ok()
}
