//! The lines on the standard error.

use crate::collector::Collector;
use crate::export::route;
use crate::process::{Output, in_own_process};
use opentelemetry_proto::tonic::trace::v1::Span;
use tiny_dancer_core::testing::{broken_model, candidate, router};
use tiny_dancer_core::{CircuitBreakerConfig, RoutingRequest};
use tiny_dancer_tracing::{LogFormat, TracingConfig, TracingObserver, TracingSystem};

/// The variable with the address of the parent process's collector.
const ENDPOINT: &str = "TINY_DANCER_TEST_ENDPOINT";

fn run(name: &str, rust_log: &str, config: TracingConfig, body: fn()) -> Option<(Output, Vec<Span>)> {
    let collector = Collector::start();
    let endpoint = collector.config().otlp_endpoint.unwrap();
    let output =
        in_own_process(module_path!(), name, &[("RUST_LOG", rust_log), (ENDPOINT, &endpoint)], || {
            let otlp_endpoint = std::env::var(ENDPOINT).ok();
            let system = TracingSystem::new(TracingConfig { otlp_endpoint, ..config });
            system.init().unwrap();
            body();
            assert_eq!(system.shutdown().lost(), 0);
        })?;
    Some((output, collector.spans()))
}

fn fail() {
    let (router, _) = router(broken_model(), CircuitBreakerConfig::default(), TracingObserver::global());
    router.route(RoutingRequest::new(&[1.0, 0.0], &[candidate("a", 0.9, 1.0)])).unwrap_err();
}

fn hex(bytes: &[u8]) -> String {
    let number = bytes.iter().fold(0, |number: u128, byte| number << 8 | u128::from(*byte));
    format!("{number:0width$x}", width = 2 * bytes.len())
}

#[test]
fn rust_log_filters_lines_and_never_spans() {
    let name = "rust_log_filters_lines_and_never_spans";
    let body = || route(TracingObserver::global(), 1);
    if let Some((output, spans)) = run(name, "error", TracingConfig::default(), body) {
        assert_eq!(spans.len(), 5);
        assert!(!output.stderr.contains("tiny_dancer"), "{}", output.stderr);
    }
}

#[test]
fn rust_log_can_enable_a_line_a_request_and_a_line_a_candidate() {
    let name = "rust_log_can_enable_a_line_a_request_and_a_line_a_candidate";
    let body = || route(TracingObserver::global(), 1);
    if let Some((output, _)) = run(name, "tiny_dancer=trace", TracingConfig::default(), body) {
        assert_eq!(output.stderr.matches("DEBUG tiny_dancer: request decided").count(), 1);
        assert_eq!(output.stderr.matches("TRACE tiny_dancer: candidate").count(), 2);
    }
}

#[test]
fn the_first_lines_say_where_spans_go_and_how_requests_are_decided() {
    let name = "the_first_lines_say_where_spans_go_and_how_requests_are_decided";
    let config = TracingConfig { sampling_ratio: 0.25, ..Default::default() };
    let body = || route(TracingObserver::global(), 1);
    if let Some((output, _)) = run(name, "", config, body) {
        let line = |message: &str| output.stderr.lines().find(|line| line.contains(message)).unwrap();
        let (tracing, router) = (line("tracing started"), line("router started"));
        let common = ["tiny_dancer.endpoint=\"http://127.0.0.1:", "tiny_dancer.sampling_ratio=0.25"];
        let own = ["confidence_threshold=0.85", "max_uncertainty=0.15", "model.version=", "kernel="];
        for field in common {
            assert!(tracing.contains(field) && router.contains(field), "{field}: {tracing} {router}");
        }
        assert!(own.iter().all(|field| router.contains(field)), "{router}");
    }
}

#[test]
fn an_unsampled_request_still_logs_its_error() {
    let name = "an_unsampled_request_still_logs_its_error";
    let config = TracingConfig { sampling_ratio: 0.0, ..Default::default() };
    if let Some((output, spans)) = run(name, "", config, fail) {
        assert_eq!(spans.len(), 0);
        assert!(output.stderr.contains("ERROR tiny_dancer: inference failed"), "{}", output.stderr);
        assert!(!output.stderr.contains("trace_id"), "{}", output.stderr);
    }
}

#[test]
fn a_text_line_carries_the_ids_that_the_collector_gets() {
    let name = "a_text_line_carries_the_ids_that_the_collector_gets";
    if let Some((output, spans)) = run(name, "", TracingConfig::default(), fail) {
        let root = spans.iter().find(|span| span.name == "routing_request").unwrap();
        let ids = format!("trace_id={} span_id={}", hex(&root.trace_id), hex(&root.span_id));
        let line = output.stderr.lines().find(|line| line.contains("inference failed")).unwrap();
        assert!(line.ends_with(&ids), "{line}");
    }
}

#[test]
fn a_json_line_carries_the_ids_that_the_collector_gets() {
    let name = "a_json_line_carries_the_ids_that_the_collector_gets";
    let config = TracingConfig { log_format: LogFormat::Json, ..Default::default() };
    if let Some((output, spans)) = run(name, "", config, fail) {
        let root = spans.iter().find(|span| span.name == "routing_request").unwrap();
        let objects = output.stderr.lines().filter(|line| line.starts_with('{'));
        let mut objects = objects.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let line = objects.find(|line| line["message"] == "inference failed").unwrap();
        assert_eq!(line["trace_id"].as_str(), Some(&*hex(&root.trace_id)));
        assert_eq!(line["span_id"].as_str(), Some(&*hex(&root.span_id)));
    }
}
