use super::*;
use crate::store::in_process::InProcessStore;
use tiny_dancer_core::{
    Circuit, CircuitBreakerConfig, CircuitState, Clock, ManualClock, Metadata, RiskBudget, RouterConfig,
};

mod account;
mod model;
mod stored;

const NOW: i64 = 1_700_000_000;

fn router() -> Router {
    Router::new(RouterConfig::default()).unwrap()
}

fn clocked(config: MemoryConfig) -> (MemoryConfig, ManualClock) {
    let (clock, manual) = Clock::manual(NOW);
    (MemoryConfig { clock, ..config }, manual)
}

fn memory() -> Memory {
    Memory::in_process(clocked(MemoryConfig::default()).0).unwrap()
}

fn tenant(name: &str) -> Context {
    Context { tenant: Some(name.to_owned()), ..Context::default() }
}

fn user(tenant: Option<&str>, user: &str) -> Context {
    Context { tenant: tenant.map(str::to_owned), user: Some(user.to_owned()), ..Context::default() }
}

fn route(memory: &Memory, router: &Router, context: impl Into<Context>) -> Routed {
    memory.route(router.begin(), &[0.6, 0.8], context).unwrap()
}

/// Routes a request and gives it a verdict.
fn learn(memory: &Memory, router: &Router, context: impl Into<Context>) -> RequestId {
    let id = route(memory, router, context).id;
    memory.record(router, id, Verdict::lightweight(1.0)).unwrap();
    id
}

fn at(verdict: Verdict, time: i64) -> Verdict {
    Verdict { at: Some(time), ..verdict }
}

/// The rates of a request, if it is evidence for another one.
fn rates(memory: &Memory, tenant: Option<&str>, id: RequestId) -> Option<(f32, f32)> {
    let found = memory.tenants.nearest(tenant, &[0.6, 0.8], 4096).unwrap();
    let found = found.into_iter().find(|found| found.candidate.id == id.to_string())?;
    Some((found.candidate.success_rate, found.candidate.win_rate))
}

/// All events since the memory was made.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<MemoryEvent>>>);

impl Events {
    fn of(memory: Memory) -> (Memory, Self) {
        let events = Self::default();
        let kept = events.clone();
        (memory.observed_by(move |event| lock(&kept.0).push(*event)), events)
    }

    fn changes(&self) -> Vec<MemoryChange> {
        lock(&self.0).iter().map(|event| event.change).collect()
    }
}

#[test]
fn a_request_is_evidence_once_it_has_a_verdict() {
    let (memory, router) = (memory(), router());
    let first = route(&memory, &router, Metadata::new());
    assert_eq!(first.response.reason, Reason::NoEvidence);
    // Pending: no candidate.
    assert_eq!(route(&memory, &router, Metadata::new()).response.reason, Reason::NoEvidence);
    let kind = memory.record(&router, first.id, Verdict::judged(1.0, 0.5)).unwrap();
    assert_eq!((kind, rates(&memory, None, first.id)), (VerdictKind::Accepted, Some((1.0, 1.0))));
    assert_ne!(route(&memory, &router, Metadata::new()).response.reason, Reason::NoEvidence);
}

#[test]
fn the_rates_follow_from_the_configured_margin_and_threshold() {
    let config = MemoryConfig { margin: 0.25, good_enough: 0.75, ..Default::default() };
    let (memory, router) = (Memory::in_process(config).unwrap(), router());
    let rates = |verdict| {
        let id = route(&memory, &router, Metadata::new()).id;
        memory.record(&router, id, verdict).unwrap();
        rates(&memory, None, id).unwrap()
    };
    assert_eq!(rates(Verdict::judged(0.5, 0.75)), (1.0, 0.0));
    assert_eq!(rates(Verdict::judged(0.25, 0.75)), (0.0, 0.0));
    assert_eq!(rates(Verdict::judged(0.75, 0.25)), (1.0, 1.0));
    assert_eq!(rates(Verdict::lightweight(0.5)), (0.0, 0.0));
    assert_eq!(rates(Verdict::lightweight(0.75)), (1.0, 0.0));
}

