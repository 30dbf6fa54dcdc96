use super::*;
use crate::Query;
use crate::RoutingRequest;
use crate::testing::candidate;
use proptest::prelude::*;
use serde_json::Value;

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

fn metadata(value: &Value) -> Option<Metadata> {
    serde_json::from_value(value.clone()).unwrap()
}

fn setting(kernel: Kernel, scales: &Scales, now: i64) -> Setting<'_> {
    Setting { kernel, scales, ties: Ties::Whole, now }
}

/// Computes the features of a request, a row for each candidate.
fn rows(request: &RoutingRequest<'_>) -> Result<Vec<[f32; Feature::COUNT]>, RouteError> {
    let mut columns = Columns::default();
    let now = request.query.now.unwrap_or(0);
    engineer(
        setting(Kernel::detect(), &Scales::new(WEEK), now),
        &request.query,
        request.candidates,
        &mut columns,
    )?;
    let features = columns.features();
    Ok((0..features.len()).map(|candidate| features.row(candidate)).collect())
}

#[test]
fn features_equal_the_golden_values() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../../tests/golden/features.json")).unwrap();
    for case in &cases {
        let query = floats(&case["query"]);
        let query_metadata = metadata(&case["metadata"]);
        let half_life = Duration::from_secs_f64(case["half_life_seconds"].as_f64().unwrap());
        let given = case["candidates"].as_array().unwrap();
        let candidates: Vec<_> = given
            .iter()
            .map(|candidate| Candidate {
                id: String::new(),
                embedding: floats(&candidate["embedding"]),
                metadata: metadata(&candidate["metadata"]).unwrap_or_default(),
                created_at: candidate["created_at"].as_i64().unwrap(),
                access_count: candidate["access_count"].as_u64().unwrap(),
                success_rate: candidate["success_rate"].as_f64().unwrap() as f32,
                win_rate: 0.0,
            })
            .collect();
        let request = RoutingRequest {
            query: Query { metadata: query_metadata.as_ref(), ..Query::new(&query) },
            candidates: &candidates,
        };
        for kernel in Kernel::available() {
            let mut columns = Columns::default();
            let now = case["now"].as_i64().unwrap();
            engineer(
                setting(kernel, &Scales::new(half_life), now),
                &request.query,
                &candidates,
                &mut columns,
            )
            .unwrap();
            for (i, candidate) in given.iter().enumerate() {
                let expected = candidate["expected"].as_array().unwrap();
                for ((actual, expected), feature) in
                    columns.features().row(i).iter().zip(expected).zip(Feature::ALL)
                {
                    let expected = expected.as_f64().unwrap();
                    let error = (f64::from(*actual) - expected).abs();
                    let name = (&case["name"], kernel.name(), feature.name());
                    assert!(error < 1e-6, "{name:?}: candidate {i}: {actual}, expected {expected}");
                }
            }
        }
    }
}

#[test]
fn a_candidate_of_another_dimension_is_named_with_both_dimensions() {
    let candidates =
        [candidate("good", 0.5, 0.5), Candidate { embedding: vec![1.0; 3], ..Default::default() }];
    let error = rows(&RoutingRequest::new(&[1.0, 0.0], &candidates)).unwrap_err();
    assert_eq!(error, RouteError::DimensionMismatch { candidate: Some(1), expected: 2, actual: 3 });
    assert_eq!(error.to_string(), "candidate 1: embedding has 3 dimensions, expected 2");
}

#[test]
fn an_element_that_is_not_finite_is_named_at_any_place() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for dimensions in [1, 15, 16, 17, 40] {
            for index in 0..dimensions {
                let good = vec![1.0; dimensions];
                let mut bad = good.clone();
                bad[index] = value;
                let candidates = [good.clone(), bad.clone()]
                    .map(|embedding| Candidate { embedding, ..Default::default() });
                for (query, expected) in [(&good, Some(1)), (&bad, None)] {
                    let error = rows(&RoutingRequest::new(query, &candidates)).unwrap_err();
                    let RouteError::NonFiniteEmbedding { candidate, index: at, value: found } = error else {
                        panic!("{error}");
                    };
                    assert_eq!((candidate, at), (expected, index));
                    assert_eq!(found.to_bits(), value.to_bits());
                }
            }
        }
    }
}

#[test]
fn an_embedding_without_direction_is_an_error() {
    let zeros = [Candidate { embedding: vec![0.0, -0.0], ..Default::default() }];
    let error = rows(&RoutingRequest::new(&[1.0, 0.0], &zeros)).unwrap_err();
    assert_eq!(error, RouteError::ZeroNorm { candidate: Some(0) });
    let error = rows(&RoutingRequest::new(&[0.0, 0.0], &[candidate("good", 0.5, 0.5)])).unwrap_err();
    assert_eq!(error, RouteError::ZeroNorm { candidate: None });
    assert_eq!(error.to_string(), "query: embedding has norm zero");
}

#[test]
fn an_empty_query_is_an_error_even_without_candidates() {
    assert_eq!(rows(&RoutingRequest::new(&[], &[])).unwrap_err(), RouteError::EmptyQuery);
}

