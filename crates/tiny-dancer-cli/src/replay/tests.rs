use super::*;
use serde_json::json;
use std::sync::Mutex;
use tiny_dancer::core::Router;
use tiny_dancer::observer::{Decided, Observer, RequestStart, StageStart};
use tiny_dancer::{Candidate, Feature, RouterConfig, RoutingRequest};

/// Writes each decision as OTLP's JSON has it.
#[derive(Default)]
struct Exports(Mutex<Vec<Value>>);

fn otlp(value: impl Into<f64>) -> Value {
    json!({ "doubleValue": value.into() })
}

impl Observer for Exports {
    type Request = ();
    type Stage = ();
    fn on_request_start(&self, _: &RequestStart<'_>) {}
    fn on_stage_start(&self, (): &mut (), _: &StageStart<'_>) {}
    fn on_decision(&self, (): &mut (), event: &Decided<'_>) {
        let text = |text: &str| json!({ "stringValue": text });
        let mut attributes = vec![
            (fields::DECISION_MODEL, text(event.model.name())),
            (fields::DECISION_REASON, text(event.reason.name())),
            (fields::MODEL_VERSION, text(event.model_version)),
            (fields::KERNEL, text(event.kernel.name())),
            (fields::REPLAY_CONFIDENCE, otlp(event.confidence)),
            (fields::REPLAY_CONFIDENCE_THRESHOLD, otlp(event.confidence_threshold)),
            (fields::REPLAY_UNCERTAINTY, otlp(event.uncertainty)),
            (fields::REPLAY_MAX_UNCERTAINTY, otlp(event.max_uncertainty)),
        ];
        for (feature, key) in Feature::ALL.into_iter().zip(fields::REPLAY_FEATURES) {
            let column = event.features.column(feature);
            let values: Vec<_> =
                event.joint_candidates().into_iter().map(|place| otlp(column[place])).collect();
            attributes.push((key, json!({ "arrayValue": { "values": values } })));
        }
        let attributes: Vec<_> =
            attributes.into_iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
        let event = json!({ "name": "routing_decision", "attributes": attributes });
        let span = json!({ "traceId": "0a", "spanId": "0b", "name": "routing_request", "events": [event] });
        let resource = json!({ "scopeSpans": [{ "spans": [{ "name": "other" }, span] }] });
        self.0.lock().unwrap().push(json!({ "resourceSpans": [resource] }));
    }
}

/// The export of a request with so many candidates.
fn export(candidates: u8) -> Value {
    let candidate = |i: u8| Candidate {
        embedding: vec![1.0, f32::from(i) / 10.0],
        success_rate: f32::from(i % 11) / 10.0,
        ..Default::default()
    };
    let candidates: Vec<_> = (0..candidates).map(candidate).collect();
    let router = Router::with_observer(RouterConfig::default(), Exports::default()).unwrap();
    router.route(RoutingRequest::new(&[1.0, 0.3], &candidates)).unwrap();
    router.observer().0.lock().unwrap().remove(0)
}

fn verdicts(text: &str) -> Vec<Verdict> {
    replay_all(text, &Model::embedded()).unwrap().into_iter().map(|(_, verdict)| verdict).collect()
}

/// The verdict on a decision after something in the export was changed.
fn changed(key: &str, change: impl FnOnce(&mut Value)) -> Verdict {
    let mut export = export(20);
    let event = &mut export["resourceSpans"][0]["scopeSpans"][0]["spans"][1]["events"][0];
    let attributes = event["attributes"].as_array_mut().unwrap();
    change(&mut attributes.iter_mut().find(|attribute| attribute["key"] == key).unwrap()["value"]);
    verdicts(&export.to_string()).remove(0)
}

#[test]
fn what_was_exported_is_equal_however_many_candidates_and_however_it_is_laid_out() {
    let lines: Vec<_> = [1, 5, 64, 200].map(|candidates| export(candidates).to_string()).into();
    assert_eq!(verdicts(&lines.join("\n")), [const { Verdict::Equal }; 4]);
    let one = serde_json::to_string_pretty(&json!([export(3), { "batch": export(4) }])).unwrap();
    assert_eq!(verdicts(&one), [Verdict::Equal, Verdict::Equal]);
    let named = replay_all(&lines[0], &Model::embedded()).unwrap().remove(0).0;
    assert_eq!(named, "trace 0a span 0b");
}

#[test]
fn a_last_bit_is_a_difference_and_is_named() {
    let verdict = changed(fields::REPLAY_CONFIDENCE, |value| {
        let confidence = single(value).unwrap();
        *value = otlp(f32::from_bits(confidence.to_bits() ^ 1));
    });
    assert!(!verdict.is_good());
    let said = verdict.to_string();
    assert!(said.starts_with("different: confidence was ") && !said.contains("uncertainty"), "{said}");
}

#[test]
fn a_changed_row_and_a_changed_reason_are_differences() {
    let row = |value: &mut Value| value["arrayValue"]["values"][19] = otlp(0.125_f32);
    assert!(matches!(changed(fields::REPLAY_SUCCESS_RATE, row), Verdict::Different(_)));
    let threshold = |value: &mut Value| *value = otlp(0.0_f32);
    let verdict = changed(fields::REPLAY_CONFIDENCE_THRESHOLD, threshold);
    assert!(verdict.to_string().contains("reason was low_confidence"), "{verdict}");
}

#[test]
fn another_model_a_fallback_and_another_kernel_are_said_to_be_so() {
    let text = |text: &'static str| move |value: &mut Value| *value = json!({ "stringValue": text });
    let verdict = changed(fields::MODEL_VERSION, text("000000000000"));
    assert!(!verdict.is_good() && verdict.to_string().contains("model 000000000000 decided"), "{verdict}");
    assert_eq!(verdicts(&export(0).to_string()), [Verdict::Fallback]);
    let verdict = changed(fields::KERNEL, text("quantum"));
    assert!(verdict.is_good() && verdict.to_string().contains("no quantum"), "{verdict}");
}

#[test]
fn what_the_router_does_not_write_is_unreadable() {
    let verdict = changed(fields::REPLAY_CONFIDENCE, |value| *value = json!({ "doubleValue": 0.1 }));
    assert!(verdict.to_string().contains("is not an f32"), "{verdict}");
    let verdict = changed(fields::REPLAY_RECENCY, |value| {
        value["arrayValue"]["values"].as_array_mut().unwrap().pop();
    });
    assert!(matches!(verdict, Verdict::Unreadable(_)), "{verdict}");
    assert!(replay_all("{}", &Model::embedded()).unwrap_err().to_string().contains("routing_decision"));
    assert!(replay_all("{", &Model::embedded()).is_err());
}
