//! The stages written out without an observer: what `Router<()>` must cost no more than.

use super::{Evidence, Router, estimate};
use crate::breaker::{Circuit, Permit};
use crate::fastgrnn::State;
use crate::features::{self, Feature};
use crate::order::JointOrder;
use crate::{RoutingRequest, RoutingResponse};

impl Router {
    /// Decides as [`route_into`](Self::route_into) does, while both circuits are closed and the request is a good one; `None`
    /// where it isn't so.
    pub fn route_by_hand(&self, request: RoutingRequest<'_>, response: &mut RoutingResponse) -> Option<()> {
        let serving = self.serving.load();
        for circuit in Circuit::ALL {
            if !matches!(self.breaker(circuit).permit(), (Permit::Free, None)) {
                return None;
            }
        }
        let now = request.now.unwrap_or_else(|| self.config.clock.unix_seconds());
        features::engineer(self.kernel, &request, now, &self.scales, &mut response.columns).ok()?;
        let cell = serving.model.cell();
        let (features, confidences, _) = response.columns.split();
        cell.alone(self.kernel, features, confidences).ok()?;
        let similarity = features.column(Feature::Similarity);
        let order = JointOrder::new(self.kernel, similarity);
        let mut state = State::ZERO;
        cell.read(self.kernel, features, order.candidates(), &mut state);
        let confidence = cell.confidence(self.kernel, &state).ok()?;
        let &nearest = order.candidates().last()?;
        let (top_similarity, candidates) = (similarity[nearest as usize], order.candidates().len());
        let evidence = Evidence { confidence, top_similarity, candidates };
        let uncertainty = estimate(self.kernel, &serving, &evidence, response);
        let reason = serving.reason(confidence, uncertainty);
        response.decide(reason, confidence, uncertainty);
        Some(())
    }
}
