//! What callgrind counts: each benchmark routes the same request so many times, and then twice as many times.
//!
//! The difference of the two is what requests take and nothing else: what comes before, what is allocated by the first
//! request, and the frame around the loop fall out. Run by itself this program only says which benchmarks there are, as
//! JSON; `cargo xtask bench --ir` runs it under callgrind, which counts within [`requests_that_callgrind_counts`] alone.
//!
//! One thread routes, inputs come from a seed, `now` is given, and tracing samples no request, since whether it does is
//! drawn by chance.
#![expect(clippy::print_stdout, reason = "this is what it is for")]

use anyhow::Result;
use serde_json::{Value, json};
use std::hint::black_box;
use tiny_dancer::parts::core::{Kernel, Model, Observer, Router};
use tiny_dancer::parts::metrics::MetricsCollector;
use tiny_dancer::parts::metrics::prometheus::Registry;
use tiny_dancer::parts::tracing::{LogFormat, TracingConfig, TracingObserver, TracingSystem};
use tiny_dancer::{RouterConfig, RoutingResponse};
use tiny_dancer_benches::{self as benches, Case, naive::Naive};

/// Candidates and dimensions of the requests.
const SIZES: [(usize, usize); 6] = [(1, 128), (1, 384), (10, 128), (10, 384), (100, 128), (100, 384)];

/// Requests of the first turn and of the second. Each request is the same, so that few are enough.
const TURNS: [u64; 2] = [10, 20];

/// Routes a request, in one way or another.
type Route = Box<dyn FnMut(&Case)>;

/// The one function that is counted; callgrind is told its name.
#[inline(never)]
fn requests_that_callgrind_counts(route: &mut dyn FnMut(&Case), case: &Case, times: u64) {
    for _ in 0..times {
        route(black_box(case));
    }
}

fn main() -> Result<()> {
    let mut benchmarks = Vec::new();
    // Before there is another thread: its use of the heap would show in what the naive router's allocations take.
    count("naive", &mut naive(), &mut benchmarks);
    // Before tracing is installed, as in a program that only scrapes.
    count("facade metrics", &mut kept(benches::facade()?), &mut benchmarks);
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
    count("facade both", &mut kept(benches::facade()?), &mut benchmarks);
    count_cases("exact", &mut observed(())?, &mut benchmarks, Case::out_of_range);
    println!("{}", json!({ "kernel": Kernel::detect().name(), "benchmarks": benchmarks }));
    system.shutdown();
    Ok(())
}

/// Routes requests of each size in two turns, and notes that it did.
fn count(name: &str, route: &mut Route, benchmarks: &mut Vec<Value>) {
    count_cases(name, route, benchmarks, |case| case);
}

/// The same with requests made of these.
fn count_cases(name: &str, route: &mut Route, benchmarks: &mut Vec<Value>, made_of: fn(Case) -> Case) {
    for (candidates, dimensions) in SIZES {
        let case = made_of(Case::new(candidates, dimensions));
        // The first request makes room for the answer.
        route(&case);
        for times in TURNS {
            requests_that_callgrind_counts(route, &case, times);
        }
        let id = format!("route_into/{candidates}x{dimensions}/{name}");
        benchmarks.push(json!({ "id": id, "requests": TURNS }));
    }
}

/// The stages without the seam that observers hear them through.
fn by_hand() -> Result<Route> {
    let router = Router::new(RouterConfig::default())?;
    let mut response = RoutingResponse::default();
    Ok(Box::new(move |case| {
        router.route_baseline(case.request(), &mut response).expect("the request is a good one");
        black_box(&response);
    }))
}

/// Core's router under this observer.
fn observed(observer: impl Observer) -> Result<Route> {
    Ok(kept(Router::with_observer(RouterConfig::default(), observer)?))
}

/// Routes into a response that is kept.
fn kept(router: impl benches::Route + 'static) -> Route {
    let mut response = RoutingResponse::default();
    Box::new(move |case| {
        router.route(case.request(), &mut response).expect("the request is a good one");
        black_box(&response);
    })
}

/// Routes as one would write it first.
fn naive() -> Route {
    let router = Naive::new(&Model::embedded(), RouterConfig::default());
    Box::new(move |case| {
        let response = router.route(case.request()).expect("the request is a good one");
        black_box(&response);
    })
}
