//! The trait of all embedders.

use crate::error::{BatchError, EmbedError};
use crate::id::EmbedderId;
use std::sync::Arc;

/// Turns a text into a vector.
///
/// Vectors of one embedder have [`dimensions`](Self::dimensions) finite elements, not all of them zero. Equal texts get equal
/// bits from one embedder on one machine.
pub trait Embedder: Send + Sync {
    /// The hash of all that determines its vectors.
    fn id(&self) -> &EmbedderId;

    /// The number of elements of each vector.
    fn dimensions(&self) -> usize;

    /// Replaces the content of `out` with the text's vector. After an error it is empty.
    ///
    /// # Errors
    ///
    /// [`EmbedError`] says why this text has no vector.
    fn embed_into(&self, text: &str, out: &mut Vec<f32>) -> Result<Reading, EmbedError>;

    /// Replaces the content of `out` with the texts' vectors, one after the other: `n x d` elements. After an error it is
    /// empty.
    ///
    /// # Errors
    ///
    /// [`BatchError`] names the first text that has no vector.
    fn embed_batch(&self, texts: &[&str], out: &mut Vec<f32>) -> Result<Vec<Reading>, BatchError> {
        out.clear();
        out.reserve(texts.len() * self.dimensions());
        let (mut vector, mut readings) = (Vec::new(), Vec::with_capacity(texts.len()));
        for (text, content) in texts.iter().enumerate() {
            match self.embed_into(content, &mut vector) {
                Ok(reading) => readings.push(reading),
                Err(source) => {
                    out.clear();
                    return Err(BatchError { text: Some(text), source });
                }
            }
            out.extend_from_slice(&vector);
        }
        Ok(readings)
    }
}

macro_rules! forward {
    ($($pointer:ty),+) => {
        $(
            impl<E: Embedder + ?Sized> Embedder for $pointer {
                fn id(&self) -> &EmbedderId {
                    (**self).id()
                }

                fn dimensions(&self) -> usize {
                    (**self).dimensions()
                }

                fn embed_into(&self, text: &str, out: &mut Vec<f32>) -> Result<Reading, EmbedError> {
                    (**self).embed_into(text, out)
                }

                fn embed_batch(&self, texts: &[&str], out: &mut Vec<f32>) -> Result<Vec<Reading>, BatchError> {
                    (**self).embed_batch(texts, out)
                }
            }
        )+
    };
}

forward!(&E, Arc<E>, Box<E>);

/// What was read of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reading {
    /// Tokens that were read.
    pub tokens: usize,
    /// Those among them that stand for a word outside the vocabulary. Zero where an embedder doesn't count them.
    pub unknown: usize,
    /// Whether a part of the text was not read.
    pub truncated: bool,
}

impl Reading {
    /// A whole text of this many tokens, none of them unknown.
    pub fn new(tokens: usize) -> Self {
        Self { tokens, ..Self::default() }
    }
}

#[cfg(test)]
mod tests;
