//! Runs each example as a user does, and checks its output.
#![expect(clippy::unwrap_used, reason = "tests and their helper functions fail by panicking")]

mod languages;
#[cfg(unix)]
mod remember;
#[cfg(unix)]
mod service;

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tiny_dancer::observer::{RequestStart, Stage, StageErrorKind};
use tiny_dancer::parts::metrics::catalogue::{CATALOGUE, Kind};
use tiny_dancer::parts::metrics::prometheus::Registry;
use tiny_dancer::{Router, TracingConfig, TracingSystem};
use tiny_dancer_embed::EmbedErrorKind;
use tiny_dancer_examples::collector::{Collector, hex, roots};
use tiny_dancer_examples::data::Memory;

/// The program that cargo built from an example, beside the tests.
fn example(name: &str) -> Command {
    let tests = std::env::current_exe().unwrap();
    let folder: PathBuf = tests.parent().unwrap().parent().unwrap().join("examples");
    let program = folder.join(name);
    assert!(
        program.exists(),
        "{} is missing: `cargo test -p tiny-dancer-examples` builds it",
        program.display()
    );
    let mut command = Command::new(program);
    command.env_remove("OTEL_EXPORTER_OTLP_ENDPOINT").env_remove("RUST_LOG");
    command
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Fails if a bucket holds more than a fifth of these values. Equal values may be more, since no bound divides them.
fn no_bucket_is_too_full(name: &str, values: &[f32], threshold: f64) {
    let family = CATALOGUE.iter().find(|family| family.name == name).unwrap();
    let Kind::Histogram { buckets } = family.kind else { panic!("{name} has no buckets") };
    assert!(buckets.contains(&threshold), "{name}: the default threshold is no bound");
    let mut held = vec![Vec::new(); buckets.len() + 1];
    for &value in values {
        held[buckets.partition_point(|&bound| (bound as f32) < value)].push(value);
    }
    for (bucket, held) in held.iter().enumerate() {
        let share = held.len() as f64 / values.len() as f64;
        let bound = buckets.get(bucket);
        assert!(
            share <= 0.2 || held.iter().all(|value| *value == held[0]),
            "{name}: {share:.3} up to {bound:?}"
        );
    }
}

#[test]
fn no_bucket_holds_more_than_a_fifth_of_the_everyday_prompts_candidates() {
    let memory = Memory::load().unwrap();
    let router = Router::new(memory.config()).unwrap();
    let decisions: Vec<_> = memory
        .prompts()
        .unwrap()
        .iter()
        .flat_map(|prompt| router.route(prompt.request()).unwrap().decisions)
        .collect();
    let confidences: Vec<_> = decisions.iter().map(|decision| decision.confidence).collect();
    let uncertainties: Vec<_> = decisions.iter().map(|decision| decision.uncertainty).collect();
    no_bucket_is_too_full("tiny_dancer_confidence_scores", &confidences, 0.85);
    no_bucket_is_too_full("tiny_dancer_uncertainty_estimates", &uncertainties, 0.15);
}

#[test]
fn a_bare_prompt_is_embedded_and_routed_in_less_than_30_lines() {
    let printed = output(&mut example("text"));
    assert!(printed.starts_with("11 tokens: ") && printed.contains(" because "), "{printed}");
    let (_, code) = include_str!("../../text.rs").split_once("\n\nuse ").unwrap();
    assert!(code.lines().count() < 30);
}

/// The value of a series in Prometheus' text.
fn series(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse().unwrap()
}

fn names_of_all_spans() -> impl Iterator<Item = &'static str> {
    std::iter::once(RequestStart::NAME).chain(Stage::ROUTING.map(Stage::name))
}

#[test]
fn ask_shows_the_tokens_the_nearest_memories_and_the_decision_of_a_prompt() {
    let prompt = "What is the capital of France?";
    let text = output(example("ask").arg(prompt));
    for part in [
        "7 tokens, 0 of them unknown\n  what is the capital of france ?\n",
        "The nearest 10 of 256 memories",
        "high school geography",
        " model answers, reason ",
        "confidence that the lightweight model suffices",
        "at least 0.",
        "at most 0.990",
    ] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    assert!(text.lines().count() < 35 && text.lines().all(|line| line.chars().count() <= 100), "{text}");

    // Standard input is one prompt.
    let mut asked = example("ask");
    let mut asked = asked.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    asked.stdin.take().unwrap().write_all(prompt.replace(' ', "\n").as_bytes()).unwrap();
    assert_eq!(String::from_utf8(asked.wait_with_output().unwrap().stdout).unwrap(), text);
}

