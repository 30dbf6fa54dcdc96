use super::*;

fn error(change: impl FnOnce(&mut TracingConfig)) -> InitError {
    let mut config = TracingConfig::default();
    change(&mut config);
    config.check().unwrap_err()
}

fn otlp(endpoint: &str) -> Result<Option<String>, InitError> {
    let config = TracingConfig { otlp_endpoint: Some(endpoint.to_owned()), ..Default::default() };
    config.check().map(|checked| checked.traces_url.map(String::from))
}

#[test]
fn the_default_configuration_is_valid() {
    assert_eq!(TracingConfig::default().check().unwrap().traces_url, None);
}

#[test]
fn an_endpoint_without_a_path_gets_the_path_of_otlp() {
    for (given, expected) in [
        ("http://localhost:4318", "http://localhost:4318/v1/traces"),
        ("http://localhost:4318/", "http://localhost:4318/v1/traces"),
        ("http://collector", "http://collector/v1/traces"),
        ("http://[::1]:4318", "http://[::1]:4318/v1/traces"),
        ("http://localhost:4318/v1/traces", "http://localhost:4318/v1/traces"),
        ("http://localhost:4318/tenant/otlp", "http://localhost:4318/tenant/otlp"),
    ] {
        assert_eq!(otlp(given).unwrap().as_deref(), Some(expected));
    }
}

#[test]
fn the_error_of_an_invalid_endpoint_names_its_fault() {
    for (given, expected) in [
        ("", EndpointFault::Scheme),
        ("localhost:4318", EndpointFault::Scheme),
        ("grpc://localhost:4318", EndpointFault::Scheme),
        ("http://", EndpointFault::Host),
        ("http://:4318", EndpointFault::Host),
        ("http://localhost:http", EndpointFault::Port),
        ("http://localhost:0", EndpointFault::Port),
        ("http://localhost:65536", EndpointFault::Port),
        ("http://localhost:", EndpointFault::Port),
        ("http://local host:4318", EndpointFault::Whitespace),
        ("http://localhost:4318?***", EndpointFault::Query),
        ("http://[::1", EndpointFault::Host),
    ] {
        match otlp(given).unwrap_err() {
            InitError::OtlpEndpoint { endpoint, fault, .. } => {
                assert_eq!((&*endpoint, fault), (given, expected));
            }
            other => panic!("{given}: {other}"),
        }
    }
}

#[test]
fn credentials_in_an_endpoint_are_refused_and_never_shown() {
    for endpoint in [
        "http://me:secret@collector:4318",
        "http://secret@collector",
        "https://me:secret@collector:4317/v1/traces",
        "me:secret@collector:4318",
        "http://me:sec/secret@collector:4318",
        "http://me:sec ret@collector?secret=1",
    ] {
        let config = TracingConfig { otlp_endpoint: Some(endpoint.to_owned()), ..Default::default() };
        let shown = format!("{config:?}");
        let error = otlp(endpoint).unwrap_err();
        assert!(matches!(error, InitError::OtlpCredentials { origin: "otlp_endpoint" }), "{error}");
        assert!(error.to_string().contains("otlp_headers"), "{error}");
        let shown = format!("{shown} {error} {error:?}");
        assert!(!shown.contains("sec"), "{shown}");
    }
    for endpoint in ["me:secret@agent:6831", "secret@agent:6831"] {
        let error = error(|config| config.jaeger_agent_endpoint = Some(endpoint.to_owned()));
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    }
}

#[test]
fn a_timeout_longer_than_a_day_is_refused() {
    let day = Duration::from_secs(86_400);
    for timeout in [day + Duration::from_nanos(1), Duration::MAX] {
        for change in [
            |config: &mut TracingConfig, timeout| config.export_timeout = timeout,
            |config: &mut TracingConfig, timeout| config.shutdown_timeout = timeout,
        ] {
            let error = error(|config| change(config, timeout));
            assert!(matches!(error, InitError::DurationTooLong { limit, .. } if limit == day), "{error}");
        }
    }
}

