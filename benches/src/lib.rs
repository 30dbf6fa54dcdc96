//! The measured routers and requests: the same requests with each observer.
//!
//! Inputs come from a seed, so that two runs route the same requests. Absolute times are criterion's (`benches/`). Goals are
//! ratios, which the program `ratios` measures in short [`Turns`], one contender after the other, since on a shared machine
//! two runs a minute apart differ by more than the cost of an observer.
//!
//! ```
//! use tiny_dancer_benches::{Case, facade_metrics, subjects};
//!
//! let mut facade = facade_metrics()?;
//! let (mut subjects, _system) = subjects()?;
//! for subject in subjects.iter_mut().chain([&mut facade]) {
//!     subject.route(&Case::new(10, 128), 3);
//! }
//! # Ok::<(), anyhow::Error>(())
//! ```

use anyhow::Result;
use std::hint::black_box;
use tiny_dancer::parts::core::budget::{JudgeRate, QualityBudget};
use tiny_dancer::parts::core::{self, Observer, RouteError};
use tiny_dancer::parts::metrics::MetricsCollector;
use tiny_dancer::parts::metrics::prometheus::Registry;
use tiny_dancer::parts::tracing::{LogFormat, TracingConfig, TracingObserver, TracingSystem};
use tiny_dancer::{Router, RouterConfig, RoutingRequest, RoutingResponse};

pub mod bridge;
mod case;
pub mod naive;
pub mod nearest;
mod preemptions;
pub mod repeated;
pub mod set;
pub mod sink;
pub mod stopwatch;
pub mod text;
mod threads;
mod turns;

pub use case::{CANDIDATES, Case, DIMENSIONS, Ring, sizes};
pub use threads::Shared;
pub use turns::{Measured, Quartiles, Turns};

/// A router with its observer.
pub trait Subject {
    /// The name of the observer.
    fn name(&self) -> &'static str;

    /// Routes a request a number of times.
    fn route(&mut self, case: &Case, times: u64);

    /// Routes the next requests of a ring.
    fn route_around(&mut self, ring: &mut Ring, times: u64);
}

struct Observed<R> {
    name: &'static str,
    routers: Vec<R>,
    /// The router of the next turn.
    next: usize,
    response: RoutingResponse,
}

impl<R: Route> Subject for Observed<R> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn route(&mut self, case: &Case, times: u64) {
        let (router, response) = self.turn();
        for _ in 0..times {
            once(router, case, response);
        }
    }

    fn route_around(&mut self, ring: &mut Ring, times: u64) {
        let (router, response) = self.turn();
        for _ in 0..times {
            once(router, ring.advance(), response);
        }
    }
}

impl<R: Route> Observed<R> {
    fn new(name: &'static str, routers: Vec<R>) -> Self {
        Self { name, routers, next: 0, response: RoutingResponse::default() }
    }

    fn turn(&mut self) -> (&R, &mut RoutingResponse) {
        self.next = (self.next + 1) % self.routers.len();
        (&self.routers[self.next], &mut self.response)
    }
}