#[test]
fn ask_refuses_a_prompt_without_tokens() {
    let output = example("ask").arg(" ").output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("the text of 1 bytes has no tokens"), "{error}");
}

#[test]
fn the_metrics_example_prints_what_it_routed() {
    let text = output(&mut example("metrics_example"));
    assert_eq!(series(&text, "tiny_dancer_routing_requests_total{status=\"success\"}"), 150.0);
    assert_eq!(series(&text, "tiny_dancer_routing_latency_seconds_count{operation=\"route\"}"), 150.0);
    let outcomes = |model| {
        let labels = format!("model_type=\"{model}\",origin=\"routed\",result=\"sufficed\"");
        series(&text, &format!("tiny_dancer_outcomes_total{{{labels}}}"))
    };
    assert_eq!(outcomes("lightweight") + outcomes("powerful"), 150.0);
    assert!(outcomes("lightweight") > 0.0 && outcomes("powerful") > 0.0, "both models are chosen");
}

#[test]
fn the_tracing_example_draws_its_traces() {
    let text = output(&mut example("tracing_example"));
    assert_eq!(text.matches("\n  trace ").count(), 4, "{text}");
    assert!(text.contains("trace 0af7651916cd43dd8448eb211c80319c"), "the caller's trace goes on: {text}");
    for name in names_of_all_spans() {
        assert!(text.matches(name).count() >= 4, "{name} is not in each trace: {text}");
    }
    assert!(text.contains(" 0 dropped, 0 failed"), "{text}");
}

#[test]
fn the_tracing_example_sends_its_spans_where_the_environment_says() {
    let collector = Collector::start().unwrap();
    let text = output(example("tracing_example").env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()));
    assert!(text.contains(&format!("sent to {}", collector.endpoint())), "{text}");
    let spans = collector.spans();
    let roots: Vec<_> = spans.iter().filter(|span| span.name == RequestStart::NAME).collect();
    assert_eq!(roots.len(), 4);
    for root in roots {
        for stage in Stage::ROUTING {
            let nested =
                spans.iter().any(|span| span.parent_span_id == root.span_id && span.name == stage.name());
            assert!(nested, "{} is not below the request", stage.name());
        }
    }
}

/// The one span of a trace that has this name and this parent.
fn child<'a>(spans: &'a [Span], name: &str, trace: &[u8], parent: &[u8]) -> &'a Span {
    let is_it = |span: &&Span| span.name == name && span.trace_id == trace && span.parent_span_id == parent;
    let mut found = spans.iter().filter(is_it);
    let only = found.next().unwrap_or_else(|| panic!("no {name} below {parent:02x?}"));
    assert!(found.next().is_none(), "{name} twice below {parent:02x?}");
    only
}

/// Fails unless the decision and the outgoing call are below this request's span, and the other server's below the call.
fn both_hops_are_below(request: &Span, spans: &[Span]) {
    assert_eq!(request.kind(), SpanKind::Server);
    let below = |name, parent: &Span| child(spans, name, &request.trace_id, &parent.span_id);
    let decision = below(RequestStart::NAME, request);
    below(Stage::UncertaintyEstimation.name(), decision);
    let call = below("chat", request);
    assert_eq!(call.kind(), SpanKind::Client);
    assert_eq!(below("POST /{model}", call).kind(), SpanKind::Server);
}

