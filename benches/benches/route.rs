//! One request, `route_into`, under each observer: how long it takes.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use std::time::Instant;
use tiny_dancer_benches::{Case, subjects};

#[expect(clippy::disallowed_methods, reason = "criterion's own loop reads the same clock")]
fn route_into(criterion: &mut Criterion) {
    let (mut subjects, _system) = subjects().expect("the default configuration is a good one");
    let mut group = criterion.benchmark_group("route_into");
    for (size, case) in Case::all() {
        for subject in &mut subjects {
            group.bench_function(BenchmarkId::new(&size, subject.name()), |bencher| {
                bencher.iter_custom(|times| {
                    let start = Instant::now();
                    subject.route(&case, times);
                    start.elapsed()
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, route_into);
criterion_main!(benches);
