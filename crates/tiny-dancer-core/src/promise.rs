//! The promise: thresholds that keep a stated risk, instead of thresholds that are set by hand.
//!
//! The user states a [`RiskBudget`]: of the requests sent to the lightweight model at most a share `alpha` gets an
//! insufficient answer, with confidence `1 - delta`. The model file has a *risk path*: pairs of thresholds from the most
//! careful to the boldest, in an order that was fixed beforehand on other rows. For each pair it has `n`, the number of
//! certification rows that these thresholds send to the lightweight model, and `failures`, the number of insufficient
//! answers among them.
//!
//! The budget is resolved by fixed-sequence testing (Angelopoulos, Bates, Candès, Jordan and Lei, "Learn then Test",
//! 2021). The test takes the steps in order while the exact binomial bound of Clopper and Pearson (1934) on a step's
//! failure rate is at most `alpha`. It stops at the first step where the bound is larger, and the result is the step
//! before. Since the order is fixed and the test stops at the first such step, each step can use the whole of `delta`.
//!
//! The promise holds for requests that are exchangeable with the certification rows: the same kind of traffic, the same
//! two language models, the same embedding model and candidates. The [`PromiseMonitor`] tests whether it still holds.

use crate::Thresholds;

mod monitor;

pub use monitor::{PromiseMonitor, PromiseState};

/// The risk that the user accepts.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RiskBudget {
    /// The largest share of insufficient answers among requests sent to the lightweight model, between 0 and 1.
    pub alpha: f64,
    /// The probability that the promise does not hold, between 0 and 1.
    pub delta: f64,
}

/// One step of the risk path: two thresholds, and their failures on the certification rows.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RiskStep {
    /// The least confidence for the lightweight model.
    pub confidence_threshold: f32,
    /// The largest uncertainty for the lightweight model.
    pub max_uncertainty: f32,
    /// The number of certification rows that these thresholds send to the lightweight model.
    pub n: u32,
    /// The number of these rows for which its answer was insufficient.
    pub failures: u32,
}

impl RiskStep {
    /// The thresholds.
    pub fn thresholds(&self) -> Thresholds {
        let &Self { confidence_threshold, max_uncertainty, .. } = self;
        Thresholds { confidence_threshold, max_uncertainty }
    }

    /// Whether [`failure_bound`](Self::failure_bound) is at most `alpha`, without computing it.
    fn keeps(&self, RiskBudget { alpha, delta }: RiskBudget) -> bool {
        self.failures < self.n && binomial_tail(self.n, self.failures, alpha) < delta
    }

    /// The upper Clopper-Pearson bound on this step's failure rate, with confidence `1 - delta`.
    pub fn failure_bound(&self, delta: f64) -> f64 {
        upper_bound(self.n, self.failures, delta)
    }
}

/// The boldest step of a risk path that keeps the budget.
///
/// # Errors
/// If no step keeps it: the smallest alpha that the path can promise with the same delta, or `None` if the path is empty.
pub fn resolve(path: &[RiskStep], budget: RiskBudget) -> Result<RiskStep, Option<f64>> {
    let kept = path.iter().take_while(|step| step.keeps(budget)).last();
    kept.copied().ok_or_else(|| path.first().map(|step| step.failure_bound(budget.delta)))
}

/// The upper Clopper-Pearson bound: the largest failure rate under which `failures` or fewer of `n` have a probability
/// of at least `delta`. It is 1 where all `n` failed, and for `n = 0`.
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
    // Sixty halvings reach f64's precision. The result is the safe end of the interval, the high one.
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
/// The sum starts at `k` and goes in the direction in which terms fall, until the rest is negligible. That takes at most
/// some dozens of standard deviations, for any number of trials.
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
/// probabilities", 2000. Large logarithms are cancelled in the formula, not in floating point.
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

/// `ln n! - ln(sqrt(2 pi n) (n / e)^n)`, for integers `n` from 1.
fn stirling_error(n: f64) -> f64 {
    if n < 16.0 {
        let log_factorial: f64 = (2..=n as u32).map(|i| f64::from(i).ln()).sum();
        return log_factorial - (0.5 * (std::f64::consts::TAU * n).ln() + n * n.ln() - n);
    }
    let m = n * n;
    (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - (1.0 / 1680.0 - 1.0 / 1188.0 / m) / m) / m) / m) / n
}

/// `x ln(x / mean) + mean - x`, precise also where `x` and `mean` are close.
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
