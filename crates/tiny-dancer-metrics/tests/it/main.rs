//! What a scrape shows of real routers.

#![expect(
    clippy::unwrap_used,
    reason = "clippy exempts test functions, but not the functions that they call"
)]

mod alerts;
mod budget;
mod catalogue;
mod configuration;
mod dashboard;
mod documentation;
mod exposition;
#[cfg(feature = "http")]
mod http;
mod memory;
mod promise;
mod queries;
mod registration;
mod requests;
mod scopes;
mod several;
mod snapshot;

use exposition::Scrape;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use tiny_dancer_core::breaker::CircuitBreakerConfig;
use tiny_dancer_core::budget::{JudgeRate, QualityBudget};
use tiny_dancer_core::promise::RiskStep;
use tiny_dancer_core::{
    Candidate, Model, ModelType, Observer, Outcome, OutcomeResult, RiskBudget, Router, RouterConfig,
    RoutingRequest, testing,
};
use tiny_dancer_metrics::MetricsCollector;
use tiny_dancer_metrics::prometheus::Registry;

/// A collector in a registry of its own.
fn collector() -> MetricsCollector {
    MetricsCollector::with_registry(&Registry::new()).unwrap()
}

fn scrape(collector: &MetricsCollector) -> Scrape {
    Scrape::parse(&collector.export_metrics().unwrap())
}

/// A router on the toy model, with a manual clock.
fn router<O: Observer>(observer: O) -> Router<O> {
    testing::router(testing::toy_model(), CircuitBreakerConfig::default(), observer).0
}

/// A candidate for which the toy model is confident and certain.
fn near() -> Candidate {
    testing::candidate("near", 0.9, 1.0)
}

fn route<O: Observer>(router: &Router<O>, candidates: &[Candidate]) {
    router.route(RoutingRequest::new(&[1.0, 0.0], candidates)).unwrap();
}

/// A router on the toy model that promises a risk of 0.1.
fn promising<O: Observer>(observer: O) -> Router<O> {
    let step = RiskStep { confidence_threshold: 0.9, max_uncertainty: 0.2, n: 100, failures: 1 };
    let model = testing::toy_model().with_risk_path(vec![step]).unwrap();
    let risk = Some(RiskBudget { alpha: 0.1, delta: 0.05 });
    configured(observer, &model, RouterConfig { risk, ..Default::default() })
}

/// A router on the toy model with a quality budget of which each answer is judged.
fn budgeted<O: Observer>(observer: O, burst: f64) -> Router<O> {
    let budget = QualityBudget { judge_rate: JudgeRate::Fixed(1.0), burst, ..Default::default() };
    let config = RouterConfig { budget: Some(budget), ..Default::default() };
    configured(observer, &testing::toy_model(), config)
}

fn configured<O: Observer>(observer: O, model: &Model, config: RouterConfig) -> Router<O> {
    // Each test has a file of its own, since another test's file may be half-written.
    let thread = format!("{:?}.safetensors", std::thread::current().id());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(thread);
    std::fs::write(&path, model.to_bytes()).unwrap();
    Router::with_observer(RouterConfig { model_path: Some(path), ..config }, observer).unwrap()
}

/// Reports an outcome of the lightweight model.
fn outcome<O: Observer>(router: &Router<O>, result: OutcomeResult) {
    router.record_outcome(Outcome::new(ModelType::Lightweight, result));
}

const GUIDE: &str = "docs/OBSERVABILITY.md";

/// Fails if the part of the guide between two lines differs from `text`. With `BLESS` set, writes it. Returns the rest of the
/// guide.
fn stored_in_the_guide(marks: [&str; 2], text: &str) -> String {
    /// Tests that run at the same time write different parts of one file.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let guide = read(GUIDE);
    let (head, rest) = guide.split_once(marks[0]).unwrap();
    let (_, tail) = rest.split_once(marks[1]).unwrap();
    stored(GUIDE, &[head, marks[0], text, marks[1], tail].concat());
    [head, tail].concat()
}

/// The text of a file of the repository.
fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file)).unwrap()
}

/// Fails if a file of the repository differs from `text`. With `BLESS` set, writes it.
fn stored(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == text, "{file} is out of date or was edited by hand: run `cargo xtask codegen`");
}
