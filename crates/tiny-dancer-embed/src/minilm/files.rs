//! The files of a model, and all checks of them.

use super::network::Shape;
use crate::tokenizer::{Flaw, Tokenizer};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

const CONFIG: &str = "config.json";
const VOCABULARY: &str = "vocab.txt";
const TOKENIZER: &str = "tokenizer.json";
const WEIGHTS: &str = "model.safetensors";

/// The most bytes of a file of text. The largest, `tokenizer.json`, has 0.5 MB.
const MAX_TEXT: u64 = 16 << 20;
/// The most bytes of the weights, which have 91 MB.
const MAX_WEIGHTS: u64 = 256 << 20;

/// Why a model was not loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MiniLmError {
    /// A field has another value than all-MiniLM-L6-v2 has.
    #[error("{file}: {field} is {actual}, expected {expected}")]
    Field {
        /// The name of the file.
        file: &'static str,
        /// Where the field is, as a JSON pointer.
        field: &'static str,
        /// The value that it must have, as JSON.
        expected: String,
        /// Its value, as JSON.
        actual: String,
    },
    /// A file is not JSON.
    #[error("{file} is not JSON: {source}")]
    Json {
        /// The name of the file.
        file: &'static str,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The vocabulary lacks a token that each text needs.
    #[error("the vocabulary has no token {token}")]
    MissingToken {
        /// The token.
        token: &'static str,
    },
    /// The path leads to a directory, a FIFO, a device or a socket.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// Which path.
        path: PathBuf,
    },
    /// The cache has no whole revision of the model.
    #[error("{} has no revision of all-MiniLM-L6-v2 with all of its files", folder.display())]
    NotCached {
        /// Where it would be.
        folder: PathBuf,
    },
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Two tokens are equal.
    #[error("tokens {first} and {second} are equal")]
    RepeatedToken {
        /// The id of the first.
        first: u32,
        /// The id of the second.
        second: u32,
    },
    /// A file is larger than the model's.
    #[error("{} has more than {max} bytes", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The most that are read.
        max: u64,
    },
    /// The vocabulary has more or fewer tokens than the network, or its ids have gaps.
    #[error("the vocabulary has {actual} tokens, expected {expected}")]
    Vocabulary {
        /// The network's.
        expected: usize,
        /// The vocabulary's.
        actual: usize,
    },
    /// Not a whole safetensors file, or a tensor is missing or has another shape.
    #[error("{WEIGHTS}: {source}")]
    Weights {
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// The folder of a whole revision in a cache of Hugging Face's tools.
pub(super) fn snapshot(cache: &Path) -> Result<PathBuf, MiniLmError> {
    let folder = cache.join("models--sentence-transformers--all-MiniLM-L6-v2");
    let main = fs::read_to_string(folder.join("refs/main")).ok();
    let mut snapshots: Vec<_> = main.iter().map(|main| folder.join("snapshots").join(main.trim())).collect();
    let mut others: Vec<_> = fs::read_dir(folder.join("snapshots"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    others.sort();
    snapshots.extend(others);
    let has = |snapshot: &Path, file: &str| snapshot.join(file).is_file();
    let is_whole = |snapshot: &PathBuf| {
        [CONFIG, WEIGHTS].iter().all(|file| has(snapshot, file))
            && [VOCABULARY, TOKENIZER].iter().any(|file| has(snapshot, file))
    };
    snapshots.into_iter().find(is_whole).ok_or(MiniLmError::NotCached { folder })
}

pub(super) fn check_config(folder: &Path, shape: &Shape) -> Result<(), MiniLmError> {
    let config = read_json(folder, CONFIG)?;
    for (field, expected) in [
        ("/model_type", json!("bert")),
        ("/hidden_act", json!("gelu")),
        ("/vocab_size", json!(shape.tokens)),
        ("/max_position_embeddings", json!(shape.positions)),
        ("/type_vocab_size", json!(2)),
        ("/hidden_size", json!(shape.width)),
        ("/intermediate_size", json!(shape.inner)),
        ("/num_attention_heads", json!(shape.heads)),
        ("/num_hidden_layers", json!(shape.layers)),
        ("/layer_norm_eps", json!(shape.epsilon)),
    ] {
        expect(CONFIG, &config, field, &expected)?;
    }
    Ok(())
}

/// The tokens in the order of their ids, a line feed between them.
pub(super) fn vocabulary(folder: &Path, expected: usize) -> Result<String, MiniLmError> {
    let path = folder.join(VOCABULARY);
    let vocabulary = if path.exists() {
        let bytes = read(&path, MAX_TEXT)?;
        let text = String::from_utf8(bytes).map_err(|error| MiniLmError::Read {
            path,
            source: io::Error::new(io::ErrorKind::InvalidData, error),
        })?;
        text.lines().collect::<Vec<_>>().join("\n")
    } else {
        vocabulary_of_tokenizer(folder, expected)?
    };
    let actual = vocabulary.split('\n').count();
    if actual == expected { Ok(vocabulary) } else { Err(MiniLmError::Vocabulary { expected, actual }) }
}

fn vocabulary_of_tokenizer(folder: &Path, expected: usize) -> Result<String, MiniLmError> {
    let mut file = read_json(folder, TOKENIZER)?;
    for (field, expected) in [
        ("/normalizer/type", json!("BertNormalizer")),
        ("/normalizer/clean_text", json!(true)),
        ("/normalizer/handle_chinese_chars", json!(true)),
        ("/normalizer/lowercase", json!(true)),
        // As `lowercase` says.
        ("/normalizer/strip_accents", Value::Null),
        ("/pre_tokenizer/type", json!("BertPreTokenizer")),
        ("/model/type", json!("WordPiece")),
        ("/model/unk_token", json!("[UNK]")),
        ("/model/continuing_subword_prefix", json!("##")),
        ("/model/max_input_chars_per_word", json!(100)),
    ] {
        expect(TOKENIZER, &file, field, &expected)?;
    }
    let tokens = file["model"]["vocab"].take();
    let tokens: HashMap<String, u32> = serde_json::from_value(tokens)
        .map_err(|source| MiniLmError::Json { file: TOKENIZER, source: Box::new(source) })?;
    let actual = tokens.len();
    let mut by_id: Vec<_> = tokens.into_iter().map(|(token, id)| (id, token)).collect();
    by_id.sort_unstable();
    if !by_id.iter().map(|(id, _)| *id as usize).eq(0..expected) {
        return Err(MiniLmError::Vocabulary { expected, actual });
    }
    Ok(by_id.into_iter().map(|(_, token)| token).collect::<Vec<_>>().join("\n"))
}

/// The tokenizer, and the ids of `[CLS]` and `[SEP]`.
pub(super) fn tokenizer(vocabulary: &str) -> Result<(Tokenizer, [u32; 2]), MiniLmError> {
    let tokens = || vocabulary.split('\n');
    let tokenizer = Tokenizer::new(tokens()).map_err(|flaw| match flaw {
        Flaw::MissingUnknown => MiniLmError::MissingToken { token: "[UNK]" },
        Flaw::Repeated { first, second } => MiniLmError::RepeatedToken { first, second },
    })?;
    let id = |token| {
        let place = tokens().position(|other| other == token);
        place.map(|id| id as u32).ok_or(MiniLmError::MissingToken { token })
    };
    Ok((tokenizer, [id("[CLS]")?, id("[SEP]")?]))
}

pub(super) fn weights(folder: &Path) -> Result<Vec<u8>, MiniLmError> {
    read(&folder.join(WEIGHTS), MAX_WEIGHTS)
}

fn expect(
    file: &'static str,
    value: &Value,
    field: &'static str,
    expected: &Value,
) -> Result<(), MiniLmError> {
    let actual = value.pointer(field).unwrap_or(&Value::Null);
    if actual == expected {
        return Ok(());
    }
    let (expected, actual) = (expected.to_string(), actual.to_string());
    Err(MiniLmError::Field { file, field, expected, actual })
}

fn read_json(folder: &Path, file: &'static str) -> Result<Value, MiniLmError> {
    let bytes = read(&folder.join(file), MAX_TEXT)?;
    serde_json::from_slice(&bytes).map_err(|source| MiniLmError::Json { file, source: Box::new(source) })
}

/// Reads a regular file whole.
fn read(path: &Path, max: u64) -> Result<Vec<u8>, MiniLmError> {
    let failed = |source| MiniLmError::Read { path: path.to_owned(), source };
    // Before it is opened: opening a FIFO would wait for a writer.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(MiniLmError::NotAFile { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(max + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > max {
        return Err(MiniLmError::TooLarge { path: path.to_owned(), max });
    }
    Ok(bytes)
}
