use super::*;
use crate::observer::{
    BatchStart, BreakerTransition, Decided, Detail, Failed, MemoryChange, MemoryEvent, MemoryState,
    OutcomeReported, RequestEnd, RequestStart, StageEnd, StageStart, VerdictKind,
};
use crate::testing::{self, ContractChecker, NOW, broken_model, candidate, router, toy_model};
use crate::{Candidate, CircuitBreakerConfig, Clock, ErrorKind, ManualClock};
use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;

const QUERY: [f32; 2] = [1.0, 0.0];

fn toy() -> Router {
    router(toy_model(), CircuitBreakerConfig::default(), ()).0
}

fn route(candidates: &[Candidate]) -> RoutingResponse {
    toy().route(RoutingRequest::new(&QUERY, candidates)).unwrap()
}

#[test]
fn a_router_is_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Router>();
    shared::<Router<(ContractChecker, Option<std::sync::Arc<ContractChecker>>)>>();
}

#[test]
fn near_candidates_that_succeeded_choose_the_lightweight_model() {
    let response = route(&[candidate("a", 0.9, 1.0)]);
    assert_eq!((response.model, response.reason), (ModelType::Lightweight, Reason::Confident));
    assert!(response.confidence > 0.97 && response.uncertainty < 0.1, "{response:?}");
}

#[test]
fn near_candidates_that_failed_choose_the_powerful_model() {
    let response = route(&[candidate("a", 0.9, 0.0)]);
    assert_eq!((response.model, response.reason), (ModelType::Powerful, Reason::LowConfidence));
}

#[test]
fn far_candidates_give_a_high_uncertainty_even_if_they_succeeded() {
    let response = route(&[candidate("a", 0.1, 1.0)]);
    assert_eq!((response.model, response.reason), (ModelType::Powerful, Reason::HighUncertainty));
    assert!(response.confidence > 0.97);
    assert_eq!(response.uncertainty.to_bits(), 1.0_f32.to_bits());
}

#[test]
fn the_confidence_is_tested_before_the_uncertainty() {
    assert_eq!(route(&[candidate("a", 0.1, 0.0)]).reason, Reason::LowConfidence);
}

#[test]
fn a_request_without_candidates_goes_to_the_powerful_model() {
    let response = route(&[]);
    assert_eq!(response, RoutingResponse::default());
    assert_eq!((response.model, response.reason), (ModelType::Powerful, Reason::NoEvidence));
    assert_eq!((response.confidence.to_bits(), response.uncertainty.to_bits()), (0, 1.0_f32.to_bits()));
}

#[test]
fn values_equal_to_the_thresholds_meet_them() {
    let exact = route(&[candidate("a", 0.9, 1.0)]);
    let config = RouterConfig {
        confidence_threshold: exact.confidence,
        max_uncertainty: exact.uncertainty,
        ..RouterConfig::default()
    };
    let router = Router::with_model(config, (), toy_model()).unwrap();
    let response = router.route(RoutingRequest::new(&QUERY, &[candidate("a", 0.9, 1.0)])).unwrap();
    assert_eq!(response.reason, Reason::Confident);
}

#[test]
fn the_nearest_candidate_is_read_last() {
    let near_success = [candidate("near", 0.9, 1.0), candidate("far", 0.6, 0.0)];
    let near_failure = [candidate("near", 0.9, 0.0), candidate("far", 0.6, 1.0)];
    assert_eq!(route(&near_success).model, ModelType::Lightweight);
    assert_eq!(route(&near_failure).model, ModelType::Powerful);
}

