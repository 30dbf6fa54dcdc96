//! Memories over a store: restarts, losses and erasure.

use super::*;
use std::path::PathBuf;
use tiny_dancer_core::observer::MemoryErrorKind;

fn over(store: &InProcessStore, config: MemoryConfig) -> Memory {
    Memory::with_store(store.clone(), config).unwrap()
}

fn full() -> StoreError {
    StoreError::Full { path: PathBuf::from("memory.db") }
}

/// An error after which the store does not try again.
fn corrupt() -> StoreError {
    StoreError::Corrupt { path: PathBuf::from("memory.db"), detail: "a page".to_owned() }
}

#[test]
fn a_verdict_after_a_restart_finds_its_request() {
    let (store, router) = (InProcessStore::default(), router());
    let memory = over(&store, MemoryConfig::default());
    let id = route(&memory, &router, tenant("acme")).id;
    drop(memory);
    let memory = over(&store, MemoryConfig::default());
    assert_eq!(memory.record(&router, id, Verdict::lightweight(1.0)).unwrap(), VerdictKind::Accepted);
    assert_eq!(rates(&memory, Some("acme"), id), Some((1.0, 0.0)));
    drop(memory);
    let memory = over(&store, MemoryConfig::default());
    assert_eq!(rates(&memory, Some("acme"), id), Some((1.0, 0.0)));
    assert_eq!(memory.record(&router, id, Verdict::lightweight(1.0)).unwrap(), VerdictKind::Repeated);
}

#[test]
fn after_a_restart_the_promise_receives_what_was_routed_to_the_lightweight_model() {
    let risk = Some(RiskBudget { alpha: 0.5, delta: 0.05 });
    let router = Router::new(RouterConfig { risk, ..Default::default() }).unwrap();
    let store = InProcessStore::default();
    let memory = over(&store, MemoryConfig::default());
    for _ in 0..200 {
        learn(&memory, &router, Metadata::new());
    }
    let [lightweight, failed] = [0, 1].map(|_| route(&memory, &router, Metadata::new()));
    assert_eq!(lightweight.response.model, ModelType::Lightweight);
    memory.served(failed.id, served(ModelType::Powerful));
    let powerful = route(&memory, &router, tenant("other"));
    drop(memory);
    let memory = over(&store, MemoryConfig::default());
    let before = router.promise().unwrap().reported;
    for id in [lightweight.id, failed.id, powerful.id] {
        memory.record(&router, id, Verdict::lightweight(1.0)).unwrap();
    }
    assert_eq!(router.promise().unwrap().reported, before + 1);
}

#[test]
fn the_decision_log_has_the_decision_what_was_served_and_the_verdict() {
    let (store, router) = (InProcessStore::default(), router());
    let config =
        MemoryConfig { embedder: Some("e".into()), mode: Some("observe".into()), ..Default::default() };
    let (config, _) = clocked(config);
    let memory = over(&store, config);
    let context = Context {
        conversation: Some("c".into()),
        prompt: Some("secret".into()),
        ..user(Some("acme"), "ada")
    };
    let Routed { id, response } = route(&memory, &router, context);
    memory.served(id, served(ModelType::Lightweight));
    let verdict = at(Verdict::judged(1.0, 0.5), 7);
    memory.record(&router, id, verdict).unwrap();
    memory.flush().unwrap();
    let mut log = Vec::new();
    memory.log(|entry| log.push(entry)).unwrap();
    let expected = LogEntry {
        id,
        at: NOW * 1000,
        tenant: Some("acme".into()),
        user: Some("ada".into()),
        conversation: Some("c".into()),
        model_version: router.model().version().to_owned(),
        embedder: Some("e".into()),
        mode: Some("observe".into()),
        confidence: response.confidence,
        uncertainty: response.uncertainty,
        thresholds: router.thresholds(),
        reason: Reason::NoEvidence,
        decided: ModelType::Powerful,
        number: response.number,
        draws: Draws { explore: response.explore, shadow: response.shadow, ..Draws::default() },
        ticket: None,
        found_worse: None,
        served: Some(served(ModelType::Lightweight)),
        verdict: Some(verdict),
    };
    assert_eq!(log, [expected]);
}

