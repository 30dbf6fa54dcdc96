//! An observer that sums the time of each stage.

use std::sync::atomic::{AtomicU64, Ordering};
use tiny_dancer::parts::core::observer::{Detail, Observer, RequestEnd, RequestStart, Stage, StageEnd};

/// Nanoseconds of all requests so far, by stage. Clone an `Arc` of it to read it while a router has it.
#[derive(Debug, Default)]
pub struct Stopwatch {
    stages: [AtomicU64; Stage::ALL.len()],
    requests: AtomicU64,
}

impl Stopwatch {
    /// Nanoseconds of one request in each stage. Resets all of them to zero.
    pub fn take(&self) -> [f64; Stage::ALL.len()] {
        let requests = self.requests.swap(0, Ordering::Relaxed).max(1);
        self.stages.each_ref().map(|stage| stage.swap(0, Ordering::Relaxed) as f64 / requests as f64)
    }
}

impl Observer for Stopwatch {
    type Request = ();
    type Stage = ();
    type Batch = ();

    fn on_request_start(&self, _: &RequestStart<'_>) {}

    fn detail(&self, (): &()) -> Detail {
        Detail::Stages
    }

    fn on_stage_end(&self, (): &mut (), (): (), event: &StageEnd) {
        self.stages[event.stage as usize].fetch_add(event.duration.as_nanos() as u64, Ordering::Relaxed);
    }

    fn on_request_end(&self, (): (), _: &RequestEnd) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Case, subject};
    use std::sync::Arc;

    #[test]
    fn every_stage_has_a_time_until_it_is_taken() {
        let stopwatch = Arc::new(Stopwatch::default());
        let mut observed = subject("stopwatch", stopwatch.clone()).unwrap();
        observed.route(&Case::new(100, 384), 10);
        let [.., features, inference, uncertainty] = stopwatch.take();
        assert!(features > 0.0 && inference > 0.0 && uncertainty > 0.0);
        assert_eq!(stopwatch.take(), [0.0; Stage::ALL.len()]);
    }
}
