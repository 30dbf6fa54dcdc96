//! A sketch of the rows that a model was made of, stored in its file.
//!
//! It keeps the [`SIZE`] smallest hashes of the rows' ids (bottom-k; Broder, "On the resemblance and containment of
//! documents", 1997). Up to that number, it contains every row. With more rows, it can compare the rows whose hash is
//! at most the largest one kept, which are a fixed sample of all rows. So a sketch has a limited size for any number
//! of rows and, unlike a Bloom filter, practically no false positives. But with many rows, some that were used for
//! training lie outside the sample.

use crate::rows::id_hash;
use std::collections::BTreeSet;
use std::fmt::Write;
use tiny_dancer_core::Model;

/// The maximum number of hashes. With ten thousand rows a tenth can be compared, and the hashes take twelve
/// kilobytes.
pub const SIZE: usize = 1024;
/// The fact's name in a model file.
pub(crate) const FACT: &str = "made_of";
/// Hexadecimal digits of a hash. With a million judged rows, the probability of a false positive is 4e-6.
const DIGITS: usize = 12;

/// The fact: the number of rows, and the smallest hashes, ascending.
pub(crate) fn of<'a>(ids: impl IntoIterator<Item = &'a str>) -> String {
    let hashes: BTreeSet<u64> = ids.into_iter().map(hash).collect();
    let mut fact = format!("{} ", hashes.len());
    for hash in hashes.into_iter().take(SIZE) {
        // Writing to a string never fails.
        let _ = write!(fact, "{hash:012x}");
    }
    fact
}

/// The overlap of some rows with those that a model was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overlap {
    /// The number of rows.
    pub rows: usize,
    /// The number of these that can be compared.
    pub compared: usize,
    /// The number of these that were used for fitting, early stopping or calibration.
    pub shared: usize,
}

impl Overlap {
    /// Compares rows with those that a model was made of; `None` if its file has no sketch.
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
    id_hash(id) >> (64 - 4 * DIGITS)
}

#[cfg(test)]
mod tests;
