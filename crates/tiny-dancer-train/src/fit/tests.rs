use super::*;

/// Half the width of a finite difference.
const H: f64 = 1e-6;

#[test]
fn a_shards_gradient_equals_finite_differences_of_its_total_loss() {
    let shard = Shard {
        batch: Batch::new(&[[[0.0; 5]]; 5]),
        joint: vec![(0, 1.0), (1, 0.0)],
        per_candidate: vec![(2, 0.5)],
        pairs: vec![(3, 0.2)],
    };
    // The pair falls where it should rise.
    let logits = [0.3, -1.2, 40.0, 0.1, 0.05];
    let (_, gradient) = shard.losses(&logits);
    for i in 0..logits.len() {
        let total = |by: f64| {
            let mut logits = logits;
            logits[i] += by;
            shard.losses(&logits).0.total()
        };
        let difference = (total(H) - total(-H)) / (2.0 * H);
        assert!((gradient[i] - difference).abs() < 1e-5 * gradient[i].abs().max(1.0), "{i}");
    }
}

#[test]
fn a_direction_that_holds_by_the_margin_has_no_penalty() {
    let shard = |rise| Shard {
        batch: Batch::new(&[[[0.0; 5]]; 2]),
        joint: vec![],
        per_candidate: vec![],
        pairs: vec![(0, rise)],
    };
    assert_eq!(shard(0.5).losses(&[1.0, 1.0 + MARGIN]).0.direction, 0.0);
    assert_eq!(shard(-0.5).losses(&[1.0, 1.0 - MARGIN]).0.direction, 0.0);
    assert!(shard(-0.5).losses(&[1.0, 1.0]).0.direction > 0.0);
}

#[test]
fn pairs_differ_in_one_feature_inside_the_cube() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut most = 0;
    for _ in 0..5000 {
        let Pair { low, high, rise, copies } = pair(&mut rng);
        let differ: Vec<usize> = (0..5).filter(|&f| low[f] != high[f]).collect();
        let [feature] = differ[..] else { panic!("{low:?} and {high:?}") };
        assert!((high[feature] - low[feature] - rise.abs()).abs() < 1e-12);
        assert!(high.iter().all(|&x| x <= 1.0) && low.iter().skip(1).all(|&x| x >= 0.0) && low[0] >= -1.0);
        if feature == Feature::SuccessRate as usize {
            assert!(rise > 0.0);
            most = most.max(copies);
        } else {
            assert_eq!(copies, 1);
            assert_eq!(low[Feature::SuccessRate as usize], if rise > 0.0 { 1.0 } else { 0.0 });
        }
    }
    assert!((50..=JOINT_CANDIDATES).contains(&most), "{most}");
}

#[test]
fn a_cell_that_ignores_its_input_fails_every_direction() {
    let (checked, broken) = directions(&Parameters { hidden: 1, values: vec![0.0; Parameters::count(1)] });
    assert!(checked > 100_000);
    assert_eq!(checked, broken);
}

#[test]
fn one_cycle_rises_to_one_and_falls_to_zero() {
    assert_eq!(one_cycle(WARM_UP), 1.0);
    assert!(one_cycle(0.5 * WARM_UP) < 1.0 && one_cycle(0.5) < 1.0);
    assert!(one_cycle(1.0).abs() < 1e-12);
}

#[test]
fn adam_finds_the_bottom_of_a_bowl() {
    let mut at = [3.0, -2.0];
    let mut adam = Adam::new(2);
    for _ in 0..2000 {
        let gradient = [2.0 * (at[0] - 1.0), 20.0 * (at[1] + 1.0)];
        adam.step(&mut at, &gradient, 0.01);
    }
    assert!((at[0] - 1.0).abs() < 1e-3 && (at[1] + 1.0).abs() < 1e-3);
}

#[test]
fn an_average_of_one_value_is_that_value() {
    let parameters = Parameters { hidden: 1, values: vec![2.5; Parameters::count(1)] };
    let mut average = Average::new(&parameters);
    for _ in 0..3 {
        average.add(&parameters);
        assert!(average.parameters().values.iter().all(|value| (value - 2.5).abs() < 1e-12));
    }
}
