//! The resource that describes a process in its spans: service, instance, host and process.

use crate::config::TracingConfig;
use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{
    EnvResourceDetector, SdkProvidedResourceDetector, TelemetryResourceDetector,
};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use std::sync::LazyLock;

/// The version of OpenTelemetry's semantic conventions that defines these names.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.37.0";

const HOST_NAME: &str = "host.name";
const PROCESS_ID: &str = "process.pid";
const SERVICE_INSTANCE: &str = "service.instance.id";
const SERVICE_VERSION: &str = "service.version";

/// All systems of a process share it, since a process is one instance of its service.
static INSTANCE: LazyLock<String> =
    LazyLock::new(|| uuid(RandomIdGenerator::default().new_trace_id().to_bytes()));

/// `OTEL_RESOURCE_ATTRIBUTES` overrides detected values, and the configuration overrides both.
pub(crate) fn resource(config: &TracingConfig) -> Resource {
    let host = gethostname::gethostname().to_string_lossy().into_owned();
    let found = [
        KeyValue::new(HOST_NAME, host),
        KeyValue::new(PROCESS_ID, i64::from(std::process::id())),
        KeyValue::new(SERVICE_INSTANCE, INSTANCE.as_str()),
    ];
    let configured =
        [(SERVICE_INSTANCE, &config.service_instance_id), (SERVICE_VERSION, &config.service_version)];
    let configured =
        configured.into_iter().filter_map(|(key, value)| Some(KeyValue::new(key, value.clone()?)));
    Resource::builder_empty()
        .with_schema_url(found, SCHEMA)
        .with_detectors(&[
            Box::new(SdkProvidedResourceDetector),
            Box::new(TelemetryResourceDetector),
            Box::new(EnvResourceDetector::new()),
        ])
        .with_service_name(config.service_name.clone())
        .with_attributes(configured)
        .build()
}

/// A UUID of version 4, from random bytes.
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = const_hex::encode(bytes);
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &digits[part]);
    parts.join("-")
}

#[cfg(test)]
mod tests;
