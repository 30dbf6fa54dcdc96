//! The peers of the static embedder, with its table: the crates `tokenizers` and `model2vec-rs`.

use anyhow::{Context, Result, anyhow};
use model2vec_rs::model::StaticModel;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use std::collections::HashMap;
use tokenizers::Tokenizer;

/// A prompt of 62 tokens, five of which continue a word.
pub const PROMPT: &str = "A drives negligently and knocks B over, breaking B's leg. In hospital a surgeon, C, makes an error \
                          that leaves B with a permanent limp. Discuss A's liability for the limp, and what difference it \
                          would make if C's error had been only negligent.";

/// The everyday prompts of the examples.
///
/// # Errors
/// If a line is not JSON, or has no prompt.
pub fn prompts() -> Result<Vec<String>> {
    let lines = include_str!("../../examples/data/prompts.jsonl").lines();
    let prompt = |line| -> Result<String> {
        let row: Value = serde_json::from_str(line)?;
        Ok(row["prompt"].as_str().context("a line without a prompt")?.to_owned())
    };
    lines.map(prompt).collect()
}

/// The table of the static embedder.
fn table() -> Result<SafeTensors<'static>> {
    let bytes = include_bytes!("../../crates/tiny-dancer-embed/table/static.safetensors");
    Ok(SafeTensors::deserialize(bytes)?)
}

/// The file `tokenizer.json` of BERT, uncased, with the vocabulary of the table.
fn tokenizer_file() -> Result<Vec<u8>> {
    let table = table()?;
    let vocabulary = std::str::from_utf8(table.tensor("vocabulary")?.data())?;
    let ids: HashMap<_, _> = vocabulary.split('\n').zip(0..).collect();
    let file = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": true,
            "strip_accents": null,
            "lowercase": true,
        },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": null,
        "decoder": null,
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": ids,
        },
    });
    Ok(file.to_string().into_bytes())
}

/// The crate `tokenizers`, and a plain sum of rows.
#[derive(Debug)]
pub struct Plain {
    tokenizer: Tokenizer,
    rows: Vec<i8>,
    scales: Vec<f32>,
    dimensions: usize,
}

impl Plain {
    /// With the table of the static embedder.
    ///
    /// # Errors
    /// If the table or the tokenizer is not read.
    pub fn new() -> Result<Self> {
        let tokenizer = Tokenizer::from_bytes(tokenizer_file()?).map_err(|error| anyhow!(error))?;
        let table = table()?;
        let rows = table.tensor("rows")?;
        let scales = table.tensor("scales")?;
        Ok(Self {
            tokenizer,
            rows: rows.data().iter().map(|byte| byte.cast_signed()).collect(),
            scales: scales.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
            dimensions: rows.shape()[1],
        })
    }

    /// The ids of a text's tokens.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>> {
        // The fastest of its functions, without offsets.
        let encoding = self.tokenizer.encode_fast(text, false).map_err(|error| anyhow!(error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// A text's vector.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn embed(&self, text: &str) -> Result<Vec<f32>> {
        let mut vector = vec![0.0; self.dimensions];
        for id in self.ids(text)? {
            let (id, scale) = (id as usize, self.scales[id as usize]);
            for (sum, x) in vector.iter_mut().zip(&self.rows[id * self.dimensions..][..self.dimensions]) {
                *sum += scale * f32::from(*x);
            }
        }
        let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        for x in &mut vector {
            *x /= norm;
        }
        Ok(vector)
    }
}

/// `model2vec-rs` with the table of the static embedder, in `i8` and with a weight for each token.
///
/// # Errors
/// If the table or the model is not read.
pub fn model2vec() -> Result<StaticModel> {
    let table = table()?;
    let (rows, scales) = (table.tensor("rows")?, table.tensor("scales")?);
    let tensors = [
        ("embeddings", TensorView::new(Dtype::I8, rows.shape().to_vec(), rows.data())?),
        ("weights", TensorView::new(Dtype::F32, scales.shape().to_vec(), scales.data())?),
    ];
    let model = safetensors::serialize(tensors, None)?;
    StaticModel::from_bytes(tokenizer_file()?, model, br#"{"normalize": true}"#, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tiny_dancer_embed::{Embedder, StaticEmbedder};

    #[test]
    fn all_peers_have_the_vectors_of_the_static_embedder() {
        let (embedder, plain, model2vec) =
            (StaticEmbedder::new(), Plain::new().unwrap(), model2vec().unwrap());
        let prompts = prompts().unwrap();
        assert_eq!(prompts.len(), 150);
        let (mut vector, mut ids) = (Vec::new(), Vec::new());
        for prompt in prompts.iter().map(String::as_str).chain([PROMPT]) {
            embedder.embed_into(prompt, &mut vector).unwrap();
            embedder.tokenize(prompt, &mut ids);
            assert_eq!(plain.ids(prompt).unwrap(), ids);
            let product = |other: &[f32]| -> f32 { vector.iter().zip(other).map(|(a, b)| a * b).sum() };
            assert!(product(&plain.embed(prompt).unwrap()) > 0.9999, "{prompt}");
            // It leaves unknown words out.
            let has_unknown = ids.iter().any(|id| embedder.token(*id) == Some("[UNK]"));
            assert!(has_unknown || product(&model2vec.encode_single(prompt)) > 0.9999, "{prompt}");
        }
        assert_eq!(ids.len(), 62);
    }
}
