//! What each store does, and that all do the same.

use super::in_process::InProcessStore;
use super::*;
use crate::record::{Draws, Tokens, Usage, VerdictSource};
use proptest::prelude::*;
use tempfile::TempDir;
use tiny_dancer_core::budget::{HeldTicket, PacingState, Ticket, TicketState};
use tiny_dancer_core::coin::Draw;
use tiny_dancer_core::{Metadata, ModelType, Reason, Thresholds};

pub(super) const DIMENSIONS: usize = 3;

/// The id of a small number. Ids are in the order of the numbers.
pub(super) fn id(number: u8) -> RequestId {
    let mut bytes = [0; 16];
    bytes[15] = number;
    RequestId::from_bytes(bytes)
}

pub(super) fn entry(number: u8) -> Entry {
    Entry {
        id: id(number),
        created_at: 1_700_000_000 + i64::from(number),
        tenant: Some("acme".into()),
        user: Some("ann".into()),
        metadata: [("language".to_owned(), "de".to_owned())].into(),
        embedding: vec![f32::from(number), 0.5, -1.0e-20],
        prompt: Some("How many \u{e9}l\u{e8}ves?\0".into()),
        verdict: None,
    }
}

pub(super) fn decision(number: u8) -> LogEntry {
    LogEntry {
        id: id(number),
        at: 1_700_000_000_000 + i64::from(number),
        tenant: Some("acme".into()),
        user: Some("ann".into()),
        conversation: Some("c-1".into()),
        model_version: "1.2".into(),
        embedder: Some("static-256".into()),
        mode: Some("observe".into()),
        confidence: 0.7,
        uncertainty: 0.1,
        thresholds: Thresholds { confidence_threshold: 0.6, max_uncertainty: 0.2 },
        reason: Reason::Confident,
        decided: ModelType::Lightweight,
        number: u64::MAX - u64::from(number),
        draws: Draws { explore: Some(Draw { probability: 0.02, happened: false }), ..Draws::default() },
        ticket: None,
        found_worse: None,
        served: None,
        verdict: None,
    }
}

pub(super) fn served() -> Served {
    Served {
        model: ModelType::Powerful,
        usage: vec![
            Usage { model: "small".into(), tokens: Tokens { input: 1, cached_input: u64::MAX, output: 0 } },
            Usage { model: "large".into(), tokens: Tokens::default() },
        ],
        price_version: Some("2026-11".into()),
        judge: Some("j".into()),
        draws: Draws { audit: Some(Draw { probability: 0.25, happened: true }), ..Draws::default() },
    }
}

/// The ticket of an answer that is to be judged.
pub(super) fn ticket(slot: u32, generation: u64) -> Ticket {
    Ticket::new(Draw { probability: 0.2, happened: true }, slot, generation, decision(0).confidence)
}

/// An account with as many tickets.
pub(super) fn account(number: u8) -> AccountState {
    let ticket = |slot: u8| HeldTicket {
        slot: slot.into(),
        generation: (1 << 60) + u64::from(slot),
        state: [TicketState::Good, TicketState::Pending, TicketState::Worse][usize::from(slot % 3)],
        sampled: slot.is_multiple_of(2),
        deadline: (1 << 41) + u64::from(slot),
    };
    AccountState {
        // Neither is exact in a decimal notation of few digits.
        delta: 0.1_f64.next_up(),
        least_judge_rate: Some(0.2_f64.next_down()),
        answered: 1 << 40,
        certain: u64::from(number),
        sampled: 2,
        entered: true,
        next_generation: 1 << 61,
        judged: 3,
        worse: 4,
        expired: 5,
        tickets: (0..number).map(ticket).collect(),
        pacing: PacingState { boldness: 1.5, worse: 0.0, predicted: 0.1 },
    }
}

pub(super) fn remember(entry: Entry) -> Change {
    Change::Remember(Box::new(entry))
}

pub(super) fn log(entry: LogEntry) -> Change {
    Change::Log(Box::new(entry))
}

pub(super) fn verdict(lightweight: f32, at: i64) -> Verdict {
    Verdict { at: Some(at), ..Verdict::lightweight(lightweight) }
}

