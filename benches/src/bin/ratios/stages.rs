//! The times of a request: its stages, and the whole request without an observer.

use crate::Run;
use anyhow::Result;
use std::cell::RefCell;
use std::hint::black_box;
use std::sync::Arc;
use tiny_dancer::parts::core::observer::Stage;
use tiny_dancer::parts::core::{Clock, Feature, Kernel, Model};
use tiny_dancer_benches::stopwatch::Stopwatch;
use tiny_dancer_benches::{Case, Quartiles, Turns, subject_at_places};
use tiny_dancer_core::testing::kernels::{Engineer, Scratch, joint, joint_order, per_candidate};

pub(crate) fn measure(run: &Run) -> Result<()> {
    for (candidates, dimensions) in [(1, 384), (10, 384), (100, 384)] {
        let id = format!("stages/{candidates}x{dimensions}");
        if !run.selects(&id) {
            continue;
        }
        let case = Case::new(candidates, dimensions);
        let stopwatch = Arc::new(Stopwatch::default());
        let taken = RefCell::new(Vec::new());
        let mut plain = subject_at_places("none", || Ok(()))?;
        let mut observed = subject_at_places("stopwatch", || Ok(stopwatch.clone()))?;
        let clock = Clock::system();
        let (kernel, model) = (Kernel::detect(), Model::embedded());
        let mut features = Scratch::default();
        Engineer::new().features(kernel, &case.request(), &mut features)?;
        let order = joint_order(kernel, features.column(Feature::Similarity));
        let mut columns = Scratch::default();
        Engineer::new().features(kernel, &case.request(), &mut columns)?;
        let mut turns = Turns::default();
        turns.add("whole", |times| plain.route(&case, times));
        turns.add("observed", |times| {
            observed.route(&case, times);
            taken.borrow_mut().push(stopwatch.take());
        });
        turns.add("per candidate", |times| {
            for _ in 0..times {
                black_box(per_candidate(kernel, &model, black_box(&mut columns)));
            }
        });
        turns.add("joint", |times| {
            for _ in 0..times {
                black_box(joint(kernel, &model, black_box(&features), &order));
            }
        });
        turns.add("clock", |times| {
            for _ in 0..times {
                black_box(clock.tick());
            }
        });
        let measured = turns.measure(run.time());
        let tick = measured.time("clock").median;
        let taken = taken.into_inner();
        let stage = |stage: Stage| Quartiles::of(taken.iter().map(|stages| stages[stage as usize])).median;
        let mut times = vec![("clock", tick), ("observed", measured.time("observed").median)];
        // Each stage contains one reading of the clock, since it begins where the one before ends.
        for it in Stage::ROUTING {
            let time = (stage(it) - tick).max(0.0);
            if it == Stage::ModelInference {
                // The rest of the stage, beside the two passes, finds the nearest and their order.
                let [each, joint] = ["per candidate", "joint"].map(|it| measured.time(it).median);
                let order = (time - each - joint).max(0.0);
                times.extend([("per candidate", each), ("order", order), ("joint", joint)]);
            } else {
                times.push((it.name(), time));
            }
        }
        run.report(&id, measured.time("whole"), &times);
    }
    Ok(())
}
