//! Draws: the requests that a row stands for in training.
//!
//! A row of the dataset is one request with one outcome. What the router would know of it depends on the memory, the
//! moment and the metadata, so each time a row is used, these are drawn anew:
//!
//! - **memory**: four times in five past rows, else profiles of one of the sizes [`PROFILES`], with their real counts and rates;
//! - **size**: one time in ten thinned to a share between a sixteenth and all, so that the nearest are missing too;
//! - **prefix**: the 64 nearest half of the time, else 8 to 63 or 1 to 7 of them, see [`prefix`];
//! - **drift**: half of the time everything was made now. Else ages are exponential with a mean between a tenth of a
//!   half-life and ten of them, and a memory of recency `r` still holds with probability `r`: with probability
//!   `1 - r` its success rate is replaced by that of a random item of the memory, as if it had been learnt about
//!   another model in other times. So an old memory is worth less, exactly as much less as its recency says;
//! - **metadata**: half of the time the request says its real subject, and each candidate its own (a profile its most
//!   common one) unless that was dropped, with a probability that is itself drawn.

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
pub(crate) const PROFILES: [usize; 3] = [64, 256, 1024];
/// How often the memory is one of past rows. At one half, the model ranked early-stopping rows by their past rows worse,
/// and by profiles no better.
const PAST_ROWS: f64 = 0.8;
/// How often the memory is whole. A thinned one blurs what the nearest say, and few are needed to know the far ones.
const WHOLE: f64 = 0.9;
/// How much of a label the nearest past rows are: see [`Memories::labels`], and docs/model.md for what else was tried.
pub(crate) const NEIGHBOURS: f64 = 0.9;
/// How many nearest past rows.
const NEAREST: usize = 100;
/// Candidates of a draw that are read alone.
const ALONE: usize = 4;

/// All memories of a dataset.
#[derive(Clone, Debug)]
pub(crate) struct Memories {
    pub(crate) rows: Memory,
    pub(crate) profiles: Vec<Memory>,
    subjects: Vec<Option<u32>>,
}

/// One request: the same candidates together, and some of them alone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    /// Nearest first.
    pub(crate) together: Vec<Step>,
    pub(crate) alone: Vec<Step>,
}

impl Memories {
    /// Makes the memories of the `train` rows; `seed` is that of the profiles.
    pub(crate) fn new(data: &Dataset, target: Target, seed: u64) -> Self {
        let train = data.select(Part::is_train);
        let embeddings = data.gather(&train);
        let retrieved = nearest(&data.embeddings, &embeddings, DEPTH);
        let of_profiles = |count| {
            // Profiles of fewer than four rows on average would tell nothing that the rows don't.
            let profiles = Profiles::new(&embeddings, count, seed).ok()?;
            (count * 4 <= train.len())
                .then(|| Memory::of_profiles(data, &train, &profiles, &retrieved, target))
        };
        Self {
            rows: Memory::of_rows(data, &train, &retrieved, target),
            profiles: PROFILES.into_iter().filter_map(of_profiles).collect(),
            subjects: subjects(data),
        }
    }

    /// What the weights are fitted to, by row of the dataset: the share `neighbours` is what the target makes of a row's
    /// nearest past rows, on average, the rest what it makes of the row's own outcome.
    ///
    /// One outcome is a coin that fell once; the mean of a hundred near ones says much better how such coins fall. The cell
    /// reads up to 64 of these, often fewer, older or far ones, and learns to say what the hundred would.
    pub(crate) fn labels(&self, data: &Dataset, target: Target, neighbours: f64) -> Vec<f64> {
        let all: Vec<usize> = (0..data.rows.len()).collect();
        let near = self.mean_of_nearest(data, &all, NEAREST, &|row| target.label(row));
        let label = |(row, near): (&Row, Option<f64>)| {
            let own = target.label(row);
            near.map_or(own, |near| own + neighbours * (near - own))
        };
        data.rows.iter().zip(near).map(label).collect()
    }

    /// What the report asks the model to judge rows by: each memory as it is now, past rows with subjects too.
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

    /// The mean of what `code` makes of each row's nearest past rows, all of which are kept in the order of `train`; `None`
    /// where there are none.
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

    /// Draws a request for a row; none where the memory holds nothing for it.
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
        let together = seen[..prefix].iter().map(|seen| step(rng, seen)).collect();
        let alone = (0..ALONE.min(seen.len()))
            .map(|_| {
                let rank = rank(rng, seen.len());
                step(rng, &seen[rank])
            })
            .collect();
        Request { together, alone }
    }
}

/// How many candidates a request has: 64 half of the time, a quarter each 8 to 63 and 1 to 7, where halves and doubles
/// are equally likely.
pub(crate) fn prefix(rng: &mut ChaCha8Rng) -> usize {
    prefix_of(rng.random_range(0..4), rng)
}

/// A prefix of one of the four equally likely kinds.
pub(crate) fn prefix_of(kind: usize, rng: &mut ChaCha8Rng) -> usize {
    match kind {
        0 => log_uniform(rng, 1.0, 8.0) as usize,
        1 => log_uniform(rng, 8.0, JOINT_CANDIDATES as f64) as usize,
        _ => JOINT_CANDIDATES,
    }
}

/// The rank of a candidate that is read alone: near ones more often, in equal shares per doubling of the rank.
pub(crate) fn rank(rng: &mut ChaCha8Rng, candidates: usize) -> usize {
    log_uniform(rng, 1.0, candidates as f64 + 1.0) as usize - 1
}

fn log_uniform(rng: &mut ChaCha8Rng, low: f64, high: f64) -> f64 {
    // The largest draw is below `high`, but its logarithm may round to it.
    (low * (high / low).powf(rng.random())).min(high.next_down())
}

#[cfg(test)]
mod tests;
