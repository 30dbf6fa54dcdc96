//! What `init` installs, and when it refuses to.

use crate::collector::{Collector, attribute, dead};
use crate::export::{assert_trees, candidates, route};
use crate::process::in_own_process;
use opentelemetry::trace::{TraceContextExt, Tracer};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use tiny_dancer_core::testing::{router, toy_model};
use tiny_dancer_core::{CircuitBreakerConfig, RoutingRequest};
use tiny_dancer_tracing::{
    InitError, RoutingSpan, ShutdownReport, TraceContext, TracingConfig, TracingObserver, TracingSystem,
    fields,
};

#[test]
fn a_router_made_before_init_uses_the_system() {
    in_own_process(module_path!(), "a_router_made_before_init_uses_the_system", &[], || {
        let collector = Collector::start();
        let (router, _) = router(toy_model(), CircuitBreakerConfig::default(), TracingObserver::global());
        let candidates = candidates();
        let request = RoutingRequest::new(&[1.0, 0.0], &candidates);
        router.route(request).unwrap();
        let system = TracingSystem::new(collector.config());
        system.init().unwrap();
        router.route(request).unwrap();
        assert_eq!(system.shutdown().flushed, 7);
        router.route(request).unwrap();
        assert_eq!(assert_trees(&collector.spans(), &[]).len(), 1);
    });
}

#[test]
fn a_second_init_is_an_error_and_the_first_system_continues() {
    in_own_process(module_path!(), "a_second_init_is_an_error_and_the_first_system_continues", &[], || {
        let collector = Collector::start();
        let system = TracingSystem::new(collector.config());
        system.init().unwrap();
        assert!(matches!(system.init(), Err(InitError::SystemInstalled)));
        let other = TracingSystem::new(TracingConfig::default());
        assert!(matches!(other.init(), Err(InitError::SystemInstalled)));
        route(TracingObserver::global(), 1);
        assert_eq!(system.shutdown().flushed, 7);
    });
}

#[test]
fn an_installed_subscriber_stays_and_nothing_else_is_installed() {
    let name = "an_installed_subscriber_stays_and_nothing_else_is_installed";
    in_own_process(module_path!(), name, &[], || {
        tracing::subscriber::set_global_default(tracing_subscriber::registry()).unwrap();
        let collector = Collector::start();
        let system = TracingSystem::new(collector.config());
        assert!(matches!(system.init(), Err(InitError::SubscriberInstalled)));
        assert_eq!(system.counts(), None, "the system runs");
        // Neither our observer nor OpenTelemetry's own tracer has a system.
        route(TracingObserver::global(), 1);
        let global = opentelemetry::global::tracer("a user's");
        global.in_span("a span", |context| assert!(!context.span().span_context().is_valid()));
        assert_eq!(system.shutdown(), ShutdownReport::default());
        assert_eq!(collector.spans().len(), 0);
    });
}

#[test]
fn a_bad_configuration_installs_nothing() {
    in_own_process(module_path!(), "a_bad_configuration_installs_nothing", &[("RUST_LOG", "a=b=c")], || {
        let bad = TracingSystem::new(TracingConfig::default());
        assert!(matches!(bad.init(), Err(InitError::LogFilter { origin: "RUST_LOG", .. })));
        let bad =
            TracingConfig { jaeger_agent_endpoint: Some("localhost:4317".to_owned()), ..Default::default() };
        assert!(TracingSystem::new(bad).init().is_err());
        tracing::subscriber::set_global_default(tracing_subscriber::registry()).unwrap();
    });
}

#[test]
fn the_w3c_propagator_is_installed() {
    in_own_process(module_path!(), "the_w3c_propagator_is_installed", &[], || {
        let system = TracingSystem::new(TracingConfig::default());
        system.init().unwrap();
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let _guard = parent.parse::<TraceContext>().unwrap().attach();
        let mut headers = std::collections::HashMap::<String, String>::new();
        opentelemetry::global::get_text_map_propagator(|propagator| propagator.inject(&mut headers));
        assert_eq!(headers["traceparent"], parent);
    });
}

#[test]
fn names_in_a_program_s_own_pipeline_are_redacted_with_redact_ids() {
    in_own_process(
        module_path!(),
        "names_in_a_program_s_own_pipeline_are_redacted_with_redact_ids",
        &[],
        || {
            let collector = Collector::start();
            let system = TracingSystem::new(TracingConfig { redact_ids: true, ..collector.config() });
            system.init().unwrap();
            RoutingSpan::model_inference("a customer").in_scope(|| ());
            assert_eq!(system.shutdown().flushed, 1);
            let id = Value::StringValue("redacted".to_owned());
            assert_eq!(attribute(&collector.spans()[0], fields::CANDIDATE_ID), Some(&id));
        },
    );
}

#[test]
fn a_system_works_inside_a_runtime_of_one_thread() {
    in_own_process(module_path!(), "a_system_works_inside_a_runtime_of_one_thread", &[], || {
        from_start_to_end(tokio::runtime::Builder::new_current_thread());
    });
}

#[test]
fn a_system_works_inside_a_runtime_of_many_threads() {
    in_own_process(module_path!(), "a_system_works_inside_a_runtime_of_many_threads", &[], || {
        from_start_to_end(tokio::runtime::Builder::new_multi_thread());
    });
}

fn from_start_to_end(mut runtime: tokio::runtime::Builder) {
    let collector = Collector::start();
    let runtime = runtime.enable_all().build().unwrap();
    runtime.block_on(async {
        // On a worker of the runtime, and on the thread that entered it.
        let lent = TracingSystem::new(collector.config());
        let worker = tokio::spawn(async move {
            route(lent.observer().unwrap(), 1);
            lent.shutdown()
        });
        assert_eq!(worker.await.unwrap().flushed, 7);
        let dropped = TracingSystem::new(dead());
        tokio::spawn(async move { route(dropped.observer().unwrap(), 1) }).await.unwrap();

        let system = TracingSystem::new(collector.config());
        system.init().unwrap();
        route(TracingObserver::global(), 1);
        assert_eq!(system.shutdown().flushed, 7);
    });
    assert_eq!(assert_trees(&collector.spans(), &[]).len(), 2);
}

#[test]
fn spans_are_printed_with_enable_stdout() {
    let output = in_own_process(module_path!(), "spans_are_printed_with_enable_stdout", &[], || {
        let system = TracingSystem::new(TracingConfig { enable_stdout: true, ..Default::default() });
        system.init().unwrap();
        route(TracingObserver::global(), 1);
        assert_eq!(system.shutdown().flushed, 5);
    });
    if let Some(output) = output {
        for name in ["routing_request", "circuit_breaker_check", "model_inference"] {
            assert!(output.stdout.contains(name), "{}", output.stdout);
        }
    }
}

#[test]
fn a_dead_collector_is_logged_once_and_losses_when_the_system_is_dropped() {
    let name = "a_dead_collector_is_logged_once_and_losses_when_the_system_is_dropped";
    let output = in_own_process(module_path!(), name, &[], || {
        let system = TracingSystem::new(dead());
        system.init().unwrap();
        // A little more than two batches.
        route(TracingObserver::global(), 160);
    });
    if let Some(output) = output {
        assert_eq!(output.stderr.matches("spans can't be exported").count(), 1, "{}", output.stderr);
        assert!(output.stderr.contains("spans were lost tiny_dancer.spans.lost=1120"), "{}", output.stderr);
        assert!(!output.stderr.contains("opentelemetry"), "{}", output.stderr);
    }
}
