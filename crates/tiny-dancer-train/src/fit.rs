//! Fitting: Adam on the draws of the training rows, until the early-stopping rows stop gaining.
//!
//! The loss of a batch has three terms:
//!
//! - the cross-entropy of the candidates read **together**, on the row's label,
//! - the cross-entropy of candidates read **alone**, on the same label, with weight `ALONE_WEIGHT`,
//! - a penalty on **directions**, with weight `DIRECTION_WEIGHT`, on random pairs of points of the feature cube that
//!   differ in one feature. A candidate's own logit must rise with its success rate everywhere; with the other four
//!   features it must rise where the success rate is 1 and fall where it is 0, by at least `MARGIN` per unit. With the
//!   success rate of all of several equal candidates that are read together, it must rise, too. What is missing is squared. Real rows fill a small part of the cube; the penalty says what is wanted elsewhere.
//!
//! The learning rate rises over the first `WARM_UP` of the steps and falls to nothing along a cosine. What is judged,
//! and kept, is an exponential average of the weights, which a noisy last step cannot spoil.
//!
//! Batches are cut into shards of `SHARD` rows. Each shard is computed on one thread, shards are summed in order, and
//! every draw has its own random stream, named by epoch and row: two runs with one seed give the same bits on any
//! number of threads.

use crate::cell::{Batch, Parameters, Pass, Step, sigmoid};
use crate::draw::Memories;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use tiny_dancer_core::Feature;
use tiny_dancer_core::fastgrnn::JOINT_CANDIDATES;

const BATCH: usize = 256;
const SHARD: usize = 64;
const ALONE_WEIGHT: f64 = 0.5;
const DIRECTION_WEIGHT: f64 = 30.0;
/// In logits per unit of a feature: a twentieth moves a confidence by a percent or so, far more than f32 rounds.
const MARGIN: f64 = 0.05;
const WARM_UP: f64 = 0.15;
/// Epochs without gain after which fitting stops.
const PATIENCE: usize = 40;
/// The averaged weights forget half of the past in some 70 steps, or two and a half epochs of 7,000 rows.
const AVERAGE: f64 = 0.99;
/// Draws of each early-stopping row, fixed before fitting.
const DRAWS: u64 = 8;

/// The three terms of the loss, before weighting.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Losses {
    /// Mean cross-entropy of candidates read together, in nats.
    pub together: f64,
    /// Mean cross-entropy of candidates read alone, in nats.
    pub alone: f64,
    /// Mean square of what the directions lack, in logits per unit.
    pub direction: f64,
}

impl Losses {
    /// What is minimised.
    pub fn total(&self) -> f64 {
        self.together + ALONE_WEIGHT * self.alone + DIRECTION_WEIGHT * self.direction
    }

    fn add(&mut self, other: Self) {
        self.together += other.together;
        self.alone += other.alone;
        self.direction += other.direction;
    }

    fn divide(&mut self, by: f64) {
        self.together /= by;
        self.alone /= by;
        self.direction /= by;
    }
}

/// How fitting goes, after each epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Epoch {
    /// Which one, from 1.
    pub number: usize,
    /// The losses of its batches, under the weights as they moved.
    pub fit: Losses,
    /// The losses of the early-stopping rows, under the averaged weights.
    pub early_stopping: Losses,
    /// Whether it is the best so far.
    pub best: bool,
}

/// What to fit.
pub(crate) struct Problem<'a> {
    pub(crate) memories: &'a Memories,
    /// By row of the dataset.
    pub(crate) labels: &'a [f64],
    pub(crate) fit: Vec<usize>,
    pub(crate) early_stopping: Vec<usize>,
}

/// Hidden size, peak learning rate, epochs, seed.
#[derive(Clone, Copy)]
pub(crate) struct Schedule {
    pub(crate) hidden_size: usize,
    pub(crate) learning_rate: f64,
    pub(crate) epochs: usize,
    pub(crate) seed: u64,
}

/// The best parameters, and the epochs on the way there.
pub(crate) struct Fitted {
    pub(crate) parameters: Parameters,
    pub(crate) epochs: Vec<Epoch>,
}

