//! What each router reported last: the states of its promise and of its budget, its load of a model, and the size of the
//! memory beside it. Of several promises and loads, the worst is shown; memories and budgets add up.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tiny_dancer_core::budget::BudgetState;
use tiny_dancer_core::observer::MemoryState;
use tiny_dancer_core::promise::PromiseState;

/// All routers that share the families.
///
/// An outcome follows a call of a language model, and a router with a promise locks its monitor for each outcome, so one
/// more lock is cheap. Requests use neither the lock nor its cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Routers(Mutex<States>);

#[derive(Debug, Default)]
struct States {
    promises: BTreeMap<RouterKey, PromiseState>,
    loads: BTreeMap<RouterKey, Load>,
    memories: BTreeMap<RouterKey, MemoryState>,
    budgets: BTreeMap<RouterKey, Budget>,
    /// Whether a budget has ever reported.
    has_budget: bool,
    /// Whether a memory has ever reported.
    has_memory: bool,
    next: u64,
}

/// Identifies a clone of the collector, and so its router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RouterKey(u64);

/// The state of a quality budget, and the confidence threshold in use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Budget {
    pub(crate) state: BudgetState,
    pub(crate) confidence_threshold: f32,
}

/// The last load of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) successful: bool,
    /// When a model was last loaded successfully, in Unix seconds.
    pub(crate) last_success: i64,
}

impl Routers {
    pub(crate) fn key(&self) -> RouterKey {
        self.states(|states| {
            states.next += 1;
            RouterKey(states.next)
        })
    }

    pub(crate) fn report_promise(&self, key: RouterKey, promise: PromiseState) {
        self.states(|states| states.promises.insert(key, promise));
    }

    /// Each router reports a success first, since it begins with a model.
    pub(crate) fn report_load(&self, key: RouterKey, successful: bool, unix_seconds: i64) {
        self.states(|states| {
            let load = states.loads.entry(key).or_insert(Load { successful, last_success: unix_seconds });
            load.successful = successful;
            if successful {
                load.last_success = unix_seconds;
            }
        });
    }

    pub(crate) fn report_memory(&self, key: RouterKey, memory: MemoryState) {
        self.states(|states| {
            states.has_memory = true;
            states.memories.insert(key, memory);
        });
    }

    pub(crate) fn report_budget(&self, key: RouterKey, budget: Budget) {
        self.states(|states| {
            states.has_budget = true;
            states.budgets.insert(key, budget);
        });
    }

    /// Whether a budget has ever reported. Its counters are shown from then on.
    pub(crate) fn has_budget(&self) -> bool {
        self.states(|states| states.has_budget)
    }

    /// All budgets together: amounts add up, and of the rest the worst is shown.
    pub(crate) fn budget(&self) -> Option<Budget> {
        let add = |mut sum: Budget, budget: Budget| {
            let (state, other) = (&mut sum.state, budget.state);
            state.answered += other.answered;
            state.allowed += other.allowed;
            state.bound += other.bound;
            state.spent += other.spent;
            state.pending += other.pending;
            state.judged += other.judged;
            state.worse += other.worse;
            state.expired += other.expired;
            state.balance = state.balance.min(other.balance);
            state.missing = state.missing.max(other.missing);
            state.judge_rate = state.judge_rate.max(other.judge_rate);
            sum.confidence_threshold = sum.confidence_threshold.max(budget.confidence_threshold);
            sum
        };
        self.states(|states| states.budgets.values().copied().reduce(add))
    }

    pub(crate) fn forget(&self, key: RouterKey) {
        self.states(|states| {
            states.promises.remove(&key);
            states.loads.remove(&key);
            states.memories.remove(&key);
            states.budgets.remove(&key);
        });
    }

    /// A broken promise, or else the one with the most evidence against it.
    pub(crate) fn worst_promise(&self) -> Option<PromiseState> {
        let worse = |a: &PromiseState, b: &PromiseState| {
            a.broken.cmp(&b.broken).then(a.evidence.total_cmp(&b.evidence))
        };
        self.states(|states| states.promises.values().copied().max_by(worse))
    }

    /// Whether the last load of every router succeeded, and the earliest of their last successes.
    pub(crate) fn worst_load(&self) -> Option<Load> {
        let worse = |a: Load, b: Load| Load {
            successful: a.successful && b.successful,
            last_success: a.last_success.min(b.last_success),
        };
        self.states(|states| states.loads.values().copied().reduce(worse))
    }

    /// Whether a memory has ever reported. Its counters are shown from then on.
    pub(crate) fn has_memory(&self) -> bool {
        self.states(|states| states.has_memory)
    }

    /// The sizes of all memories together. The decision logs add up where their sizes are known.
    pub(crate) fn memory(&self) -> Option<MemoryState> {
        let add = |mut sum: MemoryState, memory: MemoryState| {
            sum.entries += memory.entries;
            sum.evidence += memory.evidence;
            sum.segments += memory.segments;
            sum.queue += memory.queue;
            sum.queue_capacity += memory.queue_capacity;
            sum.log_entries = match (sum.log_entries, memory.log_entries) {
                (Some(one), Some(other)) => Some(one + other),
                (known, None) | (None, known) => known,
            };
            sum
        };
        self.states(|states| states.memories.values().copied().reduce(add))
    }

    fn states<T>(&self, with: impl FnOnce(&mut States) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests;
