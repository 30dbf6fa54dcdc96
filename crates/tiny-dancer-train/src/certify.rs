//! Certification: the path of thresholds by which a model can promise a risk.
//!
//! A step of the path sends a request to the lightweight model if its confidence reaches a threshold and its
//! conformal bin holds enough rows. The thresholds are fixed *beforehand*, from the rows that the weights were fitted
//! to. Each is the confidence that a certain share of those rows reaches. The first share is expected to contain at
//! least twenty certifying rows, each further one is larger by a fortieth of all rows, and the last is all rows.
//!
//! Careful steps certify with few rows, so their bound is wide; bold steps have more failures. The path begins at the
//! step with the smallest bound that the fitting rows predict. The certifying rows, the half of `cal` that neither
//! fitted nor calibrated anything, are read only after that. For each step they give the number of rows that it sends
//! to the lightweight model, and the number of these that the lightweight model fails.
//!
//! `tiny_dancer_core::promise` describes how the router uses the path.

use crate::judge::{Judgement, judge};
use crate::past::Past;
use crate::rows::{Dataset, Part};
use crate::vectors::embedder;
use tiny_dancer_core::fastgrnn::JOINT_CANDIDATES;
use tiny_dancer_core::promise::{RiskStep, upper_bound};
use tiny_dancer_core::{RouteError, Router};

/// The minimum number of certifying rows that a step is expected to send to the lightweight model. 19 rows without a
/// failure keep an alpha of 0.15; this is one more.
const FIRST: f64 = 20.0;
/// The expected certifying rows of one step. The other steps are placed relative to it.
const ANCHOR: f64 = 100.0;
/// The share of all rows that each step adds. With smaller steps the walk along the path can fail at more of them;
/// with larger steps more of the budget stays unused.
const SHARE: f64 = 0.025;
/// The uncertainty that each step allows. It is below 1, the uncertainty of a bin with too few rows.
const MAX_UNCERTAINTY: f32 = 0.99;
/// The delta for which the first step is chosen. The path is valid for any delta.
const DELTA: f64 = 0.05;

/// Why certification failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertifyError {
    /// The embeddings of the rows and of the memory have different dimensions.
    #[error("the rows' embeddings have {rows} dimensions, the memory's {memory}")]
    Dimension {
        /// The rows' dimension.
        rows: usize,
        /// The memory's dimension.
        memory: usize,
    },
    /// The embeddings of the rows and of the memory are of different embedders, or only one of the two is known.
    #[error("the rows' embeddings are of {}, the memory's of {}", embedder(rows.as_deref()), embedder(memory.as_deref()))]
    Embedder {
        /// The embedder of the rows, if it is known.
        rows: Option<String>,
        /// The embedder of the memory, if it is known.
        memory: Option<String>,
    },
    /// A part of the rows is empty.
    #[error("no rows for {}", part.name())]
    NoRows {
        /// The part.
        part: Part,
    },
    /// The router refuses a row.
    #[error("the router refuses a row: {source}")]
    Route {
        /// Why.
        #[from]
        source: RouteError,
    },
    /// No fitting row falls into a conformal bin with enough rows, so no threshold can be chosen.
    #[error(
        "no row is in a conformal bin with enough rows: the model was calibrated with too few, other embeddings, or \
         another memory"
    )]
    Unknown,
}

/// The router's judgement of a row, and whether the lightweight model sufficed.
pub type Tried = (Judgement, bool);

/// The path of a router's model for these rows and this memory.
///
/// # Errors
/// No rows for fitting or for certification, embeddings of different dimensions or embedders, no row in a conformal bin with
/// enough rows, or a row that the router refuses.
pub fn certify(router: &Router, data: &Dataset, memory: &Past) -> Result<Vec<RiskStep>, CertifyError> {
    let fitting = tried(router, data, memory, Part::Fit)?;
    let certifying = tried(router, data, memory, Part::Certification)?;
    let thresholds = thresholds(&fitting, certifying.len());
    if thresholds.is_empty() {
        return Err(CertifyError::Unknown);
    }
    Ok(count(&thresholds, &certifying))
}

/// Judges one part of the rows with the router, each with its 64 nearest in a memory.
///
/// # Errors
/// The part is empty, embeddings differ in dimension or embedder, or the router refuses a row.
pub fn tried(router: &Router, data: &Dataset, memory: &Past, part: Part) -> Result<Vec<Tried>, CertifyError> {
    let rows = data.select(|of| of == part);
    if rows.is_empty() {
        return Err(CertifyError::NoRows { part });
    }
    let (rows_d, memory_d) = (data.embeddings.ncols(), memory.embeddings.ncols());
    if rows_d != memory_d {
        return Err(CertifyError::Dimension { rows: rows_d, memory: memory_d });
    }
    if data.embedder != memory.embedder {
        return Err(CertifyError::Embedder { rows: data.embedder.clone(), memory: memory.embedder.clone() });
    }
    let judgements = judge(router, &data.gather(&rows), memory, JOINT_CANDIDATES)?;
    Ok(judgements.into_iter().zip(rows.iter().map(|&row| data.rows[row].suffices())).collect())
}

/// The confidence thresholds in descending order, from the fitting rows and the number of certifying rows.
pub fn thresholds(fitting: &[Tried], certifying: usize) -> Vec<f32> {
    let known = fitting.iter().filter(|(judgement, _)| judgement.uncertainty <= MAX_UNCERTAINTY);
    let mut confidences: Vec<f32> = known.map(|(judgement, _)| judgement.confidence).collect();
    confidences.sort_unstable_by(|a, b| b.total_cmp(a));
    let scale = certifying.max(1) as f64 / fitting.len() as f64;
    // Fitting rows that each step sends to the lightweight model.
    let (anchor, spacing) = (ANCHOR / scale, SHARE * fitting.len() as f64);
    let before = ((ANCHOR - FIRST) / scale / spacing).floor();
    let steps = (0..).map(|step| (anchor + (f64::from(step) - before) * spacing).round() as usize);
    let last = confidences.last();
    let inner = steps.take_while(|&rows| rows < confidences.len()).map(|rows| confidences[rows - 1]);
    let mut thresholds: Vec<f32> = inner.chain(last.copied()).collect();
    thresholds.dedup();

    // The bound that the certifying rows would give if they were distributed like the fitting rows.
    let expected = |step: &RiskStep| {
        let rows = |fitting: u32| (f64::from(fitting) * scale).ceil() as u32;
        upper_bound(rows(step.n), rows(step.failures), DELTA)
    };
    let bounds: Vec<f64> = count(&thresholds, fitting).iter().map(expected).collect();
    let first = (0..bounds.len()).min_by(|&a, &b| bounds[a].total_cmp(&bounds[b])).unwrap_or_default();
    thresholds.split_off(first)
}

/// The path step of each threshold: how many certifying rows it sends to the lightweight model, and how many of these
/// fail.
pub fn count(thresholds: &[f32], certifying: &[Tried]) -> Vec<RiskStep> {
    let step = |&threshold: &f32| {
        let sent = certifying.iter().filter(|(judgement, _)| {
            judgement.confidence >= threshold && judgement.uncertainty <= MAX_UNCERTAINTY
        });
        RiskStep {
            confidence_threshold: threshold,
            max_uncertainty: MAX_UNCERTAINTY,
            n: sent.clone().count() as u32,
            failures: sent.filter(|(_, sufficed)| !sufficed).count() as u32,
        }
    };
    thresholds.iter().map(step).collect()
}

#[cfg(test)]
mod tests;
