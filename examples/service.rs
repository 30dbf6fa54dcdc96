//! A service that chooses the model for its callers, with metrics, traces and logs.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::post;
use axum::{Json, Router as Web};
use std::sync::Arc;
use tiny_dancer::parts::metrics::{http, prometheus::Registry};
use tiny_dancer::{
    Candidate, LogFormat, ModelType, Outcome, OutcomeResult, ProcessCollector, Reason, RiskBudget, Router,
    RouterConfig, RoutingRequest, TraceContext, TracingConfig, TracingSystem, otlp,
};
use tokio::signal::unix::{SignalKind, signal};
use tracing::Instrument;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Tracing comes first, so that it logs the start of the router.
    let tracing_system = TracingSystem::new(TracingConfig {
        service_name: "my-service".to_string(),
        service_version: Some(env!("CARGO_PKG_VERSION").to_string()),
        sampling_ratio: 1.0, // every request is a trace; 0.01 to 0.1 in production
        log_format: LogFormat::Json,
        ..Default::default() // OTEL_EXPORTER_OTLP_ENDPOINT names the collector
    });
    tracing_system.init()?;

    // A registry of its own holds the router's metrics and those of the process.
    let registry = Registry::new();
    registry.register(Box::new(ProcessCollector::new()?))?;
    tracing_system.push_metrics(otlp::source(&registry)); // only with OTEL_METRICS_EXPORTER=otlp
    let risk = Some(RiskBudget { alpha: 0.15, delta: 0.05 });
    let config = RouterConfig { risk, ..Default::default() };
    let router = Router::builder(config).registry(&registry).label("router", "support").build()?;

    let web = Web::new()
        .route("/decide", post(decide))
        .route("/outcome", post(outcome))
        .layer(middleware::from_fn(in_a_span))
        .with_state(Arc::new(router))
        .route("/readyz", http::ready(registry.clone()))
        .route("/metrics", http::metrics(registry)); // outside of the layer: a scrape opens no span

    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = async move {
        tokio::select! {
            _ = interrupt.recv() => {} // Ctrl-C
            _ = terminate.recv() => {} // systemd, Kubernetes, `docker stop`
        }
    };
    let address = std::env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:8080".to_string());
    let listener = tokio::net::TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "serving");
    axum::serve(listener, web).with_graceful_shutdown(stop).await?; // returns when all requests are answered

    let report = tracing_system.shutdown(); // exports the remaining spans, for 5 s at most
    if report.lost() > 0 {
        tracing::warn!(%report, "spans were lost");
    }
    Ok(())
}

#[derive(serde::Deserialize)]
struct Question {
    embedding: Vec<f32>,
    /// The nearest past requests. With a vector store, the service searches for them here.
    candidates: Vec<Candidate>,
}

#[derive(serde::Serialize)]
struct Decision {
    model: ModelType,
    reason: Reason,
    confidence: f32,
    uncertainty: f32,
}

/// Decides in the request's span. An error names the field and its value.
async fn decide(
    State(router): State<Arc<Router>>,
    Json(question): Json<Question>,
) -> Result<Json<Decision>, (StatusCode, String)> {
    let request = RoutingRequest::new(&question.embedding, &question.candidates);
    let response = router.route(request).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    tracing::info!(model = %response.model, "decided");
    let (confidence, uncertainty) = (response.confidence, response.uncertainty);
    Ok(Json(Decision { model: response.model, reason: response.reason, confidence, uncertainty }))
}

#[derive(serde::Deserialize)]
struct Answer {
    model: ModelType,
    result: OutcomeResult,
}

/// Reports how the chosen model did. The `lightweight` circuit and the promise depend on it.
async fn outcome(State(router): State<Arc<Router>>, Json(answer): Json<Answer>) {
    router.record_outcome(Outcome::new(answer.model, answer.result));
}

/// Opens the span of a request, below the caller's span if a `traceparent` header names one.
async fn in_a_span(request: Request, next: Next) -> Response {
    let span = {
        let caller = TraceContext::extract(request.headers()).ok();
        let _parent = caller.as_ref().map(TraceContext::attach);
        tracing::info_span!("request", otel.kind = "server", url.path = request.uri().path())
    };
    next.run(request).instrument(span).await
}
