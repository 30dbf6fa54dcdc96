//! Instrumentation scopes: which code made a span.
//!
//! The router's spans have one of their own. A `tracing` span of the program has its target, which is the path of the module
//! that opened it unless it says otherwise. The bridge to OpenTelemetry makes all of them with one tracer and keeps the
//! target as an attribute; [`restore`] makes a scope of it, on the exporter's thread.

use crate::fields::TARGET;
use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::trace::SpanData;

/// The scope under which the bridge makes spans. It reaches no collector.
const BRIDGE: &str = "tracing-opentelemetry";

/// The attribute in which the bridge keeps a target, before those of the program.
const BRIDGED_TARGET: &str = "target";

pub(crate) fn bridge() -> InstrumentationScope {
    InstrumentationScope::builder(BRIDGE).build()
}

pub(crate) fn router() -> InstrumentationScope {
    InstrumentationScope::builder(TARGET).with_version(env!("CARGO_PKG_VERSION")).build()
}

/// Gives a span that the bridge made the scope of the code that opened it.
pub(crate) fn restore(span: &mut SpanData) {
    if span.instrumentation_scope.name() != BRIDGE {
        return;
    }
    if let Some(place) = span.attributes.iter().position(|attribute| attribute.key.as_str() == BRIDGED_TARGET)
    {
        let target = span.attributes.remove(place).value;
        span.instrumentation_scope = match &*target.as_str() {
            TARGET => router(),
            target => InstrumentationScope::builder(target.to_owned()).build(),
        };
    }
}
