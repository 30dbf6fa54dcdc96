use super::*;
use crate::checked::Checked;

/// Checks the default configuration after `change`, in an environment of these variables alone.
fn check(variables: &[(&str, &str)], change: impl FnOnce(&mut TracingConfig)) -> Result<Checked, InitError> {
    let mut config = TracingConfig::default();
    change(&mut config);
    config.check_in(|name| {
        assert!(VARIABLES.iter().any(|variable| variable.name == name), "{name} is not listed");
        variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
    })
}

fn merged(variables: &[(&str, &str)]) -> Checked {
    check(variables, |_| ()).unwrap()
}

#[test]
fn absent_and_empty_variables_change_nothing() {
    for variables in [&[][..], &[(ENDPOINT, ""), (SERVICE_NAME, " "), (SAMPLER, "")]] {
        let checked = merged(variables);
        assert_eq!(checked.config, TracingConfig::default());
        assert_eq!((checked.traces_url, checked.disabled, checked.propagate), (None, false, true));
        assert_eq!((checked.queue_size, checked.batch_size, checked.attribute_limit), (2048, 512, 128));
        assert_eq!(checked.schedule_delay, Duration::from_secs(5));
    }
}

#[test]
fn an_endpoint_gets_the_path_of_traces_and_one_for_traces_is_used_unchanged() {
    let url = |variables| String::from(merged(variables).traces_url.unwrap());
    assert_eq!(url(&[(ENDPOINT, "http://collector:4318")]), "http://collector:4318/v1/traces");
    assert_eq!(url(&[(ENDPOINT, "http://collector/otlp/")]), "http://collector/otlp/v1/traces");
    let both = [(ENDPOINT, "http://collector:4318"), (TRACES.endpoint, "http://traces:4318/here")];
    assert_eq!(url(&both), "http://traces:4318/here");
    assert_eq!(url(&[(EXPORTER, "otlp")]), "http://localhost:4318/v1/traces");
}

#[test]
fn exporters_can_be_chosen_and_none_disables_them() {
    let chosen = |names| {
        let checked = merged(&[(EXPORTER, names), (ENDPOINT, "http://collector:4318")]);
        (checked.config.enable_stdout, checked.traces_url.is_some())
    };
    assert_eq!(chosen("console"), (true, false));
    assert_eq!(chosen("otlp, console"), (true, true));
    assert_eq!(chosen("none"), (false, false));
}

#[test]
fn the_other_variables_are_read_too() {
    assert_eq!(merged(&[(SERVICE_NAME, "mine")]).config.service_name, "mine");
    let attributes = (RESOURCE_ATTRIBUTES, "a=b, service.name=other");
    assert_eq!(merged(&[attributes]).config.service_name, "other");
    assert_eq!(merged(&[attributes, (SERVICE_NAME, "mine")]).config.service_name, "mine");
    for (sampler, ratio) in
        [("always_on", 1.0), ("parentbased_always_off", 0.0), ("parentbased_traceidratio", 0.25)]
    {
        assert_eq!(merged(&[(SAMPLER, sampler), (SAMPLER_ARG, "0.25")]).sampling_ratio(), ratio);
    }
    assert_eq!(merged(&[(TRACES.timeout[1], "250")]).config.export_timeout, Duration::from_millis(250));
    let timeouts = [(TRACES.timeout[0], "300"), (TRACES.timeout[1], "250")];
    assert_eq!(merged(&timeouts).config.export_timeout, Duration::from_millis(300));
    assert_eq!(merged(&[(QUEUE_SIZE, "7")]).queue_size, 7);
    assert_eq!(merged(&[(BATCH_SIZE, "7")]).batch_size, 7);
    assert_eq!(merged(&[(SCHEDULE_DELAY, "7")]).schedule_delay, Duration::from_millis(7));
    assert_eq!(["7", "50"].map(|limit| merged(&[(ATTRIBUTE_LIMIT, limit)]).attribute_limit), [32, 50]);
    assert!(!merged(&[(PROPAGATORS, "none")]).propagate);
    assert!(merged(&[(PROPAGATORS, "tracecontext,baggage")]).propagate);
    assert!(
        merged(&[(TRACES.protocol[1], "http/protobuf"), (TRACES.compression[1], "none")])
            .traces_url
            .is_none()
    );
}

