//! Is the promise still kept? An anytime-valid test on the outcomes that callers report.

/// Bets on this many strengths at once, since how badly a promise breaks is not known beforehand.
const BETS: usize = 8;

/// Watches the share of insufficient answers of the lightweight model against the promised `alpha`.
///
/// It is a game against the promise (Waudby-Smith and Ramdas, "Estimating means of bounded random variables by
/// betting", 2024). A player bets a part `lambda` of its wealth that the next answer is insufficient, at odds that
/// would be fair if exactly a share `alpha` were:
///
/// ```text
/// wealth' = wealth (1 + lambda (x - alpha))       x = 1 insufficient, 0 sufficed
/// ```
///
/// While the promise holds wealth can't be expected to grow, so by Ville's inequality it ever reaches `1 / delta` with
/// a probability of at most `delta`, **however often one looks**. Two mixtures make it quick. Over `lambda`: eight
/// players of different boldness share the first unit of wealth. And over time: a promise may hold for long and then
/// break, so of each player's unit a part `1 / (t (t + 1))` only enters the game at the outcome `t`; what did not enter
/// yet is kept. A mixture of fair games is fair.
///
/// # When it is valid
///
/// If whether an outcome is reported does not depend on the result. Reporting failures only, or only the requests of
/// one user, measures something else. Failed calls say nothing of answers and are left out. It latches: once broken, a
/// promise stays broken until [`reset`](Self::reset).
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
    /// What the players have in the game.
    wealth: [f64; BETS],
    reported: u64,
    insufficient: u64,
    broken: bool,
}

/// What a [`PromiseMonitor`] has seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PromiseState {
    /// The promised share.
    pub alpha: f64,
    /// Answers of the lightweight model that were reported as good enough or not.
    pub reported: u64,
    /// ... of which so many were not.
    pub insufficient: u64,
    /// The wealth of the game against the promise: 1 at the start; `1 / delta` refutes it.
    pub wealth: f64,
    /// Whether it was ever refuted.
    pub broken: bool,
}

impl PromiseMonitor {
    /// Watches a promise from now on.
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

    /// Counts an answer of the lightweight model. True if this one refutes the promise, which happens once.
    pub fn record(&mut self, insufficient: bool) -> bool {
        self.reported += 1;
        self.insufficient += u64::from(insufficient);
        let t = self.reported as f64;
        let entering = 1.0 / (t * (t + 1.0));
        let x = f64::from(u8::from(insufficient));
        for (bet, wealth) in self.wealth.iter_mut().enumerate() {
            *wealth = (*wealth + entering) * (1.0 + lambda(bet, self.alpha) * (x - self.alpha));
            // A promise that stays broken must not overflow the wealth that refuted it long ago.
            *wealth = wealth.min(f64::MAX / (2 * BETS) as f64);
        }
        let first = !self.broken && self.wealth() >= self.limit;
        self.broken |= first;
        first
    }

    /// The players' mean wealth, and what has not entered the game.
    fn wealth(&self) -> f64 {
        self.wealth.iter().sum::<f64>() / BETS as f64 + 1.0 / (self.reported as f64 + 1.0)
    }

    /// What it has seen so far.
    pub fn state(&self) -> PromiseState {
        PromiseState {
            alpha: self.alpha,
            reported: self.reported,
            insufficient: self.insufficient,
            wealth: self.wealth(),
            broken: self.broken,
        }
    }

    /// Forgets everything, as after a reload.
    pub fn reset(&mut self) {
        (self.wealth, self.reported, self.insufficient, self.broken) = ([0.0; BETS], 0, 0, false);
    }
}

/// What a player bets: a good answer costs it a part of its wealth between 0 and a half, evenly spread. Against answers
/// of which a share `q` is insufficient, the part `(q - alpha) / (1 - alpha)` grows fastest.
fn lambda(bet: usize, alpha: f64) -> f64 {
    (bet as f64 + 0.5) / BETS as f64 / 2.0 / alpha
}