pub(super) fn entries(store: &dyn Store) -> Vec<Entry> {
    let mut entries = Vec::new();
    store.reader().unwrap().entries(&mut |entry| entries.push(entry)).unwrap();
    entries
}

pub(super) fn logged(store: &dyn Store) -> Vec<LogEntry> {
    let mut log = Vec::new();
    store.reader().unwrap().log(&mut |entry| log.push(entry)).unwrap();
    log
}

/// Each implementation, empty, with the folder that it needs.
fn stores() -> (TempDir, Vec<Box<dyn Store>>) {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteStore::open(folder.path().join("memory.db")).unwrap();
    (folder, vec![Box::new(InProcessStore::default()), Box::new(sqlite)])
}

fn each(test: impl Fn(&mut dyn Store)) {
    let (_folder, stores) = stores();
    for mut store in stores {
        test(&mut *store);
    }
}

#[test]
fn a_new_store_is_empty() {
    each(|store| {
        let reader = store.reader().unwrap();
        assert_eq!((entries(store), logged(store), reader.vectors().unwrap()), (vec![], vec![], None));
        assert_eq!(reader.verify().unwrap(), Vec::<String>::new());
        assert_eq!((reader.entry(id(1)).unwrap(), reader.logged(id(1)).unwrap()), (None, None));
    });
}

#[test]
fn an_entry_is_read_as_it_was_remembered() {
    each(|store| {
        let mut bare = entry(1);
        (bare.tenant, bare.user, bare.prompt, bare.metadata) = (None, None, None, Metadata::new());
        let judged =
            Entry { verdict: Some(Verdict { at: Some(7), ..Verdict::judged(0.3, 1.0) }), ..entry(2) };
        store.commit(&[remember(judged.clone()), remember(bare.clone())]).unwrap();
        assert_eq!(entries(store), [bare, judged.clone()]);
        assert_eq!(store.reader().unwrap().entry(id(2)).unwrap(), Some(judged));
    });
}

#[test]
fn a_decision_is_read_as_it_was_logged() {
    each(|store| {
        let mut full = decision(1);
        full.verdict = Some(verdict(0.5, 9));
        full.draws.judge = Some(Draw { probability: 0.2, happened: true });
        full.ticket = Some(ticket(7, 1 << 60));
        full.found_worse = Some(true);
        full.serve(served());
        let mut bare = decision(2);
        (bare.tenant, bare.user, bare.conversation, bare.embedder, bare.mode) =
            (None, None, None, None, None);
        bare.draws = Draws::default();
        let mut unjudged = decision(3);
        let draw = Draw { probability: 0.2, happened: false };
        unjudged.draws.judge = Some(draw);
        unjudged.ticket = Some(Ticket::new(draw, 0, 0, unjudged.confidence));
        store.commit(&[log(bare.clone()), log(full.clone()), log(unjudged.clone())]).unwrap();
        assert_eq!(logged(store), [full.clone(), bare, unjudged]);
        let reader = store.reader().unwrap();
        assert_eq!(reader.logged(id(1)).unwrap(), Some(full.clone()));
        assert_eq!((reader.ticketed(1 << 60).unwrap(), reader.ticketed(3).unwrap()), (Some(full), None));
    });
}

#[test]
fn decisions_of_which_a_judge_was_asked_are_found_by_time() {
    each(|store| {
        let decided = |number, at, judge: Option<&str>| {
            let mut entry = LogEntry { at, ..decision(number) };
            entry.serve(Served { judge: judge.map(str::to_owned), ..served() });
            log(entry)
        };
        let mut unserved = decision(4);
        unserved.at = 20;
        store
            .commit(&[
                decided(1, 30, Some("exact")),
                decided(2, 19, Some("exact")),
                decided(3, 25, None),
                log(unserved),
                decided(5, 20, Some("model")),
            ])
            .unwrap();
        let mut found = Vec::new();
        store.reader().unwrap().compared(20, &mut |entry| found.push(entry.id)).unwrap();
        assert_eq!(found, [5, 1].map(id));
    });
}