#[test]
fn a_prompt_is_stored_only_if_the_configuration_says_so() {
    for store_prompts in [false, true] {
        let store = InProcessStore::default();
        let memory = over(&store, MemoryConfig { store_prompts, ..Default::default() });
        let context = Context { prompt: Some("secret".into()), ..Context::default() };
        route(&memory, &router(), context);
        memory.flush().unwrap();
        let mut prompts = Vec::new();
        memory.entries(|entry| prompts.push(entry.prompt)).unwrap();
        assert_eq!(prompts, [store_prompts.then(|| "secret".to_owned())]);
    }
}

#[test]
fn the_vectors_of_another_embedder_are_refused_by_name() {
    let store = InProcessStore::default();
    let config =
        |embedder: Option<&str>| MemoryConfig { embedder: embedder.map(str::to_owned), ..Default::default() };
    let memory = over(&store, config(Some("one")));
    route(&memory, &router(), Metadata::new());
    drop(memory);
    let opened = |embedder| Memory::with_store(store.clone(), config(embedder)).map(drop);
    let error = opened(Some("two")).unwrap_err().to_string();
    assert_eq!(error, "the store has 2 dimensions of one, expected 2 dimensions of two");
    assert!(opened(None).is_err());
    assert!(opened(Some("one")).is_ok());
    // The dimension is known from the store.
    let memory = over(&store, config(Some("one")));
    assert!(memory.route(router().begin(), &[1.0], Metadata::new()).is_err());
}

#[test]
fn while_the_disk_is_full_requests_are_routed_from_memory_and_stored_later() {
    let (store, router) = (InProcessStore::default(), router());
    let (memory, events) = Events::of(over(&store, MemoryConfig::default()));
    store.kept().errors.extend([full(), full(), full()]);
    let id = learn(&memory, &router, Metadata::new());
    assert_ne!(route(&memory, &router, Metadata::new()).response.reason, Reason::NoEvidence);
    assert_eq!(memory.flush().unwrap_err().kind().name(), "full");
    let is_failure =
        |change: &MemoryChange| matches!(change, MemoryChange::Failed { kind: MemoryErrorKind::Full, .. });
    assert!(events.changes().iter().any(is_failure), "{:?}", events.changes());
    store.kept().errors.clear();
    memory.flush().unwrap();
    assert!(store.kept().entries[&id].verdict.is_some());
}

#[test]
fn what_finds_the_queue_full_is_counted_and_said_and_stays_in_memory() {
    let (store, router) = (InProcessStore::default(), router());
    let (memory, events) = Events::of(over(&store, MemoryConfig { queue: 4, ..Default::default() }));
    // The disk stays full.
    store.kept().errors.extend((0..100).map(|_| full()));
    let ids: Vec<_> = (0..4).map(|_| route(&memory, &router, Metadata::new()).id).collect();
    let lost: usize = events
        .changes()
        .iter()
        .map(|change| match change {
            MemoryChange::Lost { changes, kind: MemoryErrorKind::QueueFull } => *changes,
            _ => 0,
        })
        .sum();
    // A binding and one request with its decision fit; the expiry too.
    assert_eq!(lost, 6);
    assert_eq!(memory.stats().queue, 4);
    for id in ids {
        memory.record(&router, id, Verdict::lightweight(1.0)).unwrap();
    }
    assert_eq!(memory.stats().evidence, 4);
    store.kept().errors.clear();
    assert_eq!(memory.flush().unwrap_err().kind().name(), "queue_full");
    memory.flush().unwrap();
    assert_eq!((store.kept().entries.len(), memory.stats().queue), (1, 0));
}

