use super::*;
use crate::clock::ManualClock;
use crate::coin::{Coin, Purpose, Seed};
use proptest::prelude::*;
use reference::Reference;

mod interleaved;
mod reference;
mod streams;

/// The rule of admission, or a wrong one: each was found to overdraw. Tests show that they notice it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Rule {
    /// The rule of the design.
    #[default]
    Right,
    /// Each pending judgement reserves 1 instead of the charge of an answer found worse.
    OneForEachPending,
    /// The coin falls before admission, and a request that is not judged passes.
    CoinFirst,
    /// A drawn judgement without a slot or room is dropped, as if it had not been drawn.
    DropDrawn,
    /// Admission reads the counts before it adds its own charge.
    ReadFirst,
}

const TIMEOUT: Duration = Duration::from_secs(10);
/// A millisecond less.
const ALMOST: Duration = Duration::from_millis(9_999);

fn budget(judge_rate: JudgeRate) -> QualityBudget {
    QualityBudget { judge_rate, burst: 3.0, judgement_timeout: TIMEOUT, ..Default::default() }
}

fn account(judge_rate: JudgeRate) -> (Account, ManualClock) {
    let (clock, manual) = Clock::manual(1_700_000_000);
    (Account::new(&budget(judge_rate), clock).unwrap(), manual)
}

/// A draw that comes out as given, unless it is certain.
fn drawn(happened: bool) -> impl FnOnce(f64) -> Draw {
    move |probability| Draw { probability, happened: happened || probability >= 1.0 }
}

fn certain() -> (Account, ManualClock) {
    account(JudgeRate::Fixed(1.0))
}

fn admit(account: &Account) -> Ticket {
    account.admit(0.9, drawn(true)).expect("the budget allows it")
}

fn answer(account: &Account, times: u64) {
    for _ in 0..times {
        account.answered();
    }
}

fn bound(account: &Account) -> f64 {
    account.state().bound
}

#[test]
fn where_each_answer_is_judged_the_bound_counts_those_that_are_worse_or_pending() {
    let (account, _) = certain();
    let tickets: Vec<_> = (0..3).map(|_| admit(&account)).collect();
    assert_eq!(account.admit(0.9, drawn(true)), None, "a fourth may be worse too, and 3.05 are allowed");
    assert_eq!(account.settle(&tickets[0], false), Settlement::Settled);
    assert_eq!(account.settle(&tickets[1], true), Settlement::Settled);
    let state = account.state();
    assert_eq!((state.bound, state.pending, state.judged, state.worse), (2.0, 1, 2, 1));
    admit(&account);
    assert_eq!(account.admit(0.9, drawn(true)), None);
}

#[test]
fn answers_deposit_what_they_allow() {
    let (account, _) = certain();
    for _ in 0..3 {
        admit(&account);
    }
    assert_eq!(account.state().missing, 19, "this request deposits too");
    for _ in 0..19 {
        assert_eq!(account.admit(0.9, drawn(true)), None);
        account.answered();
    }
    assert_eq!((account.state().missing, account.state().balance), (0, 3.95 - 3.0));
    admit(&account);
}

#[test]
fn an_answer_that_is_not_to_be_judged_is_charged_nothing() {
    let (account, _) = account(JudgeRate::Fixed(0.2));
    while account.state().missing > 0 {
        account.answered();
    }
    let before = account.save();
    let ticket = account.admit(0.9, drawn(false)).unwrap();
    assert_eq!(account.settle(&ticket, true), Settlement::Undrawn);
    assert!(!account.cancel(&ticket));
    assert_eq!(account.save(), before);
}

#[test]
fn at_a_rate_of_one_in_five_the_first_admission_needs_about_40() {
    let budget = QualityBudget { judge_rate: JudgeRate::Fixed(0.2), ..Default::default() };
    let account = Account::new(&budget, Clock::system()).unwrap();
    let missing = account.state().missing;
    assert!((500..700).contains(&missing), "{missing}");
    for _ in 0..missing {
        assert_eq!(account.admit(0.9, drawn(true)), None);
        account.answered();
    }
    admit(&account);
}

