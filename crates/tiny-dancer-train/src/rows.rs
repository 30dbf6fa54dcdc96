//! Rows: requests whose outcome with both models is known, and the use of each.
//!
//! Rows are JSON lines, see the repository's `docs/bring-your-own-logs.md`. Their [vectors](crate::vectors) are made
//! from their prompts, or are in a file.

use crate::fields::{FieldError, Fields, unexpected};
use crate::lines::{self, Whole, first_bits};
use crate::vectors::{Gathering, Vectors};
use ndarray::{Array2, Axis};
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use tiny_dancer_core::{Metadata, names};

pub use crate::error::ReadError;

/// The use of a row. Rows that are used for fitting or calibration never certify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Part {
    /// Nine tenths of `train`: the weights are fitted to them.
    Fit,
    /// A tenth of `train`, by id hash: their loss decides when fitting stops.
    EarlyStopping,
    /// Half of `cal`, by id hash: confidence calibration and conformal tables.
    Calibration,
    /// The other half of `cal`: they only certify promises.
    Certification,
    /// `test`: only for reports.
    Test,
}

names!(Part, "part", {
    Fit => "fit",
    EarlyStopping => "early stopping",
    Calibration => "calibration",
    Certification => "certification",
    Test => "test",
});

impl Part {
    /// Whether the row is of the split `train`, which is the memory of the other rows.
    pub const fn is_train(self) -> bool {
        matches!(self, Self::Fit | Self::EarlyStopping)
    }
}

/// The split of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Split {
    Cal,
    Test,
    Train,
}

names!(Split, "split", {
    Cal => "cal",
    Test => "test",
    Train => "train",
});

impl Split {
    pub(crate) const EXPECTED: &'static str = "train, cal or test";

    /// The split of a row that names none: 70% `train`, 15% `cal` and 15% `test`, by the hash of its id.
    pub(crate) fn by_hash(id: &str) -> Self {
        match id_hash(id) % 100 {
            0..70 => Self::Train,
            70..85 => Self::Cal,
            _ => Self::Test,
        }
    }

    /// The error of a row that names an unknown split.
    pub(crate) fn unknown(name: String) -> FieldError {
        unexpected("split".to_owned(), &name.into(), Self::EXPECTED)
    }
}

/// One request whose outcome is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its unique name.
    pub id: String,
    /// Its subject, if known.
    pub subject: Option<String>,
    /// Its use.
    pub part: Part,
    /// The lightweight model's score, 0 to 1.
    pub lightweight: f64,
    /// The powerful model's score, 0 to 1.
    pub powerful: f64,
}

impl Row {
    /// Whether the lightweight model did no worse. This is the row's label.
    pub fn suffices(&self) -> bool {
        self.lightweight >= self.powerful
    }

    /// 1 if the lightweight model did better, 0 if it did worse, one half for a tie.
    pub fn win_rate(&self) -> f64 {
        match self.lightweight.total_cmp(&self.powerful) {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Less => 0.0,
        }
    }
}

/// The keys of a row or a profile.
pub(crate) const KEYS: &[&str] = &[
    "access_count",
    "created_at",
    "id",
    "lightweight_correct",
    "metadata",
    "powerful_correct",
    "prompt",
    "split",
    "subject",
    "success_rate",
    "win_rate",
];

/// The keys that rows and profiles have in common.
pub(crate) struct Named {
    pub(crate) id: String,
    pub(crate) split: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) prompt: Option<String>,
}

impl Named {
    pub(crate) fn take(fields: &mut Fields) -> Result<Self, FieldError> {
        let id = fields.text("id")?.ok_or(FieldError::Missing { field: "id", expected: "text" })?;
        let (split, metadata) = (fields.text("split")?, fields.metadata()?.unwrap_or_default());
        Ok(Self { id, split, metadata, prompt: fields.prompt()? })
    }
}

