//! The program, run as its users run it, on a few hundred made-up rows.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A folder with rows and embeddings in it: four directions, of which one is hard for the lightweight model.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(TempDir::new().expect("a temporary folder"));
        let n = 300_usize;
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
    for said in
        ["300 rows had no split", "300 rows had no powerful_correct", "AUROC", "this model, 64 past rows"]
    {
        assert!(text.contains(said), "{said} is not in\n{text}");
    }
    assert!(folder.read("model.safetensors").len() < 40_000);
    assert!(!Path::new(&folder.path("model.safetensors.part")).exists());
}

/// As behind `| head`, which reads a line and goes.
#[test]
fn a_model_is_written_though_nobody_reads_the_report() {
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
fn one_seed_gives_one_file_whatever_the_threads() {
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
fn a_bad_line_is_named_by_its_number_and_nothing_is_written() {
    let folder = Folder::new();
    folder.write("rows.jsonl", b"{\"id\": \"a\", \"lightweight_correct\": 1}\nnot a row\n");
    let text = stderr(&run(&mut folder.train("model.safetensors")));
    assert!(text.contains("line 2 is not a row"), "{text}");
    assert!(!folder.path("model.safetensors").exists());
}

#[test]
fn rows_and_embeddings_that_do_not_fit_are_refused() {
    let folder = Folder::new();
    folder.write("rows.jsonl", b"{\"id\": \"a\", \"lightweight_correct\": 1}\n");
    let text = stderr(&run(&mut folder.train("model.safetensors")));
    assert!(text.contains("1 rows, but 300 embeddings"), "{text}");
}

#[test]
fn a_knob_out_of_range_is_refused() {
    let folder = Folder::new();
    let text = stderr(&run(folder.command("train").args(["--hidden-size", "65", "--out", "x"])));
    assert!(text.contains("hidden_size is 65, expected 1 to 64"), "{text}");
    let text = stderr(&run(&mut folder.profiles("0")));
    assert!(text.contains("count is 0"), "{text}");
}
