//! The account of a quality budget over restarts and crashes.

use super::*;
use crate::store::in_process::Gate;
use proptest::prelude::*;
use std::sync::mpsc::channel;
use tiny_dancer_core::QualityBudget;
use tiny_dancer_core::budget::{AccountState, JudgeRate, Settlement, Ticket, TicketState};

const TIMEOUT: Duration = Duration::from_secs(600);

fn budget() -> QualityBudget {
    QualityBudget { judge_rate: JudgeRate::Fixed(1.0), judgement_timeout: TIMEOUT, ..Default::default() }
}

/// A router whose requests go to the lightweight model, if the budget admits them.
fn budgeted(budget: QualityBudget, clock: &Clock) -> Router {
    let budget = Some(budget);
    Router::new(RouterConfig { budget, explore: 1.0, clock: clock.clone(), ..Default::default() }).unwrap()
}

/// A store of a test, its clock, and the budget of its routers.
struct Service {
    store: InProcessStore,
    config: MemoryConfig,
    clock: ManualClock,
    budget: QualityBudget,
}

/// What runs until it stops or crashes.
struct Running {
    // Dropped in this order.
    keeper: AccountKeeper,
    memory: Memory,
    router: Router,
}

impl Service {
    fn new() -> Self {
        let (config, clock) = clocked(MemoryConfig::default());
        let store = InProcessStore::default();
        Self { store, config, clock, budget: budget() }
    }

    fn memory(&self) -> Memory {
        Memory::with_store(self.store.clone(), self.config.clone()).unwrap()
    }

    fn start(&self) -> Running {
        self.start_with(Keeping::default())
    }

    fn start_with(&self, keeping: Keeping) -> Running {
        let memory = self.memory();
        let mut router = budgeted(self.budget.clone(), &self.config.clock);
        if let Some(state) = memory.stored_account().unwrap() {
            router.restore_account(&state).unwrap();
        }
        let keeper = memory.keep_account(&router, keeping).unwrap();
        keeper.flush().unwrap();
        Running { keeper, memory, router }
    }

    /// Stops without a last state: what was durable is all that is left.
    fn crash(&mut self, running: Running) {
        let kept = self.store.kept();
        let left = InProcessStore::default();
        {
            let mut copy = left.kept();
            copy.vectors.clone_from(&kept.vectors);
            copy.entries.clone_from(&kept.entries);
            copy.log.clone_from(&kept.log);
            copy.account.clone_from(&kept.account);
        }
        drop(kept);
        drop(running);
        self.store = left;
    }

    fn stored(&self) -> AccountState {
        self.store.kept().account.clone().unwrap()
    }
}

impl Running {
    fn ask(&self) -> Routed {
        route(&self.memory, &self.router, Metadata::new())
    }

    /// Routes a request whose answer is to be judged.
    fn admitted(&self) -> (RequestId, Ticket) {
        let routed = self.ask();
        (routed.id, routed.response.ticket.expect("the budget allows it"))
    }

    fn bound(&self) -> f64 {
        self.router.budget().unwrap().bound
    }

    fn judge(&self, id: RequestId, worse: bool) {
        let verdict = if worse { Verdict::judged(0.0, 1.0) } else { Verdict::judged(1.0, 1.0) };
        self.memory.record(&self.router, id, verdict).unwrap();
    }
}

#[test]
fn a_verdict_after_an_orderly_restart_settles_its_ticket_and_no_judgement_is_forfeited() {
    let service = Service::new();
    let running = service.start();
    let [good, worse, pending] = [(); 3].map(|()| running.admitted().0);
    running.judge(worse, true);
    running.router.answered();
    drop(running);
    let running = service.start();
    assert_eq!((running.bound(), running.router.budget().unwrap().answered), (3.0, 1));
    running.judge(good, false);
    assert_eq!(running.bound(), 2.0);
    assert_eq!(running.memory.fail(&running.router, pending), Settlement::Settled);
    service.clock.advance(2 * TIMEOUT);
    assert_eq!(running.bound(), 2.0);
}

