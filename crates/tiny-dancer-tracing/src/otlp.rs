//! OTLP: posts spans, metrics and log records to a collector as protobuf over HTTP/1.1, and retries temporary failures.
//!
//! | answer | result |
//! | --- | --- |
//! | 2xx | they arrived, except the number that the body reports as refused |
//! | 429, 502, 503, 504 | another attempt, after `Retry-After` where the answer has it |
//! | no connection, or one that ends without an answer | another attempt |
//! | a redirect | they failed: a redirect would turn the POST into a GET, or carry the headers to another host |
//! | any other answer, or none in time | they failed |
//!
//! Attempts back off: each delay doubles up to a limit, less a random share of at most half. Delays keep
//! growing from batch to batch until one arrives. Attempts end after [`Backoff::total`], or when the next one
//! would come after the shutdown's [`Deadline`].

use crate::deadline::Deadline;
use crate::reports::BatchReports;
use crate::sampler::random;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use prost::Message;
use reqwest::blocking::{Client, Response};
use reqwest::{Url, redirect};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Read};
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, UNIX_EPOCH};
use tiny_dancer_core::Clock;

/// The most bytes that are read of an answer, which contains one number and one sentence.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// hyper's error message when a server sends before it receives a request, as an HTTP/2 server does. hyper
/// has no method that recognizes this error.
const SPOKE_FIRST: &str = "received unexpected message from connection";

/// The most characters of a collector's message that are logged.
const LONGEST_MESSAGE: usize = 200;

/// The delays between attempts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    /// The delay after the first failure.
    pub(crate) first: Duration,
    /// The longest delay.
    pub(crate) longest: Duration,
    /// The longest delay that a collector can set with `Retry-After`.
    pub(crate) longest_retry_after: Duration,
    /// How long attempts for one batch continue.
    pub(crate) total: Duration,
}

/// The total is that of the exporters in OpenTelemetry's own collector.
impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(5),
            longest_retry_after: Duration::from_secs(30),
            total: Duration::from_secs(300),
        }
    }
}

impl Backoff {
    /// The delay after this number of failures in a row, with `random` from 0 to 1.
    fn delay(&self, failures: u32, random: f64) -> Duration {
        let doubled = self.first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
        doubled.min(self.longest).mul_f64(1.0 - random / 2.0)
    }
}

/// Posts messages to a collector.
#[derive(Debug)]
pub(crate) struct Poster {
    client: Client,
    url: Url,
    headers: HeaderMap,
    gzip: bool,
    reports: BatchReports,
    deadline: Deadline,
    clock: Clock,
    backoff: Backoff,
    /// Attempts that failed since the last success.
    failures: AtomicU32,
}

/// Where messages are posted, and how.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    pub(crate) url: Url,
    pub(crate) http: Http,
}

/// How messages are posted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Http {
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) gzip: bool,
    /// How long one attempt may take.
    pub(crate) timeout: Duration,
}

impl Poster {
    pub(crate) fn new(
        target: &Target,
        reports: BatchReports,
        deadline: Deadline,
        backoff: Backoff,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let Target { url, http: Http { headers: named, gzip, timeout } } = target.clone();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        for (name, value) in named {
            let mut value = HeaderValue::from_str(&value)?;
            value.set_sensitive(true); // not shown by `Debug`
            headers.insert(HeaderName::from_str(&name)?, value);
        }
        let mut client = Client::builder()
            .user_agent(concat!("tiny-dancer-tracing/", env!("CARGO_PKG_VERSION")))
            .timeout(timeout)
            // A host that never answers fails early enough for another attempt.
            .connect_timeout(timeout / 2)
            .redirect(redirect::Policy::none());
        if is_loopback(&url) {
            client = client.no_proxy();
        }
        // The blocking client can't be created on a tokio worker, so a thread of its own creates it.
        let thread = std::thread::Builder::new().spawn(move || client.build())?;
        let client = thread.join().map_err(|_| "the thread that makes the HTTP client panicked")??;
        let (clock, failures) = (Clock::system(), AtomicU32::new(0));
        Ok(Self { client, url, headers, gzip, reports, deadline, clock, backoff, failures })
    }

    pub(crate) fn reports(&self) -> &BatchReports {
        &self.reports
    }

    /// Attempts the export of a message until it arrives, fails permanently or runs out of time. Blocks.
    pub(crate) fn send(&self, message: &impl Message) -> Result<(), String> {
        let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", self.url);
        if self.deadline.has_passed() {
            return Err(failed(&"the deadline of the shutdown has passed"));
        }
        let (body, start) = (message.encode_to_vec(), self.clock.tick());
        let body = if self.gzip { compressed(&body) } else { body };
        loop {
            let Err(Failure { cause, again }) = self.post(&body) else {
                self.failures.store(0, Ordering::Relaxed);
                return Ok(());
            };
            let failures = self.failures.load(Ordering::Relaxed).saturating_add(1);
            self.failures.store(failures, Ordering::Relaxed);
            let (delay, is_retry_after) = match again {
                Again::Never => return Err(failed(&cause)),
                Again::After(delay) => (delay, true),
                Again::Soon => (self.backoff.delay(failures, random()), false),
            };
            self.reports.log_failure(&failed(&cause));
            if self.clock.since(start).saturating_add(delay) > self.backoff.total
                || !self.deadline.wait(delay, is_retry_after)
            {
                return Err(failed(&cause));
            }
        }
    }