/// Fits a cell. Calls `watch` after each epoch and `stop` before each batch.
pub(crate) fn fit(
    problem: &Problem<'_>,
    schedule: Schedule,
    watch: &mut dyn FnMut(&Epoch),
    stop: &dyn Fn() -> bool,
) -> Fitted {
    let Schedule { hidden_size, learning_rate, epochs, seed } = schedule;
    let rate = problem.fit.iter().map(|&row| problem.labels[row]).sum::<f64>() / problem.fit.len() as f64;
    let mut parameters = first(hidden_size, rate, &mut stream(seed, 0, 0));
    let mut average = Average::new(&parameters);
    let mut adam = Adam::new(parameters.values.len());
    let mut fitted = Fitted { parameters: parameters.clone(), epochs: vec![] };
    let (mut best, mut best_epoch, mut taken) = (f64::INFINITY, 0, 0.0);
    let mut rows = problem.fit.clone();
    let steps = (epochs * rows.len().div_ceil(BATCH)) as f64;
    for number in 1..=epochs {
        rows.shuffle(&mut stream(seed, number as u64, u64::from(u32::MAX)));
        let mut losses = Losses::default();
        for batch in rows.chunks(BATCH) {
            if stop() {
                return fitted;
            }
            let (gradient, loss) = problem.gradient(&parameters, batch, seed, number as u64);
            losses.add(loss);
            taken += 1.0;
            adam.step(&mut parameters.values, &gradient, learning_rate * one_cycle(taken / steps));
            average.add(&parameters);
        }
        losses.divide(rows.len().div_ceil(BATCH) as f64);
        let averaged = average.parameters();
        let early_stopping = problem.losses(&averaged, &problem.early_stopping, seed);
        let gained = early_stopping.total() < best;
        if gained {
            (best, best_epoch) = (early_stopping.total(), number);
            fitted.parameters = averaged;
        }
        fitted.epochs.push(Epoch { number, fit: losses, early_stopping, best: gained });
        watch(&fitted.epochs[number - 1]);
        if number - best_epoch >= PATIENCE {
            break;
        }
    }
    fitted
}

/// The random stream of one purpose.
fn stream(seed: u64, epoch: u64, purpose: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(epoch << 32 | purpose);
    rng
}

/// Rises to 1 and falls to 0 while `progress` goes from 0 to 1.
fn one_cycle(progress: f64) -> f64 {
    if progress < WARM_UP {
        progress / WARM_UP
    } else {
        let fall = (progress - WARM_UP) / (1.0 - WARM_UP);
        0.5 * (1.0 + (std::f64::consts::PI * fall).cos())
    }
}

/// Where fitting starts: small random weights, gates that keep most of the state, and the base rate as the answer.
fn first(hidden: usize, rate: f64, rng: &mut impl Rng) -> Parameters {
    let mut values = Vec::with_capacity(Parameters::count(hidden));
    let mut uniform = |values: &mut Vec<f64>, n: usize, centre: f64, spread: f64| {
        values.extend((0..n).map(|_| centre + rng.random_range(-spread..=spread)));
    };
    let fan_in = 1.0 / (hidden as f64).sqrt();
    uniform(&mut values, hidden * Feature::COUNT, 0.0, 1.0);
    uniform(&mut values, hidden * hidden, 0.0, fan_in);
    values.extend((0..hidden).map(|unit| (1.0 + 62.0 * (unit as f64 + 0.5) / hidden as f64).ln())); // bias_gate
    uniform(&mut values, hidden, 0.0, 0.5); // bias_update
    values.extend([1.0, -4.0]); // zeta and nu, as EdgeML starts them
    uniform(&mut values, hidden, 0.0, fan_in);
    let rate = rate.clamp(0.01, 0.99);
    values.push((rate / (1.0 - rate)).ln());
    Parameters { hidden, values }
}

