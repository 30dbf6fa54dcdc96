use super::*;

fn promise(evidence: f64, broken: bool) -> PromiseState {
    PromiseState { alpha: 0.1, delta: 0.05, reported: 10, insufficient: 3, evidence, broken }
}

#[test]
fn a_broken_promise_is_worse_than_any_evidence() {
    let routers = Routers::default();
    let (one, other) = (routers.key(), routers.key());
    assert_eq!(routers.worst_promise(), None);
    routers.report_promise(one, promise(15.0, false));
    routers.report_promise(other, promise(2.0, false));
    assert_eq!(routers.worst_promise().unwrap().evidence, 15.0);
    routers.report_promise(other, promise(2.0, true));
    assert!(routers.worst_promise().unwrap().broken);
    routers.forget(other);
    assert_eq!(routers.worst_promise().unwrap().evidence, 15.0, "the promise of a dropped router is gone");
}

#[test]
fn the_worst_load_is_shown_while_its_router_lives() {
    let routers = Routers::default();
    let (one, other) = (routers.key(), routers.key());
    let shown = || routers.worst_load().map(|load| (load.successful, load.last_success));
    assert_eq!(shown(), None);
    routers.report_load(one, true, 100);
    routers.report_load(other, true, 200);
    assert_eq!(shown(), Some((true, 100)));
    routers.report_load(other, false, 300);
    assert_eq!(shown(), Some((false, 100)), "one of two failed");
    routers.report_load(one, true, 400);
    assert_eq!(shown(), Some((false, 200)), "the failure is not repaired, and keeps the time of the success");
    routers.forget(other);
    assert_eq!(shown(), Some((true, 400)));
}

/// Requests read the fields beside them.
#[test]
fn outcomes_and_requests_use_different_cache_lines() {
    assert_eq!((align_of::<Routers>(), size_of::<Routers>() % 128), (128, 0));
}
