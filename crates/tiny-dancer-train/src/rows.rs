//! Rows: requests whose outcome with both models is known, and the use of each.
//!
//! Rows are JSON lines, see the repository's `docs/bring-your-own-logs.md`. The embeddings are a safetensors file with one tensor
//! `embeddings`, f16 or f32, of shape `n x d`, in the order of the lines.

use crate::error::TENSOR;
use crate::fields::{FieldError, Fields, unexpected};
use crate::lines::{self, Whole, first_bits};
use ndarray::{Array2, ArrayRef2, Axis};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
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
}

impl Named {
    pub(crate) fn take(fields: &mut Fields) -> Result<Self, FieldError> {
        let id = fields.text("id")?.ok_or(FieldError::Missing { field: "id", expected: "text" })?;
        Ok(Self { id, split: fields.text("split")?, metadata: fields.metadata()?.unwrap_or_default() })
    }
}

/// Rows and their embeddings.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The rows.
    pub rows: Vec<Row>,
    /// Their embeddings, scaled to length 1. Shape: `n x d`.
    pub embeddings: Array2<f32>,
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
    /// Reads rows and their embeddings.
    ///
    /// # Errors
    /// A file can't be read, or its content is not as in `docs/bring-your-own-logs.md`.
    pub fn read(rows: &Path, embeddings: &Path) -> Result<Self, ReadError> {
        let mut data = read_rows(rows)?;
        let (vectors, digest) = hashed_embeddings(embeddings)?;
        if data.rows.len() != vectors.nrows() {
            return Err(ReadError::RowCount { rows: data.rows.len(), embeddings: vectors.nrows() });
        }
        data.embeddings = vectors;
        data.provenance = format!("{}, {}", data.provenance, fingerprint(embeddings, &digest));
        Ok(data)
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

/// The rows, without their embeddings.
fn read_rows(path: &Path) -> Result<Dataset, ReadError> {
    let (mut rows, mut lines) = (vec![], HashMap::new());
    let (mut split_by_hash, mut without_powerful) = (0, 0);
    let Whole { digest, unread } = lines::read(path, KEYS, |mut fields| {
        let Named { id, split, mut metadata } = Named::take(&mut fields)?;
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
        split_by_hash += usize::from(split.is_none());
        without_powerful += usize::from(powerful.is_none());
        let (part, subject) = (part(&id, split), metadata.remove("subject"));
        rows.push(Row { id, subject, part, lightweight, powerful: powerful.unwrap_or(1.0) });
        Ok(())
    })?;
    let provenance = fingerprint(path, &digest);
    let embeddings = Array2::zeros((0, 0));
    Ok(Dataset { rows, embeddings, split_by_hash, without_powerful, unread, provenance })
}

/// Reads the tensor `embeddings`, and scales each row to length 1. Shape: `n x d`.
///
/// # Errors
/// The file can't be read, or has no such tensor.
pub fn read_embeddings(path: &Path) -> Result<Array2<f32>, ReadError> {
    Ok(hashed_embeddings(path)?.0)
}

/// The embeddings, and the first twelve hexadecimal digits of the SHA-256 of their file.
fn hashed_embeddings(path: &Path) -> Result<(Array2<f32>, String), ReadError> {
    let io = |source| ReadError::Io { path: path.to_owned(), source };
    // Reading a device might never end.
    if !std::fs::metadata(path).map_err(io)?.is_file() {
        return Err(ReadError::NotRegular { path: path.to_owned() });
    }
    let bytes = std::fs::read(path).map_err(io)?;
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|source| ReadError::Corrupt { path: path.to_owned(), source: source.into() })?;
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
    let digest = first_bits(&Sha256::digest(&bytes)) >> 16;
    Ok((embeddings, format!("{digest:012x}")))
}

fn wrong_shape(path: &Path, tensor: &TensorView<'_>) -> ReadError {
    ReadError::Shape {
        path: path.to_owned(),
        dtype: format!("{:?}", tensor.dtype()),
        shape: tensor.shape().to_vec(),
    }
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
