//! Certification: the path of thresholds by which a model can promise a risk.
//!
//! A step of the path sends a request to the lightweight model where its confidence reaches a threshold and something
//! is known of requests like it (its conformal bin holds enough rows). The thresholds are fixed *beforehand*, on the
//! rows that the weights were fitted to: the confidences that shares of those rows reach, from a share of which
//! twenty certifying rows can be expected up to all of them, a fortieth of all rows by a fortieth. Careful
//! steps certify with few rows, whose bound is wide, and bold ones with more failures: the path begins at the step
//! whose bound the fitting rows predict to be the smallest. Only then are the certifying rows looked at, the half of
//! `cal` that neither fitted nor calibrated anything: each step counts how many of them it would send to the lightweight
//! model, and how many of these that would fail.
//!
//! `tiny_dancer_core::promise` says what the router makes of it.

use crate::judge::{Judgement, judge};
use crate::past::Past;
use crate::rows::{Dataset, Part};
use tiny_dancer_core::fastgrnn::JOINT_CANDIDATES;
use tiny_dancer_core::promise::{RiskStep, upper_bound};
use tiny_dancer_core::{RouteError, Router};

/// Certifying rows that a step is expected to send to the lightweight model, at least: twenty without a failure are the
/// fewest that keep an alpha of 0.15 and some more.
const FIRST: f64 = 20.0;
/// The expected certifying rows of one step, from which the others are counted.
const ANCHOR: f64 = 100.0;
/// How much of all rows each step adds. Finer steps give the walk more places to stumble, coarser ones leave more of
/// the budget unused.
const SHARE: f64 = 0.025;
/// The uncertainty that each step allows: below 1, which is the answer where too little is known.
const MAX_UNCERTAINTY: f32 = 0.99;
/// The delta for which the first step is chosen; the path serves any.
const DELTA: f64 = 0.05;

/// Why no path could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertifyError {
    /// The rows' embeddings and the remembered ones have different dimensions.
    #[error("the rows' embeddings have {rows} dimensions, the remembered ones {memory}")]
    Dimension {
        /// Of the rows.
        rows: usize,
        /// Of what is remembered.
        memory: usize,
    },
    /// A part of the rows is empty.
    #[error("no rows for {}", part.name())]
    NoRows {
        /// Which part.
        part: Part,
    },
    /// The router refuses a row.
    #[error("the router refuses a row: {source}")]
    Route {
        /// Why.
        #[from]
        source: RouteError,
    },
    /// No fitting row is like any that was calibrated, so no threshold can be chosen.
    #[error(
        "nothing is known of any row: the model was calibrated with too few, other embeddings, or another memory"
    )]
    Unknown,
}

/// What a router said of a row, and whether the lightweight model sufficed.
pub type Tried = (Judgement, bool);

/// The path of a router's model for these rows and this memory.
///
/// # Errors
/// No row fits or certifies, embeddings differ in dimension, nothing is known of any row, or the router refuses one.
pub fn certify(router: &Router, data: &Dataset, memory: &Past) -> Result<Vec<RiskStep>, CertifyError> {
    let fitting = tried(router, data, memory, Part::Fit)?;
    let certifying = tried(router, data, memory, Part::Certification)?;
    let thresholds = thresholds(&fitting, certifying.len());
    if thresholds.is_empty() {
        return Err(CertifyError::Unknown);
    }
    Ok(count(&thresholds, &certifying))
}

/// What the router says of one part of the rows, with the 64 nearest of a memory.
///
/// # Errors
/// The part is empty, embeddings differ in dimension, or the router refuses a row.
pub fn tried(router: &Router, data: &Dataset, memory: &Past, part: Part) -> Result<Vec<Tried>, CertifyError> {
    let rows = data.select(|of| of == part);
    if rows.is_empty() {
        return Err(CertifyError::NoRows { part });
    }
    let (rows_d, memory_d) = (data.embeddings.ncols(), memory.embeddings.ncols());
    if rows_d != memory_d {
        return Err(CertifyError::Dimension { rows: rows_d, memory: memory_d });
    }
    let said = judge(router, &data.gather(&rows), memory, JOINT_CANDIDATES)?;
    Ok(said.into_iter().zip(rows.iter().map(|&row| data.rows[row].suffices())).collect())
}

/// The confidence thresholds in their order, falling, from the fitting rows and how many rows will certify.
pub fn thresholds(fitting: &[Tried], certifying: usize) -> Vec<f32> {
    let known = fitting.iter().filter(|(said, _)| said.uncertainty <= MAX_UNCERTAINTY);
    let mut confidences: Vec<f32> = known.map(|(said, _)| said.confidence).collect();
    confidences.sort_unstable_by(|a, b| b.total_cmp(a));
    let scale = certifying.max(1) as f64 / fitting.len() as f64;
    // Fitting rows that each step sends to the lightweight model.
    let (anchor, apart) = (ANCHOR / scale, SHARE * fitting.len() as f64);
    let before = ((ANCHOR - FIRST) / scale / apart).floor();
    let steps = (0..).map(|step| (anchor + (f64::from(step) - before) * apart).round() as usize);
    let last = confidences.last();
    let inner = steps.take_while(|&rows| rows < confidences.len()).map(|rows| confidences[rows - 1]);
    let mut thresholds: Vec<f32> = inner.chain(last.copied()).collect();
    thresholds.dedup();

    // What the certifying rows would show if they were like the fitting ones.
    let expected = |step: &RiskStep| {
        let rows = |fitting: u32| (f64::from(fitting) * scale).ceil() as u32;
        upper_bound(rows(step.n), rows(step.failures), DELTA)
    };
    let bounds: Vec<f64> = count(&thresholds, fitting).iter().map(expected).collect();
    let first = (0..bounds.len()).min_by(|&a, &b| bounds[a].total_cmp(&bounds[b])).unwrap_or_default();
    thresholds.split_off(first)
}

/// What each threshold does with the certifying rows.
pub fn count(thresholds: &[f32], certifying: &[Tried]) -> Vec<RiskStep> {
    let step = |&threshold: &f32| {
        let sent = certifying
            .iter()
            .filter(|(said, _)| said.confidence >= threshold && said.uncertainty <= MAX_UNCERTAINTY);
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
