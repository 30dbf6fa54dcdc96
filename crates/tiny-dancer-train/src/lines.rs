//! JSON lines, plain or zstd, each parsed and numbered.

use crate::rows::ReadError;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Reads a file of JSON lines; zstd where its name ends in `.zst`.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, ReadError> {
    let io = |source| ReadError::Io { path: path.to_owned(), source };
    let file = BufReader::new(File::open(path).map_err(io)?);
    let reader: Box<dyn Read> = if path.extension().is_some_and(|extension| extension == "zst") {
        Box::new(zstd::Decoder::with_buffer(file).map_err(io)?)
    } else {
        Box::new(file)
    };
    let parse = |(index, text): (usize, std::io::Result<String>)| {
        serde_json::from_str(&text.map_err(io)?).map_err(|source| ReadError::Line {
            path: path.to_owned(),
            line: index + 1,
            source,
        })
    };
    BufReader::new(reader).lines().enumerate().map(parse).collect()
}
