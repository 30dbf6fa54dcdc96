//! A call to a language model: its address, its key, its circuit, and the span of each attempt.

use crate::circuit::Circuit;
use crate::config::{ModelConfig, Prices, Provider, Timeouts};
use crate::fields;
use crate::headers;
use crate::metrics::{CallResult, Metrics};
use crate::usage::Usage;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, header};
use hyper::body::Body as _;
use opentelemetry::{Array, StringValue, Value};
use reqwest::Url;
use std::error::Error as _;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tiny_dancer::parts::core::Tick;
use tiny_dancer::{Clock, TraceContext};
use tracing::field::Empty;
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The largest answer that is read as a whole.
const LARGEST: usize = 4 << 20;

/// A configured model.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) config: ModelConfig,
    client: reqwest::Client,
    connect: Duration,
    key: Option<(HeaderName, HeaderValue)>,
    pub(crate) circuit: Arc<Circuit>,
}

/// Why a model cannot be called.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// The client cannot be made, for example since the system has no certificates.
    #[error("the client of {model} cannot be made: {source}")]
    Client {
        /// The model.
        model: String,
        /// The client's error.
        source: reqwest::Error,
    },
    /// The key has characters that no header can have.
    #[error("the key of {model} has characters that no header can have")]
    Key {
        /// The model.
        model: String,
    },
}

/// A request to a model.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// The path below the base URL, with the query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// OpenTelemetry's name of the operation; `None` where no model is named.
    pub(crate) operation: Option<&'static str>,
    pub(crate) model: Option<String>,
    pub(crate) is_streamed: bool,
}

impl Upstream {
    /// A model with this configuration. It keeps the circuit that it had under the configuration before, unless that was another
    /// model, and the connections, unless they were to another address.
    pub(crate) fn new(
        config: ModelConfig,
        timeouts: &Timeouts,
        clock: Clock,
        before: Option<&Self>,
    ) -> Result<Self, UpstreamError> {
        let key = key(&config)?;
        let before = before.filter(|before| before.config.base_url == config.base_url);
        let connect = timeouts.connect;
        let client = match before.filter(|before| before.connect == connect) {
            Some(before) => before.client.clone(),
            None => client(&config, connect)?,
        };
        let circuit = before
            .filter(|before| before.config.model == config.model)
            .map_or_else(|| Arc::new(Circuit::new(clock)), |before| Arc::clone(&before.circuit));
        Ok(Self { config, client, connect, key, circuit })
    }

    /// Moves the circuit after a call.
    pub(crate) fn settle(&self, result: CallResult, retry_after: Option<Duration>) {
        if result.is_failure() {
            self.circuit.failed(retry_after);
        } else if result != CallResult::Cancelled {
            self.circuit.succeeded();
        }
    }

    /// The address of a path below the base URL.
    fn url(&self, path: &str) -> Url {
        let mut url = self.config.base_url.clone();
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        url.set_path(&format!("{}{path}", self.config.base_url.path().trim_end_matches('/')));
        url.set_query(query);
        url
    }

    /// Calls the model. The answer has a status and its first bytes.
    pub(crate) async fn call(&self, call: Call, label: &str, context: &Context) -> Result<Answer, Failure> {
        let mut attempt = Attempt::start(self, &call, label, context);
        let span = attempt.span.clone();
        let waits = &context.timeouts;
        let first_byte = if call.is_streamed { waits.first_byte } else { waits.answer };
        let begin = self.begin(call, first_byte, &mut attempt).instrument(span);
        match begin.await {
            Ok((response, first)) => Ok(Answer { response, first, attempt }),
            Err(result) => {
                attempt.end(result, None);
                Err(Failure { result })
            }
        }
    }

    /// Calls the model, off a client's path, and returns what its answer says.
    pub(crate) async fn ask(&self, call: Call, context: &Context) -> Result<Usage, CallResult> {
        self.collect(call, context).await.map(|(usage, _)| usage)
    }

    /// Calls a service, and returns its answer.
    pub(crate) async fn read(&self, call: Call, context: &Context) -> Result<Vec<u8>, CallResult> {
        self.collect(call, context).await.map(|(_, body)| body)
    }

