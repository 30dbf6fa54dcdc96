//! FastGRNN: the recurrent cell that reads candidates, alone and together.
//!
//! Kusupati et al., "FastGRNN: A Fast, Accurate, Stable and Tiny Kilobyte Sized Gated Recurrent Neural Network",
//! NeurIPS 2018, equations 2 and 3, with the names of EdgeML's `FastGRNNCell`:
//!
//! ```text
//! pre = W x + U h
//! z   = sigmoid(pre + bias_gate)
//! h~  = tanh(pre + bias_update)
//! h'  = (sigmoid(zeta) (1 - z) + sigmoid(nu)) . h~ + z . h
//! ```
//!
//! and one head on top, `confidence = sigmoid(head_weight . h' + head_bias)`. The same weights are used twice:
//!
//! - **alone**: one step from `h = 0` for each candidate;
//! - **together**: one step for each of the [`JOINT_CANDIDATES`] nearest candidates in ascending similarity, so that
//!   the nearest memory speaks last.
//!
//! The cell never sees an embedding, so its weights do not depend on where embeddings come from.
//!
//! The weights are kept padded to whole vectors. A padded unit has weight zero everywhere, hence state zero for ever.

use crate::activation::{SHARED_DIFFERENCE, gated_update, sigmoid};
use crate::features::{Feature, Features};
use crate::kernel::Kernel;
use pulp::{Simd, WithSimd};

/// How many candidates are read together, the nearest ones, where there are more.
pub const JOINT_CANDIDATES: usize = 64;
/// The largest hidden size, so that a state fits the stack.
pub const MAX_HIDDEN_SIZE: usize = 64;

/// The parameters of a cell of hidden size `h`, in row-major order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FastGrnnWeights {
    /// `W`, `h x 5`: one row a hidden unit, one column a feature in the order of [`Feature::ALL`].
    pub w: Vec<f32>,
    /// `U`, `h x h`.
    pub u: Vec<f32>,
    /// The gate's bias, `h`.
    pub bias_gate: Vec<f32>,
    /// The update's bias, `h`.
    pub bias_update: Vec<f32>,
    /// How much of the update the closed gate lets in, before its sigmoid.
    pub zeta: f32,
    /// How much of the update always gets in, before its sigmoid.
    pub nu: f32,
    /// The head's weights, `h`.
    pub head_weight: Vec<f32>,
    /// The head's bias.
    pub head_bias: f32,
}

/// A number for each unit, padded.
type Units = [f32; MAX_HIDDEN_SIZE];

/// A cell ready to run: its weights scaled so that a sum over them is the exponent of its [`gated_update`].
#[derive(Clone, Debug)]
pub(crate) struct FastGrnn {
    /// Hidden units, in whole [`PADDED`] steps.
    padded: usize,
    /// Whether one power of two serves both gates of each unit.
    shared: bool,
    /// Columns of `-log2(e) W`: for each feature, its weights by unit.
    w: [Units; Feature::COUNT],
    /// Columns of `-log2(e) U`: for each unit, the weights that it sends out. Padded, too.
    u: Vec<Units>,
    /// Where the exponent's sum begins, and what [`gated_update`] makes of it.
    centre: Units,
    gate: Units,
    update: Units,
    head_weight: Units,
    head_bias: f32,
    /// `sigmoid(zeta)`
    zeta: f32,
    /// `sigmoid(nu)`
    nu: f32,
}

/// Hidden sizes are padded to a multiple of this, for each of which there is a kernel.
const PADDED: usize = 16;

/// The hidden state, on the stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State(Units);

impl State {
    /// `h = 0`.
    pub(crate) const ZERO: Self = Self([0.0; MAX_HIDDEN_SIZE]);
}

