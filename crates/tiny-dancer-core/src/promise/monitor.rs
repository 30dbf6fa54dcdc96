//! The promise monitor: an anytime-valid test of the promise, on the outcomes that callers report.

/// The number of players, each with another bet: how far the failure rate exceeds `alpha` is unknown beforehand.
const BETS: usize = 8;

/// Compares the share of insufficient answers of the lightweight model with the promised `alpha`.
///
/// It is a game against the promise (Waudby-Smith and Ramdas, "Estimating means of bounded random variables by
/// betting", 2024). A player bets that the next answer is insufficient, with the bet `lambda`. The odds are fair if
/// exactly a share `alpha` of the answers is insufficient:
///
/// ```text
/// wealth' = wealth (1 + lambda (x - alpha))       x = 1 insufficient, 0 sufficed
/// ```
///
/// While the promise holds, the expected wealth does not grow. By Ville's inequality the probability that it ever reaches
/// `1 / delta` is then at most `delta`, **at any number of looks**. The wealth is an e-value: evidence against the
/// promise. Two mixtures make the test fast:
///
/// - Over `lambda`: eight players with different bets share the first unit of wealth.
/// - Over time, since a promise may hold for long and then break: of each player's unit a part `1 / (t (t + 1))` enters
///   the game at outcome `t`, and the rest is kept until later.
///
/// A mixture of fair games is fair.
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
    /// `1 / delta`, the wealth that refutes the promise.
    limit: f64,
    /// Each player's wealth in the game.
    wealth: [f64; BETS],
    reported: u64,
    insufficient: u64,
    broken: bool,
}

/// The state of a [`PromiseMonitor`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PromiseState {
    /// The promised share.
    pub alpha: f64,
    /// The number of answers of the lightweight model that were reported as sufficient or insufficient.
    pub reported: u64,
    /// The number of insufficient ones among them.
    pub insufficient: u64,
    /// Evidence against the promise (an e-value): 1 is none, `1 / delta` refutes it.
    pub wealth: f64,
    /// Whether the promise was ever refuted.
    pub broken: bool,
}

impl PromiseMonitor {
    /// A monitor without any outcome.
    pub fn new(budget: super::RiskBudget) -> Self {
        Self {
            alpha: budget.alpha,
            limit: budget.delta.recip(),
            wealth: [0.0; BETS],
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
        let entering = 1.0 / (t * (t + 1.0));
        let x = f64::from(u8::from(insufficient));
        for (bet, wealth) in self.wealth.iter_mut().enumerate() {
            *wealth = (*wealth + entering) * (1.0 + lambda(bet, self.alpha) * (x - self.alpha));
            // The wealth against a broken promise goes on growing, and must not overflow.
            *wealth = wealth.min(f64::MAX / (2 * BETS) as f64);
        }
        let first = !self.broken && self.wealth() >= self.limit;
        self.broken |= first;
        first
    }

    /// The players' mean wealth in the game, plus the part that has not entered it.
    fn wealth(&self) -> f64 {
        self.wealth.iter().sum::<f64>() / BETS as f64 + 1.0 / (self.reported as f64 + 1.0)
    }

    /// The state after all outcomes so far.
    pub fn state(&self) -> PromiseState {
        PromiseState {
            alpha: self.alpha,
            reported: self.reported,
            insufficient: self.insufficient,
            wealth: self.wealth(),
            broken: self.broken,
        }
    }

    /// Restarts the monitor without any outcome.
    pub fn reset(&mut self) {
        (self.wealth, self.reported, self.insufficient, self.broken) = ([0.0; BETS], 0, 0, false);
    }
}

/// A player's bet. A sufficient answer costs the players evenly spaced parts of their wealth, from 0 to one half. If a
/// share `q` of the answers is insufficient, the wealth of the player with the part `(q - alpha) / (1 - alpha)` grows
/// fastest.
fn lambda(bet: usize, alpha: f64) -> f64 {
    (bet as f64 + 0.5) / BETS as f64 / 2.0 / alpha
}
