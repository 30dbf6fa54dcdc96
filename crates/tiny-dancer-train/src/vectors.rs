//! Vectors: the embedding of each row, from a file or made from the row's prompt.
//!
//! A file is a safetensors file with one tensor `embeddings`, f16 or f32, of shape `n x d`, in the order of the lines.
//! Its metadata may name the embedder that made them, under the key `embedder`.
//!
//! Cosines of vectors of different embedders mean nothing, even if the dimensions agree. So each set of vectors has the
//! id of its embedder, and two sets meet only if both have the same id, or both have none.
//!
//! A prompt is embedded when its line is read, and is not kept.

use crate::error::{ReadError, TENSOR};
use crate::fields::{FieldError, PromptError};
use crate::lines::first_bits;
use ndarray::{Array2, ArrayRef2, Axis};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use sha2::{Digest, Sha256};
use std::error::Error;
use std::fmt;
use std::path::Path;
use tiny_dancer_core::model::EMBEDDER;

/// A function from a text to its vector, which replaces the content of the second argument.
pub type Embed<'a> = dyn Fn(&str, &mut Vec<f32>) -> Result<(), Box<dyn Error + Send + Sync>> + 'a;

/// The source of the rows' vectors.
///
/// ```no_run
/// use std::path::Path;
/// use tiny_dancer_train::rows::Dataset;
/// use tiny_dancer_train::vectors::Vectors;
///
/// // A toy: the numbers of vowels and of other characters.
/// let embed = |text: &str, vector: &mut Vec<f32>| {
///     let vowels = text.chars().filter(|c| "aeiou".contains(*c)).count();
///     vector.clear();
///     vector.extend([vowels as f32, (text.chars().count() - vowels) as f32]);
///     Ok(())
/// };
/// let rows = Path::new("rows.jsonl");
/// let from_prompts = Dataset::read(rows, Vectors::Prompts { embedder: "vowels", embed: &embed })?;
/// let from_a_file = Dataset::read(rows, Path::new("rows.safetensors"))?;
/// # Ok::<(), tiny_dancer_train::rows::ReadError>(())
/// ```
#[derive(Clone, Copy)]
pub enum Vectors<'a> {
    /// A safetensors file.
    File {
        /// The file.
        path: &'a Path,
        /// The id of the embedder that made it, if that is known. A file that names another one is refused.
        embedder: Option<&'a str>,
    },
    /// The rows' own prompts. A row without one is refused.
    Prompts {
        /// The id of the embedder.
        embedder: &'a str,
        /// The embedder.
        embed: &'a Embed<'a>,
    },
}

/// The file of an unknown embedder, unless its metadata names it.
impl<'a, P: AsRef<Path> + ?Sized> From<&'a P> for Vectors<'a> {
    fn from(path: &'a P) -> Self {
        Self::File { path: path.as_ref(), embedder: None }
    }
}

impl fmt::Debug for Vectors<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, embedder } => {
                f.debug_struct("File").field("path", path).field("embedder", embedder).finish()
            }
            Self::Prompts { embedder, .. } => {
                f.debug_struct("Prompts").field("embedder", embedder).finish_non_exhaustive()
            }
        }
    }
}

/// The vectors of the rows that were read so far.
pub(crate) struct Gathering<'a> {
    vectors: Vectors<'a>,
    /// The number of rows.
    rows: usize,
    /// The rows whose vectors are kept, ascending.
    kept: Vec<usize>,
    /// The vectors made from prompts, one after the other.
    made: Vec<f32>,
    /// The last of them.
    last: Vec<f32>,
}

/// The vectors of all kept rows.
pub(crate) struct Gathered<'a> {
    /// Scaled to length 1. Shape: `n x d`.
    pub(crate) embeddings: Array2<f32>,
    /// The id of their embedder, if it is known.
    pub(crate) embedder: Option<String>,
    /// Their file, and the first twelve hexadecimal digits of its SHA-256.
    pub(crate) file: Option<(&'a Path, String)>,
}

impl<'a> Gathering<'a> {
    pub(crate) fn new(vectors: Vectors<'a>) -> Self {
        Self { vectors, rows: 0, kept: vec![], made: vec![], last: vec![] }
    }

    /// Adds a row. Its vector is kept or skipped.
    pub(crate) fn row(&mut self, id: &str, prompt: Option<String>, keep: bool) -> Result<(), FieldError> {
        if let Vectors::Prompts { embed, .. } = self.vectors {
            let embedded = match prompt {
                None => Err(PromptError::Missing),
                Some(text) if text.trim().is_empty() => Err(PromptError::Empty),
                Some(text) if keep => self.embed(&text, embed),
                Some(_) => Ok(()),
            };
            embedded.map_err(|source| FieldError::Prompt { id: id.to_owned(), source })?;
        }
        if keep {
            self.kept.push(self.rows);
        }
        self.rows += 1;
        Ok(())
    }

