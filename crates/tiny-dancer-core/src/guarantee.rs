//! The guarantee: thresholds that keep a stated risk, instead of thresholds that were guessed.
//!
//! The user states a [`RiskBudget`]: among requests sent to the lightweight model at most a share `alpha` is
//! insufficient, with confidence `1 - delta`. The model file brings a *path*: pairs of thresholds in an order that was
//! fixed beforehand on other rows, from the most careful to the boldest, and for each the number of certification rows
//! that it would have sent to the lightweight model, `n`, and how many of these were insufficient, `failures`.
//!
//! The budget is resolved by fixed-sequence testing (Angelopoulos, Bates, Candès, Jordan and Lei, "Learn then Test",
//! 2021): walk the path while the exact binomial bound of Clopper and Pearson (1934) on a step's failure rate is at
//! most `alpha`, stop at the first step where it is not, and take the one before. Since the order was fixed and the
//! walk stops at the first doubt, each step may use the whole of `delta`.
//!
//! It holds for requests that are exchangeable with the certification rows: the same kind of traffic, the same two
//! language models, the same embedding model and memory. Whether it still does is what the [`CoverageMonitor`] watches.

mod monitor;

pub use monitor::{CoverageMonitor, PromiseState};

/// What the user is ready to risk.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RiskBudget {
    /// The largest share of insufficient answers among requests sent to the lightweight model, between 0 and 1.
    pub alpha: f64,
    /// The probability with which the promise may be broken all the same, between 0 and 1.
    pub delta: f64,
}

/// One step of the path: two thresholds, and how they did on the certification rows.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RiskStep {
    /// Lightweight needs at least this confidence.
    pub confidence_threshold: f32,
    /// Lightweight needs at most this uncertainty.
    pub max_uncertainty: f32,
    /// Certification rows that these thresholds send to the lightweight model.
    pub n: u32,
    /// ... of which it was insufficient for so many.
    pub failures: u32,
}

impl RiskStep {
    /// The upper Clopper-Pearson bound on this step's failure rate, with confidence `1 - delta`.
    pub fn failure_bound(&self, delta: f64) -> f64 {
        upper_bound(self.n, self.failures, delta)
    }
}

/// The boldest step of a path that keeps the budget, or else the smallest alpha that the path can promise with the
/// same delta; `None` where there is no path.
pub fn resolve(path: &[RiskStep], budget: RiskBudget) -> Result<RiskStep, Option<f64>> {
    let kept = path.iter().take_while(|step| step.failure_bound(budget.delta) <= budget.alpha).last();
    kept.copied().ok_or_else(|| path.first().map(|step| step.failure_bound(budget.delta)))
}

/// The upper Clopper-Pearson bound: the largest failure rate under which `failures` or fewer of `n` have a probability
/// of at least `delta`. 1 where nothing was tried, or everything failed.
///
/// ```
/// use tiny_dancer_core::guarantee::upper_bound;
///
/// // No failure in 59: with 95% confidence at most one in twenty.
/// assert!((upper_bound(59, 0, 0.05) - 0.0495).abs() < 1e-4);
/// ```
pub fn upper_bound(n: u32, failures: u32, delta: f64) -> f64 {
    if failures >= n {
        return 1.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    // Sixty halvings leave less than an f64 can tell apart. Ends on the safe side, high.
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if binomial_tail(n, failures, middle) >= delta {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// `P(X <= k)` for `X` binomial with `n` trials of probability `p`, by summing terms from the largest index down.
fn binomial_tail(n: u32, k: u32, p: f64) -> f64 {
    let (odds, n, k) = ((1.0 - p) / p, f64::from(n), f64::from(k));
    let log_choose: f64 = (0..k as u32).map(f64::from).map(|i| ((n - i) / (i + 1.0)).ln()).sum();
    let mut term = (log_choose + k * p.ln() + (n - k) * (1.0 - p).ln()).exp();
    let (mut sum, mut i) = (term, k);
    while i > 0.0 {
        term *= i / (n - i + 1.0) * odds;
        sum += term;
        i -= 1.0;
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests;
