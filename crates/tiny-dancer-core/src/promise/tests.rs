use super::*;
use crate::testing::toy_model;
use crate::{
    Circuit, CircuitState, ConfigError, LoadError, ModelType, Origin, Outcome, OutcomeResult, Router,
    RouterConfig,
};
use proptest::prelude::*;

fn step(confidence_threshold: f32, n: u32, failures: u32) -> RiskStep {
    RiskStep { confidence_threshold, max_uncertainty: 0.3, n, failures }
}

#[test]
fn the_bound_equals_that_of_exact_sums() {
    // By bisection of the binomial sum in 30 decimal digits (mpmath), delta 0.05.
    for (n, failures, expected) in [
        (10, 0, 0.258_865_55),
        (10, 3, 0.606_624_22),
        (100, 10, 0.163_717_62),
        (760, 76, 0.119_730_3),
        (5000, 900, 0.189_174_49),
    ] {
        let bound = upper_bound(n, failures, 0.05);
        assert!((bound - expected).abs() < 1e-8, "{n}, {failures}: {bound}");
    }
    // By bisection of scipy's regularised incomplete beta function, to ten digits: counts too large for a sum.
    for (n, failures, expected) in [
        (4_000_000_000, 0, 7.489_330_681_08e-10),
        (4_000_000_000, 400_000_000, 0.100_007_802_56),
        (4_000_000_000, 3_900_000_000, 0.975_004_060_28),
        (u32::MAX, u32::MAX - 1, 0.999_999_999_988),
        (1_000_000, 1000, 1.053_574_877_45e-3),
        (50, 49, 0.998_974_660_13),
    ] {
        let bound = upper_bound(n, failures, 0.05);
        assert!((bound / expected - 1.0).abs() < 1e-9, "{n}, {failures}: {bound:e}");
    }
    assert_eq!(upper_bound(0, 0, 0.05), 1.0);
    assert_eq!(upper_bound(7, 7, 0.05), 1.0);
}

#[test]
fn the_last_step_before_the_first_that_breaks_the_budget_is_taken() {
    let path = [step(0.95, 100, 2), step(0.9, 200, 12), step(0.85, 300, 45), step(0.8, 400, 20)];
    let resolved = resolve(&path, RiskBudget { alpha: 0.1, delta: 0.05 }).unwrap();
    assert_eq!(resolved, path[1], "the third does not keep it, so the fourth is not tested");
}

#[test]
fn a_budget_that_cannot_be_kept_is_refused_with_the_smallest_alpha_that_can() {
    let path = [step(0.95, 100, 2), step(0.9, 200, 2)];
    let smallest = resolve(&path, RiskBudget { alpha: 0.05, delta: 0.05 }).unwrap_err().unwrap();
    assert!((smallest - upper_bound(100, 2, 0.05)).abs() < 1e-12);
    assert_eq!(resolve(&path, RiskBudget { alpha: smallest, delta: 0.05 }).unwrap(), path[1]);
    assert_eq!(resolve(&[], RiskBudget { alpha: 0.5, delta: 0.05 }), Err(None));
}

fn promising(alpha: f64, path: Vec<RiskStep>) -> Result<Router, ConfigError> {
    let model = toy_model().with_risk_path(path).unwrap();
    let risk = Some(RiskBudget { alpha, delta: 0.05 });
    Router::with_model(RouterConfig { risk, ..Default::default() }, (), model)
}

#[test]
fn a_router_with_a_promise_uses_the_thresholds_that_keep_it() {
    let router = promising(0.1, vec![step(0.95, 100, 2), step(0.7, 300, 10)]).unwrap();
    let thresholds =
        |confidence_threshold, max_uncertainty| Thresholds { confidence_threshold, max_uncertainty };
    assert_eq!(router.thresholds(), thresholds(0.7, 0.3));
    let router = Router::new(RouterConfig::default()).unwrap();
    assert_eq!(router.thresholds(), thresholds(0.85, 0.15));
    assert_eq!(router.promise(), None);
}

