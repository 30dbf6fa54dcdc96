//! Pacing: moves the thresholds so that the budget is spent where it saves most, and lasts.
//!
//! Of all ways to spend a given number of worse answers, the one with the most lightweight answers takes the requests with
//! the smallest predicted loss, up to a limit. The limit is the price at which the budget is just spent, and it is found
//! online, as in adaptive pacing of auction budgets (Balseiro and Gur, "Learning in repeated auctions with budgets", 2019)
//! and in adaptive conformal inference (Gibbs and Candès, 2021): each request moves it a little, by the difference between
//! what the request spends and what a request may spend.
//!
//! ```text
//! predicted loss   s = calibration * (1 - confidence) for a request that passes the thresholds, 0 for the others
//! target           r = (loss_rate + slack / HORIZON) / (q * charge)
//! boldness        *= 1 - RATE * (min(s / r, MOST) - 1)
//! ```
//!
//! `slack` is what the next admission would leave, and `charge` what it would add to the bound: more than 1 where answers are
//! judged by chance, so less is spent then. `calibration` is the ratio of the worse answers to the predicted ones, each
//! divided by its probability `q`: it corrects a model whose confidences are too high or too low. The predicted loss is used
//! and not the verdict, which comes late and says less.
//!
//! Pacing decides nothing about the promise: an error costs lightweight answers, and nothing else.

use super::sync::{AtomicU32, AtomicU64, Ordering};
use crate::Thresholds;

/// How fast a request moves the boldness: a change of the traffic is followed within some hundred requests. Ten times faster
/// spends as much on a worse choice of requests, since it equalises good and bad times; all values between differ little.
const RATE: f64 = 0.002;
/// Over how many requests the slack is spent.
const HORIZON: f64 = 500.0;
/// The most by which a request exceeds the target, so that an empty account does not close for long.
const MOST: f64 = 8.0;
/// Before the logarithm has entered, the part of the loss rate that is spent. The rest is saved for it.
const BEFORE_ENTRY: f64 = 0.5;
/// The predicted losses that count for a calibration of 1 at the start.
const PRIOR: f32 = 5.0;
/// The predicted losses that the calibration remembers.
const MEMORY: f32 = 20.0;
/// The limits of the calibration.
const CALIBRATION: std::ops::RangeInclusive<f32> = 0.125..=8.0;
/// The limits of the predicted loss up to which requests pass.
const LOSS: std::ops::RangeInclusive<f32> = 0.001..=0.95;

/// The pacing of an account, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct PacingState {
    /// By how much the predicted loss up to which requests pass exceeds that of the first thresholds: 1 at the start.
    pub boldness: f32,
    /// The answers that were found worse, each divided by the probability of its judgement, less what is forgotten.
    pub worse: f32,
    /// The same of the losses that the confidences predicted.
    pub predicted: f32,
}

impl Default for PacingState {
    fn default() -> Self {
        Self { boldness: 1.0, worse: PRIOR, predicted: PRIOR }
    }
}

impl PacingState {
    /// Whether each value is positive and finite, as those of a pacer are.
    pub(super) fn is_valid(&self) -> bool {
        let Self { boldness, worse, predicted } = *self;
        [boldness, predicted].iter().all(|value| value.is_normal() && *value > 0.0)
            && worse.is_finite()
            && worse >= 0.0
    }
}

/// What the pacer reads of its account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Funds {
    pub(super) loss_rate: f64,
    /// What the next admission would leave of what is allowed.
    pub(super) slack: f64,
    /// What it would add to the bound.
    pub(super) charge: f64,
    /// The probability with which it is judged.
    pub(super) q: f64,
    /// Whether a part is saved for the logarithm.
    pub(super) saves: bool,
}

impl Funds {
    /// How many worse answers a request may cost.
    fn target(self) -> f64 {
        let Self { loss_rate, slack, charge, q, saves } = self;
        let target = if saves {
            BEFORE_ENTRY * loss_rate + slack.min(0.0) / HORIZON
        } else {
            (loss_rate + slack / HORIZON) / (q * charge)
        };
        target.max(f64::MIN_POSITIVE)
    }
}

/// Moves the thresholds. A movement that is lost between two threads does no harm.
#[derive(Debug)]
pub(super) struct Pacer {
    boldness: AtomicU32,
    /// The two sums of the calibration.
    calibration: AtomicU64,
}

impl Pacer {
    pub(super) fn new(state: PacingState) -> Self {
        let PacingState { boldness, worse, predicted } = state;
        Self {
            boldness: AtomicU32::new(boldness.to_bits()),
            calibration: AtomicU64::new(pack(worse, predicted)),
        }
    }

    pub(super) fn state(&self) -> PacingState {
        let (worse, predicted) = unpack(self.calibration.load(Ordering::Relaxed));
        PacingState { boldness: f32::from_bits(self.boldness.load(Ordering::Relaxed)), worse, predicted }
    }

    /// The thresholds in use, if these are the first ones. The largest uncertainty moves in proportion to the predicted loss,
    /// and stays below 1, the uncertainty of which nothing is known.
    #[inline]
    pub(super) fn thresholds(&self, first: Thresholds) -> Thresholds {
        let boldness = f32::from_bits(self.boldness.load(Ordering::Relaxed));
        if boldness == 1.0 {
            return first;
        }
        let loss = (1.0 - first.confidence_threshold).max(*LOSS.start());
        let uncertainty = first.max_uncertainty;
        Thresholds {
            confidence_threshold: 1.0 - (loss * boldness).clamp(*LOSS.start(), *LOSS.end()),
            max_uncertainty: if uncertainty < 1.0 { (uncertainty * boldness).min(0.99) } else { uncertainty },
        }
    }

