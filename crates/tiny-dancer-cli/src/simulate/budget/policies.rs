//! Other policies, on the scores of a stream that was replayed under a budget: what they would have sent to the lightweight
//! model, and what that would have lost.
//!
//! They read the confidences that the budget's router had, and so the same memory. What they remember is thus not their own:
//! the judgements that filled it were the budget's.

use super::record::Tally;
use super::stream::{Allowance, Scored};
use rand::{Rng, RngExt};
use std::collections::VecDeque;
use tiny_dancer::parts::core::budget::QualityBudget;
use tiny_dancer::{Reason, Thresholds};

/// After how many requests the frozen threshold is chosen, of longer streams; of shorter ones after a quarter.
const FROZEN_AFTER: usize = 1000;
/// The step of adaptive conformal inference in its paper.
const STEP: f64 = 0.005;

/// Whether there was any evidence: without it the confidence is 0.
fn has_evidence(scored: &Scored) -> bool {
    scored.confidence > 0.0
}

/// Counts what a policy does.
fn play(
    scored: &[Scored],
    budget: &QualityBudget,
    mut decide: impl FnMut(usize, &Scored) -> (bool, bool),
) -> Tally {
    let mut allowance = Allowance::new(budget);
    for (place, request) in scored.iter().enumerate() {
        let (lightweight, judged) = decide(place, request);
        allowance.record(lightweight && request.worse, lightweight, judged);
    }
    allowance.tally
}

/// The least threshold at which requests of this confidence or more lose no more than `most`, if each costs what it is paired with.
/// `None` if already the most confident ones lose more.
fn boldest(mut losses: Vec<(f32, f64)>, most: f64) -> Option<f32> {
    losses.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut lost = 0.0;
    let kept = losses.chunk_by(|a, b| a.0 == b.0).take_while(|equal| {
        lost += equal.iter().map(|(_, loss)| loss).sum::<f64>();
        lost <= most
    });
    kept.last().map(|equal| equal[0].0)
}

/// The best fixed threshold in hindsight: the one with the largest share whose losses, in the end, are allowed.
pub(crate) fn best_fixed(scored: &[Scored], budget: &QualityBudget) -> Tally {
    let losses = scored.iter().filter(|it| has_evidence(it));
    let losses = losses.map(|it| (it.confidence, f64::from(u8::from(it.worse)))).collect();
    let threshold = boldest(losses, Allowance::new(budget).allowed(scored.len()));
    play(scored, budget, |_, it| (threshold.is_some_and(|threshold| it.confidence >= threshold), false))
}

/// A threshold that is chosen once, from the verdicts known by then, each divided by its probability, and then stays. The budget
/// decides until then.
pub(crate) fn frozen(scored: &[Scored], budget: &QualityBudget) -> Tally {
    let after = FROZEN_AFTER.min(scored.len() / 4);
    let losses = scored[..after].iter().filter_map(|it| {
        let verdict = it.verdict.filter(|verdict| verdict.known <= after)?;
        Some((it.confidence, if verdict.worse { verdict.probability.recip() } else { 0.0 }))
    });
    let threshold = boldest(losses.collect(), budget.loss_rate * after as f64);
    play(scored, budget, |place, it| {
        if place < after {
            return (it.lightweight, it.judged);
        }
        (has_evidence(it) && threshold.is_some_and(|threshold| it.confidence >= threshold), false)
    })
}

/// The thresholds by which a router keeps a risk promise, which Learn-then-Test has certified. `None` sends nothing.
pub(crate) fn learn_then_test(
    scored: &[Scored],
    budget: &QualityBudget,
    thresholds: Option<Thresholds>,
) -> Tally {
    play(scored, budget, |_, it| {
        let reason = |thresholds: Thresholds| thresholds.reason(it.confidence, it.uncertainty);
        (thresholds.is_some_and(|thresholds| reason(thresholds) == Reason::Confident), false)
    })
}

/// A threshold that each verdict moves, so that the mean loss becomes the loss rate in the long run: adaptive conformal inference
/// (Gibbs and Candès, 2021). Answers are judged with probability `q`, and a verdict counts as `1 / q` answers.
pub(crate) fn adaptive_conformal(
    scored: &[Scored],
    budget: &QualityBudget,
    first: Thresholds,
    (q, late, lost): (f64, usize, f64),
    rng: &mut impl Rng,
) -> Tally {
    // The largest predicted loss of a request that passes.
    let mut limit = f64::from(1.0 - first.confidence_threshold);
    let mut due: VecDeque<(usize, f64)> = VecDeque::new();
    play(scored, budget, |place, it| {
        while due.front().is_some_and(|due| due.0 <= place)
            && let Some((_, loss)) = due.pop_front()
        {
            limit -= STEP * loss;
        }
        let lightweight = has_evidence(it) && f64::from(1.0 - it.confidence) <= limit;
        let judged = lightweight && rng.random_bool(q);
        if judged && it.worse && !rng.random_bool(lost) {
            due.push_back((place + late, q.recip()));
        }
        limit += STEP * budget.loss_rate;
        (lightweight, judged)
    })
}

#[cfg(test)]
mod tests;
