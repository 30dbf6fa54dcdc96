//! The whole text of `/metrics` for a fixed scenario, compared with a stored file.
//!
//! `BLESS=1 cargo test -p tiny-dancer-metrics` writes it.

use crate::collector;
use std::time::Duration;
use tiny_dancer_core::breaker::CircuitBreakerConfig;
use tiny_dancer_core::{Circuit, ModelType, Outcome, OutcomeResult, RoutingRequest, testing};

#[test]
fn the_text_of_a_fixed_scenario_is_the_stored_one() {
    let metrics = collector();
    let (router, hand) =
        testing::router(testing::toy_model(), CircuitBreakerConfig::default(), metrics.clone());
    let candidates = [
        testing::candidate("near", 0.9, 1.0),
        testing::candidate("doubtful", 0.9, 0.5),
        testing::candidate("far", 0.1, 1.0),
    ];
    for candidates in [&candidates[..], &candidates[..1], &candidates[1..], &[]] {
        router.route(RoutingRequest::new(&[1.0, 0.0], candidates)).unwrap();
        hand.advance(Duration::from_secs(1));
    }
    router.route(RoutingRequest::new(&[0.0, 0.0], &candidates)).unwrap_err();
    router.record_outcome(Outcome::new(ModelType::Lightweight, OutcomeResult::Sufficed));
    router.force_open(Circuit::Lightweight);
    router.route(RoutingRequest::new(&[1.0, 0.0], &candidates)).unwrap();

    let text = metrics.export_metrics().unwrap().replace(router.model().version(), "VERSION");
    let text: String = text.lines().map(|line| rounded(line) + "\n").collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/snapshot.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let stored = std::fs::read_to_string(path).unwrap();
    for (line, (now, stored)) in text.lines().zip(stored.lines()).enumerate() {
        assert_eq!(now, stored, "line {} of {path}", line + 1);
    }
    assert_eq!(text.lines().count(), stored.lines().count());
}

/// Sums of confidences differ by 1e-5 from processor to processor. The build is that of a machine and a version.
fn rounded(line: &str) -> String {
    match line.rsplit_once(' ') {
        Some((series, value)) if series.starts_with("tiny_dancer_build_info") => {
            let labels = series.split('"').enumerate();
            let hidden = labels.map(|(place, text)| if place % 2 == 1 { "\"ANY\"" } else { text });
            format!("{} {value}", hidden.collect::<String>())
        }
        Some((series, value)) if series.contains("_sum{decision_type") => {
            format!("{series} {:.3}", value.parse::<f64>().unwrap())
        }
        _ => line.to_owned(),
    }
}