/// A router: core's with an observer, or the facade's.
pub trait Route {
    /// Routes one request.
    ///
    /// # Errors
    /// As the router's `route_into`.
    fn route(&self, request: RoutingRequest<'_>, response: &mut RoutingResponse) -> Result<(), RouteError>;
}

impl<O: Observer> Route for core::Router<O> {
    #[inline]
    fn route(&self, request: RoutingRequest<'_>, response: &mut RoutingResponse) -> Result<(), RouteError> {
        self.route_into(request, response)
    }
}

impl<O: Observer> Route for Router<O> {
    #[inline]
    fn route(&self, request: RoutingRequest<'_>, response: &mut RoutingResponse) -> Result<(), RouteError> {
        self.route_into(request, response)
    }
}

#[inline]
fn once(router: &impl Route, case: &Case, response: &mut RoutingResponse) {
    router.route(black_box(case.request()), response).expect("the request is valid");
    black_box(response);
}

/// Core's router with an observer.
///
/// # Errors
/// If the router is not created.
pub fn subject(name: &'static str, observer: impl Observer) -> Result<Box<dyn Subject>> {
    Ok(Box::new(Observed::new(name, vec![observed(observer)?])))
}

/// Several of core's routers at different addresses, with an observer each.
///
/// # Errors
/// If an observer or a router is not created.
pub fn subject_at_places<O: Observer>(
    name: &'static str,
    observer: impl Fn() -> Result<O>,
) -> Result<Box<dyn Subject>> {
    at_places(name, || observed(observer()?))
}

fn observed<O: Observer>(observer: O) -> Result<core::Router<O>> {
    Ok(core::Router::with_observer(RouterConfig::default(), observer)?)
}

/// The facade's router with its default features and its own registry. If a tracing system is installed, its tracing is that
/// system's.
///
/// # Errors
/// If the router is not created, or its registry refuses a family.
pub fn facade() -> Result<Router> {
    Ok(Router::builder(RouterConfig::default()).registry(&Registry::new()).build()?)
}

/// Several routers that take turns. The address of a model changes a router's time by some percent, and an observer may cost
/// less than that.
fn at_places<R: Route + 'static>(
    name: &'static str,
    router: impl Fn() -> Result<R>,
) -> Result<Box<dyn Subject>> {
    let (mut routers, mut gaps) = (Vec::new(), Vec::new());
    for place in 0..PLACES {
        gaps.push(vec![0_u8; 16 * place + 8]);
        routers.push(router()?);
    }
    Ok(Box::new(Observed::new(name, routers)))
}

/// Routers with a quality budget that admits every request and judges one answer in five. A judgement is cancelled at once, so
/// that slots do not run out.
///
/// # Errors
/// If a router is not created.
pub fn budgeted() -> Result<Box<dyn Subject>> {
    at_places("budget", budgeted_router)
}

/// One of them.
///
/// # Errors
/// If it is not created.
pub fn budgeted_router() -> Result<Budgeted> {
    let budget = QualityBudget { judge_rate: JudgeRate::Fixed(0.2), burst: 1e9, ..Default::default() };
    let (confidence_threshold, max_uncertainty) = (0.0, 1.0);
    let config =
        RouterConfig { confidence_threshold, max_uncertainty, budget: Some(budget), ..Default::default() };
    Ok(Budgeted(core::Router::new(config)?))
}

/// See [`budgeted`].
#[derive(Debug)]
pub struct Budgeted(core::Router);

impl Route for Budgeted {
    #[inline]
    fn route(&self, request: RoutingRequest<'_>, response: &mut RoutingResponse) -> Result<(), RouteError> {
        self.0.route_into(request, response)?;
        if let Some(ticket) = response.ticket.filter(|ticket| ticket.judge.happened) {
            self.0.cancel(&ticket);
        }
        Ok(())
    }
}

/// The number of routers at different addresses.
const PLACES: usize = 8;

/// The facade's router in a program with metrics only: tracing is compiled in and not installed. It has to be measured before
/// [`subjects`] is called, which installs tracing.
///
/// # Errors
/// As [`facade`].
pub fn facade_metrics() -> Result<Box<dyn Subject>> {
    at_places("facade metrics", facade)
}

/// A router with each observer. The others are compared with the first, `none`.
///
/// Tracing records one request in a hundred, and exports over HTTP to a [`sink`] in this process. The tracing system is global,
/// so this can be called once, and the system has to live until everything is measured.
///
/// `facade tracing` has the observers of the facade without its feature `metrics`, since a build with all features has no such
/// facade.
///
/// # Errors
/// If a router, a registry's families, the sink or the tracing system is not created.
pub fn subjects() -> Result<(Vec<Box<dyn Subject>>, TracingSystem)> {
    let system = TracingSystem::new(TracingConfig {
        otlp_endpoint: Some(format!("http://{}", sink::open()?)),
        sampling_ratio: 0.01,
        log_format: LogFormat::Off,
        ..Default::default()
    });
    system.init()?;
    let tracing = TracingObserver::global;
    let metrics = || MetricsCollector::with_registry(&Registry::new());
    let subjects = vec![
        subject_at_places("none", || Ok(()))?,
        subject_at_places("metrics", || Ok(metrics()?))?,
        subject_at_places("tracing", || Ok(tracing()))?,
        subject_at_places("both", || Ok((tracing(), metrics()?)))?,
        subject_at_places("facade tracing", || Ok((tracing(), (), ())))?,
        at_places("facade both", facade)?,
    ];
    Ok((subjects, system))
}
