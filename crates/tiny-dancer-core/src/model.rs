//! A model: the cell, the worth of its confidences, and the file that holds both.
//!
//! A file is safetensors with one metadata key, `tiny_dancer`, of sorted JSON: the format version, the feature schema
//! by name and order, the hidden size, and facts about the training. It holds no date and no thread count, so the
//! same training gives the same bytes. Its [`version`](Model::version) is a hash of its content.
//!
//! Loading checks everything before anything is used. A missing file is an error, never random weights.

use crate::conformal::CalibrationTable;
use crate::fastgrnn::{FastGrnn, FastGrnnWeights};
use crate::guarantee::RiskStep;
use std::collections::BTreeMap;
use std::path::Path;

mod file;

pub use file::LoadError;
pub(crate) use file::version as digest;

/// Facts about a training, such as `rows` or `seed`: text by name.
pub type TrainingFacts = BTreeMap<String, String>;

/// A checked model, ready to route with.
#[derive(Clone, Debug)]
pub struct Model {
    weights: FastGrnnWeights,
    alone: CalibrationTable,
    together: CalibrationTable,
    risk_path: Vec<RiskStep>,
    training: TrainingFacts,
    version: String,
    cell: FastGrnn,
}

impl Model {
    /// The model in this package: trained on real routing data, see the repository's `docs/model.md`.
    ///
    /// # Panics
    /// Never in a released package: a test loads it.
    pub fn embedded() -> Self {
        Self::from_bytes(include_bytes!("../model/default.safetensors"))
            .unwrap_or_else(|error| panic!("the embedded model: {error}"))
    }

    /// Puts a model together from its parts, checked as a file's are.
    pub fn new(
        weights: FastGrnnWeights,
        alone: CalibrationTable,
        together: CalibrationTable,
        training: TrainingFacts,
    ) -> Result<Self, LoadError> {
        let parts = file::Parts { weights, alone, together, risk_path: vec![], training };
        Self::from_bytes(&parts.to_bytes())
    }

    /// The same model with another path of thresholds to promise a risk by.
    pub fn with_risk_path(&self, risk_path: Vec<RiskStep>) -> Result<Self, LoadError> {
        Self::from_bytes(&file::Parts { risk_path, ..self.parts() }.to_bytes())
    }

    /// Reads a model file.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        let path = path.as_ref();
        let bytes =
            std::fs::read(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
        Self::from_bytes(&bytes)
    }

    /// Reads a model from a file's content.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LoadError> {
        let file::Parts { weights, alone, together, risk_path, training } = file::Parts::from_bytes(bytes)?;
        let (cell, version) = (FastGrnn::new(&weights), file::version(bytes));
        Ok(Self { weights, alone, together, risk_path, training, version, cell })
    }

    /// The content of this model's file: the same model gives the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.parts().to_bytes()
    }

    fn parts(&self) -> file::Parts {
        file::Parts {
            weights: self.weights.clone(),
            alone: self.alone.clone(),
            together: self.together.clone(),
            risk_path: self.risk_path.clone(),
            training: self.training.clone(),
        }
    }

    /// Twelve hexadecimal digits of the SHA-256 of the file's content.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Units in the cell's state.
    pub fn hidden_size(&self) -> usize {
        self.weights.bias_gate.len()
    }

    /// Facts about the training, as the file states them.
    pub fn training(&self) -> &TrainingFacts {
        &self.training
    }

    /// The cell's parameters.
    pub fn weights(&self) -> &FastGrnnWeights {
        &self.weights
    }

    /// What a candidate's own confidence is worth; its bins count one candidate.
    pub fn alone(&self) -> &CalibrationTable {
        &self.alone
    }

    /// What a request's confidence is worth.
    pub fn together(&self) -> &CalibrationTable {
        &self.together
    }

    /// The path of thresholds to promise a risk by; empty where nothing was certified.
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
