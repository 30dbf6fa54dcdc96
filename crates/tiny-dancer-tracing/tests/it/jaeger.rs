//! The datagrams that reach a Jaeger agent.

use crate::collector::{Collector, patient};
use crate::export::{assert_trees, candidates, route};
use crate::thrift::{Value, message};
use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::time::Duration;
use tiny_dancer_core::observer::{RequestStart, Stage};
use tiny_dancer_core::testing::{broken_model, router};
use tiny_dancer_core::{CircuitBreakerConfig, RoutingRequest};
use tiny_dancer_tracing::{TraceContext, TracingConfig, TracingSystem, fields};
use tracing_subscriber::layer::SubscriberExt;

/// An agent's socket.
struct Agent(UdpSocket);

impl Agent {
    fn listen(address: &str) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        // A missing datagram makes the test fail instead of hang.
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self(socket)
    }

    fn config(&self) -> TracingConfig {
        let address = self.0.local_addr().unwrap();
        TracingConfig {
            service_name: "my-service".to_owned(),
            jaeger_agent_endpoint: Some(address.to_string()),
            ..patient()
        }
    }

    /// The next batch.
    fn batch(&self) -> Value {
        let mut datagram = vec![0; 65_536];
        let length = self.0.recv(&mut datagram).unwrap();
        assert!(length <= 65_000, "{length} bytes");
        let (name, arguments) = message(&datagram[..length]);
        assert_eq!(name, "emitBatch");
        arguments.field(1).unwrap().clone()
    }

    /// The next `count` spans.
    fn spans(&self, count: usize) -> Vec<Value> {
        let mut spans = Vec::new();
        while spans.len() < count {
            spans.extend_from_slice(self.batch().list(2));
        }
        spans
    }
}

/// A tag's value.
fn tag<'a>(span: &'a Value, key: &str) -> Option<&'a Value> {
    let tag = span.list(10).iter().find(|tag| tag.text(1) == key)?;
    let (kind, value) = [(0, 3), (1, 4), (2, 5), (3, 6)][tag.int(2) as usize];
    assert_eq!(tag.int(2), kind);
    tag.field(value)
}

#[test]
fn the_five_spans_reach_an_agent_nested_and_with_integers_as_integers() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let agent = Agent::listen(address);
        let system = TracingSystem::new(agent.config());
        let parent: TraceContext = "00-8af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap();
        let guard = parent.attach();
        route(system.observer().unwrap(), 1);
        drop(guard);
        assert_eq!(system.shutdown().flushed, 7);

        let batch = agent.batch();
        assert_eq!(batch.field(1).unwrap().text(1), "my-service");
        let spans = batch.list(2);
        assert_eq!(spans.len(), 7);
        let root = spans.iter().find(|span| span.text(5) == RequestStart::NAME).unwrap();
        assert_eq!(root.int(2), 0x8af7_6519_16cd_43dd_u64 as i64);
        assert_eq!(root.int(1), 0x8448_eb21_1c80_319c_u64 as i64);
        assert_eq!(root.int(4), 0xb7ad_6b71_6920_3331_u64 as i64);
        assert_eq!(root.int(7), 1, "sampled");
        assert!(root.int(8) > 1_600_000_000_000_000 && root.int(9) >= 0, "microseconds since 1970");
        let below = spans.iter().filter(|span| span.int(4) == root.int(3));
        let names: BTreeSet<&str> = below.map(|span| span.text(5)).collect();
        assert_eq!(names, Stage::ROUTING.map(Stage::name).into());
        assert_eq!(tag(root, fields::CANDIDATES), Some(&Value::Int(2)));
        assert_eq!(tag(root, fields::CONFIDENCE_THRESHOLD), Some(&Value::Double(0.85)));
        assert_eq!(tag(root, fields::DECISION_REASON), Some(&Value::Text("confident".to_owned())));
    }
}

#[test]
fn a_failed_request_is_an_error_in_jaeger() {
    let agent = Agent::listen("127.0.0.1:0");
    let system = TracingSystem::new(agent.config());
    let (router, _) = router(broken_model(), CircuitBreakerConfig::default(), system.observer().unwrap());
    router.route(RoutingRequest::new(&[1.0, 0.0], &candidates())).unwrap_err();
    system.shutdown();
    let spans = agent.spans(4);
    let root = spans.iter().find(|span| span.text(5) == RequestStart::NAME).unwrap();
    assert_eq!(tag(root, "error"), Some(&Value::Bool(true)));
    assert_eq!(tag(root, "otel.status_code"), Some(&Value::Text("ERROR".to_owned())));
}

