//! Kernels alone, on each instruction set of the machine, beside their alternatives: `simsimd`, the naive router, libm.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use simsimd::SpatialSimilarity as _;
use std::hint::black_box;
use tiny_dancer::RouterConfig;
use tiny_dancer::parts::core::{Feature, Kernel, Model};
use tiny_dancer_benches::naive::{self, Naive};
use tiny_dancer_benches::{CANDIDATES, Case, sizes};
use tiny_dancer_core::testing::kernels::{
    Engineer, Scratch, descending, joint, joint_order, per_candidate, sigmoid,
};

fn cosine(criterion: &mut Criterion) {
    let engineer = Engineer::new();
    let mut group = criterion.benchmark_group("cosine");
    for (candidates, dimensions) in sizes() {
        let (size, case) = (format!("{candidates}x{dimensions}"), Case::new(candidates, dimensions));
        for kernel in Kernel::available() {
            let mut scratch = Scratch::default();
            group.bench_function(BenchmarkId::new(&size, kernel.name()), |bencher| {
                bencher.iter(|| {
                    let done = engineer.features(kernel, black_box(&case.request()), &mut scratch);
                    done.expect("the request is valid");
                });
            });
        }
        let mut similarities = vec![0.0; candidates];
        let mut all = |cosine: &dyn Fn(&[f32], &[f32]) -> f32| {
            let query = black_box(case.query());
            for (similarity, candidate) in similarities.iter_mut().zip(case.candidates()) {
                *similarity = cosine(query, &candidate.embedding);
            }
            black_box(&similarities);
        };
        group.bench_function(BenchmarkId::new(&size, "simsimd"), |bencher| {
            bencher.iter(|| all(&|a, b| 1.0 - f32::cosine(a, b).unwrap_or(f64::NAN) as f32));
        });
        group.bench_function(BenchmarkId::new(&size, "naive"), |bencher| {
            bencher.iter(|| all(&naive::cosine));
        });
    }
    group.finish();
}

fn cell(criterion: &mut Criterion) {
    let model = Model::embedded();
    let naive = Naive::new(&model, RouterConfig::default());
    let mut group = criterion.benchmark_group("cell");
    for &candidates in CANDIDATES {
        let case = Case::new(candidates, 128);
        let mut scratch = Scratch::default();
        for kernel in Kernel::available() {
            let engineered = Engineer::new().features(kernel, &case.request(), &mut scratch);
            engineered.expect("the request is valid");
            let similarity = scratch.column(Feature::Similarity).to_vec();
            let order = joint_order(kernel, &similarity);
            let id = |what: &str| BenchmarkId::new(format!("{what} {candidates}"), kernel.name());
            group.bench_function(id("per-candidate pass"), |bencher| {
                bencher.iter(|| per_candidate(kernel, &model, black_box(&mut scratch))[0]);
            });
            group.bench_function(id("joint pass"), |bencher| {
                bencher.iter(|| joint(kernel, &model, black_box(&scratch), &order));
            });
            group.bench_function(id("joint order"), |bencher| {
                bencher.iter(|| joint_order(kernel, black_box(&similarity)));
            });
            group.bench_function(id("descending"), |bencher| {
                let mut places = vec![0; candidates];
                bencher.iter(|| descending(kernel, black_box(&similarity), &mut places));
            });
        }
    }
    let x = [0.5_f32; Feature::COUNT];
    let h = vec![0.1; model.hidden_size()];
    group.bench_function("one step/naive", |bencher| bencher.iter(|| naive.step(black_box(&x), &h)));
    group.finish();
}

fn activations(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sigmoid of 1024");
    let inputs: Vec<f32> = (0..1024).map(|i| (i - 512) as f32 / 64.0).collect();
    let mut values = inputs.clone();
    for kernel in Kernel::available() {
        group.bench_function(kernel.name(), |bencher| {
            bencher.iter(|| {
                values.copy_from_slice(black_box(&inputs));
                sigmoid(kernel, &mut values);
            });
        });
    }
    group.bench_function("libm", |bencher| {
        bencher.iter(|| {
            for (value, x) in values.iter_mut().zip(black_box(&inputs)) {
                *value = naive::sigmoid(*x);
            }
            black_box(&values);
        });
    });
    group.finish();
}

criterion_group!(benches, cosine, cell, activations);
criterion_main!(benches);
