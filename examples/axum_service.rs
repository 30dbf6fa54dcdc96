//! A service between its callers and its models: one trace from the incoming request through the decision to the outgoing call.
//!
//! ```text
//! cargo run --release --example axum_service
//! OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 cargo run --release --example axum_service
//! cargo run --release --example axum_service -- --serve 127.0.0.1:8080
//! ```
//!
//! There are four callers: one without a trace, one within a sampled trace, one within a trace that is not sampled, and one
//! whose header is broken. The service routes each request and calls the chosen model, which is a second server here, on a
//! port of its own; the two share only HTTP. The answers come from no language model: they name the chosen one.
//!
//! With the variable set, spans go to that collector. Without it, a collector within this process receives and draws them.
//!
//! With `--serve` you are the caller: the service answers `/ask/prompt-001`, other prompts, and `/metrics`, until Ctrl-C or
//! SIGTERM. Then it finishes its open requests, sends the remaining spans, and prints a report.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use anyhow::Context as _;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use clap::Parser;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tiny_dancer::parts::metrics::http;
use tiny_dancer::{ModelType, Router, TraceContext, TracingConfig, TracingSystem};
use tiny_dancer_examples::collector::{Collector, hex, roots, tree};
use tiny_dancer_examples::data::{Memory, Prompt};
use tiny_dancer_examples::stop;
use tiny_dancer_examples::table::Table;
use tracing::Instrument;

/// The header that returns the id of the trace to the caller.
const TRACE_ID: &str = "x-trace-id";

/// Routes each request, and calls the chosen model.
#[derive(Parser)]
struct Arguments {
    /// Serve /ask/{prompt} and /metrics at this address until Ctrl-C or SIGTERM.
    #[arg(long, value_name = "ADDR")]
    serve: Option<SocketAddr>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let external = std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok();
    let collector = if external.is_none() { Some(Collector::start()?) } else { None };
    let tracing_system = TracingSystem::new(TracingConfig {
        service_name: "axum-service".to_owned(),
        otlp_endpoint: external.clone().or_else(|| collector.as_ref().map(Collector::endpoint)),
        // The names of the language models, for the attribute `tiny_dancer.decision.model_name`.
        lightweight_model: Some("small-model".to_owned()),
        powerful_model: Some("large-model".to_owned()),
        ..Default::default()
    });
    tracing_system.init()?;

    let memory = Memory::load()?;
    let router = Arc::new(Router::new(memory.config())?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let answers = runtime.block_on(run(&router, memory.prompts()?, arguments.serve))?;

    // The servers have ended, and with them the last span. A timeout in the configuration bounds the flush.
    let report = tracing_system.shutdown();
    let mut table = Table::new(["caller", "answer", "trace"]);
    for Answer { caller, text, trace } in &answers {
        table.row([(*caller).to_owned(), text.clone(), trace.clone()]);
    }
    print!("{table}");
    let metrics = router.export_metrics()?;
    for line in metrics.lines().filter(|line| line.starts_with("tiny_dancer_routing_requests_total")) {
        println!("{line}");
    }
    println!("\nspans: {report}");
    match collector {
        Some(collector) => {
            let spans = collector.spans();
            for Answer { caller, trace, .. } in &answers {
                println!("\n{caller}");
                match roots(&spans).into_iter().find(|root| hex(&root.trace_id) == *trace) {
                    Some(root) => print!("{}", tree(&spans, root)),
                    None => println!("  not recorded, since the caller's trace is not"),
                }
            }
        }
        None => println!("sent to {}", external.unwrap_or_default()),
    }
    Ok(())
}

/// The answer to a caller.
struct Answer {
    caller: &'static str,
    text: String,
    trace: String,
}

/// Starts both servers, serves until a signal or sends four requests, and stops both.
async fn run(
    router: &Arc<Router>,
    prompts: Vec<Prompt>,
    serve: Option<SocketAddr>,
) -> anyhow::Result<Vec<Answer>> {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let models = axum::Router::new().route("/{model}", post(model));
    let models = Server::start(any_port, with_spans(models, "POST /{model}")).await?;

    let service = Service {
        router: Arc::clone(router),
        prompts: prompts.into_iter().map(|prompt| (prompt.id.clone(), prompt)).collect(),
        client: client()?,
        models: models.address,
    };
    let service = axum::Router::new().route("/ask/{prompt}", get(ask)).with_state(Arc::new(service));
    let app = with_spans(service, "GET /ask/{prompt}")
        // A scrape is not a caller's request, so it has no span.
        .route("/metrics", http::metrics(router.registry().clone()));
    let stop = stop::requested()?;
    let server = Server::start(serve.unwrap_or(any_port), app).await?;

    let answers = if serve.is_some() {
        println!("Serving http://{}/ask/prompt-001 and /metrics until Ctrl-C or SIGTERM", server.address);
        stop.await;
        Vec::new()
    } else {
        send_four_requests(server.address).await?
    };
    // The service first, since it calls the models.
    server.stop().await?;
    models.stop().await?;
    Ok(answers)
}

async fn send_four_requests(address: SocketAddr) -> anyhow::Result<Vec<Answer>> {
    let callers = [
        ("without a trace", "prompt-001", None),
        ("in a sampled trace", "prompt-008", Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
        (
            "in an unsampled trace",
            "prompt-044",
            Some("00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"),
        ),
        ("with a broken header", "prompt-004", Some("00-this-is-no-trace-context-01")),
    ];
    let (client, mut answers) = (client()?, Vec::new());
    for (caller, prompt, traceparent) in callers {
        let mut request = client.get(format!("http://{address}/ask/{prompt}"));
        if let Some(traceparent) = traceparent {
            request = request.header("traceparent", traceparent);
        }
        let response = request.send().await?.error_for_status()?;
        let trace = response.headers().get(TRACE_ID).context("the answer has no trace id")?;
        let trace = trace.to_str()?.to_owned();
        answers.push(Answer { caller, trace, text: response.text().await? });
    }
    Ok(answers)
}

/// A server that runs until it is stopped.
struct Server {
    address: SocketAddr,
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn start(address: SocketAddr, app: axum::Router) -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serve = axum::serve(listener, app).with_graceful_shutdown(async {
            // A dropped sender stops it, too.
            let _ = stopped.await;
        });
        Ok(Self { address, stop, task: tokio::spawn(serve.into_future()) })
    }

    /// Accepts no more connections, and returns when the open requests are answered.
    async fn stop(self) -> anyhow::Result<()> {
        drop(self.stop);
        Ok(self.task.await??)
    }
}

/// Handles each request in a span of its own, which is named after the route.
fn with_spans(app: axum::Router, route: &'static str) -> axum::Router {
    app.layer(middleware::from_fn_with_state(route, in_a_span))
}

/// Both servers are on this machine, so no proxy is used.
fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().no_proxy().build()
}

