use super::*;
use crate::kernel::Kernel;
use pulp::WithSimd;

/// Every exponent with a coarse mantissa and both signs, and a fine grid where the curves bend.
fn inputs() -> impl Iterator<Item = f32> + Clone {
    let every_magnitude = (0..=0x7f80_u32).flat_map(|high| {
        let x = f32::from_bits(high << 16);
        [x, -x]
    });
    every_magnitude.filter(|x| x.is_finite()).chain((-200_000..=200_000).map(|i| i as f32 * 1e-4))
}

/// One of the functions, with its parameters.
#[derive(Clone, Copy, Debug)]
enum Function {
    Exp2,
    FirstUpdate { bounded: bool, bias_gate: f32, bias_update: f32, zeta: f32, nu: f32 },
    GatedUpdate { bounded: bool, bias_gate: f32, bias_update: f32, zeta: f32, nu: f32, h: f32 },
    Sigmoid,
}

/// tanh as the cell uses it, for values up to 60: the gate is open, and the state before has no weight.
const TANH: Function =
    Function::GatedUpdate { bounded: false, bias_gate: -100.0, bias_update: 0.0, zeta: 1.0, nu: 0.0, h: 0.0 };

struct Call(Function, f32);

impl WithSimd for Call {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let x = self.1;
        let result = match self.0 {
            Function::Exp2 => exp2(simd, simd.splat_f32s(x)),
            Function::Sigmoid => sigmoid(simd, simd.splat_f32s(x)),
            Function::FirstUpdate { bounded, bias_gate, bias_update, zeta, nu } => {
                let (x, biases) = exponent::<S>(simd, bounded, x, (bias_gate, bias_update));
                if bounded {
                    first_update::<S, true>(simd, x, biases, (zeta, nu))
                } else {
                    first_update::<S, false>(simd, x, biases, (zeta, nu))
                }
            }
            Function::GatedUpdate { bounded, bias_gate, bias_update, zeta, nu, h } => {
                let (x, biases) = exponent::<S>(simd, bounded, x, (bias_gate, bias_update));
                let h = simd.splat_f32s(h);
                if bounded {
                    gated_update::<S, true>(simd, x, biases, (zeta, nu), h)
                } else {
                    gated_update::<S, false>(simd, x, biases, (zeta, nu), h)
                }
            }
        };
        first::<S>(result)
    }
}

/// The exponent and the two bias terms, as the cell computes them.
#[inline(always)]
fn exponent<S: Simd>(
    simd: S,
    bounded: bool,
    x: f32,
    (gate, update): (f32, f32),
) -> (S::f32s, (S::f32s, S::f32s)) {
    let (x, gate, update) = (f64::from(x), f64::from(gate), f64::from(update));
    let exponent = |x: f64| -std::f64::consts::LOG2_E * x;
    let [x, gate, update] = if bounded {
        let difference = gate - update;
        [exponent(x + f64::midpoint(gate, update)), (-difference / 2.0).exp(), difference.exp()]
    } else {
        [exponent(x), exponent(gate), exponent(2.0 * update)]
    };
    let (gate, update) = (simd.splat_f32s(gate as f32), simd.splat_f32s(update as f32));
    (simd.splat_f32s(x as f32), (gate, update))
}

/// The first lane of a vector whose lanes are equal.
fn first<S: Simd>(vector: S::f32s) -> f32 {
    let mut lanes = [0.0; 16];
    S::as_mut_simd_f32s(&mut lanes).0[0] = vector;
    lanes[0]
}

fn call(kernel: Kernel, function: Function, x: f32) -> f32 {
    kernel.dispatch(Call(function, x))
}

/// The largest error against libm on any kernel.
fn worst(function: Function, inputs: &(impl Iterator<Item = f32> + Clone), exact: fn(f64) -> f64) -> f64 {
    let error = |kernel, x: f32| (f64::from(call(kernel, function, x)) - exact(f64::from(x))).abs();
    Kernel::available()
        .into_iter()
        .flat_map(|kernel| inputs.clone().map(move |x| error(kernel, x)))
        .fold(0.0, f64::max)
}

#[test]
fn sigmoid_is_within_3e_7_of_libm() {
    let worst = worst(Function::Sigmoid, &inputs(), |x| 1.0 / (1.0 + (-x).exp()));
    assert!(worst < 3e-7, "{worst:e}");
}

#[test]
fn tanh_is_within_3e_7_of_libm() {
    let worst = worst(TANH, &inputs().filter(|x| x.abs() <= 60.0), f64::tanh);
    assert!(worst < 3e-7, "{worst:e}");
}

#[test]
fn exp2_is_within_3e_7_of_libm_relative_to_its_size() {
    for kernel in Kernel::available() {
        let worst = (-61_999..=61_999)
            .map(|i| i as f32 * 1e-3)
            .map(|x| (f64::from(call(kernel, Function::Exp2, x)) / f64::from(x).exp2() - 1.0).abs())
            .fold(0.0, f64::max);
        assert!(worst < 3e-7, "{worst:e}");
    }
}

