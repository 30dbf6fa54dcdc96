//! FastGRNN: the recurrent cell that reads candidates, one by one and jointly.
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
//! - the **per-candidate pass**: one step from `h = 0` for each candidate;
//! - the **joint pass**: one step for each of the [`JOINT_CANDIDATES`] nearest candidates in ascending similarity, so
//!   that the nearest candidate is read last.
//!
//! The cell reads no embedding, so its weights do not depend on the embedding model.
//!
//! The weights are padded to whole vectors. All weights of a padded unit are zero, so it changes no result.

use crate::activation::{bounded, first_update, gated_update, sigmoid};
use crate::features::{Feature, Features};
use crate::kernel::{Kernel, lanes};
use pulp::{Simd, WithSimd};

/// The largest number of candidates that the joint pass reads: the nearest ones.
pub const JOINT_CANDIDATES: usize = 64;
/// The largest hidden size, so that a state fits the stack.
pub const MAX_HIDDEN_SIZE: usize = 64;

/// The parameters of a cell of hidden size `h`, in row-major order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FastGrnnWeights {
    /// `W`, `h x 5`: a row for each hidden unit, a column for each feature in the order of [`Feature::ALL`].
    pub w: Vec<f32>,
    /// `U`, `h x h`.
    pub u: Vec<f32>,
    /// The gate's bias, `h`.
    pub bias_gate: Vec<f32>,
    /// The update's bias, `h`.
    pub bias_update: Vec<f32>,
    /// The logit of the update's gated weight, `sigmoid(zeta) (1 - z)`.
    pub zeta: f32,
    /// The logit of the update's constant weight, `sigmoid(nu)`.
    pub nu: f32,
    /// The head's weights, `h`.
    pub head_weight: Vec<f32>,
    /// The head's bias.
    pub head_bias: f32,
}

/// A number for each unit, padded. The alignment keeps each vector of them within one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Units<const N: usize = MAX_HIDDEN_SIZE>([f32; N]);

impl<const N: usize> Units<N> {
    const ZERO: Self = Self([0.0; N]);

    fn new(values: impl Iterator<Item = f64>) -> Self {
        let mut units = Self::ZERO;
        for (unit, value) in units.0.iter_mut().zip(values) {
            *unit = value as f32;
        }
        units
    }

    /// The vector at index `v`.
    #[inline(always)]
    fn vector<S: Simd>(&self, v: usize) -> S::f32s {
        S::as_simd_f32s(&self.0).0[v]
    }

    /// The vector at index `v`, mutable.
    #[inline(always)]
    fn vector_mut<S: Simd>(&mut self, v: usize) -> &mut S::f32s {
        &mut S::as_mut_simd_f32s(&mut self.0).0[v]
    }

    /// One unit's number in all lanes.
    #[inline(always)]
    fn splat<S: Simd>(&self, simd: S, unit: usize) -> S::f32s {
        simd.splat_f32s(self.0[unit])
    }
}

