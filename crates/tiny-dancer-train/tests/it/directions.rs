//! The embedded model's confidence in one candidate moves in the right direction with every feature, for any values
//! of the other features. It rises with the success rate. With similarity, recency, frequency and overlap it rises
//! where the success rate is 1 and falls where it is 0.

use tiny_dancer_core::{Candidate, Feature, Metadata, Query, Router, RouterConfig, RoutingRequest};

const NOW: i64 = 1_700_000_000;
const DAY: i64 = 86_400;

const SIMILARITIES: &[f32] = &[-1.0, -0.8, -0.5, -0.2, 0.0, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0];
/// Days, from two years to 0.
const AGES: &[i64] = &[730, 70, 28, 14, 7, 2, 0];
const COUNTS: &[u64] = &[0, 1, 4, 20, 100, 400, 1000];
const RATES: &[f32] = &[0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0];
/// How many of three metadata pairs the query shares.
const SHARED: &[usize] = &[0, 1, 2, 3];

const LENGTHS: [usize; Feature::COUNT] =
    [SIMILARITIES.len(), AGES.len(), COUNTS.len(), RATES.len(), SHARED.len()];

/// A point of the grid: one index for each feature.
type Point = [usize; Feature::COUNT];

fn points() -> Vec<Point> {
    (0..LENGTHS.iter().product())
        .map(|mut number: usize| {
            LENGTHS.map(|length| {
                let index = number % length;
                number /= length;
                index
            })
        })
        .collect()
}

fn number(point: Point) -> usize {
    point.iter().zip(LENGTHS).rev().fold(0, |number, (&index, length)| number * length + index)
}

fn metadata(shared: usize, of: &str) -> Metadata {
    let value = |i: usize| if i < shared { "same".to_owned() } else { of.to_owned() };
    (0..3).map(|i| (format!("key-{i}"), value(i))).collect()
}

fn candidate([similarity, age, count, rate, shared]: Point) -> Candidate {
    let cosine = SIMILARITIES[similarity];
    Candidate {
        embedding: vec![cosine, (1.0 - cosine * cosine).sqrt()],
        created_at: NOW - AGES[age] * DAY,
        access_count: COUNTS[count],
        // Without ties, models of all targets read the same rate.
        success_rate: RATES[rate],
        win_rate: RATES[rate],
        metadata: metadata(SHARED[shared], "other"),
        ..Default::default()
    }
}

fn router() -> Router {
    Router::new(RouterConfig::default()).expect("the default configuration is valid")
}

/// The confidence of each point's candidate by the per-candidate pass.
fn per_candidate(points: &[Point]) -> Vec<f32> {
    let candidates: Vec<Candidate> = points.iter().map(|&point| candidate(point)).collect();
    let query = metadata(3, "query");
    let query = Query { metadata: Some(&query), now: Some(NOW), ..Query::new(&[1.0, 0.0]) };
    let request = RoutingRequest { query, candidates: &candidates };
    let mut confidences = vec![f32::NAN; points.len()];
    for decision in router().route(request).expect("the request is valid").decisions {
        confidences[decision.candidate] = decision.confidence;
    }
    confidences
}

/// Compares each point that `applies` accepts with the next one along a feature.
fn assert_direction(feature: Feature, rises: bool, applies: impl Fn(Point) -> bool) {
    let points = points();
    let confidences = per_candidate(&points);
    let mut compared = 0;
    for &low in points.iter().filter(|&&point| applies(point)) {
        let mut high = low;
        high[feature as usize] += 1;
        if high[feature as usize] == LENGTHS[feature as usize] {
            continue;
        }
        let (before, after) = (confidences[number(low)], confidences[number(high)]);
        let holds = if rises { before < after } else { before > after };
        assert!(holds, "{}: {before} at {low:?}, {after} one step further", feature.name());
        compared += 1;
    }
    assert!(compared > 1600, "only {compared} pairs of points");
}

fn rate_is(rate: f32) -> impl Fn(Point) -> bool {
    move |point| RATES[point[Feature::SuccessRate as usize]] == rate
}

#[test]
fn the_success_rate_raises_confidence_everywhere() {
    assert_direction(Feature::SuccessRate, true, |_| true);
}

#[test]
fn similarity_strengthens_a_candidates_outcome() {
    assert_direction(Feature::Similarity, true, rate_is(1.0));
    assert_direction(Feature::Similarity, false, rate_is(0.0));
}

#[test]
fn recency_strengthens_a_candidates_outcome() {
    assert_direction(Feature::Recency, true, rate_is(1.0));
    assert_direction(Feature::Recency, false, rate_is(0.0));
}

#[test]
fn frequency_strengthens_a_candidates_outcome() {
    assert_direction(Feature::Frequency, true, rate_is(1.0));
    assert_direction(Feature::Frequency, false, rate_is(0.0));
}

#[test]
fn metadata_overlap_strengthens_a_candidates_outcome() {
    assert_direction(Feature::MetadataOverlap, true, rate_is(1.0));
    assert_direction(Feature::MetadataOverlap, false, rate_is(0.0));
}

/// So all directions hold for a request of one candidate, too.
#[test]
fn both_passes_agree_on_a_request_of_one_candidate() {
    let points: Vec<Point> = points().into_iter().step_by(7).collect();
    let confidences = per_candidate(&points);
    let (router, query) = (router(), metadata(3, "query"));
    for (&point, per_candidate) in points.iter().zip(confidences) {
        let candidates = [candidate(point)];
        let query = Query { metadata: Some(&query), now: Some(NOW), ..Query::new(&[1.0, 0.0]) };
        let request = RoutingRequest { query, candidates: &candidates };
        let joint = router.route(request).unwrap().confidence;
        assert!(
            (joint - per_candidate).abs() < 1e-6,
            "{joint} jointly, {per_candidate} per candidate at {point:?}"
        );
    }
}

/// The minimal requirement on the joint pass: candidates with a higher success rate give a higher confidence, for any
/// number of candidates and any similarity from 0 on.
#[test]
fn candidates_of_a_higher_success_rate_give_a_higher_confidence() {
    let router = router();
    for n in [1, 2, 4, 8, 16, 32, 64] {
        for similarity in 4..SIMILARITIES.len() {
            let confidence = |rate: usize| {
                let candidates = vec![candidate([similarity, 6, 1, rate, 0]); n];
                let request = RoutingRequest {
                    query: Query { now: Some(NOW), ..Query::new(&[1.0, 0.0]) },
                    candidates: &candidates,
                };
                router.route(request).unwrap().confidence
            };
            assert!(confidence(6) > confidence(3) && confidence(3) > confidence(0), "{n} candidates");
        }
    }
}
