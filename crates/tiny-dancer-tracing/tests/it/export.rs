//! The spans that reach a collector, and the losses without one.

use crate::collector::{Collector, attribute, dead, silent, spans_of};
use crate::process::in_own_process;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use std::time::Duration;
use tiny_dancer_core::observer::{Observer, RequestStart, Stage};
use tiny_dancer_core::testing::{candidate, router, toy_model};
use tiny_dancer_core::{Candidate, CircuitBreakerConfig, RoutingRequest};
use tiny_dancer_tracing::{RoutingSpan, TracingConfig, TracingSystem, fields};
use tracing_subscriber::layer::SubscriberExt;

pub(crate) fn candidates() -> [Candidate; 2] {
    [candidate("near", 0.9, 1.0), candidate("nearer", 0.95, 1.0)]
}

/// Routes a request with two candidates `times` times.
pub(crate) fn route(observer: impl Observer, times: usize) {
    let (router, _) = router(toy_model(), CircuitBreakerConfig::default(), observer);
    for _ in 0..times {
        router.route(RoutingRequest::new(&[1.0, 0.0], &candidates())).unwrap();
    }
}

/// Checks that these are whole trees of the five spans, below `parent`, and returns their requests.
pub(crate) fn assert_trees<'a>(spans: &'a [Span], parent: &[u8]) -> Vec<&'a Span> {
    let requests: Vec<&Span> = spans.iter().filter(|span| span.name == RequestStart::NAME).collect();
    for request in &requests {
        assert_eq!(request.parent_span_id, parent);
        let below = spans.iter().filter(|span| span.parent_span_id == request.span_id);
        let mut names: Vec<&str> = below
            .inspect(|span| assert_eq!(span.trace_id, request.trace_id))
            .map(|span| &*span.name)
            .collect();
        names.dedup();
        assert_eq!(names, Stage::ROUTING.map(Stage::name));
    }
    requests
}

#[test]
fn the_five_spans_arrive_nested_and_with_integers_as_integers() {
    let collector = Collector::start();
    let system = TracingSystem::new(collector.config());
    route(system.observer().unwrap(), 1);
    let report = system.shutdown();
    assert_eq!((report.flushed, report.lost(), report.timed_out), (7, 0, false));

    let requests = collector.requests();
    let resource = requests[0].resource_spans[0].resource.as_ref().unwrap();
    let name = resource.attributes.iter().find(|attribute| attribute.key == "service.name").unwrap();
    let name = name.value.as_ref().unwrap().value.as_ref();
    assert_eq!(name, Some(&Value::StringValue("my-service".to_owned())));

    let scope = &requests[0].resource_spans[0].scope_spans[0];
    assert_eq!(scope.spans.len(), 7);
    let root = assert_trees(&scope.spans, &[])[0];
    assert_eq!(root.kind, SpanKind::Internal as i32);
    assert_eq!(attribute(root, fields::CANDIDATES), Some(&Value::IntValue(2)));
    assert_eq!(attribute(root, fields::CONFIDENCE_THRESHOLD), Some(&Value::DoubleValue(0.85)));
    let ranks: Vec<_> =
        scope.spans.iter().filter_map(|span| attribute(span, fields::CANDIDATE_RANK)).collect();
    assert_eq!(ranks, [&Value::IntValue(1), &Value::IntValue(0)]);
}

#[test]
fn each_span_has_the_scope_of_the_code_that_opened_it() {
    let collector = Collector::start();
    let system = TracingSystem::new(collector.config());
    let subscriber = tracing_subscriber::registry().with(system.layer().unwrap());
    let observer = system.observer().unwrap();
    tracing::subscriber::with_default(subscriber, || {
        tracing::info_span!("handle", target = "theirs").in_scope(|| route(observer, 1));
        tracing::info_span!(target: "another", "work").in_scope(|| ());
        RoutingSpan::circuit_breaker_check().in_scope(|| ());
    });
    assert_eq!(system.shutdown().lost(), 0);
    let requests = collector.requests();
    let scopes = requests.iter().flat_map(|request| &request.resource_spans).flat_map(|it| &it.scope_spans);
    let mut found: Vec<(&str, &str, usize)> = scopes
        .map(|spans| (spans.scope.as_ref().unwrap(), spans.spans.len()))
        .map(|(scope, spans)| (&*scope.name, &*scope.version, spans))
        .collect();
    found.sort_unstable();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(found, [("another", "", 1), (module_path!(), "", 1), ("tiny_dancer", version, 8)]);
    let spans = collector_spans(&requests);
    let handle = spans.iter().find(|span| span.name == "handle").unwrap();
    assert_eq!(attribute(handle, "target"), Some(&Value::StringValue("theirs".to_owned())));
}

fn collector_spans(requests: &[ExportTraceServiceRequest]) -> Vec<Span> {
    requests.iter().cloned().flat_map(spans_of).collect()
}

