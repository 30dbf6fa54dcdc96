//! The program, run as users run it, on a few hundred synthetic rows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;
use tiny_dancer::Model;

use prompts::with_input;

mod memory;
mod prompts;
mod real_rows;
mod simulate;

/// A folder with rows and embeddings: four directions, one of which is hard for the lightweight model.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self::of(300)
    }

    fn of(n: usize) -> Self {
        let folder = Self(TempDir::new().expect("a temporary folder"));
        let line = |i: usize| {
            let correct = u8::from(!i.is_multiple_of(4) || i.is_multiple_of(3));
            format!(r#"{{"id": "row-{i}", "subject": "s{}", "lightweight_correct": {correct}}}"#, i % 4)
                + "\n"
        };
        folder.write("rows.jsonl", (0..n).map(line).collect::<String>().as_bytes());
        let element = |i: usize, d: usize| {
            let noise = ((i * 37 + d * 101) % 97) as f32 / 400.0;
            noise + if d == i % 4 { 1.0 } else { 0.0 }
        };
        let data: Vec<u8> =
            (0..n).flat_map(|i| (0..4).flat_map(move |d| element(i, d).to_le_bytes())).collect();
        let header = format!(
            r#"{{"embeddings":{{"dtype":"F32","shape":[{n},4],"data_offsets":[0,{}]}}}}"#,
            data.len()
        );
        let header = format!("{header:<width$}", width = header.len().next_multiple_of(8));
        let length = (header.len() as u64).to_le_bytes();
        folder.write("embeddings.safetensors", &[&length, header.as_bytes(), &data].concat());
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("the temporary folder can be written to");
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tiny-dancer"));
        command.arg(subcommand);
        command.arg("--rows").arg(self.path("rows.jsonl"));
        command.arg("--embeddings").arg(self.path("embeddings.safetensors"));
        command
    }

    fn train(&self, out: &str) -> Command {
        let mut command = self.command("train");
        command.args(["--hidden-size", "4", "--epochs", "3", "--out"]).arg(self.path(out));
        command
    }

    /// A command with the rows as its memory.
    fn with_memory(&self, subcommand: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tiny-dancer"));
        command.arg(subcommand);
        command.arg("--memory-rows").arg(self.path("rows.jsonl"));
        command.arg("--memory-embeddings").arg(self.path("embeddings.safetensors"));
        command
    }

    fn profiles(&self, count: &str) -> Command {
        let mut command = self.command("profiles");
        command.args(["--count", count, "--out-rows"]).arg(self.path("profiles.jsonl"));
        command.arg("--out-embeddings").arg(self.path("profiles.safetensors"));
        command
    }
}

