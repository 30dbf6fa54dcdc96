use super::*;
use crate::vectors::embeddings_to_bytes;
use tempfile::TempDir;

/// Reads a file of this text with `embeddings` different embeddings.
fn read(text: &str, embeddings: usize, split: Option<&str>) -> Result<Matrix, ReadError> {
    let folder = TempDir::new().unwrap();
    let (rows, vectors) = (folder.path().join("rows.jsonl"), folder.path().join("e.safetensors"));
    std::fs::write(&rows, text).unwrap();
    let vector = |(i, j): (usize, usize)| if i == j { 1.0 } else { 0.0 };
    let bytes = embeddings_to_bytes(&Array2::from_shape_fn((embeddings, 4), vector), None);
    std::fs::write(&vectors, bytes).unwrap();
    Matrix::read(&rows, &vectors, split)
}

const ROWS: &str = r#"{"id": "a", "split": "train", "subject": "law", "scores": {"large": 1, "middle": 0.5, "small": false}}
{"id": "b", "split": "test", "lightweight_correct": 0.25, "powerful_correct": 0.75}
{"id": "c", "split": "test", "lightweight_correct": 0}
"#;

#[test]
fn a_line_has_scores_of_any_models_or_of_the_two_of_a_row() {
    let matrix = read(ROWS, 3, None).unwrap();
    let scores = |row: usize| -> Vec<(&str, f64)> {
        matrix.rows[row].by_model.iter().map(|(name, score)| (name.as_str(), *score)).collect()
    };
    assert_eq!(scores(0), [("large", 1.0), ("middle", 0.5), ("small", 0.0)]);
    assert_eq!(scores(1), [("lightweight", 0.25), ("powerful", 0.75)]);
    assert_eq!(scores(2), [("lightweight", 0.0), ("powerful", 1.0)]);
    assert_eq!(matrix.rows[0].subject.as_deref(), Some("law"));
    assert_eq!([0, 1, 2].map(|row| matrix.rows[row].mean()), [0.5, 0.5, 0.5]);
}

#[test]
fn the_rows_of_a_split_keep_their_own_vectors() {
    let matrix = read(ROWS, 3, Some("test")).unwrap();
    assert_eq!(matrix.rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["b", "c"]);
    assert_eq!(matrix.embeddings.row(0).to_vec(), [0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn a_bad_line_is_an_error_with_its_field_and_value() {
    for (line, expected) in [
        (r#"{"id": "a"}"#, "neither lightweight_correct nor scores is there"),
        (
            r#"{"id": "a", "lightweight_correct": 1, "scores": {"x": 1}}"#,
            "both lightweight_correct and scores are there, expected one of them",
        ),
        (r#"{"id": "a", "scores": [1]}"#, "scores is [1], expected an object of scores"),
        (r#"{"id": "a", "scores": {"x": 2}}"#, "scores.x is 2, expected a number from 0 to 1, true or false"),
    ] {
        let error = read(line, 1, None).unwrap_err().to_string();
        assert!(error.ends_with(expected), "{error}");
    }
    let twice = [ROWS, r#"{"id": "a", "scores": {}}"#].concat();
    let error = read(&twice, 4, None).unwrap_err().to_string();
    assert!(error.ends_with("line 4: id is \"a\", as in line 1"), "{error}");
}
