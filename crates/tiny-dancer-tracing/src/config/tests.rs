use super::*;

#[test]
fn a_configuration_is_read_with_its_headers_and_written_without_them() {
    let text =
        r#"{"service_name": "mine", "log_format": "json", "otlp_headers": {"authorization": "secret"}}"#;
    let config: TracingConfig = serde_json::from_str(text).unwrap();
    assert_eq!(config.otlp_headers["authorization"], "secret");
    assert_eq!((&*config.service_name, config.log_format), ("mine", LogFormat::Json));
    let written = serde_json::to_string(&config).unwrap();
    assert!(!written.contains("secret"), "{written}");
    let without_headers = TracingConfig { otlp_headers: BTreeMap::new(), ..config };
    assert_eq!(serde_json::from_str::<TracingConfig>(&written).unwrap(), without_headers);
    let error = serde_json::from_str::<TracingConfig>(r#"{"sampling_ration": 0.5}"#).unwrap_err();
    assert!(error.to_string().contains("sampling_ration"), "{error}");
}
