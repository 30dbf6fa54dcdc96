//! The catalogue compared with the design, which is written here a second time.

use crate::{budgeted, collector, near, outcome, promising, route, router, scrape};
use std::collections::BTreeSet;
use std::time::Duration;
use tiny_dancer_core::observer::{MemoryChange, MemoryEvent, MemoryState};
use tiny_dancer_core::{Candidate, Observer, OutcomeResult, Router};
use tiny_dancer_metrics::catalogue::{CATALOGUE, Family, Kind, Presence};
use tiny_dancer_metrics::prometheus::Registry;
use tiny_dancer_metrics::{Exports, MetricsCollector, MetricsConfig, Prices};

const BATCH_SIZES: &[&str] = &["0", "1-10", "11-50", "51-100", "101+"];
const CIRCUITS: &[&str] = &["inference", "lightweight"];
const STAGE_ERRORS: &[&str] = &[
    "circuit_open",
    "deadline_exceeded",
    "dimension_mismatch",
    "embedder_mismatch",
    "invalid_response",
    "no_tokens",
    "non_finite",
    "other",
    "rate_limited",
    "rejected",
    "unavailable",
    "unreachable",
    "zero_norm",
];
const MEMORY_ERRORS: &[&str] = &[
    "corrupt",
    "embedder_mismatch",
    "full",
    "locked",
    "other",
    "queue_full",
    "read_only",
    "unavailable",
    "unsupported_version",
];
const MODELS: &[&str] = &["lightweight", "powerful"];

/// A family without its prefix, its kind, and its labels with their values.
type Designed = (&'static str, &'static str, &'static [(&'static str, &'static [&'static str])]);

