//! The families of a registry as OTLP metrics, for a program that pushes them to a collector.
//!
//! They come from the same snapshot as the text formats: the same families, names, values and exemplars. Names and units
//! follow OpenTelemetry's specification of the [compatibility with Prometheus]:
//!
//! | Prometheus | OTLP |
//! | --- | --- |
//! | name | the same name, suffixes such as `_total` and `_seconds` included |
//! | help | description |
//! | suffix `_seconds`, `_bytes`, `_ratio` | unit `s`, `By`, `1`; otherwise no unit |
//! | counter | sum, cumulative and monotonic |
//! | gauge | gauge |
//! | histogram | histogram with explicit bounds, cumulative in time; each bucket counts only its own observations |
//! | summary | summary |
//! | label | attribute, a string |
//! | `_created` | `start_time_unix_nano`; 0, unknown, for families of other crates |
//! | exemplar | exemplar with `trace_id`, `span_id` and time |
//!
//! A gauge of another unit has none, because Prometheus appends `_ratio` to the name of a gauge with the unit `1`.
//!
//! ```
//! use tiny_dancer_metrics::prometheus::Registry;
//! use tiny_dancer_metrics::{MetricsCollector, otlp};
//!
//! let registry = Registry::new();
//! let _metrics = MetricsCollector::with_registry(&registry)?;
//! let metrics = otlp::metrics(&registry)?;
//! let latency = metrics.iter().find(|metric| metric.name == "tiny_dancer_routing_latency_seconds").unwrap();
//! assert_eq!(latency.unit, "s");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [compatibility with Prometheus]: https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/

use super::{Details, Snapshot, buckets, of_series, unit, values};
use crate::error::ExportError;
use crate::exemplars::Exemplar;
/// The version of the crate whose types this module uses.
pub use opentelemetry_proto;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::common::v1::{self as common, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    self as otlp, AggregationTemporality, HistogramDataPoint, Metric, NumberDataPoint, SummaryDataPoint,
    exemplar, number_data_point,
};
use prometheus::Registry;
use prometheus::proto::{self, LabelPair, MetricFamily, MetricType};
use tiny_dancer_core::Clock;

/// All families of a registry.
///
/// # Errors
/// If a family of another crate's collector cannot be read.
pub fn metrics(registry: &Registry) -> Result<Vec<Metric>, ExportError> {
    Snapshot::of(registry).otlp(Clock::system().unix_milliseconds())
}

/// A function that returns [`metrics`], for `TracingSystem::push_metrics` of the crate `tiny-dancer-tracing`.
pub fn source(registry: &Registry) -> impl Fn() -> Result<Vec<Metric>, ExportError> + Send + Sync + 'static {
    let registry = registry.clone();
    move || metrics(&registry)
}

impl Snapshot {
    /// The families at a time in milliseconds since 1970.
    pub(super) fn otlp(&self, now: i64) -> Result<Vec<Metric>, ExportError> {
        let families = self.families.iter().filter(|family| !family.get_metric().is_empty());
        families
            .map(|family| {
                Ok(Metric {
                    name: family.name().to_owned(),
                    description: family.help().to_owned(),
                    unit: ucum(family.name()).to_owned(),
                    metadata: Vec::new(),
                    data: Some(data(family, self.details(family), now)?),
                })
            })
            .collect()
    }
}

/// The unit that a name ends with, in the notation of OTLP.
fn ucum(name: &str) -> &'static str {
    let name = name.strip_suffix("_total").unwrap_or(name);
    match unit(name) {
        Some("seconds") => "s",
        Some("bytes") => "By",
        _ if name.ends_with("_ratio") => "1",
        _ => "",
    }
}

