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

use crate::activation::{gated_update, sigmoid};
use crate::features::{Feature, Features};
use crate::kernel::{Kernel, LANES, Work, mul_add};

/// How many candidates are read together, the nearest ones, where there are more.
pub const JOINT_CANDIDATES: usize = 64;
/// The largest hidden size, so that a state fits the stack.
pub const MAX_HIDDEN_SIZE: usize = 64;

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

/// A cell ready to run. Its size is known to the kernels as a number of blocks, so that a state stays in registers.
#[derive(Clone, Debug)]
pub(crate) struct FastGrnn {
    hidden_size: usize,
    /// Columns of `W`: for each feature, its weights by block of hidden units.
    w: [[Block; MAX_BLOCKS]; Feature::COUNT],
    /// Columns of `U`: for each hidden unit, the weights it sends out, by block. Padded to whole blocks of units.
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
        let spread = |values: &[f32]| {
            let mut blocks = [[0.0; LANES]; MAX_BLOCKS];
            for (unit, &value) in values.iter().enumerate() {
                blocks[unit / LANES][unit % LANES] = value;
            }
            blocks
        };
        let column = |matrix: &[f32], width: usize, column: usize| {
            spread(&matrix.iter().skip(column).step_by(width).copied().collect::<Vec<_>>())
        };
        let mut u: Vec<_> = (0..h).map(|from| column(&weights.u, h, from)).collect();
        u.resize(h.next_multiple_of(LANES), [[0.0; LANES]; MAX_BLOCKS]);
        let sigmoid = |x: f32| (1.0 / (1.0 + f64::from(-x).exp())) as f32;
        Self {
            hidden_size: h,
            w: std::array::from_fn(|feature| column(&weights.w, Feature::COUNT, feature)),
            u,
            bias_gate: spread(&weights.bias_gate),
            bias_update: spread(&weights.bias_update),
            head_weight: spread(&weights.head_weight),
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
        kernel.run(Alone { cell: self, features, confidences })
    }

    /// Reads candidates into a state, one after the other.
    pub(crate) fn read(&self, kernel: Kernel, features: Features<'_>, candidates: &[u32], state: &mut State) {
        kernel.run(Read { cell: self, features, candidates, state });
    }

    /// The confidence of a state, or its logit where that is no number.
    pub(crate) fn confidence(&self, kernel: Kernel, state: &State) -> Result<f32, f32> {
        let logit = self.logit(state);
        if logit.is_finite() { Ok(kernel.run(Sigmoid(logit))) } else { Err(logit) }
    }

    /// The head: the logit of a state.
    fn logit(&self, state: &State) -> f32 {
        let mut sum = [0.0_f32; LANES];
        for (head, h) in self.head_weight.iter().zip(&state.0) {
            for lane in 0..LANES {
                sum[lane] += head[lane] * h[lane];
            }
        }
        self.head_bias + sum.iter().sum::<f32>()
    }

    /// The logits of a block of candidates after one step from `h = 0`, where `U h` and `z . h` vanish.
    #[inline(always)]
    fn alone_block<const FUSED: bool>(&self, x: &[Block; Feature::COUNT]) -> Block {
        let mut logits = [self.head_bias; LANES];
        for unit in 0..self.hidden_size {
            let (block, lane) = (unit / LANES, unit % LANES);
            let (gate, update) = (self.bias_gate[block][lane], self.bias_update[block][lane]);
            let head = self.head_weight[block][lane];
            let (mut a, mut b) = ([0.0; LANES], [0.0; LANES]);
            for i in 0..LANES {
                let mut pre = self.w[0][block][lane] * x[0][i];
                for feature in 1..Feature::COUNT {
                    pre = mul_add::<FUSED>(self.w[feature][block][lane], x[feature][i], pre);
                }
                (a[i], b[i]) = (pre + gate, pre + update);
            }
            let h = gated_update::<FUSED, LANES>(&a, &b, self.zeta, self.nu, &[0.0; LANES]);
            for i in 0..LANES {
                logits[i] = mul_add::<FUSED>(head, h[i], logits[i]);
            }
        }
        logits
    }

