use super::*;

fn value(resource: &Resource, key: &'static str) -> Option<String> {
    resource.get(&key.into()).map(|value| value.to_string())
}

#[test]
fn a_resource_names_its_service_its_instance_and_its_host() {
    let resource = resource(&TracingConfig::default());
    assert_eq!(resource.schema_url(), Some(SCHEMA));
    assert_eq!(value(&resource, "service.name").as_deref(), Some("tiny-dancer"));
    assert_eq!(value(&resource, PROCESS_ID), Some(std::process::id().to_string()));
    assert!(value(&resource, HOST_NAME).is_some_and(|host| !host.is_empty()));
    assert_eq!(value(&resource, SERVICE_VERSION), None);
    assert_eq!(value(&resource, SERVICE_INSTANCE).as_deref(), Some(INSTANCE.as_str()));
    assert_eq!(value(&resource, "telemetry.sdk.language").as_deref(), Some("rust"));
}

#[test]
fn a_resource_has_the_values_of_the_configuration() {
    let resource = resource(&TracingConfig {
        service_version: Some("1.2.3".to_owned()),
        service_instance_id: Some("pod-7".to_owned()),
        ..Default::default()
    });
    assert_eq!(value(&resource, SERVICE_VERSION).as_deref(), Some("1.2.3"));
    assert_eq!(value(&resource, SERVICE_INSTANCE).as_deref(), Some("pod-7"));
}

#[test]
fn an_instance_is_a_uuid_of_version_4() {
    assert_eq!(uuid([0; 16]), "00000000-0000-4000-8000-000000000000");
    assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
}
