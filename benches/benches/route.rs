//! The time of one request, `route_into`, with each observer: for the same request again and again, and for another one each
//! time.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main};
use std::time::Instant;
use tiny_dancer_benches::{Case, Ring, Subject, facade_metrics, sizes, subjects};

fn route_into(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route_into");
    // First, since the next line installs tracing.
    route(&mut group, &mut [facade_metrics().expect("the default configuration is valid")]);
    let (mut subjects, _system) = subjects().expect("the default configuration is valid");
    route(&mut group, &mut subjects);
    group.finish();
}

#[expect(clippy::disallowed_methods, reason = "criterion's own loop reads the same clock")]
fn route(group: &mut BenchmarkGroup<'_, WallTime>, subjects: &mut [Box<dyn Subject>]) {
    for (candidates, dimensions) in sizes() {
        let (size, case) = (format!("{candidates}x{dimensions}"), Case::new(candidates, dimensions));
        // The first benchmark that is not filtered out makes it.
        let mut ring = None;
        for subject in &mut *subjects {
            group.bench_function(BenchmarkId::new(&size, subject.name()), |bencher| {
                bencher.iter_custom(|times| {
                    let start = Instant::now();
                    subject.route(&case, times);
                    start.elapsed()
                });
            });
            let rotating = BenchmarkId::new(format!("{size}/rotating"), subject.name());
            group.bench_function(rotating, |bencher| {
                let ring = ring.get_or_insert_with(|| Ring::new(candidates, dimensions));
                bencher.iter_custom(|times| {
                    let start = Instant::now();
                    subject.route_around(ring, times);
                    start.elapsed()
                });
            });
        }
    }
}

criterion_group!(benches, route_into);
criterion_main!(benches);
