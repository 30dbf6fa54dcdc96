//! The quality budget: how many answers of the lightweight model may be worse, and an account that keeps to it.
//!
//! The user states a [`QualityBudget`]. With probability at least `1 - delta`, **at all times at once**:
//!
//! ```text
//! worse answers of the lightweight model  <=  loss_rate * answers + burst
//! ```
//!
//! Nothing is assumed about the traffic: it may drift, and it may be chosen by an enemy. Two things are assumed: the
//! verdicts of the judge are right, and the coin that decides whether a verdict is asked for decides nothing else.
//!
//! # The bound
//!
//! The [`Account`] lets each answer of the lightweight model be judged with a probability `q`, which is fixed before the
//! coin falls. From the answers that were judged and found worse follows an upper bound `U` on all that were worse, by
//! Ville's inequality (1939) for a nonnegative martingale and a union over a grid of parameters. `docs/promises.md`
//! derives it. With `q = 1` the bound is the count itself.
//!
//! # Admission
//!
//! The lightweight model may answer if `U`, **computed as if each pending judgement and this request were judged and found
//! worse**, is at most what the budget allows. Then a slot and room for the judgement are reserved. Only then the coin is
//! drawn. If it says no, all that was reserved is given back at once. This order makes the promise true: each of its
//! parts was left out in a simulation, and overdrew the budget nearly always.
//!
//! ```text
//!             +-- refused: the bound, the room or the slots
//! request ----+                        +-- not judged: nothing is charged
//!             +-- admitted --- coin ---+
//!                                      +-- pending --+-- good: the charge is refunded
//!                                            |       +-- worse: the charge remains
//!                                            |       `-- timeout: counts as worse; a late "good" refunds the charge
//!                                            `-- cancelled before the first byte: refunded
//! ```
//!
//! The account does not know who judges, and holds no answer. It is not a threshold: it decides whether the budget may be
//! spent. For which requests is up to the router's thresholds.
//!
//! ```
//! use tiny_dancer_core::budget::{Account, JudgeRate, QualityBudget};
//! use tiny_dancer_core::coin::{Coin, Purpose, Seed};
//! use tiny_dancer_core::Clock;
//!
//! let budget = QualityBudget { judge_rate: JudgeRate::Fixed(1.0), burst: 1.0, ..Default::default() };
//! let account = Account::new(&budget, Clock::system())?;
//! let coin = Coin::new(Seed::new(*b"sixteen secrets!"));
//! let admit = |number| account.admit(0.9, |q| coin.draw(number, Purpose::Judge, q));
//!
//! let ticket = admit(0).expect("one worse answer is allowed");
//! assert!(ticket.judge.happened);
//! assert!(admit(1).is_none(), "the first answer may be worse, too");
//! account.settle(&ticket, false);
//! assert!(admit(1).is_some());
//! # Ok::<(), tiny_dancer_core::ConfigError>(())
//! ```

use crate::Thresholds;
use crate::clock::{Clock, Tick};
use crate::coin::Draw;
use crate::config::{ConfigError, YEAR, require};
use crate::names::names;
use bound::Bound;
use ledger::{Admitted, Kind, Ledger, Place, Snapshot, Terms};
use pacing::{Funds, Pacer};
use state::MOST_MILLIS;
use std::time::Duration;
use sync::{AtomicBool, AtomicU64, Ordering};

pub use pacing::PacingState;
pub use state::{AccountState, BudgetState, HeldTicket, Lease, RestoreError, TicketState};

#[cfg(test)]
use tests::Rule;

mod bound;
mod ledger;
mod pacing;
mod state;

/// The atomics, so that a model checker can put its own in their place.
mod sync {
    pub(super) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
}