#[test]
fn a_disabled_sdk_makes_no_spans_and_has_no_exporter() {
    let checked = merged(&[(SDK_DISABLED, "TRUE"), (ENDPOINT, "http://collector:4318")]);
    assert!(checked.disabled && checked.traces_url.is_none());
    assert_eq!(checked.sampling_ratio(), 0.0);
}

#[test]
fn the_configuration_takes_precedence() {
    let variables = [
        (SERVICE_NAME, "other"),
        (SAMPLER, "always_off"),
        (TRACES.timeout[0], "1"),
        (ENDPOINT, "http://other:4318"),
        (EXPORTER, "console"),
    ];
    let checked = check(&variables, |config| {
        config.service_name = "mine".to_owned();
        config.sampling_ratio = 0.5;
        config.export_timeout = Duration::from_secs(3);
        config.otlp_endpoint = Some("http://mine:4318".to_owned());
    })
    .unwrap();
    assert_eq!(checked.traces_url.unwrap().as_str(), "http://mine:4318/v1/traces");
    assert_eq!((&*checked.config.service_name, checked.config.sampling_ratio), ("mine", 0.5));
    assert_eq!(checked.config.export_timeout, Duration::from_secs(3));
    assert!(!checked.config.enable_stdout);
}

#[test]
fn the_error_of_an_invalid_value_names_its_variable() {
    for (variable, value) in [
        (SAMPLER, "jaeger_remote"),
        (TRACES.timeout[0], "soon"),
        (TRACES.timeout[1], "0"),
        (TRACES.protocol[0], "grpc"),
        (TRACES.compression[0], "zstd"),
        (QUEUE_SIZE, "0"),
        (BATCH_SIZE, "many"),
        (ATTRIBUTE_LIMIT, "-1"),
        (SCHEDULE_DELAY, "often"),
        (EXPORTER, "zipkin"),
    ] {
        let error = check(&[(variable, value)], |_| ()).unwrap_err();
        let named = matches!(error, InitError::Variable { variable: name, .. } if name == variable);
        assert!(named && error.to_string().contains(value), "{error}");
    }
    let error = check(&[(SAMPLER, "traceidratio"), (SAMPLER_ARG, "1.5")], |_| ()).unwrap_err();
    assert!(matches!(error, InitError::Variable { variable: SAMPLER_ARG, .. }), "{error}");
    let error = check(&[(TRACES.endpoint, "collector:4318")], |_| ()).unwrap_err();
    assert!(matches!(error, InitError::OtlpEndpoint { .. }), "{error}");
}

#[test]
fn a_number_has_an_upper_limit_and_the_error_beyond_it_names_the_variable() {
    for (variable, limit) in [
        (QUEUE_SIZE, 131_072_u64),
        (BATCH_SIZE, 131_072),
        (ATTRIBUTE_LIMIT, 65_536),
        (TRACES.timeout[0], 86_400_000),
        (TRACES.timeout[1], 86_400_000),
        (SCHEDULE_DELAY, 86_400_000),
    ] {
        assert!(check(&[(variable, &limit.to_string())], |_| ()).is_ok(), "{variable}");
        for beyond in [limit + 1, 1_000_000_000_000, u64::MAX] {
            let error = check(&[(variable, &beyond.to_string())], |_| ()).unwrap_err();
            assert!(
                matches!(error, InitError::Variable { variable: name, .. } if name == variable),
                "{error}"
            );
        }
        assert!(check(&[(variable, &format!("{}0", u64::MAX))], |_| ()).is_err(), "{variable}");
    }
}

#[test]
fn the_error_of_credentials_names_their_variable_and_never_shows_them() {
    for variable in [ENDPOINT, TRACES.endpoint] {
        let error = check(&[(variable, "http://me:secret@collector:4318")], |_| ()).unwrap_err();
        assert!(matches!(error, InitError::OtlpCredentials { origin } if origin == variable), "{error}");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    }
}

