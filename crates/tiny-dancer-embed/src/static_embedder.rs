//! The default embedder: a table of one row a token, inside this package.

use crate::embedder::{Embedder, Reading};
use crate::error::EmbedError;
use crate::id::EmbedderId;
use crate::kernel::{Instructions, Kernel, Pair, Work};
use crate::reading::{MAX_BYTES, parts};
use crate::table::{SHIPPED, Table, TableError, TableFacts};
use crate::tokenizer::CHARACTERS;
use pulp::bytemuck::{cast_slice, cast_slice_mut};
use std::borrow::Cow;
use std::cell::RefCell;
use std::path::Path;

/// A change of the tokenizer or of the sum that changes vectors gets another name here.
const METHOD: &[u8] =
    b"tiny-dancer-embed static 1: WordPiece of BERT uncased, sum of rows by scales of 15 bits, length 1";

/// The id of the shipped table, so that a start doesn't hash it. A test compares the two.
const SHIPPED_ID: &str = include_str!("../table/static.id");

/// The number of partial sums of a squared norm, the same for all kernels.
const SUMS: usize = 16;

thread_local! {
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch { ids: Vec::new(), pairs: Vec::new() }) };
}

/// Memory for one text. A text has at most one token for each byte that is read, so it is at most 160 KiB.
struct Scratch {
    ids: Vec<u32>,
    pairs: Vec<Pair>,
}

/// Sums a row of a table for each token.
///
/// A prompt takes about a microsecond, and allocates nothing once `out` and a list of ids for each thread have their
/// sizes. Of a text longer than [`MAX_BYTES`] the beginning and the end are read. Its vector has the same bits with each
/// [`Kernel`], on each machine.
///
/// The rows of the shipped table (7.8 MB) are used where the program is mapped. The vocabulary's index takes 3.5 MB, and is
/// built in about ten milliseconds.
#[derive(Debug)]
pub struct StaticEmbedder {
    table: Table,
    id: EmbedderId,
    kernel: Kernel,
}

impl StaticEmbedder {
    /// With the table of this package: 256 dimensions, derived from all-MiniLM-L6-v2.
    #[expect(clippy::missing_panics_doc, reason = "tests read the shipped table and its id")]
    pub fn new() -> Self {
        let table = Table::new(Cow::Borrowed(SHIPPED)).expect("a test reads the shipped table");
        let id = SHIPPED_ID.trim_end().parse().expect("a test compares the shipped id");
        Self { table, id, kernel: Kernel::detect() }
    }

    /// With a table in a file, which is read whole.
    ///
    /// # Errors
    ///
    /// [`TableError`] says what is wrong with the file.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, TableError> {
        Self::from_bytes(Table::read(path.as_ref())?)
    }

    /// With a table in the format of safetensors:
    ///
    /// - `rows`, I8, tokens x dimensions;
    /// - `scales`, F32, one a token: 0, or 1e-9 to 1e9;
    /// - `vocabulary`, U8: the tokens of an uncased BERT, in UTF-8, with a line feed between them. One is `[UNK]`, none is twice;
    /// - the metadata `name`, `licence`, `attribution` and `recipe`.
    ///
    /// # Errors
    ///
    /// [`TableError`] says what is wrong with the table.
    pub fn from_bytes(bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self, TableError> {
        let table = Table::new(bytes.into())?;
        Ok(Self { id: id(&table), table, kernel: Kernel::detect() })
    }

    /// The same with another kernel, for comparisons.
    #[must_use]
    pub fn with_kernel(self, kernel: Kernel) -> Self {
        Self { kernel, ..self }
    }

    /// What the table states about itself, its licence among it.
    pub fn facts(&self) -> &TableFacts {
        &self.table.facts
    }

    /// Replaces the content of `ids` with the ids of the tokens that are read, without special tokens such as `[CLS]`.
    pub fn tokenize(&self, text: &str, ids: &mut Vec<u32>) -> Reading {
        let (parts, truncated) = parts(text);
        self.kernel.dispatch(Tokenize { table: &self.table, parts, ids });
        self.reading(ids, truncated)
    }

    /// A token by its id; `##` begins one that continues a word.
    pub fn token(&self, id: u32) -> Option<&str> {
        self.table.token(id)
    }

    fn reading(&self, ids: &[u32], truncated: bool) -> Reading {
        let unknown = ids.iter().filter(|id| **id == self.table.tokenizer.unknown).count();
        Reading { tokens: ids.len(), unknown, truncated }
    }
}

impl Default for StaticEmbedder {
    fn default() -> Self {
        Self::new()
    }
}

