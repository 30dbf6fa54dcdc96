//! Segments: entries in the order of their insertion, and which of them are live.

use crate::codes::Codes;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use tiny_dancer_core::{Candidate, Metadata};

/// The number of entries at which a segment is sealed. Up to this number the growing segment is compared exactly, which
/// takes about a microsecond; a multiple of the 32 vectors of a block.
pub(crate) const SEGMENT: usize = 64;

/// The most entries of a segment after merges. The codes of so many are 160 kB at 256 dimensions, which the processor reads
/// as one stream.
pub(crate) const LARGEST: usize = 4096;

/// A set of rows among 64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows(u64);

impl Rows {
    fn insert(&mut self, row: usize) {
        self.0 |= 1 << row;
    }

    fn remove(&mut self, row: usize) {
        self.0 &= !(1 << row);
    }

    fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The rows of both blocks of 32; bit `i` stands for row `i` of the block.
    #[inline(always)]
    pub(crate) fn blocks(self) -> [u32; 2] {
        [self.0 as u32, (self.0 >> 32) as u32]
    }

    /// In ascending order.
    fn iter(self) -> impl Iterator<Item = usize> {
        ones(self.0)
    }
}

/// The number of rows of the sets.
pub(crate) fn count(rows: &[Rows]) -> usize {
    rows.iter().map(|rows| rows.len()).sum()
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
    /// The number of its first row. It ascends from segment to segment, and rows keep their numbers in a merge.
    pub(crate) first: u64,
    /// All entries, live or not, each with an embedding of length 1.
    pub(crate) entries: Arc<Vec<Arc<Candidate>>>,
    /// The live rows of each 64.
    pub(crate) live: Vec<Rows>,
    /// Of each 64 rows of a sealed segment.
    postings: Vec<Arc<Postings>>,
    /// Of a sealed segment, unless its embeddings have few or very many dimensions.
    pub(crate) codes: Option<Arc<Codes>>,
}

impl Segment {
    /// An empty segment whose rows have numbers from `first`.
    pub(crate) fn at(first: u64) -> Self {
        Self { first, ..Self::default() }
    }

    /// The number after that of the last row.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    pub(crate) fn push(&mut self, entry: Arc<Candidate>) {
        let row = self.entries.len();
        self.live.resize(row / SEGMENT + 1, Rows::default());
        self.live[row / SEGMENT].insert(row % SEGMENT);
        Arc::make_mut(&mut self.entries).push(entry);
    }

    /// Marks a row as removed.
    pub(crate) fn remove(&mut self, row: u64) {
        let row = (row - self.first) as usize;
        self.live[row / SEGMENT].remove(row % SEGMENT);
    }

    pub(crate) fn entry(&self, row: u64) -> Option<&Arc<Candidate>> {
        self.entries.get((row - self.first) as usize)
    }

    /// A full segment no longer changes, but for its live rows.
    pub(crate) fn seal(&mut self, codes: Option<Codes>) {
        self.postings = vec![Arc::new(Postings::of(&self.entries))];
        self.codes = codes.map(Arc::new);
    }

    /// This segment and the next in one, if both are equally long, their rows have consecutive numbers, and their codes have one
    /// centre. So a row is copied as often as its segment doubles.
    pub(crate) fn merged(&self, next: &Self) -> Option<Self> {
        let n = self.entries.len();
        if n != next.entries.len() || 2 * n > LARGEST || self.end() != next.first {
            return None;
        }
        let codes = match (&self.codes, &next.codes) {
            (Some(codes), Some(next)) => Some(Arc::new(codes.merged(next)?)),
            _ => None,
        };
        let entries = Arc::new([self.entries.as_slice(), &next.entries].concat());
        let live = [self.live.as_slice(), &next.live].concat();
        let postings = [self.postings.as_slice(), &next.postings].concat();
        Some(Self { first: self.first, entries, live, postings, codes })
    }

    /// The live rows whose metadata has all pairs of the filter.
    pub(crate) fn matching(&self, filter: &Metadata) -> Cow<'_, [Rows]> {
        let mut matching = Cow::from(&self.live);
        for (key, value) in filter {
            for (at, rows) in matching.to_mut().iter_mut().enumerate() {
                if let Some(postings) = self.postings.get(at) {
                    rows.0 &= postings.rows(key, value).0;
                } else {
                    let entries = &self.entries[at * SEGMENT..];
                    let other = rows.iter().filter(|&row| entries[row].metadata.get(key) != Some(value));
                    other.for_each(|row| rows.remove(row));
                }
            }
        }
        matching
    }

    /// The entries of some rows.
    pub(crate) fn of(&self, rows: &[Rows]) -> impl Iterator<Item = &Arc<Candidate>> {
        let chunks = self.entries.chunks(SEGMENT).zip(rows);
        chunks.flat_map(|(entries, rows)| rows.iter().map(move |row| &entries[row]))
    }

    /// The live entries.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Arc<Candidate>> {
        self.of(&self.live)
    }
}

/// The rows of each pair of metadata among 64, so that a filtered search reads no metadata of entries.
#[derive(Debug)]
struct Postings(BTreeMap<String, BTreeMap<String, Rows>>);

impl Postings {
    fn of(entries: &[Arc<Candidate>]) -> Self {
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
