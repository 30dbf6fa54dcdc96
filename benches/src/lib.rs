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
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::hint::black_box;
use tiny_dancer::core::{Observer, Router};
use tiny_dancer::metrics::MetricsCollector;
use tiny_dancer::metrics::prometheus::Registry;
use tiny_dancer::tracing::{LogFormat, TracingConfig, TracingObserver, TracingSystem};
use tiny_dancer::{Candidate, RouterConfig, RoutingRequest, RoutingResponse};

pub mod sink;

/// How many candidates a request has.
pub const CANDIDATES: [usize; 3] = [1, 10, 100];

/// How many numbers an embedding has.
pub const DIMENSIONS: [usize; 2] = [128, 384];

/// The moment at which all requests are routed.
const NOW: i64 = 1_700_000_000;

/// A request to route.
#[derive(Clone, Debug)]
pub struct Case {
    query: Vec<f32>,
    candidates: Vec<Candidate>,
}

impl Case {
    /// The request of this size, always the same one. It has no metadata.
    pub fn new(candidates: usize, dimensions: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64((candidates * 10_000 + dimensions) as u64);
        let query: Vec<f32> = (0..dimensions).map(|_| rng.random_range(-1.0..1.0)).collect();
        let candidates = (0..candidates)
            .map(|i| {
                // Cosines to the query from about 0.5 to 0.95, as nearest neighbours have.
                let noise = rng.random_range(0.3_f32..1.7);
                let embedding = query.iter().map(|x| x + noise * rng.random_range(-1.0_f32..1.0)).collect();
                Candidate {
                    id: format!("request {i}"),
                    embedding,
                    created_at: NOW - rng.random_range(0..30 * 86_400),
                    access_count: rng.random_range(1..1000),
                    success_rate: rng.random_range(0.0..1.0),
                    ..Default::default()
                }
            })
            .collect();
        Self { query, candidates }
    }

    /// All of them, by `candidates x dimensions`.
    pub fn all() -> impl Iterator<Item = (String, Self)> {
        CANDIDATES.into_iter().flat_map(|candidates| {
            DIMENSIONS
                .map(|dimensions| (format!("{candidates}x{dimensions}"), Self::new(candidates, dimensions)))
        })
    }

    fn request(&self) -> RoutingRequest<'_> {
        RoutingRequest { now: Some(NOW), ..RoutingRequest::new(&self.query, &self.candidates) }
    }
}

/// A router under one observer.
pub trait Subject {
    /// The observer's name.
    fn name(&self) -> &'static str;

    /// Routes a request so many times.
    fn route(&mut self, case: &Case, times: u64);
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
            let routed = self.router.route_into(black_box(case.request()), &mut self.response);
            routed.expect("the request is a good one");
            black_box(&self.response);
        }
    }
}

fn subject(name: &'static str, observer: impl Observer) -> Result<Box<dyn Subject>> {
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
