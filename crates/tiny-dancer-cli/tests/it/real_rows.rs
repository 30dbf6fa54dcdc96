//! The embedded model for vectors of the static embedder, judged on the real rows, which are not in this repository. Set
//! `TINY_DANCER_DATA` to their folder. With `--nocapture` the figures are printed.

#![expect(clippy::print_stderr, reason = "the figures are for people")]

use crate::{Folder, run, stdout};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("TINY_DANCER_DATA").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("SKIPPED: TINY_DANCER_DATA is not set, so there are no real rows to judge by");
    }
    folder
}

/// Evaluates the embedded model on a file of rows, which are also the memory, by their splits.
fn evaluate(rows: &Path) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tiny-dancer"));
    command.args(["evaluate", "--json", "--rows"]).arg(rows).arg("--memory-rows").arg(rows);
    let report: Value = serde_json::from_str(&stdout(&run(&mut command))).expect("it is JSON");
    report["routers"].as_array().expect("a list of routers").clone()
}

fn named<'a>(routers: &'a [Value], name: &str) -> &'a Value {
    routers.iter().find(|router| router["name"] == name).expect("a router of this name")
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

#[test]
fn on_the_test_rows_it_is_not_behind_the_nearest_rows_and_calibrated() {
    let Some(folder) = data() else { return };
    let routers = evaluate(&folder.join("routellm.jsonl.zst"));
    let model = named(&routers, "model");
    let lead = &named(&routers, "nearest-100")["model_minus_this_apgr"];
    eprintln!("APGR {}, lead {lead}, ECE {}", model["apgr"], model["ece"]);
    assert!(number(&lead["high"]) >= 0.0, "{lead}");
    assert!(number(&model["ece"]["value"]) <= 0.03, "{}", model["ece"]);
    for bin in model["coverage"].as_array().expect("a list of bins") {
        assert!(number(&bin["covered"]) >= number(&bin["at_least"]), "{bin}");
    }
}

/// Pairs of language models that the embedded model was not trained on: file, lightweight, powerful.
const PAIRS: [[&str; 3]; 3] = [
    ["mmlu-pro", "Meta-Llama-3_1-8B-Instruct", "Meta-Llama-3_1-70B-Instruct"],
    ["dcrouter", "llama-3.1-8b-instruct", "llama-3.1-nemotron-51b-instruct"],
    ["dcrouter", "mistral-7b-instruct-v0.3", "llama-3.1-nemotron-51b-instruct"],
];

/// 60% of the rows, by the hash of their id, are the memory; the rest is judged.
#[test]
fn it_is_calibrated_for_pairs_that_it_was_not_trained_on() {
    let Some(data) = data() else { return };
    for [file, lightweight, powerful] in PAIRS {
        let name = format!("{file}.jsonl.zst");
        let reader = std::fs::File::open(data.join(&name)).expect("the file is there");
        let text = zstd::decode_all(reader).expect("it is zstd");
        let row = |line: &str| {
            let row: Value = serde_json::from_str(line).expect("it is JSON");
            let id = row["id"].as_str().expect("an id");
            let hash = Sha256::digest(id)[..8].iter().fold(0, |hash, &byte| hash << 8 | u64::from(byte));
            let split = if hash % 100 < 60 { "train" } else { "test" };
            let [lightweight, powerful] = [lightweight, powerful].map(|model| row["scores"][model].clone());
            let row = json!({
                "id": id, "prompt": row["prompt"], "split": split,
                "lightweight_correct": lightweight, "powerful_correct": powerful,
            });
            row.to_string() + "\n"
        };
        let folder = Folder(TempDir::new().expect("a temporary folder"));
        let text = String::from_utf8(text).expect("it is UTF-8");
        folder.write("rows.jsonl", text.lines().map(row).collect::<String>().as_bytes());
        let routers = evaluate(&folder.path("rows.jsonl"));
        let model = named(&routers, "model");
        let nearest = named(&routers, "nearest-100");
        eprintln!(
            "{lightweight} against {powerful}: APGR {}, of the 100 nearest {}, ECE {}",
            model["apgr"], nearest["apgr"], model["ece"]
        );
        assert!(number(&model["ece"]["value"]) <= 0.05, "{}", model["ece"]);
    }
}
