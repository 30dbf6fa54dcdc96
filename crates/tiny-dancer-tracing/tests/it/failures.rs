//! Failing collectors on real sockets: routing is unaffected, memory is limited to the queue, and one line is
//! logged.

use crate::collector::{Collector, dead, patient, spans_of};
use crate::export::{candidates, route};
use crate::process::in_own_process;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;
use tiny_dancer_core::testing::{router, toy_model};
use tiny_dancer_core::{CircuitBreakerConfig, RoutingRequest, RoutingResponse};
use tiny_dancer_tracing::{TraceContext, TracingConfig, TracingObserver, TracingSystem};

/// More than three times as many as the queue holds.
const REQUESTS: usize = 6_200;
/// Spans of a request with two candidates.
pub(crate) const SPANS: u64 = 7;
/// Requests that may wait.
const QUEUE: u64 = 2_048;
/// More requests than a batch, so that some are sent at once.
pub(crate) const MORE_THAN_A_BATCH: usize = 520;

/// The way in which a collector treats a connection.
type Treatment = fn(TcpStream) -> std::io::Result<()>;

fn closes(mut stream: TcpStream) -> std::io::Result<()> {
    stream.flush()?;
    drop(stream);
    Ok(())
}

fn dies_mid_batch(mut stream: TcpStream) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 300])
}

fn never_answers(mut stream: TcpStream) -> std::io::Result<()> {
    std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
}

/// Reads a byte a second.
fn drips(mut stream: TcpStream) -> std::io::Result<()> {
    let (_open, never) = mpsc::channel::<()>();
    while stream.read(&mut [0])? > 0 {
        let _ = never.recv_timeout(Duration::from_secs(1));
    }
    Ok(())
}

/// Reads requests, and answers each with this status and these headers.
pub(crate) fn answers(stream: TcpStream, head: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        reader.read_exact(&mut vec![0; length])?;
        write!(reader.get_mut(), "HTTP/1.1 {head}\r\ncontent-length: 0\r\n\r\n")?;
    }
}

fn answers_500(stream: TcpStream) -> std::io::Result<()> {
    answers(stream, "500 Internal Server Error")
}

fn answers_429(stream: TcpStream) -> std::io::Result<()> {
    answers(stream, "429 Too Many Requests\r\nretry-after: 3600")
}

/// Listens, and calls `treatment` with each connection.
pub(crate) fn serve(
    treatment: impl Fn(TcpStream) -> std::io::Result<()> + Clone + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let treatment = treatment.clone();
            // Most of these break the connection on purpose.
            std::thread::spawn(move || treatment(stream.unwrap()));
        }
    });
    address
}

/// Starts a collector with this treatment, and returns a configuration that exports to it.
fn troubled(treatment: Treatment) -> TracingConfig {
    to(serve(treatment))
}

/// Short timeouts end attempts and shutdowns soon, and with them the tests.
fn to(address: SocketAddr) -> TracingConfig {
    TracingConfig {
        otlp_endpoint: Some(format!("http://{address}")),
        export_timeout: Duration::from_millis(100),
        shutdown_timeout: Duration::from_millis(500),
        ..patient()
    }
}

/// Routes in a process of its own, and checks that each request is answered, that no more requests wait than
/// the queue holds, that each span is counted, and that one line reports the failures.
fn routing_is_unaffected(name: &str, config: fn() -> TracingConfig) {
    let output = in_own_process(module_path!(), name, &[], || {
        let system = TracingSystem::new(config());
        system.init().unwrap();
        let (router, _) = router(toy_model(), CircuitBreakerConfig::default(), TracingObserver::global());
        let (candidates, mut response) = (candidates(), RoutingResponse::default());
        for _ in 0..REQUESTS {
            router.route_into(RoutingRequest::new(&[1.0, 0.0], &candidates), &mut response).unwrap();
            assert_eq!(response.decisions.len(), 2);
            assert!(system.counts().unwrap().waiting <= QUEUE * SPANS);
        }
        let (made, counts) = (REQUESTS as u64 * SPANS, system.counts().unwrap());
        assert_eq!(counts.made, made);
        let report = system.shutdown();
        assert_eq!((report.flushed, report.dropped + report.failed), (0, made));
        let counts = system.counts().unwrap();
        assert_eq!((counts.made, counts.dropped, counts.failed), (made, report.dropped, report.failed));
    });
    if let Some(output) = output {
        assert_eq!(output.stderr.matches("spans can't be exported").count(), 1, "{}", output.stderr);
        assert_eq!(output.stderr.matches("WARN").count(), 1, "{}", output.stderr);
    }
}

