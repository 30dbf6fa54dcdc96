//! The program `tiny-dancer`: makes routing models and memories from your logs.

mod calibrate;
mod evaluate;
mod explain;
mod output;
mod replay;
mod route;

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
use tiny_dancer_train::rows::{Dataset, embeddings_to_bytes};
use tiny_dancer_train::sketch::Overlap;
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
    /// JSON lines, plain or `.zst`, see docs/rows.md: `id`, `lightweight_correct`, `powerful_correct`, and maybe `subject`
    /// and `split` (`train`, `cal` or `test`; by the hash of the id, 70:15:15, where it is missing).
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
        note_unread(&self.rows, &data.unread);
        Ok(data)
    }
}

/// Whether rows may be judged that the model was made of.
#[derive(Args)]
struct Shared {
    /// Judge also by rows that the model was fitted to, stopped by or calibrated with. What comes out flatters it.
    #[arg(long)]
    allow_training_rows: bool,
}

impl Shared {
    /// Compares the rows to judge by with those that a model was made of, and says what came out.
    fn check<'a>(
        &self,
        model: &Model,
        ids: impl Iterator<Item = &'a str>,
    ) -> anyhow::Result<(Option<Overlap>, String)> {
        let Some(overlap) = Overlap::new(model, ids) else {
            let said = "the model file does not say which rows it was made of: these may be among them";
            return Ok((None, said.to_owned()));
        };
        let Overlap { rows, compared, shared, .. } = overlap;
        let mut said = match shared {
            0 => format!("the model was made of none of the {compared} rows that can be compared"),
            _ => format!("the model was made of {shared} of the {compared} rows that can be compared"),
        };
        if compared < rows {
            write!(said, ", a sample of these {rows}")?;
        }
        if shared > 0 && !self.allow_training_rows {
            bail!("{said}; what they say flatters it, and is printed with --allow-training-rows");
        } else if shared > 0 {
            said.push_str(": these figures flatter it");
        }
        Ok((Some(overlap), said))
    }
}

/// What is remembered: past rows, or profiles of them.
#[derive(Args)]
struct Memory {
    /// JSON lines, plain or `.zst`, see docs/rows.md: rows as for `train`, of which the split `train` is remembered, or
    /// profiles with `success_rate`, `win_rate` and `access_count`.
    #[arg(long, value_name = "FILE")]
    memory_rows: PathBuf,
    /// Their embeddings.
    #[arg(long, value_name = "FILE")]
    memory_embeddings: PathBuf,
}

impl Memory {
    /// What rows that are judged remember: profiles, and the split `train` as for `train`.
    fn read(&self) -> Result<Past, PastError> {
        let past = Past::read(&self.memory_rows, &self.memory_embeddings, "train")?;
        note_unread(&self.memory_rows, &past.unread);
        Ok(past)
    }

    /// What a router in use remembers: rows without a split, too.
    fn remember(&self) -> Result<Past, PastError> {
        let past = Past::remember(&self.memory_rows, &self.memory_embeddings)?;
        note_unread(&self.memory_rows, &past.unread);
        Ok(past)
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
    /// How a memory's ties count for the model: as a success with `suffices`, as one half with `win-rate`.
    #[arg(long, default_value_t, value_parser = targets())]
    target: Target,
}

/// Reads a target's name, and lists the names in the help.
fn targets() -> impl TypedValueParser<Value = Target> {
    PossibleValuesParser::new(Target::ALL.map(Target::name)).try_map(|name| name.parse())
}

/// What a shell reports of a program that a closed pipe ended: 128, and the number of SIGPIPE.
const CLOSED_PIPE: u8 = 141;

fn main() -> ExitCode {
    run(Cli::parse().command).unwrap_or_else(|error| {
        let closed = |cause: &io::Error| cause.kind() == ErrorKind::BrokenPipe;
        if error.root_cause().downcast_ref().is_some_and(closed) {
            return ExitCode::from(CLOSED_PIPE);
        }
        // Where standard error is closed, there is no place to say so.
        let _ = writeln!(stderr().lock(), "error: {}", causes(&error));
        ExitCode::FAILURE
    })
}

/// An error and its causes, each once: most errors say their cause themselves.
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
        Command::Profiles(args) => make_profiles(&args)?,
        Command::Replay(args) => return replay::replay(&args),
        Command::Route(args) => return route::route(&args),
        Command::Train(args) => make_model(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn make_model(args: &TrainArgs) -> anyhow::Result<()> {
    let TrainArgs { hidden_size, learning_rate, epochs, seed, target, .. } = *args;
    let config = TrainConfig { hidden_size, learning_rate, epochs, seed, target };
    let out = Output::new(&args.out)?;
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
    let (model, promises) = calibrate::certify_trained(trained.model, &data, &out)?;
    out.write(&model.to_bytes())?;
    let (version, path) = (model.version(), out.path().display());
    say(format_args!("{}\n\nmodel {version} written to {path}\n\n{promises}", trained.report))
}

fn make_profiles(args: &ProfilesArgs) -> anyhow::Result<()> {
    let (out_rows, out_embeddings) = (Output::new(&args.out_rows)?, Output::new(&args.out_embeddings)?);
    let data = args.input.read()?;
    let summary = summarise(&data, args.count, args.seed)?;
    out_rows.write(summary.to_json_lines().as_bytes())?;
    out_embeddings.write(&embeddings_to_bytes(&summary.centroids))?;
    let counts = summary.profiles.iter().map(|profile| profile.access_count);
    say(format_args!(
        "{} profiles of {} rows, {} to {} rows each, written to {} and {}",
        summary.profiles.len(),
        counts.clone().sum::<u64>(),
        counts.clone().min().unwrap_or_default(),
        counts.max().unwrap_or_default(),
        out_rows.path().display(),
        out_embeddings.path().display(),
    ))
}

/// Prints a line. A closed pipe, as behind `| head`, is no error: the work goes on, and so does what it writes to files.
fn say(line: impl Display) -> anyhow::Result<()> {
    match writeln!(stdout().lock(), "{line}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done.context("cannot write to standard output"),
    }
}

/// Prints a note on standard error, beside what may be read by another program.
fn note(line: impl Display) {
    // A note that can't be printed changes nothing.
    let _ = writeln!(stderr().lock(), "note: {line}");
}

/// Names the keys of a file that are not read, so that a misspelt one is found.
fn note_unread(path: &Path, keys: &[String]) {
    if !keys.is_empty() {
        note(format_args!("{}: these keys are not read: {}", path.display(), keys.join(", ")));
    }
}

#[cfg(test)]
mod tests;
