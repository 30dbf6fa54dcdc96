//! The families in a registry: made from the catalogue, registered all or none, read at each scrape.

use crate::catalogue::{
    BASELINE_COST, BUDGET_ALLOWED, BUDGET_ANSWERS, BUDGET_BALANCE, BUDGET_BOUND, BUDGET_CONFIDENCE_THRESHOLD,
    BUDGET_JUDGE_PROBABILITY, BUDGET_JUDGEMENTS, BUDGET_MISSING, BUDGET_SPENT, BUILD_INFO, CATALOGUE,
    CIRCUIT_BREAKER_STATE, COST, DRAWS, EntryState, ExportResult, Family, JudgementState, Kind,
    MEMORY_ENTRIES, MEMORY_LOG_ENTRIES, MEMORY_QUEUE_CAPACITY, MEMORY_QUEUE_LENGTH, MEMORY_SEGMENTS,
    MODEL_INFO, MODEL_LAST_RELOAD_SUCCESSFUL, MODEL_LAST_RELOAD_TIMESTAMP, OUTCOMES, PROMISE_BROKEN,
    PROMISE_EVIDENCE, PROMISE_INSUFFICIENT_RATIO, PROMISED_ALPHA, PROMISED_DELTA, Presence,
    REQUESTS_IN_FLIGHT, ROUTING_DECISIONS, Unit, draw_series, outcome_series,
};
use crate::config::{MetricsConfig, Prices};
use crate::distribution::Distributions;
use crate::error::RegisterError;
use crate::exemplars::Exemplars;
use crate::exports::{Exports, Watched};
use crate::exposition::{self, Details};
use crate::routers::{Budget, Load, Routers};
use crate::shard::{Counters, Shards};
use prometheus::Registry;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use pulp::Arch;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tiny_dancer_core::coin::Purpose;
use tiny_dancer_core::observer::MemoryState;
use tiny_dancer_core::promise::PromiseState;
use tiny_dancer_core::{Circuit, CircuitState, Clock, Kernel, ModelType, Origin, OutcomeResult, Reason};

/// Decisions by their reason. The collector counts them, and costs are computed from them.
pub(crate) const DECISIONS: Counters = Counters::of(&ROUTING_DECISIONS);
/// Draws by purpose and result. The collector counts them, and costs are computed from them.
pub(crate) const DRAWN: Counters = Counters::of(&DRAWS);
/// Outcomes by model, result and origin. The collector counts them, and costs are computed from them.
pub(crate) const REPORTS: Counters = Counters::of(&OUTCOMES);

/// The git revision that was built. The variable is set by the build, since a package has no repository.
const REVISION: &str = match option_env!("TINY_DANCER_REVISION") {
    Some(revision) if !revision.is_empty() => revision,
    _ => "unknown",
};

/// All counts of one registry and one set of constant labels.
#[derive(Debug)]
pub(crate) struct Families {
    pub(crate) shards: Shards,
    pub(crate) circuits: Circuits,
    pub(crate) routers: Routers,
    pub(crate) distributions: Distributions,
    pub(crate) exemplars: Exemplars,
    /// The time of exemplars.
    pub(crate) clock: Clock,
    /// The time since which all of it counts, in milliseconds since 1970.
    created: i64,
    /// The vector instructions of this machine.
    pub(crate) arch: Arch,
    pub(crate) spans: Watched,
    pub(crate) log_records: Watched,
    pub(crate) metric_points: Watched,
    prices: Option<Prices>,
    model_version: Mutex<Option<String>>,
}

