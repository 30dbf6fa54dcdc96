use super::*;
use crate::TraceContext;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceState};
use opentelemetry_sdk::trace::SamplingDecision;

fn decide(ratio: f64, context: &Context, trace_id: u128) -> bool {
    decide_with(ratio, context, trace_id, &[])
}

fn decide_with(ratio: f64, context: &Context, trace_id: u128, attributes: &[KeyValue]) -> bool {
    let result = sampler(ratio).should_sample(
        Some(context),
        TraceId::from(trace_id),
        "a span",
        &SpanKind::Internal,
        attributes,
        &[],
    );
    result.decision == SamplingDecision::RecordAndSample
}

fn parent(flags: TraceFlags, remote: bool) -> Context {
    let parent = SpanContext::new(TraceId::from(1), SpanId::from(1), flags, remote, TraceState::NONE);
    Context::new().with_remote_span_context(parent)
}

/// The attribute that only a request's span has.
fn request() -> KeyValue {
    KeyValue::new(fields::OPERATION, "route")
}

#[test]
fn a_span_follows_its_parent_at_any_ratio() {
    for remote in [true, false] {
        assert!(decide(0.0, &parent(TraceFlags::SAMPLED, remote), 7));
        assert!(!decide(1.0, &parent(TraceFlags::default(), remote), 7));
        // A request's span follows it too, although it would be recorded as a root.
        assert!(!decide_with(1.0, &parent(TraceFlags::default(), remote), 7, &[request()]));
    }
}

#[test]
fn a_sampled_request_is_recorded_without_being_sampled_again() {
    assert!((1..100).all(|id| decide_with(0.0, &Context::new(), id << 64 | id, &[request()])));
}

#[test]
fn an_invalid_parent_is_ignored() {
    let invalid = Context::new().with_remote_span_context(SpanContext::empty_context());
    assert!(decide(1.0, &invalid, 7));
    assert!(!decide(0.0, &invalid, 7));
}

#[test]
fn other_roots_are_sampled_once_by_their_trace_id() {
    let ratio = 0.25;
    for id in 1..200_u128 {
        let id = id.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let once = Sampler::TraceIdRatioBased(ratio).should_sample(
            None,
            TraceId::from(id),
            "a span",
            &SpanKind::Internal,
            &[],
            &[],
        );
        let once = once.decision == SamplingDecision::RecordAndSample;
        assert_eq!(decide(ratio, &Context::new(), id), once);
    }
}

#[test]
fn requests_without_a_parent_are_recorded_at_the_ratio() {
    assert!((0..1000).all(|_| samples(1.0)));
    assert!((0..1000).all(|_| !samples(0.0)));
    let sampled = (0..100_000).filter(|_| samples(0.1)).count();
    // Ten standard deviations to either side.
    assert!((9_000..11_000).contains(&sampled), "{sampled} of 100000 at 0.1");
}

#[test]
fn requests_with_a_parent_follow_it() {
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0";
    let guard = format!("{traceparent}1").parse::<TraceContext>().unwrap().attach();
    assert!(samples(0.0));
    drop(guard);
    let _guard = format!("{traceparent}0").parse::<TraceContext>().unwrap().attach();
    assert!(!samples(1.0));
}

#[test]
fn nothing_is_recorded_where_telemetry_is_suppressed() {
    let _guard = Context::enter_telemetry_suppressed_scope();
    assert!(!samples(1.0));
}
