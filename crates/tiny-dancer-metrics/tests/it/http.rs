//! The server with well-behaved and with bad clients.

use crate::exposition::Scrape;
use crate::{near, route, router};
use flate2::read::GzDecoder;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;
use tiny_dancer_core::breaker::CircuitBreakerConfig;
use tiny_dancer_core::{Circuit, CircuitState, Router, RouterConfig, RoutingRequest, testing};
use tiny_dancer_metrics::prometheus::core::{Collector, Desc};
use tiny_dancer_metrics::prometheus::proto::{Metric, MetricFamily};
use tiny_dancer_metrics::prometheus::{IntGauge, Registry};
use tiny_dancer_metrics::{MetricsCollector, MetricsServer, ServeError, ServerConfig, http};

/// A server that shows the metrics of one request.
fn server(change: impl FnOnce(&mut ServerConfig)) -> MetricsServer {
    let registry = Registry::new();
    let metrics = MetricsCollector::with_registry(&registry).unwrap();
    route(&router(metrics), &[near()]);
    let mut config = ServerConfig { registry, ..Default::default() };
    config.address.set_port(0);
    change(&mut config);
    MetricsServer::start(config).unwrap()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    // A server that hangs fails the test instead of blocking it.
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

struct Answer {
    status: String,
    head: String,
    body: Vec<u8>,
}

/// Sends a request with these header lines and reads until the server closes.
fn send(address: SocketAddr, request: &str, headers: &str) -> Answer {
    let mut stream = connect(address);
    write!(stream, "{request} HTTP/1.1\r\nHost: test\r\n{headers}\r\n").unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("the end of a head");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase();
    let status = head.split(' ').nth(1).unwrap().to_owned();
    Answer { status, head, body: bytes[end + 4..].to_vec() }
}

/// Whether the server closes the connection without an answer, with or without a reset.
fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 64]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn a_scrape_is_answered_with_the_registrys_text() {
    let server = server(|_| {});
    let answer =
        send(server.address(), "GET /metrics", "Accept: text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n");
    assert_eq!(answer.status, "200");
    assert!(
        answer.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{}",
        answer.head
    );
    assert!(!answer.head.contains("content-encoding"), "{}", answer.head);
    let shown = Scrape::parse(&String::from_utf8(answer.body).unwrap());
    assert_eq!(shown.total("tiny_dancer_routing_requests_total"), 1.0);
}

#[test]
fn a_client_that_prefers_openmetrics_gets_it() {
    let server = server(|_| {});
    let of_prometheus =
        "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4\r\n";
    for accept in [of_prometheus, "Accept: application/openmetrics-text\r\n"] {
        let answer = send(server.address(), "GET /metrics", accept);
        assert_eq!(answer.status, "200", "{accept}");
        let content_type = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert!(answer.head.contains(content_type), "{}", answer.head);
        let text = String::from_utf8(answer.body).unwrap();
        assert!(text.contains("\ntiny_dancer_routing_requests_total{status=\"success\"} 1.0\n"), "{text}");
        assert!(text.ends_with("# EOF\n") && !text.contains("_created"), "{text}");
    }
    let created = send(server.address(), "GET /metrics?created=true", of_prometheus);
    assert!(String::from_utf8(created.body).unwrap().contains("tiny_dancer_routing_requests_created{"));
    let text = send(server.address(), "GET /metrics?created=true", "");
    assert!(!String::from_utf8(text.body).unwrap().contains("_created"), "text 0.0.4 has no such series");
}

#[test]
fn a_scrape_is_compressed_for_clients_that_accept_gzip() {
    let server = server(|_| {});
    let plain = send(server.address(), "GET /metrics", "");
    let answer = send(server.address(), "GET /metrics", "Accept-Encoding: gzip\r\n");
    assert!(answer.head.contains("content-encoding: gzip"), "{}", answer.head);
    assert!(answer.body.len() * 4 < plain.body.len(), "{} of {}", answer.body.len(), plain.body.len());
    let mut text = Vec::new();
    GzDecoder::new(&*answer.body).read_to_end(&mut text).unwrap();
    assert_eq!(text, plain.body);
}

/// A collector whose family has no name, which the text format cannot hold.
struct Nameless;

impl Collector for Nameless {
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut family = MetricFamily::default();
        family.set_metric(vec![Metric::default()]);
        vec![family]
    }
}

#[test]
fn a_registry_that_cannot_be_written_is_an_error_with_its_cause() {
    let server = server(|config| config.registry.register(Box::new(Nameless)).unwrap());
    let answer = send(server.address(), "GET /metrics", "");
    assert_eq!(answer.status, "500");
    let text = String::from_utf8(answer.body).unwrap();
    assert!(
        text.starts_with("the registry cannot be written as text: ") && text.contains("no name"),
        "{text}"
    );
}

