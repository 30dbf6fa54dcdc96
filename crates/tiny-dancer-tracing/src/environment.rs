//! OpenTelemetry's own environment variables, which apply where the configuration holds its defaults.
//!
//! Any other value of the configuration takes precedence over the environment. An empty variable counts as
//! not set.

use crate::checked::{self, Logs, Metrics};
use crate::config::{InitError, TracingConfig};
use crate::otlp::{Http, Target};
use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// A variable that the tracing system reads.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub help: &'static str,
}

const fn variable(name: &'static str, help: &'static str) -> Variable {
    Variable { name, help }
}

const SDK_DISABLED: &str = "OTEL_SDK_DISABLED";
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
const PROPAGATORS: &str = "OTEL_PROPAGATORS";
const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const LOGS_EXPORTER: &str = "OTEL_LOGS_EXPORTER";
const METRICS_EXPORTER: &str = "OTEL_METRICS_EXPORTER";
const TEMPORALITY: &str = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
const METRICS_INTERVAL: &str = "OTEL_METRIC_EXPORT_INTERVAL";
const METRICS_TIMEOUT: &str = "OTEL_METRIC_EXPORT_TIMEOUT";
const LOGS_QUEUE_SIZE: &str = "OTEL_BLRP_MAX_QUEUE_SIZE";
const LOGS_BATCH_SIZE: &str = "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE";
const LOGS_SCHEDULE_DELAY: &str = "OTEL_BLRP_SCHEDULE_DELAY";
const LOGS_TIMEOUT: &str = "OTEL_BLRP_EXPORT_TIMEOUT";

