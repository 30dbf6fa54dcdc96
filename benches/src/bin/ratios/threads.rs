//! Two threads that share metrics, a quality budget, a breaker or a model handle, over two threads that share nothing.

use crate::Run;
use anyhow::Result;
use std::hint::black_box;
use std::sync::{Arc, PoisonError, RwLock};
use tiny_dancer::parts::core::{Observer, Router};
use tiny_dancer::parts::metrics::MetricsCollector;
use tiny_dancer::parts::metrics::prometheus::Registry;
use tiny_dancer::{ModelType, Outcome, OutcomeResult, Query, RouterConfig, RoutingRequest, RoutingResponse};
use tiny_dancer_benches::repeated::Repeated;
use tiny_dancer_benches::{Case, Route as _, Shared, budgeted_router};

pub(crate) fn measure(run: &Run) -> Result<()> {
    if run.selects("threads/metrics") {
        metrics(run)?;
    }
    let case = Case::new(100, 384);
    let budgeted = [budgeted_router()?, budgeted_router()?, budgeted_router()?].map(Box::new);
    operation(run, "threads/budget", &budgeted, |router, response: &mut RoutingResponse| {
        router.route(black_box(case.request()), response).expect("the request is valid");
    });
    let routers = three(|| Ok(()))?;
    operation(run, "threads/breaker", &routers, |router, response: &mut RoutingResponse| {
        // A request without candidates only passes both circuits and reads the model's handle.
        let request = RoutingRequest { query: Query { now: Some(0), ..Query::new(&[1.0]) }, candidates: &[] };
        router.route_into(black_box(request), response).expect("a request without candidates is valid");
    });
    operation(run, "threads/handle", &routers, |router, (): &mut ()| {
        black_box(router.thresholds());
    });
    operation(run, "threads/outcome", &routers, |router, (): &mut ()| {
        router.record_outcome(Outcome::new(ModelType::Lightweight, OutcomeResult::Sufficed));
    });
    let locks = [(); 3].map(|()| Box::new(RwLock::new(Arc::new((0.85_f32, 0.15_f32)))));
    operation(run, "threads/handle/rwlock", &locks, |lock, (): &mut ()| {
        black_box(**lock.read().unwrap_or_else(PoisonError::into_inner));
    });
    Ok(())
}

/// The collector's cost for a request of ten candidates. It records each request many times, so that the router's own time is
/// a small part.
fn metrics(run: &Run) -> Result<()> {
    const MANY: usize = 32;
    let case = Case::new(10, 16);
    let routers = three(|| Ok(Repeated::<_, MANY>(MetricsCollector::with_registry(&Registry::new())?)))?;
    let shared = Shared::of(run.time(), routers.each_ref().map(|it| &**it), |router, response| {
        router.route_into(black_box(case.request()), response).expect("the request is valid");
    });
    if let Some(shared) = shared {
        let each = shared.named_times().map(|(name, time)| (name, time / MANY as f64));
        run.report("threads/metrics", shared.ratio(), &each);
    }
    Ok(())
}

fn operation<T: Sync, S: Default + Send>(
    run: &Run,
    id: &str,
    objects: &[Box<T>; 3],
    operation: impl Fn(&T, &mut S) + Sync,
) {
    if run.selects(id)
        && let Some(shared) = Shared::of(run.time(), objects.each_ref().map(|it| &**it), operation)
    {
        run.report(id, shared.ratio(), &shared.named_times());
    }
}

/// Three routers, each with an observer of its own.
fn three<O: Observer>(observer: impl Fn() -> Result<O>) -> Result<[Box<Router<O>>; 3]> {
    let router =
        || -> Result<_> { Ok(Box::new(Router::with_observer(RouterConfig::default(), observer()?)?)) };
    Ok([router()?, router()?, router()?])
}