#[test]
fn a_resource_has_the_environment_s_values_unless_the_configuration_sets_them() {
    let name = "a_resource_has_the_environment_s_values_unless_the_configuration_sets_them";
    let attributes_outside = "service.instance.id=theirs,service.version=1,host.name=there";
    in_own_process(module_path!(), name, &[("OTEL_RESOURCE_ATTRIBUTES", attributes_outside)], || {
        let collector = Collector::start();
        let service_version = Some("2".to_owned());
        let system = TracingSystem::new(TracingConfig { service_version, ..collector.config() });
        route(system.observer().unwrap(), 1);
        assert_eq!(system.shutdown().lost(), 0);
        let request = collector.requests().remove(0).resource_spans.remove(0);
        assert!(
            request.schema_url.starts_with("https://opentelemetry.io/schemas/"),
            "{}",
            request.schema_url
        );
        let attributes = request.resource.unwrap().attributes;
        let value = |key: &str| {
            let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
            attribute.value.as_ref()?.value.clone()
        };
        let text = |text: &str| Some(Value::StringValue(text.to_owned()));
        assert_eq!(value("service.instance.id"), text("theirs"));
        assert_eq!(value("service.version"), text("2"));
        assert_eq!(value("host.name"), text("there"));
        assert_eq!(value("process.pid"), Some(Value::IntValue(i64::from(std::process::id()))));
    });
}

#[test]
fn two_systems_in_one_process_keep_their_spans_apart() {
    let (here, there) = (Collector::start(), Collector::start());
    let (one, other) = (TracingSystem::new(here.config()), TracingSystem::new(there.config()));
    std::thread::scope(|scope| {
        scope.spawn(|| route(one.observer().unwrap(), 3));
        scope.spawn(|| route(other.observer().unwrap(), 5));
    });
    assert_eq!((one.shutdown().lost(), other.shutdown().lost()), (0, 0));
    assert_eq!(assert_trees(&here.spans(), &[]).len(), 3);
    assert_eq!(assert_trees(&there.spans(), &[]).len(), 5);
}

#[test]
fn a_program_s_own_pipeline_makes_the_same_tree() {
    let collector = Collector::start();
    let system = TracingSystem::new(collector.config());
    let subscriber = tracing_subscriber::registry().with(system.layer().unwrap());
    tracing::subscriber::with_default(subscriber, || {
        RoutingSpan::routing_request(2).in_scope(|| {
            RoutingSpan::circuit_breaker_check().in_scope(|| ());
            RoutingSpan::feature_engineering(2).in_scope(|| ());
            RoutingSpan::model_inference("near").in_scope(|| ());
            RoutingSpan::model_inference("nearer").in_scope(|| ());
            RoutingSpan::uncertainty_estimation().in_scope(|| ());
        });
    });
    assert_eq!(system.shutdown().flushed, 6);
    let spans = collector.spans();
    let root = assert_trees(&spans, &[])[0];
    assert_eq!(attribute(root, fields::CANDIDATES), Some(&Value::IntValue(2)));
    assert_eq!(attribute(&spans[2], fields::CANDIDATE_ID), Some(&Value::StringValue("near".to_owned())));
    let known = |key: &str| fields::ALL.iter().any(|field| field.key == key);
    assert!(spans.iter().flat_map(|span| &span.attributes).all(|attribute| known(&attribute.key)));
}

#[test]
fn requests_succeed_with_a_dead_collector_and_lost_spans_are_counted() {
    let system = TracingSystem::new(dead());
    route(system.observer().unwrap(), 2);
    let report = system.shutdown();
    assert_eq!((report.flushed, report.dropped, report.failed), (0, 0, 14));
}

#[cfg(feature = "tls")]
#[test]
fn a_collector_without_tls_gets_no_spans_over_https_and_no_second_attempt() {
    let collector = Collector::start();
    let config = collector.config();
    let otlp_endpoint = config.otlp_endpoint.as_ref().map(|endpoint| endpoint.replace("http:", "https:"));
    let system = TracingSystem::new(TracingConfig { otlp_endpoint, ..config });
    route(system.observer().unwrap(), 1);
    assert_eq!(system.shutdown().failed, 7);
    assert_eq!(collector.spans().len(), 0);
}

#[test]
fn requests_succeed_with_a_silent_collector_and_the_shutdown_ends_at_its_deadline() {
    let (_listener, config) = silent();
    let system = TracingSystem::new(TracingConfig { shutdown_timeout: Duration::from_millis(50), ..config });
    // Some 7,000 spans: three times what the queue holds.
    route(system.observer().unwrap(), 1_000);
    let report = system.shutdown();
    assert_eq!((report.flushed, report.lost(), report.timed_out), (0, 7_000, true));
}

#[test]
fn dropping_a_system_exports_the_remaining_spans() {
    let collector = Collector::start();
    let system = TracingSystem::new(collector.config());
    route(system.observer().unwrap(), 1);
    drop(system);
    assert_eq!(collector.spans().len(), 7);
}
