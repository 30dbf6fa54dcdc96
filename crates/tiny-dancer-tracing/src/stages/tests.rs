use super::*;
use crate::TracingConfig;
use crate::export::{Exporters, Pipeline, Trouble};
use crate::observer::TracingObserver;
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

/// A user's span with this value under our key.
fn with_value(value: Value) -> SpanData {
    let recorder = Recorder::new(TracingConfig::default());
    drop(recorder.pipeline.span("a span", vec![KeyValue::new(fields::STAGES, value)], &Context::new()));
    recorder.finish().remove(0)
}

#[test]
fn each_exporter_sends_the_same_spans() {
    let (first, second, mut exporters) =
        (Memory::default(), Memory::default(), Exporters::new(10, 512, WAIT));
    exporters.add(first.clone(), Trouble::default());
    exporters.add(second.clone(), Trouble::default());
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
    let (whole, step) = ([1, 100, WHOLE, 5, 7, UNKNOWN, UNKNOWN], [2, 1, 0, 8, 9, 900_000, 850_000]);
    for numbers in [vec![], vec![whole], vec![whole, step]] {
        let carried = numbers.len();
        let numbers = numbers.into_flattened();
        let mut span = with_value("nothing of ours".into());
        span.attributes = vec![KeyValue::new(fields::STAGES, Value::Array(Array::I64(numbers)))];
        let (counted, mut spans) = (self::spans(&span), vec![]);
        unpack(span, &mut spans);
        assert_eq!((counted as usize, spans.len()), (carried + 1, carried + 1));
        assert!(spans.iter().all(|span| span.attributes.iter().all(|it| it.key.as_str() != fields::STAGES)));
    }
}

#[test]
fn a_user_s_own_value_under_the_key_is_left_alone() {
    let numbers = |numbers: &[i64]| Value::Array(Array::I64(numbers.to_vec()));
    for value in [
        "text".into(),
        numbers(&[1, 2, 3]),
        numbers(&[4, 1, 1, 1, 1, 1, 1]),
        numbers(&[-1, 1, 1, 1, 1, 1, 1]),
    ] {
        let span = with_value(value.clone());
        assert_eq!(span.attributes, [KeyValue::new(fields::STAGES, value)]);
        assert_eq!(spans(&span), 1);
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