#[test]
fn the_metadata_that_a_user_gives_is_compared_and_nothing_else() {
    let (memory, router) = (memory(), router());
    let pair = |key: &str, value: &str| Metadata::from([(key.to_owned(), value.to_owned())]);
    // Keys that a memory might use itself.
    for key in ["tenant", "user", "", "id"] {
        let context = Context { metadata: pair(key, "acme"), user: Some("u".into()), ..tenant("acme") };
        let id = learn(&memory, &router, context);
        let found = memory.tenants.get(Some("acme"), &id.to_string()).unwrap();
        assert_eq!(found.metadata, pair(key, "acme"));
        memory.erase(&Erasure::Tenant("acme".into())).unwrap();
    }
    // Metadata selects no tenant.
    learn(&memory, &router, pair("tenant", "acme"));
    assert_eq!(route(&memory, &router, tenant("acme")).response.reason, Reason::NoEvidence);
}

#[test]
fn a_request_without_a_tenant_sees_entries_without_one_only() {
    let (memory, router) = (memory(), router());
    learn(&memory, &router, tenant("acme"));
    assert_eq!(route(&memory, &router, Metadata::new()).response.reason, Reason::NoEvidence);
    learn(&memory, &router, Metadata::new());
    assert_ne!(route(&memory, &router, Metadata::new()).response.reason, Reason::NoEvidence);
    assert_eq!(route(&memory, &router, tenant("")).response.reason, Reason::NoEvidence);
}

#[test]
fn verdicts_may_repeat_contradict_and_come_late_and_the_last_by_its_time_counts() {
    let (memory, events) = Events::of(memory());
    let router = router();
    let id = route(&memory, &router, Metadata::new()).id;
    let good = Verdict::lightweight(1.0);
    let bad = Verdict::lightweight(0.0);
    let steps = [
        (at(good, 5), VerdictKind::Accepted, 1.0),
        (at(good, 5), VerdictKind::Repeated, 1.0),
        (at(bad, 4), VerdictKind::Superseded, 1.0),
        (at(bad, 6), VerdictKind::Contradicting, 0.0),
        (at(good, 8), VerdictKind::Contradicting, 1.0),
        (at(good, 9), VerdictKind::Repeated, 1.0),
        // Older than the repetition.
        (at(bad, 8), VerdictKind::Superseded, 1.0),
        // Without a time of its own it is of now.
        (bad, VerdictKind::Contradicting, 0.0),
    ];
    for (verdict, kind, rate) in steps {
        assert_eq!(memory.record(&router, id, verdict).unwrap(), kind, "{verdict:?}");
        assert_eq!(rates(&memory, None, id), Some((rate, 0.0)), "{verdict:?}");
    }
    let kinds = steps.map(|(_, kind, _)| MemoryChange::Verdict { kind });
    assert_eq!(events.changes(), kinds);
}

#[test]
fn a_verdict_on_an_unknown_request_is_an_error_and_an_event() {
    let (memory, events) = Events::of(memory());
    let id = RequestId::from_bytes([7; 16]);
    let error = memory.record(&router(), id, Verdict::lightweight(1.0)).unwrap_err();
    assert!(matches!(error, RecordError::Unknown { id: unknown } if unknown == id));
    assert_eq!(error.to_string(), "request 07070707-0707-0707-0707-070707070707 is not known");
    assert_eq!(events.changes(), [MemoryChange::Verdict { kind: VerdictKind::Unknown }]);
}

