//! The FastGRNN cell in f64, forward and backward: backpropagation through time over ndarray.
//!
//! The equations are those of `tiny_dancer_core::fastgrnn`. Both passes are sequences here: the joint pass is a
//! sequence of up to 64 candidates, the per-candidate pass a sequence of one. A [`Batch`] holds many sequences of any
//! lengths, aligned at their ends. Ranks count from the last step. At rank `r`, each sequence longer than `r` takes a
//! step, from the state after its previous step, or from `h = 0` in its first step.
//!
//! ```text
//! rank     2        1        0
//!         x[0]  ->  x[0] ->  x[0]   a sequence of three
//!                   x[1] ->  x[1]   a sequence of two
//!                            x[2]   a sequence of one
//! ```
//!
//! With `a = sigmoid(zeta) (1 - z) + sigmoid(nu)`, so that `h' = a . h~ + z . h`, the gradient of a step is
//!
//! ```text
//! dz = dh' . (h - sigmoid(zeta) h~)      dh~ = dh' . a
//! dpre = dz . z (1 - z) + dh~ . (1 - h~^2)
//! dW += dpre x^T     dU += dpre h^T      dh = dh' . z + U^T dpre
//! ```

use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, Zip, s};
use tiny_dancer_core::Feature;
use tiny_dancer_core::fastgrnn::FastGrnnWeights;

const FEATURES: usize = Feature::COUNT;

/// The five features of one candidate.
pub(crate) type Step = [f64; FEATURES];

/// All parameters of a cell in one vector, as an optimiser needs them: `w`, `u`, `bias_gate`, `bias_update`, `zeta`,
/// `nu`, `head_weight`, `head_bias`. Matrices are row-major.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parameters {
    pub(crate) hidden: usize,
    pub(crate) values: Vec<f64>,
}

/// Views of the single parameters in that vector.
struct Views<'a> {
    w: ArrayView2<'a, f64>,
    u: ArrayView2<'a, f64>,
    bias_gate: ArrayView1<'a, f64>,
    bias_update: ArrayView1<'a, f64>,
    zeta: f64,
    nu: f64,
    head_weight: ArrayView1<'a, f64>,
    head_bias: f64,
}

impl Parameters {
    /// The number of parameters of a cell with this hidden size.
    pub(crate) fn count(hidden: usize) -> usize {
        hidden * (FEATURES + hidden + 3) + 3
    }

    fn views(&self) -> Views<'_> {
        let h = self.hidden;
        let mut rest = &self.values[..];
        let mut take = |n: usize| {
            let (taken, left) = rest.split_at(n);
            rest = left;
            taken
        };
        let matrix = |values, columns| {
            ArrayView2::from_shape((h, columns), values).expect("the slice was cut to this shape")
        };
        Views {
            w: matrix(take(h * FEATURES), FEATURES),
            u: matrix(take(h * h), h),
            bias_gate: take(h).into(),
            bias_update: take(h).into(),
            zeta: take(1)[0],
            nu: take(1)[0],
            head_weight: take(h).into(),
            head_bias: take(1)[0],
        }
    }

    /// The weights in the router's type.
    pub(crate) fn to_weights(&self) -> FastGrnnWeights {
        let views = self.views();
        let matrix = |values: ArrayView2<'_, f64>| values.iter().map(|&x| x as f32).collect();
        let vector = |values: ArrayView1<'_, f64>| values.iter().map(|&x| x as f32).collect();
        FastGrnnWeights {
            w: matrix(views.w),
            u: matrix(views.u),
            bias_gate: vector(views.bias_gate),
            bias_update: vector(views.bias_update),
            zeta: views.zeta as f32,
            nu: views.nu as f32,
            head_weight: vector(views.head_weight),
            head_bias: views.head_bias as f32,
        }
    }

    /// Parameters from the router's weights, to compare the two implementations.
    #[cfg(test)]
    pub(crate) fn from_weights(weights: &FastGrnnWeights) -> Self {
        let FastGrnnWeights { w, u, bias_gate, bias_update, zeta, nu, head_weight, head_bias } = weights;
        let all = [&w[..], u, bias_gate, bias_update, &[*zeta], &[*nu], head_weight, &[*head_bias]];
        Self { hidden: bias_gate.len(), values: all.concat().into_iter().map(f64::from).collect() }
    }

    /// Replaces every logit `l` by `slope l + intercept`, by a change of the head.
    pub(crate) fn rescale(&mut self, slope: f64, intercept: f64) {
        let head = self.values.len() - self.hidden - 1;
        self.values[head..].iter_mut().for_each(|value| *value *= slope);
        *self.values.last_mut().expect("a cell has a head bias") += intercept;
    }
}

/// Sequences of steps, the longest first, aligned at their ends.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    /// By rank: the features of the sequences that have a step of this rank. Shape: `n_r x 5`.
    steps: Vec<Array2<f64>>,
    /// The row of each sequence in these matrices: `place[i]` is that of the `i`-th.
    place: Vec<usize>,
}

impl Batch {
    /// Aligns sequences. Each has its last step first, and none is empty.
    pub(crate) fn new(sequences: &[impl AsRef<[Step]>]) -> Self {
        let length = |i: usize| sequences[i].as_ref().len();
        let mut order: Vec<usize> = (0..sequences.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(length(i)));
        let mut place = vec![0; sequences.len()];
        order.iter().enumerate().for_each(|(row, &i)| place[i] = row);
        let ranks = order.first().map_or(0, |&i| length(i));
        let step = |rank: usize| {
            let active = order.partition_point(|&i| length(i) > rank);
            Array2::from_shape_fn((active, FEATURES), |(row, f)| sequences[order[row]].as_ref()[rank][f])
        };
        Self { steps: (0..ranks).map(step).collect(), place }
    }
}

