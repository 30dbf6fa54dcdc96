use super::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

#[test]
fn the_gradient_vanishes_at_the_fitted_weights() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let rows = Array2::from_shape_simple_fn((300, 6), || rng.random_range(-1.0..1.0_f32));
    let labels: Vec<f64> = rows
        .outer_iter()
        .map(|row| f64::from(u8::from(row[0] + row[1] > rng.random_range(-0.5..0.5))))
        .collect();
    let fitted = Logistic::fit(&rows, &labels);
    let errors: Vec<f64> = fitted.predict(&rows).iter().zip(&labels).map(|(p, y)| p - y).collect();
    for (j, w) in fitted.w.iter().enumerate() {
        let gradient: f64 = rows.column(j).iter().zip(&errors).map(|(&x, error)| f64::from(x) * error).sum();
        assert!((gradient + w).abs() < 1e-5, "{j}: {gradient} {w}");
    }
    assert!(errors.iter().sum::<f64>().abs() < 1e-5);
    assert!(fitted.w[0] > 1.0 && fitted.w[1] > 1.0 && fitted.w[3].abs() < 1.0);
}

#[test]
fn labels_that_are_all_one_give_a_finite_fit() {
    let fitted = Logistic::fit(&Array2::ones((10, 2)), &[1.0; 10]);
    let predicted = fitted.predict(&Array2::ones((1, 2)))[0];
    assert!(predicted > 0.9 && predicted <= 1.0);
}
