//! What the benches measure: the same requests, under each observer.
//!
//! Inputs come from a seed, so that two runs route the same requests. Absolute times are criterion's (`benches/`); what
//! has a goal is a ratio, and the program `ratios` takes those from short [`Turns`], one contender after the other, since
//! on a shared machine two runs a minute apart differ by more than an observer costs.
//!
//! ```
//! use tiny_dancer_benches::{Case, subjects};
//!
//! let (mut subjects, _system) = subjects()?;
//! for subject in &mut subjects {
//!     subject.route(&Case::new(10, 128), 3);
//! }
//! # Ok::<(), anyhow::Error>(())
//! ```

use anyhow::Result;
use std::hint::black_box;
use tiny_dancer::parts::core::{Observer, Router};
use tiny_dancer::parts::metrics::MetricsCollector;
use tiny_dancer::parts::metrics::prometheus::Registry;
use tiny_dancer::parts::tracing::{LogFormat, TracingConfig, TracingObserver, TracingSystem};
use tiny_dancer::{RouterConfig, RoutingResponse};

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

/// A router under one observer.
pub trait Subject {
    /// The observer's name.
    fn name(&self) -> &'static str;

    /// Routes a request so many times.
    fn route(&mut self, case: &Case, times: u64);

    /// Routes so many requests of a ring, one after the other.
    fn route_around(&mut self, ring: &mut Ring, times: u64);
}

struct Observed<O: Observer> {
    name: &'static str,
    routers: Vec<Router<O>>,
    /// Whose turn it is.
    next: usize,
    response: RoutingResponse,
}

impl<O: Observer> Subject for Observed<O> {
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

impl<O: Observer> Observed<O> {
    fn turn(&mut self) -> (&Router<O>, &mut RoutingResponse) {
        self.next = (self.next + 1) % self.routers.len();
        (&self.routers[self.next], &mut self.response)
    }
}

#[inline]
fn once<O: Observer>(router: &Router<O>, case: &Case, response: &mut RoutingResponse) {
    router.route_into(black_box(case.request()), response).expect("the request is a good one");
    black_box(response);
}

/// A router under an observer.
pub fn subject(name: &'static str, observer: impl Observer) -> Result<Box<dyn Subject>> {
    let routers = vec![Router::with_observer(RouterConfig::default(), observer)?];
    Ok(Box::new(Observed { name, routers, next: 0, response: RoutingResponse::default() }))
}

/// Several routers under an observer each, who take turns: where in memory the allocator happens to put a model is worth
/// some percent of a router's time, and what an observer costs may be less.
pub fn subject_anywhere<O: Observer>(
    name: &'static str,
    observer: impl Fn() -> Result<O>,
) -> Result<Box<dyn Subject>> {
    let (mut routers, mut gaps) = (Vec::new(), Vec::new());
    for place in 0..PLACES {
        gaps.push(vec![0_u8; 16 * place + 8]);
        routers.push(Router::with_observer(RouterConfig::default(), observer()?)?);
    }
    Ok(Box::new(Observed { name, routers, next: 0, response: RoutingResponse::default() }))
}

/// How many routers stand in for wherever one might be.
const PLACES: usize = 8;

/// A router under each observer; the first, `none`, is what the others are compared with.
///
/// Tracing records one request in a hundred, and exports over HTTP to a [`sink`] in this process. The system that does
/// is global, so this can be called once, and must be kept as long as anything is measured.
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
    ];
    Ok((subjects, system))
}
