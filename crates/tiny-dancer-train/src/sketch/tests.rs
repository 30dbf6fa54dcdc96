use super::*;
use tiny_dancer_core::model::TrainingFacts;

fn ids(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|i| format!("row-{i}")).collect()
}

/// A model that was made of these rows.
fn model(made_of: &[String]) -> Model {
    let embedded = Model::embedded();
    let facts: TrainingFacts = [(FACT.to_owned(), of(made_of.iter().map(String::as_str)))].into();
    let (per_candidate, joint) = (embedded.per_candidate().clone(), embedded.joint().clone());
    Model::new(embedded.weights().clone(), embedded.ties(), per_candidate, joint, facts).unwrap()
}

fn overlap(model: &Model, ids: &[String]) -> Overlap {
    Overlap::new(model, ids.iter().map(String::as_str)).unwrap()
}

#[test]
fn each_of_a_few_rows_is_compared() {
    let model = model(&ids(0..SIZE));
    assert_eq!(overlap(&model, &ids(0..300)), Overlap { rows: 300, compared: 300, shared: 300 });
    assert_eq!(overlap(&model, &ids(5000..6000)), Overlap { rows: 1000, compared: 1000, shared: 0 });
    assert_eq!(overlap(&model, &ids(1020..1030)), Overlap { rows: 10, compared: 10, shared: 4 });
}

#[test]
fn a_sample_of_many_rows_is_compared_without_false_positives() {
    let model = model(&ids(0..10_000));
    assert!(model.to_bytes().len() < 40_000);
    let same = overlap(&model, &ids(0..10_000));
    assert_eq!((same.compared, same.shared), (SIZE, SIZE));
    let others = overlap(&model, &ids(10_000..110_000));
    assert_eq!(others.shared, 0);
    assert!(others.compared.abs_diff(10_240) < 1_000, "{others:?}");
    let half = overlap(&model, &ids(9_000..11_000));
    assert_eq!((2 * half.shared).abs_diff(half.compared) / 60, 0, "{half:?}");
}

#[test]
fn the_embedded_model_has_a_sketch_and_shares_no_other_rows() {
    let others = ids(0..100_000);
    let overlap = overlap(&Model::embedded(), &others);
    assert!(overlap.compared > 1_000 && overlap.shared == 0, "{overlap:?}");
}

#[test]
fn a_model_without_the_fact_has_no_overlap() {
    let model = model(&ids(0..1));
    let (per_candidate, joint) = (model.per_candidate().clone(), model.joint().clone());
    let without =
        Model::new(model.weights().clone(), model.ties(), per_candidate, joint, TrainingFacts::new())
            .unwrap();
    assert_eq!(Overlap::new(&without, ["a"]), None);
}