#[test]
fn a_success_rate_outside_zero_to_one_is_an_error() {
    for value in [-0.01, 1.01, f32::NAN, f32::INFINITY] {
        let candidates = [candidate("bad", 0.5, value)];
        let error = rows(&RoutingRequest::new(&[1.0, 0.0], &candidates)).unwrap_err();
        assert!(
            matches!(error, RouteError::InvalidSuccessRate { candidate: 0, value: found }
                if found.to_bits() == value.to_bits()),
            "{error}"
        );
    }
}

#[test]
fn a_query_whose_dimension_differs_from_all_candidates_is_named() {
    let candidates = [candidate("a", 0.5, 0.5), candidate("b", 0.6, 0.5)];
    for candidates in [&candidates[..], &candidates[..1]] {
        let error = rows(&RoutingRequest::new(&[1.0, 0.0, 0.0], candidates)).unwrap_err();
        assert_eq!(error, RouteError::DimensionMismatch { candidate: None, expected: 2, actual: 3 });
        assert_eq!(error.to_string(), "query: embedding has 3 dimensions, expected 2");
    }
    // Where the candidates differ from each other, the first that differs from the query is named.
    let mixed = [candidate("a", 0.5, 0.5), Candidate { embedding: vec![1.0], ..Default::default() }];
    let error = rows(&RoutingRequest::new(&[1.0, 0.0, 0.0], &mixed)).unwrap_err();
    assert_eq!(error, RouteError::DimensionMismatch { candidate: Some(0), expected: 3, actual: 2 });
}

#[test]
fn a_win_rate_outside_zero_to_the_success_rate_is_an_error() {
    for value in [-0.01, 0.51, 1.01, f32::NAN] {
        let candidates = [Candidate { win_rate: value, ..candidate("bad", 0.5, 0.5) }];
        let error = rows(&RoutingRequest::new(&[1.0, 0.0], &candidates)).unwrap_err();
        assert!(
            matches!(error, RouteError::InvalidWinRate { candidate: 0, value: found, success_rate: 0.5 }
                if found.to_bits() == value.to_bits()),
            "{error}"
        );
    }
}

#[test]
fn each_coding_of_ties_gives_its_success_rate() {
    let mut columns = Columns::default();
    let rates = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.7, 0.3)];
    let candidates: Vec<_> = rates
        .map(|(success_rate, win_rate)| Candidate { win_rate, ..candidate("", 0.5, success_rate) })
        .into();
    for (ties, expected) in [(Ties::Half, [0.0, 0.5, 1.0, 0.5]), (Ties::Whole, [0.0, 1.0, 1.0, 0.7])] {
        let scales = Scales::new(WEEK);
        let setting = Setting { ties, ..setting(Kernel::detect(), &scales, 0) };
        engineer(setting, &Query::new(&[1.0, 0.0]), &candidates, &mut columns).unwrap();
        assert_eq!(columns.features().column(Feature::SuccessRate), expected, "{ties}");
    }
}

#[test]
fn columns_are_reused_after_an_error() {
    let mut columns = Columns::default();
    let bad = [candidate("bad", 0.5, 2.0)];
    let scales = Scales::new(WEEK);
    let mut engineer = |candidates: &[Candidate]| {
        engineer(setting(Kernel::detect(), &scales, 0), &Query::new(&[1.0, 0.0]), candidates, &mut columns)
    };
    engineer(&bad).unwrap_err();
    let good = [candidate("good", 0.6, 0.5)];
    engineer(&good).unwrap();
    assert_eq!(columns.features().len(), 1);
    assert!((columns.features().row(0)[0] - 0.6).abs() < 1e-6);
}

#[test]
fn a_large_and_a_small_request_give_the_same_features() {
    // The large one has the size from which `parallel` splits the work.
    let candidates: Vec<_> =
        (0..5000).map(|i| candidate("", (i as f32 * 0.37).sin() * 0.99, (i % 11) as f32 / 10.0)).collect();
    let all = rows(&RoutingRequest::new(&[0.8, 0.6], &candidates)).unwrap();
    for (candidate, row) in candidates.iter().zip(&all) {
        let single = rows(&RoutingRequest::new(&[0.8, 0.6], std::slice::from_ref(candidate))).unwrap();
        assert_eq!(single[0].map(f32::to_bits), row.map(f32::to_bits));
    }
}

#[test]
fn the_first_bad_candidate_of_many_is_named() {
    let mut candidates = vec![candidate("", 0.5, 0.5); 5000];
    candidates[1234].success_rate = 7.0;
    candidates[4321].success_rate = 8.0;
    let error = rows(&RoutingRequest::new(&[0.8, 0.6], &candidates)).unwrap_err();
    assert_eq!(error, RouteError::InvalidSuccessRate { candidate: 1234, value: 7.0 });
}

proptest! {
    #[test]
    fn recency_and_frequency_equal_the_equations(now: i64, created_at: i64, access_count: u64) {
        let candidates = [Candidate { created_at, access_count, ..candidate("", 0.5, 0.5) }];
        let request = RoutingRequest { query: Query { now: Some(now), ..Query::new(&[1.0, 0.0]) }, candidates: &candidates };
        let [_, recent, frequent, ..] = rows(&request).unwrap()[0];
        prop_assert!((recent - recency(now, created_at, WEEK)).abs() < 1e-6);
        prop_assert!((0.0..=1.0).contains(&recent));
        prop_assert_eq!(frequent.to_bits(), frequency(access_count).to_bits());
    }
}
