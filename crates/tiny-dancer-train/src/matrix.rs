//! Matrices: requests with the scores of any number of models.
//!
//! A line is a [row](crate::rows), or has `scores` in place of `lightweight_correct` and `powerful_correct`: an object from
//! the names of models to their scores. The two scores of a row are those of models named [`LIGHTWEIGHT`] and [`POWERFUL`].

use crate::fields::{FieldError, Fields};
use crate::lines::{self, Whole};
use crate::rows::{Named, ReadError, Split};
use crate::vectors::{Gathered, Gathering, Vectors};
use ndarray::Array2;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// The name of the model whose score is `lightweight_correct`.
pub const LIGHTWEIGHT: &str = "lightweight";
/// The name of the model whose score is `powerful_correct`.
pub const POWERFUL: &str = "powerful";

/// The keys of a line.
const KEYS: &[&str] = &[
    "access_count",
    "created_at",
    "id",
    "lightweight_correct",
    "metadata",
    "powerful_correct",
    "prompt",
    "scores",
    "split",
    "subject",
];

/// One request and the scores of all models on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// Its unique name.
    pub id: String,
    /// Its subject, if known.
    pub subject: Option<String>,
    /// Scores by the models' names, from 0 to 1.
    pub by_model: BTreeMap<String, f64>,
}

impl Scores {
    /// The mean score of all models.
    pub fn mean(&self) -> f64 {
        self.by_model.values().sum::<f64>() / self.by_model.len().max(1) as f64
    }
}

/// Requests with scores, and their embeddings.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// The requests.
    pub rows: Vec<Scores>,
    /// Their embeddings, scaled to length 1. Shape: `n x d`.
    pub embeddings: Array2<f32>,
    /// The id of the embedder that made them, if it is known.
    pub embedder: Option<String>,
    /// The first few unknown keys of the file, sorted.
    pub unread: Vec<String>,
}

impl Matrix {
    /// Reads the rows of a split, or all rows. A row without a split gets the same split as in training, see
    /// [`rows`](crate::rows).
    ///
    /// # Errors
    /// A file can't be read, its content is not as in `docs/bring-your-own-logs.md`, or a prompt can't be embedded.
    pub fn read<'a>(
        path: &Path,
        vectors: impl Into<Vectors<'a>>,
        split: Option<&str>,
    ) -> Result<Self, ReadError> {
        let (mut rows, mut lines, mut line) = (vec![], HashMap::new(), 0);
        let mut gathering = Gathering::new(vectors.into());
        let Whole { unread, .. } = lines::read(path, KEYS, |mut fields| {
            line += 1;
            let Named { id, split: named, mut metadata, prompt } = Named::take(&mut fields)?;
            let by_model = scores(&mut fields)?;
            if let Some(first) = lines.insert(id.clone(), line) {
                return Err(FieldError::DuplicateId { id, first });
            }
            let named = named.unwrap_or_else(|| Split::by_hash(&id).name().to_owned());
            let keep = split.is_none_or(|split| split == named);
            gathering.row(&id, prompt, keep)?;
            if keep {
                rows.push(Scores { id, subject: metadata.remove("subject"), by_model });
            }
            Ok(())
        })?;
        let Gathered { embeddings, embedder, .. } = gathering.finish()?;
        Ok(Self { rows, embeddings, embedder, unread })
    }
}

fn scores(fields: &mut Fields) -> Result<BTreeMap<String, f64>, FieldError> {
    let (field, other) = ("lightweight_correct", "scores");
    match (fields.score(field)?, fields.scores(other)?) {
        (Some(lightweight), None) => {
            // A missing outcome of the powerful model counts as correct, as in all rows.
            let powerful = fields.score("powerful_correct")?.unwrap_or(1.0);
            Ok([(LIGHTWEIGHT, lightweight), (POWERFUL, powerful)]
                .map(|(name, it)| (name.to_owned(), it))
                .into())
        }
        (None, Some(by_model)) => Ok(by_model),
        (Some(_), Some(_)) => Err(FieldError::Both { field, other }),
        (None, None) => Err(FieldError::Neither { field, other }),
    }
}

#[cfg(test)]
mod tests;