#[test]
fn headers_are_decoded_and_those_of_the_configuration_take_precedence() {
    let variables = [(TRACES.headers[1], "Authorization=Basic%20dTpw, x-tenant = them ,")];
    let headers = merged(&variables).config.otlp_headers;
    let expected = [("authorization", "Basic dTpw"), ("x-tenant", "them")];
    assert!(headers.iter().map(|(name, value)| (&**name, &**value)).eq(expected));
    let mine = check(&variables, |config| {
        config.otlp_headers.insert("X-Tenant".to_owned(), "me".to_owned());
    });
    let mine = mine.unwrap().config.otlp_headers;
    assert_eq!((mine.len(), &*mine["X-Tenant"]), (2, "me"));
    let traces = [(TRACES.headers[0], "x=1"), (TRACES.headers[1], "y=2")];
    assert!(merged(&traces).config.otlp_headers.into_keys().eq(["x"]));
}

#[test]
fn the_error_of_an_invalid_header_names_its_variable_and_shows_no_value() {
    for (value, shown) in [("x y=secret", "x y"), ("x=secret%0A", "x"), ("secret", ""), ("=secret", "")] {
        let error = check(&[(TRACES.headers[0], value)], |_| ()).unwrap_err();
        let expected = matches!(&error, InitError::Header { origin, name } if *origin == TRACES.headers[0] && name == shown);
        assert!(expected && !format!("{error} {error:?}").contains("secret"), "{error}");
    }
}

#[test]
fn metrics_and_log_records_are_exported_only_where_it_is_said() {
    let exported = |variables: &[(&str, &str)]| {
        let checked = merged(variables);
        (checked.metrics.is_some(), checked.logs.is_some())
    };
    let endpoint = (ENDPOINT, "http://collector:4318");
    assert_eq!(exported(&[]), (false, false));
    assert_eq!(exported(&[endpoint]), (false, false));
    assert_eq!(exported(&[(METRICS_EXPORTER, "otlp")]), (true, false));
    assert_eq!(exported(&[(METRICS_EXPORTER, "prometheus, otlp"), (LOGS_EXPORTER, "otlp")]), (true, true));
    assert_eq!(exported(&[(LOGS.endpoint, "http://logs:4318/v1/logs")]), (false, true));
    for elsewhere in ["none", "prometheus"] {
        let variables = [(METRICS_EXPORTER, elsewhere), (METRICS.endpoint, "http://metrics:4318/v1/metrics")];
        assert_eq!(exported(&variables), (false, false), "{elsewhere}");
    }
    for elsewhere in ["none", "console"] {
        assert_eq!(exported(&[(LOGS_EXPORTER, elsewhere), endpoint]), (false, false), "{elsewhere}");
    }
    let configured = check(&[(METRICS_EXPORTER, "none")], |config| config.otlp_metrics = true).unwrap();
    assert!(configured.metrics.is_some(), "the configuration takes precedence");
    let disabled = [(SDK_DISABLED, "true"), (METRICS_EXPORTER, "otlp"), (LOGS_EXPORTER, "otlp")];
    assert_eq!(exported(&disabled), (false, false));
}

#[test]
fn metrics_and_log_records_go_to_their_own_endpoint_or_beside_the_spans() {
    let urls = |variables: &[(&str, &str)], own: Option<&str>| {
        let checked = check(variables, |config| {
            (config.otlp_metrics, config.otlp_logs) = (true, true);
            config.otlp_endpoint = own.map(str::to_owned);
        });
        let checked = checked.unwrap();
        [checked.metrics.unwrap().target, checked.logs.unwrap().target].map(|target| String::from(target.url))
    };
    let here = |base: &str| [format!("{base}/v1/metrics"), format!("{base}/v1/logs")];
    assert_eq!(urls(&[], None), here("http://localhost:4318"));
    assert_eq!(urls(&[(ENDPOINT, "http://all:4318/otlp/")], None), here("http://all:4318/otlp"));
    assert_eq!(urls(&[(ENDPOINT, "http://all:4318")], Some("http://own:4318")), here("http://own:4318"));
    assert_eq!(urls(&[], Some("http://own/otlp/v1/traces")), here("http://own/otlp"));
    let apart = [(METRICS.endpoint, "http://metrics:9/in"), (LOGS.endpoint, "http://logs:9/in")];
    assert_eq!(urls(&apart, Some("http://own/elsewhere")), ["http://metrics:9/in", "http://logs:9/in"]);
}

