//! What an exporter reports on its batches besides their results.

use crate::fields::{self, TARGET};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An exporter's reports on its batches besides their results. One line is logged when failures begin, and
/// one when they end.
#[derive(Clone, Debug, Default)]
pub(crate) struct BatchReports(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Whether the failures are logged.
    is_logged: bool,
    /// Spans of the current batch that were refused although others of it arrived, and why.
    refused: u64,
    why: String,
}

impl BatchReports {
    /// Counts spans of the current batch that were refused although others arrive.
    pub(crate) fn refuse(&self, spans: u64, why: String) {
        let mut state = self.state();
        state.refused += spans;
        if !why.is_empty() {
            state.why = why;
        }
    }

    /// How many were refused since the last call, and why.
    pub(crate) fn take_refused(&self) -> (u64, String) {
        let mut state = self.state();
        (std::mem::take(&mut state.refused), std::mem::take(&mut state.why))
    }

    /// Logs a failed attempt or batch, unless the failures are already logged.
    pub(crate) fn log_failure(&self, error: &str) {
        if !std::mem::replace(&mut self.state().is_logged, true) {
            tracing::warn!(target: TARGET, { { fields::ERROR_MESSAGE } = error }, "spans can't be exported");
        }
    }

    /// Records that a whole batch arrived, and returns whether to log it.
    pub(crate) fn end_failures(&self) -> bool {
        std::mem::take(&mut self.state().is_logged)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