#[test]
fn an_adaptive_rate_judges_all_answers_until_the_account_can_afford_the_floor() {
    let (account, _) = account(JudgeRate::Adaptive { floor: 0.2 });
    assert_eq!(admit(&account).judge.probability, 1.0);
    assert_eq!(bound(&account), 1.0, "there is no logarithm yet");
    answer(&account, 2000);
    let ticket = account.admit(0.9, drawn(false)).unwrap();
    assert_eq!((ticket.judge.probability, account.state().judge_rate), (0.2, 0.2));
    assert!(bound(&account) > 25.0, "the logarithm has entered");
}

#[test]
fn a_judgement_that_is_not_made_in_time_counts_as_worse_and_a_late_good_one_restores() {
    let (account, manual) = certain();
    let (late, never, worse) = (admit(&account), admit(&account), admit(&account));
    manual.advance(TIMEOUT);
    let state = account.state();
    assert_eq!((state.pending, state.expired, state.bound), (0, 3, 3.0));
    assert_eq!(account.settle(&late, false), Settlement::Restored);
    assert_eq!(account.settle(&worse, true), Settlement::Confirmed);
    assert_eq!(bound(&account), 2.0);
    manual.advance(TIMEOUT);
    assert_eq!(account.settle(&never, false), Settlement::Unknown, "its slot is no longer kept");
    assert_eq!(bound(&account), 2.0);
    assert_eq!(account.state().expired, 1);
}

#[test]
fn a_late_worse_verdict_withdraws_the_refund_and_a_late_good_one_refunds_nothing() {
    let (account, manual) = certain();
    let (one, two) = (admit(&account), admit(&account));
    assert_eq!(account.settle(&one, false), Settlement::Settled);
    assert_eq!(account.settle(&one, false), Settlement::Confirmed);
    assert_eq!(account.settle(&one, true), Settlement::Withdrawn);
    assert_eq!(account.settle(&one, false), Settlement::Confirmed);
    assert_eq!(account.settle(&two, true), Settlement::Settled);
    assert_eq!(account.settle(&two, false), Settlement::Confirmed);
    assert_eq!(bound(&account), 2.0);
    manual.advance(TIMEOUT);
    assert_eq!(account.settle(&two, false), Settlement::Unknown);
}

#[test]
fn a_cancelled_admission_is_refunded_and_its_slot_is_free() {
    let (clock, _manual) = Clock::manual(0);
    let account =
        Account::new(&QualityBudget { max_judgements: 1, ..budget(JudgeRate::Fixed(1.0)) }, clock).unwrap();
    let ticket = admit(&account);
    assert_eq!(account.admit(0.9, drawn(true)), None, "no slot is free");
    assert!(account.cancel(&ticket));
    assert!(!account.cancel(&ticket));
    assert_eq!((bound(&account), account.settle(&ticket, true)), (0.0, Settlement::Unknown));
    let next = admit(&account);
    assert_eq!((next.slot, account.settle(&ticket, true)), (ticket.slot, Settlement::Unknown));
}

#[test]
fn without_room_for_its_judgement_no_answer_is_admitted() {
    let (account, _) = account(JudgeRate::Fixed(0.2));
    answer(&account, 2000);
    account.limit_judgements(Some(1));
    assert!(account.admit(0.9, drawn(false)).is_some());
    assert_eq!(account.state().room, Some(1), "the coin said no, so the room is given back");
    let ticket = admit(&account);
    assert_eq!(account.admit(0.9, drawn(false)), None, "not even one that would not be judged");
    account.add_judgements(1);
    assert!(account.admit(0.9, drawn(false)).is_some());
    assert!(account.cancel(&ticket));
    assert_eq!(account.state().room, Some(2));
    account.limit_judgements(None);
    assert_eq!(account.state().room, None);
}

#[test]
fn a_judgement_keeps_its_slot_for_one_timeout_after_it_was_settled() {
    let (clock, manual) = Clock::manual(0);
    let account =
        Account::new(&QualityBudget { max_judgements: 1, ..budget(JudgeRate::Fixed(1.0)) }, clock).unwrap();
    account.settle(&admit(&account), false);
    manual.advance(ALMOST);
    assert_eq!(account.admit(0.9, drawn(true)), None);
    manual.advance(Duration::from_millis(1));
    admit(&account);
    manual.advance(TIMEOUT + ALMOST);
    assert_eq!(account.admit(0.9, drawn(true)), None, "it has expired, and is kept for a late verdict");
    manual.advance(Duration::from_millis(1));
    admit(&account);
    assert_eq!((bound(&account), account.state().expired), (2.0, 1));
}

