//! The way of an ended span to the collector: a bounded queue, a thread of its own, and counts of lost spans.
//!
//! ```text
//! span ends ──> Counted processor ──> SDK's queue ──(its thread)──> Unpacking exporter ──> collector
//!                  made += n           waiting                        flushed or failed += n
//!                  full: dropped += n
//! ```
//!
//! A request is one span that carries its stages and takes one slot, so it is kept or lost as a whole.
//!
//! A span that is neither flushed nor failed in the end was dropped: the queue was full, or the deadline
//! passed. The SDK logs dropped spans without counting them. So this module counts the slots of the SDK's
//! queue, and a span without a free slot never reaches that queue.

use crate::checked::Checked;
use crate::config::InitError;
use crate::deadline::Deadline;
use crate::fields::{self, TARGET};
use crate::ledger::{ExportCounts, Ledger};
use crate::otlp::{self, Backoff, Http, Poster, Target};
use crate::push::{self, LogRecords, Sources};
use crate::reports::{BatchReports, Signal};
use crate::{jaeger, resource, sampler, scope, stages};
use opentelemetry::trace::{SpanBuilder, SpanKind, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter,
    SpanProcessor,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tiny_dancer_core::ModelType;

/// The final counts of a tracing system: of spans, and of what else it pushed. With two exporters each span is counted twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Spans that a collector accepted, or that were printed.
    pub flushed: u64,
    /// Spans that were never sent: the queue was full, or the deadline passed first.
    pub dropped: u64,
    /// Spans that the collector refused, or whose export failed, for example without a confirmation by the
    /// deadline.
    pub failed: u64,
    /// The log records; `None` without [`otlp_logs`](crate::TracingConfig::otlp_logs).
    pub log_records: Option<ExportCounts>,
    /// The points of metrics, once per push; `None` without [`otlp_metrics`](crate::TracingConfig::otlp_metrics).
    pub metric_points: Option<ExportCounts>,
    /// Whether the deadline passed, or an exporter's thread ended, before the shutdown was complete.
    pub timed_out: bool,
}

impl ShutdownReport {
    /// Spans and log records that did not arrive. A point of a metric that did not arrive is not lost: the next push has
    /// its count again.
    pub fn lost(&self) -> u64 {
        self.dropped + self.failed + self.log_records.map_or(0, |records| records.dropped + records.failed)
    }
}

impl std::fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { flushed, dropped, failed, log_records, metric_points, timed_out } = self;
        write!(f, "{flushed} spans flushed, {dropped} dropped, {failed} failed")?;
        for (what, counts) in [("log records", log_records), ("metric points", metric_points)] {
            if let Some(ExportCounts { flushed, dropped, failed, .. }) = counts {
                write!(f, "; {flushed} {what} flushed, {dropped} dropped, {failed} failed")?;
            }
        }
        if *timed_out { f.write_str(", out of time") } else { Ok(()) }
    }
}

/// A running provider of spans, with its exporters.
#[derive(Debug)]
pub(crate) struct Pipeline {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    /// Opens the OpenTelemetry spans of `tracing` spans.
    bridge: SdkTracer,
    ledgers: Vec<Arc<Ledger>>,
    deadline: Deadline,
    running: AtomicBool,
    /// The log records, if they are pushed.
    log_records: Option<LogRecords>,
    /// The points of metrics, if they are pushed.
    metric_points: Option<Arc<Ledger>>,
    /// The threads that push.
    pushing: Mutex<Vec<JoinHandle<()>>>,
    propagates: bool,
    /// Where spans go, for the log.
    endpoint: String,
    sampling_ratio: f64,
    candidate_spans: usize,
    redacts_ids: bool,
    lightweight_model: Option<String>,
    powerful_model: Option<String>,
    shutdown_timeout: Duration,
}

/// The pipeline that [`Pipeline::install`] installed. A process has at most one, as it has one global
/// subscriber.
static INSTALLED: OnceLock<Arc<Pipeline>> = OnceLock::new();

