//! The state of each router's promise, and the worst of them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tiny_dancer_core::promise::PromiseState;

/// The promises of all routers that share the families.
///
/// An outcome follows a call of a language model, and a router with a promise locks its monitor for each outcome, so one
/// more lock is cheap. Requests use neither the lock nor its cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Promises(Mutex<States>);

#[derive(Debug, Default)]
struct States {
    by_key: BTreeMap<PromiseKey, PromiseState>,
    next: u64,
}

/// Identifies the collector's clone, and so the router, that a promise belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PromiseKey(u64);

impl Promises {
    pub(crate) fn key(&self) -> PromiseKey {
        self.states(|states| {
            states.next += 1;
            PromiseKey(states.next)
        })
    }

    pub(crate) fn report(&self, key: PromiseKey, promise: PromiseState) {
        self.states(|states| states.by_key.insert(key, promise));
    }

    pub(crate) fn forget(&self, key: PromiseKey) {
        self.states(|states| states.by_key.remove(&key));
    }

    /// A broken promise, or else the one with the most evidence against it.
    pub(crate) fn worst(&self) -> Option<PromiseState> {
        let worse = |a: &PromiseState, b: &PromiseState| {
            a.broken.cmp(&b.broken).then(a.evidence.total_cmp(&b.evidence))
        };
        self.states(|states| states.by_key.values().copied().max_by(worse))
    }

    fn states<T>(&self, with: impl FnOnce(&mut States) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests;