    /// Makes one attempt.
    fn post(&self, body: &[u8]) -> Result<(), Failure> {
        let request = self.client.post(self.url.clone()).headers(self.headers.clone()).body(body.to_vec());
        let response = request.send()?;
        if !response.status().is_success() {
            return Err(Failure::answered(&response, self.clock.unix_seconds(), &self.backoff));
        }
        if speaks_grpc(response.headers()) {
            return Err(Cause::Grpc.into());
        }
        let mut answer = Vec::new();
        // An answer that can't be read is ignored. The answers for metrics and logs have the same fields as that for spans.
        if response.take(LONGEST_ANSWER).read_to_end(&mut answer).is_ok()
            && let Ok(answer) = ExportTraceServiceResponse::decode(&*answer)
            && let Some(partial) = answer.partial_success
        {
            let message = partial.error_message.chars().take(LONGEST_MESSAGE).collect();
            self.reports.refuse(u64::try_from(partial.rejected_spans).unwrap_or(0), message);
        }
        Ok(())
    }
}

/// Sends spans to a collector.
#[derive(Debug)]
pub(crate) struct Exporter {
    poster: Poster,
    resource: ResourceAttributesWithSchema,
}

impl Exporter {
    pub(crate) fn new(poster: Poster) -> Self {
        Self { poster, resource: ResourceAttributesWithSchema::default() }
    }
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let resource_spans = group_spans_by_resource_and_scope(batch, &self.resource);
        let sent = self.poster.send(&ExportTraceServiceRequest { resource_spans });
        sent.map_err(OTelSdkError::InternalFailure)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.into();
    }
}

#[cfg(feature = "gzip")]
fn compressed(body: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    // Writing to a `Vec` always succeeds.
    encoder.write_all(body).and_then(|()| encoder.finish()).unwrap_or_default()
}

/// Without the feature `gzip` the configuration refuses compression.
#[cfg(not(feature = "gzip"))]
fn compressed(body: &[u8]) -> Vec<u8> {
    body.to_vec()
}

/// Whether the host is this machine. For a proxy elsewhere the same name is another machine.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    match address {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

fn speaks_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/grpc"))
}

/// An attempt that failed.
#[derive(Debug)]
struct Failure {
    cause: Cause,
    again: Again,
}

/// Whether there is another attempt.
#[derive(Debug, PartialEq, Eq)]
enum Again {
    /// After the collector's `Retry-After`.
    After(Duration),
    Never,
    /// After the backoff's delay.
    Soon,
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("the endpoint speaks gRPC; this exporter needs http-protobuf, usually on port 4318")]
    Grpc,
    /// The innermost source: the system's message.
    #[error("{0}")]
    Network(String),
    #[error("{status}, a redirect to {location}, which is not followed: set the endpoint to that location")]
    Redirect { status: StatusCode, location: String },
    #[error("{0}")]
    Status(StatusCode),
    #[error("no answer in time")]
    Timeout,
}

impl From<Cause> for Failure {
    fn from(cause: Cause) -> Self {
        Self { cause, again: Again::Never }
    }
}

impl Failure {
    /// From an answer with an error status.
    fn answered(response: &Response, now: i64, backoff: &Backoff) -> Self {
        let (status, headers) = (response.status(), response.headers());
        let cause = if speaks_grpc(headers) {
            Cause::Grpc
        } else if status.is_redirection() {
            Cause::Redirect { status, location: location(headers) }
        } else {
            Cause::Status(status)
        };
        // OTLP defines these as temporary; all others are final.
        let is_transient = matches!(status.as_u16(), 429 | 502 | 503 | 504);
        let again = match retry_after(headers, now) {
            _ if !is_transient || matches!(cause, Cause::Grpc) => Again::Never,
            Some(delay) => Again::After(delay.min(backoff.longest_retry_after)),
            None => Again::Soon,
        };
        Self { cause, again }
    }
}

impl From<reqwest::Error> for Failure {
    /// From an attempt without an answer.
    fn from(error: reqwest::Error) -> Self {
        let (mut is_cut_off, mut is_permanent, mut innermost) = (false, false, None);
        let mut source: Option<&(dyn Error + 'static)> = error.source();
        while let Some(error) = source {
            if let Some(error) = error.downcast_ref::<hyper::Error>() {
                if error.is_parse() || error.to_string() == SPOKE_FIRST {
                    // The answer is not HTTP/1.1. A collector with such an answer speaks HTTP/2, as gRPC
                    // does.
                    return Cause::Grpc.into();
                }
                is_cut_off |= error.is_incomplete_message() || error.is_closed() || error.is_canceled();
            }
            if let Some(error) = error.downcast_ref::<io::Error>() {
                use io::ErrorKind as E;
                is_cut_off |= matches!(
                    error.kind(),
                    E::ConnectionReset | E::ConnectionAborted | E::BrokenPipe | E::UnexpectedEof
                );
                // TLS failed, for example because of a certificate: rustls uses the first kind, its connector
                // the second.
                is_permanent |= matches!(error.kind(), E::InvalidData | E::Other);
            }
            innermost = Some(error.to_string());
            source = error.source();
        }
        let is_transient = (error.is_connect() && !is_permanent) || is_cut_off;
        let cause = if error.is_timeout() {
            Cause::Timeout
        } else {
            Cause::Network(innermost.unwrap_or_else(|| error.without_url().to_string()))
        };
        Self { cause, again: if is_transient { Again::Soon } else { Again::Never } }
    }
}

/// Where a redirect leads, without credentials.
fn location(headers: &HeaderMap) -> String {
    let location = headers.get(LOCATION).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    crate::config::shown(location.as_deref().unwrap_or("nowhere"))
}

/// The delay in `Retry-After`: seconds, or until a date.
fn retry_after(headers: &HeaderMap, now: i64) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let now = UNIX_EPOCH + Duration::from_secs(u64::try_from(now).ok()?);
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests;
