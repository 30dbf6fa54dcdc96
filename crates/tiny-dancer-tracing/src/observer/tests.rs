use super::*;
use crate::system;
use crate::testing::{Line, Recorder, lines};
use crate::{TraceContext, TracingConfig};
use opentelemetry::trace::{SpanId, SpanKind, TraceId};
use opentelemetry_sdk::trace::SpanData;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tiny_dancer_core::observer::{MemoryErrorKind, StageErrorKind, StageReport};
use tiny_dancer_core::testing::{ContractChecker, broken_model, candidate, exercise, router, toy_model};
use tiny_dancer_core::{
    Candidate, CircuitBreakerConfig, Query, Router, RouterConfig, RoutingRequest, Thresholds,
};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";

fn recorder(sampling_ratio: f64, candidate_spans: usize) -> Recorder {
    Recorder::new(TracingConfig { sampling_ratio, candidate_spans, ..Default::default() })
}

/// Candidates at rising distance.
fn candidates(n: u8) -> Vec<Candidate> {
    (0..n).map(|i| candidate(&format!("candidate {i}"), 0.95 - f32::from(i) / 100.0, 1.0)).collect()
}

fn route(observer: impl Observer, candidates: &[Candidate]) {
    let (router, _) = router(toy_model(), CircuitBreakerConfig::default(), observer);
    router.route(RoutingRequest::new(&[1.0, 0.0], candidates)).unwrap();
}

fn named<'a>(spans: &'a [SpanData], name: &str) -> Vec<&'a SpanData> {
    spans.iter().filter(|span| span.name == name).collect()
}

fn request(spans: &[SpanData]) -> &SpanData {
    let requests = named(spans, RequestStart::NAME);
    assert_eq!(requests.len(), 1);
    requests[0]
}

fn attribute<'a>(span: &'a SpanData, key: &str) -> Option<&'a Value> {
    let mut found = span.attributes.iter().filter(|attribute| attribute.key.as_str() == key);
    let value = found.next().map(|attribute| &attribute.value);
    assert!(found.next().is_none(), "{key} twice");
    value
}

fn text<'a>(span: &'a SpanData, key: &str) -> &'a str {
    match attribute(span, key) {
        Some(Value::String(text)) => text.as_str(),
        other => panic!("{key}: {other:?}"),
    }
}

fn number(span: &SpanData, key: &str) -> i64 {
    match attribute(span, key) {
        Some(Value::I64(number)) => *number,
        other => panic!("{key}: {other:?}"),
    }
}

#[test]
fn each_event_of_the_contract_has_its_span_or_its_line() {
    let recorder = recorder(1.0, usize::MAX);
    let (checker, lines) = lines(|| exercise(recorder.observer()));
    let (counts, spans) = (checker.counts(), recorder.finish());

    let spans_of = |name| named(&spans, name).len() as u64;
    assert_eq!(spans_of(RequestStart::NAME), counts.requests);
    let stages: u64 = Stage::ALL.iter().map(|stage| spans_of(stage.name())).sum();
    assert_eq!(stages, counts.stages + counts.steps);
    let names: BTreeSet<&str> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names.len(), 1 + Stage::ALL.len(), "{names:?}");

    let lines_of =
        |messages: &[&str]| lines.iter().filter(|line| messages.contains(&&*line.message)).count() as u64;
    assert_eq!(lines_of(&["request decided"]), counts.decisions);
    assert_eq!(lines_of(&["request failed"]), counts.errors);
    assert_eq!(lines_of(&["request refused", "inference failed", "scope abandoned"]), counts.errors);
    assert_eq!(lines_of(&["outcome reported"]), counts.outcomes);
    assert_eq!(lines_of(&["circuit closed", "circuit half-open", "circuit opened"]), counts.transitions);
    assert_eq!(lines_of(&["promise broken"]), counts.broken_promises);
    let memory = [
        "memory changes lost",
        "memory changes stored",
        "memory commit failed",
        "memory data erased",
        "memory data expired",
        "memory opened",
        "verdict recorded",
    ];
    assert_eq!(lines_of(&memory), counts.memory);
    let budget =
        ["admission cancelled", "budget opened", "budget recovered", "budget spent", "judgement settled"];
    assert_eq!(lines_of(&budget), counts.budget - 1, "delivered answers have no line");
    assert_eq!(lines_of(&["router started", "model reloaded", "model reload failed"]), counts.reloads);
}

