//! Memories: the candidates that each row retrieves, from past rows and from profiles of them.
//!
//! No row may see its own outcome. A memory of rows leaves out the row and its copies. A profile with the row or a
//! copy of it among its members appears as if made without these: their embeddings are subtracted from its sum, their
//! outcomes from its rate and their number from its count. A profile without other members does not appear. So a row
//! sees the same distribution as a new request, with one member less.

use crate::Target;
use crate::cell::Step;
use crate::profiles::{Profiles, most_common};
use crate::retrieval::{Nearest, Neighbour, by_block, keep_nearest};
use crate::rows::Dataset;
use ndarray::{ArrayRef1, ArrayView1};
use std::collections::BTreeMap;
use tiny_dancer_core::features;

/// The maximum number of candidates for each row: a sixteenth of them still fills a prefix of 32.
pub(crate) const DEPTH: usize = 512;

/// One candidate of a row: the features that depend neither on the time nor on the request's metadata.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seen {
    /// Its index in the memory.
    pub(crate) item: u32,
    pub(crate) similarity: f32,
    pub(crate) frequency: f32,
    pub(crate) success: f32,
}

/// A memory, and its candidates for each row of the dataset.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    /// By row of the dataset: the nearest candidates, nearest first.
    pub(crate) seen: Vec<Vec<Seen>>,
    /// The success rate of each item.
    pub(crate) success: Vec<f32>,
    /// The subject of each item.
    pub(crate) subjects: Vec<Option<u32>>,
}

impl Memory {
    /// A memory whose items are the rows `train`. `nearest` is what each row of the dataset retrieves from them.
    pub(crate) fn of_rows(data: &Dataset, train: &[usize], nearest: &[Nearest], target: Target) -> Self {
        let success: Vec<f32> = train.iter().map(|&row| target.of(&data.rows[row]) as f32).collect();
        let subjects = subjects(data);
        let frequency = features::frequency(1);
        let see = |&Neighbour { item, similarity }: &Neighbour| Seen {
            item,
            similarity,
            frequency,
            success: success[item as usize],
        };
        let seen = nearest.iter().map(|nearest| nearest.neighbours.iter().map(see).collect());
        Self { seen: seen.collect(), subjects: train.iter().map(|&row| subjects[row]).collect(), success }
    }

    /// A memory whose items are profiles of the rows `train`. `nearest` has the copies of each row of the dataset
    /// among them.
    pub(crate) fn of_profiles(
        data: &Dataset,
        train: &[usize],
        profiles: &Profiles,
        nearest: &[Nearest],
        target: Target,
    ) -> Self {
        let success_of = |member: usize| target.of(&data.rows[train[member]]);
        let row_subjects = subjects(data);
        let members = profiles.members();
        let totals: Vec<f64> =
            members.iter().map(|m| m.iter().map(|&member| success_of(member)).sum()).collect();
        let rate = |total: f64, count: usize| (total / count as f64) as f32;

        let centroids = profiles.centroids();
        let similarities = by_block(&data.embeddings, &centroids, ArrayRef1::to_vec);
        let see = |row: usize, item: usize, similarity: f32| {
            let own = |&&member: &&u32| profiles.assignment[member as usize] as usize == item;
            let (mut similarity, mut total, mut count) = (similarity, totals[item], members[item].len());
            let copies: Vec<usize> =
                nearest[row].duplicates.iter().filter(own).map(|&member| member as usize).collect();
            if !copies.is_empty() {
                similarity = similarity_without(data, train, profiles, row, item, &copies);
                total -= copies.iter().map(|&member| success_of(member)).sum::<f64>();
                count -= copies.len();
            }
            (count > 0).then(|| Seen {
                item: item as u32,
                similarity,
                frequency: features::frequency(count as u64),
                success: rate(total, count),
            })
        };
        let seen = similarities.iter().enumerate().map(|(row, similarities)| {
            let neighbour = |(item, &similarity)| Neighbour { item: item as u32, similarity };
            let mut neighbours: Vec<Neighbour> = similarities.iter().enumerate().map(neighbour).collect();
            keep_nearest(&mut neighbours, DEPTH);
            let mut seen: Vec<Seen> = neighbours
                .iter()
                .filter_map(|neighbour| see(row, neighbour.item as usize, neighbour.similarity))
                .collect();
            seen.sort_by(|a, b| b.similarity.total_cmp(&a.similarity).then(a.item.cmp(&b.item)));
            seen
        });
        Self {
            seen: seen.collect(),
            success: totals.iter().zip(&members).map(|(&total, m)| rate(total, m.len())).collect(),
            subjects: members
                .iter()
                .map(|m| most_common(m.iter().map(|&member| row_subjects[train[member]])))
                .collect(),
        }
    }

    /// The `count` nearest candidates of a row, nearest first, made now and without metadata.
    pub(crate) fn now(&self, row: usize, count: usize) -> Vec<Step> {
        self.seen[row].iter().take(count).map(Seen::now).collect()
    }
}

impl Seen {
    /// The features of a candidate that was made now, without metadata.
    pub(crate) fn now(&self) -> Step {
        self.step(1.0, 0.0)
    }

    /// All five features.
    pub(crate) fn step(&self, recency: f64, overlap: f64) -> Step {
        [self.similarity.into(), recency, self.frequency.into(), self.success.into(), overlap]
    }
}

/// Each row's subject as a number.
pub(crate) fn subjects(data: &Dataset) -> Vec<Option<u32>> {
    let numbers: BTreeMap<&str, u32> = data.subjects().into_iter().zip(0..).collect();
    data.rows.iter().map(|row| row.subject.as_deref().map(|subject| numbers[subject])).collect()
}

/// The cosine of a row with a profile made without `copies` of it.
fn similarity_without(
    data: &Dataset,
    train: &[usize],
    profiles: &Profiles,
    row: usize,
    item: usize,
    copies: &[usize],
) -> f32 {
    let mut sum = profiles.sums.row(item).to_owned();
    for &copy in copies {
        sum.zip_mut_with(&data.embeddings.row(train[copy]), |sum, &x| *sum -= f64::from(x));
    }
    let query: ArrayView1<'_, f32> = data.embeddings.row(row);
    let dot: f64 = sum.iter().zip(query).map(|(&sum, &x)| sum * f64::from(x)).sum();
    (dot / sum.dot(&sum).sqrt().max(f64::MIN_POSITIVE)).clamp(-1.0, 1.0) as f32
}

#[cfg(test)]
mod tests;
