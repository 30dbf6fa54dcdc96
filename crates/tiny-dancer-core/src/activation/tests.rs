use super::{sigmoid, tanh};

/// Every float with a coarse mantissa, of both signs, and a fine grid where the curves bend.
fn inputs() -> impl Iterator<Item = f32> {
    let every_magnitude = (0..=0x7f80u32).flat_map(|high| {
        let x = f32::from_bits(high << 16);
        [x, -x]
    });
    every_magnitude.filter(|x| x.is_finite()).chain((-200_000..=200_000).map(|i| i as f32 * 1e-4))
}

#[test]
fn sigmoid_is_within_2e_7_of_libm() {
    let worst = inputs()
        .map(|x| (f64::from(sigmoid(x)) - 1.0 / (1.0 + (-f64::from(x)).exp())).abs())
        .fold(0.0, f64::max);
    assert!(worst < 2e-7, "{worst:e}");
}

#[test]
fn tanh_is_within_3e_7_of_libm() {
    let worst = inputs().map(|x| (f64::from(tanh(x)) - f64::from(x).tanh()).abs()).fold(0.0, f64::max);
    assert!(worst < 3e-7, "{worst:e}");
}

#[test]
fn what_is_not_a_number_stays_so() {
    assert!(sigmoid(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
}

#[test]
fn infinities_saturate() {
    assert_eq!((sigmoid(f32::INFINITY), sigmoid(f32::NEG_INFINITY) < 1e-37), (1.0, true));
    assert_eq!((tanh(f32::INFINITY), tanh(f32::NEG_INFINITY)), (1.0, -1.0));
}
