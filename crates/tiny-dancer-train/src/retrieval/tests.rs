use super::*;
use ndarray::{Array2, ArrayView1};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub(crate) fn unit_rows(n: usize, d: usize, seed: u64) -> Array2<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut rows = Array2::from_shape_simple_fn((n, d), || rng.random_range(-1.0..1.0_f32));
    for mut row in rows.outer_iter_mut() {
        let norm = row.dot(&row).sqrt();
        row /= norm;
    }
    rows
}

/// All cosines in f64, sorted.
fn naive(query: &ArrayView1<'_, f32>, memory: &Array2<f32>, k: usize) -> Vec<(usize, f64)> {
    let cosine =
        |row: ArrayView1<'_, f32>| row.iter().zip(query).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    let mut all: Vec<(usize, f64)> = memory.outer_iter().map(cosine).enumerate().collect();
    all.retain(|&(_, cosine)| cosine < f64::from(DUPLICATE));
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all.truncate(k);
    all
}

#[test]
fn the_nearest_equal_those_of_a_naive_search() {
    let (queries, memory) = (unit_rows(300, 37, 1), unit_rows(500, 37, 2));
    for (query, nearest) in queries.outer_iter().zip(nearest(&queries, &memory, 20)) {
        for (neighbour, (item, cosine)) in nearest.neighbours.iter().zip(naive(&query, &memory, 20)) {
            assert_eq!(neighbour.item as usize, item);
            assert!((f64::from(neighbour.similarity) - cosine).abs() < 1e-6);
        }
    }
}

#[test]
fn a_row_retrieves_neither_itself_nor_its_copy() {
    let mut rows = unit_rows(100, 16, 3);
    let copy = rows.row(7).mapv(|x| half::f16::from_f32(x).to_f32());
    rows.row_mut(42).assign(&copy);
    let nearest = nearest(&rows, &rows, 100);
    assert_eq!(
        (nearest[7].duplicates.as_slice(), nearest[42].duplicates.as_slice()),
        (&[7, 42][..], &[7, 42][..])
    );
    assert_eq!(nearest[7].neighbours.len(), 98);
    for (row, nearest) in nearest.iter().enumerate() {
        assert!(nearest.neighbours.iter().all(|neighbour| neighbour.item as usize != row));
    }
}

#[test]
fn equally_near_rows_are_in_the_order_of_the_memory() {
    let memory = ndarray::array![[0.0_f32, 1.0], [0.6, 0.8], [0.6, -0.8], [0.6, 0.8]];
    let nearest = nearest(&ndarray::array![[1.0_f32, 0.0]], &memory, 2);
    let items: Vec<u32> = nearest[0].neighbours.iter().map(|neighbour| neighbour.item).collect();
    assert_eq!(items, [1, 2]);
}

#[test]
fn a_small_memory_is_retrieved_whole() {
    let nearest = nearest(&unit_rows(1, 8, 4), &unit_rows(3, 8, 5), 64);
    assert_eq!(nearest[0].neighbours.len(), 3);
}
