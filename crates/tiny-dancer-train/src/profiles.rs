//! Profiles: clusters of past rows by spherical k-means, as a small memory.
//!
//! A memory of every past request is exact and large. A profile represents a cluster of them, by the mean direction,
//! the number and the success rate of its members. Spherical k-means (Dhillon and Modha, "Concept Decompositions for
//! Large Sparse Text Data Using Clustering", 2001) assigns each row to the centroid with the largest cosine, and
//! moves each centroid to the direction of its members' sum. k-means++ (Arthur and Vassilvitskii, 2007) draws the
//! first centroids, each with a probability proportional to its squared distance from those drawn before.
//!
//! The same rows, count and seed give the same profiles on any number of threads: distances are computed
//! independently in parallel, and sums in the order of the rows.

use crate::retrieval::{DUPLICATE, by_block};
use crate::rows::{Dataset, Part};
use ndarray::{Array1, Array2, ArrayRef2, Axis};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::collections::BTreeMap;
use tiny_dancer_core::Metadata;

/// The maximum number of rounds. After so many, assignments are stable or change very little.
const ROUNDS: usize = 25;

/// Clusters of rows.
#[derive(Clone, Debug)]
pub struct Profiles {
    /// Sums of the members' embeddings. Shape: `count x d`.
    pub(crate) sums: Array2<f64>,
    /// The profile of each row.
    pub assignment: Vec<u32>,
}

/// Profiles as a memory to route with.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Directions, of length 1. Shape: `count x d`.
    pub centroids: Array2<f32>,
    /// The other fields of each.
    pub profiles: Vec<Profile>,
}

/// One profile: a candidate without embedding and `created_at`. The rows have no time, so `created_at` is best set
/// when the profile is loaded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Profile {
    /// `profile-000` and so on.
    pub id: String,
    /// The share of its members where the lightweight model did no worse.
    pub success_rate: f32,
    /// The share of its members where it did better.
    pub win_rate: f32,
    /// The number of its members.
    pub access_count: u64,
    /// The most common subject of its members.
    pub metadata: Metadata,
}

/// Clusters the rows of the split `train` into `count` profiles.
///
/// # Errors
/// There are fewer different rows than profiles, or none.
pub fn summarise(data: &Dataset, count: usize, seed: u64) -> Result<Summary, ProfileError> {
    let train = data.select(Part::is_train);
    let profiles = Profiles::new(&data.gather(&train), count, seed)?;
    let profile = |(i, members): (usize, &Vec<usize>)| {
        let rows = || members.iter().map(|&member| &data.rows[train[member]]);
        let share = |count: usize| (count as f64 / members.len() as f64) as f32;
        let subject = most_common(rows().map(|row| row.subject.as_deref()));
        Profile {
            id: format!("profile-{i:03}"),
            success_rate: share(rows().filter(|row| row.suffices()).count()),
            win_rate: share(rows().filter(|row| row.lightweight > row.powerful).count()),
            access_count: members.len() as u64,
            metadata: subject.map(|subject| ("subject".to_owned(), subject.to_owned())).into_iter().collect(),
        }
    };
    let summary = profiles.members().iter().enumerate().map(profile).collect();
    Ok(Summary { centroids: profiles.centroids(), profiles: summary })
}

impl Summary {
    /// The profiles as JSON lines.
    ///
    /// # Panics
    /// Never: numbers and text are always JSON.
    pub fn to_json_lines(&self) -> String {
        let line = |profile| serde_json::to_string(profile).expect("numbers and text are JSON") + "\n";
        self.profiles.iter().map(line).collect()
    }
}

/// Why making profiles failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// More profiles than different rows, or none.
    #[error("count is {count}, expected 1 to {rows}, the number of different rows")]
    Count {
        /// The requested number of profiles.
        count: usize,
        /// The number of different rows.
        rows: usize,
    },
}

impl Profiles {
    /// Clusters rows of length 1. Shape: `n x d`.
    ///
    /// # Errors
    /// There are fewer different rows than profiles, or none.
    pub fn new(rows: &ArrayRef2<f32>, count: usize, seed: u64) -> Result<Self, ProfileError> {
        let mut centroids = first_centroids(rows, count, seed)?;
        let mut profiles = Self { sums: Array2::zeros((0, 0)), assignment: vec![] };
        for _ in 0..ROUNDS {
            let nearest = by_block(rows, &centroids, |similarities| {
                let best = |best: (u32, f32), (centroid, &similarity): (usize, &f32)| {
                    if similarity > best.1 { (centroid as u32, similarity) } else { best }
                };
                similarities.iter().enumerate().fold((0, f32::NEG_INFINITY), best)
            });
            let stable = nearest.iter().map(|(profile, _)| profile).eq(&profiles.assignment);
            if stable {
                break;
            }
            profiles.assignment = nearest.iter().map(|&(profile, _)| profile).collect();
            fill_empty(&mut profiles.assignment, &nearest, count);
            profiles.sums = sums(rows, &profiles.assignment, count);
            centroids = profiles.centroids();
        }
        Ok(profiles)
    }