#[test]
fn health_and_other_paths_and_methods() {
    let server = server(|_| {});
    let status = |request: &str| send(server.address(), request, "").status;
    assert_eq!(send(server.address(), "GET /healthz", "").body, b"ok\n");
    assert_eq!(["GET /metrics", "HEAD /metrics", "GET /healthz"].map(status), ["200"; 3]);
    assert_eq!(["GET /", "POST /metrics", "DELETE /healthz"].map(status), ["404", "405", "405"]);
    assert_eq!(send(server.address(), "GET /metrics", "Accept: application/json\r\n").status, "406");
}

/// The status and the body of `/readyz`.
fn readiness(server: &MetricsServer) -> (String, String) {
    let answer = send(server.address(), "GET /readyz", "");
    assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
    (answer.status, String::from_utf8(answer.body).unwrap())
}

fn answered(status: &str, model: bool, circuit: &str) -> (String, String) {
    let ready = status == "200";
    let body = format!(r#"{{"ready":{ready},"model":{model},"inference_circuit":"{circuit}"}}"#);
    (status.to_owned(), body + "\n")
}

#[test]
fn a_program_is_ready_while_it_has_a_model_and_its_inference_circuit_is_not_open() {
    let registry = Registry::new();
    let mut config = ServerConfig { registry: registry.clone(), ..Default::default() };
    config.address.set_port(0);
    let server = MetricsServer::start(config).unwrap();
    assert_eq!(readiness(&server), answered("503", false, "closed"), "no collector");
    let metrics = MetricsCollector::with_registry(&registry).unwrap();
    assert_eq!(readiness(&server), answered("503", false, "closed"), "no router");
    let (router, hand) =
        testing::router(testing::broken_model(), CircuitBreakerConfig::default(), metrics.clone());
    assert_eq!(readiness(&server), answered("200", true, "closed"));
    router.force_open(Circuit::Lightweight);
    assert_eq!(readiness(&server), answered("200", true, "closed"), "the other circuit");
    router.reset(Circuit::Lightweight);
    let ask = || router.route(RoutingRequest::new(&[1.0, 0.0], &[near()]));
    for _ in 0..5 {
        ask().unwrap_err();
    }
    assert_eq!(readiness(&server), answered("503", true, "open"));
    hand.advance(Duration::from_secs(60));
    // A success rate of one half is the one for which this model gives a number.
    let good = [testing::candidate("good", 0.9, 0.5)];
    router.route(RoutingRequest::new(&[1.0, 0.0], &good)).unwrap();
    assert_eq!(readiness(&server), answered("200", true, "half_open"), "it probes");
    drop(router);
    assert_eq!(readiness(&server), answered("503", false, "closed"), "the router is dropped");
}

/// A load balancer sends no requests to an instance that is not ready, so no probe closes the circuit.
#[test]
fn another_model_makes_a_program_ready_without_a_request() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    std::fs::write(&path, testing::broken_model().to_bytes()).unwrap();
    let registry = Registry::new();
    let metrics = MetricsCollector::with_registry(&registry).unwrap();
    let config = RouterConfig { model_path: Some(path.clone()), ..Default::default() };
    let router = Router::with_observer(config, metrics).unwrap();
    for _ in 0..5 {
        router.route(RoutingRequest::new(&[1.0, 0.0], &[near()])).unwrap_err();
    }
    assert!(!http::Readiness::of(&registry).is_ready());
    std::fs::write(&path, testing::toy_model().to_bytes()).unwrap();
    router.reload_model().unwrap();
    assert!(http::Readiness::of(&registry).is_ready());
}

#[test]
fn routers_are_ready_in_a_registry_with_a_prefix_too() {
    let registry = Registry::new_custom(Some("shop".to_owned()), None).unwrap();
    let metrics = MetricsCollector::with_registry(&registry).unwrap();
    assert!(!http::Readiness::of(&registry).is_ready());
    let _router = router(metrics);
    assert!(http::Readiness::of(&registry).is_ready());
}

#[test]
fn all_routers_of_a_registry_must_be_ready() {
    let registry = Registry::new();
    let of = |name| MetricsCollector::with_const_labels(&registry, &[("router", name)]).unwrap();
    let (blue, green) = (of("blue"), of("green"));
    let one = router(blue);
    assert!(!http::Readiness::of(&registry).is_ready(), "green has no model");
    let other = router(green);
    assert!(http::Readiness::of(&registry).is_ready());
    other.force_open(Circuit::Inference);
    let readiness = http::Readiness::of(&registry);
    assert_eq!((readiness.model, readiness.inference_circuit), (true, CircuitState::Open));
    assert!(!readiness.is_ready());
    drop(one);
}

#[test]
fn too_many_headers_and_too_large_ones_are_refused() {
    let server = server(|_| {});
    let many = "x: 1\r\n".repeat(100);
    assert_eq!(send(server.address(), "GET /metrics", &many).status, "431");
    let large = format!("x: {}\r\n", "1".repeat(20_000));
    // The server may close the connection before all of it is sent.
    let mut stream = connect(server.address());
    let _ = write!(stream, "GET /metrics HTTP/1.1\r\nHost: test\r\n{large}\r\n");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(send(server.address(), "GET /metrics", "").status, "200", "other clients are served");
}

