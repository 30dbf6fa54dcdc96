//! The 64 nearest of a set, found and routed by: how long it takes, and how long reading the same bytes once does.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::cell::OnceCell;
use std::hint::black_box;
use tiny_dancer::parts::core::{CandidateSet, Query, Router};
use tiny_dancer::{RouterConfig, RoutingResponse};
use tiny_dancer_benches::set;
use tiny_dancer_core::testing::kernels::embeddings;

const DIMENSIONS: usize = 384;

fn search(criterion: &mut Criterion) {
    let router = Router::new(RouterConfig::default()).expect("the default configuration is a good one");
    let mut response = RoutingResponse::default();
    let mut group = criterion.benchmark_group("search");
    group.sample_size(20);
    for candidates in [10_000, 100_000, 1_000_000] {
        let size = format!("{candidates}x{DIMENSIONS}");
        group.throughput(Throughput::Bytes((candidates * DIMENSIONS * size_of::<f32>()) as u64));
        // Made where they are not filtered out: a million candidates are 1.5 GB.
        let made: OnceCell<(CandidateSet, Vec<f32>)> = OnceCell::new();
        let remember = || set::remembered(candidates, DIMENSIONS).expect("good candidates");
        group.bench_function(BenchmarkId::new(&size, "route_set"), |bencher| {
            let (remembered, query) = made.get_or_init(remember);
            let query = Query { now: Some(0), ..Query::new(query) };
            bencher.iter(|| {
                router
                    .route_set_into(black_box(query), remembered, 64, &mut response)
                    .expect("the query is a good one");
            });
        });
        group.bench_function(BenchmarkId::new(&size, "read"), |bencher| {
            let (remembered, _) = made.get_or_init(remember);
            bencher.iter(|| set::read(black_box(embeddings(remembered))));
        });
    }
    group.finish();
}

criterion_group!(benches, search);
criterion_main!(benches);