#[test]
fn a_score_out_of_range_is_refused_with_the_name_of_its_field() {
    let (memory, router) = (memory(), router());
    let id = route(&memory, &router, Metadata::new()).id;
    let refused = |verdict| memory.record(&router, id, verdict).unwrap_err().to_string();
    assert_eq!(refused(Verdict::lightweight(1.5)), "lightweight is 1.5, expected 0 to 1");
    assert_eq!(refused(Verdict::judged(1.0, f32::NAN)), "powerful is NaN, expected 0 to 1");
    // It has not used up the request.
    assert_eq!(memory.record(&router, id, Verdict::lightweight(1.0)).unwrap(), VerdictKind::Accepted);
}

#[test]
fn an_embedding_that_is_not_valid_is_the_callers_error_and_is_not_remembered() {
    let (memory, router) = (memory(), router());
    let refused =
        |embedding: &[f32]| memory.route(router.begin(), embedding, Metadata::new()).unwrap_err().to_string();
    assert_eq!(refused(&[]), "query_embedding is empty");
    assert_eq!(refused(&[f32::NAN, 1.0]), "query: embedding[0] is NaN");
    assert_eq!(refused(&[0.0, 0.0, 0.0]), "query: embedding has norm zero");
    learn(&memory, &router, Metadata::new());
    assert_eq!(refused(&[1.0]), "query: embedding has 1 dimensions, expected 2");
    assert_eq!(memory.stats().entries, 1);
}

#[test]
fn the_promise_receives_the_verdicts_of_requests_that_were_routed_to_the_lightweight_model() {
    let risk = Some(RiskBudget { alpha: 0.5, delta: 0.05 });
    let router = Router::new(RouterConfig { risk, ..Default::default() }).unwrap();
    let memory = memory();
    let outcomes = || router.promise().unwrap().reported;
    // Served by the powerful model, so the lightweight one was a shadow.
    let first = route(&memory, &router, Metadata::new());
    assert_eq!(first.response.model, ModelType::Powerful);
    memory.record(&router, first.id, Verdict::lightweight(1.0)).unwrap();
    assert_eq!(outcomes(), 0);
    for _ in 0..200 {
        learn(&memory, &router, Metadata::new());
    }
    let answered = route(&memory, &router, Metadata::new());
    assert_eq!(answered.response.model, ModelType::Lightweight);
    let before = outcomes();
    for verdict in [at(Verdict::lightweight(1.0), 5), at(Verdict::lightweight(0.0), 6)] {
        memory.record(&router, answered.id, verdict).unwrap();
    }
    // One answer counts once.
    assert_eq!(outcomes(), before + 1);

    let failed = route(&memory, &router, Metadata::new());
    memory.served(failed.id, served(ModelType::Powerful));
    memory.record(&router, failed.id, Verdict::lightweight(1.0)).unwrap();
    assert_eq!(outcomes(), before + 1);
}

fn served(model: ModelType) -> Served {
    Served { model, usage: Vec::new(), price_version: None, judge: None, draws: Draws::default() }
}

#[test]
fn each_first_verdict_moves_the_circuit() {
    let circuit_breaker = CircuitBreakerConfig {
        insufficient_is_failure: true,
        lightweight_min_calls: 3,
        ..Default::default()
    };
    let router = Router::new(RouterConfig { circuit_breaker, ..Default::default() }).unwrap();
    let memory = memory();
    for n in 0..3 {
        let id = route(&memory, &router, Metadata::new()).id;
        for _ in 0..3 {
            assert_eq!(router.circuit_state(Circuit::Lightweight), CircuitState::Closed, "{n}");
            memory.record(&router, id, at(Verdict::lightweight(0.0), 1)).unwrap();
            if n == 2 {
                break;
            }
        }
    }
    assert_eq!(router.circuit_state(Circuit::Lightweight), CircuitState::Open);
}

