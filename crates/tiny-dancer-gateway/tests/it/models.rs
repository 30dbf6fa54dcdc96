//! A model that acts: it answers each request with the bytes that a test gives, and keeps the requests.

use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};

/// A request that a model got.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// One step of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Sends bytes.
    Send(Vec<u8>),
    /// Waits until the test lets it go on.
    Wait,
    /// Sends these bytes again and again until the client hangs up.
    Endless(Vec<u8>),
    /// Waits until the client hangs up.
    Hang,
}

pub(crate) fn send(text: impl Into<String>) -> Step {
    Step::Send(text.into().into_bytes())
}

/// A running model. It closes each connection after its answer.
pub(crate) struct Model {
    pub(crate) port: u16,
    script: Arc<Mutex<Vec<Step>>>,
    got: Arc<Mutex<Vec<Got>>>,
    called: Arc<Notify>,
    go_on: mpsc::UnboundedSender<()>,
    /// Gets a message when a client has hung up during `Endless` or `Hang`.
    pub(crate) hung_up: mpsc::UnboundedReceiver<()>,
}

impl Model {
    pub(crate) async fn start(script: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (script, got) = (Arc::new(Mutex::new(script)), Arc::new(Mutex::new(Vec::new())));
        let (go_on, going) = mpsc::unbounded_channel();
        let (hangs_up, hung_up) = mpsc::unbounded_channel();
        let going = Arc::new(tokio::sync::Mutex::new(going));
        let (acts, keeps) = (Arc::clone(&script), Arc::clone(&got));
        let called = Arc::new(Notify::new());
        let calls = Arc::clone(&called);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acts, keeps, going, hangs_up) =
                    (Arc::clone(&acts), Arc::clone(&keeps), Arc::clone(&going), hangs_up.clone());
                let calls = Arc::clone(&calls);
                tokio::spawn(async move {
                    let _ = act(stream, &acts, &keeps, &calls, &going, &hangs_up).await;
                });
            }
        });
        Self { port, script, got, called, go_on, hung_up }
    }

    /// Changes the answer of later requests.
    pub(crate) fn acts(&self, script: Vec<Step>) {
        *self.script.lock().unwrap() = script;
    }

    /// Lets the answer that waits go on.
    pub(crate) fn go_on(&self) {
        self.go_on.send(()).unwrap();
    }

    /// Waits for the next request.
    pub(crate) async fn until_called(&self) {
        self.called.notified().await;
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }
}

async fn act(
    mut stream: TcpStream,
    script: &Mutex<Vec<Step>>,
    got: &Mutex<Vec<Got>>,
    called: &Notify,
    going: &tokio::sync::Mutex<mpsc::UnboundedReceiver<()>>,
    hung_up: &mpsc::UnboundedSender<()>,
) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let head = loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let mut got_now = Got { head: String::from_utf8(bytes[..head].to_vec()).unwrap(), body: String::new() };
    let length = got_now.header("content-length").map_or(0, |length| length.parse().unwrap());
    while bytes.len() < head + length {
        stream.read_buf(&mut bytes).await?;
    }
    got_now.body = String::from_utf8(bytes[head..].to_vec()).unwrap();
    got.lock().unwrap().push(got_now);
    called.notify_one();
    let steps = script.lock().unwrap().clone();
    for step in steps {
        match step {
            Step::Send(bytes) => stream.write_all(&bytes).await?,
            Step::Wait => going.lock().await.recv().await.unwrap(),
            Step::Endless(bytes) => while stream.write_all(&bytes).await.is_ok() {},
            Step::Hang => {
                // The client sends nothing more, so this ends when it hangs up.
                let _ = stream.read_u8().await;
            }
        }
        if matches!(script.lock().unwrap().last(), Some(Step::Endless(_) | Step::Hang)) {
            let _ = hung_up.send(());
        }
    }
    Ok(())
}

/// A whole answer of a status and JSON.
pub(crate) fn json(status: &str, headers: &str, body: &str) -> Vec<Step> {
    vec![send(format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))]
}

/// An answer of `OpenAI`'s interface.
pub(crate) fn answer(model: &str) -> Vec<Step> {
    let body = format!(
        r#"{{"id":"c-1","object":"chat.completion","created":1,"model":"{model}-2025","choices":[{{"index":0,"message":{{"role":"assistant","content":"I am {model}."}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13,"prompt_tokens_details":{{"cached_tokens":5}}}}}}"#
    );
    json("200 OK", "x-request-id: r-1\r\nset-cookie: a=b\r\n", &body)
}

pub(crate) const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";

/// One chunk of a stream.
pub(crate) fn chunk(text: &str) -> Step {
    send(format!("{:x}\r\n{text}\r\n", text.len()))
}

pub(crate) fn last() -> Step {
    send("0\r\n\r\n")
}

/// The events of a stream of `OpenAI`'s interface.
pub(crate) fn events(model: &str, words: &[&str], with_usage: bool) -> Vec<String> {
    let choice = |choice: &str| {
        format!(
            "data: {{\"id\":\"c-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"{model}-2025\",\"choices\":[{choice}]}}\n\n"
        )
    };
    let mut events: Vec<_> = words
        .iter()
        .map(|word| {
            choice(&format!("{{\"index\":0,\"delta\":{{\"content\":\"{word}\"}},\"finish_reason\":null}}"))
        })
        .collect();
    events.push(choice("{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}"));
    if with_usage {
        events.push(format!(
            "data: {{\"id\":\"c-1\",\"model\":\"{model}-2025\",\"choices\":[],\"usage\":{{\"prompt_tokens\":9,\"completion_tokens\":4,\"total_tokens\":13}}}}\n\n"
        ));
    }
    events.push("data: [DONE]\n\n".to_owned());
    events
}

/// A stream of these events, each in a chunk of its own.
pub(crate) fn stream(events: &[String]) -> Vec<Step> {
    let mut steps = vec![send(STREAM)];
    steps.extend(events.iter().map(|event| chunk(event)));
    steps.push(last());
    steps
}