/// A cell ready to run: its weights are scaled so that their sum is the exponent of [`gated_update`].
#[derive(Clone, Debug)]
pub(crate) struct FastGrnn {
    /// The hidden size, rounded up to a multiple of [`PADDED`].
    padded: usize,
    /// Whether an update stays in f32's range, so that one power of two gives both nonlinearities of a unit.
    bounded: bool,
    /// Columns of `-log2(e) W`: for each feature, its weights by unit.
    w: [Units; Feature::COUNT],
    /// Columns of `-log2(e) U`: for each unit, its outgoing weights. Padded, too.
    u: Box<[Units; MAX_HIDDEN_SIZE]>,
    /// The initial value of the exponent's sum. With `gate` and `update` it holds the biases of [`gated_update`].
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

/// Hidden sizes are padded to a multiple of this. The kernels are compiled for each multiple.
const PADDED: usize = 16;

/// The hidden state, on the stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State(Units);

impl State {
    /// `h = 0`.
    pub(crate) const ZERO: Self = Self(Units::ZERO);
}

impl FastGrnn {
    /// Lays out weights whose shapes the model file has checked.
    pub(crate) fn new(weights: &FastGrnnWeights) -> Self {
        let h = weights.bias_gate.len();
        let padded = h.next_multiple_of(PADDED);
        let exponent = |value: f64| -std::f64::consts::LOG2_E * value;
        let column = |matrix: &[f32], width: usize, column: usize| {
            let column = matrix.iter().skip(column).step_by(width);
            Units::new(column.map(|&weight| exponent(weight.into())))
        };
        let biases = || {
            let biases = weights.bias_gate.iter().zip(&weights.bias_update);
            biases.map(|(&gate, &update)| (f64::from(gate), f64::from(update)))
        };
        let sigmoid = |x: f32| 1.0 / (1.0 + f64::from(-x).exp());
        let (zeta, nu) = (sigmoid(weights.zeta), sigmoid(weights.nu));
        // A step adds at most nu to a state above zeta, and features are between -1 and 1.
        let most_state = zeta + JOINT_CANDIDATES as f64 * nu;
        let sum = |row: &[f32]| row.iter().map(|&weight| f64::from(weight).abs()).sum::<f64>();
        let rows = weights.w.chunks(Feature::COUNT).zip(weights.u.chunks(h));
        let bounded = biases().zip(rows).all(|((gate, update), (w, u))| {
            bounded(f64::midpoint(gate, update).abs() + sum(w) + most_state * sum(u), gate - update)
        });
        let (centre, gate, update) = if bounded {
            (
                Units::new(biases().map(|(gate, update)| exponent(f64::midpoint(gate, update)))),
                Units::new(biases().map(|(gate, update)| ((update - gate) / 2.0).exp())),
                Units::new(biases().map(|(gate, update)| (gate - update).exp())),
            )
        } else {
            (
                Units::ZERO,
                Units::new(biases().map(|(gate, _)| exponent(gate))),
                Units::new(biases().map(|(_, update)| exponent(2.0 * update))),
            )
        };
        let mut u = Box::new([Units::ZERO; MAX_HIDDEN_SIZE]);
        for (from, sent) in u.iter_mut().take(h).enumerate() {
            *sent = column(&weights.u, h, from);
        }
        Self {
            padded,
            bounded,
            w: std::array::from_fn(|feature| column(&weights.w, Feature::COUNT, feature)),
            u,
            centre,
            gate,
            update,
            head_weight: Units::new(weights.head_weight.iter().map(|&weight| weight.into())),
            head_bias: weights.head_bias,
            zeta: zeta as f32,
            nu: nu as f32,
        }
    }

    /// The per-candidate pass: each candidate's own confidence.
    ///
    /// # Errors
    /// The first logit that is not finite, with its candidate.
    pub(crate) fn per_candidate(
        &self,
        kernel: Kernel,
        features: Features<'_>,
        confidences: &mut [f32],
    ) -> Result<(), (usize, f32)> {
        if kernel.dispatch(PerCandidate { cell: self, features, confidences: &mut *confidences }) {
            return Ok(());
        }
        let candidate = confidences.iter().position(|logit| !logit.is_finite());
        let candidate = candidate.expect("one of them is not finite");
        Err((candidate, confidences[candidate]))
    }

    /// Reads candidates into a state, one after the other. A state reads at most [`JOINT_CANDIDATES`] in all, and
    /// features are between -1 and 1: [`bounded`](Self::bounded) assumes both.
    pub(crate) fn read(&self, kernel: Kernel, features: Features<'_>, candidates: &[u32], state: &mut State) {
        self.dispatch(kernel, Read { cell: self, features, candidates, state });
    }

    /// The confidence of a state.
    ///
    /// # Errors
    /// The logit, if it is not finite.
    pub(crate) fn confidence(&self, kernel: Kernel, state: &State) -> Result<f32, f32> {
        let (logit, confidence) = self.dispatch(kernel, Head { cell: self, state });
        if logit.is_finite() { Ok(confidence) } else { Err(logit) }
    }

    /// Dispatches work on a state, each step of which depends on the step before. A state of [`PADDED`] units uses
    /// vectors of 256 bits at most: longer vectors have a longer latency. All work on it uses the same length, since
    /// reading one long vector just after two short ones were written stalls store forwarding.
    #[inline]
    fn dispatch<W: WithSimd>(&self, kernel: Kernel, work: W) -> W::Output {
        if self.padded == PADDED { kernel.dispatch_short(work) } else { kernel.dispatch(work) }
    }

