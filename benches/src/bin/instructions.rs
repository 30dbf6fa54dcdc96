//! The program that callgrind counts: each benchmark routes the same request in two turns, the second one longer.
//!
//! The difference of the turns is the cost of requests alone, without the setup, the allocations of the first request and
//! the loop. The program prints its benchmarks as JSON; `cargo xtask bench --ir` runs it under callgrind, which counts
//! within [`requests_that_callgrind_counts`] only.
//!
//! One thread routes, inputs come from a seed, `now` is given, and tracing samples no request, since sampling is random.
#![expect(clippy::print_stdout, reason = "it prints for cargo xtask bench")]

use anyhow::Result;
use serde_json::json;
use std::hint::black_box;
use tiny_dancer::parts::core::budget::{JudgeRate, QualityBudget};
use tiny_dancer::parts::core::{Kernel, Model, Observer, Router};
use tiny_dancer::parts::metrics::MetricsCollector;
use tiny_dancer::parts::metrics::prometheus::Registry;
use tiny_dancer::parts::tracing::{LogFormat, TracingConfig, TracingObserver, TracingSystem};
use tiny_dancer::{RouterConfig, RoutingResponse};
use tiny_dancer_benches::{self as benches, Case, naive::Naive};

/// Candidates and dimensions of the requests.
const SIZES: &[(usize, usize)] = &[(1, 128), (1, 384), (10, 128), (10, 384), (100, 128), (100, 384)];

/// Requests of the first turn and of the second. Each request is the same, so few are enough.
const TURNS: [u64; 2] = [10, 20];

/// Routes a request.
type Route = Box<dyn FnMut(&Case)>;

/// The counted function; callgrind gets its name as an option.
#[inline(never)]
fn requests_that_callgrind_counts(route: &mut dyn FnMut(&Case), case: &Case, times: u64) {
    for _ in 0..times {
        route(black_box(case));
    }
}

fn main() -> Result<()> {
    let mut benchmarks = Vec::new();
    // First, since the heap use of another thread would change the cost of the naive router's allocations.
    count("naive", &mut naive(), &mut benchmarks);
    // Before tracing is installed, as in a program with metrics only.
    count("facade metrics", &mut reusing(benches::facade()?), &mut benchmarks);
    let system = TracingSystem::new(TracingConfig {
        sampling_ratio: 0.0,
        log_format: LogFormat::Off,
        ..Default::default()
    });
    system.init()?;
    let tracing = TracingObserver::global;
    let metrics = || MetricsCollector::with_registry(&Registry::new());
    count("none", &mut observed(())?, &mut benchmarks);
    count("by hand", &mut by_hand()?, &mut benchmarks);
    count("metrics", &mut observed(metrics()?)?, &mut benchmarks);
    count("tracing", &mut observed(tracing())?, &mut benchmarks);
    count("both", &mut observed((tracing(), metrics()?))?, &mut benchmarks);
    count("facade none", &mut observed(((), (), ()))?, &mut benchmarks);
    count("facade tracing", &mut observed((tracing(), (), ()))?, &mut benchmarks);
    count("facade both", &mut reusing(benches::facade()?), &mut benchmarks);
    count("budget", &mut budgeted()?, &mut benchmarks);
    count_cases("exact", &mut observed(())?, &mut benchmarks, Case::out_of_range);
    println!("{}", json!({ "kernel": Kernel::detect().name(), "turns": TURNS, "benchmarks": benchmarks }));
    system.shutdown();
    Ok(())
}

/// Routes a request of each size in two turns, and adds the benchmarks' ids.
fn count(name: &str, route: &mut Route, benchmarks: &mut Vec<String>) {
    count_cases(name, route, benchmarks, |case| case);
}

/// The same with requests that `change` makes.
fn count_cases(name: &str, route: &mut Route, benchmarks: &mut Vec<String>, change: fn(Case) -> Case) {
    for &(candidates, dimensions) in SIZES {
        let case = change(Case::new(candidates, dimensions));
        // The first request allocates the response.
        route(&case);
        for times in TURNS {
            requests_that_callgrind_counts(route, &case, times);
        }
        benchmarks.push(format!("route_into/{candidates}x{dimensions}/{name}"));
    }
}

/// The stages without the seam that notifies observers.
fn by_hand() -> Result<Route> {
    let router = Router::new(RouterConfig::default())?;
    let mut response = RoutingResponse::default();
    Ok(Box::new(move |case| {
        router.route_baseline(case.request(), &mut response).expect("the request is valid");
        black_box(&response);
    }))
}

/// A router with a quality budget that admits every request, and judges nearly all of them: a rate below 1 has the whole bound,
/// and one near 1 has about the same cost for each request.
fn budgeted() -> Result<Route> {
    let judge_rate = JudgeRate::Fixed(0.999);
    let budget = Some(QualityBudget { judge_rate, burst: 1e9, ..Default::default() });
    let config =
        RouterConfig { confidence_threshold: 0.0, max_uncertainty: 1.0, budget, ..Default::default() };
    Ok(reusing(Router::new(config)?))
}

/// Core's router with this observer.
fn observed(observer: impl Observer) -> Result<Route> {
    Ok(reusing(Router::with_observer(RouterConfig::default(), observer)?))
}

/// Routes into a reused response.
fn reusing(router: impl benches::Route + 'static) -> Route {
    let mut response = RoutingResponse::default();
    Box::new(move |case| {
        router.route(case.request(), &mut response).expect("the request is valid");
        black_box(&response);
    })
}

/// The naive router.
fn naive() -> Route {
    let router = Naive::new(&Model::embedded(), RouterConfig::default());
    Box::new(move |case| {
        let response = router.route(case.request()).expect("the request is valid");
        black_box(&response);
    })
}
