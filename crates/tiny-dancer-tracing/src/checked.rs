//! The check of a configuration, in combination with the environment.

use crate::config::{EndpointFault, InitError, TracingConfig, shown};
use crate::environment::{self, Merged};
use crate::otlp::Target;
use http::{HeaderName, HeaderValue};
use reqwest::Url;
use std::str::FromStr;
use std::time::Duration;

/// A checked configuration, which needs no other check.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) config: TracingConfig,
    /// The full URL that spans are posted to.
    pub(crate) traces_url: Option<Url>,
    /// The export of metrics, if they are exported.
    pub(crate) metrics: Option<Metrics>,
    /// The export of log records, if they are exported.
    pub(crate) logs: Option<Logs>,
    /// Whether the SDK is disabled, so that there are no spans.
    pub(crate) disabled: bool,
    /// Whether the global propagator is installed.
    pub(crate) propagate: bool,
    /// How many attributes a span may have.
    pub(crate) attribute_limit: u32,
    /// How many requests and other spans may wait for an exporter.
    pub(crate) queue_size: usize,
    /// How many spans are sent at once.
    pub(crate) batch_size: usize,
    /// How long spans wait for a batch to fill.
    pub(crate) schedule_delay: Duration,
}

/// The export of metrics.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Metrics {
    pub(crate) target: Target,
    /// From one snapshot to the next.
    pub(crate) interval: Duration,
    /// How long attempts for one snapshot continue.
    pub(crate) timeout: Duration,
}

/// The export of log records.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Logs {
    pub(crate) target: Target,
    /// How many may wait.
    pub(crate) queue_size: usize,
    /// How many are sent at once.
    pub(crate) batch_size: usize,
    /// How long they wait for a batch to fill.
    pub(crate) schedule_delay: Duration,
    /// How long attempts for one batch continue.
    pub(crate) timeout: Duration,
}

impl Checked {
    pub(crate) fn sampling_ratio(&self) -> f64 {
        if self.disabled { 0.0 } else { self.config.sampling_ratio }
    }

    /// Where spans go, as text.
    pub(crate) fn endpoint(&self) -> String {
        let config = &self.config;
        let exporters = [
            self.traces_url.as_ref().map(Url::as_str),
            config.jaeger_agent_endpoint.as_deref(),
            config.enable_stdout.then_some("standard output"),
        ];
        let exporters: Vec<_> = exporters.into_iter().flatten().collect();
        if exporters.is_empty() || self.disabled { "none".to_owned() } else { exporters.join(", ") }
    }
}

impl TracingConfig {
    pub(crate) fn check(self) -> Result<Checked, InitError> {
        self.check_in(environment::process_variable)
    }

    /// Checks it in combination with the environment.
    pub(crate) fn check_in(self, read: impl Fn(&str) -> Option<String>) -> Result<Checked, InitError> {
        let Merged {
            config,
            traces_endpoint,
            metrics,
            logs,
            disabled,
            propagate,
            attribute_limit,
            queue_size,
            batch_size,
            schedule_delay,
        } = environment::merge(self, read)?;
        if config.service_name.is_empty() {
            return Err(InitError::ServiceNameEmpty);
        }
        if !(0.0..=1.0).contains(&config.sampling_ratio) {
            return Err(InitError::SamplingRatio { value: config.sampling_ratio });
        }
        for (field, duration) in
            [("export_timeout", config.export_timeout), ("shutdown_timeout", config.shutdown_timeout)]
        {
            if duration.is_zero() {
                return Err(InitError::DurationZero { field });
            }
            if duration > LONGEST {
                return Err(InitError::DurationTooLong { field, actual: duration, limit: LONGEST });
            }
        }
        if let Some(endpoint) = &config.jaeger_agent_endpoint {
            check_agent(endpoint)?;
        }
        let pushed = [metrics.as_ref().map(|it| &it.target), logs.as_ref().map(|it| &it.target)];
        let compresses = config.otlp_gzip || pushed.into_iter().flatten().any(|target| target.http.gzip);
        if compresses && cfg!(not(feature = "gzip")) {
            return Err(InitError::Gzip);
        }
        for (name, value) in &config.otlp_headers {
            if name.parse::<HeaderName>().is_err() || value.parse::<HeaderValue>().is_err() {
                return Err(InitError::Header { origin: OTLP_HEADERS, name: name.clone() });
            }
        }
        let traces_url = match (&config.otlp_endpoint, traces_endpoint) {
            (Some(endpoint), _) => Some(collector_url(OTLP_ENDPOINT, endpoint, TRACES_PATH)?),
            (None, Some((origin, endpoint))) => Some(collector_url(origin, &endpoint, TRACES_PATH)?),
            (None, None) => None,
        };
        Ok(Checked {
            config,
            traces_url,
            metrics,
            logs,
            disabled,
            propagate,
            attribute_limit,
            queue_size,
            batch_size,
            schedule_delay,
        })
    }
}

