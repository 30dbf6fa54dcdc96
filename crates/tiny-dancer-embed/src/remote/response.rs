//! The body of an answer.

use crate::error::{EmbedError, ResponseFlaw};
use crate::length::normalize;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// The most bytes of a number in JSON, with what separates it from the next.
const MAX_NUMBER: u64 = 32;
/// The most bytes of all else.
const MAX_REST: u64 = 64 << 10;
/// The longest code of an error.
const MAX_CODE: usize = 64;

/// The most bytes of the answer to this many texts.
pub(super) fn max_bytes(texts: usize, dimensions: usize) -> u64 {
    (texts as u64).saturating_mul(dimensions as u64).saturating_mul(MAX_NUMBER).saturating_add(MAX_REST)
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Row>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Row {
    /// The place of its text. Without it the rows are in order.
    index: Option<usize>,
    embedding: Elements,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Elements {
    Numbers(Vec<f32>),
    /// Little-endian floats.
    Base64(String),
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: usize,
}

/// The vectors in the order of the texts, at length 1, and the number of tokens, 0 if it is not stated.
pub(super) fn vectors(body: &[u8], texts: usize, dimensions: usize) -> Result<(Vec<f32>, usize), EmbedError> {
    let flawed = |flaw| EmbedError::InvalidResponse { flaw };
    // The message of serde would repeat content.
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| flawed(ResponseFlaw::Json { line: error.line(), column: error.column() }))?;
    if answer.data.len() != texts {
        return Err(flawed(ResponseFlaw::Count { expected: texts, actual: answer.data.len() }));
    }
    let tokens = answer.usage.map_or(0, |usage| usage.prompt_tokens);
    let mut vectors = vec![0.0; texts * dimensions];
    let mut is_filled = vec![false; texts];
    for (place, row) in answer.data.into_iter().enumerate() {
        let index = row.index.unwrap_or(place);
        if is_filled.get(index) != Some(&false) {
            return Err(flawed(ResponseFlaw::Index { index, count: texts }));
        }
        is_filled[index] = true;
        let elements = match row.embedding {
            Elements::Numbers(elements) => elements,
            Elements::Base64(text) => floats(&text).ok_or_else(|| flawed(ResponseFlaw::Base64 { index }))?,
        };
        if elements.len() != dimensions {
            return Err(EmbedError::DimensionMismatch { expected: dimensions, actual: elements.len() });
        }
        let vector = &mut vectors[index * dimensions..][..dimensions];
        vector.copy_from_slice(&elements);
        normalize(vector, tokens)?;
    }
    Ok((vectors, tokens))
}

fn floats(text: &str) -> Option<Vec<f32>> {
    let bytes = STANDARD.decode(text).ok()?;
    let (floats, rest) = bytes.as_chunks();
    rest.is_empty().then(|| floats.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

/// The code of an error, or else its type: a short identifier. The message is left out, since it can quote text or key.
pub(super) fn error_code(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let code = ["code", "type"].into_iter().find_map(|field| body["error"][field].as_str())?;
    let is_identifier =
        code.len() <= MAX_CODE && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    is_identifier.then(|| code.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::EmbedErrorKind;
    use serde_json::{Value, json};

    fn read(body: &Value, texts: usize) -> Result<Vec<f32>, EmbedError> {
        vectors(body.to_string().as_bytes(), texts, 2).map(|(vectors, _)| vectors)
    }

    fn flaw(body: &Value, texts: usize) -> ResponseFlaw {
        match read(body, texts) {
            Err(EmbedError::InvalidResponse { flaw }) => flaw,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rows_are_placed_by_their_index_and_have_length_1() {
        let rows = [json!({"index": 1, "embedding": [0, 2.5]}), json!({"index": 0, "embedding": [3, -4]})];
        let body = json!({"object": "list", "data": rows, "usage": {"prompt_tokens": 7, "total_tokens": 7}});
        let expected = vec![0.6, -0.8, 0.0, 1.0];
        assert_eq!(vectors(body.to_string().as_bytes(), 2, 2), Ok((expected, 7)));
    }

    #[test]
    fn rows_without_index_are_in_order_and_usage_may_be_missing() {
        let body = json!({"data": [{"embedding": [1, 0]}, {"embedding": [0, 1]}]});
        assert_eq!(vectors(body.to_string().as_bytes(), 2, 2), Ok((vec![1.0, 0.0, 0.0, 1.0], 0)));
    }

    #[test]
    fn base64_has_the_same_floats() {
        // 3.0 and -4.0 in Python: base64.b64encode(struct.pack("<2f", 3, -4))
        assert_eq!(read(&json!({"data": [{"embedding": "AABAQAAAgMA="}]}), 1), Ok(vec![0.6, -0.8]));
        for wrong in ["AABAQAAAgM", "AABAQAAA", "?", "AABAQAAAgMA"] {
            let body = json!({"data": [{"index": 0, "embedding": wrong}]});
            assert!(matches!(read(&body, 1), Err(EmbedError::InvalidResponse { .. })), "{wrong}");
        }
    }

    #[test]
    fn wrong_shapes_are_errors_with_their_values() {
        let row = |index: usize| json!({"index": index, "embedding": [1, 2]});
        assert_eq!(flaw(&json!({"data": [row(0)]}), 2), ResponseFlaw::Count { expected: 2, actual: 1 });
        assert_eq!(flaw(&json!({"data": []}), 1), ResponseFlaw::Count { expected: 1, actual: 0 });
        assert_eq!(flaw(&json!({"data": [row(0), row(0)]}), 2), ResponseFlaw::Index { index: 0, count: 2 });
        assert_eq!(flaw(&json!({"data": [row(0), row(2)]}), 2), ResponseFlaw::Index { index: 2, count: 2 });
        for body in [json!([]), json!({"data": null}), json!({"data": [{"embedding": [1, "2"]}]})] {
            assert!(matches!(flaw(&body, 1), ResponseFlaw::Json { line: 1, .. }), "{body}");
        }
        let body = json!({"data": [{"embedding": [1, 2, 3]}]});
        assert_eq!(read(&body, 1), Err(EmbedError::DimensionMismatch { expected: 2, actual: 3 }));
    }

    #[test]
    fn elements_that_are_not_finite_are_refused() {
        let body = json!({"data": [{"embedding": [1, 1e39]}]});
        assert_eq!(read(&body, 1), Err(EmbedError::NonFinite { element: 1, value: f32::INFINITY }));
        assert_eq!(
            read(&json!({"data": [{"embedding": [0, 0]}]}), 1).unwrap_err().kind(),
            EmbedErrorKind::ZeroNorm
        );
        // As Python writes it; no JSON.
        let body = br#"{"data": [{"embedding": [NaN, 1.0]}]}"#;
        assert_eq!(vectors(body, 1, 2).unwrap_err().kind(), EmbedErrorKind::InvalidResponse);
    }

    #[test]
    fn the_code_of_an_error_is_kept_and_its_message_is_not() {
        let code = |error: Value| error_code(json!({ "error": error }).to_string().as_bytes());
        let openai = json!({"message": "Incorrect API key: sk-1", "type": "invalid_request_error", "code": "invalid_api_key"});
        assert_eq!(code(openai).as_deref(), Some("invalid_api_key"));
        assert_eq!(code(json!({"type": "overloaded", "code": null})).as_deref(), Some("overloaded"));
        for other in [
            json!("model not found"),
            json!({"code": 400}),
            json!({"code": "sk-1"}),
            json!({"code": "a".repeat(65)}),
        ] {
            assert_eq!(code(other), None);
        }
        assert_eq!(error_code(b"<html>"), None);
    }
}
