//! Calibration: the scale of the fitted cell's confidences and the conformal tables, from half of the `cal` rows.
//!
//! **Confidence.** Every logit `l` becomes `slope l + intercept` (Platt, 1999). The head absorbs both numbers.
//!
//! **Conformal tables**, see `tiny_dancer_core::conformal`. Each calibration row enters each table once.
//!
//! - *Joint pass*: rows are sorted by their top similarity and taken in groups of four. In each group, in random
//!   order, two rows get the 64 nearest candidates, one gets 8 to 63 and one gets 1 to 7. So each bin gets its share
//!   of rows, and the assignment does not depend on outcomes.
//! - *Per-candidate pass*: each row gets one candidate of random rank.
//!
//! The lowest similarity bin begins at the first percentile of the rows' top similarities. A request farther from the
//! memory has an uncertainty of 1, as long as fewer than `MIN_BIN_ROWS` rows lie there.

use crate::cell::{Batch, Parameters, Pass, Step, sigmoid};
use crate::draw::{prefix_of, rank};
use crate::memory::Memory;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use tiny_dancer_core::Feature;
use tiny_dancer_core::conformal::{CalibrationRow, CalibrationTable};
use tiny_dancer_core::fastgrnn::JOINT_CANDIDATES;

/// The intended number of rows in a bin: somewhat more than `MIN_BIN_ROWS`, since shares are not exact.
const BIN_ROWS: usize = 60;
/// The maximum number of similarity bins. Fewer rows give fewer bins.
const SIMILARITY_BINS: usize = 3;
/// The edges of the bins by number of candidates: few, several, and as many as the joint pass reads.
const COUNT_EDGES: &[u32] = &[8, JOINT_CANDIDATES as u32];

/// The logit of each sequence. An empty sequence has minus infinity, since the router's confidence without candidates
/// is 0.
pub(crate) fn logits(parameters: &Parameters, sequences: &[Vec<Step>]) -> Vec<f64> {
    let filled: Vec<&Vec<Step>> = sequences.iter().filter(|sequence| !sequence.is_empty()).collect();
    if filled.is_empty() {
        return vec![f64::NEG_INFINITY; sequences.len()];
    }
    let mut logits = Pass::new(parameters, &Batch::new(&filled)).logits().into_iter();
    let of = |sequence: &Vec<Step>| if sequence.is_empty() { None } else { logits.next() };
    sequences.iter().map(of).map(|logit| logit.unwrap_or(f64::NEG_INFINITY)).collect()
}

/// The slope and intercept that make `sigmoid(slope l + intercept)` a probability for the joint pass over the 64
/// nearest candidates, by Newton's method on the cross-entropy. Rows without candidates are left out.
pub(crate) fn scaling(parameters: &Parameters, memory: &Memory, rows: &[(usize, bool)]) -> (f64, f64) {
    let requests: Vec<Vec<Step>> = rows.iter().map(|&(row, _)| memory.now(row, JOINT_CANDIDATES)).collect();
    let logits = logits(parameters, &requests);
    let (mut slope, mut intercept) = (1.0, 0.0);
    for _ in 0..20 {
        // The gradient g and the Hessian h of the cross-entropy plus a quadratic penalty of weight 0.5 that pulls
        // towards slope 1 and intercept 0. The penalty makes sure that a minimum exists for any rows.
        let (mut g, mut h) = ([0.5 * (slope - 1.0), 0.5 * intercept], [0.5, 0.0, 0.5]);
        for (&logit, &(_, sufficed)) in logits.iter().zip(rows).filter(|(logit, _)| logit.is_finite()) {
            let p = sigmoid(slope * logit + intercept);
            let (error, weight) = (p - f64::from(u8::from(sufficed)), p * (1.0 - p));
            g = [g[0] + error * logit, g[1] + error];
            h = [h[0] + weight * logit * logit, h[1] + weight * logit, h[2] + weight];
        }
        let determinant = h[0] * h[2] - h[1] * h[1];
        slope -= (h[2] * g[0] - h[1] * g[1]) / determinant;
        intercept -= (h[0] * g[1] - h[1] * g[0]) / determinant;
    }
    (slope, intercept)
}

/// The table of the joint pass.
pub(crate) fn joint(
    parameters: &Parameters,
    memory: &Memory,
    rows: &[(usize, bool)],
    seed: u64,
) -> CalibrationTable {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let top = |row: usize| memory.seen[row].first().map_or(-1.0, |seen| seen.similarity);
    let mut rows = rows.to_vec();
    rows.sort_by(|a, b| top(a.0).total_cmp(&top(b.0)).then(a.0.cmp(&b.0)));
    let mut kinds = [0, 1, 2, 3];
    let mut sequences = vec![];
    for four in rows.chunks(4) {
        kinds.shuffle(&mut rng);
        sequences.extend(
            four.iter().zip(kinds).map(|(&(row, _), kind)| memory.now(row, prefix_of(kind, &mut rng))),
        );
    }
    table(parameters, &rows, sequences, COUNT_EDGES.to_vec(), rows.len() / (4 * BIN_ROWS))
}

/// The table of the per-candidate pass.
pub(crate) fn per_candidate(
    parameters: &Parameters,
    memory: &Memory,
    rows: &[(usize, bool)],
    seed: u64,
) -> CalibrationTable {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 1);
    let sequences = rows.iter().map(|&(row, _)| {
        let all = &memory.seen[row];
        if all.is_empty() { vec![] } else { vec![all[rank(&mut rng, all.len())].now()] }
    });
    let sequences = sequences.collect();
    table(parameters, rows, sequences, vec![], rows.len() / BIN_ROWS)
}

fn table(
    parameters: &Parameters,
    rows: &[(usize, bool)],
    sequences: Vec<Vec<Step>>,
    count_edges: Vec<u32>,
    bins: usize,
) -> CalibrationTable {
    let (rows, sequences): (Vec<bool>, Vec<Vec<Step>>) = rows
        .iter()
        .zip(sequences)
        .filter(|(_, sequence)| !sequence.is_empty())
        .map(|(&(_, sufficed), sequence)| (sufficed, sequence))
        .unzip();
    let top = |sequence: &Vec<Step>| sequence[0][Feature::Similarity as usize] as f32;
    let edges = edges(sequences.iter().map(top).collect(), bins.clamp(1, SIMILARITY_BINS));
    let confidences = logits(parameters, &sequences).into_iter().map(sigmoid);
    let calibration =
        confidences.zip(&sequences).zip(&rows).map(|((confidence, sequence), &sufficed)| CalibrationRow {
            confidence: confidence as f32,
            sufficed,
            top_similarity: top(sequence),
            candidates: sequence.len(),
        });
    CalibrationTable::new(edges, count_edges, calibration)
}

/// The lower edges of `bins` equally filled bins. The lowest begins at the first percentile.
fn edges(mut similarities: Vec<f32>, bins: usize) -> Vec<f32> {
    similarities.sort_by(f32::total_cmp);
    let n = similarities.len();
    let start = |bin: usize| similarities.get(n / 100 + bin * (n - n / 100) / bins).copied();
    let mut edges: Vec<f32> = (0..bins).filter_map(start).collect();
    edges.dedup();
    edges
}

#[cfg(test)]
mod tests;
