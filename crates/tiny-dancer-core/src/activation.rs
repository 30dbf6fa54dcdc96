//! Sigmoid and tanh, on vectors.
//!
//! Both stand on one `2^x`: the nearest integer goes into the exponent's bits, and a polynomial of degree six gives
//! the rest on -1/2 to 1/2. There is no branch, no table and no call. Against libm in f64 both stay within 3e-7 (see
//! the tests).

use pulp::Simd;

/// Rounds to the nearest integer when added: the sum's low bits are that integer.
const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23
const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// Beyond, `2^x` is nothing or everything to whoever adds 1 to it.
const LIMIT: f32 = 62.0;
/// `ln(2)^k / k!`, Taylor's coefficients of `2^x`: at 1/2 the first term left out is below 1.2e-7.
const C: [f32; 7] =
    [1.0, std::f32::consts::LN_2, 0.240_226_5, 0.055_504_11, 0.009_618_129, 0.001_333_355_8, 0.000_154_035_3];

/// `2^x` of each lane, for `x` clamped to -62..62. No lane may be NaN: the model file bounds all weights.
#[inline(always)]
pub(crate) fn exp2<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let x = simd.min_f32s(simd.splat_f32s(LIMIT), simd.max_f32s(simd.splat_f32s(-LIMIT), x));
    let round = simd.splat_f32s(ROUND);
    let shifted = simd.add_f32s(x, round);
    let r = simd.sub_f32s(x, simd.sub_f32s(shifted, round));
    let [c0, c1, c2, c3, c4, c5, c6] = C;
    let (c0, c1, c2, c3) =
        (simd.splat_f32s(c0), simd.splat_f32s(c1), simd.splat_f32s(c2), simd.splat_f32s(c3));
    let (c4, c5, c6) = (simd.splat_f32s(c4), simd.splat_f32s(c5), simd.splat_f32s(c6));
    // Estrin's scheme: three steps deep instead of six.
    let r2 = simd.mul_f32s(r, r);
    let low = simd.mul_add_e_f32s(r, c1, c0);
    let low = simd.mul_add_e_f32s(simd.mul_add_e_f32s(r, c3, c2), r2, low);
    let high = simd.mul_add_e_f32s(r2, c6, simd.mul_add_e_f32s(r, c5, c4));
    let p = simd.mul_add_e_f32s(high, simd.mul_f32s(r2, r2), low);
    let exponent = simd.add_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(127));
    simd.mul_f32s(p, simd.transmute_f32s_u32s(simd.wrapping_dyn_shl_u32s(exponent, simd.splat_u32s(23))))
}

/// The logistic function `1 / (1 + e^-x)` of each lane.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let one = simd.splat_f32s(1.0);
    let power = exp2(simd, simd.mul_f32s(simd.splat_f32s(-LOG2_E), x));
    simd.div_f32s(one, simd.add_f32s(one, power))
}

/// Both gates of a cell, from the exponent `x`: `A = e^-(pre + bias_gate)` and `B = e^-2(pre + bias_update)`.
///
/// Where the two biases of each unit are near each other, which is what `SHARED` says, both follow from one power of two:
/// `x` is `-log2(e) (pre + c)` with the biases' mean `c`, and for their difference `d` of at most [`SHARED_DIFFERENCE`]
///
/// ```text
/// A = gate 2^x      gate = e^-(d/2)
/// B = update 2^2x   update = e^d
/// ```
///
/// `A` stays below `2^74`, and `B` is cut at `2^50`, where the tanh has long been -1, so that `(1 + A) (1 + B)` is a number.
/// Otherwise `x` is `-log2(e) pre`, and `gate` and `update` are what the biases add to the two exponents.
#[inline(always)]
pub(crate) fn gates<S: Simd, const SHARED: bool>(
    simd: S,
    x: S::f32s,
    gate: S::f32s,
    update: S::f32s,
) -> (S::f32s, S::f32s) {
    if SHARED {
        let power = exp2(simd, x);
        let b = simd.mul_f32s(simd.mul_f32s(power, power), update);
        (simd.mul_f32s(power, gate), simd.min_f32s(simd.splat_f32s(FLAT), b))
    } else {
        let twice = simd.add_f32s(x, x);
        (exp2(simd, simd.add_f32s(x, gate)), exp2(simd, simd.add_f32s(twice, update)))
    }
}

/// The largest difference between a unit's two biases where one power of two serves both.
pub(crate) const SHARED_DIFFERENCE: f32 = 16.0;
/// 2^50
const FLAT: f32 = 1_125_899_906_842_624.0;

/// The cell's update of each lane, from its [`gates`] and in one division:
///
/// ```text
/// z  = sigmoid(pre + bias_gate) = 1 / (1 + A)      h~ = tanh(pre + bias_update) = (1 - B) / (1 + B)
/// h' = (zeta (1 - z) + nu) h~ + z h
///    = ((zeta A + nu (1 + A)) (1 - B) + h (1 + B)) / ((1 + A) (1 + B))
/// ```
#[inline(always)]
pub(crate) fn gated_update<S: Simd>(
    simd: S,
    (a, b): (S::f32s, S::f32s),
    zeta: f32,
    nu: f32,
    h: S::f32s,
) -> S::f32s {
    let one = simd.splat_f32s(1.0);
    let let_in = simd.mul_add_e_f32s(a, simd.splat_f32s(zeta + nu), simd.splat_f32s(nu));
    let (one_a, one_b) = (simd.add_f32s(one, a), simd.add_f32s(one, b));
    let sum = simd.mul_add_e_f32s(h, one_b, simd.mul_f32s(let_in, simd.sub_f32s(one, b)));
    simd.div_f32s(sum, simd.mul_f32s(one_a, one_b))
}

#[cfg(test)]
mod tests;
