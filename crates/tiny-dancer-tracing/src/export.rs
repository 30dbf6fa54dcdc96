//! From an ended span to the collector: a bounded queue, a thread of its own, and a count of what was lost.
//!
//! ```text
//! span ends ──> Counted processor ──> SDK's queue ──(its thread)──> Counted exporter ──> collector
//!                  ended += 1          full: dropped                  flushed or failed += n
//! ```
//!
//! Whatever became neither flushed nor failed was dropped: the queue was full, or time ran out. The SDK logs such
//! things and counts them nowhere.

use crate::config::{Checked, InitError};
use crate::fields::{self, TARGET};
use crate::sampler;
use opentelemetry::trace::{SpanBuilder, SpanKind, TracerProvider};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Protocol, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// What became of the spans of a tracing system. With two exporters a span is counted once for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Spans that a collector took, or that were printed.
    pub flushed: u64,
    /// Spans that were never offered to it: the queue was full, or the deadline passed first.
    pub dropped: u64,
    /// Spans that it refused, or that were offered in vain.
    pub failed: u64,
    /// Whether the deadline passed, or an exporter's thread was gone, before all was done.
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

/// A running provider of spans, with its exporters.
#[derive(Debug)]
pub(crate) struct Pipeline {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    ledgers: Vec<Arc<Ledger>>,
    running: AtomicBool,
    sampling_ratio: f64,
    candidate_spans: usize,
    shutdown_timeout: Duration,
}

impl Pipeline {
    pub(crate) fn start(checked: &Checked) -> Result<Self, InitError> {
        let mut exporters = Exporters::default();
        // Printing comes first, so that a slow collector can't hold it up when both are shut down.
        if checked.config.enable_stdout {
            exporters.add(opentelemetry_stdout::SpanExporter::default());
        }
        if let Some(url) = &checked.traces_url {
            let exporter = opentelemetry_otlp::SpanExporter::builder()
                .with_http()
                .with_endpoint(url)
                .with_timeout(checked.config.export_timeout)
                // Said here, so that no environment variable asks for gRPC, which is not there.
                .with_protocol(Protocol::HttpBinary)
                .build()
                .map_err(|source| InitError::Exporter { source })?;
            exporters.add(exporter);
        }
        Ok(Self::new(checked, exporters))
    }

    pub(crate) fn new(checked: &Checked, exporters: Exporters) -> Self {
        let config = &checked.config;
        let mut builder = SdkTracerProvider::builder()
            .with_sampler(sampler::sampler(config.sampling_ratio))
            .with_resource(Resource::builder().with_service_name(config.service_name.clone()).build());
        for processor in exporters.processors {
            builder = builder.with_span_processor(processor);
        }
        let provider = builder.build();
        let scope = InstrumentationScope::builder(TARGET).with_version(env!("CARGO_PKG_VERSION")).build();
        Self {
            tracer: provider.tracer_with_scope(scope),
            provider,
            ledgers: exporters.ledgers,
            running: AtomicBool::new(true),
            sampling_ratio: config.sampling_ratio,
            candidate_spans: config.candidate_spans,
            shutdown_timeout: config.shutdown_timeout,
        }
    }

    pub(crate) fn provider(&self) -> &SdkTracerProvider {
        &self.provider
    }

    pub(crate) fn tracer(&self) -> &SdkTracer {
        &self.tracer
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    pub(crate) fn candidate_spans(&self) -> usize {
        self.candidate_spans
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

    /// Exports what is left, for as long as the configuration allows, and tells what became of everything.
    pub(crate) fn shutdown(&self) -> ShutdownReport {
        self.running.store(false, Ordering::Relaxed);
        let (provider, timeout) = (self.provider.clone(), self.shutdown_timeout);
        let (done, wait) = mpsc::channel();
        // On a thread of its own: the SDK grants each exporter the whole time, one after the other, and joins its
        // threads, which must not happen to a caller that has promised an answer by the deadline.
        let helper = std::thread::Builder::new().name("tiny-dancer-shutdown".to_owned());
        let helper = helper.spawn(move || done.send(provider.shutdown_with_timeout(timeout).is_ok()));
        let done_in_time = helper.is_ok() && wait.recv_timeout(timeout).unwrap_or(false);

        let mut report = ShutdownReport { timed_out: !done_in_time, ..Default::default() };
        for ledger in &self.ledgers {
            let (flushed, failed) = (ledger.flushed(), ledger.failed());
            report.flushed += flushed;
            report.failed += failed;
            report.dropped += ledger.ended().saturating_sub(flushed + failed);
        }
        report
    }
}

/// Exporters, each behind a queue and a thread of its own, so that a dead one holds up no other.
#[derive(Debug, Default)]
pub(crate) struct Exporters {
    processors: Vec<Counted<BatchSpanProcessor>>,
    ledgers: Vec<Arc<Ledger>>,
}

impl Exporters {
    pub(crate) fn add(&mut self, exporter: impl SpanExporter + 'static) {
        let ledger = Arc::new(Ledger::default());
        let exporter = Counted { inner: exporter, ledger: Arc::clone(&ledger) };
        let processor = BatchSpanProcessor::builder(exporter).build();
        self.processors.push(Counted { inner: processor, ledger: Arc::clone(&ledger) });
        self.ledgers.push(ledger);
    }
}

/// What one exporter was given, and what came of it.
#[derive(Debug, Default)]
struct Ledger {
    ended: AtomicU64,
    flushed: AtomicU64,
    failed: AtomicU64,
    /// Spans that failed since the last that did not.
    failing: AtomicU64,
}

impl Ledger {
    fn ended(&self) -> u64 {
        self.ended.load(Ordering::SeqCst)
    }

    fn flushed(&self) -> u64 {
        self.flushed.load(Ordering::SeqCst)
    }

    fn failed(&self) -> u64 {
        self.failed.load(Ordering::SeqCst)
    }

    /// Books a batch. The log hears of the first failure and of the end of the trouble, not of each batch between.
    fn book(&self, spans: u64, result: &OTelSdkResult) {
        match result {
            Ok(()) => {
                self.flushed.fetch_add(spans, Ordering::SeqCst);
                let lost = self.failing.swap(0, Ordering::SeqCst);
                if lost > 0 {
                    tracing::info!(
                        target: TARGET,
                        { { fields::SPANS_LOST } = lost as i64 },
                        "spans are exported again"
                    );
                }
            }
            Err(error) => {
                self.failed.fetch_add(spans, Ordering::SeqCst);
                if self.failing.fetch_add(spans, Ordering::SeqCst) == 0 {
                    tracing::warn!(target: TARGET, { { fields::ERROR } = %error }, "spans can't be exported");
                }
            }
        }
    }
}

/// A processor or an exporter, with a ledger of what passes.
#[derive(Debug)]
struct Counted<T> {
    inner: T,
    ledger: Arc<Ledger>,
}

impl SpanProcessor for Counted<BatchSpanProcessor> {
    fn on_start(&self, span: &mut Span, parent: &Context) {
        self.inner.on_start(span, parent);
    }

    fn on_end(&self, span: SpanData) {
        self.ledger.ended.fetch_add(1, Ordering::SeqCst);
        self.inner.on_end(span);
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

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let result = self.inner.export(batch).await;
        self.ledger.book(spans, &result);
        result
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
