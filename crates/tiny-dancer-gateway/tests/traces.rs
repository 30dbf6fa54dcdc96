//! The trace of a request, from the client's span through the decision to the call, as a collector receives it. The subscriber is that of
//! the process, so this is a test binary of its own.
#![expect(clippy::unwrap_used, reason = "tests and their helper functions fail by panicking")]

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::sync::{Arc, Mutex};
use tiny_dancer::{TracingConfig, TracingSystem};
use tiny_dancer_gateway::{Config, Gateway, serve};
use tokio::net::TcpListener;

const ANSWER: &str = r#"{"model":"big-2025","choices":[{"index":0,"message":{"role":"assistant","content":"42"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":5}}}"#;

async fn start(app: axum::Router) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, app).into_future());
    address
}

fn attribute(span: &Span, key: &str) -> Option<Value> {
    span.attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?.value
}

fn text(span: &Span, key: &str) -> String {
    match attribute(span, key) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{key}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_has_the_clients_span_the_decision_and_each_call_with_its_tokens() {
    let spans = Arc::new(Mutex::new(Vec::<Span>::new()));
    let keep = Arc::clone(&spans);
    let collector = start(axum::Router::new().route(
        "/v1/traces",
        post(move |body: Bytes| async move {
            let request = ExportTraceServiceRequest::decode(body).unwrap();
            let received = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
            keep.lock().unwrap().extend(received.flat_map(|scope| scope.spans));
        }),
    ))
    .await;
    let parents = Arc::new(Mutex::new(Vec::new()));
    let (keep, json) = (Arc::clone(&parents), [(header::CONTENT_TYPE, "application/json")]);
    let models = start(axum::Router::new().route(
        "/v1/chat/completions",
        post(move |headers: HeaderMap| async move {
            keep.lock().unwrap().push(headers["traceparent"].to_str().unwrap().to_owned());
            (json, ANSWER)
        }),
    ))
    .await;

    let system = TracingSystem::new(TracingConfig {
        otlp_endpoint: Some(format!("http://{collector}")),
        log_format: tiny_dancer::LogFormat::Off,
        ..Default::default()
    });
    system.init().unwrap();
    let model = |name| {
        format!(
            "provider = \"openai\"\nmodel = \"{name}\"\nbase_url = \"http://{models}/v1\"\nkey_variable = \"K\""
        )
    };
    let text_of = format!("version = 1\n[powerful]\n{}\n[lightweight]\n{}", model("big"), model("small"));
    let config = Config::parse(&text_of, &|_| Some("sk-secret".to_owned())).unwrap();
    let gateway = Arc::new(Gateway::new(config, &prometheus::Registry::new()).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(serve(listener, Arc::clone(&gateway), async {
        let _ = stopped.await;
    }));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let request = client
        .post(format!("http://{address}/v1/chat/completions"))
        .header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"))
        .body(r#"{"model":"auto","messages":[{"role":"user","content":"What is 6 times 7? PROMPT"}]}"#);
    assert_eq!(request.send().await.unwrap().text().await.unwrap(), ANSWER);
    drop((stop, client));
    serving.await.unwrap();
    let report = tokio::task::spawn_blocking(move || system.shutdown()).await.unwrap();
    assert_eq!(report.lost(), 0);

    let spans = spans.lock().unwrap();
    let named =
        |name: &str| spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name}"));
    let request = named("POST /v1/chat/completions");
    assert_eq!(const_hex::encode(&request.trace_id), trace);
    assert_eq!(const_hex::encode(&request.parent_span_id), "b7ad6b7169203331");
    assert_eq!(text(request, "tiny_dancer.gateway.reason"), "observe");
    assert_eq!(text(request, "tiny_dancer.gateway.served"), "powerful");
    assert_eq!(text(request, "tiny_dancer.gateway.result"), "answered");
    assert_eq!(named("routing_request").parent_span_id, request.span_id);
    let call = named("chat big");
    assert_eq!((&call.parent_span_id, call.kind), (&request.span_id, 3));
    let expected = [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.request.model", "big"),
        ("gen_ai.response.model", "big-2025"),
        ("server.address", "127.0.0.1"),
    ];
    for (key, value) in expected {
        assert_eq!(text(call, key), value, "{key}");
    }
    let expected = [
        ("gen_ai.usage.input_tokens", 9),
        ("gen_ai.usage.cache_read.input_tokens", 5),
        ("gen_ai.usage.output_tokens", 4),
        ("http.response.status_code", 200),
    ];
    for (key, value) in expected {
        assert_eq!(attribute(call, key), Some(Value::IntValue(value)), "{key}");
    }
    assert!(matches!(attribute(call, "gen_ai.response.time_to_first_chunk"), Some(Value::DoubleValue(_))));
    let Some(Value::ArrayValue(reasons)) = attribute(call, "gen_ai.response.finish_reasons") else {
        panic!("no list")
    };
    assert_eq!(reasons.values[0].value, Some(Value::StringValue("stop".to_owned())));
    // The model continues the trace below the span of the call.
    let parent = format!("00-{trace}-{}-01", const_hex::encode(&call.span_id));
    assert_eq!(*parents.lock().unwrap(), [parent]);
    let everything = format!("{spans:?}");
    assert!(!everything.contains("secret") && !everything.contains("PROMPT"), "{everything}");
}
