//! The program on rows with prompts and without embeddings: everyday prompts with invented outcomes.

use crate::{Folder, run, stderr, stdout};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;
use tiny_dancer::Model;
use tiny_dancer_embed::{Embedder, StaticEmbedder};

const PROMPTS: &str = include_str!("../../../../examples/data/prompts.jsonl");

/// The id of the embedder of prompts.
fn id() -> String {
    StaticEmbedder::new().id().to_string()
}

/// The everyday prompts.
fn prompts() -> impl Iterator<Item = Value> {
    PROMPTS.lines().map(|line| serde_json::from_str(line).expect("it is JSON"))
}

impl Folder {
    /// A folder with rows that have prompts. The lightweight model fails at the kinds of an odd length.
    pub(crate) fn of_prompts() -> Self {
        let folder = Self(TempDir::new().expect("a temporary folder"));
        let line = |prompt: Value| {
            let kind = prompt["kind"].as_str().expect("a kind");
            let row = json!({
                "id": prompt["id"], "prompt": prompt["prompt"], "subject": kind,
                "lightweight_correct": kind.len().is_multiple_of(2), "powerful_correct": true,
            });
            row.to_string() + "\n"
        };
        folder.write("rows.jsonl", prompts().map(line).collect::<String>().as_bytes());
        folder
    }

    /// A command with the rows, their prompts instead of embeddings.
    fn on_rows(&self, subcommand: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tiny-dancer"));
        command.arg(subcommand).arg("--rows").arg(self.path("rows.jsonl"));
        command
    }

    /// A command with the rows as its memory, their prompts instead of embeddings.
    fn on_memory(&self, subcommand: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tiny-dancer"));
        command.arg(subcommand).arg("--memory-rows").arg(self.path("rows.jsonl"));
        command
    }

    /// Trains a model on the prompts.
    pub(crate) fn model(&self) -> Output {
        let mut train = self.on_rows("train");
        train.args(["--hidden-size", "4", "--epochs", "3", "--out"]).arg(self.path("model"));
        run(&mut train)
    }

    /// Writes 20 profiles of the prompts, and returns a command with these as its memory.
    fn on_profiles(&self, subcommand: &str) -> Command {
        let mut profiles = self.on_rows("profiles");
        profiles.args(["--count", "20", "--out-rows"]).arg(self.path("profiles.jsonl"));
        stdout(&run(profiles.arg("--out-embeddings").arg(self.path("profiles.safetensors"))));
        let mut command = Command::new(env!("CARGO_BIN_EXE_tiny-dancer"));
        command.arg(subcommand).arg("--memory-rows").arg(self.path("profiles.jsonl"));
        command.arg("--memory-embeddings").arg(self.path("profiles.safetensors"));
        command
    }
}

/// Runs a command with a text as its standard input.
pub(crate) fn with_input(command: &mut Command, text: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().expect("the program starts");
    // The program may end without reading its input, which closes the pipe.
    let _ = running.stdin.take().expect("it is piped").write_all(text.as_bytes());
    running.wait_with_output().expect("the program ends")
}

#[test]
fn rows_with_prompts_train_a_model_of_the_static_embedder_and_no_prompt_is_kept() {
    let folder = Folder::of_prompts();
    let output = folder.model();
    let text = stdout(&output);
    assert!(text.contains("150 rows had no split") && text.contains("this model, 64 past rows"), "{text}");
    assert_eq!(output.stderr, b"");
    assert_eq!(Model::load(folder.path("model")).expect("a model").embedder(), Some(&*id()));

    let written = String::from_utf8_lossy(&folder.read("model")).into_owned() + &text;
    for prompt in prompts() {
        let prompt = prompt["prompt"].as_str().expect("a prompt");
        // Two letters can be anywhere.
        assert!(prompt.len() < 3 || !written.contains(prompt), "{prompt}");
    }
}

