//! OpenTelemetry's own environment variables, which apply where the configuration holds its defaults.
//!
//! Any other value of the configuration takes precedence over the environment. An empty variable counts as
//! not set.

use crate::config::{InitError, TracingConfig};
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
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const PROTOCOL: &[&str] = &["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const TIMEOUT: &[&str] = &["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
const COMPRESSION: &[&str] = &["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"];
const HEADERS: &[&str] = &["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
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
        TRACES_ENDPOINT,
        "the full URL that spans are posted to, where the configuration names no exporter",
    ),
    variable(ENDPOINT, "the same for all signals: `/v1/traces` is added"),
    variable(
        PROTOCOL[0],
        "`http/protobuf`, the only supported protocol; any other one is an error at the start",
    ),
    variable(PROTOCOL[1], "the same for all signals"),
    variable(TIMEOUT[0], "milliseconds, at most a day, where `export_timeout` is 10 s"),
    variable(TIMEOUT[1], "the same for all signals"),
    variable(COMPRESSION[0], "`gzip` (needs the feature `gzip`) or `none`, where `otlp_gzip` is false"),
    variable(COMPRESSION[1], "the same for all signals"),
    variable(
        HEADERS[0],
        "additional headers, for example with a token, as `name=value` separated by commas, values \
        percent-encoded; those of `otlp_headers` take precedence",
    ),
    variable(HEADERS[1], "the same for all signals"),
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
];

/// How many slots a queue may have. Each takes half a kilobyte when the system starts.
const SLOTS: RangeInclusive<u64> = 1..=1 << 17;
const ATTRIBUTES: RangeInclusive<u64> = 0..=1 << 16;
/// Up to a day.
const MILLISECONDS: RangeInclusive<u64> = 0..=86_400_000;

/// A configuration in combination with the environment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Merged {
    pub(crate) config: TracingConfig,
    /// The variable that sets where to post, and its full URL.
    pub(crate) traces_endpoint: Option<(&'static str, String)>,
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
    let first = |names: &[&'static str]| names.iter().find_map(|&name| Some((name, read(name)?)));
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
    if config.export_timeout == defaults.export_timeout
        && let Some((variable, value)) = first(TIMEOUT)
    {
        match value.parse() {
            Ok(milliseconds) if milliseconds > 0 && MILLISECONDS.contains(&milliseconds) => {
                config.export_timeout = Duration::from_millis(milliseconds);
            }
            _ => return refuse(variable, value, "milliseconds, 1 to 86400000"),
        }
    }
    if let Some((variable, value)) = first(PROTOCOL)
        && value != "http/protobuf"
    {
        return refuse(variable, value, "http/protobuf, the only supported protocol");
    }
    if !config.otlp_gzip
        && let Some((variable, value)) = first(COMPRESSION)
    {
        config.otlp_gzip = match value.as_str() {
            "gzip" => true,
            "none" => false,
            _ => return refuse(variable, value, "gzip or none"),
        };
    }
    if let Some((origin, value)) = first(HEADERS) {
        add_headers(&mut config.otlp_headers, origin, &value)?;
    }
    let number = |variable, default, range, expected| match read(variable) {
        Some(value) => number(variable, value, &range, expected),
        None => Ok(default),
    };
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
        let mut otlp = exporters.is_none() && (endpoint.is_some() || read(TRACES_ENDPOINT).is_some());
        for name in list(exporters.as_deref().unwrap_or_default()) {
            match name {
                "otlp" => otlp = true,
                "console" => config.enable_stdout = true,
                "none" => {}
                _ => return refuse(EXPORTER, name.to_owned(), "otlp, console or none"),
            }
        }
        if otlp {
            traces_endpoint =
                read(TRACES_ENDPOINT).map(|endpoint| (TRACES_ENDPOINT, endpoint)).or_else(|| {
                    let base = endpoint.unwrap_or_else(|| "http://localhost:4318".to_owned());
                    Some((ENDPOINT, format!("{}/v1/traces", base.trim_end_matches('/'))))
                });
        }
    }
    Ok(Merged {
        config,
        traces_endpoint,
        disabled,
        propagate,
        // The router's own attributes must fit.
        attribute_limit: attribute_limit.max(32) as u32,
        queue_size: queue_size as usize,
        batch_size: batch_size as usize,
        schedule_delay: Duration::from_millis(schedule_delay),
    })
}

fn number(
    variable: &'static str,
    value: String,
    range: &RangeInclusive<u64>,
    expected: &'static str,
) -> Result<u64, InitError> {
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