#[test]
fn an_absent_collector_does_not_affect_routing() {
    routing_is_unaffected("an_absent_collector_does_not_affect_routing", || TracingConfig {
        export_timeout: Duration::from_millis(100),
        ..dead()
    });
}

#[test]
fn a_collector_that_closes_connections_does_not_affect_routing() {
    routing_is_unaffected("a_collector_that_closes_connections_does_not_affect_routing", || troubled(closes));
}

#[test]
fn a_collector_that_dies_mid_batch_does_not_affect_routing() {
    routing_is_unaffected("a_collector_that_dies_mid_batch_does_not_affect_routing", || {
        troubled(dies_mid_batch)
    });
}

#[test]
fn a_collector_that_never_answers_does_not_affect_routing() {
    routing_is_unaffected("a_collector_that_never_answers_does_not_affect_routing", || {
        troubled(never_answers)
    });
}

#[test]
fn a_collector_that_reads_a_byte_a_second_does_not_affect_routing() {
    routing_is_unaffected("a_collector_that_reads_a_byte_a_second_does_not_affect_routing", || {
        troubled(drips)
    });
}

#[test]
fn a_collector_that_answers_500_does_not_affect_routing() {
    routing_is_unaffected("a_collector_that_answers_500_does_not_affect_routing", || troubled(answers_500));
}

#[test]
fn a_collector_that_answers_429_does_not_affect_routing() {
    routing_is_unaffected("a_collector_that_answers_429_does_not_affect_routing", || troubled(answers_429));
}

#[test]
fn a_request_never_waits_for_an_export() {
    // No export ends while the requests are routed, since an attempt may take an hour.
    let config = TracingConfig {
        export_timeout: Duration::from_secs(3_600),
        shutdown_timeout: Duration::from_millis(50),
        ..troubled(never_answers)
    };
    let system = TracingSystem::new(config);
    route(system.observer().unwrap(), REQUESTS);
    let counts = system.counts().unwrap();
    let made = REQUESTS as u64 * SPANS;
    assert_eq!((counts.made, counts.flushed, counts.failed), (made, 0, 0));
    // Spans that neither wait nor are being sent are dropped at once, and counted.
    assert!(counts.waiting <= QUEUE * SPANS, "{counts:?}");
    assert!(counts.dropped >= made - (QUEUE + 512) * SPANS, "{counts:?}");
    assert!(system.shutdown().timed_out);
}

#[test]
fn spans_arrive_again_after_a_collector_recovers() {
    let name = "spans_arrive_again_after_a_collector_recovers";
    let output = in_own_process(module_path!(), name, &[], || {
        let collector = Collector::start();
        collector.answer(500);
        let system = TracingSystem::new(collector.config());
        system.init().unwrap();
        route(TracingObserver::global(), MORE_THAN_A_BATCH);
        collector.next();
        while system.counts().unwrap().failed == 0 {
            std::thread::yield_now();
        }
        collector.answer(200);
        route(TracingObserver::global(), MORE_THAN_A_BATCH);
        let report = system.shutdown();
        assert!(report.failed >= 512 && report.flushed >= 512, "{report}");
        assert_eq!(report.flushed + report.failed, 2 * MORE_THAN_A_BATCH as u64 * SPANS);
    });
    if let Some(output) = output {
        assert_eq!(output.stderr.matches("spans can't be exported").count(), 1, "{}", output.stderr);
        assert_eq!(output.stderr.matches("spans are exported again").count(), 1, "{}", output.stderr);
    }
}

#[test]
fn spans_that_a_collector_reports_as_refused_have_failed() {
    let refused = ExportTracePartialSuccess { rejected_spans: 3, error_message: "too old".to_owned() };
    let answer = ExportTraceServiceResponse { partial_success: Some(refused) }.encode_to_vec();
    let collector = Collector::answering(answer);
    let system = TracingSystem::new(collector.config());
    route(system.observer().unwrap(), 1);
    let report = system.shutdown();
    assert_eq!((report.flushed, report.failed, report.dropped), (4, 3, 0));
}