    /// One step of a state of so many blocks.
    #[inline(always)]
    fn step<const FUSED: bool, const BLOCKS: usize>(
        &self,
        x: [f32; Feature::COUNT],
        h: &[Block; BLOCKS],
    ) -> [Block; BLOCKS] {
        // Four sums, so that an addition need not wait for the one before.
        let mut sums = [[[0.0_f32; LANES]; BLOCKS]; 4];
        for (feature, column) in self.w.iter().enumerate() {
            add_column::<FUSED, BLOCKS>(&mut sums[feature % 4], column, x[feature]);
        }
        let (quads, _) = self.u.as_chunks::<4>();
        for (units, h) in quads.iter().zip(h.as_flattened().as_chunks::<4>().0) {
            for unit in 0..4 {
                add_column::<FUSED, BLOCKS>(&mut sums[unit], &units[unit], h[unit]);
            }
        }
        let mut next = *h;
        for block in 0..BLOCKS {
            let (mut a, mut b) = ([0.0; LANES], [0.0; LANES]);
            for lane in 0..LANES {
                let sum = |i: usize| sums[i][block][lane];
                let pre = (sum(0) + sum(1)) + (sum(2) + sum(3));
                a[lane] = pre + self.bias_gate[block][lane];
                b[lane] = pre + self.bias_update[block][lane];
            }
            next[block] = gated_update::<FUSED, LANES>(&a, &b, self.zeta, self.nu, &h[block]);
        }
        next
    }
}

/// Adds a column of a matrix, times a number, to a sum.
#[inline(always)]
fn add_column<const FUSED: bool, const BLOCKS: usize>(
    sum: &mut [Block; BLOCKS],
    column: &[Block; MAX_BLOCKS],
    factor: f32,
) {
    for block in 0..BLOCKS {
        for lane in 0..LANES {
            sum[block][lane] = mul_add::<FUSED>(column[block][lane], factor, sum[block][lane]);
        }
    }
}

/// All candidates alone, a block at a time.
struct Alone<'a> {
    cell: &'a FastGrnn,
    features: Features<'a>,
    confidences: &'a mut [f32],
}

impl Work for Alone<'_> {
    type Output = Result<(), (usize, f32)>;

    #[inline(always)]
    fn run<const FUSED: bool>(self) -> Self::Output {
        for (block, out) in self.confidences.chunks_mut(LANES).enumerate() {
            let from = block * LANES;
            let mut x = [[0.0; LANES]; Feature::COUNT];
            for (lanes, feature) in x.iter_mut().zip(Feature::ALL) {
                let column = &self.features.column(feature)[from..];
                match column.first_chunk::<LANES>() {
                    Some(whole) => *lanes = *whole,
                    None => lanes[..out.len()].copy_from_slice(column),
                }
            }
            let logits = self.cell.alone_block::<FUSED>(&x);
            if let Some(lane) = logits[..out.len()].iter().position(|logit| !logit.is_finite()) {
                return Err((from + lane, logits[lane]));
            }
            out.copy_from_slice(&sigmoid::<FUSED, LANES>(&logits)[..out.len()]);
        }
        Ok(())
    }
}

/// Candidates together.
struct Read<'a> {
    cell: &'a FastGrnn,
    features: Features<'a>,
    candidates: &'a [u32],
    state: &'a mut State,
}

impl Read<'_> {
    #[inline(always)]
    fn blocks<const FUSED: bool, const BLOCKS: usize>(self) {
        let state = self.state.0.first_chunk_mut::<BLOCKS>().expect("at most MAX_BLOCKS");
        let mut h = *state;
        for &candidate in self.candidates {
            h = self.cell.step::<FUSED, BLOCKS>(self.features.row(candidate as usize), &h);
        }
        *state = h;
    }
}

impl Work for Read<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        match self.cell.hidden_size.div_ceil(LANES) {
            1 => self.blocks::<FUSED, 1>(),
            2 => self.blocks::<FUSED, 2>(),
            3 => self.blocks::<FUSED, 3>(),
            _ => self.blocks::<FUSED, MAX_BLOCKS>(),
        }
    }
}

/// The head's sigmoid, of one logit.
struct Sigmoid(f32);

impl Work for Sigmoid {
    type Output = f32;

    #[inline(always)]
    fn run<const FUSED: bool>(self) -> f32 {
        sigmoid::<FUSED, 1>(&[self.0])[0]
    }
}

#[cfg(test)]
mod tests;
