//! The text form in which a trace keeps the feature rows of a decision.
//!
//! Each candidate has five `f32` in the order of [`Feature::ALL`]; each number has eight hexadecimal digits.
//! The candidates follow one another. In an OTLP list of doubles, each number would be a message of its own,
//! with a length to compute at each level around it.
//!
//! ```
//! use tiny_dancer_tracing::rows;
//!
//! let read = vec![[0.7, 1.0, 0.1, 1.0, 0.0], [0.8, 1.0, 0.1, 1.0, 0.0]];
//! assert_eq!(rows::decode(&rows::encode(read.clone()))?, read);
//! # Ok::<(), rows::RowsError>(())
//! ```
//!
//! In Python: `numpy.frombuffer(bytes.fromhex(text), ">f4").reshape(-1, 5)`.

use crate::fields;
use const_hex::FromHexError;
use opentelemetry::trace::Event;
use opentelemetry::{Array, Value};
use tiny_dancer_core::Feature;

/// The features of one candidate.
type Row = [f32; Feature::COUNT];

/// The size of a row in bytes.
const BYTES: usize = size_of::<Row>();

/// Encodes rows as text.
pub fn encode(rows: impl IntoIterator<Item = Row>) -> String {
    let rows = rows.into_iter();
    let mut bytes = Vec::with_capacity(rows.size_hint().0 * BYTES);
    for row in rows {
        bytes.extend_from_slice(row.map(f32::to_be_bytes).as_flattened());
    }
    const_hex::encode(bytes)
}

/// Rows as a list of numbers. An event carries this list until [`write()`] turns it into text on the exporter's
/// thread.
pub(crate) fn numbers(rows: impl IntoIterator<Item = Row>) -> Value {
    let rows = rows.into_iter();
    let mut numbers = Vec::with_capacity(rows.size_hint().0 * Feature::COUNT);
    for row in rows {
        numbers.extend_from_slice(&row.map(f64::from));
    }
    Value::Array(Array::F64(numbers))
}

/// Turns the rows of all decisions among the events into text.
pub(crate) fn write(events: &mut [Event]) {
    let decisions = events.iter_mut().filter(|event| event.name == fields::ROUTING_DECISION.name);
    for attribute in decisions.flat_map(|event| &mut event.attributes) {
        if attribute.key.as_str() == fields::REPLAY_FEATURES
            && let Value::Array(Array::F64(numbers)) = &attribute.value
        {
            let (rows, _) = numbers.as_chunks::<{ Feature::COUNT }>();
            attribute.value = encode(rows.iter().map(|row| row.map(|it| it as f32))).into();
        }
    }
}

/// Decodes the rows of a text, exact to the last bit.
///
/// # Errors
///
/// A [`RowsError`] says why the text holds no rows.
pub fn decode(text: &str) -> Result<Vec<Row>, RowsError> {
    let bytes = const_hex::decode(text).map_err(|error| match error {
        FromHexError::InvalidHexCharacter { c, index } => RowsError::Digit { found: c, place: index },
        _ => RowsError::OddLength { digits: text.len() },
    })?;
    let (rows, rest) = bytes.as_chunks::<BYTES>();
    if !rest.is_empty() {
        return Err(RowsError::NotWhole { bytes: bytes.len() });
    }
    let row = |row: &[u8; BYTES]| {
        let (values, _) = row.as_chunks::<4>();
        std::array::from_fn(|feature| f32::from_be_bytes(values[feature]))
    };
    Ok(rows.iter().map(row).collect())
}

/// Why a text holds no rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowsError {
    /// A character that is not a hexadecimal digit.
    #[error("{found:?} at place {place} is not a hexadecimal digit")]
    Digit {
        /// The character.
        found: char,
        /// Its index, from 0.
        place: usize,
    },
    /// The text ends within a row.
    #[error("{bytes} bytes are not a whole number of rows of {BYTES}")]
    NotWhole {
        /// The number of bytes.
        bytes: usize,
    },
    /// An odd number of digits: a byte has two.
    #[error("{digits} hexadecimal digits, expected an even number")]
    OddLength {
        /// The number of digits.
        digits: usize,
    },
}

#[cfg(test)]
mod tests;
