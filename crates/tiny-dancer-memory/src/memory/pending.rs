//! Requests without a verdict: the last of them, in memory.

use crate::record::{Entry, RequestId};
use crate::store::Erasure;
use std::collections::{BTreeMap, HashMap};
use tiny_dancer_core::{ModelType, Reason};

/// What decides whether the verdict on a request is evidence about the router's own decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) reason: Reason,
    /// The model whose answer was delivered, once it is known.
    pub(super) served: Option<ModelType>,
}

/// A request that waits for its verdict.
pub(super) struct Waiting {
    pub(super) entry: Entry,
    /// `None` for a request that was remembered without a decision.
    pub(super) decision: Option<Decision>,
}

/// The last requests without a verdict. Earlier ones are in the store alone.
#[derive(Default)]
pub(super) struct Pending {
    requests: HashMap<RequestId, (u64, Waiting)>,
    /// By the order in which they came.
    order: BTreeMap<u64, RequestId>,
    next: u64,
}

impl Pending {
    /// Adds a request, and drops the oldest ones above `capacity`.
    pub(super) fn insert(&mut self, waiting: Waiting, capacity: usize) {
        let id = waiting.entry.id;
        self.remove(id);
        self.order.insert(self.next, id);
        self.requests.insert(id, (self.next, waiting));
        self.next += 1;
        while self.requests.len() > capacity
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.requests.remove(&oldest);
        }
    }

    pub(super) fn remove(&mut self, id: RequestId) -> Option<Waiting> {
        let (place, waiting) = self.requests.remove(&id)?;
        self.order.remove(&place);
        Some(waiting)
    }

    pub(super) fn contains(&self, id: RequestId) -> bool {
        self.requests.contains_key(&id)
    }

    pub(super) fn set_served(&mut self, id: RequestId, model: ModelType) {
        if let Some((_, Waiting { decision: Some(decision), .. })) = self.requests.get_mut(&id) {
            decision.served = Some(model);
        }
    }

    /// Removes the requests of which `chosen` is true. Returns how many there were.
    pub(super) fn remove_where(&mut self, chosen: impl Fn(&Entry) -> bool) -> usize {
        let ids: Vec<_> = self.entries().filter(|entry| chosen(entry)).map(|entry| entry.id).collect();
        ids.iter().filter(|&&id| self.remove(id).is_some()).count()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.order.values().filter_map(|id| self.requests.get(id)).map(|(_, waiting)| &waiting.entry)
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }
}

impl Erasure {
    /// Whether data of this tenant and user is erased.
    pub(crate) fn matches(&self, tenant: Option<&str>, user: Option<&str>) -> bool {
        match self {
            Self::Tenant(erased) => tenant == Some(erased),
            Self::User { tenant: erased, user: name } => tenant == erased.as_deref() && user == Some(name),
        }
    }
}
