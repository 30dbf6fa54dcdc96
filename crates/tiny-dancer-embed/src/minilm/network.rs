//! BERT's encoder, and the mean of its last layer.
//!
//! Each layer is attention and a perceptron, each added to its input and normalised:
//!
//! ```text
//! x = norm(x + softmax(q k^T / sqrt(32)) v w_o)        q, k, v = x w_q, x w_k, x w_v
//! x = norm(x + gelu(x w_1) w_2)
//! ```
//!
//! Texts in one call have the same length, so that there is neither padding nor a mask. One product computes `q`, `k` and
//! `v`, with the square root already in `w_q`.

use super::MiniLmError;
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{LayerNorm, Linear, Module, VarBuilder};

/// The sizes of a network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Tokens of the vocabulary.
    pub(super) tokens: usize,
    /// The longest text that was trained.
    pub(super) positions: usize,
    /// Elements of a token's vector.
    pub(super) width: usize,
    /// Elements inside of the perceptron.
    pub(super) inner: usize,
    /// Heads of the attention.
    pub(super) heads: usize,
    pub(super) layers: usize,
    /// Added to a variance.
    pub(super) epsilon: f64,
}

#[derive(Debug)]
pub(super) struct Network {
    /// A row for each token.
    tokens: Tensor,
    /// A row for each position, the vector of the first segment added.
    positions: Tensor,
    norm: LayerNorm,
    layers: Vec<Layer>,
    heads: usize,
}

#[derive(Debug)]
struct Layer {
    projections: Linear,
    output: Linear,
    attention_norm: LayerNorm,
    up: Linear,
    down: Linear,
    norm: LayerNorm,
}

impl Network {
    /// From the bytes of a safetensors file.
    pub(super) fn new(shape: &Shape, weights: Vec<u8>) -> std::result::Result<Self, MiniLmError> {
        let failed = |source| MiniLmError::Weights { source: Box::new(source) };
        let weights =
            VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu).map_err(failed)?;
        Self::build(shape, &weights).map_err(failed)
    }

    fn build(shape: &Shape, weights: &VarBuilder<'_>) -> Result<Self> {
        let &Shape { tokens, positions, width, heads, layers, epsilon, .. } = shape;
        let embeddings = weights.pp("embeddings");
        let segments = embeddings.get((2, width), "token_type_embeddings.weight")?;
        let positions = embeddings.get((positions, width), "position_embeddings.weight")?;
        Ok(Self {
            tokens: embeddings.get((tokens, width), "word_embeddings.weight")?,
            positions: positions.broadcast_add(&segments.get(0)?)?,
            norm: candle_nn::layer_norm(width, epsilon, embeddings.pp("LayerNorm"))?,
            layers: (0..layers)
                .map(|layer| Layer::build(shape, &weights.pp("encoder.layer").pp(layer)))
                .collect::<Result<_>>()?,
            heads,
        })
    }

    pub(super) fn width(&self) -> usize {
        self.norm.weight().elem_count()
    }

    /// The means of these texts, one after the other. All have the same number of ids.
    pub(super) fn means(&self, ids: &[u32], texts: usize) -> Vec<f32> {
        let means = self.forward(ids, texts).and_then(|means| means.flatten_all()?.to_vec1());
        means.expect("shapes were checked when the weights were read, and ids when the vocabulary was")
    }

    fn forward(&self, ids: &[u32], texts: usize) -> Result<Tensor> {
        let (length, width) = (ids.len() / texts, self.width());
        let x = self.tokens.index_select(&Tensor::new(ids, &Device::Cpu)?, 0)?;
        let x = x.reshape((texts, length, width))?.broadcast_add(&self.positions.narrow(0, 0, length)?)?;
        let mut x = self.norm.forward(&x.reshape((texts * length, width))?)?;
        for layer in &self.layers {
            x = layer.forward(&x, texts, self.heads)?;
        }
        x.reshape((texts, length, width))?.mean(1)
    }
}

impl Layer {
    fn build(shape: &Shape, weights: &VarBuilder<'_>) -> Result<Self> {
        let &Shape { width, inner, epsilon, heads, .. } = shape;
        let attention = weights.pp("attention");
        let [query, key, value] = ["query", "key", "value"]
            .map(|name| candle_nn::linear(width, width, attention.pp("self").pp(name)));
        let projections = [query?, key?, value?];
        let root = ((width / heads) as f64).sqrt();
        let stack = |part: fn(&Linear) -> Option<&Tensor>| -> Result<Tensor> {
            let [query, key, value] = projections.each_ref().map(|linear| part(linear).cloned());
            let parts: Vec<_> =
                query.map(|query| query / root).transpose()?.into_iter().chain(key).chain(value).collect();
            Tensor::cat(&parts, 0)
        };
        Ok(Self {
            projections: Linear::new(stack(|linear| Some(linear.weight()))?, Some(stack(Linear::bias)?)),
            output: candle_nn::linear(width, width, attention.pp("output.dense"))?,
            attention_norm: candle_nn::layer_norm(width, epsilon, attention.pp("output.LayerNorm"))?,
            up: candle_nn::linear(width, inner, weights.pp("intermediate.dense"))?,
            down: candle_nn::linear(inner, width, weights.pp("output.dense"))?,
            norm: candle_nn::layer_norm(width, epsilon, weights.pp("output.LayerNorm"))?,
        })
    }

    fn forward(&self, x: &Tensor, texts: usize, heads: usize) -> Result<Tensor> {
        let (rows, width) = x.dims2()?;
        let length = rows / texts;
        // By projection, text and head.
        let projections = self.projections.forward(x)?.reshape((texts, length, 3, heads, width / heads))?;
        let projections = projections.permute((2, 0, 3, 1, 4))?.contiguous()?;
        let (query, key, value) = (projections.get(0)?, projections.get(1)?, projections.get(2)?);
        let attention = candle_nn::ops::softmax_last_dim(&query.matmul(&key.t()?)?)?;
        let attended = attention.matmul(&value)?.transpose(1, 2)?.reshape((rows, width))?;
        let x = self.attention_norm.forward(&(x + self.output.forward(&attended)?)?)?;
        let y = self.down.forward(&self.up.forward(&x)?.gelu_erf()?)?;
        self.norm.forward(&(x + y)?)
    }
}
