use super::*;

#[test]
fn a_configuration_is_read_from_json_and_a_misspelt_key_is_refused() {
    let json = r#"{
        "const_labels": [["router", "support"]],
        "buckets": {"tiny_dancer_confidence_scores": [0.5, 0.85, 1.0]},
        "prices": {"lightweight": 0.001, "powerful": 0.02}
    }"#;
    let expected = MetricsConfig {
        const_labels: vec![("router".to_owned(), "support".to_owned())],
        buckets: [("tiny_dancer_confidence_scores".to_owned(), vec![0.5, 0.85, 1.0])].into(),
        prices: Some(Prices { lightweight: 0.001, powerful: 0.02, repeated: false }),
    };
    let config: MetricsConfig = serde_json::from_str(json).unwrap();
    assert_eq!(config, expected);
    let again: MetricsConfig = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
    assert_eq!(again, expected);
    assert_eq!(serde_json::from_str::<MetricsConfig>("{}").unwrap(), MetricsConfig::default());

    let misspelt = r#"{"prices": {"lightweight": 0.001, "powerful": 0.02, "repeatd": true}}"#;
    for json in [r#"{"bucket": {}}"#, misspelt] {
        let error = serde_json::from_str::<MetricsConfig>(json).unwrap_err();
        assert!(error.to_string().starts_with("unknown field"), "{error}");
    }
}

#[test]
fn a_missing_price_is_an_error() {
    let error = serde_json::from_str::<Prices>(r#"{"lightweight": 0.001}"#).unwrap_err();
    assert!(error.to_string().starts_with("missing field `powerful`"), "{error}");
}
