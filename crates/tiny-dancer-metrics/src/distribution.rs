//! The families of histograms: where their cells are, and which bucket a value falls into.

use crate::catalogue::{
    CONFIDENCE_SCORES, EMBEDDING_DURATION, FEATURE_ENGINEERING_DURATION, Family, Kind,
    MEMORY_COMMIT_DURATION, MEMORY_SEARCH_DURATION, MODEL_INFERENCE_DURATION, ROUTING_LATENCY,
    UNCERTAINTY_ESTIMATES, Unit,
};
use crate::error::RegisterError;
use crate::grid::Grid;
use crate::shard::{BLOCK, Histograms, MOST_BOUNDS, Shard, Shards};
use std::collections::BTreeMap;
use std::time::Duration;

/// All families of histograms.
#[derive(Debug)]
pub(crate) struct Distributions {
    pub(crate) latency: Durations,
    pub(crate) feature_engineering: Durations,
    pub(crate) model_inference: Durations,
    pub(crate) embedding: Durations,
    pub(crate) memory_search: Durations,
    pub(crate) memory_commit: Durations,
    confidence: Distribution,
    uncertainty: Distribution,
    /// The bounds of these two, in blocks: one pass records all candidates of a request.
    pub(crate) blocks: Vec<Bounds>,
}

impl Distributions {
    /// `buckets` has bounds by the names of families. The other families have the catalogue's.
    pub(crate) fn new(buckets: &BTreeMap<String, Vec<f64>>) -> Result<Self, RegisterError> {
        let new = |family| Distribution::new(family, buckets.get(family.name).map(Vec::as_slice));
        let confidence = new(&CONFIDENCE_SCORES).of_probabilities()?;
        let uncertainty = new(&UNCERTAINTY_ESTIMATES).of_probabilities()?;
        let all = Self {
            latency: Durations::new(new(&ROUTING_LATENCY))?,
            feature_engineering: Durations::new(new(&FEATURE_ENGINEERING_DURATION))?,
            model_inference: Durations::new(new(&MODEL_INFERENCE_DURATION))?,
            embedding: Durations::new(new(&EMBEDDING_DURATION))?,
            memory_search: Durations::new(new(&MEMORY_SEARCH_DURATION))?,
            memory_commit: Durations::new(new(&MEMORY_COMMIT_DURATION))?,
            blocks: Bounds::blocks([&confidence, &uncertainty]),
            confidence,
            uncertainty,
        };
        match buckets.keys().find(|name| all.of(name).is_none()) {
            None => Ok(all),
            Some(name) => {
                Err(RegisterError::Buckets { family: name.clone(), expected: "the full name of a histogram" })
            }
        }
    }

    /// The distribution of the family with this name.
    pub(crate) fn of(&self, name: &str) -> Option<&Distribution> {
        let durations = [
            &self.latency,
            &self.feature_engineering,
            &self.model_inference,
            &self.embedding,
            &self.memory_search,
            &self.memory_commit,
        ];
        let all = durations.map(|it| &it.distribution).into_iter();
        all.chain([&self.confidence, &self.uncertainty]).find(|it| it.family.name == name)
    }
}

/// A family of histograms, as a scrape reads it.
#[derive(Debug)]
pub(crate) struct Distribution {
    family: &'static Family,
    histograms: Histograms,
    /// The inclusive upper bounds, as they are shown.
    pub(crate) bounds: Vec<f64>,
    /// Whether the cell of a bound counts all values up to the bound, rather than those in its bucket.
    cumulative: bool,
}

impl Distribution {
    /// With these bounds, or else the catalogue's.
    fn new(family: &'static Family, bounds: Option<&[f64]>) -> Self {
        let catalogued = match family.kind {
            Kind::Histogram { buckets } => buckets,
            Kind::Counter | Kind::Gauge => &[],
        };
        let bounds = bounds.unwrap_or(catalogued).to_vec();
        Self { family, histograms: Histograms::of(family), bounds, cumulative: false }
    }

    /// The same for numbers from 0 to 1 in single precision, which [`Bounds`] needs.
    fn of_probabilities(self) -> Result<Self, RegisterError> {
        let bounds: Vec<_> = (0..self.bounds.len()).map(|i| self.rounded_bound(i)).collect();
        if !bounds.iter().all(|&bound| bound > 0.0 && bound <= 1.0) {
            return Err(self.refused("bounds above 0 and up to 1"));
        }
        if !(1..=MOST_BOUNDS).contains(&bounds.len()) || !bounds.is_sorted_by(|a, b| a < b) {
            return Err(self.refused("rising bounds, and at most 48 of them"));
        }
        Ok(Self { cumulative: true, ..self })
    }

