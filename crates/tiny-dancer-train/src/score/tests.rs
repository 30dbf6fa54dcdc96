use super::*;
use crate::rows::Part;

fn row(lightweight: f64, powerful: f64) -> Row {
    Row { id: String::new(), subject: None, part: Part::Test, lightweight, powerful }
}

fn scored<'a>(rows: &'a [Row], confidences: &[f64]) -> Vec<(&'a Row, f64)> {
    rows.iter().zip(confidences.iter().copied()).collect()
}

#[test]
fn auroc_counts_pairs_and_halves_ties() {
    let rows = [row(1.0, 1.0), row(0.0, 1.0), row(1.0, 0.0), row(0.0, 1.0)];
    // Pairs: (0.9, 0.8) won, (0.9, 0.1) won, (0.8, 0.8) tied, (0.8, 0.1) won.
    assert_eq!(auroc(&scored(&rows, &[0.9, 0.8, 0.8, 0.1])), Some(3.5 / 4.0));
    assert_eq!(auroc(&scored(&rows, &[0.5; 4])), Some(0.5));
}

#[test]
fn apgr_is_the_area_under_the_recovered_gap() {
    // Accuracies: lightweight 2 of 4, powerful 3 of 4.
    let rows = [row(1.0, 1.0), row(0.0, 1.0), row(1.0, 0.0), row(0.0, 1.0)];
    // Lightweight calls in the order win, tie, loss, loss: correct answers 3, 4, 4, 3, 2, and PGR 1, 2, 2, 1, 0.
    assert_eq!(apgr(&scored(&rows, &[0.8, 0.2, 0.9, 0.1])), Some((1.5 + 2.0 + 1.5 + 0.5) / 4.0));
}

#[test]
fn apgr_of_equal_confidences_is_one_half() {
    let rows = [row(1.0, 1.0), row(0.0, 1.0), row(1.0, 0.0), row(0.0, 1.0), row(1.0, 1.0)];
    assert!((apgr(&scored(&rows, &[0.7; 5])).unwrap() - 0.5).abs() < 1e-12);
}

#[test]
fn ece_weighs_the_gap_of_each_bin() {
    let rows = [row(1.0, 1.0), row(0.0, 1.0), row(1.0, 1.0), row(1.0, 1.0)];
    // 0.7 twice, one suffices: gap 0.2. 0.97 twice, both suffice: gap 0.03.
    assert!((ece(&scored(&rows, &[0.7, 0.7, 0.97, 0.97])) - 0.115).abs() < 1e-12);
}