#[test]
fn every_command_reads_prompts() {
    let folder = Folder::of_prompts();
    stdout(&folder.model());
    let model = |mut command: Command| {
        command.arg("--model").arg(folder.path("model"));
        command
    };
    for subcommand in ["evaluate", "calibrate"] {
        let mut command = model(folder.on_rows(subcommand));
        command.arg("--memory-rows").arg(folder.path("rows.jsonl"));
        let output = run(&mut command);
        if subcommand == "evaluate" {
            assert!(stdout(&output).contains("rows: mean score"));
        } else {
            // Ten certifying rows are too few for a promise.
            assert!(stderr(&output).contains("no row is in a conformal bin with enough rows"));
        }
    }

    let requests: String = prompts()
        .map(|prompt| json!({"id": prompt["id"], "prompt": prompt["prompt"]}).to_string() + "\n")
        .collect();
    let answers = stdout(&with_input(&mut model(folder.on_memory("route")), &requests));
    assert_eq!(answers.lines().count(), 150);
    for (answer, prompt) in answers.lines().zip(prompts()) {
        let answer: Value = serde_json::from_str(answer).expect("it is JSON");
        assert_eq!(answer["id"], prompt["id"]);
        assert!(answer["confidence"].as_f64().is_some_and(|confidence| confidence > 0.0), "{answer}");
    }

    // The nearest to a prompt is the prompt itself, which is in the memory.
    let request = requests.lines().nth(6).expect("150 prompts");
    let text = stdout(&with_input(&mut model(folder.on_memory("explain")), request));
    let own = text.lines().find(|line| line.starts_with("prompt-007 ")).unwrap_or_else(|| panic!("{text}"));
    assert_eq!(own.split_whitespace().nth(1), Some("1.0000"), "{text}");
}

