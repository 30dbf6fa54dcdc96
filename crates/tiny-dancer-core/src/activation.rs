//! Sigmoid and tanh, on vectors.
//!
//! Both use one `2^x`: the nearest integer goes into the exponent's bits, and a polynomial of degree five approximates
//! the rest on -1/2 to 1/2. There is no branch, no table and no call. Both are within 3e-7 of libm in f64 (see the
//! tests).

use pulp::Simd;

/// Rounds to the nearest integer when added: the sum's low bits are that integer.
const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23
const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// Outside ±62, `1 + 2^x` rounds to 1 or to `2^x`.
const LIMIT: f32 = 62.0;
/// Coefficients of `2^x` on -1/2 to 1/2, lowest first, with 1 at 0. Their largest relative error, 1.1e-7, is the least
/// of degree five.
const C: [f32; 6] =
    [1.0, std::f32::consts::LN_2 - 1.8e-7, 0.240_222_42, 0.055_507_336, 0.009_671_513, 0.001_326_472_1];

/// `2^x` of each lane, for `x` clamped to -62..62. No lane is NaN, since the model file bounds all weights.
#[inline(always)]
pub(crate) fn exp2<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let x = simd.min_f32s(simd.splat_f32s(LIMIT), simd.max_f32s(simd.splat_f32s(-LIMIT), x));
    let (p, scale) = exp2_parts(simd, x);
    simd.mul_f32s(p, scale)
}

/// `2^x` for `x` from -126 to 127, as two factors: a number from 0.7 to 1.42, and a whole power of two, which is
/// computed earlier.
#[inline(always)]
fn exp2_parts<S: Simd>(simd: S, x: S::f32s) -> (S::f32s, S::f32s) {
    let round = simd.splat_f32s(ROUND);
    let shifted = simd.add_f32s(x, round);
    let r = simd.sub_f32s(x, simd.sub_f32s(shifted, round));
    let [c0, c1, c2, c3, c4, c5] = C;
    let (c0, c1, c2) = (simd.splat_f32s(c0), simd.splat_f32s(c1), simd.splat_f32s(c2));
    let (c3, c4, c5) = (simd.splat_f32s(c3), simd.splat_f32s(c4), simd.splat_f32s(c5));
    // In pairs: three steps deep instead of five.
    let r2 = simd.mul_f32s(r, r);
    let high = simd.mul_add_e_f32s(r2, simd.mul_add_e_f32s(r, c5, c4), simd.mul_add_e_f32s(r, c3, c2));
    let p = simd.mul_add_e_f32s(high, r2, simd.mul_add_e_f32s(r, c1, c0));
    let exponent = simd.add_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(127));
    (p, simd.transmute_f32s_u32s(simd.wrapping_dyn_shl_u32s(exponent, simd.splat_u32s(23))))
}

/// The logistic function `1 / (1 + e^-x)` of each lane.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let one = simd.splat_f32s(1.0);
    let power = exp2(simd, simd.mul_f32s(simd.splat_f32s(-LOG2_E), x));
    simd.div_f32s(one, simd.add_f32s(one, power))
}