/// How many answers of the lightweight model may be worse than the powerful model's, and how that is observed.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct QualityBudget {
    /// The worse answers that each answer allows, between 0 and 1. Default 0.05.
    pub loss_rate: f64,
    /// The probability that the promise does not hold, between 0 and 1. Default 0.05.
    pub delta: f64,
    /// The worse answers that are allowed before the first answer, at least 0. Default 10: the account opens without a
    /// long wait, and a short bad time does not close it.
    pub burst: f64,
    /// An answer is worse if its score is below the powerful one's by more than this, 0 to 1. Default 0. The router does
    /// not read it: it belongs to the promise, and to the code that makes verdicts of scores.
    pub margin: f64,
    /// The probability with which an answer is judged. Default [`JudgeRate::Adaptive`] with a floor of 0.2.
    pub judge_rate: JudgeRate,
    /// How long a drawn judgement is waited for. Without a verdict the answer then counts as worse. A late verdict is
    /// accepted for as long again. Default 10 minutes.
    pub judgement_timeout: Duration,
    /// The most judgements that are held at a time, 1 to 1,048,576: those that are due, and those that a late verdict can
    /// correct. A request that finds no place goes to the powerful model. Default 4,096, which takes 64 kB.
    pub max_judgements: u32,
}

impl Default for QualityBudget {
    fn default() -> Self {
        Self {
            loss_rate: 0.05,
            delta: 0.05,
            burst: 10.0,
            margin: 0.0,
            judge_rate: JudgeRate::Adaptive { floor: 0.2 },
            judgement_timeout: Duration::from_secs(600),
            max_judgements: 4096,
        }
    }
}

/// The probability with which an answer of the lightweight model is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum JudgeRate {
    /// 1 until the account can afford the floor for the first time, and the floor from then on. So the lightweight model
    /// answers from the start, when verdicts are needed most. The floor is more than 0 and less than 1.
    Adaptive {
        /// The least probability. It is part of the promise.
        floor: f64,
    },
    /// Always the same, more than 0 and at most 1.
    Fixed(f64),
}

impl JudgeRate {
    /// The least probability below 1, if there is one.
    fn least(self) -> Option<f64> {
        match self {
            Self::Adaptive { floor } => Some(floor),
            Self::Fixed(q) => (q < 1.0).then_some(q),
        }
    }
}

impl QualityBudget {
    /// Checks every field.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let &Self { loss_rate, delta, burst, margin, judge_rate, judgement_timeout, max_judgements } = self;
        let open = |field, value| require(field, value, "between 0 and 1", value > 0.0 && value < 1.0);
        open("budget.loss_rate", loss_rate)?;
        open("budget.delta", delta)?;
        // Up to a number to which f64 adds 1 exactly.
        require("budget.burst", burst, "0 to 1e9", (0.0..=1e9).contains(&burst))?;
        require("budget.margin", margin, "0 to 1", (0.0..=1.0).contains(&margin))?;
        // Below a thousandth the first admission would need ten thousand answers.
        match judge_rate {
            JudgeRate::Adaptive { floor } => {
                let holds = (LEAST_RATE..1.0).contains(&floor);
                require("budget.judge_rate.floor", floor, "0.001 to less than 1", holds)?;
            }
            JudgeRate::Fixed(q) => {
                require("budget.judge_rate", q, "0.001 to 1", (LEAST_RATE..=1.0).contains(&q))?;
            }
        }
        let timeout = judgement_timeout.as_secs_f64();
        require("budget.judgement_timeout", timeout, "1 s to a year", (1.0..=YEAR).contains(&timeout))?;
        let holds = (1..=MOST_JUDGEMENTS).contains(&max_judgements);
        require("budget.max_judgements", max_judgements.into(), "1 to 1048576", holds)
    }
}

/// How many refusals in a row mean that the budget is spent.
const SPENT: u64 = 50;
const LEAST_RATE: f64 = 0.001;
const MOST_JUDGEMENTS: u32 = 1 << 20;

/// By how much the generations of an account exceed those of the one before a restart: more tickets than are given between
/// two stored states, so that a ticket that the state has missed is unknown for ever.
const RESTART: u64 = 1 << 32;

