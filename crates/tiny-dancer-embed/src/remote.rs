//! An embedding service behind `POST /v1/embeddings`, as OpenAI has it and most servers of models serve it.

mod circuit;
mod response;
mod service;
mod time;

use crate::embedder::{Embedder, Reading};
use crate::error::{BatchError, EmbedError, EmbedErrorKind};
use crate::id::EmbedderId;
use circuit::Circuit;
use service::{Endpoint, Service};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use time::{SystemTime, Time};

/// Vectors of one service, model and number of dimensions are comparable. Another name here makes all ids different.
const METHOD: &[u8] = b"tiny-dancer-embed remote 1: length 1";

/// An embedding service that speaks OpenAI's protocol.
///
/// ```no_run
/// use tiny_dancer_embed::{Embedder, Remote, RemoteConfig};
///
/// let remote = Remote::new(RemoteConfig {
///     base_url: "https://api.openai.com/v1".to_owned(),
///     model: "text-embedding-3-small".to_owned(),
///     dimensions: 1536,
///     api_key: std::env::var("OPENAI_API_KEY").ok().map(Into::into),
///     ..RemoteConfig::default()
/// })?;
/// let mut vector = Vec::new();
/// match remote.embed_into("How do I sort a list in Python?", &mut vector) {
///     Ok(reading) => println!("{} tokens, {} elements", reading.tokens, vector.len()),
///     // Without a vector there is no evidence: the powerful model answers.
///     Err(error) => println!("{}: {error}", error.kind()),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A call blocks its thread, so an asynchronous program calls it on a thread for blocking work. The whole text is sent; of one
/// that is too long the service decides: most answer with an error, [`EmbedError::Rejected`]. Empty text, and text of whitespace
/// alone, is [`EmbedError::NoTokens`] without a call. Vectors are scaled to length 1. [`Reading::tokens`] is the service's own
/// count of a text that was sent alone, otherwise 0.
///
/// # What happens when it is down
///
/// A call returns an error, never a vector that the service did not send. A request without a vector has no evidence, and is for
/// the powerful model: the service's failure costs money, and no quality. Each error has a kind, by which it is counted.
///
/// One deadline bounds a call with all of its attempts. Connections that fail, and the statuses 408, 429 and 5xx, are tried
/// again after a delay with jitter, or after the service's `Retry-After`. If that is past the deadline, the call returns at once.
/// After some failed calls in a row the circuit opens:
///
/// ```text
///            failures in a row           open_for has passed
///   closed --------------------> open ------------------------> half-open
///     ^                           ^                              |     |
///     |                           +------- the probe fails ------+     |
///     +------------------------- the probe succeeds -------------------+
/// ```
///
/// While it is open a call returns [`EmbedError::CircuitOpen`] at once, and the service receives nothing. Then one
/// call is the probe. A rejected call (another 4xx) closes the circuit as a success does: the service is there, and one bad text
/// doesn't stop the others.
///
/// # Secrets
///
/// Redirects are refused, so the key reaches the configured host alone. It appears in no error and in no `Debug`. An error of
/// the service may quote the text or the key, so of its body only the short code is kept.
///
/// # Identity
///
/// The id is a hash of host, port, path, model and dimensions. No more is known: a service doesn't say which weights it has, so a
/// model that changes behind the same name keeps its id. Take a name with a version where the service has one, and embed the
/// memory again when its operator changes the model. Construction calls nothing.
pub struct Remote {
    config: RemoteConfig,
    service: Service,
    circuit: Circuit,
    time: Arc<dyn Time>,
    id: EmbedderId,
}

/// The configuration of a [`Remote`]. Service, model and dimensions have no default.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteConfig {
    /// The address before `/embeddings`, such as `https://api.openai.com/v1` or `http://localhost:11434/v1`.
    pub base_url: String,
    /// The model's name in requests.
    pub model: String,
    /// The number of elements of its vectors.
    pub dimensions: usize,
    /// Whether requests state the dimensions, for models that shorten their vectors. Default no: other services refuse it.
    pub request_dimensions: bool,
    /// Sent as `Authorization: Bearer`. Default none.
    pub api_key: Option<ApiKey>,
    /// The longest that a call takes, with all attempts and delays; [`Embedder::embed_batch`] makes a call for each batch.
    /// Default 2 s: the user waits for it before the answer begins.
    pub deadline: Duration,
    /// The most texts of a batch. Default 32, which Hugging Face's server takes; OpenAI takes 2,048.
    pub max_inputs: usize,
    /// The most bytes of the texts of a batch; a longer text is sent alone. Default 256 KiB.
    pub max_bytes: usize,
    /// The most attempts of a call. Default 3.
    pub attempts: u32,
    /// The delay before the second attempt; it doubles, and jitter shortens it by up to one half. Default 0.1 s.
    pub backoff: Duration,
    /// The circuit opens after this many failed calls in a row. Default 5: one failure can be an accident.
    pub open_after: u32,
    /// How long the circuit stays open; jitter shortens it by up to one half. Default 10 s.
    pub open_for: Duration,
}