/// The cell's update of each lane, in one division, from the exponent `x` of `A = e^-(pre + bias_gate)` and
/// `B = e^-2(pre + bias_update)`:
///
/// ```text
/// z  = sigmoid(pre + bias_gate) = 1 / (1 + A)      h~ = tanh(pre + bias_update) = (1 - B) / (1 + B)
/// h' = (zeta (1 - z) + nu) h~ + z h
///    = (let_in (1 - B) + h (1 + B)) / ((1 + A) (1 + B))      let_in = nu + (zeta + nu) A
/// ```
///
/// With `BOUNDED`, neither can leave f32's range (see [`bounded`]), and both follow from one power of two: `x` is
/// `-log2(e) (pre + c)` with the biases' mean `c`, and with their difference `d`
///
/// ```text
/// A = gate 2^x      gate = e^-(d/2)
/// B = update 2^2x   update = e^d
/// ```
///
/// Otherwise `x` is `-log2(e) pre`, and `gate` and `update` are the biases' terms of the two exponents.
///
/// Each step of the joint pass depends on the step before, so latency limits it. Numerator and denominator are therefore
/// polynomials in `p`, the factor of `2^x` that is computed last. [`first_update`] is the same for `h = 0`. It depends on
/// no other step, so throughput limits it, and it uses fewer instructions.
#[inline(always)]
pub(crate) fn gated_update<S: Simd, const BOUNDED: bool>(
    simd: S,
    x: S::f32s,
    biases: (S::f32s, S::f32s),
    (zeta, nu): (f32, f32),
    h: S::f32s,
) -> S::f32s {
    // A = a_of p, B = b_of p^2, let_in = nu + let_in_of p
    let (p, a_of, b_of) = powers::<S, BOUNDED>(simd, x, biases);
    let (one, nu, zeta_nu) = (simd.splat_f32s(1.0), simd.splat_f32s(nu), simd.splat_f32s(zeta + nu));
    let let_in_of = simd.mul_f32s(a_of, zeta_nu);
    let p2 = simd.mul_f32s(p, p);
    let below = simd.mul_add_e_f32s(p, simd.mul_f32s(a_of, b_of), b_of);
    let below = simd.mul_add_e_f32s(p2, below, simd.mul_add_e_f32s(p, a_of, one));
    let above = simd.mul_f32s(b_of, simd.sub_f32s(h, nu));
    let above = simd.negate_mul_add_e_f32s(p, simd.mul_f32s(b_of, let_in_of), above);
    let above = simd.mul_add_e_f32s(p2, above, simd.mul_add_e_f32s(p, let_in_of, simd.add_f32s(h, nu)));
    simd.div_f32s(above, below)
}

/// [`gated_update`] of `h = 0`.
#[inline(always)]
pub(crate) fn first_update<S: Simd, const BOUNDED: bool>(
    simd: S,
    x: S::f32s,
    biases: (S::f32s, S::f32s),
    (zeta, nu): (f32, f32),
) -> S::f32s {
    let (p, a_of, b_of) = powers::<S, BOUNDED>(simd, x, biases);
    let (one, nu, zeta_nu) = (simd.splat_f32s(1.0), simd.splat_f32s(nu), simd.splat_f32s(zeta + nu));
    let a = simd.mul_f32s(p, a_of);
    let b = simd.mul_f32s(simd.mul_f32s(p, p), b_of);
    let let_in = simd.mul_add_e_f32s(a, zeta_nu, nu);
    let one_a = simd.add_f32s(one, a);
    simd.div_f32s(simd.negate_mul_add_e_f32s(b, let_in, let_in), simd.mul_add_e_f32s(one_a, b, one_a))
}

/// `p`, and the factors of `p` and of its square that give `A` and `B`.
#[inline(always)]
fn powers<S: Simd, const BOUNDED: bool>(
    simd: S,
    x: S::f32s,
    (gate, update): (S::f32s, S::f32s),
) -> (S::f32s, S::f32s, S::f32s) {
    if BOUNDED {
        let (p, scale) = exp2_parts(simd, x);
        (p, simd.mul_f32s(scale, gate), simd.mul_f32s(simd.mul_f32s(scale, scale), update))
    } else {
        let a = exp2(simd, simd.add_f32s(x, gate));
        let b = exp2(simd, simd.add_f32s(simd.add_f32s(x, x), update));
        (simd.splat_f32s(1.0), a, b)
    }
}

/// Whether `(1 + A) (1 + B)`, multiplied by a state below 128, stays finite while `|pre + c|` is at most `most`.
pub(crate) fn bounded(most: f64, difference: f64) -> bool {
    // A and B are e^(most + |d|/2) and e^(2 most + |d|) at most.
    let (a, b) = ((most + difference.abs() / 2.0).exp(), (2.0 * most + difference.abs()).exp());
    128.0 * (1.0 + a) * (1.0 + b) < f64::from(f32::MAX)
}

#[cfg(test)]
mod tests;
