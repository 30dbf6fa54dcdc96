//! Spans and log lines kept in memory, for this crate's own tests.

use crate::config::TracingConfig;
use crate::export::{Exporters, Pipeline};
use crate::observer::TracingObserver;
use crate::reports::BatchReports;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// How long spans wait for a batch to fill: the SDK's default.
pub(crate) const WAIT: Duration = Duration::from_secs(5);

/// Keeps exported spans.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(Arc<Mutex<Vec<SpanData>>>);

impl Memory {
    pub(crate) fn take(&self) -> Vec<SpanData> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl SpanExporter for Memory {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

/// A pipeline that exports to memory.
pub(crate) struct Recorder {
    pub(crate) pipeline: Arc<Pipeline>,
    memory: Memory,
}

impl Recorder {
    pub(crate) fn new(config: TracingConfig) -> Self {
        let (memory, mut exporters) = (Memory::default(), Exporters::new(100_000, 512, WAIT));
        exporters.add(memory.clone(), BatchReports::default());
        Self { pipeline: Arc::new(Pipeline::new(&config.check().unwrap(), exporters)), memory }
    }

    pub(crate) fn observer(&self) -> TracingObserver {
        TracingObserver::of(Arc::clone(&self.pipeline))
    }

    /// All ended spans in the order of their ends, a request after its stages.
    pub(crate) fn finish(self) -> Vec<SpanData> {
        assert_eq!(self.pipeline.shutdown().lost(), 0);
        self.memory.take()
    }
}

/// The event of a log line.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) level: Level,
    pub(crate) message: String,
    pub(crate) fields: BTreeMap<&'static str, String>,
}

/// Calls `run`, and returns its result and the lines that it logs on this thread.
pub(crate) fn lines<T>(run: impl FnOnce() -> T) -> (T, Vec<Line>) {
    let kept = Kept::default();
    let subscriber = tracing_subscriber::registry().with(kept.clone());
    let result = tracing::subscriber::with_default(subscriber, run);
    let lines = kept.0.lock().unwrap().clone();
    (result, lines)
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Line>>>);

impl<S: Subscriber> Layer<S> for Kept {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == crate::fields::TARGET {
            let mut line =
                Line { level: *event.metadata().level(), message: String::new(), fields: BTreeMap::new() };
            event.record(&mut line);
            self.0.lock().unwrap().push(line);
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.fields.insert(field.name(), format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }
}
