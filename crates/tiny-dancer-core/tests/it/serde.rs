//! The data types as JSON.

use serde_json::json;
use tiny_dancer_core::testing::{candidate, router, toy_model};
use tiny_dancer_core::{Candidate, CircuitBreakerConfig, RoutingRequest, RoutingResponse};

#[test]
fn a_response_in_json_has_the_names_of_its_enums() {
    let (router, _) = router(toy_model(), CircuitBreakerConfig::default(), ());
    let candidates = [candidate("a", 0.9, 1.0)];
    let response = router.route(RoutingRequest::new(&[1.0, 0.0], &candidates)).unwrap();
    let json = serde_json::to_value(&response).unwrap();
    assert_eq!((&json["model"], &json["reason"]), (&json!("lightweight"), &json!("confident")));
    assert_eq!(json["decisions"][0]["candidate"], 0);
    assert_eq!(serde_json::from_value::<RoutingResponse>(json).unwrap(), response);
}

#[test]
fn a_candidate_needs_no_metadata() {
    let json = json!({
        "id": "a", "embedding": [1.0], "created_at": 7, "access_count": 3, "success_rate": 0.5,
        "win_rate": 0,
    });
    let candidate: Candidate = serde_json::from_value(json).unwrap();
    assert!(candidate.metadata.is_empty());
    assert_eq!(candidate.access_count, 3);
}

#[test]
fn a_candidate_of_the_old_coding_is_refused() {
    let json = json!({
        "id": "a", "embedding": [1.0], "created_at": 7, "access_count": 3, "success_rate": 0.5,
    });
    let error = serde_json::from_value::<Candidate>(json).unwrap_err();
    assert_eq!(error.to_string(), "missing field `win_rate`");
}

#[test]
fn settings_that_are_left_out_have_their_defaults() {
    let config: CircuitBreakerConfig = serde_json::from_str(r#"{"probes": 7, "on_open": "reject"}"#).unwrap();
    let default =
        CircuitBreakerConfig { probes: 7, on_open: tiny_dancer_core::OnOpen::Reject, ..Default::default() };
    assert_eq!(config, default);
}
