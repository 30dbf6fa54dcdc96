//! Curves: the exact costs and gains of routing by a ranking.
//!
//! Rows go to the lightweight model in the order of their confidences. Rows of equal confidence form a group, whose
//! rows count as in random order: the curve is their average, a straight line.
//!
//! Rows have weights, which a bootstrap draws: a weight of 2 is a row that was drawn twice.

/// The scores of both models on one request, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// The lightweight model's score.
    pub lightweight: f64,
    /// The powerful model's score.
    pub powerful: f64,
}

impl Outcome {
    /// Whether the lightweight model did no worse.
    pub fn sufficed(self) -> bool {
        self.lightweight >= self.powerful
    }
}

/// Rows in groups of equal confidence, the highest first.
#[derive(Clone, Debug)]
pub struct Ranking {
    groups: Vec<Vec<usize>>,
}

impl Ranking {
    /// Ranks rows by their confidences.
    pub fn new(confidences: &[f64]) -> Self {
        let mut rows: Vec<usize> = (0..confidences.len()).collect();
        rows.sort_by(|&a, &b| confidences[b].total_cmp(&confidences[a]));
        Self { groups: rows.chunk_by(|&a, &b| confidences[a] == confidences[b]).map(<[_]>::to_vec).collect() }
    }

    /// The curve of these rows. Shapes: `n` outcomes, `n` weights.
    pub fn curve(&self, outcomes: &[Outcome], weights: &[f64]) -> Curve {
        let sum = |score: fn(&Outcome) -> f64| {
            outcomes.iter().zip(weights).map(|(outcome, weight)| score(outcome) * weight).sum::<f64>()
        };
        // Sums are divided last, so that whole numbers stay exact.
        let all = weights.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        let (mut sent, mut score) = (0.0, sum(|outcome| outcome.powerful));
        let mut points = vec![(0.0, score / all)];
        for group in &self.groups {
            let before = sent;
            for &row in group {
                sent += weights[row];
                score += weights[row] * (outcomes[row].lightweight - outcomes[row].powerful);
            }
            if sent > before {
                points.push((sent / all, score / all));
            }
        }
        Curve { points, lightweight: sum(|outcome| outcome.lightweight) / all }
    }

    /// The probability that a row where the lightweight model suffices ranks above one where it does not. A tie
    /// counts one half. `None` if there is no such pair.
    pub fn auroc(&self, outcomes: &[Outcome], weights: &[f64]) -> Option<f64> {
        let (mut above, mut bad_pairs, mut good_pairs) = (0.0, 0.0, 0.0);
        for group in &self.groups {
            let (mut good, mut bad) = (0.0, 0.0);
            for &row in group {
                *if outcomes[row].sufficed() { &mut good } else { &mut bad } += weights[row];
            }
            bad_pairs += bad;
            above += bad * (good_pairs + good / 2.0);
            good_pairs += good;
        }
        let pairs = good_pairs * bad_pairs;
        (pairs > 0.0).then(|| above / pairs)
    }
}

/// The mean score against the share of requests that go to the lightweight model, as a line through points.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Share of lightweight calls, ascending from 0, and mean score. The last share is 1, up to rounding.
    pub points: Vec<(f64, f64)>,
    /// The mean score of the lightweight model alone.
    pub lightweight: f64,
}

impl Curve {
    /// The mean score of the powerful model alone.
    pub fn powerful(&self) -> f64 {
        self.points[0].1
    }

    /// The average performance gap recovered: the area under
    /// `(score - lightweight's) / (powerful's - lightweight's)` against the share of powerful calls (Ong et al.,
    /// "`RouteLLM`", 2024). A random ranking has 0.5. `None` if the powerful model is no better.
    pub fn apgr(&self) -> Option<f64> {
        let gap = self.gap();
        (gap > 0.0).then(|| self.recovered() / gap)
    }

    /// How much better the mean score of the powerful model is.
    pub fn gap(&self) -> f64 {
        self.powerful() - self.lightweight
    }

    /// How much of the gap is recovered, on average over all shares of calls: the APGR times the gap. Over several sets of
    /// rows, the sum of it divided by the sum of the gaps is their mean APGR, in which a set without a gap has no weight.
    pub fn recovered(&self) -> f64 {
        let area: f64 = self
            .points
            .windows(2)
            .map(|ends| (ends[1].0 - ends[0].0) * f64::midpoint(ends[0].1, ends[1].1))
            .sum();
        area - self.lightweight
    }

    /// The smallest share of powerful calls that recovers the share `gap` of the performance gap. 0.5 gives CPT(50).
    pub fn call_performance(&self, gap: f64) -> f64 {
        1.0 - self.lightweight_share(self.lightweight + gap * (self.powerful() - self.lightweight))
    }

    /// The largest share of lightweight calls with a mean score of at least `score`; 0 if no share has one.
    pub fn lightweight_share(&self, score: f64) -> f64 {
        // A score that is missed by rounding only counts as reached.
        let score = score - 1e-12;
        for ends in self.points.windows(2).rev() {
            let [(from, before), (to, after)] = [ends[0], ends[1]];
            if after >= score {
                return to.min(1.0);
            }
            if before >= score {
                return from + (to - from) * (before - score) / (before - after);
            }
        }
        0.0
    }
}

/// The number of bins of equal width in which reliability is measured.
pub const RELIABILITY_BINS: usize = 15;

/// Rows whose confidences lie in one bin.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ReliabilityBin {
    /// Their total weight.
    pub rows: f64,
    /// Their mean confidence.
    pub confidence: f64,
    /// The share of them where the lightweight model sufficed.
    pub sufficed: f64,
}

/// Confidences against outcomes, in [`RELIABILITY_BINS`] bins. An empty bin holds zeros.
pub fn reliability(
    confidences: &[f64],
    outcomes: &[Outcome],
    weights: &[f64],
) -> [ReliabilityBin; RELIABILITY_BINS] {
    let mut bins = [ReliabilityBin::default(); RELIABILITY_BINS];
    for ((confidence, outcome), weight) in confidences.iter().zip(outcomes).zip(weights) {
        let bin = &mut bins[((confidence * RELIABILITY_BINS as f64) as usize).min(RELIABILITY_BINS - 1)];
        bin.rows += weight;
        bin.confidence += weight * confidence;
        bin.sufficed += if outcome.sufficed() { *weight } else { 0.0 };
    }
    for bin in &mut bins {
        if bin.rows > 0.0 {
            bin.confidence /= bin.rows;
            bin.sufficed /= bin.rows;
        }
    }
    bins
}

/// The expected calibration error (Guo et al., "On Calibration of Modern Neural Networks", 2017); 0 without rows.
pub fn ece(bins: &[ReliabilityBin]) -> f64 {
    let rows: f64 = bins.iter().map(|bin| bin.rows).sum();
    bins.iter().map(|bin| bin.rows * (bin.confidence - bin.sufficed).abs()).sum::<f64>()
        / rows.max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests;
