//! `tiny-dancer calibrate`: certifies a model, so that a router can promise a risk with it.

use crate::embedding::EmbedderArgs;
use crate::output::Output;
use crate::{Input, Memory, Shared, print, router};
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
    #[command(flatten)]
    embedder: EmbedderArgs,
    /// The largest share of insufficient answers among requests sent to the lightweight model.
    #[arg(long, default_value_t = 0.15)]
    alpha: f64,
    /// The allowed probability that the promise is broken.
    #[arg(long, default_value_t = 0.05)]
    delta: f64,
    /// The file of the certified model, if not that of the model itself.
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
    let data = args.input.read(&args.embedder)?;
    let router = router(Some(&args.model), data.embedder.as_deref())?;
    let certifying = data.select(|part| part == Part::Certification);
    let ids = certifying.iter().map(|&row| data.rows[row].id.as_str());
    print(args.shared.check(&router.model(), ids)?.1)?;
    let path = certify(&router, &data, &args.memory.read(&args.embedder)?)?;
    let certifying = certifying.len();
    print(table(&path, budget, certifying))?;
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
    print(format_args!("\nmodel {} written to {}", model.version(), out.path().display()))
}

/// Certifies a trained model if there are certifying rows. Returns it with a text on what it can promise.
pub(crate) fn certify_trained(model: Model, data: &Dataset, out: &Output) -> anyhow::Result<(Model, String)> {
    let certifying = data.select(|part| part == Part::Certification).len();
    if certifying == 0 {
        return Ok((
            model,
            "this model can promise no risk: no row of the split cal is left to certify".to_owned(),
        ));
    }
    // A router reads its model from a file.
    let mut file = out.temporary()?;
    file.write_all(&model.to_bytes()).with_context(|| format!("cannot write {}", file.path().display()))?;
    let router = router(Some(file.path()), data.embedder.as_deref())?;
    let risk_path = match certify(&router, data, &Past::memory(data)) {
        Err(CertifyError::Unknown) => {
            let text = "this model can promise no risk: too few rows of the split cal to calibrate with";
            return Ok((model, text.to_owned()));
        }
        risk_path => risk_path?,
    };
    let text = promises(&risk_path, certifying);
    Ok((model.with_risk_path(risk_path)?, text))
}

/// The delta of the listed promises.
const DELTA: f64 = 0.05;

/// The smallest alpha that a path can promise with a delta of 0.05, if any.
pub(crate) fn smallest_alpha(path: &[RiskStep]) -> Option<f64> {
    path.first().map(|step| rounded_up(step.failure_bound(DELTA))).filter(|&alpha| alpha < 1.0)
}

/// Rounds up to four digits, so that a path that keeps `alpha` keeps the result, too.
fn rounded_up(alpha: f64) -> f64 {
    (1e4 * alpha).ceil() / 1e4
}

/// The promises of a path: the smallest alpha and some larger ones, each with its share of lightweight calls.
fn promises(path: &[RiskStep], certifying: usize) -> String {
    const ALPHAS: &[f64] = &[0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3];
    let Some(smallest) = smallest_alpha(path) else {
        let (n, failures) = path.first().map_or((0, 0), |step| (step.n, step.failures));
        return format!(
            "this model can promise no risk: its most careful step sends {n} of {certifying} certifying rows to the\n\
             lightweight model, and {failures} of these fail"
        );
    };
    let mut text = format!(
        "{certifying} rows certify that of requests sent to the lightweight model at most a share alpha is\n\
         insufficient, with confidence {}:\n\n{:>8} {:>12} {:>11}",
        1.0 - DELTA,
        "alpha",
        "lightweight",
        "confidence"
    );
    let larger = ALPHAS.iter().copied().filter(|&alpha| alpha > smallest);
    for alpha in std::iter::once(smallest).chain(larger) {
        // The bound of the first step is at most alpha, so `resolve` finds a step.
        let Ok(step) = resolve(path, RiskBudget { alpha, delta: DELTA }) else { continue };
        let share = format!("{:.1}%", 100.0 * f64::from(step.n) / certifying as f64);
        let confidence = step.confidence_threshold;
        // Writing to a string never fails.
        let _ = write!(text, "\n{alpha:>8.4} {share:>12} {confidence:>11.4}");
    }
    text
}

/// The path as a table, with a mark at the step that the budget selects.
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
    fn the_listed_promises_begin_with_the_smallest_that_can_be_kept() {
        let step = |n, failures, confidence_threshold| RiskStep {
            confidence_threshold,
            max_uncertainty: 0.99,
            n,
            failures,
        };
        let path = [step(55, 3, 0.9), step(80, 8, 0.8), step(130, 40, 0.7)];
        let text = promises(&path, 139);
        let lines: Vec<Vec<&str>> =
            text.lines().skip(4).map(|line| line.split_whitespace().collect()).collect();
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
