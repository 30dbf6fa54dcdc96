//! `tiny-dancer simulate`: replays rows as streams of requests, with a memory that begins empty.

mod budget;
mod learning;
mod report;
mod stream;
#[cfg(test)]
mod testing;

use crate::embedding::EmbedderArgs;
use crate::{Shared, note_unread, print, router};
use anyhow::Context;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use indicatif::{ProgressBar, ProgressStyle};
use learning::{Checkpoint, Counts, Sampling, Simulation, Window, checkpoints};
use rayon::prelude::*;
use report::{Ordered, Prices, Report, Sampled};
use std::path::PathBuf;
use stream::{Order, Pair, Rows};
use tiny_dancer::parts::core::Router;
use tiny_dancer::parts::core::coin::Seed;
use tiny_dancer_train::matrix::Matrix;
use tiny_dancer_train::vectors::Vectors;

/// The shadow rates that are compared.
const SHADOW_RATES: [f64; 4] = [0.0, 0.05, 0.2, 1.0];
/// The rates of exploring that are compared, with each shadow rate.
const EXPLORE: [f64; 2] = [0.0, 0.05];

#[derive(Args)]
pub(crate) struct SimulateArgs {
    /// Rows whose outcomes are all known: JSON lines, plain or `.zst`, as for `train`, or with `scores`, an object from the
    /// names of models to scores. Several files are the parts of one stream.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    rows: Vec<PathBuf>,
    /// Use these embeddings instead of the prompts, one file for each file of rows.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    embeddings: Vec<PathBuf>,
    /// Only the rows of this split.
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// A lightweight and a powerful model among the rows' scores. A row takes the first pair whose scores it has. Without it,
    /// `lightweight_correct` and `powerful_correct` are the pair.
    #[arg(long = "pair", value_name = "LIGHTWEIGHT,POWERFUL")]
    pairs: Vec<Pair>,
    /// Replay streams under a quality budget instead, and other policies beside it: each rate of judging, verdicts that come late
    /// or are lost, and an enemy. `--streams` is for each of them. See docs/promises.md.
    #[arg(long, conflicts_with_all = ["judge", "window"])]
    budget: bool,
    /// An order of the requests, as often as you like. By default all orders for which the rows suffice.
    #[arg(long = "order", value_parser = orders())]
    orders: Vec<Order>,
    /// The requests of a stream, drawn at random from all rows.
    #[arg(long, value_name = "N", default_value_t = 4000)]
    requests: usize,
    /// The streams of each order.
    #[arg(long, value_name = "N", default_value_t = 4)]
    streams: usize,
    /// The number of requests over which an APGR is taken. The frozen memory remembers as many.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    window: usize,
    /// The probability that the lightweight model answers a request of the powerful one too, for comparison. The rates 0, 0.05,
    /// 0.2 and 1 are always compared; this one is that of the learning curves.
    #[arg(long, default_value_t = 0.2)]
    shadow_rate: f64,
    /// The probability that a request of the powerful model goes to the lightweight one, in the learning curves.
    #[arg(long, default_value_t = 0.0)]
    explore: f64,
    /// The probability that an answer of the lightweight model is judged.
    #[arg(long, default_value_t = 1.0)]
    judge: f64,
    /// How many lightweight calls cost as much as a powerful one. Between the small and the large model of one vendor it is
    /// some 10 to 20.
    #[arg(long, default_value_t = 20.0)]
    price_ratio: f64,
    /// The price of a judgement, in calls of the powerful model. By default the powerful model reads both answers.
    #[arg(long, default_value_t = 1.0)]
    judgement_price: f64,
    /// The seed of the streams and of the coin.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    shared: Shared,
    #[command(flatten)]
    embedder: EmbedderArgs,
    /// The model's file; by default the embedded model for the embedder of the vectors.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Draw the learning curves, and the cost and benefit of shadowing, as SVG and PNG in this folder.
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
}

/// Reads an order's name, and lists the names in the help.
fn orders() -> impl TypedValueParser<Value = Order> {
    PossibleValuesParser::new(Order::ALL.map(Order::name)).try_map(|name| name.parse())
}

