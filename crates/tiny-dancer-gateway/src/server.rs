//! The server: accepts connections until it is stopped, then lets open requests finish.

use crate::gateway::Gateway;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep};

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Whether all open requests were finished.
    pub requests_finished: bool,
    /// The comparisons that were cut off.
    pub cut_off: usize,
}

/// Serves until `stop` ends. Then open requests, and comparisons of delivered answers, have `Timeouts::drain` to finish.
pub async fn serve(listener: TcpListener, gateway: Arc<Gateway>, stop: impl Future<Output = ()>) -> Drained {
    let service = gateway.service();
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
        // A connection has the limits of the configuration with which it begins.
        let serving = gateway.serving.load();
        let (limits, timeouts) = (&serving.config.limits, &serving.config.timeouts);
        let mut server = http1::Builder::new();
        server
            .timer(TokioTimer::new())
            .header_read_timeout(timeouts.headers)
            .max_headers(limits.headers)
            .max_buf_size(limits.header_bytes);
        // A chunk is sent when it comes.
        let _ = stream.set_nodelay(true);
        let stream = Guarded { stream: TokioIo::new(stream), stalled: None, limit: timeouts.idle };
        let connection = server.serve_connection(stream, TowerToHyperService::new(service.clone()));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A malformed request or a closed connection is the client's error.
            let _ = connection.await;
        });
    }
    drop(listener);
    let deadline = Instant::now() + gateway.serving.load().config.timeouts.drain;
    let requests_finished = tokio::time::timeout_at(deadline, graceful.shutdown()).await.is_ok();
    Drained { requests_finished, cut_off: gateway.drain_comparisons(deadline).await }
}

/// A connection whose client must read: if nothing can be written for some time, it is closed.
struct Guarded {
    stream: TokioIo<TcpStream>,
    /// The time that is left, while nothing can be written.
    stalled: Option<Pin<Box<Sleep>>>,
    limit: Duration,
}

impl Guarded {
    fn guard<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<std::io::Result<T>>,
    ) -> Poll<std::io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let limit = self.limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(std::io::ErrorKind::TimedOut.into()))
    }
}

impl Read for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.guard(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.guard(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.guard(context, written)
    }
}