#[test]
fn each_span_of_a_hundred_thousand_requests_is_counted() {
    const MANY: usize = 100_000;
    let collector = Collector::start();
    // One span a stage, and the request's.
    let system = TracingSystem::new(TracingConfig { candidate_spans: 0, ..collector.config() });
    let observer = system.observer().unwrap();
    let (done, all_sent) = mpsc::channel();
    let (arrived, report) = std::thread::scope(|scope| {
        let counter = scope.spawn(move || {
            let mut arrived = 0;
            loop {
                // This is read before the last receive, so that no export in between is missed.
                let ended = all_sent.try_recv().is_ok();
                for received in collector.received() {
                    arrived += spans_of(received.request).count() as u64;
                }
                if ended {
                    return arrived;
                }
                std::thread::yield_now();
            }
        });
        route(observer, MANY);
        let report = system.shutdown();
        done.send(()).unwrap();
        (counter.join().unwrap(), report)
    });
    let made = 5 * MANY as u64;
    assert_eq!(system.counts().unwrap().made, made);
    assert_eq!(arrived, report.flushed);
    assert_eq!(arrived + report.dropped, made);
    assert_eq!((report.failed, report.timed_out), (0, false));
    assert!(arrived > 0);
}

#[test]
fn headers_of_the_configuration_and_of_the_environment_reach_the_collector() {
    const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let name = "headers_of_the_configuration_and_of_the_environment_reach_the_collector";
    let collector = Collector::start();
    let endpoint = collector.config().otlp_endpoint.unwrap();
    let variables = [
        (ENDPOINT, &*endpoint),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=them"),
        ("OTEL_SERVICE_NAME", "named-outside"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
    ];
    let output = in_own_process(module_path!(), name, &variables, || {
        let otlp_headers = [("authorization".to_owned(), "Bearer me".to_owned())].into();
        let system = TracingSystem::new(TracingConfig { otlp_headers, ..patient() });
        route(system.observer().unwrap(), 1);
        assert_eq!(system.shutdown().flushed, SPANS);
    });
    if output.is_some() {
        let received = collector.next();
        assert_eq!(received.headers["authorization"], "Bearer me");
        assert_eq!(received.headers["x-tenant"], "them");
        // The name of the exporter, as OTLP recommends.
        assert!(received.headers["user-agent"].to_str().unwrap().starts_with("tiny-dancer-tracing/"));
        let resource = received.request.resource_spans[0].resource.as_ref().unwrap();
        let resource = format!("{resource:?}");
        assert!(resource.contains("named-outside") && resource.contains("deployment.environment.name"));
    }
}

#[test]
fn the_environment_sets_the_size_of_batches() {
    let name = "the_environment_sets_the_size_of_batches";
    in_own_process(module_path!(), name, &[("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "3")], || {
        let collector = Collector::start();
        let system = TracingSystem::new(collector.config());
        route(system.observer().unwrap(), 1);
        assert_eq!(system.shutdown().flushed, SPANS);
        let sizes: Vec<_> =
            collector.requests().into_iter().map(|request| spans_of(request).count()).collect();
        assert_eq!(sizes, [3, 3, 1]);
    });
}

#[test]
fn a_limit_of_attributes_removes_no_stage() {
    let name = "a_limit_of_attributes_removes_no_stage";
    in_own_process(module_path!(), name, &[("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "1")], || {
        let collector = Collector::start();
        let system = TracingSystem::new(collector.config());
        route(system.observer().unwrap(), 1);
        assert_eq!(system.shutdown().flushed, SPANS);
        assert!(collector.spans().iter().all(|span| span.dropped_attributes_count == 0));
    });
}

#[test]
fn a_disabled_sdk_makes_no_spans_although_an_endpoint_is_set() {
    let name = "a_disabled_sdk_makes_no_spans_although_an_endpoint_is_set";
    in_own_process(module_path!(), name, &[("OTEL_SDK_DISABLED", "true")], || {
        let collector = Collector::start();
        let system = TracingSystem::new(collector.config());
        // A caller's sampled trace does not enable it either.
        let sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse::<TraceContext>();
        let _parent = sampled.unwrap().attach();
        route(system.observer().unwrap(), 1);
        assert_eq!((system.counts().unwrap().made, system.shutdown().lost()), (0, 0));
        assert_eq!(collector.received().len(), 0);
    });
}

#[cfg(feature = "gzip")]
#[test]
fn exports_are_compressed_with_otlp_gzip() {
    let collector = Collector::start();
    let system = TracingSystem::new(TracingConfig { otlp_gzip: true, ..collector.config() });
    route(system.observer().unwrap(), 1);
    assert_eq!(system.shutdown().flushed, SPANS);
    let received = collector.next();
    assert_eq!(received.headers["content-encoding"], "gzip");
    assert_eq!(spans_of(received.request).count() as u64, SPANS);
}
