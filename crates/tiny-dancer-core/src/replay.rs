//! Replay: a decision computed once more, from what a trace kept of it.
//!
//! The joint pass reads the features of at most [`JOINT_CANDIDATES`] candidates, and
//! everything after it follows from them: with the same model and the same kernel, to the last bit. So a trace that
//! keeps these rows (an event of the decision names them) can prove what was decided, without an embedding or a name in it.
//!
//! ```
//! use tiny_dancer_core::{Kernel, Model, Thresholds, replay::Recorded};
//!
//! let recorded = Recorded {
//!     rows: vec![[0.7, 1.0, 0.1, 1.0, 0.0], [0.8, 1.0, 0.1, 1.0, 0.0]],
//!     thresholds: Thresholds { confidence_threshold: 0.85, max_uncertainty: 0.15 },
//! };
//! let (once, again) = (
//!     recorded.replay(&Model::embedded(), Kernel::detect())?,
//!     recorded.replay(&Model::embedded(), Kernel::detect())?,
//! );
//! assert_eq!(once, again);
//! # Ok::<(), tiny_dancer_core::replay::ReplayError>(())
//! ```

use crate::fastgrnn::{JOINT_CANDIDATES, State};
use crate::features::{Feature, Features};
use crate::kernel::Kernel;
use crate::model::Model;
use crate::{Reason, Thresholds};

/// What was read of a request, and the thresholds that decided.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// The features of the candidates that were read together, farthest first, in the order of [`Feature::ALL`].
    pub rows: Vec<[f32; Feature::COUNT]>,
    /// What lightweight needed.
    pub thresholds: Thresholds,
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Replayed {
    /// The probability that the lightweight model suffices.
    pub confidence: f32,
    /// The conformal uncertainty of that.
    pub uncertainty: f32,
    /// Which test decides, and with it where the request goes.
    pub reason: Reason,
}

/// Why nothing can be replayed: no router recorded this.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// More rows than are ever read together.
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
        /// What it holds.
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
    /// Decides again.
    ///
    /// # Errors
    /// If no router can have recorded the rows, or if the model's output is not finite.
    pub fn replay(&self, model: &Model, kernel: Kernel) -> Result<Replayed, ReplayError> {
        let Some(nearest) = self.rows.last() else {
            return Ok(Replayed { confidence: 0.0, uncertainty: 1.0, reason: Reason::NoEvidence });
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
        let uncertainty = model.together().uncertainty(confidence, top_similarity, self.rows.len());
        let reason = self.thresholds.reason(confidence, uncertainty);
        Ok(Replayed { confidence, uncertainty, reason })
    }

    /// Whether a router may have read these rows.
    fn check(&self) -> Result<(), ReplayError> {
        // A recency is a power of two, which may round up.
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
