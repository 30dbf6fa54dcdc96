//! `tiny-dancer calibrate`: certifies a model, so that a router can promise a risk with it.

use crate::output::Output;
use crate::{Input, Memory, Shared, router, say};
use anyhow::{Context, bail};
use clap::Args;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use tiny_dancer::RiskBudget;
use tiny_dancer::core::Model;
use tiny_dancer::core::guarantee::{RiskStep, resolve};
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
    let certifying = data.select(|part| part == Part::Guarantee);
    let ids = certifying.iter().map(|&row| data.rows[row].id.as_str());
    say(args.shared.check(&router.model(), ids)?.1)?;
    let path = certify(&router, &data, &args.memory.read()?)?;
    let certifying = certifying.len();
    say(table(&path, budget, certifying))?;
    if let Err(smallest) = resolve(&path, budget) {
        let smallest = smallest.context("the path is empty")?;
        bail!(
            "alpha {} can't be promised with delta {}; the smallest alpha that can is {smallest:.4}",
            budget.alpha,
            budget.delta
        );
    }
    let model = router.model().with_risk_path(path)?;
    out.write(&model.to_bytes())?;
    say(format_args!("\nmodel {} written to {}", model.version(), out.path().display()))
}

/// Certifies a model that was just trained, where there are rows left to certify with.
pub(crate) fn certify_trained(model: Model, data: &Dataset, out: &Output) -> anyhow::Result<Model> {
    if data.select(|part| part == Part::Guarantee).is_empty() {
        return Ok(model);
    }
    // A router reads its model from a file.
    let mut file = out.beside()?;
    file.write_all(&model.to_bytes()).with_context(|| format!("cannot write {}", file.path().display()))?;
    let router = router(Some(file.path()))?;
    let risk_path = match certify(&router, data, &Past::remembered(data)) {
        Err(CertifyError::Unknown) => {
            say("too few rows to calibrate with: this model can promise no risk\n")?;
            return Ok(model);
        }
        risk_path => risk_path?,
    };
    Ok(model.with_risk_path(risk_path)?)
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
    fn the_table_marks_the_boldest_step_that_keeps_the_budget() {
        let step = |n, failures| RiskStep { confidence_threshold: 0.9, max_uncertainty: 0.99, n, failures };
        let path = [step(200, 10), step(300, 30), step(400, 80)];
        let table = table(&path, RiskBudget { alpha: 0.15, delta: 0.05 }, 800);
        let marked: Vec<&str> = table.lines().filter(|line| line.ends_with("<- kept")).collect();
        assert_eq!(marked.len(), 1);
        assert!(marked[0].contains(" 300 "), "{table}");
    }
}
