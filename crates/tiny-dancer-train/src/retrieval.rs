//! Retrieval: the exact nearest rows by cosine.
//!
//! Embeddings have length 1, so cosines are a matrix product. It is computed in blocks of queries, each on one thread
//! and in one order, so the result has the same bits on any number of threads. ndarray's kernels use the processor's
//! vector units.
//!
//! A row must retrieve neither itself nor a copy of itself, since both contain its own outcome. Copies have a cosine
//! of [`DUPLICATE`] or more and are returned separately.

use ndarray::{ArrayRef1, ArrayRef2, Axis, s};
use rayon::prelude::*;

/// Two embeddings with this cosine or more count as copies. Equal texts give 1 up to the rounding of f16. In the
/// public rows, 272 rows have a copy by this limit, and only three more have a cosine of 0.999 or more.
pub const DUPLICATE: f32 = 0.9999;

/// Queries in one product: 128 x 8,000 cosines of f32 take a few megabytes.
const BLOCK: usize = 128;

/// A row of the memory that a query retrieves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    /// The row's index in the memory.
    pub item: u32,
    /// Its cosine with the query.
    pub similarity: f32,
}

/// The rows that one query retrieves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Nearest {
    /// The nearest rows, nearest first, ties by index.
    pub neighbours: Vec<Neighbour>,
    /// The indices of the query itself and its copies in the memory, ascending.
    pub duplicates: Vec<u32>,
}

/// The `k` nearest rows of a memory for each query. Shapes: `q x d` and `m x d`, with rows of length 1.
pub fn nearest(queries: &ArrayRef2<f32>, memory: &ArrayRef2<f32>, k: usize) -> Vec<Nearest> {
    by_block(queries, memory, |similarities| {
        let mut nearest = Nearest::default();
        for (item, &similarity) in similarities.iter().enumerate() {
            if similarity >= DUPLICATE {
                nearest.duplicates.push(item as u32);
            } else {
                nearest.neighbours.push(Neighbour { item: item as u32, similarity });
            }
        }
        keep_nearest(&mut nearest.neighbours, k);
        nearest
    })
}

/// Keeps the `k` nearest, nearest first, ties by index.
pub(crate) fn keep_nearest(neighbours: &mut Vec<Neighbour>, k: usize) {
    let order =
        |a: &Neighbour, b: &Neighbour| b.similarity.total_cmp(&a.similarity).then(a.item.cmp(&b.item));
    if k < neighbours.len() {
        neighbours.select_nth_unstable_by(k, order);
        neighbours.truncate(k);
    }
    neighbours.sort_unstable_by(order);
}

/// Calls `read` with each query's cosines with the whole memory, and collects the results.
pub(crate) fn by_block<T: Send>(
    queries: &ArrayRef2<f32>,
    memory: &ArrayRef2<f32>,
    read: impl Fn(&ArrayRef1<f32>) -> T + Sync,
) -> Vec<T> {
    let blocks = queries.nrows().div_ceil(BLOCK);
    (0..blocks)
        .into_par_iter()
        .flat_map_iter(|block| {
            let end = queries.nrows().min((block + 1) * BLOCK);
            let similarities = queries.slice(s![block * BLOCK..end, ..]).dot(&memory.t());
            similarities.axis_iter(Axis(0)).map(|row| read(&row)).collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests;