/// Opens the span of a request, below the caller's if the headers name one, and handles the request within it.
async fn in_a_span(State(route): State<&'static str>, request: Request, next: Next) -> Response {
    let span = {
        // The guard is dropped here, since it can't be held across an `.await`. The span keeps its parent.
        let caller = TraceContext::extract(request.headers());
        let _parent = caller.as_ref().ok().map(TraceContext::attach);
        tracing::info_span!(
            "request",
            otel.name = route,
            otel.kind = "server",
            http.request.method = %request.method(),
            url.path = request.uri().path(),
            http.response.status_code = tracing::field::Empty,
        )
    };
    let response = next.run(request).instrument(span.clone()).await;
    span.record("http.response.status_code", i64::from(response.status().as_u16()));
    response
}

/// The state of the service.
struct Service {
    router: Arc<Router>,
    prompts: std::collections::HashMap<String, Prompt>,
    client: reqwest::Client,
    models: SocketAddr,
}

/// `GET /ask/{prompt}`: routes, and calls the chosen model.
async fn ask(State(service): State<Arc<Service>>, Path(prompt): Path<String>) -> Response {
    let Some(prompt) = service.prompts.get(&prompt) else { return StatusCode::NOT_FOUND.into_response() };
    // A few microseconds of arithmetic, in the current span.
    let decision = match service.router.route(prompt.request()) {
        Ok(decision) => decision,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    let mut response = match call(&service, decision.model, prompt).await {
        Ok(text) => text.into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response(),
    };
    if let Some(here) = TraceContext::from_current()
        && let Ok(id) = HeaderValue::from_str(&here.trace_id())
    {
        response.headers_mut().insert(TRACE_ID, id);
    }
    response
}

/// The outgoing call, in a span that the headers name as the parent.
#[tracing::instrument(name = "chat", skip_all, fields(otel.kind = "client", server.address = %service.models.ip()))]
async fn call(service: &Service, model: ModelType, prompt: &Prompt) -> anyhow::Result<String> {
    let mut headers = HeaderMap::new();
    if let Some(here) = TraceContext::from_current() {
        here.inject(&mut headers);
    }
    let url = format!("http://{}/{}", service.models, model.name());
    let response = service.client.post(url).headers(headers).body(prompt.text.clone()).send().await?;
    Ok(response.error_for_status()?.text().await?)
}

/// `POST /{model}` of the second server.
async fn model(Path(model): Path<String>, question: String) -> String {
    format!("the {model} model, {} characters", question.chars().count())
}
