//! Replay: a decision computed again from the values that a trace recorded.
//!
//! The joint pass reads the features of at most [`JOINT_CANDIDATES`] candidates. The decision follows from these rows:
//! the same model and the same kernel give the same bits. So a trace that records the rows
//! ([`Decided::joint`](crate::observer::Decided::joint)) can prove the decision, without any embedding or name. The draw of
//! [`explore`](crate::RouterConfig::explore) follows from a secret, and the refusal of a quality budget from what happened before, so both are parts of the record.
//!
//! ```
//! use tiny_dancer_core::{Kernel, Model, Thresholds, replay::Recorded};
//!
//! let recorded = Recorded {
//!     rows: vec![[0.7, 1.0, 0.1, 1.0, 0.0], [0.8, 1.0, 0.1, 1.0, 0.0]],
//!     thresholds: Thresholds { confidence_threshold: 0.85, max_uncertainty: 0.15 },
//!     explore: None,
//!     budget_spent: false,
//! };
//! let (once, again) = (
//!     recorded.replay(&Model::embedded(), Kernel::detect())?,
//!     recorded.replay(&Model::embedded(), Kernel::detect())?,
//! );
//! assert_eq!(once, again);
//! # Ok::<(), tiny_dancer_core::replay::ReplayError>(())
//! ```

use crate::coin::Draw;
use crate::fastgrnn::{JOINT_CANDIDATES, State};
use crate::features::{Feature, Features};
use crate::kernel::Kernel;
use crate::model::Model;
use crate::{Reason, Thresholds};

/// The input of a decision: the joint pass's rows, the thresholds, and the draw.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// The features of the joint pass's candidates, farthest first, in the order of [`Feature::ALL`].
    pub rows: Vec<[f32; Feature::COUNT]>,
    /// The thresholds of the lightweight model.
    pub thresholds: Thresholds,
    /// The draw of [`explore`](crate::RouterConfig::explore), if there was one.
    pub explore: Option<Draw>,
    /// Whether the quality budget refused the decision. It follows from all requests and verdicts before, so it is a part of
    /// the record.
    pub budget_spent: bool,
}

/// The result of a replay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Replayed {
    /// The probability that the lightweight model suffices.
    pub confidence: f32,
    /// The conformal uncertainty of the confidence.
    pub uncertainty: f32,
    /// The reason of the decision, which also gives the model.
    pub reason: Reason,
}

/// Why a record cannot be replayed: a router does not record such values.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// More rows than the joint pass reads.
    #[error("there are {rows} rows, expected {JOINT_CANDIDATES} at most")]
    TooManyRows {
        /// How many there are.
        rows: usize,
    },
    /// A feature outside -1 to 1, or NaN.
    #[error("row {row}: {} is {value}, expected -1 to 1", feature.name())]
    FeatureRange {
        /// The row's place.
        row: usize,
        /// Which feature.
        feature: Feature,
        /// Its value.
        value: f32,
    },
    /// The model's output is NaN or infinite.
    #[error("the model's logit is {value}")]
    NonFiniteOutput {
        /// The output.
        value: f32,
    },
}

impl Recorded {
    /// Computes the decision again.
    ///
    /// # Errors
    /// If a router cannot have recorded the rows, or if the model's output is not finite.
    pub fn replay(&self, model: &Model, kernel: Kernel) -> Result<Replayed, ReplayError> {
        let Some(nearest) = self.rows.last() else {
            let reason = Reason::NoEvidence.after(self.explore).admitted(!self.budget_spent);
            return Ok(Replayed { confidence: 0.0, uncertainty: 1.0, reason });
        };
        self.check()?;
        let column = |feature: Feature| self.rows.iter().map(|row| row[feature as usize]).collect::<Vec<_>>();
        let columns = Feature::ALL.map(column);
        let features = Features::from_columns(columns.each_ref().map(Vec::as_slice));
        let order: Vec<u32> = (0..self.rows.len() as u32).collect();
        let mut state = State::ZERO;
        model.cell().read(kernel, features, &order, &mut state);
        let confidence = model
            .cell()
            .confidence(kernel, &state)
            .map_err(|value| ReplayError::NonFiniteOutput { value })?;
        let top_similarity = nearest[Feature::Similarity as usize];
        let uncertainty = model.joint().uncertainty(confidence, top_similarity, self.rows.len());
        let reason = self.thresholds.reason(confidence, uncertainty).after(self.explore);
        let reason = reason.admitted(!self.budget_spent);
        Ok(Replayed { confidence, uncertainty, reason })
    }

    /// Checks whether a router can have recorded these rows.
    fn check(&self) -> Result<(), ReplayError> {
        // A recency is computed as a power of two, which may round up.
        const MOST: f32 = 1.0 + 1e-6;
        if self.rows.len() > JOINT_CANDIDATES {
            return Err(ReplayError::TooManyRows { rows: self.rows.len() });
        }
        for (row, features) in self.rows.iter().enumerate() {
            for (feature, &value) in Feature::ALL.into_iter().zip(features) {
                if !(-MOST..=MOST).contains(&value) {
                    return Err(ReplayError::FeatureRange { row, feature, value });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
