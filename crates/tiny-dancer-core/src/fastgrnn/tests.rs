use super::*;
use crate::Candidate;
use crate::features::{Columns, engineer};
use proptest::prelude::*;
use serde_json::Value;

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

fn matrix(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().flat_map(floats).collect()
}

fn weights(case: &Value) -> FastGrnnWeights {
    FastGrnnWeights {
        w: matrix(&case["w"]),
        u: matrix(&case["u"]),
        bias_gate: floats(&case["bias_gate"]),
        bias_update: floats(&case["bias_update"]),
        zeta: case["zeta"].as_f64().unwrap() as f32,
        nu: case["nu"].as_f64().unwrap() as f32,
        head_weight: floats(&case["head_weight"]),
        head_bias: case["head_bias"].as_f64().unwrap() as f32,
    }
}

fn golden() -> Vec<Value> {
    serde_json::from_str(include_str!("../../tests/golden/fastgrnn.json")).unwrap()
}

/// Equal to within 1e-5 of the larger of 1 and the value.
fn assert_close(name: &Value, actual: f32, expected: &Value) {
    let expected = expected.as_f64().unwrap();
    let error = (f64::from(actual) - expected).abs() / expected.abs().max(1.0);
    assert!(error < 1e-5, "{name}: {actual}, expected {expected}");
}

fn assert_state(case: &Value, cell: &FastGrnn, state: &State, expected: &Value) {
    for (unit, expected) in expected["hidden"].as_array().unwrap().iter().enumerate() {
        assert_close(&case["name"], state.0[unit / LANES][unit % LANES], expected);
    }
    assert_close(&case["name"], cell.logit(state), &expected["logit"]);
    assert_close(&case["name"], sigmoid(cell.logit(state)), &expected["confidence"]);
}

fn inputs(case: &Value) -> Vec<[f32; Feature::COUNT]> {
    let rows = case["inputs"].as_array().unwrap();
    rows.iter().map(|row| floats(row).try_into().unwrap()).collect()
}

#[test]
fn candidates_together_equal_the_golden_values() {
    for case in &golden() {
        let cell = FastGrnn::new(&weights(case));
        let mut state = State::ZERO;
        for x in inputs(case) {
            cell.step(x, &mut state);
        }
        assert_state(case, &cell, &state, &case["together"]);
    }
}

#[test]
fn candidates_alone_equal_the_golden_values() {
    for case in &golden() {
        let cell = FastGrnn::new(&weights(case));
        for (x, expected) in inputs(case).into_iter().zip(case["alone"].as_array().unwrap()) {
            let mut state = State::ZERO;
            cell.step(x, &mut state);
            assert_state(case, &cell, &state, expected);
        }
    }
}

#[test]
fn a_batch_equals_one_step_each_whatever_its_length() {
    let case = &golden()[5];
    let cell = FastGrnn::new(&weights(case));
    for n in [1, 2, 15, 16, 17, 31, 33, 100] {
        let candidates: Vec<_> = (0..n)
            .map(|i| Candidate {
                embedding: vec![1.0, i as f32 * 0.1],
                success_rate: (i % 7) as f32 / 6.0,
                access_count: i,
                created_at: -(i as i64) * 86400,
                ..Default::default()
            })
            .collect();
        let request = crate::RoutingRequest::new(&[1.0, 0.5], &candidates);
        let mut columns = Columns::default();
        engineer(&request, 0, std::time::Duration::from_secs(604_800), &mut columns).unwrap();
        let (features, logits) = columns.features_and_confidences();
        cell.alone(features, logits);
        for (candidate, logit) in logits.iter().enumerate() {
            let mut state = State::ZERO;
            cell.step(features.row(candidate), &mut state);
            let difference = (logit - cell.logit(&state)).abs();
            assert!(difference < 1e-5, "candidate {candidate} of {n}: {difference}");
        }
    }
}

/// The order by its definition: sort everything, keep the end.
fn sorted(similarity: &[f32]) -> Vec<usize> {
    let mut order: Vec<_> = (0..similarity.len()).collect();
    order.sort_by(|&a, &b| similarity[a].total_cmp(&similarity[b]).then(a.cmp(&b)));
    order.split_off(order.len().saturating_sub(JOINT_CANDIDATES))
}

proptest! {
    #[test]
    fn the_nearest_are_read_in_ascending_similarity(
        // Few distinct values, so that ties are common.
        tenths in proptest::collection::vec(1..=10_u8, 0..300),
    ) {
        let similarity: Vec<_> = tenths.into_iter().map(|x| f32::from(x) / 10.0).collect();
        let order: Vec<_> = JointOrder::new(&similarity).iter().collect();
        prop_assert_eq!(order, sorted(&similarity));
    }
}
