//! One attempt: a request, and what its answer means.

use super::RemoteConfigError;
use super::response;
use crate::error::{EmbedError, ResponseFlaw, TransportError};
use serde::Serialize;
use std::fmt::Write as _;
use std::time::Duration;
use ureq::http::{HeaderMap, HeaderValue, Uri, header};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Proxy};

/// The most that is read of an error's body.
const MAX_ERROR: u64 = 64 << 10;

/// The address of a service.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) url: String,
    /// Host, port and path, for the id. A port that the scheme implies is left out.
    pub(super) name: String,
}

impl Endpoint {
    pub(super) fn of(base_url: &str) -> Result<Self, RemoteConfigError> {
        if base_url.is_empty() {
            return Err(RemoteConfigError::Empty { field: "base_url" });
        }
        // Before all else, since the other error shows the address.
        if base_url.contains('@') {
            return Err(RemoteConfigError::Credentials);
        }
        let invalid = || RemoteConfigError::BaseUrl { base_url: base_url.to_owned() };
        let uri: Uri = base_url.parse().map_err(|_| invalid())?;
        let implied = match uri.scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            _ => return Err(invalid()),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(invalid)?;
        // `Uri` drops a fragment.
        if uri.query().is_some() || base_url.contains('#') {
            return Err(invalid());
        }
        let mut name = host.to_ascii_lowercase();
        if let Some(port) = uri.port_u16().filter(|port| *port != implied) {
            write!(name, ":{port}").map_err(|_| invalid())?;
        }
        name += uri.path().trim_end_matches('/');
        Ok(Self { url: format!("{}/embeddings", base_url.trim_end_matches('/')), name })
    }
}

/// Why an attempt has no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another attempt would end the same.
    Final(EmbedError),
    /// Another attempt may succeed, after this time if the service named it.
    Passing(EmbedError, Option<Duration>),
    TimedOut,
}

#[derive(Debug)]
pub(super) struct Service {
    agent: Agent,
    url: String,
    authorization: Option<HeaderValue>,
}

impl Service {
    pub(super) fn new(url: String, authorization: Option<HeaderValue>, proxy: Option<Proxy>) -> Self {
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(proxy)
            .tls_config(tls)
            .user_agent(concat!("tiny-dancer/", env!("CARGO_PKG_VERSION")));
        Self { agent: config.build().into(), url, authorization }
    }

    /// Returns the body of a success, of at most `max` bytes.
    pub(super) fn post(&self, body: &str, max: u64, timeout: Duration) -> Result<Vec<u8>, Failure> {
        let mut request = self.agent.post(&self.url).header(header::CONTENT_TYPE, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.config().timeout_global(Some(timeout)).build();
        let mut answer = request.send(body).map_err(failure)?;
        let status = answer.status().as_u16();
        if answer.status().is_success() {
            return answer.body_mut().with_config().limit(max).read_to_vec().map_err(|error| match error {
                ureq::Error::BodyExceedsLimit(_) => {
                    Failure::Final(EmbedError::InvalidResponse { flaw: ResponseFlaw::TooLarge { max } })
                }
                other => failure(other),
            });
        }
        let retry_after = retry_after(answer.headers());
        // The status counts, also where the body is broken.
        let body = answer.body_mut().with_config().limit(MAX_ERROR).read_to_vec().unwrap_or_default();
        let code = response::error_code(&body);
        Err(match status {
            429 => Failure::Passing(EmbedError::RateLimited { code }, retry_after),
            408 | 500.. => Failure::Passing(EmbedError::Unavailable { status, code }, retry_after),
            _ => Failure::Final(EmbedError::Rejected { status, code }),
        })
    }
}

fn failure(error: ureq::Error) -> Failure {
    match error {
        ureq::Error::Timeout(_) => Failure::TimedOut,
        other => {
            let source = TransportError::new(other.to_string());
            Failure::Passing(EmbedError::Unreachable { source }, None)
        }
    }
}

/// The delay in `Retry-After`: seconds, or a date after that of the answer, so that no clock here matters.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok();
    let value = text(header::RETRY_AFTER)?;
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let [until, now] = [value, text(header::DATE)?].map(httpdate::parse_http_date);
    Some(until.ok()?.duration_since(now.ok()?).unwrap_or_default())
}

/// The body of a request.
pub(super) fn body(model: &str, input: &[&str], dimensions: Option<usize>) -> String {
    #[derive(Serialize)]
    struct Request<'a> {
        model: &'a str,
        input: &'a [&'a str],
        #[serde(skip_serializing_if = "Option::is_none")]
        dimensions: Option<usize>,
    }
    serde_json::to_string(&Request { model, input, dimensions }).expect("strings and a number are JSON")
}
