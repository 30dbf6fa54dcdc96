//! The configuration of a [`TracingSystem`](crate::TracingSystem), and the errors of an invalid one.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// The settings of a [`TracingSystem`](crate::TracingSystem), checked once, when it starts.
///
/// ```
/// use tiny_dancer_tracing::TracingConfig;
///
/// let config = TracingConfig {
///     service_name: "my-service".to_string(),
///     otlp_endpoint: Some("http://localhost:4318".to_string()),
///     ..Default::default()
/// };
/// assert_eq!(config.sampling_ratio, 1.0);
/// ```
///
/// Where a field holds its default, OpenTelemetry's own environment variables apply:
/// [`VARIABLES`](crate::environment::VARIABLES) lists them. Any other value takes precedence
/// over the environment.
///
/// With the feature `serde` a configuration file may hold any of the fields. Headers are read from it and never written: their
/// values may be secrets.
#[derive(Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own, and none excludes another")]
pub struct TracingConfig {
    /// The `service.name` of the spans. Default: "tiny-dancer".
    pub service_name: String,
    /// The `service.version`, for example `Some(env!("CARGO_PKG_VERSION").to_string())`. Default: `None`, the
    /// value in `OTEL_RESOURCE_ATTRIBUTES`, if any.
    pub service_version: Option<String>,
    /// The `service.instance.id`, which distinguishes processes of one service. Default: `None`, the value in
    /// `OTEL_RESOURCE_ATTRIBUTES`, or else a random UUID that all systems of a process share.
    pub service_instance_id: Option<String>,
    /// The URL at which an OTLP collector accepts http-protobuf, usually on port 4318. Jaeger is such a
    /// collector since version 1.35. `/v1/traces` is added to a URL without a path. Credentials
    /// (`user:password@`) are an error: use `otlp_headers` for them. Redirects are not followed. A collector
    /// on a loopback address is reached directly, any other one through the proxy that `HTTP_PROXY`,
    /// `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` name. Default: `None`, no OTLP.
    pub otlp_endpoint: Option<String>,
    /// Whether metrics are exported to the collector, too: those of the functions that
    /// [`push_metrics`](crate::TracingSystem::push_metrics) received. They go to the host of `otlp_endpoint`, at the path
    /// `/v1/metrics`, or where `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT` says; by default to `http://localhost:4318`. Default:
    /// `false`.
    pub otlp_metrics: bool,
    /// Whether log lines are exported as log records, too, at the path `/v1/logs`. `log_filter` selects them, and
    /// `log_format` has no effect on them. Default: `false`.
    pub otlp_logs: bool,
    /// Headers of each export, for example with a token. Their values are never shown. Default: none.
    #[cfg_attr(feature = "serde", serde(skip_serializing))]
    pub otlp_headers: BTreeMap<String, String>,
    /// Whether exports are compressed; needs the feature `gzip`. Default: `false`, since with a collector
    /// beside the service compression costs more than it saves.
    pub otlp_gzip: bool,
    /// The `host:port` of a Jaeger agent, usually "localhost:6831", which accepts Thrift in datagrams. Jaeger
    /// 2 accepts them if its old receiver is enabled. Datagrams are not confirmed: a sent span counts as
    /// arrived. For Jaeger since version 1.35, which accepts OTLP, use `otlp_endpoint`. Default: `None`.
    pub jaeger_agent_endpoint: Option<String>,
    /// Whether spans are printed on the standard output, for development. Default: `false`.
    pub enable_stdout: bool,
    /// The recorded share of the traces that begin in this service, 0 to 1. Where a trace begins in another
    /// service, that service decides. In production use 0.01 to 0.1: an unsampled request costs next to
    /// nothing, a sampled one its spans. Default: 1, so that the first request is visible.
    pub sampling_ratio: f64,
    /// How many of the nearest candidates get a span of their own, with the candidate's similarity and the
    /// confidence of its per-candidate pass. The others share one span. Default: 0, one span per stage, since
    /// a candidate's step takes well below a microsecond and the event `routing_decision` contains the
    /// features of all.
    pub candidate_spans: usize,
    /// Whether log lines and spans contain "redacted" instead of candidates' names. Default: `false`, since
    /// the names are only in `TRACE` lines and on spans that you open with `RoutingSpan::model_inference`.
    pub redact_ids: bool,
    /// The lightweight model's name, for example "gpt-4o-mini", for the attribute `tiny_dancer.decision.model_name` of
    /// requests that go to it. Default: `None`.
    pub lightweight_model: Option<String>,
    /// The same for the powerful model.
    pub powerful_model: Option<String>,
    /// How long one attempt to export may take, at most a day. After a temporary failure another attempt
    /// follows. The delay grows from 0.1 s to 5 s, or is the collector's `Retry-After`, up to 30 s. Attempts
    /// for the same spans or log records end after 5 minutes, those for the same metrics after 30 s. Default: 10 s, as in OTLP.
    pub export_timeout: Duration,
    /// How long [`shutdown`](crate::TracingSystem::shutdown) waits for the last exports, at most a day.
    /// Default: 5 s, less than the 10 s after which a usual supervisor kills the process.
    pub shutdown_timeout: Duration,
    /// The format of log lines on the standard error, or `Off`. Default: `Text`.
    pub log_format: LogFormat,
    /// Which log lines are written, in the syntax of `tracing_subscriber::EnvFilter`. The variable
    /// `RUST_LOG`, if set, replaces it. Neither filters spans. Default: "info".
    pub log_filter: String,
}