/// The same candidates, in an order that depends on the seed.
fn shuffled(candidates: &[Candidate], seed: u64) -> Vec<Candidate> {
    let mut keyed: Vec<_> = (0..).zip(candidates).collect();
    keyed
        .sort_by_key(|&(i, _): &(u64, _)| (i + 1).wrapping_mul(seed | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    keyed.into_iter().map(|(_, candidate)| candidate.clone()).collect()
}

#[test]
fn any_order_of_the_same_candidates_gives_the_same_decision() {
    let router = Router::new(RouterConfig::default()).unwrap();
    // Equal similarities with different success rates: fewer candidates than the joint pass reads, and more.
    for (failed, succeeded, distinct) in [(1, 1, 0), (64, 64, 0), (40, 40, 30), (200, 100, 5)] {
        let candidates: Vec<_> = (0..failed)
            .map(|_| candidate("failed", 0.9, 0.0))
            .chain((0..succeeded).map(|_| candidate("succeeded", 0.9, 1.0)))
            .chain((0..distinct).map(|i| candidate("", i as f32 / 31.0, 0.5)))
            .collect();
        let decide = |candidates: &[Candidate]| {
            let query = Query { now: Some(NOW), ..Query::new(&QUERY) };
            let set = CandidateSet::new(candidates.to_vec()).unwrap();
            let request = RoutingRequest { query, candidates };
            let [batched] = router.route_batch(&[request]).try_into().unwrap();
            [
                router.route(request),
                batched,
                router.route_set(query, &set, usize::MAX),
                router.route_set(query, &set, 64),
            ]
            .map(|response| response.unwrap())
            .map(|response| (response.reason, response.confidence.to_bits(), response.uncertainty.to_bits()))
        };
        let expected = decide(&candidates)[0];
        for seed in 0..20 {
            assert_eq!(decide(&shuffled(&candidates, seed)), [expected; 4], "{failed}, {succeeded}, {seed}");
        }
    }
}

#[test]
fn of_equal_similarities_failures_are_read_last() {
    let candidates = [candidate("failed", 0.9, 0.0), candidate("succeeded", 0.9, 1.0)];
    let response = route(&candidates);
    assert_eq!((response.model, response.reason), (ModelType::Powerful, Reason::LowConfidence));
}

/// Records the places of candidates by kind of event: steps, decisions, joint pass.
#[derive(Default)]
struct Places(Mutex<[Vec<(usize, String)>; 3]>);

impl Observer for Places {
    type Request = ();
    type Stage = ();
    type Batch = ();
    fn on_request_start(&self, _: &RequestStart<'_>) {}
    fn detail(&self, (): &()) -> Detail {
        Detail::Candidates
    }
    fn on_stage_start(&self, (): &mut (), event: &StageStart<'_>) {
        if let Some(step) = event.step {
            self.0.lock().unwrap()[0].push((step.candidate, step.id.to_owned()));
        }
    }
    fn on_decision(&self, (): &mut (), event: &Decided<'_>) {
        let [_, decisions, joint] = &mut *self.0.lock().unwrap();
        for (decision, id) in event.decisions.iter().zip(event.candidate_ids()) {
            decisions.push((decision.candidate, id.to_owned()));
        }
        joint.extend(event.joint().map(|(candidate, _)| (candidate, candidate.to_string())));
    }
}

#[test]
fn a_candidate_of_a_set_has_one_place_for_observers_and_in_the_response() {
    let candidates = (0..100).map(|i| candidate(&i.to_string(), i as f32 / 101.0, 0.5)).collect();
    let set = CandidateSet::new(candidates).unwrap();
    let (router, _) = router(toy_model(), CircuitBreakerConfig::default(), Places::default());
    let response = router.route_set(Query::new(&QUERY), &set, 3).unwrap();
    let mut places: Vec<_> = response.decisions.iter().map(|decision| decision.candidate).collect();
    places.sort_unstable();
    assert_eq!(places, [97, 98, 99]);
    let expected = [97, 98, 99].map(|place: usize| (place, place.to_string()));
    for places in &mut *router.observer().0.lock().unwrap() {
        places.sort_unstable();
        assert_eq!(*places, expected);
    }
}

/// Panics at each outcome.
struct PanicsAtOutcome;

impl Observer for PanicsAtOutcome {
    type Request = ();
    type Stage = ();
    type Batch = ();
    fn on_request_start(&self, _: &RequestStart<'_>) {}
    fn on_outcome(&self, _: &OutcomeReported) {
        panic!("the panic that this test needs");
    }
}

#[test]
fn an_outcome_reaches_the_circuit_even_if_an_observer_panics() {
    let circuits = CircuitBreakerConfig { lightweight_min_calls: 4, ..Default::default() };
    let (router, _) = router(toy_model(), circuits, PanicsAtOutcome);
    for _ in 0..4 {
        let failed = Outcome::new(ModelType::Lightweight, OutcomeResult::CallFailed);
        let report = std::panic::AssertUnwindSafe(|| router.record_outcome(failed));
        std::panic::catch_unwind(report).unwrap_err();
    }
    assert_eq!(router.circuit_state(Circuit::Lightweight), CircuitState::Open);
}

/// Enables all stages and steps of every second request.
#[derive(Default)]
struct Sampler(std::sync::atomic::AtomicU64);

impl Observer for Sampler {
    type Request = bool;
    type Stage = ();
    type Batch = ();
    fn on_request_start(&self, _: &RequestStart<'_>) -> bool {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 2 == 1
    }
    fn detail(&self, &sampled: &bool) -> Detail {
        if sampled { Detail::Candidates } else { Detail::Unsuccessful }
    }
}

#[test]
fn a_tuple_times_only_the_stages_that_a_member_enables() {
    let candidates = [candidate("a", 0.9, 1.0)];
    let reads = |observer: (Selective, Option<Sampler>), requests: usize| {
        let (router, manual) = router(toy_model(), CircuitBreakerConfig::default(), observer);
        (0..requests)
            .map(|_| {
                let before = manual.reads();
                let query = Query { now: Some(NOW), ..Query::new(&QUERY) };
                router.route(RoutingRequest { query, candidates: &candidates }).unwrap();
                manual.reads() - before
            })
            .collect::<Vec<_>>()
    };
    let inference = || {
        let (_, manual) = Clock::manual(NOW);
        let (detail, stage) = (Detail::Stages, Stage::ModelInference);
        Selective { detail, stage, ranks: 0..0, manual, received: Mutex::default() }
    };
    let single = reads((inference(), None), 1);
    assert_eq!(single, [3], "the start, the end of one stage, the end");
    // Beside a member that samples, a request that is not sampled needs as many readings as before. A sampled request has
    // its start and end, and start and end of four stages and of a step.
    let sampled = 2 + 2 * 5;
    assert_eq!(reads((inference(), Some(Sampler::default())), 4), [3, sampled, 3, sampled]);
}

#[test]
fn decisions_are_sorted_by_descending_confidence_and_ties_by_place() {
    let response = route(&[
        candidate("a", 0.9, 0.0),
        candidate("b", 0.9, 1.0),
        candidate("c", 0.9, 0.5),
        candidate("d", 0.3, 1.0),
        candidate("e", 0.9, 1.0),
    ]);
    let order: Vec<_> = response.decisions.iter().map(|decision| decision.candidate).collect();
    assert_eq!(order, [1, 3, 4, 2, 0]);
    let lightweight: Vec<_> = response.decisions.iter().map(|decision| decision.use_lightweight).collect();
    assert_eq!(lightweight, [true, false, true, false, false], "d is far, so its uncertainty is 1");
}

#[test]
fn recency_is_measured_from_the_request_or_else_from_the_clock() {
    let (clock, manual) = Clock::manual(NOW);
    let config = RouterConfig { clock, ..Default::default() };
    let router = Router::with_model(config, (), toy_model()).unwrap();
    let candidates = [candidate("a", 0.9, 1.0)];
    let recency = |now| {
        let mut response = RoutingResponse::default();
        let request = RoutingRequest { query: Query { now, ..Query::new(&QUERY) }, candidates: &candidates };
        router.route_into(request, &mut response).unwrap();
        response.scratch.columns.features().column(Feature::Recency)[0]
    };
    assert!((recency(Some(NOW)) - 1.0).abs() < 1e-6);
    assert!((recency(Some(NOW + 7 * 86400)) - 0.5).abs() < 1e-6);
    assert!((recency(None) - 1.0).abs() < 1e-6);
    manual.advance(Duration::from_secs(7 * 86400));
    assert!((recency(None) - 0.5).abs() < 1e-6);
    assert!((recency(Some(NOW - 1)) - 1.0).abs() < 1e-6, "a time in the future counts as now");
}

#[test]
fn an_unobserved_router_reads_no_clock_when_now_is_given() {
    let (router, manual) = router(toy_model(), CircuitBreakerConfig::default(), ());
    let candidates = [candidate("a", 0.9, 1.0)];
    let request =
        RoutingRequest { query: Query { now: Some(NOW), ..Query::new(&QUERY) }, candidates: &candidates };
    let before = manual.reads();
    router.route(request).unwrap();
    assert_eq!(manual.reads(), before);
    router.route(RoutingRequest { query: Query { now: None, ..request.query }, ..request }).unwrap();
    assert_eq!(manual.reads(), before + 1);
}

#[test]
fn a_router_with_enabled_stages_reads_five_ticks() {
    let (router, manual) =
        router(toy_model(), CircuitBreakerConfig::default(), Recorder::new(Detail::Stages));
    let candidates = [candidate("a", 0.9, 1.0)];
    let request =
        RoutingRequest { query: Query { now: Some(NOW), ..Query::new(&QUERY) }, candidates: &candidates };
    let before = manual.reads();
    router.route(request).unwrap();
    assert_eq!(manual.reads(), before + 5, "the request's start, and the end of each stage");
}

#[test]
fn an_error_resets_the_response() {
    let router = toy();
    let mut response = router.route(RoutingRequest::new(&QUERY, &[candidate("a", 0.9, 1.0)])).unwrap();
    router.route_into(RoutingRequest::new(&QUERY, &[candidate("a", 0.9, 2.0)]), &mut response).unwrap_err();
    assert_eq!(response, RoutingResponse::default());
}

#[test]
fn a_reused_response_equals_a_new_one() {
    let router = toy();
    let mut reused = RoutingResponse::default();
    for n in [5, 100, 1, 0, 64, 17] {
        let candidates: Vec<_> =
            (0..n).map(|i| candidate("", 0.9 - i as f32 * 0.005, (i % 3) as f32 / 2.0)).collect();
        let request = RoutingRequest::new(&QUERY, &candidates);
        router.route_into(request, &mut reused).unwrap();
        assert_eq!(reused, router.route(request).unwrap());
    }
}

#[test]
fn the_same_request_gives_the_same_bits_on_any_number_of_threads() {
    let router = Router::new(RouterConfig::default()).unwrap();
    let candidates: Vec<_> =
        (0..90).map(|i| candidate("", (i as f32).sin() * 0.9, (i % 5) as f32 / 4.0)).collect();
    let request =
        RoutingRequest { query: Query { now: Some(NOW), ..Query::new(&QUERY) }, candidates: &candidates };
    let bits = |response: &RoutingResponse| {
        let decisions =
            response.decisions.iter().map(|d| (d.candidate, d.confidence.to_bits(), d.uncertainty.to_bits()));
        (response.confidence.to_bits(), response.uncertainty.to_bits(), decisions.collect::<Vec<_>>())
    };
    let expected = bits(&router.route(request).unwrap());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| bits(&router.route(request).unwrap()))).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), expected);
        }
    });
}

