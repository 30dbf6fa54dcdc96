use super::*;
use crate::Router;
use crate::budget::JudgeRate;

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
    assert_eq!(refused(|c| c.explore = -0.1), ("explore", -0.1));
    assert_eq!(refused(|c| c.shadow_rate = 1.1), ("shadow_rate", 1.1));
    assert_eq!(refused(|c| c.recency_half_life = zero), ("recency_half_life", 0.0));
    let risk = |alpha, delta| refused(|c| c.risk = Some(RiskBudget { alpha, delta }));
    assert_eq!(risk(0.0, 0.05), ("risk.alpha", 0.0));
    assert_eq!(risk(0.1, 1.0), ("risk.delta", 1.0));
    let budget =
        |change: fn(&mut QualityBudget)| refused(|c| change(c.budget.insert(QualityBudget::default())));
    assert_eq!(budget(|b| b.loss_rate = 0.0), ("budget.loss_rate", 0.0));
    assert_eq!(budget(|b| b.delta = 1.0), ("budget.delta", 1.0));
    assert_eq!(budget(|b| b.burst = -1.0), ("budget.burst", -1.0));
    assert_eq!(budget(|b| b.margin = 1.5), ("budget.margin", 1.5));
    assert_eq!(budget(|b| b.judge_rate = JudgeRate::Fixed(0.0)), ("budget.judge_rate", 0.0));
    let adaptive = |floor| {
        refused(|c| {
            let judge_rate = JudgeRate::Adaptive { floor };
            c.budget = Some(QualityBudget { judge_rate, ..Default::default() });
        })
    };
    assert_eq!(adaptive(1.0), ("budget.judge_rate.floor", 1.0));
    assert!(adaptive(f64::NAN).1.is_nan());
    assert_eq!(budget(|b| b.judgement_timeout = Duration::ZERO), ("budget.judgement_timeout", 0.0));
    assert_eq!(budget(|b| b.max_judgements = 0), ("budget.max_judgements", 0.0));
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
fn nan_is_out_of_range() {
    assert!(refused(|c| c.confidence_threshold = f32::NAN).1.is_nan());
    assert!(refused(|c| c.max_uncertainty = f32::NAN).1.is_nan());
    assert!(refused(|c| c.explore = f64::NAN).1.is_nan());
    assert!(refused(|c| c.shadow_rate = f64::NAN).1.is_nan());
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
    let error = Router::new(config).unwrap_err();
    let expected = "model: cannot read no/such/model: No such file or directory (os error 2)";
    assert_eq!(error.to_string(), expected);
    assert!(matches!(error, ConfigError::Model { source: LoadError::Read { .. } }));
}

#[test]
fn a_risk_that_the_embedded_model_cannot_promise_is_an_error() {
    let risk = Some(RiskBudget { alpha: 0.001, delta: 0.05 });
    let error = Router::new(RouterConfig { risk, ..Default::default() }).unwrap_err();
    let message = error.to_string();
    assert!(message.starts_with("model: the model cannot promise a failure rate of 0.001"), "{message}");
    assert!(std::error::Error::source(&error).is_some());
}

#[cfg(feature = "serde")]
#[test]
fn a_configuration_is_read_from_json_and_a_misspelt_key_is_refused() {
    let json = r#"{"confidence_threshold": 0.9, "circuit_breaker": {"probes": 1}}"#;
    let config: RouterConfig = serde_json::from_str(json).unwrap();
    assert_eq!((config.confidence_threshold, config.circuit_breaker.probes), (0.9, 1));
    assert_eq!(config.digest(), {
        let circuit_breaker = CircuitBreakerConfig { probes: 1, ..Default::default() };
        RouterConfig { confidence_threshold: 0.9, circuit_breaker, ..Default::default() }.digest()
    });
    let again: RouterConfig = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
    assert_eq!(again.digest(), config.digest());
    for json in [r#"{"confidence_treshold": 0.9}"#, r#"{"circuit_breaker": {"probe": 1}}"#] {
        let error = serde_json::from_str::<RouterConfig>(json).unwrap_err();
        assert!(error.to_string().starts_with("unknown field"), "{error}");
    }
}

#[cfg(feature = "serde")]
#[test]
fn a_seed_is_read_and_never_written() {
    let json = r#"{"explore": 0.1, "seed": [7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]}"#;
    let config: RouterConfig = serde_json::from_str(json).unwrap();
    assert_eq!(config.seed, Some(Seed::new([7; 16])));
    let written = serde_json::to_value(&config).unwrap();
    assert_eq!((written.get("explore"), written.get("seed")), (Some(&0.1.into()), None));
    assert!(format!("{config:?}").contains("seed: Some(Seed(..))"));
}