#[cfg(not(feature = "tls"))]
#[test]
fn the_error_of_https_names_the_feature_that_it_needs() {
    assert!(otlp("https://collector").unwrap_err().to_string().contains("`tls`"));
}

#[cfg(feature = "tls")]
#[test]
fn https_is_accepted_with_the_feature_tls() {
    assert_eq!(otlp("https://collector").unwrap().as_deref(), Some("https://collector/v1/traces"));
}

#[test]
fn the_error_of_the_port_of_grpc_names_the_port_of_http() {
    for endpoint in ["http://localhost:4317", "http://[::1]:4317/v1/traces"] {
        let message = otlp(endpoint).unwrap_err().to_string();
        assert!(message.contains("gRPC") && message.contains("4318"), "{message}");
    }
}

#[test]
fn the_address_of_an_agent_is_a_host_and_a_port() {
    for endpoint in ["localhost:6831", "127.0.0.1:6831", "[::1]:6831", "jaeger-agent.tracing:5775"] {
        let config = TracingConfig { jaeger_agent_endpoint: Some(endpoint.to_owned()), ..Default::default() };
        assert!(config.check().is_ok(), "{endpoint}");
    }
    for (given, expected) in [
        ("", EndpointFault::Host),
        (":6831", EndpointFault::Host),
        ("::1:6831", EndpointFault::Host),
        ("localhost", EndpointFault::Port),
        ("localhost:", EndpointFault::Port),
        ("localhost:0", EndpointFault::Port),
        ("localhost:udp", EndpointFault::Port),
        ("[::1]", EndpointFault::Port),
        ("local host:6831", EndpointFault::Whitespace),
    ] {
        let error = error(|config| config.jaeger_agent_endpoint = Some(given.to_owned()));
        match error {
            InitError::JaegerAgent { endpoint, fault } => assert_eq!((&*endpoint, fault), (given, expected)),
            other => panic!("{given}: {other}"),
        }
    }
}

#[test]
fn the_error_of_an_otlp_address_in_the_agent_s_field_names_the_right_field() {
    for endpoint in ["http://localhost:14268", "localhost:4317", "localhost:4318"] {
        let error = error(|config| config.jaeger_agent_endpoint = Some(endpoint.to_owned()));
        assert!(matches!(error, InitError::JaegerAgentIsOtlp { .. }), "{error}");
        assert!(error.to_string().contains("otlp_endpoint"), "{error}");
    }
}

#[test]
fn an_invalid_header_is_refused_and_its_value_is_never_shown() {
    for (name, value) in [("a b", "x"), ("good", "secret\n")] {
        let error = error(|config| {
            config.otlp_headers.insert(name.to_owned(), value.to_owned());
        });
        assert!(matches!(&error, InitError::Header { name: named, .. } if named == name), "{error}");
        assert!(!format!("{error} {error:?}").contains("secret"));
    }
    let mut config = TracingConfig::default();
    config.otlp_headers.insert("authorization".to_owned(), "secret".to_owned());
    let shown = format!("{config:?}");
    assert!(shown.contains("authorization") && !shown.contains("secret"), "{shown}");
}

#[cfg(not(feature = "gzip"))]
#[test]
fn the_error_of_compression_names_the_feature_that_it_needs() {
    assert!(error(|config| config.otlp_gzip = true).to_string().contains("`gzip`"));
}

#[test]
fn a_ratio_outside_its_bounds_is_refused() {
    for ratio in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        let error = error(|config| config.sampling_ratio = ratio);
        assert!(matches!(error, InitError::SamplingRatio { .. }), "{error}");
    }
}

#[test]
fn an_empty_service_name_and_a_duration_of_zero_are_refused() {
    assert!(matches!(error(|config| config.service_name.clear()), InitError::ServiceNameEmpty));
    let error = error(|config| config.shutdown_timeout = Duration::ZERO);
    assert_eq!(error.to_string(), "shutdown_timeout is zero");
}
