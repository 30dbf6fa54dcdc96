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
