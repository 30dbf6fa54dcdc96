//! Scores of a router's confidences: AUROC, APGR and calibration error.

use crate::rows::Row;

/// Rows with their confidences.
pub type Scored<'a> = [(&'a Row, f64)];

/// The probability that a row where the lightweight model suffices has a larger confidence than one where it doesn't.
/// A tie counts one half. `None` if there is no such pair.
pub fn auroc(scored: &Scored<'_>) -> Option<f64> {
    let (mut below, mut wins) = (0.0, 0.0);
    let positive = scored.iter().filter(|(row, _)| row.suffices()).count() as f64;
    let negative = scored.len() as f64 - positive;
    for tied in by_confidence(scored).rev() {
        let good = tied.iter().filter(|(row, _)| row.suffices()).count() as f64;
        let bad = tied.len() as f64 - good;
        wins += good * (below + bad / 2.0);
        below += bad;
    }
    (positive > 0.0 && negative > 0.0).then(|| wins / (positive * negative))
}

/// The average performance gap recovered: the area under PGR against the share of powerful calls, where PGR is
/// `(accuracy of the router - accuracy of lightweight) / (accuracy of powerful - accuracy of lightweight)` (Ong et
/// al., "`RouteLLM`", 2024).
///
/// Rows go to the lightweight model in the order of their confidences, averaged over the orders of tied rows. `None`
/// if the powerful model is no better.
pub fn apgr(scored: &Scored<'_>) -> Option<f64> {
    let n = scored.len() as f64;
    let lightweight: f64 = scored.iter().map(|(row, _)| row.lightweight).sum();
    let powerful: f64 = scored.iter().map(|(row, _)| row.powerful).sum();
    // Scores are summed over rows. The share of powerful calls falls from 1 to 0.
    let (mut correct, mut area) = (powerful, 0.0);
    for tied in by_confidence(scored) {
        let after = correct + tied.iter().map(|(row, _)| row.lightweight - row.powerful).sum::<f64>();
        area += f64::midpoint(correct, after) * tied.len() as f64 / n;
        correct = after;
    }
    (powerful > lightweight).then(|| (area - lightweight) / (powerful - lightweight))
}

/// Expected calibration error: confidence against the share of rows that suffice, in fifteen bins of equal width,
/// weighted by their rows (Guo et al., "On Calibration of Modern Neural Networks", 2017); 0 without rows.
pub fn ece(scored: &Scored<'_>) -> f64 {
    const BINS: usize = 15;
    let mut gaps = [0.0; BINS];
    for (row, confidence) in scored {
        let bin = ((confidence * BINS as f64) as usize).min(BINS - 1);
        gaps[bin] += confidence - f64::from(u8::from(row.suffices()));
    }
    gaps.iter().map(|gap| gap.abs()).sum::<f64>() / scored.len().max(1) as f64
}

/// Groups of rows of equal confidence, the highest first.
fn by_confidence<'a, 'r>(
    scored: &'a Scored<'r>,
) -> impl DoubleEndedIterator<Item = Vec<(&'r Row, f64)>> + use<'a, 'r> {
    let mut sorted = scored.to_vec();
    sorted.sort_by(|a, b| b.1.total_cmp(&a.1));
    #[expect(clippy::float_cmp, reason = "tied confidences are equal")]
    let groups: Vec<_> = sorted.chunk_by(|a, b| a.1 == b.1).map(<[_]>::to_vec).collect();
    groups.into_iter()
}

#[cfg(test)]
mod tests;