#[test]
fn spans_and_lines_hold_the_keys_that_are_listed_for_them_and_no_others() {
    let recorder = Recorder::new(TracingConfig {
        candidate_spans: 1,
        lightweight_model: Some("small".to_owned()),
        powerful_model: Some("large".to_owned()),
        ..Default::default()
    });
    let (_, mut lines) = lines(|| exercise(recorder.observer()));
    let spans = recorder.finish();
    for listed in fields::SPANS {
        let seen: BTreeSet<&str> = named(&spans, listed.name)
            .iter()
            .flat_map(|span| span.attributes.iter().map(|attribute| attribute.key.as_str()))
            .collect();
        assert_eq!(seen, listed.fields.iter().copied().collect(), "{}", listed.name);
    }
    let mut of_events = BTreeSet::new();
    for span in &spans {
        assert_eq!(span.span_kind, SpanKind::Internal);
        let events =
            span.events.iter().inspect(|event| assert_eq!(event.name, fields::ROUTING_DECISION.name));
        let of_events_here = events.flat_map(|event| &event.attributes);
        of_events.extend(of_events_here.clone().map(|attribute| attribute.key.as_str()));
        for attribute in span.attributes.iter().chain(of_events_here) {
            let kind = match attribute.value {
                Value::Array(Array::I64(_)) => fields::Kind::Ints,
                Value::Bool(_) => fields::Kind::Bool,
                Value::F64(_) => fields::Kind::Double,
                Value::I64(_) => fields::Kind::Int,
                _ => fields::Kind::String,
            };
            let listed = fields::ALL.iter().find(|field| field.key == attribute.key.as_str()).unwrap();
            assert_eq!(listed.kind, kind, "{}", listed.key);
        }
    }

    assert_eq!(of_events, sorted(fields::ROUTING_DECISION.fields));
    lines.extend(crate::export::tests::lines_about_exporting());
    lines.extend(outage(1).1);
    for line in &lines {
        let listed = fields::LINES.iter().find(|listed| listed.message == line.message);
        let listed = listed.unwrap_or_else(|| panic!("{line:?} is not listed"));
        assert_eq!(listed.level, line.level, "{line:?}");
        assert!(line.fields.keys().copied().eq(sorted(listed.fields)), "{line:?}");
    }
    for listed in fields::LINES {
        assert!(
            lines.iter().any(|line| line.message == listed.message),
            "{:?} was never seen",
            listed.message
        );
    }
}

