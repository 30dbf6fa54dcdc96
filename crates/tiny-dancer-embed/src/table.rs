//! The file of a static table: its tensors, and all checks of them.

use crate::tokenizer::{Flaw, Tokenizer};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::borrow::Cow;
use std::error::Error;
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The table of this crate. Its rows are used in place.
pub(crate) static SHIPPED: &[u8] = include_bytes!("../table/static.safetensors");

/// The largest file: rows of 1,024 dimensions for a multilingual vocabulary of 250,000 tokens.
const MAX_FILE: u64 = 256 << 20;
/// The most dimensions.
const MAX_DIMENSIONS: usize = 4096;
/// The most bytes of a vocabulary. BERT's has a quarter of a megabyte.
const MAX_VOCABULARY: usize = 4 << 20;
/// The most bytes of a token. BERT's longest has 18. The index of a vocabulary grows with the square of it.
const MAX_TOKEN: usize = 64;
/// Scales other than zero. Sums of rows, and their squares, then stay in f32's range.
const SCALES: std::ops::RangeInclusive<f32> = 1e-9..=1e9;

/// Why a table was not loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// Corrupt or truncated: not a whole safetensors file.
    #[error("not a whole safetensors file: {source}")]
    Corrupt {
        /// The error of safetensors.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A number of dimensions out of range.
    #[error("rows have {actual} dimensions, expected 1 to {max}")]
    Dimensions {
        /// The most that are read.
        max: usize,
        /// The file's.
        actual: usize,
    },
    /// A token is empty, or too long.
    #[error("token {token} has {actual} bytes, expected 1 to {max}")]
    EmptyOrLongToken {
        /// Its id.
        token: usize,
        /// The most that are read.
        max: usize,
        /// Its length.
        actual: usize,
    },
    /// The metadata lacks a field.
    #[error("metadata: {field} is missing")]
    MissingMetadata {
        /// Its name.
        field: &'static str,
    },
    /// A tensor is missing.
    #[error("tensor {tensor} is missing")]
    MissingTensor {
        /// Its name.
        tensor: &'static str,
    },
    /// The vocabulary has no `[UNK]`.
    #[error("the vocabulary has no token [UNK]")]
    MissingUnknown,
    /// The path leads to a directory, a FIFO, a device or a socket.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// Which path.
        path: PathBuf,
    },
    /// The file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Two tokens are equal.
    #[error("tokens {first} and {second} are both {token:?}")]
    RepeatedToken {
        /// The id of the first.
        first: u32,
        /// The id of the second.
        second: u32,
        /// The token.
        token: String,
    },
    /// A scale is neither 0 nor from 1e-9 to 1e9.
    #[error("the scale of token {token} is {value}, expected 0, or {} to {}", SCALES.start(), SCALES.end())]
    Scale {
        /// The token's id.
        token: usize,
        /// Its value.
        value: f32,
    },
    /// A tensor has another type or shape than the vocabulary and the rows need.
    #[error("tensor {tensor} is {actual_dtype} {actual:?}, expected {dtype} {expected}")]
    Shape {
        /// Its name.
        tensor: &'static str,
        /// The type that it must have.
        dtype: &'static str,
        /// The shape that it must have.
        expected: String,
        /// Its type.
        actual_dtype: String,
        /// Its shape.
        actual: Vec<usize>,
    },
    /// The file is larger than any table.
    #[error("{} has more than {max} bytes", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The most that are read.
        max: u64,
    },
    /// The vocabulary is larger than any that is used.
    #[error("the vocabulary has {actual} bytes, expected at most {max}")]
    Vocabulary {
        /// The most that are read.
        max: usize,
        /// The file's.
        actual: usize,
    },
    /// The vocabulary is not UTF-8.
    #[error("the vocabulary is not UTF-8 from byte {valid_up_to} on")]
    VocabularyNotUtf8 {
        /// The number of bytes before the first wrong one.
        valid_up_to: usize,
    },
}

/// What a table's file states about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableFacts {
    /// Its name.
    pub name: String,
    /// The licence of what it is derived from.
    pub licence: String,
    /// What it is derived from.
    pub attribution: String,
    /// How it was made.
    pub recipe: String,
}

/// A checked table.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Range<usize>,
    vocabulary: Range<usize>,
    /// Where each token of the vocabulary ends.
    ends: Vec<u32>,
    pub(crate) scales: Vec<f32>,
    pub(crate) dimensions: usize,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) facts: TableFacts,
    /// The file, with the rows and the vocabulary.
    bytes: Cow<'static, [u8]>,
}

