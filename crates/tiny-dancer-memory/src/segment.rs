//! Segments: up to 512 entries, and which of them are live.

use crate::codes::Codes;
use std::sync::Arc;
use tiny_dancer_core::{Candidate, Metadata};

/// The number of entries at which a segment is sealed. Up to this number the growing segment is compared exactly, which
/// takes a few microseconds; a multiple of the 32 vectors of a block.
pub(crate) const SEGMENT: usize = 512;

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
    pub(crate) codes: Option<Arc<Codes>>,
}

impl Segment {
    /// The live rows whose metadata has all pairs of the filter.
    pub(crate) fn matching(&self, filter: &Metadata) -> Rows {
        let mut rows = self.live;
        if !filter.is_empty() {
            for row in self.live.iter() {
                if !matches(&self.entries[row], filter) {
                    rows.remove(row);
                }
            }
        }
        rows
    }

    /// The live entries.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Arc<Candidate>> {
        self.live.iter().map(|row| &self.entries[row])
    }
}

/// Whether the metadata of an entry has all pairs of the filter.
pub(crate) fn matches(entry: &Candidate, filter: &Metadata) -> bool {
    filter.iter().all(|(key, value)| entry.metadata.get(key) == Some(value))
}