#[test]
fn the_axum_service_keeps_one_trace_from_the_caller_to_the_model() {
    let collector = Collector::start().unwrap();
    let text = output(example("axum_service").env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()));
    assert!(text.contains(" 0 dropped, 0 failed"), "{text}");
    let spans = collector.spans();

    // A caller in a sampled trace: the first hop is below the caller's span.
    let (trace, parent) = (0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128, 0xb7ad_6b71_6920_3331_u64);
    let request = child(&spans, "GET /ask/{prompt}", &trace.to_be_bytes(), &parent.to_be_bytes());
    both_hops_are_below(request, &spans);

    // Callers without a trace, or with a broken header, each begin one. An unsampled trace is recorded at neither hop.
    let begun: Vec<_> = roots(&spans).into_iter().filter(|root| root.parent_span_id.is_empty()).collect();
    let [first, second] = begun[..] else { panic!("{} traces begun: {text}", begun.len()) };
    assert_ne!(first.trace_id, second.trace_id);
    for request in [first, second] {
        assert_eq!(request.name, "GET /ask/{prompt}");
        both_hops_are_below(request, &spans);
    }
    assert_eq!(roots(&spans).len(), 3);
    let unsampled = "1af7651916cd43dd8448eb211c80319c";
    assert!(spans.iter().all(|span| hex(&span.trace_id) != unsampled) && text.contains(unsampled), "{text}");
}

#[test]
fn the_axum_service_draws_its_traces() {
    let text = output(&mut example("axum_service"));
    assert_eq!(text.matches("\n  trace ").count(), 3, "{text}");
    for name in names_of_all_spans().chain(["GET /ask/{prompt}", "chat", "POST /{model}"]) {
        assert!(text.matches(name).count() >= 3, "{name} is not in each trace: {text}");
    }
    assert!(text.contains("not recorded, since the caller's trace is not"), "{text}");
}

#[test]
fn full_observability_prints_all_of_its_parts() {
    let text = output(&mut example("full_observability"));
    for heading in [
        "Where the prompts go, and why",
        "A few of them",
        "How long a decision takes",
        "A simulated outage of the lightweight model",
        "Bad requests are refused",
        "Some metrics",
        "One request as a trace",
    ] {
        assert!(text.contains(heading), "{heading} is missing:\n{text}");
    }
    let outage = &text[text.find("A simulated outage").unwrap()..];
    let states: Vec<_> = outage
        .lines()
        .skip_while(|line| !line.contains("after"))
        .take_while(|line| line.contains("after"))
        .filter_map(|line| line.split_whitespace().last())
        .collect();
    assert_eq!(states, ["open", "half_open", "closed"], "{text}");
    for name in names_of_all_spans() {
        assert!(text.contains(name), "{name} is not in the trace:\n{text}");
    }
    // Two phases of 40 rounds, two rounds for the tables, and the outage.
    let routed = series(&text, "tiny_dancer_routing_requests_total{status=\"success\"}");
    assert!(routed >= 2.0 * 40.0 * 150.0 + 300.0, "{routed}");
    assert!(series(&text, "tiny_dancer_routing_requests_total{status=\"fallback\"}") > 0.0);
    assert_eq!(series(&text, "tiny_dancer_routing_requests_total{status=\"failure\"}"), 3.0);
}

#[test]
fn a_given_registry_and_a_given_tracing_system_both_receive_a_routers_telemetry() {
    let (collector, registry) = (Collector::start().unwrap(), Registry::new());
    let config = TracingConfig { otlp_endpoint: Some(collector.endpoint()), ..Default::default() };
    let system = TracingSystem::new(config);
    let memory = Memory::load().unwrap();
    let router = Router::builder(memory.config())
        .registry(&registry)
        .label("router", "support")
        .tracing(system.observer().unwrap())
        .build()
        .unwrap();
    for prompt in &memory.prompts().unwrap()[..3] {
        router.route(prompt.request()).unwrap();
    }
    assert_eq!(system.shutdown().lost(), 0);

    let (spans, text) = (collector.spans(), router.export_metrics().unwrap());
    assert_eq!(spans.iter().filter(|span| span.name == RequestStart::NAME).count(), 3);
    let value = |name, label| series(&text, &format!("tiny_dancer_{name}{{{label},router=\"support\"}}"));
    assert_eq!(value("routing_latency_seconds_count", "operation=\"route\""), 3.0);
    assert_eq!(value("spans_total", "result=\"flushed\""), spans.len() as f64);
}

/// A child process that is stopped by its id when the test ends, failed or not.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended by itself
        let _ = self.0.wait();
    }
}

