//! Coverage: whether conformal prediction sets contain the true label as often as their level says.
//!
//! A label is in the set at level `1 - e` if its p-value exceeds `e`. With `n` calibration rows and `l = floor(e (n +
//! 1))`, the coverage of a bin, given its calibration rows, is `Beta(n + 1 - l, l)` (Vovk, "Conditional validity of
//! inductive conformal predictors", 2012). So the number of covered rows among `m` is beta-binomial. Ties between
//! scores only increase it.

use crate::judge::Judgement;
use tiny_dancer_core::conformal::{CalibrationTable, MIN_BIN_ROWS, nonconformity, p_value};

/// Levels at which coverage is reported.
pub const LEVELS: &[f64] = &[0.80, 0.90];
/// The probability that chance alone brings one of a level's counts below its limit.
const CHANCE: f64 = 0.05;

/// Coverage at one level, overall or of one bin.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Coverage {
    /// The bin of the table; `None` for all bins with enough rows.
    pub bin: Option<usize>,
    /// The level.
    pub level: f64,
    /// The number of calibration rows.
    pub calibration: usize,
    /// The number of judged rows.
    pub rows: usize,
    /// The number of judged rows whose prediction set contains the true label.
    pub covered: usize,
    /// The smallest `covered` that chance explains: fewer have a probability of at most 5%, divided among a level's
    /// bins.
    pub at_least: usize,
}

impl Coverage {
    /// Whether chance explains the number of covered rows.
    pub fn holds(&self) -> bool {
        self.covered >= self.at_least
    }
}

/// Coverage of judged rows: by level, first overall and then of each bin that contains judged rows. Bins with too few
/// calibration rows, whose uncertainty is 1, are left out. The result is empty if no other bin contains judged rows.
pub fn coverage(table: &CalibrationTable, tried: &[(Judgement, bool)]) -> Vec<Coverage> {
    let bin_of = |judgement: &Judgement| table.bin(judgement.top_similarity, judgement.candidates);
    let has_enough_rows = |&bin: &usize| table.scores(bin).len() >= MIN_BIN_ROWS;
    let met: Vec<usize> = (0..table.bins())
        .filter(has_enough_rows)
        .filter(|&bin| tried.iter().any(|(judgement, _)| bin_of(judgement) == bin))
        .collect();
    if met.is_empty() {
        return vec![];
    }
    let mut coverages = vec![];
    for &level in LEVELS {
        let mut all = vec![1.0];
        let mut overall = Coverage { bin: None, level, calibration: 0, rows: 0, covered: 0, at_least: 0 };
        let mut bins = vec![];
        for &bin in &met {
            let scores = table.scores(bin);
            let inside = tried.iter().filter(|(judgement, _)| bin_of(judgement) == bin);
            let covers = |judgement: &Judgement, sufficed| {
                f64::from(p_value(scores, nonconformity(judgement.confidence, sufficed))) > 1.0 - level
            };
            let rows = inside.clone().count();
            let covered = inside.filter(|(judgement, sufficed)| covers(judgement, *sufficed)).count();
            let chances = chances(scores.len(), rows, level);
            all = sum(&all, &chances);
            let at_least = quantile(&chances, CHANCE / met.len() as f64);
            overall.calibration += scores.len();
            overall.rows += rows;
            overall.covered += covered;
            bins.push(Coverage { bin: Some(bin), level, calibration: scores.len(), rows, covered, at_least });
        }
        coverages.push(Coverage { at_least: quantile(&all, CHANCE), ..overall });
        coverages.append(&mut bins);
    }
    coverages
}

/// The probability of each number of covered rows, 0 to `rows`.
fn chances(calibration: usize, rows: usize, level: f64) -> Vec<f64> {
    // `1 - level` is not exact in f64, so 1e-6 is added. The rounding of the table's p-values, which are f32, is
    // larger.
    let left_out = ((1.0 - level) * (calibration + 1) as f64 + 1e-6).floor() as usize;
    if left_out == 0 {
        return [vec![0.0; rows], vec![1.0]].concat();
    }
    let (a, b) = (calibration + 1 - left_out, left_out);
    let mut ln_factorial = vec![0.0];
    for i in 1..=calibration + rows {
        ln_factorial.push(ln_factorial[i - 1] + (i as f64).ln());
    }
    let ln_beta = |a: usize, b: usize| ln_factorial[a - 1] + ln_factorial[b - 1] - ln_factorial[a + b - 1];
    let ln_choose = |k: usize| ln_factorial[rows] - ln_factorial[k] - ln_factorial[rows - k];
    (0..=rows).map(|k| (ln_choose(k) + ln_beta(k + a, rows - k + b) - ln_beta(a, b)).exp()).collect()
}

/// The distribution of the sum of two independent numbers.
fn sum(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut sum = vec![0.0; a.len() + b.len() - 1];
    for (i, p) in a.iter().enumerate() {
        for (j, q) in b.iter().enumerate() {
            sum[i + j] += p * q;
        }
    }
    sum
}

/// The largest number with a probability of at most `chance` below it.
fn quantile(chances: &[f64], chance: f64) -> usize {
    let mut below = 0.0;
    chances
        .iter()
        .take_while(|&&p| {
            below += p;
            below <= chance
        })
        .count()
}

#[cfg(test)]
mod tests;
