//! The providers' own libraries and LiteLLM as clients, and LiteLLM's proxy as what is called. `cargo xtask test` fetches them and names their folders in two variables; without
//! these the tests are skipped.

use crate::running::{EASY, HARD, Running, config, parsed};
use axum::body::{Body, Bytes};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

/// The folder of Python's packages.
const PYTHON: &str = "TINY_DANCER_CLIENTS_PYTHON";
/// The folder of Python's packages for LiteLLM, which also has its proxy.
const LITELLM: &str = "TINY_DANCER_CLIENTS_LITELLM";
/// The folder with Node's `node_modules`.
const NODE: &str = "TINY_DANCER_CLIENTS_NODE";

/// Without it, LiteLLM asks for prices on the internet.
const OFFLINE: (&str, &str) = ("LITELLM_LOCAL_MODEL_COST_MAP", "True");

/// Chunks of a body; the last may be an error, which breaks the connection off. Between two of them the server sends.
struct Chunks {
    chunks: VecDeque<std::io::Result<Bytes>>,
    paused: bool,
}

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.paused = !self.paused;
        if self.paused {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.chunks.pop_front().map(|chunk| chunk.map(Frame::data)))
    }
}

/// Acts as both providers do. The last message says how.
async fn provider(counts: Arc<Mutex<HashMap<String, u32>>>, uri: Uri, body: Bytes) -> Response {
    // LiteLLM's proxy looks for other paths, too.
    let Ok(asked) = serde_json::from_slice::<Value>(&body) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let is_anthropic = uri.path() == "/v1/messages";
    match uri.path() {
        "/v1/embeddings" => {
            return answer(&json!({"object": "list", "model": "e", "data": [
                {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}], "usage": {"prompt_tokens": 1, "total_tokens": 1}}));
        }
        "/v1/responses" => {
            return answer(
                &json!({"id": "r-1", "object": "response", "created_at": 1, "model": "big", "status": "completed",
                "output": [{"type": "message", "id": "m-1", "role": "assistant", "status": "completed",
                    "content": [{"type": "output_text", "text": "I am big.", "annotations": []}]}],
                "parallel_tool_calls": true, "tool_choice": "auto", "tools": []}),
            );
        }
        "/v1/messages/count_tokens" => return answer(&json!({"input_tokens": 9})),
        _ => {}
    }
    let text = asked["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap();
    let error = |status: StatusCode, kind: &str, message: &str| {
        let error = json!({"type": "error", "error": {"type": kind, "message": message}});
        (status, [(header::CONTENT_TYPE, "application/json"), (header::RETRY_AFTER, "0")], error.to_string())
            .into_response()
    };
    if text == "fail 400" {
        return error(StatusCode::BAD_REQUEST, "invalid_request_error", "a model's own error");
    }
    if text == "fail 500" {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "api_error", "a model's own failure");
    }
    if text.starts_with("busy") {
        let mut counts = counts.lock().unwrap();
        let count = counts.entry(text.to_owned()).or_default();
        *count += 1;
        if *count <= 2 {
            return error(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "slow down");
        }
    }
    if text == "hang" {
        std::future::pending::<()>().await;
    }
    let tools = asked["tools"].is_array();
    if asked["stream"] == true {
        let mut events = if is_anthropic { anthropic_events(tools) } else { openai_events(&asked, tools) };
        if text == "break" {
            events.truncate(2);
        }
        let mut chunks: VecDeque<_> = events.into_iter().map(|event| Ok(Bytes::from(event))).collect();
        if text == "break" {
            chunks.push_back(Err(std::io::Error::other("broken")));
        }
        return ([(header::CONTENT_TYPE, "text/event-stream")], Body::new(Chunks { chunks, paused: false }))
            .into_response();
    }
    if is_anthropic {
        let content = if tools {
            json!([{"type": "tool_use", "id": "t-1", "name": "add", "input": {"a": 1}}])
        } else {
            json!([{"type": "text", "text": "I am big."}])
        };
        return answer(
            &json!({"id": "m-1", "type": "message", "role": "assistant", "model": "big", "content": content,
            "stop_reason": "end_turn", "stop_sequence": null,
            "usage": {"input_tokens": 4, "cache_read_input_tokens": 5, "output_tokens": 4}}),
        );
    }
    let message = if tools {
        json!({"role": "assistant", "content": null, "tool_calls": [
            {"id": "t-1", "type": "function", "function": {"name": "add", "arguments": "{\"a\":1}"}}]})
    } else {
        json!({"role": "assistant", "content": "I am big."})
    };
    answer(&json!({"id": "c-1", "object": "chat.completion", "created": 1, "model": "big",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13, "prompt_tokens_details": {"cached_tokens": 5}}}))
}

