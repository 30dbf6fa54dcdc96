//! Routers with a registry, labels, a collector and a tracing system of the user.

use crate::Decisions;
use prometheus::{IntCounter, Registry};
use std::error::Error;
use std::sync::atomic::Ordering;
use tiny_dancer::{
    BuildError, MetricsCollector, MetricsConfig, Prices, RegisterError, Router, RouterConfig, RoutingRequest,
};

fn fallback(router: &Router<impl tiny_dancer::Observer>) {
    router.route(RoutingRequest::new(&[1.0, 0.0], &[])).unwrap();
}

#[test]
fn the_families_are_in_the_given_registry_with_the_labels_and_not_in_the_default_registry() {
    let registry = Registry::new();
    let router = Router::builder(RouterConfig::default())
        .registry(&registry)
        .label("router", "support")
        .label("zone", "a")
        .observer(Decisions::default())
        .build()
        .unwrap();
    fallback(&router);
    let text = router.export_metrics().unwrap();
    let series = r#"tiny_dancer_routing_requests_total{router="support",status="fallback",zone="a"} 1"#;
    assert!(text.contains(series), "{text}");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    assert!(
        samples.clone().count() > 100 && samples.clone().all(|line| line.contains(r#"router="support""#))
    );
    assert_eq!(router.observer().0.load(Ordering::Relaxed), 1, "the user's observer is notified");
    let default = prometheus::TextEncoder::new().encode_to_string(&prometheus::gather()).unwrap();
    assert!(!default.contains("support"));
}

#[test]
fn labels_distinguish_routers_on_one_registry() {
    let registry = Registry::new();
    let router = |name| {
        Router::builder(RouterConfig::default()).registry(&registry).label("router", name).build().unwrap()
    };
    let (blue, _green) = (router("blue"), router("green"));
    fallback(&blue);
    let text = blue.export_metrics().unwrap();
    for (name, count) in [("blue", 1), ("green", 0)] {
        let series =
            format!(r#"tiny_dancer_routing_requests_total{{router="{name}",status="fallback"}} {count}"#);
        assert!(text.contains(&series), "{text}");
    }
}

#[test]
fn an_invalid_label_is_refused_by_name() {
    for name in ["", "1st", "le", "__name__", "status", "two words"] {
        let error =
            Router::builder(RouterConfig::default()).registry(&Registry::new()).label(name, "x").build();
        match error.unwrap_err() {
            BuildError::Metrics(RegisterError::ConstLabel { name: named, .. }) => assert_eq!(named, name),
            other => panic!("{name:?}: {other}"),
        }
    }
}

#[test]
fn a_refused_configuration_leaves_the_registry_unchanged() {
    let registry = Registry::new();
    let config = RouterConfig { confidence_threshold: 85.0, ..Default::default() };
    Router::builder(config).registry(&registry).build().unwrap_err();
    Router::builder(RouterConfig::default()).registry(&registry).build().unwrap();
}

#[test]
fn a_second_router_with_the_same_labels_is_refused_by_family() {
    let registry = Registry::new();
    let build = || Router::builder(RouterConfig::default()).registry(&registry).build();
    let _first = build().unwrap();
    let error = build().unwrap_err();
    assert!(error.to_string().contains("tiny_dancer_routing_latency_seconds"), "{error}");
}

#[test]
fn a_users_collector_has_prices_and_is_shared_by_its_clones() {
    let registry = Registry::new();
    let prices = Some(Prices { lightweight: 0.25, powerful: 2.0, repeated: false });
    let config = MetricsConfig { prices, ..Default::default() };
    let collector = MetricsCollector::with_config(&registry, &config).unwrap();
    for _ in 0..2 {
        fallback(&Router::builder(RouterConfig::default()).collector(collector.clone()).build().unwrap());
    }
    let text = collector.export_metrics().unwrap();
    assert!(text.contains(r#"tiny_dancer_cost_total{model_type="powerful"} 4"#), "{text}");

    let both = || Router::builder(RouterConfig::default()).collector(collector.clone());
    assert!(matches!(both().registry(&registry).build(), Err(BuildError::Collector)));
    assert!(matches!(both().label("router", "x").build(), Err(BuildError::Collector)));
}

#[test]
fn every_error_includes_its_cause() {
    let registry = Registry::new();
    let existing = IntCounter::new("tiny_dancer_routing_requests_total", "Another family.").unwrap();
    registry.register(Box::new(existing)).unwrap();
    let risk = Some(tiny_dancer::RiskBudget { alpha: 0.001, delta: 0.05 });
    let refused = [
        (RouterConfig { confidence_threshold: 85.0, ..Default::default() }, "85"),
        (RouterConfig { risk, ..Default::default() }, "model"),
        (RouterConfig::default(), "tiny_dancer_routing_requests_total"),
    ];
    for (config, word) in refused {
        let error = Router::builder(config).registry(&registry).build().unwrap_err();
        let (text, source) = (error.to_string(), error.source().unwrap().to_string());
        assert!(text.contains(word) && text.contains(&source), "{text} | {source}");
    }
}

#[cfg(feature = "tracing")]
#[test]
fn a_given_registry_and_a_given_tracing_system_both_receive_what_a_router_does() {
    use tiny_dancer::{TracingConfig, TracingSystem};
    let registry = Registry::new();
    // Nothing listens at this port, so the spans are lost and counted.
    let otlp_endpoint = Some("http://127.0.0.1:1".to_owned());
    let config = TracingConfig {
        otlp_endpoint,
        shutdown_timeout: std::time::Duration::from_millis(100),
        ..Default::default()
    };
    let system = TracingSystem::new(config);
    let router = Router::builder(RouterConfig::default())
        .registry(&registry)
        .label("router", "support")
        .tracing(system.observer().unwrap())
        .build()
        .unwrap();
    router.route(RoutingRequest::new(&[1.0, 0.0], &crate::candidates())).unwrap();
    let report = system.shutdown();
    assert!(report.lost() >= 5, "{report}: the spans of the request and its stages");
    let text = router.export_metrics().unwrap();
    for series in [
        r#"tiny_dancer_routing_requests_total{router="support",status="success"} 1"#.to_owned(),
        format!(r#"tiny_dancer_spans_total{{result="dropped",router="support"}} {}"#, report.dropped),
        format!(r#"tiny_dancer_spans_total{{result="failed",router="support"}} {}"#, report.failed),
    ] {
        assert!(text.contains(&series), "{series} is not in\n{text}");
    }
}
