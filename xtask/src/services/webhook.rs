//! A receiver of Alertmanager's webhooks.

use anyhow::{Result, anyhow};
use serde_json::Value;
use std::net::SocketAddr;
use tiny_http::{Response, Server};

/// The alerts received so far.
pub(crate) struct Webhook {
    server: Server,
    alerts: Vec<Value>,
}

impl Webhook {
    pub(crate) fn start() -> Result<Self> {
        let server = Server::http("127.0.0.1:0").map_err(|error| anyhow!(error))?;
        Ok(Self { server, alerts: Vec::new() })
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.server.server_addr().to_ip()
    }

    /// Answers the requests that have arrived.
    pub(crate) fn receive(&mut self) -> Result<()> {
        while let Some(mut request) = self.server.try_recv()? {
            let body: Value = serde_json::from_reader(request.as_reader())?;
            self.alerts.extend(body["alerts"].as_array().cloned().unwrap_or_default());
            // A sender that has gone away sends its alerts again.
            let _ = request.respond(Response::empty(200));
        }
        Ok(())
    }

    /// The first received alert of this name and with this status, which is `firing` or `resolved`.
    pub(crate) fn alert(&self, name: &str, status: &str) -> Option<Value> {
        self.alerts
            .iter()
            .find(|alert| alert["labels"]["alertname"] == name && alert["status"] == status)
            .cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn alerts_are_kept_by_name_and_status() {
        let mut webhook = Webhook::start().unwrap();
        let url = format!("http://{}", webhook.address().unwrap());
        let body = r#"{"alerts":[{"status":"firing","labels":{"alertname":"A"}}]}"#;
        let sender = std::thread::spawn(move || ureq::post(url).send(body));
        while !sender.is_finished() {
            webhook.receive().unwrap();
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(sender.join().unwrap().unwrap().status(), 200);
        assert!(webhook.alert("A", "firing").is_some());
        assert!(webhook.alert("A", "resolved").is_none() && webhook.alert("B", "firing").is_none());
    }
}