/// A forward pass, with the values that the backward pass needs.
pub(crate) struct Pass<'a> {
    parameters: &'a Parameters,
    batch: &'a Batch,
    /// By rank: the state before the step, the gate `z`, the update `h~`.
    ranks: Vec<[Array2<f64>; 3]>,
    /// The states at the end.
    last: Array2<f64>,
}

impl<'a> Pass<'a> {
    /// Runs the cell over a batch.
    pub(crate) fn new(parameters: &'a Parameters, batch: &'a Batch) -> Self {
        let cell = parameters.views();
        let h = parameters.hidden;
        let (zeta, nu) = (sigmoid(cell.zeta), sigmoid(cell.nu));
        let mut state = Array2::zeros((0, h));
        let mut ranks = vec![];
        for x in batch.steps.iter().rev() {
            let mut before = Array2::zeros((x.nrows(), h));
            before.slice_mut(s![..state.nrows(), ..]).assign(&state);
            let mut gate = x.dot(&cell.w.t());
            general_mat_mul(1.0, &before, &cell.u.t(), 1.0, &mut gate);
            let mut update = &gate + &cell.bias_update;
            gate += &cell.bias_gate;
            gate.mapv_inplace(sigmoid);
            update.mapv_inplace(tanh);
            state = Array2::zeros((x.nrows(), h));
            Zip::from(&mut state).and(&before).and(&gate).and(&update).for_each(
                |state, &before, &gate, &update| {
                    *state = (zeta * (1.0 - gate) + nu) * update + gate * before;
                },
            );
            ranks.push([before, gate, update]);
        }
        ranks.reverse();
        Self { parameters, batch, ranks, last: state }
    }

    /// The logit of each sequence, in the order of the batch's arguments.
    pub(crate) fn logits(&self) -> Vec<f64> {
        let cell = self.parameters.views();
        let logits = self.last.dot(&cell.head_weight) + cell.head_bias;
        self.batch.place.iter().map(|&row| logits[row]).collect()
    }

    /// The gradient of a loss with respect to all parameters, from its gradient with respect to each sequence's
    /// logit.
    pub(crate) fn backward(&self, by_logit: &[f64]) -> Vec<f64> {
        let cell = self.parameters.views();
        let h = self.parameters.hidden;
        let (zeta, nu) = (sigmoid(cell.zeta), sigmoid(cell.nu));
        let mut by_row = Array1::zeros(self.last.nrows());
        self.batch.place.iter().zip(by_logit).for_each(|(&row, &value)| by_row[row] = value);

        let (mut by_w, mut by_u) = (Array2::zeros((h, FEATURES)), Array2::zeros((h, h)));
        let (mut by_bias_gate, mut by_bias_update) = (Array1::zeros(h), Array1::zeros(h));
        let (mut zeta_sum, mut nu_sum) = (0.0, 0.0);
        let by_head_weight = self.last.t().dot(&by_row);
        let mut by_state =
            Array2::from_shape_fn((by_row.len(), h), |(row, unit)| by_row[row] * cell.head_weight[unit]);
        for (x, [before, gate, update]) in self.batch.steps.iter().zip(&self.ranks) {
            // Backwards, a sequence ends at the rank of its first step, so only sequences longer than the rank
            // continue.
            let mut by_state_here = by_state.slice(s![..x.nrows(), ..]).to_owned();
            let (mut by_gate, mut by_update) = (Array2::zeros(gate.raw_dim()), Array2::zeros(gate.raw_dim()));
            Zip::from(&mut by_state_here)
                .and(before)
                .and(gate)
                .and(update)
                .and(&mut by_gate)
                .and(&mut by_update)
                .for_each(|by_state, &before, &z, &update, by_gate, by_update| {
                    let open = zeta * (1.0 - z) + nu;
                    zeta_sum += *by_state * update * (1.0 - z);
                    nu_sum += *by_state * update;
                    *by_gate = *by_state * (before - zeta * update) * z * (1.0 - z);
                    *by_update = *by_state * open * (1.0 - update * update);
                    *by_state *= z;
                });
            by_bias_gate += &by_gate.sum_axis(Axis(0));
            by_bias_update += &by_update.sum_axis(Axis(0));
            let by_pre = by_gate + by_update;
            general_mat_mul(1.0, &by_pre.t(), x, 1.0, &mut by_w);
            general_mat_mul(1.0, &by_pre.t(), before, 1.0, &mut by_u);
            general_mat_mul(1.0, &by_pre, &cell.u, 1.0, &mut by_state_here);
            by_state = by_state_here;
        }

        let mut gradient = Vec::with_capacity(self.parameters.values.len());
        gradient.extend(by_w);
        gradient.extend(by_u);
        gradient.extend(by_bias_gate);
        gradient.extend(by_bias_update);
        gradient.push(zeta_sum * zeta * (1.0 - zeta));
        gradient.push(nu_sum * nu * (1.0 - nu));
        gradient.extend(by_head_weight);
        gradient.push(by_row.sum());
        gradient
    }
}

pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn tanh(x: f64) -> f64 {
    2.0 * sigmoid(2.0 * x) - 1.0
}

#[cfg(test)]
mod tests;