const DESIGN: &[Designed] = &[
    (
        "routing_latency_seconds",
        "histogram",
        &[("operation", &["route", "route_set", "route_batch", "scope"])],
    ),
    ("feature_engineering_duration_seconds", "histogram", &[("batch_size", BATCH_SIZES)]),
    ("model_inference_duration_seconds", "histogram", &[("model_type", &["fastgrnn"])]),
    ("embedding_duration_seconds", "histogram", &[]),
    ("memory_search_duration_seconds", "histogram", &[]),
    ("routing_requests_total", "counter", &[("status", &["success", "fallback", "failure"])]),
    (
        "routing_decisions_total",
        "counter",
        &[
            ("model_type", MODELS),
            (
                "reason",
                &[
                    "confident",
                    "low_confidence",
                    "high_uncertainty",
                    "circuit_open",
                    "no_evidence",
                    "explored",
                    "budget_spent",
                ],
            ),
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
                "abandoned",
                "circuit_open",
                "dimension_mismatch",
                "empty_query",
                "invalid_success_rate",
                "invalid_win_rate",
                "non_finite_embedding",
                "non_finite_output",
                "zero_norm",
            ],
        )],
    ),
    (
        "outcomes_total",
        "counter",
        &[
            ("model_type", MODELS),
            ("origin", &["routed", "explored", "shadowed"]),
            ("result", &["sufficed", "insufficient", "call_failed"]),
        ],
    ),
    ("draws_total", "counter", &[("happened", &["yes", "no"]), ("purpose", &["explore", "judge", "shadow"])]),
    ("embedding_tokens_total", "counter", &[]),
    ("embedding_truncated_total", "counter", &[]),
    ("embedding_errors_total", "counter", &[("error_type", STAGE_ERRORS)]),
    ("memory_search_candidates_total", "counter", &[]),
    ("memory_search_errors_total", "counter", &[("error_type", STAGE_ERRORS)]),
    ("memory_entries", "gauge", &[("state", &["evidence", "pending"])]),
    ("memory_log_entries", "gauge", &[]),
    ("memory_segments", "gauge", &[]),
    ("memory_queue_length", "gauge", &[]),
    ("memory_queue_capacity", "gauge", &[]),
    ("memory_changes_stored_total", "counter", &[]),
    ("memory_changes_lost_total", "counter", &[("error_type", MEMORY_ERRORS)]),
    ("memory_commits_failed_total", "counter", &[("error_type", MEMORY_ERRORS)]),
    ("memory_commit_duration_seconds", "histogram", &[]),
    (
        "memory_dropped_total",
        "counter",
        &[("cause", &["erased", "expired"]), ("record", &["entry", "log_entry"])],
    ),
    (
        "memory_verdicts_total",
        "counter",
        &[("kind", &["accepted", "contradicting", "repeated", "superseded", "unknown"])],
    ),
    ("model_reloads_total", "counter", &[("result", &["success", "failure"])]),
    ("model_last_reload_successful", "gauge", &[]),
    ("model_last_reload_timestamp_seconds", "gauge", &[]),
    ("build_info", "gauge", &[("version", &[]), ("revision", &[]), ("kernel", &[])]),
    ("model_info", "gauge", &[("version", &[])]),
    ("requests_in_flight", "gauge", &[]),
    ("promised_alpha", "gauge", &[]),
    ("promised_delta", "gauge", &[]),
    ("promise_insufficient_ratio", "gauge", &[]),
    ("promise_evidence", "gauge", &[]),
    ("promise_broken", "gauge", &[]),
    ("budget_answers", "gauge", &[]),
    ("budget_allowed_answers", "gauge", &[]),
    ("budget_bound_answers", "gauge", &[]),
    ("budget_balance_answers", "gauge", &[]),
    ("budget_spent_answers", "gauge", &[]),
    ("budget_missing_answers", "gauge", &[]),
    ("budget_judgements", "gauge", &[("state", &["expired", "good", "pending", "worse"])]),
    ("budget_judge_probability", "gauge", &[]),
    ("budget_confidence_threshold", "gauge", &[]),
    (
        "budget_settlements_total",
        "counter",
        &[("settlement", &["confirmed", "restored", "settled", "undrawn", "unknown", "withdrawn"])],
    ),
    ("cost_total", "counter", &[("model_type", MODELS)]),
    ("baseline_cost_total", "counter", &[]),
    ("spans_total", "counter", &[("result", &["dropped", "failed", "flushed"])]),
    ("log_records_total", "counter", &[("result", &["dropped", "failed", "flushed"])]),
    ("metric_points_total", "counter", &[("result", &["dropped", "failed", "flushed"])]),
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
            let (actual, designed): (BTreeSet<_>, BTreeSet<_>) =
                (label.values.iter().collect(), values.iter().collect());
            assert_eq!(actual, designed, "{} of {name}", label.name);
        }
    }
}

#[test]
fn a_decision_counts_only_for_the_model_that_its_reason_determines() {
    let decisions = CATALOGUE.iter().find(|family| family.name.ends_with("routing_decisions_total")).unwrap();
    assert_eq!(decisions.series(), 7);
    for (model, reason) in decisions.labels[0].values.iter().zip(decisions.labels[1].values) {
        let is_lightweight = ["confident", "explored"].contains(reason);
        assert_eq!(*model == "lightweight", is_lightweight, "{model} {reason}");
    }
}

#[test]
fn latency_buckets_reach_from_250_ns_to_1_s_and_are_fine_around_10_ms() {
    let Kind::Histogram { buckets } = CATALOGUE[0].kind else { panic!("no histogram") };
    assert_eq!((buckets[0], buckets[buckets.len() - 1]), (250e-9, 1.0));
    let around: Vec<_> = buckets.iter().filter(|bound| (8e-3..=12.5e-3).contains(*bound)).collect();
    assert!(around.len() >= 4, "{around:?}");
}

/// How many lines a family has in a scrape with all of its series.
fn samples(family: &Family) -> usize {
    match family.kind {
        Kind::Histogram { buckets } => family.series() * (buckets.len() + 3),
        _ => family.series(),
    }
}