    /// Moves the thresholds after a decision. `passed` is the confidence of a request that passed them.
    #[inline]
    pub(super) fn decided(&self, first: Thresholds, passed: Option<f32>, funds: Funds) {
        let boldness = f32::from_bits(self.boldness.load(Ordering::Relaxed));
        let spends = passed.map_or(0.0, |confidence| f64::from(self.calibration() * (1.0 - confidence)));
        let moved = boldness * (1.0 - RATE * ((spends / funds.target()).min(MOST) - 1.0)) as f32;
        // Outside of the losses' limits it would move without an effect, and come back late.
        let loss = (1.0 - first.confidence_threshold).max(*LOSS.start());
        let moved = moved.clamp(LOSS.start() / loss, LOSS.end() / loss);
        self.boldness.store(moved.to_bits(), Ordering::Relaxed);
    }

    #[inline]
    fn calibration(&self) -> f32 {
        let (worse, predicted) = unpack(self.calibration.load(Ordering::Relaxed));
        (worse / predicted).clamp(*CALIBRATION.start(), *CALIBRATION.end())
    }

    /// Compares a verdict with the confidence of its request, which was judged with probability `q`.
    pub(super) fn judged(&self, confidence: f32, worse: bool, q: f64) {
        let weight = q.recip() as f32;
        let loss = (weight * (1.0 - confidence)).max(f32::MIN_POSITIVE);
        let kept = (1.0 - loss / MEMORY).max(0.0);
        let mut bits = self.calibration.load(Ordering::Relaxed);
        loop {
            let (found, predicted) = unpack(bits);
            let found = found * kept + if worse { weight } else { 0.0 };
            let next = pack(found, (predicted * kept + loss).max(f32::MIN_POSITIVE));
            match self.calibration.compare_exchange_weak(bits, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break,
                Err(newer) => bits = newer,
            }
        }
    }
}

fn pack(worse: f32, predicted: f32) -> u64 {
    u64::from(worse.to_bits()) << 32 | u64::from(predicted.to_bits())
}

fn unpack(bits: u64) -> (f32, f32) {
    (f32::from_bits((bits >> 32) as u32), f32::from_bits(bits as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Thresholds = Thresholds { confidence_threshold: 0.85, max_uncertainty: 0.15 };
    const FUNDS: Funds = Funds { loss_rate: 0.05, slack: 0.0, charge: 1.0, q: 1.0, saves: false };

    fn pacer() -> Pacer {
        Pacer::new(PacingState::default())
    }

    fn boldness(pacer: &Pacer) -> f32 {
        pacer.state().boldness
    }

    #[test]
    fn it_begins_with_the_first_thresholds_to_the_bit() {
        assert_eq!(pacer().thresholds(FIRST), FIRST);
    }

    #[test]
    fn requests_that_spend_less_than_the_target_make_it_bolder_and_others_more_careful() {
        let bolder = pacer();
        bolder.decided(FIRST, None, FUNDS);
        bolder.decided(FIRST, Some(0.99), FUNDS);
        assert!(boldness(&bolder) > 1.003);
        let thresholds = bolder.thresholds(FIRST);
        assert!(thresholds.confidence_threshold < 0.85 && thresholds.max_uncertainty > 0.15);
        let careful = pacer();
        careful.decided(FIRST, Some(0.9), FUNDS);
        assert!(boldness(&careful) < 1.0);
    }

    #[test]
    fn it_settles_where_the_predicted_loss_is_the_loss_rate() {
        let pacer = pacer();
        // Evenly spread confidences: those above 1 - limit lose limit / 2 on average, so limit^2 / 2 = 0.05.
        for i in 0..20_000_u32 {
            let confidence = (f64::from(i) * 0.618_033_988_749_895).fract() as f32;
            let passed = confidence >= pacer.thresholds(FIRST).confidence_threshold;
            pacer.decided(FIRST, passed.then_some(confidence), FUNDS);
        }
        let limit = 1.0 - pacer.thresholds(FIRST).confidence_threshold;
        assert!((limit - 0.1_f32.sqrt()).abs() < 0.02, "{limit}");
    }

    #[test]
    fn verdicts_correct_confidences_that_are_too_high() {
        let pacer = pacer();
        for i in 0..1000 {
            pacer.judged(0.95, i % 5 == 0, 0.5);
        }
        assert!((pacer.calibration() - 4.0).abs() < 1.5, "{}", pacer.calibration());
    }

    #[test]
    fn whatever_it_receives_its_values_stay_finite_and_within_their_limits() {
        let pacer = pacer();
        let empty = Funds { slack: -1e9, ..FUNDS };
        for confidence in [1.0, 0.0, 0.5] {
            for worse in [true, false] {
                (0..10_000).for_each(|_| {
                    pacer.judged(confidence, worse, 0.001);
                    pacer.decided(FIRST, Some(confidence), empty);
                });
                let threshold = pacer.thresholds(FIRST).confidence_threshold;
                assert!(pacer.state().is_valid() && (0.049..=0.9991).contains(&threshold), "{pacer:?}");
            }
        }
        let strict = Thresholds { confidence_threshold: 1.0, max_uncertainty: 1.0 };
        (0..10_000).for_each(|_| pacer.decided(strict, None, FUNDS));
        let thresholds = pacer.thresholds(strict);
        assert!((thresholds.confidence_threshold - 0.05).abs() < 1e-3, "{thresholds:?}");
        assert_eq!(thresholds.max_uncertainty, 1.0);
    }
}
