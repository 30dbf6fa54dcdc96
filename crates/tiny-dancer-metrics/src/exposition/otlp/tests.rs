use super::*;
use crate::catalogue::{CATALOGUE, Kind};
use crate::{Exports, MetricsCollector, MetricsConfig, Prices};
use prometheus::TextEncoder;
use std::collections::BTreeMap;
use std::time::Duration;
use tiny_dancer_core::breaker::CircuitBreakerConfig;
use tiny_dancer_core::observer::{
    Detail, MemoryChange, MemoryEvent, MemoryState, Observer, RequestStart, SpanIds,
};
use tiny_dancer_core::testing::candidate;
use tiny_dancer_core::{
    ModelType, Outcome, OutcomeResult, QualityBudget, RiskBudget, Router, RouterConfig, RoutingRequest,
};

/// The value of each series, by its name and labels as in the text format.
type Values = BTreeMap<String, f64>;

/// Reads OpenMetrics or the text format: the values, and the exemplars of OpenMetrics.
fn read(text: &str) -> (Values, BTreeMap<String, String>) {
    let (mut values, mut exemplars) = (Values::new(), BTreeMap::new());
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (sample, exemplar) = line.split_once(" # ").map_or((line, None), |(it, rest)| (it, Some(rest)));
        let (series, value) = sample.rsplit_once(' ').unwrap();
        // One format writes a bound as 1, the other as 1.0.
        let series = match series.split_once("le=\"") {
            Some((before, bound)) => {
                let bound = bound.trim_end_matches("\"}");
                let bound: f64 = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() };
                format!("{before}le=\"{bound}\"}}")
            }
            None => series.to_owned(),
        };
        if let Some(exemplar) = exemplar {
            exemplars.insert(series.clone(), exemplar.to_owned());
        }
        assert!(values.insert(series, value.parse().unwrap()).is_none(), "{line}");
    }
    (values, exemplars)
}

fn series(name: &str, attributes: &[KeyValue], bound: Option<f64>) -> String {
    let text = |attribute: &KeyValue| match &attribute.value.as_ref().unwrap().value {
        Some(AnyValue::StringValue(value)) => format!("{}=\"{value}\"", attribute.key),
        other => panic!("{other:?}"),
    };
    let mut labels: Vec<_> = attributes.iter().map(text).collect();
    labels.extend(bound.map(|bound| format!("le=\"{bound}\"")));
    if labels.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) }
}

/// The same of OTLP metrics. A bucket's count becomes cumulative again.
fn flattened(metrics: &[Metric]) -> Values {
    let mut values = Values::new();
    for Metric { name, data, .. } in metrics {
        match data.as_ref().unwrap() {
            Data::Sum(otlp::Sum { data_points, .. }) | Data::Gauge(otlp::Gauge { data_points }) => {
                for point in data_points {
                    let Some(number_data_point::Value::AsDouble(value)) = point.value else { panic!() };
                    values.insert(series(name, &point.attributes, None), value);
                }
            }
            Data::Histogram(histogram) => {
                for point in &histogram.data_points {
                    let (mut below, of) = (0, |suffix: &str| format!("{name}_{suffix}"));
                    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
                    let bounds = point.explicit_bounds.iter().copied().chain([f64::INFINITY]);
                    for (bound, count) in bounds.zip(&point.bucket_counts) {
                        below += count;
                        values.insert(series(&of("bucket"), &point.attributes, Some(bound)), below as f64);
                    }
                    values.insert(series(&of("count"), &point.attributes, None), point.count as f64);
                    values.insert(series(&of("sum"), &point.attributes, None), point.sum.unwrap());
                }
            }
            other => panic!("{other:?}"),
        }
    }
    values
}

/// An observer whose requests have spans.
struct Recording;

impl Observer for Recording {
    type Request = ();
    type Stage = ();
    type Batch = ();

