//! A sketch of the rows that a model was made of: what its file knows of them.
//!
//! Of the hashes of their ids the smallest [`SIZE`] are kept (bottom-k; Broder, "On the resemblance and containment of
//! documents", 1997). Where there are no more, each row is known. Else every row whose hash is at most the
//! largest one kept can be compared, and no other: a fixed sample of the rows, whichever these are. So a sketch has one size
//! however many rows there were, and never takes a row for another, as a Bloom filter does; but among many rows a few
//! that trained may lie outside the sample.

use crate::rows::lot;
use std::collections::BTreeSet;
use std::fmt::Write;
use tiny_dancer_core::Model;

/// Hashes that are kept. Of ten thousand rows a tenth can be compared then, in twelve kilobytes of a file.
pub const SIZE: usize = 1024;
/// The fact's name in a model file.
pub(crate) const FACT: &str = "made_of";
/// Hexadecimal digits of a hash: at a million judged rows, one is taken for another with a probability of 4e-6.
const DIGITS: usize = 12;

/// The fact: how many rows there were, and the smallest hashes, ascending.
pub(crate) fn of<'a>(ids: impl IntoIterator<Item = &'a str>) -> String {
    let hashes: BTreeSet<u64> = ids.into_iter().map(hash).collect();
    let mut fact = format!("{} ", hashes.len());
    for hash in hashes.into_iter().take(SIZE) {
        // Writing to a string never fails.
        let _ = write!(fact, "{hash:012x}");
    }
    fact
}

/// How many rows of some a model was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overlap {
    /// Rows.
    pub rows: usize,
    /// ... of which so many can be compared.
    pub compared: usize,
    /// ... of which the model was fitted to, stopped by, or calibrated with so many.
    pub shared: usize,
}

impl Overlap {
    /// Compares rows with those that a model was made of; `None` where its file says nothing of them.
    pub fn new<'a>(model: &Model, ids: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let (count, hashes) = model.training().get(FACT)?.split_once(' ')?;
        let count: usize = count.parse().ok()?;
        let (hashes, []) = hashes.as_bytes().as_chunks::<DIGITS>() else { return None };
        let parse = |hash| u64::from_str_radix(std::str::from_utf8(hash).ok()?, 16).ok();
        let hashes: BTreeSet<u64> = hashes.iter().map(|hash| parse(hash)).collect::<Option<_>>()?;
        let last = if count <= hashes.len() { u64::MAX } else { *hashes.last()? };
        let mut overlap = Self { rows: 0, compared: 0, shared: 0 };
        for hash in ids.into_iter().map(hash) {
            overlap.rows += 1;
            overlap.compared += usize::from(hash <= last);
            overlap.shared += usize::from(hashes.contains(&hash));
        }
        Some(overlap)
    }
}

fn hash(id: &str) -> u64 {
    lot(id) >> (64 - 4 * DIGITS)
}

#[cfg(test)]
mod tests;
