//! Lines at the bottom of a terminal that show what the gateway does. Log lines are written above them.

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, Write, stderr};
use std::sync::Arc;
use std::time::Duration;
use tiny_dancer_gateway::{Gateway, Status};

/// Between two pictures: fast enough to be alive, slow enough to be read.
const PERIOD: Duration = Duration::from_millis(500);
/// The latency is that of the last minute.
const PICTURES: usize = 120;
/// The reasons that fit on a line.
const REASONS: usize = 4;

/// The lines, which are there only if standard error is a terminal.
#[derive(Clone, Debug)]
pub(crate) struct Lines(ProgressBar);

impl Lines {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        // The template is valid: it has one known key.
        Self(bar.with_style(
            ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
        ))
    }

    /// A writer to standard error that takes the lines away while it writes.
    pub(crate) fn above(&self) -> Above {
        Above(self.0.clone())
    }

    /// Draws the lines again and again. It does not end.
    pub(crate) async fn show(self, gateway: Arc<Gateway>) {
        self.0.set_draw_target(ProgressDrawTarget::stderr());
        let mut ticks = tokio::time::interval(PERIOD);
        let mut before = VecDeque::new();
        loop {
            ticks.tick().await;
            let status = gateway.status();
            before.push_back(status.first_byte.clone());
            if before.len() > PICTURES {
                before.pop_front();
            }
            let since = before.front().map(Vec::as_slice).unwrap_or_default();
            self.0.set_message(text(&status, since));
        }
    }

    pub(crate) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

/// Writes above the lines.
#[derive(Debug)]
pub(crate) struct Above(ProgressBar);

impl Write for Above {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        stderr().flush()
    }
}

/// The text of the lines. `since` has the times to the first byte a minute ago.
fn text(status: &Status, since: &[(f64, u64)]) -> String {
    let mut text = format!(
        "requests  {} answered, {} open, {} failed, {} refused\n",
        HumanCount(status.answered),
        status.open,
        HumanCount(status.failed),
        HumanCount(status.refused),
    );
    let share = 100.0 * status.lightweight as f64 / status.routed.max(1) as f64;
    // Writing to a text does not fail.
    let _ = write!(text, "routed    {}, {share:.1}% lightweight", HumanCount(status.routed));
    for (index, (reason, count)) in status.reasons.iter().take(REASONS).enumerate() {
        let _ = write!(text, "{} {reason} {}", if index == 0 { ":" } else { "," }, HumanCount(*count));
    }
    let cost = status.cost;
    let _ = match status.baseline {
        Some(baseline) if baseline > 0.0 => {
            let change = 100.0 * (cost - baseline) / baseline;
            write!(
                text,
                "\ncost      {cost:.4} of {baseline:.4} without the lightweight model ({change:+.1}%)"
            )
        }
        Some(_) => write!(text, "\ncost      {cost:.4}"),
        None => write!(text, "\ncost      no prices are configured"),
    };
    let quantile = |q| quantile(q, since, &status.first_byte);
    let _ = match (quantile(0.5), quantile(0.95)) {
        (Some(p50), Some(p95)) => {
            write!(text, "\nlatency   first byte after {p50:.2} s (p50), {p95:.2} s (p95)")
        }
        _ => write!(text, "\nlatency   no calls in the last minute"),
    };
    if let Some(budget) = &status.budget {
        let state = if budget.missing == 0 { "open" } else { "spent" };
        let _ = write!(
            text,
            "\nbudget    {state}: at most {:.1} of {:.1} allowed worse answers, {} judgements pending",
            budget.bound, budget.allowed, budget.pending
        );
    }
    let _ = match &status.open_circuits[..] {
        [] => write!(text, "\ncircuits  closed"),
        open => write!(text, "\ncircuits  open: {}", open.join(", ")),
    };
    text
}

/// A quantile of what was added to a histogram, by linear interpolation within its bucket, as in Prometheus.
fn quantile(q: f64, before: &[(f64, u64)], now: &[(f64, u64)]) -> Option<f64> {
    let added = |index: usize| {
        let before = before.get(index).map_or(0, |(_, count)| *count);
        now.get(index).map_or(0, |(_, count)| count.saturating_sub(before)) as f64
    };
    let total = added(now.len().checked_sub(1)?);
    let rank = q * total;
    let (mut lower, mut below) = (0.0, 0.0);
    for (index, (bound, _)) in now.iter().enumerate() {
        let count = added(index);
        if total > 0.0 && count >= rank {
            // Above the last bound nothing is known.
            let upper = if bound.is_finite() { *bound } else { lower };
            return Some(lower + (upper - lower) * (rank - below) / (count - below).max(1.0));
        }
        (lower, below) = (*bound, count);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_show_what_is_known() {
        let mut status = Status {
            answered: 1234,
            open: 2,
            routed: 1200,
            lightweight: 480,
            reasons: vec![("low_confidence", 720), ("confident", 480)],
            cost: 1.5,
            baseline: Some(2.0),
            first_byte: vec![(1.0, 10), (f64::INFINITY, 10)],
            ..Status::default()
        };
        let expected = "\
            requests  1,234 answered, 2 open, 0 failed, 0 refused\n\
            routed    1,200, 40.0% lightweight: low_confidence 720, confident 480\n\
            cost      1.5000 of 2.0000 without the lightweight model (-25.0%)\n\
            latency   first byte after 0.50 s (p50), 0.95 s (p95)\n\
            circuits  closed";
        assert_eq!(text(&status, &[]), expected);
        status.baseline = None;
        status.open_circuits = vec!["small".to_owned()];
        let shown = text(&status, &status.first_byte);
        for line in ["no prices are configured", "no calls in the last minute", "circuits  open: small"] {
            assert!(shown.contains(line), "{line} is not in\n{shown}");
        }
    }

    #[test]
    fn a_quantile_is_that_of_the_added_values() {
        let now = [(0.1, 10), (0.2, 20), (0.4, 20), (f64::INFINITY, 20)];
        assert_eq!(quantile(0.5, &[], &now), Some(0.1));
        assert_eq!(quantile(0.75, &[], &now), Some(0.1 + 0.1 * 0.5));
        let before = [(0.1, 10), (0.2, 10), (0.4, 10), (f64::INFINITY, 10)];
        assert_eq!(quantile(0.5, &before, &now), Some(0.1 + 0.1 * 0.5));
        assert_eq!(quantile(0.5, &now, &now), None);
        assert_eq!(quantile(0.5, &[], &[(0.1, 0), (f64::INFINITY, 4)]), Some(0.1), "the last bound");
        assert_eq!(quantile(0.5, &[], &[]), None);
    }
}
