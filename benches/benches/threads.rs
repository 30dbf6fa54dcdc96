//! One operation by one thread, and by two at once with the same thing: how long it takes.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::{Arc, Barrier, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};
use tiny_dancer::parts::core::{Observer, Router};
use tiny_dancer::parts::metrics::MetricsCollector;
use tiny_dancer::parts::metrics::prometheus::Registry;
use tiny_dancer::{ModelType, Outcome, OutcomeResult, Query, RouterConfig, RoutingRequest, RoutingResponse};
use tiny_dancer_benches::Case;

fn threads(criterion: &mut Criterion) {
    let config = RouterConfig::default;
    let alone = Router::new(config()).expect("the default configuration is a good one");
    let metrics = MetricsCollector::with_registry(&Registry::new()).expect("the registry is empty");
    let watched = Router::with_observer(config(), metrics).expect("the default configuration is a good one");
    let lock = RwLock::new(Arc::new((0.85_f32, 0.15_f32)));

    // Short embeddings, so that most of the time is not cosines.
    let case = Case::new(10, 16);

    operation(criterion, "request", |times| requests(&alone, &case, times));
    operation(criterion, "request with metrics", |times| requests(&watched, &case, times));
    operation(criterion, "request without candidates", |times| {
        let request = RoutingRequest { query: Query { now: Some(0), ..Query::new(&[1.0]) }, candidates: &[] };
        let mut response = RoutingResponse::default();
        for _ in 0..times {
            alone.route_into(black_box(request), &mut response).expect("no evidence is no error");
        }
    });
    operation(criterion, "model handle", |times| {
        (0..times).for_each(|_| {
            black_box(alone.thresholds());
        });
    });
    operation(criterion, "RwLock", |times| {
        for _ in 0..times {
            black_box(**lock.read().unwrap_or_else(PoisonError::into_inner));
        }
    });
    let outcome = Outcome::new(ModelType::Lightweight, OutcomeResult::Sufficed);
    operation(criterion, "outcome", |times| (0..times).for_each(|_| alone.record_outcome(outcome)));
}

fn requests<O: Observer>(router: &Router<O>, case: &Case, times: u64) {
    let mut response = RoutingResponse::default();
    for _ in 0..times {
        router.route_into(black_box(case.request()), &mut response).expect("the request is a good one");
    }
}

/// Measures it by one thread and by two.
fn operation(criterion: &mut Criterion, name: &str, work: impl Fn(u64) + Sync) {
    let mut group = criterion.benchmark_group("threads");
    group.bench_function(BenchmarkId::new(name, 1), |bencher| {
        bencher.iter_custom(|times| timed(&work, times));
    });
    group.bench_function(BenchmarkId::new(name, 2), |bencher| {
        bencher.iter_custom(|times| {
            let line = Barrier::new(2);
            let turn = || {
                line.wait();
                timed(&work, times)
            };
            thread::scope(|scope| {
                let other = scope.spawn(turn);
                (turn() + other.join().expect("nothing panics")) / 2
            })
        });
    });
    group.finish();
}

#[expect(clippy::disallowed_methods, reason = "criterion's own loop reads the same clock")]
fn timed(work: impl Fn(u64), times: u64) -> Duration {
    let start = Instant::now();
    work(times);
    start.elapsed()
}

criterion_group!(benches, threads);
criterion_main!(benches);