/// All but the families that need a router, a memory, a promise, a budget, prices or a tracing system.
#[test]
fn every_closed_series_is_shown_from_the_start_at_zero() {
    let scrape = scrape(&collector());
    let mut expected = 0;
    for family in CATALOGUE {
        let Some(shown) = scrape.families.get(family.name) else {
            assert_ne!(family.presence, Presence::Always, "{} is missing", family.name);
            continue;
        };
        assert_eq!(family.presence, Presence::Always, "{}", family.name);
        expected += samples(family);
        assert_eq!((&*shown.kind, &*shown.help), (family.kind.name(), family.help), "{}", family.name);
        if family.series() == 0 {
            // The values of its labels are unknown at compile time. It has one series.
            expected += 1;
            continue;
        }
        let sample = match family.kind {
            Kind::Histogram { .. } => format!("{}_count", family.name),
            _ => family.name.to_owned(),
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

/// A collector with prices and counts of exports.
fn with_prices_and_exports() -> (MetricsCollector, Registry) {
    let registry = Registry::new();
    let prices = Some(Prices { lightweight: 0.1, powerful: 1.0, repeated: true });
    let config = MetricsConfig { prices, ..Default::default() };
    let collector = MetricsCollector::with_config(&registry, &config).unwrap();
    collector.watch_spans(|| Some(Exports::default()));
    collector.watch_log_records(|| Some(Exports::default()));
    collector.watch_metric_points(|| Some(Exports::default()));
    (collector, registry)
}

/// Reports the opening of a memory that knows the size of its decision log.
fn remember<O: Observer>(router: &Router<O>) {
    let mut state = MemoryState::default();
    state.log_entries = Some(0);
    router.on_memory(&MemoryEvent::new(state, MemoryChange::Opened { duration: Duration::ZERO }));
}

#[test]
fn every_family_is_shown_once_its_condition_is_met() {
    let (collector, _) = with_prices_and_exports();
    let shown = |presence| {
        let scrape = scrape(&collector);
        let families: Vec<_> = CATALOGUE.iter().filter(|family| family.presence == presence).collect();
        let shown = families.iter().filter(|family| scrape.families.contains_key(family.name)).count();
        assert!(shown == 0 || shown == families.len(), "{presence:?}: {shown} of {}", families.len());
        shown > 0
    };
    let all = || {
        let conditions = [
            Presence::Always,
            Presence::WithPrices,
            Presence::WithModel,
            Presence::WithMemory,
            Presence::WithPromise,
            Presence::WithBudget,
        ];
        conditions.map(shown)
    };
    assert!([Presence::WithLogs, Presence::WithPush, Presence::WithTraces].into_iter().all(shown));
    assert_eq!(all(), [true, true, false, false, false, false]);
    let watched = router(collector.clone());
    assert_eq!(all(), [true, true, true, false, false, false]);
    remember(&watched);
    assert_eq!(all(), [true, true, true, true, false, false]);
    let _promising = promising(collector.clone());
    assert_eq!(all(), [true, true, true, true, true, false]);
    let _budgeted = budgeted(collector.clone(), 1.0);
    assert_eq!(all(), [true; 6]);
    assert_eq!(scrape(&collector).families.len(), CATALOGUE.len());
}

/// Ten thousand requests of several sizes, with different candidates.
#[test]
fn the_number_of_series_is_what_the_catalogue_predicts() {
    let (collector, _) = with_prices_and_exports();
    let router = promising(collector.clone());
    let _budgeted = budgeted(collector.clone(), 1.0);
    remember(&router);
    for request in 0..10_000_u32 {
        let count =
            [0, 1, 3, 10, 11, 60, 150][if request % 100 == 0 { request as usize / 100 % 7 } else { 1 }];
        let candidates: Vec<_> = (0..count)
            .map(|i| Candidate { id: format!("candidate {i} of request {request}"), ..near() })
            .collect();
        route(&router, &candidates);
        outcome(&router, OutcomeResult::Sufficed);
    }
    // Where the values of a label are unknown at compile time, there is one series at a time.
    let open = CATALOGUE.iter().filter(|family| family.series() == 0).count();
    let predicted = CATALOGUE.iter().map(samples).sum::<usize>() + open;
    assert_eq!(scrape(&collector).len(), predicted);
    assert!(predicted <= 560, "{predicted}");
}
