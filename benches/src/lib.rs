//! What the benches measure: the same requests, under each observer.
//!
//! Inputs come from a seed, so that two runs route the same requests. Absolute times are criterion's (`benches/route.rs`);
//! what an observer costs is a ratio, and the program `ratios` takes those from short turns, one observer after the other,
//! since on a shared machine two runs a minute apart differ by more than an observer does.
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
use tiny_dancer::core::{Observer, Router};
use tiny_dancer::metrics::MetricsCollector;
use tiny_dancer::metrics::prometheus::Registry;
use tiny_dancer::tracing::{LogFormat, TracingConfig, TracingObserver, TracingSystem};
use tiny_dancer::{RouterConfig, RoutingResponse};

mod case;
pub mod naive;
pub mod sink;

pub use case::{CANDIDATES, Case, DIMENSIONS, Ring};

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
    router: Router<O>,
    response: RoutingResponse,
}

impl<O: Observer> Subject for Observed<O> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn route(&mut self, case: &Case, times: u64) {
        for _ in 0..times {
            self.once(case);
        }
    }

    fn route_around(&mut self, ring: &mut Ring, times: u64) {
        for _ in 0..times {
            self.once(ring.turn());
        }
    }
}

impl<O: Observer> Observed<O> {
    #[inline]
    fn once(&mut self, case: &Case) {
        let routed = self.router.route_into(black_box(case.request()), &mut self.response);
        routed.expect("the request is a good one");
        black_box(&self.response);
    }
}

/// A router under an observer.
pub fn subject(name: &'static str, observer: impl Observer) -> Result<Box<dyn Subject>> {
    let router = Router::with_observer(RouterConfig::default(), observer)?;
    Ok(Box::new(Observed { name, router, response: RoutingResponse::default() }))
}

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
        subject("none", ())?,
        subject("metrics", metrics()?)?,
        subject("tracing", tracing())?,
        subject("both", (tracing(), metrics()?))?,
    ];
    Ok((subjects, system))
}