#[test]
fn a_lease_that_was_not_used_is_forfeited_by_a_crash_and_no_charge_is_lost() {
    let judge_rate = JudgeRate::Fixed(1.0);
    let (account, _) = account(judge_rate);
    account.limit_judgements(Some(0));
    assert_eq!(account.admit(0.9, drawn(true)), None, "an empty lease");
    let lease = account.lease(2);
    let stored = lease.state().clone();
    account.grant(lease);
    let ticket = admit(&account);
    account.settle(&ticket, true);
    let crashed = Account::restored(&budget(judge_rate), Clock::manual(1_700_000_000).0, &stored).unwrap();
    assert_eq!(bound(&crashed), 2.0, "one was used and worse, one was not used");
    assert_eq!(crashed.settle(&ticket, false), Settlement::Unknown);
    let next = crashed.admit(0.9, drawn(true)).unwrap();
    assert_ne!(next.generation, ticket.generation);
    let stopped = Account::restored(&budget(judge_rate), Clock::manual(1_700_000_000).0, &account.save());
    assert_eq!(bound(&stopped.unwrap()), 1.0, "an orderly stop forfeits nothing");
}

#[test]
fn a_ticket_of_an_earlier_account_is_unknown() {
    let (clock, manual) = Clock::manual(1_700_000_000);
    let open = || Account::new(&budget(JudgeRate::Fixed(1.0)), clock.clone()).unwrap();
    let ticket = admit(&open());
    manual.advance(Duration::from_millis(1));
    let account = open();
    assert_eq!(admit(&account).slot, ticket.slot);
    assert_eq!(account.settle(&ticket, false), Settlement::Unknown);
    assert_eq!(bound(&account), 1.0);
}

#[test]
fn a_closed_account_is_opened_by_the_next_lease_and_what_was_left_of_the_last_one_is_not_charged() {
    let (account, _) = account(JudgeRate::Fixed(1.0));
    account.limit_judgements(Some(0));
    account.grant(account.lease(2));
    let ticket = admit(&account);
    assert_eq!((account.close().certain, account.room()), (1, Some(0)));
    account.add_judgements(5);
    assert_eq!(account.admit(0.9, drawn(true)), None);
    account.limit_judgements(Some(0));
    let lease = account.lease(1);
    assert_eq!(lease.state().certain, 2);
    account.grant(lease);
    account.cancel(&ticket);
    admit(&account);
    assert_eq!(account.admit(0.9, drawn(true)), None);
}

#[test]
fn the_room_of_a_cancelled_judgement_is_not_used_again_before_the_next_lease() {
    let judge_rate = JudgeRate::Fixed(1.0);
    let (account, _) = account(judge_rate);
    account.limit_judgements(Some(0));
    account.grant(account.lease(1));
    let cancelled = admit(&account);
    let stored = account.lease(0).state().clone();
    assert!(account.cancel(&cancelled));
    assert_eq!(account.admit(0.9, drawn(true)), None, "the stored account has only the cancelled one");
    let crashed = Account::restored(&budget(judge_rate), Clock::manual(1_700_000_000).0, &stored).unwrap();
    assert_eq!(crashed.settle(&cancelled, false), Settlement::Settled);
    assert_eq!(bound(&crashed), 0.0);
    account.grant(account.lease(1));
    admit(&account);
}

#[test]
fn an_account_that_continues_finds_the_slots_that_are_free() {
    let judge_rate = JudgeRate::Fixed(1.0);
    let (account, _) = account(judge_rate);
    answer(&account, 10_000);
    for _ in 0..200 {
        account.settle(&admit(&account), false);
    }
    let account =
        Account::restored(&budget(judge_rate), Clock::manual(1_700_000_000).0, &account.save()).unwrap();
    assert_eq!(admit(&account).slot, 200, "the others are kept for late verdicts");
}

#[test]
fn the_logarithm_is_stored_before_an_answer_is_judged_by_chance() {
    let (account, _) = account(JudgeRate::Adaptive { floor: 0.2 });
    account.limit_judgements(Some(0));
    account.grant(account.lease(10));
    answer(&account, 2000);
    assert_eq!(admit(&account).judge.probability, 1.0, "the stored state does not have it");
    let lease = account.lease(10);
    assert!(lease.state().entered);
    account.grant(lease);
    assert_eq!(admit(&account).judge.probability, 0.2);
}

