//! Rows: requests whose outcome with both models is known, and the part that each may play.
//!
//! Rows are JSON lines (plain, or zstd when the name ends in `.zst`), one object a line:
//!
//! | field | meaning |
//! | --- | --- |
//! | `id` | unique; its hash decides everything that is decided by lot |
//! | `subject` | optional: what the request is about, used as metadata |
//! | `split` | optional: `train`, `cal` or `test`; by id hash, 70:15:15, where it is missing |
//! | `lightweight_correct` | how well the lightweight model did, 0 to 1 |
//! | `powerful_correct` | how well the powerful model did, 0 to 1; where it is missing or null, it counts as correct |
//!
//! Other fields are ignored. The embeddings are a safetensors file with one tensor `embeddings`, f16 or f32, of shape
//! `n x d`, in the order of the lines.

use crate::lines;
use ndarray::{Array2, ArrayRef2, Axis};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensorError, SafeTensors};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

/// The embeddings' one tensor.
pub(crate) const TENSOR: &str = "embeddings";

/// Why rows or embeddings could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Not a whole safetensors file.
    #[error("{}: not a whole safetensors file", path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What safetensors says.
        source: SafeTensorError,
    },
    /// Two rows have one id.
    #[error("{}: line {line}: id {id} was there before", path.display())]
    DuplicateId {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// The id.
        id: String,
    },
    /// The file cannot be opened or read.
    #[error("cannot read {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not the JSON of a row.
    #[error("{}: line {line} is not a row", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// There is no tensor `embeddings`.
    #[error("{}: tensor {TENSOR} is missing", path.display())]
    MissingTensor {
        /// Which file.
        path: PathBuf,
    },
    /// An embedding has no direction: an element is NaN or infinite, or all are zero.
    #[error("{}: embedding {row} has norm {norm}", path.display())]
    Norm {
        /// Which file.
        path: PathBuf,
        /// Which embedding, from 0.
        row: usize,
        /// Its norm.
        norm: f32,
    },
    /// Rows and embeddings are not equally many.
    #[error("{rows} rows, but {embeddings} embeddings")]
    RowCount {
        /// Lines in the one file.
        rows: usize,
        /// Embeddings in the other.
        embeddings: usize,
    },
    /// A score outside 0 to 1.
    #[error("{}: line {line}: {field} is {value}, expected 0 to 1", path.display())]
    Score {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// Which score.
        field: &'static str,
        /// What it holds.
        value: f64,
    },
    /// The tensor has another element type or shape.
    #[error("{}: tensor {TENSOR} is {dtype:?} of shape {shape:?}, expected F16 or F32 of shape n x d", path.display())]
    Shape {
        /// Which file.
        path: PathBuf,
        /// Its element type.
        dtype: Dtype,
        /// Its shape.
        shape: Vec<usize>,
    },
}

/// What a row is for. Rows that fitted or calibrated anything never certify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// Nine tenths of `train`: the weights are fitted to them.
    Fit,
    /// A tenth of `train`, by id hash: they say when to stop.
    EarlyStopping,
    /// Half of `cal`, by id hash: confidence calibration and conformal tables.
    Calibration,
    /// The other half of `cal`, kept untouched for the guarantee.
    Guarantee,
    /// `test`, which only reports.
    Test,
}

impl Part {
    /// All five.
    pub const ALL: [Self; 5] =
        [Self::Fit, Self::EarlyStopping, Self::Calibration, Self::Guarantee, Self::Test];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fit => "fit",
            Self::EarlyStopping => "early stopping",
            Self::Calibration => "calibration",
            Self::Guarantee => "guarantee",
            Self::Test => "test",
        }
    }

    /// Whether the row is of the split `train`: remembered, when the other rows are routed.
    pub const fn is_train(self) -> bool {
        matches!(self, Self::Fit | Self::EarlyStopping)
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Split {
    Cal,
    Test,
    Train,
}

/// One request whose outcome is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Unique.
    pub id: String,
    /// What it is about, if that is known.
    pub subject: Option<String>,
    /// What the row is for.
    pub part: Part,
    /// How well the lightweight model did, 0 to 1.
    pub lightweight: f64,
    /// How well the powerful model did, 0 to 1.
    pub powerful: f64,
}

impl Row {
    /// The label: the lightweight model did no worse.
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

#[derive(Deserialize)]
struct Line {
    id: String,
    subject: Option<String>,
    split: Option<Split>,
    lightweight_correct: f64,
    powerful_correct: Option<f64>,
}

/// Rows and their embeddings.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The rows.
    pub rows: Vec<Row>,
    /// Their embeddings, scaled to length 1. Shape: `n x d`.
    pub embeddings: Array2<f32>,
    /// How many rows had no split, and got one by the hash of their id.
    pub split_by_hash: usize,
    /// How many rows had no outcome of the powerful model, and count it as correct.
    pub without_powerful: usize,
    /// Where they come from: the files' names and the beginnings of their hashes.
    pub provenance: String,
}