/// Why a simulation can't begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SimulateError {
    /// Two files have embeddings of different dimensions.
    #[error("the first file's embeddings have {first} dimensions, another one's {other}")]
    Dimension {
        /// Of the first file.
        first: usize,
        /// Of another file.
        other: usize,
    },
    /// Two files have embeddings of different embedders, or only one of the two is known.
    #[error("the first file's embeddings are of {first:?}, another one's of {other:?}")]
    Embedder {
        /// Of the first file, if it is known.
        first: Option<String>,
        /// Of the other file, if it is known.
        other: Option<String>,
    },
    /// The numbers of files of rows and of embeddings differ.
    #[error("{rows} files of rows, but {embeddings} of embeddings")]
    Files {
        /// Files of rows.
        rows: usize,
        /// Files of embeddings.
        embeddings: usize,
    },
    /// A row lacks the scores of every pair of models.
    #[error("{id} has the scores of no pair of models: name them with --pair LIGHTWEIGHT,POWERFUL")]
    NoPair {
        /// The row's id.
        id: String,
    },
    /// There are no rows.
    #[error("there are no rows")]
    NoRows,
    /// The rows lack what an order needs.
    #[error("order {order} needs {lacks}")]
    Order {
        /// The order.
        order: Order,
        /// What the rows lack.
        lacks: &'static str,
    },
    /// An argument is out of range.
    #[error("{field} is {value}, expected {expected}")]
    OutOfRange {
        /// The argument.
        field: &'static str,
        /// Its value.
        value: f64,
        /// The accepted values.
        expected: &'static str,
    },
    /// A pair of models is not two names with a comma between them.
    #[error("the pair is {text:?}, expected LIGHTWEIGHT,POWERFUL")]
    Pair {
        /// The text.
        text: String,
    },
    /// A stream is too short to compare the frozen memory with the others.
    #[error("a stream has {requests} requests, expected twice the window of {window} at least")]
    TooFew {
        /// The requests of a stream.
        requests: usize,
        /// The window.
        window: usize,
    },
}

impl SimulateArgs {
    fn check(&self) -> Result<(), SimulateError> {
        let require = |field, value, expected, holds| {
            if holds { Ok(()) } else { Err(SimulateError::OutOfRange { field, value, expected }) }
        };
        for (field, value) in
            [("shadow-rate", self.shadow_rate), ("explore", self.explore), ("judge", self.judge)]
        {
            require(field, value, "0 to 1", (0.0..=1.0).contains(&value))?;
        }
        for (field, value) in [("price-ratio", self.price_ratio), ("judgement-price", self.judgement_price)] {
            let least = if field == "price-ratio" { f64::MIN_POSITIVE } else { 0.0 };
            require(field, value, "a finite number, more than 0", value.is_finite() && value >= least)?;
        }
        for (field, value) in
            [("requests", self.requests), ("streams", self.streams), ("window", self.window)]
        {
            require(field, value as f64, "1 or more", value > 0)?;
        }
        let (rows, embeddings) = (self.rows.len(), self.embeddings.len());
        if embeddings != 0 && embeddings != rows {
            return Err(SimulateError::Files { rows, embeddings });
        }
        Ok(())
    }

    fn read(&self) -> anyhow::Result<Rows> {
        let mut files = vec![];
        for (number, path) in self.rows.iter().enumerate() {
            let read = |vectors: Vectors<'_>| Matrix::read(path, vectors, self.split.as_deref());
            let matrix = self.embedder.read(self.embeddings.get(number).map(PathBuf::as_path), read)?;
            note_unread(path, &matrix.unread);
            files.push(matrix);
        }
        let default = [Pair::default()];
        let pairs = if self.pairs.is_empty() { &default[..] } else { &self.pairs };
        Ok(Rows::new(files, pairs)?)
    }

    /// The compared samplings, and that of the learning curves, ascending.
    fn samplings(&self) -> (Vec<Sampling>, Sampling) {
        let Self { shadow_rate, explore, judge, .. } = *self;
        let own = Sampling { shadow_rate, explore, judge };
        let mut all: Vec<Sampling> = EXPLORE
            .iter()
            .flat_map(|&explore| SHADOW_RATES.map(|shadow_rate| Sampling { shadow_rate, explore, judge }))
            .collect();
        if !all.contains(&own) {
            all.push(own);
        }
        (all, own)
    }
}