#[test]
fn outcomes_of_explored_and_shadowed_requests_move_the_circuit_and_leave_the_promise() {
    let insufficient = Outcome::new(ModelType::Lightweight, OutcomeResult::Insufficient);
    let failed = Outcome::new(ModelType::Lightweight, OutcomeResult::CallFailed);
    for origin in Origin::ALL {
        let router = promising(0.1, vec![step(0.95, 100, 2)]).unwrap();
        for _ in 0..100 {
            router.record_outcome(insufficient.with_origin(origin));
        }
        let promise = router.promise().unwrap();
        let expected = if origin == Origin::Routed { (100, true) } else { (0, false) };
        assert_eq!((promise.reported, promise.broken), expected, "{origin}");
        assert_eq!(router.circuit_state(Circuit::Lightweight), CircuitState::Closed, "{origin}");
        for _ in 0..100 {
            router.record_outcome(failed.with_origin(origin));
        }
        assert_eq!(router.circuit_state(Circuit::Lightweight), CircuitState::Open, "{origin}");
    }
}

#[test]
fn a_router_that_cannot_keep_its_promise_is_not_made() {
    let error = promising(0.01, vec![step(0.95, 100, 2)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "model: the model cannot promise a failure rate of 0.01 with confidence 1 - 0.05; the smallest is 0.0616"
    );
    let error = promising(0.01, vec![]).unwrap_err();
    assert!(error.to_string().ends_with("it has no certified thresholds"), "{error}");
}

#[test]
fn a_reload_of_the_same_promise_keeps_its_evidence() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    let write = |steps| std::fs::write(&path, toy_model().with_risk_path(steps).unwrap().to_bytes()).unwrap();
    write(vec![step(0.95, 100, 2)]);
    let risk = Some(RiskBudget { alpha: 0.1, delta: 0.05 });
    let config = RouterConfig { risk, model_path: Some(path.clone()), ..Default::default() };
    let router = Router::new(config).unwrap();
    while !router.promise().unwrap().broken {
        router.record_outcome(Outcome::new(ModelType::Lightweight, OutcomeResult::Insufficient));
    }
    let broken = router.promise();
    router.reload_model().unwrap();
    assert_eq!(router.promise(), broken, "the same model and the same thresholds");
    write(vec![step(0.94, 100, 2)]);
    router.reload_model().unwrap();
    assert_eq!(router.promise().unwrap().reported, 0, "a new promise");
}

#[test]
fn a_reload_that_cannot_keep_the_promise_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    let write = |steps| std::fs::write(&path, toy_model().with_risk_path(steps).unwrap().to_bytes()).unwrap();
    write(vec![step(0.95, 100, 2)]);
    let risk = Some(RiskBudget { alpha: 0.1, delta: 0.05 });
    let config = RouterConfig { risk, model_path: Some(path.clone()), ..Default::default() };
    let router = Router::new(config.clone()).unwrap();
    let version = router.model().version().to_owned();
    write(vec![step(0.95, 100, 20)]);
    assert!(matches!(router.reload_model().unwrap_err(), LoadError::Risk { .. }));
    assert_eq!(router.model().version(), version);
    assert!(matches!(
        Router::new(config).unwrap_err(),
        ConfigError::Model { source: LoadError::Risk { .. } }
    ));
}

#[test]
fn a_risk_path_is_written_read_and_checked() {
    let path = vec![step(0.95, 100, 2), step(0.9, 200, 12)];
    let model = toy_model().with_risk_path(path.clone()).unwrap();
    assert_eq!(crate::Model::from_bytes(&model.to_bytes()).unwrap().risk_path(), path);
    assert_ne!(model.version(), toy_model().version());
    let refused = |step| toy_model().with_risk_path(vec![step]).unwrap_err().to_string();
    assert_eq!(refused(step(0.9, 3, 4)), "tensor risk.failures: element 0 is 4, expected at most risk.n");
    assert_eq!(
        refused(step(1.5, 3, 2)),
        "tensor risk.confidence_threshold: element 0 is 1.5, expected 0 to 1"
    );
}