fn answer(json: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], json.to_string()).into_response()
}

fn openai_events(asked: &Value, tools: bool) -> Vec<String> {
    let mut events =
        crate::models::events("big", &["I am ", "big."], asked["stream_options"]["include_usage"] == true);
    if tools {
        let begins =
            json!({"id": "t-1", "type": "function", "function": {"name": "add", "arguments": "{\"a\""}});
        let called = [begins, json!({"function": {"arguments": ":1}"}})].map(|mut call| {
            call["index"] = 0.into();
            let choice = json!({"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": null});
            format!(
                "data: {}\n\n",
                json!({"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "big", "choices": [choice]})
            )
        });
        events.splice(..2, called);
    }
    events
}

fn anthropic_events(tools: bool) -> Vec<String> {
    let (block, delta) = if tools {
        (
            json!({"type": "tool_use", "id": "t-1", "name": "add", "input": {}}),
            json!({"type": "input_json_delta", "partial_json": "{\"a\":1}"}),
        )
    } else {
        (json!({"type": "text", "text": ""}), json!({"type": "text_delta", "text": "I am big."}))
    };
    [
        json!({"type": "message_start", "message": {"id": "m-1", "type": "message", "role": "assistant", "model": "big",
            "content": [], "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 9, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
        json!({"type": "content_block_delta", "index": 0, "delta": delta}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": {"output_tokens": 4}}),
        json!({"type": "message_stop"}),
    ]
    .iter()
    .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()))
    .collect()
}

/// The folder that a variable names.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn folder(variable: &str) -> Option<String> {
    let folder = std::env::var(variable).ok();
    if folder.is_none() {
        eprintln!("SKIPPED: {variable} is not set");
    }
    folder
}

/// Starts a provider that acts, and returns its port.
async fn start_provider() -> u16 {
    let counts = Arc::new(Mutex::new(HashMap::new()));
    let app = axum::Router::new().fallback(move |uri: Uri, body: Bytes| provider(counts, uri, body));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(axum::serve(listener, app).into_future());
    port
}

/// Runs a client's script against a gateway of this provider.
async fn check(provider_name: &str, variable: &str, program: &str, script: &str) {
    let Some(folder) = folder(variable) else { return };
    let port = start_provider().await;
    let digest = const_hex::encode(Sha256::digest("key"));
    let text = config(port, port, "", &format!("[[clients]]\nname = \"a\"\nkey_sha256 = \"{digest}\""));
    let text = match provider_name {
        "anthropic" => text.replace("openai", "anthropic").replace("/v1\"", "\""),
        _ => text,
    };
    let running = Running::start(&text).await;
    let source = format!("{}/tests/clients/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(program);
    if program == "node" {
        // A module finds packages from its own folder on.
        let copy = format!("{folder}/{script}");
        std::fs::copy(source, &copy).unwrap();
        command.arg(copy);
    } else {
        // Nothing is written beside the script.
        command.arg(source).env("PYTHONPATH", folder).env("PYTHONDONTWRITEBYTECODE", "1");
    }
    command.env("BASE_URL", &running.url).env("NO_PROXY", "127.0.0.1").env(OFFLINE.0, OFFLINE.1);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stdout.ends_with("ok\n"), "{stdout}\n{stderr}");
    // Of each client one request was given up, and one answer broke off.
    running.until(r#"requests_total{result="cancelled"}"#, 1.0).await;
    assert_eq!(running.metric(r#"upstream_calls_total{model="big",result="broken"}"#).await, 1.0);
    // It repeated the failing request once.
    assert_eq!(running.metric(r#"upstream_calls_total{model="big",result="server_error"}"#).await, 2.0);
    running.until("requests_in_flight", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_served_openai_in_python() {
    check("openai", PYTHON, "python3", "openai_client.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_served_anthropic_in_python() {
    check("anthropic", PYTHON, "python3", "anthropic_client.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_served_openai_in_node() {
    check("openai", NODE, "node", "openai_client.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_served_anthropic_in_node() {
    check("anthropic", NODE, "node", "anthropic_client.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_served_litellm() {
    check("openai", LITELLM, "python3", "litellm_client.py").await;
}

/// LiteLLM's proxy, which is killed at the end of its test.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        // It fails if the program has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Proxy {
    /// Starts it before the models `big` and `small` of a provider, and waits until it listens.
    fn start(packages: &str, key: &str, provider: u16, port: u16) -> (Self, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let model = |name: &str| {
            json!({"model_name": name, "litellm_params": {"model": format!("openai/{name}"), "api_key": "sk-acted",
                "api_base": format!("http://127.0.0.1:{provider}/v1"), "max_retries": 0}})
        };
        let config = json!({
            "model_list": [model("big"), model("small")],
            "general_settings": {"master_key": key},
            "router_settings": {"num_retries": 0, "disable_cooldowns": true},
        });
        // JSON is YAML.
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, config.to_string()).unwrap();
        let mut command = Command::new("python3");
        command.args([
            "-c",
            "from litellm.proxy.proxy_cli import run_server; run_server()",
            "--host",
            "127.0.0.1",
            "--telemetry",
            "False",
        ]);
        command.arg("--config").arg(file).args(["--port", &port.to_string()]);
        command.env("PYTHONPATH", packages).env("NO_PROXY", "127.0.0.1").env(OFFLINE.0, OFFLINE.1);
        let mut child =
            command.current_dir(&folder).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let proxy = Self(child);
        let mut printed = String::new();
        while !printed.contains("Uvicorn running on") {
            // The lines end early where the program does.
            let line = lines.next().unwrap_or_else(|| panic!("it ended:\n{printed}"));
            printed.extend([&*line, "\n"]);
        }
        // A full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        (proxy, folder)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_served_through_the_proxy_of_litellm() {
    let Some(packages) = folder(LITELLM) else { return };
    let (provider, port) = (start_provider().await, free_port().await);
    let (_proxy, _folder) =
        tokio::task::spawn_blocking(move || Proxy::start(&packages, "sk-BIG", provider, port)).await.unwrap();
    let text = config(port, port, "mode = \"live\"", "").replace("SMALL", "BIG");
    let text = text.replace("model = \"small\"", "model = \"small\"\naccepts = [\"tools\"]");
    let running = Running::start(&text).await;
    for (question, model) in [(EASY, "small"), (HARD, "big")] {
        let response = running.ask(question, "").await;
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        let answer = parsed(response).await;
        assert_eq!(answer["choices"][0]["message"]["content"], "I am big.");
        let stream = running.ask(question, r#","stream":true"#).await.text().await.unwrap();
        assert!(stream.contains("I am ") && stream.ends_with("data: [DONE]\n\n"), "{stream}");
        assert!(!stream.contains("usage\":{"), "{stream}");
        let tools = r#","tools":[{"type":"function","function":{"name":"add","parameters":{"type":"object","properties":{}}}}]"#;
        let called = parsed(running.ask(question, tools).await).await;
        assert_eq!(called["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "add", "{called}");
        // A call is counted after its answer's last byte.
        running.until(&format!(r#"upstream_calls_total{{model="{model}",result="success"}}"#), 3.0).await;
        assert_eq!(running.metric(&format!(r#"tokens_total{{kind="output",model="{model}"}}"#)).await, 12.0);
    }
    let response = running.ask("fail 400", "").await;
    assert_eq!(response.status(), 400);
    assert!(response.text().await.unwrap().contains("a model's own error"));
    assert_eq!(running.ask("busy", "").await.status(), 429);
}

/// A port that was free a moment ago.
async fn free_port() -> u16 {
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}
