use super::*;
use crate::observer::{
    Decided, Detail, Failed, RequestEnd, RequestStart, StageEnd, StageErrorKind, StageStart,
};
use crate::testing::{ContractChecker, NOW, candidate, router, toy_model};
use crate::{
    Candidate, Circuit, CircuitBreakerConfig, Clock, ManualClock, Metadata, OnOpen, Reason, RouterConfig,
};
use proptest::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Duration;

const QUERY: [f32; 2] = [1.0, 0.0];

/// Records each event as a line. Its context of a request records that it is dropped.
struct Recorder {
    detail: Detail,
    stages: &'static [Stage],
    lines: Arc<Mutex<Vec<String>>>,
}

struct Context(Arc<Mutex<Vec<String>>>);

impl Drop for Context {
    fn drop(&mut self) {
        self.0.lock().unwrap().push("dropped".to_owned());
    }
}

impl Recorder {
    fn new(detail: Detail, stages: &'static [Stage]) -> Self {
        Self { detail, stages, lines: Arc::default() }
    }

    fn record(&self, line: String) {
        self.lines.lock().unwrap().push(line);
    }
}

impl Observer for Recorder {
    type Request = Context;
    type Stage = ();
    type Batch = ();

    fn on_request_start(&self, event: &RequestStart<'_>) -> Context {
        self.record(format!("start of {}", event.operation));
        Context(Arc::clone(&self.lines))
    }

    fn detail(&self, _: &Context) -> Detail {
        self.detail
    }

    fn is_enabled(&self, _: &Context, event: &StageStart<'_>) -> bool {
        event.step.is_none() && self.stages.contains(&event.stage)
    }

    fn on_stage_end(&self, _: &mut Context, (): (), event: &StageEnd) {
        let StageReport { items, truncated, error } = event.report;
        let error = error.map_or("no error", StageErrorKind::name);
        let (start, duration) = (event.start.as_secs(), event.duration.as_secs());
        self.record(format!("{}: {items}, {truncated}, {error}, {start} + {duration} s", event.stage));
    }

    fn on_decision(&self, _: &mut Context, event: &Decided<'_>) {
        self.record(format!("{}: {} of {}", event.reason, event.candidates, event.dimensions));
    }

    fn on_error(&self, _: &mut Context, event: &Failed<'_>) {
        let stage = event.stage.map_or("no stage", Stage::name);
        self.record(format!("{} in {stage}: {} of {}", event.kind(), event.candidates, event.dimensions));
    }

    fn on_request_end(&self, request: Context, event: &RequestEnd) {
        self.record(format!("end: {}, {}, {} s", event.status, event.candidates, event.duration.as_secs()));
        drop(request);
    }
}

type Checked = Router<ContractChecker<Recorder>>;

fn observed(detail: Detail, stages: &'static [Stage]) -> (Checked, ManualClock) {
    let observer = ContractChecker::new(Recorder::new(detail, stages));
    router(toy_model(), CircuitBreakerConfig::default(), observer)
}

fn lines(router: &Checked) -> Vec<String> {
    std::mem::take(&mut *router.observer().inner().lines.lock().unwrap())
}

fn near() -> [Candidate; 1] {
    [candidate("near", 0.9, 1.0)]
}

#[test]
fn a_scope_has_one_start_and_its_stages_come_before_the_routers_own() {
    let (router, manual) = observed(Detail::Stages, &Stage::ALL);
    let second = || manual.advance(Duration::from_secs(1));
    let mut scope = router.begin();
    second();
    let query = scope.embedding(|report| {
        (report.items, report.truncated) = (3, true);
        second();
        QUERY
    });
    second();
    let candidates = scope.memory_search(|report| {
        report.items = 1;
        second();
        near()
    });
    second();
    let response = scope.route(RoutingRequest::new(&query, &candidates)).unwrap();
    assert_eq!(response, router.route(RoutingRequest::new(&query, &candidates)).unwrap());
    assert_eq!(
        lines(&router)[..10],
        [
            "start of scope",
            // A stage of a scope is timed by itself.
            "embedding: 3, true, no error, 1 + 1 s",
            "memory_search: 1, false, no error, 3 + 1 s",
            "circuit_breaker_check: 1, false, no error, 5 + 0 s",
            "feature_engineering: 1, false, no error, 5 + 0 s",
            "model_inference: 1, false, no error, 5 + 0 s",
            "uncertainty_estimation: 1, false, no error, 5 + 0 s",
            "confident: 1 of 2",
            "end: success, 1, 5 s",
            "dropped",
        ]
    );
}