#[test]
fn entries_are_read_oldest_first() {
    each(|store| {
        let aged = |number, created_at| remember(Entry { created_at, ..entry(number) });
        store.commit(&[aged(3, 20), aged(2, 20), aged(1, 30), aged(4, 10)]).unwrap();
        assert_eq!(entries(store).iter().map(|entry| entry.id).collect::<Vec<_>>(), [4, 2, 3, 1].map(id));
    });
}

#[test]
fn remembering_and_logging_again_replaces() {
    each(|store| {
        let judged = Entry { verdict: Some(verdict(1.0, 5)), ..entry(1) };
        let mut followed = decision(1);
        followed.serve(served());
        store.commit(&[remember(judged), log(followed)]).unwrap();
        let (entry, decision) = (Entry { prompt: None, ..entry(1) }, LogEntry { mode: None, ..decision(1) });
        store.commit(&[remember(entry.clone()), log(decision.clone())]).unwrap();
        assert_eq!((entries(store), logged(store)), (vec![entry], vec![decision]));
    });
}

#[test]
fn what_followed_is_set_where_the_decision_is_logged() {
    each(|store| {
        store
            .commit(&[
                log(decision(1)),
                Change::Serve(id(1), served().into()),
                Change::Serve(id(2), served().into()),
            ])
            .unwrap();
        let mut expected = decision(1);
        expected.serve(served());
        assert_eq!(logged(store), [expected]);
    });
}

#[test]
fn the_latest_verdict_counts_in_the_memory_and_in_the_log() {
    each(|store| {
        store.commit(&[remember(entry(1)), log(decision(1)), remember(entry(2)), log(decision(3))]).unwrap();
        for verdict in [verdict(0.5, 20), verdict(0.9, 10), verdict(0.5, 20)] {
            let judge = [1, 2, 3, 4].map(|number| Change::Judge(id(number), verdict));
            store.commit(&judge).unwrap();
        }
        let latest = Some(verdict(0.5, 20));
        assert_eq!(entries(store).iter().map(|entry| entry.verdict).collect::<Vec<_>>(), [latest, latest]);
        assert_eq!(logged(store).iter().map(|entry| entry.verdict).collect::<Vec<_>>(), [latest, latest]);
        assert_eq!(store.reader().unwrap().stats().unwrap().evidence, 2);
    });
}

#[test]
fn an_answer_that_a_judge_once_found_worse_remains_so_in_the_log() {
    each(|store| {
        store.commit(&[log(decision(1)), log(decision(2)), log(decision(3))]).unwrap();
        for changes in [[(1, false), (2, false)], [(2, true), (4, true)], [(1, false), (2, false)]] {
            store.commit(&changes.map(|(number, worse)| Change::Settle(id(number), worse))).unwrap();
        }
        let found: Vec<_> = logged(store).iter().map(|entry| entry.found_worse).collect();
        assert_eq!(found, [Some(false), Some(true), None]);
    });
}

#[test]
fn the_account_is_read_as_it_was_stored_last() {
    each(|store| {
        assert_eq!(store.reader().unwrap().account().unwrap(), None);
        let bare = AccountState { least_judge_rate: None, tickets: vec![], ..account(1) };
        for state in [account(3), bare, account(2)] {
            store.commit(&[Change::Account(state.clone().into())]).unwrap();
            assert_eq!(store.reader().unwrap().account().unwrap(), Some(state));
        }
        let vectors = Vectors { embedder: Some("new".into()), dimensions: 2 };
        let erasure = Change::Erase(Erasure::Tenant("acme".into()));
        let expiry = Expiry { keep_entries: Some(0), log_before: Some(i64::MAX), ..Expiry::default() };
        store.commit(&[log(decision(1)), Change::Bind(vectors), erasure, Change::Expire(expiry)]).unwrap();
        assert_eq!(store.reader().unwrap().account().unwrap(), Some(account(2)));
    });
}

