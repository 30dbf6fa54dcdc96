//! The past: logged requests with their embeddings, to remember or to judge by.
//!
//! Two kinds of JSON lines are read, see the repository's `docs/rows.md`: a *row* has `lightweight_correct`, a *profile*
//! has `success_rate`.

use crate::fields::{FieldError, Fields};
use crate::lines::{self, Whole};
use crate::rows::{Dataset, KEYS, Named, Part, ReadError, Row, Split, read_embeddings};
use ndarray::{Array2, Axis};
use std::path::{Path, PathBuf};
use tiny_dancer_core::{Candidate, Metadata};

/// Why the past could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PastError {
    /// Nothing is left of the file.
    #[error("{}: none of its {rows} rows is of the split {split}", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
        /// How many rows it has.
        rows: usize,
        /// Which split is wanted.
        split: String,
    },
    /// The file or its embeddings cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// How one remembered request, or a profile of many, went.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Went {
    /// One request, tried with both models: scores from 0 to 1.
    Row {
        /// How well the lightweight model did.
        lightweight: f64,
        /// How well the powerful model did.
        powerful: f64,
    },
    /// Many requests.
    Profile {
        /// How often the lightweight model did no worse, or was good enough, from 0 to 1.
        success_rate: f64,
        /// How often it did better, from 0 to `success_rate`.
        win_rate: f64,
    },
}

impl Went {
    /// 1 where the lightweight model did no worse, else 0; of a profile, how often.
    pub fn sufficed(self) -> f64 {
        match self {
            Self::Row { lightweight, powerful } => f64::from(u8::from(lightweight >= powerful)),
            Self::Profile { success_rate, .. } => success_rate,
        }
    }

    /// 1 where the lightweight model did better, else 0; of a profile, how often.
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
    /// What part of the data it belongs to, as the file says.
    pub split: Option<String>,
    /// Key-value pairs.
    pub metadata: Metadata,
    /// When it was made, in Unix seconds; `None` counts as now.
    pub created_at: Option<i64>,
    /// How many requests stand behind it.
    pub access_count: u64,
    /// How it went.
    pub went: Went,
}

/// Logged requests and their embeddings.
#[derive(Clone, Debug)]
pub struct Past {
    /// The requests.
    pub items: Vec<Item>,
    /// Their embeddings, scaled to length 1. Shape: `items.len() x d`.
    pub embeddings: Array2<f32>,
    /// Keys of the file that are none of the known ones; the first few, sorted.
    pub unread: Vec<String>,
}

impl Past {
    /// Reads the rows of a split, and the profiles that name it or none. Rows without a split have the one that they
    /// would be trained by: see [`rows`](crate::rows).
    ///
    /// # Errors
    /// A file can't be read, something in it is not as `docs/rows.md` has it, a row names a split that is neither this
    /// one nor one of ours, or nothing is left.
    pub fn read(rows: &Path, embeddings: &Path, split: &str) -> Result<Self, PastError> {
        Self::keep(rows, embeddings, split, |item| match (&item.split, item.went) {
            (Some(named), _) => named == split,
            (None, Went::Profile { .. }) => true,
            (None, Went::Row { .. }) => Split::by_lot(&item.id).name() == split,
        })
    }

    /// Reads what a router in use remembers: profiles and rows that name the split `train` or none.
    ///
    /// # Errors
    /// As [`Past::read`].
    pub fn remember(rows: &Path, embeddings: &Path) -> Result<Self, PastError> {
        let train = Split::Train.name();
        Self::keep(rows, embeddings, train, |item| item.split.as_ref().is_none_or(|split| split == train))
    }

    fn keep(
        rows: &Path,
        embeddings: &Path,
        split: &str,
        keeps: impl Fn(&Item) -> bool,
    ) -> Result<Self, PastError> {
        let (mut items, mut kept, mut count) = (vec![], vec![], 0);
        let Whole { unread, .. } = lines::read(rows, &KEYS, |fields| {
            let item = item(fields, split)?;
            if keeps(&item) {
                kept.push(count);
                items.push(item);
            }
            count += 1;
            Ok(())
        })?;
        let vectors = read_embeddings(embeddings)?;
        if count != vectors.nrows() {
            return Err(ReadError::RowCount { rows: count, embeddings: vectors.nrows() }.into());
        }
        if items.is_empty() {
            return Err(PastError::Empty { path: rows.to_owned(), rows: count, split: split.to_owned() });
        }
        Ok(Self { items, embeddings: vectors.select(Axis(0), &kept), unread })
    }

    /// The rows of the split `train` of a dataset, which the other rows remember.
    pub fn remembered(data: &Dataset) -> Self {
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
                went: Went::Row { lightweight: *lightweight, powerful: *powerful },
            }
        };
        Self { items: train.iter().map(item).collect(), embeddings: data.gather(&train), unread: vec![] }
    }

    /// The candidates that they make, in their order.
    pub fn candidates(&self) -> Vec<Candidate> {
        let candidate = |(item, embedding): (&Item, ndarray::ArrayView1<'_, f32>)| Candidate {
            id: item.id.clone(),
            embedding: embedding.to_vec(),
            metadata: item.metadata.clone(),
            // The future counts as now.
            created_at: item.created_at.unwrap_or(i64::MAX),
            access_count: item.access_count,
            success_rate: item.went.sufficed() as f32,
            win_rate: item.went.won() as f32,
        };
        self.items.iter().zip(self.embeddings.outer_iter()).map(candidate).collect()
    }
}

/// What `win_rate` must hold. Without it, a `success_rate` is of an older coding.
const WIN_RATE: &str = "a number from 0 to success_rate; 0 where it is unknown";

/// One line. A split must be one of ours, or the one that is wanted.
fn item(mut fields: Fields, wanted: &str) -> Result<Item, FieldError> {
    let Named { id, split, metadata } = Named::take(&mut fields)?;
    if let Some(unknown) = split.as_ref().filter(|name| *name != wanted && name.parse::<Split>().is_err()) {
        return Err(Split::unknown(unknown.clone()));
    }
    let (created_at, access_count) = (fields.integer("created_at")?, fields.count("access_count")?);
    let powerful = fields.score("powerful_correct")?.unwrap_or(1.0);
    let win_rate = fields.score("win_rate")?;
    let went = match (fields.score("lightweight_correct")?, fields.score("success_rate")?) {
        (Some(lightweight), _) => Went::Row { lightweight, powerful },
        (None, Some(success_rate)) => {
            let win_rate = win_rate.ok_or(FieldError::Missing { field: "win_rate", expected: WIN_RATE })?;
            if win_rate > success_rate {
                return Err(FieldError::Unexpected {
                    field: "win_rate".to_owned(),
                    actual: win_rate.to_string(),
                    expected: "at most success_rate",
                });
            }
            Went::Profile { success_rate, win_rate }
        }
        (None, None) => return Err(FieldError::NoOutcome),
    };
    Ok(Item { id, split, metadata, created_at, access_count: access_count.unwrap_or(1), went })
}

#[cfg(test)]
mod tests;
