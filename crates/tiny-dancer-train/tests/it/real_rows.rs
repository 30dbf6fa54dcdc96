//! Training on the real rows, which are no part of this repository: set `TINY_DANCER_DATA` to the folder that holds
//! `routellm.jsonl.zst` and `routellm-minilm.safetensors`, and build with `--release`.

use std::path::Path;
use tiny_dancer_core::Model;
use tiny_dancer_train::rows::Dataset;
use tiny_dancer_train::{TrainConfig, train};

#[test]
fn training_on_the_real_rows_gives_the_embedded_model_and_beats_chance() {
    let Some(folder) = std::env::var_os("TINY_DANCER_DATA") else {
        eprintln!("SKIPPED: TINY_DANCER_DATA is not set, so nothing was trained on the real rows");
        return;
    };
    let folder = Path::new(&folder);
    let data = Dataset::read(&folder.join("routellm.jsonl.zst"), &folder.join("routellm-minilm.safetensors"))
        .unwrap();
    let trained = train(&data, TrainConfig::default(), &mut |_| {}, &|| false).unwrap();
    eprintln!("{}", trained.report);

    let ranking = |name: &str| trained.report.rankings.iter().find(|ranking| ranking.name == name).unwrap();
    let model = ranking("this model, 64 past rows");
    let baseline = ranking("mean of the 100 nearest, suffices");
    assert!(model.apgr >= baseline.apgr, "APGR {} against {}", model.apgr, baseline.apgr);
    assert!(model.ece.unwrap() <= 0.03);
    assert_eq!(trained.report.directions.1, 0);
    for (level, coverage) in &trained.report.decisions[0].coverage {
        // Four standard deviations of the beta-binomial of 376 calibration and 3,052 test rows.
        assert!(
            *coverage > level - 4.0 * (level * (1.0 - level) / 335.0).sqrt(),
            "{coverage} at level {level}"
        );
    }

    let embedded = Model::embedded();
    let difference = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    // Another processor may round otherwise on the way, and a thousand steps amplify it.
    let w = difference(&trained.model.weights().w, &embedded.weights().w);
    eprintln!("largest difference of W from the embedded model's: {w}");
    assert_eq!(trained.model.training(), embedded.training());
}
