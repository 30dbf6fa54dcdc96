//! all-MiniLM-L6-v2: a network of six layers, which reads the order of words, in candle.

mod files;
mod network;

use crate::embedder::{Embedder, Reading};
use crate::error::{BatchError, EmbedError};
use crate::id::EmbedderId;
use crate::kernel::{Instructions, Kernel, Work};
use crate::length::normalize;
use crate::tokenizer::Tokenizer;
pub use files::MiniLmError;
use network::{Network, Shape};
use std::env;
use std::path::{Path, PathBuf};

/// A change of the tokenizer, of what is read or of the mean that changes vectors gets another name here.
const METHOD: &[u8] =
    b"tiny-dancer-embed minilm 1: WordPiece of BERT uncased, [CLS] 254 tokens [SEP], mean, length 1";

/// The tokens that the network reads, with `[CLS]` and `[SEP]`, as sentence-transformers limits this model.
const MAX_TOKENS: usize = 256;

/// The bytes of a text that are read. 254 tokens of prose have about 1 KiB.
const MAX_BYTES: usize = 16 << 10;

/// The most tokens of a batch that go through the network together, which bounds its memory.
const BATCH: usize = 2048;

/// The network of all-MiniLM-L6-v2.
const SHAPE: Shape =
    Shape { tokens: 30_522, positions: 512, width: 384, inner: 1536, heads: 12, layers: 6, epsilon: 1e-12 };

/// The sentence model all-MiniLM-L6-v2, or one that was fine-tuned from it.
///
/// A vector has 384 elements: the mean of the last layer over the tokens, at length 1. Of a text the first 254 tokens are
/// read, and of a longer one than 16 KiB its first 16 KiB. Empty text, and text of whitespace and control characters alone,
/// is [`EmbedError::NoTokens`].
///
/// # Files
///
/// [`load`](Self::load) reads a folder as Hugging Face has it: `config.json`, `vocab.txt` or else `tokenizer.json`, and
/// `model.safetensors` (91 MB). [`cached`](Self::cached) looks for it in the cache of Hugging Face's tools. Neither downloads
/// anything. This fetches the model into the cache:
///
/// ```text
/// hf download sentence-transformers/all-MiniLM-L6-v2 config.json vocab.txt model.safetensors
/// ```
///
/// The model is published under Apache-2.0, and is no part of this package. [`PUBLISHED`](Self::PUBLISHED) is the id of
/// these files, so `minilm.id()` says whether a folder has them.
///
/// # Threads
///
/// A call computes on the threads of the `rayon` pool that it runs in, which is the global one unless the caller is inside
/// `ThreadPool::install`. `RAYON_NUM_THREADS=1` in the environment, or a pool of one thread, makes it one. The sums of two
/// machines round differently: an element may deviate by 1e-6, and the id stays the same.
#[derive(Debug)]
pub struct MiniLm {
    network: Network,
    tokenizer: Tokenizer,
    kernel: Kernel,
    /// `[CLS]` and `[SEP]`.
    ends: [u32; 2],
    id: EmbedderId,
}

impl MiniLm {
    /// The id of all-MiniLM-L6-v2 as its authors published it.
    pub const PUBLISHED: &str = "5bec7c7b61aba30e6e8026e87f849090d34d77280d8562769f73cb30f06b32be";

    /// From a folder.
    ///
    /// # Errors
    ///
    /// [`MiniLmError`] names the file, and what is wrong with it.
    pub fn load(folder: impl AsRef<Path>) -> Result<Self, MiniLmError> {
        Self::load_shape(folder.as_ref(), &SHAPE)
    }

    /// From the cache of Hugging Face's tools: the revision `main`, or another that is whole.
    ///
    /// The cache is at `HF_HUB_CACHE`, or at `hub` in `HF_HOME`, or in `huggingface` in `XDG_CACHE_HOME` or `~/.cache`.
    ///
    /// # Errors
    ///
    /// [`MiniLmError::NotCached`] if the model is not there; otherwise as [`load`](Self::load).
    pub fn cached() -> Result<Self, MiniLmError> {
        Self::load(files::snapshot(&cache())?)
    }

    fn load_shape(folder: &Path, shape: &Shape) -> Result<Self, MiniLmError> {
        files::check_config(folder, shape)?;
        let vocabulary = files::vocabulary(folder, shape.tokens)?;
        let weights = files::weights(folder)?;
        Self::new(shape, &vocabulary, weights)
    }

