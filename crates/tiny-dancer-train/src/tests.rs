mod rotations;

use super::*;
use crate::retrieval::tests::unit_rows;
use crate::rows::Part;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tiny_dancer_core::{Candidate, Query, Router, RouterConfig, RoutingRequest};

/// Rows around eight directions with different rates of lightweight success.
pub(crate) fn synthetic(n: usize) -> Dataset {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut embeddings = unit_rows(n, 12, 1);
    for (i, mut row) in embeddings.outer_iter_mut().enumerate() {
        row[i % 8] += 1.0;
        let norm = row.dot(&row).sqrt();
        row /= norm;
    }
    let row = |i: usize| Row {
        id: format!("row-{i}"),
        subject: Some(format!("subject-{}", i % 8)),
        part: match i % 20 {
            0..10 => Part::Fit,
            10..12 => Part::EarlyStopping,
            12..16 => Part::Calibration,
            16 => Part::Certification,
            _ => Part::Test,
        },
        lightweight: f64::from(u8::from(rng.random_bool(0.3 + 0.08 * (i % 8) as f64))),
        powerful: f64::from(u8::from(rng.random_bool(0.9))),
    };
    let rows = (0..n).map(row).collect();
    Dataset {
        rows,
        embeddings,
        embedder: None,
        split_by_hash: 0,
        without_powerful: 0,
        unread: vec![],
        provenance: "synthetic".to_owned(),
    }
}

fn config() -> TrainConfig {
    TrainConfig { hidden_size: 4, epochs: 6, ..Default::default() }
}

fn trained(data: &Dataset, config: TrainConfig) -> Trained {
    train(data, config, &mut |_| {}, &|| false).unwrap()
}

#[test]
fn one_seed_gives_the_same_file_on_any_number_of_threads() {
    let data = synthetic(600);
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| trained(&data, config()).model.to_bytes())
    };
    let one = with(1);
    assert_eq!(one, with(2));
    assert_eq!(one, with(3));
}

#[test]
fn another_seed_gives_another_model() {
    let data = synthetic(300);
    let other = trained(&data, TrainConfig { seed: 99, ..config() });
    assert_ne!(trained(&data, config()).model, other.model);
}

#[test]
fn the_router_and_the_trainer_compute_the_same_confidences() {
    let data = synthetic(600);
    let Trained { model, .. } = trained(&data, TrainConfig { hidden_size: 16, ..config() });
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, model.to_bytes()).unwrap();
    let router = Router::new(RouterConfig { model_path: Some(path), ..Default::default() }).unwrap();

    // The trainer's parameters, from the model's rounded weights.
    let parameters = cell::Parameters::from_weights(model.weights());
    let memories = Memories::new(&data, Target::default(), 1);
    let train = data.select(Part::is_train);
    for row in data.select(|part| part == Part::Test) {
        let steps = memories.rows.now(row, 64);
        let candidates: Vec<Candidate> = memories.rows.seen[row][..steps.len()]
            .iter()
            .map(|seen| Candidate {
                embedding: data.embeddings.row(train[seen.item as usize]).to_vec(),
                access_count: 1,
                // A loss is coded 0, a tie one half, a win 1.
                success_rate: f32::from(u8::from(seen.success > 0.0)),
                win_rate: f32::from(u8::from(seen.success == 1.0)),
                created_at: 5,
                ..Default::default()
            })
            .collect();
        let query = data.embeddings.row(row).to_vec();
        let request =
            RoutingRequest { query: Query { now: Some(5), ..Query::new(&query) }, candidates: &candidates };
        let response = router.route(request).unwrap();
        let expected = cell::sigmoid(calibrate::logits(&parameters, std::slice::from_ref(&steps))[0]);
        assert!((f64::from(response.confidence) - expected).abs() < 1e-5);
        let per_candidate: Vec<Vec<cell::Step>> = steps.iter().map(|&step| vec![step]).collect();
        let per_candidate = calibrate::logits(&parameters, &per_candidate);
        for decision in &response.decisions {
            let expected = cell::sigmoid(per_candidate[decision.candidate]);
            assert!((f64::from(decision.confidence) - expected).abs() < 1e-5);
        }
    }
}

#[test]
fn fitting_lowers_the_loss_of_unseen_rows() {
    let epochs = trained(&synthetic(600), TrainConfig { epochs: 20, ..config() }).epochs;
    assert!(epochs.last().unwrap().early_stopping.total() < epochs[0].early_stopping.total());
}

#[test]
fn a_stopped_training_returns_the_best_model_so_far() {
    let data = synthetic(300);
    let seen = std::cell::Cell::new(0);
    let stopped = train(&data, config(), &mut |epoch| seen.set(epoch.number), &|| seen.get() == 2).unwrap();
    assert_eq!(stopped.epochs.len(), 2);
    assert!(stopped.report.best.is_some());
}

#[test]
fn a_training_stopped_before_the_first_epoch_returns_a_model() {
    let stopped = train(&synthetic(300), config(), &mut |_| {}, &|| true).unwrap();
    assert!(stopped.epochs.is_empty() && stopped.report.best.is_none());
    assert!(!stopped.report.to_string().contains("best "));
}