#[test]
fn a_broken_model_is_the_routers_own_failure_and_opens_the_inference_circuit() {
    let (router, manual) = router(broken_model(), CircuitBreakerConfig::default(), ());
    let candidates = [candidate("a", 0.9, 1.0)];
    let request = RoutingRequest::new(&QUERY, &candidates);
    for _ in 0..5 {
        let error = router.route(request).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NonFiniteOutput);
        assert_eq!(error.to_string(), "candidate 0: the model's logit is inf");
    }
    assert_eq!(router.circuit_state(Circuit::Inference), CircuitState::Open);
    let response = router.route(request).unwrap();
    assert_eq!((response.model, response.reason), (ModelType::Powerful, Reason::CircuitOpen));
    manual.advance(Duration::from_secs(30));
    router.route(request).unwrap_err();
    assert_eq!(router.circuit_state(Circuit::Inference), CircuitState::Open, "the probe failed");
}

#[test]
fn bad_input_never_opens_a_circuit() {
    let router = toy();
    for _ in 0..100 {
        router.route(RoutingRequest::new(&QUERY, &[candidate("a", 0.9, f32::NAN)])).unwrap_err();
    }
    assert_eq!(router.circuit_state(Circuit::Inference), CircuitState::Closed);
}

#[test]
fn the_inference_circuit_recovers_by_probes() {
    let (router, manual) = router(toy_model(), CircuitBreakerConfig::default(), ());
    for _ in 0..5 {
        router.inference.failed();
    }
    manual.advance(Duration::from_secs(30));
    let candidates = [candidate("a", 0.9, 1.0)];
    let request = RoutingRequest::new(&QUERY, &candidates);
    for state in [CircuitState::HalfOpen, CircuitState::HalfOpen, CircuitState::Closed] {
        assert_eq!(router.route(request).unwrap().reason, Reason::Confident);
        assert_eq!(router.circuit_state(Circuit::Inference), state);
    }
}

/// A router whose lightweight circuit becomes half-open at the next request, with one probe.
fn one_probe() -> Router {
    let circuits = CircuitBreakerConfig { probes: 1, ..Default::default() };
    let (router, manual) = router(toy_model(), circuits, ());
    for _ in 0..20 {
        router.record_outcome(Outcome::new(ModelType::Lightweight, OutcomeResult::CallFailed));
    }
    assert_eq!(router.circuit_state(Circuit::Lightweight), CircuitState::Open);
    manual.advance(Duration::from_secs(30));
    router
}

#[test]
fn an_outcome_ends_a_probe_of_the_lightweight_circuit() {
    let router = one_probe();
    let candidates = [candidate("a", 0.9, 1.0)];
    let request = RoutingRequest::new(&QUERY, &candidates);
    assert_eq!(router.route(request).unwrap().reason, Reason::Confident);
    assert_eq!(router.route(request).unwrap().reason, Reason::CircuitOpen, "the probe is in use");
    router.record_outcome(Outcome::new(ModelType::Powerful, OutcomeResult::Sufficed));
    assert_eq!(router.circuit_state(Circuit::Lightweight), CircuitState::HalfOpen);
    router.record_outcome(Outcome::new(ModelType::Lightweight, OutcomeResult::Sufficed));
    assert_eq!(router.circuit_state(Circuit::Lightweight), CircuitState::Closed);
}

