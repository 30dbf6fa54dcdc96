//! An observer that repeats every event, so that its cost is most of the measured time.

use std::array;
use tiny_dancer::parts::core::observer::{
    BatchStart, Decided, Detail, Failed, Observer, RequestEnd, RequestStart, StageEnd, StageStart,
};

/// Notifies an observer of each request `N` times, as of `N` requests side by side.
#[derive(Clone, Debug)]
pub struct Repeated<O, const N: usize>(pub O);

impl<O: Observer, const N: usize> Observer for Repeated<O, N> {
    type Request = [O::Request; N];
    type Stage = Option<[O::Stage; N]>;
    type Batch = O::Batch;

    fn on_batch_start(&self, event: &BatchStart) -> O::Batch {
        self.0.on_batch_start(event)
    }

    fn on_request_start(&self, event: &RequestStart<'_>) -> Self::Request {
        array::from_fn(|_| self.0.on_request_start(event))
    }

    fn on_stage_start(&self, requests: &mut Self::Request, event: &StageStart<'_>) -> Self::Stage {
        Some(array::from_fn(|i| self.0.on_stage_start(&mut requests[i], event)))
    }

    fn detail(&self, requests: &Self::Request) -> Detail {
        requests.iter().map(|request| self.0.detail(request)).max().unwrap_or(Detail::Off)
    }

    fn is_enabled(&self, requests: &Self::Request, event: &StageStart<'_>) -> bool {
        requests.iter().any(|request| self.0.is_enabled(request, event))
    }

    fn on_stage_end(&self, requests: &mut Self::Request, stages: Self::Stage, event: &StageEnd) {
        for (request, stage) in requests.iter_mut().zip(stages.into_iter().flatten()) {
            self.0.on_stage_end(request, stage, event);
        }
    }

    fn on_decision(&self, requests: &mut Self::Request, event: &Decided<'_>) {
        for request in requests {
            self.0.on_decision(request, event);
        }
    }

    fn on_error(&self, requests: &mut Self::Request, event: &Failed<'_>) {
        for request in requests {
            self.0.on_error(request, event);
        }
    }

    fn on_request_end(&self, requests: Self::Request, event: &RequestEnd) {
        for request in requests {
            self.0.on_request_end(request, event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Case, subject};
    use tiny_dancer::parts::metrics::MetricsCollector;
    use tiny_dancer::parts::metrics::prometheus::{Registry, TextEncoder};

    #[test]
    fn one_request_counts_n_times_with_all_of_its_candidates() {
        let registry = Registry::new();
        let collector = MetricsCollector::with_registry(&registry).unwrap();
        let mut observed = subject("repeated", Repeated::<_, 16>(collector)).unwrap();
        observed.route(&Case::new(10, 8), 2);
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let has = |line: &str| assert!(text.contains(line), "{line}\n{text}");
        has("tiny_dancer_routing_requests_total{status=\"success\"} 32\n");
        has("tiny_dancer_requests_in_flight 0\n");
        has("tiny_dancer_candidates_processed_total{batch_size_range=\"1-10\"} 320\n");
    }
}
