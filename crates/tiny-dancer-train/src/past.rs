//! The past: logged requests with their embeddings, as a memory or as rows to judge by.
//!
//! A file holds two kinds of JSON lines, see the repository's `docs/bring-your-own-logs.md`: a *row* has `lightweight_correct`, a
//! *profile* has `success_rate`.

use crate::fields::{FieldError, Fields};
use crate::lines::{self, Whole};
use crate::rows::{Dataset, KEYS, Named, Part, ReadError, Row, Split};
use crate::vectors::{Gathered, Gathering, Vectors};
use ndarray::Array2;
use std::path::{Path, PathBuf};
use tiny_dancer_core::{Candidate, Metadata};

/// Why reading the past failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PastError {
    /// The file has no row of the split.
    #[error("{}: none of its {rows} rows is of the split {split}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// The number of its rows.
        rows: usize,
        /// The split.
        split: String,
    },
    /// The file or its embeddings cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The outcome of one request, or of the requests of a profile.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum ItemOutcome {
    /// The scores of both models on one request, from 0 to 1.
    Row {
        /// The lightweight model's score.
        lightweight: f64,
        /// The powerful model's score.
        powerful: f64,
    },
    /// Rates over many requests.
    Profile {
        /// How often the lightweight model did no worse, or was good enough, from 0 to 1.
        success_rate: f64,
        /// How often it did better, from 0 to `success_rate`.
        win_rate: f64,
    },
}

impl ItemOutcome {
    /// 1 if the lightweight model did no worse, else 0; for a profile its success rate.
    pub fn sufficed(self) -> f64 {
        match self {
            Self::Row { lightweight, powerful } => f64::from(u8::from(lightweight >= powerful)),
            Self::Profile { success_rate, .. } => success_rate,
        }
    }

    /// 1 if the lightweight model did better, else 0; for a profile its win rate.
    pub fn won(self) -> f64 {
        match self {
            Self::Row { lightweight, powerful } => f64::from(u8::from(lightweight > powerful)),
            Self::Profile { win_rate, .. } => win_rate,
        }
    }
}

/// One logged request, or a profile of many.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Its name.
    pub id: String,
    /// Its split, if the file has one.
    pub split: Option<String>,
    /// Key-value pairs.
    pub metadata: Metadata,
    /// When it was made, in Unix seconds; `None` counts as now.
    pub created_at: Option<i64>,
    /// The number of requests that it represents.
    pub access_count: u64,
    /// Its outcome.
    pub outcome: ItemOutcome,
}

/// Logged requests and their embeddings.
#[derive(Clone, Debug)]
pub struct Past {
    /// The requests.
    pub items: Vec<Item>,
    /// Their embeddings, scaled to length 1. Shape: `items.len() x d`.
    pub embeddings: Array2<f32>,
    /// The id of the embedder that made them, if it is known.
    pub embedder: Option<String>,
    /// The first few unknown keys of the file, sorted.
    pub unread: Vec<String>,
}

