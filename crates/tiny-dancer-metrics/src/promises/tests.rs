use super::*;

fn promise(evidence: f64, broken: bool) -> PromiseState {
    PromiseState { alpha: 0.1, reported: 10, insufficient: 3, evidence, broken }
}

#[test]
fn a_broken_promise_is_worse_than_any_evidence() {
    let promises = Promises::default();
    let (one, other) = (promises.key(), promises.key());
    assert_eq!(promises.worst(), None);
    promises.report(one, promise(15.0, false));
    promises.report(other, promise(2.0, false));
    assert_eq!(promises.worst().unwrap().evidence, 15.0);
    promises.report(other, promise(2.0, true));
    assert!(promises.worst().unwrap().broken);
    promises.forget(other);
    assert_eq!(promises.worst().unwrap().evidence, 15.0, "the promise of a dropped router is gone");
}

/// Requests read the fields beside them.
#[test]
fn outcomes_and_requests_use_different_cache_lines() {
    assert_eq!((align_of::<Promises>(), size_of::<Promises>() % 128), (128, 0));
}