pub(crate) fn simulate(args: &SimulateArgs) -> anyhow::Result<()> {
    args.check()?;
    if let Some(folder) = &args.plots {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let rows = args.read()?;
    let router = router(args.model.as_deref(), rows.embedder())?;
    let (_, overlap_text) = args.shared.check(&router.model(), rows.ids())?;
    let orders = if args.orders.is_empty() { rows.orders() } else { args.orders.clone() };
    orders.iter().try_for_each(|order| rows.check(*order))?;
    if args.budget {
        return budget::simulate(args, &rows, &router, &orders);
    }
    let (requests, window) = (args.requests.min(rows.len()), args.window);
    if requests < 2 * window {
        return Err(SimulateError::TooFew { requests, window }.into());
    }

    let (all, sampling) = args.samplings();
    // indicatif draws on standard error, and only where that is a terminal.
    let bar = ProgressBar::new((orders.len() * args.streams * all.len()) as u64)
        .with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} replays of streams, {eta} left")?);
    bar.tick();
    let ordered = |order: Order| -> anyhow::Result<Ordered> {
        let one = |number: usize| {
            replay(args, &rows, &router, order, number as u64, (&all, sampling), &|| bar.inc(1))
        };
        let streams: Vec<_> = (0..args.streams).into_par_iter().map(one).collect::<Result<_, _>>()?;
        let mut sampled: Vec<Sampled> = all
            .iter()
            .map(|&sampling| Sampled { sampling, counts: Counts::default(), later: Window::default() })
            .collect();
        for (sum, of) in streams.iter().flat_map(|(_, of)| of.iter().enumerate()) {
            sampled[sum].counts += of.counts;
            sampled[sum].later += of.later;
        }
        Ok(Ordered {
            order,
            streams: streams.into_iter().map(|(checkpoints, _)| checkpoints).collect(),
            sampled,
        })
    };
    let orders = orders.into_par_iter().map(ordered).collect::<anyhow::Result<Vec<_>>>()?;
    bar.finish_and_clear();

    let prices = Prices { lightweight: 1.0 / args.price_ratio, judgement: args.judgement_price };
    let (rows, streams, seed) = (rows.len(), args.streams, args.seed);
    let report = Report { orders, rows, requests, streams, window, seed, sampling, prices };
    if let Some(folder) = &args.plots {
        for (name, figure) in report.figures() {
            figure.write(&name, folder)?;
        }
    }
    if args.json {
        print(format_args!("{:#}", report.to_json()))
    } else {
        print(format_args!("model {}\n{overlap_text}\n{report}", router.model().version()))
    }
}

/// Replays one stream with all samplings. Returns the memories of the learning curves at each checkpoint, and what each
/// sampling counted.
fn replay(
    args: &SimulateArgs,
    rows: &Rows,
    router: &Router,
    order: Order,
    number: u64,
    (all, own): (&[Sampling], Sampling),
    done: &(dyn Fn() + Sync),
) -> anyhow::Result<(Vec<Checkpoint>, Vec<Sampled>)> {
    let stream = rows.draw(order, args.requests, args.seed, number);
    // Each stream has a coin of its own.
    let mut seed = [0; 16];
    seed[..8].copy_from_slice(&args.seed.to_le_bytes());
    seed[8..].copy_from_slice(&number.to_le_bytes());
    let simulation = Simulation::new(rows, &stream, router, args.window, Seed::new(seed));
    let checkpoints = checkpoints(stream.len(), args.window);
    let (mut compared, mut sampled) = (vec![], vec![]);
    for &sampling in all {
        let replayed = simulation.replay(sampling)?;
        let mut later = Window::default();
        for &after in &checkpoints[1..] {
            later += simulation.window(&replayed.decisions, after);
        }
        sampled.push(Sampled { sampling, counts: replayed.counts, later });
        if sampling == own {
            let (knowing, frozen) = (simulation.knowing(rows, &stream)?, simulation.frozen(&replayed)?);
            let at = |&after: &usize| Checkpoint {
                after,
                learning: simulation.window(&replayed.decisions, after),
                knowing: simulation.window(&knowing, after),
                frozen: simulation.window(&frozen, after),
            };
            compared = checkpoints.iter().map(at).collect();
        }
        done();
    }
    Ok((compared, sampled))
}