#[test]
fn a_change_that_the_store_cannot_hold_is_counted_and_said() {
    let (store, router) = (InProcessStore::default(), router());
    let (memory, events) = Events::of(over(&store, MemoryConfig::default()));
    route(&memory, &router, Metadata::new());
    memory.flush().unwrap();
    // Once together with others, once alone.
    store.kept().errors.extend([corrupt(), corrupt()]);
    memory.served(RequestId::now(), served(ModelType::Powerful));
    assert_eq!(memory.flush().unwrap_err().kind().name(), "corrupt");
    let lost = events
        .changes()
        .iter()
        .any(|change| matches!(change, MemoryChange::Lost { changes: 1, kind: MemoryErrorKind::Corrupt }));
    assert!(lost, "{:?}", events.changes());
    assert_ne!(memory.stats().entries, 0);
}

#[test]
fn what_is_in_the_queue_does_not_come_back_after_an_erasure() {
    let (store, router) = (InProcessStore::default(), router());
    let memory = over(&store, MemoryConfig::default());
    // Nothing is stored until the erasure.
    store.kept().errors.push_back(full());
    let id = learn(&memory, &router, tenant("acme"));
    let pending = route(&memory, &router, tenant("acme")).id;
    let other = learn(&memory, &router, tenant("other"));
    while memory.erase(&Erasure::Tenant("acme".into())).is_err() {}
    memory.record(&router, id, Verdict::lightweight(0.0)).unwrap_err();
    memory.record(&router, pending, Verdict::lightweight(0.0)).unwrap_err();
    memory.flush().unwrap();
    let kept = store.kept();
    assert_eq!((kept.entries.len(), kept.log.len()), (1, 1));
    assert!(kept.entries.contains_key(&other));
}

#[test]
fn an_erased_request_is_unknown_while_the_store_fails_to_erase_it() {
    let (store, router) = (InProcessStore::default(), router());
    let memory = over(&store, MemoryConfig::default());
    let id = route(&memory, &router, tenant("acme")).id;
    memory.flush().unwrap();
    store.kept().errors.extend((0..100).map(|_| full()));
    assert_eq!(memory.erase(&Erasure::Tenant("acme".into())).unwrap_err().kind().name(), "full");
    let error = memory.record(&router, id, Verdict::lightweight(1.0)).unwrap_err();
    assert!(matches!(error, RecordError::Unknown { .. }), "{error}");
    assert!(store.kept().entries.contains_key(&id));
    store.kept().errors.clear();
    memory.erase(&Erasure::Tenant("acme".into())).unwrap();
    assert!(store.kept().entries.is_empty());
}

#[test]
fn erased_names_are_in_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("memory.db");
    let config = MemoryConfig { store_prompts: true, ..Default::default() };
    let (memory, router) = (Memory::open_with(&path, config).unwrap(), router());
    let context = |tenant: &str| Context {
        tenant: Some(tenant.to_owned()),
        user: Some(format!("user of {tenant}")),
        conversation: Some(format!("conversation of {tenant}")),
        prompt: Some(format!("prompt of {tenant}")),
        metadata: Metadata::from([("key".to_owned(), format!("metadata of {tenant}"))]),
        mode: None,
    };
    for n in 0..100 {
        learn(&memory, &router, context("zebra"));
        route(&memory, &router, context("zebra"));
        learn(&memory, &router, context("other"));
        if n % 10 == 0 {
            memory.flush().unwrap();
        }
    }
    let held = || {
        let files = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path());
        let bytes: Vec<u8> = files.flat_map(|file| std::fs::read(file).unwrap()).collect();
        ["zebra", "other"].map(|name| bytes.windows(5).any(|window| window == name.as_bytes()))
    };
    memory.flush().unwrap();
    assert_eq!(held(), [true, true]);
    memory.erase(&Erasure::Tenant("zebra".into())).unwrap();
    assert_eq!(held(), [false, true]);
}