#[test]
fn a_connection_without_a_whole_request_is_closed() {
    let server = server(|config| config.timeout = Duration::from_millis(200));
    for request in ["", "GET /met", "GET /metrics HTTP/1.1\r\nHost: te"] {
        let mut stream = connect(server.address());
        stream.write_all(request.as_bytes()).unwrap();
        assert!(is_closed(&mut stream), "{request:?}");
    }
}

/// Its text is longer than the system's buffer of a connection.
fn large() -> IntGauge {
    IntGauge::new("large", "x".repeat(32 << 20)).unwrap()
}

#[test]
fn the_connection_of_a_client_that_reads_nothing_is_closed() {
    let server = server(|config| {
        config.registry.register(Box::new(large())).unwrap();
        config.timeout = Duration::from_secs(1);
    });
    let mut stream = connect(server.address());
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    stream.read_exact(&mut [0; 16]).unwrap();
    // The answer has begun. A shutdown ends once the connection is closed, which is within the timeout.
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        server.shutdown();
        done.send(())
    });
    ended.recv_timeout(Duration::from_secs(60)).expect("the connection is closed");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.len() < 32 << 20, "all of it was sent");
}

/// A deadline that the tests with it never reach.
const HOUR: Duration = Duration::from_secs(3600);

fn both_pages_answer(address: SocketAddr) {
    for page in ["GET /healthz", "GET /metrics"] {
        assert_eq!(send(address, page, "").status, "200", "{page}");
    }
}

#[test]
fn idle_connections_delay_neither_health_nor_a_scrape() {
    let server = server(|config| (config.header_timeout, config.timeout) = (HOUR, HOUR));
    let mut idle: Vec<_> =
        (0..ServerConfig::default().max_connections).map(|_| connect(server.address())).collect();
    idle[0].write_all(b"GET /metrics HT").unwrap();
    both_pages_answer(server.address());
    assert!(is_closed(&mut idle[0]), "the oldest is closed");
    idle.last().unwrap().set_nonblocking(true).unwrap();
    let open = idle.last_mut().unwrap().read(&mut [0; 1]).unwrap_err();
    assert_eq!(open.kind(), ErrorKind::WouldBlock, "the newest is open");
}

#[test]
fn clients_that_read_nothing_delay_neither_health_nor_a_scrape() {
    let server = server(|config| {
        config.registry.register(Box::new(large())).unwrap();
        (config.max_connections, config.header_timeout, config.timeout) = (2, HOUR, HOUR);
    });
    let slow = [(); 2].map(|()| {
        let mut slow = connect(server.address());
        slow.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        slow.read_exact(&mut [0; 16]).unwrap();
        slow
    });
    both_pages_answer(server.address());
    drop(slow);
}

#[test]
fn a_connection_whose_headers_take_too_long_is_closed_before_its_deadline() {
    let server = server(|config| {
        (config.header_timeout, config.timeout) = (Duration::from_millis(200), HOUR);
    });
    for request in ["", "GET /metrics HTTP/1.1\r\nHost: te"] {
        let mut stream = connect(server.address());
        stream.write_all(request.as_bytes()).unwrap();
        assert!(is_closed(&mut stream), "{request:?}");
    }
}

#[test]
fn a_server_that_is_shut_down_frees_its_port() {
    let server = server(|_| {});
    let address = server.address();
    let mut idle = connect(address);
    server.shutdown();
    assert!(is_closed(&mut idle));
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    drop(idle);
    TcpListener::bind(address).unwrap();
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    match MetricsServer::bind(address).unwrap_err() {
        ServeError::Listen { address: named, source } => {
            assert_eq!((named, source.kind()), (address, ErrorKind::AddrInUse));
        }
        other => panic!("{other}"),
    }
    assert!(MetricsServer::bind(address).unwrap_err().to_string().contains("in use"));
    assert!(matches!(MetricsServer::bind("127.0.0.1").unwrap_err(), ServeError::Address { .. }));
}

#[test]
fn only_this_machine_reaches_the_default_address() {
    assert!(ServerConfig::default().address.ip().is_loopback());
}

#[test]
fn the_handler_works_in_a_users_router() {
    let registry = Registry::new();
    let metrics = MetricsCollector::with_registry(&registry).unwrap();
    route(&router(metrics), &[near()]);
    let app = axum::Router::new()
        .route("/internal/metrics", http::metrics(registry))
        .route(
            "/state",
            axum::routing::get(|state: axum::extract::State<u8>| async move { state.0.to_string() }),
        )
        .with_state(7_u8);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async { axum::serve(listener, app).await });
    let close = "Connection: close\r\n";
    let answer = send(address, "GET /internal/metrics", close);
    let shown = Scrape::parse(&String::from_utf8(answer.body).unwrap());
    assert_eq!(shown.total("tiny_dancer_routing_requests_total"), 1.0);
    assert_eq!(send(address, "GET /state", close).body, b"7");
}