impl Problem<'_> {
    /// The gradient of a batch's loss, and its terms.
    fn gradient(&self, parameters: &Parameters, rows: &[usize], seed: u64, epoch: u64) -> (Vec<f64>, Losses) {
        let shards = rows.par_chunks(SHARD).map(|rows| {
            let shard = self.shard(rows, seed, epoch);
            let pass = Pass::new(parameters, &shard.batch);
            let (losses, by_logit) = shard.losses(&pass.logits());
            let weight = rows.len() as f64;
            (pass.backward(&by_logit), losses, weight)
        });
        let (mut gradient, mut losses) = (vec![0.0; parameters.values.len()], Losses::default());
        for (by_parameter, mut loss, weight) in shards.collect::<Vec<_>>() {
            let weight = weight / rows.len() as f64;
            gradient.iter_mut().zip(by_parameter).for_each(|(sum, value)| *sum += value * weight);
            loss.divide(1.0 / weight);
            losses.add(loss);
        }
        (gradient, losses)
    }

    /// The losses of fixed draws.
    fn losses(&self, parameters: &Parameters, rows: &[usize], seed: u64) -> Losses {
        let mut losses = Losses::default();
        let draws: Vec<(u64, &[usize])> =
            (0..DRAWS).flat_map(|draw| rows.chunks(SHARD).map(move |rows| (draw, rows))).collect();
        let shards = draws.into_par_iter().map(|(draw, rows)| {
            let shard = self.shard(rows, seed, u64::from(u32::MAX) - draw);
            let (mut losses, _) = shard.losses(&Pass::new(parameters, &shard.batch).logits());
            losses.divide(1.0 / rows.len() as f64);
            losses
        });
        shards.collect::<Vec<_>>().into_iter().for_each(|loss| losses.add(loss));
        losses.divide((DRAWS as usize * rows.len()) as f64);
        losses
    }

    /// Draws a request for each row, and as many pairs of points.
    fn shard(&self, rows: &[usize], seed: u64, epoch: u64) -> Shard {
        let mut sequences: Vec<Vec<Step>> = vec![];
        let (mut together, mut alone, mut pairs) = (vec![], vec![], vec![]);
        for &row in rows {
            let rng = &mut stream(seed, epoch, row as u64);
            let request = self.memories.draw(row, rng);
            let label = self.labels[row];
            if !request.together.is_empty() {
                together.push((sequences.len(), label));
                sequences.push(request.together);
            }
            for candidate in request.alone {
                alone.push((sequences.len(), label));
                sequences.push(vec![candidate]);
            }
            let Pair { low, high, rise, copies } = pair(rng);
            pairs.push((sequences.len(), rise));
            sequences.extend([vec![low; copies], vec![high; copies]]);
        }
        Shard { batch: Batch::new(&sequences), together, alone, pairs }
    }
}

/// Two points of the feature cube that differ in one feature.
struct Pair {
    low: Step,
    high: Step,
    /// How much they differ, times the sign that the logit's difference must have.
    rise: f64,
    /// How often each is read.
    copies: usize,
}

/// Draws a pair.
fn pair(rng: &mut impl Rng) -> Pair {
    let feature = Feature::ALL[rng.random_range(0..Feature::COUNT)];
    let range = |feature| if feature == Feature::Similarity { -1.0..=1.0 } else { 0.0..=1.0 };
    // Corners and faces are where a cell saturates, so half of the coordinates lie on them.
    let mut coordinate = |feature| {
        let range: std::ops::RangeInclusive<f64> = range(feature);
        match rng.random_range(0..4) {
            0 => *range.start(),
            1 => *range.end(),
            _ => rng.random_range(range),
        }
    };
    let mut low = Feature::ALL.map(&mut coordinate);
    let mut sign = 1.0;
    if feature != Feature::SuccessRate {
        let success = f64::from(rng.random_bool(0.5));
        low[Feature::SuccessRate as usize] = success;
        sign = 2.0 * success - 1.0;
    }
    let (start, end) = range(feature).into_inner();
    let rise = rng.random_range(0.02..0.5) * (end - start);
    low[feature as usize] = rng.random_range(start..=end - rise);
    let mut high = low;
    high[feature as usize] += rise;
    // Better memories make a request better, however many there are.
    let many = feature == Feature::SuccessRate && rng.random_bool(0.5);
    let copies = if many { (JOINT_CANDIDATES as f64).powf(rng.random()) as usize } else { 1 };
    Pair { low, high, rise: rise * sign, copies }
}

/// Checks the directions on a grid of the feature cube, between neighbouring points: how many were checked, and how
/// many do not hold.
pub(crate) fn directions(parameters: &Parameters) -> (usize, usize) {
    let even =
        |n: u32, low: f64| (0..n).map(move |i| low + (1.0 - low) * f64::from(i) / f64::from(n - 1)).collect();
    let axes: [Vec<f64>; Feature::COUNT] = Feature::ALL
        .map(|feature| if feature == Feature::Similarity { even(17, -1.0) } else { even(9, 0.0) });
    let points = axes.iter().map(Vec::len).product::<usize>();
    // A point's number in mixed radix, the last feature fastest.
    let stride = |feature: usize| axes[feature + 1..].iter().map(Vec::len).product::<usize>();
    let coordinate =
        |point: usize, feature: usize| axes[feature][point / stride(feature) % axes[feature].len()];
    let steps: Vec<[Step; 1]> =
        (0..points).map(|point| [std::array::from_fn(|f| coordinate(point, f))]).collect();
    let batch = Batch::new(&steps);
    let logits = Pass::new(parameters, &batch).logits();
    let (mut checked, mut broken) = (0, 0);
    for (point, [step]) in steps.iter().enumerate() {
        for feature in Feature::ALL {
            let success = step[Feature::SuccessRate as usize];
            let next = point + stride(feature as usize);
            let sign = match feature {
                Feature::SuccessRate => 1.0,
                _ if success == 1.0 => 1.0,
                _ if success == 0.0 => -1.0,
                _ => continue,
            };
            if step[feature as usize] < 1.0 {
                checked += 1;
                broken += usize::from(sign * (logits[next] - logits[point]) <= 0.0);
            }
        }
    }
    (checked, broken)
}

