//! What the benches measure: the same requests, under each observer.
//!
//! Inputs come from a seed, so that two runs route the same requests. Absolute times are criterion's (`benches/`); what
//! has a goal is a ratio, and the program `ratios` takes those from short [`Turns`], one contender after the other, since
//! on a shared machine two runs a minute apart differ by more than an observer costs.
//!
//! ```
//! use tiny_dancer_benches::{Case, scraped, subjects};
//!
//! let mut scraped = scraped()?;
//! let (mut subjects, _system) = subjects()?;
//! for subject in subjects.iter_mut().chain([&mut scraped]) {
//!     subject.route(&Case::new(10, 128), 3);
//! }
//! # Ok::<(), anyhow::Error>(())
//! ```

use anyhow::Result;
use std::hint::black_box;
use tiny_dancer::parts::core::{self, Observer, RouteError};
use tiny_dancer::parts::metrics::MetricsCollector;
use tiny_dancer::parts::metrics::prometheus::Registry;
use tiny_dancer::parts::tracing::{LogFormat, TracingConfig, TracingObserver, TracingSystem};
use tiny_dancer::{Router, RouterConfig, RoutingRequest, RoutingResponse};

pub mod bridge;
mod case;
pub mod naive;
mod preemptions;
pub mod repeated;
pub mod set;
pub mod sink;
pub mod stopwatch;
mod threads;
mod turns;

pub use case::{CANDIDATES, Case, DIMENSIONS, Ring};
pub use threads::Shared;
pub use turns::{Measured, Quartiles, Turns};

/// A router, and what observes it.
pub trait Subject {
    /// The name of what observes it.
    fn name(&self) -> &'static str;

    /// Routes a request so many times.
    fn route(&mut self, case: &Case, times: u64);

    /// Routes so many requests of a ring, one after the other.
    fn route_around(&mut self, ring: &mut Ring, times: u64);
}

struct Observed<R> {
    name: &'static str,
    routers: Vec<R>,
    /// Whose turn it is.
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
            once(router, ring.turn(), response);
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

/// A router: core's under an observer, or the facade's.
pub trait Route {
    /// Routes one request.
    ///
    /// # Errors
    /// Those of the router.
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
    router.route(black_box(case.request()), response).expect("the request is a good one");
    black_box(response);
}

/// Core's router under an observer.
///
/// # Errors
/// If the router can't be made.
pub fn subject(name: &'static str, observer: impl Observer) -> Result<Box<dyn Subject>> {
    Ok(Box::new(Observed::new(name, vec![observed(observer)?])))
}

/// Several of core's routers under an observer each.
///
/// # Errors
/// If an observer or a router can't be made.
pub fn subject_anywhere<O: Observer>(
    name: &'static str,
    observer: impl Fn() -> Result<O>,
) -> Result<Box<dyn Subject>> {
    anywhere(name, || observed(observer()?))
}

fn observed<O: Observer>(observer: O) -> Result<core::Router<O>> {
    Ok(core::Router::with_observer(RouterConfig::default(), observer)?)
}

/// The facade's router as most programs make it, but for a registry of its own. Its tracing is the installed system's, if
/// one is installed.
///
/// # Errors
/// If the router can't be made, or its registry refuses a family.
pub fn facade() -> Result<Router> {
    Ok(Router::builder(RouterConfig::default()).registry(&Registry::new()).build()?)
}

/// Several routers that take turns: where in memory the allocator happens to put a model is worth some percent of a router's
/// time, and what an observer costs may be less.
fn anywhere<R: Route + 'static>(
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

/// How many routers stand in for wherever one might be.
const PLACES: usize = 8;

/// The facade's router in a program that only scrapes: with metrics, and with tracing that is not installed. So it is
/// measured before [`subjects`] is called.
///
/// # Errors
/// As [`facade`].
pub fn scraped() -> Result<Box<dyn Subject>> {
    anywhere("facade metrics", facade)
}

/// A router under each observer; the first, `none`, is what the others are compared with.
///
/// Tracing records one request in a hundred, and exports over HTTP to a [`sink`] in this process. The system that does
/// is global, so this can be called once, and must be kept as long as anything is measured.
///
/// `facade tracing` is what the facade holds where its feature `metrics` is off, which a build with all features can't have
/// under its own name.
///
/// # Errors
/// If a router, a registry's families, the sink or the tracing system can't be made.
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
        subject_anywhere("none", || Ok(()))?,
        subject_anywhere("metrics", || Ok(metrics()?))?,
        subject_anywhere("tracing", || Ok(tracing()))?,
        subject_anywhere("both", || Ok((tracing(), metrics()?)))?,
        subject_anywhere("facade tracing", || Ok((tracing(), (), ())))?,
        anywhere("facade both", facade)?,
    ];
    Ok((subjects, system))
}
