//! Registration: all families or none, and an error that names the refused one.

use crate::exposition::Scrape;
use crate::{near, route, router, scrape};
use std::error::Error;
use tiny_dancer_metrics::catalogue::CATALOGUE;
use tiny_dancer_metrics::prometheus::{self, IntCounter, IntGauge, Opts, Registry};
use tiny_dancer_metrics::{MetricsCollector, RegisterError};

/// The family that the error names.
fn refused(result: Result<MetricsCollector, RegisterError>) -> &'static str {
    match result.unwrap_err() {
        RegisterError::Family { family, .. } => family,
        other => panic!("{other}"),
    }
}

#[test]
fn a_second_collector_on_a_registry_is_refused_and_the_first_still_counts() {
    let registry = Registry::new();
    let first = MetricsCollector::with_registry(&registry).unwrap();
    assert_eq!(refused(MetricsCollector::with_registry(&registry)), CATALOGUE[0].name);
    route(&router(first.clone()), &[near()]);
    assert_eq!(scrape(&first).total("tiny_dancer_routing_requests_total"), 1.0);
}

#[test]
fn an_existing_family_is_named_and_nothing_stays_registered() {
    for family in CATALOGUE {
        let registry = Registry::new();
        let existing = IntGauge::new(family.name, "Another family.").unwrap();
        registry.register(Box::new(existing)).unwrap();
        let error = MetricsCollector::with_registry(&registry).unwrap_err();
        assert!(error.to_string().contains(family.name), "{error}");
        let source = error.source().unwrap();
        assert!(
            source.is::<prometheus::Error>() && error.to_string().contains(&source.to_string()),
            "{error}"
        );
        let left: Vec<_> = registry.gather().iter().map(|family| family.name().to_owned()).collect();
        assert_eq!(left, [family.name]);
    }
}

#[test]
fn a_registry_accepts_the_collector_once_the_other_family_is_unregistered() {
    let family = CATALOGUE.iter().find(|family| family.labels.is_empty()).unwrap();
    let registry = Registry::new();
    let existing = IntGauge::new(family.name, family.help).unwrap();
    registry.register(Box::new(existing.clone())).unwrap();
    assert_eq!(refused(MetricsCollector::with_registry(&registry)), family.name);
    registry.unregister(Box::new(existing)).unwrap();
    MetricsCollector::with_registry(&registry).unwrap();
}

/// The only test that touches the default registry.
#[test]
fn the_default_registry_is_shared_once_the_other_family_is_unregistered() {
    let family = CATALOGUE.iter().find(|family| family.labels.is_empty()).unwrap();
    let existing = IntGauge::new(family.name, family.help).unwrap();
    prometheus::register(Box::new(existing.clone())).unwrap();
    for _ in 0..2 {
        assert_eq!(refused(MetricsCollector::new()), family.name);
        assert_eq!(prometheus::gather().len(), 1, "only the other family");
    }
    prometheus::unregister(Box::new(existing)).unwrap();

    let (first, second) = (MetricsCollector::new().unwrap(), MetricsCollector::new().unwrap());
    route(&router(first.clone()), &[near()]);
    route(&router(second.clone()), &[near()]);
    let text = first.export_metrics().unwrap();
    assert_eq!(text, second.export_metrics().unwrap());
    assert_eq!(text, prometheus::TextEncoder::new().encode_to_string(&prometheus::gather()).unwrap());
    assert_eq!(Scrape::parse(&text).total("tiny_dancer_routing_requests_total"), 2.0);
    drop((first, second));
    let third = scrape(&MetricsCollector::new().unwrap());
    assert_eq!(third.total("tiny_dancer_routing_requests_total"), 2.0, "counts outlive collectors");
    assert_eq!(refused(MetricsCollector::with_registry(prometheus::default_registry())), CATALOGUE[0].name);
}

#[test]
fn a_users_families_are_exported_too() {
    let registry = Registry::new();
    let existing = IntCounter::with_opts(Opts::new("tiny_dancer_answers_total", "Another family.")).unwrap();
    registry.register(Box::new(existing.clone())).unwrap();
    let metrics = MetricsCollector::with_registry(&registry).unwrap();
    existing.inc_by(7);
    route(&router(metrics.clone()), &[near()]);
    let shown = scrape(&metrics);
    assert_eq!(shown.value("tiny_dancer_answers_total"), 7.0);
    assert_eq!(shown.total("tiny_dancer_routing_requests_total"), 1.0);
}

#[test]
fn a_registrys_own_prefix_and_labels_are_kept() {
    let labels = [("zone".to_owned(), "b".to_owned())].into();
    let registry = Registry::new_custom(Some("app".into()), Some(labels)).unwrap();
    let metrics = MetricsCollector::with_registry(&registry).unwrap();
    let shown = scrape(&metrics);
    assert_eq!(shown.value(r#"app_tiny_dancer_requests_in_flight{zone="b"}"#), 0.0);
    assert_eq!(shown.value(r#"app_tiny_dancer_routing_requests_total{status="success",zone="b"}"#), 0.0);
}

#[test]
fn invalid_constant_labels_are_refused_before_anything_is_registered() {
    let bad: &[&[(&str, &str)]] = &[
        &[("", "x")],
        &[("1st", "x")],
        &[("two words", "x")],
        &[("__name__", "x")],
        &[("le", "x")],
        &[("status", "x")],
        &[("version", "x")],
        &[("router", "a"), ("router", "b")],
    ];
    for &labels in bad {
        let registry = Registry::new();
        let error = MetricsCollector::with_const_labels(&registry, labels).unwrap_err();
        let RegisterError::ConstLabel { name, .. } = &error else { panic!("{labels:?}: {error}") };
        assert_eq!(name, labels[0].0);
        assert!(registry.gather().is_empty());
    }
}

#[test]
fn repeated_constant_labels_and_different_names_are_refused() {
    let registry = Registry::new();
    let with = |labels: &[(&str, &str)]| MetricsCollector::with_const_labels(&registry, labels);
    let blue = with(&[("router", "blue")]).unwrap();
    assert_eq!(refused(with(&[("router", "blue")])), CATALOGUE[0].name);
    assert_eq!(refused(with(&[("shard", "blue")])), CATALOGUE[0].name);
    assert_eq!(refused(with(&[])), CATALOGUE[0].name);
    with(&[("router", "green")]).unwrap();
    assert_eq!(scrape(&blue).series("tiny_dancer_requests_in_flight").count(), 2);
}
