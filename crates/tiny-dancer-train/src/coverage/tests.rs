use super::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tiny_dancer_core::conformal::CalibrationRow;

/// Rows whose confidences are the true probabilities if `honest`, else their complements.
fn rows(n: usize, honest: bool, seed: u64) -> Vec<(Judgement, bool)> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n)
        .map(|_| {
            let (confidence, top_similarity) = (rng.random::<f32>(), rng.random::<f32>());
            let sufficed = rng.random_bool(f64::from(if honest { confidence } else { 1.0 - confidence }));
            (Judgement { confidence, uncertainty: 0.0, top_similarity, candidates: 64 }, sufficed)
        })
        .collect()
}

fn table(rows: &[(Judgement, bool)]) -> CalibrationTable {
    let row = |&(judgement, sufficed): &(Judgement, bool)| CalibrationRow {
        confidence: judgement.confidence,
        sufficed,
        top_similarity: judgement.top_similarity,
        candidates: judgement.candidates,
    };
    CalibrationTable::new(vec![0.1, 0.5], vec![], rows.iter().map(row))
}

#[test]
fn chances_add_up_to_one_and_have_the_beta_binomial_mean() {
    let chances = chances(99, 200, 0.9);
    let mean: f64 = chances.iter().enumerate().map(|(k, p)| k as f64 * p).sum();
    assert!((chances.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    assert!((mean - 180.0).abs() < 1e-6);
}

#[test]
fn one_row_is_covered_with_the_probability_of_its_level() {
    // n = 9, level 0.8: l = 2, so 8 of 10 ranks are covered.
    assert!((chances(9, 1, 0.8)[1] - 0.8).abs() < 1e-12);
    // With so few rows the set contains every label.
    assert_eq!(chances(3, 2, 0.8), [0.0, 0.0, 1.0]);
}

#[test]
fn a_quantile_leaves_at_most_its_chance_below() {
    assert_eq!(quantile(&[0.02, 0.02, 0.02, 0.94], 0.05), 2);
    assert_eq!(quantile(&[0.5, 0.5], 0.05), 0);
}

#[test]
fn exchangeable_rows_are_covered_overall_and_in_each_bin() {
    let coverages = coverage(&table(&rows(600, true, 1)), &rows(2000, true, 2));
    // The bin below a similarity of 0.1 has some sixty calibration rows, which is enough.
    assert_eq!(coverages.len(), LEVELS.len() * 4);
    assert!(coverages.iter().all(Coverage::holds), "{coverages:?}");
    let overall: Vec<_> = coverages.iter().filter(|coverage| coverage.bin.is_none()).collect();
    assert_eq!(overall[0].rows, 2000);
    assert!(overall[0].at_least > 1500 && overall[0].at_least < 1600, "{overall:?}");
}

#[test]
fn rows_of_another_distribution_are_not_covered_and_a_bin_with_too_few_rows_is_left_out() {
    let coverages = coverage(&table(&rows(300, true, 3)), &rows(2000, false, 4));
    assert!(coverages.iter().filter(|coverage| coverage.bin.is_none()).all(|overall| !overall.holds()));
    assert!(coverages.iter().all(|coverage| coverage.bin != Some(0)));
}
