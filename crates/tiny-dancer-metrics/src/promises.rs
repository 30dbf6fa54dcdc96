//! What is known of each router's promised risk, and which of them is the worst.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tiny_dancer_core::promise::PromiseState;

/// The promises of all routers that share the families.
///
/// An outcome follows a call of a language model, and a router that promises something locks its monitor for it, so one
/// more lock is nothing. Requests never come here, nor to the cache lines that the lock is on.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Promises(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    promises: BTreeMap<PromiseKey, PromiseState>,
    next: u64,
}

/// The collector's clone, and so the router, that a promise is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PromiseKey(u64);

impl Promises {
    pub(crate) fn key(&self) -> PromiseKey {
        self.known(|known| {
            known.next += 1;
            PromiseKey(known.next)
        })
    }

    pub(crate) fn report(&self, key: PromiseKey, promise: PromiseState) {
        self.known(|known| known.promises.insert(key, promise));
    }

    pub(crate) fn forget(&self, key: PromiseKey) {
        self.known(|known| known.promises.remove(&key));
    }

    /// A broken one, or else the one with the most evidence against it.
    pub(crate) fn worst(&self) -> Option<PromiseState> {
        let worse = |a: &PromiseState, b: &PromiseState| {
            a.broken.cmp(&b.broken).then(a.evidence.total_cmp(&b.evidence))
        };
        self.known(|known| known.promises.values().copied().max_by(worse))
    }

    fn known<T>(&self, with: impl FnOnce(&mut Known) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests;