impl Default for TracingConfig {
    fn default() -> Self {
        Self {
            service_name: "tiny-dancer".to_owned(),
            service_version: None,
            service_instance_id: None,
            otlp_endpoint: None,
            otlp_metrics: false,
            otlp_logs: false,
            otlp_headers: BTreeMap::new(),
            otlp_gzip: false,
            jaeger_agent_endpoint: None,
            enable_stdout: false,
            sampling_ratio: 1.0,
            candidate_spans: 0,
            redact_ids: false,
            lightweight_model: None,
            powerful_model: None,
            export_timeout: Duration::from_secs(10),
            shutdown_timeout: Duration::from_secs(5),
            log_format: LogFormat::Text,
            log_filter: "info".to_owned(),
        }
    }
}

impl fmt::Debug for TracingConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            service_name,
            service_version,
            service_instance_id,
            otlp_endpoint,
            otlp_metrics,
            otlp_logs,
            otlp_headers,
            otlp_gzip,
            jaeger_agent_endpoint,
            enable_stdout,
            sampling_ratio,
            candidate_spans,
            redact_ids,
            lightweight_model,
            powerful_model,
            export_timeout,
            shutdown_timeout,
            log_format,
            log_filter,
        } = self;
        f.debug_struct("TracingConfig")
            .field("service_name", service_name)
            .field("service_version", service_version)
            .field("service_instance_id", service_instance_id)
            .field("otlp_endpoint", &otlp_endpoint.as_deref().map(shown))
            .field("otlp_metrics", otlp_metrics)
            .field("otlp_logs", otlp_logs)
            // A header's value may be a password.
            .field("otlp_headers", &otlp_headers.keys())
            .field("otlp_gzip", otlp_gzip)
            .field("jaeger_agent_endpoint", &jaeger_agent_endpoint.as_deref().map(shown))
            .field("enable_stdout", enable_stdout)
            .field("sampling_ratio", sampling_ratio)
            .field("candidate_spans", candidate_spans)
            .field("redact_ids", redact_ids)
            .field("lightweight_model", lightweight_model)
            .field("powerful_model", powerful_model)
            .field("export_timeout", export_timeout)
            .field("shutdown_timeout", shutdown_timeout)
            .field("log_format", log_format)
            .field("log_filter", log_filter)
            .finish()
    }
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum LogFormat {
    /// One JSON object per line, for machines.
    Json,
    /// No log lines.
    Off,
    /// Text, for people.
    #[default]
    Text,
}

