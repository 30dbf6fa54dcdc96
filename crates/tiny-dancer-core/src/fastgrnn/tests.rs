use super::*;
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
        assert_close(&case["name"], state.0.0[unit], expected);
    }
    for kernel in Kernel::available() {
        let (logit, _) = kernel.dispatch(Head { cell, state });
        assert_close(&case["name"], logit, &expected["logit"]);
    }
}

/// Calls `check` for each golden case on each kernel, with its cell and its inputs as features.
fn each_case(check: impl Fn(&Value, Kernel, &FastGrnn, Features<'_>)) {
    for case in &golden() {
        let rows: Vec<_> = case["inputs"].as_array().unwrap().iter().map(floats).collect();
        let columns: [Vec<f32>; Feature::COUNT] =
            std::array::from_fn(|feature| rows.iter().map(|row| row[feature]).collect());
        let cell = FastGrnn::new(&weights(case));
        for kernel in Kernel::available() {
            check(case, kernel, &cell, Features::from_columns(columns.each_ref().map(Vec::as_slice)));
        }
    }
}

#[test]
fn the_joint_pass_equals_the_golden_values() {
    each_case(|case, kernel, cell, features| {
        let order: Vec<_> = (0..features.len() as u32).collect();
        let mut state = State::ZERO;
        cell.read(kernel, features, &order, &mut state);
        assert_state(case, cell, &state, &case["together"]);
        assert_close(
            &case["name"],
            cell.confidence(kernel, &state).unwrap(),
            &case["together"]["confidence"],
        );
    });
}

#[test]
fn the_per_candidate_pass_equals_the_golden_values() {
    each_case(|case, kernel, cell, features| {
        let mut confidences = vec![0.0; features.len()];
        cell.per_candidate(kernel, features, &mut confidences).unwrap();
        for (candidate, expected) in case["alone"].as_array().unwrap().iter().enumerate() {
            assert_close(&case["name"], confidences[candidate], &expected["confidence"]);
            let mut state = State::ZERO;
            cell.read(kernel, features, &[candidate as u32], &mut state);
            assert_state(case, cell, &state, expected);
        }
    });
}

#[test]
fn one_step_at_a_time_gives_the_same_bits_as_all_at_once() {
    each_case(|case, kernel, cell, features| {
        let order: Vec<_> = (0..features.len() as u32).rev().collect();
        let (mut at_once, mut step_by_step) = (State::ZERO, State::ZERO);
        cell.read(kernel, features, &order, &mut at_once);
        for one in order.chunks(1) {
            cell.read(kernel, features, one, &mut step_by_step);
        }
        assert_eq!(at_once.0.0.map(f32::to_bits), step_by_step.0.0.map(f32::to_bits), "{}", case["name"]);
    });
}

#[test]
fn a_candidate_has_the_same_own_confidence_beside_any_others() {
    each_case(|case, kernel, cell, features| {
        for n in [1, 2, 15, 16, 17, 33, 100] {
            let cycle = |column: &[f32]| column.iter().copied().cycle().take(n).collect::<Vec<_>>();
            let columns = Feature::ALL.map(|feature| cycle(features.column(feature)));
            let many = Features::from_columns(columns.each_ref().map(Vec::as_slice));
            let mut confidences = vec![0.0; n];
            cell.per_candidate(kernel, many, &mut confidences).unwrap();
            let period = features.len();
            for candidate in period..n {
                let (here, before) = (confidences[candidate], confidences[candidate - period]);
                assert_eq!(here.to_bits(), before.to_bits(), "{}: {candidate} of {n}", case["name"]);
            }
        }
    });
}

/// On a machine with vectors of only one length this compares nothing.
#[test]
fn vectors_of_all_lengths_give_the_same_bits() {
    let found = std::cell::RefCell::new(std::collections::HashMap::new());
    each_case(|case, kernel, cell, features| {
        let mut confidences = vec![0.0; features.len()];
        cell.per_candidate(kernel, features, &mut confidences).unwrap();
        let mut state = State::ZERO;
        cell.read(kernel, features, &(0..features.len() as u32).collect::<Vec<_>>(), &mut state);
        confidences.push(cell.confidence(kernel, &state).unwrap());
        confidences.extend(state.0.0);
        let bits: Vec<_> = confidences.into_iter().map(f32::to_bits).collect();
        if kernel.name() != "scalar" {
            let mut found = found.borrow_mut();
            let first = found.entry(case["name"].to_string()).or_insert_with(|| bits.clone());
            assert_eq!(*first, bits, "{}: {}", case["name"], kernel.name());
        }
    });
}

#[test]
fn a_logit_that_is_not_finite_is_named_with_its_candidate() {
    let weights =
        FastGrnnWeights { head_weight: vec![f32::MAX; 4], head_bias: f32::MAX, ..weights(&golden()[0]) };
    let cell = FastGrnn::new(&FastGrnnWeights {
        bias_gate: vec![-50.0; 4],
        zeta: 50.0,
        bias_update: vec![9.0; 4],
        ..weights
    });
    let columns = vec![vec![0.0; 40]; Feature::COUNT];
    let features = Features::from_columns(std::array::from_fn(|feature| columns[feature].as_slice()));
    for kernel in Kernel::available() {
        let (candidate, value) = cell.per_candidate(kernel, features, &mut [0.0; 40]).unwrap_err();
        assert_eq!((candidate, value), (0, f32::INFINITY));
        let mut state = State::ZERO;
        cell.read(kernel, features, &[0], &mut state);
        assert_eq!(cell.confidence(kernel, &state), Err(f32::INFINITY));
    }
}

#[test]
fn golden_cells_have_both_forms_and_the_embedded_cell_is_bounded() {
    let bounded = |case: &Value| FastGrnn::new(&weights(case)).bounded;
    let forms: Vec<_> = golden().iter().map(bounded).collect();
    assert!(forms.contains(&true) && forms.contains(&false), "{forms:?}");
    assert!(crate::Model::embedded().cell().bounded);
}

#[test]
fn a_state_stays_within_the_assumed_bound() {
    // Gates that keep the state, and the largest updates: positive in one unit, negative in the other.
    let (zeta, nu) = (0.2, 0.3);
    let logit = |p: f32| (p / (1.0 - p)).ln();
    let cell = FastGrnn::new(&FastGrnnWeights {
        w: vec![0.0; 2 * Feature::COUNT],
        u: vec![0.0; 4],
        bias_gate: vec![18.0, 2.0],
        bias_update: vec![9.0, -9.0],
        zeta: logit(zeta),
        nu: logit(nu),
        head_weight: vec![0.0; 2],
        head_bias: 0.0,
    });
    assert!(cell.bounded);
    let columns = vec![vec![1.0; JOINT_CANDIDATES]; Feature::COUNT];
    let features = Features::from_columns(std::array::from_fn(|feature| columns[feature].as_slice()));
    let order: Vec<_> = (0..JOINT_CANDIDATES as u32).collect();
    for kernel in Kernel::available() {
        let mut state = State::ZERO;
        cell.read(kernel, features, &order, &mut state);
        let most = zeta + nu * JOINT_CANDIDATES as f32;
        assert!((0.9 * most..most).contains(&state.0.0[0]), "{:?}", state.0.0[0]);
        assert!(state.0.0[1] < 0.0 && state.0.0[1] > -most, "{:?}", state.0.0[1]);
    }
}

#[test]
fn a_logit_that_is_not_finite_is_found_at_any_place() {
    // A similarity of 1 gives a state near 0, one of 0 a state near 1. Lanes without a candidate have similarity 0, too.
    let mut w = vec![0.0; 4 * Feature::COUNT];
    w.iter_mut().step_by(Feature::COUNT).for_each(|of_similarity| *of_similarity = -9.0);
    let cell = FastGrnn::new(&FastGrnnWeights {
        w,
        u: vec![0.0; 16],
        bias_gate: vec![-50.0; 4],
        bias_update: vec![9.0; 4],
        zeta: 50.0,
        nu: -50.0,
        head_weight: vec![f32::MAX; 4],
        head_bias: 0.0,
    });
    for n in [1, 3, 5, 8, 9, 12, 15, 16, 17, 30, 40] {
        for bad in (0..n).map(Some).chain([None]) {
            let mut columns = vec![vec![0.0; n]; Feature::COUNT];
            columns[0] = (0..n).map(|candidate| if Some(candidate) == bad { 0.0 } else { 1.0 }).collect();
            let features = Features::from_columns(std::array::from_fn(|feature| columns[feature].as_slice()));
            for kernel in Kernel::available() {
                let found = cell.per_candidate(kernel, features, &mut vec![0.0; n]);
                assert_eq!(
                    found.err(),
                    bad.map(|candidate| (candidate, f32::INFINITY)),
                    "{n} {}",
                    kernel.name()
                );
            }
        }
    }
}

#[test]
fn the_bound_counts_each_term_of_the_sum() {
    let cell = |w: f32, u: f32, bias: f32, nu: f32| {
        FastGrnn::new(&FastGrnnWeights {
            w: vec![w; Feature::COUNT],
            u: vec![u],
            bias_gate: vec![bias],
            bias_update: vec![bias],
            zeta: -50.0,
            nu,
            head_weight: vec![1.0],
            head_bias: 0.0,
        })
    };
    assert!(cell(1.0, 1.0, 1.0, -50.0).bounded);
    // Each term by itself: features, a state that grew by a half 64 times, a bias.
    assert!(!cell(10.0, 1.0, 1.0, -50.0).bounded);
    assert!(!cell(1.0, 1.0, 1.0, 0.0).bounded);
    assert!(!cell(1.0, 1.0, -50.0, -50.0).bounded);
}
