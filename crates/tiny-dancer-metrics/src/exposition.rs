//! The text formats of a registry: OpenMetrics 1.0, with exemplars, and Prometheus' text format 0.0.4.
//!
//! Both are written from one snapshot of the registry, whose crate knows neither exemplars nor OpenMetrics. A registry calls
//! its collectors on the thread that gathers. So our collectors leave their exemplars in a variable of that thread, and the
//! snapshot finds them there. With the feature `otlp` the same snapshot is also encoded for OTLP, see `otlp`.
//!
//! ```
//! use tiny_dancer_metrics::MetricsCollector;
//! use tiny_dancer_metrics::exposition::{Format, export};
//! use tiny_dancer_metrics::prometheus::Registry;
//!
//! let registry = Registry::new();
//! let metrics = MetricsCollector::with_registry(&registry)?;
//! let format = Format::of("application/openmetrics-text; version=1.0.0, text/plain; q=0.5").unwrap();
//! assert_eq!(format.content_type(), "application/openmetrics-text; version=1.0.0; charset=utf-8");
//! let text = export(&registry, format)?;
//! assert!(text.contains("# TYPE tiny_dancer_routing_requests counter\n"));
//! assert!(text.ends_with("# EOF\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Sources: [OpenMetrics 1.0](https://prometheus.io/docs/specs/om/open_metrics_spec/) and
//! [text format 0.0.4](https://prometheus.io/docs/instrumenting/exposition_formats/).

use crate::error::ExportError;
use crate::exemplars::Exemplar;
use prometheus::proto::{Bucket, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Registry, TextEncoder};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::{self, Display, Write};

mod accept;
#[cfg(feature = "otlp")]
pub mod otlp;

#[cfg(feature = "axum")]
pub(crate) use accept::accepts_gzip;

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// OpenMetrics 1.0. With exemplars on the series that have some.
    OpenMetrics {
        /// Whether each counter and histogram of ours has a `_created` series, the time since which it counts. Prometheus
        /// stores it as a series of its own, so the default of HTTP handlers is no.
        created: bool,
    },
    /// Prometheus' text format 0.0.4.
    Text,
}

impl Format {
    /// The format for a header `Accept`, by RFC 9110: that of the larger weight, and of equal weights OpenMetrics where it
    /// is named. `None` where the header accepts neither. An empty header accepts text.
    pub fn of(accept: &str) -> Option<Self> {
        accept::format(accept)
    }

    /// The content type of an answer in this format.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics { .. } => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// All families of a registry, in this format.
///
/// # Errors
/// If a family of another crate's collector cannot be written.
pub fn export(registry: &Registry, format: Format) -> Result<String, ExportError> {
    match format {
        Format::Text => TextEncoder::new().encode_to_string(&registry.gather()).map_err(ExportError::new),
        Format::OpenMetrics { created } => Snapshot::of(registry).open_metrics(created),
    }
}

/// The unit that a name ends with: the word of OpenMetrics.
fn unit(name: &str) -> Option<&'static str> {
    let is_last = |unit: &&str| name.strip_suffix(*unit).is_some_and(|quantity| quantity.ends_with('_'));
    ["seconds", "bytes"].into_iter().find(is_last)
}

/// The upper bounds of a histogram with their cumulative counts; the last bound is infinity.
fn buckets(histogram: &Histogram) -> Vec<(f64, u64)> {
    let pair = |bucket: &Bucket| (bucket.upper_bound(), bucket.cumulative_count());
    let mut buckets: Vec<_> = histogram.get_bucket().iter().map(pair).collect();
    if buckets.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
        buckets.push((f64::INFINITY, histogram.get_sample_count()));
    }
    buckets
}

