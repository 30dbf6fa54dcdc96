//! `tiny-dancer simulate --budget`: streams under a quality budget, and other policies on the same scores.

mod neighbours;
mod policies;
mod record;
mod stream;

use super::SimulateArgs;
use super::stream::{Order, Request, Rows};
use crate::print;
use indicatif::{ProgressBar, ProgressStyle};
use neighbours::Neighbours;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use record::{Cell, ENEMY, Moment, POLICIES, Record, Tally};
use stream::{Setting, Stream};
use tiny_dancer::Thresholds;
use tiny_dancer::parts::core::budget::{JudgeRate, QualityBudget};
use tiny_dancer::parts::core::coin::Seed;
use tiny_dancer::parts::core::promise::{RiskBudget, resolve};
use tiny_dancer::parts::core::{Router, RouterConfig};

/// How answers are judged.
const JUDGE_RATES: [JudgeRate; 4] =
    [JudgeRate::Fixed(1.0), JudgeRate::Fixed(0.5), JudgeRate::Fixed(0.2), JudgeRate::Adaptive { floor: 0.2 }];
const BURSTS: [f64; 2] = [10.0, 40.0];
/// How many requests later verdicts come, and the share that is lost.
const VERDICTS: [(usize, f64); 4] = [(0, 0.0), (20, 0.0), (100, 0.0), (20, 0.1)];
/// How many times as long the longer streams are.
const LONGER: usize = 4;
/// The promise of Learn-then-Test, as docs/model.md has it.
const PROMISE: RiskBudget = RiskBudget { alpha: 0.15, delta: 0.05 };

/// The streams of a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Kind {
    /// `None` is the enemy, whose requests come in random order.
    order: Option<Order>,
    setting: Setting,
    requests: usize,
    streams: usize,
}

impl Kind {
    fn is_pictured(self, order: Order) -> bool {
        let Setting { judge_rate, burst, late, lost } = self.setting;
        self.order == Some(order)
            && judge_rate == JUDGE_RATES[3]
            && (burst, late, lost) == (BURSTS[0], 20, 0.0)
    }
}

fn name(judge_rate: JudgeRate) -> String {
    match judge_rate {
        JudgeRate::Adaptive { .. } => "adaptive".to_owned(),
        JudgeRate::Fixed(q) => q.to_string(),
    }
}

/// All cells: each order with each setting, the enemy with half as many streams as all orders together, and longer streams in random order and by
/// subject.
fn kinds(args: &SimulateArgs, orders: &[Order], rows: usize) -> Vec<Kind> {
    let requests = args.requests.min(rows);
    let settings = || {
        JUDGE_RATES.into_iter().flat_map(|judge_rate| {
            BURSTS.into_iter().flat_map(move |burst| {
                VERDICTS.into_iter().map(move |(late, lost)| Setting { judge_rate, burst, late, lost })
            })
        })
    };
    let mut kinds = vec![];
    for setting in settings() {
        let of = |&order: &Order| Kind { order: Some(order), setting, requests, streams: args.streams };
        kinds.extend(orders.iter().map(of));
        kinds.push(Kind {
            order: None,
            setting,
            requests,
            streams: (args.streams * orders.len()).div_ceil(2),
        });
    }
    let longer = requests * LONGER;
    let setting = Setting { judge_rate: JudgeRate::Fixed(0.2), burst: 10.0, late: 20, lost: 0.0 };
    for &order in orders.iter().filter(|it| [Order::Random, Order::BySubject].contains(it)) {
        if longer <= rows {
            kinds.push(Kind { order: Some(order), setting, requests: longer, streams: args.streams });
        }
    }
    kinds
}

/// What is added up for one stream.
struct One {
    shadowed: usize,
    tallies: [Tally; POLICIES.len()],
    moments: Vec<Moment>,
}