#[test]
fn a_crash_charges_what_was_leased_and_verdicts_since_the_stored_state_are_settled_again() {
    let mut service = Service::new();
    let running = service.start_with(Keeping { lease: 6, ..Keeping::default() });
    let [good, worse, both, pending] = [(); 4].map(|()| running.admitted().0);
    running.keeper.flush().unwrap();
    let stored = service.stored();
    running.judge(good, false);
    running.judge(worse, true);
    running.judge(both, false);
    running.judge(both, true);
    running.judge(both, false);
    running.memory.flush().unwrap();
    service.crash(running);
    // As if the crash had come before the keeper stored the account again.
    service.store.kept().account = Some(stored.clone());
    let running = service.start();
    // All four are pending in it, one of them was good, and what was left of the lease is charged.
    assert!(stored.certain > 4);
    assert_eq!(running.bound(), stored.certain as f64 - 1.0);
    assert_eq!(running.router.budget().unwrap().worse, 2);
    running.judge(pending, false);
    assert_eq!(running.bound(), stored.certain as f64 - 2.0);
    assert_eq!(running.memory.fail(&running.router, good), Settlement::Withdrawn);
}

#[test]
fn a_clients_verdict_settles_nothing() {
    let service = Service::new();
    let running = service.start();
    let (id, _) = running.admitted();
    running.memory.record(&running.router, id, Verdict::lightweight(1.0)).unwrap();
    running.memory.flush().unwrap();
    assert_eq!((running.bound(), service.store.kept().log[&id].found_worse), (1.0, None));
    running.judge(id, false);
    assert_eq!(running.bound(), 0.0);
}

#[test]
fn the_log_has_the_ticket_its_draw_and_what_the_judge_found() {
    let service = Service::new();
    let running = service.start();
    let (id, ticket) = running.admitted();
    running.judge(id, true);
    running.memory.served(id, served(ModelType::Lightweight));
    running.memory.flush().unwrap();
    let entry = service.store.kept().log[&id].clone();
    assert_eq!((entry.ticket, entry.draws.judge), (Some(ticket), Some(ticket.judge)));
    assert_eq!(entry.found_worse, Some(true));
}

#[test]
fn a_judgement_whose_log_entry_was_erased_counts_as_worse_after_a_restart() {
    let service = Service::new();
    let running = service.start();
    let (id, _) = running.admitted();
    drop(running);
    service.store.kept().log.remove(&id);
    service.store.kept().entries.remove(&id);
    let running = service.start();
    let error = running.memory.record(&running.router, id, Verdict::judged(1.0, 1.0)).unwrap_err();
    assert!(matches!(error, RecordError::Unknown { .. }), "{error}");
    service.clock.advance(2 * TIMEOUT);
    assert_eq!(running.bound(), 1.0);
}

#[test]
fn a_refund_that_is_withdrawn_is_stored_again() {
    let service = Service::new();
    let (memory, router) = (service.memory(), budgeted(budget(), &service.config.clock));
    let (memory, events) = Events::of(memory);
    let keeper = memory.keep_account(&router, Keeping::default()).unwrap();
    keeper.flush().unwrap();
    let running = Running { keeper, memory, router };
    let (id, _) = running.admitted();
    running.judge(id, false);
    running.keeper.flush().unwrap();
    let before = service.stored();
    assert_eq!(before.tickets[0].state, TicketState::Good);
    assert_eq!(running.memory.fail(&running.router, id), Settlement::Withdrawn);
    running.keeper.flush().unwrap();
    assert_eq!(service.stored().certain, before.certain + 1);
    assert!(events.changes().iter().any(|change| matches!(change, MemoryChange::Stored { .. })));
}

