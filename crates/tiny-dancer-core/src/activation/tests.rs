use super::*;
use crate::kernel::Kernel;
use pulp::WithSimd;

/// Every magnitude with a coarse mantissa, of both signs, and a fine grid where the curves bend.
fn inputs() -> impl Iterator<Item = f32> + Clone {
    let every_magnitude = (0..=0x7f80_u32).flat_map(|high| {
        let x = f32::from_bits(high << 16);
        [x, -x]
    });
    every_magnitude.filter(|x| x.is_finite()).chain((-200_000..=200_000).map(|i| i as f32 * 1e-4))
}

/// One of the functions, on one value.
#[derive(Clone, Copy, Debug)]
enum Function {
    Exp2,
    GatedUpdate { shared: bool, bias_gate: f32, bias_update: f32, zeta: f32, nu: f32, h: f32 },
    Sigmoid,
}

/// tanh as the cell uses it: a gate that lets everything in, and a state that it forgets. Up to 60.
const TANH: Function =
    Function::GatedUpdate { shared: false, bias_gate: -100.0, bias_update: 0.0, zeta: 1.0, nu: 0.0, h: 0.0 };

struct Call(Function, f32);

impl WithSimd for Call {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let splat = |x: f64| simd.splat_f32s(x as f32);
        let x = self.1;
        let result = match self.0 {
            Function::Exp2 => exp2(simd, simd.splat_f32s(x)),
            Function::Sigmoid => sigmoid(simd, simd.splat_f32s(x)),
            Function::GatedUpdate { shared, bias_gate, bias_update, zeta, nu, h } => {
                let exponent = |x: f64| -std::f64::consts::LOG2_E * x;
                let (gate, update) = (f64::from(bias_gate), f64::from(bias_update));
                let x = f64::from(x);
                let (scales, h) = ((zeta, nu), simd.splat_f32s(h));
                if shared {
                    let difference = gate - update;
                    let centred = splat(exponent(x + f64::midpoint(gate, update)));
                    let biases = (splat((-difference / 2.0).exp()), splat(difference.exp()));
                    gated_update::<S, true>(simd, centred, biases, scales, h)
                } else {
                    let biases = (splat(exponent(gate)), splat(exponent(2.0 * update)));
                    gated_update::<S, false>(simd, splat(exponent(x)), biases, scales, h)
                }
            }
        };
        first::<S>(result)
    }
}

/// All lanes hold the same.
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
    let values = [-90.0, -7.0, -1.0, -0.1, 0.0, 0.3, 2.0, 30.0, 120.0];
    let biases = [(0.0, 0.0), (4.1, -0.3), (-8.0, 8.0), (9.0, -7.0), (60.0, 50.0)];
    let (zeta, nu) = (0.73, 0.02);
    for (bias_gate, bias_update) in biases {
        for (x, h) in values.into_iter().flat_map(|x| [-1.0, 0.0, 0.5, 40.0].map(|h| (x, h))) {
            let z = 1.0 / (1.0 + (-f64::from(x + bias_gate)).exp());
            let update = f64::from(x + bias_update).tanh();
            let expected = (f64::from(zeta) * (1.0 - z) + f64::from(nu)) * update + z * f64::from(h);
            for (kernel, shared) in
                Kernel::available().into_iter().flat_map(|kernel| [(kernel, true), (kernel, false)])
            {
                let function = Function::GatedUpdate { shared, bias_gate, bias_update, zeta, nu, h };
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
}

#[test]
fn infinities_saturate() {
    for kernel in Kernel::available() {
        let both = |function| [f32::INFINITY, f32::NEG_INFINITY].map(|x| call(kernel, function, x));
        assert_eq!(both(Function::Sigmoid).map(|y| y > 1e-18), [true, false]);
        assert_eq!(both(Function::Exp2), [2_f32.powi(62), 2_f32.powi(-62)]);
    }
}
