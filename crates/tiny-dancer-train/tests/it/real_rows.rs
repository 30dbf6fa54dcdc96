//! Training on the real rows, which are not in this repository. Set `TINY_DANCER_DATA` to the folder with
//! `routellm.jsonl.zst` and `routellm-minilm.safetensors`, and build with `--release`.

use std::path::Path;
use tiny_dancer_core::Model;
use tiny_dancer_train::report::{Bin, LEVELS};
use tiny_dancer_train::rows::Dataset;
use tiny_dancer_train::vectors::Vectors;
use tiny_dancer_train::{TrainConfig, train};

#[test]
fn on_the_real_rows_the_default_training_beats_the_nearest_rows_and_keeps_its_coverage() {
    let Some(folder) = std::env::var_os("TINY_DANCER_DATA") else {
        eprintln!("SKIPPED: TINY_DANCER_DATA is not set, so there are no real rows to train on");
        return;
    };
    let folder = Path::new(&folder);
    let (shipped, path) = (Model::embedded(), folder.join("routellm-minilm.safetensors"));
    let vectors = Vectors::File { path: &path, embedder: shipped.embedder() };
    let data = Dataset::read(&folder.join("routellm.jsonl.zst"), vectors).unwrap();
    let trained = train(&data, TrainConfig::default(), &mut |_| {}, &|| false).unwrap();
    eprintln!("{}", trained.report);

    let ranking = |name: &str| trained.report.rankings.iter().find(|ranking| ranking.name == name).unwrap();
    let model = ranking("this model, 64 past rows");
    let baseline = ranking("mean of the 100 nearest, suffices");
    assert!(model.apgr >= baseline.apgr, "APGR {:?} against {:?}", model.apgr, baseline.apgr);
    assert!(model.ece.unwrap() <= 0.03);
    assert_eq!(trained.report.directions.1, 0);
    let past_rows = &trained.report.decisions[0];
    let mut parts: Vec<&Bin> = past_rows.bins.iter().filter(|bin| bin.rows > 0).collect();
    let all = past_rows.bins.iter().filter(|bin| bin.rows > 0).fold(Bin::default(), |mut all, bin| {
        all.calibration += bin.calibration;
        all.rows += bin.rows;
        all.covered.resize(LEVELS.len(), 0);
        all.covered.iter_mut().zip(&bin.covered).for_each(|(all, bin)| *all += bin);
        all
    });
    parts.push(&all);
    for bin in parts {
        for (level, &covered) in LEVELS.iter().zip(&bin.covered) {
            let least = least_coverage(*level, bin.calibration, bin.rows);
            eprintln!("level {level}: {covered} of {} covered, {least:.1} is the least, {bin:?}", bin.rows);
            assert!(covered as f64 >= least);
        }
    }

    // Another processor may round differently, and a thousand steps amplify that. The facts are the same everywhere.
    assert_eq!(trained.model.training(), shipped.training());
}

/// Two standard deviations below the mean of the beta-binomial distribution of covered rows.
fn least_coverage(level: f64, calibration: usize, rows: usize) -> f64 {
    let (n, m) = (calibration as f64, rows as f64);
    // The number of the n + 1 ranks that are outside the prediction set.
    let outside = ((1.0 - level) * (n + 1.0)).floor();
    let (p, total) = (1.0 - outside / (n + 1.0), n + 1.0);
    m * p - 2.0 * (m * p * (1.0 - p) * (total + m) / (total + 1.0)).sqrt()
}
