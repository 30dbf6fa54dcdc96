//! Retrieval: the exact nearest rows by cosine.
//!
//! Embeddings have length 1, so cosines are a matrix product. It is computed in blocks of queries, each on one thread
//! and in one order, so the answer has the same bits on any number of threads; ndarray's kernels use what vector
//! units the processor has.
//!
//! A row must not retrieve itself, nor a copy of itself: both would tell it its own outcome. Copies are found by
//! their cosine, [`DUPLICATE`] or more, and reported apart.

use ndarray::{ArrayRef1, ArrayRef2, Axis, s};
use rayon::prelude::*;

/// From this cosine on two embeddings are one. Equal texts give 1 up to the rounding of f16. In the public rows this
/// lies in a gap: 272 rows have a copy by it, and only three more come as near as 0.999.
pub const DUPLICATE: f32 = 0.9999;

/// Queries in one product: 128 x 8,000 cosines of f32 stay within a few megabytes.
const BLOCK: usize = 128;

/// A remembered row, as a query sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    /// The row's place in the memory.
    pub item: u32,
    /// Cosine with the query.
    pub similarity: f32,
}

/// What one query retrieves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Nearest {
    /// The nearest rows, nearest first, ties by place.
    pub neighbours: Vec<Neighbour>,
    /// Rows of the memory that are the query itself or a copy of it, ascending.
    pub duplicates: Vec<u32>,
}

/// The `k` nearest rows of a memory for each query. Shapes: `q x d` and `m x d`, of rows of length 1.
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

/// Keeps the `k` nearest, nearest first, ties by place.
pub(crate) fn keep_nearest(neighbours: &mut Vec<Neighbour>, k: usize) {
    let order =
        |a: &Neighbour, b: &Neighbour| b.similarity.total_cmp(&a.similarity).then(a.item.cmp(&b.item));
    if k < neighbours.len() {
        neighbours.select_nth_unstable_by(k, order);
        neighbours.truncate(k);
    }
    neighbours.sort_unstable_by(order);
}

/// Gives each query's cosines with the whole memory to `read`, and collects what it makes of them.
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
