use super::*;
use crate::conformal::CalibrationRow;
use crate::promise::RiskBudget;
use crate::testing::toy_model;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::HashMap;

/// A tensor of a file: name, element type, shape, bytes.
type Tensor = (String, Dtype, Vec<usize>, Vec<u8>);

/// The toy model's file with its tensors and its metadata changed, as a string of JSON.
fn changed(
    tensors: impl FnOnce(&mut Vec<Tensor>),
    metadata: impl FnOnce(&mut HashMap<String, String>),
) -> Vec<u8> {
    let bytes = toy_model().to_bytes();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut list: Vec<Tensor> = file
        .iter()
        .map(|(name, view)| (name.to_owned(), view.dtype(), view.shape().to_vec(), view.data().to_vec()))
        .collect();
    let mut map = header.metadata().clone().unwrap();
    tensors(&mut list);
    metadata(&mut map);
    let views = list
        .iter()
        .map(|(name, dtype, shape, data)| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    safetensors::serialize(views, Some(map)).unwrap()
}

fn refused(bytes: &[u8]) -> String {
    Model::from_bytes(bytes).unwrap_err().to_string()
}

/// The error of the toy model's file with a part of its JSON replaced.
fn refused_metadata(from: &str, to: &str) -> String {
    refused(&changed(
        |_| {},
        |map| {
            let text = map.get_mut("tiny_dancer").unwrap();
            assert!(text.contains(from), "{text}");
            *text = text.replace(from, to);
        },
    ))
}

/// The error of the toy model's file with one tensor changed.
fn refused_tensor(name: &str, change: impl FnOnce(&mut Tensor)) -> String {
    refused(&changed(|list| change(list.iter_mut().find(|tensor| tensor.0 == name).unwrap()), |_| {}))
}

fn write(tensor: &mut Tensor, index: usize, value: [u8; 4]) {
    tensor.3[4 * index..4 * index + 4].copy_from_slice(&value);
}

#[test]
fn the_embedded_model_loads() {
    let model = Model::embedded();
    assert_eq!(model.version().len(), 12);
    assert!(model.to_bytes().len() < 40_000);
}

#[test]
fn each_model_of_the_package_is_found_by_its_embedder() {
    // `MiniLm::PUBLISHED` of tiny-dancer-embed.
    let minilm = "5bec7c7b61aba30e6e8026e87f849090d34d77280d8562769f73cb30f06b32be";
    assert_eq!(Model::embedded_for(minilm).unwrap(), Model::embedded());
    let ids: Vec<_> = Model::all_embedded().map(|model| model.embedder().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 2);
    for id in &ids {
        assert_eq!(Model::embedded_for(id).unwrap().embedder(), Some(id.as_str()));
    }
    let error = Model::embedded_for("another").unwrap_err().to_string();
    assert_eq!(
        error,
        format!("the vectors are of embedder another, the model was made for {}", ids.join(" or "))
    );
}

#[test]
fn a_file_survives_a_round_trip_byte_for_byte() {
    let bytes = Model::embedded().to_bytes();
    let model = Model::from_bytes(&bytes).unwrap();
    assert_eq!(model.to_bytes(), bytes);
    assert_eq!(model.version(), Model::embedded().version());
    assert_eq!(include_bytes!("../../model/default.safetensors").as_slice(), bytes);
}

#[test]
fn the_version_follows_the_content() {
    let model = toy_model();
    let mut weights = model.weights().clone();
    weights.nu += 1.0;
    let other = Model::new(
        weights,
        Ties::Whole,
        model.per_candidate().clone(),
        model.joint().clone(),
        model.training().clone(),
    )
    .unwrap();
    assert_ne!(model.version(), other.version());
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = toy_model().to_bytes();
    for length in 0..bytes.len() {
        Model::from_bytes(&bytes[..length]).unwrap_err();
    }
    assert!(refused(&bytes[..100]).starts_with("not a whole safetensors file: "));
}

#[test]
fn every_changed_bit_is_detected() {
    let bytes = toy_model().to_bytes();
    for place in 0..bytes.len() {
        for bit in 0..8 {
            let mut bytes = bytes.clone();
            bytes[place] ^= 1 << bit;
            assert!(Model::from_bytes(&bytes).is_err(), "bit {bit} of byte {place}");
        }
    }
    let changed = refused_tensor("nu", |tensor| write(tensor, 0, 1.5_f32.to_le_bytes()));
    assert!(
        changed.starts_with("the digest of the content is ") && changed.ends_with("the file was changed")
    );
}

#[cfg(unix)]
#[test]
fn only_a_regular_file_of_limited_size_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for path in [&fifo, Path::new("/dev/zero"), directory.path()] {
        let error = Model::load(path).unwrap_err();
        assert_eq!(error.to_string(), format!("{} is not a regular file", path.display()));
    }
    let large = directory.path().join("large");
    std::fs::File::create(&large).unwrap().set_len(1 << 40).unwrap();
    let error = Model::load(&large).unwrap_err();
    assert_eq!(error.to_string(), format!("{} is larger than 16777216 bytes", large.display()));
}

