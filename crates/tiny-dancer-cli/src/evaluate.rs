//! `tiny-dancer evaluate`: judges a model against baselines.

use crate::embedding::EmbedderArgs;
use crate::{Memory, Shared, note_unread, print, router};
use anyhow::Context;
use clap::Args;
use std::path::PathBuf;
use tiny_dancer::RiskBudget;
use tiny_dancer_train::past::Past;
use tiny_dancer_train::plots::plot;
use tiny_dancer_train::vectors::Vectors;

#[derive(Args)]
pub(crate) struct EvaluateArgs {
    /// Rows to judge by: JSON lines, plain or `.zst`, as for `train`. Only the split `test` is used.
    #[arg(long, value_name = "FILE")]
    rows: PathBuf,
    /// Use these embeddings instead of the prompts.
    #[arg(long, value_name = "FILE")]
    embeddings: Option<PathBuf>,
    /// The split to judge by, if not `test`.
    #[arg(long, value_name = "NAME", default_value = "test")]
    split: String,
    #[command(flatten)]
    shared: Shared,
    #[command(flatten)]
    memory: Memory,
    #[command(flatten)]
    embedder: EmbedderArgs,
    /// The number of nearest candidates of each row.
    #[arg(long, default_value_t = 64)]
    k: usize,
    /// The model's file; by default the embedded model for the embedder of the vectors.
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
    /// The allowed probability that this promise is broken.
    #[arg(long, default_value_t = 0.05)]
    delta: f64,
}

pub(crate) fn evaluate(args: &EvaluateArgs) -> anyhow::Result<()> {
    if let Some(folder) = &args.plots {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let read = |vectors: Vectors<'_>| Past::read(&args.rows, vectors, &args.split);
    let rows = args.embedder.read(args.embeddings.as_deref(), read)?;
    let router = router(args.model.as_deref(), rows.embedder.as_deref())?;
    note_unread(&args.rows, &rows.unread);
    let ids = rows.items.iter().map(|item| item.id.as_str());
    let (overlap, overlap_text) = args.shared.check(&router.model(), ids)?;
    let by_hash = rows.items.iter().filter(|item| item.split.is_none()).count();
    let memory = args.memory.read(&args.embedder)?;
    let evaluation = tiny_dancer_train::evaluate::evaluate(&router, &rows, &memory, args.k)?;
    if let Some(folder) = &args.plots {
        let budget = RiskBudget { alpha: args.alpha, delta: args.delta };
        plot(&evaluation, router.model().risk_path(), budget, folder)?;
    }
    if args.json {
        let mut json = evaluation.to_json();
        json["split_by_hash"] = by_hash.into();
        json["compared_rows"] = overlap.map(|overlap| overlap.compared).into();
        json["training_rows"] = overlap.map(|overlap| overlap.shared).into();
        print(format_args!("{json:#}"))
    } else {
        print(format_args!("model {}", router.model().version()))?;
        if by_hash > 0 {
            print(format_args!("{by_hash} rows are of the split {} by the hash of their id", args.split))?;
        }
        print(format_args!("{overlap_text}\n{evaluation}"))
    }
}
