//! What an exporter reports on its batches besides their results.

use crate::fields::{self, TARGET};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What an exporter sends.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Signal {
    LogRecords,
    MetricPoints,
    #[default]
    Spans,
}

impl Signal {
    /// In the plural, for messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::LogRecords => "log records",
            Self::MetricPoints => "metric points",
            Self::Spans => "spans",
        }
    }
}

/// An exporter's reports on its batches besides their results. One line is logged when failures begin, and
/// one when they end.
#[derive(Clone, Debug, Default)]
pub(crate) struct BatchReports {
    signal: Signal,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Whether the failures are logged.
    is_logged: bool,
    /// Those of the current batch that were refused although others of it arrived, and why.
    refused: u64,
    why: String,
}

impl BatchReports {
    pub(crate) fn of(signal: Signal) -> Self {
        Self { signal, ..Self::default() }
    }

    pub(crate) fn signal(&self) -> Signal {
        self.signal
    }

    /// Counts those of the current batch that were refused although others arrive.
    pub(crate) fn refuse(&self, number: u64, why: String) {
        let mut state = self.state();
        state.refused += number;
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
        // A macro, since each message needs its own call site.
        macro_rules! log {
            ($message:literal) => {
                tracing::warn!(target: TARGET, { { fields::ERROR_MESSAGE } = error }, $message)
            };
        }
        if !std::mem::replace(&mut self.state().is_logged, true) {
            match self.signal {
                Signal::LogRecords => log!("log records can't be exported"),
                Signal::MetricPoints => log!("metrics can't be exported"),
                Signal::Spans => log!("spans can't be exported"),
            }
        }
    }

    /// Logs that a whole batch arrived, and how many failed before it, if failures are logged.
    pub(crate) fn log_recovery(&self, failed: u64) {
        if !std::mem::take(&mut self.state().is_logged) {
            return;
        }
        macro_rules! log {
            ($key:ident, $message:literal) => {
                tracing::info!(target: TARGET, { { fields::$key } = failed as i64 }, $message)
            };
        }
        match self.signal {
            Signal::LogRecords => log!(LOG_RECORDS_LOST, "log records are exported again"),
            Signal::MetricPoints => log!(METRIC_POINTS_FAILED, "metrics are exported again"),
            Signal::Spans => log!(SPANS_LOST, "spans are exported again"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
