//! Trains, calibrates and judges the models that Tiny Dancer routes with.
//!
//! [Rows](rows) are requests whose outcome with both models is known, with [vectors] from their prompts or from a
//! file. Each row [retrieves](retrieval) its nearest past rows and [profiles], which are its candidates. Training
//! draws requests from these candidates, with memories of several kinds, drift and metadata. A FastGRNN cell is
//! [fitted](fit) to them by backpropagation through time. Rows that were not used for fitting calibrate its
//! confidences, and a third set of rows measures how well it routes ([`report`], [`score`]).
//!
//! A finished model is [certified](certify), so that a router can promise a risk with it. It is [evaluated](evaluate)
//! against baselines through the router itself ([`judge`]), with logged requests as memory ([`past`]).
//!
//! The same rows, configuration and machine give the same model file, byte for byte, on any number of threads.
//!
//! A [matrix] has the outcomes of more than two models, for simulations in which traffic or models change.
//!
//! Configurations implement serde's traits without a feature, since the crate depends on serde anyway.

mod calibrate;
mod cell;
pub mod certify;
pub mod coverage;
pub mod curve;
mod draw;
mod error;
pub mod evaluate;
pub mod fields;
pub mod fit;
pub mod judge;
pub mod lines;
mod logistic;
pub mod matrix;
mod memory;
pub mod past;
pub mod plots;
pub mod profiles;
pub mod report;
pub mod retrieval;
pub mod rows;
pub mod score;
pub mod sketch;
pub mod vectors;

use crate::draw::{Memories, NEIGHBOURS};
use crate::fit::{Epoch, Fitted, Problem, Schedule};
use crate::report::{Judged, Report};
use crate::rows::{Dataset, Part, Row};
use serde::{Deserialize, Serialize};
use tiny_dancer_core::model::{EMBEDDER, Ties};
use tiny_dancer_core::{LoadError, Model, names};

/// How an outcome is coded as a success rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Target {
    /// 1 where the lightweight model did no worse, else 0.
    Suffices,
    /// 1 where the lightweight model did better, one half for a tie, 0 where it did worse.
    #[default]
    WinRate,
}

names!(Target, "target", {
    Suffices => "suffices",
    WinRate => "win-rate",
});

impl Target {
    /// How a model of this target counts ties.
    pub const fn ties(self) -> Ties {
        match self {
            Self::Suffices => Ties::Whole,
            Self::WinRate => Ties::Half,
        }
    }

    /// The success rate that one row's outcome is coded as.
    pub fn of(self, row: &Row) -> f64 {
        match self {
            Self::Suffices => f64::from(u8::from(row.suffices())),
            Self::WinRate => row.win_rate(),
        }
    }

    /// The label of one row's outcome: three quarters of its code and a quarter of "suffices". With the target win
    /// rate, a win is 1, a tie 5/8 and a loss 0, so that a win counts more than a tie and a tie more than a half.
    /// With either target, confidences are scaled afterwards to the probability that the lightweight model suffices.
    pub(crate) fn label(self, row: &Row) -> f64 {
        0.75 * self.of(row) + 0.25 * Self::Suffices.of(row)
    }
}

/// The configuration of a training, checked by [`train`]. In a file each field is optional, and other keys are
/// refused.
///
/// ```
/// use tiny_dancer_train::{Target, TrainConfig};
///
/// let config: TrainConfig = serde_json::from_str(r#"{"seed": 7, "target": "suffices"}"#)?;
/// assert_eq!(config, TrainConfig { seed: 7, target: Target::Suffices, ..Default::default() });
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Units in the cell's state, 1 to 64.
    pub hidden_size: usize,
    /// Adam's largest learning rate.
    pub learning_rate: f64,
    /// The maximum number of passes over the rows.
    pub epochs: usize,
    /// The seed of everything random.
    pub seed: u64,
    /// How outcomes are coded as success rates.
    pub target: Target,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self { hidden_size: 16, learning_rate: 0.02, epochs: 120, seed: 2, target: Target::default() }
    }
}

/// Why training failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The fitted parameters make no valid model.
    #[error("the fitted model is refused: {source}")]
    Model {
        /// Why.
        #[from]
        source: LoadError,
    },
    /// No row of a part has a neighbour: the split `train` holds only copies of the part's embeddings.
    #[error("no row for {part} has a neighbour: the split train holds only copies of its embeddings")]
    NoNeighbours {
        /// The part.
        part: Part,
    },
    /// A part of the rows is empty.
    #[error("no rows for {part}")]
    NoRows {
        /// The part.
        part: Part,
    },
    /// A field of the configuration is out of range.
    #[error("{field} is {value}, expected {expected}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// Its value.
        value: f64,
        /// The accepted values.
        expected: &'static str,
    },
}

