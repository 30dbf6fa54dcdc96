//! A progress bar for work that takes longer than two seconds, where standard error is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;
use tiny_dancer::{Clock, parts::core::Tick};

/// Counts finished work. It appears after two seconds, on a terminal only, and disappears when it is dropped.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    clock: Clock,
    start: Tick,
}

impl Progress {
    /// Work of `total` parts, under this name.
    ///
    /// # Panics
    /// Never: the template is constant.
    pub fn new(name: &'static str, total: u64) -> Self {
        let style = ProgressStyle::with_template("{msg} [{bar:40}] {pos}/{len}, {eta} to go")
            .expect("a constant template")
            .progress_chars("=> ");
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        bar.set_style(style);
        bar.set_message(name);
        let clock = Clock::system();
        Self { bar, start: clock.tick(), clock }
    }

    /// Counts finished parts.
    pub fn advance(&self, parts: u64) {
        let waited = self.bar.is_hidden() && self.clock.since(self.start) > Duration::from_secs(2);
        if waited && std::io::stderr().is_terminal() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.inc(parts);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
