//! Fitting: Adam on the draws of the training rows, until the loss of the early-stopping rows stops falling.
//!
//! The loss of a batch has three terms:
//!
//! - the cross-entropy of the **joint** pass with the row's label,
//! - the cross-entropy of the **per-candidate** pass with the same label, with weight `PER_CANDIDATE_WEIGHT`,
//! - a penalty on **directions**, with weight `DIRECTION_WEIGHT`, on random pairs of points of the feature cube that
//!   differ in one feature. A candidate's own logit must rise with its success rate everywhere. With each other
//!   feature it must rise where the success rate is 1 and fall where it is 0, by at least `MARGIN` per unit. The
//!   logit of the joint pass over several equal candidates must rise with their common success rate. The penalty is
//!   the square of what the slope falls short. Real rows fill a small part of the cube; the penalty defines the
//!   wanted behaviour in the rest.
//!
//! The learning rate rises over the first `WARM_UP` of the steps and falls to 0 along a cosine. Fitting judges and
//! keeps an exponential average of the weights, which a single noisy step hardly changes.
//!
//! Batches are divided into shards of `SHARD` rows. Each shard is computed on one thread, shards are summed in order,
//! and each draw has its own random stream, selected by epoch and row. So two runs with one seed give the same bits
//! on any number of threads.

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
const PER_CANDIDATE_WEIGHT: f64 = 0.5;
const DIRECTION_WEIGHT: f64 = 30.0;
/// In logits per unit of a feature. 0.05 changes a confidence by about 1%, far more than the rounding of f32.
const MARGIN: f64 = 0.05;
const WARM_UP: f64 = 0.15;
/// Epochs without improvement after which fitting stops.
const PATIENCE: usize = 40;
/// The decay of the average per step. Its half-life is some 70 steps, or two and a half epochs of 7,000 rows.
const AVERAGE: f64 = 0.99;
/// Draws of each early-stopping row, the same after each epoch.
const DRAWS: u64 = 8;

/// The three terms of the loss, before weighting.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Losses {
    /// Mean cross-entropy of the joint pass, in nats.
    pub joint: f64,
    /// Mean cross-entropy of the per-candidate pass, in nats.
    pub per_candidate: f64,
    /// Mean square of what the directions fall short, in logits per unit.
    pub direction: f64,
}

impl Losses {
    /// The weighted sum that fitting minimises.
    pub fn total(&self) -> f64 {
        self.joint + PER_CANDIDATE_WEIGHT * self.per_candidate + DIRECTION_WEIGHT * self.direction
    }

    fn add(&mut self, other: Self) {
        self.joint += other.joint;
        self.per_candidate += other.per_candidate;
        self.direction += other.direction;
    }

    fn divide(&mut self, by: f64) {
        self.joint /= by;
        self.per_candidate /= by;
        self.direction /= by;
    }
}

/// The losses after one epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Epoch {
    /// The epoch's number, from 1.
    pub number: usize,
    /// The mean losses of its batches, each under the weights of its step.
    pub fit: Losses,
    /// The losses of the early-stopping rows, under the averaged weights.
    pub early_stopping: Losses,
    /// Whether it is the best epoch so far.
    pub best: bool,
}

/// The rows to fit, with their memories and labels.
pub(crate) struct Problem<'a> {
    pub(crate) memories: &'a Memories,
    /// By row of the dataset.
    pub(crate) labels: &'a [f64],
    pub(crate) fit: Vec<usize>,
    pub(crate) early_stopping: Vec<usize>,
}

/// The hyperparameters of fitting. `learning_rate` is the peak.
#[derive(Clone, Copy)]
pub(crate) struct Schedule {
    pub(crate) hidden_size: usize,
    pub(crate) learning_rate: f64,
    pub(crate) epochs: usize,
    pub(crate) seed: u64,
}

/// The best parameters, and all epochs.
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
    let mut parameters = initial(hidden_size, rate, &mut stream(seed, 0, 0));
    let mut average = Average::new(&parameters);
    let mut adam = Adam::new(parameters.values.len());
    let mut fitted = Fitted { parameters: parameters.clone(), epochs: vec![] };
    let (mut best, mut best_epoch, mut steps_taken) = (f64::INFINITY, 0, 0.0);
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
            steps_taken += 1.0;
            adam.step(&mut parameters.values, &gradient, learning_rate * one_cycle(steps_taken / steps));
            average.add(&parameters);
        }
        losses.divide(rows.len().div_ceil(BATCH) as f64);
        let averaged = average.parameters();
        let early_stopping = problem.losses(&averaged, &problem.early_stopping, seed);
        let improved = early_stopping.total() < best;
        if improved {
            (best, best_epoch) = (early_stopping.total(), number);
            fitted.parameters = averaged;
        }
        fitted.epochs.push(Epoch { number, fit: losses, early_stopping, best: improved });
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