#[test]
fn steps_and_bins_are_limited() {
    let steps =
        vec![
            RiskStep { confidence_threshold: 0.9, max_uncertainty: 0.1, n: u32::MAX, failures: 1 << 30 };
            1025
        ];
    let error = toy_model().with_risk_path(steps.clone()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "tensor risk.confidence_threshold has 1025 elements, expected 1024 at most"
    );
    // The longest path with the largest counts is resolved.
    let model = toy_model().with_risk_path(steps[1..].to_vec()).unwrap();
    let budget = RiskBudget { alpha: 0.250_02, delta: 0.05 };
    assert_eq!(crate::promise::resolve(model.risk_path(), budget).unwrap(), steps[0]);

    let edges = (0..5000).map(|i| i as f32).collect();
    let table = CalibrationTable::new(edges, vec![], []);
    let (weights, facts) = (toy_model().weights().clone(), TrainingFacts::new());
    let error = Model::new(weights.clone(), Ties::Whole, table.clone(), table, facts.clone()).unwrap_err();
    assert_eq!(error.to_string(), "tensor alone.offsets has 5002 elements, expected 4097 at most");
    // The most bins, and as many scores as the largest file holds.
    let rows = (0..2_000_000).map(|i| CalibrationRow {
        confidence: 0.5,
        sufficed: i % 2 == 0,
        top_similarity: (i % 4000) as f32,
        candidates: 1,
    });
    let table = CalibrationTable::new((0..4095).map(|i| i as f32).collect(), vec![], rows);
    Model::new(weights, Ties::Whole, table.clone(), table, facts).unwrap();
}

#[test]
fn a_safetensors_file_without_a_model_is_refused() {
    let foreign = changed(|_| {}, |map| drop(map.remove("tiny_dancer")));
    assert_eq!(refused(&foreign), "not a tiny-dancer model: its metadata has no key tiny_dancer");
}

