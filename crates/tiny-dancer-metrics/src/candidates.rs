//! The confidences and uncertainties of all candidates of a request, recorded in one go.

use crate::distribution::{Distribution, Distributions};
use crate::shard::Writer;
use tiny_dancer_core::{ModelType, RoutingDecision};

/// Observes each candidate's confidence and uncertainty.
pub(crate) fn record(distributions: &Distributions, writer: &Writer, decisions: &[RoutingDecision]) {
    let Distributions { confidence: confidences, uncertainty: uncertainties, .. } = distributions;
    let mut confidence = Sums::default();
    let mut uncertainty = Sums::default();
    for decision in decisions {
        let series =
            if decision.use_lightweight { ModelType::Lightweight } else { ModelType::Powerful } as usize;
        confidences.count(writer, series, decision.confidence);
        uncertainties.count(writer, series, decision.uncertainty);
        confidence.add(decision.use_lightweight, decision.confidence);
        uncertainty.add(decision.use_lightweight, decision.uncertainty);
    }
    confidence.flush(writer, confidences);
    uncertainty.flush(writer, uncertainties);
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