    async fn collect(&self, call: Call, context: &Context) -> Result<(Usage, Vec<u8>), CallResult> {
        let label = self.config.model.clone();
        let mut answer = self.call(call, &label, context).await.map_err(|Failure { result }| result)?;
        let mut body = answer.first.take().map(|first| first.to_vec()).unwrap_or_default();
        let mut result = answer.result();
        loop {
            let chunk = next(answer.response.body_mut());
            match tokio::time::timeout(context.timeouts.idle, chunk).await {
                Ok(Some(Ok(chunk))) if body.len() + chunk.len() <= LARGEST => body.extend_from_slice(&chunk),
                Ok(None) => break,
                failed => {
                    result = if failed.is_err() { CallResult::Timeout } else { CallResult::Broken };
                    break;
                }
            }
        }
        let mut usage = Usage::with_text();
        usage.whole(&body);
        answer.attempt.end(result, Some(&usage));
        if result == CallResult::Success { Ok((usage, body)) } else { Err(result) }
    }

    async fn begin(
        &self,
        call: Call,
        first_byte: Duration,
        attempt: &mut Attempt,
    ) -> Result<(Response<reqwest::Body>, Option<Bytes>), CallResult> {
        let mut request = reqwest::Request::new(call.method, self.url(&call.path));
        let headers = request.headers_mut();
        *headers = call.headers;
        if let Some((name, value)) = &self.key {
            headers.insert(name.clone(), value.clone());
        }
        if let Some(here) = TraceContext::from_current() {
            here.inject(headers);
        }
        *request.body_mut() = Some(call.body.into());
        let answer = async {
            let response = self.client.execute(request).await?;
            let mut response = Response::<reqwest::Body>::from(response);
            // Until its first byte, the answer can still be that of another model.
            let first = next(response.body_mut()).await.transpose()?;
            Ok::<_, reqwest::Error>((response, first))
        };
        let answered = tokio::time::timeout(first_byte, answer).await;
        let (response, first) = match answered {
            Err(_) => return Err(CallResult::Timeout),
            Ok(Err(error)) => {
                let result = if error.is_timeout() {
                    CallResult::Timeout
                } else if error.is_connect() {
                    CallResult::Unreachable
                } else {
                    CallResult::Broken
                };
                // Of the error only its causes: its own text has the address.
                tracing::warn!(result = result.name(), cause = %root_cause(&error), "a model gave no answer");
                return Err(result);
            }
            Ok(Ok(answered)) => answered,
        };
        attempt.first_byte();
        attempt.span.record(fields::HTTP_RESPONSE_STATUS_CODE, i64::from(response.status().as_u16()));
        Ok((response, first))
    }
}

/// A client for a model's address.
fn client(config: &ModelConfig, connect: Duration) -> Result<reqwest::Client, UpstreamError> {
    let mut client = reqwest::Client::builder()
        // A redirect would send the prompt, and perhaps the key, to another host.
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(connect)
        .tcp_nodelay(true);
    let is_loopback = match config.base_url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            host.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        }
        None => false,
    };
    if is_loopback {
        client = client.no_proxy();
    }
    client.build().map_err(|source| UpstreamError::Client { model: config.model.clone(), source })
}

/// The header with a model's key.
fn key(config: &ModelConfig) -> Result<Option<(HeaderName, HeaderValue)>, UpstreamError> {
    let Some(key) = &config.key else { return Ok(None) };
    let (name, text) = match config.provider {
        Provider::Anthropic => (HeaderName::from_static("x-api-key"), key.expose().to_owned()),
        Provider::Openai => (header::AUTHORIZATION, format!("Bearer {}", key.expose())),
    };
    let value = HeaderValue::from_str(&text);
    let mut value = value.map_err(|_| UpstreamError::Key { model: config.model.clone() })?;
    value.set_sensitive(true);
    Ok(Some((name, value)))
}

fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: Option<&dyn std::error::Error> = error.source();
    while let Some(next) = cause.and_then(std::error::Error::source) {
        cause = Some(next);
    }
    cause.map(ToString::to_string).unwrap_or_default()
}

/// The next data of a body. Trailers are left out: HTTP/1.1 clients do not expect them.
pub(crate) async fn next(body: &mut reqwest::Body) -> Option<Result<Bytes, reqwest::Error>> {
    loop {
        match poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await? {
            Ok(frame) => {
                if let Ok(data) = frame.into_data()
                    && !data.is_empty()
                {
                    return Some(Ok(data));
                }
            }
            Err(error) => return Some(Err(error)),
        }
    }
}

