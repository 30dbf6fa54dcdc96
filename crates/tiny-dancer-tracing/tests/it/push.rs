//! Metrics and log records, as a collector receives them.

use crate::collector::{Collector, dead, silent};
use crate::export::route;
use crate::process::in_own_process;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{Gauge, Metric, NumberDataPoint};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tiny_dancer_core::testing::{broken_model, candidate, router};
use tiny_dancer_core::{CircuitBreakerConfig, RoutingRequest};
use tiny_dancer_tracing::{
    ExportCounts, InitError, LogFormat, TracingConfig, TracingObserver, TracingSystem, fields,
};
use tracing_subscriber::layer::SubscriberExt;

/// A gauge of one point.
fn gauge(value: f64) -> Metric {
    let point = NumberDataPoint { value: Some(Number::AsDouble(value)), ..Default::default() };
    let data = Some(Data::Gauge(Gauge { data_points: vec![point] }));
    Metric { name: "load".to_owned(), data, ..Default::default() }
}

/// A source whose gauge is the number of its calls.
fn calls() -> (Arc<AtomicU64>, impl Fn() -> Result<Vec<Metric>, io::Error> + Send + Sync) {
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    (calls, move || Ok(vec![gauge(counted.fetch_add(1, Ordering::SeqCst) as f64)]))
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    match attribute(attributes, key)? {
        Value::StringValue(text) => Some(text),
        other => panic!("{key} is {other:?}"),
    }
}

fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    attribute.value.as_ref()?.value.as_ref()
}

/// The scopes and the records of exports.
fn records(exports: Vec<ExportLogsServiceRequest>) -> Vec<(InstrumentationScope, LogRecord)> {
    let resources = exports.into_iter().flat_map(|export| export.resource_logs);
    let scopes = resources.flat_map(|resource| resource.scope_logs);
    scopes
        .flat_map(|logs| {
            let scope = logs.scope.unwrap();
            logs.log_records.into_iter().map(move |record| (scope.clone(), record))
        })
        .collect()
}

fn received_records(collector: &Collector) -> Vec<(InstrumentationScope, LogRecord)> {
    records(collector.logs.try_iter().map(|received| received.request).collect())
}

fn body(record: &LogRecord) -> &str {
    match record.body.as_ref().unwrap().value.as_ref().unwrap() {
        Value::StringValue(text) => text,
        other => panic!("{other:?}"),
    }
}

/// A system that exports log records, and a subscriber with its layers.
fn logging(config: TracingConfig) -> (TracingSystem, impl tracing::Subscriber + Send + Sync) {
    let system = TracingSystem::new(TracingConfig { otlp_logs: true, ..config });
    let layers = tracing_subscriber::registry().with(system.layer().unwrap());
    let subscriber = layers.with(system.log_layer().unwrap());
    (system, subscriber)
}

fn fail_a_request(observer: TracingObserver) {
    let (router, _) = router(broken_model(), CircuitBreakerConfig::default(), observer);
    router.route(RoutingRequest::new(&[1.0, 0.0], &[candidate("a", 0.9, 1.0)])).unwrap_err();
}

/// The attributes of a resource, by their keys.
fn described(resource: Option<&Resource>) -> BTreeMap<&str, &KeyValue> {
    let attributes = resource.unwrap().attributes.iter();
    attributes.map(|attribute| (&*attribute.key, attribute)).collect()
}

#[test]
fn the_last_metrics_arrive_at_the_shutdown_with_the_resource_and_the_scope_of_spans() {
    let collector = Collector::start();
    let system = TracingSystem::new(TracingConfig { otlp_metrics: true, ..collector.config() });
    route(system.observer().unwrap(), 1);
    system.push_metrics(|| Ok::<_, io::Error>(vec![gauge(0.5), gauge(1.5)]));
    system.push_metrics(|| Ok::<_, io::Error>(vec![gauge(2.5)]));
    let report = system.shutdown();
    let points = report.metric_points.unwrap();
    assert_eq!((points.made, points.flushed, points.failed), (3, 3, 0));
    assert!(report.to_string().ends_with("; 3 metric points flushed, 0 dropped, 0 failed"), "{report}");
    let export = collector.metrics.recv().unwrap().request;
    let [of_metrics] = &export.resource_metrics[..] else { panic!("{export:?}") };
    let of_spans = &collector.requests()[0].resource_spans[0];
    assert_eq!(described(of_metrics.resource.as_ref()), described(of_spans.resource.as_ref()));
    assert_eq!(of_metrics.schema_url, of_spans.schema_url);
    let [scope_metrics] = &of_metrics.scope_metrics[..] else { panic!("{of_metrics:?}") };
    assert_eq!(scope_metrics.scope, of_spans.scope_spans[0].scope);
    assert_eq!(scope_metrics.metrics, [gauge(0.5), gauge(1.5), gauge(2.5)]);
    assert!(collector.metrics.try_recv().is_err(), "one shutdown sends once");
}

