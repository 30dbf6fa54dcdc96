//! Every event of a request is counted, and as what it is.

use crate::{collector, near, route, router, scrape};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tiny_dancer_core::breaker::CircuitBreakerConfig;
use tiny_dancer_core::budget::{JudgeRate, QualityBudget};
use tiny_dancer_core::observer::{
    Decided, Detail, MemoryChange, MemoryEvent, ModelReload, Observer, RequestStart, Stage, StageEnd,
    StageStart,
};
use tiny_dancer_core::{
    CandidateSet, Clock, Kernel, ManualClock, ModelType, Origin, Outcome, OutcomeResult, Query, Router,
    RouterConfig, RoutingDecision, RoutingRequest, RoutingResponse, testing,
};
use tiny_dancer_metrics::MetricsCollector;
use tiny_dancer_metrics::catalogue::{CATALOGUE, Kind, Presence};

/// Counts what the contract checker does not.
#[derive(Debug, Default)]
struct Tally {
    stages: [AtomicU64; Stage::ALL.len()],
    items: [AtomicU64; Stage::ALL.len()],
    truncated: AtomicU64,
    stage_errors: [AtomicU64; Stage::ALL.len()],
    candidates: AtomicU64,
    draws: AtomicU64,
    routers: AtomicU64,
    /// Changes of a memory that were stored.
    changes: AtomicU64,
    /// Changes of a memory that were lost.
    lost: AtomicU64,
    /// Events of a memory that are neither a commit nor a verdict.
    other_memory: AtomicU64,
}

impl Observer for Tally {
    type Request = ();
    type Stage = ();
    type Batch = ();