fn sorted(keys: &[&'static str]) -> BTreeSet<&'static str> {
    keys.iter().copied().collect()
}

#[test]
fn the_spans_of_a_request_are_siblings_below_it() {
    let recorder = recorder(1.0, 8);
    route(recorder.observer(), &candidates(3));
    let spans = recorder.finish();
    let root = request(&spans);
    assert_eq!(root.parent_span_id, SpanId::INVALID);
    assert_eq!(spans.len(), 1 + 4 + 3);
    for span in &spans {
        assert_eq!(span.span_context.trace_id(), root.span_context.trace_id());
        if span.name != RequestStart::NAME {
            assert_eq!(span.parent_span_id, root.span_context.span_id(), "{}", span.name);
        }
    }
}

#[test]
fn the_nearest_candidates_have_spans_of_their_own_and_the_rest_share_one() {
    let recorder = recorder(1.0, 2);
    route(recorder.observer(), &candidates(5));
    let spans = recorder.finish();
    let inference = named(&spans, Stage::ModelInference.name());
    let [rest, second, nearest] = inference[..] else { panic!("{} spans", inference.len()) };
    assert_eq!(number(rest, fields::CANDIDATES), 5);
    assert!(rest.end_time <= second.start_time && second.end_time <= nearest.start_time);
    let position = |span| (number(span, fields::CANDIDATE_INDEX), number(span, fields::CANDIDATE_RANK));
    assert_eq!([position(second), position(nearest)], [(1, 1), (0, 0)]);
}

#[test]
fn the_shared_span_lasts_until_the_last_of_the_far_candidates() {
    /// When the step of the candidate of rank 2 began.
    #[derive(Clone, Default)]
    struct Began(Arc<std::sync::Mutex<Option<std::time::SystemTime>>>);
    impl Observer for Began {
        type Request = ();
        type Stage = ();
        type Batch = ();
        fn on_request_start(&self, _: &RequestStart<'_>) {}
        fn on_stage_start(&self, (): &mut (), event: &StageStart<'_>) {
            if event.step.is_some_and(|step| step.rank == 2) {
                *self.0.lock().unwrap() = Some(opentelemetry::time::now());
            }
        }
        fn detail(&self, (): &()) -> Detail {
            Detail::Candidates
        }
    }
    let (recorder, began) = (recorder(1.0, 2), Began::default());
    // Stages use the router's clock, which is never advanced in the other tests.
    let router =
        Router::with_observer(RouterConfig::default(), (recorder.observer(), began.clone())).unwrap();
    router.route(RoutingRequest::new(&[1.0, 0.0], &candidates(5))).unwrap();
    let spans = recorder.finish();
    let shared = named(&spans, Stage::ModelInference.name())[0];
    assert!(shared.end_time >= began.0.lock().unwrap().unwrap());
    let root = request(&spans);
    for span in &spans {
        assert!(root.start_time <= span.start_time && span.start_time < span.end_time, "{span:?}");
        assert!(span.end_time <= root.end_time, "{span:?}");
    }
}

#[test]
fn without_candidate_spans_there_is_one_span_a_stage() {
    let recorder = recorder(1.0, 0);
    route(recorder.observer(), &candidates(5));
    assert_eq!(recorder.finish().len(), 5);
}

#[test]
fn the_request_s_span_contains_the_decision() {
    let recorder = recorder(1.0, 8);
    route(recorder.observer(), &candidates(3));
    let spans = recorder.finish();
    let root = request(&spans);
    assert_eq!(number(root, fields::CANDIDATES), 3);
    assert_eq!(number(root, fields::DIMENSIONS), 2);
    assert_eq!(text(root, fields::DECISION_MODEL), "lightweight");
    assert_eq!(text(root, fields::DECISION_REASON), "confident");
    assert_eq!(text(root, fields::STATUS), "success");
    assert_eq!(text(root, fields::MODEL_VERSION), toy_model().version());
    assert_eq!(attribute(root, fields::CONFIDENCE_THRESHOLD), Some(&Value::F64(0.85)));
    assert_eq!(root.status, SpanStatus::Unset);
}

#[test]
fn an_error_is_the_status_of_the_request_s_span() {
    let recorder = recorder(1.0, 8);
    let (router, _) = router(broken_model(), CircuitBreakerConfig::default(), recorder.observer());
    router.route(RoutingRequest::new(&[1.0, 0.0], &candidates(1))).unwrap_err();
    let spans = recorder.finish();
    let root = request(&spans);
    assert!(matches!(root.status, SpanStatus::Error { .. }));
    assert_eq!(text(root, fields::ERROR_TYPE), ErrorKind::NonFiniteOutput.name());
    assert_eq!(text(root, fields::ERROR_STAGE), Stage::ModelInference.name());
    assert_eq!(text(root, fields::STATUS), "failure");
    assert_eq!(named(&spans, Stage::UncertaintyEstimation.name()).len(), 0);
}

#[test]
fn a_fallback_is_not_an_error_and_has_its_reason() {
    let recorder = recorder(1.0, 8);
    let ((), lines) = lines(|| route(recorder.observer(), &[]));
    let spans = recorder.finish();
    assert_eq!(text(request(&spans), fields::DECISION_REASON), "no_evidence");
    assert_eq!(request(&spans).status, SpanStatus::Unset);
    let levels: Vec<Level> = lines.iter().filter(|l| l.message == "fallback").map(|l| l.level).collect();
    assert_eq!(levels, [Level::WARN]);
}

#[test]
fn a_sampled_out_request_opens_no_span_and_still_logs_its_error() {
    let recorder = recorder(0.0, 8);
    let ((), lines) = lines(|| {
        let (router, _) = router(broken_model(), CircuitBreakerConfig::default(), recorder.observer());
        router.route(RoutingRequest::new(&[1.0, 0.0], &candidates(1))).unwrap_err();
    });
    assert_eq!(recorder.finish().len(), 0);
    let levels: Vec<Level> =
        lines.iter().filter(|line| line.message == "inference failed").map(|line| line.level).collect();
    assert_eq!(levels, [Level::ERROR]);
}

#[test]
fn a_sampled_parent_overrides_the_ratio_and_its_trace_continues() {
    let recorder = recorder(0.0, 8);
    let parent: TraceContext = format!("{TRACEPARENT}-01").parse().unwrap();
    let guard = parent.attach();
    route(recorder.observer(), &candidates(1));
    drop(guard);
    route(recorder.observer(), &candidates(1));
    let spans = recorder.finish();
    let root = request(&spans);
    assert_eq!(root.span_context.trace_id().to_string(), parent.trace_id());
    assert_eq!(root.parent_span_id.to_string(), parent.span_id());
    assert!(root.parent_span_is_remote);
}

#[test]
fn an_unsampled_parent_overrides_the_ratio() {
    let recorder = recorder(1.0, 8);
    let _guard = format!("{TRACEPARENT}-00").parse::<TraceContext>().unwrap().attach();
    route(recorder.observer(), &candidates(1));
    assert_eq!(recorder.finish().len(), 0);
}

#[test]
fn the_caller_s_span_is_the_parent_and_contains_none_of_our_lines() {
    use tracing_subscriber::layer::SubscriberExt;
    let recorder = recorder(1.0, 8);
    let subscriber = tracing_subscriber::registry().with(system::span_layer(&recorder.pipeline));
    tracing::subscriber::with_default(subscriber, || {
        tracing::info_span!("handle").in_scope(|| route(recorder.observer(), &candidates(1)));
    });
    let spans = recorder.finish();
    let [handle] = named(&spans, "handle")[..] else { panic!("the caller has no span") };
    assert_eq!(request(&spans).parent_span_id, handle.span_context.span_id());
    assert!(handle.events.is_empty(), "our log lines are in the caller's span");
    assert!(handle.attributes.is_empty(), "{:?}", handle.attributes);
}

#[test]
fn the_sdk_s_own_spans_and_events_are_in_no_trace() {
    use tracing_subscriber::layer::SubscriberExt;
    let recorder = recorder(1.0, 8);
    let subscriber = tracing_subscriber::registry().with(system::span_layer(&recorder.pipeline));
    tracing::subscriber::with_default(subscriber, || {
        tracing::info_span!("handle").in_scope(|| {
            tracing::error!(target: "opentelemetry-otlp", "an export failed");
            tracing::info_span!(target: "opentelemetry_sdk", "export").in_scope(|| ());
        });
    });
    let spans = recorder.finish();
    let [handle] = &spans[..] else { panic!("{} spans", spans.len()) };
    assert!(handle.events.is_empty());
    assert_eq!(handle.status, SpanStatus::Unset);
}

#[test]
fn a_trace_has_one_span_a_stage_by_default() {
    let recorder = Recorder::new(TracingConfig::default());
    route(recorder.observer(), &candidates(12));
    let spans = recorder.finish();
    let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, [&Stage::ROUTING.map(Stage::name)[..], &[RequestStart::NAME]].concat());
}

#[test]
fn a_candidate_s_span_has_its_similarity_and_the_confidence_of_its_per_candidate_pass() {
    let recorder = recorder(1.0, 3);
    let (router, _) = router(toy_model(), CircuitBreakerConfig::default(), recorder.observer());
    let response = router.route(RoutingRequest::new(&[1.0, 0.0], &candidates(12))).unwrap();
    let spans = recorder.finish();
    let nearest = &named(&spans, Stage::ModelInference.name())[1..];
    let seen: Vec<_> = nearest
        .iter()
        .map(|span| {
            let value = |key| attribute(span, key).unwrap().clone();
            let index = number(span, fields::CANDIDATE_INDEX);
            (index, value(fields::CANDIDATE_SIMILARITY), value(fields::CONFIDENCE))
        })
        .collect();
    let confidence = |candidate: usize| {
        let decision = response.decisions.iter().find(|decision| decision.candidate == candidate).unwrap();
        Value::F64(double(decision.confidence))
    };
    let expected = [(2, 0.93), (1, 0.94), (0, 0.95)]
        .map(|(index, similarity)| (index, Value::F64(similarity), confidence(index as usize)));
    assert_eq!(seen, expected);
}

#[test]
fn a_request_that_unwinds_ends_its_spans_and_detaches_its_context() {
    struct Panics;
    impl Observer for Panics {
        type Request = ();
        type Stage = ();
        type Batch = ();
        fn on_request_start(&self, _: &RequestStart<'_>) {}
        fn on_stage_start(&self, (): &mut (), event: &StageStart<'_>) {
            assert_ne!(event.stage, Stage::UncertaintyEstimation, "a panic on purpose");
        }
    }
    let recorder = recorder(1.0, 8);
    let observer = (recorder.observer(), Panics);
    catch_unwind(AssertUnwindSafe(|| route(observer, &candidates(1)))).unwrap_err();
    assert_eq!(TraceContext::from_current(), None);
    assert_eq!(recorder.finish().len(), 6);
}

#[test]
fn after_a_shutdown_lines_are_written_and_spans_are_not() {
    let recorder = recorder(1.0, 8);
    recorder.pipeline.shutdown();
    let ((), lines) = lines(|| route(recorder.observer(), &candidates(1)));
    assert!(lines.iter().any(|line| line.message == "request decided"));
    assert_eq!(recorder.finish().len(), 0);
}

#[test]
fn candidate_names_are_in_trace_lines_only() {
    let (_, lines) = lines(|| exercise(TracingObserver::global()));
    let has_name = |line: &&Line| line.fields.contains_key(fields::CANDIDATE_ID);
    assert!(lines.iter().filter(has_name).all(|line| line.level == Level::TRACE));
    assert!(lines.iter().any(|line| line.fields.get(fields::CANDIDATE_ID).is_some_and(|id| id == "nearer")));
}

#[test]
fn a_double_reads_like_the_number_that_it_came_from() {
    for (given, expected) in [(0.98, 0.98), (0.15, 0.15), (1.0, 1.0), (1e-7, 0.0)] {
        assert_eq!(double(given), expected);
    }
}

/// Routes a request without candidates a thousand times, and once more in a later window. Returns the lines.
fn outage(windows: u64) -> ((), Vec<Line>) {
    let (clock, manual) = tiny_dancer_core::Clock::manual(0);
    let observer = TracingObserver { repeats: Arc::new(Repeats::new(clock)), ..Default::default() };
    lines(|| {
        let (router, _) = router(toy_model(), CircuitBreakerConfig::default(), observer);
        for _ in 0..1_000 {
            router.route(RoutingRequest::new(&[1.0, 0.0], &[])).unwrap();
        }
        manual.advance(std::time::Duration::from_secs(10 * windows));
        router.route(RoutingRequest::new(&[1.0, 0.0], &[])).unwrap();
    })
}

#[test]
fn an_outage_writes_ten_lines_and_later_the_number_that_it_left_out() {
    let ((), lines) = outage(1);
    let count = |message: &str| lines.iter().filter(|line| line.message == message).count();
    assert_eq!((count("fallback"), count("lines left out"), count("request decided")), (11, 1, 1_001));
    let line = lines.iter().find(|line| line.message == "lines left out").unwrap();
    assert_eq!(line.fields[fields::LOG_LEFT_OUT], "990");
    assert_eq!(
        (&*line.fields[fields::LOG_MESSAGE], &*line.fields[fields::LOG_KIND]),
        ("fallback", "no_evidence")
    );
}

#[test]
fn redacted_names_are_in_no_line() {
    let recorder = Recorder::new(TracingConfig { redact_ids: true, ..Default::default() });
    let ((), lines) = lines(|| route(recorder.observer(), &candidates(2)));
    let names: Vec<_> = lines.iter().filter_map(|line| line.fields.get(fields::CANDIDATE_ID)).collect();
    assert_eq!(names, [REDACTED, REDACTED]);
    let spans = recorder.finish();
    assert!(!format!("{spans:?} {lines:?}").contains("candidate 0"));
}

#[test]
fn spans_and_lines_contain_no_embeddings_and_no_metadata() {
    let metadata = tiny_dancer_core::Metadata::from([("prompt".to_owned(), "a secret question".to_owned())]);
    let candidate = Candidate {
        id: "its name".to_owned(),
        embedding: vec![31.4159, 27.1828],
        metadata: metadata.clone(),
        success_rate: 1.0,
        ..Default::default()
    };
    let short = Candidate { embedding: vec![57.7215], ..candidate.clone() };
    let recorder = recorder(1.0, 8);
    let ((), lines) = lines(|| {
        let (router, _) = router(toy_model(), CircuitBreakerConfig::default(), recorder.observer());
        for candidates in [&[candidate][..], &[short]] {
            let query = Query { metadata: Some(&metadata), ..Query::new(&[16.1803, 14.1421]) };
            let _ = router.route(RoutingRequest { query, candidates });
        }
    });
    let written = format!("{:?} {lines:?}", recorder.finish());
    assert!(written.contains("its name") && written.contains("request refused"), "{written}");
    for secret in ["secret", "prompt", "31.4", "27.1", "57.7", "16.1", "14.1"] {
        assert!(!written.contains(secret), "{secret} is in {written}");
    }
}

#[test]
fn a_model_s_name_is_on_the_span_of_a_request_that_goes_to_it() {
    let config = TracingConfig { powerful_model: Some("large".to_owned()), ..Default::default() };
    let recorder = Recorder::new(config);
    route(recorder.observer(), &[]);
    route(recorder.observer(), &candidates(1));
    let spans = recorder.finish();
    let name = |reason| {
        let of = |span: &&SpanData| {
            span.name == RequestStart::NAME && text(span, fields::DECISION_REASON) == reason
        };
        attribute(spans.iter().find(of).unwrap(), fields::DECISION_MODEL_NAME)
    };
    assert_eq!(name("no_evidence"), Some(&Value::from("large")));
    assert_eq!(name("confident"), None);
}

/// The attributes of the one event of a request with these candidates.
fn decision(candidates: &[Candidate]) -> Vec<KeyValue> {
    let recorder = recorder(1.0, 8);
    route(recorder.observer(), candidates);
    let spans = recorder.finish();
    assert_eq!(request(&spans).events.len(), 1);
    request(&spans).events[0].attributes.clone()
}

#[test]
fn a_decision_can_be_replayed_from_its_event() {
    use tiny_dancer_core::{Kernel, replay::Recorded};
    for n in [1, 3, 100] {
        let attributes = decision(&candidates(n));
        let value = |key: &str| &attributes.iter().find(|it| it.key.as_str() == key).unwrap().value;
        let one = |key| match value(key) {
            Value::F64(value) => *value as f32,
            other => panic!("{key}: {other:?}"),
        };
        let rows = rows::decode(&value(fields::REPLAY_FEATURES).as_str()).unwrap();
        assert_eq!(rows.len(), usize::from(n).min(64));
        let recorded = Recorded {
            rows,
            thresholds: Thresholds {
                confidence_threshold: one(fields::REPLAY_CONFIDENCE_THRESHOLD),
                max_uncertainty: one(fields::REPLAY_MAX_UNCERTAINTY),
            },
            explore: None,
            budget_spent: false,
        };
        let replayed = recorded.replay(&toy_model(), Kernel::detect()).unwrap();
        assert_eq!(replayed.confidence, one(fields::REPLAY_CONFIDENCE));
        assert_eq!(replayed.uncertainty, one(fields::REPLAY_UNCERTAINTY));
        assert_eq!(replayed.reason, Reason::Confident);
    }
}

#[test]
fn the_draws_of_a_request_are_on_its_span_and_in_its_event() {
    for (explore, shadow_rate) in [(1.0, 0.0), (0.0, 1.0), (1e-300, 1.0), (0.0, 0.0)] {
        let recorder = recorder(1.0, 0);
        let config = RouterConfig { explore, shadow_rate, ..Default::default() };
        let router = Router::with_observer(config, recorder.observer()).unwrap();
        let response = router.route(RoutingRequest::new(&[1.0, 0.0], &[])).unwrap();
        let spans = recorder.finish();
        let span = request(&spans);
        let event = &span.events[0].attributes;
        let in_event = |key: &str| event.iter().find(|it| it.key.as_str() == key).map(|it| it.value.clone());
        for (draw, happened, probability) in [
            (response.explore, fields::EXPLORE_HAPPENED, fields::EXPLORE_PROBABILITY),
            (response.shadow, fields::SHADOW_HAPPENED, fields::SHADOW_PROBABILITY),
        ] {
            assert_eq!(attribute(span, happened).cloned(), draw.map(|draw| Value::Bool(draw.happened)));
            assert_eq!(in_event(happened), draw.map(|draw| Value::Bool(draw.happened)));
            assert_eq!(in_event(probability), draw.map(|draw| Value::F64(draw.probability)));
        }
        let number = (response.number != 0).then(|| response.number.to_string().into());
        assert_eq!(in_event(fields::DRAW_NUMBER), number, "{explore}, {shadow_rate}");
    }
}

#[test]
fn losses_of_a_memory_are_logged_ten_times_and_then_counted() {
    let (clock, manual) = tiny_dancer_core::Clock::manual(0);
    let observer = TracingObserver { repeats: Arc::new(Repeats::new(clock)), ..Default::default() };
    let lose = |changes, kind| {
        let mut state = MemoryState::default();
        state.queue = 7;
        observer.on_memory(&MemoryEvent::new(state, MemoryChange::Lost { changes, kind }));
    };
    let ((), lines) = lines(|| {
        (0..50).for_each(|_| lose(3, MemoryErrorKind::QueueFull));
        lose(1, MemoryErrorKind::Full);
        manual.advance(std::time::Duration::from_secs(10));
        lose(2, MemoryErrorKind::QueueFull);
    });
    let written: Vec<_> = lines.iter().filter(|line| line.message == "memory changes lost").collect();
    assert_eq!(written.len(), 12);
    let [first, last] = [written[0], written[11]].map(|line| {
        let field = |key: &str| line.fields[key].clone();
        assert_eq!(line.level, Level::WARN);
        [fields::ERROR_TYPE, fields::MEMORY_CHANGES, fields::MEMORY_QUEUE].map(field)
    });
    assert_eq!(
        (first, last),
        (["queue_full", "3", "7"].map(str::to_owned), ["queue_full", "2", "7"].map(str::to_owned))
    );
    let left_out = lines.iter().find(|line| line.message == "lines left out").unwrap();
    assert_eq!(left_out.fields[fields::LOG_LEFT_OUT], "40");
    assert_eq!(left_out.fields[fields::LOG_KIND], "queue_full");
}

#[test]
fn the_event_of_a_fallback_contains_no_features() {
    let attributes = decision(&[]);
    let has = |key: &str| attributes.iter().any(|attribute| attribute.key.as_str() == key);
    assert!(has(fields::DECISION_REASON) && !has(fields::REPLAY_FEATURES) && !has(fields::REPLAY_CANDIDATES));
}

/// Runs a closure while the features are computed, as a rayon worker does that waits for the others.
struct Steals(std::sync::Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Observer for Steals {
    type Request = ();
    type Stage = ();
    type Batch = ();
    fn on_request_start(&self, _: &RequestStart<'_>) {}
    fn on_stage_start(&self, (): &mut (), event: &StageStart<'_>) {
        if event.stage == Stage::FeatureEngineering
            && let Some(stolen) = self.0.lock().unwrap().take()
        {
            stolen();
        }
    }
}

/// Routes a request below a caller, and runs `stolen` meanwhile. Returns parent and trace of both requests.
fn parents(stolen: impl FnOnce(Router<TracingObserver>) + Send + 'static) -> Vec<(SpanId, TraceId)> {
    let recorder = recorder(1.0, 0);
    let (other, _) = router(toy_model(), CircuitBreakerConfig::default(), recorder.observer());
    let steals = Steals(std::sync::Mutex::new(Some(Box::new(|| stolen(other)))));
    {
        let _waiting = caller("1").attach();
        route((recorder.observer(), steals), &candidates(1));
    }
    let spans = recorder.finish();
    let requests = named(&spans, RequestStart::NAME);
    requests.iter().map(|span| (span.parent_span_id, span.span_context.trace_id())).collect()
}

fn caller(id: &str) -> TraceContext {
    format!("00-{id:0>32}-{id:0>16}-01").parse().unwrap()
}

#[test]
fn a_request_that_a_waiting_worker_steals_begins_a_trace_of_its_own() {
    let parents = parents(|router| {
        router.route(RoutingRequest::new(&[1.0, 0.0], &[])).unwrap();
    });
    let [(stolen, trace), (waiting, _)] = parents[..] else { panic!("{parents:?}") };
    assert_eq!((stolen, waiting), (SpanId::INVALID, SpanId::from(1)));
    assert_ne!(trace, TraceId::from(1));
}

#[test]
fn a_batch_that_a_waiting_worker_steals_has_its_own_parent_or_none() {
    let none = parents(|router| {
        router.route_batch(&[RoutingRequest::new(&[1.0, 0.0], &[])]);
    });
    assert_eq!(none[0].0, SpanId::INVALID);
    let below = parents(|router| {
        let _batch = caller("2").attach();
        router.route_batch(&[RoutingRequest::new(&[1.0, 0.0], &[])]);
    });
    assert_eq!(below, [(SpanId::from(2), TraceId::from(2)), (SpanId::from(1), TraceId::from(1))]);
}

#[test]
fn lines_and_spans_after_the_features_are_within_the_request_again() {
    struct Contexts(Arc<std::sync::Mutex<Vec<Option<TraceContext>>>>);
    impl Observer for Contexts {
        type Request = ();
        type Stage = ();
        type Batch = ();
        fn on_request_start(&self, _: &RequestStart<'_>) {}
        fn on_stage_start(&self, (): &mut (), event: &StageStart<'_>) {
            if event.stage == Stage::ModelInference {
                self.0.lock().unwrap().push(TraceContext::from_current());
            }
        }
        fn on_error(&self, (): &mut (), _: &Failed<'_>) {
            self.0.lock().unwrap().push(TraceContext::from_current());
        }
    }
    let (recorder, seen) = (recorder(1.0, 0), Arc::default());
    let (router, _) = router(
        toy_model(),
        CircuitBreakerConfig::default(),
        (recorder.observer(), Contexts(Arc::clone(&seen))),
    );
    router.route(RoutingRequest::new(&[1.0, 0.0], &candidates(1))).unwrap();
    // A request whose features fail.
    router.route(RoutingRequest::new(&[1.0], &candidates(1))).unwrap_err();
    let spans = recorder.finish();
    let expected: Vec<_> = named(&spans, RequestStart::NAME)
        .iter()
        .map(|span| Some(span.span_context.span_id().to_string()))
        .collect();
    let seen: Vec<_> = seen.lock().unwrap().iter().map(|it| it.as_ref().map(TraceContext::span_id)).collect();
    assert_eq!(seen, expected);
}

/// Routes a text in a scope. `embed` is the embedding of its query.
fn route_text<O: Observer>(router: &Router<O>, embed: impl FnOnce(&mut StageReport)) {
    let mut scope = router.begin();
    scope.embedding(embed);
    let candidates = scope.memory_search(|report| {
        report.items = 2;
        candidates(2)
    });
    scope.route(RoutingRequest::new(&[1.0, 0.0], &candidates)).unwrap();
}

#[test]
fn the_stages_of_a_scope_are_below_its_request_with_what_they_report() {
    let recorder = recorder(1.0, 0);
    let (router, manual) = router(toy_model(), CircuitBreakerConfig::default(), recorder.observer());
    let second = || manual.advance(std::time::Duration::from_secs(1));
    route_text(&router, |report| {
        (report.items, report.truncated) = (256, true);
        second();
    });
    let spans = recorder.finish();
    let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, [&Stage::ALL.map(Stage::name)[..], &[RequestStart::NAME]].concat());
    let root = request(&spans);
    assert_eq!(text(root, fields::OPERATION), "scope");
    assert_eq!(number(root, fields::CANDIDATES), 2);
    assert!(spans[..6].iter().all(|span| span.parent_span_id == root.span_context.span_id()));
    let [embedding, search] = [&spans[0], &spans[1]];
    assert_eq!(number(embedding, fields::TOKENS), 256);
    assert_eq!(attribute(embedding, fields::TRUNCATED), Some(&Value::Bool(true)));
    assert_eq!(number(search, fields::CANDIDATES), 2);
    assert_eq!(attribute(search, fields::TRUNCATED), Some(&Value::Bool(false)));
    assert!(spans[..2].iter().all(|span| span.status == SpanStatus::Unset));
    let took = embedding.end_time.duration_since(embedding.start_time).unwrap();
    assert_eq!(took, std::time::Duration::from_secs(1));
    assert_eq!(search.start_time, embedding.end_time);
}

#[test]
fn a_failed_embedding_is_an_error_of_its_span_and_not_of_its_request() {
    let recorder = recorder(1.0, 0);
    let (router, _) = router(toy_model(), CircuitBreakerConfig::default(), recorder.observer());
    let mut scope = router.begin();
    scope.embedding(|report| report.error = Some(StageErrorKind::Unavailable));
    scope.route_without_evidence().unwrap();
    let spans = recorder.finish();
    let [embedding] = named(&spans, Stage::Embedding.name())[..] else { panic!("no embedding") };
    assert_eq!(embedding.status, SpanStatus::error("unavailable"));
    assert_eq!(text(embedding, fields::ERROR_TYPE), "unavailable");
    assert_eq!(request(&spans).status, SpanStatus::Unset);
    assert_eq!(text(request(&spans), fields::DECISION_REASON), "no_evidence");
    assert_eq!(number(request(&spans), fields::DIMENSIONS), 0);
}

/// The headers of a call of an embedding service come from here.
#[test]
fn the_current_span_within_a_scope_is_that_of_its_request() {
    let recorder = recorder(1.0, 0);
    let (router, _) = router(toy_model(), CircuitBreakerConfig::default(), recorder.observer());
    let mut current = vec![];
    route_text(&router, |_| current.push(TraceContext::from_current().unwrap()));
    let scope = router.begin();
    current.push(TraceContext::from_current().unwrap());
    drop(scope);
    assert!(TraceContext::from_current().is_none());
    let spans = recorder.finish();
    let ids = |span: &SpanData| span.span_context.span_id().to_string();
    let requests: Vec<_> = named(&spans, RequestStart::NAME).into_iter().map(ids).collect();
    assert_eq!(requests, current.iter().map(TraceContext::span_id).collect::<Vec<_>>());
}

#[test]
fn an_unsampled_scope_opens_no_span_and_still_logs_the_error_of_a_stage() {
    let recorder = recorder(0.0, 8);
    let ((), lines) = lines(|| {
        let (router, _) = router(toy_model(), CircuitBreakerConfig::default(), recorder.observer());
        route_text(&router, |report| report.error = Some(StageErrorKind::DeadlineExceeded));
    });
    assert_eq!(recorder.finish().len(), 0);
    let [failed] = lines.iter().filter(|line| line.message == "stage failed").collect::<Vec<_>>()[..] else {
        panic!("{lines:?}")
    };
    assert_eq!(failed.level, Level::WARN);
    assert_eq!(failed.fields[fields::ERROR_TYPE], "deadline_exceeded");
    assert_eq!(failed.fields[fields::ERROR_STAGE], "embedding");
    let searched = lines.iter().find(|line| line.message == "memory searched").unwrap();
    assert_eq!((searched.level, &*searched.fields[fields::CANDIDATES]), (Level::DEBUG, "2"));
}

/// Of an unsampled scope, an observer beside this one does not receive the router's own stages for its sake.
#[test]
fn an_unsampled_scope_enables_only_its_own_stages() {
    let observer = checker(recorder(0.0, 8).observer());
    let (router, _) = router(toy_model(), CircuitBreakerConfig::default(), Arc::clone(&observer));
    route_text(&router, |_| {});
    assert_eq!(observer.counts().stages, 2);
    let request = RoutingRequest::new(&[1.0, 0.0], &[]);
    router.route(request).unwrap();
    assert_eq!(observer.counts().stages, 2);
}

fn checker<O>(observer: O) -> Arc<ContractChecker<O>> {
    Arc::new(ContractChecker::new(observer))
}

#[test]
fn an_abandoned_scope_is_an_error_of_its_request_without_a_stage() {
    let recorder = recorder(1.0, 0);
    let ((), lines) = lines(|| {
        let (router, _) = router(toy_model(), CircuitBreakerConfig::default(), recorder.observer());
        drop(router.begin());
    });
    let spans = recorder.finish();
    assert!(matches!(request(&spans).status, SpanStatus::Error { .. }));
    assert_eq!(text(request(&spans), fields::ERROR_TYPE), "abandoned");
    assert_eq!(attribute(request(&spans), fields::ERROR_STAGE), None);
    assert!(lines.iter().any(|line| line.level == Level::WARN && line.message == "scope abandoned"));
}

#[test]
fn a_scope_ends_its_spans_if_its_stage_panics() {
    let recorder = recorder(1.0, 0);
    let (router, _) = router(toy_model(), CircuitBreakerConfig::default(), recorder.observer());
    let panics = || route_text(&router, |_| panic!("the panic that this test needs"));
    catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
    assert!(TraceContext::from_current().is_none());
    let spans = recorder.finish();
    let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, [Stage::Embedding.name(), RequestStart::NAME]);
}