/// The longest timeout: a day.
const LONGEST: Duration = Duration::from_secs(86_400);

const OTLP_ENDPOINT: &str = "otlp_endpoint";
const OTLP_HEADERS: &str = "otlp_headers";
const TRACES_PATH: &str = "/v1/traces";

/// Checks the address of an agent.
fn check_agent(endpoint: &str) -> Result<(), InitError> {
    if endpoint.contains("://") || endpoint.ends_with(":4317") || endpoint.ends_with(":4318") {
        return Err(InitError::JaegerAgentIsOtlp { endpoint: shown(endpoint) });
    }
    let refuse = |fault| Err(InitError::JaegerAgent { endpoint: shown(endpoint), fault });
    if endpoint.contains(|c: char| c.is_whitespace() || c.is_control() || !c.is_ascii() || "/@".contains(c)) {
        return refuse(EndpointFault::Whitespace);
    }
    match host_and_port(endpoint) {
        ("", _) => refuse(EndpointFault::Host),
        // In an IPv6 address without brackets, the colon of the port is ambiguous.
        (host, _) if host.contains(':') && !host.starts_with('[') => refuse(EndpointFault::Host),
        (_, None) => refuse(EndpointFault::Port),
        (_, Some(port)) if !port.parse::<u16>().is_ok_and(|port| port > 0) => refuse(EndpointFault::Port),
        _ => Ok(()),
    }
}

/// Splits at the colon of the port. In an IPv6 address such as `[::1]:4318` this colon follows the bracket.
fn host_and_port(text: &str) -> (&str, Option<&str>) {
    let bracket = text.rfind(']').unwrap_or(0);
    match text[bracket..].rsplit_once(':') {
        Some((_, port)) => (&text[..text.len() - port.len() - 1], Some(port)),
        None => (text, None),
    }
}

/// Checks the address for spans, and replaces its path by that for metrics or log records.
pub(crate) fn sibling_url(
    endpoint: &str,
    of_spans: &str,
    path: &str,
    variable: &'static str,
) -> Result<Url, InitError> {
    let mut url = collector_url(OTLP_ENDPOINT, endpoint, path)?;
    if url.path() != path {
        let Some(base) = url.path().trim_end_matches('/').strip_suffix(of_spans) else {
            return Err(InitError::OtlpPath { endpoint: shown(endpoint), variable });
        };
        url.set_path(&format!("{base}{path}"));
    }
    Ok(url)
}

/// Checks a collector's address, and adds the path of OTLP where it has none.
pub(crate) fn collector_url(
    origin: &'static str,
    endpoint: &str,
    path_of_otlp: &str,
) -> Result<Url, InitError> {
    let refuse = |fault| {
        // The address may also contain a password, which the error must not show.
        if endpoint.contains('@') {
            return Err(InitError::OtlpCredentials { origin });
        }
        Err(InitError::OtlpEndpoint { origin, endpoint: shown(endpoint), fault })
    };
    if endpoint.contains(|c: char| c.is_whitespace() || c.is_control() || !c.is_ascii()) {
        return refuse(EndpointFault::Whitespace);
    }
    let rest = match endpoint.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => {
            if cfg!(not(feature = "tls")) {
                return refuse(EndpointFault::Tls);
            }
            rest
        }
        _ => return refuse(EndpointFault::Scheme),
    };
    if rest.contains(['?', '#']) {
        return refuse(EndpointFault::Query);
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.contains('@') {
        return Err(InitError::OtlpCredentials { origin });
    }
    let (host, port) = host_and_port(authority);
    if host.is_empty() {
        return refuse(EndpointFault::Host);
    }
    match port.map(u16::from_str) {
        Some(Err(_) | Ok(0)) => return refuse(EndpointFault::Port),
        Some(Ok(4317)) => return Err(InitError::OtlpGrpcPort { origin, endpoint: shown(endpoint) }),
        _ => {}
    }
    match Url::parse(endpoint) {
        Ok(mut url) => {
            if path.is_empty() && origin == OTLP_ENDPOINT {
                url.set_path(path_of_otlp);
            }
            Ok(url)
        }
        Err(_) => refuse(EndpointFault::Host),
    }
}

#[cfg(test)]
mod tests;