#[test]
fn the_file_holds_facts_of_the_training_but_not_of_the_machine() {
    let model = trained(&synthetic(300), config()).model;
    let names: Vec<&str> = model.training().keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["data", "epochs", "learning_rate", "made_of", "rows_calibration", "rows_fit", "seed", "target"]
    );
    assert_eq!(model.training()["data"], "synthetic");
    assert_eq!(model.training()["target"], "win-rate");
    assert_eq!(model.embedder(), None);
}

#[test]
fn a_model_of_a_known_embedder_is_made_for_it() {
    let data = Dataset { embedder: Some("mine".to_owned()), ..synthetic(300) };
    let model = trained(&data, config()).model;
    assert_eq!(model.embedder(), Some("mine"));
    assert!(model.clone().made_for("mine").is_ok() && model.made_for("yours").is_err());
}

#[test]
fn a_part_without_rows_is_refused() {
    for missing in [Part::Fit, Part::EarlyStopping, Part::Calibration, Part::Test] {
        let mut data = synthetic(100);
        data.rows.iter_mut().filter(|row| row.part == missing).for_each(|row| row.part = Part::Certification);
        let error = train(&data, config(), &mut |_| {}, &|| false).unwrap_err();
        assert!(matches!(error, TrainError::NoRows { part } if part == missing), "{error}");
    }
}

#[test]
fn rows_whose_embeddings_are_all_equal_are_refused() {
    let mut data = synthetic(100);
    let first = data.embeddings.row(0).to_owned();
    data.embeddings.outer_iter_mut().for_each(|mut row| row.assign(&first));
    let error = train(&data, config(), &mut |_| {}, &|| false).unwrap_err();
    assert!(matches!(error, TrainError::NoNeighbours { part: Part::Fit }), "{error}");
}

#[test]
fn rows_without_a_neighbour_are_left_out() {
    // All `train` rows but a few have one embedding, and so has half of the other rows.
    let mut data = synthetic(300);
    let first = data.embeddings.row(0).to_owned();
    for row in 0..300 {
        let remembered = data.rows[row].part.is_train();
        if (remembered && row % 20 != 1) || (!remembered && row % 2 == 0) {
            data.embeddings.row_mut(row).assign(&first);
        }
    }
    let text = trained(&data, config()).report.to_string();
    assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
}

#[test]
fn equal_outcomes_give_finite_numbers_or_none() {
    for (lightweight, powerful) in [(1.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0)] {
        for only_test in [false, true] {
            let mut data = synthetic(300);
            let chosen = data.rows.iter_mut().filter(|row| !only_test || row.part == Part::Test);
            chosen.for_each(|row| (row.lightweight, row.powerful) = (lightweight, powerful));
            let Trained { model, report, .. } = trained(&data, config());
            assert!(report.rankings.iter().all(|ranking| ranking.auroc.is_none()));
            let has_gap = powerful > lightweight;
            assert!(report.rankings.iter().all(|ranking| ranking.apgr.is_some() == has_gap));
            let text = report.to_string();
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
            assert!(model.weights().w.iter().all(|weight| weight.is_finite()));
        }
    }
}

#[test]
fn configuration_values_out_of_range_are_refused() {
    let data = synthetic(100);
    for (config, expected) in [
        (TrainConfig { hidden_size: 0, ..config() }, "hidden_size"),
        (TrainConfig { hidden_size: 65, ..config() }, "hidden_size"),
        (TrainConfig { learning_rate: f64::NAN, ..config() }, "learning_rate"),
        (TrainConfig { learning_rate: 0.0, ..config() }, "learning_rate"),
        (TrainConfig { epochs: 0, ..config() }, "epochs"),
    ] {
        let error = train(&data, config, &mut |_| {}, &|| false).unwrap_err();
        assert!(matches!(error, TrainError::OutOfRange { field, .. } if field == expected), "{error}");
    }
}

#[test]
fn the_report_lists_every_ranking_in_one_table() {
    let report = trained(&synthetic(600), config()).report;
    let text = report.to_string();
    for name in ["this model, 64 past rows", "mean of the 100 nearest, suffices", "random", "coverage 0.90"] {
        assert!(text.contains(name), "{name} is not in\n{text}");
    }
    assert_eq!(report.rows.iter().map(|(_, rows)| rows).sum::<usize>(), 600);
}

#[test]
fn a_configuration_is_read_from_json_and_a_misspelt_key_is_refused() {
    let config: TrainConfig = serde_json::from_str(r#"{"epochs": 6, "target": "suffices"}"#).unwrap();
    assert_eq!(config, TrainConfig { epochs: 6, target: Target::Suffices, ..Default::default() });
    assert_eq!(
        serde_json::from_str::<TrainConfig>(&serde_json::to_string(&config).unwrap()).unwrap(),
        config
    );
    let error = serde_json::from_str::<TrainConfig>(r#"{"epoch": 6}"#).unwrap_err();
    assert!(error.to_string().starts_with("unknown field `epoch`"), "{error}");
}

#[test]
fn every_name_is_parsed_as_it_is_written() {
    for part in Part::ALL {
        assert_eq!(part.to_string().parse(), Ok(part));
    }
    for target in Target::ALL {
        assert_eq!(target.to_string().parse(), Ok(target));
        assert_eq!(serde_json::to_value(target).unwrap(), target.name());
    }
    for metric in evaluate::Metric::ALL {
        assert_eq!(metric.to_string().parse(), Ok(metric));
    }
    let error = "win_rate".parse::<Target>().unwrap_err();
    assert_eq!(error.to_string(), r#"unknown target "win_rate", expected suffices, win-rate"#);
}