fn run(command: &mut Command) -> Output {
    command.output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn train_writes_a_model_and_an_aligned_report() {
    let folder = Folder::new();
    let text = stdout(&run(&mut folder.train("model.safetensors")));
    for expected in
        ["300 rows had no split", "300 rows had no powerful_correct", "AUROC", "this model, 64 past rows"]
    {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    assert!(folder.read("model.safetensors").len() < 40_000);
    let files = std::fs::read_dir(folder.0.path()).expect("the folder is there");
    assert_eq!(files.count(), 3, "rows, embeddings and the model");
}

/// As with `| head`, which closes the pipe after some lines.
#[test]
fn the_model_is_written_when_standard_output_is_closed() {
    let folder = Folder::new();
    let mut command = folder.train("model.safetensors");
    let mut training =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    drop(training.stdout.take());
    let output = training.wait_with_output().expect("the program ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stderr, b"");
    assert!(folder.read("model.safetensors").len() < 40_000);
}

#[test]
fn one_seed_gives_the_same_file_on_any_number_of_threads() {
    let folder = Folder::new();
    stdout(&run(folder.train("one").env("RAYON_NUM_THREADS", "1")));
    stdout(&run(folder.train("two").env("RAYON_NUM_THREADS", "2")));
    assert_eq!(folder.read("one"), folder.read("two"));
    stdout(&run(folder.train("other").args(["--seed", "77"])));
    assert_ne!(folder.read("one"), folder.read("other"));
}

#[test]
fn profiles_writes_one_line_and_one_embedding_each() {
    let folder = Folder::new();
    let text = stdout(&run(&mut folder.profiles("6")));
    assert!(text.contains("6 profiles"), "{text}");
    let lines = String::from_utf8(folder.read("profiles.jsonl")).expect("JSON is UTF-8");
    assert_eq!(lines.lines().count(), 6);
    assert!(lines.starts_with(r#"{"id":"profile-000","success_rate":"#));
    let header = folder.read("profiles.safetensors");
    assert!(String::from_utf8_lossy(&header).contains(r#""dtype":"F16","shape":[6,4]"#));
}

#[test]
fn a_bad_line_is_an_error_with_its_number_and_no_file_is_written() {
    let folder = Folder::new();
    folder.write("rows.jsonl", b"{\"id\": \"a\", \"lightweight_correct\": 1}\nnot a row\n");
    let text = stderr(&run(&mut folder.train("model.safetensors")));
    assert!(text.contains("line 2: not a JSON object"), "{text}");
    assert!(!folder.path("model.safetensors").exists());
}

#[test]
fn different_numbers_of_rows_and_embeddings_are_refused() {
    let folder = Folder::new();
    folder.write("rows.jsonl", b"{\"id\": \"a\", \"lightweight_correct\": 1}\n");
    let text = stderr(&run(&mut folder.train("model.safetensors")));
    assert!(text.contains("1 rows, but 300 embeddings"), "{text}");
}

#[test]
fn an_argument_out_of_range_is_refused() {
    let folder = Folder::new();
    let text = stderr(&run(folder.command("train").args(["--hidden-size", "65", "--out", "x"])));
    assert!(text.contains("hidden_size is 65, expected 1 to 64"), "{text}");
    let text = stderr(&run(&mut folder.profiles("0")));
    assert!(text.contains("count is 0"), "{text}");
}

#[cfg(unix)]
#[test]
fn a_model_is_written_through_a_link_and_never_over_a_device() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = Folder::new();
    folder.write("real", b"old");
    let only_mine = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(folder.path("real"), only_mine).expect("the file is ours");
    symlink("real", folder.path("link")).expect("the folder is ours");
    stdout(&run(&mut folder.train("link")));
    assert!(std::fs::symlink_metadata(folder.path("link")).expect("it is there").is_symlink());
    let mode = std::fs::metadata(folder.path("real")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(folder.read("real").len() > 1000);

    let piped = run(Command::new("mkfifo").arg(folder.path("pipe")));
    assert!(piped.status.success());
    let text = stderr(&run(&mut folder.train("pipe")));
    assert!(text.ends_with("pipe: not a regular file\n"), "{text}");
    // The error comes before the rows are read.
    folder.write("rows.jsonl", b"no row");
    let text = stderr(&run(&mut folder.train("nowhere/model")));
    assert!(text.contains("cannot write") && !text.contains("rows.jsonl"), "{text}");
}

/// As with `| head`.
#[cfg(unix)]
#[test]
fn route_ends_without_an_error_text_when_standard_output_is_closed() {
    use std::io::{BufRead, BufReader, Write};
    let folder = Folder::new();
    let mut command = folder.with_memory("route");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut routing = command.spawn().expect("the program starts");
    let mut requests = routing.stdin.take().expect("it is piped");
    let mut answers = BufReader::new(routing.stdout.take().expect("it is piped"));
    let request = b"{\"id\": 1, \"embedding\": [1, 0, 0, 0]}\n";
    requests.write_all(request).expect("the program reads");
    let mut answer = String::new();
    answers.read_line(&mut answer).expect("the program answers");
    drop(answers);
    requests.write_all(request).expect("the program reads");
    drop(requests);
    let output = routing.wait_with_output().expect("the program ends");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("error"), "{output:?}");
    assert_eq!(output.status.code(), Some(141));
}

#[test]
fn an_unknown_key_is_reported() {
    let folder = Folder::new();
    let rows = String::from_utf8(folder.read("rows.jsonl")).expect("JSON is UTF-8");
    folder.write("rows.jsonl", rows.replace("\"subject\"", "\"topic\"").as_bytes());
    let output = run(&mut folder.profiles("6"));
    let notes = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && notes.ends_with("these keys are not read: topic\n"), "{notes}");
    folder.write("rows.jsonl", rows.replace("\"subject\"", "\"powerful_corect\"").as_bytes());
    let text = stderr(&run(&mut folder.profiles("6")));
    assert!(
        text.contains("line 1: unknown key \"powerful_corect\", expected \"powerful_correct\""),
        "{text}"
    );
}

#[test]
fn a_cause_is_printed_once() {
    let folder = Folder::new();
    let text = stderr(&run(folder.with_memory("route").arg("--model").arg(folder.path("nowhere"))));
    assert_eq!(text.matches("No such file").count(), 1, "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

/// Runs the blocks of Python in docs/bring-your-own-logs.md.
#[test]
fn files_of_the_documented_writers_are_read() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no python3 to run the writers of docs/bring-your-own-logs.md with");
        return;
    }
    let page = include_str!("../../../../docs/bring-your-own-logs.md");
    let blocks = page.split("```python\n").skip(1);
    let mut script: String = blocks.filter_map(|block| Some(block.split_once("```")?.0)).collect();
    script += "
directions = [[float(i % 4 == d) + (i * 37 + d * 101) % 97 / 400 for d in range(4)] for i in range(300)]
rows = [
    {'id': f'row-{i}', 'subject': f's{i % 4}', 'lightweight_correct': i % 4 > 0 or i % 3 == 0, 'powerful_correct': True}
    for i in range(300)
]
write_lines('rows.jsonl', rows)
write_embeddings('embeddings.safetensors', directions, 'mine')
";
    let folder = Folder::new();
    let mut python = Command::new("python3");
    let written = run(python.args(["-c", &script]).current_dir(folder.0.path()));
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let text = stdout(&run(&mut folder.profiles("6")));
    assert!(text.contains("6 profiles"), "{text}");
    stdout(&run(&mut folder.train("model")));
    assert_eq!(Model::load(folder.path("model")).expect("a model").embedder(), Some("mine"));

    // The rows with prompts, as a memory for the documented request.
    let request = page.split("echo '").nth(1).and_then(|rest| rest.split('\'').next()).expect("a request");
    let mut route = Command::new(env!("CARGO_BIN_EXE_tiny-dancer"));
    route.args(["route", "--memory-rows"]).arg(folder.path("mine.jsonl"));
    let prompts = Folder::of_prompts();
    stdout(&prompts.model());
    let answer = stdout(&with_input(route.arg("--model").arg(prompts.path("model")), request));
    assert!(answer.starts_with(r#"{"id":1,"model":""#), "{answer}");
    route.arg("--memory-embeddings").arg(folder.path("mine.safetensors"));
    let answer = with_input(&mut route, request);
    let error = String::from_utf8_lossy(&answer.stderr);
    assert!(error.contains("the model was made for"), "{error}");
}

/// The bytes of a model without the facts of its training.
fn without_facts(path: &Path) -> Vec<u8> {
    let model = Model::load(path).expect("a model");
    let (per_candidate, joint) = (model.per_candidate().clone(), model.joint().clone());
    Model::new(model.weights().clone(), model.ties(), per_candidate, joint, BTreeMap::default())
        .expect("the parts of a model")
        .to_bytes()
}

#[test]
fn training_and_judging_use_the_same_splits_and_training_rows_are_judged_only_on_request() {
    let folder = Folder::new();
    let trained = stdout(&run(&mut folder.train("model")));
    let tested = trained.split("test ").nth(1).expect("the report counts rows");
    let tested = tested.lines().next().expect("the report counts rows");
    let mut evaluate = folder.with_memory("evaluate");
    evaluate.arg("--rows").arg(folder.path("rows.jsonl"));
    evaluate.arg("--embeddings").arg(folder.path("embeddings.safetensors"));
    let text = stdout(&run(&mut evaluate));
    assert!(text.contains(&format!("\n{tested} rows: mean score")), "{tested}: {text}");
    assert!(text.contains(&format!("{tested} rows are of the split test by the hash of their id")), "{text}");
    assert!(text.contains("the model was made of none of the "), "{text}");

    let model = folder.path("model");
    std::fs::copy(&model, folder.path("trained")).expect("the model was written");
    std::fs::write(&model, without_facts(&model)).expect("a folder of the test's own");
    evaluate.arg("--model").arg(&model);
    let text = stdout(&run(&mut evaluate));
    assert!(text.contains("does not say which rows it was made of"), "{text}");

    std::fs::copy(folder.path("trained"), &model).expect("a folder of the test's own");
    let text = stdout(&run(&mut evaluate));
    assert!(text.contains(&format!("made of none of the {tested} rows that can be compared\n")), "{text}");
    evaluate.args(["--split", "train"]);
    let text = stderr(&run(&mut evaluate));
    assert!(text.contains("--allow-training-rows"), "{text}");
    evaluate.arg("--allow-training-rows");
    let text = stdout(&run(&mut evaluate));
    assert!(text.contains("these figures are too good"), "{text}");
    let json = stdout(&run(evaluate.arg("--json")));
    let json: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    assert_eq!(json["training_rows"], json["rows"]);
}

#[test]
fn train_lists_the_promises_of_its_model_and_route_notes_that_none_is_used() {
    let folder = Folder::of(2_000);
    let text = stdout(&run(&mut folder.train("model")));
    let last = text.lines().last().expect("it prints");
    let numbers: Vec<&str> = last.split_whitespace().collect();
    assert!(text.contains("rows certify that") && numbers.len() == 3 && numbers[1].ends_with('%'), "{text}");

    let smallest = text.lines().skip_while(|line| !line.contains("alpha  lightweight")).nth(1);
    let smallest = smallest.and_then(|line| line.split_whitespace().next()).expect("a table");
    let route = |alpha: &[&str]| {
        let mut route = folder.with_memory("route");
        route.arg("--model").arg(folder.path("model")).args(alpha).stdin(Stdio::null());
        let output = run(&mut route);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let notes = route(&[]);
    assert!(notes.contains(&format!("can promise a risk, from --alpha {smallest} on")), "{notes}");
    assert_eq!(route(&["--alpha", smallest]), "");
}

#[test]
fn rows_that_trained_a_model_do_not_certify_it() {
    let folder = Folder::new();
    stdout(&run(&mut folder.train("model")));
    let rows = String::from_utf8(folder.read("rows.jsonl")).expect("JSON is UTF-8");
    // Half of the training rows get the split `cal`.
    let resplit = |(i, line): (usize, &str)| {
        let split = if i % 2 == 0 { "cal" } else { "train" };
        line.replacen('{', &format!("{{\"split\": \"{split}\", "), 1) + "\n"
    };
    folder.write("rows.jsonl", rows.lines().enumerate().map(resplit).collect::<String>().as_bytes());
    let mut calibrate = folder.with_memory("calibrate");
    calibrate.arg("--rows").arg(folder.path("rows.jsonl"));
    calibrate.arg("--embeddings").arg(folder.path("embeddings.safetensors"));
    let text = stderr(&run(calibrate.arg("--model").arg(folder.path("model"))));
    assert!(text.contains("the model was made of ") && text.contains("--allow-training-rows"), "{text}");
}

/// All rows suffice, none does, no row calibrates, and only one row.
#[test]
fn degenerate_rows_give_finite_numbers_or_an_error() {
    let line = |i: usize, split: &str, rest: &str| format!("{{\"id\": \"row-{i}\"{split}{rest}}}\n");
    let judged = |folder: &Folder| {
        let mut evaluate = folder.with_memory("evaluate");
        evaluate.arg("--rows").arg(folder.path("rows.jsonl"));
        evaluate.arg("--embeddings").arg(folder.path("embeddings.safetensors"));
        run(evaluate.arg("--model").arg(folder.path("model")))
    };
    for (correct, reason) in [(1, "there is nothing to gain by routing"), (0, "")] {
        let folder = Folder::of(2_000);
        let rest = format!(", \"lightweight_correct\": {correct}, \"powerful_correct\": 1");
        let rows: String = (0..2_000).map(|i| line(i, "", &rest)).collect();
        folder.write("rows.jsonl", rows.as_bytes());
        let text = stdout(&run(&mut folder.train("model")));
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        assert_eq!(text.contains("can promise no risk"), correct == 0, "{text}");
        let output = judged(&folder);
        let text = format!("{output:?}");
        assert!(!text.contains("NaN") && !text.contains(" inf") && text.contains(reason), "{text}");
        assert_eq!(output.status.success(), reason.is_empty());
    }

    let folder = Folder::new();
    let rows = (0..300).map(|i| line(i, ", \"split\": \"train\"", ", \"lightweight_correct\": 1"));
    folder.write("rows.jsonl", rows.collect::<String>().as_bytes());
    let text = stderr(&run(&mut folder.train("model")));
    assert!(text.ends_with("error: no rows for calibration\n"), "{text}");

    let folder = Folder::of(1);
    let text = stderr(&run(&mut folder.train("model")));
    assert!(text.contains("error: no rows for "), "{text}");
}
