use super::*;
use crate::memory::Seen;
use rand::RngExt;

/// A cell whose logit is its head's bias. Tests may change its other values.
fn cell(head_bias: f64) -> Parameters {
    let mut values = vec![0.0; Parameters::count(1)];
    *values.last_mut().unwrap() = head_bias;
    Parameters { hidden: 1, values }
}

fn memory(rows: usize) -> Memory {
    let seen = |row: usize| {
        let similarity = 0.3 + 0.5 * row as f32 / rows as f32;
        (0..200)
            .map(|item| Seen {
                item,
                similarity: similarity - item as f32 / 1e4,
                frequency: 0.1,
                success: 0.5,
            })
            .collect()
    };
    Memory { seen: (0..rows).map(seen).collect(), success: vec![], subjects: vec![] }
}

fn rows(n: usize) -> Vec<(usize, bool)> {
    (0..n).map(|row| (row, row % 5 != 0)).collect()
}

#[test]
fn scaling_makes_the_mean_confidence_the_share_that_suffices() {
    let (slope, intercept) = scaling(&cell(-1.0), &memory(1000), &rows(1000));
    assert!((sigmoid(intercept - slope) - 0.8).abs() < 1e-3);
}

#[test]
fn scaling_survives_rows_that_all_suffice() {
    let rows: Vec<(usize, bool)> = (0..100).map(|row| (row, true)).collect();
    let (slope, intercept) = scaling(&cell(1.0), &memory(100), &rows);
    assert!(slope.is_finite() && intercept.is_finite());
}

#[test]
fn seven_hundred_rows_fill_every_bin_above_the_lowest() {
    let table = joint(&cell(1.0), &memory(750), &rows(750), 1);
    assert_eq!(table.bins(), 4 * 3);
    let sizes: Vec<usize> = (0..table.bins()).map(|bin| table.scores(bin).len()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 750);
    assert!(sizes[..3].iter().sum::<usize>() <= 8, "{sizes:?}");
    for counts in sizes[3..].chunks(3) {
        assert!(counts[0] >= 55 && counts[1] >= 55 && counts[2] >= 110, "{sizes:?}");
    }
    let table = per_candidate(&cell(1.0), &memory(750), &rows(750), 1);
    assert_eq!(table.bins(), 4);
    assert!((1..4).all(|bin| table.scores(bin).len() >= 200));
}

#[test]
fn a_request_farther_than_all_calibration_rows_has_an_uncertainty_of_1() {
    let table = joint(&cell(1.0), &memory(750), &rows(750), 1);
    assert_eq!(table.uncertainty(0.99, 0.1, 64), 1.0);
    assert!(table.uncertainty(0.99, 0.5, 64) < 1.0);
}

#[test]
fn rows_without_candidates_are_left_out() {
    let mut memory = memory(100);
    memory.seen[..50].iter_mut().for_each(Vec::clear);
    let table = joint(&cell(1.0), &memory, &rows(100), 1);
    assert_eq!((0..table.bins()).map(|bin| table.scores(bin).len()).sum::<usize>(), 50);
}

/// Coverage on new rows of the same distribution keeps the level even where the confidences are badly calibrated.
#[test]
fn coverage_holds_on_exchangeable_rows() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut draw = |n: usize| -> (Memory, Vec<(usize, bool)>) {
        let mut memory = memory(n);
        let rows = (0..n).map(|row| {
            let rate: f32 = rng.random();
            memory.seen[row].iter_mut().for_each(|seen| seen.success = rate);
            (row, rng.random_bool(0.3 + 0.5 * f64::from(rate)))
        });
        let rows = rows.collect();
        (memory, rows)
    };
    // A cell that reads the success rate and is far too confident.
    let mut cell = cell(-4.0);
    cell.values[Feature::SuccessRate as usize] = 3.0;
    let head = cell.values.len() - 2;
    cell.values[head] = 12.0;
    let (memory, rows) = draw(3000);
    let table = joint(&cell, &memory, &rows, 1);
    let (memory, rows) = draw(3000);
    let requests: Vec<Vec<Step>> = rows.iter().map(|&(row, _)| memory.now(row, JOINT_CANDIDATES)).collect();
    let covered = logits(&cell, &requests).into_iter().zip(&rows).zip(&requests).filter(
        |((logit, (_, sufficed)), request)| {
            let bin = table.bin(request[0][0] as f32, request.len());
            let score = tiny_dancer_core::conformal::nonconformity(sigmoid(*logit) as f32, *sufficed);
            tiny_dancer_core::conformal::p_value(table.scores(bin), score) > 0.2
        },
    );
    let coverage = covered.count() as f64 / rows.len() as f64;
    // Three standard deviations of the beta-binomial of some 1,500 and 3,000 rows.
    assert!(coverage > 0.8 - 0.038, "{coverage}");
}
