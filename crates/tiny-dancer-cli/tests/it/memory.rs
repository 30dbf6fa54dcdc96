//! Import into a memory, export from it, and its upkeep.

use super::{Folder, run, stderr, stdout};
use serde_json::{Value, json};
use std::process::{Command, Output};

/// Requests of a log: some with a tenant, some without a verdict.
fn rows(n: usize) -> String {
    let row = |i: usize| {
        let mut row = json!({
            "id": format!("request {i}"),
            "prompt": format!("What is {i} times {i}?"),
            "created_at": 1_700_000_000 + i,
            "subject": "arithmetic",
        });
        if !i.is_multiple_of(3) {
            row["lightweight_correct"] = json!(i % 2);
        }
        if i % 3 > 1 {
            (row["powerful_correct"], row["tenant"], row["user"]) = (json!(0.7), json!("acme"), json!("ada"));
        }
        format!("{row}\n")
    };
    (0..n).map(row).collect()
}

fn program(folder: &Folder, arguments: &[&str], memory: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tiny-dancer"));
    command.args(arguments).arg("--memory").arg(folder.path(memory));
    run(&mut command)
}

fn import(folder: &Folder, rows: &str, memory: &str, arguments: &[&str]) -> Output {
    let path = folder.path(rows);
    let path = path.to_str().expect("temporary folders have a name in UTF-8");
    program(folder, &[&["import", "--rows", path], arguments].concat(), memory)
}

fn export(folder: &Folder, memory: &str) -> String {
    stdout(&program(folder, &["export"], memory))
}

/// The first column of figures of `memory stats`.
fn stats(folder: &Folder, memory: &str) -> Vec<(String, String)> {
    let text = stdout(&program(folder, &["memory", "stats"], memory));
    let widths: Vec<_> = text.lines().map(str::len).collect();
    assert!(widths[..6].iter().all(|width| *width == widths[0]), "{text}");
    let pair = |line: &str| {
        let (name, value) = line.rsplit_once("  ").expect("two columns");
        (name.trim().to_owned(), value.trim().to_owned())
    };
    text.lines().map(pair).collect()
}

fn figure(folder: &Folder, memory: &str, name: &str) -> String {
    let stats = stats(folder, memory);
    stats.into_iter().find(|(of, _)| of == name).expect("the figure is there").1
}

#[test]
fn rows_are_imported_once_and_an_interrupted_import_goes_on() {
    let folder = Folder::of(1);
    folder.write("half.jsonl", rows(40).as_bytes());
    folder.write("whole.jsonl", rows(100).as_bytes());
    let imported = |rows| stdout(&import(&folder, rows, "memory.db", &[]));
    assert!(imported("half.jsonl").starts_with("40 requests imported into "));
    assert!(imported("whole.jsonl").starts_with("60 requests imported into "));
    assert!(imported("whole.jsonl").ends_with(", 100 were known\n"));
    let figure = |name| figure(&folder, "memory.db", name);
    assert_eq!(["entries", "with a verdict", "without"].map(figure), ["100", "66", "34"]);
    assert_eq!((figure("decision log"), figure("dimensions")), ("0".to_owned(), "256".to_owned()));
}

#[test]
fn what_is_exported_is_imported_again_without_a_difference() {
    let folder = Folder::of(1);
    folder.write("rows.jsonl", rows(30).as_bytes());
    stdout(&import(&folder, "rows.jsonl", "one.db", &["--store-prompts"]));
    let exported = export(&folder, "one.db");
    assert_eq!(exported.lines().count(), 30);
    let first: Value = serde_json::from_str(exported.lines().nth(2).expect("30 lines")).expect("JSON");
    assert_eq!(first["prompt"], "What is 2 times 2?");
    assert_eq!((&first["tenant"], &first["metadata"]["subject"]), (&json!("acme"), &json!("arithmetic")));
    folder.write("exported.jsonl", exported.as_bytes());
    stdout(&import(&folder, "exported.jsonl", "two.db", &["--store-prompts"]));
    assert_eq!(export(&folder, "two.db"), exported);
    assert!(stdout(&import(&folder, "exported.jsonl", "one.db", &[])).starts_with("0 requests imported"));
    // Without a request for it no prompt is stored.
    stdout(&import(&folder, "exported.jsonl", "three.db", &[]));
    assert!(!export(&folder, "three.db").contains("times"));
}

#[test]
fn a_later_verdict_in_a_log_counts() {
    let folder = Folder::of(1);
    let row = |correct: u8, at: i64| {
        format!(
            r#"{{"id": "a", "embedding": [3, 4], "lightweight_correct": {correct}, "created_at": 5, "verdict_at": {at}}}"#
        )
    };
    for (correct, at, known) in [(1, 7, 0), (0, 6, 1), (0, 8, 0)] {
        folder.write("rows.jsonl", row(correct, at).as_bytes());
        let text = stdout(&import(&folder, "rows.jsonl", "memory.db", &["--embedder", "mine"]));
        assert!(text.ends_with(&format!(", {known} were known\n")), "{text}");
    }
    let line: Value = serde_json::from_str(&export(&folder, "memory.db")).expect("one line of JSON");
    assert_eq!((&line["lightweight_correct"], &line["verdict_at"]), (&json!(0.0), &json!(8)));
}

