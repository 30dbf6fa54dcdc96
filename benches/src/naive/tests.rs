use super::*;
use crate::Case;
use tiny_dancer::parts::core::{Query, Router, RoutingResponse};

const CLOSE: f32 = 1e-5;

fn routers() -> (Naive, Router) {
    let config = RouterConfig::default();
    (Naive::new(&Model::embedded(), config.clone()), Router::new(config).unwrap())
}

/// The least and greatest uncertainty of a table within [`CLOSE`] of a confidence and of a similarity. They differ where a
/// calibration score or an edge between bins lies there.
fn uncertainties(table: &CalibrationTable, confidence: f32, top: f32, candidates: usize) -> (f32, f32) {
    let mut range = (f32::MAX, f32::MIN);
    for confidence in [confidence - CLOSE, confidence, confidence + CLOSE] {
        for top in [top - CLOSE, top, top + CLOSE] {
            let uncertainty = table.uncertainty(confidence, top, candidates);
            range = (range.0.min(uncertainty), range.1.max(uncertainty));
        }
    }
    range
}

/// Whether rounding leaves the order of the similarities unchanged.
fn is_clear(case: &Case) -> bool {
    let mut similarities: Vec<f32> =
        case.candidates().iter().map(|candidate| cosine(case.query(), &candidate.embedding)).collect();
    similarities.sort_by(f32::total_cmp);
    similarities.windows(2).all(|pair| pair[1] - pair[0] > 1e-6)
}

/// The similarity of a candidate.
fn similarity(case: &Case, candidate: usize) -> f32 {
    cosine(case.query(), &case.candidates()[candidate].embedding)
}

#[test]
fn it_agrees_with_the_router_within_1e_5() {
    let (naive, router) = routers();
    let model = router.model();
    let mut response = RoutingResponse::default();
    let (mut compared, mut equal, mut unclear) = (0, 0, 0);
    for (candidates, dimensions) in [(1, 128), (1, 384), (10, 128), (10, 384), (64, 7), (100, 128), (130, 33)]
    {
        for nth in 0..40 {
            let case = Case::nth(candidates, dimensions, nth);
            if !is_clear(&case) {
                unclear += 1;
                continue;
            }
            let answer = naive.route(case.request()).unwrap();
            router.route_into(case.request(), &mut response).unwrap();
            assert!((answer.confidence - response.confidence).abs() <= CLOSE, "{answer:?}\n{response:?}");
            let top = (0..candidates).map(|it| similarity(&case, it)).fold(-1.0, f32::max);
            let joint = candidates.min(JOINT_CANDIDATES);
            let (least, most) = uncertainties(model.joint(), response.confidence, top, joint);
            assert!((least..=most).contains(&answer.uncertainty), "{least} to {most}: {answer:?}");
            assert!((least..=most).contains(&response.uncertainty), "{least} to {most}: {response:?}");
            if answer.uncertainty == response.uncertainty {
                assert_eq!((answer.model, answer.reason), (response.model, response.reason));
            }

            assert_eq!(answer.decisions.len(), response.decisions.len());
            let mut decisions: Vec<_> = answer.decisions.iter().collect();
            decisions.sort_by_key(|decision| decision.candidate);
            for real in &response.decisions {
                let naive = decisions[real.candidate];
                assert!((naive.confidence - real.confidence).abs() <= CLOSE, "{naive:?}\n{real:?}");
                let top = similarity(&case, real.candidate);
                let (least, most) = uncertainties(model.per_candidate(), real.confidence, top, 1);
                assert!((least..=most).contains(&naive.uncertainty), "{least} to {most}: {naive:?}");
                if naive.uncertainty == real.uncertainty {
                    equal += 1;
                    assert_eq!(naive.use_lightweight, real.use_lightweight, "{naive:?}\n{real:?}");
                }
                compared += 1;
            }
            // Confidences that differ by more than rounding have the same order in both.
            for pair in answer.decisions.windows(2) {
                let place = |candidate| response.decisions.iter().position(|it| it.candidate == candidate);
                if pair[0].confidence - pair[1].confidence > CLOSE {
                    assert!(place(pair[0].candidate) < place(pair[1].candidate), "{pair:?}");
                }
            }
        }
    }
    assert!(unclear <= 28, "{unclear} of 280 requests have similarities of uncertain order");
    assert!(equal * 1000 >= compared * 995, "only {equal} of {compared} uncertainties are equal");
}

#[test]
fn it_reads_metadata_and_the_future_as_the_router_does() {
    let (naive, router) = routers();
    let pairs = |text: &str| -> Metadata {
        text.split_whitespace()
            .filter_map(|it| it.split_once('='))
            .map(|(k, v)| (k.into(), v.into()))
            .collect()
    };
    let case = Case::new(10, 16);
    let mut candidates = case.candidates().to_vec();
    for (candidate, text) in
        candidates.iter_mut().zip(["subject=algebra", "subject=law", "a=b subject=algebra"])
    {
        candidate.metadata = pairs(text);
        candidate.created_at = i64::MAX;
        candidate.access_count = u64::MAX;
    }
    let query = pairs("subject=algebra level=1");
    let request = RoutingRequest {
        query: Query { metadata: Some(&query), ..case.request().query },
        candidates: &candidates,
    };
    let (answer, response) = (naive.route(request).unwrap(), router.route(request).unwrap());
    let plain = naive.route(case.request()).unwrap();
    assert!((answer.confidence - response.confidence).abs() <= CLOSE, "{answer:?}\n{response:?}");
    assert!(
        (answer.confidence - plain.confidence).abs() > CLOSE,
        "the metadata and the future have no effect"
    );
}

#[test]
fn it_returns_the_errors_of_the_router_and_its_answer_without_candidates() {
    let (naive, router) = routers();
    let case = Case::new(3, 8);
    let changed = |change: fn(&mut Candidate)| {
        let mut candidates = case.candidates().to_vec();
        change(&mut candidates[1]);
        candidates
    };
    for candidates in [
        changed(|candidate| candidate.embedding[3] = f32::NAN),
        changed(|candidate| candidate.embedding.truncate(7)),
        changed(|candidate| candidate.embedding.fill(0.0)),
        changed(|candidate| candidate.success_rate = 1.5),
    ] {
        let request = RoutingRequest { candidates: &candidates, ..case.request() };
        let (naive, router) = (naive.route(request).unwrap_err(), router.route(request).unwrap_err());
        assert_eq!(naive.to_string(), router.to_string());
    }
    let empty = RoutingRequest { query: Query::new(&[]), ..case.request() };
    assert_eq!(naive.route(empty).unwrap_err().to_string(), router.route(empty).unwrap_err().to_string());
    let request = RoutingRequest { candidates: &[], ..case.request() };
    let (answer, response) = (naive.route(request).unwrap(), router.route(request).unwrap());
    assert_eq!((answer.reason, answer.confidence), (response.reason, response.confidence));
}
