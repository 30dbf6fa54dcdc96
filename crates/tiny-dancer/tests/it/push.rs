//! What a collector receives from the facade, compared with `/metrics` at that moment.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{Exemplar, Metric};
use prometheus::Registry;
use prost::Message;
use std::collections::BTreeMap;
use std::thread::JoinHandle;
use std::time::Duration;
use tiny_dancer::{
    ModelType, Outcome, OutcomeResult, RiskBudget, Router, RouterConfig, RoutingRequest, TracingConfig,
    TracingSystem, otlp,
};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Receives over HTTP until it is unblocked; then its thread returns the paths and the bodies.
fn receiver() -> (String, impl FnOnce() -> Vec<(String, Vec<u8>)>) {
    let server = std::sync::Arc::new(tiny_http::Server::http("127.0.0.1:0").unwrap());
    let address = format!("http://{}", server.server_addr().to_ip().unwrap());
    let serving = std::sync::Arc::clone(&server);
    let thread: JoinHandle<Vec<_>> = std::thread::spawn(move || {
        let receive = |mut request: tiny_http::Request| {
            let (mut body, path) = (Vec::new(), request.url().to_owned());
            request.as_reader().read_to_end(&mut body).unwrap();
            request.respond(tiny_http::Response::empty(200)).unwrap();
            (path, body)
        };
        serving.incoming_requests().map(receive).collect()
    });
    (address, move || {
        server.unblock();
        thread.join().unwrap()
    })
}

/// The value of each series, by its name and its sorted labels.
type Values = BTreeMap<(String, Vec<(String, String)>), f64>;

fn scraped(text: &str) -> Values {
    let number = |value: &str| if value == "+Inf" { f64::INFINITY } else { value.parse().unwrap() };
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty());
        let mut labels: Vec<_> = labels
            .map(|label| label.split_once("=\"").unwrap())
            .map(|(name, value)| (name, value.trim_end_matches('"')))
            .map(|(name, value)| match name {
                "le" => (name.to_owned(), number(value).to_string()),
                _ => (name.to_owned(), value.to_owned()),
            })
            .collect();
        labels.sort();
        ((name.to_owned(), labels), number(value))
    };
    text.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
}

fn received(metrics: &[Metric]) -> (Values, Vec<Exemplar>) {
    let (mut values, mut exemplars) = (Values::new(), Vec::new());
    let labels = |attributes: &[KeyValue], bound: Option<f64>| {
        let text = |attribute: &KeyValue| match attribute.value.as_ref().unwrap().value.as_ref().unwrap() {
            Value::StringValue(text) => (attribute.key.clone(), text.clone()),
            other => panic!("{other:?}"),
        };
        let mut labels: Vec<_> = attributes.iter().map(text).collect();
        labels.extend(bound.map(|bound| ("le".to_owned(), bound.to_string())));
        labels.sort();
        labels
    };
    for Metric { name, data, .. } in metrics {
        let (numbers, histograms) = match data.as_ref().unwrap() {
            Data::Sum(sum) => (&sum.data_points[..], &[][..]),
            Data::Gauge(gauge) => (&gauge.data_points[..], &[][..]),
            Data::Histogram(histogram) => (&[][..], &histogram.data_points[..]),
            other => panic!("{other:?}"),
        };
        for point in numbers {
            let Some(Number::AsDouble(value)) = point.value else { panic!("{point:?}") };
            values.insert((name.clone(), labels(&point.attributes, None)), value);
            exemplars.extend(point.exemplars.clone());
        }
        for point in histograms {
            let mut below = 0;
            let bounds = point.explicit_bounds.iter().copied().chain([f64::INFINITY]);
            for (bound, count) in bounds.zip(&point.bucket_counts) {
                below += count;
                let series = (format!("{name}_bucket"), labels(&point.attributes, Some(bound)));
                values.insert(series, below as f64);
            }
            for (suffix, value) in [("count", point.count as f64), ("sum", point.sum.unwrap())] {
                values.insert((format!("{name}_{suffix}"), labels(&point.attributes, None)), value);
            }
            exemplars.extend(point.exemplars.clone());
        }
    }
    (values, exemplars)
}

#[test]
fn a_collector_receives_what_metrics_shows_at_that_moment() {
    let (address, received_until_now) = receiver();
    let registry = Registry::new();
    let system = TracingSystem::new(TracingConfig {
        otlp_endpoint: Some(address),
        otlp_metrics: true,
        otlp_logs: true,
        shutdown_timeout: Duration::from_secs(120),
        ..Default::default()
    });
    system.push_metrics(otlp::source(&registry));
    let config = RouterConfig { risk: Some(RiskBudget { alpha: 0.15, delta: 0.05 }), ..Default::default() };
    let layers = tracing_subscriber::registry().with(system.layer().unwrap());
    let _guard = layers.with(system.log_layer().unwrap()).set_default();
    let builder = Router::builder(config).registry(&registry).label("router", "support");
    let router = builder.tracing(system.observer().unwrap()).build().unwrap();
    let candidates = crate::candidates();
    for _ in 0..20 {
        router.route(RoutingRequest::new(&[1.0, 0.0], &candidates)).unwrap();
    }
    router.route(RoutingRequest::new(&[], &[])).unwrap_err();
    router.record_outcome(Outcome::new(ModelType::Powerful, OutcomeResult::Sufficed));
    // The counts of exports change during the shutdown.
    let is_steady = |(series, _): &((String, Vec<_>), f64)| {
        !["spans", "log_records", "metric_points"]
            .iter()
            .any(|what| series.0 == format!("tiny_dancer_{what}_total"))
    };
    let shown: Values =
        scraped(&router.export_metrics().unwrap()).into_iter().filter(|it| is_steady(it)).collect();
    let report = system.shutdown();
    assert_eq!(report.lost(), 0, "{report}");

    let messages = received_until_now();
    let of =
        |path: &'static str| messages.iter().filter(move |(of, _)| of == path).map(|(_, body)| &body[..]);
    let exports: Vec<_> =
        of("/v1/metrics").map(|body| ExportMetricsServiceRequest::decode(body).unwrap()).collect();
    let [export] = &exports[..] else { panic!("{exports:?}") };
    let (values, exemplars) = received(&export.resource_metrics[0].scope_metrics[0].metrics);
    let values: Values = values.into_iter().filter(|it| is_steady(it)).collect();
    assert_eq!(values, shown);
    assert!(values.len() > 300, "{}", values.len());
    assert!(exemplars.iter().all(|exemplar| exemplar.trace_id.len() == 16 && exemplar.span_id.len() == 8));
    assert!(exemplars.len() >= 3, "{exemplars:?}");
    assert_eq!(of("/v1/traces").count(), 1);

    let exports = of("/v1/logs").map(|body| ExportLogsServiceRequest::decode(body).unwrap());
    let scopes = exports.flat_map(|export| export.resource_logs).flat_map(|resource| resource.scope_logs);
    let events: Vec<_> = scopes.flat_map(|scope| scope.log_records).map(|record| record.event_name).collect();
    assert_eq!(events, ["tiny_dancer.router_started", "tiny_dancer.request_refused"]);
}