    /// One step with features `x`, from the state `states[from]` to the other one.
    ///
    /// Each number of the old state is copied to all lanes. A load from memory does that at no cost, whereas a register
    /// needs a shuffle. The index `from` is known only at run time, which keeps the states in memory.
    #[inline(always)]
    fn step<S: Simd, const PADDED: usize, const BOUNDED: bool>(
        &self,
        simd: S,
        x: [f32; Feature::COUNT],
        states: &mut [Units<PADDED>; 2],
        from: usize,
    ) {
        let vectors = PADDED / S::F32_LANES;
        if S::F32_LANES == 1 {
            // Four at a time, which the compiler turns into one vector where the machine has one.
            for four in 0..vectors / 4 {
                self.units::<S, PADDED, BOUNDED, 4>(simd, x, states, from, 4 * four);
            }
        } else if vectors == 1 {
            self.units::<S, PADDED, BOUNDED, 1>(simd, x, states, from, 0);
        } else {
            // Two at a time: they are independent, so the processor overlaps them.
            for pair in 0..vectors / 2 {
                self.units::<S, PADDED, BOUNDED, 2>(simd, x, states, from, 2 * pair);
            }
        }
    }

    /// `VECTORS` of the step's vectors, from index `first` on.
    #[inline(always)]
    fn units<S: Simd, const PADDED: usize, const BOUNDED: bool, const VECTORS: usize>(
        &self,
        simd: S,
        x: [f32; Feature::COUNT],
        states: &mut [Units<PADDED>; 2],
        from: usize,
        first: usize,
    ) {
        // Four independent sums, so that additions overlap.
        let mut sums = [[simd.splat_f32s(0.0); 4]; VECTORS];
        for v in 0..VECTORS {
            sums[v][0] = self.centre.vector::<S>(first + v);
        }
        for feature in 0..Feature::COUNT {
            let x = simd.splat_f32s(x[feature]);
            for v in 0..VECTORS {
                let (weight, sum) = (self.w[feature].vector::<S>(first + v), &mut sums[v][feature % 4]);
                *sum = simd.mul_add_e_f32s(weight, x, *sum);
            }
        }
        for four in (0..PADDED).step_by(4) {
            for i in 0..4 {
                let h = states[from].splat(simd, four + i);
                for v in 0..VECTORS {
                    let weight = self.u[four + i].vector::<S>(first + v);
                    sums[v][i] = simd.mul_add_e_f32s(weight, h, sums[v][i]);
                }
            }
        }
        for v in 0..VECTORS {
            let pairs = [simd.add_f32s(sums[v][0], sums[v][1]), simd.add_f32s(sums[v][2], sums[v][3])];
            let x = simd.add_f32s(pairs[0], pairs[1]);
            let biases = (self.gate.vector::<S>(first + v), self.update.vector::<S>(first + v));
            let h = states[from].vector::<S>(first + v);
            *states[1 - from].vector_mut::<S>(first + v) =
                gated_update::<S, BOUNDED>(simd, x, biases, (self.zeta, self.nu), h);
        }
    }

    /// The own logit of one candidate, in all lanes: a step from `h = 0`, in which a lane is a unit.
    #[inline(always)]
    fn candidate_logit<S: Simd, const PADDED: usize, const BOUNDED: bool>(
        &self,
        simd: S,
        x: [f32; Feature::COUNT],
    ) -> S::f32s {
        let zero = simd.splat_f32s(0.0);
        let (mut x_of, mut w_of) = ([zero; Feature::COUNT], [zero; Feature::COUNT]);
        for feature in 0..Feature::COUNT {
            x_of[feature] = simd.splat_f32s(x[feature]);
        }
        let mut h = Units::<PADDED>::ZERO;
        for v in 0..PADDED / S::F32_LANES {
            for feature in 0..Feature::COUNT {
                w_of[feature] = self.w[feature].vector::<S>(v);
            }
            let biases = (self.gate.vector::<S>(v), self.update.vector::<S>(v));
            let centre = self.centre.vector::<S>(v);
            *h.vector_mut::<S>(v) = self.first_step::<S, BOUNDED>(simd, &x_of, &w_of, centre, biases);
        }
        self.logit(simd, &h)
    }

