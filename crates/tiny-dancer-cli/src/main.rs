//! The program `tiny-dancer`: makes routing models and memories from your logs, and serves them over HTTP.

mod calibrate;
mod embedding;
mod evaluate;
mod explain;
mod export;
mod import;
mod memory;
mod output;
mod replay;
mod route;
mod serve;
mod simulate;

use crate::embedding::EmbedderArgs;
use crate::output::Output;
use anyhow::{Context, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::{Display, Write as _};
use std::io::{self, ErrorKind, Write as _, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tiny_dancer::parts::core::{Model, Router, RouterConfig};
use tiny_dancer_train::fit::Epoch;
use tiny_dancer_train::past::{Past, PastError};
use tiny_dancer_train::profiles::summarise;
use tiny_dancer_train::rows::Dataset;
use tiny_dancer_train::sketch::Overlap;
use tiny_dancer_train::vectors::{Vectors, embeddings_to_bytes};
use tiny_dancer_train::{Target, TrainConfig, train};

/// A request of the gateway allocates often, and what one thread allocates another one frees. jemalloc takes less time for that than
/// the system's allocator on Linux.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Makes routing models and memories from requests whose outcome with both models is known, and routes requests by them.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Certify a model: write into it the path of thresholds by which a router can promise a risk.
    Calibrate(calibrate::CalibrateArgs),
    /// Judge a model against baselines, on rows that it was not trained on.
    Evaluate(evaluate::EvaluateArgs),
    /// Show the effect of each candidate and feature on the confidence of one request, read from standard input.
    Explain(explain::ExplainArgs),
    /// Write the entries of a memory to standard output: JSON lines that `import` reads.
    Export(export::ExportArgs),
    /// Remember the requests of a log: those that the memory does not know yet.
    Import(import::ImportArgs),
    /// Show, check and keep up a memory.
    Memory(memory::MemoryArgs),
    /// Cluster the rows of the split `train` into profiles: a small memory to route with.
    Profiles(ProfilesArgs),
    /// Compute the decisions of exported spans again and compare them. The exit code is 1 if a decision differs.
    Replay(replay::ReplayArgs),
    /// Route requests: JSON lines from standard input, decisions to standard output. The exit code is 1 if a line
    /// cannot be routed.
    Route(route::RouteArgs),
    /// Answer the requests of clients by the lightweight or the powerful language model, over HTTP, until Ctrl-C or SIGTERM.
    Serve(serve::ServeArgs),
    /// Replay rows as streams of requests with a memory that begins empty, and show how it learns and what that costs.
    Simulate(simulate::SimulateArgs),
    /// Train a model, calibrate it, and report on the rows of the split `test`. Ctrl-C keeps the best model so far.
    Train(TrainArgs),
}

/// The rows, and their embeddings.
#[derive(Args)]
struct Input {
    /// JSON lines, plain or `.zst`, see docs/bring-your-own-logs.md: `id`, `prompt`, `lightweight_correct`,
    /// `powerful_correct`, and optionally `subject` and `split` (`train`, `cal` or `test`; by default 70:15:15 by the
    /// hash of the id).
    #[arg(long, value_name = "FILE")]
    rows: PathBuf,
    /// Use these embeddings instead of the prompts: a safetensors file with one tensor `embeddings`, f16 or f32, of
    /// shape n x d, in the order of the rows.
    #[arg(long, value_name = "FILE")]
    embeddings: Option<PathBuf>,
}

impl Input {
    fn read(&self, embedder: &EmbedderArgs) -> anyhow::Result<Dataset> {
        let read = |vectors: Vectors<'_>| Dataset::read(&self.rows, vectors);
        let data = embedder.read(self.embeddings.as_deref(), read)?;
        if data.split_by_hash > 0 {
            print(format_args!(
                "{} rows had no split and got one by the hash of their id, 70:15:15",
                data.split_by_hash
            ))?;
        }
        if data.without_powerful > 0 {
            print(format_args!("{} rows had no powerful_correct; it counts as 1", data.without_powerful))?;
        }
        note_unread(&self.rows, &data.unread);
        Ok(data)
    }
}

/// The check for rows that the model was made of.
#[derive(Args)]
struct Shared {
    /// Also judge by rows that were used for fitting, early stopping or calibration. The figures are then too good.
    #[arg(long)]
    allow_training_rows: bool,
}

impl Shared {
    /// Compares the rows to judge by with those that the model was made of. Returns the overlap and a text on it.
    fn check<'a>(
        &self,
        model: &Model,
        ids: impl Iterator<Item = &'a str>,
    ) -> anyhow::Result<(Option<Overlap>, String)> {
        let Some(overlap) = Overlap::new(model, ids) else {
            let text = "the model file does not say which rows it was made of: these may be among them";
            return Ok((None, text.to_owned()));
        };
        let Overlap { rows, compared, shared, .. } = overlap;
        let mut text = match shared {
            0 => format!("the model was made of none of the {compared} rows that can be compared"),
            _ => format!("the model was made of {shared} of the {compared} rows that can be compared"),
        };
        if compared < rows {
            write!(text, ", a sample of these {rows}")?;
        }
        if shared > 0 && !self.allow_training_rows {
            bail!("{text}; figures on such rows are too good, --allow-training-rows prints them");
        } else if shared > 0 {
            text.push_str(": these figures are too good");
        }
        Ok((Some(overlap), text))
    }
}

