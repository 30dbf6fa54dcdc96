use super::*;
use crate::rows::{Part, Row};
use crate::score;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn outcome(lightweight: f64, powerful: f64) -> Outcome {
    Outcome { lightweight, powerful }
}

/// Six rows: two that only the powerful model answers correctly, one that only the lightweight model does.
fn six() -> Vec<Outcome> {
    [(1, 1), (0, 1), (1, 0), (0, 1), (1, 1), (0, 0)].map(|(l, p)| outcome(f64::from(l), f64::from(p))).into()
}

#[test]
fn a_curve_equals_one_computed_by_hand() {
    // Row 2 first (a gain), then 0, 4 and 5 as one group, then the losses one by one.
    let ranking = Ranking::new(&[0.5, 0.2, 0.9, 0.1, 0.5, 0.5]);
    let curve = ranking.curve(&six(), &[1.0; 6]);
    let sixths: Vec<(f64, f64)> =
        curve.points.iter().map(|&(x, y)| ((6.0 * x).round(), (6.0 * y).round())).collect();
    assert_eq!(sixths, [(0.0, 4.0), (1.0, 5.0), (4.0, 5.0), (5.0, 4.0), (6.0, 3.0)]);
    // The powerful model's 4/6 is still reached with five of six requests lightweight.
    assert!((curve.lightweight_share(curve.powerful()) - 5.0 / 6.0).abs() < 1e-9);
    assert!((curve.lightweight_share(0.95 * curve.powerful()) - (5.0 + 0.2) / 6.0).abs() < 1e-9);
    // Half of the gap is 3.5/6: half way down the last sixth.
    assert!((curve.call_performance(0.5) - 0.5 / 6.0).abs() < 1e-9);
    // Area in sixths squared: 4.5 + 15 + 4.5 + 3.5 = 27.5; less 18, over a gap of 6.
    assert!((curve.apgr().unwrap() - (27.5 - 18.0) / 6.0).abs() < 1e-9);
    assert_eq!(curve.lightweight_share(2.0), 0.0);
    assert_eq!(curve.lightweight_share(0.0), 1.0);
}

#[test]
fn a_weight_of_two_counts_as_two_rows() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let outcomes: Vec<Outcome> = (0..80).map(|_| outcome(rng.random(), 0.2 + rng.random::<f64>())).collect();
    let confidences: Vec<f64> = (0..80).map(|_| f64::from(rng.random_range(0..20)) / 20.0).collect();
    let weights: Vec<usize> = (0..80).map(|_| rng.random_range(0..3)).collect();
    let repeated: Vec<usize> = (0..80).flat_map(|row| vec![row; weights[row]]).collect();
    let weights: Vec<f64> = weights.into_iter().map(|weight| weight as f64).collect();
    let all = |rows: &[usize]| -> (Vec<f64>, Vec<Outcome>) {
        rows.iter().map(|&row| (confidences[row], outcomes[row])).unzip()
    };
    let (many_confidences, many) = all(&repeated);
    let ones = vec![1.0; many.len()];
    let (few, plain) = (Ranking::new(&confidences), Ranking::new(&many_confidences));
    let (weighted, expected) = (few.curve(&outcomes, &weights), plain.curve(&many, &ones));
    assert!((weighted.apgr().unwrap() - expected.apgr().unwrap()).abs() < 1e-9);
    assert!((weighted.call_performance(0.8) - expected.call_performance(0.8)).abs() < 1e-9);
    assert!((few.auroc(&outcomes, &weights).unwrap() - plain.auroc(&many, &ones).unwrap()).abs() < 1e-9);
    let ece_of = |confidences: &[f64], outcomes: &[Outcome], weights: &[f64]| {
        ece(&reliability(confidences, outcomes, weights))
    };
    let difference = ece_of(&confidences, &outcomes, &weights) - ece_of(&many_confidences, &many, &ones);
    assert!(difference.abs() < 1e-9);
}

#[test]
fn scores_equal_those_of_the_training_report() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let row = |_| Row {
        id: String::new(),
        subject: None,
        part: Part::Test,
        lightweight: f64::from(rng.random_range(0..2)),
        powerful: f64::from(rng.random_range(0..2)),
    };
    let rows: Vec<Row> = (0..200).map(row).collect();
    let confidences: Vec<f64> = (0..200).map(|_| f64::from(rng.random_range(0..50)) / 50.0).collect();
    let scored: Vec<(&Row, f64)> = rows.iter().zip(confidences.clone()).collect();
    let outcomes: Vec<Outcome> = rows.iter().map(|row| outcome(row.lightweight, row.powerful)).collect();
    let (ranking, ones) = (Ranking::new(&confidences), [1.0; 200]);
    assert!((ranking.curve(&outcomes, &ones).apgr().unwrap() - score::apgr(&scored).unwrap()).abs() < 1e-9);
    assert!((ranking.auroc(&outcomes, &ones).unwrap() - score::auroc(&scored).unwrap()).abs() < 1e-9);
    assert!((ece(&reliability(&confidences, &outcomes, &ones)) - score::ece(&scored)).abs() < 1e-9);
}

#[test]
fn the_mean_apgr_of_two_sets_gives_one_without_a_gap_no_weight() {
    let with_gap = Ranking::new(&[0.5, 0.2, 0.9, 0.1, 0.5, 0.5]).curve(&six(), &[1.0; 6]);
    let without = Ranking::new(&[0.5, 0.2]).curve(&[outcome(1.0, 1.0), outcome(0.0, 0.0)], &[1.0; 2]);
    assert_eq!((without.gap(), without.recovered()), (0.0, 0.0));
    let mean = (with_gap.recovered() + without.recovered()) / (with_gap.gap() + without.gap());
    assert!((mean - with_gap.apgr().unwrap()).abs() < 1e-12);
}