/// A trained model with its history and its report.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The model, ready to route with.
    pub model: Model,
    /// The losses of each epoch.
    pub epochs: Vec<Epoch>,
    /// How well the model routes the test rows.
    pub report: Report,
}

/// Trains a model, calibrates it and reports on it.
///
/// `watch` is called after each epoch, `stop` before each batch. Once `stop` returns true, the best model so far is
/// calibrated and returned.
///
/// # Errors
/// If a field of `config` is out of range, a part has no rows or no row with a neighbour, or the fitted parameters
/// make no valid model.
pub fn train(
    data: &Dataset,
    config: TrainConfig,
    watch: &mut dyn FnMut(&Epoch),
    stop: &dyn Fn() -> bool,
) -> Result<Trained, TrainError> {
    let TrainConfig { hidden_size, learning_rate, epochs, seed, target } = config;
    let require = |field, value, expected, holds| {
        if holds { Ok(()) } else { Err(TrainError::OutOfRange { field, value, expected }) }
    };
    require("hidden_size", hidden_size as f64, "1 to 64", (1..=64).contains(&hidden_size))?;
    require(
        "learning_rate",
        learning_rate,
        "more than 0, at most 1",
        learning_rate > 0.0 && learning_rate <= 1.0,
    )?;
    require("epochs", epochs as f64, "1 or more", epochs > 0)?;
    for part in [Part::Fit, Part::EarlyStopping, Part::Calibration, Part::Test] {
        if !data.rows.iter().any(|row| row.part == part) {
            return Err(TrainError::NoRows { part });
        }
    }

    let memories = Memories::new(data, target, seed);
    for part in [Part::Fit, Part::EarlyStopping, Part::Calibration] {
        if data.select(|of| of == part).iter().all(|&row| memories.rows.seen[row].is_empty()) {
            return Err(TrainError::NoNeighbours { part });
        }
    }
    let labels = memories.labels(data, target, NEIGHBOURS);
    let problem = Problem {
        memories: &memories,
        labels: &labels,
        fit: data.select(|part| part == Part::Fit),
        early_stopping: data.select(|part| part == Part::EarlyStopping),
    };
    let schedule = Schedule { hidden_size, learning_rate, epochs, seed };
    let Fitted { mut parameters, epochs: passed } = fit::fit(&problem, schedule, watch, stop);

    let of = |accepts: &dyn Fn(Part) -> bool| -> Vec<(usize, bool)> {
        data.select(accepts).into_iter().map(|row| (row, data.rows[row].suffices())).collect()
    };
    let scaling = calibrate::scaling(
        &parameters,
        &memories.rows,
        &of(&|part| part.is_train() || part == Part::Calibration),
    );
    parameters.rescale(scaling.0, scaling.1);
    let calibration = of(&|part| part == Part::Calibration);
    let joint = calibrate::joint(&parameters, &memories.rows, &calibration, seed);
    let per_candidate = calibrate::per_candidate(&parameters, &memories.rows, &calibration, seed);
    let made_of = data.rows.iter().filter(|row| row.part.is_train() || row.part == Part::Calibration);
    let facts = [
        ("data", data.provenance.clone()),
        ("epochs", epochs.to_string()),
        ("learning_rate", learning_rate.to_string()),
        (sketch::FACT, sketch::of(made_of.map(|row| row.id.as_str()))),
        ("rows_calibration", calibration.len().to_string()),
        ("rows_fit", problem.fit.len().to_string()),
        ("seed", seed.to_string()),
        ("target", target.name().to_owned()),
    ];
    let embedder = data.embedder.clone().map(|id| (EMBEDDER, id));
    let facts = facts.into_iter().chain(embedder).map(|(name, value)| (name.to_owned(), value)).collect();
    let model = Model::new(parameters.to_weights(), target.ties(), per_candidate, joint, facts)?;
    let judged = Judged {
        data,
        memories: &memories,
        parameters: &parameters,
        model: &model,
        epochs: &passed,
        scaling,
        seed,
    };
    let report = Report::new(&judged);
    Ok(Trained { model, epochs: passed, report })
}

#[cfg(test)]
mod tests;
