//! The confidences and uncertainties of all candidates of a request, recorded in one go.

use crate::catalogue::{CONFIDENCE_SCORES, UNCERTAINTY_ESTIMATES};
use crate::distribution::Distributions;
use crate::shard::{Histograms, LANES, Writer};
use tiny_dancer_core::{ModelType, RoutingDecision};

const CONFIDENCES: Histograms = Histograms::of(&CONFIDENCE_SCORES);
const UNCERTAINTIES: Histograms = Histograms::of(&UNCERTAINTY_ESTIMATES);

/// Observes each candidate's confidence and uncertainty.
///
/// Each goes into the shard's own cells at once: two increments a candidate are fewer than a flush of a hundred counts,
/// which is what both families and both series have.
pub(crate) fn record(distributions: &Distributions, writer: &Writer, decisions: &[RoutingDecision]) {
    let Distributions { confidence, uncertainty, .. } = distributions;
    let mut sums = Sums::default();
    let mut observe = |lane, decision: &RoutingDecision| {
        let model = if decision.use_lightweight { ModelType::Lightweight } else { ModelType::Powerful };
        writer.observe(CONFIDENCES, lane, model as usize, confidence.bucket(decision.confidence));
        writer.observe(UNCERTAINTIES, lane, model as usize, uncertainty.bucket(decision.uncertainty));
        sums.add(decision);
    };
    let (turns, rest) = decisions.as_chunks::<LANES>();
    for decisions in turns {
        for (lane, decision) in decisions.iter().enumerate() {
            observe(lane, decision);
        }
    }
    for decision in rest {
        observe(0, decision);
    }
    sums.flush(writer);
}

/// The sums of both families, by series, kept in registers until all candidates are through.
#[derive(Default)]
struct Sums {
    lightweight: [f64; 2],
    powerful: [f64; 2],
}

impl Sums {
    /// Adds zero to one series: additions are cheaper than a branch that nobody can predict.
    #[inline]
    fn add(&mut self, decision: &RoutingDecision) {
        let mask = u64::from(decision.use_lightweight).wrapping_neg();
        let values = [f64::from(decision.confidence), f64::from(decision.uncertainty)];
        for (family, value) in values.into_iter().enumerate() {
            self.lightweight[family] += f64::from_bits(value.to_bits() & mask);
            self.powerful[family] += f64::from_bits(value.to_bits() & !mask);
        }
    }

    #[inline]
    fn flush(self, writer: &Writer) {
        for (family, histograms) in [CONFIDENCES, UNCERTAINTIES].into_iter().enumerate() {
            writer.add_to_float_sum(histograms, ModelType::Lightweight as usize, self.lightweight[family]);
            writer.add_to_float_sum(histograms, ModelType::Powerful as usize, self.powerful[family]);
        }
    }
}
