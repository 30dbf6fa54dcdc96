//! Parents of work on other threads, in a rayon pool and in tasks.

use crate::collector::Collector;
use crate::export::{assert_trees, route};
use crate::process::in_own_process;
use opentelemetry::trace::Tracer;
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use tiny_dancer_core::testing::candidate;
use tiny_dancer_core::{Router, RouterConfig, RoutingRequest};
use tiny_dancer_tracing::{TraceContext, TracingConfig, TracingObserver, TracingSystem};
use tracing::Instrument;
use tracing_subscriber::layer::SubscriberExt;

const PARENT: &str = "b7ad6b7169203331";
const CALLS: usize = 8;

fn caller() -> TraceContext {
    format!("00-0af7651916cd43dd8448eb211c80319c-{PARENT}-01").parse().unwrap()
}

/// Calls `route_all` to route [`CALLS`] requests at ratio 0, and checks that all are below the caller's span.
fn all_are_below_the_caller(route_all: impl FnOnce(&TracingObserver)) {
    let collector = Collector::start();
    let system = TracingSystem::new(TracingConfig { sampling_ratio: 0.0, ..collector.config() });
    route_all(&system.observer().unwrap());
    assert_eq!(system.shutdown().lost(), 0);
    let parent = u64::from_str_radix(PARENT, 16).unwrap().to_be_bytes();
    assert_eq!(assert_trees(&collector.spans(), &parent).len(), CALLS);
}

#[test]
fn threads_that_attach_a_context_route_below_it() {
    all_are_below_the_caller(|observer| {
        let _here = caller().attach();
        let here = TraceContext::from_current().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..CALLS {
                scope.spawn(|| {
                    let _there = here.attach();
                    route(observer.clone(), 1);
                });
            }
        });
        assert_eq!(TraceContext::from_current(), Some(here));
    });
}

#[test]
fn a_rayon_pool_that_attaches_a_context_routes_below_it_and_keeps_no_context() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    all_are_below_the_caller(|observer| {
        let here = caller();
        pool.install(|| {
            (0..CALLS).into_par_iter().for_each(|_| {
                let _there = here.attach();
                route(observer.clone(), 1);
            });
        });
    });
    assert!(pool.broadcast(|_| TraceContext::from_current()).iter().all(Option::is_none));
}

#[test]
fn a_batch_is_routed_below_the_context_of_its_caller() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    all_are_below_the_caller(|observer| {
        let router = Router::with_observer(RouterConfig::default(), observer.clone()).unwrap();
        let candidates = [candidate("", 0.9, 1.0)];
        let requests = [RoutingRequest::new(&[1.0, 0.0], &candidates); CALLS];
        pool.install(|| {
            let _here = caller().attach();
            assert!(router.route_batch(&requests).iter().all(Result::is_ok));
        });
    });
    assert!(pool.broadcast(|_| TraceContext::from_current()).iter().all(Option::is_none));
}

#[test]
fn tasks_keep_their_context_when_they_move_between_threads() {
    all_are_below_the_caller(|observer| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).build().unwrap();
        runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..CALLS {
                let observer = observer.clone();
                tasks.spawn(caller().within(async move {
                    // After each of these the task may continue on another thread.
                    for _ in 0..20 {
                        tokio::task::yield_now().await;
                    }
                    route(observer, 1);
                }));
                tasks.spawn(async { assert_eq!(TraceContext::from_current(), None) });
            }
            while let Some(task) = tasks.join_next().await {
                task.unwrap();
            }
        });
    });
}

#[test]
fn a_span_of_opentelemetry_s_own_interface_is_the_parent() {
    in_own_process(module_path!(), "a_span_of_opentelemetry_s_own_interface_is_the_parent", &[], || {
        let collector = Collector::start();
        let system = TracingSystem::new(collector.config());
        system.init().unwrap();
        let tracer = opentelemetry::global::tracer("a user's");
        tracer.in_span("handle", |_| route(TracingObserver::global(), 1));
        assert_eq!(system.shutdown().lost(), 0);
        let spans = collector.spans();
        let handle = spans.iter().find(|span| span.name == "handle").unwrap();
        assert_eq!(assert_trees(&spans, &handle.span_id).len(), 1);
    });
}

#[test]
fn a_task_that_a_tracing_span_instruments_routes_below_that_span() {
    let collector = Collector::start();
    let system = TracingSystem::new(collector.config());
    let observer = system.observer().unwrap();
    let subscriber = tracing_subscriber::registry().with(system.layer().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    tracing::subscriber::with_default(subscriber, || {
        runtime.block_on(async {
            let one = |name: &'static str| {
                let observer = observer.clone();
                async move {
                    tokio::task::yield_now().await;
                    route(observer, 1);
                }
                .instrument(tracing::info_span!("handle", otel.name = name))
            };
            tokio::join!(one("first"), one("second"));
        });
    });
    system.shutdown();
    let spans = collector.spans();
    for name in ["first", "second"] {
        let handle = spans.iter().find(|span| span.name == name).unwrap();
        let below: Vec<_> = spans
            .iter()
            .filter(|span| span.parent_span_id == handle.span_id)
            .map(|span| &*span.name)
            .collect();
        assert_eq!(below, ["routing_request"]);
    }
}