/// Why a [`TracingSystem`](crate::TracingSystem) did not start. In this case nothing is installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// A duration so long that it overflows the system's clock, or is a mistake.
    #[error("{field} is {actual:?}, expected at most {limit:?}")]
    DurationTooLong {
        /// The field of [`TracingConfig`].
        field: &'static str,
        /// Its value.
        actual: Duration,
        /// The largest allowed value.
        limit: Duration,
    },
    /// A duration of zero.
    #[error("{field} is zero")]
    DurationZero {
        /// The field of [`TracingConfig`].
        field: &'static str,
    },
    /// Compression is enabled without its cargo feature.
    #[error("otlp_gzip needs the cargo feature `gzip`")]
    Gzip,
    /// A header that is invalid in HTTP.
    #[error("{origin} contains the header {name:?}, whose name or value is invalid")]
    Header {
        /// Where it is set: `otlp_headers`, or the name of a variable.
        origin: &'static str,
        /// Its name; the value may be a secret.
        name: String,
    },
    /// The HTTP client could not be made.
    #[error("the HTTP client could not be made: {source}")]
    HttpClient {
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// An address that is not a `host:port`.
    #[error("jaeger_agent_endpoint is {endpoint:?}: {fault}")]
    JaegerAgent {
        /// The field's value.
        endpoint: String,
        /// What is wrong with it.
        fault: EndpointFault,
    },
    /// An address for OTLP in `jaeger_agent_endpoint`.
    #[error("jaeger_agent_endpoint is {endpoint:?}, which is an address for OTLP: set otlp_endpoint instead")]
    JaegerAgentIsOtlp {
        /// The field's value.
        endpoint: String,
    },
    /// A malformed log filter.
    #[error("{origin} is {filter:?}, which is not a valid log filter: {source}")]
    LogFilter {
        /// Where it is set: `log_filter` or `RUST_LOG`.
        origin: &'static str,
        /// Its value.
        filter: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// An address that contains credentials, which log lines about it would show.
    #[error(
        "{origin} contains credentials, which log lines would show: send them as a header, in otlp_headers or \
         OTEL_EXPORTER_OTLP_HEADERS"
    )]
    OtlpCredentials {
        /// Where it is set: `otlp_endpoint`, or the name of a variable.
        origin: &'static str,
    },
    /// An address that is not the URL of a collector.
    #[error("{origin} is {endpoint:?}: {fault}")]
    OtlpEndpoint {
        /// Where it is set: `otlp_endpoint`, or the name of a variable.
        origin: &'static str,
        /// Its value, without a query.
        endpoint: String,
        /// What is wrong with it.
        fault: EndpointFault,
    },
    /// The port that collectors use for gRPC.
    #[error(
        "{origin} is {endpoint:?}, but collectors use port 4317 for gRPC; this exporter needs http-protobuf, usually \
         on port 4318"
    )]
    OtlpGrpcPort {
        /// Where it is set: `otlp_endpoint`, or the name of a variable.
        origin: &'static str,
        /// Its value.
        endpoint: String,
    },
    /// A path in `otlp_endpoint` from which those of metrics and log records are unknown.
    #[error(
        "otlp_endpoint is {endpoint:?}, whose path is not /v1/traces: {variable} must say where this signal is posted"
    )]
    OtlpPath {
        /// The field's value.
        endpoint: String,
        /// The variable that can hold the other URL.
        variable: &'static str,
    },
    /// A ratio outside 0 to 1, or NaN.
    #[error("sampling_ratio is {value}, expected 0 to 1")]
    SamplingRatio {
        /// The field's value.
        value: f64,
    },
    /// A service without a name.
    #[error("service_name is empty")]
    ServiceNameEmpty,
    /// This system has been shut down.
    #[error("this tracing system was shut down; make a new one")]
    ShutDown,
    /// The process has a `tracing` subscriber already.
    #[error(
        "a tracing subscriber is installed already: give it this system's layer() instead of calling init()"
    )]
    SubscriberInstalled,
    /// The process has a tracing system already, this one or another.
    #[error("a tracing system is installed already")]
    SystemInstalled,
    /// A thread could not be started.
    #[error("a thread could not be started: {source}")]
    Thread {
        /// Why.
        source: std::io::Error,
    },
    /// An environment variable with an invalid value.
    #[error("{variable} is {value:?}, expected {expected}")]
    Variable {
        /// Its name.
        variable: &'static str,
        /// Its value.
        value: String,
        /// The allowed values.
        expected: &'static str,
    },
}

/// What is wrong with a collector's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointFault {
    /// The host is missing or invalid.
    #[error("its host is missing or invalid")]
    Host,
    /// The port is not a number from 1 to 65535.
    #[error("its port is not a number from 1 to 65535")]
    Port,
    /// A query or a fragment follows the path.
    #[error("it contains a query or a fragment, which has no meaning here")]
    Query,
    /// The address does not start with `http://`.
    #[error("it does not start with http://")]
    Scheme,
    /// `https://` without its cargo feature.
    #[error("https:// needs the cargo feature `tls`")]
    Tls,
    /// A character that is invalid in a URL, such as a space.
    #[error("it contains a character that is invalid in a URL")]
    Whitespace,
}

impl TracingConfig {
    /// The filter of log lines. The SDK's own lines are off by default: about a dead collector they repeat
    /// with every batch, while this crate's exporter logs once.
    pub(crate) fn log_filter(&self) -> Result<EnvFilter, InitError> {
        let (origin, filter) = match std::env::var("RUST_LOG") {
            Ok(filter) if !filter.is_empty() => ("RUST_LOG", filter),
            _ => ("log_filter", self.log_filter.clone()),
        };
        EnvFilter::from_str(&format!("opentelemetry=off,{filter}")).map_err(|source| InitError::LogFilter {
            origin,
            filter,
            source: source.into(),
        })
    }
}

/// An address without its possible secrets: the part before an `@`, and the query.
pub(crate) fn shown(endpoint: &str) -> String {
    let (scheme, rest) = match endpoint.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), endpoint),
    };
    let rest = rest.rsplit_once('@').map_or_else(|| rest.to_owned(), |(_, host)| format!("***@{host}"));
    match rest.split_once('?') {
        Some((rest, _)) => format!("{scheme}{rest}?***"),
        None => scheme + &rest,
    }
}

#[cfg(all(test, feature = "serde"))]
mod tests;
