//! The promise: thresholds that keep a stated risk, instead of thresholds that were guessed.
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
//! language models, the same embedding model and memory. Whether it still does is what the [`PromiseMonitor`] watches.

use crate::Thresholds;

mod monitor;

pub use monitor::{PromiseMonitor, PromiseState};

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
    /// The thresholds.
    pub fn thresholds(&self) -> Thresholds {
        let &Self { confidence_threshold, max_uncertainty, .. } = self;
        Thresholds { confidence_threshold, max_uncertainty }
    }

    /// Whether [`failure_bound`](Self::failure_bound) is at most `alpha`, without searching for it.
    fn keeps(&self, RiskBudget { alpha, delta }: RiskBudget) -> bool {
        self.failures < self.n && binomial_tail(self.n, self.failures, alpha) < delta
    }

    /// The upper Clopper-Pearson bound on this step's failure rate, with confidence `1 - delta`.
    pub fn failure_bound(&self, delta: f64) -> f64 {
        upper_bound(self.n, self.failures, delta)
    }
}

/// The boldest step of a path that keeps the budget.
///
/// # Errors
/// If no step keeps it: the smallest alpha that the path can promise with the same delta, or `None` where there is no path.
pub fn resolve(path: &[RiskStep], budget: RiskBudget) -> Result<RiskStep, Option<f64>> {
    let kept = path.iter().take_while(|step| step.keeps(budget)).last();
    kept.copied().ok_or_else(|| path.first().map(|step| step.failure_bound(budget.delta)))
}

/// The upper Clopper-Pearson bound: the largest failure rate under which `failures` or fewer of `n` have a probability
/// of at least `delta`. 1 where nothing was tried, or everything failed.
///
/// ```
/// use tiny_dancer_core::promise::upper_bound;
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

/// `P(X <= k)` for `X` binomial with `n` trials of probability `p`, where `k < n`.
///
/// Terms are summed away from `k` on the side where they fall, until the rest is too small to count: some dozens of
/// standard deviations at most, however many trials there are.
fn binomial_tail(n: u32, k: u32, p: f64) -> f64 {
    let (n, k, odds) = (f64::from(n), f64::from(k), (1.0 - p) / p);
    let falls = |term: f64, sum: f64| term > sum * f64::EPSILON / 1e3;
    if k < n * p {
        let (mut term, mut sum, mut i) = (binomial_term(n, k, p), 0.0, k);
        while falls(term, sum) {
            sum += term;
            term *= i / (n - i + 1.0) * odds;
            i -= 1.0;
        }
        sum.min(1.0)
    } else {
        let (mut term, mut sum, mut i) = (binomial_term(n, k + 1.0, p), 0.0, k + 1.0);
        while falls(term, sum) {
            sum += term;
            term *= (n - i) / (i + 1.0) / odds;
            i += 1.0;
        }
        (1.0 - sum).max(0.0)
    }
}

/// `P(X = k)`, to almost full precision for any `n`: Loader, "Fast and accurate computation of binomial
/// probabilities", 2000. Large logarithms cancel on paper instead of in the computer.
fn binomial_term(n: f64, k: f64, p: f64) -> f64 {
    let q = 1.0 - p;
    if k == 0.0 {
        return (n * (-p).ln_1p()).exp();
    }
    if k == n {
        return (n * p.ln()).exp();
    }
    let log = stirling_error(n)
        - stirling_error(k)
        - stirling_error(n - k)
        - deviance(k, n * p)
        - deviance(n - k, n * q);
    log.exp() * (n / (std::f64::consts::TAU * k * (n - k))).sqrt()
}

/// `ln n! - ln(sqrt(2 pi n) (n / e)^n)`, for whole `n` from 1.
fn stirling_error(n: f64) -> f64 {
    if n < 16.0 {
        let log_factorial: f64 = (2..=n as u32).map(|i| f64::from(i).ln()).sum();
        return log_factorial - (0.5 * (std::f64::consts::TAU * n).ln() + n * n.ln() - n);
    }
    let m = n * n;
    (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - (1.0 / 1680.0 - 1.0 / 1188.0 / m) / m) / m) / m) / n
}

/// `x ln(x / mean) + mean - x`, also where the two are close.
fn deviance(x: f64, mean: f64) -> f64 {
    let v = (x - mean) / (x + mean);
    if v.abs() >= 0.1 {
        return x * (x / mean).ln() + mean - x;
    }
    // ln(x / mean) = 2 artanh(v), as a series.
    let (mut sum, mut power, mut i) = ((x - mean) * v, 2.0 * x * v, 1.0);
    loop {
        power *= v * v;
        i += 2.0;
        let longer = sum + power / i;
        if longer == sum {
            return sum;
        }
        sum = longer;
    }
}

#[cfg(test)]
mod tests;