/// Rows and their embeddings.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The rows.
    pub rows: Vec<Row>,
    /// Their embeddings, scaled to length 1. Shape: `n x d`.
    pub embeddings: Array2<f32>,
    /// The id of the embedder that made them, if it is known.
    pub embedder: Option<String>,
    /// The number of rows without a split, which got one by the hash of their id.
    pub split_by_hash: usize,
    /// The number of rows without an outcome of the powerful model, which counts as correct.
    pub without_powerful: usize,
    /// The first few unknown keys of the rows' file, sorted.
    pub unread: Vec<String>,
    /// The files' names and the beginnings of their hashes.
    pub provenance: String,
}

impl Dataset {
    /// Reads rows and their vectors. The path of a file of embeddings is one kind of [`Vectors`].
    ///
    /// # Errors
    /// A file can't be read, its content is not as in `docs/bring-your-own-logs.md`, or a prompt can't be embedded.
    pub fn read<'a>(path: &Path, vectors: impl Into<Vectors<'a>>) -> Result<Self, ReadError> {
        let (mut rows, mut lines) = (vec![], HashMap::new());
        let (mut split_by_hash, mut without_powerful) = (0, 0);
        let mut gathering = Gathering::new(vectors.into());
        let Whole { digest, unread } = lines::read(path, KEYS, |mut fields| {
            let Named { id, split, mut metadata, prompt } = Named::take(&mut fields)?;
            let split = match split {
                Some(name) => Some(name.parse().map_err(|_| Split::unknown(name))?),
                None => None,
            };
            let lightweight = fields.required_score("lightweight_correct")?;
            let powerful = fields.score("powerful_correct")?;
            // Only memories use these two keys, but wrong values are errors here, too.
            fields.integer("created_at")?;
            fields.count("access_count")?;
            if let Some(first) = lines.insert(id.clone(), rows.len() + 1) {
                return Err(FieldError::DuplicateId { id, first });
            }
            gathering.row(&id, prompt, true)?;
            split_by_hash += usize::from(split.is_none());
            without_powerful += usize::from(powerful.is_none());
            let (part, subject) = (part(&id, split), metadata.remove("subject"));
            rows.push(Row { id, subject, part, lightweight, powerful: powerful.unwrap_or(1.0) });
            Ok(())
        })?;
        let gathered = gathering.finish()?;
        let mut provenance = fingerprint(path, &digest);
        if let Some((file, digest)) = gathered.file {
            provenance = format!("{provenance}, {}", fingerprint(file, &digest));
        }
        let (embeddings, embedder) = (gathered.embeddings, gathered.embedder);
        Ok(Self { rows, embeddings, embedder, split_by_hash, without_powerful, unread, provenance })
    }

    /// The rows of the parts that `of` accepts, ascending.
    pub fn select(&self, of: impl Fn(Part) -> bool) -> Vec<usize> {
        (0..self.rows.len()).filter(|&row| of(self.rows[row].part)).collect()
    }

    /// The embeddings of some rows. Shape: `rows.len() x d`.
    pub fn gather(&self, rows: &[usize]) -> Array2<f32> {
        self.embeddings.select(Axis(0), rows)
    }

    /// All subjects, sorted.
    pub(crate) fn subjects(&self) -> BTreeSet<&str> {
        self.rows.iter().filter_map(|row| row.subject.as_deref()).collect()
    }
}

/// A file's name, without its folder, and the first twelve hexadecimal digits of its SHA-256.
fn fingerprint(path: &Path, digest: &str) -> String {
    format!("{} sha256:{digest}", path.file_name().unwrap_or_default().display())
}

/// The first 64 bits of the id's SHA-256. They are the same on every machine and in every language, and decide a
/// row's split and part.
pub(crate) fn id_hash(id: &str) -> u64 {
    first_bits(&Sha256::digest(id))
}

/// The part of a row. A missing split is the hash modulo 100, and the part within a split depends on the hash divided
/// by 100, so that the two are independent.
fn part(id: &str, split: Option<Split>) -> Part {
    let within_split = id_hash(id) / 100;
    match split.unwrap_or_else(|| Split::by_hash(id)) {
        Split::Train if within_split.is_multiple_of(10) => Part::EarlyStopping,
        Split::Train => Part::Fit,
        Split::Cal if within_split.is_multiple_of(2) => Part::Calibration,
        Split::Cal => Part::Certification,
        Split::Test => Part::Test,
    }
}

#[cfg(test)]
mod tests;