    /// The own logits of a vector of candidates: the same numbers, but a lane is a candidate.
    #[inline(always)]
    fn candidate_logits<S: Simd, const PADDED: usize, const BOUNDED: bool>(
        &self,
        simd: S,
        x_of: &[S::f32s; Feature::COUNT],
    ) -> S::f32s {
        let zero = simd.splat_f32s(0.0);
        let (mut sums, mut w_of) = ([zero; HEAD_SUMS], [zero; Feature::COUNT]);
        for first in (0..PADDED).step_by(HEAD_SUMS) {
            for head in 0..HEAD_SUMS {
                let unit = first + head;
                for feature in 0..Feature::COUNT {
                    w_of[feature] = self.w[feature].splat(simd, unit);
                }
                let biases = (self.gate.splat(simd, unit), self.update.splat(simd, unit));
                let centre = self.centre.splat(simd, unit);
                let h = self.first_step::<S, BOUNDED>(simd, x_of, &w_of, centre, biases);
                sums[head] = simd.mul_add_e_f32s(self.head_weight.splat(simd, unit), h, sums[head]);
            }
        }
        self.biased(simd, sums)
    }

    /// One step from `h = 0`. Steps are independent of each other, so one sum is enough.
    #[inline(always)]
    fn first_step<S: Simd, const BOUNDED: bool>(
        &self,
        simd: S,
        x_of: &[S::f32s; Feature::COUNT],
        w_of: &[S::f32s; Feature::COUNT],
        centre: S::f32s,
        biases: (S::f32s, S::f32s),
    ) -> S::f32s {
        let mut x = centre;
        for feature in 0..Feature::COUNT {
            x = simd.mul_add_e_f32s(w_of[feature], x_of[feature], x);
        }
        first_update::<S, BOUNDED>(simd, x, biases, (self.zeta, self.nu))
    }

    /// The head: the logit of a state, in all lanes.
    #[inline(always)]
    fn logit<S: Simd, const PADDED: usize>(&self, simd: S, h: &Units<PADDED>) -> S::f32s {
        let mut sums = [simd.splat_f32s(0.0); HEAD_SUMS];
        for first in (0..PADDED).step_by(HEAD_SUMS) {
            for head in 0..HEAD_SUMS {
                let (weight, h) = (self.head_weight.splat(simd, first + head), h.splat(simd, first + head));
                sums[head] = simd.mul_add_e_f32s(weight, h, sums[head]);
            }
        }
        self.biased(simd, sums)
    }

    /// The total of the head's sums and its bias.
    #[inline(always)]
    fn biased<S: Simd>(&self, simd: S, sums: [S::f32s; HEAD_SUMS]) -> S::f32s {
        let pairs = [simd.add_f32s(sums[0], sums[1]), simd.add_f32s(sums[2], sums[3])];
        simd.add_f32s(simd.splat_f32s(self.head_bias), simd.add_f32s(pairs[0], pairs[1]))
    }
}

/// The number of the head's independent sums, so that additions overlap.
const HEAD_SUMS: usize = 4;

/// The first lane of a vector whose lanes are equal.
#[inline(always)]
fn first<S: Simd>(all: S::f32s) -> f32 {
    let mut lanes = [0.0; PADDED];
    S::as_mut_simd_f32s(&mut lanes).0[0] = all;
    lanes[0]
}

/// The per-candidate pass. Returns false if a logit is not finite. `confidences` then holds that logit unchanged, so
/// that the caller finds it.
struct PerCandidate<'a> {
    cell: &'a FastGrnn,
    features: Features<'a>,
    confidences: &'a mut [f32],
}

/// Reads candidates into a state, one after the other.
struct Read<'a> {
    cell: &'a FastGrnn,
    features: Features<'a>,
    candidates: &'a [u32],
    state: &'a mut State,
}

/// Calls the method `sized` that is compiled for the cell's hidden size and for whether it is bounded.
macro_rules! sized {
    ($self:ident, $simd:ident) => {
        match ($self.cell.padded, $self.cell.bounded) {
            (16, true) => $self.sized::<S, 16, true>($simd),
            (32, true) => $self.sized::<S, 32, true>($simd),
            (48, true) => $self.sized::<S, 48, true>($simd),
            (_, true) => $self.sized::<S, MAX_HIDDEN_SIZE, true>($simd),
            (16, false) => $self.sized::<S, 16, false>($simd),
            (_, false) => $self.sized::<S, MAX_HIDDEN_SIZE, false>($simd),
        }
    };
}