impl Default for RemoteConfig {
    fn default() -> Self {
        Self {
            base_url: String::new(),
            model: String::new(),
            dimensions: 0,
            request_dimensions: false,
            api_key: None,
            deadline: Duration::from_secs(2),
            max_inputs: 32,
            max_bytes: 256 << 10,
            attempts: 3,
            backoff: Duration::from_millis(100),
            open_after: 5,
            open_for: Duration::from_secs(10),
        }
    }
}

/// A key, which `Debug` doesn't show.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl From<String> for ApiKey {
    fn from(key: String) -> Self {
        Self(key)
    }
}

impl From<&str> for ApiKey {
    fn from(key: &str) -> Self {
        Self(key.to_owned())
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

/// Why a configuration was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteConfigError {
    /// The key has characters that no header has, such as a line feed at its end.
    #[error("the API key has a character that no header has, at byte {at}")]
    ApiKey {
        /// The first such byte.
        at: usize,
    },
    /// The address is not that of a service.
    #[error("base_url {base_url:?} is not http:// or https:// with a host, without a query or a fragment")]
    BaseUrl {
        /// The address.
        base_url: String,
    },
    /// The address has a user or a password, which would appear in logs.
    #[error("base_url has credentials; the key is `api_key`")]
    Credentials,
    /// A field that must be set is empty or zero.
    #[error("{field} is empty or zero")]
    Empty {
        /// Its name.
        field: &'static str,
    },
}

impl Remote {
    /// Checks the configuration, and calls nothing. Proxies are those of the environment (`HTTPS_PROXY`, `NO_PROXY`).
    ///
    /// # Errors
    ///
    /// [`RemoteConfigError`] names the field.
    pub fn new(config: RemoteConfig) -> Result<Self, RemoteConfigError> {
        Self::with(config, ureq::Proxy::try_from_env(), Arc::new(SystemTime::default()))
    }

    fn with(
        config: RemoteConfig,
        proxy: Option<ureq::Proxy>,
        time: Arc<dyn Time>,
    ) -> Result<Self, RemoteConfigError> {
        let RemoteConfig { model, dimensions, deadline, max_inputs, attempts, open_after, .. } = &config;
        for (field, is_empty) in [
            ("model", model.is_empty()),
            ("dimensions", *dimensions == 0),
            ("deadline", deadline.is_zero()),
            ("max_inputs", *max_inputs == 0),
            ("attempts", *attempts == 0),
            ("open_after", *open_after == 0),
        ] {
            if is_empty {
                return Err(RemoteConfigError::Empty { field });
            }
        }
        let Endpoint { url, name } = Endpoint::of(&config.base_url)?;
        let authorization = config.api_key.as_ref().map(|ApiKey(key)| authorization(key)).transpose()?;
        let id = EmbedderId::of([METHOD, name.as_bytes(), model.as_bytes(), &dimensions.to_le_bytes()]);
        Ok(Self {
            service: Service::new(url, authorization, proxy),
            circuit: Circuit::new(*open_after),
            time,
            id,
            config,
        })
    }

    /// The vectors of a batch, and the service's count of its tokens.
    fn call(&self, texts: &[&str]) -> Result<(Vec<f32>, usize), EmbedError> {
        let permit = self.circuit.enter(self.time.now(), self.jittered(self.config.open_for));
        let permit = permit.map_err(|retry_after| EmbedError::CircuitOpen { retry_after })?;
        let result = self.attempts(texts);
        let is_failure = result.as_ref().err().is_some_and(|error| is_outage(error.kind()));
        permit.finish(self.time.now(), is_failure);
        result
    }