impl FastGrnn {
    /// Lays out weights whose shapes the model file has checked.
    pub(crate) fn new(weights: &FastGrnnWeights) -> Self {
        let h = weights.bias_gate.len();
        let padded = h.next_multiple_of(PADDED);
        let exponent = |value: f64| -std::f64::consts::LOG2_E * value;
        let column = |matrix: &[f32], width: usize, column: usize| {
            let column = matrix.iter().skip(column).step_by(width);
            units(column.map(|&weight| exponent(weight.into())))
        };
        let biases = || {
            let biases = weights.bias_gate.iter().zip(&weights.bias_update);
            biases.map(|(&gate, &update)| (f64::from(gate), f64::from(update)))
        };
        let shared = biases().all(|(gate, update)| (gate - update).abs() <= f64::from(SHARED_DIFFERENCE));
        let (centre, gate, update) = if shared {
            (
                units(biases().map(|(gate, update)| exponent(f64::midpoint(gate, update)))),
                units(biases().map(|(gate, update)| ((update - gate) / 2.0).exp())),
                units(biases().map(|(gate, update)| (gate - update).exp())),
            )
        } else {
            (
                units([].into_iter()),
                units(biases().map(|(gate, _)| exponent(gate))),
                units(biases().map(|(_, update)| exponent(2.0 * update))),
            )
        };
        let mut u: Vec<_> = (0..h).map(|from| column(&weights.u, h, from)).collect();
        u.resize(MAX_HIDDEN_SIZE, units([].into_iter()));
        let sigmoid = |x: f32| (1.0 / (1.0 + f64::from(-x).exp())) as f32;
        Self {
            padded,
            shared,
            w: std::array::from_fn(|feature| column(&weights.w, Feature::COUNT, feature)),
            u,
            centre,
            gate,
            update,
            head_weight: units(weights.head_weight.iter().map(|&weight| weight.into())),
            head_bias: weights.head_bias,
            zeta: sigmoid(weights.zeta),
            nu: sigmoid(weights.nu),
        }
    }

    /// The confidence of each candidate alone, or the first logit that is no number, with its candidate.
    pub(crate) fn alone(
        &self,
        kernel: Kernel,
        features: Features<'_>,
        confidences: &mut [f32],
    ) -> Result<(), (usize, f32)> {
        kernel.dispatch(Alone { cell: self, features, confidences: &mut *confidences });
        if let Some(candidate) = confidences.iter().position(|logit| !logit.is_finite()) {
            return Err((candidate, confidences[candidate]));
        }
        kernel.dispatch(Sigmoid(confidences));
        Ok(())
    }

    /// Reads candidates into a state, one after the other.
    pub(crate) fn read(&self, kernel: Kernel, features: Features<'_>, candidates: &[u32], state: &mut State) {
        kernel.dispatch(Read { cell: self, features, candidates, state });
    }

    /// The confidence of a state, or its logit where that is no number.
    pub(crate) fn confidence(&self, kernel: Kernel, state: &State) -> Result<f32, f32> {
        let mut confidence = [kernel.dispatch(Head { cell: self, state })];
        if !confidence[0].is_finite() {
            return Err(confidence[0]);
        }
        kernel.dispatch(Sigmoid(&mut confidence));
        Ok(confidence[0])
    }

    /// One step from the state `h`, which is all zero where `ALONE` says so.
    #[inline(always)]
    fn step<S: Simd, const PADDED: usize, const SHARED: bool, const ALONE: bool>(
        &self,
        simd: S,
        x: [f32; Feature::COUNT],
        h: &[f32; PADDED],
    ) -> [f32; PADDED] {
        let mut next = [0.0; PADDED];
        let (to, _) = S::as_mut_simd_f32s(&mut next);
        // Two vectors side by side, so that neither waits for the other.
        if let ([one], _) = to.as_chunks_mut::<1>() {
            *one = self.units::<S, PADDED, SHARED, ALONE, 1>(simd, x, h, 0);
        } else {
            for (pair, to) in to.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                *to = self.units::<S, PADDED, SHARED, ALONE, 2>(simd, x, h, 2 * pair);
            }
        }
        next
    }

    /// Some of the step's vectors, of which `first` is the first.
    #[inline(always)]
    fn units<S: Simd, const PADDED: usize, const SHARED: bool, const ALONE: bool, const VECTORS: usize>(
        &self,
        simd: S,
        x: [f32; Feature::COUNT],
        h: &[f32; PADDED],
        first: usize,
    ) -> [S::f32s; VECTORS] {
        let zero = simd.splat_f32s(0.0);
        // Four sums, so that an addition need not wait for the one before.
        let mut sums = [[zero; 4]; VECTORS];
        for v in 0..VECTORS {
            sums[v][0] = vector::<S>(&self.centre, first + v);
        }
        for feature in 0..Feature::COUNT {
            let x = simd.splat_f32s(x[feature]);
            for v in 0..VECTORS {
                let (weight, sum) = (vector::<S>(&self.w[feature], first + v), &mut sums[v][feature % 4]);
                *sum = simd.mul_add_e_f32s(weight, x, *sum);
            }
        }
        if !ALONE {
            for unit in 0..PADDED {
                let h = simd.splat_f32s(h[unit]);
                for v in 0..VECTORS {
                    let (weight, sum) = (vector::<S>(&self.u[unit], first + v), &mut sums[v][unit % 4]);
                    *sum = simd.mul_add_e_f32s(weight, h, *sum);
                }
            }
        }
        let mut next = [zero; VECTORS];
        for v in 0..VECTORS {
            let pairs = [simd.add_f32s(sums[v][0], sums[v][1]), simd.add_f32s(sums[v][2], sums[v][3])];
            let x = simd.add_f32s(pairs[0], pairs[1]);
            let biases = (vector::<S>(&self.gate, first + v), vector::<S>(&self.update, first + v));
            let h = if ALONE { zero } else { S::as_simd_f32s(h).0[first + v] };
            next[v] = gated_update::<S, SHARED>(simd, x, biases, (self.zeta, self.nu), h);
        }
        next
    }

    /// The head: the logit of a state.
    #[inline(always)]
    fn logit<S: Simd>(&self, simd: S, h: &[f32]) -> f32 {
        let mut sum = simd.splat_f32s(0.0);
        let (vectors, _) = S::as_simd_f32s(h);
        for (v, &h) in vectors.iter().enumerate() {
            sum = simd.mul_add_e_f32s(vector::<S>(&self.head_weight, v), h, sum);
        }
        self.head_bias + simd.reduce_sum_f32s(sum)
    }
}

