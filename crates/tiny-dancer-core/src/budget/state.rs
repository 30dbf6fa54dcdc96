//! What an account shows, and what it stores.

use super::{PacingState, QualityBudget};
use crate::config::ConfigError;

/// The state of an account, for people and metrics.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct BudgetState {
    /// The delivered answers of both models.
    pub answered: u64,
    /// How many worse answers they allow.
    pub allowed: f64,
    /// The upper bound on the worse answers, with each pending judgement as worse.
    pub bound: f64,
    /// `allowed` minus `bound`. It can be negative, before the first admission and after a refund was withdrawn.
    pub balance: f64,
    /// An unbiased estimate of the worse answers so far: those found, each divided by the probability of its judgement.
    /// The bound is larger, since it holds with a probability of `1 - delta`.
    pub spent: f64,
    /// The judgements that are due.
    pub pending: u64,
    /// The judgements that were made.
    pub judged: u64,
    /// The judgements that said worse.
    pub worse: u64,
    /// The judgements that were not made in time, and count as worse.
    pub expired: u64,
    /// How many answers are missing until the next admission, if no judgement is settled before: 0 is open.
    pub missing: u64,
    /// How many judgements may still be drawn; `None` is no limit.
    pub room: Option<u64>,
    /// The probability with which the next answer is judged.
    pub judge_rate: f64,
    /// By how much the predicted loss up to which requests pass exceeds that of the first thresholds.
    pub boldness: f32,
}

/// A judgement that is due or can still be corrected, as a stored account has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct HeldTicket {
    /// As in [`Ticket`](super::Ticket).
    pub slot: u32,
    /// As in [`Ticket`](super::Ticket).
    pub generation: u64,
    /// What the judge has said.
    pub state: TicketState,
    /// Whether the judgement was drawn by chance, or was certain.
    pub sampled: bool,
    /// Until when the judgement is due, or until when the ticket is kept, in Unix milliseconds.
    pub deadline: u64,
}

/// What the judge has said of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum TicketState {
    /// It was not worse.
    Good,
    /// Nothing yet.
    Pending,
    /// It was worse.
    Worse,
}

/// An account as it is stored.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct AccountState {
    /// The budget's `delta`, which the bound depends on.
    pub delta: f64,
    /// The least probability of a judgement below 1, which the bound depends on; `None` if all are 1.
    pub least_judge_rate: Option<f64>,
    /// As in [`BudgetState`].
    pub answered: u64,
    /// The charges of answers that were certain to be judged.
    pub certain: u64,
    /// The charges of answers that were judged by chance.
    pub sampled: u64,
    /// Whether an answer was ever judged by chance, so that the bound has a logarithm.
    pub entered: bool,
    /// The generation of the next ticket.
    pub next_generation: u64,
    /// As in [`BudgetState`].
    pub judged: u64,
    /// As in [`BudgetState`].
    pub worse: u64,
    /// As in [`BudgetState`].
    pub expired: u64,
    /// The tickets that are held.
    pub tickets: Vec<HeldTicket>,
    /// What pacing has learned.
    pub pacing: PacingState,
}

/// Judgements that may be drawn once [`state`](Self::state) is stored: see [`Account::lease`](super::Account::lease).
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a lease that is not granted adds no judgements"]
pub struct Lease {
    pub(super) judgements: u64,
    pub(super) state: AccountState,
}

impl Lease {
    /// The state to store before the lease is granted.
    pub fn state(&self) -> &AccountState {
        &self.state
    }
}

/// Why an account could not continue from a stored state.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The budget is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The router has no quality budget.
    #[error("the router has no quality budget")]
    NoBudget,
    /// The state was stored under another promise.
    #[error("the stored account has {field} {stored}, the budget has {configured}")]
    Different {
        /// The field of the budget.
        field: &'static str,
        /// The value in the state.
        stored: f64,
        /// The value in the budget.
        configured: f64,
    },
    /// A value that no account has.
    #[error("the stored account has {field} {value}, expected {expected}")]
    OutOfRange {
        /// The field of the state.
        field: &'static str,
        /// Its value.
        value: f64,
        /// What it must be.
        expected: &'static str,
    },
}

impl AccountState {
    /// Checks whether an account with this budget can continue from it.
    pub(super) fn check(&self, budget: &QualityBudget) -> Result<(), RestoreError> {
        let same = |field, stored: f64, configured: f64| {
            if stored == configured {
                Ok(())
            } else {
                Err(RestoreError::Different { field, stored, configured })
            }
        };
        same("delta", self.delta, budget.delta)?;
        // Where nothing was judged by chance, the bound has not been used.
        if self.entered || self.sampled > 0 {
            let stored = self.least_judge_rate.unwrap_or(1.0);
            same("judge_rate", stored, budget.judge_rate.least().unwrap_or(1.0))?;
        }
        let most = |field, value: u64, least: u64, expected| {
            if (least..=MOST).contains(&value) {
                Ok(())
            } else {
                Err(RestoreError::OutOfRange { field, value: value as f64, expected })
            }
        };
        for (field, value) in [
            ("answered", self.answered),
            ("certain", self.certain),
            ("sampled", self.sampled),
            ("next_generation", self.next_generation),
            ("judged", self.judged),
            ("worse", self.worse),
            ("expired", self.expired),
        ] {
            most(field, value, 0, "at most 2^62")?;
        }
        let mut pending = [0, 0];
        let mut slots = std::collections::BTreeSet::new();
        for ticket in &self.tickets {
            let unused = slots.insert(ticket.slot);
            most("tickets.slot", ticket.slot.into(), if unused { 0 } else { u64::MAX }, "each slot once")?;
            if ticket.generation >= self.next_generation + super::RESTART {
                let expected = "one that was given";
                return Err(RestoreError::OutOfRange {
                    field: "tickets.generation",
                    value: ticket.generation as f64,
                    expected,
                });
            }
            if ticket.deadline > MOST_MILLIS {
                let expected = "a time before 2109";
                return Err(RestoreError::OutOfRange {
                    field: "tickets.deadline",
                    value: ticket.deadline as f64,
                    expected,
                });
            }
            pending[usize::from(ticket.sampled)] += u64::from(ticket.state == TicketState::Pending);
        }
        if !self.pacing.is_valid() {
            let (field, expected) = ("pacing", "positive numbers");
            return Err(RestoreError::OutOfRange { field, value: self.pacing.boldness.into(), expected });
        }
        // Each pending ticket can bring a refund.
        most("certain", self.certain, pending[0], "at least its pending tickets")?;
        most("sampled", self.sampled, pending[1], "at least its pending tickets")
    }
}

/// Far more than an account counts in its life, and far from an overflow.
const MOST: u64 = 1 << 62;
/// What a slot can hold: 42 bits, less a year.
pub(super) const MOST_MILLIS: u64 = (1 << 42) - 31_536_000_000;
