/// Every magnitude with a coarse mantissa, of both signs, and a fine grid where the curves bend.
fn inputs() -> impl Iterator<Item = f32> {
    let every_magnitude = (0..=0x7f80_u32).flat_map(|high| {
        let x = f32::from_bits(high << 16);
        [x, -x]
    });
    every_magnitude.filter(|x| x.is_finite()).chain((-200_000..=200_000).map(|i| i as f32 * 1e-4))
}

fn worst(approximation: fn(f32) -> f32, exact: fn(f64) -> f64) -> f64 {
    inputs().map(|x| (f64::from(approximation(x)) - exact(f64::from(x))).abs()).fold(0.0, f64::max)
}

fn sigmoid<const FUSED: bool>(x: f32) -> f32 {
    super::sigmoid::<FUSED, 1>(&[x])[0]
}

fn exp2<const FUSED: bool>(x: f32) -> f32 {
    super::exp2::<FUSED, 1>(&[x])[0]
}

fn gated_update<const FUSED: bool>(a: f32, b: f32, zeta: f32, nu: f32, h: f32) -> f32 {
    super::gated_update::<FUSED, 1>(&[a], &[b], zeta, nu, &[h])[0]
}

/// tanh as the cell uses it: a gate that is open and lets everything in.
fn tanh<const FUSED: bool>(x: f32) -> f32 {
    gated_update::<FUSED>(-100.0, x, 1.0, 0.0, 0.0)
}

#[test]
fn sigmoid_is_within_3e_7_of_libm() {
    for approximation in [sigmoid::<true>, sigmoid::<false>] {
        let worst = worst(approximation, |x| 1.0 / (1.0 + (-x).exp()));
        assert!(worst < 3e-7, "{worst:e}");
    }
}

#[test]
fn tanh_is_within_3e_7_of_libm() {
    for approximation in [tanh::<true>, tanh::<false>] {
        let worst = worst(approximation, f64::tanh);
        assert!(worst < 3e-7, "{worst:e}");
    }
}

#[test]
fn exp2_is_within_3e_7_of_libm_relative_to_its_size() {
    for approximation in [exp2::<true>, exp2::<false>] {
        let worst = (-61_999..=61_999)
            .map(|i| i as f32 * 1e-3)
            .map(|x| (f64::from(approximation(x)) / f64::from(x).exp2() - 1.0).abs())
            .fold(0.0, f64::max);
        assert!(worst < 3e-7, "{worst:e}");
    }
}

#[test]
fn the_gated_update_equals_its_definition_with_libm() {
    let values = [-90.0, -7.0, -1.0, -0.1, 0.0, 0.3, 2.0, 30.0, 120.0];
    for a in values {
        for b in values {
            for h in [-1.0, 0.0, 0.5, 40.0] {
                let (zeta, nu) = (0.73, 0.02);
                let z = 1.0 / (1.0 + f64::from(-a).exp());
                let expected =
                    (f64::from(zeta) * (1.0 - z) + f64::from(nu)) * f64::from(b).tanh() + z * f64::from(h);
                for actual in
                    [gated_update::<true>(a, b, zeta, nu, h), gated_update::<false>(a, b, zeta, nu, h)]
                {
                    let error = (f64::from(actual) - expected).abs() / expected.abs().max(1.0);
                    assert!(error < 6e-7, "a {a}, b {b}, h {h}: {actual}, expected {expected}");
                }
            }
        }
    }
}

#[test]
fn what_is_not_a_number_stays_so() {
    assert!(sigmoid::<true>(f32::NAN).is_nan() && exp2::<true>(f32::NAN).is_nan());
    assert!(gated_update::<true>(f32::NAN, 0.0, 1.0, 0.0, 0.0).is_nan());
    assert!(gated_update::<true>(0.0, f32::NAN, 1.0, 0.0, 0.0).is_nan());
}

#[test]
fn infinities_saturate() {
    assert_eq!((sigmoid::<true>(f32::INFINITY), sigmoid::<true>(f32::NEG_INFINITY) < 1e-18), (1.0, true));
    assert_eq!((tanh::<true>(f32::INFINITY), tanh::<true>(f32::NEG_INFINITY)), (1.0, -1.0));
}
