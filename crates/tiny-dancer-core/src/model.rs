//! A model: the cell, the calibration of its confidences, and the file that holds both.
//!
//! A file is safetensors with one metadata key, `tiny_dancer`, whose value is sorted JSON: the format version, the names
//! of the features in order, the coding of ties, the hidden size, facts about the training, and a digest of all these and
//! of the tensors. It holds no date and no thread count, so the same training gives the same bytes. Its
//! [`version`](Model::version) is a hash of its content.
//!
//! Loading checks the whole file before any of it is used. A missing file is an error, and so is a changed bit, which the
//! digest detects.

use crate::conformal::CalibrationTable;
use crate::fastgrnn::{FastGrnn, FastGrnnWeights};
use crate::promise::RiskStep;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

mod file;

pub use crate::features::Ties;
pub use file::LoadError;
pub(crate) use file::version as digest;

/// Facts about a training, such as `rows` or `seed`: text by name.
pub type TrainingFacts = BTreeMap<String, String>;

/// The training fact that is the id of the embedder for whose vectors the model was made.
pub const EMBEDDER: &str = "embedder";

/// The largest file that is read. The weights of the largest hidden size take less than 20 kB; the rest is for tables.
const MAX_BYTES: u64 = 16 << 20;

/// A checked model, ready to route with.
#[derive(Clone, Debug)]
pub struct Model {
    weights: FastGrnnWeights,
    ties: Ties,
    per_candidate: CalibrationTable,
    joint: CalibrationTable,
    risk_path: Vec<RiskStep>,
    training: TrainingFacts,
    version: String,
    cell: FastGrnn,
}

impl Model {
    /// The model in this package, trained on real routing data with vectors of all-MiniLM-L6-v2: see the repository's
    /// `docs/model.md`.
    ///
    /// # Panics
    /// If the model is damaged. A test loads it, so a released package never panics here.
    pub fn embedded() -> Self {
        Self::of_package(include_bytes!("../model/default.safetensors"))
    }

    /// The model in this package that was made for the vectors of this embedder.
    ///
    /// # Errors
    /// If none was: [`LoadError::Embedder`].
    pub fn embedded_for(embedder: &str) -> Result<Self, LoadError> {
        let made_for = |model: &Self| model.embedder() == Some(embedder);
        Self::all_embedded().find(made_for).ok_or_else(|| LoadError::Embedder {
            expected: embedder.to_owned(),
            actual: Self::all_embedded().filter_map(|model| model.embedder().map(str::to_owned)).collect(),
        })
    }

    /// The models in this package: that for vectors of all-MiniLM-L6-v2, and that for those of `StaticEmbedder` in
    /// `tiny-dancer-embed`.
    fn all_embedded() -> impl Iterator<Item = Self> {
        let of_static_vectors = || Self::of_package(include_bytes!("../model/static.safetensors"));
        std::iter::once_with(Self::embedded).chain(std::iter::once_with(of_static_vectors))
    }

    fn of_package(bytes: &[u8]) -> Self {
        Self::from_bytes(bytes).unwrap_or_else(|error| panic!("an embedded model: {error}"))
    }

    /// The same model, if it was made for the vectors of this embedder.
    ///
    /// # Errors
    /// If it was made for another, or does not say for which: [`LoadError::Embedder`].
    pub fn made_for(self, embedder: &str) -> Result<Self, LoadError> {
        if self.embedder() == Some(embedder) {
            return Ok(self);
        }
        let actual = self.embedder().map(str::to_owned).into_iter().collect();
        Err(LoadError::Embedder { expected: embedder.to_owned(), actual })
    }

    /// Makes a model of its parts, with the checks of a file. The two tables calibrate the two passes.
    ///
    /// # Errors
    /// As [`from_bytes`](Self::from_bytes) of a file with these parts.
    pub fn new(
        weights: FastGrnnWeights,
        ties: Ties,
        per_candidate: CalibrationTable,
        joint: CalibrationTable,
        training: TrainingFacts,
    ) -> Result<Self, LoadError> {
        let parts = file::Parts { weights, ties, per_candidate, joint, risk_path: vec![], training };
        Self::from_bytes(&parts.to_bytes())
    }

    /// The same model with another risk path: the thresholds from which a promise is resolved.
    ///
    /// # Errors
    /// If the path is too long, or a number in it is out of range.
    pub fn with_risk_path(&self, risk_path: Vec<RiskStep>) -> Result<Self, LoadError> {
        Self::from_bytes(&file::Parts { risk_path, ..self.parts() }.to_bytes())
    }

    /// Reads a model file: a regular file of at most 16 MiB.
    ///
    /// # Errors
    /// If it cannot be read, is not a regular file, is larger, or is not a complete model.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        let path = path.as_ref();
        let unreadable = |source| LoadError::Read { path: path.to_owned(), source };
        // Checked before it is opened, since opening a FIFO waits for its writer.
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(LoadError::NotAFile { path: path.to_owned() });
        }
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(LoadError::TooLarge { path: path.to_owned(), max: MAX_BYTES });
        }
        Self::from_bytes(&bytes)
    }

    /// Reads a model from a file's content.
    ///
    /// # Errors
    /// If a part is missing, out of range, unknown or changed; [`LoadError`] lists the cases.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LoadError> {
        let file::Parts { weights, ties, per_candidate, joint, risk_path, training } =
            file::Parts::from_bytes(bytes)?;
        let (cell, version) = (FastGrnn::new(&weights), file::version(bytes));
        Ok(Self { weights, ties, per_candidate, joint, risk_path, training, version, cell })
    }

    /// The content of this model's file: the same model gives the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.parts().to_bytes()
    }

    fn parts(&self) -> file::Parts {
        file::Parts {
            weights: self.weights.clone(),
            ties: self.ties,
            per_candidate: self.per_candidate.clone(),
            joint: self.joint.clone(),
            risk_path: self.risk_path.clone(),
            training: self.training.clone(),
        }
    }

    /// Twelve hexadecimal digits of the SHA-256 of the file's content.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The number of units in the cell's state.
    pub fn hidden_size(&self) -> usize {
        self.weights.bias_gate.len()
    }

    /// How the model counts ties.
    pub fn ties(&self) -> Ties {
        self.ties
    }

    /// Facts about the training, as the file states them.
    pub fn training(&self) -> &TrainingFacts {
        &self.training
    }

    /// The id of the embedder whose vectors it was calibrated for, if its file says so: the training fact `embedder`.
    pub fn embedder(&self) -> Option<&str> {
        self.training.get(EMBEDDER).map(String::as_str)
    }

    /// The cell's parameters.
    pub fn weights(&self) -> &FastGrnnWeights {
        &self.weights
    }

    /// The calibration of the per-candidate pass. Its number of candidates is always 1.
    pub fn per_candidate(&self) -> &CalibrationTable {
        &self.per_candidate
    }

    /// The calibration of the joint pass.
    pub fn joint(&self) -> &CalibrationTable {
        &self.joint
    }

    /// The risk path, from which a promise is resolved; empty where no thresholds were certified.
    pub fn risk_path(&self) -> &[RiskStep] {
        &self.risk_path
    }

    pub(crate) fn cell(&self) -> &FastGrnn {
        &self.cell
    }
}

impl PartialEq for Model {
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version
    }
}

#[cfg(test)]
mod tests;