/// A shard's sequences, and what each is for.
struct Shard {
    batch: Batch,
    /// Sequence and label.
    together: Vec<(usize, f64)>,
    /// Sequence and label.
    alone: Vec<(usize, f64)>,
    /// The first of two sequences, and the signed rise between them.
    pairs: Vec<(usize, f64)>,
}

impl Shard {
    /// The mean losses, and the gradient of their weighted sum by each logit.
    fn losses(&self, logits: &[f64]) -> (Losses, Vec<f64>) {
        let mut by_logit = vec![0.0; logits.len()];
        let mut cross_entropy = |sequences: &[(usize, f64)], weight: f64| {
            let n = sequences.len().max(1) as f64;
            let mut sum = 0.0;
            for &(i, label) in sequences {
                let logit = logits[i];
                // -y ln p - (1 - y) ln (1 - p), without overflow.
                sum += logit.max(0.0) - label * logit + (-logit.abs()).exp().ln_1p();
                by_logit[i] = weight * (sigmoid(logit) - label) / n;
            }
            sum / n
        };
        let together = cross_entropy(&self.together, 1.0);
        let alone = cross_entropy(&self.alone, ALONE_WEIGHT);
        let n = self.pairs.len().max(1) as f64;
        let mut direction = 0.0;
        for &(i, rise) in &self.pairs {
            let lacking = (MARGIN - (logits[i + 1] - logits[i]) / rise).max(0.0);
            direction += lacking * lacking / n;
            let by_difference = DIRECTION_WEIGHT * -2.0 * lacking / rise / n;
            by_logit[i] = -by_difference;
            by_logit[i + 1] = by_difference;
        }
        (Losses { together, alone, direction }, by_logit)
    }
}

/// Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015, with its own constants.
struct Adam {
    first: Vec<f64>,
    second: Vec<f64>,
    steps: i32,
}

impl Adam {
    fn new(parameters: usize) -> Self {
        Self { first: vec![0.0; parameters], second: vec![0.0; parameters], steps: 0 }
    }

    fn step(&mut self, parameters: &mut [f64], gradient: &[f64], learning_rate: f64) {
        const BETA_1: f64 = 0.9;
        const BETA_2: f64 = 0.999;
        const EPSILON: f64 = 1e-8;
        self.steps += 1;
        let (bias_1, bias_2) = (1.0 - BETA_1.powi(self.steps), 1.0 - BETA_2.powi(self.steps));
        for (i, &g) in gradient.iter().enumerate() {
            self.first[i] = BETA_1 * self.first[i] + (1.0 - BETA_1) * g;
            self.second[i] = BETA_2 * self.second[i] + (1.0 - BETA_2) * g * g;
            parameters[i] -=
                learning_rate * (self.first[i] / bias_1) / ((self.second[i] / bias_2).sqrt() + EPSILON);
        }
    }
}

/// The exponential average of the parameters, corrected for its start.
struct Average {
    sum: Parameters,
    weight: f64,
}

impl Average {
    fn new(parameters: &Parameters) -> Self {
        let values = vec![0.0; parameters.values.len()];
        Self { sum: Parameters { hidden: parameters.hidden, values }, weight: 0.0 }
    }

    fn add(&mut self, parameters: &Parameters) {
        self.weight = AVERAGE * self.weight + 1.0 - AVERAGE;
        for (sum, value) in self.sum.values.iter_mut().zip(&parameters.values) {
            *sum = AVERAGE * *sum + (1.0 - AVERAGE) * value;
        }
    }

    fn parameters(&self) -> Parameters {
        let mut average = self.sum.clone();
        average.values.iter_mut().for_each(|value| *value /= self.weight);
        average
    }
}

#[cfg(test)]
mod tests;