#[test]
fn requests_draw_no_more_than_the_allowance() {
    let service = Service::new();
    let allowed = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let allowance = {
        let allowed = allowed.clone();
        Box::new(move || allowed.load(Ordering::SeqCst))
    };
    let running = service.start_with(Keeping { lease: 3, allowance });
    assert_eq!(running.ask().response.reason, Reason::BudgetSpent);
    allowed.store(2, Ordering::SeqCst);
    running.keeper.flush().unwrap();
    allowed.store(0, Ordering::SeqCst);
    running.admitted();
    running.admitted();
    running.keeper.flush().unwrap();
    assert_eq!(running.ask().response.reason, Reason::BudgetSpent);
    allowed.store(u64::MAX, Ordering::SeqCst);
    running.keeper.flush().unwrap();
    running.admitted();
}

#[test]
fn an_allowance_that_panics_allows_nothing() {
    let service = Service::new();
    let running =
        service.start_with(Keeping { allowance: Box::new(|| panic!("a test")), ..Keeping::default() });
    assert_eq!(running.ask().response.reason, Reason::BudgetSpent);
}

#[test]
fn a_memory_without_a_store_grants_at_once_what_is_allowed() {
    let (config, _) = clocked(MemoryConfig::default());
    let router = budgeted(budget(), &config.clock);
    let memory = Memory::in_process(config).unwrap();
    let keeper = memory.keep_account(&router, Keeping { lease: 2, ..Keeping::default() }).unwrap();
    keeper.flush().unwrap();
    assert_eq!((router.budget().unwrap().room, memory.stored_account().unwrap()), (Some(2), None));
    drop(keeper);
    assert_eq!(router.budget().unwrap().room, Some(0));
}

#[test]
fn one_account_of_a_budget_is_kept_at_a_time() {
    let service = Service::new();
    let running = service.start();
    let again = running.memory.keep_account(&running.router, Keeping::default());
    assert_eq!(again.unwrap_err().to_string(), "the memory keeps an account already");
    drop(running.keeper);
    let keeper = running.memory.keep_account(&running.router, Keeping { lease: 0, ..Keeping::default() });
    assert_eq!(keeper.unwrap_err().to_string(), "lease is 0, expected at least 1");
    let keeper = running.memory.keep_account(&running.router, Keeping::default()).unwrap();
    keeper.flush().unwrap();
    assert_eq!(running.router.budget().unwrap().room, Some(4));
    let unlimited = running.memory.keep_account(&router(), Keeping::default());
    assert!(matches!(unlimited, Err(KeepError::NoBudget)));
}

#[test]
fn while_the_store_fails_requests_go_to_the_powerful_model_and_the_lease_is_granted_later() {
    let service = Service::new();
    let (memory, events) = Events::of(service.memory());
    let router = budgeted(budget(), &service.config.clock);
    let full = || StoreError::Full { path: "memory.db".into() };
    service.store.kept().errors.extend((0..100).map(|_| full()));
    let keeper = memory.keep_account(&router, Keeping::default()).unwrap();
    assert_eq!(keeper.flush().unwrap_err().kind().name(), "full");
    assert_eq!(route(&memory, &router, Metadata::new()).response.reason, Reason::BudgetSpent);
    assert!(events.changes().iter().any(|change| matches!(change, MemoryChange::Failed { .. })));
    // The account is there once, beside the request, its decision, the embedder and an expiry.
    assert_eq!(memory.stats().queue, 5);
    service.store.kept().errors.clear();
    keeper.flush().unwrap();
    assert!(route(&memory, &router, Metadata::new()).response.ticket.is_some());
}

#[test]
fn a_loss_that_the_keeper_meets_is_returned_by_the_next_flush_too() {
    let service = Service::new();
    let running = service.start();
    let corrupt = || StoreError::Corrupt { path: "memory.db".into(), detail: "a page".into() };
    service.store.kept().errors.extend([corrupt(), corrupt()]);
    running.admitted();
    running.admitted();
    // The keeper receives the error if its own change may be lost.
    let _ = running.keeper.flush();
    assert_eq!(running.memory.flush().unwrap_err().kind().name(), "corrupt");
    running.keeper.flush().unwrap();
}