/// What all calls share.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    pub(crate) timeouts: Timeouts,
}

/// A model gave no answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub(crate) result: CallResult,
}

/// The beginning of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response<reqwest::Body>,
    pub(crate) first: Option<Bytes>,
    pub(crate) attempt: Attempt,
}

impl Answer {
    /// What the status says; the answer may still break off.
    pub(crate) fn result(&self) -> CallResult {
        match self.response.status().as_u16() {
            429 => CallResult::RateLimited,
            // A redirect is not followed.
            300..=399 | 408 | 500.. => CallResult::ServerError,
            400.. => CallResult::ClientError,
            _ => CallResult::Success,
        }
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let now = self.attempt.context.clock.unix_milliseconds();
        let now = UNIX_EPOCH + Duration::from_millis(now.unsigned_abs());
        headers::retry_after(self.response.headers(), now)
    }
}

/// The span and the counts of one call, from its start to the end of its answer. If it is dropped before its end, the client
/// hung up.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) span: Span,
    context: Context,
    label: String,
    pub(crate) prices: Option<Prices>,
    start: Tick,
    ended: bool,
}

impl Attempt {
    fn start(upstream: &Upstream, call: &Call, label: &str, context: &Context) -> Self {
        let url = &upstream.config.base_url;
        let operation = call.operation.unwrap_or("call");
        let name =
            call.model.as_ref().map_or_else(|| operation.to_owned(), |model| format!("{operation} {model}"));
        let span = tracing::info_span!(
            "upstream",
            otel.name = name,
            otel.kind = "client",
            { fields::OTEL_STATUS_CODE } = Empty,
            { fields::ERROR_TYPE } = Empty,
            gen_ai.operation.name = call.operation,
            gen_ai.provider.name = upstream.config.provider.name(),
            gen_ai.request.model = call.model.as_deref(),
            gen_ai.request.stream = call.is_streamed,
            { fields::RESPONSE_MODEL } = Empty,
            { fields::TIME_TO_FIRST_CHUNK } = Empty,
            { fields::USAGE_INPUT_TOKENS } = Empty,
            { fields::USAGE_OUTPUT_TOKENS } = Empty,
            { fields::USAGE_CACHED_INPUT_TOKENS } = Empty,
            { fields::HTTP_RESPONSE_STATUS_CODE } = Empty,
            server.address = url.host_str(),
            server.port = url.port_or_known_default().map(i64::from),
        );
        Self {
            span,
            context: context.clone(),
            label: label.to_owned(),
            // They are those of the configured model, and another one may be called at its address.
            prices: upstream.config.prices.filter(|_| label == upstream.config.model),
            start: context.clock.tick(),
            ended: false,
        }
    }

    fn first_byte(&self) {
        let seconds = self.context.clock.since(self.start).as_secs_f64();
        self.context.metrics.first_chunk(&self.label, seconds);
        self.span.record(fields::TIME_TO_FIRST_CHUNK, seconds);
    }

    /// Counts the call. Only the first end counts.
    pub(crate) fn end(&mut self, result: CallResult, usage: Option<&Usage>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.context.metrics.call(&self.label, result);
        if result != CallResult::Success {
            self.span.record(fields::ERROR_TYPE, result.name());
            self.span.record(fields::OTEL_STATUS_CODE, "ERROR");
        }
        let Some(usage) = usage else { return };
        if let Some(model) = &usage.model {
            self.span.record(fields::RESPONSE_MODEL, model.as_str());
        }
        if let Some(tokens) = usage.tokens {
            self.context.metrics.tokens(&self.label, tokens);
            if let Some(prices) = self.prices {
                self.context.metrics.cost(&self.label, prices.of(tokens));
            }
            self.span.record(fields::USAGE_INPUT_TOKENS, (tokens.input + tokens.cached_input) as i64);
            self.span.record(fields::USAGE_OUTPUT_TOKENS, tokens.output as i64);
            self.span.record(fields::USAGE_CACHED_INPUT_TOKENS, tokens.cached_input as i64);
        }
        if !usage.finish_reasons.is_empty() {
            let reasons =
                usage.finish_reasons.iter().map(|reason| StringValue::from(reason.clone())).collect();
            self.span.set_attribute("gen_ai.response.finish_reasons", Value::Array(Array::String(reasons)));
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.end(CallResult::Cancelled, None);
    }
}
