//! Base64, as far as reading a picture out of JSON takes: RFC 4648's first alphabet.

use anyhow::{Context, Result};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The bytes that a text stands for.
pub(super) fn decode(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut held) = (0_u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let six = ALPHABET.iter().position(|&other| other == letter);
        let six = six.with_context(|| format!("{:?} is no letter of base64", char::from(letter)))?;
        bits = bits << 6 | six as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn the_vectors_of_the_rfc_are_decoded() {
        let vectors = ["", "f", "fo", "foo", "foob", "fooba", "foobar"];
        let encoded = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (bytes, text) in vectors.iter().zip(encoded) {
            assert_eq!(decode(text).unwrap(), bytes.as_bytes());
        }
        assert_eq!(decode("+/8A").unwrap(), [0xfb, 0xff, 0x00]);
    }

    #[test]
    fn another_letter_is_an_error() {
        assert!(decode("Zm9v\nYg==").is_err());
    }
}