/// With steps, the time of the callbacks does not count, and neither does the user's.
#[test]
fn a_scopes_times_are_the_same_with_candidates_steps() {
    let [stages, steps] = [Detail::Stages, Detail::Candidates].map(|detail| {
        let (router, manual) = observed(detail, &Stage::ALL);
        let mut scope = router.begin();
        scope.embedding(|_| manual.advance(Duration::from_secs(1)));
        manual.advance(Duration::from_secs(1));
        scope.route(RoutingRequest::new(&QUERY, &near())).unwrap();
        lines(&router)
    });
    assert_eq!(stages, steps);
}

#[test]
fn a_stage_is_run_if_no_observer_enables_it() {
    for (detail, stages) in [(Detail::Off, &[][..]), (Detail::Request, &[]), (Detail::Stages, &[])] {
        let (router, manual) = observed(detail, stages);
        let mut scope = router.begin();
        let before = manual.reads();
        assert_eq!(scope.embedding(|_| 7), 7);
        assert_eq!(manual.reads(), before);
        scope.route(RoutingRequest::new(&QUERY, &near())).unwrap();
    }
}

#[test]
fn an_observer_enables_a_scopes_stage_alone() {
    let (router, _) = observed(Detail::Stages, &[Stage::MemorySearch]);
    let mut scope = router.begin();
    scope.embedding(|_| {});
    scope.memory_search(|report| report.items = 5);
    scope.route(RoutingRequest::new(&QUERY, &near())).unwrap();
    let expected = ["start of scope", "memory_search: 5, false, no error, 0 + 0 s", "confident: 1 of 2"];
    assert_eq!(lines(&router)[..3], expected);
}

#[test]
fn a_scope_without_a_query_is_a_fallback_without_evidence() {
    let (router, _) = observed(Detail::Stages, &[Stage::Embedding, Stage::FeatureEngineering]);
    let mut scope = router.begin();
    scope.embedding(|report| report.error = Some(StageErrorKind::Unavailable));
    let response = scope.route_without_evidence().unwrap();
    assert_eq!(response, RoutingResponse::default());
    assert_eq!(response.reason, Reason::NoEvidence);
    assert_eq!(
        lines(&router),
        [
            "start of scope",
            "embedding: 0, false, unavailable, 0 + 0 s",
            "feature_engineering: 0, false, no error, 0 + 0 s",
            "no_evidence: 0 of 0",
            "end: fallback, 0, 0 s",
            "dropped",
        ]
    );
}

#[test]
fn a_scope_without_a_query_is_refused_if_a_circuit_is_open_and_the_configuration_rejects() {
    let circuits = CircuitBreakerConfig { on_open: OnOpen::Reject, ..Default::default() };
    let (router, _) = router(toy_model(), circuits, ());
    router.force_open(Circuit::Inference);
    let error = router.begin().route_without_evidence().unwrap_err();
    assert_eq!(error, RouteError::CircuitOpen { circuit: Circuit::Inference, retry_after: None });
}

#[test]
fn a_set_is_routed_in_a_scope_as_by_the_router() {
    let (router, _) = observed(Detail::Request, &[]);
    let candidates = [candidate("a", 0.9, 1.0), candidate("b", 0.8, 0.0), candidate("c", 0.1, 0.5)];
    let set = CandidateSet::new(candidates.to_vec()).unwrap();
    let query = Query::new(&QUERY);
    let expected = router.route_set(query, &set, 2).unwrap();
    lines(&router);
    assert_eq!(router.begin().route_set(query, &set, 2).unwrap(), expected);
    assert_eq!(lines(&router)[2], "end: success, 2, 0 s");
}