#[test]
fn erasing_a_tenant_leaves_the_others() {
    each(|store| {
        let other = Entry { tenant: None, ..entry(2) };
        let foreign = LogEntry { tenant: Some("acme2".into()), ..decision(2) };
        let all = [remember(entry(1)), log(decision(1)), remember(other.clone()), log(foreign.clone())];
        store.commit(&all).unwrap();
        let committed = store.commit(&[Change::Erase(Erasure::Tenant("acme".into()))]).unwrap();
        assert_eq!(committed.erased, Removed { entries: 1, log_entries: 1 });
        assert_eq!((entries(store), logged(store)), (vec![other], vec![foreign]));
    });
}

#[test]
fn erasing_a_user_leaves_users_of_the_same_name_of_other_tenants() {
    each(|store| {
        let other = Entry { tenant: None, ..entry(2) };
        store.commit(&[remember(entry(1)), remember(other.clone()), log(decision(1))]).unwrap();
        let erase = |tenant: Option<&str>| {
            Change::Erase(Erasure::User { tenant: tenant.map(Into::into), user: "ann".into() })
        };
        let committed = store.commit(&[erase(Some("acme"))]).unwrap();
        assert_eq!(committed.erased, Removed { entries: 1, log_entries: 1 });
        assert_eq!(entries(store), [other]);
        assert_eq!(store.commit(&[erase(None)]).unwrap().erased, Removed { entries: 1, log_entries: 0 });
    });
}

#[test]
fn what_is_old_expires_by_age_and_by_number() {
    each(|store| {
        let all = (1..=6).flat_map(|number| [remember(entry(number)), log(decision(number))]);
        store.commit(&all.collect::<Vec<_>>()).unwrap();
        let expiry = Expiry {
            entries_before: Some(entry(3).created_at),
            keep_entries: Some(3),
            log_before: Some(decision(2).at),
        };
        let committed = store.commit(&[Change::Expire(expiry)]).unwrap();
        assert_eq!(committed.expired, Removed { entries: 3, log_entries: 1 });
        assert_eq!(entries(store).iter().map(|entry| entry.id).collect::<Vec<_>>(), [4, 5, 6].map(id));
        assert_eq!(logged(store).len(), 5);
    });
}

#[test]
fn a_store_is_bound_to_the_vectors_of_one_embedder() {
    each(|store| {
        let vectors = |embedder: &str, dimensions| Vectors { embedder: Some(embedder.into()), dimensions };
        store.bind(&vectors("a", DIMENSIONS)).unwrap();
        store.bind(&vectors("a", DIMENSIONS)).unwrap();
        store.commit(&[remember(entry(1)), log(decision(1))]).unwrap();
        for other in
            [vectors("b", DIMENSIONS), vectors("a", 2), Vectors { embedder: None, dimensions: DIMENSIONS }]
        {
            let error = store.bind(&other).unwrap_err();
            let StoreError::EmbedderMismatch { stored, actual } = &error else { panic!("{error}") };
            assert_eq!((stored, actual), (&vectors("a", DIMENSIONS), &other));
        }
        assert_eq!(store.reader().unwrap().vectors().unwrap(), Some(vectors("a", DIMENSIONS)));
    });
}

#[test]
fn the_first_entry_binds_to_its_dimensions() {
    each(|store| {
        store.commit(&[remember(entry(1))]).unwrap();
        assert_eq!(
            store.reader().unwrap().vectors().unwrap(),
            Some(Vectors { embedder: None, dimensions: DIMENSIONS })
        );
    });
}

#[test]
fn an_entry_of_other_dimensions_is_refused_and_nothing_of_its_commit_is_made() {
    each(|store| {
        store.commit(&[remember(entry(1))]).unwrap();
        let short = Entry { embedding: vec![1.0], ..entry(3) };
        let error = store.commit(&[remember(entry(2)), log(decision(2)), remember(short)]).unwrap_err();
        assert_eq!(error.kind(), MemoryErrorKind::EmbedderMismatch);
        assert_eq!((entries(store).len(), logged(store).len()), (1, 0));
    });
}