    fn new(shape: &Shape, vocabulary: &str, weights: Vec<u8>) -> Result<Self, MiniLmError> {
        let (tokenizer, ends) = files::tokenizer(vocabulary)?;
        let id = EmbedderId::of([METHOD, vocabulary.as_bytes(), &weights]);
        let network = Network::new(shape, weights)?;
        Ok(Self { network, tokenizer, kernel: Kernel::detect(), ends, id })
    }

    /// Replaces the content of `ids` with those that the network reads.
    fn tokenize(&self, text: &str, ids: &mut Vec<u32>) -> Result<Reading, EmbedError> {
        let read = &text[..text.floor_char_boundary(MAX_BYTES)];
        ids.clear();
        ids.push(self.ends[0]);
        self.kernel.dispatch(Tokenize { tokenizer: &self.tokenizer, text: read, ids });
        let truncated = ids.len() >= MAX_TOKENS || read.len() < text.len();
        ids.truncate(MAX_TOKENS - 1);
        let tokens = ids.len() - 1;
        if tokens == 0 {
            return Err(EmbedError::NoTokens { bytes: text.len() });
        }
        let unknown = ids.iter().filter(|id| **id == self.tokenizer.unknown).count();
        ids.push(self.ends[1]);
        Ok(Reading { tokens, unknown, truncated })
    }
}

impl Embedder for MiniLm {
    fn id(&self) -> &EmbedderId {
        &self.id
    }

    fn dimensions(&self) -> usize {
        self.network.width()
    }

    fn embed_into(&self, text: &str, out: &mut Vec<f32>) -> Result<Reading, EmbedError> {
        out.clear();
        let mut ids = Vec::new();
        let reading = self.tokenize(text, &mut ids)?;
        out.extend(self.network.means(&ids, 1));
        if let Err(error) = normalize(out, reading.tokens) {
            out.clear();
            return Err(error);
        }
        Ok(reading)
    }

    /// Texts with equally many tokens go through the network together. A vector deviates by at most 1e-5 from that of the
    /// text alone.
    fn embed_batch(&self, texts: &[&str], out: &mut Vec<f32>) -> Result<Vec<Reading>, BatchError> {
        out.clear();
        let (mut all, mut readings) = (Vec::with_capacity(texts.len()), Vec::with_capacity(texts.len()));
        for (text, content) in texts.iter().enumerate() {
            let mut ids = Vec::new();
            let reading = self.tokenize(content, &mut ids);
            readings.push(reading.map_err(|source| BatchError::new(Some(text), source))?);
            all.push(ids);
        }
        let mut order: Vec<_> = (0..texts.len()).collect();
        order.sort_by_key(|text| all[*text].len());
        let width = self.dimensions();
        out.resize(texts.len() * width, 0.0);
        for equal in order.chunk_by(|a, b| all[*a].len() == all[*b].len()) {
            let length = all[equal[0]].len();
            for group in equal.chunks(BATCH / length) {
                let ids: Vec<_> = group.iter().flat_map(|text| &all[*text]).copied().collect();
                let means = self.network.means(&ids, group.len());
                for (text, mean) in group.iter().zip(means.chunks(width)) {
                    let row = &mut out[text * width..(text + 1) * width];
                    row.copy_from_slice(mean);
                    if let Err(source) = normalize(row, readings[*text].tokens) {
                        out.clear();
                        return Err(BatchError::new(Some(*text), source));
                    }
                }
            }
        }
        Ok(readings)
    }
}

struct Tokenize<'a> {
    tokenizer: &'a Tokenizer,
    text: &'a str,
    ids: &'a mut Vec<u32>,
}

impl Work for Tokenize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self, instructions: I) {
        self.tokenizer.tokenize(instructions, self.text, self.ids);
    }
}

/// The folder in which Hugging Face's tools keep what they have downloaded.
fn cache() -> PathBuf {
    let path = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    path("HF_HUB_CACHE").unwrap_or_else(|| {
        let home = path("HF_HOME").unwrap_or_else(|| {
            let cache =
                path("XDG_CACHE_HOME").unwrap_or_else(|| env::home_dir().unwrap_or_default().join(".cache"));
            cache.join("huggingface")
        });
        home.join("hub")
    })
}

#[cfg(test)]
mod tests;
