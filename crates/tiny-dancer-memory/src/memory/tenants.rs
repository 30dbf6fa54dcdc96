//! The evidence of each tenant, in an index of its own.

use crate::index::Index;
use crate::snapshot::{Neighbour, unit};
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use tiny_dancer_core::{Candidate, Metadata, RouteError};

/// One index a tenant, so that a search cannot find the entries of another one.
///
/// Searches never wait. The methods that write are called by one thread at a time: their caller holds a lock.
#[derive(Default)]
pub(super) struct Tenants {
    indexes: ArcSwap<Indexes>,
    /// The dimension of all embeddings, known with the first one.
    dimensions: OnceLock<usize>,
}

#[derive(Clone, Default)]
struct Indexes {
    without_tenant: Option<Arc<Index>>,
    by_tenant: HashMap<Arc<str>, Arc<Index>>,
}

impl Indexes {
    fn get(&self, tenant: Option<&str>) -> Option<&Arc<Index>> {
        tenant.map_or(self.without_tenant.as_ref(), |tenant| self.by_tenant.get(tenant))
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Index>> {
        self.by_tenant.values().chain(&self.without_tenant)
    }
}

impl Tenants {
    /// Checks an embedding. The first valid one decides the dimension of all others: `decided` is called with it, before any
    /// other thread passes this check.
    pub(super) fn check(&self, embedding: &[f32], decided: impl FnOnce(usize)) -> Result<(), RouteError> {
        let actual = embedding.len();
        if actual == 0 {
            return Err(RouteError::EmptyQuery);
        }
        unit(embedding, None, self.dimensions().unwrap_or(actual))?;
        let expected = *self.dimensions.get_or_init(|| {
            decided(actual);
            actual
        });
        if actual == expected {
            Ok(())
        } else {
            Err(RouteError::DimensionMismatch { candidate: None, expected, actual })
        }
    }

    pub(super) fn dimensions(&self) -> Option<usize> {
        self.dimensions.get().copied()
    }

    /// Sets the dimension that a store has, before any embedding is checked.
    pub(super) fn set_dimensions(&self, dimensions: usize) {
        self.dimensions.get_or_init(|| dimensions);
    }

    /// The tenant's `k` nearest entries.
    pub(super) fn nearest(
        &self,
        tenant: Option<&str>,
        embedding: &[f32],
        k: usize,
    ) -> Result<Vec<Neighbour>, RouteError> {
        match self.indexes.load().get(tenant) {
            Some(index) => index.nearest(embedding, k, &Metadata::new()),
            None => Ok(Vec::new()),
        }
    }

    /// The tenant's entry with this id.
    pub(super) fn get(&self, tenant: Option<&str>, id: &str) -> Option<Arc<Candidate>> {
        self.indexes.load().get(tenant)?.get(id)
    }

    /// Inserts entries of a tenant, whose embeddings have been checked. Returns by how many segments the index grew.
    pub(super) fn insert(&self, tenant: Option<&str>, entries: Vec<Candidate>) -> Result<isize, RouteError> {
        let Some(first) = entries.first() else { return Ok(0) };
        let indexes = self.indexes.load();
        if let Some(index) = indexes.get(tenant) {
            return grown(index, |index| index.insert(entries));
        }
        let dimensions = *self.dimensions.get_or_init(|| first.embedding.len());
        let index = indexes.all().next().map_or_else(|| Index::new(dimensions), |like| like.empty());
        index.insert(entries)?;
        let segments = index.snapshot().segments().count();
        let mut indexes = Indexes::clone(&indexes);
        match tenant {
            Some(tenant) => drop(indexes.by_tenant.insert(tenant.into(), Arc::new(index))),
            None => indexes.without_tenant = Some(Arc::new(index)),
        }
        self.indexes.store(Arc::new(indexes));
        Ok(segments as isize)
    }

    /// Removes entries of a tenant. If `erase`, no data of a removed entry remains in memory, except in snapshots that still
    /// exist. Returns by how many segments the index grew.
    pub(super) fn remove(&self, tenant: Option<&str>, ids: &[String], erase: bool) -> isize {
        let indexes = self.indexes.load();
        let Some(index) = indexes.get(tenant) else { return 0 };
        let before = index.snapshot().segments().count() as isize;
        index.remove_all(ids, erase);
        let snapshot = index.snapshot();
        if !snapshot.is_empty() {
            return snapshot.segments().count() as isize - before;
        }
        let mut indexes = Indexes::clone(&indexes);
        match tenant {
            Some(tenant) => drop(indexes.by_tenant.remove(tenant)),
            None => indexes.without_tenant = None,
        }
        self.indexes.store(Arc::new(indexes));
        -before
    }
}

/// Changes an index. Returns by how many segments it grew.
fn grown<E>(index: &Index, change: impl FnOnce(&Index) -> Result<(), E>) -> Result<isize, E> {
    let before = index.snapshot().segments().count();
    change(index)?;
    Ok(index.snapshot().segments().count() as isize - before as isize)
}
