//! The confidences and uncertainties of all candidates of a request, recorded in one go.

use crate::catalogue::{CONFIDENCE_SCORES, UNCERTAINTY_ESTIMATES};
use crate::distribution::Distribution;
use crate::shard::Writer;
use tiny_dancer_core::{ModelType, RoutingDecision};

static CONFIDENCE: Distribution = Distribution::of(&CONFIDENCE_SCORES);
static UNCERTAINTY: Distribution = Distribution::of(&UNCERTAINTY_ESTIMATES);

/// Observes each candidate's confidence and uncertainty.
pub(crate) fn record(writer: &Writer, decisions: &[RoutingDecision]) {
    let mut confidence = Sums::default();
    let mut uncertainty = Sums::default();
    for decision in decisions {
        let series =
            if decision.use_lightweight { ModelType::Lightweight } else { ModelType::Powerful } as usize;
        CONFIDENCE.count(writer, series, decision.confidence);
        UNCERTAINTY.count(writer, series, decision.uncertainty);
        confidence.add(decision.use_lightweight, decision.confidence);
        uncertainty.add(decision.use_lightweight, decision.uncertainty);
    }
    confidence.flush(writer, &CONFIDENCE);
    uncertainty.flush(writer, &UNCERTAINTY);
}

/// The sums of both series, kept in registers until all candidates are through.
#[derive(Default)]
struct Sums {
    lightweight: f64,
    powerful: f64,
}

impl Sums {
    /// Adds zero to one of them: two additions are cheaper than a branch that nobody can predict.
    #[inline]
    fn add(&mut self, use_lightweight: bool, probability: f32) {
        let bits = f64::from(probability).to_bits();
        let mask = u64::from(use_lightweight).wrapping_neg();
        self.lightweight += f64::from_bits(bits & mask);
        self.powerful += f64::from_bits(bits & !mask);
    }

    #[inline]
    fn flush(self, writer: &Writer, distribution: &Distribution) {
        distribution.add_to_sum(writer, ModelType::Lightweight as usize, self.lightweight);
        distribution.add_to_sum(writer, ModelType::Powerful as usize, self.powerful);
    }
}