#[test]
fn a_probe_that_is_not_sent_to_the_lightweight_model_returns_its_permit() {
    let router = one_probe();
    for bad in [candidate("a", 0.9, 0.0), candidate("a", 0.1, 1.0)] {
        assert!(!router.route(RoutingRequest::new(&QUERY, &[bad])).unwrap().reason.is_fallback());
    }
    router.route(RoutingRequest::new(&QUERY, &[candidate("a", 0.9, 2.0)])).unwrap_err();
    assert_eq!(router.route(RoutingRequest::new(&QUERY, &[])).unwrap().reason, Reason::NoEvidence);
    let response = router.route(RoutingRequest::new(&QUERY, &[candidate("a", 0.9, 1.0)])).unwrap();
    assert_eq!(response.reason, Reason::Confident);
}

#[test]
fn insufficient_answers_count_as_failures_only_if_configured() {
    for insufficient_is_failure in [false, true] {
        let circuits = CircuitBreakerConfig { insufficient_is_failure, ..Default::default() };
        let (router, _) = router(toy_model(), circuits, ());
        for _ in 0..30 {
            router.record_outcome(Outcome::new(ModelType::Lightweight, OutcomeResult::Insufficient));
        }
        let open = router.circuit_state(Circuit::Lightweight) == CircuitState::Open;
        assert_eq!(open, insufficient_is_failure);
    }
}

#[test]
fn outcomes_of_the_powerful_model_change_no_circuit() {
    let router = toy();
    for _ in 0..100 {
        router.record_outcome(Outcome::new(ModelType::Powerful, OutcomeResult::CallFailed));
    }
    assert_eq!(router.circuit_state(Circuit::Lightweight), CircuitState::Closed);
}

#[test]
fn an_open_circuit_is_an_error_only_if_configured() {
    for circuit in Circuit::ALL {
        let circuits = CircuitBreakerConfig { on_open: OnOpen::Reject, ..Default::default() };
        let (router, _) = router(toy_model(), circuits, ());
        router.force_open(circuit);
        let error = router.route(RoutingRequest::new(&QUERY, &[])).unwrap_err();
        assert_eq!(error, RouteError::CircuitOpen { circuit, retry_after: None });
        assert_eq!(error.to_string(), format!("the {} circuit is open", circuit.name()));
        router.force_closed(circuit);
        router.route(RoutingRequest::new(&QUERY, &[])).unwrap();
    }
}

#[test]
fn a_reload_swaps_the_model_and_a_bad_file_leaves_the_old_one_serving() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    std::fs::write(&path, toy_model().to_bytes()).unwrap();
    let router = Router::new(RouterConfig { model_path: Some(path.clone()), ..Default::default() }).unwrap();
    let toy = router.model().version().to_owned();

    std::fs::write(&path, broken_model().to_bytes()).unwrap();
    assert_eq!(router.model().version(), toy, "a file is read only by a reload");
    let reloaded = router.reload_model().unwrap();
    assert_eq!(router.model().version(), reloaded.version());
    assert_ne!(reloaded.version(), toy);

    std::fs::write(&path, "not a model").unwrap();
    assert!(matches!(router.reload_model().unwrap_err(), LoadError::Corrupt { .. }));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(router.reload_model().unwrap_err(), LoadError::Read { .. }));
    assert_eq!(router.model().version(), reloaded.version());
}

/// The toy model, with the id of an embedder in its file.
fn toy_model_for(embedder: &str) -> Model {
    let toy = toy_model();
    let facts = [(crate::model::EMBEDDER.to_owned(), embedder.to_owned())].into();
    let (per_candidate, joint) = (toy.per_candidate().clone(), toy.joint().clone());
    Model::new(toy.weights().clone(), toy.ties(), per_candidate, joint, facts).unwrap()
}

#[test]
fn a_model_of_another_embedder_is_refused_and_at_a_reload_the_old_one_serves() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    let config = || RouterConfig {
        model_path: Some(path.clone()),
        embedder: Some("mine".to_owned()),
        ..Default::default()
    };
    let write = |model: Model| std::fs::write(&path, model.to_bytes()).unwrap();

    write(toy_model_for("yours"));
    let other = "the vectors are of embedder mine, the model was made for yours";
    assert_eq!(Router::new(config()).unwrap_err().to_string(), format!("model: {other}"));
    write(toy_model());
    let unknown =
        "the vectors are of embedder mine, and the model does not say for which embedder it was made";
    assert_eq!(Router::new(config()).unwrap_err().to_string(), format!("model: {unknown}"));

    write(toy_model_for("mine"));
    let router = Router::new(config()).unwrap();
    let served = router.model();
    assert_eq!(served.embedder(), Some("mine"));
    write(toy_model_for("yours"));
    assert_eq!(router.reload_model().unwrap_err().to_string(), other);
    assert_eq!(router.model(), served);
}

#[test]
fn an_embedder_without_a_model_in_the_package_is_refused() {
    let config = RouterConfig { embedder: Some("unheard of".to_owned()), ..Default::default() };
    let error = Router::new(config).unwrap_err();
    let ConfigError::Model { source: LoadError::Embedder { expected, .. } } = error else {
        panic!("{error}")
    };
    assert_eq!(expected, "unheard of");
}

#[test]
fn a_model_of_another_version_closes_the_circuit_that_the_previous_one_opened() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    std::fs::write(&path, broken_model().to_bytes()).unwrap();
    let router = Router::new(RouterConfig { model_path: Some(path.clone()), ..Default::default() }).unwrap();
    let fail = || {
        for _ in 0..5 {
            router.route(RoutingRequest::new(&QUERY, &[candidate("a", 0.9, 1.0)])).unwrap_err();
        }
    };
    let state = || router.circuit_state(Circuit::Inference);
    fail();
    assert_eq!(state(), CircuitState::Open);
    router.reload_model().unwrap();
    assert_eq!(state(), CircuitState::Open, "the same model");
    std::fs::write(&path, "not a model").unwrap();
    router.reload_model().unwrap_err();
    assert_eq!(state(), CircuitState::Open, "no model");
    std::fs::write(&path, toy_model().to_bytes()).unwrap();
    router.reload_model().unwrap();
    assert_eq!(state(), CircuitState::Closed);
    router.force_open(Circuit::Inference);
    std::fs::write(&path, broken_model().to_bytes()).unwrap();
    router.reload_model().unwrap();
    assert_eq!(state(), CircuitState::Open, "it was forced");
}