#[test]
fn the_gated_update_equals_its_definition_with_libm() {
    let values = [-90.0, -20.0, -7.0, -1.0, -0.1, 0.0, 0.3, 2.0, 19.0, 30.0, 120.0];
    let biases = [(0.0, 0.0), (4.1, -0.3), (-8.0, 8.0), (9.0, -7.0), (60.0, 50.0)];
    let (zeta, nu) = (0.73, 0.02);
    let mut forms = [0; 2];
    for (bias_gate, bias_update) in biases {
        for (x, h) in values.into_iter().flat_map(|x| [-1.0, 0.0, 0.5, 40.0].map(|h| (x, h))) {
            let z = 1.0 / (1.0 + (-f64::from(x + bias_gate)).exp());
            let update = f64::from(x + bias_update).tanh();
            let expected = (f64::from(zeta) * (1.0 - z) + f64::from(nu)) * update + z * f64::from(h);
            let centre = f64::midpoint(bias_gate.into(), bias_update.into());
            let within =
                bounded((f64::from(x) + centre).abs(), f64::from(bias_gate) - f64::from(bias_update));
            for (kernel, within) in
                Kernel::available().into_iter().flat_map(|kernel| [(kernel, false), (kernel, within)])
            {
                forms[usize::from(within)] += 1;
                let function = Function::GatedUpdate { bounded: within, bias_gate, bias_update, zeta, nu, h };
                let actual = call(kernel, function, x);
                let error = (f64::from(actual) - expected).abs() / expected.abs().max(1.0);
                // The sum of x and a bias, or their product with log2(e), rounds by more than the update does.
                let tolerance = 6e-7 + 6e-8 * f64::from(x.abs().max(bias_gate.abs())).min(30.0);
                assert!(
                    error < tolerance,
                    "{} {function:?} {x}: {actual}, expected {expected}",
                    kernel.name()
                );
            }
        }
    }
    assert!(forms.iter().all(|&tried| tried > 100), "{forms:?}");
}

#[test]
fn the_first_update_equals_the_gated_update_of_a_zero_state() {
    for (x, form) in
        [-20.0, -3.0, -0.2, 0.0, 0.1, 1.0, 8.0, 20.0].into_iter().flat_map(|x| [(x, true), (x, false)])
    {
        for kernel in Kernel::available() {
            let (zeta, nu) = (0.73, 0.02);
            let biases = (3.1, -0.4);
            let gated = Function::GatedUpdate {
                bounded: form,
                bias_gate: biases.0,
                bias_update: biases.1,
                zeta,
                nu,
                h: 0.0,
            };
            let first =
                Function::FirstUpdate { bounded: form, bias_gate: biases.0, bias_update: biases.1, zeta, nu };
            let (gated, first) = (call(kernel, gated, x), call(kernel, first, x));
            assert!((gated - first).abs() < 3e-7, "{} {x}: {gated}, {first}", kernel.name());
        }
    }
}

#[test]
fn a_bounded_update_stays_finite_up_to_its_bounds() {
    // Up to the largest exponent that is bounded for these biases, with the largest possible state.
    for difference in [0.0, 7.0, 30.0, 50.0_f32] {
        let most = (0..10_000)
            .map(|i| f64::from(i) * 0.01)
            .take_while(|&most| bounded(most, difference.into()))
            .last();
        let most = most.expect("0 is bounded") as f32;
        for (x, h) in [-most, most].into_iter().flat_map(|x| [-128.0, 128.0].map(|h| (x, h))) {
            for (kernel, sign) in
                Kernel::available().into_iter().flat_map(|kernel| [(kernel, 0.5), (kernel, -0.5)])
            {
                let (bias_gate, bias_update) = (sign * difference, -sign * difference);
                let (zeta, nu) = (1.0, 1.0);
                let function = Function::GatedUpdate { bounded: true, bias_gate, bias_update, zeta, nu, h };
                let actual = call(kernel, function, x);
                assert!(actual.abs() < 131.0, "{} {function:?} {x}: {actual}", kernel.name());
            }
        }
    }
    assert!(!bounded(0.0, 130.0) && !bounded(60.0, 0.0) && !bounded(f64::INFINITY, 0.0));
}

#[test]
fn infinities_saturate() {
    for kernel in Kernel::available() {
        let both = |function| [f32::INFINITY, f32::NEG_INFINITY].map(|x| call(kernel, function, x));
        assert_eq!(both(Function::Sigmoid).map(|y| y > 1e-18), [true, false]);
        assert_eq!(both(Function::Exp2), [2_f32.powi(62), 2_f32.powi(-62)]);
    }
}
