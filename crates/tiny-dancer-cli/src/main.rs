//! The program `tiny-dancer`: makes routing models and memories from your logs.

mod calibrate;
mod evaluate;
mod explain;
mod replay;
mod route;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Display;
use std::io::{ErrorKind, Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tiny_dancer::parts::core::{Router, RouterConfig};
use tiny_dancer_train::fit::Epoch;
use tiny_dancer_train::past::{Past, PastError};
use tiny_dancer_train::profiles::summarise;
use tiny_dancer_train::rows::{Dataset, embeddings_to_bytes};
use tiny_dancer_train::{Target, TrainConfig, train};

/// Makes routing models and memories from requests whose outcome with both models is known.
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
    /// Judge a model among baselines, on rows that it was not trained on.
    Evaluate(evaluate::EvaluateArgs),
    /// Show which candidates and features move the confidence of one request, read from standard input.
    Explain(explain::ExplainArgs),
    /// Sum the rows of the split `train` up in profiles: a small memory to route with.
    Profiles(ProfilesArgs),
    /// Compute the decisions of exported spans once more, and say whether they are equal. The exit code is 1 if one is
    /// not.
    Replay(replay::ReplayArgs),
    /// Route requests: JSON lines from standard input, decisions to standard output. The exit code is 1 if any line could
    /// not be routed.
    Route(route::RouteArgs),
    /// Train a model, calibrate it, and report on the rows of the split `test`. Ctrl-C keeps the best model so far.
    Train(TrainArgs),
}

/// The rows, and their embeddings.
#[derive(Args)]
struct Input {
    /// JSON lines, plain or `.zst`: `id`, `lightweight_correct`, `powerful_correct`, and maybe `subject` and `split`
    /// (`train`, `cal` or `test`; by the hash of the id, 70:15:15, where it is missing).
    #[arg(long, value_name = "FILE")]
    rows: PathBuf,
    /// safetensors with one tensor `embeddings`, f16 or f32, of shape n x d, in the order of the rows.
    #[arg(long, value_name = "FILE")]
    embeddings: PathBuf,
}

impl Input {
    fn read(&self) -> anyhow::Result<Dataset> {
        let data = Dataset::read(&self.rows, &self.embeddings)?;
        if data.split_by_hash > 0 {
            say(format_args!(
                "{} rows had no split and got one by the hash of their id, 70:15:15",
                data.split_by_hash
            ))?;
        }
        if data.without_powerful > 0 {
            say(format_args!("{} rows had no powerful_correct; it counts as 1", data.without_powerful))?;
        }
        Ok(data)
    }
}

/// What is remembered: past rows, or profiles of them.
#[derive(Args)]
struct Memory {
    /// JSON lines, plain or `.zst`: rows as for `train`, or profiles with `success_rate` and `access_count`. Of a file
    /// that names splits, the split `train` is remembered.
    #[arg(long, value_name = "FILE")]
    memory_rows: PathBuf,
    /// Their embeddings.
    #[arg(long, value_name = "FILE")]
    memory_embeddings: PathBuf,
}

impl Memory {
    fn read(&self) -> Result<Past, PastError> {
        Past::read(&self.memory_rows, &self.memory_embeddings, "train")
    }
}

/// A router with this model, or with the embedded one.
fn router(model: Option<&Path>) -> anyhow::Result<Router> {
    Ok(Router::new(RouterConfig { model_path: model.map(Path::to_owned), ..RouterConfig::default() })?)
}

#[derive(Args)]
struct ProfilesArgs {
    #[command(flatten)]
    input: Input,
    /// How many profiles to make.
    #[arg(long, default_value_t = 256)]
    count: usize,
    /// Where k-means starts from.
    #[arg(long, default_value_t = TrainConfig::default().seed)]
    seed: u64,
    /// Where the profiles go: JSON lines of `id`, `success_rate`, `win_rate`, `access_count` and `metadata`.
    #[arg(long, value_name = "FILE")]
    out_rows: PathBuf,
    /// Where their embeddings go: safetensors, f16.
    #[arg(long, value_name = "FILE")]
    out_embeddings: PathBuf,
}