#[test]
fn requests_continue_while_the_model_is_reloaded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    std::fs::write(&path, toy_model().to_bytes()).unwrap();
    let router = Router::new(RouterConfig { model_path: Some(path), ..Default::default() }).unwrap();
    let candidates = [candidate("a", 0.9, 1.0)];
    std::thread::scope(|scope| {
        let routing = scope.spawn(|| {
            for _ in 0..5000 {
                let response = router.route(RoutingRequest::new(&QUERY, &candidates)).unwrap();
                assert_eq!(response.reason, Reason::Confident);
            }
        });
        while !routing.is_finished() {
            router.reload_model().unwrap();
        }
        routing.join().unwrap();
    });
}

/// Records the events of its detail as text.
struct Recorder {
    detail: Detail,
    received: Mutex<Vec<String>>,
}

impl Recorder {
    fn new(detail: Detail) -> Self {
        Self { detail, received: Mutex::default() }
    }

    fn record(&self, event: impl Into<String>) {
        self.received.lock().unwrap().push(event.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.received.lock().unwrap())
    }
}

impl Observer for Recorder {
    type Request = ();
    type Stage = ();
    type Batch = ();

    fn on_request_start(&self, event: &RequestStart<'_>) {
        self.record(format!("start of {}", event.operation));
    }

    fn on_stage_start(&self, (): &mut (), event: &StageStart<'_>) {
        let step = event.step.map(|step| format!(" {} rank {}", step.id, step.rank));
        self.record(format!("{}{}", event.stage.name(), step.unwrap_or_default()));
    }

    fn detail(&self, (): &()) -> Detail {
        self.detail
    }

    fn on_stage_end(&self, (): &mut (), (): (), event: &StageEnd) {
        self.record(format!("end of {}", event.stage.name()));
    }

    fn on_decision(&self, (): &mut (), event: &Decided<'_>) {
        self.record(format!("{} because {}", event.model.name(), event.reason.name()));
    }

    fn on_error(&self, (): &mut (), event: &Failed<'_>) {
        let stage = event.stage.map_or("no stage", Stage::name);
        self.record(format!("{} in {stage}", event.kind()));
    }

    fn on_request_end(&self, (): (), event: &RequestEnd) {
        self.record(format!("end {}", event.status.name()));
    }

    fn on_breaker_transition(&self, event: &BreakerTransition) {
        self.record(format!("{} {} because {}", event.circuit.name(), event.to.name(), event.cause.name()));
    }
}

/// The events of a request at a detail.
fn received(detail: Detail, candidates: &[Candidate]) -> Vec<String> {
    let (router, _) = router(toy_model(), CircuitBreakerConfig::default(), Recorder::new(detail));
    let _ = router.route(RoutingRequest::new(&QUERY, candidates));
    router.observer().take()
}

#[test]
fn off_receives_only_the_start() {
    assert_eq!(received(Detail::Off, &[candidate("a", 0.9, 1.0)]), ["start of route"]);
}

#[test]
fn unsuccessful_receives_errors_and_fallbacks_and_their_end() {
    let received = |candidates: &[Candidate]| received(Detail::Unsuccessful, candidates);
    assert_eq!(received(&[candidate("a", 0.9, 1.0)]), ["start of route"]);
    assert_eq!(
        received(&[candidate("a", 0.9, 0.0)]),
        ["start of route"],
        "powerful by inference is a success"
    );
    assert_eq!(received(&[]), ["start of route", "powerful because no_evidence", "end fallback"]);
    assert_eq!(
        received(&[candidate("a", 0.9, 2.0)]),
        ["start of route", "invalid_success_rate in feature_engineering", "end failure"]
    );
}

#[test]
fn request_receives_decision_or_error_and_the_end() {
    let good = received(Detail::Request, &[candidate("a", 0.9, 1.0)]);
    assert_eq!(good, ["start of route", "lightweight because confident", "end success"]);
    let bad = received(Detail::Request, &[candidate("a", 0.9, 2.0)]);
    assert_eq!(bad, ["start of route", "invalid_success_rate in feature_engineering", "end failure"]);
}

/// Enables one stage, and steps of some ranks. Its callbacks take one second before a stage and two after it.
struct Selective {
    detail: Detail,
    stage: Stage,
    ranks: Range<usize>,
    manual: ManualClock,
    received: Mutex<Vec<(&'static str, Duration)>>,
}

impl Observer for Selective {
    type Request = ();
    type Stage = ();
    type Batch = ();

