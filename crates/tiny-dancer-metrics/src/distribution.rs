//! A family of histograms to observe into: where its cells are, and which bucket a value is for.

use crate::catalogue::{
    CONFIDENCE_SCORES, FEATURE_ENGINEERING_DURATION, Family, Kind, MODEL_INFERENCE_DURATION, ROUTING_LATENCY,
    UNCERTAINTY_ESTIMATES, Unit,
};
use crate::error::RegisterError;
use crate::grid::Grid;
use crate::shard::{Histograms, Shards, Writer};
use std::collections::BTreeMap;
use std::time::Duration;

/// All families of histograms.
#[derive(Debug)]
pub(crate) struct Distributions {
    pub(crate) latency: Distribution,
    pub(crate) feature_engineering: Distribution,
    pub(crate) model_inference: Distribution,
    pub(crate) confidence: Distribution,
    pub(crate) uncertainty: Distribution,
}

impl Distributions {
    /// With the bounds that the families' names have in `buckets`, or else the catalogue's.
    pub(crate) fn new(buckets: &BTreeMap<String, Vec<f64>>) -> Result<Self, RegisterError> {
        let new = |family| Distribution::new(family, buckets.get(family.name).map(Vec::as_slice));
        let all = Self {
            latency: new(&ROUTING_LATENCY)?,
            feature_engineering: new(&FEATURE_ENGINEERING_DURATION)?,
            model_inference: new(&MODEL_INFERENCE_DURATION)?,
            confidence: new(&CONFIDENCE_SCORES)?,
            uncertainty: new(&UNCERTAINTY_ESTIMATES)?,
        };
        match buckets.keys().find(|name| all.of(name).is_none()) {
            None => Ok(all),
            Some(name) => {
                Err(RegisterError::Buckets { family: name.clone(), expected: "the full name of a histogram" })
            }
        }
    }

    /// That of a family.
    pub(crate) fn of(&self, name: &str) -> Option<&Distribution> {
        let all = [
            &self.latency,
            &self.feature_engineering,
            &self.model_inference,
            &self.confidence,
            &self.uncertainty,
        ];
        all.into_iter().find(|distribution| distribution.family.name == name)
    }
}

/// Observes into the histograms of a family.
#[derive(Debug)]
pub(crate) struct Distribution {
    family: &'static Family,
    histograms: Histograms,
    /// The inclusive upper bounds, as they are shown.
    pub(crate) bounds: Vec<f64>,
    grid: Grid,
}

impl Distribution {
    /// With the catalogue's bounds where there are no others.
    pub(crate) fn new(family: &'static Family, bounds: Option<&[f64]>) -> Result<Self, RegisterError> {
        let catalogued = match family.kind {
            Kind::Histogram { buckets } => buckets,
            Kind::Counter | Kind::Gauge => &[],
        };
        let bounds = bounds.unwrap_or(catalogued);
        let grid = match family.unit {
            Unit::Seconds => Grid::of_durations(bounds),
            _ => Grid::of_probabilities(bounds),
        };
        let refused = |expected| RegisterError::Buckets { family: family.name.to_owned(), expected };
        let grid = grid.map_err(refused)?;
        Ok(Self { family, histograms: Histograms::of(family), bounds: bounds.to_vec(), grid })
    }

    /// One observation of a duration. The sum is kept in nanoseconds, as the clock has them.
    ///
    /// The histograms are those of this family. Where they are named the compiler knows their cells.
    #[inline]
    pub(crate) fn observe(&self, writer: &Writer, histograms: Histograms, series: usize, duration: Duration) {
        // 584 years fit.
        let nanoseconds = duration.as_secs() * 1_000_000_000 + u64::from(duration.subsec_nanos());
        writer.observe(histograms, 0, series, self.grid.duration(nanoseconds));
        writer.add_to_sum(histograms, series, nanoseconds);
    }

    /// The bucket of a probability.
    #[inline]
    pub(crate) fn bucket(&self, probability: f32) -> usize {
        self.grid.probability(probability)
    }

    /// How many observations each bucket has, the one up to infinity included.
    pub(crate) fn buckets(&self, shards: &Shards, series: usize) -> Vec<u64> {
        shards.buckets(self.histograms, series, self.bounds.len())
    }

    /// The sum of all observations, in the family's unit.
    pub(crate) fn sum(&self, shards: &Shards, series: usize) -> f64 {
        match self.family.unit {
            Unit::Seconds => shards.sum(self.histograms, series) as f64 / 1e9,
            _ => shards.float_sum(self.histograms, series),
        }
    }
}