#[test]
fn an_error_names_the_line_and_the_rows_before_it_stay() {
    let folder = Folder::of(1);
    let import = |row: &str, arguments: &[&str]| {
        folder.write("rows.jsonl", format!("{}{row}\n", rows(1)).as_bytes());
        let text = stderr(&import(&folder, "rows.jsonl", "memory.db", arguments));
        text.rsplit_once("rows.jsonl: ").expect("the file is named").1.trim_end().to_owned()
    };
    for (row, error) in [
        (r#"{"prompt": "x"}"#, "line 2: id is missing, expected text"),
        (r#"{"id": "x"}"#, "line 2: neither prompt nor embedding is there"),
        (
            r#"{"id": "x", "prompt": "x", "lightweight_correct": 2}"#,
            "line 2: lightweight_correct is 2, expected a number from 0 to 1, true or false",
        ),
        (
            r#"{"id": "x", "prompt": "x", "verdict_source": "me"}"#,
            "line 2: verdict_source is \"me\", expected client or judge",
        ),
        (r#"{"id": "x", "prompt": " "}"#, "line 2: prompt: the text of 1 bytes has no tokens"),
        (r#"{"id": "x", "embedding": [1, 2]}"#, "line 2: query: embedding has 2 dimensions, expected 256"),
    ] {
        assert_eq!(import(row, &[]), error);
    }
    let other = import(r#"{"id": "x", "embedding": [1], "embedder": "other"}"#, &[]);
    assert!(other.starts_with("line 2: the row is of embedder other, the memory of "), "{other}");
    let vectors = import("{}", &["--embedder", "other"]);
    assert!(vectors.contains("expected 256 dimensions of other"), "{vectors}");
    assert_eq!(figure(&folder, "memory.db", "entries"), "1");
}

#[test]
fn a_tenant_or_a_user_is_erased() {
    let folder = Folder::of(1);
    folder.write("rows.jsonl", rows(30).as_bytes());
    stdout(&import(&folder, "rows.jsonl", "memory.db", &[]));
    let memory = |arguments: &[&str]| program(&folder, &[&["memory"], arguments].concat(), "memory.db");
    let erased = |arguments: &[&str]| stdout(&memory(&[&["erase"], arguments].concat()));
    assert!(erased(&["--user", "ada"]).starts_with("0 entries and 0 "));
    assert!(erased(&["--tenant", "acme", "--user", "bob"]).starts_with("0 entries and 0 "));
    assert!(erased(&["--tenant", "acme", "--user", "ada"]).starts_with("10 entries and 0 "));
    assert!(stderr(&memory(&["erase"])).contains("--tenant"));
    assert!(!export(&folder, "memory.db").contains("acme"));
    let bytes = folder.read("memory.db");
    assert!(!bytes.windows(4).any(|window| window == b"acme"));
}

#[test]
fn a_memory_is_copied_compacted_and_checked() {
    let folder = Folder::of(1);
    folder.write("rows.jsonl", rows(30).as_bytes());
    stdout(&import(&folder, "rows.jsonl", "memory.db", &[]));
    let copy = folder.path("copy.db");
    let copy = copy.to_str().expect("temporary folders have a name in UTF-8");
    stdout(&program(&folder, &["memory", "backup", "--to", copy], "memory.db"));
    assert_eq!(export(&folder, "copy.db"), export(&folder, "memory.db"));
    assert!(stdout(&program(&folder, &["memory", "compact"], "copy.db")).contains(" before, "));
    assert!(stdout(&program(&folder, &["memory", "verify"], "copy.db")).ends_with("copy.db is sound\n"));

    let mut bytes = folder.read("copy.db");
    bytes[4096..].fill(0xff); // all pages but the first
    folder.write("copy.db", &bytes);
    let verified = program(&folder, &["memory", "verify"], "copy.db");
    assert!(!verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[test]
fn a_file_that_is_absent_or_no_memory_is_named_and_not_made() {
    let folder = Folder::of(1);
    folder.write("text.db", b"This is a text and no memory. This is a text and no memory. This is a text.");
    for arguments in [
        &["export"][..],
        &["memory", "stats"],
        &["memory", "compact"],
        &["memory", "verify"],
        &["memory", "erase", "--tenant", "acme"],
    ] {
        let text = stderr(&program(&folder, arguments, "absent.db"));
        assert!(text.contains("absent.db") && text.lines().count() == 1, "{text}");
        let text = stderr(&program(&folder, arguments, "text.db"));
        assert!(text.contains("text.db is not a memory"), "{text}");
    }
    assert!(!folder.path("absent.db").exists());
}
