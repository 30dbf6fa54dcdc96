//! Another embedder for a stored memory.

use crate::record::Entry;
use crate::store::{Change, Store, StoreError, Vectors};
use std::error::Error;

/// How many entries of a memory got the vectors of another embedder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReEmbedded {
    /// Entries that have new vectors.
    pub entries: usize,
    /// Entries that were dropped because no prompt was stored.
    pub without_prompt: usize,
    /// Entries that were dropped because the embedder refused their prompt.
    pub refused: usize,
}

/// Why a memory keeps its embedder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReEmbedError {
    /// Two prompts have vectors of different dimensions.
    #[error("the embedder makes vectors of {actual} and of {expected} dimensions")]
    Dimension {
        /// The dimension of a later prompt.
        actual: usize,
        /// The dimension of the first prompt.
        expected: usize,
    },
    /// No entry can be embedded again, so all of them would be dropped.
    #[error("none of {entries} entries can be embedded again: {without_prompt} have no prompt")]
    NoEntries {
        /// The number of entries.
        entries: usize,
        /// How many of them have no prompt.
        without_prompt: usize,
        /// Why the last one of the others was refused.
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Gives a store the vectors of another embedder: embeds each entry whose prompt is stored, and drops the others. The decision
/// log stays.
///
/// No memory may be open over the store. After a crash the store has the old vectors or the new ones.
///
/// # Errors
/// If the store fails, or if no entry can be embedded again. Then the store stays as it is.
pub fn re_embed<E: Into<Box<dyn Error + Send + Sync>>>(
    store: &mut impl Store,
    embedder: Option<String>,
    mut embed: impl FnMut(&str) -> Result<Vec<f32>, E>,
) -> Result<ReEmbedded, ReEmbedError> {
    let (mut counts, mut changes, mut refusal) = (ReEmbedded::default(), Vec::new(), None);
    store.reader()?.entries(&mut |entry| match entry.prompt.as_deref().map(&mut embed) {
        None => counts.without_prompt += 1,
        Some(Err(error)) => {
            counts.refused += 1;
            refusal = Some(error.into());
        }
        Some(Ok(embedding)) => {
            counts.entries += 1;
            changes.push(Change::Remember(Box::new(Entry { embedding, ..entry })));
        }
    })?;
    let dimensions = |change: &Change| match change {
        Change::Remember(entry) => entry.embedding.len(),
        _ => 0,
    };
    let ReEmbedded { without_prompt, refused, .. } = counts;
    let Some(expected) = changes.first().map(dimensions) else {
        if without_prompt + refused == 0 {
            return Ok(counts);
        }
        return Err(ReEmbedError::NoEntries {
            entries: without_prompt + refused,
            without_prompt,
            source: refusal,
        });
    };
    if let Some(actual) = changes.iter().map(dimensions).find(|&actual| actual != expected) {
        return Err(ReEmbedError::Dimension { actual, expected });
    }
    // Binding to other vectors drops all entries.
    changes.insert(0, Change::Bind(Vectors { embedder, dimensions: expected }));
    store.commit(&changes)?;
    Ok(counts)
}
