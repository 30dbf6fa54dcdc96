//! The complete service of docs/OBSERVABILITY.md: its text is the example's, and the example does what the guide says.

use crate::{Running, ended_by, example, get, series};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use tiny_dancer_examples::collector::{Collector, hex};

const GUIDE: &str = include_str!("../../../docs/OBSERVABILITY.md");

/// The content of each block of a language in the guide.
fn blocks(language: &str) -> impl Iterator<Item = &str> {
    let start = format!("```{language}\n");
    GUIDE
        .split(&start[..])
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect::<Vec<_>>()
        .into_iter()
}

#[test]
fn the_guide_shows_the_service_as_it_is() {
    let source = include_str!("../../service.rs");
    assert!(
        blocks("rust,no_run").any(|block| block == source),
        "docs/OBSERVABILITY.md differs from service.rs"
    );
}

/// A requirement of the guide is the beginning of the workspace's: "0.8" of "0.8.9".
#[test]
fn the_guide_asks_for_the_versions_of_the_workspace() {
    let workspace = include_str!("../../../Cargo.toml");
    let version = |line: &str| Some(line.split_once(" = ")?.1.split('"').nth(1)?.to_owned());
    let mut compared = 0;
    for line in blocks("toml").flat_map(str::lines).filter(|line| line.contains(" = ")) {
        let name = line.split_once(" = ").unwrap().0;
        let declared = workspace.lines().find(|declared| declared.split(" = ").next() == Some(name));
        let Some(declared) = declared.filter(|_| !name.starts_with("tiny-dancer")) else { continue };
        let (asked, declared) = (version(line).unwrap(), version(declared).unwrap());
        assert!(
            declared == asked || declared.starts_with(&format!("{asked}.")),
            "{name}: {asked}, {declared}"
        );
        compared += 1;
    }
    assert!(compared >= 5, "{compared} lines of {:?}", blocks("toml").collect::<Vec<_>>());
}

pub(crate) fn post(address: &str, path: &str, header: &str, body: &str) -> String {
    request(address, &format!("POST {path}"), header, body)
}

/// Sends a request with a body of JSON, and returns the answer's head and body.
pub(crate) fn request(address: &str, line: &str, header: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         {header}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_service_of_the_guide_shows_a_metric_a_trace_and_a_line_of_the_same_trace() {
    let collector = Collector::start().unwrap();
    let mut command = example("service");
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()).env("LISTEN", "127.0.0.1:0");
    let mut running = Running(command.stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(running.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    let parsed = |line: String| serde_json::from_str::<serde_json::Value>(&line).expect("lines are JSON");
    let serving = lines.by_ref().map(parsed).find(|line| line["message"] == "serving").unwrap();
    let address = serving["address"].as_str().unwrap();

    // The request of the guide, with its header.
    let body = GUIDE.split("-d '").nth(1).unwrap().split('\'').next().unwrap();
    let header = GUIDE.split("-H 'traceparent: ").nth(1).unwrap().split('\'').next().unwrap();
    let trace = header.split('-').nth(1).unwrap();
    let answer = post(address, "/decide", &format!("traceparent: {header}\r\n"), body);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(r#"{"model":"lightweight""#), "{answer}");
    let refused = post(address, "/decide", "", &body.replace("[0.6, 0.8]", "[0.6]"));
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    assert!(refused.ends_with("query: embedding has 1 dimensions, expected 2"), "{refused}");
    post(address, "/outcome", "", r#"{"model": "lightweight", "result": "sufficed"}"#);

    let ready = get(address, "/readyz");
    assert_eq!(ready, "{\"ready\":true,\"model\":true,\"inference_circuit\":\"closed\"}\n");
    let text = get(address, "/metrics");
    let value = |name, labels| series(&text, &format!("tiny_dancer_{name}{{{labels}}}"));
    assert_eq!(value("routing_requests_total", r#"router="support",status="success""#), 1.0);
    let outcomes = r#"model_type="lightweight",origin="routed",result="sufficed",router="support""#;
    assert_eq!(value("outcomes_total", outcomes), 1.0);
    assert!(series(&text, "process_open_fds") > 0.0);

    // A bucket names a trace of its requests.
    let text = request(address, "GET /metrics", "Accept: application/openmetrics-text\r\n", "");
    let exemplars: Vec<_> = text.lines().filter_map(|line| line.split_once(" # ")).collect();
    let of = |series: &str| exemplars.iter().find(|(line, _)| line.starts_with(series)).unwrap().1;
    let decided_exemplar = of("tiny_dancer_routing_decisions_total").to_owned();
    assert!(
        decided_exemplar.starts_with(&format!("{{trace_id=\"{trace}\",span_id=\"")),
        "{decided_exemplar}"
    );
    let failed = of("tiny_dancer_errors_total{error_type=\"dimension_mismatch\"");
    assert!(!failed.contains(trace), "the failed request began a trace of its own: {failed}");
    assert!(exemplars.iter().any(|(line, _)| line.starts_with("tiny_dancer_routing_latency_seconds_bucket")));

    ended_by("TERM", running, std::iter::empty());
    let decided = lines.map(parsed).find(|line| line["message"] == "decided").unwrap();
    assert_eq!(decided["trace_id"], trace);
    let spans = collector.spans();
    let of_the_trace: Vec<_> = spans.iter().filter(|span| hex(&span.trace_id) == trace).collect();
    let request = of_the_trace.iter().find(|span| span.name == "request").unwrap();
    assert_eq!(decided["span_id"], hex(&request.span_id));
    let routing = of_the_trace.iter().find(|span| span.name == "routing_request").unwrap();
    assert_eq!(routing.parent_span_id, request.span_id);
    assert!(decided_exemplar.contains(&hex(&routing.span_id)), "{decided_exemplar}");
    assert_eq!(of_the_trace.len(), 6, "the request, the routing and its four stages");
}
