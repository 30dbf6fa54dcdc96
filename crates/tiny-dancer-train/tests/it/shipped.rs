//! Size, facts and tables of the embedded model's file.

use tiny_dancer_core::Model;
use tiny_dancer_train::TrainConfig;

#[test]
fn the_shipped_file_is_small() {
    let model = Model::embedded();
    let w = model.weights();
    let vectors = [&w.w, &w.u, &w.bias_gate, &w.bias_update, &w.head_weight];
    let weights = vectors.iter().map(|vector| vector.len()).sum::<usize>() + 3;
    assert!(weights * size_of::<f32>() < 10_000, "{weights} weights");
    assert!(model.to_bytes().len() < 40_000);
}

#[test]
fn the_shipped_model_was_made_with_the_defaults() {
    let (model, config) = (Model::embedded(), TrainConfig::default());
    let fact = |name: &str| model.training()[name].as_str();
    assert_eq!(fact("seed"), config.seed.to_string());
    assert_eq!(fact("epochs"), config.epochs.to_string());
    assert_eq!(fact("learning_rate"), config.learning_rate.to_string());
    assert_eq!(fact("target"), config.target.name());
    assert_eq!(model.hidden_size(), config.hidden_size);
}

#[test]
fn every_bin_above_the_lowest_similarity_has_enough_rows() {
    let model = Model::embedded();
    for table in [model.per_candidate(), model.joint()] {
        let sizes: Vec<usize> = (0..table.bins()).map(|bin| table.scores(bin).len()).collect();
        let by_similarity = sizes.len() / 4;
        assert!(sizes[..by_similarity].iter().all(|&rows| rows < 50), "{sizes:?}");
        assert!(sizes[by_similarity..].iter().all(|&rows| rows >= 50), "{sizes:?}");
    }
}
