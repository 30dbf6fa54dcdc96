//! Draws: the random requests that training makes of a row.
//!
//! A row of the dataset is one request with one outcome. What the router reads for it depends on the memory, the time
//! and the metadata. So each time a row is used, these are drawn again:
//!
//! - **memory**: past rows with probability 0.8, else profiles of one of the sizes [`PROFILES`], with their real
//!   counts and rates;
//! - **size**: the whole memory with probability 0.9, else a random share of it between 1/16 and 1, so that some of
//!   the nearest are missing;
//! - **prefix**: the 64 nearest with probability 0.5, else 8 to 63 or 1 to 7 of them, see [`prefix`];
//! - **drift**: none with probability 0.5. Else ages are exponential, with a mean between 0.1 and 10 half-lives. An
//!   item of recency `r` keeps its success rate with probability `r`, else it gets that of a random item of the
//!   memory, as if it had been learnt about another model at another time. So the value of an old item decreases
//!   exactly with its recency;
//! - **metadata**: with probability 0.5 the request has its real subject, and each candidate its own (a profile its
//!   most common one). The subject of a candidate is dropped with a probability that is drawn for each request.

use crate::Target;
use crate::cell::Step;
use crate::memory::{DEPTH, Memory, Seen, subjects};
use crate::profiles::Profiles;
use crate::retrieval::nearest;
use crate::rows::{Dataset, Part, Row};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tiny_dancer_core::fastgrnn::JOINT_CANDIDATES;

/// Sizes of the profile memories.
pub(crate) const PROFILES: &[usize] = &[64, 256, 1024];
/// The probability that the memory consists of past rows. With 0.5, the ranking of early-stopping rows by past rows
/// was worse, and by profiles no better.
const PAST_ROWS: f64 = 0.8;
/// The probability that the memory is whole. A thinned memory hides the nearest items, and a few thinned memories are
/// enough to learn from far items.
const WHOLE: f64 = 0.9;
/// The share of the nearest past rows in a label, see [`Memories::labels`]. docs/model.md lists the other values
/// tried.
pub(crate) const NEIGHBOURS: f64 = 0.9;
/// The number of nearest past rows in a label.
const NEAREST: usize = 100;
/// The number of candidates in the per-candidate pass of a draw.
const PER_CANDIDATE: usize = 4;

/// All memories of a dataset.
#[derive(Clone, Debug)]
pub(crate) struct Memories {
    pub(crate) rows: Memory,
    pub(crate) profiles: Vec<Memory>,
    subjects: Vec<Option<u32>>,
}

/// One request: its candidates for the joint pass, and some for the per-candidate pass.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    /// Nearest first.
    pub(crate) joint: Vec<Step>,
    pub(crate) per_candidate: Vec<Step>,
}

impl Memories {
    /// Makes the memories from the `train` rows. `seed` is that of the profiles.
    pub(crate) fn new(data: &Dataset, target: Target, seed: u64) -> Self {
        let train = data.select(Part::is_train);
        let embeddings = data.gather(&train);
        let retrieved = nearest(&data.embeddings, &embeddings, DEPTH);
        let of_profiles = |count| {
            // Profiles of fewer than four rows on average add nothing to the rows themselves.
            let profiles = Profiles::new(&embeddings, count, seed).ok()?;
            (count * 4 <= train.len())
                .then(|| Memory::of_profiles(data, &train, &profiles, &retrieved, target))
        };
        Self {
            rows: Memory::of_rows(data, &train, &retrieved, target),
            profiles: PROFILES.iter().copied().filter_map(of_profiles).collect(),
            subjects: subjects(data),
        }
    }

    /// The labels by row of the dataset: `neighbours` times the mean label of the row's nearest past rows, plus
    /// `1 - neighbours` times the label of its own outcome.
    ///
    /// One outcome is a single sample. The mean of a hundred near outcomes is a much better estimate of the
    /// probability. The cell reads up to 64 of these, often fewer, older or farther ones, and learns to predict the
    /// mean of the hundred.
    pub(crate) fn labels(&self, data: &Dataset, target: Target, neighbours: f64) -> Vec<f64> {
        let all: Vec<usize> = (0..data.rows.len()).collect();
        let near = self.mean_of_nearest(data, &all, NEAREST, &|row| target.label(row));
        let label = |(row, near): (&Row, Option<f64>)| {
            let own = target.label(row);
            near.map_or(own, |near| own + neighbours * (near - own))
        };
        data.rows.iter().zip(near).map(label).collect()
    }

