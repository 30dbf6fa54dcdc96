//! Instrumentation scopes: which code made a span.
//!
//! The router's spans have a scope of their own. The scope of a program's `tracing` span is the span's
//! target, by default the path of the module that opened it. The bridge to OpenTelemetry opens all `tracing`
//! spans with one tracer and keeps the target as an attribute. [`restore`] turns this attribute into the
//! scope on the exporter's thread.

use crate::fields::TARGET;
use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::trace::SpanData;

/// The scope of the spans that the bridge opens. [`restore`] replaces it before the export.
const BRIDGE: &str = "tracing-opentelemetry";

/// The attribute in which the bridge keeps the target. It precedes the program's own attributes.
const BRIDGED_TARGET: &str = "target";

pub(crate) fn bridge() -> InstrumentationScope {
    InstrumentationScope::builder(BRIDGE).build()
}

pub(crate) fn router() -> InstrumentationScope {
    InstrumentationScope::builder(TARGET).with_version(env!("CARGO_PKG_VERSION")).build()
}

/// Gives a span from the bridge the scope of the code that opened the span.
pub(crate) fn restore(span: &mut SpanData) {
    if span.instrumentation_scope.name() != BRIDGE {
        return;
    }
    if let Some(index) = span.attributes.iter().position(|attribute| attribute.key.as_str() == BRIDGED_TARGET)
    {
        let target = span.attributes.remove(index).value;
        span.instrumentation_scope = match &*target.as_str() {
            TARGET => router(),
            target => InstrumentationScope::builder(target.to_owned()).build(),
        };
    }
}
