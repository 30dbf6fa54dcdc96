//! The steps of a command, and the table at its end.

use crate::workspace::Workspace;
use anyhow::{Result, bail};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// The steps so far.
#[derive(Debug)]
pub(crate) struct Report {
    root: PathBuf,
    steps: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    headline: String,
    verdict: Verdict,
    took: Duration,
}

#[derive(Debug)]
enum Verdict {
    Failed(String),
    Passed,
    Skipped(String),
}

impl Report {
    pub(crate) fn new(workspace: &Workspace) -> Self {
        Self { root: workspace.root.clone(), steps: Vec::new() }
    }

    /// A step that is a command; it passes if the command exits with zero.
    pub(crate) fn command(&mut self, headline: &str, command: &mut Command) {
        command.current_dir(&self.root);
        let shown = shown(command, &self.root);
        self.check(headline, &format!("$ {shown}"), || {
            let status = command.status()?;
            if !status.success() {
                bail!("{status}");
            }
            Ok(())
        });
    }

    /// A step that is a function; `what` describes it in one line.
    pub(crate) fn check(&mut self, headline: &str, what: &str, step: impl FnOnce() -> Result<()>) {
        println!("\n==> {headline}\n    {what}");
        // Another program may write to the same terminal next. A lost headline is no failure.
        let _ = std::io::stdout().flush();
        let start = now();
        let verdict = match step() {
            Ok(()) => Verdict::Passed,
            Err(error) => {
                println!("{headline} failed: {error:#}");
                Verdict::Failed(first_line(&format!("{error:#}")))
            }
        };
        self.steps.push(Step { headline: headline.to_owned(), verdict, took: start.elapsed() });
    }

    /// A skipped step, printed now and in the table.
    pub(crate) fn skip(&mut self, headline: &str, reason: &str) {
        println!("\n==> {headline}\n    SKIPPED: {reason}");
        let verdict = Verdict::Skipped(reason.to_owned());
        self.steps.push(Step { headline: headline.to_owned(), verdict, took: Duration::ZERO });
    }

    /// Prints the table and the closing line.
    pub(crate) fn finish(self) -> ExitCode {
        print!("\n{}", self.table());
        let failed = self.steps.iter().any(|step| matches!(step.verdict, Verdict::Failed(_)));
        if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    fn table(&self) -> String {
        let width = self.steps.iter().map(|step| step.headline.chars().count()).max().unwrap_or(0);
        let (mut passed, mut failed, mut skipped) = (0, 0, 0);
        let mut table = String::new();
        for step in &self.steps {
            let (word, why) = match &step.verdict {
                Verdict::Failed(why) => ("FAILED", why.as_str()),
                Verdict::Passed => ("passed", ""),
                Verdict::Skipped(why) => ("SKIPPED", why.as_str()),
            };
            match step.verdict {
                Verdict::Failed(_) => failed += 1,
                Verdict::Passed => passed += 1,
                Verdict::Skipped(_) => skipped += 1,
            }
            let took = step.took.as_secs_f64();
            let line = format!("{:width$}  {word:7}  {took:7.1} s  {why}", step.headline);
            table += line.trim_end();
            table.push('\n');
        }
        let skipped = if skipped == 0 { String::new() } else { format!(", {skipped} skipped") };
        format!("{table}\n{passed} passed, {failed} failed{skipped}\n")
    }
}

/// A command as typed in the workspace's root.
fn shown(command: &Command, root: &Path) -> String {
    let root = format!("{}/", root.display());
    let variables = command.get_envs().filter_map(|(name, value)| {
        Some(format!("{}='{}' ", name.to_string_lossy(), value?.to_string_lossy()))
    });
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(|word| {
        let word = word.to_string_lossy().replace(&root, "");
        if word.contains(' ') { format!("'{word}'") } else { word }
    });
    variables.collect::<String>() + &words.collect::<Vec<_>>().join(" ")
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// Now, for the times of steps and for deadlines.
#[expect(
    clippy::disallowed_methods,
    reason = "core's Clock is for the product; steps and deadlines use real time"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests;
