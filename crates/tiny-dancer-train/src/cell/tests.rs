use super::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Half the width of a finite difference.
const H: f64 = 1e-5;

fn parameters(hidden: usize, seed: u64) -> Parameters {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values = (0..Parameters::count(hidden)).map(|_| rng.random_range(-0.8..0.8)).collect();
    Parameters { hidden, values }
}

/// Sequences of these lengths. The per-candidate pass has length 1.
fn sequences(lengths: &[usize], seed: u64) -> Vec<Vec<Step>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut step = || std::array::from_fn(|f| rng.random_range(if f == 0 { -1.0..1.0 } else { 0.0..1.0 }));
    lengths.iter().map(|&length| (0..length).map(|_| step()).collect()).collect()
}

/// A loss that weights each sequence differently, so that exchanged sequences change it.
fn loss(logits: &[f64]) -> f64 {
    logits.iter().enumerate().map(|(i, logit)| (i as f64 + 1.0) * logit.sin()).sum()
}

#[test]
fn gradients_equal_finite_differences_for_every_parameter_and_both_passes() {
    let per_candidate = [1, 1, 1];
    let joint = [7, 1, 64, 3];
    for lengths in [&per_candidate[..], &joint] {
        let mut parameters = parameters(5, 1);
        let batch = Batch::new(&sequences(lengths, 2));
        let pass = Pass::new(&parameters, &batch);
        let by_logit: Vec<f64> =
            pass.logits().iter().enumerate().map(|(i, logit)| (i as f64 + 1.0) * logit.cos()).collect();
        let gradient = pass.backward(&by_logit);
        assert_eq!(gradient.len(), parameters.values.len());
        for (i, &exact) in gradient.iter().enumerate() {
            let middle = parameters.values[i];
            let mut at = |value| {
                parameters.values[i] = value;
                loss(&Pass::new(&parameters, &batch).logits())
            };
            let difference = (at(middle + H) - at(middle - H)) / (2.0 * H);
            parameters.values[i] = middle;
            let scale = 1.0_f64.max(exact.abs());
            assert!((exact - difference).abs() < 1e-7 * scale, "parameter {i}: {exact} or {difference}");
        }
    }
}

#[test]
fn the_sequences_of_a_batch_do_not_affect_each_other() {
    let (parameters, all) = (parameters(6, 3), sequences(&[3, 1, 9, 1, 2], 4));
    let batched = Pass::new(&parameters, &Batch::new(&all)).logits();
    for (sequence, logit) in all.iter().zip(batched) {
        let own = Pass::new(&parameters, &Batch::new(std::slice::from_ref(sequence))).logits()[0];
        assert!((own - logit).abs() < 1e-12);
    }
}

#[test]
fn a_step_follows_the_published_equations() {
    let parameters = parameters(4, 5);
    let all = sequences(&[2], 6);
    let cell = parameters.views();
    let mut h = Array1::<f64>::zeros(4);
    for x in all[0].iter().rev() {
        let pre = cell.w.dot(&ArrayView1::from(x)) + cell.u.dot(&h);
        let z = (&pre + &cell.bias_gate).mapv(sigmoid);
        let update = (&pre + &cell.bias_update).mapv(f64::tanh);
        h = ((1.0 - &z) * sigmoid(cell.zeta) + sigmoid(cell.nu)) * update + z * h;
    }
    let expected = cell.head_weight.dot(&h) + cell.head_bias;
    assert!((Pass::new(&parameters, &Batch::new(&all)).logits()[0] - expected).abs() < 1e-12);
}

#[test]
fn rescaling_rescales_logits() {
    let (mut parameters, batch) = (parameters(4, 7), Batch::new(&sequences(&[5, 1], 8)));
    let before = Pass::new(&parameters, &batch).logits();
    parameters.rescale(1.5, -0.25);
    for (before, after) in before.into_iter().zip(Pass::new(&parameters, &batch).logits()) {
        assert!((1.5 * before - 0.25 - after).abs() < 1e-12);
    }
}
