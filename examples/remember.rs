//! A service that learns: a text comes in, the name of a model goes out, and verdicts on the answers come back.
//!
//!     curl --json '{"prompt": "Is a verbal contract binding?", "tenant": "acme"}' localhost:8080/decide
//!     curl --json '{"id": "<id of the decision>", "lightweight": 0.9}' localhost:8080/verdict

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{delete, post};
use axum::{Json, Router as Web};
use std::sync::Arc;
use tiny_dancer::observer::StageErrorKind;
use tiny_dancer::parts::metrics::{http, prometheus::Registry};
use tiny_dancer::{ModelType, Reason, Router, RouterConfig, TraceContext, TracingConfig, TracingSystem};
use tiny_dancer_embed::{Embedder, StaticEmbedder};
use tiny_dancer_memory::{Context, Erasure, Memory, MemoryConfig, RecordError, RequestId, Verdict};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use tracing::Instrument;

struct Service {
    embedder: StaticEmbedder,
    memory: Memory,
    router: Arc<Router>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let tracing_system = TracingSystem::new(TracingConfig::default()); // OTEL_* variables configure it
    tracing_system.init()?;

    // Of what would go to the powerful model, some is explored, and some is compared: the memory learns from both.
    let (embedder, registry) = (StaticEmbedder::new(), Registry::new());
    let id = Some(embedder.id().to_string());
    let config = RouterConfig { embedder: id.clone(), explore: 0.02, shadow_rate: 0.1, ..Default::default() };
    let router = Arc::new(Router::builder(config).registry(&registry).build()?);

    // The memory survives a restart. Its events become metrics and log lines.
    let path = std::env::var("MEMORY").unwrap_or_else(|_| "memory.db".to_string());
    let observed = Arc::clone(&router);
    let memory = Memory::open_with(path, MemoryConfig { embedder: id, ..Default::default() })?
        .observed_by(move |event| observed.core().on_memory(event));

    let service = Arc::new(Service { embedder, memory, router });
    let web = Web::new()
        .route("/decide", post(decide))
        .route("/verdict", post(verdict))
        .route("/tenants/{tenant}", delete(erase))
        .layer(middleware::from_fn(in_a_span))
        .with_state(Arc::clone(&service))
        .route("/readyz", http::ready(registry.clone()))
        .route("/metrics", http::metrics(registry));

    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async move { _ = terminate.recv().await };
    let address = std::env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:8080".to_string());
    let listener = tokio::net::TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "serving");
    axum::serve(listener, web).with_graceful_shutdown(stop).await?;

    tracing_system.shutdown();
    Ok(service.memory.flush()?) // what is remembered is on the disk
}

#[derive(serde::Deserialize)]
struct Question {
    prompt: String,
    tenant: Option<String>,
    user: Option<String>,
}

#[derive(serde::Serialize)]
struct Decision {
    /// Names the request in its verdict. A text without tokens has none: it is not remembered.
    id: Option<String>,
    model: ModelType,
    reason: Reason,
    /// Whether to call the lightweight model too, after the answer, for a comparison.
    shadow: bool,
}

/// Decides in microseconds, and waits for no disk.
async fn decide(
    State(service): State<Arc<Service>>,
    Json(question): Json<Question>,
) -> Result<Json<Decision>, (StatusCode, String)> {
    let mut scope = service.router.core().begin();
    let mut embedding = Vec::new();
    let is_embedded = scope.embedding(|report| {
        match service.embedder.embed_into(&question.prompt, &mut embedding) {
            Ok(reading) => (report.items, report.truncated) = (reading.tokens, reading.truncated),
            Err(error) => report.error = Some(error.kind().name().parse().unwrap_or(StageErrorKind::Other)),
        }
        report.error.is_none()
    });
    let context = Context { tenant: question.tenant, user: question.user, ..Default::default() };
    let routed = if is_embedded {
        service.memory.route(scope, &embedding, context).map(|routed| (Some(routed.id), routed.response))
    } else {
        scope.route_without_evidence().map(|response| (None, response))
    };
    let (id, response) = routed.map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
    Ok(Json(Decision {
        id: id.map(|id| id.to_string()),
        model: response.model,
        reason: response.reason,
        shadow: response.shadow.is_some_and(|draw| draw.happened),
    }))
}

#[derive(serde::Deserialize)]
struct Feedback {
    id: String,
    lightweight: f32,
    powerful: Option<f32>,
}

/// Learns from a verdict on the lightweight answer: as late as it comes, as often as it is sent.
async fn verdict(
    State(service): State<Arc<Service>>,
    Json(feedback): Json<Feedback>,
) -> Result<String, (StatusCode, String)> {
    let refused = |error: &dyn std::fmt::Display| (StatusCode::BAD_REQUEST, error.to_string());
    let id: RequestId = feedback.id.parse().map_err(|error| refused(&error))?;
    let verdict = Verdict { powerful: feedback.powerful, ..Verdict::lightweight(feedback.lightweight) };
    // An older request is read from the disk.
    let record = move || service.memory.record(service.router.core(), id, verdict);
    match spawn_blocking(record).await.map_err(|error| refused(&error))? {
        Err(error @ RecordError::Unknown { .. }) => Err((StatusCode::NOT_FOUND, error.to_string())),
        recorded => recorded.map(|kind| kind.to_string()).map_err(|error| refused(&error)),
    }
}

/// Erases all that is remembered and logged of a tenant, in memory and in the files.
async fn erase(State(service): State<Arc<Service>>, Path(tenant): Path<String>) -> StatusCode {
    let erased = spawn_blocking(move || service.memory.erase(&Erasure::Tenant(tenant))).await;
    if matches!(erased, Ok(Ok(()))) { StatusCode::NO_CONTENT } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// Opens the span of a request, below the caller's span if a `traceparent` header names one.
async fn in_a_span(request: Request, next: Next) -> Response {
    let span = {
        let caller = TraceContext::extract(request.headers()).ok();
        let _parent = caller.as_ref().map(TraceContext::attach);
        tracing::info_span!("request", otel.kind = "server")
    };
    next.run(request).instrument(span).await
}
