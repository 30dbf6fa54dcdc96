//! `tiny-dancer calibrate`: certifies a model, so that a router can promise a risk with it.

use crate::output::Output;
use crate::{Input, Memory, Shared, router, say};
use anyhow::{Context, bail};
use clap::Args;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use tiny_dancer::RiskBudget;
use tiny_dancer::parts::core::Model;
use tiny_dancer::parts::core::promise::{RiskStep, resolve};
use tiny_dancer_train::certify::{CertifyError, certify};
use tiny_dancer_train::past::Past;
use tiny_dancer_train::rows::{Dataset, Part};

#[derive(Args)]
pub(crate) struct CalibrateArgs {
    /// The model to certify.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    shared: Shared,
    #[command(flatten)]
    memory: Memory,
    /// The largest share of insufficient answers among requests sent to the lightweight model.
    #[arg(long, default_value_t = 0.15)]
    alpha: f64,
    /// The probability with which the promise may be broken all the same.
    #[arg(long, default_value_t = 0.05)]
    delta: f64,
    /// Where the certified model goes, if not back where it came from.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) fn calibrate(args: &CalibrateArgs) -> anyhow::Result<()> {
    let budget = RiskBudget { alpha: args.alpha, delta: args.delta };
    for (name, value) in [("alpha", budget.alpha), ("delta", budget.delta)] {
        if !(value > 0.0 && value < 1.0) {
            bail!("{name} is {value}, expected more than 0, less than 1");
        }
    }
    let out = Output::new(args.out.as_ref().unwrap_or(&args.model))?;
    let router = router(Some(&args.model))?;
    let data = args.input.read()?;
    let certifying = data.select(|part| part == Part::Certification);
    let ids = certifying.iter().map(|&row| data.rows[row].id.as_str());
    say(args.shared.check(&router.model(), ids)?.1)?;
    let path = certify(&router, &data, &args.memory.read()?)?;
    let certifying = certifying.len();
    say(table(&path, budget, certifying))?;
    if let Err(smallest) = resolve(&path, budget) {
        let smallest = smallest.context("the path is empty")?;
        bail!(
            "alpha {} can't be promised with delta {}; the smallest alpha that can is {:.4}",
            budget.alpha,
            budget.delta,
            rounded_up(smallest)
        );
    }
    let model = router.model().with_risk_path(path)?;
    out.write(&model.to_bytes())?;
    say(format_args!("\nmodel {} written to {}", model.version(), out.path().display()))
}

/// Certifies a model that was just trained, where there are rows left to certify with, and says what it can promise.
pub(crate) fn certify_trained(model: Model, data: &Dataset, out: &Output) -> anyhow::Result<(Model, String)> {
    let certifying = data.select(|part| part == Part::Certification).len();
    if certifying == 0 {
        return Ok((
            model,
            "this model can promise no risk: no row of the split cal is left to certify".to_owned(),
        ));
    }
    // A router reads its model from a file.
    let mut file = out.beside()?;
    file.write_all(&model.to_bytes()).with_context(|| format!("cannot write {}", file.path().display()))?;
    let router = router(Some(file.path()))?;
    let risk_path = match certify(&router, data, &Past::remembered(data)) {
        Err(CertifyError::Unknown) => {
            let said = "this model can promise no risk: too few rows of the split cal to calibrate with";
            return Ok((model, said.to_owned()));
        }
        risk_path => risk_path?,
    };
    let said = promises(&risk_path, certifying);
    Ok((model.with_risk_path(risk_path)?, said))
}

/// The delta that promises are listed for.
const DELTA: f64 = 0.05;

/// The smallest alpha that a path can promise with a delta of 0.05, if any.
pub(crate) fn smallest_alpha(path: &[RiskStep]) -> Option<f64> {
    path.first().map(|step| rounded_up(step.failure_bound(DELTA))).filter(|&alpha| alpha < 1.0)
}

/// Four digits that are promised where the number is.
fn rounded_up(alpha: f64) -> f64 {
    (1e4 * alpha).ceil() / 1e4
}

