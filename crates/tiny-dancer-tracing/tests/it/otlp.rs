//! The exporter's reaction to each answer of a collector: its attempts, its log lines, and its connections.

use crate::collector::{Collector, dead, patient};
use crate::export::route;
use crate::failures::{MORE_THAN_A_BATCH, SPANS, answers, serve};
use crate::process::in_own_process;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use tiny_dancer_tracing::{TracingConfig, TracingSystem, fields};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Sends each log line to a channel, as text.
struct Lines(Mutex<Sender<String>>);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        use std::fmt::Write;
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                write!(self.0, "{}={value:?} ", field.name()).unwrap();
            }
        }
        if event.metadata().target() == fields::TARGET {
            let mut text = Text(String::new());
            event.record(&mut text);
            let _ = self.0.lock().unwrap().send(text.0);
        }
    }
}

/// Installs a subscriber, and returns the receiver of its lines.
fn lines() -> Receiver<String> {
    let (send, receive) = channel();
    let subscriber = tracing_subscriber::registry().with(Lines(Mutex::new(send)));
    tracing::subscriber::set_global_default(subscriber).unwrap();
    receive
}

/// The next line that says why spans can't be exported.
fn failure_line(lines: &Receiver<String>) -> String {
    lines.iter().find(|line| line.contains("spans can't be exported")).unwrap()
}

/// Routes one request, exports to this endpoint, and returns the line about the failed export.
fn failure_line_of(endpoint: &str, lines: &Receiver<String>) -> String {
    let config = TracingConfig { otlp_endpoint: Some(endpoint.to_owned()), ..dead() };
    let system = TracingSystem::new(config);
    route(system.observer().unwrap(), 1);
    let report = system.shutdown();
    assert_eq!(report.flushed, 0, "{report}");
    failure_line(lines)
}

#[test]
fn a_redirect_is_an_error_that_names_the_location_and_is_not_followed() {
    in_own_process(
        module_path!(),
        "a_redirect_is_an_error_that_names_the_location_and_is_not_followed",
        &[],
        || {
            let (lines, elsewhere) = (lines(), Collector::start());
            let target = format!("{}/v1/traces", elsewhere.config().otlp_endpoint.unwrap());
            for status in ["301", "302", "303", "307", "308"] {
                let head = format!("{status} Elsewhere\r\nlocation: {target}");
                let address = serve(move |stream| answers(stream, &head));
                let system = TracingSystem::new(TracingConfig {
                    otlp_endpoint: Some(format!("http://{address}")),
                    otlp_headers: [("authorization".to_owned(), "secret".to_owned())].into(),
                    ..patient()
                });
                route(system.observer().unwrap(), 1);
                let report = system.shutdown();
                assert_eq!((report.flushed, report.failed), (0, SPANS), "{status}");
                let failure_line = failure_line(&lines);
                assert!(failure_line.contains(status) && failure_line.contains(&target), "{failure_line}");
                assert!(failure_line.contains(&address.to_string()), "{failure_line}");
            }
            assert_eq!(elsewhere.received().len(), 0);
        },
    );
}

#[test]
fn an_overloaded_collector_gets_all_spans_later() {
    for status in [429, 502, 503, 504] {
        let collector = Collector::start();
        collector.answer(status);
        let system = TracingSystem::new(collector.config());
        route(system.observer().unwrap(), MORE_THAN_A_BATCH);
        collector.next();
        collector.answer(200);
        let report = system.shutdown();
        assert_eq!((report.flushed, report.lost()), (MORE_THAN_A_BATCH as u64 * SPANS, 0), "{status}");
    }
}

#[test]
fn spans_that_a_collector_refuses_are_sent_once() {
    for status in [400, 401, 403, 404, 413, 500] {
        let collector = Collector::start();
        collector.answer(status);
        let system = TracingSystem::new(collector.config());
        route(system.observer().unwrap(), 1);
        assert_eq!(system.shutdown().failed, SPANS, "{status}");
        assert_eq!(collector.received().len(), 1, "{status}");
    }
}