impl Families {
    /// Registers every family or none: if one fails, those before it are unregistered.
    pub(crate) fn register(registry: &Registry, config: &MetricsConfig) -> Result<Arc<Self>, RegisterError> {
        let const_labels = check(&config.const_labels)?;
        let distributions = Distributions::new(&config.buckets)?;
        let clock = Clock::system();
        let families = Arc::new(Self {
            shards: Shards::default(),
            exemplars: Exemplars::new(distributions.latency.buckets()),
            created: clock.unix_milliseconds(),
            clock,
            circuits: Circuits::default(),
            routers: Routers::default(),
            distributions,
            arch: Arch::new(),
            spans: Watched::default(),
            log_records: Watched::default(),
            metric_points: Watched::default(),
            prices: config.prices.map(check_prices).transpose()?,
            model_version: Mutex::default(),
        });
        let collectors: Vec<_> = CATALOGUE
            .iter()
            .map(|family| OneFamily::new(family, &const_labels, &families))
            .collect::<Result<_, _>>()?;
        for (done, collector) in collectors.iter().enumerate() {
            if let Err(source) = registry.register(Box::new(collector.clone())) {
                for registered in &collectors[..done] {
                    // This fails only if the family was unregistered meanwhile, which gives the same state.
                    let _ = registry.unregister(Box::new(registered.clone()));
                }
                return Err(RegisterError::family(collector.family.name, source));
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

    /// How many requests were decided for a model.
    fn decided(&self, model: ModelType) -> u64 {
        let reasons = Reason::ALL.into_iter().filter(|reason| reason.model() == model);
        reasons.map(|reason| self.shards.count(DECISIONS, reason as usize)).sum()
    }

    /// What the calls of a model cost. It only rises, since the counters that it is computed from do.
    fn cost(&self, prices: Prices, model: ModelType) -> f64 {
        let calls = self.decided(model);
        match model {
            ModelType::Lightweight => (calls + self.shadowed()) as f64 * prices.lightweight,
            ModelType::Powerful if prices.repeated => {
                (calls + self.judged() + self.repeated()) as f64 * prices.powerful
            }
            ModelType::Powerful => (calls + self.judged()) as f64 * prices.powerful,
        }
    }

    /// How many requests the lightweight model answers for comparison only.
    fn shadowed(&self) -> u64 {
        self.shards.count(DRAWN, draw_series(Purpose::Shadow, true))
    }

    /// How many lightweight answers the powerful model answers too, to be judged.
    fn judged(&self) -> u64 {
        self.shards.count(DRAWN, draw_series(Purpose::Judge, true))
    }

    /// How many calls of the lightweight model failed or gave an insufficient answer, without those whose request has a
    /// powerful answer already.
    fn repeated(&self) -> u64 {
        let bad = OutcomeResult::ALL.into_iter().filter(|&result| result != OutcomeResult::Sufficed);
        let answers = Origin::ALL.into_iter().filter(|&origin| origin != Origin::Shadowed);
        let pairs = bad.flat_map(|result| answers.clone().map(move |origin| (result, origin)));
        let count = |(result, origin)| {
            self.shards.count(REPORTS, outcome_series(ModelType::Lightweight, result, origin))
        };
        pairs.map(count).sum()
    }

    fn baseline_cost(&self, prices: Prices) -> f64 {
        ModelType::ALL.into_iter().map(|model| self.decided(model)).sum::<u64>() as f64 * prices.powerful
    }
}

fn check_prices(prices: Prices) -> Result<Prices, RegisterError> {
    for (model, price) in
        [(ModelType::Lightweight, prices.lightweight), (ModelType::Powerful, prices.powerful)]
    {
        if !(price.is_finite() && price >= 0.0) {
            return Err(RegisterError::Price { model: model.name(), price });
        }
    }
    Ok(prices)
}

/// Checks constant labels. prometheus checks only a part of this: it accepts a series with one label twice.
fn check(const_labels: &[(String, String)]) -> Result<HashMap<String, String>, RegisterError> {
    let mut checked = HashMap::new();
    for (name, value) in const_labels {
        let is_word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let is_taken =
            CATALOGUE.iter().any(|family| family.labels.iter().any(|label| label.name == name.as_str()));
        let expected =
            if name.is_empty() || !is_word || name.starts_with(|first: char| first.is_ascii_digit()) {
                "ASCII letters, digits and underscores, no digit first"
            } else if name.starts_with("__") || name == "le" || name == "quantile" {
                "a name that Prometheus does not reserve"
            } else if is_taken {
                "a name that is no label of a family"
            } else if checked.insert(name.clone(), value.clone()).is_some() {
                "each name once"
            } else {
                continue;
            };
        return Err(RegisterError::ConstLabel { name: name.clone(), expected });
    }
    Ok(checked)
}

/// How many circuits are half-open and how many are open. All others are closed.
#[derive(Debug, Default)]
pub(crate) struct Circuits {
    half_open: [AtomicI64; Circuit::ALL.len()],
    open: [AtomicI64; Circuit::ALL.len()],
}

impl Circuits {
    /// Counts a transition. Two threads may report two transitions in the wrong order, so counts may be wrong, even
    /// negative, until both have reported.
    pub(crate) fn change(&self, circuit: Circuit, from: CircuitState, to: CircuitState) {
        for (state, change) in [(from, -1), (to, 1)] {
            if let Some(count) = self.count(circuit, state) {
                count.fetch_add(change, Ordering::Relaxed);
            }
        }
    }

    /// Subtracts what `others` counted.
    pub(crate) fn subtract(&self, others: &Self) {
        for circuit in Circuit::ALL {
            for state in CircuitState::ALL {
                if let (Some(count), Some(other)) = (self.count(circuit, state), others.count(circuit, state))
                {
                    count.fetch_sub(other.load(Ordering::Relaxed), Ordering::Relaxed);
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

/// One family, as a registry holds it.
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
            .map_err(|source| RegisterError::family(family.name, source))?;
        Ok(Self { family, desc, families: Arc::clone(families) })
    }

    fn metrics(&self) -> Vec<Metric> {
        if self.family.presence == Presence::WithMemory && !self.families.routers.has_memory() {
            return Vec::new();
        }
        if self.family.presence == Presence::WithBudget && !self.families.routers.has_budget() {
            return Vec::new();
        }
        match self.family.kind {
            Kind::Counter if self.family.unit == Unit::Currency => {
                self.families.prices.map_or_else(Vec::new, |prices| self.costs(prices))
            }
            Kind::Counter => {
                let watched = match self.family.presence {
                    Presence::WithLogs => Some(&self.families.log_records),
                    Presence::WithPush => Some(&self.families.metric_points),
                    Presence::WithTraces => Some(&self.families.spans),
                    _ => None,
                };
                if let Some(watched) = watched {
                    return watched.read().map_or_else(Vec::new, |exports| self.exports(exports));
                }
                let counters = Counters::of(self.family);
                let count = |series| self.families.shards.count(counters, series) as f64;
                (0..self.family.series()).map(|series| self.counter(series, count(series))).collect()
            }
            Kind::Histogram { .. } => self.histograms(),
            Kind::Gauge => self.gauges(),
        }
    }

    fn costs(&self, prices: Prices) -> Vec<Metric> {
        if self.family.name == BASELINE_COST.name {
            return vec![self.counter(0, self.families.baseline_cost(prices))];
        }
        debug_assert_eq!(self.family.name, COST.name);
        ModelType::ALL
            .into_iter()
            .map(|model| self.counter(model as usize, self.families.cost(prices, model)))
            .collect()
    }

    fn exports(&self, exports: Exports) -> Vec<Metric> {
        let count = |result| match result {
            ExportResult::Dropped => exports.dropped,
            ExportResult::Failed => exports.failed,
            ExportResult::Flushed => exports.flushed,
        };
        let counter = |result| self.counter(result as usize, count(result) as f64);
        ExportResult::ALL.map(counter).to_vec()
    }

    fn histograms(&self) -> Vec<Metric> {
        let Some(distribution) = self.families.distributions.of(self.family.name) else { return Vec::new() };
        let bounds = &distribution.bounds;
        (0..self.family.series())
            .map(|series| {
                let shards = &self.families.shards;
                let (counts, sum) = (distribution.buckets(shards, series), distribution.sum(shards, series));
                self.histogram(series, bounds, &counts, sum)
            })
            .collect()
    }

    fn gauges(&self) -> Vec<Metric> {
        let is = |family: Family| self.family.name == family.name;
        if self.family.presence == Presence::WithMemory {
            return self.families.routers.memory().map_or_else(Vec::new, |memory| self.memory(memory));
        }
        if self.family.presence == Presence::WithBudget {
            return self.families.routers.budget().map_or_else(Vec::new, |budget| self.budget(budget));
        }
        if is(REQUESTS_IN_FLIGHT) {
            return vec![gauge(self.labels(0), self.families.shards.in_flight() as f64)];
        }
        if is(CIRCUIT_BREAKER_STATE) {
            let circuits = &self.families.circuits;
            let value = |circuit| f64::from(circuits.worst(circuit) as u8);
            return Circuit::ALL.map(|circuit| gauge(self.labels(circuit as usize), value(circuit))).to_vec();
        }
        if is(MODEL_INFO) {
            let labels = |version: &str| self.with_const_labels([(self.family.labels[0].name, version)]);
            let version = self.families.model_version();
            return version.map(|version| gauge(labels(&version), 1.0)).into_iter().collect();
        }
        if is(BUILD_INFO) {
            let values = [env!("CARGO_PKG_VERSION"), REVISION, Kernel::detect().name()];
            let labels = self.family.labels.iter().map(|label| label.name).zip(values);
            return vec![gauge(self.with_const_labels(labels), 1.0)];
        }
        if is(MODEL_LAST_RELOAD_SUCCESSFUL) || is(MODEL_LAST_RELOAD_TIMESTAMP) {
            let value = |load: Load| {
                if is(MODEL_LAST_RELOAD_TIMESTAMP) {
                    load.last_success as f64
                } else {
                    f64::from(u8::from(load.successful))
                }
            };
            let load = self.families.routers.worst_load();
            return load.map(|load| gauge(self.labels(0), value(load))).into_iter().collect();
        }
        let value = |promise: PromiseState| {
            if is(PROMISED_ALPHA) {
                promise.alpha
            } else if is(PROMISED_DELTA) {
                promise.delta
            } else if is(PROMISE_INSUFFICIENT_RATIO) {
                promise.insufficient as f64 / promise.reported.max(1) as f64
            } else if is(PROMISE_EVIDENCE) {
                promise.evidence
            } else {
                debug_assert!(is(PROMISE_BROKEN), "{}", self.family.name);
                f64::from(u8::from(promise.broken))
            }
        };
        let promise = self.families.routers.worst_promise();
        promise.map(|promise| gauge(self.labels(0), value(promise))).into_iter().collect()
    }

    /// A gauge of the budgets.
    fn budget(&self, Budget { state, confidence_threshold }: Budget) -> Vec<Metric> {
        let is = |family: Family| self.family.name == family.name;
        if is(BUDGET_JUDGEMENTS) {
            let value = |of| match of {
                JudgementState::Expired => state.expired,
                JudgementState::Good => state.judged.saturating_sub(state.worse),
                JudgementState::Pending => state.pending,
                JudgementState::Worse => state.worse,
            };
            return JudgementState::ALL.map(|of| gauge(self.labels(of as usize), value(of) as f64)).to_vec();
        }
        let value = if is(BUDGET_ANSWERS) {
            state.answered as f64
        } else if is(BUDGET_ALLOWED) {
            state.allowed
        } else if is(BUDGET_BOUND) {
            state.bound
        } else if is(BUDGET_BALANCE) {
            state.balance
        } else if is(BUDGET_SPENT) {
            state.spent
        } else if is(BUDGET_MISSING) {
            state.missing as f64
        } else if is(BUDGET_JUDGE_PROBABILITY) {
            state.judge_rate
        } else {
            debug_assert!(is(BUDGET_CONFIDENCE_THRESHOLD), "{}", self.family.name);
            confidence_threshold.into()
        };
        vec![gauge(self.labels(0), value)]
    }

    /// A gauge of the memories.
    fn memory(&self, memory: MemoryState) -> Vec<Metric> {
        let is = |family: Family| self.family.name == family.name;
        let one = |value: usize| vec![gauge(self.labels(0), value as f64)];
        if is(MEMORY_ENTRIES) {
            let value = |state| match state {
                EntryState::Evidence => memory.evidence,
                EntryState::Pending => memory.entries.saturating_sub(memory.evidence),
            };
            let gauge = |state| gauge(self.labels(state as usize), value(state) as f64);
            return EntryState::ALL.map(gauge).to_vec();
        }
        if is(MEMORY_LOG_ENTRIES) {
            return memory.log_entries.map_or_else(Vec::new, one);
        }
        if is(MEMORY_SEGMENTS) {
            one(memory.segments)
        } else if is(MEMORY_QUEUE_LENGTH) {
            one(memory.queue)
        } else {
            debug_assert!(is(MEMORY_QUEUE_CAPACITY), "{}", self.family.name);
            one(memory.queue_capacity)
        }
    }

    fn counter(&self, series: usize, count: f64) -> Metric {
        let mut value = Counter::default();
        value.set_value(count);
        let mut metric = self.described(series);
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
        let mut metric = self.described(series);
        metric.set_histogram(value);
        metric
    }

    /// A series without a value yet. Its details are left to the snapshot of this thread, if there is one.
    fn described(&self, series: usize) -> Metric {
        let labels = self.labels(series);
        exposition::describe(self.family.name, || Details {
            labels: labels.iter().map(|pair| (pair.name().to_owned(), pair.value().to_owned())).collect(),
            created: self.families.created,
            exemplars: self.families.exemplars.of(self.family, series),
        });
        Metric::from_label(labels)
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