#[test]
fn a_state_of_another_promise_is_refused() {
    let (account, _) = account(JudgeRate::Fixed(0.2));
    let state = account.save();
    let refused = |budget: QualityBudget, state: &AccountState| {
        Account::restored(&budget, Clock::system(), state).unwrap_err().to_string()
    };
    let with = |judge_rate| budget(judge_rate);
    assert_eq!(
        refused(with(JudgeRate::Fixed(0.3)), &state),
        "the stored account has judge_rate 0.2, the budget has 0.3"
    );
    assert_eq!(
        refused(QualityBudget { delta: 0.1, ..with(JudgeRate::Fixed(0.2)) }, &state),
        "the stored account has delta 0.05, the budget has 0.1"
    );
    assert!(
        refused(QualityBudget { burst: -1.0, ..Default::default() }, &state)
            .starts_with("budget.burst is -1")
    );
    let ticket =
        HeldTicket { slot: 0, generation: 0, state: TicketState::Pending, sampled: true, deadline: 0 };
    let bad = AccountState { tickets: vec![ticket], ..state.clone() };
    assert_eq!(
        refused(with(JudgeRate::Fixed(0.2)), &bad),
        "the stored account has sampled 0, expected at least its pending tickets"
    );
    let adaptive = JudgeRate::Adaptive { floor: 0.2 };
    assert!(Account::restored(&with(adaptive), Clock::system(), &state).is_ok(), "the same least rate");
}

/// What happens to an account.
#[derive(Clone, Copy, Debug)]
enum Event {
    Admit { judge: bool },
    Answer { times: u16 },
    Cancel { ticket: prop::sample::Index },
    Restart,
    Settle { ticket: prop::sample::Index, worse: bool },
    Wait { millis: u16 },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => any::<bool>().prop_map(|judge| Event::Admit { judge }),
        2 => (0..600_u16).prop_map(|times| Event::Answer { times }),
        1 => any::<prop::sample::Index>().prop_map(|ticket| Event::Cancel { ticket }),
        1 => Just(Event::Restart),
        6 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(ticket, worse)| Event::Settle { ticket, worse }),
        2 => (0..12_000_u16).prop_map(|millis| Event::Wait { millis }),
    ]
}

fn judge_rate() -> impl Strategy<Value = JudgeRate> {
    prop_oneof![
        Just(JudgeRate::Fixed(1.0)),
        (0.05..1.0).prop_map(JudgeRate::Fixed),
        (0.05..1.0).prop_map(|floor| JudgeRate::Adaptive { floor }),
    ]
}

/// Sums in two orders differ by less.
const ROUNDING: f64 = 1e-9;