#[derive(Args)]
struct TrainArgs {
    #[command(flatten)]
    input: Input,
    /// Where the model goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Units in the cell's state, 1 to 64.
    #[arg(long, default_value_t = TrainConfig::default().hidden_size)]
    hidden_size: usize,
    /// The largest learning rate.
    #[arg(long, default_value_t = TrainConfig::default().learning_rate)]
    learning_rate: f64,
    /// Passes over the rows, at most.
    #[arg(long, default_value_t = TrainConfig::default().epochs)]
    epochs: usize,
    /// Decides everything that is drawn.
    #[arg(long, default_value_t = TrainConfig::default().seed)]
    seed: u64,
    /// How a memory's ties count for the model: one half, or as a success.
    #[arg(long, value_enum, default_value_t = TargetName::default())]
    target: TargetName,
}

/// What a remembered outcome is coded as.
#[derive(Clone, Copy, ValueEnum)]
enum TargetName {
    /// 1 where the lightweight model did no worse, else 0.
    Suffices,
    /// 1 where the lightweight model did better, one half for a tie, 0 where it did worse.
    WinRate,
}

impl From<TargetName> for Target {
    fn from(name: TargetName) -> Self {
        match name {
            TargetName::Suffices => Self::Suffices,
            TargetName::WinRate => Self::WinRate,
        }
    }
}

impl Default for TargetName {
    fn default() -> Self {
        match Target::default() {
            Target::Suffices => Self::Suffices,
            Target::WinRate => Self::WinRate,
        }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Calibrate(args) => calibrate::calibrate(&args)?,
        Command::Evaluate(args) => evaluate::evaluate(&args)?,
        Command::Explain(args) => explain::explain(&args)?,
        Command::Profiles(args) => make_profiles(&args)?,
        Command::Replay(args) => return replay::replay(&args),
        Command::Route(args) => return route::route(&args),
        Command::Train(args) => make_model(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn make_model(args: &TrainArgs) -> anyhow::Result<()> {
    let TrainArgs { hidden_size, learning_rate, epochs, seed, target, .. } = *args;
    let config = TrainConfig { hidden_size, learning_rate, epochs, seed, target: target.into() };
    let data = args.input.read()?;

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
        say(format_args!(
            "interrupted after {} epochs; this is the best model so far",
            trained.epochs.len()
        ))?;
    }
    write(&args.out, &trained.model.to_bytes())?;
    let model = calibrate::certify_trained(&args.out, &data)?;
    say(format_args!("{}\n\nmodel {} written to {}", trained.report, model.version(), args.out.display()))
}

fn make_profiles(args: &ProfilesArgs) -> anyhow::Result<()> {
    let data = args.input.read()?;
    let summary = summarise(&data, args.count, args.seed)?;
    write(&args.out_rows, summary.to_json_lines().as_bytes())?;
    write(&args.out_embeddings, &embeddings_to_bytes(&summary.centroids))?;
    let counts = summary.profiles.iter().map(|profile| profile.access_count);
    say(format_args!(
        "{} profiles of {} rows, {} to {} rows each, written to {} and {}",
        summary.profiles.len(),
        counts.clone().sum::<u64>(),
        counts.clone().min().unwrap_or_default(),
        counts.max().unwrap_or_default(),
        args.out_rows.display(),
        args.out_embeddings.display(),
    ))
}

/// Prints a line. That nobody reads any more, as behind `| head`, is no error: the work goes on, and so does what it writes to
/// files.
fn say(line: impl Display) -> anyhow::Result<()> {
    match writeln!(stdout().lock(), "{line}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done.context("cannot write to standard output"),
    }
}

/// Writes beside the target and renames, so that a half-written file never carries its name.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    std::fs::write(&beside, bytes)
        .and_then(|()| std::fs::rename(&beside, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