/// The values of a family's counters or gauges; empty for another kind.
///
/// They are read from the crate's own text. Its types have different methods for the value with its feature `protobuf`, which
/// any crate of a program may enable.
pub(crate) fn values(family: &MetricFamily) -> Result<Vec<f64>, ExportError> {
    match family.get_field_type() {
        MetricType::COUNTER | MetricType::GAUGE => {
            let text = TextEncoder::new()
                .encode_to_string(std::slice::from_ref(family))
                .map_err(ExportError::new)?;
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            let value = |(line, series): (&str, &Metric)| {
                let mut words = line.rsplit(' ');
                let last = if series.timestamp_ms() == 0 { words.next() } else { words.nth(1) };
                last.and_then(|value| value.parse().ok()).unwrap_or(f64::NAN)
            };
            Ok(lines.zip(family.get_metric()).map(value).collect())
        }
        MetricType::HISTOGRAM | MetricType::SUMMARY if !family.name().is_empty() => Ok(Vec::new()),
        _ => {
            let fault = format!("the family {:?} has no name or no type", family.name());
            Err(ExportError::new(prometheus::Error::Msg(fault)))
        }
    }
}

/// What a series of ours has beside its values.
#[derive(Clone, Debug)]
pub(crate) struct Details {
    /// The labels of the series, those of the registry left out.
    pub(crate) labels: Vec<(String, String)>,
    /// In milliseconds since 1970.
    pub(crate) created: i64,
    /// By buckets; one for a counter; empty where the family has none.
    pub(crate) exemplars: Vec<Option<Exemplar>>,
}

/// The details by the names of families.
type DetailsByName = HashMap<&'static str, Vec<Details>>;

thread_local! {
    /// While this thread takes a snapshot: the details of the series so far.
    static COLLECTED: RefCell<Option<DetailsByName>> = const { RefCell::new(None) };
}

/// Called by our collectors for each series that they collect. Does nothing unless this thread takes a snapshot.
pub(crate) fn describe(name: &'static str, details: impl FnOnce() -> Details) {
    COLLECTED.with_borrow_mut(|collected| {
        if let Some(collected) = collected {
            collected.entry(name).or_default().push(details());
        }
    });
}

/// A registry's families, and the details of ours among them.
#[derive(Debug)]
struct Snapshot {
    families: Vec<MetricFamily>,
    details: DetailsByName,
}

impl Snapshot {
    fn of(registry: &Registry) -> Self {
        COLLECTED.set(Some(HashMap::new()));
        let families = registry.gather();
        let details = COLLECTED.take().unwrap_or_default();
        Self { families, details }
    }

    /// The details of a family's series.
    fn details(&self, family: &MetricFamily) -> &[Details] {
        let found = self.details.iter().find(|(name, _)| is_named(family, name));
        found.map_or(&[], |(_, details)| details)
    }

    fn open_metrics(&self, created: bool) -> Result<String, ExportError> {
        let mut text = String::with_capacity(64 << 10);
        for family in &self.families {
            let values = values(family)?;
            let family = OpenFamily { family, values, of_family: self.details(family), created };
            // Writing to a string cannot fail.
            let _ = write!(text, "{family}");
        }
        text.push_str("# EOF\n");
        Ok(text)
    }
}

/// Whether a family has this name. A registry may put a prefix before the names of its families.
pub(crate) fn is_named(family: &MetricFamily, name: &str) -> bool {
    family.name().strip_suffix(name).is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('_'))
}

/// The details of a series. A registry may add labels to those that its collectors have.
fn of_series<'a>(details: &'a [Details], series: &Metric) -> Option<&'a Details> {
    let has = |(name, value): &(String, String)| {
        series.get_label().iter().any(|pair| pair.name() == name && pair.value() == value)
    };
    details.iter().find(|details| details.labels.iter().all(has))
}

/// A family in OpenMetrics.
struct OpenFamily<'a> {
    family: &'a MetricFamily,
    values: Vec<f64>,
    of_family: &'a [Details],
    created: bool,
}