#[test]
fn each_kind_of_export_has_its_own_settings() {
    let variables = [
        (METRICS_EXPORTER, "otlp"),
        (LOGS_EXPORTER, "otlp"),
        (METRICS.timeout[0], "100"),
        (TRACES.timeout[1], "200"),
        (METRICS.headers[0], "x=metrics"),
        (TRACES.headers[1], "x=all"),
        (METRICS_INTERVAL, "300"),
        (METRICS_TIMEOUT, "400"),
        (TEMPORALITY, "Cumulative"),
        (LOGS_QUEUE_SIZE, "5"),
        (LOGS_BATCH_SIZE, "6"),
        (LOGS_SCHEDULE_DELAY, "0"),
        (LOGS_TIMEOUT, "700"),
    ];
    let checked = merged(&variables);
    let milliseconds = Duration::from_millis;
    let (metrics, logs) = (checked.metrics.unwrap(), checked.logs.unwrap());
    assert_eq!([metrics.interval, metrics.timeout], [300, 400].map(milliseconds));
    assert_eq!((logs.queue_size, logs.batch_size), (5, 6));
    assert_eq!([logs.schedule_delay, logs.timeout], [0, 700].map(milliseconds));
    let timeouts = [metrics.target.http.timeout, logs.target.http.timeout, checked.config.export_timeout];
    assert_eq!(timeouts, [100, 200, 200].map(milliseconds));
    assert_eq!((&*metrics.target.http.headers["x"], &*logs.target.http.headers["x"]), ("metrics", "all"));

    let default = merged(&variables[..2]);
    let (metrics, logs) = (default.metrics.unwrap(), default.logs.unwrap());
    assert_eq!([metrics.interval, metrics.timeout], [60_000, 30_000].map(milliseconds));
    assert_eq!((logs.queue_size, logs.batch_size), (2048, 512));
    assert_eq!([logs.schedule_delay, logs.timeout], [1_000, 300_000].map(milliseconds));
}

#[test]
fn the_error_of_an_invalid_value_for_metrics_or_logs_names_its_variable() {
    for (variable, value) in [
        (METRICS_EXPORTER, "statsd"),
        (METRICS_EXPORTER, "otlp,console"),
        (LOGS_EXPORTER, "syslog"),
        (TEMPORALITY, "delta"),
        (METRICS_INTERVAL, "0"),
        (METRICS_TIMEOUT, "86400001"),
        (LOGS_QUEUE_SIZE, "0"),
        (LOGS_BATCH_SIZE, "131073"),
        (LOGS_SCHEDULE_DELAY, "often"),
        (LOGS_TIMEOUT, "0"),
        (METRICS.protocol[0], "grpc"),
        (LOGS.compression[0], "zstd"),
        (METRICS.timeout[0], "soon"),
    ] {
        let error = check(&[(variable, value)], |config| {
            (config.otlp_metrics, config.otlp_logs) = (true, true);
        });
        let error = error.unwrap_err();
        let named = matches!(error, InitError::Variable { variable: name, .. } if name == variable);
        assert!(named && value.contains(error_value(&error)), "{error}");
    }
    for variable in [TEMPORALITY, METRICS_INTERVAL, LOGS_QUEUE_SIZE, METRICS.protocol[0]] {
        assert!(check(&[(variable, "delta")], |_| ()).is_ok(), "{variable} has no effect without an export");
    }
    let credentials = check(&[(LOGS.endpoint, "http://me:secret@logs:4318")], |_| ()).unwrap_err();
    assert!(matches!(credentials, InitError::OtlpCredentials { origin } if origin == LOGS.endpoint));
}

fn error_value(error: &InitError) -> &str {
    match error {
        InitError::Variable { value, .. } => value,
        other => panic!("{other}"),
    }
}
