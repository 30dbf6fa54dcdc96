use super::*;
use crate::vectors::tests::two_by_two;
use std::io::Write;
use std::path::PathBuf;
use tempfile::TempDir;

const GOOD: &str = r#"{"id": "a", "subject": "law", "split": "test", "lightweight_correct": 1, "powerful_correct": 0, "more": 3}
{"id": "b", "lightweight_correct": 0.5}
"#;

fn file(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Reads rows of this text with two good embeddings.
fn read_text(text: &str) -> Result<Dataset, ReadError> {
    let folder = TempDir::new().unwrap();
    let rows = file(&folder, "rows.jsonl", text.as_bytes());
    Dataset::read(&rows, &file(&folder, "e.safetensors", &two_by_two([3.0, 4.0, 0.0, 2.0])))
}

#[test]
fn rows_and_embeddings_are_read() {
    let data = read_text(GOOD).unwrap();
    let [a, b] = &data.rows[..] else { panic!("two rows") };
    assert_eq!((a.id.as_str(), a.subject.as_deref(), a.part), ("a", Some("law"), Part::Test));
    assert_eq!((a.lightweight, a.powerful), (1.0, 0.0));
    assert_eq!((b.subject.as_deref(), b.lightweight), (None, 0.5));
    assert_eq!(data.embeddings.row(0).to_vec(), [0.6, 0.8]);
    assert_eq!((data.split_by_hash, data.without_powerful), (1, 1));
}

#[test]
fn a_missing_powerful_outcome_counts_as_correct() {
    let data = read_text(GOOD).unwrap();
    assert_eq!(data.rows[1].powerful, 1.0);
    assert!(!data.rows[1].suffices());
}

#[test]
fn compressed_rows_are_the_same_rows() {
    let folder = TempDir::new().unwrap();
    let mut encoder = zstd::Encoder::new(vec![], 1).unwrap();
    encoder.write_all(GOOD.as_bytes()).unwrap();
    let rows = file(&folder, "rows.jsonl.zst", &encoder.finish().unwrap());
    let embeddings = file(&folder, "e.safetensors", &two_by_two([1.0; 4]));
    assert_eq!(Dataset::read(&rows, &embeddings).unwrap().rows, read_text(GOOD).unwrap().rows);
}

#[test]
fn different_numbers_of_rows_and_embeddings_are_refused() {
    let one = GOOD.lines().next().unwrap();
    let error = read_text(one).unwrap_err();
    assert!(matches!(error, ReadError::RowCount { rows: 1, embeddings: 2 }), "{error}");
}

#[test]
fn provenance_has_file_names_and_hashes_but_no_folder() {
    let data = read_text(GOOD).unwrap();
    assert_eq!(data.provenance.split_once(' ').unwrap().0, "rows.jsonl",);
    assert!(!data.provenance.contains(std::path::MAIN_SEPARATOR));
}

#[test]
fn the_error_of_a_bad_line_has_its_number() {
    let error = read_text(&GOOD.replace("\"b\"", "b")).unwrap_err();
    assert!(matches!(error, ReadError::Line { line: 2, .. }), "{error}");
}

/// The error of good rows with one text replaced, without the name of the file.
fn refusal(good: &str, bad: &str) -> String {
    let error = read_text(&GOOD.replace(good, bad)).unwrap_err().to_string();
    error.split_once("rows.jsonl: ").expect("the error names the file").1.to_owned()
}

#[test]
fn an_error_has_the_line_the_field_its_value_and_the_expected_one() {
    for (good, bad, expected) in [
        ("0.5", "1.5", "line 2: lightweight_correct is 1.5, expected a number from 0 to 1, true or false"),
        (
            "1, \"powerful_correct\"",
            "\"yes\", \"powerful_correct\"",
            "line 1: lightweight_correct is \"yes\", expected a number from 0 to 1, true or false",
        ),
        ("\"b\"", "7", "line 2: id is 7, expected text"),
        ("\"b\"", "\"a\"", "line 2: id is \"a\", as in line 1"),
        ("\"test\"", "\"validation\"", "line 1: split is \"validation\", expected train, cal or test"),
        ("\"law\"", "[1]", "line 1: subject is [1], expected text"),
        (
            "lightweight_correct\": 0.5",
            "x\": 0",
            "line 2: lightweight_correct is missing, expected a number from 0 to 1, true or false",
        ),
        ("\"b\"", "b", "line 2: not a JSON object: expected value (column 8)"),
        (
            "{\"id\": \"b\"",
            "3 {",
            "line 2: not a JSON object: invalid type: integer `3`, expected an object (column 1)",
        ),
        ("\"b\"", "\"b\", \"id\": \"c\"", "line 2: not a JSON object: duplicate field `id` (column 21)"),
    ] {
        assert_eq!(refusal(good, bad), expected);
    }
}

#[test]
fn true_and_false_are_outcomes() {
    let data = read_text(&GOOD.replace("0.5", "true").replace("1, ", "false, ")).unwrap();
    assert_eq!((data.rows[0].lightweight, data.rows[1].lightweight), (0.0, 1.0));
}

#[test]
fn a_misspelt_key_is_refused_and_another_unknown_key_is_reported() {
    assert_eq!(
        refusal("powerful_correct", "powerful_corect"),
        "line 1: unknown key \"powerful_corect\", expected \"powerful_correct\""
    );
    assert_eq!(refusal("\"id\": \"b\"", "\"Id\": \"b\""), "line 2: unknown key \"Id\", expected \"id\"");
    assert_eq!(read_text(GOOD).unwrap().unread, ["more"]);
    // If the object has a known key, a similar one is not its misspelling.
    let both = GOOD.replace("\"more\"", "\"subjects\"");
    assert_eq!(read_text(&both).unwrap().unread, ["subjects"]);
}

#[test]
fn a_subject_is_read_at_the_top_and_within_the_metadata() {
    let within = GOOD.replace("\"subject\": \"law\"", "\"metadata\": {\"subject\": \"law\"}");
    assert_eq!(read_text(&within).unwrap().rows, read_text(GOOD).unwrap().rows);
    let other = "\"subject\": \"law\", \"metadata\": {\"subject\": \"art\"}";
    assert_eq!(
        refusal("\"subject\": \"law\"", other),
        "line 1: subject is \"law\", but metadata says \"art\""
    );
}

#[test]
fn the_error_of_a_row_that_is_not_utf8_has_its_number() {
    let folder = TempDir::new().unwrap();
    let text = GOOD.replace("\"b\"", "\"#\"").into_bytes();
    let text: Vec<u8> = text.into_iter().map(|byte| if byte == b'#' { 0xff } else { byte }).collect();
    let rows = file(&folder, "rows.jsonl", &text);
    let error = Dataset::read(&rows, &rows).unwrap_err().to_string();
    assert!(error.ends_with("line 2: not UTF-8 (byte 9)"), "{error}");
}

#[test]
fn a_missing_file_is_named() {
    let nowhere = Path::new("nowhere.jsonl");
    let error = Dataset::read(nowhere, nowhere).unwrap_err();
    assert!(matches!(&error, ReadError::Io { path, .. } if path == nowhere), "{error}");
}

#[test]
fn parts_are_drawn_in_their_shares() {
    let count = |split, of: Part| (0..10_000).filter(|i| part(&i.to_string(), split) == of).count();
    let near = |count: usize, expected: usize| count.abs_diff(expected) < 200;
    assert!(near(count(Some(Split::Train), Part::EarlyStopping), 1000));
    assert!(near(count(Some(Split::Cal), Part::Calibration), 5000));
    assert_eq!(count(Some(Split::Test), Part::Test), 10_000);
    assert!(near(count(None, Part::Fit), 6300));
    assert!(near(count(None, Part::EarlyStopping), 700));
    assert!(near(count(None, Part::Certification), 750));
}

#[test]
fn an_id_hash_is_the_beginning_of_the_sha256() {
    // printf abc | sha256sum
    assert_eq!(id_hash("abc"), 0xba78_16bf_8f01_cfea);
}

#[test]
fn the_label_and_the_win_rate_compare_scores() {
    let row = |lightweight, powerful| Row {
        id: String::new(),
        subject: None,
        part: Part::Fit,
        lightweight,
        powerful,
    };
    let all = [row(1.0, 0.0), row(0.7, 0.7), row(0.2, 0.3)];
    assert_eq!(all.each_ref().map(Row::suffices), [true, true, false]);
    assert_eq!(all.each_ref().map(Row::win_rate), [1.0, 0.5, 0.0]);
}

#[test]
fn every_key_is_documented() {
    let page = include_str!("../../../../docs/bring-your-own-logs.md");
    for key in KEYS {
        assert!(page.contains(&format!("| `{key}` |")), "{key}");
    }
    assert!(page.contains("at most 16 MiB, a file at most 4,000,000 lines"));
    assert_eq!((lines::MAX_LINE_BYTES, lines::MAX_ROWS), (16 << 20, 4_000_000));
}