#[test]
fn a_request_waits_for_no_disk() {
    let service = Service::new();
    let (entered, when_entered) = channel();
    let (opens, open) = channel();
    let store = Gate { store: service.store.clone(), entered, open };
    let memory = Memory::with_store(store, service.config.clone()).unwrap();
    let router = budgeted(budget(), &service.config.clock);
    let keeper = memory.keep_account(&router, Keeping::default()).unwrap();
    // The disk now synchronizes the first lease, for as long as the test wants.
    when_entered.recv().unwrap();
    for _ in 0..9 {
        let response = route(&memory, &router, Metadata::new()).response;
        assert_eq!((response.model, response.reason), (ModelType::Powerful, Reason::BudgetSpent));
    }
    opens.send(()).unwrap();
    // The next commit waits, too, and the lease is durable.
    when_entered.recv().unwrap();
    while router.budget().unwrap().room == Some(0) {
        std::thread::yield_now();
    }
    let drawn = |response: &RoutingResponse| response.ticket.is_some();
    let more = (0..9).filter(|_| drawn(&route(&memory, &router, Metadata::new()).response)).count();
    assert_eq!(more, 4);
    drop(opens);
    keeper.flush().unwrap();
    assert!(drawn(&route(&memory, &router, Metadata::new()).response));
}

