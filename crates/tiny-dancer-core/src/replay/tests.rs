use super::*;
use crate::coin::Seed;
use crate::observer::{Decided, Observer, RequestStart};
use crate::testing::{NOW, candidate, toy_model};
use crate::{CircuitBreakerConfig, Model, Query, Router, RouterConfig, RoutingRequest};
use std::sync::Mutex;
use std::time::Duration;

/// Records the input of a replay, and its expected result.
#[derive(Default)]
struct Recorder(Mutex<Vec<(Recorded, Replayed)>>);

impl Observer for Recorder {
    type Request = ();
    type Stage = ();
    type Batch = ();
    fn on_request_start(&self, _: &RequestStart<'_>) {}
    fn on_decision(&self, (): &mut (), event: &Decided<'_>) {
        let rows = event.joint().map(|(_, row)| row).collect();
        let budget_spent = event.reason == Reason::BudgetSpent;
        let recorded = Recorded { rows, thresholds: event.thresholds, explore: event.explore, budget_spent };
        let (confidence, uncertainty, reason) = (event.confidence, event.uncertainty, event.reason);
        self.0.lock().unwrap().push((recorded, Replayed { confidence, uncertainty, reason }));
    }
}

fn routed(model: Model, candidates: usize) -> (Recorded, Replayed) {
    explored(model, candidates, 0.0)
}

fn explored(model: Model, candidates: usize, explore: f64) -> (Recorded, Replayed) {
    let candidates: Vec<_> = (0..candidates)
        .map(|i| candidate("c", ((i * 37) % 100) as f32 / 101.0, ((i * 7) % 11) as f32 / 10.0))
        .collect();
    let config = RouterConfig { explore, ..Default::default() };
    let router = Router::with_model(config, Recorder::default(), model).unwrap();
    let request = RoutingRequest {
        query: Query { now: Some(NOW), ..Query::new(&[1.0, 0.0]) },
        candidates: &candidates,
    };
    router.route(request).unwrap();
    router.observer().0.lock().unwrap().remove(0)
}

#[test]
fn a_replay_gives_the_same_bits() {
    for model in [Model::embedded(), toy_model()] {
        // Fewer than the joint pass reads, as many, more, and more than are ranked without sorting.
        for candidates in [1, 2, 16, 64, 65, 128, 300] {
            let (recorded, expected) = routed(model.clone(), candidates);
            assert_eq!(recorded.rows.len(), candidates.min(64));
            assert_eq!(recorded.replay(&model, Kernel::detect()).unwrap(), expected);
        }
    }
}

#[test]
fn a_fallback_has_nothing_to_replay() {
    let (recorded, expected) = routed(toy_model(), 0);
    assert_eq!(recorded.rows.len(), 0);
    assert_eq!(recorded.replay(&toy_model(), Kernel::detect()).unwrap(), expected);
}

#[test]
fn an_explored_decision_is_computed_again_from_the_draw() {
    for candidates in [0, 1, 40] {
        let (recorded, expected) = explored(toy_model(), candidates, 1.0);
        assert_eq!(expected.reason, Reason::Explored, "{candidates}");
        assert_eq!(recorded.replay(&toy_model(), Kernel::detect()).unwrap(), expected);
        let unexplored = Recorded { explore: None, ..recorded };
        let reason = unexplored.replay(&toy_model(), Kernel::detect()).unwrap().reason;
        assert_eq!(reason.model(), crate::ModelType::Powerful, "{candidates}");
    }
}

#[test]
fn another_kernel_gives_almost_the_same_and_another_row_does_not() {
    let (recorded, expected) = routed(Model::embedded(), 40);
    for kernel in Kernel::available() {
        let replayed = recorded.replay(&Model::embedded(), kernel).unwrap();
        assert!((replayed.confidence - expected.confidence).abs() < 1e-5, "{}", kernel.name());
    }
    let mut other = recorded;
    other.rows.last_mut().unwrap()[Feature::SuccessRate as usize] = 0.123;
    assert_ne!(other.replay(&Model::embedded(), Kernel::detect()).unwrap().confidence, expected.confidence);
}

#[test]
fn equal_configurations_have_the_same_digest_and_others_do_not() {
    let default = RouterConfig::default().digest();
    assert_eq!((default.len(), RouterConfig::default().digest()), (12, default.clone()));
    let changed = [
        RouterConfig { confidence_threshold: 0.8, ..Default::default() },
        RouterConfig { max_uncertainty: 0.2, ..Default::default() },
        RouterConfig { recency_half_life: Duration::from_secs(1), ..Default::default() },
        RouterConfig { open_on_broken_promise: true, ..Default::default() },
        RouterConfig { explore: 0.1, ..Default::default() },
        RouterConfig { shadow_rate: 0.1, ..Default::default() },
        RouterConfig {
            circuit_breaker: CircuitBreakerConfig { probes: 9, ..Default::default() },
            ..Default::default()
        },
    ];
    for config in changed {
        assert_ne!(config.digest(), default);
    }
    // The model's path does not matter: traces have its version beside the digest. The seed is secret.
    let elsewhere = RouterConfig { model_path: Some("elsewhere".into()), ..Default::default() };
    let secret = RouterConfig { seed: Some(Seed::new([7; 16])), ..Default::default() };
    assert_eq!([elsewhere, secret].map(|config| config.digest()), [default.clone(), default]);
}

#[test]
fn rows_that_a_router_cannot_record_are_named() {
    let (recorded, _) = routed(Model::embedded(), 64);
    let replay = |change: fn(&mut Recorded)| {
        let mut changed = recorded.clone();
        change(&mut changed);
        changed.replay(&Model::embedded(), Kernel::detect()).unwrap_err()
    };
    let error = replay(|it| it.rows.push([0.5; Feature::COUNT]));
    assert_eq!(error, ReplayError::TooManyRows { rows: 65 });
    let error = replay(|it| it.rows[3][Feature::Recency as usize] = 1.5);
    assert_eq!(error.to_string(), "row 3: recency is 1.5, expected -1 to 1");
    let error = replay(|it| it.rows[0][Feature::Similarity as usize] = f32::NAN);
    assert!(
        matches!(error, ReplayError::FeatureRange { row: 0, feature: Feature::Similarity, .. }),
        "{error}"
    );
}
