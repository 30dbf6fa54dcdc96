use super::*;
use std::collections::HashMap;
use tracing_subscriber::layer::SubscriberExt;

const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn headers_are_written_as_they_were_read() {
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
fn names_may_have_any_case_and_headers_may_be_a_map() {
    let map = HashMap::from([("TraceParent".to_owned(), GOOD.to_owned())]);
    let expected = GOOD.parse().unwrap();
    assert_eq!(TraceContext::from_headers(&map), Ok(expected));
}

#[test]
fn an_unsampled_context_stays_unsampled_and_unknown_flags_are_not_passed_on() {
    let context: TraceContext = GOOD.replace("-01", "-fc").parse().unwrap();
    assert!(!context.is_sampled());
    assert_eq!(context.to_headers(), [("traceparent", GOOD.replace("-01", "-00"))]);
    assert_eq!(GOOD.replace("-01", "-fd").parse::<TraceContext>(), GOOD.parse());
}

#[test]
fn the_random_flag_is_passed_on_through_spans_of_every_kind() {
    for (flags, sampled) in [("-02", false), ("-03", true)] {
        let context: TraceContext = GOOD.replace("-01", flags).parse().unwrap();
        assert_eq!(context.is_sampled(), sampled);
        assert!(context.to_headers()[0].1.ends_with(flags));
        below(&context, |here| assert!(here.to_headers()[0].1.ends_with(flags), "{here:?}"));
    }
}

#[test]
fn each_member_of_a_tracestate_is_passed_on_through_spans_of_every_kind() {
    let odd = format!("{}@{}", "t".repeat(241), "v".repeat(14));
    for state in [format!("{odd}=1"), "foo@@bar=1,foo@=2,a@b@c=3".to_owned(), format!("a=1,{odd}=2,b=3")] {
        let headers = [("traceparent", GOOD), ("tracestate", &*state)];
        let context = TraceContext::from_headers(headers).unwrap();
        assert_eq!(context.tracestate(), state);
        below(&context, |here| assert_eq!(here.tracestate(), state));
        // Another trace that is attached within that one does not get them.
        let _outer = context.attach();
        let other = GOOD.replace("0af7", "1af7").parse::<TraceContext>().unwrap();
        let _inner = other.attach();
        assert_eq!(TraceContext::from_current(), Some(other));
    }
}

/// Calls `look` with the context where it is attached, in a request's span, in a `tracing` span, and after
/// the global propagator has written and read its headers.
fn below(context: &TraceContext, look: impl Fn(&TraceContext)) {
    let recorder = crate::testing::Recorder::new(crate::TracingConfig::default());
    let subscriber = tracing_subscriber::registry().with(crate::system::span_layer(&recorder.pipeline));
    let here = || TraceContext::from_current().unwrap();
    let _guard = context.attach();
    look(&here());
    let parent = Context::current();
    let span = parent.with_span(recorder.pipeline.span("a span", vec![], &parent));
    {
        let _span = span.attach();
        assert_ne!(here().span_id(), context.span_id());
        look(&here());
    }
    tracing::subscriber::with_default(subscriber, || {
        tracing::info_span!("a span").in_scope(|| {
            assert_ne!(here().span_id(), context.span_id());
            look(&here());
        });
    });
    let mut headers = HashMap::new();
    Propagator.inject_context(&Context::current(), &mut headers);
    let taken = Propagator.extract_with_context(&Context::new(), &headers);
    let _taken = taken.attach();
    look(&here());
}

#[test]
fn a_later_version_may_have_more_fields() {
    for later in
        [GOOD.replacen("00", "cc", 1), format!("{}-what-the-future-brings", GOOD.replacen("00", "01", 1))]
    {
        assert!(later.parse::<TraceContext>().is_ok(), "{later}");
    }
}

#[test]
fn the_error_of_a_malformed_traceparent_names_the_malformed_part() {
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
fn a_missing_and_a_repeated_traceparent_are_refused() {
    let none: [(&str, &str); 0] = [];
    assert_eq!(TraceContext::from_headers(none), Err(TraceContextError::Missing));
    let two = [("traceparent", GOOD), ("Traceparent", GOOD)];
    assert_eq!(TraceContext::from_headers(two), Err(TraceContextError::Repeated));
}

#[test]
fn a_trace_continues_without_a_malformed_tracestate() {
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

/// The malformed headers of the W3C's own test suite, under its own names.
#[test]
fn the_error_of_a_malformed_header_of_the_standard_s_test_suite_names_the_malformed_part() {
    use TraceContextError as E;
    const T: &str = "12345678901234567890123456789012";
    const P: &str = "1234567890123456";
    let form = |actual| E::Form { expected: 55, actual };
    for (name, value, expected) in [
        ("version_0x00, a dot at the end", format!("00-{T}-{P}-01."), form(56)),
        ("version_0x00, more fields", format!("00-{T}-{P}-01-what-the-future-will-be-like"), form(84)),
        ("version_0xcc, a dot at the end", format!("cc-{T}-{P}-01.what-the-future-will-be-like"), form(84)),
        ("version_0xff", format!("ff-{T}-{P}-01"), E::Version),
        ("version_illegal_characters", format!(".0-{T}-{P}-01"), E::Version),
        ("version_illegal_characters", format!("0.-{T}-{P}-01"), E::Version),
        ("version_too_long", format!("000-{T}-{P}-01"), E::Version),
        ("version_too_long", format!("0000-{T}-{P}-01"), E::Version),
        ("version_too_short", format!("0-{T}-{P}-01"), form(54)),
        ("trace_id_all_zero", format!("00-{}-{P}-01", "0".repeat(32)), E::TraceId),
        ("trace_id_illegal_characters", format!("00-.{}-{P}-01", &T[1..]), E::TraceId),
        ("trace_id_illegal_characters", format!("00-{}.-{P}-01", &T[1..]), E::TraceId),
        ("trace_id_too_long", format!("00-{T}3-{P}-01"), E::TraceId),
        ("trace_id_too_short", format!("00-{}-{P}-01", &T[1..]), form(54)),
        ("parent_id_all_zero", format!("00-{T}-{}-01", "0".repeat(16)), E::SpanId),
        ("parent_id_illegal_characters", format!("00-{T}-.{}-01", &P[1..]), E::SpanId),
        ("parent_id_illegal_characters", format!("00-{T}-{}.-01", &P[1..]), E::SpanId),
        ("parent_id_too_long", format!("00-{T}-{P}7-01"), E::SpanId),
        ("parent_id_too_short", format!("00-{T}-{}-01", &P[1..]), form(54)),
        ("trace_flags_illegal_characters", format!("00-{T}-{P}-.0"), E::Flags),
        ("trace_flags_illegal_characters", format!("00-{T}-{P}-0."), E::Flags),
        ("trace_flags_too_long", format!("00-{T}-{P}-001"), form(56)),
        ("trace_flags_too_short", format!("00-{T}-{P}-1"), form(54)),
    ] {
        assert_eq!(TraceContext::from_headers([("traceparent", &*value)]), Err(expected), "{name}: {value}");
        // A `tracestate` beside it does not change the error.
        let headers = [("traceparent", &*value), ("tracestate", "foo=1")];
        assert_eq!(TraceContext::from_headers(headers), Err(expected), "{name}: {value}");
    }
    let good = format!("00-{T}-{P}-01");
    for (name, headers, expected) in [
        ("both_traceparent_and_tracestate_missing", vec![], E::Missing),
        ("tracestate_included_traceparent_missing", vec![("tracestate", "foo=1")], E::Missing),
        ("traceparent_header_name", vec![("trace-parent", &*good)], E::Missing),
        ("traceparent_header_name", vec![("trace.parent", &*good)], E::Missing),
        ("traceparent_duplicated", vec![("traceparent", &*good), ("traceparent", &*good)], E::Repeated),
    ] {
        assert_eq!(TraceContext::from_headers(headers), Err(expected), "{name}");
    }
}

#[test]
fn well_formed_headers_of_the_standard_s_test_suite_are_accepted() {
    let from =
        |value: &str| TraceContext::from_headers([("traceparent", value)]).map(|context| context.trace_id());
    let expected = Ok("12345678901234567890123456789012".to_owned());
    let good = "00-12345678901234567890123456789012-1234567890123456-01";
    // traceparent_ows_handling
    for white in [" ", "\t", " \t", ""] {
        assert_eq!(from(&format!("{white}{good}")), expected);
        assert_eq!(from(&format!("{good}{white}")), expected);
    }
    // traceparent_version_0xcc
    for later in ["", "-what-the-future-will-be-like"] {
        assert_eq!(from(&format!("{}{later}", good.replacen("00", "cc", 1))), expected);
    }
    for name in ["TraceParent", "TrAcEpArEnT", "TRACEPARENT"] {
        assert!(TraceContext::from_headers([(name, good)]).is_ok(), "{name}");
    }
}

#[test]
fn a_malformed_tracestate_of_the_test_suite_is_left_out_and_its_error_says_why() {
    use TraceStateError as E;
    let context: TraceContext = GOOD.parse().unwrap();
    let many = |n: usize| (0..n).map(|i| format!("bar{i:02}={i}")).collect::<Vec<_>>().join(",");
    let of = |key: String| format!("{key}=1");
    for (name, value, expected) in [
        ("key_illegal_characters", "foo =1".to_owned(), E::Key { member: 0 }),
        ("key_illegal_characters", "FOO=1".to_owned(), E::Key { member: 0 }),
        ("key_illegal_characters", "foo.bar=1".to_owned(), E::Key { member: 0 }),
        ("key_illegal_vendor_format", "@foo=1,bar=2".to_owned(), E::Key { member: 0 }),
        ("key_illegal_vendor_format", "bar=2,@=1".to_owned(), E::Key { member: 1 }),
        ("member_count_limit", many(33), E::Members { expected: 32, actual: 33 }),
        ("key_length_limit", of("z".repeat(257)), E::Key { member: 0 }),
        ("key_length_limit", of(format!("{}@{}", "t".repeat(242), "v".repeat(14))), E::Key { member: 0 }),
        ("value_illegal_characters", "foo=bar=baz".to_owned(), E::Value { member: 0 }),
        ("value_illegal_characters", "foo=,bar=3".to_owned(), E::Value { member: 0 }),
        ("value_length", format!("foo={}", "v".repeat(257)), E::Value { member: 0 }),
        ("no equals sign", "foo".to_owned(), E::Form { member: 0 }),
    ] {
        assert_eq!(context.clone().with_tracestate(&value), Err(expected), "{name}: {value}");
        let headers = [("traceparent", GOOD), ("tracestate", &*value)];
        assert_eq!(TraceContext::from_headers(headers).unwrap().tracestate(), "", "{name}: {value}");
    }
    for (name, values, expected) in [
        ("empty_header", vec!["foo=1", ""], "foo=1"),
        ("empty_header", vec!["", "foo=1"], "foo=1"),
        (
            "multiple_headers_different_keys",
            vec!["foo=1,bar=2", "rojo=1,congo=2", "baz=3"],
            "foo=1,bar=2,rojo=1,congo=2,baz=3",
        ),
        ("ows_handling", vec!["foo=1 \t , \t bar=2, \t baz=3"], "foo=1,bar=2,baz=3"),
        ("ows_handling", vec!["foo=1 \t"], "foo=1"),
        ("duplicated_keys", vec!["foo=1,foo=2"], "foo=1,foo=2"),
        (
            "all_allowed_characters",
            vec!["a0_-*/=!\"#$%&'()*+-./:;<>?@[]^_`{|}~"],
            "a0_-*/=!\"#$%&'()*+-./:;<>?@[]^_`{|}~",
        ),
        ("multi-tenant", vec!["0t-*/_@v-*/_=1"], "0t-*/_@v-*/_=1"),
        ("level 2: @ anywhere but at the start", vec!["foo@=1,a@@b=2", "c@d@e=3"], "foo@=1,a@@b=2,c@d@e=3"),
    ] {
        let headers = values.into_iter().map(|value| ("tracestate", value)).chain([("traceparent", GOOD)]);
        assert_eq!(TraceContext::from_headers(headers).unwrap().tracestate(), expected, "{name}");
    }
    let tenant = |key: usize, system: usize| of(format!("{}@{}", "t".repeat(key), "v".repeat(system)));
    for longest in [many(32), of("z".repeat(256)), tenant(241, 14), tenant(254, 1), tenant(1, 254)] {
        assert_eq!(context.clone().with_tracestate(&longest).unwrap().tracestate(), longest);
    }
}

#[test]
fn a_header_map_is_read_and_written() {
    let mut headers = HeaderMap::new();
    assert_eq!(TraceContext::extract(&headers), Err(TraceContextError::Missing));
    headers.insert("traceparent", HeaderValue::from_static(GOOD));
    headers.append("tracestate", HeaderValue::from_static("a=1"));
    headers.append("tracestate", HeaderValue::from_static("b=2"));
    let context = TraceContext::extract(&headers).unwrap();
    assert_eq!((context.to_headers()[0].1.as_str(), &*context.tracestate()), (GOOD, "a=1,b=2"));

    // The headers of another trace are replaced, including its `tracestate`.
    let mut next = headers.clone();
    let other = GOOD.replace("0af7", "1af7").parse::<TraceContext>().unwrap();
    other.inject(&mut next);
    assert_eq!((next.len(), next["traceparent"].to_str().unwrap()), (1, &*GOOD.replace("0af7", "1af7")));
    context.inject(&mut next);
    assert_eq!(next["tracestate"], "a=1,b=2");

    headers.append("traceparent", HeaderValue::from_static(GOOD));
    assert_eq!(TraceContext::extract(&headers), Err(TraceContextError::Repeated));
    let mut bytes = HeaderMap::new();
    bytes.insert("traceparent", HeaderValue::from_bytes(&[0xff; 55]).unwrap());
    assert!(matches!(TraceContext::extract(&bytes), Err(TraceContextError::Form { .. })));
}
