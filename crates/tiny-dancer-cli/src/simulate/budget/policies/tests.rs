use super::*;
use crate::simulate::budget::stream::Verdict;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Requests with confidences 0.99, 0.98, and so on, again and again. Below `good` their answers are worse.
fn scored(requests: usize, good: f32) -> Vec<Scored> {
    let scored = |i: usize| {
        let confidence = 0.99 - (i % 100) as f32 / 100.0;
        let worse = confidence < good;
        Scored {
            confidence,
            uncertainty: 0.0,
            lightweight: false,
            judged: false,
            worse,
            verdict: Some(Verdict { known: i + 1, probability: 1.0, worse }),
        }
    };
    (0..requests).map(scored).collect()
}

fn budget(loss_rate: f64, burst: f64) -> QualityBudget {
    QualityBudget { loss_rate, burst, ..QualityBudget::default() }
}

#[test]
fn the_best_fixed_threshold_loses_what_is_allowed_in_the_end() {
    // 50 of 100 confidences are good, and each lower one costs 10 in 1,000 requests.
    let tally = best_fixed(&scored(1000, 0.495), &budget(0.05, 10.0));
    assert_eq!((tally.lightweight, tally.worse, tally.judged), (500 + 60, 60, 0));
    // Of equal confidences, all pass or none.
    let tally = best_fixed(&scored(1000, 0.495), &budget(0.05, 9.0));
    assert_eq!((tally.lightweight, tally.worse), (500 + 50, 50));
    let hopeless: Vec<Scored> = scored(1000, 2.0);
    assert_eq!(best_fixed(&hopeless, &budget(0.001, 0.0)), Tally::default());
}

#[test]
fn a_policy_is_overdrawn_if_it_ever_loses_more_than_is_allowed() {
    // All losses come first.
    let mut scored = scored(1000, 0.495);
    scored.sort_by_key(|it| !it.worse);
    assert_eq!(best_fixed(&scored, &budget(0.05, 10.0)).overdrawn, 1);
    scored.reverse();
    assert_eq!(best_fixed(&scored, &budget(0.05, 10.0)).overdrawn, 0);
}

#[test]
fn a_frozen_threshold_does_not_notice_that_answers_become_worse() {
    let mut drifting = scored(4000, 0.495);
    let before = frozen(&drifting, &budget(0.05, 10.0));
    assert_eq!((before.lightweight, before.worse, before.overdrawn), (3 * 550, 3 * 50, 0));
    drifting[2000..].iter_mut().for_each(|it| it.worse = true);
    let after = frozen(&drifting, &budget(0.05, 10.0));
    assert_eq!((after.lightweight, after.overdrawn), (before.lightweight, 1));
}

#[test]
fn a_verdict_that_is_not_known_in_time_does_not_choose_the_frozen_threshold() {
    let mut scored = scored(4000, 2.0);
    assert_eq!(frozen(&scored, &budget(0.0001, 0.0)).lightweight, 0);
    // Those that say worse come too late, but for one of the least confident requests.
    let late = |it: &mut Scored| it.verdict = it.verdict.map(|it| Verdict { known: 9999, ..it });
    scored.iter_mut().for_each(late);
    scored[0].verdict = Some(Verdict { known: 1, probability: 1.0, worse: false });
    assert_eq!(frozen(&scored, &budget(0.0001, 0.0)).lightweight, 3000 / 100);
}

#[test]
fn learn_then_test_has_both_thresholds_and_sends_nothing_without_a_promise() {
    let thresholds = Thresholds { confidence_threshold: 0.745, max_uncertainty: 0.5 };
    let mut scored = scored(100, 0.5);
    scored[0].uncertainty = 0.6;
    let tally = learn_then_test(&scored, &budget(0.05, 10.0), Some(thresholds));
    assert_eq!((tally.lightweight, tally.worse), (24, 0));
    assert_eq!(learn_then_test(&scored, &budget(0.05, 10.0), None), Tally::default());
}

#[test]
fn adaptive_conformal_control_loses_the_loss_rate_in_the_long_run() {
    let first = Thresholds { confidence_threshold: 0.85, max_uncertainty: 0.15 };
    for (q, late) in [(1.0, 1), (0.2, 20)] {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let tally =
            adaptive_conformal(&scored(40_000, 0.495), &budget(0.05, 10.0), first, (q, late, 0.0), &mut rng);
        let (losses, judged) =
            (tally.worse as f64 / 40_000.0, tally.judged as f64 / tally.lightweight as f64);
        assert!((losses - 0.05).abs() < 0.006, "{tally:?}");
        assert!((judged - q).abs() < 0.02, "{tally:?}");
    }
}
