use super::*;
use crate::vectors::embeddings_to_bytes;
use tempfile::TempDir;

/// Reads a file of this text with `embeddings` different embeddings.
fn read(text: &str, embeddings: usize, keep: &str) -> Result<Past, PastError> {
    let folder = TempDir::new().unwrap();
    let (rows, vectors) = (folder.path().join("rows.jsonl"), folder.path().join("e.safetensors"));
    std::fs::write(&rows, text).unwrap();
    let vector = |(i, j): (usize, usize)| if i == j { 1.0 } else { 0.0 };
    let bytes = embeddings_to_bytes(&Array2::from_shape_fn((embeddings, 4), vector), None);
    std::fs::write(&vectors, bytes).unwrap();
    Past::read(&rows, &vectors, keep)
}

#[test]
fn rows_and_profiles_become_candidates() {
    let past = read(
        r#"{"id": "tie", "split": "train", "subject": "law", "lightweight_correct": 1, "powerful_correct": 1}
{"id": "loss", "split": "train", "lightweight_correct": 0.5, "created_at": 7}
{"id": "many", "success_rate": 0.25, "win_rate": 0.125, "access_count": 30, "metadata": {"subject": "art"}}
"#,
        3,
        "train",
    )
    .unwrap();
    let candidates = past.candidates();
    let rates: Vec<_> = candidates.iter().map(|c| (c.success_rate, c.win_rate)).collect();
    assert_eq!(rates, [(1.0, 0.0), (0.0, 0.0), (0.25, 0.125)]);
    assert_eq!(candidates[0].metadata["subject"], "law");
    assert_eq!((candidates[0].created_at, candidates[1].created_at), (i64::MAX, 7));
    assert_eq!((candidates[0].access_count, candidates[2].access_count), (1, 30));
    assert_eq!(candidates[2].embedding, [0.0, 0.0, 1.0, 0.0]);
}

#[test]
fn only_the_named_split_is_read_and_it_may_have_any_name() {
    let text = r#"{"id": "a", "split": "train", "lightweight_correct": 1}
{"id": "b", "split": "kept back", "lightweight_correct": 1}
{"id": "c", "lightweight_correct": 1}
"#;
    let past = read(text, 3, "kept back").unwrap();
    assert_eq!(past.items.len(), 1);
    assert_eq!(past.items[0].id, "b");
    assert_eq!(past.embeddings.row(0).to_vec(), [0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn the_error_of_an_unknown_split_has_its_name() {
    let text = "{\"id\": \"b\", \"split\": \"validation\", \"lightweight_correct\": 1}\n";
    let error = read(text, 1, "test").unwrap_err().to_string();
    assert!(error.ends_with("line 1: split is \"validation\", expected train, cal or test"), "{error}");
    let error = read(&text.replace("validation", "cal"), 1, "test").unwrap_err().to_string();
    assert!(error.ends_with("none of its 1 rows is of the split test"), "{error}");
}

#[test]
fn rows_without_a_split_get_the_same_split_as_in_training() {
    let line = |i| format!("{{\"id\": \"row-{i}\", \"lightweight_correct\": 1}}");
    let text = (0..40).map(line).collect::<Vec<_>>().join("\n");
    let folder = TempDir::new().unwrap();
    let (rows, vectors) = (folder.path().join("rows.jsonl"), folder.path().join("e.safetensors"));
    std::fs::write(&rows, text).unwrap();
    std::fs::write(&vectors, embeddings_to_bytes(&Array2::eye(40), None)).unwrap();
    let data = Dataset::read(&rows, &vectors).unwrap();
    let ids = |accepts: &dyn Fn(Part) -> bool| -> Vec<String> {
        data.select(accepts).into_iter().map(|row| data.rows[row].id.clone()).collect()
    };
    let read = |split| -> Vec<String> {
        let past = Past::read(&rows, &vectors, split).unwrap();
        past.items.into_iter().map(|item| item.id).collect()
    };
    assert_eq!(read("train"), ids(&Part::is_train));
    assert_eq!(read("test"), ids(&|part| part == Part::Test));
    assert_eq!(read("cal"), ids(&|part| matches!(part, Part::Calibration | Part::Certification)));
    // The memory of a router in use has all rows without a split.
    assert_eq!(Past::remember(&rows, &vectors).unwrap().items.len(), 40);
}

#[test]
fn an_error_has_its_line_and_field() {
    let message = |text: &str| read(text, 1, "train").unwrap_err().to_string();
    assert!(
        message("{\"id\": \"a\"}\n")
            .ends_with("line 1: neither lightweight_correct nor success_rate is there")
    );
    assert!(message("{\"id\": \"a\", \"success_rate\": 2}\n").contains("line 1: success_rate is 2"));
    let old = message("{\"id\": \"a\", \"success_rate\": 0.5}\n");
    assert!(old.contains("line 1: win_rate is missing, expected a number from 0 to success_rate"), "{old}");
    let contradiction = message("{\"id\": \"a\", \"success_rate\": 0.5, \"win_rate\": 0.6}\n");
    assert!(
        contradiction.contains("line 1: win_rate is 0.6, expected at most success_rate"),
        "{contradiction}"
    );
    assert!(message("no\n").contains("line 1: not a JSON object"));
    let two = "{\"id\": \"a\", \"lightweight_correct\": 1}\n{\"id\": \"b\", \"lightweight_correct\": 1}\n";
    assert_eq!(message(two), "2 rows, but 1 embeddings");
}

#[test]
fn the_memory_of_a_dataset_equals_the_split_train_of_its_file() {
    let folder = TempDir::new().unwrap();
    let (rows, vectors) = (folder.path().join("rows.jsonl"), folder.path().join("e.safetensors"));
    let text = r#"{"id": "a", "split": "train", "subject": "law", "lightweight_correct": 0.5, "powerful_correct": 0}
{"id": "b", "split": "cal", "lightweight_correct": 1}
{"id": "c", "split": "train", "lightweight_correct": 1}
"#;
    std::fs::write(&rows, text).unwrap();
    std::fs::write(&vectors, embeddings_to_bytes(&Array2::eye(3), None)).unwrap();
    let memory = Past::memory(&Dataset::read(&rows, &vectors).unwrap());
    let read = Past::read(&rows, &vectors, "train").unwrap();
    assert_eq!(memory.candidates(), read.candidates());
    assert_eq!(memory.items.len(), 2);
}