    /// A bound, rounded as the observed values are: 0.85 is in the bucket up to 0.85. After the last, infinity.
    fn rounded_bound(&self, bound: usize) -> f32 {
        self.bounds.get(bound).map_or(f32::INFINITY, |&bound| bound as f32)
    }

    fn refused(&self, expected: &'static str) -> RegisterError {
        RegisterError::Buckets { family: self.family.name.to_owned(), expected }
    }

    /// The number of observations in each bucket, that of +Inf included.
    pub(crate) fn buckets(&self, shards: &Shards, series: usize) -> Vec<u64> {
        let mut buckets = shards.buckets(self.histograms, series, self.bounds.len());
        if self.cumulative {
            let mut below = 0;
            for bucket in &mut buckets {
                // A request that is being recorded may be in one cell and not yet in the next, so counts may descend. The
                // largest so far keeps them in order, and it only rises.
                let not_above = below.max(*bucket);
                *bucket = not_above - below;
                below = not_above;
            }
        }
        buckets
    }

    /// The sum of all observations, in the family's unit.
    pub(crate) fn sum(&self, shards: &Shards, series: usize) -> f64 {
        match self.family.unit {
            Unit::Seconds => shards.sum(self.histograms, series) as f64 / 1e9,
            _ => shards.float_sum(self.histograms, series),
        }
    }
}

/// A family of histograms of durations.
#[derive(Debug)]
pub(crate) struct Durations {
    distribution: Distribution,
    grid: Grid,
}

impl Durations {
    fn new(distribution: Distribution) -> Result<Self, RegisterError> {
        let grid = Grid::new(&distribution.bounds).map_err(|expected| distribution.refused(expected))?;
        Ok(Self { distribution, grid })
    }

    /// The number of buckets, that of +Inf included.
    pub(crate) fn buckets(&self) -> usize {
        self.distribution.bounds.len() + 1
    }

    /// The bucket of a duration.
    pub(crate) fn bucket(&self, duration: Duration) -> usize {
        self.grid.bucket(nanoseconds(duration))
    }

    /// Observes a duration. The sum is in nanoseconds, the clock's unit.
    ///
    /// `histograms` are those of this family. Callers pass a constant, so that the compiler knows the cells.
    #[inline]
    pub(crate) fn observe(&self, shard: &Shard, histograms: Histograms, series: usize, duration: Duration) {
        let nanoseconds = nanoseconds(duration);
        shard.observe(histograms, series, self.grid.bucket(nanoseconds), 1);
        shard.add_to_sum(histograms, series, nanoseconds);
    }
}

/// 584 years fit into 64 bits.
#[inline]
fn nanoseconds(duration: Duration) -> u64 {
    duration.as_secs() * 1_000_000_000 + u64::from(duration.subsec_nanos())
}

/// A block of the bounds of confidences and uncertainties.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Bounds {
    /// Padded with infinity, so the cells after a family's last bound count all observations.
    pub(crate) values: [[f32; BLOCK]; 2],
    /// The number of blocks before this one.
    pub(crate) block: usize,
    pub(crate) is_last: bool,
}

impl Bounds {
    fn blocks(families: [&Distribution; 2]) -> Vec<Self> {
        let blocks = families.map(|it| it.bounds.len()).into_iter().max().unwrap_or(0).div_ceil(BLOCK);
        let block = |block| {
            let values = families.map(|it| std::array::from_fn(|i| it.rounded_bound(block * BLOCK + i)));
            Self { values, block, is_last: block + 1 == blocks }
        };
        (0..blocks).map(block).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_probabilities_that_are_equal_unsorted_out_of_range_or_too_many_are_refused() {
        let new = |bounds: &[f64]| Distribution::new(&CONFIDENCE_SCORES, Some(bounds)).of_probabilities();
        let refused: &[&[f64]] = &[
            &[0.5, 0.500_000_01],
            &[0.25, 0.75, 0.5, 1.0],
            &[0.5, 0.5],
            &[0.0, 0.5],
            &[0.5, 1.5],
            &[-0.5],
            &[f64::NAN],
            &[],
        ];
        for bounds in refused {
            assert!(new(bounds).is_err(), "{bounds:?}");
        }
        let sixty_fourths = |count| (1..=count).map(|i| i as f64 / 64.0).collect::<Vec<_>>();
        assert!(new(&sixty_fourths(MOST_BOUNDS)).is_ok());
        assert!(new(&sixty_fourths(MOST_BOUNDS + 1)).is_err());
        assert!(new(&[0.5, 0.501]).is_ok());
    }
}
