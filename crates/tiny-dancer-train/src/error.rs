//! The error of reading rows, profiles and embeddings.

use crate::fields::FieldError;
use std::error::Error;
use std::path::PathBuf;

/// The name of the tensor of embeddings.
pub(crate) const TENSOR: &str = "embeddings";

/// Why reading rows or embeddings failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The safetensors file is corrupt or truncated.
    #[error("{}: not a whole safetensors file: {source}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The error of the safetensors crate.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The file's metadata names another embedder than the expected one.
    #[error("{}: its vectors are of embedder {actual}, expected {expected}", path.display())]
    Embedder {
        /// The file.
        path: PathBuf,
        /// The expected embedder's id.
        expected: String,
        /// The id in the file.
        actual: String,
    },
    /// The file cannot be opened or read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not a row.
    #[error("{}: line {line}: {source}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The error in the line.
        source: FieldError,
    },
    /// A line is too long.
    #[error("{}: line {line} has more than {limit} bytes", path.display())]
    LongLine {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The maximum number of bytes.
        limit: usize,
    },
    /// There are too many lines.
    #[error("{}: more than {limit} rows", path.display())]
    ManyRows {
        /// The file.
        path: PathBuf,
        /// The maximum number of rows.
        limit: usize,
    },
    /// The tensor `embeddings` is missing.
    #[error("{}: tensor {TENSOR} is missing", path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
    },
    /// An embedding has no direction: an element is NaN or infinite, or all are zero.
    #[error("{}: embedding {row} has norm {norm}", path.display())]
    Norm {
        /// The file.
        path: PathBuf,
        /// The embedding, from 0.
        row: usize,
        /// Its norm.
        norm: f32,
    },
    /// The path of the embeddings is a pipe, a device or a folder.
    #[error("{} is not a regular file", path.display())]
    NotRegular {
        /// The path.
        path: PathBuf,
    },
    /// The numbers of rows and embeddings differ.
    #[error("{rows} rows, but {embeddings} embeddings")]
    RowCount {
        /// The number of rows.
        rows: usize,
        /// The number of embeddings.
        embeddings: usize,
    },
    /// The tensor has another element type or shape.
    #[error("{}: tensor {TENSOR} is {dtype} of shape {shape:?}, expected F16 or F32 of shape n x d", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The name of its element type.
        dtype: String,
        /// Its shape.
        shape: Vec<usize>,
    },
}
