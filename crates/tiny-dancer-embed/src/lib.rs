//! Text to vector: the trait [`Embedder`], and [`StaticEmbedder`], which needs no model, key, download or GPU.
//!
//! A router compares the vector of a prompt with the vectors of earlier prompts. This crate makes these vectors:
//!
//! ```
//! use tiny_dancer_embed::{Embedder, StaticEmbedder};
//!
//! let embedder = StaticEmbedder::new();
//! let (mut vector, mut other) = (Vec::new(), Vec::new());
//! let reading = embedder.embed_into("How do I sort a list in Python?", &mut vector)?;
//! assert_eq!((vector.len(), reading.truncated), (embedder.dimensions(), false));
//!
//! let mut cosine = |text| -> Result<f32, tiny_dancer_embed::EmbedError> {
//!     embedder.embed_into(text, &mut other)?;
//!     Ok(vector.iter().zip(&other).map(|(a, b)| a * b).sum())
//! };
//! assert!(cosine("Sorting lists in Python")? > cosine("A recipe for apple pie")?);
//! # Ok::<(), tiny_dancer_embed::EmbedError>(())
//! ```
//!
//! # The static table
//!
//! Each token of BERT's uncased vocabulary has a row. A text's vector is the sum of its tokens' rows, at length 1: with token
//! `t` having the scale `s_t` and the row `r_t` of `i8`,
//!
//! ```text
//! v = sum over tokens t of s_t * r_t        vector = v / |v|
//! ```
//!
//! The weight of a token is part of its scale. The order of words doesn't matter, which costs some quality and makes the
//! vector cheap: see [`StaticEmbedder`] for its time, memory and limits.
//!
//! # Vectors of two embedders
//!
//! Vectors of different embedders have nothing in common, even where their dimensions agree. So each embedder has an
//! [`EmbedderId`], a hash of all that determines its vectors, and [`EmbedderId::check`] is an error that names both.
//!
//! # Text
//!
//! Input is `&str`, so it is valid Unicode. JSON can express half of a surrogate pair, which no `&str` holds: `serde_json`
//! refuses to read it into a `String`. A lossy conversion makes it U+FFFD, which the tokenizer drops. Control characters are
//! dropped, and a text of nothing else, or of whitespace, is [`EmbedError::NoTokens`].
//!
//! # Which embedder
//!
//! | embedder | feature | needs | time of a prompt | take it |
//! | --- | --- | --- | --- | --- |
//! | [`StaticEmbedder`] | | nothing | microseconds | first: it is in the package, and the routing model for it too |
//! | `MiniLm` | `minilm` | a folder of 91 MB | milliseconds on a core | where the order of words matters, and a core is free |
//! | `Remote` | `remote` | a service, a key, a network | a round trip | where another system embeds the prompts anyway, or the language is not English |
//!
//! A routing model and a memory are for the vectors of one embedder, so a change of the embedder needs both again. The
//! documentation of `Remote` says what happens when its service is down. all-MiniLM-L6-v2 is licensed under Apache-2.0, and
//! its files are not in this package.
//!
//! # Limits
//!
//! The vocabulary is that of English. [`Reading::unknown`] counts words that it can't express. They are left out of the vector,
//! and a text of nothing else is [`EmbedError::ZeroNorm`].

mod embedder;
mod error;
mod id;
mod kernel;
#[cfg(any(feature = "minilm", feature = "remote"))]
mod length;
#[cfg(feature = "minilm")]
mod minilm;
mod reading;
#[cfg(feature = "remote")]
mod remote;
mod static_embedder;
mod table;
mod tokenizer;

pub use embedder::{Embedder, Reading};
pub use error::{BatchError, EmbedError, EmbedErrorKind, ResponseFlaw, TransportError};
pub use id::{EmbedderId, EmbedderMismatch, InvalidEmbedderId};
pub use kernel::Kernel;
#[cfg(feature = "minilm")]
pub use minilm::{MiniLm, MiniLmError};
pub use reading::MAX_BYTES;
#[cfg(feature = "remote")]
pub use remote::{ApiKey, Remote, RemoteConfig, RemoteConfigError};
pub use static_embedder::StaticEmbedder;
pub use table::{TableError, TableFacts};
