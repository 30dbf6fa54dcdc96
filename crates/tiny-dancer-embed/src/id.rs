//! The identity of an embedder, so that vectors of two embedders never meet.

use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// A SHA-256 of all that determines an embedder's vectors. As text it has 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EmbedderId([u8; 32]);

impl EmbedderId {
    /// The hash of parts, such as a name, a version and weights. Each part is hashed with its length, so that a byte can't move
    /// from one part to the next.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// Checks that vectors of another embedder are comparable with those of this one.
    ///
    /// # Errors
    ///
    /// [`EmbedderMismatch`] where the two differ.
    pub fn check(&self, other: &Self) -> Result<(), EmbedderMismatch> {
        if self == other { Ok(()) } else { Err(EmbedderMismatch { expected: *self, actual: *other }) }
    }
}

impl fmt::Display for EmbedderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for EmbedderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EmbedderId({self})")
    }
}

impl FromStr for EmbedderId {
    type Err = InvalidEmbedderId;

    fn from_str(text: &str) -> Result<Self, InvalidEmbedderId> {
        let invalid = || InvalidEmbedderId { text: text.to_owned() };
        let mut id = [0; 32];
        // No sign is accepted, as `from_str_radix` would.
        if text.len() != 2 * id.len() || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(invalid());
        }
        for (i, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| invalid())?;
        }
        Ok(Self(id))
    }
}

/// A text is not the id of an embedder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an embedder's id, which has 64 hexadecimal digits")]
#[non_exhaustive]
pub struct InvalidEmbedderId {
    /// The text.
    pub text: String,
}

/// Vectors of two embedders meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("vectors are from the embedder {actual}, expected {expected}")]
#[non_exhaustive]
pub struct EmbedderMismatch {
    /// The embedder of the vectors that are there.
    pub expected: EmbedderId,
    /// The embedder of the others.
    pub actual: EmbedderId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_an_id_is_read_back_and_other_text_is_refused() {
        let id = EmbedderId::of([&b"a"[..]]);
        let text = id.to_string();
        // sha256 of 01 00 00 00 00 00 00 00 61
        assert_eq!(text, "ae6121c88ba555f64c3d812123eb799d128015541f850c5e9bf1d54c08ad8481");
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(text.to_uppercase().parse(), Ok(id));
        let signed = format!("+1{}", &text[2..]);
        for wrong in ["", "ab", &text[1..], &format!("{text}0"), &text.replace('0', "g"), &signed] {
            let error = wrong.parse::<EmbedderId>().unwrap_err();
            assert_eq!(error.text, wrong);
        }
    }

    #[test]
    fn a_byte_that_moves_to_the_next_part_makes_another_id() {
        let ids =
            [["ab", "c"], ["a", "bc"], ["abc", ""]].map(|parts| EmbedderId::of(parts.map(str::as_bytes)));
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
    }

    #[test]
    fn a_mismatch_names_both() {
        let [a, b] = ["a", "b"].map(|part| EmbedderId::of([part.as_bytes()]));
        assert_eq!(a.check(&a), Ok(()));
        let error = a.check(&b).unwrap_err();
        assert_eq!((error.expected, error.actual), (a, b));
        assert_eq!(error.to_string(), format!("vectors are from the embedder {b}, expected {a}"));
    }
}