/// What a path can promise: the smallest alpha, and what others are worth.
fn promises(path: &[RiskStep], certifying: usize) -> String {
    const ALPHAS: [f64; 7] = [0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3];
    let Some(smallest) = smallest_alpha(path) else {
        let (n, failures) = path.first().map_or((0, 0), |step| (step.n, step.failures));
        return format!(
            "this model can promise no risk: its most careful step sends {n} of {certifying} certifying rows to the\n\
             lightweight model, and {failures} of these fail"
        );
    };
    let mut said = format!(
        "{certifying} rows certify that of requests sent to the lightweight model at most a share alpha is\n\
         insufficient, with confidence {}:\n\n{:>8} {:>12} {:>11}",
        1.0 - DELTA,
        "alpha",
        "lightweight",
        "confidence"
    );
    let larger = ALPHAS.into_iter().filter(|&alpha| alpha > smallest);
    for alpha in std::iter::once(smallest).chain(larger) {
        // Its bound is at most alpha, so the first step keeps it.
        let Ok(step) = resolve(path, RiskBudget { alpha, delta: DELTA }) else { continue };
        let share = format!("{:.1}%", 100.0 * f64::from(step.n) / certifying as f64);
        let confidence = step.confidence_threshold;
        // Writing to a string never fails.
        let _ = write!(said, "\n{alpha:>8.4} {share:>12} {confidence:>11.4}");
    }
    said
}

/// The path, step by step, with the one that keeps the budget.
fn table(path: &[RiskStep], budget: RiskBudget, certifying: usize) -> String {
    let kept = resolve(path, budget).ok();
    let mut table = format!(
        "{certifying} rows certify; among requests sent to the lightweight model at most {} insufficient, with \
         confidence {}\n\n{:>10} {:>11} {:>6} {:>9} {:>8} {:>7} {:>7}\n",
        budget.alpha,
        1.0 - budget.delta,
        "confidence",
        "lightweight",
        "n",
        "failures",
        "average",
        "bound",
        ""
    );
    for step in path {
        let RiskStep { confidence_threshold, n, failures, .. } = *step;
        let share = |part: u32, of: f64| format!("{:.1}%", 100.0 * f64::from(part) / of);
        // Writing to a string never fails.
        let _ = writeln!(
            table,
            "{confidence_threshold:>10.4} {:>11} {n:>6} {failures:>9} {:>8} {:>7.4} {}",
            share(n, certifying as f64),
            share(failures, f64::from(n).max(1.0)),
            step.failure_bound(budget.delta),
            if kept == Some(*step) { "<- kept" } else { "" },
        );
    }
    table.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_begin_with_the_smallest_and_only_those_that_are_kept_are_listed() {
        let step = |n, failures, confidence_threshold| RiskStep {
            confidence_threshold,
            max_uncertainty: 0.99,
            n,
            failures,
        };
        let path = [step(55, 3, 0.9), step(80, 8, 0.8), step(130, 40, 0.7)];
        let said = promises(&path, 139);
        let lines: Vec<Vec<&str>> =
            said.lines().skip(4).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            lines,
            [
                ["0.1350", "39.6%", "0.9000"],
                ["0.1500", "39.6%", "0.9000"],
                ["0.2000", "57.6%", "0.8000"],
                ["0.3000", "57.6%", "0.8000"]
            ]
        );
        assert!(resolve(&path, RiskBudget { alpha: 0.135, delta: DELTA }).is_ok());
        assert!(promises(&[step(0, 0, 0.9)], 5).contains("can promise no risk"));
    }

    #[test]
    fn the_table_marks_the_boldest_step_that_keeps_the_budget() {
        let step = |n, failures| RiskStep { confidence_threshold: 0.9, max_uncertainty: 0.99, n, failures };
        let path = [step(200, 10), step(300, 30), step(400, 80)];
        let table = table(&path, RiskBudget { alpha: 0.15, delta: 0.05 }, 800);
        let marked: Vec<&str> = table.lines().filter(|line| line.ends_with("<- kept")).collect();
        assert_eq!(marked.len(), 1);
        assert!(marked[0].contains(" 300 "), "{table}");
    }
}