/// An account's generations begin with the millisecond of its birth, followed by this many bits: more tickets than are given
/// in a millisecond. So those of two accounts differ, also where a stored ticket is older than the account.
const GENERATIONS: u32 = 20;

/// An admitted answer of the lightweight model: whether it is to be judged, and the place of its judgement.
///
/// It is plain data, so that it can be stored with the request.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Ticket {
    /// Whether the answer is to be judged, and the probability of that. Ask a judge only after delivery.
    pub judge: Draw,
    /// The place of the judgement; 0 where it is not to be judged.
    pub slot: u32,
    /// Distinguishes the tickets of a slot, over restarts and over accounts too; 0 where the answer is not to be judged.
    pub generation: u64,
    /// The confidence of the request, with which the verdict is compared.
    pub confidence: f32,
}

impl Ticket {
    /// A ticket as it was stored.
    pub fn new(judge: Draw, slot: u32, generation: u64, confidence: f32) -> Self {
        Self { judge, slot, generation, confidence }
    }

    fn place(&self) -> Place {
        Place { slot: self.slot, generation: self.generation }
    }
}

/// What a verdict changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Settlement {
    /// Nothing: the verdict repeats what counts, is a second one that says good, or says worse after the timeout.
    Confirmed,
    /// The verdict came after the timeout and says good: the charge is refunded.
    Restored,
    /// It is the first verdict.
    Settled,
    /// The coin said no, so there is no judgement to settle.
    Undrawn,
    /// The ticket is no longer held, or never was.
    Unknown,
    /// A later verdict says worse: the refund is withdrawn. A stored account should be stored again.
    Withdrawn,
}

names!(Settlement, "settlement", {
    Confirmed => "confirmed",
    Restored => "restored",
    Settled => "settled",
    Undrawn => "undrawn",
    Unknown => "unknown",
    Withdrawn => "withdrawn",
});

/// What happened to an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BudgetChange {
    /// More answers were delivered: some hundred since the last event of this kind.
    Answered,
    /// An admission was taken back.
    Cancelled,
    /// The router has its account: at the start, and when a stored one was restored.
    Opened,
    /// A request was admitted after the budget was spent.
    Recovered,
    /// A judge gave a verdict.
    Settled {
        /// What it changed.
        settlement: Settlement,
    },
    /// Fifty requests in a row were refused.
    Spent,
}

/// Decides whether the lightweight model may answer, so that the promise of a [`QualityBudget`] holds.
///
/// It is `Send + Sync` and takes no lock. See the [module](self) for the rule.
#[derive(Debug)]
pub struct Account {
    loss_rate: f64,
    burst: f64,
    delta: f64,
    judge_rate: JudgeRate,
    timeout: u64,
    ledger: Ledger,
    pacer: Pacer,
    answered: AtomicU64,
    refused_in_a_row: AtomicU64,
    /// Whether judgements come from leases, so that the logarithm must be stored before it is used.
    leased: AtomicBool,
    clock: Clock,
    /// When the account was made, and that in Unix milliseconds. Later jumps of the calendar have no effect.
    birth: (Tick, u64),
}

impl Account {
    /// An account without any answer.
    ///
    /// # Errors
    /// If a field of the budget is out of range.
    pub fn new(budget: &QualityBudget, clock: Clock) -> Result<Self, ConfigError> {
        budget.validate()?;
        // A ticket of an earlier account is unknown to this one.
        let born = (clock.unix_milliseconds().max(0) as u64).min(MOST_MILLIS);
        let snapshot = Snapshot { next_generation: born << GENERATIONS, ..Snapshot::default() };
        Ok(Self::open(budget, clock, 0, snapshot, PacingState::default()))
    }