#[test]
fn metrics_are_pushed_at_each_interval_and_each_push_is_a_new_snapshot() {
    let name = "metrics_are_pushed_at_each_interval_and_each_push_is_a_new_snapshot";
    in_own_process(module_path!(), name, &[("OTEL_METRIC_EXPORT_INTERVAL", "1")], || {
        let collector = Collector::start();
        let system = TracingSystem::new(TracingConfig { otlp_metrics: true, ..collector.config() });
        let (_, source) = calls();
        system.push_metrics(source);
        system.init().unwrap();
        for number in 0..3 {
            let export = collector.metrics.recv().unwrap().request;
            let metric = &export.resource_metrics[0].scope_metrics[0].metrics[0];
            assert_eq!(*metric, gauge(f64::from(number)));
        }
        assert!(system.shutdown().metric_points.unwrap().flushed >= 3);
    });
}

#[test]
fn points_that_a_collector_refuses_are_counted_as_failed() {
    let partial_success =
        Some(ExportTracePartialSuccess { rejected_spans: 2, error_message: "too old".to_owned() });
    let collector = Collector::answering(ExportTraceServiceResponse { partial_success }.encode_to_vec());
    let system = TracingSystem::new(TracingConfig { otlp_metrics: true, ..collector.config() });
    system.push_metrics(|| Ok::<_, io::Error>(vec![gauge(1.0); 5]));
    system.observer().unwrap();
    let points = system.shutdown().metric_points.unwrap();
    assert_eq!((points.flushed, points.failed), (3, 2));
}

#[test]
fn a_source_that_fails_is_logged_and_sends_nothing() {
    let name = "a_source_that_fails_is_logged_and_sends_nothing";
    let output = in_own_process(module_path!(), name, &[], || {
        let collector = Collector::start();
        let system = TracingSystem::new(TracingConfig { otlp_metrics: true, ..collector.config() });
        system.push_metrics(|| Err(io::Error::other("no snapshot")));
        system.init().unwrap();
        assert_eq!(system.shutdown().metric_points, Some(ExportCounts::default()));
        assert!(collector.metrics.try_recv().is_err());
    });
    if let Some(output) = output {
        let line = output.stderr.lines().find(|line| line.contains("metrics can't be exported")).unwrap();
        assert!(line.contains("no snapshot"), "{line}");
    }
}

#[test]
fn without_a_push_a_source_is_never_called_and_nothing_but_spans_arrives() {
    let collector = Collector::start();
    let system = TracingSystem::new(collector.config());
    let (calls, source) = calls();
    system.push_metrics(source);
    assert!(system.log_layer::<tracing_subscriber::Registry>().unwrap().is_none());
    route(system.observer().unwrap(), 1);
    let report = system.shutdown();
    assert_eq!((report.log_records, report.metric_points), (None, None));
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    assert!(collector.metrics.try_recv().is_err() && collector.logs.try_recv().is_err());
    assert!(!collector.received().is_empty());
}