#[test]
fn more_spans_than_a_datagram_holds_arrive_in_several() {
    let agent = Agent::listen("127.0.0.1:0");
    let system = TracingSystem::new(agent.config());
    // Fewer than a batch, so that all are sent at once, and no more than the socket keeps until it is read.
    route(system.observer().unwrap(), 60);
    assert_eq!(system.shutdown().flushed, 420);
    let first = agent.batch().list(2).len();
    assert!(first < 420);
    assert_eq!(agent.spans(420 - first).len(), 420 - first);
}

#[test]
fn a_span_that_is_too_large_for_a_datagram_has_failed_and_its_neighbours_arrive() {
    let agent = Agent::listen("127.0.0.1:0");
    let system = TracingSystem::new(agent.config());
    let subscriber = tracing_subscriber::registry().with(system.layer().unwrap());
    tracing::subscriber::with_default(subscriber, || {
        tracing::info_span!("large", text = "x".repeat(70_000)).in_scope(|| ());
    });
    route(system.observer().unwrap(), 1);
    let report = system.shutdown();
    assert_eq!((report.flushed, report.failed, report.dropped), (7, 1, 0));
    assert!(agent.spans(7).iter().all(|span| span.text(5) != "large"));
}

#[test]
fn a_span_that_follows_from_another_has_a_reference_to_it() {
    let agent = Agent::listen("127.0.0.1:0");
    let system = TracingSystem::new(agent.config());
    let subscriber = tracing_subscriber::registry().with(system.layer().unwrap());
    tracing::subscriber::with_default(subscriber, || {
        let first = tracing::info_span!("first");
        first.in_scope(|| ());
        let second = tracing::info_span!("second");
        second.follows_from(&first);
        second.in_scope(|| ());
    });
    assert_eq!(system.shutdown().flushed, 2);
    let spans = agent.spans(2);
    let named = |name| spans.iter().find(|span| span.text(5) == name).unwrap();
    let [reference] = named("second").list(6) else { panic!("{:?}", named("second")) };
    let first = named("first");
    // FOLLOWS_FROM, the trace in two halves, the span.
    let expected = [1, first.int(1), first.int(2), first.int(3)];
    assert_eq!([1, 2, 3, 4].map(|field| reference.int(field)), expected);
}

#[test]
fn a_shutdown_ends_in_time_without_an_agent() {
    let config = Agent::listen("127.0.0.1:0").config();
    let system = TracingSystem::new(config);
    route(system.observer().unwrap(), 200);
    assert!(!system.shutdown().timed_out);
}

#[test]
fn spans_for_a_host_without_an_address_are_counted_as_failed() {
    let endpoint = Some("no-such-host.invalid:6831".to_owned());
    let system = TracingSystem::new(TracingConfig { jaeger_agent_endpoint: endpoint, ..patient() });
    route(system.observer().unwrap(), 1);
    assert_eq!(system.shutdown().failed, 7);
}

#[test]
fn the_same_request_has_the_same_five_spans_with_otlp_with_jaeger_and_on_standard_output() {
    let name = "the_same_request_has_the_same_five_spans_with_otlp_with_jaeger_and_on_standard_output";
    let mut wanted: Vec<&str> = Stage::ROUTING.map(Stage::name).to_vec();
    wanted.extend([RequestStart::NAME, Stage::ModelInference.name(), Stage::ModelInference.name()]);
    wanted.sort_unstable();
    let sorted = |mut names: Vec<String>| {
        names.sort_unstable();
        names
    };
    let printed = crate::process::in_own_process(module_path!(), name, &[], || {
        let system = TracingSystem::new(TracingConfig { enable_stdout: true, ..patient() });
        route(system.observer().unwrap(), 1);
        system.shutdown();
    });
    let Some(printed) = printed else { return };
    let label = "\tName         : ";
    let printed = printed.stdout.lines().filter_map(|line| line.strip_prefix(label));
    assert_eq!(sorted(printed.map(str::to_owned).collect()), wanted);

    let (collector, agent) = (Collector::start(), Agent::listen("127.0.0.1:0"));
    // Both exporters at once, with the same spans.
    let config =
        TracingConfig { jaeger_agent_endpoint: agent.config().jaeger_agent_endpoint, ..collector.config() };
    let system = TracingSystem::new(config);
    route(system.observer().unwrap(), 1);
    assert_eq!(system.shutdown().flushed, 14);
    let (otlp, jaeger) = (collector.spans(), agent.spans(7));
    assert_eq!(assert_trees(&otlp, &[]).len(), 1);
    assert_eq!(sorted(otlp.iter().map(|span| span.name.clone()).collect()), wanted);
    assert_eq!(sorted(jaeger.iter().map(|span| span.text(5).to_owned()).collect()), wanted);
}