proptest! {
    #[test]
    fn in_any_history_the_account_does_what_the_formulas_say(
        rate in judge_rate(),
        loss_rate in 0.01..0.5,
        max_judgements in 1..40_u32,
        events in prop::collection::vec(event(), 1..200),
    ) {
        let budget = QualityBudget { loss_rate, max_judgements, ..budget(rate) };
        let (clock, manual) = Clock::manual(1_700_000_000);
        let mut account = Account::new(&budget, clock.clone()).unwrap();
        let mut reference = Reference::new(&budget);
        let mut tickets: Vec<Ticket> = vec![];
        let now = || clock.unix_milliseconds() as u64;
        for event in events {
            match event {
                Event::Admit { judge } => {
                    let (slack, q) = reference.next();
                    let ticket = account.admit(0.9, drawn(judge));
                    if slack.abs() > ROUNDING {
                        prop_assert_eq!(ticket.is_some(), slack > 0.0 && reference.has_slot(now()));
                    }
                    if let Some(ticket) = ticket {
                        prop_assert!(reference.has_slot(now()));
                        prop_assert_eq!(ticket.judge.probability, q);
                        reference.admit(q, ticket.judge.happened, now());
                        tickets.push(ticket);
                    }
                }
                Event::Answer { times } => {
                    answer(&account, times.into());
                    reference.delivered += u64::from(times);
                }
                Event::Cancel { ticket } if !tickets.is_empty() => {
                    let ticket = ticket.index(tickets.len());
                    prop_assert_eq!(account.cancel(&tickets[ticket]), reference.cancel(ticket, now()));
                }
                Event::Settle { ticket, worse } if !tickets.is_empty() => {
                    let ticket = ticket.index(tickets.len());
                    let expected = reference.settle(ticket, worse, now());
                    prop_assert_eq!(account.settle(&tickets[ticket], worse), expected);
                }
                Event::Cancel { .. } | Event::Settle { .. } => {}
                Event::Restart => {
                    account = Account::restored(&budget, clock.clone(), &account.save()).unwrap();
                }
                Event::Wait { millis } => manual.advance(Duration::from_millis(millis.into())),
            }
            let state = account.state();
            let expected = reference.bound_with(0, 1.0);
            prop_assert!((state.bound - expected).abs() < ROUNDING, "{} instead of {expected}", state.bound);
            prop_assert_eq!(state.pending, reference.pending(now()));
            prop_assert_eq!(state.answered, reference.delivered);
        }
    }

    #[test]
    fn an_account_that_crashes_admits_nothing_beyond_the_rule(
        rate in judge_rate(),
        leases in 1..20_u64,
        events in prop::collection::vec(event(), 1..200),
    ) {
        let budget = QualityBudget { loss_rate: 0.2, ..budget(rate) };
        let (clock, manual) = Clock::manual(1_700_000_000);
        let open = |account: Account, stored: &mut AccountState| {
            account.limit_judgements(Some(0));
            let lease = account.lease(leases);
            *stored = lease.state().clone();
            account.grant(lease);
            account
        };
        let account = Account::new(&budget, clock.clone()).unwrap();
        let mut stored = account.save();
        let mut verdicts = vec![];
        let mut account = open(account, &mut stored);
        let mut reference = Reference::new(&budget);
        let mut tickets: Vec<Ticket> = vec![];
        let now = || clock.unix_milliseconds() as u64;
        for event in events {
            match event {
                Event::Admit { judge } => {
                    if let Some(ticket) = account.admit(0.9, drawn(judge)) {
                        let q = ticket.judge.probability;
                        let bound = reference.bound_with(1, q);
                        let allowed = reference.allowed(reference.delivered + 1);
                        prop_assert!(bound <= allowed + ROUNDING, "{bound} of {allowed}");
                        reference.admit(q, ticket.judge.happened, now());
                        tickets.push(ticket);
                    } else if account.state().room == Some(0) {
                        let lease = account.lease(leases);
                        stored = lease.state().clone();
                        account.grant(lease);
                    }
                }
                Event::Answer { times } => {
                    answer(&account, times.into());
                    reference.delivered += u64::from(times);
                }
                Event::Cancel { ticket } if !tickets.is_empty() => {
                    let ticket = ticket.index(tickets.len());
                    if account.cancel(&tickets[ticket]) {
                        reference.cancel(ticket, now());
                    }
                }
                Event::Settle { ticket, worse } if !tickets.is_empty() => {
                    let ticket = ticket.index(tickets.len());
                    // The reference receives each verdict, the account those on tickets that it still has.
                    let settlement = account.settle(&tickets[ticket], worse);
                    verdicts.push((ticket, worse));
                    reference.settle(ticket, worse, now());
                    if settlement == Settlement::Withdrawn {
                        stored = account.lease(0).state().clone();
                    }
                }
                Event::Cancel { .. } | Event::Settle { .. } => {}
                Event::Restart => {
                    account = Account::restored(&budget, clock.clone(), &stored).unwrap();
                    for &(ticket, worse) in &verdicts {
                        account.settle(&tickets[ticket], worse);
                    }
                    account = open(account, &mut stored);
                }
                Event::Wait { millis } => manual.advance(Duration::from_millis(millis.into())),
            }
            let expected = reference.bound_with(0, 1.0);
            prop_assert!(bound(&account) >= expected - ROUNDING, "{} below {expected}", bound(&account));
        }
    }
}

#[cfg(feature = "serde")]
#[test]
fn a_state_and_a_ticket_are_read_as_they_were_written() {
    let (account, _) = account(JudgeRate::Adaptive { floor: 0.2 });
    let ticket = admit(&account);
    let state = account.save();
    let json = serde_json::to_string(&(&state, ticket)).unwrap();
    assert_eq!(serde_json::from_str::<(AccountState, Ticket)>(&json).unwrap(), (state, ticket));
}