#[test]
fn a_broken_promise_stays_broken_until_it_is_reset() {
    let mut monitor = PromiseMonitor::new(RiskBudget { alpha: 0.1, delta: 0.05 });
    let refuting = (0..100).filter(|_| monitor.record(true)).count();
    assert_eq!(refuting, 1, "reported once");
    for _ in 0..10_000 {
        assert!(!monitor.record(false));
    }
    assert!(monitor.state().broken);
    monitor.reset();
    let state = monitor.state();
    assert_eq!((state.broken, state.reported, state.insufficient, state.evidence), (false, 0, 0, 1.0));
}

#[test]
fn failed_calls_and_the_powerful_model_do_not_count_for_the_promise() {
    use crate::{ModelType, Outcome, OutcomeResult};
    let router = promising(0.1, vec![step(0.95, 100, 2)]).unwrap();
    for _ in 0..100 {
        router.record_outcome(Outcome::new(ModelType::Lightweight, OutcomeResult::CallFailed));
        router.record_outcome(Outcome::new(ModelType::Powerful, OutcomeResult::Insufficient));
    }
    assert_eq!(router.promise().unwrap().reported, 0);
    router.record_outcome(Outcome::new(ModelType::Lightweight, OutcomeResult::Insufficient));
    assert_eq!(router.promise().unwrap().insufficient, 1);
}

/// A small generator, so that the simulations are the same each time.
struct Chance(u64);

impl Chance {
    fn happens(&mut self, probability: f64) -> bool {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 11) as f64 / (1_u64 << 53) as f64) < probability
    }
}

#[test]
fn a_promise_that_is_just_kept_is_refuted_in_at_most_delta_of_all_runs() {
    let (runs, length, delta) = (1000, 5000, 0.05);
    let mut chance = Chance(1);
    let mut alarms = 0;
    for _ in 0..runs {
        let mut monitor = PromiseMonitor::new(RiskBudget { alpha: 0.15, delta });
        alarms += u32::from((0..length).any(|_| monitor.record(chance.happens(0.15))));
    }
    // The test compares after each outcome. Three standard deviations of 1000 runs at delta.
    let limit = f64::from(runs) * delta + 3.0 * (f64::from(runs) * delta * (1.0 - delta)).sqrt();
    assert!(f64::from(alarms) <= limit, "{alarms} alarms in {runs} runs");
}

/// The number of outcomes from the drift to the alarm, as the median of many runs.
fn delay(before: u32, broken: f64) -> usize {
    let mut chance = Chance(2);
    let mut delays: Vec<_> = (0..201)
        .map(|_| {
            let mut monitor = PromiseMonitor::new(RiskBudget { alpha: 0.15, delta: 0.05 });
            for _ in 0..before {
                monitor.record(chance.happens(0.10));
            }
            (1..100_000).find(|_| monitor.record(chance.happens(broken))).unwrap_or(usize::MAX)
        })
        .collect();
    delays.sort_unstable();
    delays[delays.len() / 2]
}

#[test]
fn a_promise_that_breaks_is_refuted_soon_even_after_a_long_time() {
    let at_once = delay(0, 0.30);
    let later = delay(10_000, 0.30);
    let grossly = delay(10_000, 0.60);
    assert!(at_once < 120, "{at_once}");
    assert!(later < 400, "{later}");
    assert!(grossly < 60, "{grossly}");
}

proptest! {
    #[test]
    fn the_bound_is_exact(n in 1..400_u32, share in 0.0..1.0_f64, delta in 0.001..0.5_f64) {
        let failures = (share * f64::from(n)) as u32;
        let bound = upper_bound(n, failures, delta);
        prop_assert!(bound >= f64::from(failures) / f64::from(n) || delta > 0.4);
        if bound < 1.0 {
            prop_assert!((binomial_tail(n, failures, bound) - delta).abs() < 1e-9);
        }
    }
}