#[test]
fn a_collector_that_starts_late_gets_all_spans_of_the_queue() {
    let name = "a_collector_that_starts_late_gets_all_spans_of_the_queue";
    in_own_process(module_path!(), name, &[], || {
        let lines = lines();
        // No other process listens on this address, so that the port stays free until it is taken again.
        let address = TcpListener::bind("127.0.0.3:0").unwrap().local_addr().unwrap();
        let system = TracingSystem::new(TracingConfig {
            otlp_endpoint: Some(format!("http://{address}")),
            ..patient()
        });
        route(system.observer().unwrap(), 2_000);
        let failure_line = failure_line(&lines);
        assert!(
            failure_line.contains(&address.to_string()) && failure_line.contains("refused"),
            "{failure_line}"
        );
        let collector = Collector::start_at(address, vec![]);
        let report = system.shutdown();
        assert_eq!((report.flushed, report.lost()), (2_000 * SPANS, 0));
        assert_eq!(collector.spans().len() as u64, report.flushed);
        assert!(lines.try_iter().any(|line| line.contains("spans are exported again")));
    });
}

#[test]
fn an_export_to_a_port_of_grpc_names_grpc() {
    let name = "an_export_to_a_port_of_grpc_names_grpc";
    in_own_process(module_path!(), name, &[], || {
        let lines = lines();
        // Such a server may send before the client or after it. It sends HTTP/2's frame SETTINGS, here
        // without settings.
        for bytes_before in [0, 16] {
            let address = serve(move |mut stream| {
                stream.read_exact(&mut vec![0; bytes_before])?;
                stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])?;
                std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
            });
            let failure_line = failure_line_of(&format!("http://{address}"), &lines);
            assert!(
                failure_line.contains("gRPC") && failure_line.contains(&address.to_string()),
                "{failure_line}"
            );
        }
    });
}

#[test]
fn a_host_that_does_not_resolve_is_named() {
    let name = "a_host_that_does_not_resolve_is_named";
    in_own_process(module_path!(), name, &[], || {
        let failure_line = failure_line_of("http://collector.invalid:4318", &lines());
        assert!(failure_line.contains("http://collector.invalid:4318/v1/traces: "), "{failure_line}");
        assert!(failure_line.contains("failed to lookup address"), "{failure_line}");
    });
}

#[test]
fn a_collector_on_a_loopback_address_is_reached_without_the_proxy() {
    const PROXY: &str = "http://127.0.0.1:1";
    let name = "a_collector_on_a_loopback_address_is_reached_without_the_proxy";
    let proxies = [("HTTP_PROXY", PROXY), ("http_proxy", PROXY), ("ALL_PROXY", PROXY)];
    in_own_process(module_path!(), name, &proxies, || {
        let collector = Collector::start();
        let port = collector.config().otlp_endpoint.unwrap();
        let port = port.rsplit(':').next().unwrap();
        for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
            let otlp_endpoint = Some(format!("http://{host}:{port}"));
            let system = TracingSystem::new(TracingConfig { otlp_endpoint, ..collector.config() });
            route(system.observer().unwrap(), 1);
            assert_eq!(system.shutdown().flushed, SPANS, "{host}");
        }
    });
}

#[test]
fn a_collector_elsewhere_is_reached_through_the_proxy() {
    let name = "a_collector_elsewhere_is_reached_through_the_proxy";
    let proxy = Collector::start();
    let address = proxy.config().otlp_endpoint.unwrap();
    let done = in_own_process(module_path!(), name, &[("HTTP_PROXY", &*address)], || {
        let otlp_endpoint = Some("http://collector.invalid:4318".to_owned());
        let system = TracingSystem::new(TracingConfig { otlp_endpoint, ..patient() });
        route(system.observer().unwrap(), 1);
        assert_eq!(system.shutdown().flushed, SPANS);
    });
    assert!(done.is_none() || proxy.received().len() == 1);
}

#[test]
fn the_variable_no_proxy_applies() {
    let proxy = Collector::start();
    let address = proxy.config().otlp_endpoint.unwrap();
    let proxies = [("HTTP_PROXY", &*address), ("NO_PROXY", "collector.invalid")];
    let done = in_own_process(module_path!(), "the_variable_no_proxy_applies", &proxies, || {
        assert!(
            failure_line_of("http://collector.invalid:4318", &lines()).contains("failed to lookup address")
        );
    });
    assert!(done.is_none() || proxy.received().is_empty());
}
