use super::*;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use tiny_dancer::parts::core::Router;
use tiny_dancer::parts::tracing::LogFormat;
use tiny_dancer::{Candidate, RouterConfig, RoutingRequest, TracingConfig, TracingSystem};

/// Routes a request with this number of candidates, and exports its spans.
fn route(candidates: u8, config: TracingConfig) {
    route_by(RouterConfig::default(), candidates, config);
}

/// The same by a router with this configuration.
fn route_by(router: RouterConfig, candidates: u8, config: TracingConfig) {
    let candidate = |i: u8| Candidate {
        embedding: vec![1.0, f32::from(i) / 10.0],
        success_rate: f32::from(i % 11) / 10.0,
        win_rate: f32::from(i % 11) / 10.0,
        ..Default::default()
    };
    let candidates: Vec<_> = (0..candidates).map(candidate).collect();
    let system = TracingSystem::new(TracingConfig { candidate_spans: 0, ..config });
    let router = Router::with_observer(router, system.observer().unwrap()).unwrap();
    router.route(RoutingRequest::new(&[1.0, 0.3], &candidates)).unwrap();
    assert_eq!(system.shutdown().lost(), 0);
}

/// The export of a request with this number of candidates, as a collector would write it into a file.
fn export(candidates: u8) -> Value {
    export_by(RouterConfig::default(), candidates)
}

/// The same by a router with this configuration.
fn export_by(router: RouterConfig, candidates: u8) -> Value {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let collector = std::thread::spawn(move || receive(&listener.accept().unwrap().0));
    route_by(router, candidates, TracingConfig { otlp_endpoint: Some(endpoint), ..Default::default() });
    serde_json::to_value(collector.join().unwrap()).unwrap()
}

/// Receives one export.
fn receive(stream: &TcpStream) -> ExportTraceServiceRequest {
    let (mut reader, mut length) = (BufReader::new(stream), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().unwrap();
            }
            None if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let mut stream = stream;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    ExportTraceServiceRequest::decode(&*body).unwrap()
}

