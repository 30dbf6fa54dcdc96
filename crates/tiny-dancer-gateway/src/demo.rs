//! A demonstration without keys: two models and a judge that act, the everyday prompts of `examples/data`, and the memory beside them.
//!
//! The models answer with their names and what they got. They take a pause before each word, as language models do, and the
//! powerful one the longer.

use crate::body::quoted;
use axum::Router as Web;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use half::f16;
use hyper::body::Frame;
use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tiny_dancer::{Clock, Metadata};
use tiny_dancer_memory::{Entry, RequestId, Verdict};
use tokio::net::TcpListener;
use tokio::time::{Instant, Sleep};

const PROMPTS: &str = include_str!("../../../examples/data/prompts.jsonl");
const PROFILES: &str = include_str!("../../../examples/data/memory.jsonl");
const VECTORS: &[u8] = include_bytes!("../../../examples/data/memory.safetensors");

/// The names of the models.
const POWERFUL: &str = "powerful-demo";
const LIGHTWEIGHT: &str = "lightweight-demo";

/// The pause between two requests of [`send_prompts`]: slow enough to be read.
const PAUSE: Duration = Duration::from_millis(250);

/// The configuration of a gateway between clients and the models at this address.
pub fn configuration(models: SocketAddr) -> toml::Table {
    let model = |name: &str, input: f64| {
        let mut table = toml::Table::new();
        table.insert("provider".to_owned(), "openai".into());
        table.insert("model".to_owned(), name.into());
        table.insert("base_url".to_owned(), format!("http://{models}/v1").into());
        let prices = [("input".to_owned(), input.into()), ("output".to_owned(), (8.0 * input).into())];
        table.insert("prices".to_owned(), toml::Table::from_iter(prices).into());
        table
    };
    let mut table = toml::Table::new();
    table.insert("version".to_owned(), 1.into());
    table.insert("mode".to_owned(), "live".into());
    table.insert("powerful".to_owned(), model(POWERFUL, 1.25).into());
    table.insert("lightweight".to_owned(), model(LIGHTWEIGHT, 0.25).into());
    let mut insert = |key: &str, entries: &[(&str, toml::Value)]| {
        let entries = entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
        table.insert(key.to_owned(), entries.collect::<toml::Table>().into());
    };
    // The promise of the examples, whose thresholds are those to begin with.
    insert("risk", &[("alpha", 0.15.into()), ("delta", 0.05.into())]);
    insert("budget", &[("loss_rate", 0.05.into())]);
    insert("judge", &[("kind", "webhook".into()), ("url", format!("http://{models}/judge").into())]);
    table
}

/// Answers as both models, and as the judge of their answers.
///
/// # Errors
/// None, as it does not end.
pub async fn serve_models(listener: TcpListener) -> std::io::Result<()> {
    let web = Web::new().route("/v1/chat/completions", post(answer)).route("/judge", post(judge));
    axum::serve(listener, web).await
}