    fn on_request_start(&self, _: &RequestStart<'_>) {}

    fn on_stage_start(&self, (): &mut (), _: &StageStart<'_>) {}

    fn on_stage_end(&self, (): &mut (), (): (), event: &StageEnd) {
        let (stage, report) = (event.stage as usize, event.report);
        self.stages[stage].fetch_add(1, Ordering::Relaxed);
        self.items[stage].fetch_add(report.items as u64, Ordering::Relaxed);
        self.truncated
            .fetch_add((report.truncated && event.stage == Stage::Embedding).into(), Ordering::Relaxed);
        self.stage_errors[stage].fetch_add(report.error.is_some().into(), Ordering::Relaxed);
    }

    fn on_decision(&self, (): &mut (), event: &Decided<'_>) {
        self.candidates.fetch_add(event.decisions.len() as u64, Ordering::Relaxed);
        let judge = event.ticket.map(|ticket| ticket.judge);
        let draws = event.explore.iter().chain(&judge).chain(&event.shadow).count();
        self.draws.fetch_add(draws as u64, Ordering::Relaxed);
    }

    fn on_model_reload(&self, event: &ModelReload<'_>) {
        self.routers.fetch_add(event.previous.is_none().into(), Ordering::Relaxed);
    }

    fn on_memory(&self, event: &MemoryEvent) {
        let add = |count: &AtomicU64, number: usize| count.fetch_add(number as u64, Ordering::Relaxed);
        match event.change {
            MemoryChange::Stored { changes, .. } => add(&self.changes, changes),
            MemoryChange::Verdict { .. } => 0,
            MemoryChange::Lost { changes, .. } => {
                add(&self.other_memory, 1);
                add(&self.lost, changes)
            }
            _ => add(&self.other_memory, 1),
        };
    }
}

/// Every event is counted, as often as it occurs.
#[test]
fn every_family_shows_the_events_of_a_tour() {
    let metrics = collector();
    let checker = testing::exercise((metrics.clone(), Tally::default()));
    let (events, tally, shown) = (checker.counts(), &checker.inner().1, scrape(&metrics));
    let count = |family: &str| shown.total(&format!("tiny_dancer_{family}"));
    let tallied = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;

    assert_eq!(count("routing_requests_total"), events.requests as f64);
    assert_eq!(count("routing_latency_seconds_count"), events.requests as f64);
    assert_eq!(count("routing_decisions_total"), events.decisions as f64);
    assert_eq!(count("errors_total"), events.errors as f64);
    assert_eq!(count("draws_total"), tallied(&tally.draws));
    let [changes, lost] = [&tally.changes, &tally.lost].map(tallied);
    assert_eq!(count("memory_changes_stored_total"), changes);
    assert_eq!(count("memory_changes_lost_total"), lost);
    let commits = count("memory_commit_duration_seconds_count");
    let by_change = [commits, count("memory_verdicts_total"), tallied(&tally.other_memory)];
    assert_eq!(by_change.iter().sum::<f64>(), events.memory as f64);
    assert_eq!(count("outcomes_total"), events.outcomes as f64);
    assert_eq!(count("circuit_breaker_transitions_total"), events.transitions as f64);
    assert_eq!(count("model_reloads_total"), events.reloads as f64 - tallied(&tally.routers));
    let stage = |stage: Stage| tallied(&tally.stages[stage as usize]);
    assert_eq!(count("feature_engineering_duration_seconds_count"), stage(Stage::FeatureEngineering));
    assert_eq!(count("model_inference_duration_seconds_count"), stage(Stage::ModelInference));
    for (name, it, items) in
        [("embedding", Stage::Embedding, "tokens"), ("memory_search", Stage::MemorySearch, "candidates")]
    {
        assert_eq!(count(&format!("{name}_duration_seconds_count")), stage(it));
        assert_eq!(count(&format!("{name}_{items}_total")), tallied(&tally.items[it as usize]));
        assert_eq!(count(&format!("{name}_errors_total")), tallied(&tally.stage_errors[it as usize]));
    }
    assert_eq!(count("embedding_truncated_total"), tallied(&tally.truncated));
    for per_candidate in
        ["candidates_processed_total", "confidence_scores_count", "uncertainty_estimates_count"]
    {
        assert_eq!(count(per_candidate), tallied(&tally.candidates), "{per_candidate}");
    }
    assert_eq!(count("model_info"), 1.0);
    assert_eq!(count("requests_in_flight"), 0.0);
    assert_eq!(count("promise_broken"), events.broken_promises as f64);
    assert_eq!(count("circuit_breaker_state"), 0.0, "all routers are dropped");
}

fn every_outcome() -> impl Iterator<Item = (ModelType, OutcomeResult, Origin)> {
    let origins = |model, result| Origin::ALL.map(|origin| (model, result, origin));
    let results = move |model| OutcomeResult::ALL.into_iter().flat_map(move |result| origins(model, result));
    ModelType::ALL.into_iter().flat_map(results)
}

/// Routes a request whose answer is judged or not, one as often as the other.
fn judged_by_chance(metrics: &MetricsCollector) -> bool {
    let budget = QualityBudget { judge_rate: JudgeRate::Fixed(0.5), burst: 100.0, ..Default::default() };
    let config = RouterConfig { confidence_threshold: 0.0, max_uncertainty: 1.0, ..Default::default() };
    let config = RouterConfig { budget: Some(budget), ..config };
    let router = Router::with_observer(config, metrics.clone()).unwrap();
    let response = router.route(RoutingRequest::new(&[1.0, 0.0], &[near()])).unwrap();
    response.ticket.unwrap().judge.happened
}

/// A series that stays at zero is not wired, or its label never occurs.
#[test]
fn a_tour_of_all_events_moves_every_series() {
    let metrics = collector();
    testing::exercise(metrics.clone());
    // The outcomes of the tour are those of the lightweight model, but for one of each kind.
    let reporting = router(metrics.clone());
    for (model, result, origin) in every_outcome() {
        reporting.record_outcome(Outcome::new(model, result).with_origin(origin));
    }
    // The tour draws at the rates 1 and 0.
    let rare = RouterConfig { explore: 1e-300, shadow_rate: 1e-300, ..Default::default() };
    route(&Router::with_observer(rare, metrics.clone()).unwrap(), &[]);
    // The tour judges every answer.
    while judged_by_chance(&metrics) {}
    // The tour has no more than two candidates a request.
    for count in [20, 70, 101] {
        route(&router(metrics.clone()), &vec![near(); count]);
    }
    let shown = scrape(&metrics);
    // No candidates are processed in a request that has none.
    let never = r#"tiny_dancer_candidates_processed_total{"batch_size_range": "0"}"#;
    let mut unmoved = Vec::new();
    for family in CATALOGUE {
        let sample = match family.kind {
            Kind::Counter if family.presence == Presence::WithPrices => continue,
            Kind::Counter => family.name.to_owned(),
            Kind::Histogram { .. } => format!("{}_count", family.name),
            _ => continue,
        };
        let at_zero = shown.series(&sample).filter(|&(_, value)| value == 0.0);
        unmoved.extend(at_zero.map(|(labels, _)| format!("{sample}{labels:?}")));
    }
    assert_eq!(unmoved, [never]);
}

#[test]
fn a_request_without_candidates_is_a_fallback_and_its_feature_stage_is_timed_too() {
    let metrics = collector();
    route(&router(metrics.clone()), &[]);
    let shown = scrape(&metrics);
    let one = |series: &str| assert_eq!(shown.value(&format!("tiny_dancer_{series}")), 1.0, "{series}");
    one(r#"routing_requests_total{status="fallback"}"#);
    one(r#"routing_decisions_total{model_type="powerful",reason="no_evidence"}"#);
    one(r#"feature_engineering_duration_seconds_count{batch_size="0"}"#);
    assert_eq!(shown.total("tiny_dancer_model_inference_duration_seconds_count"), 0.0);
    assert_eq!(shown.total("tiny_dancer_candidates_processed_total"), 0.0);
}

/// Each request of a batch counts as one, and failed requests are timed, too.
#[test]
fn each_method_of_the_router_is_timed_by_its_name() {
    let metrics = collector();
    let router = router(metrics.clone());
    let (candidates, set) = ([near(), near()], CandidateSet::new(vec![near(); 20]).unwrap());
    route(&router, &candidates);
    for top_k in [2, 20] {
        router.route_set(Query::new(&[1.0, 0.0]), &set, top_k).unwrap();
    }
    let request = RoutingRequest::new(&[1.0, 0.0], &candidates);
    let results = router.route_batch(&[request, request, RoutingRequest::new(&[], &candidates)]);
    assert_eq!(results.iter().filter(|result| result.is_err()).count(), 1);
    let shown = scrape(&metrics);
    for (operation, expected) in [("route", 1.0), ("route_batch", 3.0), ("route_set", 2.0)] {
        let series = format!("tiny_dancer_routing_latency_seconds_count{{operation=\"{operation}\"}}");
        assert_eq!(shown.value(&series), expected, "{operation}");
    }
    assert_eq!(shown.total("tiny_dancer_routing_requests_total"), 6.0);
    let of_size = |size: &str| {
        shown.value(&format!("tiny_dancer_candidates_processed_total{{batch_size_range=\"{size}\"}}"))
    };
    assert_eq!([of_size("1-10"), of_size("11-50")], [2.0 + 2.0 + 2.0 * 2.0, 20.0]);
}

/// The confidence of the request itself is not observed.
#[test]
fn the_distributions_hold_the_numbers_of_each_candidate() {
    let metrics = collector();
    let router = router(metrics.clone());
    let candidates = [near(), testing::candidate("doubtful", 0.9, 0.5), testing::candidate("far", 0.1, 1.0)];
    let request = RoutingRequest::new(&[1.0, 0.0], &candidates);
    let decisions = router.route(request).unwrap().decisions;
    let shown = scrape(&metrics);
    for (model, use_lightweight) in [("lightweight", true), ("powerful", false)] {
        let of_model = || decisions.iter().filter(|decision| decision.use_lightweight == use_lightweight);
        assert!(of_model().count() > 0, "no candidate is {model}");
        let series = |family: &str, suffix: &str, more: &str| {
            shown.value(&format!("tiny_dancer_{family}{suffix}{{decision_type=\"{model}\"{more}}}"))
        };
        let check = |family: &str, number: fn(&RoutingDecision) -> f32| {
            let expected: f64 = of_model().map(|decision| f64::from(number(decision))).sum();
            assert!((series(family, "_sum", "") - expected).abs() < 1e-12, "{family} {model}");
            let name = format!("tiny_dancer_{family}");
            let Some(Kind::Histogram { buckets }) =
                CATALOGUE.iter().find(|family| family.name == name).map(|family| family.kind)
            else {
                panic!("{family} is no histogram")
            };
            for bound in buckets.iter().map(f64::to_string).chain(["+Inf".to_owned()]) {
                let limit = bound.parse().unwrap();
                let within = of_model().filter(|&decision| number(decision) <= limit).count();
                let shown = series(family, "_bucket", &format!(",le=\"{bound}\""));
                assert_eq!(shown, within as f64, "{family} {model} {bound}");
            }
        };
        check("confidence_scores", |decision| decision.confidence);
        check("uncertainty_estimates", |decision| decision.uncertainty);
    }
}

/// Advances the clock at each start of a candidate's step.
struct Steps(ManualClock);

impl Observer for Steps {
    type Request = ();
    type Stage = ();
    type Batch = ();

    fn on_request_start(&self, _: &RequestStart<'_>) {}

    fn detail(&self, (): &()) -> Detail {
        Detail::Candidates
    }

    fn on_stage_start(&self, (): &mut (), event: &StageStart<'_>) {
        if event.step.is_some() {
            self.0.advance(Duration::from_millis(4));
        }
    }
}

/// Three steps are one inference of 12 ms, although another observer receives each step.
#[test]
fn durations_are_those_of_the_clock() {
    let metrics = collector();
    let (clock, hand) = Clock::manual(testing::NOW);
    let config = RouterConfig { clock, ..Default::default() };
    let router = Router::with_observer(config, (metrics.clone(), Steps(hand))).unwrap();
    route(&router, &vec![near(); 3]);
    let shown = scrape(&metrics);
    for series in [
        r#"routing_latency_seconds_sum{operation="route"}"#,
        r#"model_inference_duration_seconds_sum{model_type="fastgrnn"}"#,
    ] {
        assert_eq!(shown.value(&format!("tiny_dancer_{series}")), 0.012, "{series}");
    }
    let up_to = |bound| {
        shown.value(&format!(
            r#"tiny_dancer_routing_latency_seconds_bucket{{le="{bound}",operation="route"}}"#
        ))
    };
    assert_eq!((up_to("0.011"), up_to("0.0125")), (0.0, 1.0));
    assert_eq!(shown.total("tiny_dancer_model_inference_duration_seconds_count"), 1.0);
    assert_eq!(shown.total("tiny_dancer_feature_engineering_duration_seconds_sum"), 0.0);
}

/// Reads the gauge within a request, and then panics if `panics`.
struct ReadGauge {
    metrics: MetricsCollector,
    panics: bool,
    seen: AtomicU64,
}

impl Observer for ReadGauge {
    type Request = ();
    type Stage = ();
    type Batch = ();

    fn on_request_start(&self, _: &RequestStart<'_>) {}

    fn on_stage_start(&self, (): &mut (), _: &StageStart<'_>) {
        let in_flight = scrape(&self.metrics).value("tiny_dancer_requests_in_flight");
        self.seen.store(in_flight as u64, Ordering::Relaxed);
        assert!(!self.panics, "the test wants this panic");
    }
}

fn reading_the_gauge(panics: bool) -> (MetricsCollector, Router<(MetricsCollector, ReadGauge)>) {
    let metrics = collector();
    let gauge = ReadGauge { metrics: metrics.clone(), panics, seen: AtomicU64::new(0) };
    (metrics.clone(), router((metrics, gauge)))
}

#[test]
fn a_request_is_in_flight_until_it_ends() {
    let (metrics, router) = reading_the_gauge(false);
    route(&router, &[near()]);
    assert_eq!(router.observer().1.seen.load(Ordering::Relaxed), 1);
    assert_eq!(scrape(&metrics).value("tiny_dancer_requests_in_flight"), 0.0);
}

#[test]
fn a_request_that_panics_is_no_longer_in_flight() {
    let (metrics, router) = reading_the_gauge(true);
    for _ in 0..3 {
        catch_unwind(AssertUnwindSafe(|| route(&router, &[near()]))).unwrap_err();
    }
    assert_eq!(router.observer().1.seen.load(Ordering::Relaxed), 1);
    assert_eq!(scrape(&metrics).value("tiny_dancer_requests_in_flight"), 0.0);
}

#[test]
fn a_request_that_fails_is_no_longer_in_flight() {
    let metrics = collector();
    router(metrics.clone()).route(RoutingRequest::new(&[], &[])).unwrap_err();
    let shown = scrape(&metrics);
    assert_eq!(shown.value("tiny_dancer_requests_in_flight"), 0.0);
    assert_eq!(shown.value(r#"tiny_dancer_errors_total{error_type="empty_query"}"#), 1.0);
    assert_eq!(shown.value(r#"tiny_dancer_routing_requests_total{status="failure"}"#), 1.0);
}

#[test]
fn the_first_model_is_shown_and_is_no_reload() {
    let metrics = collector();
    let router = router(metrics.clone());
    let shown = scrape(&metrics);
    assert_eq!(
        shown.value(&format!(r#"tiny_dancer_model_info{{version="{}"}}"#, router.model().version())),
        1.0
    );
    assert_eq!(shown.total("tiny_dancer_model_reloads_total"), 0.0);
    assert_eq!(last_reload(&metrics), [1.0, testing::NOW as f64]);
}

/// Whether the last reload was successful, and when a reload was.
fn last_reload(metrics: &MetricsCollector) -> [f64; 2] {
    let shown = scrape(metrics);
    ["successful", "timestamp_seconds"]
        .map(|suffix| shown.value(&format!("tiny_dancer_model_last_reload_{suffix}")))
}

#[test]
fn a_failed_reload_is_shown_until_one_succeeds() {
    let metrics = collector();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("a_failed_reload_is_shown.safetensors");
    let store = |bytes: &[u8]| std::fs::write(&path, bytes).unwrap();
    store(&testing::toy_model().to_bytes());
    let (clock, hand) = Clock::manual(1_000);
    let config = RouterConfig { model_path: Some(path.clone()), clock, ..Default::default() };
    let router = Router::with_observer(config, metrics.clone()).unwrap();
    assert_eq!(last_reload(&metrics), [1.0, 1_000.0]);
    store(b"not a model");
    hand.advance(Duration::from_secs(10));
    router.reload_model().unwrap_err();
    assert_eq!(last_reload(&metrics), [0.0, 1_000.0]);
    store(&testing::broken_model().to_bytes());
    hand.advance(Duration::from_secs(10));
    router.reload_model().unwrap();
    assert_eq!(last_reload(&metrics), [1.0, 1_020.0]);
    drop(router);
    assert!(!scrape(&metrics).families.contains_key("tiny_dancer_model_last_reload_successful"));
}

#[test]
fn the_build_is_shown_with_its_version_its_revision_and_its_kernel() {
    let shown = scrape(&collector());
    let (labels, value) = shown.series("tiny_dancer_build_info").next().unwrap();
    let revision = option_env!("TINY_DANCER_REVISION").filter(|set| !set.is_empty()).unwrap_or("unknown");
    let expected =
        [("kernel", Kernel::detect().name()), ("revision", revision), ("version", env!("CARGO_PKG_VERSION"))];
    assert_eq!(value, 1.0);
    assert!(labels.iter().map(|(name, value)| (&**name, &**value)).eq(expected), "{labels:?}");
}

#[test]
fn a_reload_replaces_the_version_and_a_failed_one_keeps_it() {
    let metrics = collector();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("a_reload_replaces_the_version.safetensors");
    let store = |bytes: &[u8]| std::fs::write(&path, bytes).unwrap();
    store(&testing::toy_model().to_bytes());
    let config = RouterConfig { model_path: Some(path.clone()), ..Default::default() };
    let router = Router::with_observer(config, metrics.clone()).unwrap();
    store(&testing::broken_model().to_bytes());
    let version = router.reload_model().unwrap().version().to_owned();
    assert_ne!(version, testing::toy_model().version());
    store(b"not a model");
    router.reload_model().unwrap_err();

    let shown = scrape(&metrics);
    let versions: Vec<_> =
        shown.series("tiny_dancer_model_info").map(|(labels, _)| &labels["version"]).collect();
    assert_eq!(versions, [&version]);
    assert_eq!(shown.value(r#"tiny_dancer_model_reloads_total{result="success"}"#), 1.0);
    assert_eq!(shown.value(r#"tiny_dancer_model_reloads_total{result="failure"}"#), 1.0);
}

/// A million requests during scrapes: none is lost, no number falls, and every scrape is consistent.
#[test]
fn eight_threads_lose_nothing_during_scrapes() {
    const EACH: usize = 125_000;
    let metrics = collector();
    let (router, _) = testing::router(testing::toy_model(), CircuitBreakerConfig::default(), metrics.clone());
    let candidates = [near(), testing::candidate("doubtful", 0.9, 0.5)];
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..8).map(|_| scope.spawn(|| (0..EACH).for_each(|_| route(&router, &candidates)))).collect();
        let mut before = scrape(&metrics);
        while !threads.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            let now = scrape(&metrics);
            for ((series, earlier), (same, later)) in before.counted().zip(now.counted()) {
                assert_eq!(series, same);
                assert!(earlier <= later, "{series:?} fell from {earlier} to {later}");
            }
            before = now;
        }
        for thread in threads {
            thread.join().unwrap();
        }
    });
    let (shown, all) = (scrape(&metrics), (8 * EACH) as f64);
    assert_eq!(shown.value(r#"tiny_dancer_routing_requests_total{status="success"}"#), all);
    assert_eq!(shown.total("tiny_dancer_routing_decisions_total"), all);
    assert_eq!(shown.total("tiny_dancer_routing_latency_seconds_count"), all);
    assert_eq!(shown.total("tiny_dancer_confidence_scores_count"), 2.0 * all);
    assert_eq!(shown.total("tiny_dancer_requests_in_flight"), 0.0);
}

/// Holds for every request but a thread's first, which makes the thread's shard.
#[test]
fn counting_allocates_nothing() {
    let metrics = collector();
    let router = router(metrics.clone());
    let many = vec![near(); 150];
    let mut response = RoutingResponse::default();
    router.route_into(RoutingRequest::new(&[1.0, 0.0], &many), &mut response).unwrap();
    let allocated = allocation_counter::measure(|| {
        for count in [150, 60, 20, 3, 1, 0] {
            let request = RoutingRequest::new(&[1.0, 0.0], &many[..count]);
            router.route_into(request, &mut response).unwrap();
        }
        router.route_into(RoutingRequest::new(&[], &many), &mut response).unwrap_err();
        router.record_outcome(Outcome::new(ModelType::Lightweight, OutcomeResult::Sufficed));
    });
    assert_eq!(allocated.count_total, 0);
    assert_eq!(scrape(&metrics).total("tiny_dancer_routing_requests_total"), 8.0);
}