impl PerCandidate<'_> {
    #[inline(always)]
    fn sized<S: Simd, const PADDED: usize, const BOUNDED: bool>(self, simd: S) -> bool {
        let Self { cell, features, confidences } = self;
        let zero = simd.splat_f32s(0.0);
        // Stays zero while logits are finite, since `logit * 0` is then 0, and NaN otherwise.
        let mut zeros = zero;
        let mut x_of = [zero; Feature::COUNT];
        let (vectors, rest) = S::as_mut_simd_f32s(confidences);
        let first_of_rest = vectors.len() * S::F32_LANES;
        for (v, logits) in vectors.iter_mut().enumerate() {
            for feature in 0..Feature::COUNT {
                x_of[feature] = S::as_simd_f32s(features.columns()[feature]).0[v];
            }
            *logits = cell.candidate_logits::<S, PADDED, BOUNDED>(simd, &x_of);
            zeros = simd.mul_add_e_f32s(*logits, zero, zeros);
        }
        if rest.len() > S::F32_LANES / 2 {
            for feature in 0..Feature::COUNT {
                x_of[feature] = simd.partial_load_f32s(&features.columns()[feature][first_of_rest..]);
            }
            let logits = cell.candidate_logits::<S, PADDED, BOUNDED>(simd, &x_of);
            // Lanes without a candidate do not count.
            let of_rest = simd.less_than_u32s(lanes::<S>(), simd.splat_u32s(rest.len() as u32));
            zeros = simd.mul_add_e_f32s(simd.select_f32s(of_rest, logits, zero), zero, zeros);
            simd.partial_store_f32s(rest, squashed(simd, logits));
        } else {
            // For at most half a vector, one by one is faster.
            for (candidate, confidence) in (first_of_rest..).zip(rest) {
                let logits = cell.candidate_logit::<S, PADDED, BOUNDED>(simd, features.row(candidate));
                zeros = simd.mul_add_e_f32s(logits, zero, zeros);
                *confidence = first::<S>(squashed(simd, logits));
            }
        }
        let finite = simd.reduce_sum_f32s(zeros) == 0.0;
        if finite {
            // In a second loop: the compiler makes faster code of two loops than of one.
            for logits in vectors {
                *logits = sigmoid(simd, *logits);
            }
        }
        finite
    }
}

/// The sigmoid of each logit that is finite, and any other logit unchanged.
#[inline(always)]
fn squashed<S: Simd>(simd: S, logits: S::f32s) -> S::f32s {
    let zero = simd.splat_f32s(0.0);
    let finite = simd.equal_f32s(simd.mul_f32s(logits, zero), zero);
    simd.select_f32s(finite, sigmoid(simd, logits), logits)
}

impl WithSimd for PerCandidate<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        sized!(self, simd)
    }
}

impl Read<'_> {
    #[inline(always)]
    fn sized<S: Simd, const PADDED: usize, const BOUNDED: bool>(self, simd: S) {
        let state = self.state.0.0.first_chunk_mut::<PADDED>().expect("at most MAX_HIDDEN_SIZE");
        let mut states = [Units(*state); 2];
        let mut from = 0;
        for &candidate in self.candidates {
            let x = self.features.row(candidate as usize);
            self.cell.step::<S, PADDED, BOUNDED>(simd, x, &mut states, from);
            from = 1 - from;
        }
        *state = states[from].0;
    }
}

impl WithSimd for Read<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        sized!(self, simd);
    }
}

/// The logit of a state, and its confidence.
struct Head<'a> {
    cell: &'a FastGrnn,
    state: &'a State,
}

impl Head<'_> {
    #[inline(always)]
    fn sized<S: Simd, const PADDED: usize, const BOUNDED: bool>(self, simd: S) -> (f32, f32) {
        let state = self.state.0.0.first_chunk::<PADDED>().expect("at most MAX_HIDDEN_SIZE");
        let logit = self.cell.logit(simd, &Units(*state));
        (first::<S>(logit), first::<S>(sigmoid(simd, logit)))
    }
}

impl WithSimd for Head<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        sized!(self, simd)
    }
}

#[cfg(test)]
mod tests;
