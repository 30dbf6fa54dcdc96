//! The upper bound on how many of the judged-by-chance answers were worse: section "The bound" of `docs/promises.md`.

/// How many values `theta` has, each half of the one before. Seven keep the bound close to the best one from the first
/// answer to any number: at 10,000 judged and found worse it is 1.03 of what was worse, and at most 1.013 later. Each further
/// value adds to the logarithm, which the first answers pay.
const GRID: usize = 7;

/// The largest `theta`, as a part of `-ln(1 - q)`, at which a charge would be infinite.
const LARGEST: f64 = 0.85;

/// For answers that are judged with one probability `q` below 1: of `n` of them judged and found worse, the bound on those
/// that were worse, judged or not.
///
/// ```text
/// U(n) = min over theta of (s(theta) n + ln(|Theta| / delta)) / theta      s(theta) = -ln(1 - (1 - exp(-theta)) / q)
/// ```
///
/// It is the least of a few straight lines, so it is concave.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    /// `s(theta) / theta`
    slopes: [f64; GRID],
    /// `ln(|Theta| / delta) / theta`
    intercepts: [f64; GRID],
}

impl Bound {
    /// The bound for the judging rate `q`, below 1, which holds with probability `1 - delta` at all times at once.
    pub(super) fn new(q: f64, delta: f64) -> Self {
        let log = (GRID as f64 / delta).ln();
        let thetas: [f64; GRID] =
            std::array::from_fn(|halvings| -LARGEST * (-q).ln_1p() / f64::from(1_u32 << halvings));
        Self {
            slopes: thetas.map(|theta| -((-theta).exp_m1() / q).ln_1p() / theta),
            intercepts: thetas.map(|theta| log / theta),
        }
    }

    #[inline]
    pub(super) fn of(&self, n: u64) -> f64 {
        let n = n as f64;
        let lines = self.slopes.iter().zip(&self.intercepts);
        lines.map(|(slope, intercept)| slope * n + intercept).fold(f64::INFINITY, f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed in numpy from the formulas; docs/promises.md shows them.
    #[test]
    fn the_bound_has_the_values_of_its_formula() {
        let counts = [0, 1, 10, 100, 1000, 10_000];
        for (q, expected) in [
            (0.2, [26.053_619, 36.566_414, 115.605_400, 659.675_314, 5_463.851_659, 51_437.195_078]),
            (0.5, [8.387_392, 12.140_430, 41.012_343, 250.866_269, 2_146.642_980, 20_455.972_756]),
            (0.9, [2.524_857, 4.099_891, 17.134_168, 124.959_621, 1_148.060_405, 11_230.622_801]),
        ] {
            let bound = Bound::new(q, 0.05);
            for (n, expected) in counts.into_iter().zip(expected) {
                assert!((bound.of(n) - expected).abs() < 1e-5, "{q}, {n}: {}", bound.of(n));
            }
        }
    }
}
