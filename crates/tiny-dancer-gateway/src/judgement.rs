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

use crate::comparison::PlaceInQueue;
use crate::decide::Decider;
use crate::metrics::{ComparisonResult, Metrics};
use std::sync::Arc;
use tiny_dancer::parts::core::budget::Ticket;
use tiny_dancer_memory::RequestId;

/// The ticket of an admitted request. If it is dropped, the admission is cancelled before the first byte, and worse after it.
#[derive(Debug)]
pub(crate) struct Judgement {
    id: RequestId,
    ticket: Ticket,
    decider: Arc<Decider>,
    place: Option<PlaceInQueue>,
    metrics: Metrics,
    /// Whether the delivery of the answer has begun.
    has_begun: bool,
    is_open: bool,
}

impl Judgement {
    pub(crate) fn new(
        id: RequestId,
        ticket: Ticket,
        decider: Arc<Decider>,
        place: PlaceInQueue,
        metrics: Metrics,
    ) -> Self {
        let is_open = ticket.judge.happened;
        Self {
            id,
            ticket,
            decider,
            place: Some(place).filter(|_| is_open),
            metrics,
            has_begun: false,
            is_open,
        }
    }

    pub(crate) fn is_drawn(&self) -> bool {
        self.ticket.judge.happened
    }

    /// The first byte is delivered: from now on the answer is one that the budget counts.
    pub(crate) fn begin(&mut self) {
        self.has_begun = true;
    }

    /// Gives its place in the queue back. This comes before it is settled, which wakes the thread that grants further ones.
    pub(crate) fn leave_queue(&mut self) {
        self.place = None;
    }

    /// Ends a judgement that was drawn: a verdict was recorded, or else the answer is worse.
    pub(crate) fn settle(mut self, result: ComparisonResult) {
        self.end(result);
    }

    fn end(&mut self, result: ComparisonResult) {
        if !std::mem::replace(&mut self.is_open, false) {
            return;
        }
        self.leave_queue();
        let Decider { router, memory, .. } = &*self.decider;
        if !self.has_begun {
            router.cancel(&self.ticket);
            return;
        }
        if !matches!(result, ComparisonResult::NoWorse | ComparisonResult::Worse) {
            tracing::warn!(result = result.name(), "a judgement was not made, and counts as worse");
            memory.fail(router.core(), self.id);
        }
        self.metrics.judgement(result);
    }
}

impl Drop for Judgement {
    fn drop(&mut self) {
        self.end(ComparisonResult::Stopped);
    }
}