    fn attempts(&self, texts: &[&str]) -> Result<(Vec<f32>, usize), EmbedError> {
        let RemoteConfig { ref model, dimensions, request_dimensions, deadline, attempts, backoff, .. } =
            self.config;
        let end = self.time.now() + deadline;
        let body = service::body(model, texts, request_dimensions.then_some(dimensions));
        let mut attempt = 1;
        loop {
            let left = end.saturating_sub(self.time.now());
            if left.is_zero() {
                return Err(EmbedError::DeadlineExceeded { deadline });
            }
            let failure = match self.service.post(&body, response::max_bytes(texts.len(), dimensions), left) {
                Ok(body) => return response::vectors(&body, texts.len(), dimensions),
                Err(service::Failure::TimedOut) => return Err(EmbedError::DeadlineExceeded { deadline }),
                Err(service::Failure::Final(error)) => return Err(error),
                Err(service::Failure::Passing(error, retry_after)) => (error, retry_after),
            };
            let (error, retry_after) = failure;
            let delay = retry_after
                .unwrap_or_else(|| self.jittered(backoff.saturating_mul(1 << (attempt - 1).min(16))));
            if attempt >= attempts || self.time.now().saturating_add(delay) >= end {
                return Err(error);
            }
            self.time.wait(delay);
            attempt += 1;
        }
    }

    /// Half of it to all of it.
    fn jittered(&self, duration: Duration) -> Duration {
        duration.mul_f64(f64::midpoint(1.0, self.time.random()))
    }
}

/// Whether an error says that the service doesn't work, rather than that it refuses this call.
fn is_outage(kind: EmbedErrorKind) -> bool {
    use EmbedErrorKind as Kind;
    matches!(
        kind,
        Kind::DeadlineExceeded
            | Kind::InvalidResponse
            | Kind::RateLimited
            | Kind::Unavailable
            | Kind::Unreachable
            | Kind::DimensionMismatch
    )
}

fn authorization(key: &str) -> Result<ureq::http::HeaderValue, RemoteConfigError> {
    if key.is_empty() {
        return Err(RemoteConfigError::Empty { field: "api_key" });
    }
    let at = key.bytes().position(|byte| !byte.is_ascii_graphic());
    let invalid = |at| RemoteConfigError::ApiKey { at };
    if let Some(at) = at {
        return Err(invalid(at));
    }
    let mut value = ureq::http::HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| invalid(0))?;
    value.set_sensitive(true);
    Ok(value)
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("config", &self.config).field("id", &self.id).finish_non_exhaustive()
    }
}

impl Embedder for Remote {
    fn id(&self) -> &EmbedderId {
        &self.id
    }

    fn dimensions(&self) -> usize {
        self.config.dimensions
    }

    fn embed_into(&self, text: &str, out: &mut Vec<f32>) -> Result<Reading, EmbedError> {
        out.clear();
        check(text)?;
        let (vector, tokens) = self.call(&[text])?;
        out.extend(vector);
        Ok(Reading::new(tokens))
    }

    /// One call for each batch of `max_inputs` texts and `max_bytes`, one after the other. All texts are checked before the
    /// first call. An error of a call names no text, unless its batch is one.
    fn embed_batch(&self, texts: &[&str], out: &mut Vec<f32>) -> Result<Vec<Reading>, BatchError> {
        out.clear();
        for (text, content) in texts.iter().enumerate() {
            check(content).map_err(|source| BatchError::new(Some(text), source))?;
        }
        let mut readings = Vec::with_capacity(texts.len());
        let mut rest = texts;
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(self.batch(rest));
            let alone = (batch.len() == 1).then_some(readings.len());
            let called = self.call(batch);
            let (vectors, tokens) = called.map_err(|source| {
                out.clear();
                BatchError::new(alone, source)
            })?;
            out.extend(vectors);
            let tokens = alone.map_or(0, |_| tokens);
            readings.extend(std::iter::repeat_n(Reading::new(tokens), batch.len()));
            rest = later;
        }
        Ok(readings)
    }
}

impl Remote {
    /// How many of these texts the next batch has, at least one.
    fn batch(&self, texts: &[&str]) -> usize {
        let mut bytes = 0;
        let fitting = texts.iter().take(self.config.max_inputs).take_while(|text| {
            bytes += text.len();
            bytes <= self.config.max_bytes
        });
        fitting.count().max(1)
    }
}

fn check(text: &str) -> Result<(), EmbedError> {
    if text.trim().is_empty() { Err(EmbedError::NoTokens { bytes: text.len() }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