    /// An account that continues from a saved state, after a restart. Then settle the verdicts again that were recorded since
    /// the state was saved, in their order: the account does not know of them.
    ///
    /// `loss_rate` and `burst` may differ from those of the state: the promise is then that of `budget`, over all answers
    /// since the first one. The rest of the state is part of the bound.
    ///
    /// # Errors
    /// If the budget or the state is out of range, or if the state was saved with another `delta` or with another least
    /// judging rate below 1: the bound is one for a fixed choice of both. Start with a new account then, which is a new
    /// promise.
    pub fn restored(
        budget: &QualityBudget,
        clock: Clock,
        state: &AccountState,
    ) -> Result<Self, RestoreError> {
        budget.validate()?;
        state.check(budget)?;
        let snapshot = Snapshot {
            certain: state.certain,
            sampled: state.sampled,
            entered: state.entered,
            room: None,
            undrawn: 0,
            next_generation: state.next_generation + RESTART,
            judged: state.judged,
            worse: state.worse,
            expired: state.expired,
            tickets: state.tickets.clone(),
        };
        Ok(Self::open(budget, clock, state.answered, snapshot, state.pacing))
    }

    fn open(
        budget: &QualityBudget,
        clock: Clock,
        answered: u64,
        mut snapshot: Snapshot,
        pacing: PacingState,
    ) -> Self {
        let bound = budget.judge_rate.least().map(|q| Bound::new(q, budget.delta));
        snapshot.entered |= matches!(budget.judge_rate, JudgeRate::Fixed(q) if q < 1.0);
        let birth = (clock.tick(), clock.unix_milliseconds().max(0) as u64);
        Self {
            loss_rate: budget.loss_rate,
            burst: budget.burst,
            delta: budget.delta,
            judge_rate: budget.judge_rate,
            timeout: budget.judgement_timeout.as_millis() as u64,
            ledger: Ledger::new(bound, budget.max_judgements as usize, &snapshot),
            pacer: Pacer::new(pacing),
            answered: AtomicU64::new(answered),
            refused_in_a_row: AtomicU64::new(0),
            leased: AtomicBool::new(false),
            clock,
            birth,
        }
    }

    /// Admits an answer of the lightweight model; `None` if the budget does not allow it. `draw` then draws the coin for
    /// the judgement, with the probability that it is given. `confidence` is that of the request, with which its verdict is
    /// compared.
    ///
    /// The draw must depend on nothing that the answer or its verdict depend on.
    #[inline]
    pub fn admit(&self, confidence: f32, draw: impl FnOnce(f64) -> Draw) -> Option<Ticket> {
        let (kind, q) = self.next_judge_rate();
        let terms = Terms { allowed: self.next_allowed(), timeout: self.timeout };
        let mut judge = Draw { probability: q, happened: false };
        let admitted = self.ledger.admit(
            kind,
            terms,
            || self.now(),
            || {
                judge = draw(q);
                judge.happened
            },
        )?;
        let Place { slot, generation } = match admitted {
            Admitted::Judged(place) => place,
            Admitted::Unjudged => Place { slot: 0, generation: 0 },
        };
        Some(Ticket { judge, slot, generation, confidence })
    }

    /// How the next answer is judged. It depends only on what happened before.
    #[inline]
    fn next_judge_rate(&self) -> (Kind, f64) {
        match self.judge_rate {
            JudgeRate::Fixed(q) if q < 1.0 => (Kind::Sampled, q),
            JudgeRate::Adaptive { floor } if self.can_sample() => (Kind::Sampled, floor),
            _ => (Kind::Certain, 1.0),
        }
    }

    /// Whether an answer is judged by chance: since the account could afford it for the first time.
    #[inline]
    fn can_sample(&self) -> bool {
        self.ledger.has_entered() || !self.leased.load(Ordering::Relaxed) && self.could_sample()
    }

    #[inline]
    fn could_sample(&self) -> bool {
        self.ledger.next_bound(Kind::Sampled) <= self.next_allowed()
    }

    /// What the budget allows once this request is answered, too.
    #[inline]
    fn next_allowed(&self) -> f64 {
        self.allowed(self.answered.load(Ordering::SeqCst) + 1)
    }

    fn allowed(&self, answers: u64) -> f64 {
        self.loss_rate * answers as f64 + self.burst
    }

