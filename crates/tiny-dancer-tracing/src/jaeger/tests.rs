use super::*;
use opentelemetry::InstrumentationScope;
use opentelemetry::trace::{SpanContext, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};

fn span(name: &str) -> SpanData {
    let state = TraceState::NONE;
    SpanData {
        span_context: SpanContext::new(
            TraceId::from(1 << 64 | 2),
            SpanId::from(3),
            TraceFlags::SAMPLED,
            false,
            state,
        ),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: name.to_owned().into(),
        start_time: UNIX_EPOCH + Duration::from_micros(10),
        end_time: UNIX_EPOCH + Duration::from_micros(15),
        attributes: vec![],
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("t").build(),
    }
}

fn service(name: &'static str) -> Vec<u8> {
    head(&Resource::builder_empty().with_attribute(KeyValue::new("service.name", name)).build())
}

#[test]
fn a_message_has_the_bytes_of_thrift_s_compact_protocol() {
    let (datagrams, too_large) = datagrams(&service("s"), &[span("n")]);
    let head = [&[0x82, 0x81, 0x00, 9][..], b"emitBatch", &[0x1c, 0x1c, 0x18, 1, b's', 0x00]].concat();
    let ids = [0x16, 4, 0x16, 2, 0x16, 6, 0x16, 0, 0x18, 1, b'n'];
    // The number of the field rises by 2, since there are no references. Then the flags, and 5 us from 10 us
    // on.
    let times = [0x25, 2, 0x16, 20, 0x16, 10];
    let tag = [&[0x19, 0x1c, 0x18, 15][..], b"otel.scope.name", &[0x15, 0, 0x18, 1, b't', 0x00]].concat();
    let expected = [&head[..], &[0x19, 0x1c], &ids, &times, &tag, &[0x00, 0x00, 0x00]].concat();
    assert_eq!((datagrams, too_large), (vec![(expected, 1)], 0));
}

#[test]
fn no_datagram_is_too_large_and_each_span_is_in_one() {
    for length in [10, 1_000, 20_000, 40_000] {
        let batch: Vec<_> = (0..100).map(|_| span(&"x".repeat(length))).collect();
        let (datagrams, too_large) = datagrams(&service("s"), &batch);
        let sizes: Vec<_> = datagrams.iter().map(|(datagram, _)| datagram.len()).collect();
        assert!(sizes.iter().all(|size| *size <= MAX_DATAGRAM), "{sizes:?}");
        // As few as possible: no two neighbours fit into one.
        assert!(sizes.windows(2).all(|pair| pair[0] + length > MAX_DATAGRAM - 200), "{sizes:?}");
        assert_eq!(datagrams.iter().map(|(_, spans)| spans).sum::<u64>() + too_large, 100);
        assert_eq!(too_large, 0);
    }
}

#[test]
fn a_span_that_is_too_large_for_a_datagram_is_refused_and_its_neighbours_are_not() {
    let (datagrams, too_large) =
        datagrams(&service("s"), &[span("a"), span(&"x".repeat(MAX_DATAGRAM)), span("b")]);
    assert_eq!((datagrams.len(), datagrams[0].1, too_large), (1, 2, 1));
}

#[test]
fn the_largest_span_that_fits_fills_a_datagram() {
    let size = |length| {
        let (datagrams, too_large) = datagrams(&service("s"), &[span(&"x".repeat(length))]);
        (datagrams.first().map_or(0, |(datagram, _)| datagram.len()), too_large)
    };
    let length = (64_000..MAX_DATAGRAM).rfind(|&length| size(length).1 == 0).unwrap();
    assert!((MAX_DATAGRAM - FRAME..=MAX_DATAGRAM).contains(&size(length).0), "{}", size(length).0);
}

#[test]
fn lists_are_json() {
    assert_eq!(json(&Array::F64(vec![1.0, 0.1, f64::NAN])), "[1.0,0.1,null]");
    assert_eq!(json(&Array::I64(vec![1, 2])), "[1,2]");
}
