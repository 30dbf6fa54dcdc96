use super::*;
use std::collections::HashMap;

const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn what_comes_in_goes_out_again() {
    let headers = [("traceparent", GOOD), ("tracestate", "a=1"), ("tracestate", " b=2 ")];
    let context = TraceContext::from_headers(headers).unwrap();
    assert_eq!(context.trace_id(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(context.span_id(), "b7ad6b7169203331");
    assert!(context.is_sampled());
    assert_eq!(context.tracestate(), "a=1,b=2");
    let out = context.to_headers();
    assert_eq!(out, [("traceparent", GOOD.to_owned()), ("tracestate", "a=1,b=2".to_owned())]);
    assert_eq!(TraceContext::from_headers(out).unwrap(), context);
}

#[test]
fn names_may_have_any_case_and_headers_any_shape() {
    let map = HashMap::from([("TraceParent".to_owned(), GOOD.to_owned())]);
    let expected = GOOD.parse().unwrap();
    assert_eq!(TraceContext::from_headers(&map), Ok(expected));
}

#[test]
fn an_unsampled_context_stays_unsampled_and_unknown_flags_are_not_passed_on() {
    let context: TraceContext = GOOD.replace("-01", "-fe").parse().unwrap();
    assert!(!context.is_sampled());
    assert_eq!(context.to_headers(), [("traceparent", GOOD.replace("-01", "-00"))]);
}

#[test]
fn a_later_version_may_say_more() {
    for later in
        [GOOD.replacen("00", "cc", 1), format!("{}-what-the-future-brings", GOOD.replacen("00", "01", 1))]
    {
        assert!(later.parse::<TraceContext>().is_ok(), "{later}");
    }
}

#[test]
fn a_broken_traceparent_is_refused_for_what_is_broken() {
    use TraceContextError as E;
    let form = |actual| E::Form { expected: 55, actual };
    for (value, expected) in [
        (String::new(), form(0)),
        (GOOD[..54].to_owned(), form(54)),
        (format!("{GOOD}-"), form(56)),
        (format!("{GOOD}0").replacen("00", "01", 1), form(56)),
        (GOOD.replace('-', "_"), form(55)),
        (GOOD.replacen("0af", "0-f", 1), form(55)),
        (GOOD.replacen('0', "é", 1)[..55].to_owned(), E::Version),
        (GOOD.replacen("00", "ff", 1), E::Version),
        (GOOD.replacen("00", "0A", 1), E::Version),
        (GOOD.replacen("0af", "0AF", 1), E::TraceId),
        (GOOD.replacen("0af", "+af", 1), E::TraceId),
        (format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)), E::TraceId),
        (GOOD.replacen("b7", "g7", 1), E::SpanId),
        (format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", "0".repeat(16)), E::SpanId),
        (GOOD.replace("-01", "-0x"), E::Flags),
    ] {
        assert_eq!(value.parse::<TraceContext>(), Err(expected), "{value}");
    }
}

#[test]
fn no_traceparent_and_two_of_them_are_refused() {
    let none: [(&str, &str); 0] = [];
    assert_eq!(TraceContext::from_headers(none), Err(TraceContextError::Missing));
    let two = [("traceparent", GOOD), ("Traceparent", GOOD)];
    assert_eq!(TraceContext::from_headers(two), Err(TraceContextError::Repeated));
}

#[test]
fn a_broken_tracestate_costs_nobody_the_trace() {
    let context =
        TraceContext::from_headers([("traceparent", GOOD), ("tracestate", "no equals sign")]).unwrap();
    assert_eq!(context.tracestate(), "");
}

#[test]
fn an_attached_context_is_current_until_its_guard_is_dropped() {
    assert_eq!(TraceContext::from_current(), None);
    let context: TraceContext = GOOD.parse().unwrap();
    let guard = context.attach();
    assert_eq!(TraceContext::from_current(), Some(context));
    drop(guard);
    assert_eq!(TraceContext::from_current(), None);
}
