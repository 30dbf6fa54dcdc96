use super::*;
use crate::Router;

fn refused(change: impl FnOnce(&mut RouterConfig)) -> (&'static str, f64) {
    let mut config = RouterConfig::default();
    change(&mut config);
    match Router::new(config) {
        Err(ConfigError::OutOfRange { field, value, .. }) => (field, value),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_default_is_valid() {
    RouterConfig::default().validate().unwrap();
}

#[test]
fn each_field_out_of_range_is_named_with_its_value() {
    let zero = Duration::ZERO;
    assert_eq!(refused(|c| c.confidence_threshold = 1.5), ("confidence_threshold", 1.5));
    assert_eq!(refused(|c| c.max_uncertainty = -0.5), ("max_uncertainty", -0.5));
    assert_eq!(refused(|c| c.recency_half_life = zero), ("recency_half_life", 0.0));
    let risk = |alpha, delta| refused(|c| c.risk = Some(RiskBudget { alpha, delta }));
    assert_eq!(risk(0.0, 0.05), ("risk.alpha", 0.0));
    assert_eq!(risk(0.1, 1.0), ("risk.delta", 1.0));
    let breaker = |change: fn(&mut CircuitBreakerConfig)| refused(|c| change(&mut c.circuit_breaker));
    assert_eq!(breaker(|c| c.inference_failures = 0), ("circuit_breaker.inference_failures", 0.0));
    assert_eq!(breaker(|c| c.inference_window = Duration::ZERO), ("circuit_breaker.inference_window", 0.0));
    assert_eq!(
        breaker(|c| c.lightweight_failure_ratio = 0.0),
        ("circuit_breaker.lightweight_failure_ratio", 0.0)
    );
    assert_eq!(breaker(|c| c.lightweight_min_calls = 0), ("circuit_breaker.lightweight_min_calls", 0.0));
    assert_eq!(breaker(|c| c.lightweight_window = Duration::MAX).0, "circuit_breaker.lightweight_window");
    assert_eq!(breaker(|c| c.open_for = Duration::ZERO), ("circuit_breaker.open_for", 0.0));
    assert_eq!(breaker(|c| c.max_open_for = Duration::from_secs(29)), ("circuit_breaker.max_open_for", 29.0));
    assert_eq!(breaker(|c| c.probes = 256), ("circuit_breaker.probes", 256.0));
    assert_eq!(breaker(|c| c.probe_timeout = Duration::ZERO), ("circuit_breaker.probe_timeout", 0.0));
}

#[test]
fn what_is_not_a_number_is_out_of_range() {
    assert!(refused(|c| c.confidence_threshold = f32::NAN).1.is_nan());
    assert!(refused(|c| c.max_uncertainty = f32::NAN).1.is_nan());
    let risk = |alpha, delta| refused(|c| c.risk = Some(RiskBudget { alpha, delta }));
    assert!(risk(f64::NAN, 0.05).1.is_nan() && risk(0.1, f64::NAN).1.is_nan());
    assert!(refused(|c| c.circuit_breaker.lightweight_failure_ratio = f64::NAN).1.is_nan());
}

#[test]
fn the_message_names_field_value_and_range() {
    let config = RouterConfig { confidence_threshold: 85.0, ..Default::default() };
    let error = config.validate().unwrap_err();
    assert_eq!(error.to_string(), "confidence_threshold is 85, expected 0 to 1");
}

#[test]
fn a_missing_model_is_an_error_that_names_the_file() {
    let config = RouterConfig { model_path: Some("no/such/model".into()), ..Default::default() };
    let Err(ConfigError::Model { source }) = Router::new(config) else { panic!("it was made") };
    assert_eq!(source.to_string(), "cannot read no/such/model");
}