/// The memory: past rows, or profiles of them.
#[derive(Args)]
struct Memory {
    /// JSON lines, plain or `.zst`, see docs/bring-your-own-logs.md: rows as for `train`, of which only the split `train` is used,
    /// or profiles with `success_rate`, `win_rate` and `access_count`.
    #[arg(long, value_name = "FILE")]
    memory_rows: PathBuf,
    /// Use these embeddings instead of the memory's prompts.
    #[arg(long, value_name = "FILE")]
    memory_embeddings: Option<PathBuf>,
}

impl Memory {
    /// The memory for judging rows: profiles, and the same split `train` as in training.
    fn read(&self, embedder: &EmbedderArgs) -> anyhow::Result<Past> {
        self.read_by(embedder, |vectors| Past::read(&self.memory_rows, vectors, "train"))
    }

    /// The memory of a router in use, which also has the rows without a split.
    fn remember(&self, embedder: &EmbedderArgs) -> anyhow::Result<Past> {
        self.read_by(embedder, |vectors| Past::remember(&self.memory_rows, vectors))
    }

    fn read_by(
        &self,
        embedder: &EmbedderArgs,
        read: impl FnOnce(Vectors<'_>) -> Result<Past, PastError>,
    ) -> anyhow::Result<Past> {
        let past = embedder.read(self.memory_embeddings.as_deref(), read)?;
        note_unread(&self.memory_rows, &past.unread);
        Ok(past)
    }
}

/// A router with this model, or with the embedded one. If the embedder of the embeddings is known, the model must be
/// made for it.
fn router(model: Option<&Path>, embedder: Option<&str>) -> anyhow::Result<Router> {
    let (model_path, embedder) = (model.map(Path::to_owned), embedder.map(str::to_owned));
    Ok(Router::new(RouterConfig { model_path, embedder, ..RouterConfig::default() })?)
}

#[derive(Args)]
struct ProfilesArgs {
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    embedder: EmbedderArgs,
    /// The number of profiles.
    #[arg(long, default_value_t = 256)]
    count: usize,
    /// The seed of the first centroids of k-means.
    #[arg(long, default_value_t = TrainConfig::default().seed)]
    seed: u64,
    /// The file for the profiles: JSON lines of `id`, `success_rate`, `win_rate`, `access_count` and `metadata`.
    #[arg(long, value_name = "FILE")]
    out_rows: PathBuf,
    /// The file for their embeddings: safetensors, f16. It names the embedder, if that is known.
    #[arg(long, value_name = "FILE")]
    out_embeddings: PathBuf,
}

#[derive(Args)]
struct TrainArgs {
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    embedder: EmbedderArgs,
    /// The file for the model.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Units in the cell's state, 1 to 64.
    #[arg(long, default_value_t = TrainConfig::default().hidden_size)]
    hidden_size: usize,
    /// The largest learning rate.
    #[arg(long, default_value_t = TrainConfig::default().learning_rate)]
    learning_rate: f64,
    /// The maximum number of passes over the rows.
    #[arg(long, default_value_t = TrainConfig::default().epochs)]
    epochs: usize,
    /// The seed of everything random.
    #[arg(long, default_value_t = TrainConfig::default().seed)]
    seed: u64,
    /// How the model counts a candidate's ties: as a success with `suffices`, as one half with `win-rate`.
    #[arg(long, default_value_t, value_parser = targets())]
    target: Target,
}

/// Reads a target's name, and lists the names in the help.
fn targets() -> impl TypedValueParser<Value = Target> {
    PossibleValuesParser::new(Target::ALL.map(Target::name)).try_map(|name| name.parse())
}

/// The exit code of a program that a closed pipe ends, by the convention of shells: 128 plus the number of SIGPIPE.
const CLOSED_PIPE: u8 = 141;

fn main() -> ExitCode {
    run(Cli::parse().command).unwrap_or_else(|error| {
        let closed = |cause: &io::Error| cause.kind() == ErrorKind::BrokenPipe;
        if error.root_cause().downcast_ref().is_some_and(closed) {
            return ExitCode::from(CLOSED_PIPE);
        }
        // If standard error is closed, the error cannot be printed.
        let _ = writeln!(stderr().lock(), "error: {}", causes(&error));
        ExitCode::FAILURE
    })
}

/// An error and its causes, each once: the text of most errors already contains that of their cause.
fn causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Calibrate(args) => calibrate::calibrate(&args)?,
        Command::Evaluate(args) => evaluate::evaluate(&args)?,
        Command::Explain(args) => explain::explain(&args)?,
        Command::Export(args) => export::export(&args)?,
        Command::Import(args) => return import::import(&args),
        Command::Memory(args) => return memory::memory(&args),
        Command::Profiles(args) => make_profiles(&args)?,
        Command::Replay(args) => return replay::replay(&args),
        Command::Route(args) => return route::route(&args),
        Command::Serve(args) => return serve::serve(&args),
        Command::Simulate(args) => simulate::simulate(&args)?,
        Command::Train(args) => make_model(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn make_model(args: &TrainArgs) -> anyhow::Result<()> {
    let TrainArgs { hidden_size, learning_rate, epochs, seed, target, .. } = *args;
    let config = TrainConfig { hidden_size, learning_rate, epochs, seed, target };
    let out = Output::new(&args.out)?;
    let data = args.input.read(&args.embedder)?;

    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed)).context("cannot listen to Ctrl-C")?;
    // indicatif draws on standard error, and only where that is a terminal.
    let bar = ProgressBar::new(epochs as u64)
        .with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} epochs, {eta} left, {msg}")?);
    bar.set_message("retrieving");
    bar.tick();
    let mut best = (0, f64::INFINITY);
    let mut watch = |epoch: &Epoch| {
        if epoch.best {
            best = (epoch.number, epoch.early_stopping.total());
        }
        bar.set_message(format!("best loss {:.4} in epoch {}", best.1, best.0));
        bar.set_position(epoch.number as u64);
    };
    let trained = train(&data, config, &mut watch, &|| interrupted.load(Ordering::Relaxed))?;
    bar.finish_and_clear();

    if interrupted.load(Ordering::Relaxed) {
        print(format_args!(
            "interrupted after {} epochs; this is the best model so far",
            trained.epochs.len()
        ))?;
    }
    let (model, promises) = calibrate::certify_trained(trained.model, &data, &out)?;
    out.write(&model.to_bytes())?;
    let (version, path) = (model.version(), out.path().display());
    print(format_args!("{}\n\nmodel {version} written to {path}\n\n{promises}", trained.report))
}