    fn on_request_start(&self, _: &RequestStart<'_>) {}

    fn detail(&self, (): &()) -> Detail {
        Detail::Unsuccessful
    }

    fn span(&self, (): &()) -> Option<SpanIds> {
        Some(SpanIds { trace: 0xab << 120 | 1, span: 7 })
    }
}

/// A registry in which every family of the catalogue has series, after a few requests.
fn busy() -> (Registry, [Router<(Recording, MetricsCollector)>; 2]) {
    let registry = Registry::new();
    let prices = Some(Prices { lightweight: 0.25, powerful: 3.0, repeated: true });
    let const_labels = vec![("router".to_owned(), "support".to_owned())];
    let config = MetricsConfig { const_labels, prices, ..Default::default() };
    let metrics = MetricsCollector::with_config(&registry, &config).unwrap();
    metrics.watch_spans(|| Some(Exports { dropped: 1, failed: 2, flushed: 3 }));
    metrics.watch_log_records(|| Some(Exports { dropped: 4, failed: 5, flushed: 6 }));
    metrics.watch_metric_points(|| Some(Exports { dropped: 7, failed: 8, flushed: 9 }));
    let config = RouterConfig {
        risk: Some(RiskBudget { alpha: 0.15, delta: 0.05 }),
        circuit_breaker: CircuitBreakerConfig::default(),
        ..Default::default()
    };
    let router = Router::with_observer(config, (Recording, metrics.clone())).unwrap();
    // A budget replaces the test of a promise.
    let config = RouterConfig { budget: Some(QualityBudget::default()), ..Default::default() };
    let budgeted = Router::with_observer(config, (Recording, metrics)).unwrap();
    let candidates = [candidate("near", 0.9, 1.0), candidate("far", 0.1, 0.5)];
    for _ in 0..3 {
        router.route(RoutingRequest::new(&[1.0, 0.0], &candidates)).unwrap();
    }
    router.route(RoutingRequest::new(&[1.0, 0.0], &[])).unwrap();
    router.route(RoutingRequest::new(&[], &[])).unwrap_err();
    router.record_outcome(Outcome::new(ModelType::Lightweight, OutcomeResult::Insufficient));
    router.reload_model().unwrap();
    let mut memory = MemoryState::default();
    (memory.entries, memory.log_entries) = (7, Some(9));
    let change = MemoryChange::Stored { changes: 3, duration: Duration::from_millis(2) };
    router.on_memory(&MemoryEvent::new(memory, change));
    (registry, [router, budgeted])
}

const NOW: i64 = 1_800_000_000_123;

#[test]
fn one_snapshot_has_the_same_values_in_each_encoding_for_every_family_of_the_catalogue() {
    let (registry, _routers) = busy();
    let snapshot = Snapshot::of(&registry);
    let pushed = flattened(&snapshot.otlp(NOW).unwrap());
    let (open, _) = read(&snapshot.open_metrics(false).unwrap());
    let (text, _) = read(&TextEncoder::new().encode_to_string(&snapshot.families).unwrap());
    assert_eq!(pushed, open);
    assert_eq!(pushed, text);
    for family in CATALOGUE {
        let suffix = if matches!(family.kind, Kind::Histogram { .. }) { "_count" } else { "" };
        let name = format!("{}{suffix}{{", family.name);
        assert!(pushed.keys().any(|series| series.starts_with(&name)), "{name}");
    }
    assert!(pushed.values().filter(|value| **value > 0.0).count() > 30, "{pushed:?}");
}

#[test]
fn each_family_keeps_its_name_kind_help_and_unit() {
    let (registry, _routers) = busy();
    let metrics = metrics(&registry).unwrap();
    assert_eq!(metrics.len(), CATALOGUE.len());
    for family in CATALOGUE {
        let metric = metrics.iter().find(|metric| metric.name == family.name).unwrap();
        assert_eq!(metric.description, family.help);
        let cumulative = AggregationTemporality::Cumulative as i32;
        match (family.kind, metric.data.as_ref().unwrap()) {
            (Kind::Counter, Data::Sum(sum)) => {
                assert!(sum.is_monotonic && sum.aggregation_temporality == cumulative, "{metric:?}");
            }
            (Kind::Gauge, Data::Gauge(_)) => {}
            (Kind::Histogram { .. }, Data::Histogram(histogram)) => {
                assert_eq!(histogram.aggregation_temporality, cumulative);
            }
            other => panic!("{other:?}"),
        }
        let suffixes = [("_seconds", "s"), ("_seconds_total", "s"), ("_ratio", "1")];
        let unit = suffixes.into_iter().find(|(suffix, _)| family.name.ends_with(suffix));
        assert_eq!(metric.unit, unit.map_or("", |(_, unit)| unit), "{}", family.name);
    }
}

#[test]
fn counters_and_histograms_have_a_start_time_and_every_point_has_the_time_of_the_snapshot() {
    let (registry, _routers) = busy();
    let snapshot = Snapshot::of(&registry);
    let created = nanoseconds(snapshot.details["tiny_dancer_errors_total"][0].created);
    for metric in snapshot.otlp(NOW).unwrap() {
        let times: Vec<_> = match metric.data.unwrap() {
            Data::Sum(sum) => {
                sum.data_points.iter().map(|it| (it.start_time_unix_nano, it.time_unix_nano)).collect()
            }
            Data::Histogram(histogram) => {
                histogram.data_points.iter().map(|it| (it.start_time_unix_nano, it.time_unix_nano)).collect()
            }
            Data::Gauge(gauge) => {
                // A gauge has no beginning.
                let time = |it: &NumberDataPoint| (it.start_time_unix_nano + created, it.time_unix_nano);
                gauge.data_points.iter().map(time).collect()
            }
            other => panic!("{other:?}"),
        };
        let expected = (created, 1_800_000_000_123_000_000);
        assert!(times.iter().all(|times| *times == expected), "{}: {times:?}", metric.name);
    }
}

#[test]
fn exemplars_are_those_of_openmetrics() {
    let (registry, _routers) = busy();
    let snapshot = Snapshot::of(&registry);
    let (_, expected) = read(&snapshot.open_metrics(false).unwrap());
    let mut found = Vec::new();
    for Metric { data, .. } in snapshot.otlp(NOW).unwrap() {
        match data.unwrap() {
            Data::Sum(sum) => found.extend(sum.data_points.into_iter().flat_map(|it| it.exemplars)),
            Data::Histogram(histogram) => {
                found.extend(histogram.data_points.into_iter().flat_map(|it| it.exemplars));
            }
            _ => {}
        }
    }
    let written = |it: &otlp::Exemplar| {
        let hex = |id: &[u8]| id.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let Some(exemplar::Value::AsDouble(value)) = it.value else { panic!("{it:?}") };
        let (trace, span) = (hex(&it.trace_id), hex(&it.span_id));
        let (seconds, rest) = (it.time_unix_nano / 1_000_000_000, it.time_unix_nano % 1_000_000_000);
        assert!(it.filtered_attributes.is_empty());
        format!("{{trace_id=\"{trace}\",span_id=\"{span}\"}} {value:?} {seconds}.{:03}", rest / 1_000_000)
    };
    let mut found: Vec<_> = found.iter().map(written).collect();
    let mut expected: Vec<_> = expected.into_values().collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert!(found.len() >= 4, "{found:?}");
}

#[test]
fn families_of_other_crates_are_pushed_as_well() {
    let registry = Registry::new();
    let counter = prometheus::Counter::new("work_seconds_total", "Work.").unwrap();
    counter.inc_by(2.5);
    registry.register(Box::new(counter)).unwrap();
    registry.register(Box::new(prometheus::IntGauge::new("size_bytes", "Size.").unwrap())).unwrap();
    let metrics = metrics(&registry).unwrap();
    let units: Vec<_> = metrics.iter().map(|metric| (&*metric.name, &*metric.unit)).collect();
    assert_eq!(units, [("size_bytes", "By"), ("work_seconds_total", "s")]);
    let Some(Data::Sum(sum)) = &metrics[1].data else { panic!("{metrics:?}") };
    assert_eq!(sum.data_points[0].start_time_unix_nano, 0, "the beginning is not known");
}
