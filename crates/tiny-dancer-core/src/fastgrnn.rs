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
//! - **alone**: one step from `h = 0` for each candidate, sixteen candidates at a time;
//! - **together**: one step for each of the [`JOINT_CANDIDATES`] nearest candidates in ascending similarity, so that
//!   the nearest memory speaks last.
//!
//! The cell never sees an embedding, so its weights do not depend on where embeddings come from.
//!
//! The weights are kept padded to whole vectors. A padded unit has weight zero everywhere, hence state zero for ever.

use crate::activation::{sigmoid, tanh};
use crate::features::{Feature, Features};

/// How many candidates are read together, the nearest ones, where there are more.
pub const JOINT_CANDIDATES: usize = 64;
/// The largest hidden size, so that a state fits the stack.
pub const MAX_HIDDEN_SIZE: usize = 64;

/// Candidates, or hidden units, that one block of vector code works on.
const LANES: usize = 16;
/// Blocks in the largest state.
const MAX_BLOCKS: usize = MAX_HIDDEN_SIZE / LANES;

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

type Block = [f32; LANES];

/// A cell ready to run.
#[derive(Clone, Debug)]
pub(crate) struct FastGrnn {
    hidden_size: usize,
    /// Columns of `W`: for each feature, its weights by block of hidden units.
    w: [[Block; MAX_BLOCKS]; Feature::COUNT],
    /// Columns of `U`: for each hidden unit, the weights it sends out, by block.
    u: Vec<[Block; MAX_BLOCKS]>,
    bias_gate: [Block; MAX_BLOCKS],
    bias_update: [Block; MAX_BLOCKS],
    head_weight: [Block; MAX_BLOCKS],
    head_bias: f32,
    /// `sigmoid(zeta)`
    zeta: f32,
    /// `sigmoid(nu)`
    nu: f32,
}

/// The hidden state, on the stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State([Block; MAX_BLOCKS]);

impl State {
    /// `h = 0`.
    pub(crate) const ZERO: Self = Self([[0.0; LANES]; MAX_BLOCKS]);
}

impl FastGrnn {
    /// Lays out weights whose shapes the model file has checked.
    pub(crate) fn new(weights: &FastGrnnWeights) -> Self {
        let h = weights.bias_gate.len();
        let place = |blocks: &mut [Block; MAX_BLOCKS], unit: usize, value: f32| {
            blocks[unit / LANES][unit % LANES] = value;
        };
        let spread = |values: &[f32]| {
            let mut blocks = [[0.0; LANES]; MAX_BLOCKS];
            values.iter().enumerate().for_each(|(unit, &value)| place(&mut blocks, unit, value));
            blocks
        };
        let column = |matrix: &[f32], width: usize, column: usize| {
            spread(&matrix.iter().skip(column).step_by(width).copied().collect::<Vec<_>>())
        };
        Self {
            hidden_size: h,
            w: std::array::from_fn(|feature| column(&weights.w, Feature::COUNT, feature)),
            u: (0..h).map(|from| column(&weights.u, h, from)).collect(),
            bias_gate: spread(&weights.bias_gate),
            bias_update: spread(&weights.bias_update),
            head_weight: spread(&weights.head_weight),
            head_bias: weights.head_bias,
            zeta: sigmoid(weights.zeta),
            nu: sigmoid(weights.nu),
        }
    }

    /// The logit of each candidate alone: one step from `h = 0`, where `U h` and `z . h` vanish.
    pub(crate) fn alone(&self, features: Features<'_>, logits: &mut [f32]) {
        for (block, out) in logits.chunks_mut(LANES).enumerate() {
            let from = block * LANES;
            let x = Feature::ALL.map(|feature| {
                let mut lanes = [0.0; LANES];
                lanes[..out.len()].copy_from_slice(&features.column(feature)[from..from + out.len()]);
                lanes
            });
            out.copy_from_slice(&self.alone_block(&x)[..out.len()]);
        }
    }

    fn alone_block(&self, x: &[Block; Feature::COUNT]) -> Block {
        let mut logits = [self.head_bias; LANES];
        for unit in 0..self.hidden_size {
            let (block, lane) = (unit / LANES, unit % LANES);
            let w = self.w.map(|column| column[block][lane]);
            let (gate, update) = (self.bias_gate[block][lane], self.bias_update[block][lane]);
            let head = self.head_weight[block][lane];
            for i in 0..LANES {
                let pre = w[0] * x[0][i] + w[1] * x[1][i] + w[2] * x[2][i] + w[3] * x[3][i] + w[4] * x[4][i];
                let z = sigmoid(pre + gate);
                logits[i] += head * ((self.zeta * (1.0 - z) + self.nu) * tanh(pre + update));
            }
        }
        logits
    }

    /// One step: reads a candidate's features into the state.
    pub(crate) fn step(&self, x: [f32; Feature::COUNT], state: &mut State) {
        let blocks = self.hidden_size.div_ceil(LANES);
        let mut pre = [[0.0_f32; LANES]; MAX_BLOCKS];
        for (column, x) in self.w.iter().zip(x) {
            for block in 0..blocks {
                for lane in 0..LANES {
                    pre[block][lane] += column[block][lane] * x;
                }
            }
        }
        for (from, column) in self.u.iter().enumerate() {
            let h = state.0[from / LANES][from % LANES];
            for block in 0..blocks {
                for lane in 0..LANES {
                    pre[block][lane] += column[block][lane] * h;
                }
            }
        }
        for block in 0..blocks {
            for lane in 0..LANES {
                let z = sigmoid(pre[block][lane] + self.bias_gate[block][lane]);
                let update = tanh(pre[block][lane] + self.bias_update[block][lane]);
                let h = &mut state.0[block][lane];
                *h = (self.zeta * (1.0 - z) + self.nu) * update + z * *h;
            }
        }
    }

    /// The head: the logit of a state.
    pub(crate) fn logit(&self, state: &State) -> f32 {
        let mut sum = [0.0_f32; LANES];
        for (head, h) in self.head_weight.iter().zip(&state.0) {
            for lane in 0..LANES {
                sum[lane] += head[lane] * h[lane];
            }
        }
        self.head_bias + sum.iter().sum::<f32>()
    }
}

/// The candidates that are read together: the nearest, in ascending similarity, ties by index.
#[derive(Debug)]
pub(crate) struct JointOrder {
    candidates: [u32; JOINT_CANDIDATES],
    len: usize,
}

impl JointOrder {
    /// Picks them from the similarities of all candidates, none of which is NaN.
    pub(crate) fn new(similarity: &[f32]) -> Self {
        let mut candidates = [0; JOINT_CANDIDATES];
        let mut len = 0;
        let farther = |a: u32, b: u32| (similarity[a as usize], a) < (similarity[b as usize], b);
        for candidate in 0..similarity.len() as u32 {
            if len == JOINT_CANDIDATES {
                if farther(candidate, candidates[0]) {
                    continue;
                }
                candidates.copy_within(1.., 0);
                len -= 1;
            }
            let place = candidates[..len].partition_point(|&other| farther(other, candidate));
            candidates.copy_within(place..len, place + 1);
            candidates[place] = candidate;
            len += 1;
        }
        Self { candidates, len }
    }

    /// Their places in the request, farthest first.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.candidates[..self.len].iter().map(|&candidate| candidate as usize)
    }
}

#[cfg(test)]
mod tests;
