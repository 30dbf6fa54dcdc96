//! The service that learns: it remembers over a restart, and each of its parts is observed.

use crate::service::{post, request};
use crate::{Running, ended_by, example, get, series};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

/// Starts the service. Returns its address.
fn started(memory: &Path) -> (Running, String) {
    let mut command = example("remember");
    command.env("MEMORY", memory).env("LISTEN", "127.0.0.1:0").env("NO_COLOR", "1");
    let mut running = Running(command.stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(running.0.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("address=") {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "the service ended");
    }
    // A full pipe would block the service.
    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    let address = line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    (running, address)
}

/// Asks for a decision.
fn decide(address: &str, tenant: &str, prompt: &str) -> Value {
    let question = serde_json::json!({"prompt": prompt, "tenant": tenant});
    let answer = post(address, "/decide", "", &question.to_string());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str(body).unwrap()
}

fn verdict(address: &str, id: &Value, lightweight: f32) -> String {
    let feedback = serde_json::json!({"id": id, "lightweight": lightweight});
    post(address, "/verdict", "", &feedback.to_string())
}

#[test]
fn the_service_that_learns_remembers_a_verdict_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let memory = folder.path().join("memory.db");
    let prompt = "Is a verbal contract binding?";

    let (running, address) = started(&memory);
    let first = decide(&address, "acme", prompt);
    let late = decide(&address, "acme", "What is the capital of France?");
    assert!(verdict(&address, &first["id"], 1.0).ends_with("\r\n\r\naccepted"));
    assert!(verdict(&address, &first["id"], 1.0).ends_with("\r\n\r\nrepeated"));
    assert!(
        verdict(&address, &Value::from("019b0000-0000-7000-8000-000000000000"), 1.0)
            .starts_with("HTTP/1.1 404")
    );
    assert!(verdict(&address, &first["id"], 2.0).ends_with("lightweight is 2, expected 0 to 1"));
    let empty = decide(&address, "acme", "  ");
    assert!(empty["id"].is_null() && empty["model"] == "powerful", "{empty}");

    let text = get(&address, "/metrics");
    let value = |name: &str| series(&text, &format!("tiny_dancer_{name}"));
    assert_eq!(value("memory_verdicts_total{kind=\"accepted\"}"), 1.0);
    assert_eq!(value("memory_verdicts_total{kind=\"unknown\"}"), 1.0);
    assert_eq!(value("memory_entries{state=\"evidence\"}"), 1.0);
    assert_eq!(value("embedding_errors_total{error_type=\"no_tokens\"}"), 1.0);
    ended_by("TERM", running, std::iter::empty());

    let (running, address) = started(&memory);
    assert!(verdict(&address, &late["id"], 0.0).ends_with("\r\n\r\naccepted"));
    let again = decide(&address, "acme", prompt);
    assert_ne!(again["reason"], "no_evidence", "{again}");
    // Another tenant sees nothing of it. It may be explored.
    let other = decide(&address, "other", prompt);
    assert!(other["reason"] == "no_evidence" || other["reason"] == "explored", "{other}");
    let erased = request(&address, "DELETE /tenants/acme", "", "");
    assert!(erased.starts_with("HTTP/1.1 204"), "{erased}");
    assert!(verdict(&address, &first["id"], 1.0).starts_with("HTTP/1.1 404"));
    ended_by("TERM", running, std::iter::empty());
}

#[test]
fn the_service_that_learns_is_short() {
    assert!(include_str!("../../remember.rs").lines().count() < 150);
}