/// Judges as a webhook: one question in twenty has a lightweight answer that is worse, each time that it comes.
async fn judge(body: Bytes) -> Response {
    #[derive(Deserialize)]
    struct Compared {
        question: String,
    }
    let Ok(Compared { question }) = serde_json::from_slice(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let is_worse = Sha256::digest(question)[0] < 13;
    let body = format!(r#"{{"lightweight":{},"powerful":1}}"#, u8::from(!is_worse));
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// How many requests stand for a profile. They have its rates, rounded.
const REQUESTS: usize = 8;

/// The memory of the examples, as if its requests were judged now.
#[expect(clippy::missing_panics_doc, reason = "a test reads the files, which are part of the program")]
pub fn entries() -> Vec<Entry> {
    #[derive(Deserialize)]
    struct Row {
        success_rate: f32,
        win_rate: f32,
        metadata: Metadata,
    }
    let tensors = SafeTensors::deserialize(VECTORS).expect("a test reads the vectors");
    let tensor = tensors.tensor("embeddings").expect("a test reads the vectors");
    let values: Vec<_> =
        tensor.data().as_chunks::<2>().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect();
    let created_at = Clock::system().unix_seconds();
    let vectors = values.chunks(tensor.shape()[1]);
    let requests = |(row, embedding): (&str, &[f32])| {
        let Row { success_rate, win_rate, metadata } =
            serde_json::from_str(row).expect("a test reads the profiles");
        let embedding = embedding.to_vec();
        (0..REQUESTS).map(move |number| {
            let is_below = |rate: f32| (number as f32) < (rate * REQUESTS as f32).round();
            let powerful = if is_below(win_rate) { 0.0 } else { 1.0 };
            let lightweight = if is_below(success_rate) { 1.0 } else { 0.0 };
            Entry {
                id: RequestId::now(),
                created_at,
                tenant: None,
                user: None,
                metadata: metadata.clone(),
                embedding: embedding.clone(),
                prompt: None,
                verdict: Some(Verdict::judged(lightweight, powerful)),
            }
        })
    };
    PROFILES.lines().zip(vectors).flat_map(requests).collect()
}

/// Sends the everyday prompts to a gateway, again and again, half of them as streams.
///
/// # Errors
/// If the client cannot be made.
pub async fn send_prompts(gateway: SocketAddr) -> Result<(), reqwest::Error> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let url = format!("http://{gateway}/v1/chat/completions");
    for (number, prompt) in prompts().into_iter().cycle().enumerate() {
        let (content, stream) = (quoted(&prompt), number % 2 == 1);
        let body = format!(
            r#"{{"model":"auto","stream":{stream},"messages":[{{"role":"user","content":{content}}}]}}"#
        );
        let request = client.post(&url).header(header::CONTENT_TYPE, "application/json").body(body);
        // A refused prompt is visible in the metrics; the next one follows.
        if let Ok(response) = request.send().await {
            let _ = response.bytes().await;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

fn prompts() -> Vec<String> {
    #[derive(Deserialize)]
    struct Row {
        prompt: String,
    }
    let prompt = |line| serde_json::from_str(line).map(|Row { prompt }| prompt);
    PROMPTS.lines().filter_map(|line| prompt(line).ok()).collect()
}

#[derive(Deserialize)]
struct Asked<'a> {
    model: String,
    #[serde(borrow)]
    messages: Vec<&'a RawValue>,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    stream_options: Option<Options>,
}

#[derive(Default, Deserialize)]
struct Options {
    #[serde(default)]
    include_usage: bool,
}

/// Answers as `OpenAI`'s interface does.
async fn answer(body: Bytes) -> Response {
    let asked: Asked<'_> = match serde_json::from_slice(&body) {
        Ok(asked) => asked,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    let is_powerful = asked.model == POWERFUL;
    let pause = Duration::from_millis(if is_powerful { 30 } else { 10 });
    let text = format!(
        "This is {}, which only acts. Messages: {}, bytes: {}.",
        asked.model,
        asked.messages.len(),
        asked.messages.iter().map(|message| message.get().len()).sum::<usize>(),
    );
    let words: Vec<_> = text.split_inclusive(' ').map(quoted).collect();
    let (input, output) = (body.len() / 4, words.len());
    let usage = format!(
        r#"{{"prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{}}}"#,
        input + output
    );
    let (model, created) = (quoted(&asked.model), Clock::system().unix_seconds());
    let beginning = |object: &str| {
        format!(r#"{{"id":"chatcmpl-demo","object":"{object}","created":{created},"model":{model}"#)
    };
    if !asked.stream {
        tokio::time::sleep(pause * output as u32).await;
        let body = format!(
            r#"{},"choices":[{{"index":0,"message":{{"role":"assistant","content":{}}},"finish_reason":"stop"}}],"usage":{usage}}}"#,
            beginning("chat.completion"),
            quoted(&text)
        );
        return ([(header::CONTENT_TYPE, "application/json")], body).into_response();
    }
    let beginning = beginning("chat.completion.chunk");
    let event = |delta: &str, reason: &str| {
        format!(
            "data: {beginning},\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{reason}}}]}}\n\n"
        )
    };
    let mut events: VecDeque<_> = words
        .iter()
        .map(|word| event(&format!("{{\"role\":\"assistant\",\"content\":{word}}}"), "null"))
        .collect();
    events.push_back(event("{}", "\"stop\""));
    if asked.stream_options.unwrap_or_default().include_usage {
        events.push_back(format!("data: {beginning},\"choices\":[],\"usage\":{usage}}}\n\n"));
    }
    events.push_back("data: [DONE]\n\n".to_owned());
    let stream = Paced { events, pause: Box::pin(tokio::time::sleep(pause)), each: pause };
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::new(stream)).into_response()
}

/// Sends each event after a pause.
struct Paced {
    events: VecDeque<String>,
    pause: Pin<Box<Sleep>>,
    each: Duration,
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        ready!(self.pause.as_mut().poll(context));
        let next = Instant::now() + self.each;
        self.pause.as_mut().reset(next);
        Poll::Ready(self.events.pop_front().map(|event| Ok(Frame::data(event.into()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Gateway};

    #[test]
    fn the_files_of_the_demonstration_are_read() {
        let entries = entries();
        assert_eq!((entries.len(), entries[0].embedding.len(), prompts().len()), (256 * REQUESTS, 256, 150));
        let table = configuration(SocketAddr::from(([127, 0, 0, 1], 9)));
        let config = Config::from_table(table, &|_| None).unwrap();
        let gateway = Gateway::new(config, &prometheus::Registry::new()).unwrap();
        for entry in entries {
            gateway.memory().remember(entry).unwrap();
        }
        assert_eq!(gateway.memory().stats().evidence, 256 * REQUESTS);
    }
}
