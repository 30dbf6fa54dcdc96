use super::*;
use crate::TracingConfig;
use crate::export::{Exporters, Pipeline};
use crate::observer::TracingObserver;
use crate::reports::BatchReports;
use crate::testing::{Memory, Recorder, WAIT};
use opentelemetry::Context;
use std::collections::BTreeSet;
use std::sync::Arc;
use tiny_dancer_core::testing::{candidate, router, toy_model};
use tiny_dancer_core::{CircuitBreakerConfig, RoutingRequest};

/// A span for each of two candidates.
fn two_candidates() -> TracingConfig {
    TracingConfig { candidate_spans: 2, ..Default::default() }
}

/// Routes a request with two candidates.
fn route(observer: TracingObserver) {
    let (router, _) = router(toy_model(), CircuitBreakerConfig::default(), observer);
    let candidates = [candidate("a", 0.9, 1.0), candidate("b", 0.8, 1.0)];
    router.route(RoutingRequest::new(&[1.0, 0.0], &candidates)).unwrap();
}

/// A user's span with these attributes.
fn exported(attributes: Vec<KeyValue>) -> SpanData {
    let recorder = Recorder::new(TracingConfig::default());
    drop(recorder.pipeline.span("a span", attributes, &Context::new()));
    let mut spans = recorder.finish();
    assert_eq!(spans.len(), 1);
    spans.remove(0)
}

#[test]
fn each_exporter_sends_the_same_spans() {
    let (first, second, mut exporters) =
        (Memory::default(), Memory::default(), Exporters::new(10, 512, WAIT));
    exporters.add(first.clone(), BatchReports::default());
    exporters.add(second.clone(), BatchReports::default());
    let pipeline = Arc::new(Pipeline::new(&two_candidates().check().unwrap(), exporters));
    route(TracingObserver::of(Arc::clone(&pipeline)));
    assert_eq!(pipeline.shutdown().flushed, 14);
    let (first, second) = (first.take(), second.take());
    assert_eq!(first, second);
    let ids: BTreeSet<_> = first.iter().map(|span| span.span_context.span_id().to_bytes()).collect();
    assert_eq!(ids.len(), 7);
}

#[test]
fn a_span_counts_as_the_number_of_spans_that_it_becomes() {
    let whole = StageSpan {
        stage: Stage::FeatureEngineering,
        covers: Covers::Stage { report: report_of(100) },
        times: Times { start: 5, end: 7 },
    };
    let scores = Some(Scores { similarity: 0.9, confidence: 0.85 });
    let step = StageSpan {
        stage: Stage::ModelInference,
        covers: Covers::Step { candidate: 1, rank: 0, scores },
        times: Times { start: 8, end: 9 },
    };
    for carried in [vec![], vec![whole], vec![whole, step]] {
        let numbers = carried.iter().flat_map(|span| span.encode()).collect();
        let mut span = exported(vec![KeyValue::new(fields::STAGES, "a user's value")]);
        span.attributes.push(KeyValue::new(Arc::clone(&*KEY), Value::Array(Array::I64(numbers))));
        let (counted, mut spans) = (self::spans(&span), vec![]);
        unpack(span, &mut spans);
        assert_eq!((counted as usize, spans.len()), (carried.len() + 1, carried.len() + 1));
        assert_eq!(spans[carried.len()].attributes, [KeyValue::new(fields::STAGES, "a user's value")]);
    }
}

#[test]
fn a_decoded_span_equals_the_encoded_one() {
    let times = Times { start: 1_700_000_000_123_456_789, end: 1_700_000_000_123_456_999 };
    let scores = Scores { similarity: -0.25, confidence: 0.75 };
    let [mut cut, mut failed] = [report_of(256), report_of(0)];
    cut.truncated = true;
    failed.error = Some(StageErrorKind::Unavailable);
    for stage in Stage::ALL {
        for covers in [
            Covers::Stage { report: report_of(100) },
            Covers::Stage { report: cut },
            Covers::Stage { report: failed },
            Covers::Step { candidate: 7, rank: 0, scores: None },
            Covers::Step { candidate: 0, rank: 63, scores: Some(scores) },
        ] {
            let span = StageSpan { stage, covers, times };
            assert_eq!(StageSpan::decode(span.encode()), span);
        }
    }
}

#[test]
fn a_user_s_own_value_under_the_key_is_left_alone() {
    let span = StageSpan {
        stage: Stage::ModelInference,
        covers: Covers::Stage { report: report_of(1) },
        times: Times { start: 1, end: 2 },
    };
    for value in ["text".into(), Value::Array(Array::I64(span.encode().to_vec()))] {
        for key in [
            fields::STAGES.into(),
            Key::from(fields::STAGES.to_owned()),
            Key::from(Arc::from(fields::STAGES)),
        ] {
            let attributes = vec![KeyValue::new(key, value.clone())];
            assert_eq!(exported(attributes.clone()).attributes, attributes);
        }
    }
}

#[test]
fn ids_differ_by_position_and_are_never_zero() {
    for request in [1, 7, u64::MAX, 0x9e37_79b9_7f4a_7c15_u64.wrapping_neg()] {
        let ids: BTreeSet<_> =
            (1..=68).map(|position| id(SpanId::from(request), position).to_bytes()).collect();
        assert_eq!(ids.len(), 68);
        assert!(!ids.contains(&[0; 8]));
    }
}