/// Values by unit, padded with zeros.
fn units(values: impl Iterator<Item = f64>) -> Units {
    let mut units = [0.0; MAX_HIDDEN_SIZE];
    for (unit, value) in units.iter_mut().zip(values) {
        *unit = value as f32;
    }
    units
}

/// One of the vectors that units are made of.
#[inline(always)]
fn vector<S: Simd>(units: &Units, v: usize) -> S::f32s {
    S::as_simd_f32s(units).0[v]
}

/// All candidates alone: their logits.
struct Alone<'a> {
    cell: &'a FastGrnn,
    features: Features<'a>,
    confidences: &'a mut [f32],
}

/// Candidates together.
struct Read<'a> {
    cell: &'a FastGrnn,
    features: Features<'a>,
    candidates: &'a [u32],
    state: &'a mut State,
}

/// Runs a method for the cell's hidden size, and for whether its gates share a power.
macro_rules! sized {
    ($self:ident, $simd:ident) => {
        match ($self.cell.padded, $self.cell.shared) {
            (16, true) => $self.sized::<S, 16, true>($simd),
            (32, true) => $self.sized::<S, 32, true>($simd),
            (48, true) => $self.sized::<S, 48, true>($simd),
            (_, true) => $self.sized::<S, MAX_HIDDEN_SIZE, true>($simd),
            (16, false) => $self.sized::<S, 16, false>($simd),
            (_, false) => $self.sized::<S, MAX_HIDDEN_SIZE, false>($simd),
        }
    };
}

impl Alone<'_> {
    #[inline(always)]
    fn sized<S: Simd, const PADDED: usize, const SHARED: bool>(self, simd: S) {
        // As long as the confidences, which spares each candidate the question.
        let features = self.features.first(self.confidences.len());
        for (candidate, logit) in self.confidences.iter_mut().enumerate() {
            let x = features.row(candidate);
            let h = self.cell.step::<S, PADDED, SHARED, true>(simd, x, &[0.0; PADDED]);
            *logit = self.cell.logit(simd, &h);
        }
    }
}

impl WithSimd for Alone<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        sized!(self, simd);
    }
}

impl Read<'_> {
    #[inline(always)]
    fn sized<S: Simd, const PADDED: usize, const SHARED: bool>(self, simd: S) {
        let state = self.state.0.first_chunk_mut::<PADDED>().expect("at most MAX_HIDDEN_SIZE");
        let mut h = *state;
        for &candidate in self.candidates {
            let x = self.features.row(candidate as usize);
            h = self.cell.step::<S, PADDED, SHARED, false>(simd, x, &h);
        }
        *state = h;
    }
}

impl WithSimd for Read<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        sized!(self, simd);
    }
}

/// The logit of a state.
struct Head<'a> {
    cell: &'a FastGrnn,
    state: &'a State,
}

impl WithSimd for Head<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        self.cell.logit(simd, &self.state.0[..self.cell.padded])
    }
}

/// The sigmoid of each logit, in its place.
pub(crate) struct Sigmoid<'a>(pub(crate) &'a mut [f32]);

impl WithSimd for Sigmoid<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (vectors, rest) = S::as_mut_simd_f32s(self.0);
        for logits in vectors {
            *logits = sigmoid(simd, *logits);
        }
        if !rest.is_empty() {
            let confidences = sigmoid(simd, simd.partial_load_f32s(rest));
            simd.partial_store_f32s(rest, confidences);
        }
    }
}

#[cfg(test)]
mod tests;
