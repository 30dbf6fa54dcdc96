use super::*;
use proptest::prelude::*;

fn verdict() -> impl Strategy<Value = Verdict> {
    let score = prop::sample::select(vec![0.0, 0.5, 1.0]);
    let source = prop::sample::select(vec![VerdictSource::Client, VerdictSource::Judge]);
    (score.clone(), prop::option::of(score), source, 0..3_i64).prop_map(
        |(lightweight, powerful, source, at)| Verdict { lightweight, powerful, source, at: Some(at) },
    )
}

fn last(verdicts: impl IntoIterator<Item = Verdict>) -> Option<Verdict> {
    verdicts.into_iter().reduce(|known, new| if new.supersedes(&known) { new } else { known })
}

proptest! {
    #[test]
    fn verdicts_lead_to_the_same_result_in_any_order_and_however_often(
        (verdicts, mixed) in prop::collection::vec(verdict(), 1..8)
            .prop_flat_map(|verdicts| (Just(verdicts.clone()), Just([verdicts.clone(), verdicts].concat()).prop_shuffle()))
    ) {
        prop_assert_eq!(last(verdicts), last(mixed));
    }

    #[test]
    fn the_latest_verdict_counts(verdicts in prop::collection::vec(verdict(), 1..8)) {
        let latest = verdicts.iter().map(|verdict| verdict.at).max();
        prop_assert_eq!(last(verdicts).map(|verdict| verdict.at), latest);
    }
}

#[test]
fn a_verdict_does_not_supersede_itself() {
    let verdict = Verdict::judged(0.5, 1.0);
    assert!(!verdict.supersedes(&verdict));
}

#[test]
fn of_two_verdicts_at_the_same_time_the_worse_one_counts() {
    assert!(Verdict::lightweight(0.0).supersedes(&Verdict::lightweight(1.0)));
    assert!(Verdict::judged(0.5, 1.0).supersedes(&Verdict::judged(0.5, 0.5)));
}