/// The one-cycle schedule: rises to 1 and falls to 0 while `progress` goes from 0 to 1.
fn one_cycle(progress: f64) -> f64 {
    if progress < WARM_UP {
        progress / WARM_UP
    } else {
        let fall = (progress - WARM_UP) / (1.0 - WARM_UP);
        0.5 * (1.0 + (std::f64::consts::PI * fall).cos())
    }
}

/// The initial parameters: small random weights, gates that keep most of the state, and a head bias for the base
/// rate.
fn initial(hidden: usize, rate: f64, rng: &mut impl Rng) -> Parameters {
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
    /// The gradient of a batch's loss, and the loss's terms.
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

    /// The losses of rows, over `DRAWS` fixed draws of each.
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
        let (mut joint, mut per_candidate, mut pairs) = (vec![], vec![], vec![]);
        for &row in rows {
            let rng = &mut stream(seed, epoch, row as u64);
            let request = self.memories.draw(row, rng);
            let label = self.labels[row];
            if !request.joint.is_empty() {
                joint.push((sequences.len(), label));
                sequences.push(request.joint);
            }
            for candidate in request.per_candidate {
                per_candidate.push((sequences.len(), label));
                sequences.push(vec![candidate]);
            }
            let Pair { low, high, rise, copies } = pair(rng);
            pairs.push((sequences.len(), rise));
            sequences.extend([vec![low; copies], vec![high; copies]]);
        }
        Shard { batch: Batch::new(&sequences), joint, per_candidate, pairs }
    }
}

/// Two points of the feature cube that differ in one feature.
struct Pair {
    low: Step,
    high: Step,
    /// Their difference in that feature, times the sign that the difference of their logits must have.
    rise: f64,
    /// How many equal candidates each point stands for in the joint pass.
    copies: usize,
}

/// Draws a pair.
fn pair(rng: &mut impl Rng) -> Pair {
    let feature = Feature::ALL[rng.random_range(0..Feature::COUNT)];
    let range = |feature| if feature == Feature::Similarity { -1.0..=1.0 } else { 0.0..=1.0 };
    // A cell saturates at corners and faces, so half of the coordinates lie at the ends of their range.
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
    // The confidence of a request must rise with the success rate of its candidates, for any number of candidates.
    let many = feature == Feature::SuccessRate && rng.random_bool(0.5);
    let copies = if many { (JOINT_CANDIDATES as f64).powf(rng.random()) as usize } else { 1 };
    Pair { low, high, rise: rise * sign, copies }
}

/// Checks the directions between neighbouring points of a grid of the feature cube. Returns the number of checks, and
/// of those that fail.
pub(crate) fn directions(parameters: &Parameters) -> (usize, usize) {
    let even =
        |n: u32, low: f64| (0..n).map(move |i| low + (1.0 - low) * f64::from(i) / f64::from(n - 1)).collect();
    let axes: [Vec<f64>; Feature::COUNT] = Feature::ALL
        .map(|feature| if feature == Feature::Similarity { even(17, -1.0) } else { even(9, 0.0) });
    let points = axes.iter().map(Vec::len).product::<usize>();
    // Points are numbered in mixed radix. The last feature varies fastest.
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

/// A shard's sequences by their terms of the loss.
struct Shard {
    batch: Batch,
    /// Sequence and label.
    joint: Vec<(usize, f64)>,
    /// Sequence and label.
    per_candidate: Vec<(usize, f64)>,
    /// The first of two consecutive sequences, and the pair's rise.
    pairs: Vec<(usize, f64)>,
}

impl Shard {
    /// The mean losses, and the gradient of their weighted sum with respect to each logit.
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
        let joint = cross_entropy(&self.joint, 1.0);
        let per_candidate = cross_entropy(&self.per_candidate, PER_CANDIDATE_WEIGHT);
        let n = self.pairs.len().max(1) as f64;
        let mut direction = 0.0;
        for &(i, rise) in &self.pairs {
            let shortfall = (MARGIN - (logits[i + 1] - logits[i]) / rise).max(0.0);
            direction += shortfall * shortfall / n;
            let by_difference = DIRECTION_WEIGHT * -2.0 * shortfall / rise / n;
            by_logit[i] = -by_difference;
            by_logit[i + 1] = by_difference;
        }
        (Losses { joint, per_candidate, direction }, by_logit)
    }
}

/// Adam (Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015), with the constants of the paper.
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

/// The exponential average of the parameters, corrected for its start at 0.
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