#[test]
fn binding_to_another_embedder_drops_the_entries_in_one_commit_with_those_that_are_embedded_again() {
    each(|store| {
        store.commit(&[remember(entry(1)), remember(entry(2)), log(decision(1))]).unwrap();
        let again = Entry { embedding: vec![1.0, 2.0], ..entry(2) };
        let vectors = Vectors { embedder: Some("new".into()), dimensions: 2 };
        store.commit(&[Change::Bind(vectors), remember(again.clone())]).unwrap();
        assert_eq!((entries(store), logged(store)), (vec![again], vec![decision(1)]));
    });
}

fn change() -> impl Strategy<Value = Change> {
    let number = 0..5_u8;
    let tenant = || prop::option::of(prop::sample::select(vec!["a".to_owned(), "b".to_owned()]));
    let user = || prop::sample::select(vec!["u".to_owned(), "v".to_owned()]);
    let verdict = || {
        let source = prop::sample::select(vec![VerdictSource::Client, VerdictSource::Judge]);
        (0..3_u8, prop::option::of(0..3_u8), source, 0..3_i64).prop_map(
            |(lightweight, powerful, source, at)| Verdict {
                lightweight: f32::from(lightweight) / 2.0,
                powerful: powerful.map(|powerful| f32::from(powerful) / 2.0),
                source,
                at: Some(at),
            },
        )
    };
    let entry = (number.clone(), tenant(), user(), prop::option::of(verdict()), 0..9_i64).prop_map(
        |(number, tenant, user, verdict, created_at)| {
            remember(Entry { tenant, user: Some(user), verdict, created_at, ..entry(number) })
        },
    );
    let decision = (number.clone(), tenant(), user(), prop::option::of(verdict()), 0..9_i64).prop_map(
        |(number, tenant, user, verdict, at)| {
            log(LogEntry { tenant, user: Some(user), verdict, at, ..decision(number) })
        },
    );
    let expiry = (prop::option::of(0..9_i64), prop::option::of(0..5_u64), prop::option::of(0..9_i64))
        .prop_map(|(entries_before, keep_entries, log_before)| {
            Change::Expire(Expiry { entries_before, keep_entries, log_before })
        });
    prop_oneof![
        4 => entry,
        4 => decision,
        3 => (number.clone(), verdict()).prop_map(|(number, verdict)| Change::Judge(id(number), verdict)),
        2 => number.clone().prop_map(|number| Change::Serve(id(number), served().into())),
        2 => (number.clone(), any::<bool>()).prop_map(|(number, worse)| Change::Settle(id(number), worse)),
        1 => number.prop_map(|number| Change::Account(account(number).into())),
        1 => expiry,
        1 => tenant().prop_map(|tenant| Change::Erase(Erasure::Tenant(tenant.unwrap_or_default()))),
        1 => (tenant(), user()).prop_map(|(tenant, user)| Change::Erase(Erasure::User { tenant, user })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn all_stores_hold_the_same_after_the_same_changes(commits in prop::collection::vec(prop::collection::vec(change(), 1..6), 1..6)) {
        let (_folder, mut stores) = stores();
        for commit in &commits {
            let results: Vec<_> = stores.iter_mut().map(|store| store.commit(commit).unwrap()).collect();
            prop_assert_eq!(results[0], results[1]);
            let (one, other) = (&*stores[0], &*stores[1]);
            prop_assert_eq!(entries(one), entries(other));
            prop_assert_eq!(logged(one), logged(other));
            let account = |store: &dyn Store| store.reader().unwrap().account().unwrap();
            prop_assert_eq!(account(one), account(other));
            let stats = |store: &dyn Store| Stats { bytes: 0, ..store.reader().unwrap().stats().unwrap() };
            prop_assert_eq!(stats(one), stats(other));
        }
        prop_assert_eq!(stores[1].reader().unwrap().verify().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn changes_that_are_committed_a_second_time_change_nothing(changes in prop::collection::vec(change(), 1..12)) {
        let mut store = InProcessStore::default();
        store.commit(&changes).unwrap();
        let (once, log_once) = (entries(&store), logged(&store));
        store.commit(&changes).unwrap();
        prop_assert_eq!((entries(&store), logged(&store)), (once, log_once));
    }
}
