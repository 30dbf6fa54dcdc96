use super::*;
use crate::past::Item;
use crate::retrieval::tests::unit_rows;
use tiny_dancer_core::RouterConfig;

/// Rows where the lightweight model suffices on one side of a plane.
fn past(n: usize, seed: u64) -> Past {
    let embeddings = unit_rows(n, 6, seed);
    let item = |(i, embedding): (usize, ndarray::ArrayView1<'_, f32>)| Item {
        id: i.to_string(),
        split: None,
        metadata: [].into(),
        created_at: None,
        access_count: 1,
        outcome: ItemOutcome::Row { lightweight: f64::from(u8::from(embedding[0] > 0.0)), powerful: 1.0 },
    };
    Past {
        items: embeddings.outer_iter().enumerate().map(item).collect(),
        embeddings,
        embedder: None,
        unread: vec![],
    }
}

pub(crate) fn evaluation() -> Evaluation {
    let router = Router::new(RouterConfig::default()).unwrap();
    evaluate(&router, &past(300, 1), &past(600, 2), 64).unwrap()
}

fn value(evaluation: &Evaluation, name: &str, metric: Metric) -> f64 {
    let routed = evaluation.routers.iter().find(|routed| routed.name == name).unwrap();
    routed.metrics[metric as usize].unwrap().value
}

#[test]
fn learned_rankings_beat_a_random_one_and_the_oracle_beats_all() {
    let evaluation = evaluation();
    let names: Vec<&str> = evaluation.routers.iter().map(|routed| routed.name.as_str()).collect();
    assert_eq!(names, ["model", "nearest-20", "nearest-100", "logistic", "profiles-256", "random", "oracle"]);
    let apgr = |name| value(&evaluation, name, Metric::Apgr);
    for name in ["model", "nearest-20", "nearest-100", "logistic", "profiles-256"] {
        assert!(apgr(name) > apgr("random") + 0.2, "{name}: {}", apgr(name));
        assert!(apgr(name) <= apgr("oracle"));
        assert!(value(&evaluation, name, Metric::Auroc) > 0.8);
    }
    assert!((apgr("random") - 0.5).abs() < 1e-9);
    assert_eq!(value(&evaluation, "oracle", Metric::Auroc), 1.0);
}

#[test]
fn intervals_contain_their_value_and_leads_are_differences() {
    let evaluation = evaluation();
    let apgr = |name| value(&evaluation, name, Metric::Apgr);
    for routed in &evaluation.routers {
        for (metric, estimate) in Metric::ALL.iter().zip(routed.metrics) {
            let Some(Estimate { value, low, high }) = estimate else { continue };
            // Resampling adds noise to each bin, which raises ECE on average. So ECE alone may lie below its
            // interval.
            assert!(low <= high && value <= high + 1e-9 && (low <= value + 1e-9 || *metric == Metric::Ece));
        }
        match routed.lead {
            Some(lead) => assert!((lead.value - (apgr("model") - apgr(&routed.name))).abs() < 1e-12),
            None => assert_eq!(routed.name, "model"),
        }
    }
}

#[test]
fn the_json_has_the_documented_form() {
    let json = evaluation().to_json();
    assert_eq!(json["rows"], 300);
    let routers = json["routers"].as_array().unwrap();
    assert_eq!(json.as_object().unwrap().len(), 2);
    for router in routers {
        assert!(router["name"].is_string());
        for key in ["value", "low", "high"] {
            assert!(router["apgr"][key].is_number());
        }
    }
    assert!(routers[0]["coverage"].is_array());
    assert!(routers[6]["ece"].is_null());
}

#[test]
fn rows_that_cannot_be_judged_are_refused() {
    let router = Router::new(RouterConfig::default()).unwrap();
    let (good, mut rows) = (past(20, 3), past(20, 4));
    let nothing = good.embeddings.slice(ndarray::s![..0, ..]).to_owned();
    let none = Past { items: vec![], embeddings: nothing, ..good.clone() };
    for (rows, memory) in [(&none, &good), (&good, &none)] {
        let refused = evaluate(&router, rows, memory, 64);
        assert!(matches!(refused, Err(EvaluateError::Empty { .. })));
    }
    let narrow = Past { embeddings: unit_rows(20, 5, 5), ..good.clone() };
    assert!(matches!(
        evaluate(&router, &good, &narrow, 64),
        Err(EvaluateError::Dimension { rows: 6, memory: 5 })
    ));
    let named = Past { embedder: Some("mine".to_owned()), ..good.clone() };
    for (rows, memory) in [(&good, &named), (&named, &good)] {
        let refused = evaluate(&router, rows, memory, 64);
        assert!(matches!(refused, Err(EvaluateError::Embedder { .. })));
    }
    rows.items[3].outcome = ItemOutcome::Profile { success_rate: 0.5, win_rate: 0.0 };
    assert!(matches!(evaluate(&router, &rows, &good, 64), Err(EvaluateError::Profile { .. })));
    rows.items
        .iter_mut()
        .for_each(|item| item.outcome = ItemOutcome::Row { lightweight: 1.0, powerful: 1.0 });
    assert!(matches!(evaluate(&router, &rows, &good, 64), Err(EvaluateError::NoGap { .. })));
}

#[test]
fn the_risk_of_sending_all_is_the_share_that_does_not_suffice() {
    let evaluation = evaluation();
    let failing = evaluation.outcomes.iter().filter(|outcome| !outcome.sufficed()).count() as f64 / 300.0;
    assert_eq!(evaluation.failures().last(), Some(&(1.0, failing)));
    assert!(evaluation.failures()[0].1 < failing);
    let step =
        |confidence_threshold| RiskStep { confidence_threshold, max_uncertainty: 1.0, n: 0, failures: 0 };
    assert_eq!((evaluation.sent_by(&step(0.0)), evaluation.sent_by(&step(1.1))), (1.0, 0.0));
}

#[test]
fn rows_that_all_fail_have_no_auroc_and_no_number_is_nan() {
    let router = Router::new(RouterConfig::default()).unwrap();
    let mut rows = past(20, 3);
    rows.items
        .iter_mut()
        .for_each(|item| item.outcome = ItemOutcome::Row { lightweight: 0.0, powerful: 1.0 });
    for memory in [&past(50, 4), &rows] {
        for k in [0, 1, 64] {
            let evaluation = evaluate(&router, &rows, memory, k).unwrap();
            let metrics = &evaluation.routers[0].metrics;
            assert!(metrics[Metric::Auroc as usize].is_none() && metrics[Metric::Apgr as usize].is_some());
            let text = evaluation.to_string();
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        }
    }
}