fn data(family: &MetricFamily, details: &[Details], now: i64) -> Result<Data, ExportError> {
    let cumulative = AggregationTemporality::Cumulative.into();
    let values = values(family)?;
    let series = || family.get_metric().iter().map(|series| Series::new(series, details, now));
    let numbers = || series().zip(values).map(|(series, value)| series.number(value)).collect();
    Ok(match family.get_field_type() {
        MetricType::COUNTER => Data::Sum(otlp::Sum {
            data_points: numbers(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        MetricType::HISTOGRAM => Data::Histogram(otlp::Histogram {
            data_points: series().map(Series::histogram).collect(),
            aggregation_temporality: cumulative,
        }),
        MetricType::SUMMARY => {
            Data::Summary(otlp::Summary { data_points: series().map(Series::summary).collect() })
        }
        // `values` refuses untyped families.
        MetricType::GAUGE | MetricType::UNTYPED => Data::Gauge(otlp::Gauge { data_points: numbers() }),
    })
}

/// A series of a family.
struct Series<'a> {
    metric: &'a proto::Metric,
    details: Option<&'a Details>,
    attributes: Vec<KeyValue>,
    start_time_unix_nano: u64,
    time_unix_nano: u64,
}

impl<'a> Series<'a> {
    fn new(metric: &'a proto::Metric, details: &'a [Details], now: i64) -> Self {
        let details = of_series(details, metric);
        let time = if metric.timestamp_ms() == 0 { now } else { metric.timestamp_ms() };
        Self {
            metric,
            details,
            attributes: metric.get_label().iter().map(attribute).collect(),
            start_time_unix_nano: details.map_or(0, |details| nanoseconds(details.created)),
            time_unix_nano: nanoseconds(time),
        }
    }

    fn exemplars(&self) -> Vec<otlp::Exemplar> {
        let all = self.details.map_or(&[][..], |details| &details.exemplars);
        all.iter().flatten().map(exemplar).collect()
    }

    /// The point of a counter or a gauge.
    fn number(self, value: f64) -> NumberDataPoint {
        NumberDataPoint {
            exemplars: self.exemplars(),
            attributes: self.attributes,
            start_time_unix_nano: self.start_time_unix_nano,
            time_unix_nano: self.time_unix_nano,
            flags: 0,
            value: Some(number_data_point::Value::AsDouble(value)),
        }
    }

    fn histogram(self) -> HistogramDataPoint {
        let histogram = self.metric.get_histogram();
        let buckets = buckets(histogram);
        let below = std::iter::once(0).chain(buckets.iter().map(|(_, count)| *count));
        HistogramDataPoint {
            exemplars: self.exemplars(),
            attributes: self.attributes,
            start_time_unix_nano: self.start_time_unix_nano,
            time_unix_nano: self.time_unix_nano,
            count: histogram.get_sample_count(),
            sum: Some(histogram.get_sample_sum()),
            bucket_counts: buckets
                .iter()
                .zip(below)
                .map(|((_, count), below)| count.saturating_sub(below))
                .collect(),
            // The last bound is infinity, which OTLP implies.
            explicit_bounds: buckets[..buckets.len() - 1].iter().map(|(bound, _)| *bound).collect(),
            flags: 0,
            min: None,
            max: None,
        }
    }

    fn summary(self) -> SummaryDataPoint {
        let summary = self.metric.get_summary();
        let value = |it: &proto::Quantile| ValueAtQuantile { quantile: it.quantile(), value: it.value() };
        SummaryDataPoint {
            attributes: self.attributes,
            start_time_unix_nano: self.start_time_unix_nano,
            time_unix_nano: self.time_unix_nano,
            count: summary.sample_count(),
            sum: summary.sample_sum(),
            quantile_values: summary.get_quantile().iter().map(value).collect(),
            flags: 0,
        }
    }
}

fn exemplar(exemplar: &Exemplar) -> otlp::Exemplar {
    otlp::Exemplar {
        filtered_attributes: Vec::new(),
        time_unix_nano: nanoseconds(exemplar.time),
        span_id: exemplar.span.span.to_be_bytes().to_vec(),
        trace_id: exemplar.span.trace.to_be_bytes().to_vec(),
        value: Some(exemplar::Value::AsDouble(exemplar.value)),
    }
}

fn attribute(label: &LabelPair) -> KeyValue {
    let value = common::AnyValue { value: Some(AnyValue::StringValue(label.value().to_owned())) };
    KeyValue { key: label.name().to_owned(), value: Some(value), ..Default::default() }
}

fn nanoseconds(milliseconds: i64) -> u64 {
    u64::try_from(milliseconds).unwrap_or(0).saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests;
