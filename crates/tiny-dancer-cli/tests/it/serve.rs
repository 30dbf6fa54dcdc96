//! `tiny-dancer serve`, as users run it.

use crate::{run, stderr};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

fn serve(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tiny-dancer"));
    for variable in ["OPENAI_API_KEY", "ANTHROPIC_API_KEY"] {
        command.env_remove(variable);
    }
    command.arg("serve").args(arguments);
    command
}

/// A program that is killed at the end of its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It fails if the program has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a request, and returns the answer's head and body.
fn request(address: &str, line: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the program listens");
    let length = body.len();
    write!(
        stream,
        "{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .expect("the program reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer is text");
    answer
}

#[cfg(unix)]
#[test]
fn the_demonstration_answers_its_own_example_and_stops_cleanly() {
    let mut command = serve(&["--demo", "--listen", "127.0.0.1:0"]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = Running(command.spawn().unwrap());
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    let address = first.strip_prefix("Serving http://").unwrap().split(' ').next().unwrap().to_owned();
    // The command that is shown.
    let example = lines.next().unwrap();
    let body = example.split("-d '").nth(1).unwrap().strip_suffix('\'').unwrap();
    let answer = request(&address, "POST /v1/chat/completions", body);
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("x-tiny-dancer-reason: ") && answer.contains("which only acts"), "{answer}");
    let metrics = request(&address, "GET /metrics", "");
    assert!(metrics.contains("tiny_dancer_gateway_requests_in_flight "), "{metrics}");
    assert!(metrics.contains("process_open_fds "), "{metrics}");

    let killed = Command::new("kill").args(["-TERM", &running.0.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert!(running.0.wait().unwrap().success());
    assert_eq!(lines.next().unwrap(), "stopped; all requests were finished");
}

#[cfg(unix)]
#[test]
fn the_configuration_is_read_again_at_sighup_and_when_its_file_has_changed() {
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny-dancer.toml");
    let write = |routed: &str, seconds: u64| {
        let model = |name: &str| {
            format!(
                "[{name}]\nprovider = \"openai\"\nmodel = \"{name}\"\nbase_url = \"http://127.0.0.1:9\"\n"
            )
        };
        let models = model("powerful") + &model("lightweight");
        std::fs::write(&path, format!("version = 1\nrouted = [\"{routed}\"]\n{models}")).unwrap();
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    };
    write("one", 1);
    let mut command = serve(&["--listen", "127.0.0.1:0", "--config", path.to_str().unwrap()]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running(command.spawn().unwrap());
    let mut log = BufReader::new(running.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    let address = first.strip_prefix("Serving http://").unwrap().split(' ').next().unwrap().to_owned();
    // After the example.
    assert!(lines.nth(1).unwrap().contains("nothing is learned"), "no judge is configured");
    let mut until = |text: &str| log.by_ref().find(|line| line.contains(text)).expect("the line is logged");
    let is_routed =
        |name: &str| request(&address, "GET /v1/models", "").contains(&format!("{{\"id\":\"{name}\""));

    // The same time and length, so that only the signal is a reason.
    write("two", 1);
    assert!(is_routed("one"));
    let killed = Command::new("kill").args(["-HUP", &running.0.id().to_string()]).status().unwrap();
    assert!(killed.success());
    until("configuration reloaded");
    assert!(is_routed("two") && !is_routed("one"));

    write("three", 2);
    until("configuration reloaded");
    assert!(is_routed("three"));
    write("", 3);
    until("the previous one stays");
    assert!(is_routed("three"));
}

/// `cargo xtask test` sets it, since it needs curl.
#[cfg(unix)]
const CURL: &str = "TINY_DANCER_CLIENTS_CURL";

#[cfg(unix)]
#[test]
fn curl_gets_answers_by_the_commands_of_the_introduction_and_of_the_page() {
    let Some(curl) = std::env::var_os(CURL) else {
        eprintln!("SKIPPED: {CURL} is not set");
        return;
    };
    let mut command = serve(&["--demo", "--listen", "127.0.0.1:0"]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = Running(command.spawn().unwrap());
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    let url = first.strip_prefix("Serving ").unwrap().split(' ').next().unwrap().to_owned();
    let shell = |commands: &str| {
        let mut shell = Command::new("sh");
        // The commands call it by its name.
        shell.args([
            "-euc",
            &format!("curl() {{ command \"$0\" --silent --show-error --fail \"$@\"; }}\n{commands}"),
        ]);
        let output = shell.arg(&curl).env("NO_PROXY", "127.0.0.1").output().unwrap();
        assert!(output.status.success(), "{commands}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let introduction = shell(&lines.next().unwrap());
    let page = include_str!("../../../../docs/gateway.md").replace("http://127.0.0.1:8080", &url);
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let answers: Vec<_> = blocks.map(shell).collect();
    let [chat, stream, feedback, rest] = &answers[..] else { panic!("{} blocks of commands", answers.len()) };
    for answer in [&introduction, chat] {
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.contains("x-tiny-dancer-reason: ") && answer.contains("which only acts"), "{answer}");
    }
    assert!(stream.starts_with("data: {") && stream.ends_with("data: [DONE]\n\n"), "{stream}");
    let result = feedback.strip_prefix(r#"{"result":""#).unwrap().strip_suffix(r#""}"#).unwrap();
    // The thresholds decide which model answers.
    assert!(["accepted", "powerful"].contains(&result), "{feedback}");
    for part in [r#""decided":""#, r#""object":"list""#, "tiny_dancer_gateway_feedback_total{"] {
        assert!(rest.contains(part), "{part} is not in\n{rest}");
    }
}

#[test]
fn every_mistake_of_the_command_line_and_the_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tiny-dancer.toml");
    std::fs::write(&file, "version = 1\ncanary_share = 7\nlimit = 3\n").unwrap();
    let file = file.to_str().unwrap();
    let error = stderr(&run(&mut serve(&["--config", file, "--powerful", "openai:big", "--mode", "on"])));
    for expected in [
        "the configuration has 5 mistakes",
        "mode: unknown variant `on`",
        "canary_share is 7, expected 0 to 1",
        "powerful: the environment has no OPENAI_API_KEY",
        "lightweight is missing",
        "limit is unknown",
    ] {
        assert!(error.contains(expected), "{expected} is not in\n{error}");
    }
    let error = stderr(&run(&mut serve(&["--powerful", "gpt-5"])));
    assert!(error.contains("--powerful gpt-5: expected PROVIDER:MODEL, such as openai:gpt-5"), "{error}");
}
