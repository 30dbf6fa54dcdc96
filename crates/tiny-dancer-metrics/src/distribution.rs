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
            Unit::Seconds => Grid::of_nanoseconds(buckets),
            _ => Grid::of_f32(buckets),
        };
        Self { histograms: Histograms::of(family), grid }
    }

    /// One observation of a duration.
    #[inline]
    pub(crate) fn observe(&self, writer: &Writer, series: usize, duration: Duration) {
        // 292 years fit.
        let nanoseconds = duration.as_nanos() as i64 as f64;
        self.count(writer, series, nanoseconds);
        self.add_to_sum(writer, series, nanoseconds);
    }

    /// The bucket's part of an observation; the sum's part may follow for many at once.
    #[inline]
    pub(crate) fn count(&self, writer: &Writer, series: usize, value: f64) {
        writer.observe(self.histograms, series, self.grid.bucket(value));
    }

    /// The sum's part of observations.
    #[inline]
    pub(crate) fn add_to_sum(&self, writer: &Writer, series: usize, values: f64) {
        writer.add_to_sum(self.histograms, series, values);
    }
}
