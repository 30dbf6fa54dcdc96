//! Verdicts: their checks, the rates that follow from them, and which of two counts.

use crate::config::MemoryConfig;
use crate::record::Verdict;
use tiny_dancer_core::observer::VerdictKind;

/// Returns the first score out of range, with the name of its field.
pub(super) fn check(verdict: &Verdict) -> Result<(), (&'static str, f32)> {
    let scores = [("lightweight", Some(verdict.lightweight)), ("powerful", verdict.powerful)];
    for (field, score) in scores {
        // A comparison with NaN is false.
        if let Some(score) = score
            && !(0.0..=1.0).contains(&score)
        {
            return Err((field, score));
        }
    }
    Ok(())
}

/// Whether the lightweight answer was no worse, and whether it was better.
pub(super) fn judge(config: &MemoryConfig, verdict: &Verdict) -> (bool, bool) {
    let MemoryConfig { good_enough, margin, .. } = *config;
    match verdict.powerful {
        None => (verdict.lightweight >= good_enough, false),
        Some(powerful) => (verdict.lightweight >= powerful - margin, verdict.lightweight > powerful + margin),
    }
}

/// What a new verdict is to the one that counts so far. Both have a time.
pub(super) fn kind(counts: Option<&Verdict>, new: &Verdict) -> VerdictKind {
    let Some(counts) = counts else { return VerdictKind::Accepted };
    let content = |verdict: &Verdict| (verdict.lightweight, verdict.powerful, verdict.source);
    if content(counts) == content(new) {
        VerdictKind::Repeated
    } else if new.supersedes(counts) {
        VerdictKind::Contradicting
    } else {
        VerdictKind::Superseded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(verdict: Verdict, time: i64) -> Verdict {
        Verdict { at: Some(time), ..verdict }
    }

    #[test]
    fn a_score_is_a_number_from_0_to_1() {
        for score in [0.0, 0.5, 1.0] {
            assert_eq!(check(&Verdict::judged(score, 1.0 - score)), Ok(()));
        }
        for score in [-0.1, 1.1, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(check(&Verdict::lightweight(score)), Err(("lightweight", score)));
            assert_eq!(check(&Verdict::judged(0.5, score)), Err(("powerful", score)));
        }
        assert!(check(&Verdict::lightweight(f32::NAN)).is_err());
        assert!(check(&Verdict::judged(0.5, f32::NAN)).is_err());
    }

    #[test]
    fn a_compared_answer_is_no_worse_within_the_margin_and_better_above_it() {
        let config = MemoryConfig { margin: 0.25, good_enough: 1.0, ..Default::default() };
        let judge = |lightweight, powerful| judge(&config, &Verdict::judged(lightweight, powerful));
        assert_eq!(judge(0.0, 0.5), (false, false));
        assert_eq!(judge(0.25, 0.5), (true, false));
        assert_eq!(judge(0.75, 0.5), (true, false));
        assert_eq!(judge(1.0, 0.5), (true, true));
    }

    #[test]
    fn without_a_margin_a_tie_is_no_worse_and_not_better() {
        let config = MemoryConfig::default();
        assert_eq!(judge(&config, &Verdict::judged(0.3, 0.3)), (true, false));
    }

    #[test]
    fn an_answer_without_a_comparison_is_good_enough_or_not_and_never_better() {
        let config = MemoryConfig { margin: 1.0, good_enough: 0.7, ..Default::default() };
        let judge = |lightweight| judge(&config, &Verdict::lightweight(lightweight));
        assert_eq!((judge(0.6), judge(0.7), judge(1.0)), ((false, false), (true, false), (true, false)));
    }

    #[test]
    fn the_last_verdict_by_its_own_time_counts() {
        let first = at(Verdict::lightweight(1.0), 5);
        let other = Verdict::lightweight(0.0);
        assert_eq!(kind(None, &first), VerdictKind::Accepted);
        assert_eq!(kind(Some(&first), &at(other, 4)), VerdictKind::Superseded);
        assert_eq!(kind(Some(&first), &at(other, 5)), VerdictKind::Contradicting);
        assert_eq!(kind(Some(&at(other, 5)), &first), VerdictKind::Superseded);
        assert_eq!(kind(Some(&first), &at(other, 6)), VerdictKind::Contradicting);
    }

    #[test]
    fn the_same_verdict_is_a_repetition_at_each_time() {
        let first = at(Verdict::judged(1.0, 0.5), 5);
        for time in [4, 5, 6] {
            assert_eq!(kind(Some(&first), &at(first, time)), VerdictKind::Repeated);
        }
    }
}