impl Pipeline {
    pub(crate) fn installed() -> Option<&'static Self> {
        INSTALLED.get().map(|pipeline| &**pipeline)
    }

    /// Installs a pipeline for the whole process. An installed pipeline stays.
    pub(crate) fn install(pipeline: Arc<Self>) {
        let _ = INSTALLED.set(pipeline);
    }

    pub(crate) fn start(checked: &Checked, sources: &Sources) -> Result<Self, InitError> {
        let mut exporters = Exporters::new(checked.queue_size, checked.batch_size, checked.schedule_delay);
        if checked.disabled {
            return Ok(Self::new(checked, exporters));
        }
        let config = &checked.config;
        // Printing comes first, so that a slow collector can't delay it when both are shut down.
        if config.enable_stdout {
            exporters.add(opentelemetry_stdout::SpanExporter::default(), BatchReports::default());
        }
        if let Some(endpoint) = &config.jaeger_agent_endpoint {
            let reports = BatchReports::default();
            exporters.add(jaeger::Exporter::new(endpoint.clone(), reports.clone()), reports);
        }
        let deadline = exporters.deadline.clone();
        let poster = |target: &Target, signal, backoff| {
            Poster::new(target, BatchReports::of(signal), deadline.clone(), backoff)
                .map_err(|source| InitError::HttpClient { source })
        };
        if let Some(url) = &checked.traces_url {
            let http = Http {
                headers: config.otlp_headers.clone(),
                gzip: config.otlp_gzip,
                timeout: config.export_timeout,
            };
            let target = Target { url: url.clone(), http };
            let poster = poster(&target, Signal::Spans, Backoff::default())?;
            let reports = poster.reports().clone();
            exporters.add(otlp::Exporter::new(poster), reports);
        }
        // All clients are made before the first thread starts, so that an error leaves nothing running.
        let logs = checked.logs.as_ref();
        let logs = logs
            .map(|logs| {
                let backoff = Backoff { total: logs.timeout, ..Backoff::default() };
                Ok((logs, poster(&logs.target, Signal::LogRecords, backoff)?))
            })
            .transpose()?;
        let metrics = checked.metrics.as_ref();
        let metrics = metrics
            .map(|metrics| {
                let backoff = Backoff { total: metrics.timeout, ..Backoff::default() };
                Ok((metrics, poster(&metrics.target, Signal::MetricPoints, backoff)?))
            })
            .transpose()?;
        let mut pipeline = Self::new(checked, exporters);
        let resource = ResourceAttributesWithSchema::from(&resource::resource(config));
        let mut threads = Vec::new();
        if let Some((logs, poster)) = logs {
            let (records, thread) = push::log_records(logs, poster, &resource)?;
            pipeline.log_records = Some(records);
            threads.push(thread);
        }
        if let Some((metrics, poster)) = metrics {
            let (ledger, thread) = push::metrics(metrics, poster, &resource, deadline, sources.clone())?;
            pipeline.metric_points = Some(ledger);
            threads.push(thread);
        }
        pipeline.pushing = Mutex::new(threads);
        Ok(pipeline)
    }

    pub(crate) fn new(checked: &Checked, exporters: Exporters) -> Self {
        let config = &checked.config;
        let mut builder = SdkTracerProvider::builder()
            .with_sampler(sampler::sampler(checked.sampling_ratio()))
            .with_max_attributes_per_span(checked.attribute_limit)
            .with_resource(resource::resource(config));
        for processor in exporters.processors {
            builder = builder.with_span_processor(processor);
        }
        let provider = builder.build();
        Self {
            tracer: provider.tracer_with_scope(scope::router()),
            bridge: provider.tracer_with_scope(scope::bridge()),
            provider,
            ledgers: exporters.ledgers,
            deadline: exporters.deadline,
            running: AtomicBool::new(true),
            log_records: None,
            metric_points: None,
            pushing: Mutex::default(),
            propagates: checked.propagate,
            endpoint: checked.endpoint(),
            sampling_ratio: checked.sampling_ratio(),
            candidate_spans: config.candidate_spans,
            redacts_ids: config.redact_ids,
            lightweight_model: config.lightweight_model.clone(),
            powerful_model: config.powerful_model.clone(),
            shutdown_timeout: config.shutdown_timeout,
        }
    }

    /// Whether the global propagator is to be installed.
    pub(crate) fn propagates(&self) -> bool {
        self.propagates
    }

    pub(crate) fn provider(&self) -> &SdkTracerProvider {
        &self.provider
    }

    pub(crate) fn bridge(&self) -> &SdkTracer {
        &self.bridge
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    /// Logs where spans go, and the sampling ratio.
    pub(crate) fn log_start(&self) {
        tracing::info!(
            target: TARGET,
            {
                { fields::ENDPOINT } = self.endpoint(),
                { fields::SAMPLING_RATIO } = self.sampling_ratio(),
            },
            "tracing started"
        );
    }

    /// Where spans go; "none" without an exporter.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The recorded share of the traces that begin in this service.
    pub(crate) fn sampling_ratio(&self) -> f64 {
        self.sampling_ratio
    }

    pub(crate) fn candidate_spans(&self) -> usize {
        self.candidate_spans
    }

    /// Whether candidates' names are redacted.
    pub(crate) fn redacts_ids(&self) -> bool {
        self.redacts_ids
    }

    /// The configured name of this model.
    pub(crate) fn model_name(&self, model: ModelType) -> Option<&str> {
        match model {
            ModelType::Lightweight => self.lightweight_model.as_deref(),
            ModelType::Powerful => self.powerful_model.as_deref(),
        }
    }

    /// Whether the request that begins now is recorded.
    pub(crate) fn samples(&self) -> bool {
        sampler::samples(self.sampling_ratio)
    }

    /// Opens a span below `parent`.
    pub(crate) fn span(&self, name: &'static str, attributes: Vec<KeyValue>, parent: &Context) -> Span {
        SpanBuilder::from_name(name)
            .with_kind(SpanKind::Internal)
            .with_attributes(attributes)
            .start_with_context(&self.tracer, parent)
    }

    /// Exports what remains for at most `shutdown_timeout`, and returns all counts.
    pub(crate) fn shutdown(&self) -> ShutdownReport {
        self.running.store(false, Ordering::Relaxed);
        let (provider, timeout) = (self.provider.clone(), self.shutdown_timeout);
        let pushing = std::mem::take(&mut *self.pushing.lock().unwrap_or_else(PoisonError::into_inner));
        self.deadline.set(timeout);
        if let Some(records) = &self.log_records {
            records.close();
        }
        let (done, wait) = mpsc::channel();
        // The SDK gives each exporter the whole timeout, one after the other, and joins its threads. This may
        // outlast the deadline, so it runs on a thread of its own.
        let thread = std::thread::Builder::new().name("tiny-dancer-shutdown".to_owned());
        let thread = thread.spawn(move || {
            let flushed = provider.shutdown_with_timeout(timeout).is_ok();
            done.send(pushing.into_iter().all(|thread| thread.join().is_ok()) && flushed)
        });
        let done_in_time = thread.is_ok() && wait.recv_timeout(timeout).unwrap_or(false);

        let pushed = [self.log_records.as_ref().map(LogRecords::ledger), self.metric_points.as_ref()];
        for ledger in self.ledgers.iter().chain(pushed.into_iter().flatten()) {
            ledger.end();
        }
        let ExportCounts { flushed, dropped, failed, .. } = self.counts();
        let (log_records, metric_points) = (self.log_record_counts(), self.metric_point_counts());
        ShutdownReport { flushed, dropped, failed, log_records, metric_points, timed_out: !done_in_time }
    }

    /// The counts of all spans so far.
    pub(crate) fn counts(&self) -> ExportCounts {
        self.ledgers.iter().map(|ledger| ledger.counts()).fold(ExportCounts::default(), ExportCounts::add)
    }

    /// The counts of log records so far, if they are pushed.
    pub(crate) fn log_record_counts(&self) -> Option<ExportCounts> {
        self.log_records.as_ref().map(|records| records.ledger().counts())
    }

    /// The counts of the points of metrics so far, if they are pushed.
    pub(crate) fn metric_point_counts(&self) -> Option<ExportCounts> {
        self.metric_points.as_ref().map(|ledger| ledger.counts())
    }

    /// The queue of log records, if they are pushed.
    pub(crate) fn log_records(&self) -> Option<&LogRecords> {
        self.log_records.as_ref()
    }
}

