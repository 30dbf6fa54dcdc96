//! `tiny-dancer evaluate`: judges a model among baselines.

use crate::{Memory, Shared, note_unread, router, say};
use anyhow::Context;
use clap::Args;
use std::path::PathBuf;
use tiny_dancer::RiskBudget;
use tiny_dancer_train::past::Past;
use tiny_dancer_train::plots::plot;

#[derive(Args)]
pub(crate) struct EvaluateArgs {
    /// Rows to judge by: JSON lines, plain or `.zst`, as for `train`, of which the split `test` is judged.
    #[arg(long, value_name = "FILE")]
    rows: PathBuf,
    /// Their embeddings.
    #[arg(long, value_name = "FILE")]
    embeddings: PathBuf,
    /// The split to judge by, if not `test`.
    #[arg(long, value_name = "NAME", default_value = "test")]
    split: String,
    #[command(flatten)]
    shared: Shared,
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
    if let Some(folder) = &args.plots {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let router = router(args.model.as_deref())?;
    let rows = Past::read(&args.rows, &args.embeddings, &args.split)?;
    note_unread(&args.rows, &rows.unread);
    let ids = rows.items.iter().map(|item| item.id.as_str());
    let (overlap, said) = args.shared.check(&router.model(), ids)?;
    let by_hash = rows.items.iter().filter(|item| item.split.is_none()).count();
    let evaluation = tiny_dancer_train::evaluate::evaluate(&router, &rows, &args.memory.read()?, args.k)?;
    if let Some(folder) = &args.plots {
        let budget = RiskBudget { alpha: args.alpha, delta: args.delta };
        plot(&evaluation, router.model().risk_path(), budget, folder)?;
    }
    if args.json {
        let mut json = evaluation.to_json();
        json["split_by_hash"] = by_hash.into();
        json["compared_rows"] = overlap.map(|overlap| overlap.compared).into();
        json["training_rows"] = overlap.map(|overlap| overlap.shared).into();
        say(format_args!("{json:#}"))
    } else {
        say(format_args!("model {}", router.model().version()))?;
        if by_hash > 0 {
            say(format_args!("{by_hash} rows are of the split {} by the hash of their id", args.split))?;
        }
        say(format_args!("{said}\n{evaluation}"))
    }
}