#[test]
fn a_line_arrives_as_a_record_with_the_ids_of_its_span_and_typed_attributes() {
    let collector = Collector::start();
    let (system, subscriber) = logging(collector.config());
    tracing::subscriber::with_default(subscriber, || fail_a_request(system.observer().unwrap()));
    let report = system.shutdown();
    assert_eq!(report.lost(), 0, "{report}");
    let spans = collector.requests();
    let request = spans.iter().flat_map(|export| export.resource_spans.clone());
    let request = request.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans);
    let request = request.into_iter().find(|span| span.name == "routing_request").unwrap();

    let exports: Vec<_> = collector.logs.try_iter().map(|received| received.request).collect();
    let (of_logs, of_spans) = (&exports[0].resource_logs[0], &spans[0].resource_spans[0]);
    assert_eq!(described(of_logs.resource.as_ref()), described(of_spans.resource.as_ref()));
    assert_eq!(of_logs.schema_url, of_spans.schema_url);
    let records = records(exports);
    assert_eq!(report.log_records.unwrap().flushed, records.len() as u64);
    let (scope, record) = records.iter().find(|(_, record)| body(record) == "inference failed").unwrap();
    assert_eq!((&*scope.name, &*scope.version), ("tiny_dancer", env!("CARGO_PKG_VERSION")));
    assert_eq!(Some(scope), spans[0].resource_spans[0].scope_spans[0].scope.as_ref());
    assert_eq!((record.severity_number(), &*record.severity_text), (SeverityNumber::Error, "ERROR"));
    assert_eq!(record.event_name, "tiny_dancer.inference_failed");
    assert_eq!((&record.trace_id, &record.span_id, record.flags), (&request.trace_id, &request.span_id, 1));
    assert!(record.time_unix_nano > 1_700_000_000_000_000_000);
    assert_eq!(record.time_unix_nano, record.observed_time_unix_nano);
    assert_eq!(text(&record.attributes, fields::ERROR_TYPE), Some("non_finite_output"));
    assert_eq!(attribute(&record.attributes, fields::CANDIDATES), Some(&Value::IntValue(1)));
    let (_, started) = records.iter().find(|(_, record)| body(record) == "router started").unwrap();
    assert!(started.trace_id.is_empty() && started.span_id.is_empty() && started.flags == 0);
    let threshold = attribute(&started.attributes, fields::CONFIDENCE_THRESHOLD);
    assert_eq!(threshold, Some(&Value::DoubleValue(0.85)));
}

#[test]
fn a_program_s_own_lines_are_records_of_the_scope_of_their_target() {
    let collector = Collector::start();
    let (system, subscriber) = logging(collector.config());
    tracing::subscriber::with_default(subscriber, || {
        tracing::warn!(name: "order.late", target: "shop", big = u64::MAX, small = 7_u64, paid = true, "late");
        tracing::error!(target: "hyper_util::client", "the client's own line");
        tracing::debug!(target: "shop", "left out by log_filter");
    });
    system.shutdown();
    let records = received_records(&collector);
    let [(scope, record)] = &records[..] else { panic!("{records:?}") };
    assert_eq!((&*scope.name, &*record.event_name, body(record)), ("shop", "order.late", "late"));
    let values = ["big", "small", "paid"].map(|key| attribute(&record.attributes, key).unwrap().clone());
    let big = Value::StringValue(u64::MAX.to_string());
    assert_eq!(values, [big, Value::IntValue(7), Value::BoolValue(true)]);
}

#[test]
fn records_contain_no_embedding_at_any_level() {
    let collector = Collector::start();
    let log_filter = "trace".to_owned();
    let (system, subscriber) = logging(TracingConfig { log_filter, ..collector.config() });
    tracing::subscriber::with_default(subscriber, || route(system.observer().unwrap(), 3));
    assert_eq!(system.shutdown().lost(), 0);
    let records = received_records(&collector);
    let listed = |record: &LogRecord| {
        let line = fields::LINES.iter().find(|line| line.message == body(record)).unwrap();
        record.attributes.iter().all(|attribute| line.fields.contains(&&*attribute.key))
    };
    assert!(records.iter().all(|(_, record)| listed(record)), "{records:?}");
    assert!(records.iter().any(|(_, record)| record.event_name == "tiny_dancer.candidate"));
    assert!(records.iter().any(|(_, record)| record.event_name == "tiny_dancer.request_decided"));
}

#[test]
fn a_full_queue_drops_records_and_counts_them() {
    let name = "a_full_queue_drops_records_and_counts_them";
    in_own_process(module_path!(), name, &[("OTEL_BLRP_MAX_QUEUE_SIZE", "10")], || {
        let (_listener, config) = silent();
        let config = TracingConfig { shutdown_timeout: Duration::from_millis(50), ..config };
        let (system, subscriber) = logging(config);
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..1_000 {
                tracing::info!(number, "a line");
            }
        });
        let records = system.observer().unwrap().log_record_counts().unwrap();
        assert!(records.waiting <= 10 && records.dropped >= 980, "{records:?}");
        let report = system.shutdown();
        let ExportCounts { made, flushed, dropped, failed, .. } = report.log_records.unwrap();
        assert_eq!((made, flushed, dropped + failed), (1_000, 0, 1_000));
        assert_eq!(report.lost(), 1_000);
        assert!(report.timed_out);
    });
}