/// Exporters, each with a queue and a thread of its own, so that a dead one delays no other.
#[derive(Debug)]
pub(crate) struct Exporters {
    /// How many requests, each with its stages, and other spans may wait for each exporter.
    queue_size: usize,
    /// How many spans are sent at once.
    batch_size: usize,
    /// How long spans wait for a batch to fill.
    schedule_delay: Duration,
    processors: Vec<Counted>,
    ledgers: Vec<Arc<Ledger>>,
    /// When the exporters must have ended.
    deadline: Deadline,
}

impl Exporters {
    pub(crate) fn new(queue_size: usize, batch_size: usize, schedule_delay: Duration) -> Self {
        let deadline = Deadline::default();
        Self { queue_size, batch_size, schedule_delay, processors: vec![], ledgers: vec![], deadline }
    }

    /// Adds an exporter, and its reports on batches besides their results.
    pub(crate) fn add(&mut self, exporter: impl SpanExporter + 'static, reports: BatchReports) {
        let ledger = Arc::new(Ledger::new(self.queue_size, reports));
        let exporter =
            Unpacking { inner: exporter, batch_size: self.batch_size, ledger: Arc::clone(&ledger) };
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(self.queue_size)
            .with_max_export_batch_size(self.batch_size)
            .with_scheduled_delay(self.schedule_delay)
            .build();
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        self.processors.push(Counted { inner: processor, ledger: Arc::clone(&ledger) });
        self.ledgers.push(ledger);
    }
}

