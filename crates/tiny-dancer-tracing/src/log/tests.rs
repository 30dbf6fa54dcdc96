use super::*;
use crate::testing::Recorder;
use crate::{TraceContext, TracingConfig, system};
use opentelemetry_sdk::trace::SpanData;
use std::io::Write;
use std::sync::{Arc, Mutex};
use tiny_dancer_core::testing::{broken_model, candidate, router};
use tiny_dancer_core::{CircuitBreakerConfig, RoutingRequest};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The lines that `run` logs in this format, and its spans.
fn logged(format: LogFormat, run: impl FnOnce(&Recorder)) -> (Vec<String>, Vec<SpanData>) {
    let (buffer, recorder) = (Buffer::default(), Recorder::new(TracingConfig::default()));
    let writer = buffer.clone();
    let lines = layer(format, false, move || writer.clone());
    let subscriber = tracing_subscriber::registry()
        .with(Vec::from_iter(lines))
        .with(system::span_layer(&recorder.pipeline));
    tracing::subscriber::with_default(subscriber, || run(&recorder));
    let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
    (text.lines().map(str::to_owned).collect(), recorder.finish())
}

fn fail_a_request(recorder: &Recorder) {
    let (router, _) = router(broken_model(), CircuitBreakerConfig::default(), recorder.observer());
    router.route(RoutingRequest::new(&[1.0, 0.0], &[candidate("a", 0.9, 1.0)])).unwrap_err();
}

fn ids(spans: &[SpanData], name: &str) -> (String, String) {
    let span = spans.iter().find(|span| span.name == name).unwrap();
    (span.span_context.trace_id().to_string(), span.span_context.span_id().to_string())
}

#[test]
fn a_line_within_a_request_carries_the_ids_of_its_span() {
    let (lines, spans) = logged(LogFormat::Text, fail_a_request);
    let (trace_id, span_id) = ids(&spans, "routing_request");
    let line = lines.iter().find(|line| line.contains("inference failed")).unwrap();
    assert!(line.contains("ERROR tiny_dancer: inference failed"), "{line}");
    assert!(line.ends_with(&format!(" trace_id={trace_id} span_id={span_id}")), "{line}");
}

#[test]
fn a_json_line_carries_the_ids_as_members() {
    let (lines, spans) = logged(LogFormat::Json, fail_a_request);
    let (trace_id, span_id) = ids(&spans, "routing_request");
    let objects: Vec<serde_json::Value> =
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = objects.iter().find(|line| line["message"] == "inference failed").unwrap();
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["target"], "tiny_dancer");
    assert_eq!(line["error.type"], "non_finite_output");
    assert_eq!(line["tiny_dancer.candidates"], 1);
    assert_eq!((line["trace_id"].as_str(), line["span_id"].as_str()), (Some(&*trace_id), Some(&*span_id)));
    let started = objects.iter().find(|line| line["message"] == "router started").unwrap();
    assert_eq!(started.get("trace_id"), None);
}

#[test]
fn the_user_s_own_lines_carry_the_ids_of_the_user_s_span() {
    for format in [LogFormat::Json, LogFormat::Text] {
        let (lines, spans) = logged(format, |_| {
            tracing::info_span!("handle").in_scope(|| tracing::info!("hello"));
        });
        let (trace_id, span_id) = ids(&spans, "handle");
        assert!(lines[0].contains(&trace_id) && lines[0].contains(&span_id), "{}", lines[0]);
    }
}

#[test]
fn lines_in_an_attached_context_carry_its_ids_and_lines_outside_carry_no_ids() {
    let (lines, _) = logged(LogFormat::Text, |_| {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        let guard = parent.parse::<TraceContext>().unwrap().attach();
        tracing::info!("inside");
        drop(guard);
        tracing::info!("outside");
    });
    assert!(lines[0].ends_with("trace_id=0af7651916cd43dd8448eb211c80319c span_id=b7ad6b7169203331"));
    assert!(lines[1].ends_with("outside"), "{}", lines[1]);
}

#[test]
fn off_writes_nothing() {
    let (lines, _) = logged(LogFormat::Off, fail_a_request);
    assert_eq!(lines.len(), 0);
}

/// The lines and the spans of a program whose own subscriber has this layer of lines beside our layer of
/// spans.
fn logged_by_own_subscriber<L: Layer<Registry> + Send + Sync>(
    lines: impl FnOnce(Box<dyn Fn() -> Buffer + Send + Sync>) -> L,
) -> (Vec<String>, Vec<SpanData>) {
    let (buffer, system) = (Buffer::default(), Recorder::new(TracingConfig::default()));
    let writer = buffer.clone();
    let lines = lines(Box::new(move || writer.clone()));
    let subscriber = tracing_subscriber::registry().with(lines).with(system::span_layer(&system.pipeline));
    tracing::subscriber::with_default(subscriber, || {
        tracing::info_span!("handle", user = 7).in_scope(|| tracing::info!(n = 1, "hello"));
        tracing::info!("outside");
    });
    let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
    (text.lines().map(str::to_owned).collect(), system.finish())
}

#[test]
fn text_lines_of_a_program_s_own_subscriber_carry_the_ids() {
    let (lines, spans) = logged_by_own_subscriber(|writer| {
        let format = TraceIds::text(tracing_subscriber::fmt::format().without_time());
        tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false).event_format(format)
    });
    let (trace_id, span_id) = ids(&spans, "handle");
    let target = module_path!();
    let inside = format!(" INFO handle{{user=7}}: {target}: hello n=1 trace_id={trace_id} span_id={span_id}");
    assert_eq!(lines, [inside, format!(" INFO {target}: outside")]);
}

#[test]
fn json_lines_of_a_program_s_own_subscriber_carry_the_ids() {
    let (lines, spans) = logged_by_own_subscriber(|writer| {
        tracing_subscriber::fmt::layer().with_writer(writer).json().map_event_format(TraceIds::json)
    });
    let (trace_id, span_id) = ids(&spans, "handle");
    let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    let [inside, outside] = [line(&lines[0]), line(&lines[1])];
    assert_eq!(
        (inside["trace_id"].as_str(), inside["span_id"].as_str()),
        (Some(&*trace_id), Some(&*span_id))
    );
    assert_eq!((&inside["fields"]["n"], &inside["span"]["user"]), (&1.into(), &7.into()));
    assert!(outside.get("trace_id").is_none(), "{outside}");
}

#[test]
fn a_wrapped_format_keeps_its_colours() {
    let (lines, _) = logged_by_own_subscriber(|writer| {
        let format = tracing_subscriber::fmt::format().with_ansi(true);
        tracing_subscriber::fmt::layer().with_writer(writer).event_format(TraceIds::text(format))
    });
    assert!(lines.iter().all(|line| line.contains("\x1b[32m INFO")), "{lines:?}");
}
