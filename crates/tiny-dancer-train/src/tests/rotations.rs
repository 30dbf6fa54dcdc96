//! The experiment that chose the labels: variants of them, judged on `train` rows only.
//!
//! In each of five rotations another tenth of the `train` rows is judged, the next tenth is for early stopping, and
//! the weights are fitted to the other eight. Rows of other splits are not used.

use super::*;
use crate::cell::Step;
use crate::score::{apgr, auroc};
use std::path::Path;

const VARIANTS: [(Target, f64); 5] = [
    (Target::WinRate, 0.0),
    (Target::WinRate, 0.6),
    (Target::WinRate, 0.9),
    (Target::WinRate, 1.0),
    (Target::Suffices, 0.9),
];

/// The judged groups, out of ten by id hash. Group 0 is the early-stopping part of the shipped model.
const ROTATIONS: [usize; 5] = [0, 2, 4, 6, 8];

/// The mean over rotations of APGR and AUROC.
#[derive(Debug, Default)]
struct Mean {
    apgr: f64,
    auroc: f64,
}

impl Mean {
    fn add(&mut self, data: &Dataset, rows: &[usize], confidences: &[f64]) {
        let scored: Vec<_> = rows.iter().zip(confidences).map(|(&row, &c)| (&data.rows[row], c)).collect();
        self.apgr += apgr(&scored).unwrap() / ROTATIONS.len() as f64;
        self.auroc += auroc(&scored).unwrap() / ROTATIONS.len() as f64;
    }
}

#[test]
#[ignore = "an experiment of a quarter of an hour, see docs/model.md"]
fn labels_of_neighbours_rank_rows_better_than_their_own_labels() {
    let folder = std::env::var_os("TINY_DANCER_DATA").expect("TINY_DANCER_DATA names the folder of the data");
    let file = |name| Path::new(&folder).join(name);
    let data = Dataset::read(&file("routellm.jsonl.zst"), &file("routellm-minilm.safetensors")).unwrap();
    let train = data.select(Part::is_train);
    let tenth = |row: usize| (crate::rows::id_hash(&data.rows[row].id) / 100 % 10) as usize;
    let group =
        |number: usize| train.iter().copied().filter(|&row| tenth(row) == number % 10).collect::<Vec<_>>();
    let mut apgr_of = vec![];
    for (target, neighbours) in VARIANTS {
        let TrainConfig { hidden_size, learning_rate, epochs, seed, .. } = TrainConfig::default();
        let memories = Memories::new(&data, target, seed);
        let labels = memories.labels(&data, target, neighbours);
        let (mut model, mut profiles, mut nearest) = (Mean::default(), Mean::default(), Mean::default());
        for rotation in ROTATIONS {
            let (judged, early_stopping) = (group(rotation), group(rotation + 1));
            let fit = (2..10).flat_map(|next| group(rotation + next)).collect();
            let problem = Problem { memories: &memories, labels: &labels, fit, early_stopping };
            let schedule = Schedule { hidden_size, learning_rate, epochs, seed };
            let fitted = fit::fit(&problem, schedule, &mut |_| {}, &|| false);
            let logits = |memory: &memory::Memory| {
                let requests: Vec<Vec<Step>> = judged.iter().map(|&row| memory.now(row, 64)).collect();
                calibrate::logits(&fitted.parameters, &requests)
            };
            model.add(&data, &judged, &logits(&memories.rows));
            profiles.add(&data, &judged, &logits(&memories.profiles[1]));
            let mean = memories.mean_of_nearest(&data, &judged, 100, &|row| target.of(row));
            let mean: Vec<f64> = mean.into_iter().map(Option::unwrap_or_default).collect();
            nearest.add(&data, &judged, &mean);
        }
        println!(
            "{:8} {neighbours:.1}: APGR {:.3} AUROC {:.3}; of 256 profiles {:.3} {:.3}; mean of the 100 nearest {:.3} {:.3}",
            target.name(),
            model.apgr,
            model.auroc,
            profiles.apgr,
            profiles.auroc,
            nearest.apgr,
            nearest.auroc,
        );
        apgr_of.push(model.apgr);
    }
    assert!(apgr_of[2] > apgr_of[0], "{apgr_of:?}");
}
