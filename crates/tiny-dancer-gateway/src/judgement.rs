//! The judgement of one lightweight answer, from the admission of its request until the quality budget has its result.
//!
//! ```text
//! admitted --+-- another model serves it, or the call fails before its first byte: cancelled
//!            `-- the first byte is delivered --+-- the coin said no: nothing follows
//!                                              +-- delivered whole: a judge compares, off the client's path
//!                                              `-- broken off, not judged in time, or the program stops: worse
//! ```
//!
//! Nothing on the client's path depends on the coin: the answer is read in the same way with and without a judgement, and whether
//! a judgement was drawn is looked at when the delivery has ended.

use crate::comparison::Comparisons;
use crate::decide::Decider;
use crate::metrics::{ComparisonResult, Metrics};
use std::sync::Arc;
use tiny_dancer::parts::core::budget::Ticket;
use tiny_dancer::parts::core::coin::Draw;

/// The ticket of an admitted request. If it is dropped, the admission is cancelled before the first byte, and worse after it.
#[derive(Debug)]
pub(crate) struct Judgement {
    ticket: Ticket,
    decider: Arc<Decider>,
    comparisons: Arc<Comparisons>,
    metrics: Metrics,
    /// Whether the delivery of the answer has begun.
    has_begun: bool,
    is_open: bool,
}

impl Judgement {
    pub(crate) fn new(
        ticket: Ticket,
        decider: Arc<Decider>,
        comparisons: Arc<Comparisons>,
        metrics: Metrics,
    ) -> Self {
        let is_open = ticket.judge.happened;
        if is_open {
            comparisons.open();
        }
        Self { ticket, decider, comparisons, metrics, has_begun: false, is_open }
    }

    /// Whether a judge is asked, and the probability of that.
    pub(crate) fn draw(&self) -> Draw {
        self.ticket.judge
    }

    pub(crate) fn is_drawn(&self) -> bool {
        self.ticket.judge.happened
    }

    /// The first byte is delivered: from now on the answer is one that the budget counts.
    pub(crate) fn begin(&mut self) {
        self.has_begun = true;
    }

    /// Ends a judgement that was drawn. Each result but `NoWorse` is worse.
    pub(crate) fn settle(mut self, result: ComparisonResult) {
        self.end(result);
    }

    fn end(&mut self, result: ComparisonResult) {
        if !std::mem::replace(&mut self.is_open, false) {
            return;
        }
        let router = self.decider.router.core();
        if self.has_begun {
            let is_made = matches!(result, ComparisonResult::NoWorse | ComparisonResult::Worse);
            if !is_made {
                tracing::warn!(result = result.name(), "a judgement was not made, and counts as worse");
            }
            router.settle(&self.ticket, result != ComparisonResult::NoWorse);
            self.metrics.judgement(result);
        } else {
            router.cancel(&self.ticket);
        }
        self.comparisons.close();
    }
}

impl Drop for Judgement {
    fn drop(&mut self) {
        self.end(ComparisonResult::Stopped);
    }
}
