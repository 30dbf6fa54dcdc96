use super::*;
use crate::error::EmbedErrorKind;

/// The length of a text, and an error for an empty one.
struct Length(EmbedderId);

impl Embedder for Length {
    fn id(&self) -> &EmbedderId {
        &self.0
    }

    fn dimensions(&self) -> usize {
        2
    }

    fn embed_into(&self, text: &str, out: &mut Vec<f32>) -> Result<Reading, EmbedError> {
        out.clear();
        if text.is_empty() {
            return Err(EmbedError::NoTokens { bytes: 0 });
        }
        out.extend([text.len() as f32, 1.0]);
        Ok(Reading::new(text.len()))
    }
}

#[test]
fn a_batch_has_a_row_and_a_reading_for_each_text() {
    let embedder: Arc<dyn Embedder> = Arc::new(Length(EmbedderId::of([])));
    let mut vectors = vec![9.0];
    let readings = embedder.embed_batch(&["abc", "d"], &mut vectors).unwrap();
    assert_eq!(vectors, [3.0, 1.0, 1.0, 1.0]);
    assert_eq!(readings, [Reading::new(3), Reading::new(1)]);
    assert!(embedder.embed_batch(&[], &mut vectors).unwrap().is_empty());
    assert!(vectors.is_empty());
}

#[test]
fn a_batch_names_the_text_that_failed_and_leaves_no_rows() {
    let mut vectors = vec![9.0];
    let error = Length(EmbedderId::of([])).embed_batch(&["abc", "", "d", ""], &mut vectors).unwrap_err();
    assert_eq!((error.text, error.source.kind()), (Some(1), EmbedErrorKind::NoTokens));
    assert!(vectors.is_empty());
}

#[test]
fn a_pointer_to_an_embedder_is_one() {
    fn check(embedder: impl Embedder, id: EmbedderId) {
        let mut vector = Vec::new();
        assert_eq!((*embedder.id(), embedder.dimensions()), (id, 2));
        assert_eq!(embedder.embed_into("ab", &mut vector), Ok(Reading::new(2)));
        assert_eq!(vector, [2.0, 1.0]);
    }
    let id = EmbedderId::of([&b"length"[..]]);
    let embedder = &Length(id);
    check(embedder, id);
    check(Box::new(Length(id)), id);
    check(Arc::new(Length(id)) as Arc<dyn Embedder>, id);
}