    fn on_request_start(&self, _: &RequestStart<'_>) {}

    fn detail(&self, (): &()) -> Detail {
        self.detail
    }

    fn is_enabled(&self, (): &(), event: &StageStart<'_>) -> bool {
        event.stage == self.stage && event.step.is_none_or(|step| self.ranks.contains(&step.rank))
    }

    fn on_stage_start(&self, (): &mut (), _: &StageStart<'_>) {
        self.manual.advance(Duration::from_secs(1));
    }

    fn on_stage_end(&self, (): &mut (), (): (), event: &StageEnd) {
        self.received.lock().unwrap().push((event.stage.name(), event.duration));
        self.manual.advance(Duration::from_secs(2));
    }

    fn on_request_end(&self, (): (), event: &RequestEnd) {
        self.received.lock().unwrap().push(("end", event.duration));
    }
}

/// The ends that a selective observer of a request receives, and how often the router reads the clock.
fn selective(detail: Detail, stage: Stage, candidates: &[Candidate]) -> (Vec<(&'static str, Duration)>, u64) {
    let (clock, manual) = Clock::manual(NOW);
    let observer =
        Selective { detail, stage, ranks: 0..2, manual: manual.clone(), received: Mutex::default() };
    let config = RouterConfig { clock, ..Default::default() };
    let router = Router::with_observer(config, observer).unwrap();
    let before = manual.reads();
    router
        .route(RoutingRequest { query: Query { now: Some(NOW), ..Query::new(&QUERY) }, candidates })
        .unwrap();
    let received = std::mem::take(&mut *router.observer().received.lock().unwrap());
    (received, manual.reads() - before)
}

#[test]
fn a_stage_that_is_not_enabled_is_not_timed() {
    let (seconds, candidates) = (Duration::from_secs, [candidate("a", 0.9, 1.0)]);
    // The start, the end of the stage, the end.
    let (received, reads) = selective(Detail::Stages, Stage::ModelInference, &candidates);
    assert_eq!((received, reads), (vec![("model_inference", seconds(1)), ("end", seconds(3))], 3));
    // If the last stage is enabled, the request ends with it.
    let (received, reads) = selective(Detail::Stages, Stage::UncertaintyEstimation, &candidates);
    assert_eq!((received, reads), (vec![("uncertainty_estimation", seconds(1)), ("end", seconds(1))], 2));
}

/// The other candidates are read without steps, with the same bits.
#[test]
fn only_enabled_candidates_have_a_step() {
    let candidates: Vec<_> =
        (0..70_u8).map(|i| candidate("", f32::from(i) / 70.0, f32::from(i % 3) / 2.0)).collect();
    // The nearest two, and two from among the others.
    for ranks in [0..2, 5..7] {
        let (clock, manual) = Clock::manual(NOW);
        let (detail, stage, received) = (Detail::Candidates, Stage::ModelInference, Mutex::default());
        let config = RouterConfig { clock, ..Default::default() };
        let observer = Selective { detail, stage, ranks, manual, received };
        let router = Router::with_observer(config.clone(), observer).unwrap();
        let request =
            RoutingRequest { query: Query { now: Some(NOW), ..Query::new(&QUERY) }, candidates: &candidates };
        let response = router.route(request).unwrap();
        assert_eq!(response, Router::new(config).unwrap().route(request).unwrap());
        let received = router.observer().received.lock().unwrap();
        let names: Vec<_> = received.iter().map(|(name, _)| *name).collect();
        // Two steps, and the stage around them.
        assert_eq!(names, ["model_inference", "model_inference", "model_inference", "end"]);
    }
}

/// Records the start of each stage. Its callbacks take one second before a stage and two after it.
struct Slow(ManualClock, Mutex<Vec<(Stage, Duration, Duration)>>);

impl Observer for Slow {
    type Request = ();
    type Stage = ();
    type Batch = ();

    fn on_request_start(&self, _: &RequestStart<'_>) {}

    fn detail(&self, (): &()) -> Detail {
        Detail::Candidates
    }

    fn on_stage_start(&self, (): &mut (), _: &StageStart<'_>) {
        self.0.advance(Duration::from_secs(1));
    }

    fn on_stage_end(&self, (): &mut (), (): (), event: &StageEnd) {
        self.1.lock().unwrap().push((event.stage, event.start, event.duration));
        self.0.advance(Duration::from_secs(2));
    }
}

#[test]
fn the_end_of_a_stage_has_its_start_relative_to_the_request() {
    let (clock, manual) = Clock::manual(NOW);
    let config = RouterConfig { clock, ..Default::default() };
    let router = Router::with_observer(config, Slow(manual, Mutex::default())).unwrap();
    router.route(RoutingRequest::new(&QUERY, &[candidate("a", 0.9, 1.0)])).unwrap();
    let seconds = Duration::from_secs;
    assert_eq!(
        *router.observer().1.lock().unwrap(),
        [
            (Stage::CircuitBreakerCheck, seconds(1), seconds(0)),
            (Stage::FeatureEngineering, seconds(4), seconds(0)),
            // The candidate's step, and the stage around it.
            (Stage::ModelInference, seconds(8), seconds(0)),
            (Stage::ModelInference, seconds(7), seconds(3)),
            (Stage::UncertaintyEstimation, seconds(13), seconds(0)),
        ]
    );
}

#[test]
fn the_clock_is_read_only_at_details_with_durations() {
    let candidates = [candidate("a", 0.9, 1.0)];
    let (received, reads) = selective(Detail::Unsuccessful, Stage::ModelInference, &[]);
    assert_eq!((received, reads), (vec![("end", Duration::ZERO)], 0));
    let (received, reads) = selective(Detail::Unsuccessful, Stage::ModelInference, &candidates);
    assert_eq!((received, reads), (vec![], 0));
    let (received, reads) = selective(Detail::Request, Stage::ModelInference, &candidates);
    assert_eq!((received, reads), (vec![("end", Duration::ZERO)], 2));
}

#[test]
fn stages_receives_the_four_of_each_request() {
    assert_eq!(
        received(Detail::Stages, &[candidate("a", 0.9, 1.0)]),
        [
            "start of route",
            "circuit_breaker_check",
            "end of circuit_breaker_check",
            "feature_engineering",
            "end of feature_engineering",
            "model_inference",
            "end of model_inference",
            "uncertainty_estimation",
            "end of uncertainty_estimation",
            "lightweight because confident",
            "end success",
        ]
    );
}

#[test]
fn candidates_receives_each_step_farthest_first_within_the_stage() {
    let received = received(Detail::Candidates, &[candidate("near", 0.9, 1.0), candidate("far", 0.1, 1.0)]);
    assert_eq!(
        received[5..11],
        [
            "model_inference",
            "model_inference far rank 1",
            "end of model_inference",
            "model_inference near rank 0",
            "end of model_inference",
            "end of model_inference",
        ]
    );
}

#[test]
fn a_fallback_skips_the_stages_that_are_not_needed() {
    let received = received(Detail::Stages, &[]);
    assert_eq!(
        received[3..],
        ["feature_engineering", "end of feature_engineering", "powerful because no_evidence", "end fallback"]
    );

    let (router, _) = router(toy_model(), CircuitBreakerConfig::default(), Recorder::new(Detail::Stages));
    router.force_open(Circuit::Lightweight);
    router.route(RoutingRequest::new(&QUERY, &[])).unwrap();
    assert_eq!(
        router.observer().take(),
        [
            "lightweight open because forced",
            "start of route",
            "circuit_breaker_check",
            "end of circuit_breaker_check",
            "powerful because circuit_open",
            "end fallback",
        ]
    );
}

#[test]
fn each_member_of_a_tuple_receives_only_what_its_detail_has() {
    let all = [Detail::Off, Detail::Unsuccessful, Detail::Request, Detail::Stages, Detail::Candidates];
    let (router, _) = router(
        toy_model(),
        CircuitBreakerConfig::default(),
        (
            Recorder::new(all[0]),
            Recorder::new(all[1]),
            Some(std::sync::Arc::new(Recorder::new(all[2]))),
            (Recorder::new(all[3]), Recorder::new(all[4]), None::<Recorder>),
        ),
    );
    let (off, unsuccessful, request, (stages, steps, _)) = router.observer();
    let request = request.as_ref().unwrap();
    let success = [candidate("near", 0.9, 1.0), candidate("far", 0.1, 1.0)];
    for candidates in [&success[..], &[], &[candidate("bad", 0.9, 2.0)]] {
        let _ = router.route(RoutingRequest::new(&QUERY, candidates));
        let by_member = [off, unsuccessful, request, stages, steps].map(Recorder::take);
        assert_eq!(by_member, all.map(|detail| received(detail, candidates)));
    }
}

#[test]
fn the_contract_holds_at_every_detail() {
    for detail in [Detail::Off, Detail::Unsuccessful, Detail::Request, Detail::Stages, Detail::Candidates] {
        let counts = testing::exercise(Recorder::new(detail)).counts();
        assert_eq!(counts.stages > 0, detail >= Detail::Stages);
        assert_eq!(counts.steps > 0, detail >= Detail::Candidates);
        let results = counts.decisions + counts.errors;
        match detail {
            Detail::Off => assert_eq!(results, 0),
            Detail::Unsuccessful => assert!(0 < results && results < counts.requests, "{counts:?}"),
            _ => assert_eq!(results, counts.requests),
        }
        assert_eq!(counts.broken_promises, 1);
        assert_eq!((counts.requests, counts.outcomes, counts.reloads), (104, 118, 11));
        assert_eq!(counts.budget, 11, "six verdicts, a cancellation, answers, opened, spent and recovered");
        assert_eq!(counts.memory, 27, "four changes, five verdicts, nine failures and nine losses");
    }
}

/// Counts the events of a memory, and receives nothing of requests.
#[derive(Clone, Default)]
struct Memories(std::sync::Arc<std::sync::atomic::AtomicU64>);

impl Observer for Memories {
    type Request = ();
    type Stage = ();
    type Batch = ();
    fn on_request_start(&self, _: &RequestStart<'_>) {}
    fn detail(&self, (): &()) -> Detail {
        Detail::Off
    }
    fn on_memory(&self, event: &MemoryEvent) {
        assert_eq!(event.state.entries, 7);
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn a_memorys_event_reaches_each_member_of_a_composition() {
    let memories = Memories::default();
    let each = || memories.clone();
    let observer = (each(), Some(each()), (std::sync::Arc::new(each()), None::<Memories>, each(), each()));
    let (router, _) = router(toy_model(), CircuitBreakerConfig::default(), observer);
    let state = MemoryState { entries: 7, ..Default::default() };
    let change = MemoryChange::Verdict { kind: VerdictKind::Accepted };
    std::thread::scope(|scope| {
        scope.spawn(|| router.on_memory(&MemoryEvent::new(state, change)));
    });
    assert_eq!(memories.0.load(std::sync::atomic::Ordering::Relaxed), 5);
}

/// Panics in a stage, and counts the dropped contexts.
struct PanicsInStage<'a>(&'a Mutex<u32>);

struct Guard(&'static Mutex<u32>);

impl Drop for Guard {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += 1;
    }
}

impl Observer for PanicsInStage<'static> {
    type Request = Guard;
    type Stage = Option<Guard>;
    type Batch = ();

    fn on_request_start(&self, _: &RequestStart<'_>) -> Guard {
        Guard(self.0)
    }

    fn on_stage_start(&self, _: &mut Guard, event: &StageStart<'_>) -> Option<Guard> {
        assert!(event.stage != Stage::UncertaintyEstimation, "the panic that this test needs");
        Some(Guard(self.0))
    }
}

#[test]
fn contexts_are_dropped_and_permits_returned_when_the_router_unwinds() {
    static DROPPED: Mutex<u32> = Mutex::new(0);
    let circuits = CircuitBreakerConfig { probes: 1, ..Default::default() };
    let (router, manual) = router(toy_model(), circuits, PanicsInStage(&DROPPED));
    for _ in 0..20 {
        router.record_outcome(Outcome::new(ModelType::Lightweight, OutcomeResult::CallFailed));
    }
    manual.advance(Duration::from_secs(30));
    let candidates = [candidate("a", 0.9, 1.0)];
    for _ in 0..2 {
        let request = std::panic::AssertUnwindSafe(|| router.route(RoutingRequest::new(&QUERY, &candidates)));
        std::panic::catch_unwind(request).unwrap_err();
    }
    // Three stages and the request, twice. The second request is a probe again, so the first returned its permit.
    assert_eq!(*DROPPED.lock().unwrap(), 8);
}

#[test]
fn a_set_is_routed_like_a_request_of_its_nearest_candidates() {
    let mut rng = 1_u64;
    let mut random = || {
        rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (rng >> 40) as f32 / (1_u64 << 24) as f32
    };
    let query: Vec<f32> = (0..70).map(|_| random() - 0.5).collect();
    let all: Vec<Candidate> = (0..5000)
        .map(|i| Candidate {
            id: i.to_string(),
            embedding: query.iter().map(|x| x + 2.0 * (random() - 0.5)).collect(),
            metadata: [("subject".to_owned(), (i % 3).to_string())].into(),
            created_at: NOW - (random() * 1e6) as i64,
            access_count: (random() * 2000.0) as u64,
            success_rate: random(),
            win_rate: 0.0,
        })
        .collect();
    let set = CandidateSet::new(all.clone()).unwrap();
    let metadata = [("subject".to_owned(), "1".to_owned())].into();
    let router = Router::new(RouterConfig::default()).unwrap();
    for top_k in [1, 10, 64, 200, 6000] {
        let mut places: Vec<usize> =
            set.nearest(&query, top_k).unwrap().into_iter().map(|(place, _)| place).collect();
        places.sort_unstable();
        let candidates: Vec<_> = places.iter().map(|&place| all[place].clone()).collect();
        let request = RoutingRequest {
            query: Query { metadata: Some(&metadata), now: Some(NOW), ..Query::new(&query) },
            candidates: &candidates,
        };
        let mut expected = router.route(request).unwrap();
        for decision in &mut expected.decisions {
            decision.candidate = places[decision.candidate];
        }
        assert_eq!(router.route_set(request.query, &set, top_k).unwrap(), expected, "{top_k}");
    }
}

#[test]
fn an_empty_set_or_a_top_k_of_zero_gives_no_evidence() {
    let router = Router::new(RouterConfig::default()).unwrap();
    let set = CandidateSet::new(vec![candidate("", 0.9, 1.0)]).unwrap();
    let empty = CandidateSet::new(vec![]).unwrap();
    let mut response = router.route_set(Query::new(&[1.0, 0.0]), &set, 5).unwrap();
    assert_eq!((response.decisions.len(), response.decisions[0].candidate), (1, 0));
    for (set, top_k) in [(&set, 0), (&empty, 5)] {
        router.route_set_into(Query::new(&[1.0, 0.0]), set, top_k, &mut response).unwrap();
        assert_eq!(response, RoutingResponse::default());
    }
    let error = router.route_set_into(Query::new(&[1.0]), &set, 5, &mut response).unwrap_err();
    assert_eq!(error, RouteError::DimensionMismatch { candidate: None, expected: 2, actual: 1 });
    assert_eq!(router.route_set(Query::new(&[]), &set, 5), Err(RouteError::EmptyQuery));
}

#[test]
fn a_batch_gives_the_same_answers_as_its_requests_one_by_one() {
    let candidates: Vec<_> = (0..40).map(|i| candidate("", i as f32 / 40.0, (i % 3) as f32 / 2.0)).collect();
    let query = [1.0, 0.0];
    let requests: Vec<_> = (0..200)
        .map(|i| {
            // Some queries have another dimension than the candidates, so that errors have places, too.
            let embedding: &[f32] = if i % 7 == 3 { &[1.0; 3] } else { &query };
            let query = Query { now: Some(NOW), ..Query::new(embedding) };
            RoutingRequest { query, candidates: &candidates[..i % 41] }
        })
        .collect();
    let router = Router::new(RouterConfig::default()).unwrap();
    let one_by_one: Vec<_> = requests.iter().map(|&request| router.route(request)).collect();
    assert_eq!(router.route_batch(&requests), one_by_one);
    assert_eq!(router.route_batch(&[]), []);
}

#[test]
fn each_request_of_a_batch_is_routed_within_the_callers_context() {
    use std::cell::Cell;
    thread_local! {
        static CONTEXT: Cell<u32> = const { Cell::new(0) };
    }
    /// The context that was current where the batch came in.
    #[derive(Default)]
    struct Captured(u32);
    struct Restore(u32);
    impl BatchContext for Captured {
        type Guard<'a> = Restore;
        fn enter(&self) -> Restore {
            Restore(CONTEXT.replace(self.0))
        }
    }
    impl Drop for Restore {
        fn drop(&mut self) {
            CONTEXT.set(self.0);
        }
    }
    #[derive(Default)]
    struct Contexts(Mutex<Vec<(Operation, u32)>>);
    impl Observer for Contexts {
        type Request = ();
        type Stage = ();
        type Batch = Captured;
        fn on_batch_start(&self, _: &BatchStart) -> Captured {
            Captured(CONTEXT.get())
        }
        fn on_request_start(&self, event: &RequestStart<'_>) {
            self.0.lock().unwrap().push((event.operation, CONTEXT.get()));
        }
    }
    let (router, _) = testing::router(
        testing::toy_model(),
        CircuitBreakerConfig::default(),
        ((), Some(Arc::new(Contexts::default())), None::<Contexts>),
    );
    let requests = vec![RoutingRequest::new(&[1.0, 0.0], &[]); 1000];
    CONTEXT.set(7);
    router.route_batch(&requests);
    assert_eq!(CONTEXT.get(), 7);
    let received = router.observer().1.as_ref().unwrap().0.lock().unwrap();
    assert_eq!(*received, vec![(Operation::RouteBatch, 7); 1000]);
}

#[test]
fn the_stages_by_hand_decide_the_same() {
    let (mut expected, mut baseline) = (RoutingResponse::default(), RoutingResponse::default());
    let mut same = |[a, b]: [&Router; 2], candidates: &[Candidate]| {
        let request = RoutingRequest { query: Query { now: Some(NOW), ..Query::new(&QUERY) }, candidates };
        assert_eq!(b.route_baseline(request, &mut baseline), a.route_into(request, &mut expected));
        assert_eq!(baseline, expected);
        let states = |router: &Router| Circuit::ALL.map(|circuit| router.circuit_state(circuit));
        assert_eq!(states(a), states(b));
    };
    for on_open in [OnOpen::Fallback, OnOpen::Reject] {
        let config = CircuitBreakerConfig { on_open, ..Default::default() };
        let ((a, a_time), (b, b_time)) =
            (router(toy_model(), config.clone(), ()), router(toy_model(), config.clone(), ()));
        let routers = [&a, &b];
        for n in [0, 1, 10, 100, 300] {
            let candidates: Vec<_> =
                (0..n).map(|i| candidate("", i as f32 / 300.0, (i % 3) as f32 / 2.0)).collect();
            same(routers, &candidates);
        }
        same(routers, &[candidate("", 0.9, 2.0)]);
        // Open, then half-open: probes until all permits are in use, since no outcome returns one.
        for _ in 0..config.lightweight_min_calls {
            let failed = Outcome::new(ModelType::Lightweight, OutcomeResult::CallFailed);
            for router in routers {
                router.record_outcome(failed);
            }
        }
        same(routers, &[candidate("", 0.9, 1.0)]);
        assert_eq!(a.circuit_state(Circuit::Lightweight), CircuitState::Open);
        a_time.advance(config.open_for);
        b_time.advance(config.open_for);
        for success_rate in [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0] {
            same(routers, &[candidate("", 0.9, success_rate)]);
            assert_eq!(a.circuit_state(Circuit::Lightweight), CircuitState::HalfOpen);
        }
        for router in routers {
            router.force_open(Circuit::Lightweight);
        }
        same(routers, &[]);
    }
}
