//! The past: logged requests with their embeddings, to remember or to judge by.
//!
//! Two kinds of JSON lines are read. A *row* has `lightweight_correct` and maybe `powerful_correct`, as in
//! [`rows`](crate::rows); a *profile* has `success_rate` and maybe `access_count`. Both may have `metadata` (or a
//! `subject`, which is metadata of that name), `created_at` in Unix seconds, and `split`, which may hold any name.

use crate::lines;
use crate::retrieval::{Neighbour, keep_nearest};
use crate::rows::{Dataset, Part, ReadError, Row, read_embeddings};
use ndarray::{Array1, Array2, Axis};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use tiny_dancer_core::{Candidate, Metadata};

/// Why the past could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PastError {
    /// Nothing is left of the file.
    #[error("{}: no rows", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// A line says nothing of how its request went.
    #[error("{}: line {line} has neither lightweight_correct nor success_rate", path.display())]
    NoOutcome {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// The file or its embeddings cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// How one remembered request, or a profile of many, went.
#[derive(Clone, Copy, Debug, PartialEq)]
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

#[derive(Deserialize)]
struct Line {
    id: String,
    subject: Option<String>,
    split: Option<String>,
    #[serde(default)]
    metadata: Metadata,
    created_at: Option<i64>,
    access_count: Option<u64>,
    lightweight_correct: Option<f64>,
    powerful_correct: Option<f64>,
    success_rate: Option<f64>,
    win_rate: Option<f64>,
}

/// Logged requests and their embeddings.
#[derive(Clone, Debug)]
pub struct Past {
    /// The requests.
    pub items: Vec<Item>,
    /// Their embeddings, scaled to length 1. Shape: `items.len() x d`.
    pub embeddings: Array2<f32>,
}

impl Past {
    /// Reads what was logged, and its embeddings. Where any line names a split, only the lines of the split `keep`
    /// are kept; a file that names none is kept whole.
    pub fn read(rows: &Path, embeddings: &Path, keep: &str) -> Result<Self, PastError> {
        let lines: Vec<Line> = lines::read(rows)?;
        let vectors = read_embeddings(embeddings)?;
        if lines.len() != vectors.nrows() {
            return Err(ReadError::RowCount { rows: lines.len(), embeddings: vectors.nrows() }.into());
        }
        let whole = lines.iter().all(|line| line.split.is_none());
        let (mut items, mut kept) = (vec![], vec![]);
        for (index, line) in lines.into_iter().enumerate() {
            let item = item(rows, index + 1, line)?;
            if whole || item.split.as_deref() == Some(keep) {
                kept.push(index);
                items.push(item);
            }
        }
        if items.is_empty() {
            return Err(PastError::Empty { path: rows.to_owned() });
        }
        Ok(Self { items, embeddings: vectors.select(Axis(0), &kept) })
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
        Self { items: train.iter().map(item).collect(), embeddings: data.gather(&train) }
    }

    /// The `k` nearest of a query of any length, nearest first, ties by place. A copy of the query is one of them: a
    /// request that comes again may remember how it went. `None` where the query has no direction among these.
    pub fn nearest(&self, query: &[f32], k: usize) -> Option<Vec<usize>> {
        if query.len() != self.embeddings.ncols() {
            return None;
        }
        let query = Array1::from(query.to_vec());
        // In f64, where squares of f32 neither overflow nor vanish.
        let norm = query.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
        if !norm.is_finite() || norm == 0.0 {
            return None;
        }
        let similarities = self.embeddings.dot(&query.mapv(|x| (f64::from(x) / norm) as f32));
        let neighbour = |(item, &similarity): (usize, &f32)| Neighbour { item: item as u32, similarity };
        let mut neighbours: Vec<Neighbour> = similarities.iter().enumerate().map(neighbour).collect();
        keep_nearest(&mut neighbours, k);
        Some(neighbours.into_iter().map(|neighbour| neighbour.item as usize).collect())
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

fn item(path: &Path, number: usize, line: Line) -> Result<Item, PastError> {
    let in_range = |field, value: f64| {
        if (0.0..=1.0).contains(&value) {
            Ok(value)
        } else {
            Err(ReadError::Score { path: path.to_owned(), line: number, field, value })
        }
    };
    let went = match (line.lightweight_correct, line.success_rate) {
        (Some(lightweight), _) => Went::Row {
            lightweight: in_range("lightweight_correct", lightweight)?,
            powerful: in_range("powerful_correct", line.powerful_correct.unwrap_or(1.0))?,
        },
        (None, Some(rate)) => {
            let success_rate = in_range("success_rate", rate)?;
            Went::Profile { success_rate, win_rate: in_range("win_rate", line.win_rate.unwrap_or(f64::NAN))? }
        }
        (None, None) => return Err(PastError::NoOutcome { path: path.to_owned(), line: number }),
    };
    let mut metadata = line.metadata;
    if let Some(subject) = line.subject {
        metadata.entry("subject".to_owned()).or_insert(subject);
    }
    Ok(Item {
        id: line.id,
        split: line.split,
        metadata,
        created_at: line.created_at,
        access_count: line.access_count.unwrap_or(1),
        went,
    })
}

#[cfg(test)]
mod tests;
