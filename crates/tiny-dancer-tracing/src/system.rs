//! The tracing system: installs subscriber and exporters, or provides them as parts, and flushes at the end.

use crate::config::{InitError, TracingConfig};
use crate::context::Propagator;
use crate::export::{Pipeline, ShutdownReport};
use crate::fields::{self, TARGET};
use crate::ledger::ExportCounts;
use crate::log;
use crate::observer::TracingObserver;
use crate::push::{self, Sources};
use opentelemetry_proto::tonic::metrics::v1::Metric;
use std::error::Error;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

/// Traces and logs, from a configuration to the last flush.
///
/// Most programs call [`init`](Self::init) once, keep the system alive while they run, and call
/// [`shutdown`](Self::shutdown) before they end. This works from a plain `main` and inside tokio.
///
/// A program with its own subscriber adds [`layer`](Self::layer) to it and passes
/// [`observer`](Self::observer) to its routers. This changes nothing global, and a process may have any
/// number of such systems:
///
/// ```
/// use tiny_dancer_core::{Router, RouterConfig, RoutingRequest};
/// use tiny_dancer_tracing::{TracingConfig, TracingSystem};
/// use tracing_subscriber::layer::SubscriberExt;
///
/// let system = TracingSystem::new(TracingConfig::default());
/// let subscriber = tracing_subscriber::registry().with(system.layer()?);
/// let router = Router::with_observer(RouterConfig::default(), system.observer()?)?;
/// tracing::subscriber::with_default(subscriber, || router.route(RoutingRequest::new(&[1.0], &[])))?;
/// println!("{}", system.shutdown());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Dropping a system shuts it down too, and logs a warning if spans were lost.
#[derive(Debug)]
#[must_use = "spans are exported as long as the system lives"]
pub struct TracingSystem {
    config: TracingConfig,
    /// The functions that return metrics to push.
    sources: Sources,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    New,
    Running(Arc<Pipeline>),
    Down(ShutdownReport),
}

impl TracingSystem {
    /// A system that is not started yet.
    pub fn new(config: TracingConfig) -> Self {
        Self { config, sources: Sources::default(), state: Mutex::new(State::New) }
    }

    /// Checks the configuration, starts the exporters, and installs the global subscriber, tracer provider
    /// and W3C propagator. Routers with [`TracingObserver::global`] use it from then on, including those
    /// created before.
    ///
    /// # Errors
    ///
    /// An [`InitError`] says what is wrong with the configuration or the environment, or what is already
    /// installed. In this case `init` installs nothing, and nothing runs.
    pub fn init(&self) -> Result<(), InitError> {
        self.init_with_writer(std::io::stderr)
    }