fn make_profiles(args: &ProfilesArgs) -> anyhow::Result<()> {
    let (out_rows, out_embeddings) = (Output::new(&args.out_rows)?, Output::new(&args.out_embeddings)?);
    let data = args.input.read(&args.embedder)?;
    let summary = summarise(&data, args.count, args.seed)?;
    out_rows.write(summary.to_json_lines().as_bytes())?;
    out_embeddings.write(&embeddings_to_bytes(&summary.centroids, data.embedder.as_deref()))?;
    let counts = summary.profiles.iter().map(|profile| profile.access_count);
    print(format_args!(
        "{} profiles of {} rows, {} to {} rows each, written to {} and {}",
        summary.profiles.len(),
        counts.clone().sum::<u64>(),
        counts.clone().min().unwrap_or_default(),
        counts.max().unwrap_or_default(),
        out_rows.path().display(),
        out_embeddings.path().display(),
    ))
}

/// Prints a line. A closed pipe, as with `| head`, is not an error, so that files are still written.
fn print(line: impl Display) -> anyhow::Result<()> {
    match writeln!(stdout().lock(), "{line}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done.context("cannot write to standard output"),
    }
}

/// Prints a note on standard error, since another program may read standard output.
fn note(line: impl Display) {
    // A note that can't be printed is no error.
    let _ = writeln!(stderr().lock(), "note: {line}");
}

/// Prints the unknown keys of a file, so that a misspelt one is noticed.
fn note_unread(path: &Path, keys: &[String]) {
    if !keys.is_empty() {
        note(format_args!("{}: these keys are not read: {}", path.display(), keys.join(", ")));
    }
}

#[cfg(test)]
mod tests;