    /// Makes a prompt's vector.
    fn embed(&mut self, text: &str, embed: &Embed<'_>) -> Result<(), PromptError> {
        embed(text, &mut self.last).map_err(|source| PromptError::Refused { source })?;
        let (actual, before) = (self.last.len(), self.kept.len());
        let expected = self.made.len().checked_div(before).unwrap_or(actual);
        if actual != expected {
            return Err(PromptError::Dimension { actual, expected });
        }
        let norm = self.last.iter().map(|x| x * x).sum::<f32>().sqrt();
        if !norm.is_finite() || norm == 0.0 {
            return Err(PromptError::Norm { norm });
        }
        self.made.extend(self.last.iter().map(|x| x / norm));
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<Gathered<'a>, ReadError> {
        match self.vectors {
            Vectors::File { path, embedder } => {
                let File { embeddings, embedder: named, digest } = File::read(path)?;
                if self.rows != embeddings.nrows() {
                    return Err(ReadError::RowCount { rows: self.rows, embeddings: embeddings.nrows() });
                }
                if let (Some(expected), Some(actual)) = (embedder, &named)
                    && expected != actual
                {
                    let (expected, actual) = (expected.to_owned(), actual.clone());
                    return Err(ReadError::Embedder { path: path.to_owned(), expected, actual });
                }
                let all = self.kept.len() == self.rows;
                let embeddings = if all { embeddings } else { embeddings.select(Axis(0), &self.kept) };
                let embedder = named.or_else(|| embedder.map(str::to_owned));
                Ok(Gathered { embeddings, embedder, file: Some((path, digest)) })
            }
            Vectors::Prompts { embedder, .. } => {
                let shape =
                    (self.kept.len(), self.made.len().checked_div(self.kept.len()).unwrap_or_default());
                let embeddings = Array2::from_shape_vec(shape, self.made)
                    .expect("each vector has the length of the first");
                Ok(Gathered { embeddings, embedder: Some(embedder.to_owned()), file: None })
            }
        }
    }
}

/// The content of an embeddings file.
struct File {
    /// Scaled to length 1. Shape: `n x d`.
    embeddings: Array2<f32>,
    embedder: Option<String>,
    /// The first twelve hexadecimal digits of its SHA-256.
    digest: String,
}

impl File {
    fn read(path: &Path) -> Result<Self, ReadError> {
        let io = |source| ReadError::Io { path: path.to_owned(), source };
        // Reading a device might never end.
        if !std::fs::metadata(path).map_err(io)?.is_file() {
            return Err(ReadError::NotRegular { path: path.to_owned() });
        }
        let bytes = std::fs::read(path).map_err(io)?;
        let corrupt = |source: safetensors::SafeTensorError| ReadError::Corrupt {
            path: path.to_owned(),
            source: source.into(),
        };
        let file = SafeTensors::deserialize(&bytes).map_err(corrupt)?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(corrupt)?;
        let embedder = header.metadata().as_ref().and_then(|metadata| metadata.get(EMBEDDER)).cloned();
        let tensor = file.tensor(TENSOR).map_err(|_| ReadError::MissingTensor { path: path.to_owned() })?;
        let values: Vec<f32> = match tensor.dtype() {
            Dtype::F16 => {
                tensor.data().as_chunks().0.iter().map(|&b| half::f16::from_le_bytes(b).to_f32()).collect()
            }
            Dtype::F32 => tensor.data().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            _ => return Err(wrong_shape(path, &tensor)),
        };
        let &[n, d] = tensor.shape() else { return Err(wrong_shape(path, &tensor)) };
        let Ok(mut embeddings) = Array2::from_shape_vec((n, d), values) else {
            return Err(wrong_shape(path, &tensor));
        };
        for (row, mut embedding) in embeddings.outer_iter_mut().enumerate() {
            let norm = embedding.dot(&embedding).sqrt();
            if !norm.is_finite() || norm == 0.0 {
                return Err(ReadError::Norm { path: path.to_owned(), row, norm });
            }
            embedding /= norm;
        }
        let digest = first_bits(&Sha256::digest(&bytes)) >> 16;
        Ok(Self { embeddings, embedder, digest: format!("{digest:012x}") })
    }
}

/// The text of an embedder in errors.
pub(crate) fn embedder(id: Option<&str>) -> String {
    id.map_or_else(|| "an unknown embedder".to_owned(), |id| format!("embedder {id}"))
}

fn wrong_shape(path: &Path, tensor: &TensorView<'_>) -> ReadError {
    ReadError::Shape {
        path: path.to_owned(),
        dtype: format!("{:?}", tensor.dtype()),
        shape: tensor.shape().to_vec(),
    }
}

/// The content of an embeddings file: one tensor `embeddings`, f16, and the id of the embedder that made it, if it is
/// known. Shape: `n x d`.
///
/// # Panics
/// Never: the view is made from data of its own shape.
pub fn embeddings_to_bytes(embeddings: &ArrayRef2<f32>, embedder: Option<&str>) -> Vec<u8> {
    let data: Vec<u8> = embeddings.iter().flat_map(|&x| half::f16::from_f32(x).to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F16, embeddings.shape().to_vec(), &data)
        .expect("shape and data agree by construction");
    let metadata = embedder.map(|embedder| [(EMBEDDER.to_owned(), embedder.to_owned())].into());
    safetensors::serialize([(TENSOR, view)], metadata).expect("one valid view")
}

#[cfg(test)]
pub(crate) mod tests;
