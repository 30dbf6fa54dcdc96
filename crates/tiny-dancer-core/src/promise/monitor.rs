//! The promise monitor: an anytime-valid test of the promise, on the outcomes that callers report.

/// The number of bets, of different sizes: how far the failure rate exceeds `alpha` is unknown beforehand.
const BETS: usize = 8;

/// Compares the share of insufficient answers of the lightweight model with the promised `alpha`.
///
/// It is a betting martingale (Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", 2024).
/// A bet that the next answer is insufficient, of size `lambda`, multiplies the evidence against the promise. The odds are
/// fair if exactly a share `alpha` of the answers is insufficient:
///
/// ```text
/// evidence' = evidence (1 + lambda (x - alpha))       x = 1 insufficient, 0 sufficed
/// ```
///
/// While the promise holds, the expected evidence does not grow. By Ville's inequality the probability that it ever
/// reaches `1 / delta` is then at most `delta`, **no matter how often it is compared**. The evidence is an e-value. Two
/// mixtures make the test fast:
///
/// - Over `lambda`: the evidence is the mean of eight bets of different sizes, each with a unit at the start.
/// - Over time, since a promise may hold for long and then break: of each bet's unit a part `1 / (t (t + 1))` is added at
///   outcome `t`, and the rest is kept until later.
///
/// A mixture of fair bets is fair.
///
/// # When it is valid
///
/// The test is valid if reporting an outcome does not depend on its result. If only failures are reported, or only the
/// requests of one user, it measures another share. Failed calls have no answer and are not counted. A promise that is
/// broken once stays broken until [`reset`](Self::reset).
///
/// ```
/// use tiny_dancer_core::promise::{PromiseMonitor, RiskBudget};
///
/// let mut monitor = PromiseMonitor::new(RiskBudget { alpha: 0.1, delta: 0.05 });
/// for i in 0..1000 {
///     monitor.record(i % 20 == 0); // one in twenty is insufficient: kept
/// }
/// assert!(!monitor.state().broken);
/// for i in 0..300 {
///     monitor.record(i % 3 == 0); // one in three
/// }
/// assert!(monitor.state().broken);
/// ```
#[derive(Clone, Debug)]
pub struct PromiseMonitor {
    alpha: f64,
    /// `1 / delta`, the evidence that refutes the promise.
    limit: f64,
    /// The evidence of each bet, without the part of its unit that is kept until later.
    bets: [f64; BETS],
    reported: u64,
    insufficient: u64,
    broken: bool,
}

/// The state of a [`PromiseMonitor`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PromiseState {
    /// The promised share.
    pub alpha: f64,
    /// The allowed probability that the promise does not hold.
    pub delta: f64,
    /// The number of answers of the lightweight model that were reported as sufficient or insufficient.
    pub reported: u64,
    /// The number of insufficient ones among them.
    pub insufficient: u64,
    /// Evidence against the promise (an e-value): 1 is none, `1 / delta` refutes it.
    pub evidence: f64,
    /// Whether the promise was ever refuted.
    pub broken: bool,
}

impl PromiseMonitor {
    /// A monitor without any outcome.
    pub fn new(budget: super::RiskBudget) -> Self {
        Self {
            alpha: budget.alpha,
            limit: budget.delta.recip(),
            bets: [0.0; BETS],
            reported: 0,
            insufficient: 0,
            broken: false,
        }
    }

    /// Records an answer of the lightweight model. Returns true if this answer refutes the promise, which happens once.
    pub fn record(&mut self, insufficient: bool) -> bool {
        self.reported += 1;
        self.insufficient += u64::from(insufficient);
        let t = self.reported as f64;
        let added = 1.0 / (t * (t + 1.0));
        let x = f64::from(u8::from(insufficient));
        for (bet, evidence) in self.bets.iter_mut().enumerate() {
            *evidence = (*evidence + added) * (1.0 + lambda(bet, self.alpha) * (x - self.alpha));
            // The evidence against a broken promise continues to grow, and must not overflow.
            *evidence = evidence.min(f64::MAX / (2 * BETS) as f64);
        }
        let first = !self.broken && self.evidence() >= self.limit;
        self.broken |= first;
        first
    }

    /// The mean evidence of the bets, plus the part that is kept until later.
    fn evidence(&self) -> f64 {
        self.bets.iter().sum::<f64>() / BETS as f64 + 1.0 / (self.reported as f64 + 1.0)
    }

    /// The state after all outcomes so far.
    pub fn state(&self) -> PromiseState {
        PromiseState {
            alpha: self.alpha,
            delta: self.limit.recip(),
            reported: self.reported,
            insufficient: self.insufficient,
            evidence: self.evidence(),
            broken: self.broken,
        }
    }

    /// Restarts the monitor without any outcome.
    pub fn reset(&mut self) {
        (self.bets, self.reported, self.insufficient, self.broken) = ([0.0; BETS], 0, 0, false);
    }
}

/// The size of a bet. A sufficient answer costs the bets evenly spaced parts of their evidence, from 0 to one half. If a
/// share `q` of the answers is insufficient, the evidence of the bet with the part `(q - alpha) / (1 - alpha)` grows
/// fastest.
fn lambda(bet: usize, alpha: f64) -> f64 {
    (bet as f64 + 0.5) / BETS as f64 / 2.0 / alpha
}