/// What happens to a service.
#[derive(Clone, Copy, Debug)]
enum Step {
    Answer {
        times: u8,
    },
    Cancel {
        ticket: prop::sample::Index,
    },
    /// What waits in the queue is lost, or not.
    Crash {
        flushes: bool,
    },
    Fail {
        ticket: prop::sample::Index,
    },
    Flush,
    Judge {
        ticket: prop::sample::Index,
        worse: bool,
    },
    Route,
    Stop,
    Wait {
        seconds: u16,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let ticket = any::<prop::sample::Index>;
    prop_oneof![
        2 => any::<u8>().prop_map(|times| Step::Answer { times }),
        1 => ticket().prop_map(|ticket| Step::Cancel { ticket }),
        2 => any::<bool>().prop_map(|flushes| Step::Crash { flushes }),
        1 => ticket().prop_map(|ticket| Step::Fail { ticket }),
        3 => Just(Step::Flush),
        6 => (ticket(), any::<bool>()).prop_map(|(ticket, worse)| Step::Judge { ticket, worse }),
        12 => Just(Step::Route),
        1 => Just(Step::Stop),
        1 => (0..900_u16).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// An answer that was drawn, as the test knows it.
struct Drawn {
    id: RequestId,
    ticket: Ticket,
    /// The verdicts, and whether the first one came in time to refund.
    good: bool,
    worse: bool,
    cancelled: bool,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn after_any_crash_the_account_charges_at_least_what_was_drawn_and_is_worse_or_pending(
        rate in prop_oneof![Just(JudgeRate::Fixed(1.0)), Just(JudgeRate::Fixed(0.7)), Just(JudgeRate::Adaptive { floor: 0.5 })],
        lease in 1..6_u64,
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut service = Service::new();
        service.budget = QualityBudget { judge_rate: rate, loss_rate: 0.2, burst: 30.0, ..budget() };
        let keeping = || Keeping { lease, ..Keeping::default() };
        let mut running = service.start_with(keeping());
        let mut drawn: Vec<Drawn> = Vec::new();
        for step in steps {
            match step {
                Step::Answer { times } => (0..times).for_each(|_| running.router.answered()),
                Step::Route => {
                    let routed = running.ask();
                    if let Some(ticket) = routed.response.ticket.filter(|ticket| ticket.judge.happened) {
                        drawn.push(Drawn { id: routed.id, ticket, good: false, worse: false, cancelled: false });
                    }
                }
                Step::Flush => running.keeper.flush().unwrap(),
                Step::Wait { seconds } => service.clock.advance(Duration::from_secs(seconds.into())),
                Step::Judge { ticket, worse } if !drawn.is_empty() => {
                    let drawn = ticket.get_mut(&mut drawn);
                    let verdict = Verdict::judged(1.0 - f32::from(worse), 1.0);
                    if let Err(error) = running.memory.record(&running.router, drawn.id, verdict) {
                        prop_assert!(matches!(error, RecordError::Unknown { .. }), "{}", error);
                    }
                    (drawn.good, drawn.worse) = (drawn.good || !worse, drawn.worse || worse);
                }
                Step::Fail { ticket } if !drawn.is_empty() => {
                    let drawn = ticket.get_mut(&mut drawn);
                    running.memory.fail(&running.router, drawn.id);
                    drawn.worse = true;
                }
                Step::Cancel { ticket } if !drawn.is_empty() => {
                    let drawn = ticket.get_mut(&mut drawn);
                    drawn.cancelled |= running.router.cancel(&drawn.ticket);
                }
                Step::Stop => {
                    drop(running);
                    running = service.start_with(keeping());
                }
                Step::Crash { flushes } => {
                    if flushes {
                        running.memory.flush().unwrap();
                    }
                    service.crash(running);
                    running = service.start_with(keeping());
                }
                Step::Judge { .. } | Step::Fail { .. } | Step::Cancel { .. } => {}
            }
            let charged = drawn.iter().filter(|drawn| !drawn.cancelled && (drawn.worse || !drawn.good)).count();
            let state = running.router.account().unwrap().save();
            let is_late = |drawn: &Drawn| drawn.good && drawn.worse;
            // Where a good verdict was withdrawn after its ticket was dropped, the judge itself was wrong.
            let late = drawn.iter().filter(|drawn| is_late(drawn)).count() as u64;
            prop_assert!(state.certain + state.sampled + late >= charged as u64, "{state:?}");
            if drawn.iter().any(|drawn| drawn.ticket.judge.probability < 1.0) {
                prop_assert!(state.entered);
            }
        }
    }
}

#[test]
fn a_file_that_is_copied_while_the_service_runs_is_what_a_crash_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let (config, _clock) = clocked(MemoryConfig::default());
    let start = |path: &Path| {
        let memory = Memory::open_with(path, config.clone()).unwrap();
        let mut router = budgeted(QualityBudget { burst: 100.0, ..budget() }, &config.clock);
        if let Some(state) = memory.stored_account().unwrap() {
            router.restore_account(&state).unwrap();
        }
        let keeper = memory.keep_account(&router, Keeping { lease: 2, ..Keeping::default() }).unwrap();
        keeper.flush().unwrap();
        Running { keeper, memory, router }
    };
    let mut path = folder.path().join("memory.db");
    let mut running = start(&path);
    let mut worse = 0;
    for n in 0..5 {
        let [good, bad] = [(); 2].map(|()| {
            let (id, _) = running.admitted();
            running.keeper.flush().unwrap();
            id
        });
        running.judge(good, false);
        running.judge(bad, n % 2 == 0);
        worse += u32::from(n % 2 == 0);
        running.memory.flush().unwrap();
        let left = folder.path().join(format!("left-{n}.db"));
        for suffix in ["", "-wal"] {
            let file = |path: &Path| format!("{}{suffix}", path.display());
            std::fs::copy(file(&path), file(&left)).unwrap();
        }
        path = left;
        running = start(&path);
        assert_eq!(running.memory.verify().unwrap(), Vec::<String>::new());
        // Each crash forfeits the two judgements of a lease.
        let (worse, forfeited) = (f64::from(worse), 2.0 * f64::from(n + 1));
        assert_eq!(running.bound(), worse + forfeited);
    }
}
