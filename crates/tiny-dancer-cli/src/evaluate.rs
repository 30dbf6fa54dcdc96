//! `tiny-dancer evaluate`: judges a model among baselines.

use crate::{Memory, router, say};
use clap::Args;
use std::path::PathBuf;
use tiny_dancer::RiskBudget;
use tiny_dancer_train::past::Past;
use tiny_dancer_train::plots::plot;

#[derive(Args)]
pub(crate) struct EvaluateArgs {
    /// Rows to judge by: JSON lines, plain or `.zst`, as for `train`. Of a file that names splits, the split `test`; of
    /// one that names none, all, so that no row should be among them that the model was trained on.
    #[arg(long, value_name = "FILE")]
    rows: PathBuf,
    /// Their embeddings.
    #[arg(long, value_name = "FILE")]
    embeddings: PathBuf,
    /// The split to judge by, if not `test`.
    #[arg(long, value_name = "NAME", default_value = "test")]
    split: String,
    #[command(flatten)]
    memory: Memory,
    /// How many of the nearest each row remembers.
    #[arg(long, default_value_t = 64)]
    k: usize,
    /// The model; the embedded one where none is named.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Draw the cost-quality curve, the reliability diagram, and the risk, as SVG and PNG in this folder.
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
    /// The risk to draw: the largest share of insufficient answers among requests sent to the lightweight model.
    #[arg(long, default_value_t = 0.15)]
    alpha: f64,
    /// The probability with which that promise may be broken all the same.
    #[arg(long, default_value_t = 0.05)]
    delta: f64,
}

pub(crate) fn evaluate(args: &EvaluateArgs) -> anyhow::Result<()> {
    let router = router(args.model.as_deref())?;
    let rows = Past::read(&args.rows, &args.embeddings, &args.split)?;
    let evaluation = tiny_dancer_train::evaluate::evaluate(&router, &rows, &args.memory.read()?, args.k)?;
    if let Some(folder) = &args.plots {
        let budget = RiskBudget { alpha: args.alpha, delta: args.delta };
        plot(&evaluation, router.model().risk_path(), budget, folder)?;
    }
    if args.json {
        say(format_args!("{:#}", evaluation.to_json()))
    } else {
        say(format_args!("model {}\n{evaluation}", router.model().version()))
    }
}
