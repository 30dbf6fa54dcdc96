use super::*;
use crate::past::{Past, PastError};
use crate::rows::Dataset;
use std::cell::RefCell;
use tempfile::TempDir;

const ROWS: &str = r#"{"id": "a", "lightweight_correct": 1, "prompt": "aaabbbb", "split": "train"}
{"id": "b", "lightweight_correct": 0, "prompt": "bb", "split": "cal"}
{"id": "c", "lightweight_correct": 0, "prompt": "a", "split": "train"}
"#;

pub(crate) fn two_by_two(values: [f32; 4]) -> Vec<u8> {
    tensors(TENSOR, Dtype::F32, &[2, 2], &values.map(f32::to_le_bytes).concat())
}

fn tensors(name: &str, dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Vec<u8> {
    let view = TensorView::new(dtype, shape.to_vec(), bytes).unwrap();
    safetensors::serialize([(name, view)], None).unwrap()
}

/// The vector of a text: how many a and b are in it. It refuses other letters, and "x" gives three elements.
fn letters(text: &str, vector: &mut Vec<f32>) -> Result<(), Box<dyn Error + Send + Sync>> {
    vector.clear();
    if text == "x" {
        vector.extend([1.0; 3]);
        return Ok(());
    }
    let count = |letter| text.chars().filter(|&c| c == letter).count() as f32;
    vector.extend([count('a'), count('b')]);
    if text.contains('?') { Err("a question".into()) } else { Ok(()) }
}

const LETTERS: Vectors<'static> = Vectors::Prompts { embedder: "letters", embed: &letters };

/// Reads rows of this text by their prompts.
fn read_prompts(text: &str) -> Result<Dataset, ReadError> {
    let folder = TempDir::new().unwrap();
    let rows = folder.path().join("rows.jsonl");
    std::fs::write(&rows, text).unwrap();
    Dataset::read(&rows, LETTERS)
}

/// Reads two rows with the embeddings of this file, which are of the embedder `claimed`.
fn read_file(bytes: &[u8], claimed: Option<&str>) -> Result<Dataset, ReadError> {
    let folder = TempDir::new().unwrap();
    let (rows, path) = (folder.path().join("rows.jsonl"), folder.path().join("e.safetensors"));
    std::fs::write(&rows, ROWS.lines().take(2).collect::<Vec<_>>().join("\n")).unwrap();
    std::fs::write(&path, bytes).unwrap();
    Dataset::read(&rows, Vectors::File { path: &path, embedder: claimed })
}

#[test]
fn prompts_become_vectors_of_length_1_in_the_order_of_the_rows() {
    let data = read_prompts(ROWS).unwrap();
    assert_eq!(data.embeddings, ndarray::array![[0.6, 0.8], [0.0, 1.0], [1.0, 0.0]]);
    assert_eq!(data.embedder.as_deref(), Some("letters"));
    assert_eq!(data.unread, [] as [&str; 0]);
    // Only the rows' file is a source.
    assert!(data.provenance.starts_with("rows.jsonl sha256:") && !data.provenance.contains(','));
}

#[test]
fn a_memory_embeds_only_the_rows_that_it_keeps() {
    let folder = TempDir::new().unwrap();
    let rows = folder.path().join("rows.jsonl");
    std::fs::write(&rows, ROWS).unwrap();
    let seen = RefCell::new(vec![]);
    let embed = |text: &str, vector: &mut Vec<f32>| {
        seen.borrow_mut().push(text.to_owned());
        letters(text, vector)
    };
    let vectors = Vectors::Prompts { embedder: "letters", embed: &embed };
    let past = Past::read(&rows, vectors, "train").unwrap();
    assert_eq!(*seen.borrow(), ["aaabbbb", "a"]);
    assert_eq!(past.embeddings, ndarray::array![[0.6, 0.8], [1.0, 0.0]]);
    assert_eq!(past.embedder.as_deref(), Some("letters"));
    assert_eq!(Past::memory(&read_prompts(ROWS).unwrap()).candidates(), past.candidates());
    let error = Past::read(&rows, LETTERS, "test").unwrap_err();
    assert!(matches!(error, PastError::Empty { rows: 3, .. }), "{error}");
}

#[test]
fn a_prompt_without_a_vector_is_refused_with_its_line_and_id() {
    for (good, bad, expected) in [
        (", \"prompt\": \"bb\"", "", "prompt is missing, expected text, since no file has the embeddings"),
        ("\"bb\"", "null", "prompt is missing, expected text, since no file has the embeddings"),
        ("\"bb\"", "\"\"", "prompt is empty"),
        ("\"bb\"", "\" \\n\"", "prompt is empty"),
        ("\"bb\"", "\"b?\"", "the prompt can't be embedded: a question"),
        ("\"bb\"", "\"cc\"", "the prompt's vector has norm 0"),
        ("\"bb\"", "\"x\"", "the prompt's vector has 3 dimensions, expected 2"),
    ] {
        let error = read_prompts(&ROWS.replace(good, bad)).unwrap_err().to_string();
        assert!(error.ends_with(&format!("rows.jsonl: line 2: id \"b\": {expected}")), "{error}");
    }
    // Half of a surrogate pair is no text.
    let error = read_prompts(&ROWS.replace("\"bb\"", "\"\\ud800\"")).unwrap_err().to_string();
    assert!(error.contains("line 2: not a JSON object: "), "{error}");
}

#[test]
fn a_row_of_another_split_needs_a_prompt_too() {
    let folder = TempDir::new().unwrap();
    let rows = folder.path().join("rows.jsonl");
    std::fs::write(&rows, ROWS.replace(", \"prompt\": \"bb\"", "")).unwrap();
    let error = Past::read(&rows, LETTERS, "train").unwrap_err().to_string();
    assert!(error.contains("line 2: id \"b\": prompt is missing"), "{error}");
}

#[test]
fn the_error_of_a_prompt_that_is_no_text_does_not_show_it() {
    for (value, kind) in
        [("[\"secret\"]", "a list"), ("{\"secret\": 1}", "an object"), ("7654321", "a number")]
    {
        let text = ROWS.replace("\"bb\"", value);
        for error in [read_prompts(&text).unwrap_err(), {
            let folder = TempDir::new().unwrap();
            let rows = folder.path().join("rows.jsonl");
            std::fs::write(&rows, &text).unwrap();
            Dataset::read(&rows, Path::new("nowhere")).unwrap_err()
        }] {
            let error = error.to_string();
            assert!(error.contains(&format!("line 2: prompt is {kind}")), "{error}");
            assert!(!error.contains("secret") && !error.contains("7654321"), "{error}");
        }
    }
}

#[test]
fn a_file_of_embeddings_makes_prompts_unnecessary() {
    let data = read_file(&two_by_two([3.0, 4.0, 0.0, 2.0]), None).unwrap();
    assert_eq!(data.embeddings, ndarray::array![[0.6, 0.8], [0.0, 1.0]]);
    assert_eq!(data.embedder, None);
    assert!(data.provenance.contains(", e.safetensors sha256:"), "{}", data.provenance);
}

#[test]
fn f16_embeddings_are_read() {
    let bytes: Vec<u8> =
        [3.0, 4.0, 0.0, 2.0].iter().flat_map(|&x| half::f16::from_f32(x).to_le_bytes()).collect();
    let data = read_file(&tensors(TENSOR, Dtype::F16, &[2, 2], &bytes), None).unwrap();
    assert_eq!(data.embeddings.row(0).to_vec(), [0.6, 0.8]);
}

#[test]
fn written_embeddings_are_read_again_with_the_id_of_their_embedder() {
    let embeddings = ndarray::array![[1.0_f32, 0.0], [0.0, -1.0]];
    for (named, claimed, expected) in [
        (None, None, None),
        (Some("mine"), None, Some("mine")),
        (None, Some("mine"), Some("mine")),
        (Some("mine"), Some("mine"), Some("mine")),
    ] {
        let data = read_file(&embeddings_to_bytes(&embeddings, named), claimed).unwrap();
        assert_eq!(data.embeddings, embeddings);
        assert_eq!(data.embedder.as_deref(), expected);
    }
    let error = read_file(&embeddings_to_bytes(&embeddings, Some("yours")), Some("mine")).unwrap_err();
    let text = error.to_string();
    assert!(text.ends_with("e.safetensors: its vectors are of embedder yours, expected mine"), "{text}");
}

#[cfg(unix)]
#[test]
fn embeddings_that_are_a_device_are_refused() {
    let error = File::read(Path::new("/dev/zero")).err().unwrap();
    assert!(matches!(error, ReadError::NotRegular { .. }), "{error}");
}

#[test]
fn a_truncated_safetensors_file_is_refused() {
    let bytes = two_by_two([1.0; 4]);
    let error = read_file(&bytes[..bytes.len() - 1], None).unwrap_err();
    assert!(matches!(error, ReadError::Corrupt { .. }), "{error}");
}

#[test]
fn another_tensor_name_is_refused() {
    let error = read_file(&tensors("vectors", Dtype::F32, &[2, 2], &[0; 16]), None).unwrap_err();
    assert!(matches!(error, ReadError::MissingTensor { .. }), "{error}");
}

#[test]
fn another_shape_or_type_is_refused() {
    for (dtype, shape) in [(Dtype::F32, &[4][..]), (Dtype::I32, &[2, 2])] {
        let error = read_file(&tensors(TENSOR, dtype, shape, &[0; 16]), None).unwrap_err();
        assert!(matches!(&error, ReadError::Shape { shape: actual, .. } if actual == shape), "{error}");
    }
}

#[test]
fn the_error_of_an_embedding_without_direction_has_its_row() {
    for bad in [0.0, f32::NAN, f32::INFINITY] {
        let error = read_file(&two_by_two([1.0, 0.0, bad, 0.0]), None).unwrap_err();
        assert!(matches!(error, ReadError::Norm { row: 1, .. }), "{error}");
    }
}
