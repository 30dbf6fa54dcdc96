//! Logistic regression on the embedding: a baseline without neighbours.
//!
//! Minimises `|w|^2 / 2 + sum of cross-entropies` by Newton's method. The intercept has no penalty. Each step's
//! linear system is solved by conjugate gradients, which need no matrix of `d x d`.

use crate::cell::sigmoid;
use ndarray::{Array1, Array2};

const NEWTON_STEPS: usize = 12;
const GRADIENT_STEPS: usize = 40;

/// A fitted regression.
pub(crate) struct Logistic {
    w: Array1<f64>,
    intercept: f64,
}

impl Logistic {
    /// Fits labels from 0 to 1. Shapes: `n x d`, `n`.
    pub(crate) fn fit(rows: &Array2<f32>, labels: &[f64]) -> Self {
        let x = with_ones(rows);
        let y = Array1::from(labels.to_vec());
        let ridge = |w: &Array1<f64>| {
            let mut ridge = w.clone();
            ridge[w.len() - 1] = 0.0;
            ridge
        };
        let mut w = Array1::zeros(x.ncols());
        for _ in 0..NEWTON_STEPS {
            let p = x.dot(&w).mapv(sigmoid);
            let weights = p.mapv(|p| (p * (1.0 - p)).max(1e-6));
            let gradient = x.t().dot(&(&p - &y)) + ridge(&w);
            w -= &conjugate_gradients(&gradient, |v| x.t().dot(&(&weights * &x.dot(v))) + ridge(v));
        }
        let intercept = w[w.len() - 1];
        Self { w: w.slice(ndarray::s![..-1]).to_owned(), intercept }
    }

    /// The probability that each row's label is 1. Shape: `n x d`.
    pub(crate) fn predict(&self, rows: &Array2<f32>) -> Vec<f64> {
        rows.mapv(f64::from).dot(&self.w).iter().map(|logit| sigmoid(logit + self.intercept)).collect()
    }
}

fn with_ones(rows: &Array2<f32>) -> Array2<f64> {
    let mut x = Array2::ones((rows.nrows(), rows.ncols() + 1));
    x.slice_mut(ndarray::s![.., ..-1]).assign(&rows.mapv(f64::from));
    x
}

/// Solves `A v = b` for a positive definite `A`.
fn conjugate_gradients(b: &Array1<f64>, a: impl Fn(&Array1<f64>) -> Array1<f64>) -> Array1<f64> {
    let mut v = Array1::zeros(b.len());
    let (mut residual, mut direction) = (b.clone(), b.clone());
    let mut squared = residual.dot(&residual);
    let enough = squared * 1e-12;
    for _ in 0..GRADIENT_STEPS {
        if squared <= enough {
            break;
        }
        let image = a(&direction);
        let step = squared / direction.dot(&image);
        v.scaled_add(step, &direction);
        residual.scaled_add(-step, &image);
        let before = squared;
        squared = residual.dot(&residual);
        direction = &residual + &(direction * (squared / before));
    }
    v
}

#[cfg(test)]
mod tests;
