//! The catalogue against the design, spelled once more by hand.

use crate::{collector, near, route, router, scrape};
use std::collections::BTreeSet;
use tiny_dancer_metrics::catalogue::{CATALOGUE, Kind};

const BATCH_SIZES: &[&str] = &["0", "1-10", "11-50", "51-100", "101+"];
const CIRCUITS: &[&str] = &["inference", "lightweight"];
const MODELS: &[&str] = &["lightweight", "powerful"];

/// A family without its prefix, its kind, and its labels with their values.
type Designed = (&'static str, &'static str, &'static [(&'static str, &'static [&'static str])]);

const DESIGN: &[Designed] = &[
    ("routing_latency_seconds", "histogram", &[("operation", &["route"])]),
    ("feature_engineering_duration_seconds", "histogram", &[("batch_size", BATCH_SIZES)]),
    ("model_inference_duration_seconds", "histogram", &[("model_type", &["fastgrnn"])]),
    ("routing_requests_total", "counter", &[("status", &["success", "fallback", "failure"])]),
    (
        "routing_decisions_total",
        "counter",
        &[
            ("model_type", MODELS),
            ("reason", &["confident", "low_confidence", "high_uncertainty", "circuit_open", "no_evidence"]),
        ],
    ),
    ("candidates_processed_total", "counter", &[("batch_size_range", BATCH_SIZES)]),
    ("confidence_scores", "histogram", &[("decision_type", MODELS)]),
    ("uncertainty_estimates", "histogram", &[("decision_type", MODELS)]),
    ("circuit_breaker_state", "gauge", &[("circuit", CIRCUITS)]),
    (
        "circuit_breaker_transitions_total",
        "counter",
        &[("circuit", CIRCUITS), ("to", &["closed", "half_open", "open"])],
    ),
    (
        "errors_total",
        "counter",
        &[(
            "error_type",
            &[
                "circuit_open",
                "dimension_mismatch",
                "empty_query",
                "invalid_success_rate",
                "non_finite_embedding",
                "non_finite_output",
                "zero_norm",
            ],
        )],
    ),
    (
        "outcomes_total",
        "counter",
        &[("model_type", MODELS), ("result", &["sufficed", "insufficient", "call_failed"])],
    ),
    ("model_reloads_total", "counter", &[("result", &["success", "failure"])]),
    ("model_info", "gauge", &[("version", &[])]),
    ("requests_in_flight", "gauge", &[]),
];

#[test]
fn the_catalogue_is_the_design() {
    assert_eq!(CATALOGUE.len(), DESIGN.len());
    for &(name, kind, labels) in DESIGN {
        let name = format!("tiny_dancer_{name}");
        let family =
            CATALOGUE.iter().find(|family| family.name == name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(family.kind.name(), kind, "{name}");
        let names = |labels: Vec<&str>| labels.join(", ");
        assert_eq!(
            names(family.labels.iter().map(|label| label.name).collect()),
            names(labels.iter().map(|label| label.0).collect()),
            "{name}"
        );
        for (label, (_, values)) in family.labels.iter().zip(labels) {
            let (ours, designed): (BTreeSet<_>, BTreeSet<_>) =
                (label.values.iter().collect(), values.iter().collect());
            assert_eq!(ours, designed, "{} of {name}", label.name);
        }
    }
}

#[test]
fn a_decision_counts_only_for_the_model_that_its_reason_determines() {
    let decisions = CATALOGUE.iter().find(|family| family.name.ends_with("routing_decisions_total")).unwrap();
    assert_eq!(decisions.series(), 5);
    for (model, reason) in decisions.labels[0].values.iter().zip(decisions.labels[1].values) {
        assert_eq!(*model == "lightweight", *reason == "confident", "{model} {reason}");
    }
}

#[test]
fn latency_buckets_reach_from_250_ns_to_1_s_and_are_fine_around_10_ms() {
    let Kind::Histogram { buckets } = CATALOGUE[0].kind else { panic!("no histogram") };
    assert_eq!((buckets[0], buckets[buckets.len() - 1]), (250e-9, 1.0));
    let around: Vec<_> = buckets.iter().filter(|bound| (8e-3..=12.5e-3).contains(*bound)).collect();
    assert!(around.len() >= 4, "{around:?}");
}

/// All but the version of a model, which nobody knows before there is a router.
#[test]
fn every_closed_series_is_there_from_the_start_at_zero() {
    let scrape = scrape(&collector());
    let mut expected = 0;
    for family in CATALOGUE {
        expected += match family.kind {
            Kind::Histogram { buckets } => family.series() * (buckets.len() + 3),
            Kind::Counter | Kind::Gauge => family.series(),
        };
        let Some(shown) = scrape.families.get(family.name) else {
            assert_eq!(family.series(), 0, "{} is not there", family.name);
            continue;
        };
        assert_eq!((&*shown.kind, &*shown.help), (family.kind.name(), family.help), "{}", family.name);
        let sample = match family.kind {
            Kind::Histogram { .. } => format!("{}_count", family.name),
            Kind::Counter | Kind::Gauge => family.name.to_owned(),
        };
        let shown: BTreeSet<Vec<_>> =
            scrape.series(&sample).map(|(labels, _)| labels.clone().into_iter().collect()).collect();
        let row = |series: usize| family.labels.iter().map(move |label| (label.name, label.values[series]));
        let designed: BTreeSet<Vec<_>> = (0..family.series())
            .map(|series| row(series).map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
            .collect();
        assert_eq!(shown, designed, "{}", family.name);
    }
    assert_eq!(scrape.len(), expected);
    for (series, value) in scrape.counted() {
        assert_eq!(value, 0.0, "{series:?}");
    }
}

#[test]
fn every_family_is_there_once_a_router_is() {
    let collector = collector();
    let _router = router(collector.clone());
    let scrape = scrape(&collector);
    let shown: Vec<_> = scrape.families.into_keys().collect();
    let mut catalogued: Vec<_> = CATALOGUE.iter().map(|family| family.name).collect();
    catalogued.sort_unstable();
    assert_eq!(shown, catalogued);
}

/// Whatever requests bring: other sizes, dimensions and names make no new series.
#[test]
fn the_number_of_series_is_bounded() {
    let collector = collector();
    let router = router(collector.clone());
    let before = scrape(&collector).len();
    assert!(before <= 400, "{before} series");
    for count in [0, 1, 3, 10, 11, 60, 150] {
        let candidates: Vec<_> = (0..count)
            .map(|i| tiny_dancer_core::Candidate { id: format!("candidate {i} of {count}"), ..near() })
            .collect();
        route(&router, &candidates);
    }
    assert_eq!(scrape(&collector).len(), before);
}