impl Past {
    /// Reads the rows of a split, and the profiles with that split or without one. A row without a split gets the
    /// same split as in training, see [`rows`](crate::rows).
    ///
    /// # Errors
    /// A file can't be read, its content is not as in `docs/bring-your-own-logs.md`, a prompt can't be embedded, a row
    /// names a split that is neither this one nor `train`, `cal` or `test`, or the file has no row of the split.
    pub fn read<'a>(rows: &Path, vectors: impl Into<Vectors<'a>>, split: &str) -> Result<Self, PastError> {
        Self::keep(rows, vectors.into(), split, |item| match (&item.split, item.outcome) {
            (Some(named), _) => named == split,
            (None, ItemOutcome::Profile { .. }) => true,
            (None, ItemOutcome::Row { .. }) => Split::by_hash(&item.id).name() == split,
        })
    }

    /// Reads the memory of a router in use: profiles and rows with the split `train` or without one.
    ///
    /// # Errors
    /// Those of [`Past::read`].
    pub fn remember<'a>(rows: &Path, vectors: impl Into<Vectors<'a>>) -> Result<Self, PastError> {
        let train = Split::Train.name();
        Self::keep(rows, vectors.into(), train, |item| item.split.as_ref().is_none_or(|split| split == train))
    }

    fn keep(
        rows: &Path,
        vectors: Vectors<'_>,
        split: &str,
        keeps: impl Fn(&Item) -> bool,
    ) -> Result<Self, PastError> {
        let (mut items, mut count) = (vec![], 0);
        let mut gathering = Gathering::new(vectors);
        let Whole { unread, .. } = lines::read(rows, KEYS, |fields| {
            let (item, prompt) = item(fields, split)?;
            let keep = keeps(&item);
            gathering.row(&item.id, prompt, keep)?;
            if keep {
                items.push(item);
            }
            count += 1;
            Ok(())
        })?;
        let Gathered { embeddings, embedder, .. } = gathering.finish()?;
        if items.is_empty() {
            return Err(PastError::Empty { path: rows.to_owned(), rows: count, split: split.to_owned() });
        }
        Ok(Self { items, embeddings, embedder, unread })
    }

    /// The rows of the split `train` of a dataset, which are the memory of the other rows.
    pub fn memory(data: &Dataset) -> Self {
        let train = data.select(Part::is_train);
        let item = |&row: &usize| {
            let Row { id, subject, lightweight, powerful, .. } = &data.rows[row];
            let subject = subject.iter().map(|subject| ("subject".to_owned(), subject.clone()));
            Item {
                id: id.clone(),
                split: None,
                metadata: subject.collect(),
                created_at: None,
                access_count: 1,
                outcome: ItemOutcome::Row { lightweight: *lightweight, powerful: *powerful },
            }
        };
        let (embeddings, embedder) = (data.gather(&train), data.embedder.clone());
        Self { items: train.iter().map(item).collect(), embeddings, embedder, unread: vec![] }
    }

    /// The items as candidates, in their order.
    pub fn candidates(&self) -> Vec<Candidate> {
        let candidate = |(item, embedding): (&Item, ndarray::ArrayView1<'_, f32>)| Candidate {
            id: item.id.clone(),
            embedding: embedding.to_vec(),
            metadata: item.metadata.clone(),
            // A time in the future counts as now.
            created_at: item.created_at.unwrap_or(i64::MAX),
            access_count: item.access_count,
            success_rate: item.outcome.sufficed() as f32,
            win_rate: item.outcome.won() as f32,
        };
        self.items.iter().zip(self.embeddings.outer_iter()).map(candidate).collect()
    }
}

/// The accepted values of `win_rate`. It is required, since a `success_rate` without it is of an older coding.
const WIN_RATE: &str = "a number from 0 to success_rate; 0 where it is unknown";

/// Reads one line, with its prompt. Its split must be `train`, `cal`, `test` or `selected`.
fn item(mut fields: Fields, selected: &str) -> Result<(Item, Option<String>), FieldError> {
    let Named { id, split, metadata, prompt } = Named::take(&mut fields)?;
    if let Some(unknown) = split.as_ref().filter(|name| *name != selected && name.parse::<Split>().is_err()) {
        return Err(Split::unknown(unknown.clone()));
    }
    let (created_at, access_count) = (fields.integer("created_at")?, fields.count("access_count")?);
    let powerful = fields.score("powerful_correct")?.unwrap_or(1.0);
    let win_rate = fields.score("win_rate")?;
    let outcome = match (fields.score("lightweight_correct")?, fields.score("success_rate")?) {
        (Some(lightweight), _) => ItemOutcome::Row { lightweight, powerful },
        (None, Some(success_rate)) => {
            let win_rate = win_rate.ok_or(FieldError::Missing { field: "win_rate", expected: WIN_RATE })?;
            if win_rate > success_rate {
                return Err(FieldError::Unexpected {
                    field: "win_rate".to_owned(),
                    actual: win_rate.to_string(),
                    expected: "at most success_rate",
                });
            }
            ItemOutcome::Profile { success_rate, win_rate }
        }
        (None, None) => {
            return Err(FieldError::Neither { field: "lightweight_correct", other: "success_rate" });
        }
    };
    let access_count = access_count.unwrap_or(1);
    Ok((Item { id, split, metadata, created_at, access_count, outcome }, prompt))
}

#[cfg(test)]
mod tests;
