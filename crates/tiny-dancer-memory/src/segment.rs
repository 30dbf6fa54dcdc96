//! Segments: up to 256 entries, and which of them are live.

use crate::codes::Codes;
use std::collections::BTreeMap;
use std::sync::Arc;
use tiny_dancer_core::{Candidate, Metadata};

/// The number of entries at which a segment is sealed. Up to this number the growing segment is compared exactly, which
/// takes a few microseconds; a multiple of the 32 vectors of a block.
pub(crate) const SEGMENT: usize = 256;

/// A set of rows of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows([u64; SEGMENT / 64]);

impl Rows {
    pub(crate) fn insert(&mut self, row: usize) {
        self.0[row / 64] |= 1 << (row % 64);
    }

    pub(crate) fn remove(&mut self, row: usize) {
        self.0[row / 64] &= !(1 << (row % 64));
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The rows of a block of 32; bit `i` stands for its row `i`.
    #[inline(always)]
    pub(crate) fn block(&self, block: usize) -> u32 {
        (self.0[block / 2] >> (block % 2 * 32)) as u32
    }

    fn intersect(&mut self, other: Self) {
        for (word, other) in self.0.iter_mut().zip(other.0) {
            *word &= other;
        }
    }

    fn retain(&mut self, keep: impl Fn(usize) -> bool) {
        for row in self.iter().filter(|&row| !keep(row)) {
            self.remove(row);
        }
    }

    /// In ascending order.
    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().enumerate().flat_map(|(word, bits)| ones(bits).map(move |bit| word * 64 + bit))
    }
}

/// The places of the ones of a word, in ascending order.
#[inline(always)]
pub(crate) fn ones(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
        bits &= bits - 1;
        Some(bit)
    })
}

/// Entries in the order of their insertion. A clone shares them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Segment {
    /// Ascends from segment to segment.
    pub(crate) id: u64,
    /// All entries, live or not, each with an embedding of length 1.
    pub(crate) entries: Arc<Vec<Arc<Candidate>>>,
    pub(crate) live: Rows,
    /// Of a sealed segment.
    pub(crate) postings: Option<Arc<Postings>>,
    /// Of a sealed segment, unless its embeddings have few or very many dimensions.
    pub(crate) codes: Option<Arc<Codes>>,
}

impl Segment {
    /// The live rows whose metadata has all pairs of the filter.
    pub(crate) fn matching(&self, filter: &Metadata) -> Rows {
        let mut rows = self.live;
        for (key, value) in filter {
            match &self.postings {
                Some(postings) => rows.intersect(postings.rows(key, value)),
                None => rows.retain(|row| self.entries[row].metadata.get(key) == Some(value)),
            }
        }
        rows
    }

    /// The live entries.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Arc<Candidate>> {
        self.live.iter().map(|row| &self.entries[row])
    }
}

/// The rows of each pair of metadata, so that a filtered search reads no metadata of entries.
#[derive(Debug)]
pub(crate) struct Postings(BTreeMap<String, BTreeMap<String, Rows>>);

impl Postings {
    pub(crate) fn of(entries: &[Arc<Candidate>]) -> Self {
        let mut keys: BTreeMap<String, BTreeMap<String, Rows>> = BTreeMap::new();
        for (row, entry) in entries.iter().enumerate() {
            for (key, value) in &entry.metadata {
                keys.entry(key.clone()).or_default().entry(value.clone()).or_default().insert(row);
            }
        }
        Self(keys)
    }

    fn rows(&self, key: &str, value: &str) -> Rows {
        self.0.get(key).and_then(|values| values.get(value)).copied().unwrap_or_default()
    }
}

/// Whether the metadata of an entry has all pairs of the filter.
pub(crate) fn matches(entry: &Candidate, filter: &Metadata) -> bool {
    filter.iter().all(|(key, value)| entry.metadata.get(key) == Some(value))
}