#[test]
fn a_restart_keeps_the_newest_evidence() {
    let (store, router) = (InProcessStore::default(), router());
    let (config, clock) = clocked(MemoryConfig::default());
    let memory = over(&store, config.clone());
    let ids: Vec<_> = (0..4)
        .map(|_| {
            clock.advance(Duration::from_secs(1));
            learn(&memory, &router, Metadata::new())
        })
        .collect();
    drop(memory);
    let memory = over(&store, MemoryConfig { max_entries: 2, ..config.clone() });
    let kept: Vec<_> = ids.iter().map(|&id| rates(&memory, None, id).is_some()).collect();
    assert_eq!(kept, [false, false, true, true]);
    // The store drops the others.
    memory.expire();
    memory.flush().unwrap();
    assert_eq!(store.kept().entries.len(), 2);
    clock.advance(Duration::from_secs(1));
    drop(memory);
    let memory = over(&store, MemoryConfig { max_age: Some(Duration::from_secs(1)), ..config });
    assert_eq!((memory.stats().evidence, rates(&memory, None, ids[3])), (1, Some((1.0, 0.0))));
}

#[test]
fn the_decision_log_has_a_retention_of_its_own() {
    let (store, router) = (InProcessStore::default(), router());
    let (config, clock) =
        clocked(MemoryConfig { log_max_age: Some(Duration::from_secs(10)), ..Default::default() });
    let (memory, events) = Events::of(over(&store, config));
    learn(&memory, &router, Metadata::new());
    memory.flush().unwrap();
    clock.advance(Duration::from_secs(11));
    memory.expire();
    memory.flush().unwrap();
    let kept = store.kept();
    assert_eq!((kept.entries.len(), kept.log.len()), (1, 0));
    drop(kept);
    assert!(events.changes().contains(&MemoryChange::Expired { entries: 0, log_entries: 1 }));
}

#[test]
fn a_store_expires_with_the_first_request_of_an_hour() {
    let (store, router) = (InProcessStore::default(), router());
    let (config, clock) =
        clocked(MemoryConfig { max_age: Some(Duration::from_secs(10)), ..Default::default() });
    let memory = over(&store, config);
    route(&memory, &router, Metadata::new());
    for minutes in [30, 40] {
        clock.advance(Duration::from_secs(minutes * 60));
        route(&memory, &router, Metadata::new());
        memory.flush().unwrap();
        assert_eq!(store.kept().entries.len(), if minutes == 30 { 2 } else { 1 });
    }
}

#[test]
fn remembering_a_request_twice_adds_nothing_and_a_later_verdict_counts() {
    let store = InProcessStore::default();
    let memory = over(&store, clocked(MemoryConfig::default()).0);
    let entry = |verdict| Entry {
        id: RequestId::from_bytes([1; 16]),
        created_at: NOW,
        tenant: None,
        user: None,
        metadata: Metadata::new(),
        embedding: vec![3.0, 4.0],
        prompt: None,
        verdict,
    };
    let good = at(Verdict::lightweight(1.0), 1);
    let bad = at(Verdict::lightweight(0.0), 2);
    let id = entry(None).id;
    let remembered = |memory: &Memory, verdict| memory.remember(entry(verdict)).unwrap();
    assert!(remembered(&memory, None) && !remembered(&memory, None));
    assert!(remembered(&memory, Some(good)) && !remembered(&memory, Some(good)));
    assert_eq!(rates(&memory, None, id), Some((1.0, 0.0)));
    assert!(remembered(&memory, Some(bad)));
    drop(memory);
    let memory = over(&store, clocked(MemoryConfig::default()).0);
    for verdict in [None, Some(good), Some(bad)] {
        assert!(!remembered(&memory, verdict), "{verdict:?}");
    }
    assert_eq!((rates(&memory, None, id), memory.stats().evidence), (Some((0.0, 0.0)), 1));
}