/// The head and the body of a successful answer.
fn answer(address: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

fn get(address: &str, path: &str) -> String {
    answer(address, path).1
}

/// Starts an example that serves, and reads up to the line with its address.
fn serving(command: &mut Command) -> (Running, String, impl Iterator<Item = String> + use<>) {
    command.args(["--serve", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = Running(command.spawn().unwrap());
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| line.starts_with("Serving")).expect("it serves");
    let address = line.split(['/', ' ']).find(|part| part.starts_with("127.0.0.1")).unwrap().to_owned();
    (running, address, lines)
}

/// Sends a signal as a supervisor does, and returns what the program prints until its successful end.
#[cfg(unix)]
fn ended_by(signal: &str, mut running: Running, lines: impl Iterator<Item = String>) -> String {
    let kill = format!("kill -s {signal} {}", running.0.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let text = lines.collect::<Vec<_>>().join("\n");
    let status = running.0.wait().unwrap();
    assert!(status.success(), "{signal}: {status}\n{text}");
    text
}

/// How many spans the program reports as flushed. Fails if it reports lost ones.
#[cfg(unix)]
fn flushed(text: &str) -> usize {
    let report = text.lines().find_map(|line| line.trim().strip_prefix("spans: ")).expect("a report");
    let (flushed, rest) = report.split_once(" spans flushed").unwrap();
    assert!(rest.starts_with(", 0 dropped, 0 failed"), "{report}");
    flushed.parse().unwrap()
}

#[cfg(unix)]
#[test]
fn a_signal_ends_the_axum_service_with_all_of_its_spans_and_counts() {
    for signal in ["TERM", "INT"] {
        let collector = Collector::start().unwrap();
        let mut command = example("axum_service");
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint());
        let (running, address, lines) = serving(&mut command);
        for prompt in ["prompt-001", "prompt-008", "prompt-044"] {
            get(&address, &format!("/ask/{prompt}"));
        }
        let text = ended_by(signal, running, lines);
        assert_eq!(series(&text, "tiny_dancer_routing_requests_total{status=\"success\"}"), 3.0);
        let spans = collector.spans();
        assert_eq!(flushed(&text), spans.len(), "{text}");
        for name in ["GET /ask/{prompt}", RequestStart::NAME, "POST /{model}"] {
            assert_eq!(spans.iter().filter(|span| span.name == name).count(), 3, "{name}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_signal_ends_full_observability_with_all_of_its_spans_and_counts() {
    let collector = Collector::start().unwrap();
    let mut command = example("full_observability");
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint());
    let (running, address, lines) = serving(&mut command);
    let success = "tiny_dancer_routing_requests_total{status=\"success\"}";
    let scraped = series(&get(&address, "/metrics"), success);
    let text = ended_by("TERM", running, lines);
    assert!(series(&text, success) >= scraped, "{text}");
    let flushed = flushed(&text);
    assert!(flushed > 0 && flushed == collector.spans().len(), "{text}");
}

#[test]
fn the_axum_service_serves_its_metrics_as_prometheus_expects() {
    let (_running, address, _lines) = serving(&mut example("axum_service"));
    get(&address, "/ask/prompt-001");
    let (head, text) = answer(&address, "/metrics");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert_eq!(series(&text, "tiny_dancer_routing_requests_total{status=\"success\"}"), 1.0);
}

#[test]
fn full_observability_serves_metrics_while_it_keeps_routing() {
    let (_running, address, _lines) = serving(&mut example("full_observability"));
    assert_eq!(get(&address, "/healthz"), "ok\n");
    let routed =
        || series(&get(&address, "/metrics"), "tiny_dancer_routing_requests_total{status=\"success\"}");
    let before = routed();
    // The traffic continues by itself, so a later scrape shows more.
    assert!((0..10_000).any(|_| routed() > before), "it stopped routing");
}

/// So that a scope reports an embedder's error by its own name.
#[test]
fn each_kind_of_embedding_error_is_a_kind_of_stage_error() {
    for kind in EmbedErrorKind::ALL {
        let stage: StageErrorKind = kind.name().parse().unwrap();
        assert_eq!(stage.name(), kind.name());
    }
}