    /// The thresholds in use: those of the model or the configuration at the start, moved since then so that the budget is
    /// spent where it saves most, and lasts.
    #[inline]
    pub fn thresholds(&self, first: Thresholds) -> Thresholds {
        self.pacer.thresholds(first)
    }

    /// Moves the thresholds after a decision, by what the request spends. `passed` is the confidence of a request that passed
    /// them, admitted or not; `None` is one that did not pass.
    #[inline]
    pub fn decided(&self, first: Thresholds, passed: Option<f32>) {
        let (kind, q) = self.next_judge_rate();
        let next = self.ledger.next_bound(kind);
        let funds = Funds {
            loss_rate: self.loss_rate,
            slack: self.next_allowed() - next,
            charge: next - self.ledger.bound(),
            q,
            saves: kind == Kind::Certain && self.judge_rate.least().is_some(),
        };
        self.pacer.decided(first, passed, funds);
    }

    /// Settles a judgement. A verdict that comes late, again, or after another one, is accepted for as long as the ticket
    /// is held.
    pub fn settle(&self, ticket: &Ticket, worse: bool) -> Settlement {
        if !ticket.judge.happened {
            return Settlement::Undrawn;
        }
        let settlement = self.ledger.settle(ticket.place(), worse, self.now(), self.timeout);
        if settlement == Settlement::Settled {
            self.pacer.judged(ticket.confidence, worse, ticket.judge.probability);
        }
        settlement
    }

    /// Takes an admission back, before the first byte of the answer is delivered. Returns whether a judgement was pending.
    /// A call that fails after that is a worse answer: [`settle`](Self::settle) it.
    pub fn cancel(&self, ticket: &Ticket) -> bool {
        let leased = self.leased.load(Ordering::SeqCst);
        ticket.judge.happened && self.ledger.cancel(ticket.place(), self.now(), self.timeout, leased)
    }