impl Display for OpenFamily<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, .. } = self;
        let kind = match family.get_field_type() {
            MetricType::COUNTER => "counter",
            MetricType::GAUGE => "gauge",
            MetricType::HISTOGRAM => "histogram",
            MetricType::SUMMARY => "summary",
            MetricType::UNTYPED => "unknown",
        };
        // The name of a counter's family is that of its samples without `_total`.
        let name = match family.name().strip_suffix("_total") {
            Some(name) if kind == "counter" => name,
            _ => family.name(),
        };
        writeln!(f, "# TYPE {name} {kind}")?;
        if let Some(unit) = unit(name) {
            writeln!(f, "# UNIT {name} {unit}")?;
        }
        writeln!(f, "# HELP {name} {}", Escaped(family.help()))?;
        let mut values = self.values.iter().copied().map(Number);
        for series in family.get_metric() {
            let details = of_series(self.of_family, series);
            let exemplar = |bucket: usize| Tail(details.and_then(|it| *it.exemplars.get(bucket)?));
            let labels = |extra: Option<(&'static str, f64)>| Labels { pairs: series.get_label(), extra };
            match family.get_field_type() {
                MetricType::COUNTER => {
                    let value = values.next().unwrap_or(Number(f64::NAN));
                    writeln!(f, "{name}_total{} {value}{}", labels(None), exemplar(0))?;
                }
                MetricType::GAUGE => {
                    let value = values.next().unwrap_or(Number(f64::NAN));
                    writeln!(f, "{name}{} {value}", labels(None))?;
                }
                MetricType::HISTOGRAM => {
                    let histogram = series.get_histogram();
                    let count = histogram.get_sample_count();
                    for (i, (bound, count)) in buckets(histogram).into_iter().enumerate() {
                        writeln!(f, "{name}_bucket{} {count}{}", labels(Some(("le", bound))), exemplar(i))?;
                    }
                    writeln!(f, "{name}_count{} {count}", labels(None))?;
                    writeln!(f, "{name}_sum{} {}", labels(None), Number(histogram.get_sample_sum()))?;
                }
                MetricType::SUMMARY => {
                    let summary = series.get_summary();
                    for quantile in summary.get_quantile() {
                        let extra = Some(("quantile", quantile.quantile()));
                        writeln!(f, "{name}{} {}", labels(extra), Number(quantile.value()))?;
                    }
                    writeln!(f, "{name}_count{} {}", labels(None), summary.sample_count())?;
                    writeln!(f, "{name}_sum{} {}", labels(None), Number(summary.sample_sum()))?;
                }
                MetricType::UNTYPED => {} // refused before
            }
            if let Some(details) = details.filter(|_| self.created) {
                writeln!(f, "{name}_created{} {}", labels(None), Time(details.created))?;
            }
        }
        Ok(())
    }
}

/// Labels in braces, or nothing.
struct Labels<'a> {
    pairs: &'a [LabelPair],
    extra: Option<(&'static str, f64)>,
}

impl Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = '{';
        for pair in self.pairs {
            write!(f, "{separator}{}=\"{}\"", pair.name(), Escaped(pair.value()))?;
            separator = ',';
        }
        if let Some((name, value)) = self.extra {
            write!(f, "{separator}{name}=\"{}\"", Number(value))?;
            separator = ',';
        }
        if separator == ',' { f.write_str("}") } else { Ok(()) }
    }
}

/// An exemplar behind a sample, or nothing.
struct Tail(Option<Exemplar>);

impl Display for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Exemplar { span, value, time }) = self.0 else { return Ok(()) };
        let (trace, span) = (span.trace, span.span);
        write!(f, " # {{trace_id=\"{trace:032x}\",span_id=\"{span:016x}\"}} {} {}", Number(value), Time(time))
    }
}

/// Text with backslashes, line feeds and quotes escaped.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '"' => f.write_str("\\\"")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// A number in the canonical form: a whole number has `.0`.
struct Number(f64);

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == f64::INFINITY {
            f.write_str("+Inf")
        } else if self.0 == f64::NEG_INFINITY {
            f.write_str("-Inf")
        } else {
            write!(f, "{:?}", self.0) // NaN too
        }
    }
}

/// Milliseconds since 1970, as seconds.
struct Time(i64);

impl Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0.div_euclid(1000), self.0.rem_euclid(1000))
    }
}

#[cfg(test)]
mod tests;
