//! Which traces are recorded.

use crate::collector::Collector;
use crate::export::{assert_trees, route};
use tiny_dancer_tracing::{ShutdownReport, TraceContext, TracingConfig, TracingSystem};
use tracing_subscriber::layer::SubscriberExt;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn system(collector: &Collector, sampling_ratio: f64) -> TracingSystem {
    TracingSystem::new(TracingConfig { sampling_ratio, ..collector.config() })
}

fn attach(flags: &str) -> tiny_dancer_tracing::Guard {
    let headers = [("TraceParent", format!("00-{TRACE}-{PARENT}-{flags}")), ("tracestate", "a=1".to_owned())];
    TraceContext::from_headers(headers).unwrap().attach()
}

#[test]
fn at_ratio_zero_no_spans_arrive() {
    let collector = Collector::start();
    let system = system(&collector, 0.0);
    route(system.observer().unwrap(), 100);
    assert_eq!(system.shutdown(), ShutdownReport::default());
    assert_eq!(collector.requests().len(), 0);
}

#[test]
fn a_sampled_traceparent_overrides_ratio_zero_and_its_trace_continues() {
    let collector = Collector::start();
    let system = system(&collector, 0.0);
    let guard = attach("01");
    route(system.observer().unwrap(), 1);
    drop(guard);
    system.shutdown();
    let (spans, parent) = (collector.spans(), u64::from_str_radix(PARENT, 16).unwrap());
    let root = assert_trees(&spans, &parent.to_be_bytes())[0];
    assert_eq!(root.trace_id, u128::from_str_radix(TRACE, 16).unwrap().to_be_bytes());
    assert_eq!(root.trace_state, "a=1");
}

#[test]
fn an_unsampled_traceparent_overrides_ratio_one() {
    let collector = Collector::start();
    let system = system(&collector, 1.0);
    let _guard = attach("00");
    route(system.observer().unwrap(), 10);
    system.shutdown();
    assert_eq!(collector.spans().len(), 0);
}

#[test]
fn the_caller_s_spans_are_sampled_once_and_a_request_follows_them() {
    const CALLS: usize = 200;
    let collector = Collector::start();
    let system = system(&collector, 0.5);
    let observer = system.observer().unwrap();
    let subscriber = tracing_subscriber::registry().with(system.layer().unwrap());
    tracing::subscriber::with_default(subscriber, || {
        for _ in 0..CALLS {
            tracing::info_span!("handle").in_scope(|| {
                tracing::info_span!("prepare").in_scope(|| route(observer.clone(), 1));
            });
        }
    });
    // The queue has room for the 9 spans of each call, even if all are recorded.
    assert_eq!(system.shutdown().lost(), 0);
    let spans = collector.spans();
    let named = |name: &str| spans.iter().filter(|span| span.name == name).count();
    // Six standard deviations to either side.
    assert!((58..142).contains(&named("handle")), "{} of {CALLS}", named("handle"));
    assert_eq!((named("prepare"), named("routing_request")), (named("handle"), named("handle")));
    assert_eq!(spans.len(), 9 * named("handle"));
}