impl Embedder for StaticEmbedder {
    fn id(&self) -> &EmbedderId {
        &self.id
    }

    fn dimensions(&self) -> usize {
        self.table.dimensions
    }

    fn embed_into(&self, text: &str, out: &mut Vec<f32>) -> Result<Reading, EmbedError> {
        let (parts, truncated) = parts(text);
        SCRATCH.with_borrow_mut(|scratch| {
            let norm = self.kernel.dispatch(Embed { table: &self.table, parts, scratch, out });
            if norm > 0.0 {
                return Ok(self.reading(&scratch.ids, truncated));
            }
            out.clear();
            Err(match scratch.ids.len() {
                0 => EmbedError::NoTokens { bytes: text.len() },
                tokens => EmbedError::ZeroNorm { tokens },
            })
        })
    }
}

/// The hash of all that determines the vectors of a table.
fn id(table: &Table) -> EmbedderId {
    let scales: Vec<u8> = table.scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
    let (limit, rows) = (MAX_BYTES.to_string(), cast_slice(table.rows()));
    EmbedderId::of([METHOD, limit.as_bytes(), CHARACTERS.as_bytes(), table.vocabulary(), &scales, rows])
}

struct Tokenize<'a> {
    table: &'a Table,
    parts: [&'a str; 2],
    ids: &'a mut Vec<u32>,
}

impl Work for Tokenize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Instructions>(self, instructions: I) {
        self.ids.clear();
        for part in self.parts {
            self.table.tokenizer.tokenize(instructions, part, self.ids);
        }
    }
}

struct Embed<'a> {
    table: &'a Table,
    parts: [&'a str; 2],
    scratch: &'a mut Scratch,
    out: &'a mut Vec<f32>,
}

impl Work for Embed<'_> {
    /// The norm before the vector had length 1; 0 where there is no vector.
    type Output = f32;

    #[inline(always)]
    fn run<I: Instructions>(self, instructions: I) -> f32 {
        let Self { table, parts, scratch: Scratch { ids, pairs }, out } = self;
        Tokenize { table, parts, ids }.run(instructions);
        out.clear();
        out.resize(table.dimensions, 0.0);
        // The sums have as many bits as the vector that they become.
        combine(instructions, table, ids, pairs, cast_slice_mut(out));
        for x in out.iter_mut() {
            *x = x.to_bits().cast_signed() as f32;
        }
        let norm = norm(out);
        let factor = norm.recip();
        for x in out {
            *x *= factor;
        }
        norm
    }
}

/// Combines the rows of a text's tokens: their sum, each row by its scale.
///
/// A scale becomes an integer in units of the largest one of the text. With 15 bits that is far more precise than a row's
/// element of 8 bits, and sums are exact.
#[inline(always)]
fn combine<I: Instructions>(
    instructions: I,
    table: &Table,
    ids: &[u32],
    pairs: &mut Vec<Pair>,
    sums: &mut [i32],
) {
    let scale = |id: u32| table.scales[id as usize];
    // Bits of floats that are not negative have their order.
    let largest = f32::from_bits(ids.iter().fold(0, |largest, id| scale(*id).to_bits().max(largest)));
    if largest == 0.0 {
        return;
    }
    // No sum leaves i32's range.
    let units = (i32::MAX / 128 / ids.len() as i32).min(i16::MAX.into()) as f32;
    let factor = units / largest;
    // Added to 2^23, a smaller number is rounded to an integer, which is in the lower bits.
    let weight = |id: u32| (scale(id) * factor + (1 << 23) as f32).to_bits() as i16;
    pairs.clear();
    pairs.reserve(ids.len().div_ceil(2));
    let (twos, last) = ids.as_chunks();
    for &[a, b] in twos {
        pairs.push(Pair { rows: [a, b], weights: [weight(a), weight(b)] });
    }
    for &id in last {
        pairs.push(Pair { rows: [id; 2], weights: [weight(id), 0] });
    }
    instructions.add(pairs, table.rows(), sums);
}

/// The norm, with the same partial sums for all kernels.
#[inline(always)]
fn norm(vector: &[f32]) -> f32 {
    let mut sums = [0.0; SUMS];
    let (chunks, rest) = vector.as_chunks::<SUMS>();
    for chunk in chunks {
        for i in 0..SUMS {
            sums[i] += chunk[i] * chunk[i];
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum += x * x;
    }
    let mut half = SUMS;
    while half > 1 {
        half /= 2;
        for i in 0..half {
            sums[i] += sums[i + half];
        }
    }
    sums[0].sqrt()
}

#[cfg(test)]
mod tests;