/// A processor that counts its spans.
#[derive(Debug)]
struct Counted {
    inner: BatchSpanProcessor,
    ledger: Arc<Ledger>,
}

impl SpanProcessor for Counted {
    fn on_start(&self, span: &mut Span, parent: &Context) {
        self.inner.on_start(span, parent);
    }

    fn on_end(&self, span: SpanData) {
        if self.ledger.admit(stages::spans(&span)) {
            self.inner.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// An exporter that turns the stages of requests into spans, exports them, and counts the results.
#[derive(Debug)]
struct Unpacking<E> {
    inner: E,
    batch_size: usize,
    ledger: Arc<Ledger>,
}

impl<E: SpanExporter> SpanExporter for Unpacking<E> {
    /// Sends all spans in batches, and returns the first error.
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let (slots, mut spans) = (batch.len() as u64, Vec::with_capacity(batch.len()));
        for mut span in batch {
            scope::restore(&mut span);
            stages::unpack(span, &mut spans);
        }
        self.ledger.leave(slots, spans.len() as u64);
        let mut all = Ok(());
        while !spans.is_empty() {
            let rest = spans.split_off(spans.len().min(self.batch_size));
            let batch = std::mem::replace(&mut spans, rest);
            let spans = batch.len() as u64;
            let result = self.inner.export(batch).await;
            let error = result.as_ref().err().map(|error| match error {
                OTelSdkError::InternalFailure(why) => why.clone(),
                error => error.to_string(),
            });
            self.ledger.book(spans, error.as_deref());
            all = all.and(result);
        }
        all
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

#[cfg(test)]
pub(crate) mod tests;