impl Dataset {
    /// Reads rows and their embeddings.
    pub fn read(rows: &Path, embeddings: &Path) -> Result<Self, ReadError> {
        let provenance = format!("{}, {}", fingerprint(rows)?, fingerprint(embeddings)?);
        let (rows, [split_by_hash, without_powerful]) = read_rows(rows)?;
        let embeddings = read_embeddings(embeddings)?;
        if rows.len() != embeddings.nrows() {
            return Err(ReadError::RowCount { rows: rows.len(), embeddings: embeddings.nrows() });
        }
        Ok(Self { rows, embeddings, split_by_hash, without_powerful, provenance })
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
fn fingerprint(path: &Path) -> Result<String, ReadError> {
    let bytes = read(path)?;
    let name = path.file_name().unwrap_or_default().display().to_string();
    let digest = first_bits(&bytes) >> 16;
    Ok(format!("{name} sha256:{digest:012x}"))
}

fn read(path: &Path) -> Result<Vec<u8>, ReadError> {
    std::fs::read(path).map_err(|source| ReadError::Io { path: path.to_owned(), source })
}

/// What is decided by lot: the beginning of the id's SHA-256, the same on every machine and in every language.
pub(crate) fn lot(id: &str) -> u64 {
    first_bits(id.as_bytes())
}

/// The first 64 bits of a SHA-256.
fn first_bits(bytes: &[u8]) -> u64 {
    Sha256::digest(bytes).iter().take(8).fold(0, |lot, &byte| lot << 8 | u64::from(byte))
}

/// `lot mod 100` decides the split where there is none, `lot / 100` the part within a split, so that the two are
/// independent.
fn part(id: &str, split: Option<Split>) -> Part {
    let lot = lot(id);
    let split = split.unwrap_or(match lot % 100 {
        0..70 => Split::Train,
        70..85 => Split::Cal,
        _ => Split::Test,
    });
    let lot = lot / 100;
    match split {
        Split::Train if lot.is_multiple_of(10) => Part::EarlyStopping,
        Split::Train => Part::Fit,
        Split::Cal if lot.is_multiple_of(2) => Part::Calibration,
        Split::Cal => Part::Guarantee,
        Split::Test => Part::Test,
    }
}

/// The rows, how many lacked a split, and how many an outcome of the powerful model.
fn read_rows(path: &Path) -> Result<(Vec<Row>, [usize; 2]), ReadError> {
    let (mut rows, mut ids, mut lacking) = (vec![], HashSet::new(), [0, 0]);
    for (index, line) in lines::read::<Line>(path)?.into_iter().enumerate() {
        let Line { id, subject, split, lightweight_correct, powerful_correct } = line;
        let (path, line) = (path.to_owned(), index + 1);
        let (lightweight, powerful) = (lightweight_correct, powerful_correct.unwrap_or(1.0));
        for (field, value) in [("lightweight_correct", lightweight), ("powerful_correct", powerful)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(ReadError::Score { path, line, field, value });
            }
        }
        if !ids.insert(id.clone()) {
            return Err(ReadError::DuplicateId { path, line, id });
        }
        lacking[0] += usize::from(split.is_none());
        lacking[1] += usize::from(powerful_correct.is_none());
        rows.push(Row { part: part(&id, split), id, subject, lightweight, powerful });
    }
    Ok((rows, lacking))
}

/// Reads the tensor `embeddings`, and scales each row to length 1. Shape: `n x d`.
pub fn read_embeddings(path: &Path) -> Result<Array2<f32>, ReadError> {
    let bytes = read(path)?;
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|source| ReadError::Corrupt { path: path.to_owned(), source })?;
    let tensor = file.tensor(TENSOR).map_err(|_| ReadError::MissingTensor { path: path.to_owned() })?;
    let values: Vec<f32> = match tensor.dtype() {
        Dtype::F16 => {
            tensor.data().as_chunks().0.iter().map(|&b| half::f16::from_le_bytes(b).to_f32()).collect()
        }
        Dtype::F32 => tensor.data().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
        _ => return Err(wrong_shape(path, &tensor)),
    };
    let &[n, d] = tensor.shape() else { return Err(wrong_shape(path, &tensor)) };
    let Ok(mut embeddings) = Array2::from_shape_vec((n, d), values) else {
        return Err(wrong_shape(path, &tensor));
    };
    for (row, mut embedding) in embeddings.outer_iter_mut().enumerate() {
        let norm = embedding.dot(&embedding).sqrt();
        if !norm.is_finite() || norm == 0.0 {
            return Err(ReadError::Norm { path: path.to_owned(), row, norm });
        }
        embedding /= norm;
    }
    Ok(embeddings)
}

fn wrong_shape(path: &Path, tensor: &TensorView<'_>) -> ReadError {
    ReadError::Shape { path: path.to_owned(), dtype: tensor.dtype(), shape: tensor.shape().to_vec() }
}

/// The content of an embeddings file: one tensor `embeddings`, f16. Shape: `n x d`.
///
/// # Panics
/// Never: the view is made from data of its own shape.
pub fn embeddings_to_bytes(embeddings: &ArrayRef2<f32>) -> Vec<u8> {
    let data: Vec<u8> = embeddings.iter().flat_map(|&x| half::f16::from_f32(x).to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F16, embeddings.shape().to_vec(), &data)
        .expect("shape and data agree by construction");
    safetensors::serialize([(TENSOR, view)], None).expect("one valid view")
}

#[cfg(test)]
mod tests;