    /// The same as [`init`](Self::init), with log lines to another writer than standard error. Each line is one call of
    /// `write`. A program that draws on its terminal passes a writer that leaves the picture intact.
    ///
    /// # Errors
    ///
    /// As [`init`](Self::init).
    pub fn init_with_writer<W: Write + 'static>(
        &self,
        writer: impl Fn() -> W + Send + Sync + 'static,
    ) -> Result<(), InitError> {
        static INIT: Mutex<()> = Mutex::new(());
        let _init = INIT.lock().unwrap_or_else(PoisonError::into_inner);
        if Pipeline::installed().is_some() {
            return Err(InitError::SystemInstalled);
        }
        let filter = self.config.log_filter()?;
        let mut state = self.state();
        let was_new = matches!(*state, State::New);
        let pipeline = self.running(&mut state)?;

        let ansi = std::io::stderr().is_terminal();
        let lines = log::layer(self.config.log_format, ansi, writer);
        let lines = lines.map(|lines| lines.with_filter(filter).boxed());
        let records = pipeline.log_records().map(|records| push::layer(records.clone()));
        let records = records.map(|records| Ok(records.with_filter(self.config.log_filter()?).boxed()));
        let records = records.transpose()?;
        let layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> =
            lines.into_iter().chain(records).chain([span_layer(&pipeline).boxed()]).collect();
        if tracing::subscriber::set_global_default(Registry::default().with(layers)).is_err() {
            if was_new {
                pipeline.shutdown();
                *state = State::New;
            }
            return Err(InitError::SubscriberInstalled);
        }
        if pipeline.propagates() {
            opentelemetry::global::set_text_map_propagator(Propagator);
        }
        opentelemetry::global::set_tracer_provider(pipeline.provider().clone());
        pipeline.log_start();
        Pipeline::install(pipeline);
        Ok(())
    }

    /// The layer that records `tracing` spans, for a program's own subscriber. It contains its own filter: it
    /// records spans and events at `INFO` or more severe levels, independently of the filter of log lines.
    ///
    /// # Errors
    ///
    /// An [`InitError`] says what is wrong with the configuration or the environment, or that the system has
    /// been shut down.
    pub fn layer<S>(&self) -> Result<impl Layer<S> + use<S>, InitError>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        Ok(span_layer(&*self.running(&mut self.state())?))
    }

    /// The layer that exports log lines as log records with [`otlp_logs`](TracingConfig::otlp_logs), for a program's own
    /// subscriber; `None` without. It contains its own filter, `log_filter` or `RUST_LOG`. It takes the ids of the current
    /// span, so the subscriber needs [`layer`](Self::layer), too.
    ///
    /// ```
    /// use tiny_dancer_tracing::{TracingConfig, TracingSystem};
    /// use tracing_subscriber::layer::SubscriberExt;
    ///
    /// let system = TracingSystem::new(TracingConfig { otlp_logs: true, ..Default::default() });
    /// let subscriber = tracing_subscriber::registry().with(system.layer()?).with(system.log_layer()?);
    /// # drop(subscriber);
    /// # Ok::<(), tiny_dancer_tracing::InitError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`layer`](Self::layer).
    pub fn log_layer<S>(&self) -> Result<Option<impl Layer<S> + use<S>>, InitError>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let pipeline = self.running(&mut self.state())?;
        let layer = pipeline.log_records().map(|records| push::layer(records.clone()));
        layer.map(|layer| Ok(layer.with_filter(self.config.log_filter()?))).transpose()
    }

    /// Adds a function that returns metrics, which each push of [`otlp_metrics`](TracingConfig::otlp_metrics) calls. Without
    /// a push it is never called. It may be added before or after the start.
    ///
    /// The crate `tiny-dancer-metrics` has such a function for a registry, `otlp::source`, with its feature `otlp`.
    ///
    /// ```
    /// use opentelemetry_proto::tonic::metrics::v1::Metric;
    /// use tiny_dancer_tracing::{TracingConfig, TracingSystem};
    ///
    /// let system = TracingSystem::new(TracingConfig { otlp_metrics: true, ..Default::default() });
    /// system.push_metrics(|| Ok::<_, std::io::Error>(vec![Metric::default()]));
    /// ```
    pub fn push_metrics<E>(&self, source: impl Fn() -> Result<Vec<Metric>, E> + Send + Sync + 'static)
    where
        E: Error + Send + Sync + 'static,
    {
        self.sources.add(move || source().map_err(Into::into));
    }

    /// An observer that records through this system, independently of the installed one.
    ///
    /// # Errors
    ///
    /// As [`layer`](Self::layer).
    pub fn observer(&self) -> Result<TracingObserver, InitError> {
        Ok(TracingObserver::of(self.running(&mut self.state())?))
    }

    /// The counts of all spans so far. `None` before the system is started.
    pub fn counts(&self) -> Option<ExportCounts> {
        match &*self.state() {
            State::New => None,
            State::Running(pipeline) => Some(pipeline.counts()),
            State::Down(ShutdownReport { flushed, dropped, failed, .. }) => Some(ExportCounts {
                made: flushed + dropped + failed,
                waiting: 0,
                flushed: *flushed,
                dropped: *dropped,
                failed: *failed,
            }),
        }
    }

    /// Exports the remaining spans and log records and the last metrics, waits for at most `shutdown_timeout`, and returns
    /// all counts.
    ///
    /// It blocks the calling thread, which is acceptable at the end of an async `main`. A second call returns
    /// the same report.
    pub fn shutdown(&self) -> ShutdownReport {
        let mut state = self.state();
        let report = match &*state {
            State::New => ShutdownReport::default(),
            State::Running(pipeline) => pipeline.shutdown(),
            State::Down(report) => *report,
        };
        *state = State::Down(report);
        report
    }

    #[cfg(test)]
    pub(crate) fn pipeline(&self) -> Arc<Pipeline> {
        self.running(&mut self.state()).unwrap()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pipeline. This starts a new system.
    fn running(&self, state: &mut State) -> Result<Arc<Pipeline>, InitError> {
        match state {
            State::New => {
                let pipeline = Arc::new(Pipeline::start(&self.config.clone().check()?, &self.sources)?);
                *state = State::Running(Arc::clone(&pipeline));
                Ok(pipeline)
            }
            State::Running(pipeline) => Ok(Arc::clone(pipeline)),
            State::Down(_) => Err(InitError::ShutDown),
        }
    }
}

impl Drop for TracingSystem {
    fn drop(&mut self) {
        let is_running = matches!(*self.state(), State::Running(_));
        let report = self.shutdown();
        let spans = report.dropped + report.failed;
        if is_running && spans > 0 {
            tracing::warn!(target: TARGET, { { fields::SPANS_LOST } = spans as i64 }, "spans were lost");
        }
        let records = report.lost() - spans;
        if is_running && records > 0 {
            tracing::warn!(
                target: TARGET,
                { { fields::LOG_RECORDS_LOST } = records as i64 },
                "log records were lost"
            );
        }
    }
}

/// Records `tracing` spans, without locations, threads and idle times, which only add cost.
pub(crate) fn span_layer<S>(pipeline: &Pipeline) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_opentelemetry::layer()
        .with_tracer(pipeline.bridge().clone())
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        // The exporter turns it into a scope.
        .with_target(true)
        .with_filter(filter_fn(recorded).with_max_level_hint(LevelFilter::INFO))
}

/// Whether a span or an event is recorded. Levels below `INFO` are left out, since libraries use them for
/// details. The SDK's own spans and events are left out, since they would describe the export of spans. Our
/// log lines are left out, since an `ERROR` among them would mark the user's span as failed.
fn recorded(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    *metadata.level() <= Level::INFO
        && !target.starts_with("opentelemetry")
        && (metadata.is_span() || target != TARGET)
}