pub(super) fn simulate(
    args: &SimulateArgs,
    rows: &Rows,
    router: &Router,
    orders: &[Order],
) -> anyhow::Result<()> {
    let kinds = kinds(args, orders, rows.len());
    let promise = resolve(router.model().risk_path(), PROMISE).ok().map(|step| step.thresholds());
    // Streams of one length and number have the same rows, and so the same neighbours.
    let mut drawn: Vec<(usize, u64)> = kinds
        .iter()
        .flat_map(|kind| (0..kind.streams as u64).map(|number| (kind.requests, number)))
        .collect();
    // indicatif draws on standard error, and only where that is a terminal.
    let bar = ProgressBar::new(drawn.len() as u64)
        .with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} streams, {eta} left")?);
    bar.tick();
    drawn.sort_unstable();
    drawn.dedup();
    let of_number = |&(requests, number): &(usize, u64)| -> anyhow::Result<Vec<(usize, u64, One)>> {
        let neighbours = Neighbours::new(rows, &rows.draw(Order::Random, requests, args.seed, number))?;
        let has = |(_, kind): &(usize, &Kind)| kind.requests == requests && number < kind.streams as u64;
        let kinds: Vec<(usize, &Kind)> = kinds.iter().enumerate().filter(has).collect();
        let one = |&(cell, kind): &(usize, &Kind)| {
            let one = replay(args, rows, &neighbours, router, promise, (cell as u64, *kind), number)?;
            bar.inc(1);
            Ok((cell, number, one))
        };
        kinds.par_iter().map(one).collect()
    };
    let streams: Vec<Vec<_>> = drawn.par_iter().map(of_number).collect::<anyhow::Result<_>>()?;
    bar.finish_and_clear();

    let mut cells: Vec<Cell> = kinds.iter().map(empty_cell).collect();
    let pictured = orders.iter().copied().find(|order| *order == Order::BySubject).unwrap_or(orders[0]);
    let mut moments = vec![];
    for (cell, number, one) in streams.into_iter().flatten() {
        cells[cell].shadowed += one.shadowed;
        cells[cell].tallies.iter_mut().zip(one.tallies).for_each(|(sum, tally)| *sum += tally);
        if number == 0 && kinds[cell].is_pictured(pictured) {
            moments = one.moments;
        }
    }
    let QualityBudget { loss_rate, delta, .. } = QualityBudget::default();
    let record = Record {
        model: router.model().version().to_owned(),
        rows: rows.len(),
        seed: args.seed,
        loss_rate,
        delta,
        shadow_rate: args.shadow_rate,
        explore: args.explore,
        price_lightweight: 1.0 / args.price_ratio,
        price_judgement: args.judgement_price,
        alpha: PROMISE.alpha,
        cells,
        pictured: super::report::spoken(pictured).to_owned(),
        moments,
    };
    if let Some(folder) = &args.plots {
        record.figure().write("budget", folder)?;
    }
    if args.json { print(record.to_json()?) } else { print(record) }
}

fn empty_cell(kind: &Kind) -> Cell {
    let Kind { order, setting: Setting { judge_rate, burst, late, lost }, requests, streams } = *kind;
    Cell {
        traffic: order.map_or(ENEMY, Order::name).to_owned(),
        judged: name(judge_rate),
        burst,
        late,
        lost,
        requests,
        streams,
        shadowed: 0,
        tallies: Default::default(),
    }
}

/// Replays one stream of a cell.
fn replay(
    args: &SimulateArgs,
    rows: &Rows,
    neighbours: &Neighbours,
    router: &Router,
    promise: Option<Thresholds>,
    (cell, kind): (u64, Kind),
    number: u64,
) -> anyhow::Result<One> {
    let Kind { order, setting, requests, .. } = kind;
    let drawn = rows.draw(order.unwrap_or(Order::Random), requests, args.seed, number);
    let request = |&request: &Request| Some((neighbours.place(request.row)?, rows.outcome(request)?));
    let requests: Option<_> = drawn.iter().map(request).collect();
    let requests = requests.expect("all orders of a number have the same rows, with a pair of each row");
    let stream = Stream { neighbours, requests, enemy: order.is_none() };
    let budget = setting.budget();
    let mut seed = [0; 16];
    seed[..8].copy_from_slice(&args.seed.to_le_bytes());
    seed[8..].copy_from_slice(&number.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed({
        let mut both = [0; 32];
        both[..16].copy_from_slice(&seed);
        both[16..24].copy_from_slice(&cell.to_le_bytes());
        both
    });
    let config = RouterConfig {
        budget: Some(budget.clone()),
        shadow_rate: args.shadow_rate,
        explore: args.explore,
        seed: Some(Seed::new(seed)),
        ..router.config().clone()
    };
    let spent = stream.spend(setting, config, cell << 32, || rng.random_bool(setting.lost))?;
    let scored = &spent.scored;
    let q = match setting.judge_rate {
        JudgeRate::Adaptive { floor: q } | JudgeRate::Fixed(q) => q,
    };
    let judging = (q, setting.late, setting.lost);
    let tallies = [
        spent.tally,
        policies::frozen(scored, &budget),
        policies::learn_then_test(scored, &budget, promise),
        policies::adaptive_conformal(scored, &budget, router.thresholds(), judging, &mut rng),
        policies::best_fixed(scored, &budget),
    ];
    Ok(One { shadowed: spent.shadowed, tallies, moments: spent.moments })
}