#[test]
fn an_error_ends_a_scope_with_its_candidates() {
    let (router, _) = observed(Detail::Unsuccessful, &[]);
    router.begin().route(RoutingRequest::new(&[], &near())).unwrap_err();
    let expected =
        ["start of scope", "empty_query in feature_engineering: 1 of 0", "end: failure, 1, 0 s", "dropped"];
    assert_eq!(lines(&router), expected);
}

#[test]
fn a_scope_that_is_dropped_is_abandoned() {
    let (router, _) = observed(Detail::Stages, &[]);
    let mut scope = router.begin();
    scope.embedding(|_| {});
    drop(scope);
    let expected = ["start of scope", "abandoned in no stage: 0 of 0", "end: failure, 0, 0 s", "dropped"];
    assert_eq!(lines(&router), expected);
    router.observer().assert_at_rest();
}

#[test]
fn a_scope_that_fails_in_a_search_ends_with_that_error() {
    let (router, _) = observed(Detail::Request, &[]);
    let mut scope = router.begin();
    scope.memory_search(|_| ());
    let error = scope.fail(RouteError::ZeroNorm { candidate: None });
    assert_eq!(error, RouteError::ZeroNorm { candidate: None });
    let expected =
        ["start of scope", "zero_norm in memory_search: 0 of 0", "end: failure, 0, 0 s", "dropped"];
    assert_eq!(lines(&router), expected);
}

#[test]
fn an_abandoned_scope_is_not_observed_at_the_detail_off() {
    let (router, _) = observed(Detail::Off, &[]);
    drop(router.begin());
    assert_eq!(lines(&router), ["start of scope", "dropped"]);
}

#[test]
fn the_contexts_are_dropped_without_a_call_if_a_stage_panics() {
    let (router, _) = observed(Detail::Stages, &[Stage::Embedding]);
    let panics = || {
        let mut scope = router.begin();
        scope.embedding(|_| panic!("the panic that this test needs"))
    };
    catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
    assert_eq!(lines(&router), ["start of scope", "dropped"]);
}

#[test]
fn the_contexts_are_dropped_without_a_call_if_the_thread_unwinds_between_stages() {
    let (router, _) = observed(Detail::Stages, &[Stage::Embedding]);
    let panics = || {
        let _scope = router.begin();
        panic!("the panic that this test needs")
    };
    catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
    assert_eq!(lines(&router), ["start of scope", "dropped"]);
}

#[test]
fn a_scope_whose_stage_panicked_begins_another_request() {
    let (router, _) = observed(Detail::Request, &[]);
    let mut scope = router.begin();
    let stage = AssertUnwindSafe(|| scope.embedding(|_| panic!("the panic that this test needs")));
    catch_unwind(stage).unwrap_err();
    scope.route_without_evidence().unwrap();
    let expected = [
        "start of scope",
        "dropped",
        "start of scope",
        "no_evidence: 0 of 0",
        "end: fallback, 0, 0 s",
        "dropped",
    ];
    assert_eq!(lines(&router), expected);
}

