//! The state of a gateway in a few numbers, for people who watch it.

use crate::gateway::Gateway;
use crate::metrics::RequestResult;
use tiny_dancer::ModelType;
use tiny_dancer::parts::core::budget::BudgetState;

/// What a gateway has done since its start, and what it does now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// The requests to a model whose answer was delivered.
    pub answered: u64,
    /// Those that a model failed.
    pub failed: u64,
    /// Those that the gateway refused.
    pub refused: u64,
    /// Those that are being answered.
    pub open: u64,
    /// The routed requests.
    pub routed: u64,
    /// Those of them that the lightweight model served.
    pub lightweight: u64,
    /// Why they were served by their model, and how often, the most frequent first.
    pub reasons: Vec<(&'static str, u64)>,
    /// The cost so far, with shadows and judges.
    pub cost: f64,
    /// What it would be without the lightweight model; `None` without prices of the powerful one.
    pub baseline: Option<f64>,
    /// The upper bounds of the times from calls to their first byte in seconds, and how many calls took at most so long.
    pub first_byte: Vec<(f64, u64)>,
    /// The quality budget, if there is one.
    pub budget: Option<BudgetState>,
    /// The names of the models that are not called now.
    pub open_circuits: Vec<String>,
}

impl Gateway {
    /// The state at this moment.
    pub fn status(&self) -> Status {
        let serving = self.serving.load();
        let metrics = &serving.context.metrics;
        let mut reasons = metrics.reasons();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let upstreams = ModelType::ALL.map(|model| serving.upstream(model));
        let open = upstreams.iter().filter(|upstream| upstream.circuit.wait().is_some());
        Status {
            answered: metrics.requests(RequestResult::Answered),
            failed: metrics.requests(RequestResult::Failed),
            refused: metrics.requests(RequestResult::Refused),
            open: metrics.in_flight.get() as u64,
            routed: reasons.iter().map(|(_, count)| count).sum(),
            lightweight: metrics.served_by(ModelType::Lightweight),
            reasons,
            cost: metrics.total_cost(),
            baseline: serving.config.powerful.prices.map(|_| metrics.total_baseline_cost()),
            first_byte: metrics.first_bytes(),
            budget: self.decider.router.core().budget(),
            open_circuits: open.map(|upstream| upstream.config.model.clone()).collect(),
        }
    }
}
