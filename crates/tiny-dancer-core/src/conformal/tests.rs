use super::*;
use proptest::prelude::*;
use serde_json::Value;

#[test]
fn uncertainties_equal_the_golden_values() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../../tests/golden/conformal.json")).unwrap();
    let float = |value: &Value| value.as_f64().unwrap() as f32;
    for case in &cases {
        let edges = case["similarity_edges"].as_array().unwrap().iter().map(float).collect();
        let counts =
            case["count_edges"].as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as u32).collect();
        let rows = case["calibration"].as_array().unwrap().iter().map(|row| CalibrationRow {
            confidence: float(&row["confidence"]),
            sufficed: row["label"] == 1,
            top_similarity: float(&row["top_similarity"]),
            candidates: row["count"].as_u64().unwrap() as usize,
        });
        let table = CalibrationTable::new(edges, counts, rows);
        for query in case["queries"].as_array().unwrap() {
            let count = query["count"].as_u64().unwrap() as usize;
            let actual =
                table.uncertainty(float(&query["confidence"]), float(&query["top_similarity"]), count);
            let expected = query["uncertainty"].as_f64().unwrap();
            assert!((f64::from(actual) - expected).abs() < 1e-7, "{}: {query}: {actual}", case["name"]);
        }
    }
}

/// A small generator, so that the cases below are many and fixed.
fn uniform(state: &mut u64) -> f32 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 40) as f32 / (1 << 24) as f32
}

#[test]
fn of_exchangeable_rows_at_most_a_share_e_has_a_true_label_at_p_value_e() {
    let mut state = 7;
    // A model that is overconfident by design: its confidence is c, the true probability is c squared.
    let mut row = || {
        let confidence = uniform(&mut state);
        (confidence, uniform(&mut state) < confidence * confidence)
    };
    for level in [0.05, 0.1, 0.2] {
        let (mut excluded, mut tested) = (0, 0);
        for _ in 0..400 {
            let mut scores: Vec<_> =
                (0..60).map(|_| row()).map(|(c, label)| nonconformity(c, label)).collect();
            scores.sort_unstable_by(f32::total_cmp);
            for _ in 0..20 {
                let (confidence, label) = row();
                tested += 1;
                excluded += i32::from(p_value(&scores, nonconformity(confidence, label)) <= level);
            }
        }
        // Four standard deviations of 400 groups that share a calibration set, whose coverage is beta-distributed.
        let share = f64::from(excluded) / f64::from(tested);
        let (e, n, m) = (f64::from(level), 60.0, 20.0);
        let deviation = (e * (1.0 - e) * (1.0 / m + 1.0 / n) / 400.0).sqrt();
        assert!(share <= e + 4.0 * deviation, "{share} at level {level}");
        assert!(share >= e - 1.0 / 61.0 - 4.0 * deviation, "{share} at level {level}: too conservative");
    }
}

proptest! {
    #[test]
    fn the_uncertainty_is_the_smaller_p_value(
        confidences in proptest::collection::vec((0.0..=1.0_f32, any::<bool>()), 50..120),
        confidence in 0.0..=1.0_f32,
    ) {
        let rows = confidences.iter().map(|&(confidence, sufficed)| CalibrationRow {
            confidence, sufficed, top_similarity: 0.5, candidates: 3,
        });
        let table = CalibrationTable::new(vec![], vec![], rows);
        let p = |label| p_value(table.scores(0), nonconformity(confidence, label));
        let uncertainty = table.uncertainty(confidence, 0.1, 9);
        prop_assert_eq!(uncertainty, p(true).min(p(false)));
        prop_assert!(uncertainty > 0.0 && uncertainty <= 1.0);
    }

    #[test]
    fn every_request_falls_into_one_bin(similarity in -1.0..=1.0_f32, candidates in 0..100_usize) {
        let table = CalibrationTable::new(vec![-0.5, 0.0, 0.5], vec![2, 8], []);
        prop_assert_eq!(table.bins(), 12);
        prop_assert!(table.bin(similarity, candidates) < 12);
    }
}

proptest! {
    #[test]
    fn the_lookup_gives_the_p_value_of_the_definition(
        // On a grid that has both ends, so that ties with edges of intervals are common.
        scores in proptest::collection::vec((0..=512_u16).prop_map(|x| f32::from(x) / 512.0), 40..300),
        confidences in proptest::collection::vec(
            prop_oneof![0.0..=1.0_f32, (0..=512_u16).prop_map(|x| f32::from(x) / 512.0)], 50,
        ),
    ) {
        let rows = scores.iter().map(|&score| CalibrationRow {
            confidence: 1.0 - score, sufficed: true, top_similarity: 0.5, candidates: 1,
        });
        let table = CalibrationTable::new(vec![0.2, 0.8], vec![8], rows);
        let bin = table.bin(0.5, 1);
        for confidence in confidences {
            let score = nonconformity(confidence, true).max(nonconformity(confidence, false));
            let expected = if scores.len() < MIN_BIN_ROWS { 1.0 } else { p_value(table.scores(bin), score) };
            prop_assert_eq!(table.uncertainty(confidence, 0.5, 1), expected);
            prop_assert_eq!(table.uncertainty(confidence, 0.9, 1), 1.0);
        }
    }
}

#[test]
fn a_confidence_outside_zero_to_one_never_panics() {
    let rows = (0..60).map(|i| CalibrationRow {
        confidence: i as f32 / 60.0,
        sufficed: true,
        top_similarity: 0.5,
        candidates: 1,
    });
    let table = CalibrationTable::new(vec![0.2], vec![8], rows);
    for confidence in [2.0, -1.0, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(table.uncertainty(confidence, 0.5, 1), 1.0 / 61.0, "{confidence}");
    }
    assert!((0.0..=1.0).contains(&table.uncertainty(f32::NAN, 0.5, 1)));
}

#[test]
fn many_uncertainties_at_once_equal_those_one_by_one() {
    let mut state = 11;
    for (similarity_edges, count_edges) in
        [(vec![], vec![]), (vec![0.5], vec![2]), (vec![-0.5, 0.25, 0.5], vec![1, 8, 32])]
    {
        let rows: Vec<_> = (0..5000)
            .map(|_| CalibrationRow {
                confidence: uniform(&mut state),
                sufficed: uniform(&mut state) < 0.5,
                top_similarity: 2.0 * uniform(&mut state) - 1.0,
                candidates: (uniform(&mut state) * 64.0) as usize,
            })
            .collect();
        let table = CalibrationTable::new(similarity_edges.clone(), count_edges, rows);
        let edge = |i: usize| similarity_edges.get(i % 4).copied().unwrap_or(0.1);
        for n in (0..40).chain([100, 257]) {
            // Values include both ends and the edges.
            let confidences: Vec<_> = (0..n).map(|i| [0.0, 1.0, 0.5, uniform(&mut state)][i % 4]).collect();
            let similarity: Vec<_> =
                (0..n).map(|i| [edge(i), 2.0 * uniform(&mut state) - 1.0, -1.0][i % 3]).collect();
            for (kernel, candidates) in
                Kernel::available().into_iter().flat_map(|it| [1, 9, 40].map(|n| (it, n)))
            {
                let mut uncertainties = vec![f32::NAN; n];
                table.uncertainties(kernel, &confidences, &similarity, candidates, &mut uncertainties);
                for i in 0..n {
                    let expected = table.uncertainty(confidences[i], similarity[i], candidates);
                    assert_eq!(uncertainties[i], expected, "{} {i} of {n}", kernel.name());
                }
            }
        }
    }
}