impl Table {
    /// Reads a file whole, from a regular file.
    pub(crate) fn read(path: &Path) -> Result<Vec<u8>, TableError> {
        let read = |source| TableError::Read { path: path.to_owned(), source };
        // Before it is opened: opening a FIFO would wait for a writer.
        if !std::fs::metadata(path).map_err(read)?.is_file() {
            return Err(TableError::NotAFile { path: path.to_owned() });
        }
        let mut bytes = Vec::new();
        File::open(path).map_err(read)?.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(read)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(TableError::TooLarge { path: path.to_owned(), max: MAX_FILE });
        }
        Ok(bytes)
    }

    pub(crate) fn new(bytes: Cow<'static, [u8]>) -> Result<Self, TableError> {
        let corrupt = |source| TableError::Corrupt { source: Box::new(source) };
        let tensors = SafeTensors::deserialize(&bytes).map_err(corrupt)?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(corrupt)?;
        let facts = facts(header.metadata().as_ref())?;

        let vocabulary = tensor(&tensors, "vocabulary")?;
        let &[length] = vocabulary.shape() else { return Err(shape("vocabulary", &vocabulary, "[bytes]")) };
        expect("vocabulary", &vocabulary, Dtype::U8, &[length])?;
        if length > MAX_VOCABULARY {
            return Err(TableError::Vocabulary { max: MAX_VOCABULARY, actual: length });
        }
        let text = std::str::from_utf8(vocabulary.data())
            .map_err(|error| TableError::VocabularyNotUtf8 { valid_up_to: error.valid_up_to() })?;
        let tokens = || text.split('\n');
        let mut ends = Vec::new();
        for (token, content) in tokens().enumerate() {
            if !(1..=MAX_TOKEN).contains(&content.len()) {
                let actual = content.len();
                return Err(TableError::EmptyOrLongToken { token, max: MAX_TOKEN, actual });
            }
            ends.push(ends.last().map_or(0, |end| end + 1) + content.len() as u32);
        }

        let rows = tensor(&tensors, "rows")?;
        let &[_, dimensions] = rows.shape() else {
            return Err(shape("rows", &rows, "[tokens, dimensions]"));
        };
        expect("rows", &rows, Dtype::I8, &[ends.len(), dimensions])?;
        if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
            return Err(TableError::Dimensions { max: MAX_DIMENSIONS, actual: dimensions });
        }

        let scales = tensor(&tensors, "scales")?;
        expect("scales", &scales, Dtype::F32, &[ends.len()])?;
        let (scales, _) = scales.data().as_chunks();
        let scales: Vec<_> = scales.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        if let Some(token) = scales.iter().position(|scale| *scale != 0.0 && !SCALES.contains(scale)) {
            return Err(TableError::Scale { token, value: scales[token] });
        }

        let tokenizer = Tokenizer::new(tokens()).map_err(|flaw| match flaw {
            Flaw::MissingUnknown => TableError::MissingUnknown,
            Flaw::Repeated { first, second } => {
                let token = tokens().nth(first as usize).unwrap_or_default().to_owned();
                TableError::RepeatedToken { first, second, token }
            }
        })?;
        let [rows, vocabulary] = [&rows, &vocabulary].map(|tensor| place(&bytes, tensor.data()));
        Ok(Self { rows, vocabulary, ends, scales, dimensions, tokenizer, facts, bytes })
    }

    /// All rows, one after the other.
    pub(crate) fn rows(&self) -> &[i8] {
        pulp::bytemuck::cast_slice(&self.bytes[self.rows.clone()])
    }

    pub(crate) fn vocabulary(&self) -> &[u8] {
        &self.bytes[self.vocabulary.clone()]
    }

    pub(crate) fn token(&self, id: u32) -> Option<&str> {
        let id = id as usize;
        let end = *self.ends.get(id)?;
        let start = if id == 0 { 0 } else { self.ends[id - 1] + 1 };
        std::str::from_utf8(&self.vocabulary()[start as usize..end as usize]).ok()
    }
}

/// Where a tensor stands in the file.
fn place(bytes: &[u8], tensor: &[u8]) -> Range<usize> {
    let start = tensor.as_ptr().addr() - bytes.as_ptr().addr();
    start..start + tensor.len()
}

fn facts(metadata: Option<&std::collections::HashMap<String, String>>) -> Result<TableFacts, TableError> {
    let field = |field| {
        let value = metadata.and_then(|metadata| metadata.get(field));
        value.cloned().ok_or(TableError::MissingMetadata { field })
    };
    Ok(TableFacts {
        name: field("name")?,
        licence: field("licence")?,
        attribution: field("attribution")?,
        recipe: field("recipe")?,
    })
}

fn tensor<'a>(tensors: &SafeTensors<'a>, tensor: &'static str) -> Result<TensorView<'a>, TableError> {
    tensors.tensor(tensor).map_err(|_| TableError::MissingTensor { tensor })
}

fn expect(
    tensor: &'static str,
    actual: &TensorView<'_>,
    dtype: Dtype,
    expected: &[usize],
) -> Result<(), TableError> {
    let is_expected = actual.dtype() == dtype && actual.shape() == expected;
    if is_expected { Ok(()) } else { Err(shape(tensor, actual, &format!("{expected:?}"))) }
}

fn shape(tensor: &'static str, actual: &TensorView<'_>, expected: &str) -> TableError {
    let dtype = match tensor {
        "rows" => "I8",
        "scales" => "F32",
        _ => "U8",
    };
    TableError::Shape {
        tensor,
        dtype,
        expected: expected.to_owned(),
        actual_dtype: format!("{:?}", actual.dtype()),
        actual: actual.shape().to_vec(),
    }
}

#[cfg(test)]
mod tests;