/// The span of the one request in an export.
fn request(export: &mut Value) -> &mut Value {
    let spans = export["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array_mut().unwrap();
    spans.iter_mut().find(|span| span["name"] == "routing_request").unwrap()
}

fn otlp(value: impl Into<f64>) -> Value {
    json!({ "doubleValue": value.into() })
}

fn verdicts(text: &str) -> Vec<Verdict> {
    replay_all(text, &Model::embedded()).unwrap().into_iter().map(|replayed| replayed.verdict).collect()
}

/// The verdict on a decision after a change of one attribute of the export.
fn changed(key: &str, change: impl FnOnce(&mut Value)) -> Verdict {
    let mut export = export(20);
    let attributes = request(&mut export)["events"][0]["attributes"].as_array_mut().unwrap();
    change(&mut attributes.iter_mut().find(|attribute| attribute["key"] == key).unwrap()["value"]);
    verdicts(&export.to_string()).remove(0)
}

#[test]
fn exported_decisions_are_equal_for_any_number_of_candidates_and_any_layout() {
    let lines: Vec<_> = [1, 5, 64, 200].map(|candidates| export(candidates).to_string()).into();
    assert_eq!(verdicts(&lines.join("\n")), [const { Verdict::Equal }; 4]);
    let one = serde_json::to_string_pretty(&json!([export(3), { "batch": export(4) }])).unwrap();
    assert_eq!(verdicts(&one), [Verdict::Equal, Verdict::Equal]);
}

#[test]
fn a_verdict_has_its_trace_and_span() {
    let mut export = export(3);
    let named = replay_all(&export.to_string(), &Model::embedded()).unwrap().remove(0).span;
    let mut id = |key: &str| request(&mut export)[key].as_str().unwrap().to_owned();
    assert_eq!((id("traceId").len(), id("spanId").len()), (32, 16));
    assert_eq!(named, format!("trace {} span {}", id("traceId"), id("spanId")));
}

/// The output of a program that routes a request with five candidates, one without and one that is explored, and
/// prints other lines, too.
fn printed() -> Option<String> {
    const MARK: &str = "TINY_DANCER_TEST_PRINTS";
    if std::env::var_os(MARK).is_some() {
        let config = TracingConfig { enable_stdout: true, log_format: LogFormat::Off, ..Default::default() };
        println!("Name : not a span");
        route(5, config.clone());
        println!("in between: {{}}");
        route(0, config.clone());
        route_by(drawing(1.0, 0.0), 5, config);
        return None;
    }
    let mut itself = Command::new(std::env::current_exe().unwrap());
    itself.args(["replay::tests::the_output_of_enable_stdout_is_read_too", "--exact", "--nocapture"]);
    let output = itself.env(MARK, "").env_remove("OTEL_SDK_DISABLED").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_output_of_enable_stdout_is_read_too() {
    let Some(printed) = printed() else { return };
    assert_eq!(verdicts(&printed), [Verdict::Equal, Verdict::Fallback, Verdict::Equal]);
    let named = replay_all(&printed, &Model::embedded()).unwrap().remove(0).span;
    let root = printed.lines().skip_while(|line| !line.ends_with(": routing_request"));
    let id = |key: &str| {
        root.clone().find_map(|line| line.trim().strip_prefix(key)).unwrap().trim_matches([' ', ':'])
    };
    assert_eq!(named, format!("trace {} span {}", id("TraceId"), id("SpanId")));

    assert_eq!(places(&printed), [0, 1, 2, 4, 3]);

    // A changed number is a difference here, too, and a missing line is an error.
    let line = |key| printed.lines().find(|line| line.contains(key)).unwrap();
    let confidence = line(fields::REPLAY_CONFIDENCE);
    let changed = printed.replace(confidence, &format!(" -> {}: F64(0.5)", fields::REPLAY_CONFIDENCE));
    assert!(matches!(verdicts(&changed)[0], Verdict::Different(_)), "{confidence}");
    let cut = printed.replace(line(fields::REPLAY_FEATURES), "");
    assert!(verdicts(&cut)[0].to_string().contains("features is missing"), "{}", verdicts(&cut)[0]);
}

#[test]
fn a_change_of_the_last_bit_is_a_difference() {
    let verdict = changed(fields::REPLAY_CONFIDENCE, |value| {
        let confidence = single(value).unwrap();
        *value = otlp(f32::from_bits(confidence.to_bits() ^ 1));
    });
    assert!(!verdict.is_good());
    let text = verdict.to_string();
    assert!(text.starts_with("different: confidence was ") && !text.contains("uncertainty"), "{text}");
}

#[test]
fn a_changed_row_and_a_changed_reason_are_differences() {
    let row = |value: &mut Value| {
        let mut read = rows::decode(value["stringValue"].as_str().unwrap()).unwrap();
        read[19][Feature::SuccessRate as usize] = 0.125;
        value["stringValue"] = json!(rows::encode(read));
    };
    assert!(matches!(changed(fields::REPLAY_FEATURES, row), Verdict::Different(_)));
    let threshold = |value: &mut Value| *value = otlp(0.0_f32);
    let verdict = changed(fields::REPLAY_CONFIDENCE_THRESHOLD, threshold);
    assert!(verdict.to_string().contains("reason was low_confidence"), "{verdict}");
}

/// Always explores or always shadows what goes to the powerful model.
fn drawing(explore: f64, shadow_rate: f64) -> RouterConfig {
    RouterConfig { explore, shadow_rate, confidence_threshold: 1.0, ..Default::default() }
}

#[test]
fn the_decision_before_a_draw_is_computed_again_and_the_draw_is_read() {
    for candidates in [0, 1, 64] {
        let mut explored = export_by(drawing(1.0, 0.0), candidates);
        assert_eq!(verdicts(&explored.to_string()), [Verdict::Equal], "{candidates}");
        let attributes = request(&mut explored)["events"][0]["attributes"].as_array_mut().unwrap();
        let happened = attributes.iter_mut().find(|it| it["key"] == fields::EXPLORE_HAPPENED).unwrap();
        happened["value"] = json!({ "boolValue": false });
        let verdict = verdicts(&explored.to_string()).remove(0).to_string();
        let before = if candidates == 0 { "no_evidence" } else { "low_confidence" };
        let reason = format!("reason was explored, is {before}; model was lightweight, is powerful");
        assert_eq!(verdict, format!("different: {reason}"));
        let attributes = request(&mut explored)["events"][0]["attributes"].as_array_mut().unwrap();
        attributes.retain(|it| it["key"] != fields::EXPLORE_PROBABILITY);
        let verdict = verdicts(&explored.to_string()).remove(0).to_string();
        assert_eq!(verdict, "unreadable: tiny_dancer.explore.probability is missing");
    }
    let shadowed = export_by(drawing(0.0, 1.0), 20);
    assert_eq!(verdicts(&shadowed.to_string()), [Verdict::Equal]);
}

#[test]
fn another_model_a_fallback_and_another_kernel_have_their_own_verdicts() {
    let text = |text: &'static str| move |value: &mut Value| *value = json!({ "stringValue": text });
    let verdict = changed(fields::MODEL_VERSION, text("000000000000"));
    assert!(!verdict.is_good() && verdict.to_string().contains("model 000000000000 decided"), "{verdict}");
    assert_eq!(verdicts(&export(0).to_string()), [Verdict::Fallback]);
    let verdict = changed(fields::KERNEL, text("quantum"));
    assert!(verdict.is_good() && verdict.to_string().contains("no quantum"), "{verdict}");
}

#[test]
fn an_event_in_another_format_is_unreadable() {
    let verdict = changed(fields::REPLAY_CONFIDENCE, |value| *value = json!({ "doubleValue": 0.1 }));
    assert!(verdict.to_string().contains("is not an f32"), "{verdict}");
    let verdict = changed(fields::REPLAY_CANDIDATES, |value| {
        value["arrayValue"]["values"].as_array_mut().unwrap().pop();
    });
    assert_eq!(verdict.to_string(), "unreadable: there are 19 candidates and the features of 20");
    let verdict = changed(fields::REPLAY_CANDIDATES, |value| value["arrayValue"]["values"][3] = otlp(0.5));
    assert_eq!(
        verdict.to_string(),
        format!("unreadable: {} holds something else", fields::REPLAY_CANDIDATES)
    );
    let verdict = changed(fields::REPLAY_FEATURES, |value| value["stringValue"] = json!("3f800000"));
    assert_eq!(
        verdict.to_string(),
        format!("unreadable: {}: 4 bytes are not a whole number of rows of 20", fields::REPLAY_FEATURES)
    );
    assert!(replay_all("{}", &Model::embedded()).unwrap_err().to_string().contains("routing_decision"));
    assert!(replay_all("{", &Model::embedded()).is_err());
}

/// The places of the candidates of the first decision.
fn places(text: &str) -> Vec<i64> {
    let replayed = replay_all(text, &Model::embedded()).unwrap().remove(0);
    replayed.candidates.iter().map(|(place, _)| *place).collect()
}

#[test]
fn features_are_printed_with_one_line_per_candidate() {
    let export = export(5).to_string();
    // The fourth of the five candidates has the query's direction.
    assert_eq!(places(&export), [0, 1, 2, 4, 3]);
    let table = table(&replay_all(&export, &Model::embedded()).unwrap()[0].candidates);
    let lines: Vec<_> = table.lines().collect();
    let head: Vec<_> = lines[0].split_whitespace().collect();
    assert_eq!(head, ["candidate", "similarity", "recency", "frequency", "success_rate", "metadata_overlap"]);
    let fifth: Vec<_> = lines[5].split_whitespace().collect();
    assert_eq!((lines.len(), fifth[0], fifth[1], fifth[4]), (6, "3", "1.0", "0.3"));
    assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{table}");
    assert_eq!(super::table(&[]), "");
}