#[test]
fn the_failure_of_the_exports_of_records_is_a_line_and_no_record() {
    let name = "the_failure_of_the_exports_of_records_is_a_line_and_no_record";
    let output = in_own_process(module_path!(), name, &[("RUST_LOG", "trace")], || {
        let system = TracingSystem::new(TracingConfig { otlp_logs: true, ..dead() });
        system.init().unwrap();
        tracing::info!(target: "shop", "a line");
        let report = system.shutdown();
        // The start of the system, and the line.
        assert_eq!(report.log_records.unwrap().made, 2, "{report}");
    });
    if let Some(output) = output {
        assert_eq!(output.stderr.matches("log records can't be exported").count(), 1, "{}", output.stderr);
    }
}

#[test]
fn init_exports_the_lines_of_the_filter_also_without_lines_on_the_standard_error() {
    let name = "init_exports_the_lines_of_the_filter_also_without_lines_on_the_standard_error";
    let output = in_own_process(module_path!(), name, &[("RUST_LOG", "shop=debug,tiny_dancer=off")], || {
        let collector = Collector::start();
        let config = TracingConfig { otlp_logs: true, log_format: LogFormat::Off, ..collector.config() };
        let system = TracingSystem::new(config);
        system.init().unwrap();
        tracing::debug!(target: "shop", "a line");
        tracing::info!("left out");
        assert_eq!(system.shutdown().log_records.unwrap().flushed, 1);
        tracing::debug!(target: "shop", "after the end");
        let records = received_records(&collector);
        assert_eq!(records.iter().map(|(_, record)| body(record)).collect::<Vec<_>>(), ["a line"]);
    });
    if let Some(output) = output {
        assert!(!output.stderr.contains("a line"), "{}", output.stderr);
    }
}

#[test]
fn the_environment_alone_exports_both() {
    let collector = Collector::start();
    let compression = if cfg!(feature = "gzip") { "gzip" } else { "none" };
    let variables = [
        ("OTEL_METRICS_EXPORTER", "otlp"),
        ("OTEL_LOGS_EXPORTER", "otlp,console"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.endpoint()),
        ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "x-tenant=logs"),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", compression),
        ("OTEL_SERVICE_NAME", "shop"),
    ];
    let name = "the_environment_alone_exports_both";
    let output = in_own_process(module_path!(), name, &variables, || {
        let system = TracingSystem::new(TracingConfig {
            shutdown_timeout: Duration::from_secs(120),
            ..Default::default()
        });
        system.push_metrics(|| Ok::<_, io::Error>(vec![gauge(1.0)]));
        system.init().unwrap();
        tracing::info!("a line");
        assert_eq!(system.shutdown().lost(), 0);
    });
    if output.is_some() {
        let metrics = collector.metrics.try_recv().unwrap();
        let encoding = metrics.headers.get("content-encoding").map(axum::http::HeaderValue::as_bytes);
        assert_eq!(encoding, cfg!(feature = "gzip").then_some(&b"gzip"[..]));
        assert!(!metrics.headers.contains_key("x-tenant"));
        let resource = metrics.request.resource_metrics[0].resource.as_ref().unwrap();
        assert_eq!(text(&resource.attributes, "service.name"), Some("shop"));
        let logs = collector.logs.try_recv().unwrap();
        assert_eq!(logs.headers["x-tenant"], "logs");
        let records = records(vec![logs.request]);
        assert!(records.iter().any(|(_, record)| body(record) == "a line"), "{records:?}");
    }
}

#[test]
fn an_overloaded_collector_gets_the_metrics_and_the_records_of_a_shutdown_later() {
    let collector = Collector::start();
    collector.answer(503);
    let (system, subscriber) = logging(TracingConfig { otlp_metrics: true, ..collector.config() });
    system.push_metrics(|| Ok::<_, io::Error>(vec![gauge(1.0)]));
    tracing::subscriber::with_default(subscriber, || tracing::info!("a line"));
    let ending = std::thread::spawn(move || system.shutdown());
    collector.metrics.recv().unwrap();
    collector.logs.recv().unwrap();
    collector.answer(200);
    let report = ending.join().unwrap();
    assert_eq!(report.lost(), 0, "{report}");
    assert_eq!(report.metric_points.unwrap().flushed, 1);
    assert_eq!(report.log_records.unwrap().flushed, 1);
}

#[test]
fn the_address_of_metrics_follows_from_that_of_spans_or_is_an_error() {
    let start = |endpoint: &str| {
        let otlp_endpoint = Some(endpoint.to_owned());
        let system =
            TracingSystem::new(TracingConfig { otlp_endpoint, otlp_metrics: true, ..Default::default() });
        system.observer().map(drop)
    };
    let error = start("http://collector/tenant/spans").unwrap_err();
    assert!(matches!(error, InitError::OtlpPath { .. }), "{error}");
    assert!(error.to_string().contains("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"), "{error}");
}
