//! Kernels alone: cosines compared with the crate `simsimd`, the cell and its activations with libm.

use crate::Run;
use anyhow::Result;
use simsimd::SpatialSimilarity as _;
use std::hint::black_box;
use tiny_dancer::RouterConfig;
use tiny_dancer::parts::core::{Feature, Kernel, Model};
use tiny_dancer_benches::naive::{self, Naive};
use tiny_dancer_benches::{Case, Turns};
use tiny_dancer_core::testing::kernels::{Engineer, Scratch, cosines, joint, joint_order, sigmoid};

pub(crate) fn measure(run: &Run) -> Result<()> {
    for (candidates, dimensions) in [(10, 384), (100, 128), (100, 384), (100, 768)] {
        cosine(run, candidates, dimensions)?;
    }
    joint_step(run)?;
    activation(run);
    Ok(())
}

/// All cosines of a request, norms included. The router's also check the embeddings.
fn cosine(run: &Run, candidates: usize, dimensions: usize) -> Result<()> {
    let id = format!("cosine/{candidates}x{dimensions}");
    if !run.selects(&id) {
        return Ok(());
    }
    let case = Case::new(candidates, dimensions);
    let (kernel, mut similarities) = (Kernel::detect(), vec![0.0; candidates]);
    anyhow::ensure!(cosines(kernel, case.query(), case.candidates(), &mut similarities)?, "bad embeddings");
    let mut turns = Turns::default();
    turns.add("router", |times| {
        for _ in 0..times {
            let done = cosines(kernel, black_box(case.query()), case.candidates(), &mut similarities);
            done.expect("the query is valid");
            black_box(&similarities);
        }
    });
    turns.add("simsimd", peer(&case, |a, b| 1.0 - f32::cosine(a, b).unwrap_or(f64::NAN) as f32));
    turns.add("naive", peer(&case, naive::cosine));
    run.report_ratio(&id, &turns.measure(run.time()), "simsimd", "router");
    Ok(())
}

/// All cosines of a request by a peer's function.
fn peer<'a>(case: &'a Case, cosine: impl Fn(&[f32], &[f32]) -> f32 + 'a) -> impl FnMut(u64) + 'a {
    let mut similarities = vec![0.0; case.candidates().len()];
    move |times| {
        for _ in 0..times {
            let query = black_box(case.query());
            for (similarity, candidate) in similarities.iter_mut().zip(case.candidates()) {
                *similarity = cosine(query, &candidate.embedding);
            }
            black_box(&similarities);
        }
    }
}

/// A step of the cell with a state, in nanoseconds and compared with the naive one.
fn joint_step(run: &Run) -> Result<()> {
    if !run.selects("joint-step") && !run.selects("joint-step/libm") {
        return Ok(());
    }
    let case = Case::new(64, 128);
    let (kernel, model, mut scratch) = (Kernel::detect(), Model::embedded(), Scratch::default());
    Engineer::new().features(kernel, &case.request(), &mut scratch)?;
    let order = joint_order(kernel, scratch.column(Feature::Similarity));
    let naive = Naive::new(&model, RouterConfig::default());
    let features: Vec<_> =
        order.iter().map(|&i| Feature::ALL.map(|feature| scratch.column(feature)[i as usize])).collect();
    let mut turns = Turns::default();
    turns.add("router", |times| {
        for _ in 0..times {
            black_box(joint(kernel, &model, black_box(&scratch), &order));
        }
    });
    turns.add("naive", |times| {
        for _ in 0..times {
            let mut h = vec![0.0; model.hidden_size()];
            for x in black_box(&features) {
                h = naive.step(x, &h);
            }
            black_box(h);
        }
    });
    let (measured, steps) = (turns.measure(run.time()), order.len() as f64);
    let times = ["router", "naive"].map(|name| (name, measured.time(name).median / steps));
    run.report("joint-step", measured.time("router").times(steps.recip()), &times);
    run.report("joint-step/libm", measured.ratio("naive", "router"), &times);
    Ok(())
}

fn activation(run: &Run) {
    if !run.selects("sigmoid/libm") {
        return;
    }
    let kernel = Kernel::detect();
    let inputs: Vec<f32> = (0..1024).map(|i| (i - 512) as f32 / 64.0).collect();
    let (mut values, mut libm) = (inputs.clone(), inputs.clone());
    let mut turns = Turns::default();
    turns.add("router", |times| {
        for _ in 0..times {
            values.copy_from_slice(black_box(&inputs));
            sigmoid(kernel, &mut values);
            black_box(&values);
        }
    });
    turns.add("libm", |times| {
        for _ in 0..times {
            for (value, x) in libm.iter_mut().zip(black_box(&inputs)) {
                *value = naive::sigmoid(*x);
            }
            black_box(&libm);
        }
    });
    let measured = turns.measure(run.time());
    let each = ["router", "libm"].map(|name| (name, measured.time(name).median / inputs.len() as f64));
    run.report("sigmoid/libm", measured.ratio("libm", "router"), &each);
}
