//! The push of metrics and log records to a collector, each on a thread of its own.
//!
//! ```text
//! log line ──> layer ──> queue, bounded ──(thread)──> collector
//!                           full: dropped += 1          flushed or failed += n
//! families ──(thread, each interval)──> collector
//! ```
//!
//! Metrics are cumulative, so they need no queue: each push takes a new snapshot, and repeats the counts of one that failed.
//! At a shutdown both threads send once more and end, unless the deadline passes first.

use crate::checked::Metrics;
use crate::config::InitError;
use crate::deadline::Deadline;
use crate::ledger::Ledger;
use crate::otlp::Poster;
use crate::scope;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;

mod layer;
mod records;

pub(crate) use layer::layer;
pub(crate) use records::{LogRecords, log_records};

/// A snapshot of metrics.
pub(crate) type Snapshot = Result<Vec<Metric>, Box<dyn Error + Send + Sync>>;

/// The functions that return the metrics of each push. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Sources(Arc<RwLock<Vec<Arc<Source>>>>);

type Source = dyn Fn() -> Snapshot + Send + Sync;

impl Sources {
    pub(crate) fn add(&self, source: impl Fn() -> Snapshot + Send + Sync + 'static) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(source));
    }

    /// The metrics of all sources. Calls them after the lock is released, since they are another crate's code.
    fn snapshot(&self) -> Snapshot {
        let sources = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut all = Vec::new();
        for source in sources {
            all.append(&mut source()?);
        }
        Ok(all)
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources = self.0.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_tuple("Sources").field(&sources.len()).finish()
    }
}

/// Starts the thread that pushes metrics, and returns the counts of their points.
pub(crate) fn metrics(
    config: &Metrics,
    poster: Poster,
    resource: &ResourceAttributesWithSchema,
    deadline: Deadline,
    sources: Sources,
) -> Result<(Arc<Ledger>, JoinHandle<()>), InitError> {
    let ledger = Arc::new(Ledger::new(0, poster.reports().clone()));
    let (resource, schema_url) = described(resource);
    let (interval, counts) = (config.interval, Arc::clone(&ledger));
    let push = move || {
        let metrics = match sources.snapshot() {
            Ok(metrics) if metrics.is_empty() => return,
            Ok(metrics) => metrics,
            Err(error) => return counts.book(0, Some(&error.to_string())),
        };
        let points = metrics.iter().map(points).sum();
        counts.make(points);
        let scope = Some((&scope::router(), None).into());
        let scope_metrics = vec![ScopeMetrics { scope, metrics, schema_url: String::new() }];
        let resource = Some(resource.clone());
        let resource_metrics =
            vec![ResourceMetrics { resource, scope_metrics, schema_url: schema_url.clone() }];
        let sent = poster.send(&ExportMetricsServiceRequest { resource_metrics });
        counts.book(points, sent.err().as_deref());
    };
    let thread = start("tiny-dancer-metrics", move || {
        loop {
            let is_last = deadline.begins_within(interval);
            push();
            if is_last {
                break;
            }
        }
    })?;
    Ok((ledger, thread))
}

/// How many points a metric has.
fn points(metric: &Metric) -> u64 {
    let points = match &metric.data {
        None => 0,
        Some(Data::ExponentialHistogram(histogram)) => histogram.data_points.len(),
        Some(Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(Data::Histogram(histogram)) => histogram.data_points.len(),
        Some(Data::Sum(sum)) => sum.data_points.len(),
        Some(Data::Summary(summary)) => summary.data_points.len(),
    };
    points as u64
}

/// A resource in OTLP, and the URL of its schema.
fn described(resource: &ResourceAttributesWithSchema) -> (Resource, String) {
    let attributes = resource.attributes.0.clone();
    (Resource { attributes, ..Resource::default() }, resource.schema_url.clone().unwrap_or_default())
}

/// Starts a thread.
fn start(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, InitError> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(|source| InitError::Thread { source })
}
