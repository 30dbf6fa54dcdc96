//! The nearest remembered requests, by lists of neighbours that are computed once for all streams of the same rows.
//!
//! A simulation under a budget replays the same rows some hundred times, each time with another memory. The rows near a row
//! stay the same: a search takes those of them that are remembered. It is exact, as is the memory's index up to 512 entries.

use crate::simulate::stream::{Request, Rows};
use ndarray::{Array2, ShapeError};
use std::collections::HashMap;
use tiny_dancer::Candidate;
use tiny_dancer_train::retrieval;

/// The length of a list. Where too few of its rows are remembered, the memory is small and is searched as a whole.
const LISTED: usize = 1024;

/// Rows, and for each of them the nearest others.
pub(crate) struct Neighbours {
    /// With length 1, a row each.
    embeddings: Array2<f32>,
    /// The nearest rows, nearest first.
    nearest: Vec<Vec<u32>>,
    places: HashMap<usize, usize>,
}

impl Neighbours {
    /// The neighbours among the rows of some requests.
    pub(crate) fn new(rows: &Rows, requests: &[Request]) -> Result<Self, ShapeError> {
        let mut elements = Vec::with_capacity(requests.len() * rows.dimensions());
        for request in requests {
            let embedding = rows.embedding(request.row);
            let norm = embedding.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
            elements.extend(embedding.iter().map(|&x| (f64::from(x) / norm) as f32));
        }
        let embeddings = Array2::from_shape_vec((requests.len(), rows.dimensions()), elements)?;
        let row = |place: u32| embeddings.row(place as usize);
        let listed = |(place, found): (usize, retrieval::Nearest)| {
            // Copies of the row are nearer than all others, and have no similarities yet.
            let of = |&copy: &u32| (embeddings.row(place).dot(&row(copy)), copy);
            let mut copies: Vec<(f32, u32)> = found.duplicates.iter().map(of).collect();
            copies.sort_by(|a, b| b.0.total_cmp(&a.0));
            let others = found.neighbours.iter().map(|neighbour| neighbour.item);
            copies.into_iter().map(|(_, copy)| copy).chain(others).collect()
        };
        let nearest = retrieval::nearest(&embeddings, &embeddings, LISTED);
        let nearest = nearest.into_iter().enumerate().map(listed).collect();
        let places = requests.iter().enumerate().map(|(place, request)| (request.row, place)).collect();
        Ok(Self { embeddings, nearest, places })
    }

    /// The place of a row among these, by which the other methods know it.
    pub(crate) fn place(&self, row: usize) -> Option<usize> {
        self.places.get(&row).copied()
    }

    pub(crate) fn embedding(&self, place: usize) -> &[f32] {
        let (start, end) = (place * self.embeddings.ncols(), (place + 1) * self.embeddings.ncols());
        self.embeddings.as_slice().map_or(&[], |elements| &elements[start..end])
    }

    /// An empty memory of these rows.
    pub(crate) fn memory(&self) -> Remembered<'_> {
        Remembered { neighbours: self, entries: vec![None; self.nearest.len()], places: vec![] }
    }
}

/// A memory that is searched by lists.
pub(crate) struct Remembered<'a> {
    neighbours: &'a Neighbours,
    /// By place.
    entries: Vec<Option<Candidate>>,
    /// The places of the entries.
    places: Vec<usize>,
}

impl Remembered<'_> {
    /// Remembers a row that is not remembered yet.
    pub(crate) fn remember(&mut self, place: usize, entry: Candidate) {
        self.entries[place] = Some(entry);
        self.places.push(place);
    }

    /// The `k` remembered rows that are nearest to a row, which is not among them. They are in no particular order.
    pub(crate) fn nearest(&self, place: usize, k: usize) -> Vec<&Candidate> {
        let entry = |&place: &usize| self.entries[place].as_ref();
        if self.places.len() <= k {
            return self.places.iter().filter_map(entry).collect();
        }
        let listed = self.neighbours.nearest[place].iter().filter_map(|&near| entry(&(near as usize)));
        let found: Vec<_> = listed.take(k).collect();
        if found.len() == k {
            return found;
        }
        let query = self.neighbours.embedding(place);
        let cosine = |place: &usize| -> f32 {
            query.iter().zip(self.neighbours.embedding(*place)).map(|(a, b)| a * b).sum()
        };
        let mut all: Vec<(f32, usize)> = self.places.iter().map(|place| (cosine(place), *place)).collect();
        all.select_nth_unstable_by(k, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        all[..k].iter().filter_map(|(_, place)| entry(place)).collect()
    }
}

#[cfg(test)]
mod tests;
