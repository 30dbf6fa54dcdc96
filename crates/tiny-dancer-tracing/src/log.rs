//! Log lines: text for people, JSON for machines, and in both the place in the trace.

use crate::config::LogFormat;
use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::format::{Format, FormatEvent, FormatFields, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

/// Writes each event as a line. `None` where there is nothing to write.
pub(crate) fn layer<S, W>(format: LogFormat, ansi: bool, writer: W) -> Option<Box<dyn Layer<S> + Send + Sync>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    match format {
        LogFormat::Json => {
            let lines = Format::default().json().flatten_event(true).with_current_span(false);
            let lines = WithTrace { inner: lines, json: true };
            Some(layer.fmt_fields(JsonFields::new()).event_format(lines).boxed())
        }
        LogFormat::Off => None,
        LogFormat::Text => {
            let lines = WithTrace { inner: Format::default().with_ansi(ansi), json: false };
            Some(layer.with_ansi(ansi).event_format(lines).boxed())
        }
    }
}

/// A format of lines, with `trace_id` and `span_id` at their end where there is a trace.
struct WithTrace<F> {
    inner: F,
    json: bool,
}

impl<S, N, F> FormatEvent<S, N> for WithTrace<F>
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
        // The layer keeps OpenTelemetry's current context in step with the current `tracing` span, so this holds for
        // a user's own lines as well.
        let trace = Context::map_current(|current| {
            let span = current.span();
            let context = span.span_context();
            context.is_valid().then(|| (context.trace_id(), context.span_id()))
        });
        let Some((trace_id, span_id)) = trace else {
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
