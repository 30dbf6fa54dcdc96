//! What is known of each entry with a verdict, besides its place in an index.

use crate::record::{RequestId, Verdict};
use crate::store::Erasure;
use std::collections::{BTreeSet, HashMap};

/// An entry with a verdict.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) tenant: Option<String>,
    pub(super) user: Option<String>,
    pub(super) created_at: i64,
    /// The verdict that counts.
    pub(super) verdict: Verdict,
}

/// The entries with a verdict.
#[derive(Default)]
pub(super) struct Evidence {
    known: HashMap<RequestId, Known>,
    by_age: BTreeSet<(i64, RequestId)>,
    /// What is being erased. The store may still hold these data, which must not be read.
    pub(super) erasing: Vec<Erasure>,
}

impl Evidence {
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn get(&self, id: RequestId) -> Option<&Known> {
        self.known.get(&id)
    }

    /// Adds an entry, or replaces that of the same request.
    pub(super) fn insert(&mut self, id: RequestId, known: Known) {
        self.remove(id);
        self.by_age.insert((known.created_at, id));
        self.known.insert(id, known);
    }

    pub(super) fn remove(&mut self, id: RequestId) -> Option<Known> {
        let known = self.known.remove(&id)?;
        self.by_age.remove(&(known.created_at, id));
        Some(known)
    }

    /// The oldest entries: those that were made before a time, and those above the number to keep.
    pub(super) fn oldest(&self, before: i64, keep: usize) -> Vec<RequestId> {
        let surplus = self.known.len().saturating_sub(keep);
        let chosen =
            self.by_age.iter().enumerate().take_while(|(n, (time, _))| *n < surplus || *time < before);
        chosen.map(|(_, (_, id))| *id).collect()
    }

    pub(super) fn oldest_time(&self) -> Option<i64> {
        self.by_age.first().map(|(time, _)| *time)
    }

    /// The entries that an erasure removes.
    pub(super) fn matching(&self, erasure: &Erasure) -> Vec<RequestId> {
        let matches = |known: &Known| erasure.matches(known.tenant.as_deref(), known.user.as_deref());
        self.known.iter().filter(|(_, known)| matches(known)).map(|(id, _)| *id).collect()
    }

    /// The entries, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (RequestId, &Known)> {
        self.by_age.iter().filter_map(|(_, id)| Some((*id, self.known.get(id)?)))
    }
}