#[test]
fn metadata_is_checked_field_by_field() {
    assert!(refused_metadata("{", "").starts_with("metadata is not JSON: "));
    assert_eq!(refused_metadata(r#""format":2"#, r#""format":1"#), "format version is 1, expected 2");
    assert_eq!(
        refused_metadata(r#""format":2"#, r#""format":"2""#),
        "metadata: format is missing or has another type"
    );
    assert_eq!(refused_metadata("whole", "third"), "metadata: ties is missing or has another type");
    assert_eq!(refused_metadata("digest", "summary"), "metadata: digest is missing or has another type");
    assert_eq!(refused_metadata("training", "drill"), "metadata: training is missing or has another type");
    assert_eq!(
        refused_metadata(r#""hidden_size":1"#, r#""hidden_size":0"#),
        "hidden size is 0, expected 1 to 64"
    );
    assert_eq!(
        refused_metadata(r#""hidden_size":1"#, r#""hidden_size":65"#),
        "hidden size is 65, expected 1 to 64"
    );
    assert_eq!(
        refused_metadata("recency", "weather"),
        "features are [\"similarity\", \"weather\", \"frequency\", \"success_rate\", \"metadata_overlap\"], \
         expected [\"similarity\", \"recency\", \"frequency\", \"success_rate\", \"metadata_overlap\"]"
    );
}

#[test]
fn a_tensor_that_is_missing_or_has_another_shape_or_type_is_named() {
    let missing = changed(|list| list.retain(|tensor| tensor.0 != "u"), |_| {});
    assert_eq!(refused(&missing), "tensor u is missing");
    assert_eq!(
        refused_metadata(r#""hidden_size":1"#, r#""hidden_size":2"#),
        "tensor w is F32 of shape [1, 5], expected F32 of shape [2, 5]"
    );
    assert_eq!(
        refused_tensor("nu", |tensor| tensor.1 = Dtype::I32),
        "tensor nu is I32 of shape [1], expected F32 of shape [1]"
    );
    let more = changed(|list| list.push(("v".into(), Dtype::U8, vec![1], vec![0])), |_| {});
    assert_eq!(refused(&more), "17 tensors, expected 16");
}

#[test]
fn a_weight_that_is_not_finite_is_named() {
    let message = refused_tensor("w", |tensor| write(tensor, 3, f32::NAN.to_le_bytes()));
    assert_eq!(message, "tensor w: element 3 is NaN");
    let message = refused_tensor("zeta", |tensor| write(tensor, 0, f32::INFINITY.to_le_bytes()));
    assert_eq!(message, "tensor zeta: element 0 is inf");
}

#[test]
fn a_weight_that_could_leave_the_range_of_floats_is_named() {
    let message = refused_tensor("u", |tensor| write(tensor, 0, (-1e10_f32).to_le_bytes()));
    assert_eq!(message, "tensor u: element 0 is -10000000000, expected -1000000000 to 1000000000");
}

#[test]
fn an_invalid_calibration_is_named() {
    let scores = |index, value: f32| {
        refused_tensor("alone.scores", |tensor| write(tensor, index, value.to_le_bytes()))
    };
    assert_eq!(
        scores(99, 1.5),
        "tensor alone.scores: element 99 is 1.5, expected 0 to 1, ascending within a bin"
    );
    assert!(scores(99, 0.0).contains("element 99"), "not ascending");
    assert!(scores(0, f32::NAN).contains("element 0"));
    let offsets = |index, value: u32| {
        refused_tensor("together.offsets", |tensor| write(tensor, index, value.to_le_bytes()))
    };
    let expected = "expected ascending from 0 to the number of scores";
    assert_eq!(offsets(0, 1), format!("tensor together.offsets: element 0 is 1, {expected}"));
    assert_eq!(offsets(2, 99), format!("tensor together.offsets: element 2 is 99, {expected}"));
    assert_eq!(offsets(1, 101), format!("tensor together.offsets: element 2 is 100, {expected}"));
    let shorter = refused_tensor("alone.offsets", |tensor| {
        tensor.2 = vec![2];
        tensor.3.truncate(8);
    });
    assert_eq!(shorter, "tensor alone.offsets is U32 of shape [2], expected U32 of shape [3]");
    let edge = refused_tensor("alone.similarity_edges", |tensor| write(tensor, 0, f32::NAN.to_le_bytes()));
    assert_eq!(edge, "tensor alone.similarity_edges: element 0 is NaN, expected finite and ascending");
}

#[test]
fn parts_that_do_not_fit_are_refused_with_the_errors_of_a_file() {
    let model = toy_model();
    let build = |change: fn(&mut FastGrnnWeights)| {
        let mut weights = model.weights().clone();
        change(&mut weights);
        let table = model.per_candidate().clone();
        Model::new(weights, Ties::Whole, table.clone(), table, TrainingFacts::new()).unwrap_err().to_string()
    };
    assert_eq!(
        build(|weights| weights.u.push(0.0)),
        "tensor u is F32 of shape [2], expected F32 of shape [1, 1]"
    );
    assert_eq!(build(|weights| weights.bias_gate.clear()), "hidden size is 0, expected 1 to 64");
    assert_eq!(build(|weights| weights.nu = f32::NAN), "tensor nu: element 0 is NaN");

    let backwards = CalibrationTable::new(vec![0.5, 0.1], vec![], []);
    let error =
        Model::new(model.weights().clone(), Ties::Whole, backwards.clone(), backwards, TrainingFacts::new());
    assert!(error.unwrap_err().to_string().starts_with("tensor alone.similarity_edges: element 1 is 0.1"));

    let row = CalibrationRow { confidence: f32::NAN, sufficed: true, top_similarity: 0.5, candidates: 1 };
    let nonsense = CalibrationTable::new(vec![], vec![], [row]);
    let error =
        Model::new(model.weights().clone(), Ties::Whole, nonsense.clone(), nonsense, TrainingFacts::new());
    assert!(error.unwrap_err().to_string().starts_with("tensor alone.scores: element 0 is NaN"));
}
