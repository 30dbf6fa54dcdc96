//! What a router with a quality budget reports.

use crate::exposition::Scrape;
use crate::{budgeted, collector, near, scrape};
use tiny_dancer_core::budget::{JudgeRate, QualityBudget, Ticket};
use tiny_dancer_core::{Reason, Router, RouterConfig, RoutingRequest};
use tiny_dancer_metrics::prometheus::Registry;
use tiny_dancer_metrics::{MetricsCollector, MetricsConfig, Prices};

fn value(shown: &Scrape, series: &str) -> f64 {
    shown.value(&format!("tiny_dancer_{series}"))
}

fn admit(router: &Router<MetricsCollector>) -> Ticket {
    let near = [near()];
    let response = router.route(RoutingRequest::new(&[1.0, 0.0], &near)).unwrap();
    response.ticket.expect("the budget allows it")
}

#[test]
fn a_budget_is_shown_with_what_it_allows_and_what_became_of_its_judgements() {
    let metrics = collector();
    let router = budgeted(metrics.clone(), 3.0);
    assert_eq!(value(&scrape(&metrics), "budget_balance_answers"), 3.0, "from the start");
    let (good, worse, pending) = (admit(&router), admit(&router), admit(&router));
    router.settle(&good, false);
    router.settle(&worse, true);
    router.settle(&worse, true);
    assert!(router.cancel(&pending));
    admit(&router);
    for _ in 0..256 {
        router.answered();
    }
    let shown = scrape(&metrics);
    for (series, expected) in [
        ("budget_answers", 256.0),
        ("budget_allowed_answers", 0.05 * 256.0 + 3.0),
        ("budget_bound_answers", 2.0),
        ("budget_balance_answers", 0.05 * 256.0 + 1.0),
        ("budget_spent_answers", 1.0),
        ("budget_missing_answers", 0.0),
        (r#"budget_judgements{state="good"}"#, 1.0),
        (r#"budget_judgements{state="worse"}"#, 1.0),
        (r#"budget_judgements{state="pending"}"#, 1.0),
        (r#"budget_judgements{state="expired"}"#, 0.0),
        ("budget_judge_probability", 1.0),
        (r#"budget_settlements_total{settlement="settled"}"#, 2.0),
        (r#"budget_settlements_total{settlement="confirmed"}"#, 1.0),
        (r#"draws_total{happened="yes",purpose="judge"}"#, 4.0),
    ] {
        assert!((value(&shown, series) - expected).abs() < 1e-9, "{series}: {}", value(&shown, series));
    }
    let threshold = f64::from(router.thresholds().confidence_threshold);
    assert_eq!(value(&shown, "budget_confidence_threshold"), threshold);
}

#[test]
fn budgets_of_routers_that_share_families_add_up_and_the_worst_balance_is_shown() {
    let metrics = collector();
    let (one, other) = (budgeted(metrics.clone(), 3.0), budgeted(metrics.clone(), 5.0));
    let sums = || {
        let shown = scrape(&metrics);
        ["budget_allowed_answers", "budget_balance_answers"].map(|series| value(&shown, series))
    };
    assert_eq!(sums(), [8.0, 3.0]);
    drop(one);
    assert_eq!(sums(), [5.0, 5.0]);
    drop(other);
    assert!(!metrics.export_metrics().unwrap().contains("tiny_dancer_budget_balance"), "no budget is left");
}

#[test]
fn a_judged_answer_pays_both_models_and_a_refused_one_the_powerful_one() {
    let registry = Registry::new();
    let prices = Some(Prices { lightweight: 1.0, powerful: 10.0, repeated: false });
    let config = MetricsConfig { prices, ..Default::default() };
    let metrics = MetricsCollector::with_config(&registry, &config).unwrap();
    let router = budgeted(metrics.clone(), 1.0);
    let near = [near()];
    admit(&router);
    let refused = router.route(RoutingRequest::new(&[1.0, 0.0], &near)).unwrap();
    assert_eq!(refused.reason, Reason::BudgetSpent);
    let shown = scrape(&metrics);
    let cost = ["lightweight", "powerful"]
        .map(|model| value(&shown, &format!("cost_total{{model_type=\"{model}\"}}")));
    assert_eq!(cost, [1.0, 20.0]);
    let refused = r#"routing_decisions_total{model_type="powerful",reason="budget_spent"}"#;
    assert_eq!(value(&shown, refused), 1.0);
    assert_eq!(value(&shown, r#"routing_requests_total{status="success"}"#), 2.0);
}

#[test]
fn the_threshold_of_a_budget_moves_with_its_requests() {
    let metrics = collector();
    let budget = QualityBudget { judge_rate: JudgeRate::Fixed(1.0), ..Default::default() };
    let config = RouterConfig { budget: Some(budget), ..Default::default() };
    let router = Router::with_observer(config, metrics.clone()).unwrap();
    let threshold = || value(&scrape(&metrics), "budget_confidence_threshold");
    let first = threshold();
    let far = [tiny_dancer_core::testing::candidate("far", 0.1, 0.0)];
    for _ in 0..256 {
        router.route(RoutingRequest::new(&[1.0, 0.0], &far)).unwrap();
        router.answered();
    }
    assert!(threshold() < first, "{} of {first}", threshold());
}