    /// The requests of the report: for each memory its name and each row's sequence now. Past rows are there a second
    /// time with their subjects.
    pub(crate) fn kinds(&self, rows: &[usize]) -> Vec<(String, Vec<Vec<Step>>)> {
        let now = |memory: &Memory| rows.iter().map(|&row| memory.now(row, JOINT_CANDIDATES)).collect();
        let named = |&row: &usize| {
            let nearest = self.rows.seen[row].iter().take(JOINT_CANDIDATES);
            nearest
                .map(|seen| seen.step(1.0, f64::from(u8::from(self.shared(row, &self.rows, seen)))))
                .collect()
        };
        let mut kinds = vec![
            (format!("{JOINT_CANDIDATES} past rows"), now(&self.rows)),
            (format!("{JOINT_CANDIDATES} past rows, subjects known"), rows.iter().map(named).collect()),
        ];
        for memory in &self.profiles {
            kinds.push((format!("{JOINT_CANDIDATES} of {} profiles", memory.success.len()), now(memory)));
        }
        kinds
    }

    /// For each row, the mean of `code` over its nearest past rows; `None` if it has none.
    pub(crate) fn mean_of_nearest(
        &self,
        data: &Dataset,
        rows: &[usize],
        nearest: usize,
        code: &dyn Fn(&Row) -> f64,
    ) -> Vec<Option<f64>> {
        let remembered: Vec<f64> =
            data.select(Part::is_train).iter().map(|&row| code(&data.rows[row])).collect();
        let mean = |&row: &usize| {
            let seen = &self.rows.seen[row];
            let nearest = &seen[..nearest.min(seen.len())];
            let sum: f64 = nearest.iter().map(|seen| remembered[seen.item as usize]).sum();
            (!nearest.is_empty()).then(|| sum / nearest.len() as f64)
        };
        rows.iter().map(mean).collect()
    }

    /// Whether a row and a candidate have one subject.
    fn shared(&self, row: usize, memory: &Memory, seen: &Seen) -> bool {
        let subject = self.subjects[row];
        subject.is_some() && subject == memory.subjects[seen.item as usize]
    }

    /// Draws a request for a row. It is empty if the memory holds no candidate for the row.
    pub(crate) fn draw(&self, row: usize, rng: &mut ChaCha8Rng) -> Request {
        let memory = if self.profiles.is_empty() || rng.random_bool(PAST_ROWS) {
            &self.rows
        } else {
            &self.profiles[rng.random_range(0..self.profiles.len())]
        };
        let kept = if rng.random_bool(WHOLE) { 1.0 } else { log_uniform(rng, 1.0 / 16.0, 1.0) };
        let seen: Vec<Seen> = memory.seen[row].iter().filter(|_| rng.random_bool(kept)).copied().collect();

        let mean_age = if rng.random_bool(0.5) { 0.0 } else { log_uniform(rng, 0.1, 10.0) };
        let named = rng.random_bool(0.5);
        let dropped = if rng.random_bool(0.5) { 0.0 } else { rng.random() };
        let step = |rng: &mut ChaCha8Rng, seen: &Seen| {
            let age = -mean_age * (1.0 - rng.random::<f64>()).ln();
            let recency = (-age).exp2();
            let mut seen = *seen;
            if rng.random_bool(1.0 - recency) {
                seen.success = memory.success[rng.random_range(0..memory.success.len())];
            }
            let shared = named && self.shared(row, memory, &seen);
            let overlap = if shared && !rng.random_bool(dropped) { 1.0 } else { 0.0 };
            seen.step(recency, overlap)
        };
        let prefix = prefix(rng).min(seen.len());
        let joint = seen[..prefix].iter().map(|seen| step(rng, seen)).collect();
        let per_candidate = (0..PER_CANDIDATE.min(seen.len()))
            .map(|_| {
                let rank = rank(rng, seen.len());
                step(rng, &seen[rank])
            })
            .collect();
        Request { joint, per_candidate }
    }
}

/// The number of candidates of a request: 64 with probability 0.5, 8 to 63 and 1 to 7 with probability 0.25 each,
/// log-uniformly.
pub(crate) fn prefix(rng: &mut ChaCha8Rng) -> usize {
    prefix_of(rng.random_range(0..4), rng)
}

/// A prefix of one of four equally likely kinds: 1 to 7, 8 to 63, and twice 64.
pub(crate) fn prefix_of(kind: usize, rng: &mut ChaCha8Rng) -> usize {
    match kind {
        0 => log_uniform(rng, 1.0, 8.0) as usize,
        1 => log_uniform(rng, 8.0, JOINT_CANDIDATES as f64) as usize,
        _ => JOINT_CANDIDATES,
    }
}

/// The rank of a candidate for the per-candidate pass, log-uniform: near candidates are drawn more often than far
/// ones.
pub(crate) fn rank(rng: &mut ChaCha8Rng, candidates: usize) -> usize {
    log_uniform(rng, 1.0, candidates as f64 + 1.0) as usize - 1
}

fn log_uniform(rng: &mut ChaCha8Rng, low: f64, high: f64) -> f64 {
    // The exact draw is below `high`, but may round to it.
    (low * (high / low).powf(rng.random())).min(high.next_down())
}

#[cfg(test)]
mod tests;
