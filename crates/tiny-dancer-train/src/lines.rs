//! JSON lines, plain or zstd, each parsed and numbered, with limits on their length and number.

use crate::error::ReadError;
use crate::fields::{FieldError, Fields};

use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// The maximum length of a line, in bytes. A row has a few hundred bytes, with its prompt some thousand, with an
/// embedding some ten thousand.
pub const MAX_LINE_BYTES: usize = 16 << 20;
/// The maximum number of rows in a file. The embeddings of so many rows take some gigabytes.
pub const MAX_ROWS: usize = 4_000_000;
/// The maximum number of unread keys that are reported.
const MAX_UNREAD: usize = 8;

/// The facts about a whole file.
#[derive(Debug)]
#[non_exhaustive]
pub struct Whole {
    /// The first twelve hexadecimal digits of the SHA-256 of its bytes.
    pub digest: String,
    /// The first few unknown keys, sorted.
    pub unread: Vec<String>,
}

/// Appends the next line with its end to `line`, but at most [`MAX_LINE_BYTES`] + 1 bytes. A result of that length
/// means that the line is too long.
///
/// # Errors
/// The reader fails.
pub fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    reader.by_ref().take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', line)
}

/// Reads a file of JSON lines with the keys `known` and calls `take` for each line. A name that ends in `.zst` means
/// zstd.
///
/// A file is read once, from its beginning to its end, so it may be a pipe.
///
/// # Errors
/// The file cannot be read, a line is not a JSON object or is too long, there are too many lines, or `take` returns an error.
pub fn read(
    path: &Path,
    known: &[&'static str],
    take: impl FnMut(Fields) -> Result<(), FieldError>,
) -> Result<Whole, ReadError> {
    read_at_most(MAX_ROWS, path, known, take)
}

fn read_at_most(
    limit: usize,
    path: &Path,
    known: &[&'static str],
    mut take: impl FnMut(Fields) -> Result<(), FieldError>,
) -> Result<Whole, ReadError> {
    let io = |source| ReadError::Io { path: path.to_owned(), source };
    let mut file = BufReader::new(Hashing { inner: File::open(path).map_err(io)?, hash: Sha256::new() });
    let mut reader: Box<dyn BufRead> = if path.extension().is_some_and(|extension| extension == "zst") {
        Box::new(BufReader::new(zstd::Decoder::with_buffer(&mut file).map_err(io)?))
    } else {
        Box::new(&mut file)
    };
    let (mut line, mut number, mut unread) = (vec![], 0, BTreeSet::new());
    while read_line(&mut reader, &mut line).map_err(io)? > 0 {
        number += 1;
        if line.len() > MAX_LINE_BYTES {
            return Err(ReadError::LongLine { path: path.to_owned(), line: number, limit: MAX_LINE_BYTES });
        }
        if number > limit {
            return Err(ReadError::ManyRows { path: path.to_owned(), limit });
        }
        let taken = Fields::parse(&line, known).and_then(|fields| {
            for key in fields.unread() {
                if unread.len() < MAX_UNREAD && !unread.contains(key) {
                    unread.insert(key.clone());
                }
            }
            take(fields)
        });
        taken.map_err(|source| ReadError::Line { path: path.to_owned(), line: number, source })?;
        line.clear();
    }
    drop(reader);
    let digest = file.into_inner().hash.finalize();
    let digest = first_bits(&digest) >> 16;
    Ok(Whole { digest: format!("{digest:012x}"), unread: unread.into_iter().collect() })
}

/// The first 64 bits of a digest.
pub(crate) fn first_bits(digest: &[u8]) -> u64 {
    digest.iter().take(8).fold(0, |bits, &byte| bits << 8 | u64::from(byte))
}

/// A reader that hashes what it reads.
struct Hashing<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
