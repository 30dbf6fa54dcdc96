//! One request, `route_into`, under each observer: how long it takes, the same one again and again and another one each
//! time.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main};
use std::time::Instant;
use tiny_dancer_benches::{CANDIDATES, Case, DIMENSIONS, Ring, Subject, scraped, subjects};

fn route_into(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route_into");
    // First, since from the next line on tracing is installed.
    sizes(&mut group, &mut [scraped().expect("the default configuration is a good one")]);
    let (mut subjects, _system) = subjects().expect("the default configuration is a good one");
    sizes(&mut group, &mut subjects);
    group.finish();
}

#[expect(clippy::disallowed_methods, reason = "criterion's own loop reads the same clock")]
fn sizes(group: &mut BenchmarkGroup<'_, WallTime>, subjects: &mut [Box<dyn Subject>]) {
    let sizes = CANDIDATES.into_iter().flat_map(|n| DIMENSIONS.map(|dimensions| (n, dimensions)));
    for (candidates, dimensions) in sizes {
        let (size, case) = (format!("{candidates}x{dimensions}"), Case::new(candidates, dimensions));
        // Made by the first that is not filtered out.
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
