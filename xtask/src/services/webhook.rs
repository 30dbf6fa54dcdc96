//! A receiver of Alertmanager's webhooks.

use super::http;
use anyhow::{Context, Result};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Keeps the alerts that arrive, until it is dropped.
#[derive(Debug)]
pub(crate) struct Webhook {
    pub(crate) address: SocketAddr,
    alerts: Arc<Mutex<Vec<Value>>>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Webhook {
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind(http::local(0))?;
        let (alerts, stopped) = (Arc::<Mutex<Vec<Value>>>::default(), Arc::<AtomicBool>::default());
        let (address, kept, stop) = (listener.local_addr()?, Arc::clone(&alerts), Arc::clone(&stopped));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                // A client that sent half a message sends it again.
                if let Ok((body, mut stream)) = stream.map_err(Into::into).and_then(receive) {
                    let alerts = body["alerts"].as_array().cloned().unwrap_or_default();
                    kept.lock().unwrap_or_else(PoisonError::into_inner).extend(alerts);
                    let _ = stream.write_all(ANSWER);
                }
            }
        });
        Ok(Self { address, alerts, stopped, thread: Some(thread) })
    }

    /// The first alert of this name and with this status, which is `firing` or `resolved`.
    pub(crate) fn alert(&self, name: &str, status: &str) -> Option<Value> {
        let alerts = self.alerts.lock().unwrap_or_else(PoisonError::into_inner);
        alerts.iter().find(|alert| alert["labels"]["alertname"] == name && alert["status"] == status).cloned()
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // A last connection lets it see that.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed.
            let _ = thread.join();
        }
    }
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// The JSON of a request, and where to answer it.
fn receive(stream: TcpStream) -> Result<(Value, TcpStream)> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().context("a length")?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((serde_json::from_slice(&body)?, reader.into_inner()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_are_kept_by_name_and_status() {
        let webhook = Webhook::start().unwrap();
        let body = r#"{"alerts":[{"status":"firing","labels":{"alertname":"A"}}]}"#;
        let mut stream = TcpStream::connect(webhook.address).unwrap();
        write!(stream, "POST / HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(webhook.alert("A", "firing").is_some());
        assert!(webhook.alert("A", "resolved").is_none() && webhook.alert("B", "firing").is_none());
    }
}