/// The variables of one kind of export. Of a pair, the second is the same for all kinds.
#[derive(Clone, Copy, Debug)]
struct Signal {
    endpoint: &'static str,
    protocol: [&'static str; 2],
    timeout: [&'static str; 2],
    compression: [&'static str; 2],
    headers: [&'static str; 2],
    /// The path that is added to an endpoint for all kinds.
    path: &'static str,
}

macro_rules! signal {
    ($name:literal, $path:literal) => {
        Signal {
            endpoint: concat!("OTEL_EXPORTER_OTLP_", $name, "_ENDPOINT"),
            protocol: [concat!("OTEL_EXPORTER_OTLP_", $name, "_PROTOCOL"), "OTEL_EXPORTER_OTLP_PROTOCOL"],
            timeout: [concat!("OTEL_EXPORTER_OTLP_", $name, "_TIMEOUT"), "OTEL_EXPORTER_OTLP_TIMEOUT"],
            compression: [
                concat!("OTEL_EXPORTER_OTLP_", $name, "_COMPRESSION"),
                "OTEL_EXPORTER_OTLP_COMPRESSION",
            ],
            headers: [concat!("OTEL_EXPORTER_OTLP_", $name, "_HEADERS"), "OTEL_EXPORTER_OTLP_HEADERS"],
            path: $path,
        }
    };
}

const LOGS: Signal = signal!("LOGS", "/v1/logs");
const METRICS: Signal = signal!("METRICS", "/v1/metrics");
const TRACES: Signal = signal!("TRACES", "/v1/traces");

const ATTRIBUTE_LIMIT: &str = "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT";
const QUEUE_SIZE: &str = "OTEL_BSP_MAX_QUEUE_SIZE";
const BATCH_SIZE: &str = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE";
const SCHEDULE_DELAY: &str = "OTEL_BSP_SCHEDULE_DELAY";

/// Every variable that the tracing system reads. `docs/spans.md` is generated from this list.
pub const VARIABLES: &[Variable] = &[
    variable(SDK_DISABLED, "`true`: no spans; log lines stay"),
    variable(SERVICE_NAME, "the service's name, where `service_name` is \"tiny-dancer\""),
    variable(
        RESOURCE_ATTRIBUTES,
        "other attributes of the service, as `key=value` separated by commas; `OTEL_SERVICE_NAME` \
        overrides its `service.name`",
    ),
    variable(
        PROPAGATORS,
        "`none`: no global propagator is installed; of the others only `tracecontext` is supported",
    ),
    variable(
        EXPORTER,
        "`otlp`, `console`, `none`, or several separated by commas, where the configuration names no exporter",
    ),
    variable(
        SAMPLER,
        "`always_on`, `always_off` or `traceidratio`, with or without `parentbased_`, where \
        `sampling_ratio` is 1; with each of them a span follows its parent",
    ),
    variable(SAMPLER_ARG, "the ratio, 0 to 1"),
    variable(
        TRACES.endpoint,
        "the full URL that spans are posted to, where the configuration names no exporter",
    ),
    variable(
        ENDPOINT,
        "the same for all signals: `/v1/traces`, `/v1/metrics` or `/v1/logs` is added; metrics and log records are exported \
        only where the next two or the configuration say so",
    ),
    variable(
        METRICS_EXPORTER,
        "`otlp`: metrics are exported as with `otlp_metrics`; `none` and `prometheus`: they are not, and stay at `/metrics`; \
        several separated by commas; any other value is an error at the start",
    ),
    variable(
        LOGS_EXPORTER,
        "`otlp`: log records are exported as with `otlp_logs`; `none` and `console`: they are not, and lines are written as \
        `log_format` says; several separated by commas; any other value is an error at the start",
    ),
    variable(
        METRICS.endpoint,
        "the full URL that metrics are posted to; it exports them unless `OTEL_METRICS_EXPORTER` says otherwise; overrides \
        `otlp_endpoint` for them",
    ),
    variable(LOGS.endpoint, "the same for log records and `OTEL_LOGS_EXPORTER`"),
    variable(
        TRACES.protocol[0],
        "`http/protobuf`, the only supported protocol; any other one is an error at the start",
    ),
    variable(METRICS.protocol[0], "the same for metrics, if they are exported"),
    variable(LOGS.protocol[0], "the same for log records, if they are exported"),
    variable(TRACES.protocol[1], "the same for all signals"),
    variable(TRACES.timeout[0], "milliseconds, at most a day, where `export_timeout` is 10 s"),
    variable(METRICS.timeout[0], "the same for metrics"),
    variable(LOGS.timeout[0], "the same for log records"),
    variable(TRACES.timeout[1], "the same for all signals"),
    variable(
        TRACES.compression[0],
        "`gzip` (needs the feature `gzip`) or `none`, where `otlp_gzip` is false",
    ),
    variable(METRICS.compression[0], "the same for metrics"),
    variable(LOGS.compression[0], "the same for log records"),
    variable(TRACES.compression[1], "the same for all signals"),
    variable(
        TRACES.headers[0],
        "additional headers, for example with a token, as `name=value` separated by commas, values \
        percent-encoded; those of `otlp_headers` take precedence",
    ),
    variable(METRICS.headers[0], "the same for metrics"),
    variable(LOGS.headers[0], "the same for log records"),
    variable(TRACES.headers[1], "the same for all signals"),
    variable(
        ATTRIBUTE_LIMIT,
        "how many attributes a span may have, 32 to 65536, less counts as 32; default 128",
    ),
    variable(
        QUEUE_SIZE,
        "how many requests, each with its stages, and other spans may wait, at most 131072; default 2048",
    ),
    variable(
        BATCH_SIZE,
        "how many requests and other spans wait before they are sent, and how many spans are sent at \
        once, at most 131072; default 512",
    ),
    variable(SCHEDULE_DELAY, "milliseconds that spans wait for a batch to fill, at most a day; default 5000"),
    variable(
        METRICS_INTERVAL,
        "milliseconds from one export of metrics to the next, at most a day; default 60000",
    ),
    variable(
        METRICS_TIMEOUT,
        "milliseconds after which attempts to export one snapshot of the metrics end, at most a day; default 30000",
    ),
    variable(
        TEMPORALITY,
        "`cumulative`, the only supported temporality; any other one is an error if metrics are exported",
    ),
    variable(LOGS_QUEUE_SIZE, "how many log records may wait, at most 131072; default 2048"),
    variable(LOGS_BATCH_SIZE, "how many log records are sent at once, at most 131072; default 512"),
    variable(
        LOGS_SCHEDULE_DELAY,
        "milliseconds that log records wait for a batch to fill, at most a day; default 1000",
    ),
    variable(
        LOGS_TIMEOUT,
        "milliseconds after which attempts to export a batch of log records end, at most a day; default 300000, as for spans",
    ),
];

/// How many slots a queue may have. Each takes half a kilobyte when the system starts.
const SLOTS: RangeInclusive<u64> = 1..=1 << 17;
const ATTRIBUTES: RangeInclusive<u64> = 0..=1 << 16;
/// Up to a day.
const MILLISECONDS: RangeInclusive<u64> = 0..=86_400_000;
const POSITIVE_MILLISECONDS: RangeInclusive<u64> = 1..=86_400_000;

/// A configuration in combination with the environment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Merged {
    pub(crate) config: TracingConfig,
    /// The variable that sets where spans are posted, and its full URL.
    pub(crate) traces_endpoint: Option<(&'static str, String)>,
    /// The export of metrics, if they are exported.
    pub(crate) metrics: Option<Metrics>,
    /// The export of log records, if they are exported.
    pub(crate) logs: Option<Logs>,
    pub(crate) disabled: bool,
    pub(crate) propagate: bool,
    pub(crate) attribute_limit: u32,
    pub(crate) queue_size: usize,
    pub(crate) batch_size: usize,
    pub(crate) schedule_delay: Duration,
}

/// Reads a variable of this process.
pub(crate) fn process_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads the variables of the fields that hold their defaults, and merges their values.
pub(crate) fn merge(
    mut config: TracingConfig,
    read: impl Fn(&str) -> Option<String>,
) -> Result<Merged, InitError> {
    let defaults = TracingConfig::default();
    let read = |name: &'static str| {
        let value = read(name)?.trim().to_owned();
        (!value.is_empty()).then_some(value)
    };
    let refuse = |variable, value, expected| Err(InitError::Variable { variable, value, expected });

    let disabled = read(SDK_DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let propagate = read(PROPAGATORS).is_none_or(|value| list(&value).any(|name| name == "tracecontext"));
    if config.service_name == defaults.service_name
        && let Some(name) = read(SERVICE_NAME).or_else(|| service(&read(RESOURCE_ATTRIBUTES)?))
    {
        config.service_name = name;
    }
    if config.sampling_ratio == defaults.sampling_ratio
        && let Some(sampler) = read(SAMPLER)
    {
        config.sampling_ratio = match sampler.trim_start_matches("parentbased_") {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => match read(SAMPLER_ARG).map(|value| (value.parse::<f64>(), value)) {
                None => 1.0,
                Some((Ok(ratio), _)) if (0.0..=1.0).contains(&ratio) => ratio,
                Some((_, value)) => return refuse(SAMPLER_ARG, value, "a number from 0 to 1"),
            },
            _ => return refuse(SAMPLER, sampler, "always_on, always_off or traceidratio"),
        };
    }
    let metrics = if exports(config.otlp_metrics, &METRICS, METRICS_EXPORTER, &METRICS_ELSEWHERE, &read)?
        && !disabled
    {
        Some(metrics(&config, &read)?)
    } else {
        None
    };
    let logs = if exports(config.otlp_logs, &LOGS, LOGS_EXPORTER, &LOGS_ELSEWHERE, &read)? && !disabled {
        Some(logs(&config, &read)?)
    } else {
        None
    };
    Http { headers: config.otlp_headers, gzip: config.otlp_gzip, timeout: config.export_timeout } =
        http(&config, &TRACES, &read)?;
    let number = |variable, default, range, expected| number(&read, variable, default, &range, expected);
    let attribute_limit = number(ATTRIBUTE_LIMIT, 128, ATTRIBUTES, "a number of attributes, at most 65536")?;
    let expected = "a number of spans, 1 to 131072";
    let queue_size = number(QUEUE_SIZE, 2048, SLOTS, expected)?;
    let batch_size = number(BATCH_SIZE, 512, SLOTS, expected)?;
    let schedule_delay = number(SCHEDULE_DELAY, 5_000, MILLISECONDS, "milliseconds, at most 86400000")?;

    let mut traces_endpoint = None;
    let names_no_exporter = config.otlp_endpoint.is_none()
        && config.jaeger_agent_endpoint.is_none()
        && !config.enable_stdout
        && !disabled;
    if names_no_exporter {
        let exporters = read(EXPORTER);
        let endpoint = read(ENDPOINT);
        let mut otlp = exporters.is_none() && (endpoint.is_some() || read(TRACES.endpoint).is_some());
        for name in list(exporters.as_deref().unwrap_or_default()) {
            match name {
                "otlp" => otlp = true,
                "console" => config.enable_stdout = true,
                "none" => {}
                _ => return refuse(EXPORTER, name.to_owned(), "otlp, console or none"),
            }
        }
        if otlp {
            traces_endpoint = Some(endpoint_of(&TRACES, &read));
        }
    }
    Ok(Merged {
        config,
        traces_endpoint,
        metrics,
        logs,
        disabled,
        propagate,
        // The router's own attributes must fit.
        attribute_limit: attribute_limit.max(32) as u32,
        queue_size: queue_size as usize,
        batch_size: batch_size as usize,
        schedule_delay: Duration::from_millis(schedule_delay),
    })
}

/// The exporters of metrics that this crate leaves to others.
const METRICS_ELSEWHERE: Elsewhere = (&["none", "prometheus"], "otlp, prometheus or none");
/// The same for log records.
const LOGS_ELSEWHERE: Elsewhere = (&["console", "none"], "otlp, console or none");

/// Names of exporters other than `otlp`, and all allowed names.
type Elsewhere = (&'static [&'static str], &'static str);

/// Reads a variable that is not empty.
type Read<'a> = &'a dyn Fn(&'static str) -> Option<String>;

/// Whether metrics or log records are exported.
fn exports(
    configured: bool,
    signal: &Signal,
    exporter: &'static str,
    (elsewhere, expected): &Elsewhere,
    read: Read<'_>,
) -> Result<bool, InitError> {
    let Some(exporters) = read(exporter) else { return Ok(configured || read(signal.endpoint).is_some()) };
    let unknown = list(&exporters).find(|name| *name != "otlp" && !elsewhere.contains(name));
    match unknown {
        Some(name) => Err(InitError::Variable { variable: exporter, value: name.to_owned(), expected }),
        None => Ok(configured || list(&exporters).any(|name| name == "otlp")),
    }
}

fn metrics(config: &TracingConfig, read: Read<'_>) -> Result<Metrics, InitError> {
    if let Some(value) = read(TEMPORALITY).filter(|value| !value.eq_ignore_ascii_case("cumulative")) {
        let expected = "cumulative, the only supported temporality";
        return Err(InitError::Variable { variable: TEMPORALITY, value, expected });
    }
    let milliseconds = |variable, default| {
        let expected = "milliseconds, 1 to 86400000";
        number(read, variable, default, &POSITIVE_MILLISECONDS, expected).map(Duration::from_millis)
    };
    Ok(Metrics {
        target: target(config, &METRICS, read)?,
        interval: milliseconds(METRICS_INTERVAL, 60_000)?,
        timeout: milliseconds(METRICS_TIMEOUT, 30_000)?,
    })
}

fn logs(config: &TracingConfig, read: Read<'_>) -> Result<Logs, InitError> {
    let records =
        |variable, default| number(read, variable, default, &SLOTS, "a number of log records, 1 to 131072");
    let milliseconds = |variable, default, range, expected| {
        number(read, variable, default, range, expected).map(Duration::from_millis)
    };
    Ok(Logs {
        target: target(config, &LOGS, read)?,
        queue_size: records(LOGS_QUEUE_SIZE, 2048)? as usize,
        batch_size: records(LOGS_BATCH_SIZE, 512)? as usize,
        schedule_delay: milliseconds(
            LOGS_SCHEDULE_DELAY,
            1_000,
            &MILLISECONDS,
            "milliseconds, at most 86400000",
        )?,
        timeout: milliseconds(LOGS_TIMEOUT, 300_000, &POSITIVE_MILLISECONDS, "milliseconds, 1 to 86400000")?,
    })
}

/// Where metrics or log records are posted, and how: to the endpoint of their own variable, to the configuration's, or to
/// that for all signals.
fn target(config: &TracingConfig, signal: &Signal, read: Read<'_>) -> Result<Target, InitError> {
    let url = if let (None, Some(endpoint)) = (read(signal.endpoint), &config.otlp_endpoint) {
        checked::sibling_url(endpoint, TRACES.path, signal.path, signal.endpoint)?
    } else {
        let (origin, endpoint) = endpoint_of(signal, read);
        checked::collector_url(origin, &endpoint, signal.path)?
    };
    Ok(Target { url, http: http(config, signal, read)? })
}

/// The variable that sets where to post, and the full URL.
fn endpoint_of(signal: &Signal, read: Read<'_>) -> (&'static str, String) {
    if let Some(endpoint) = read(signal.endpoint) {
        return (signal.endpoint, endpoint);
    }
    let base = read(ENDPOINT).unwrap_or_else(|| "http://localhost:4318".to_owned());
    (ENDPOINT, format!("{}{}", base.trim_end_matches('/'), signal.path))
}

/// How a kind of export is posted.
fn http(config: &TracingConfig, signal: &Signal, read: Read<'_>) -> Result<Http, InitError> {
    let first = |names: [&'static str; 2]| names.into_iter().find_map(|name| Some((name, read(name)?)));
    let refuse = |variable, value, expected| Err(InitError::Variable { variable, value, expected });
    let mut http =
        Http { headers: config.otlp_headers.clone(), gzip: config.otlp_gzip, timeout: config.export_timeout };
    if http.timeout == TracingConfig::default().export_timeout
        && let Some((variable, value)) = first(signal.timeout)
    {
        match value.parse() {
            Ok(milliseconds) if POSITIVE_MILLISECONDS.contains(&milliseconds) => {
                http.timeout = Duration::from_millis(milliseconds);
            }
            _ => return refuse(variable, value, "milliseconds, 1 to 86400000"),
        }
    }
    if let Some((variable, value)) = first(signal.protocol)
        && value != "http/protobuf"
    {
        return refuse(variable, value, "http/protobuf, the only supported protocol");
    }
    if !http.gzip
        && let Some((variable, value)) = first(signal.compression)
    {
        http.gzip = match value.as_str() {
            "gzip" => true,
            "none" => false,
            _ => return refuse(variable, value, "gzip or none"),
        };
    }
    if let Some((origin, value)) = first(signal.headers) {
        add_headers(&mut http.headers, origin, &value)?;
    }
    Ok(http)
}

fn number(
    read: Read<'_>,
    variable: &'static str,
    default: u64,
    range: &RangeInclusive<u64>,
    expected: &'static str,
) -> Result<u64, InitError> {
    let Some(value) = read(variable) else { return Ok(default) };
    match value.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(InitError::Variable { variable, value, expected }),
    }
}

/// Adds the headers that are not set yet.
fn add_headers(
    headers: &mut BTreeMap<String, String>,
    origin: &'static str,
    value: &str,
) -> Result<(), InitError> {
    for member in list(value) {
        let (name, value) =
            header(member).ok_or_else(|| InitError::Header { origin, name: name_of(member).to_owned() })?;
        if !headers.keys().any(|mine| mine.eq_ignore_ascii_case(&name)) {
            headers.insert(name, value);
        }
    }
    Ok(())
}

/// A header of a list: `name=value`, with a percent-encoded value.
fn header(member: &str) -> Option<(String, String)> {
    let (name, value) = member.split_once('=')?;
    let (name, value) = (name.trim(), percent_decode_str(value.trim()).decode_utf8().ok()?);
    let fits = name.parse::<http::HeaderName>().is_ok() && value.parse::<http::HeaderValue>().is_ok();
    fits.then(|| (name.to_lowercase(), value.into_owned()))
}

/// The part of an invalid header that may be shown. Without an equals sign, all of it may be a secret.
fn name_of(member: &str) -> &str {
    member.split_once('=').map_or("", |(name, _)| name.trim())
}

fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|name| !name.is_empty())
}

/// The service's name among its attributes.
fn service(attributes: &str) -> Option<String> {
    list(attributes).find_map(|attribute| {
        let (key, value) = attribute.split_once('=')?;
        (key.trim() == "service.name" && !value.trim().is_empty()).then(|| value.trim().to_owned())
    })
}

#[cfg(test)]
mod tests;
