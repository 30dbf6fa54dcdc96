//! Log lines: text for people, JSON for machines, both with the ids of the trace.

use crate::config::LogFormat;
use opentelemetry::Context;
use opentelemetry::trace::{SpanId, TraceContextExt, TraceFlags, TraceId};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::format::{Format, FormatEvent, FormatFields, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

/// Writes each event as a line. `None` with [`LogFormat::Off`].
pub(crate) fn layer<S, W>(format: LogFormat, ansi: bool, writer: W) -> Option<Box<dyn Layer<S> + Send + Sync>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    match format {
        LogFormat::Json => {
            let lines = Format::default().json().flatten_event(true).with_current_span(false);
            Some(layer.fmt_fields(JsonFields::new()).event_format(TraceIds::json(lines)).boxed())
        }
        LogFormat::Off => None,
        LogFormat::Text => {
            let lines = TraceIds::text(Format::default().with_ansi(ansi));
            Some(layer.with_ansi(ansi).event_format(lines).boxed())
        }
    }
}

/// The ids and the flags of the current span, if there is one. The layer of spans keeps OpenTelemetry's current context in
/// step with the current `tracing` span, so a user's own lines get the ids as well.
pub(crate) fn current_span() -> Option<(TraceId, SpanId, TraceFlags)> {
    Context::map_current(|current| {
        let span = current.span();
        let context = span.span_context();
        context.is_valid().then(|| (context.trace_id(), context.span_id(), context.trace_flags()))
    })
}

/// A log format that adds `trace_id` and `span_id` to lines within a trace.
///
/// The lines of [`TracingSystem::init`](crate::TracingSystem::init) already contain the ids. This format is
/// for a program whose own subscriber contains [`TracingSystem::layer`](crate::TracingSystem::layer). The
/// layer keeps OpenTelemetry's current context in step with `tracing` spans.
///
/// As text, the ids are at the end of a line:
///
/// ```
/// use tiny_dancer_tracing::{TraceIds, TracingConfig, TracingSystem};
/// use tracing_subscriber::fmt::{self, format};
/// use tracing_subscriber::layer::SubscriberExt;
///
/// let system = TracingSystem::new(TracingConfig::default());
/// // A wrapped format does not get the layer's colour setting, so it is set here.
/// let lines = fmt::layer().event_format(TraceIds::text(format().with_ansi(true)));
/// let subscriber = tracing_subscriber::registry().with(lines).with(system.layer()?);
/// tracing::subscriber::with_default(subscriber, || {
///     tracing::info_span!("handle").in_scope(|| tracing::info!("hello"));
///     // ... INFO handle: my_service: hello trace_id=0af7651916cd43dd8448eb211c80319c span_id=7b32a1d4c9e05f61
/// });
/// # Ok::<(), tiny_dancer_tracing::InitError>(())
/// ```
///
/// As JSON, the ids are members of a line's object:
///
/// ```
/// use tiny_dancer_tracing::TraceIds;
/// use tracing_subscriber::fmt;
/// # fn layer<S>() -> impl tracing_subscriber::Layer<S>
/// # where
/// #     S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
/// # {
///
/// let lines = fmt::layer().json().map_event_format(TraceIds::json);
/// # lines
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TraceIds<F> {
    inner: F,
    json: bool,
}

impl<F> TraceIds<F> {
    /// Wraps a format that writes text.
    pub fn text(format: F) -> Self {
        Self { inner: format, json: false }
    }

    /// Wraps a format that writes one JSON object per line.
    pub fn json(format: F) -> Self {
        Self { inner: format, json: true }
    }
}

impl<S, N, F> FormatEvent<S, N> for TraceIds<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let Some((trace_id, span_id, _)) = current_span() else {
            return self.inner.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end_matches('\n');
        if self.json {
            let members = line.strip_suffix('}').unwrap_or(line);
            writeln!(writer, "{members},\"trace_id\":\"{trace_id}\",\"span_id\":\"{span_id}\"}}")
        } else {
            writeln!(writer, "{line} trace_id={trace_id} span_id={span_id}")
        }
    }
}

#[cfg(test)]
mod tests;
