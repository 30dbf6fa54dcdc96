use super::*;
use crate::config::Checked;

/// The default configuration, with something set, in an environment of these variables alone.
fn check(variables: &[(&str, &str)], change: impl FnOnce(&mut TracingConfig)) -> Result<Checked, InitError> {
    let mut config = TracingConfig::default();
    change(&mut config);
    config.check_in(|name| {
        assert!(VARIABLES.iter().any(|variable| variable.name == name), "{name} is not listed");
        variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
    })
}

fn heard(variables: &[(&str, &str)]) -> Checked {
    check(variables, |_| ()).unwrap()
}

#[test]
fn silence_changes_nothing() {
    for variables in [&[][..], &[(ENDPOINT, ""), (SERVICE_NAME, " "), (SAMPLER, "")]] {
        let checked = heard(variables);
        assert_eq!(checked.config, TracingConfig::default());
        assert_eq!((checked.traces_url, checked.disabled, checked.propagate), (None, false, true));
        assert_eq!((checked.queue_size, checked.batch_size, checked.attribute_limit), (2048, 512, 128));
    }
}

#[test]
fn an_endpoint_is_where_spans_go_and_the_one_for_traces_is_taken_as_it_is() {
    let url = |variables| heard(variables).traces_url.unwrap();
    assert_eq!(url(&[(ENDPOINT, "http://collector:4318")]), "http://collector:4318/v1/traces");
    assert_eq!(url(&[(ENDPOINT, "http://collector/otlp/")]), "http://collector/otlp/v1/traces");
    let both = [(ENDPOINT, "http://collector:4318"), (TRACES_ENDPOINT, "http://traces:4318/here")];
    assert_eq!(url(&both), "http://traces:4318/here");
    assert_eq!(url(&[(EXPORTER, "otlp")]), "http://localhost:4318/v1/traces");
}

#[test]
fn exporters_can_be_chosen_and_none_is_one_of_them() {
    let chosen = |names| {
        let checked = heard(&[(EXPORTER, names), (ENDPOINT, "http://collector:4318")]);
        (checked.config.enable_stdout, checked.traces_url.is_some())
    };
    assert_eq!(chosen("console"), (true, false));
    assert_eq!(chosen("otlp, console"), (true, true));
    assert_eq!(chosen("none"), (false, false));
}

#[test]
fn the_rest_is_heard_too() {
    assert_eq!(heard(&[(SERVICE_NAME, "mine")]).config.service_name, "mine");
    let attributes = (RESOURCE_ATTRIBUTES, "a=b, service.name=other");
    assert_eq!(heard(&[attributes]).config.service_name, "other");
    assert_eq!(heard(&[attributes, (SERVICE_NAME, "mine")]).config.service_name, "mine");
    for (sampler, ratio) in
        [("always_on", 1.0), ("parentbased_always_off", 0.0), ("parentbased_traceidratio", 0.25)]
    {
        assert_eq!(heard(&[(SAMPLER, sampler), (SAMPLER_ARG, "0.25")]).sampling_ratio(), ratio);
    }
    assert_eq!(heard(&[(TIMEOUT[1], "250")]).config.export_timeout, Duration::from_millis(250));
    let timeouts = [(TIMEOUT[0], "300"), (TIMEOUT[1], "250")];
    assert_eq!(heard(&timeouts).config.export_timeout, Duration::from_millis(300));
    assert_eq!(heard(&[(QUEUE_SIZE, "7")]).queue_size, 7);
    assert_eq!(heard(&[(BATCH_SIZE, "7")]).batch_size, 7);
    assert_eq!(["7", "50"].map(|limit| heard(&[(ATTRIBUTE_LIMIT, limit)]).attribute_limit), [32, 50]);
    assert!(!heard(&[(PROPAGATORS, "none")]).propagate);
    assert!(heard(&[(PROPAGATORS, "tracecontext,baggage")]).propagate);
    assert!(heard(&[(PROTOCOL[1], "http/protobuf"), (COMPRESSION[1], "none")]).traces_url.is_none());
}

#[test]
fn a_disabled_sdk_makes_no_spans_and_has_no_exporter() {
    let checked = heard(&[(SDK_DISABLED, "TRUE"), (ENDPOINT, "http://collector:4318")]);
    assert!(checked.disabled && checked.traces_url.is_none());
    assert_eq!(checked.sampling_ratio(), 0.0);
}

#[test]
fn what_the_configuration_says_wins() {
    let variables = [
        (SERVICE_NAME, "other"),
        (SAMPLER, "always_off"),
        (TIMEOUT[0], "1"),
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
    assert_eq!(checked.traces_url.unwrap(), "http://mine:4318/v1/traces");
    assert_eq!((&*checked.config.service_name, checked.config.sampling_ratio), ("mine", 0.5));
    assert_eq!(checked.config.export_timeout, Duration::from_secs(3));
    assert!(!checked.config.enable_stdout);
}

#[test]
fn what_a_variable_can_t_say_is_refused_by_its_name() {
    for (variable, value) in [
        (SAMPLER, "jaeger_remote"),
        (TIMEOUT[0], "soon"),
        (TIMEOUT[1], "0"),
        (PROTOCOL[0], "grpc"),
        (COMPRESSION[0], "zstd"),
        (QUEUE_SIZE, "0"),
        (BATCH_SIZE, "many"),
        (ATTRIBUTE_LIMIT, "-1"),
        (EXPORTER, "zipkin"),
    ] {
        let error = check(&[(variable, value)], |_| ()).unwrap_err();
        let named = matches!(error, InitError::Variable { variable: name, .. } if name == variable);
        assert!(named && error.to_string().contains(value), "{error}");
    }
    let error = check(&[(SAMPLER, "traceidratio"), (SAMPLER_ARG, "1.5")], |_| ()).unwrap_err();
    assert!(matches!(error, InitError::Variable { variable: SAMPLER_ARG, .. }), "{error}");
    let error = check(&[(TRACES_ENDPOINT, "collector:4318")], |_| ()).unwrap_err();
    assert!(matches!(error, InitError::OtlpEndpoint { .. }), "{error}");
}
