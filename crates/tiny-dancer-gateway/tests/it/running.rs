//! A gateway that runs beside its test.

use crate::models::Model;
use std::sync::Arc;
use tiny_dancer_embed::{Embedder, StaticEmbedder};
use tiny_dancer_gateway::{Config, Drained, Gateway, serve};
use tiny_dancer_memory::{Entry, RequestId, Verdict};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// A running gateway, and a client of it.
pub(crate) struct Running {
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) registry: prometheus::Registry,
    pub(crate) task: tokio::task::JoinHandle<Drained>,
}

/// The question that the lightweight model is known to answer.
pub(crate) const EASY: &str = "How do I reset my password?";
/// A question without evidence near it.
pub(crate) const HARD: &str =
    "Prove that the sequence of primes contains arbitrarily long arithmetic progressions.";

/// A configuration with models at two ports.
pub(crate) fn config(powerful: u16, lightweight: u16, root: &str, tables: &str) -> String {
    format!(
        r#"
        version = 1
        listen = "127.0.0.1:0"
        {root}
        [powerful]
        provider = "openai"
        model = "big"
        base_url = "http://127.0.0.1:{powerful}/v1"
        key_variable = "BIG"
        prices = {{ input = 10.0, output = 30.0 }}
        [lightweight]
        provider = "openai"
        model = "small"
        base_url = "http://127.0.0.1:{lightweight}/v1"
        key_variable = "SMALL"
        prices = {{ input = 1.0, cached_input = 0.1, output = 3.0 }}
        {tables}
        "#
    )
}

impl Running {
    /// A gateway whose memory has evidence on two questions.
    pub(crate) async fn start(text: &str) -> Self {
        let running = Self::start_empty(text).await;
        remember(&running.gateway);
        running
    }

    pub(crate) async fn start_empty(text: &str) -> Self {
        let config = Config::parse(text, &|variable| Some(format!("sk-{variable}"))).unwrap();
        let listener = TcpListener::bind(config.listen).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let registry = prometheus::Registry::new();
        let gateway = Arc::new(Gateway::new(config, &registry).unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = Arc::clone(&gateway);
        let task = tokio::spawn(async move {
            serve(listener, serving, async {
                let _ = stopped.await;
            })
            .await
        });
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { url, client, stop: Some(stop), gateway, registry, task }
    }

    /// A gateway in mode live with two models that answer.
    pub(crate) async fn live() -> (Self, Model, Model) {
        let (powerful, lightweight) = (
            Model::start(crate::models::answer("big")).await,
            Model::start(crate::models::answer("small")).await,
        );
        let running = Self::start(&config(powerful.port, lightweight.port, "mode = \"live\"", "")).await;
        (running, powerful, lightweight)
    }

    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> reqwest::Response {
        let request =
            self.client.post(format!("{}{path}", self.url)).header("content-type", "application/json");
        request.body(body.to_owned()).send().await.unwrap()
    }

    /// Asks a question.
    pub(crate) async fn ask(&self, question: &str, more: &str) -> reqwest::Response {
        self.post("/v1/chat/completions", &chat(question, more)).await
    }

    /// How many requests with a verdict are remembered.
    pub(crate) fn evidence(&self) -> usize {
        self.gateway.memory().stats().evidence
    }

    /// Reads a series until it has a value.
    pub(crate) async fn until(&self, series: &str, value: f64) {
        while self.metric(series).await != value {}
    }

    /// A scrape.
    pub(crate) async fn metrics(&self) -> String {
        self.client.get(format!("{}/metrics", self.url)).send().await.unwrap().text().await.unwrap()
    }

    /// The value of a series of the gateway's, or of the router's.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let text = self.metrics().await;
        let value = |prefix| text.lines().find_map(|line| line.strip_prefix(&format!("{prefix}_{series} ")));
        let line = value("tiny_dancer_gateway").or_else(|| value("tiny_dancer"));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
    }
}

/// The body of a request to `auto`.
pub(crate) fn chat(question: &str, more: &str) -> String {
    let question = serde_json::to_string(question).unwrap();
    format!(r#"{{"model":"auto","messages":[{{"role":"user","content":{question}}}]{more}}}"#)
}

pub(crate) fn header<'a>(response: &'a reqwest::Response, name: &str) -> &'a str {
    response.headers().get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
}

pub(crate) async fn parsed(response: reqwest::Response) -> serde_json::Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

/// Thirty requests like [`EASY`], of which the lightweight model answered each better, and as many like [`HARD`], where it was
/// worse.
fn remember(gateway: &Gateway) {
    for (text, verdict) in [(EASY, Verdict::judged(1.0, 0.0)), (HARD, Verdict::judged(0.0, 1.0))] {
        for _ in 0..30 {
            remember_one(gateway, text, verdict);
        }
    }
}

/// A request whose answers were judged now.
pub(crate) fn remember_one(gateway: &Gateway, text: &str, verdict: Verdict) {
    let mut embedding = Vec::new();
    StaticEmbedder::new().embed_into(text, &mut embedding).unwrap();
    let entry = Entry {
        id: RequestId::now(),
        created_at: tiny_dancer::Clock::system().unix_seconds(),
        tenant: None,
        user: None,
        metadata: tiny_dancer::Metadata::new(),
        embedding,
        prompt: None,
        verdict: Some(verdict),
    };
    gateway.memory().remember(entry).unwrap();
}
