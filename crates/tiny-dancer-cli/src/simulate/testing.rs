//! Rows whose truth is known, for tests.

use ndarray::Array2;
use tiny_dancer_train::matrix::{Matrix, Scores};

pub(super) fn row(id: &str, scores: &[(&str, f64)]) -> Scores {
    let by_model = scores.iter().map(|&(name, score)| (name.to_owned(), score)).collect();
    Scores { id: id.to_owned(), subject: None, by_model }
}

pub(super) fn matrix<const D: usize>(rows: Vec<Scores>, embeddings: &[[f32; D]]) -> Matrix {
    Matrix { rows, embeddings: Array2::from(embeddings.to_vec()), embedder: None, unread: vec![] }
}

/// Rows with equal vectors.
pub(super) fn file(rows: impl Iterator<Item = Scores>) -> Matrix {
    let rows: Vec<Scores> = rows.collect();
    let embeddings = vec![[1.0, 0.0]; rows.len()];
    matrix(rows, &embeddings)
}

/// Rows in two clusters around two of the four axes: the lightweight model answers all of the first and none of the second.
pub(super) fn clusters(axes: [usize; 2], rows: usize) -> Matrix {
    let embedding = |i: usize| -> [f32; 4] {
        std::array::from_fn(|axis| {
            // A remainder is as good as noise here.
            let noise = ((i * 37 + axis * 101) % 97) as f32 / 400.0;
            noise + if axis == axes[i % 2] { 1.0 } else { 0.0 }
        })
    };
    let scores = |i: usize| {
        let lightweight = if i.is_multiple_of(2) { 1.0 } else { 0.0 };
        row(&format!("{}-{i}", axes[0]), &[("lightweight", lightweight), ("powerful", 1.0)])
    };
    matrix((0..rows).map(scores).collect(), &(0..rows).map(embedding).collect::<Vec<_>>())
}
