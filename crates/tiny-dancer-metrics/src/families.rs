//! The families in a registry: made from the catalogue, registered all or none, read at each scrape.

use crate::catalogue::{
    CATALOGUE, CIRCUIT_BREAKER_STATE, Family, Kind, MODEL_INFO, REQUESTS_IN_FLIGHT, Unit,
};
use crate::error::RegisterError;
use crate::shard::{Counters, Histograms, Shards};
use prometheus::Registry;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tiny_dancer_core::{Circuit, CircuitState};

/// All that is counted for one registry and one set of constant labels.
#[derive(Debug, Default)]
pub(crate) struct Families {
    pub(crate) shards: Shards,
    pub(crate) circuits: Circuits,
    model_version: Mutex<Option<String>>,
}

impl Families {
    /// Registers every family, or none: what was registered before one failed is taken back.
    pub(crate) fn register(
        registry: &Registry,
        const_labels: &[(&str, &str)],
    ) -> Result<Arc<Self>, RegisterError> {
        let const_labels = check(const_labels)?;
        let families = Arc::new(Self::default());
        let collectors: Vec<_> = CATALOGUE
            .iter()
            .map(|family| OneFamily::new(family, &const_labels, &families))
            .collect::<Result<_, _>>()?;
        for (done, collector) in collectors.iter().enumerate() {
            if let Err(source) = registry.register(Box::new(collector.clone())) {
                for registered in &collectors[..done] {
                    // It fails only if somebody else has just taken the family away, which leaves it as it should be.
                    let _ = registry.unregister(Box::new(registered.clone()));
                }
                return Err(RegisterError::Family { family: collector.family.name, source });
            }
        }
        Ok(families)
    }

    pub(crate) fn set_model_version(&self, version: &str) {
        *self.model_version.lock().unwrap_or_else(PoisonError::into_inner) = Some(version.to_owned());
    }

