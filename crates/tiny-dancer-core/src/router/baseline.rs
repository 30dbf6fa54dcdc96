//! The stages written out without an observer: the baseline for the cost of `Router<()>`.

use super::{Permits, Router, Source, estimate, infer, pace};
use crate::{Reason, RouteError, RoutingRequest, RoutingResponse};

impl Router {
    /// The same as [`route_into`](Self::route_into).
    ///
    /// # Errors
    /// As [`route`](Self::route).
    pub fn route_baseline(
        &self,
        request: RoutingRequest<'_>,
        response: &mut RoutingResponse,
    ) -> Result<(), RouteError> {
        let result = self.decide_baseline(&request, response);
        if result.is_err() {
            response.fall_back(Reason::NoEvidence);
        }
        result
    }

    #[inline(always)]
    fn decide_baseline(
        &self,
        request: &RoutingRequest<'_>,
        response: &mut RoutingResponse,
    ) -> Result<(), RouteError> {
        let serving = self.serving.load();
        let decider = self.decider(&serving);
        let mut permits = Permits { router: self, inference: false, lightweight: false };
        if !self.check_circuits(&mut permits)? {
            response.fall_back(Reason::CircuitOpen);
            self.draw(decider.account, &mut permits, response);
            return Ok(());
        }
        let source = Source::Request(request.candidates);
        let tiebreak = self.engineer(&request.query, source, &serving, &mut response.scratch)?;
        if response.scratch.columns.is_empty() {
            response.fall_back(Reason::NoEvidence);
            self.draw(decider.account, &mut permits, response);
            return Ok(());
        }
        let cell = serving.model.cell();
        let inferred =
            infer(self.kernel, cell, source, tiebreak, &mut response.scratch, |features, joint, _, state| {
                cell.read(self.kernel, features, joint, state);
            });
        permits.return_inference(inferred.is_ok());
        let joint_pass = inferred?;
        let uncertainty = estimate(self.kernel, decider, &joint_pass, source, response);
        let reason = decider.thresholds.reason(joint_pass.confidence, uncertainty);
        response.decide(reason, joint_pass.confidence, uncertainty);
        self.draw(decider.account, &mut permits, response);
        pace(decider.account, &serving, reason, joint_pass.confidence);
        Ok(())
    }
}