#[test]
fn profiles_of_prompts_name_their_embedder_and_route_prompts() {
    let folder = Folder::of_prompts();
    stdout(&folder.model());
    let mut route = folder.on_profiles("route");
    let header = folder.read("profiles.safetensors");
    let header = String::from_utf8_lossy(&header);
    assert!(header.contains(&id()) && header.contains(r#""dtype":"F16","shape":[20,256]"#));

    route.arg("--model").arg(folder.path("model"));
    let answer = stdout(&with_input(&mut route, r#"{"id": 1, "prompt": "What is 7 times 8?"}"#));
    assert!(answer.starts_with(r#"{"id":1,"model":""#), "{answer}");

    let refused = stderr(&with_input(route.args(["--embedder", "mine"]), ""));
    assert!(refused.contains(&format!("its vectors are of embedder {}, expected mine", id())), "{refused}");
}

#[test]
fn a_request_has_a_prompt_or_an_embedding() {
    let folder = Folder::of_prompts();
    stdout(&folder.model());
    let input = r#"{"id": 1, "prompt": "Hello", "embedding": [1, 0]}
{"id": 2}
{"id": 3, "prompt": "  "}
{"id": 4, "embedding": [1, 0]}
{"id": 5, "prompt": ["Hello"]}
"#;
    let mut route = folder.on_memory("route");
    let output = with_input(route.arg("--model").arg(folder.path("model")), input);
    assert_eq!(output.status.code(), Some(1));
    let answers = String::from_utf8_lossy(&output.stdout);
    let errors: Vec<Value> = answers.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let expected = [
        "both prompt and embedding are there, expected one of them",
        "neither prompt nor embedding is there",
        "prompt: the text of 2 bytes has no tokens",
        "query: embedding has 2 dimensions, expected 256",
        "prompt is a list, expected text",
    ];
    assert_eq!(errors.len(), expected.len(), "{answers}");
    for (number, (error, expected)) in errors.iter().zip(expected).enumerate() {
        assert_eq!((&error["line"], &error["error"]), (&(number + 1).into(), &expected.into()));
    }
}

#[test]
fn a_prompt_and_a_memory_of_another_embedder_or_of_an_unknown_one_do_not_meet() {
    let folder = Folder::new();
    let request = r#"{"id": 1, "prompt": "Hello"}"#;
    let answer = String::from_utf8(with_input(&mut folder.with_memory("route"), request).stdout);
    let answer = answer.expect("JSON is UTF-8");
    let unknown = format!("embedded by embedder {}, the memory by an unknown one: use --embedder", id());
    assert!(answer.contains(&unknown), "{answer}");

    // Rows of one embedder, a memory of another.
    let prompts = Folder::of_prompts();
    stdout(&prompts.model());
    let mut evaluate = prompts.on_rows("evaluate");
    evaluate.arg("--memory-rows").arg(folder.path("rows.jsonl"));
    evaluate.arg("--memory-embeddings").arg(folder.path("embeddings.safetensors"));
    let text = stderr(&run(evaluate.arg("--model").arg(prompts.path("model"))));
    assert!(text.contains("the rows' embeddings have 256 dimensions, the memory's 4"), "{text}");
    let text = stderr(&run(evaluate.args(["--embedder", "mine"])));
    let both = format!("the prompts are embedded by embedder {}, but --embedder is mine", id());
    assert!(text.contains(&both), "{text}");
}

#[test]
fn a_model_of_another_embedder_is_refused_and_both_are_named() {
    let prompts = Folder::of_prompts();
    let folder = Folder::new();
    stdout(&run(folder.train("mine").args(["--embedder", "mine"])));
    stdout(&run(&mut folder.train("unknown")));
    assert_eq!(Model::load(folder.path("mine")).expect("a model").embedder(), Some("mine"));

    let refusal =
        |model| stderr(&with_input(prompts.on_memory("route").arg("--model").arg(folder.path(model)), ""));
    let (id, text) = (id(), refusal("mine"));
    assert!(
        text.contains(&format!("the vectors are of embedder {id}, the model was made for mine")),
        "{text}"
    );
    let text = refusal("unknown");
    assert!(
        text.contains(&format!("the vectors are of embedder {id}, and the model does not say")),
        "{text}"
    );

    // The same with a memory from a file. An embedder that is not named is not checked.
    let mut route = folder.with_memory("route");
    stdout(&with_input(route.arg("--model").arg(folder.path("mine")), ""));
    stdout(&with_input(route.args(["--embedder", "mine"]), ""));
    let text = stderr(&with_input(
        folder.with_memory("route").args(["--embedder", "static"]).arg("--model").arg(folder.path("mine")),
        "",
    ));
    assert!(
        text.contains(&format!("the vectors are of embedder {id}, the model was made for mine")),
        "{text}"
    );
}

#[test]
fn without_a_model_the_embedded_one_of_the_vectors_embedder_decides() {
    let folder = Folder::of_prompts();
    let version = |model: Result<Model, _>| model.expect("it is in the package").version().to_owned();
    let mut evaluate = folder.on_rows("evaluate");
    let text = stdout(&run(evaluate.arg("--memory-rows").arg(folder.path("rows.jsonl"))));
    assert!(text.starts_with(&format!("model {}\n", version(Model::embedded_for(&id())))), "{text}");

    // Files of embeddings name no embedder here.
    let files = Folder::new();
    let mut evaluate = files.with_memory("evaluate");
    evaluate.arg("--rows").arg(files.path("rows.jsonl"));
    let text = stdout(&run(evaluate.arg("--embeddings").arg(files.path("embeddings.safetensors"))));
    assert!(text.starts_with(&format!("model {}\n", Model::embedded().version())), "{text}");
}

#[test]
fn a_row_without_a_prompt_is_an_error_with_its_line_and_id() {
    let folder = Folder::of_prompts();
    let rows = String::from_utf8(folder.read("rows.jsonl")).expect("JSON is UTF-8");
    let line = rows.lines().nth(2).expect("150 rows");
    let mut row: Value = serde_json::from_str(line).expect("it is JSON");
    for (prompt, expected) in [
        (Value::Null, "prompt is missing, expected text"),
        ("\u{7}".into(), "the prompt can't be embedded: the text of 1 bytes has no tokens"),
    ] {
        row["prompt"] = prompt;
        folder.write("rows.jsonl", rows.replace(line, &row.to_string()).as_bytes());
        let text = stderr(&folder.model());
        assert!(text.contains(&format!("rows.jsonl: line 3: id \"prompt-003\": {expected}")), "{text}");
    }
    assert!(!folder.path("model").exists());
}
