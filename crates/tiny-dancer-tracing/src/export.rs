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
use crate::otlp::{self, Backoff, Target};
use crate::reports::BatchReports;
use crate::{jaeger, resource, sampler, scope, stages};
use opentelemetry::trace::{SpanBuilder, SpanKind, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter,
    SpanProcessor,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;
use tiny_dancer_core::ModelType;

/// The final counts of a tracing system's spans. With two exporters each span is counted twice.
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
    /// Whether the deadline passed, or an exporter's thread ended, before the shutdown was complete.
    pub timed_out: bool,
}

impl ShutdownReport {
    /// Spans that did not arrive.
    pub fn lost(&self) -> u64 {
        self.dropped + self.failed
    }
}

impl std::fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { flushed, dropped, failed, timed_out } = self;
        let timed_out = if *timed_out { ", out of time" } else { "" };
        write!(f, "{flushed} spans flushed, {dropped} dropped, {failed} failed{timed_out}")
    }
}

/// The counts of a tracing system's spans so far. With two exporters each span is counted twice.
///
/// `made` is the sum of the others and of the spans that are being sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpanCounts {
    /// Spans that ended.
    pub made: u64,
    /// Spans that wait to be sent. The queue bounds the number of requests, each with its stages, and other
    /// spans.
    pub waiting: u64,
    /// Spans that a collector accepted, or that were printed.
    pub flushed: u64,
    /// Spans for which there was no slot in the queue or, after a shutdown, no time.
    pub dropped: u64,
    /// Spans that the collector refused, or whose export failed.
    pub failed: u64,
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
    /// The numbers of flushed and failed spans at the end of the shutdown. Later exports are not counted, so
    /// that the number of dropped spans never decreases.
    ended: OnceLock<(u64, u64)>,
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

    pub(crate) fn start(checked: &Checked) -> Result<Self, InitError> {
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
        if let Some(url) = &checked.traces_url {
            let reports = BatchReports::default();
            let target = Target {
                url: url.clone(),
                headers: &config.otlp_headers,
                gzip: config.otlp_gzip,
                timeout: config.export_timeout,
            };
            let deadline = exporters.deadline.clone();
            let exporter = otlp::Exporter::new(target, reports.clone(), deadline, Backoff::default())
                .map_err(|source| InitError::HttpClient { source })?;
            exporters.add(exporter, reports);
        }
        Ok(Self::new(checked, exporters))
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
            ended: OnceLock::new(),
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

    /// Exports the remaining spans for at most `shutdown_timeout`, and returns the counts of all spans.
    pub(crate) fn shutdown(&self) -> ShutdownReport {
        self.running.store(false, Ordering::Relaxed);
        let (provider, timeout) = (self.provider.clone(), self.shutdown_timeout);
        self.deadline.set(timeout);
        let (done, wait) = mpsc::channel();
        // The SDK gives each exporter the whole timeout, one after the other, and joins its threads. This may
        // outlast the deadline, so it runs on a thread of its own.
        let thread = std::thread::Builder::new().name("tiny-dancer-shutdown".to_owned());
        let thread = thread.spawn(move || done.send(provider.shutdown_with_timeout(timeout).is_ok()));
        let done_in_time = thread.is_ok() && wait.recv_timeout(timeout).unwrap_or(false);

        let SpanCounts { made, waiting, flushed, dropped, failed } = self.counts();
        // Spans that an exporter holds at this point and the collector has not confirmed count as failed.
        let unconfirmed = made.saturating_sub(waiting + flushed + dropped + failed);
        let _ = self.ended.set((flushed, failed + unconfirmed));
        let SpanCounts { flushed, dropped, failed, .. } = self.counts();
        ShutdownReport { flushed, dropped, failed, timed_out: !done_in_time }
    }

    /// The counts of all spans so far.
    pub(crate) fn counts(&self) -> SpanCounts {
        let mut counts = SpanCounts::default();
        for ledger in &self.ledgers {
            let read = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
            // Counters that are written later are read first, so that a sum never exceeds `made`.
            counts.flushed += read(&ledger.flushed);
            counts.failed += read(&ledger.failed);
            counts.dropped += read(&ledger.dropped);
            counts.waiting += read(&ledger.waiting);
            counts.made += read(&ledger.made);
        }
        if let Some(&(flushed, failed)) = self.ended.get() {
            counts = SpanCounts {
                made: counts.made,
                waiting: 0,
                flushed,
                failed,
                dropped: counts.made - flushed - failed,
            };
        }
        counts
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
        let ledger = Arc::new(Ledger { slots: self.queue_size as u64, reports, ..Default::default() });
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

/// The counts of one exporter's spans, by their results.
#[derive(Debug, Default)]
struct Ledger {
    /// The slots of the queue. A request with its stages takes one, and so does another span.
    slots: u64,
    taken: AtomicU64,
    made: AtomicU64,
    waiting: AtomicU64,
    dropped: AtomicU64,
    flushed: AtomicU64,
    failed: AtomicU64,
    /// Spans that failed since the last batch without failures.
    failing: AtomicU64,
    reports: BatchReports,
}

impl Ledger {
    /// Counts spans, and returns whether there is a slot for them.
    fn admit(&self, spans: u64) -> bool {
        self.made.fetch_add(spans, Ordering::SeqCst);
        let free = |taken| (taken < self.slots).then_some(taken + 1);
        let admitted = self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, free).is_ok();
        let counter = if admitted { &self.waiting } else { &self.dropped };
        counter.fetch_add(spans, Ordering::SeqCst);
        admitted
    }

    /// Frees the slots of spans.
    fn leave(&self, slots: u64, spans: u64) {
        self.taken.fetch_sub(slots, Ordering::SeqCst);
        self.waiting.fetch_sub(spans, Ordering::SeqCst);
    }

    /// Counts a batch by its result. Logs one line when failures begin and one when they end, and none for
    /// batches between.
    fn book(&self, spans: u64, result: &OTelSdkResult) {
        let (refused, why) = self.reports.take_refused();
        let refused = refused.min(spans);
        let failed = if result.is_ok() { refused } else { spans };
        self.flushed.fetch_add(spans - failed, Ordering::SeqCst);
        self.failed.fetch_add(failed, Ordering::SeqCst);
        if failed == 0 {
            let lost = self.failing.swap(0, Ordering::SeqCst);
            if self.reports.end_failures() {
                tracing::info!(
                    target: TARGET,
                    { { fields::SPANS_LOST } = lost as i64 },
                    "spans are exported again"
                );
            }
        } else {
            self.failing.fetch_add(failed, Ordering::SeqCst);
            self.reports.log_failure(&match result {
                Ok(()) if why.is_empty() => format!("{refused} of {spans} spans were refused"),
                Ok(()) => format!("{refused} of {spans} spans were refused: {why}"),
                Err(OTelSdkError::InternalFailure(why)) => why.clone(),
                Err(error) => error.to_string(),
            });
        }
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
            self.ledger.book(spans, &result);
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