#[test]
fn the_oldest_evidence_is_dropped_above_the_number_to_keep() {
    let (config, clock) = clocked(MemoryConfig { max_entries: 3, ..Default::default() });
    let (memory, router) = (Memory::in_process(config).unwrap(), router());
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(route(&memory, &router, Metadata::new()).id);
        clock.advance(Duration::from_secs(1));
    }
    // Verdicts come in another order than requests.
    for n in [4, 0, 2, 1, 3] {
        memory.record(&router, ids[n], Verdict::lightweight(1.0)).unwrap();
    }
    let kept: Vec<_> = ids.iter().map(|&id| rates(&memory, None, id).is_some()).collect();
    assert_eq!(kept, [false, false, true, true, true]);
    assert_eq!((memory.stats().evidence, memory.stats().segments), (3, 1));
}

#[test]
fn entries_are_dropped_at_their_age() {
    let (config, clock) =
        clocked(MemoryConfig { max_age: Some(Duration::from_secs(10)), ..Default::default() });
    let (memory, events) = Events::of(Memory::in_process(config).unwrap());
    let router = router();
    let old = learn(&memory, &router, Metadata::new());
    let pending = route(&memory, &router, Metadata::new()).id;
    clock.advance(Duration::from_secs(10));
    memory.expire();
    assert!(rates(&memory, None, old).is_some());
    clock.advance(Duration::from_secs(1));
    let new = learn(&memory, &router, Metadata::new());
    assert_eq!((rates(&memory, None, old), rates(&memory, None, new)), (None, Some((1.0, 0.0))));
    memory.expire();
    assert_eq!(memory.stats().entries, 1);
    let unknown = memory.record(&router, pending, Verdict::lightweight(1.0)).unwrap_err();
    assert!(matches!(unknown, RecordError::Unknown { .. }));
    assert!(events.changes().contains(&MemoryChange::Expired { entries: 1, log_entries: 0 }));
}

#[test]
fn as_many_requests_without_a_verdict_are_known_as_the_queue_holds() {
    let config = MemoryConfig { queue: 3, ..Default::default() };
    let (memory, router) = (Memory::in_process(config).unwrap(), router());
    let ids: Vec<_> = (0..5).map(|_| route(&memory, &router, Metadata::new()).id).collect();
    assert_eq!(memory.stats().entries, 3);
    let known = |id| memory.record(&router, id, Verdict::lightweight(1.0)).is_ok();
    assert_eq!(ids.into_iter().map(known).collect::<Vec<_>>(), [false, false, true, true, true]);
}

#[test]
fn erasing_a_user_leaves_the_other_users_of_the_tenant() {
    let (memory, router) = (memory(), router());
    let contexts = [user(None, "ada"), user(Some("acme"), "ada"), user(Some("acme"), "bob"), tenant("acme")];
    let ids = contexts.clone().map(|context| learn(&memory, &router, context));
    let pending = contexts.clone().map(|context| route(&memory, &router, context).id);
    memory.erase(&Erasure::User { tenant: Some("acme".into()), user: "ada".into() }).unwrap();
    let kept = [0, 1, 2, 3].map(|n| rates(&memory, contexts[n].tenant.as_deref(), ids[n]).is_some());
    assert_eq!(kept, [true, false, true, true]);
    let known = pending.map(|id| memory.record(&router, id, Verdict::lightweight(1.0)).is_ok());
    assert_eq!(known, [true, false, true, true]);
}

#[test]
fn no_debug_output_and_no_event_has_content() {
    let config = MemoryConfig { store_prompts: true, ..MemoryConfig::default() };
    let (memory, events) = Events::of(Memory::with_store(InProcessStore::default(), config).unwrap());
    let secret = "secret";
    let pair = (secret.to_owned(), secret.to_owned());
    let text = || Some(secret.to_owned());
    let context = Context {
        tenant: text(),
        user: text(),
        conversation: text(),
        prompt: text(),
        metadata: Metadata::from([pair]),
        mode: None,
    };
    learn(&memory, &router(), context);
    memory.flush().unwrap();
    memory.erase(&Erasure::Tenant(secret.to_owned())).unwrap();
    assert!(events.changes().len() >= 3, "{:?}", events.changes());
    let shown = format!("{memory:?} {:?}", events.changes());
    assert!(!shown.contains(secret), "{shown}");
}