    fn model_version(&self) -> Option<String> {
        self.model_version.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Checks constant labels, which prometheus does only in part: it would let a series have one label twice.
fn check(const_labels: &[(&str, &str)]) -> Result<HashMap<String, String>, RegisterError> {
    let mut checked = HashMap::new();
    for &(name, value) in const_labels {
        let is_word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let is_taken = CATALOGUE.iter().any(|family| family.labels.iter().any(|label| label.name == name));
        let expected =
            if name.is_empty() || !is_word || name.starts_with(|first: char| first.is_ascii_digit()) {
                "ASCII letters, digits and underscores, no digit first"
            } else if name.starts_with("__") || name == "le" || name == "quantile" {
                "a name that Prometheus does not keep for itself"
            } else if is_taken {
                "a name that no family has as a label of its own"
            } else if checked.insert(name.to_owned(), value.to_owned()).is_some() {
                "each name once"
            } else {
                continue;
            };
        return Err(RegisterError::ConstLabel { name: name.to_owned(), expected });
    }
    Ok(checked)
}

/// How many circuits are half-open and how many open. The others are closed, and need no counting.
#[derive(Debug, Default)]
pub(crate) struct Circuits {
    half_open: [AtomicI64; Circuit::ALL.len()],
    open: [AtomicI64; Circuit::ALL.len()],
}

impl Circuits {
    /// One circuit changed. Two threads may tell of two changes in the wrong order, so counts may be off, even
    /// negative, until both have told.
    pub(crate) fn change(&self, circuit: Circuit, from: CircuitState, to: CircuitState) {
        for (state, change) in [(from, -1), (to, 1)] {
            if let Some(count) = self.count(circuit, state) {
                count.fetch_add(change, Ordering::Relaxed);
            }
        }
    }

    /// Takes away what `others` counted.
    pub(crate) fn subtract(&self, others: &Self) {
        for circuit in Circuit::ALL {
            for state in CircuitState::ALL {
                if let (Some(mine), Some(other)) = (self.count(circuit, state), others.count(circuit, state))
                {
                    mine.fetch_sub(other.load(Ordering::Relaxed), Ordering::Relaxed);
                }
            }
        }
    }

    /// The worst state that any circuit is in.
    pub(crate) fn worst(&self, circuit: Circuit) -> CircuitState {
        let is_any = |&state: &CircuitState| {
            self.count(circuit, state).is_some_and(|count| count.load(Ordering::Relaxed) > 0)
        };
        CircuitState::ALL.into_iter().rev().find(is_any).unwrap_or(CircuitState::Closed)
    }

    fn count(&self, circuit: Circuit, state: CircuitState) -> Option<&AtomicI64> {
        match state {
            CircuitState::Closed => None,
            CircuitState::HalfOpen => Some(&self.half_open[circuit as usize]),
            CircuitState::Open => Some(&self.open[circuit as usize]),
        }
    }
}

/// One family, as a registry has it.
#[derive(Clone, Debug)]
struct OneFamily {
    family: &'static Family,
    desc: Desc,
    families: Arc<Families>,
}

impl OneFamily {
    fn new(
        family: &'static Family,
        const_labels: &HashMap<String, String>,
        families: &Arc<Families>,
    ) -> Result<Self, RegisterError> {
        let labels = family.labels.iter().map(|label| label.name.to_owned()).collect();
        let desc = Desc::new(family.name.to_owned(), family.help.to_owned(), labels, const_labels.clone())
            .map_err(|source| RegisterError::Family { family: family.name, source })?;
        Ok(Self { family, desc, families: Arc::clone(families) })
    }

    fn metrics(&self) -> Vec<Metric> {
        let shards = &self.families.shards;
        let all = 0..self.family.series();
        match self.family.kind {
            Kind::Counter => {
                let counters = Counters::of(self.family);
                all.map(|series| self.counter(series, shards.count(counters, series))).collect()
            }
            Kind::Histogram { buckets } => {
                let histograms = Histograms::of(self.family);
                // Durations are kept in nanoseconds, as the clock has them.
                let per_unit = if self.family.unit == Unit::Seconds { 1e9 } else { 1.0 };
                all.map(|series| {
                    let (counts, sum) = shards.histogram(histograms, series);
                    self.histogram(series, buckets, &counts, sum / per_unit)
                })
                .collect()
            }
            Kind::Gauge if self.family.name == REQUESTS_IN_FLIGHT.name => {
                vec![gauge(self.labels(0), shards.in_flight() as f64)]
            }
            Kind::Gauge if self.family.name == CIRCUIT_BREAKER_STATE.name => {
                let circuits = &self.families.circuits;
                let value = |circuit| f64::from(circuits.worst(circuit) as u8);
                Circuit::ALL.map(|circuit| gauge(self.labels(circuit as usize), value(circuit))).to_vec()
            }
            Kind::Gauge => {
                debug_assert_eq!(self.family.name, MODEL_INFO.name);
                let version = self.families.model_version();
                let labels =
                    |version: String| self.with_const_labels([(self.family.labels[0].name, &*version)]);
                version.map(|version| gauge(labels(version), 1.0)).into_iter().collect()
            }
        }
    }

    fn counter(&self, series: usize, count: u64) -> Metric {
        let mut value = Counter::default();
        value.set_value(count as f64);
        let mut metric = Metric::from_label(self.labels(series));
        metric.set_counter(value);
        metric
    }

    fn histogram(&self, series: usize, bounds: &[f64], counts: &[u64], sum: f64) -> Metric {
        let mut count = 0;
        let buckets = bounds.iter().zip(counts).map(|(&bound, in_bucket)| {
            count += in_bucket;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        });
        let mut value = Histogram::default();
        value.set_bucket(buckets.collect());
        value.set_sample_count(counts.iter().sum());
        value.set_sample_sum(sum);
        let mut metric = Metric::from_label(self.labels(series));
        metric.set_histogram(value);
        metric
    }

    fn labels(&self, series: usize) -> Vec<LabelPair> {
        self.with_const_labels(self.family.labels.iter().map(|label| (label.name, label.values[series])))
    }

    fn with_const_labels<'a>(&self, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<LabelPair> {
        let own = labels.into_iter().map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.to_owned());
            pair.set_value(value.to_owned());
            pair
        });
        let mut pairs: Vec<_> = self.desc.const_label_pairs.iter().cloned().chain(own).collect();
        pairs.sort_by(|a, b| a.name().cmp(b.name()));
        pairs
    }
}

fn gauge(labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_label(labels);
    metric.set_gauge(gauge);
    metric
}

impl Collector for OneFamily {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut family = MetricFamily::default();
        family.set_name(self.family.name.to_owned());
        family.set_help(self.family.help.to_owned());
        family.set_field_type(match self.family.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
            Kind::Histogram { .. } => MetricType::HISTOGRAM,
        });
        family.set_metric(self.metrics());
        vec![family]
    }
}

#[cfg(test)]
mod tests;