    /// Their directions, of length 1. Shape: `count x d`.
    pub fn centroids(&self) -> Array2<f32> {
        let mut centroids = self.sums.clone();
        for mut centroid in centroids.outer_iter_mut() {
            let norm = centroid.dot(&centroid).sqrt();
            // Members may cancel out exactly. Such a sum has no direction, and its cosine with each row is 0.
            centroid /= if norm > 0.0 { norm } else { 1.0 };
        }
        centroids.mapv(|x| x as f32)
    }

    /// The number of profiles.
    pub fn len(&self) -> usize {
        self.sums.nrows()
    }

    /// Whether there are no profiles. Always false for profiles made by [`Profiles::new`].
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The members of each profile, ascending.
    pub fn members(&self) -> Vec<Vec<usize>> {
        let mut members = vec![vec![]; self.len()];
        for (row, &profile) in self.assignment.iter().enumerate() {
            members[profile as usize].push(row);
        }
        members
    }
}

/// The first centroids by k-means++.
fn first_centroids(rows: &ArrayRef2<f32>, count: usize, seed: u64) -> Result<Array2<f32>, ProfileError> {
    let n = rows.nrows();
    if count == 0 || n == 0 {
        return Err(ProfileError::Count { count, rows: n });
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut drawn = vec![rng.random_range(0..n)];
    // |a - b|^2 = 2 - 2 cos. Copies of a drawn row get exactly 0, regardless of rounding.
    let mut distances = Array1::from_elem(n, f64::INFINITY);
    loop {
        let last = rows.row(drawn[drawn.len() - 1]);
        for (distance, cosine) in distances.iter_mut().zip(rows.dot(&last)) {
            let squared = if cosine >= DUPLICATE { 0.0 } else { 2.0 - 2.0 * f64::from(cosine) };
            *distance = squared.min(*distance);
        }
        if drawn.len() == count {
            return Ok(rows.select(Axis(0), &drawn));
        }
        let mut left = rng.random::<f64>() * distances.sum();
        let candidates = distances.iter().enumerate().filter(|&(_, &distance)| distance > 0.0);
        let mut next = None;
        for (row, &distance) in candidates {
            next = Some(row);
            left -= distance;
            if left < 0.0 {
                break;
            }
        }
        drawn.push(next.ok_or(ProfileError::Count { count, rows: drawn.len() })?);
    }
}

/// Assigns to each empty profile the row that is farthest from its own centroid, from a profile with several members.
fn fill_empty(assignment: &mut [u32], nearest: &[(u32, f32)], count: usize) {
    let mut sizes = vec![0_usize; count];
    for &profile in &*assignment {
        sizes[profile as usize] += 1;
    }
    if !sizes.contains(&0) {
        return;
    }
    let mut farthest: Vec<usize> = (0..assignment.len()).collect();
    farthest.sort_by(|&a, &b| nearest[a].1.total_cmp(&nearest[b].1));
    let mut farthest = farthest.into_iter();
    for empty in 0..count {
        if sizes[empty] > 0 {
            continue;
        }
        let Some(row) = farthest.find(|&row| sizes[assignment[row] as usize] > 1) else { return };
        sizes[assignment[row] as usize] -= 1;
        assignment[row] = empty as u32;
        sizes[empty] = 1;
    }
}

fn sums(rows: &ArrayRef2<f32>, assignment: &[u32], count: usize) -> Array2<f64> {
    let mut sums = Array2::zeros((count, rows.ncols()));
    for (row, &profile) in rows.outer_iter().zip(assignment) {
        let mut sum = sums.row_mut(profile as usize);
        sum.zip_mut_with(&row, |sum, &x| *sum += f64::from(x));
    }
    sums
}

/// The most common of the known values; the smallest of equally common ones.
pub(crate) fn most_common<T: Copy + Ord>(values: impl Iterator<Item = Option<T>>) -> Option<T> {
    let mut counts = BTreeMap::new();
    values.flatten().for_each(|value| *counts.entry(value).or_insert(0_usize) += 1);
    counts.into_iter().rev().max_by_key(|&(_, count)| count).map(|(value, _)| value)
}

#[cfg(test)]
mod tests;