#[test]
fn remembering_waits_for_room_in_the_queue() {
    let store = InProcessStore::default();
    let memory = over(&store, MemoryConfig { queue: 1, ..Default::default() });
    for n in 0..50 {
        let entry = Entry {
            id: RequestId::from_bytes([n; 16]),
            created_at: NOW,
            tenant: None,
            user: None,
            metadata: Metadata::new(),
            embedding: vec![3.0, 4.0],
            prompt: None,
            verdict: None,
        };
        memory.remember(entry).unwrap();
    }
    memory.flush().unwrap();
    assert_eq!(store.kept().entries.len(), 50);
}

#[test]
fn the_opening_is_the_first_event_with_the_sizes() {
    let (store, router) = (InProcessStore::default(), router());
    let memory = over(&store, MemoryConfig::default());
    learn(&memory, &router, Metadata::new());
    drop(memory);
    let (memory, events) = Events::of(over(&store, MemoryConfig::default()));
    let event = lock(&events.0)[0];
    assert!(matches!(event.change, MemoryChange::Opened { .. }));
    assert_eq!((event.state.entries, event.state.evidence, event.state.segments), (1, 1, 1));
    assert_eq!(event.state, memory.stats());
}

#[test]
fn a_stored_entry_that_is_not_valid_is_named() {
    let (store, router) = (InProcessStore::default(), router());
    let memory = over(&store, MemoryConfig::default());
    let id = learn(&memory, &router, Metadata::new());
    drop(memory);
    store.kept().entries.get_mut(&id).unwrap().embedding[1] = f32::NAN;
    let error = Memory::with_store(store, MemoryConfig::default()).unwrap_err().to_string();
    assert_eq!(error, format!("the entry of request {id} is not valid: candidate 0: embedding[1] is NaN"));
}

#[test]
fn another_embedder_embeds_the_stored_prompts_and_the_other_entries_are_dropped_and_counted() {
    let (mut store, router) = (InProcessStore::default(), router());
    let config = |embedder: &str| MemoryConfig {
        store_prompts: true,
        embedder: Some(embedder.to_owned()),
        ..Default::default()
    };
    let memory = over(&store, config("old"));
    let prompted = |prompt: Option<&str>| Context { prompt: prompt.map(str::to_owned), ..Context::default() };
    let id = learn(&memory, &router, prompted(Some("a")));
    for prompt in [Some("b"), Some(""), None] {
        route(&memory, &router, prompted(prompt));
    }
    drop(memory);
    let embed = |prompt: &str| match prompt {
        "" => Err("no tokens"),
        _ => Ok(vec![1.0, 0.0, 0.0]),
    };
    let none = re_embed(&mut store, Some("new".to_owned()), |_| Err::<Vec<f32>, _>("no tokens")).unwrap_err();
    assert_eq!(none.to_string(), "none of 4 entries can be embedded again: 1 have no prompt");
    let counts = re_embed(&mut store, Some("new".to_owned()), embed).unwrap();
    assert_eq!(counts, ReEmbedded { entries: 2, without_prompt: 1, refused: 1 });
    assert_eq!(store.kept().log.len(), 4);
    let memory = over(&store, config("new"));
    let found = memory.tenants.nearest(None, &[1.0, 0.0, 0.0], 64).unwrap();
    assert_eq!((found.len(), found[0].similarity), (1, 1.0));
    assert_eq!(found[0].candidate.id, id.to_string());
    assert!(Memory::with_store(store.clone(), config("old")).is_err());
}

#[test]
fn an_embedder_whose_vectors_differ_in_length_changes_nothing() {
    let (mut store, router) = (InProcessStore::default(), router());
    let memory = over(&store, MemoryConfig { store_prompts: true, ..Default::default() });
    for prompt in ["a", "bb"] {
        route(&memory, &router, Context { prompt: Some(prompt.to_owned()), ..Context::default() });
    }
    drop(memory);
    let embed = |prompt: &str| Ok::<_, String>(vec![1.0; prompt.len()]);
    let error = re_embed(&mut store, None, embed).unwrap_err().to_string();
    assert_eq!(error, "the embedder makes vectors of 2 and of 1 dimensions");
    assert_eq!(store.kept().vectors.as_ref().unwrap().dimensions, 2);
}