    /// Records that an answer was delivered, of either model. Errors, and requests that the router did not decide, deposit
    /// nothing.
    /// Returns how many there are.
    pub fn answered(&self) -> u64 {
        self.answered.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Counts the refusals in a row. Returns that the budget is spent when there are [`SPENT`], and that it has recovered at
    /// the first admission after that. A paced budget refuses a request now and then, which is worth no line in a log.
    #[inline]
    pub(crate) fn admitted(&self, admitted: bool) -> Option<BudgetChange> {
        let refused = &self.refused_in_a_row;
        if !admitted {
            return (refused.fetch_add(1, Ordering::Relaxed) + 1 == SPENT).then_some(BudgetChange::Spent);
        }
        let spent = refused.load(Ordering::Relaxed) > 0 && refused.swap(0, Ordering::Relaxed) >= SPENT;
        spent.then_some(BudgetChange::Recovered)
    }

    /// Limits how many judgements may still be drawn: what the judge's money and queue have room for. `None`, as at first,
    /// is no limit; 0 closes the account.
    ///
    /// Room is reserved before the coin falls, and given back if the coin says no. A judgement that is drawn and then not
    /// made would count as worse, so do not draw what cannot be judged.
    pub fn limit_judgements(&self, room: Option<u64>) {
        self.ledger.set_room(room);
    }

    /// How many judgements may still be drawn; `None` is no limit. Those of requests whose coin has not fallen are not counted.
    pub fn room(&self) -> Option<u64> {
        self.ledger.room()
    }

    /// Adds to the number of judgements that may still be drawn, if it is limited.
    pub fn add_judgements(&self, more: u64) {
        self.ledger.add_room(more);
    }

    /// The state now. It reads every slot, so it is not for each request.
    pub fn state(&self) -> BudgetState {
        let snapshot = self.ledger.snapshot(self.now(), self.timeout);
        let pending = snapshot.tickets.iter().filter(|ticket| ticket.state == TicketState::Pending);
        let (pending, late): (Vec<&HeldTicket>, Vec<&HeldTicket>) =
            pending.partition(|ticket| self.now() < ticket.deadline);
        let answered = self.answered.load(Ordering::SeqCst);
        let (allowed, bound) = (self.allowed(answered), self.ledger.bound());
        let (kind, judge_rate) = self.next_judge_rate();
        let found = |sampled: bool| {
            let pending = pending.iter().filter(|ticket| ticket.sampled == sampled).count() as u64;
            (if sampled { snapshot.sampled } else { snapshot.certain }).saturating_sub(pending) as f64
        };
        let missing = (self.ledger.next_bound(kind) - self.burst) / self.loss_rate - (answered + 1) as f64;
        BudgetState {
            answered,
            allowed,
            bound,
            balance: allowed - bound,
            spent: found(false) + found(true) / self.judge_rate.least().unwrap_or(1.0),
            pending: pending.len() as u64,
            judged: snapshot.judged,
            worse: snapshot.worse,
            expired: snapshot.expired + late.len() as u64,
            missing: missing.ceil().max(0.0) as u64,
            room: snapshot.room,
            judge_rate,
            boldness: self.pacer.state().boldness,
        }
    }

    /// The state to store, so that an account continues from it after a restart.
    ///
    /// What happens later is missing in it. Deposits may be missing; judgements that are drawn later must not be, unless
    /// the account was [closed](Self::close) before. [`lease`](Self::lease) covers those.
    pub fn save(&self) -> AccountState {
        let answered = self.answered.load(Ordering::SeqCst);
        let snapshot = self.ledger.snapshot(self.now(), self.timeout);
        self.state_of(answered, snapshot)
    }

    /// Closes the account, and returns its last state, for an orderly stop. Judgements that requests in flight draw are in
    /// it. Later requests go to the powerful model, until the judgements are [limited](Self::limit_judgements) to another number.
    pub fn close(&self) -> AccountState {
        self.ledger.close();
        self.save()
    }

    /// Prepares `judgements` for requests to come. The lease's state has them charged as worse, together with what is
    /// left of earlier leases. Store the state, then [`grant`](Self::grant) the lease: whenever the process stops after
    /// that, the stored account has lost at most deposits, and no request waits for a disk. With leases, first
    /// [limit](Self::limit_judgements) the judgements to 0.
    pub fn lease(&self, judgements: u64) -> Lease {
        self.leased.store(true, Ordering::SeqCst);
        let answered = self.answered.load(Ordering::SeqCst);
        let mut snapshot = self.ledger.snapshot(self.now(), self.timeout);
        let outstanding = snapshot.undrawn.saturating_add(judgements);
        snapshot.entered |= self.judge_rate.least().is_some() && self.could_sample();
        // An answer that is judged by chance is charged more.
        let charges = if snapshot.entered { &mut snapshot.sampled } else { &mut snapshot.certain };
        *charges = charges.saturating_add(outstanding);
        Lease { judgements, state: self.state_of(answered, snapshot) }
    }

    /// Adds the judgements of a lease whose state was stored.
    pub fn grant(&self, lease: Lease) {
        let Lease { judgements, state } = lease;
        if state.entered {
            self.ledger.enter();
        }
        self.ledger.grant(judgements);
    }

    fn state_of(&self, answered: u64, snapshot: Snapshot) -> AccountState {
        AccountState {
            delta: self.delta,
            least_judge_rate: self.judge_rate.least(),
            answered,
            certain: snapshot.certain,
            sampled: snapshot.sampled,
            entered: snapshot.entered,
            next_generation: snapshot.next_generation,
            judged: snapshot.judged,
            worse: snapshot.worse,
            expired: snapshot.expired,
            tickets: snapshot.tickets,
            pacing: self.pacer.state(),
        }
    }

    /// Unix milliseconds.
    fn now(&self) -> u64 {
        let (birth, unix) = self.birth;
        unix + self.clock.since(birth).as_millis() as u64
    }
}

#[cfg(test)]
mod tests;