#[test]
fn a_scope_finishes_with_the_model_with_which_it_began() {
    /// Records the model's version at the start and in the decision.
    #[derive(Default)]
    struct Versions(Mutex<Vec<String>>);

    impl Observer for Versions {
        type Request = ();
        type Stage = ();
        type Batch = ();

        fn on_request_start(&self, event: &RequestStart<'_>) {
            self.0.lock().unwrap().push(event.model_version.to_owned());
        }

        fn on_decision(&self, (): &mut (), event: &Decided<'_>) {
            self.0.lock().unwrap().push(event.model_version.to_owned());
        }
    }

    let path = std::env::temp_dir().join(format!("tiny-dancer-scope-{}.safetensors", std::process::id()));
    std::fs::write(&path, toy_model().to_bytes()).unwrap();
    let (clock, _) = Clock::manual(NOW);
    let config = RouterConfig { clock, model_path: Some(path.clone()), ..Default::default() };
    let router = Router::with_observer(config, Versions::default()).unwrap();
    let scope = router.begin();
    std::fs::write(&path, crate::testing::broken_model().to_bytes()).unwrap();
    router.reload_model().unwrap();
    std::fs::remove_file(&path).unwrap();
    let response = scope.route(RoutingRequest::new(&QUERY, &near())).unwrap();
    assert_eq!(response.reason, Reason::Confident);
    let versions = router.observer().0.lock().unwrap().clone();
    assert_eq!(versions[0], versions[1]);
    assert_ne!(versions[0], router.model().version());
}

#[test]
fn a_scope_knows_the_model_and_the_thresholds_with_which_it_began() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    std::fs::write(&path, toy_model().to_bytes()).unwrap();
    let router = Router::new(RouterConfig { model_path: Some(path.clone()), ..Default::default() }).unwrap();
    let scope = router.begin();
    std::fs::write(&path, crate::Model::embedded().to_bytes()).unwrap();
    router.reload_model().unwrap();
    assert_eq!(scope.thresholds(), router.thresholds());
    assert_eq!(scope.model_version(), toy_model().version());
    assert_ne!(scope.model_version(), router.model().version());
    scope.route_without_evidence().unwrap();
}

/// The bits of a result, errors included.
fn bits(result: Result<RoutingResponse, RouteError>) -> String {
    result.map_or_else(
        |error| format!("{error:?}"),
        |response| {
            let decisions: Vec<_> = response
                .decisions
                .iter()
                .map(|it| (it.candidate, it.confidence.to_bits(), it.uncertainty.to_bits()))
                .collect();
            let (confidence, uncertainty) = (response.confidence.to_bits(), response.uncertainty.to_bits());
            format!("{:?} {confidence} {uncertainty} {decisions:?}", response.reason)
        },
    )
}

proptest! {
    #[test]
    fn borrowed_candidates_give_the_same_bits_as_those_of_a_request(
        // Few different similarities, so that many are equal.
        rows in prop::collection::vec((-9_i8..10, 0_u8..5, 0_u64..3, any::<bool>()), 0..200),
        // A rate above 1 is bad.
        bad in prop::option::weighted(0.1, 0_usize..200),
        tagged in any::<bool>(),
    ) {
        let (router, _) = router(toy_model(), CircuitBreakerConfig::default(), ContractChecker::new(()));
        let metadata = Metadata::from([("subject".to_owned(), "algebra".to_owned())]);
        let mut candidates: Vec<_> = (0..)
            .zip(rows)
            .map(|(i, (similarity, rate, access_count, tagged))| Candidate {
                access_count,
                created_at: NOW - access_count as i64 * 86_400,
                metadata: if tagged { metadata.clone() } else { Metadata::new() },
                ..candidate(&format!("{i}"), f32::from(similarity) / 10.0, f32::from(rate) / 4.0)
            })
            .collect();
        if let Some(bad) = bad.and_then(|bad| candidates.get_mut(bad)) {
            bad.success_rate = 1.5;
        }
        let query = Query { metadata: tagged.then_some(&metadata), now: Some(NOW), ..Query::new(&QUERY) };
        let borrowed: Vec<_> = candidates.iter().collect();
        let expected = router.begin().route(RoutingRequest { query, candidates: &candidates });
        prop_assert_eq!(bits(router.begin().route_nearest(query, &borrowed)), bits(expected));
        let short = &query.embedding[..1];
        let expected = router.begin().route(RoutingRequest::new(short, &candidates));
        prop_assert_eq!(bits(router.begin().route_nearest(Query::new(short), &borrowed)), bits(expected));
    }
}
