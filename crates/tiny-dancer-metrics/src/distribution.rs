//! A family of histograms to observe into: where its cells are, and which bucket a value is for.

use crate::catalogue::{Family, Kind, Unit};
use crate::grid::Grid;
use crate::shard::{Histograms, Writer};
use std::time::Duration;

/// Observes into the histograms of a family.
#[derive(Debug)]
pub(crate) struct Distribution {
    histograms: Histograms,
    grid: Grid,
}

impl Distribution {
    pub(crate) const fn of(family: &Family) -> Self {
        let Kind::Histogram { buckets } = family.kind else { panic!("not a histogram") };
        let grid = match family.unit {
            Unit::Seconds => Grid::of_durations(buckets),
            Unit::Probability => Grid::of_probabilities(buckets),
            _ => panic!("histograms are of durations or of probabilities"),
        };
        Self { histograms: Histograms::of(family), grid }
    }

    /// One observation of a duration. The sum is kept in nanoseconds, as the clock has them.
    pub(crate) fn observe(&self, writer: &Writer, series: usize, duration: Duration) {
        // 584 years fit.
        let nanoseconds = duration.as_nanos() as u64;
        writer.observe(self.histograms, series, self.grid.duration(nanoseconds));
        writer.add_to_sum(self.histograms, series, nanoseconds as f64);
    }

    /// One observation of a probability, but for its part in the sum, which may follow for many at once.
    #[inline]
    pub(crate) fn count(&self, writer: &Writer, series: usize, probability: f32) {
        writer.observe(self.histograms, series, self.grid.probability(probability));
    }

    /// Observations' part in the sum.
    #[inline]
    pub(crate) fn add_to_sum(&self, writer: &Writer, series: usize, probabilities: f64) {
        writer.add_to_sum(self.histograms, series, probabilities);
    }
}
