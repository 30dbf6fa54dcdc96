//! The gateway's own metrics, beside those of the router. Their labels come from closed lists: the configuration names the models.

use crate::circuit::Circuit;
use crate::decide::Why;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts,
    Registry,
};
use std::sync::{Arc, Mutex, PoisonError};
use tiny_dancer::ModelType;
use tiny_dancer_memory::Tokens;

/// The label of calls to a model that the client chose.
pub(crate) const OTHER: &str = "other";

/// From 5 ms to 2 minutes, in steps of about a factor of 2.
const FIRST_CHUNK: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0];
/// The gateway's own time is microseconds to milliseconds.
const OVERHEAD: &[f64] =
    &[0.000_05, 0.000_1, 0.000_2, 0.000_4, 0.000_8, 0.001_6, 0.003, 0.006, 0.012, 0.05, 0.25];

/// How a request ended. Each has one result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestResult {
    /// The client got all of an answer.
    Answered,
    /// The client hung up.
    Cancelled,
    /// A model failed, and the client got its error, one of the gateway, or a part of an answer.
    Failed,
    /// The gateway refused the request.
    Refused,
}

impl RequestResult {
    const ALL: [Self; 4] = [Self::Answered, Self::Cancelled, Self::Failed, Self::Refused];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

/// How a call to a model ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallResult {
    /// The answer broke off.
    Broken,
    /// The client hung up.
    Cancelled,
    /// A status of 400 to 499 other than 408 and 429: the request or the key is wrong.
    ClientError,
    /// A status of 429.
    RateLimited,
    /// A status of 500 or more, or 408.
    ServerError,
    /// All of an answer.
    Success,
    /// No answer in time.
    Timeout,
    /// No connection.
    Unreachable,
}

impl CallResult {
    const ALL: [Self; 8] = [
        Self::Broken,
        Self::Cancelled,
        Self::ClientError,
        Self::RateLimited,
        Self::ServerError,
        Self::Success,
        Self::Timeout,
        Self::Unreachable,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Cancelled => "cancelled",
            Self::ClientError => "client_error",
            Self::RateLimited => "rate_limited",
            Self::ServerError => "server_error",
            Self::Success => "success",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
        }
    }

    /// Whether the model failed, as its circuit counts it.
    pub(crate) fn is_failure(self) -> bool {
        matches!(
            self,
            Self::Broken | Self::RateLimited | Self::ServerError | Self::Timeout | Self::Unreachable
        )
    }
}

/// What a client's verdict is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FeedbackResult {
    /// It is evidence, or replaces an older verdict.
    Accepted,
    /// The powerful model answered, whose answers are no evidence.
    Powerful,
    /// The request has this verdict, or one that is newer.
    Repeated,
    /// The request is not remembered any more.
    Unknown,
}

impl FeedbackResult {
    const ALL: [Self; 4] = [Self::Accepted, Self::Powerful, Self::Repeated, Self::Unknown];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Powerful => "powerful",
            Self::Repeated => "repeated",
            Self::Unknown => "unknown",
        }
    }
}

/// How a comparison ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ComparisonResult {
    /// The answer broke off, or the client hung up, after its delivery had begun.
    Broken,
    /// There was no room for it.
    Dropped,
    /// The other model gave no answer, or not all was done in time.
    Failed,
    /// The lightweight answer was no worse.
    NoWorse,
    /// The money of the day was spent.
    OverLimit,
    /// The program stopped before its end.
    Stopped,
    /// There was no text to compare, or the judge gave no verdict.
    Undecided,
    /// The lightweight answer was worse.
    Worse,
}

impl ComparisonResult {
    /// The results of a judgement, which is never dropped.
    const OF_JUDGEMENTS: [Self; 6] =
        [Self::Broken, Self::Failed, Self::NoWorse, Self::Stopped, Self::Undecided, Self::Worse];
    const OF_SHADOWS: [Self; 7] = [
        Self::Dropped,
        Self::Failed,
        Self::NoWorse,
        Self::OverLimit,
        Self::Stopped,
        Self::Undecided,
        Self::Worse,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Dropped => "dropped",
            Self::Failed => "failed",
            Self::NoWorse => "no_worse",
            Self::OverLimit => "over_limit",
            Self::Stopped => "stopped",
            Self::Undecided => "undecided",
            Self::Worse => "worse",
        }
    }
}

/// How a reload of the configuration ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReloadResult {
    /// The new configuration has mistakes, or could not be read.
    Invalid,
    /// It changes what is fixed while the gateway runs.
    RestartRequired,
    /// Requests begin with it from now on.
    Success,
}

impl ReloadResult {
    const ALL: [Self; 3] = [Self::Invalid, Self::RestartRequired, Self::Success];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::RestartRequired => "restart_required",
            Self::Success => "success",
        }
    }
}

/// The kinds of tokens, in the order of [`Tokens`].
const TOKENS: [&str; 3] = ["input", "cached_input", "output"];

/// The families, each series from the start.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    requests: IntCounterVec,
    served: IntCounterVec,
    calls: IntCounterVec,
    tokens: IntCounterVec,
    cost: CounterVec,
    baseline_cost: Counter,
    first_chunk: HistogramVec,
    pub(crate) overhead: Histogram,
    feedback: IntCounterVec,
    judgements: IntCounterVec,
    shadows: IntCounterVec,
    circuits: Circuits,
    reloads: IntCounterVec,
    last_reload_successful: Gauge,
    last_reload_timestamp: Gauge,
    pub(crate) in_flight: Gauge,
    pub(crate) queued: Gauge,
}

impl Metrics {
    /// Registers the families.
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let families = Families { registry };
        let metrics = Self {
            requests: families.counters("requests_total", "Requests to a model, by result.", &["result"])?,
            served: families.counters(
                "served_total",
                "Routed requests, by the router's decision, the model that was called last, and why.",
                &["decided", "served", "reason"],
            )?,
            calls: families.counters("upstream_calls_total", "Calls to models, by result.", &["model", "result"])?,
            tokens: families.counters("tokens_total", "Tokens, as the models count them.", &["model", "kind"])?,
            cost: families.register(CounterVec::new(
                opts("cost_total", "The cost by the configured prices, in their currency."),
                &["model"],
            )?)?,
            baseline_cost: families.register(Counter::with_opts(opts(
                "baseline_cost_total",
                "What the delivered tokens would have cost if the powerful model had answered all routed requests.",
            ))?)?,
            first_chunk: families.register(HistogramVec::new(
                HistogramOpts::from(opts("time_to_first_chunk_seconds", "From a call to its answer's first byte."))
                    .buckets(FIRST_CHUNK.to_vec()),
                &["model"],
            )?)?,
            overhead: families.register(Histogram::with_opts(
                HistogramOpts::from(opts(
                    "overhead_seconds",
                    "From the end of a request's body to the first call: the gateway's own time before a model's.",
                ))
                .buckets(OVERHEAD.to_vec()),
            )?)?,
            feedback: families.counters("feedback_total", "Clients' verdicts, by result.", &["result"])?,
            judgements: families.counters(
                "judgements_total",
                "Lightweight answers that were drawn to be judged, by result; all but no_worse count as worse.",
                &["result"],
            )?,
            shadows: families.counters("shadows_total", "Requests that both models answered, by result.", &["result"])?,
            circuits: families.register(Circuits::new()?)?,
            reloads: families.counters(
                "config_reloads_total",
                "Reloads of the configuration, by result.",
                &["result"],
            )?,
            last_reload_successful: families.gauge(
                "config_last_reload_successful",
                "1 if the last reload of the configuration succeeded, the start included; 0 while an older one is used.",
            )?,
            last_reload_timestamp: families.gauge(
                "config_last_reload_timestamp_seconds",
                "When the configuration in use was read, in Unix seconds.",
            )?,
            in_flight: families.gauge("requests_in_flight", "Requests that are being answered.")?,
            queued: families.gauge("requests_queued", "Requests that wait for their turn.")?,
        };
        for result in RequestResult::ALL {
            metrics.requests.with_label_values(&[result.name()]);
        }
        for result in FeedbackResult::ALL {
            metrics.feedback.with_label_values(&[result.name()]);
        }
        for result in ComparisonResult::OF_JUDGEMENTS {
            metrics.judgements.with_label_values(&[result.name()]);
        }
        for result in ComparisonResult::OF_SHADOWS {
            metrics.shadows.with_label_values(&[result.name()]);
        }
        for result in ReloadResult::ALL {
            metrics.reloads.with_label_values(&[result.name()]);
        }
        for decided in ModelType::ALL {
            for served in ModelType::ALL {
                for why in Why::names() {
                    metrics.served.with_label_values(&[decided.name(), served.name(), why]);
                }
            }
        }
        Ok(metrics)
    }

    /// Begins the series of the configured models. Those of models that were configured before go on, but for their circuits,
    /// which are replaced by these.
    pub(crate) fn models(&self, names: &[&str], circuits: Vec<OfModel>) {
        for model in names.iter().copied().chain([OTHER]) {
            for result in CallResult::ALL {
                self.calls.with_label_values(&[model, result.name()]);
            }
            for kind in TOKENS {
                self.tokens.with_label_values(&[model, kind]);
            }
            self.cost.with_label_values(&[model]);
            self.first_chunk.with_label_values(&[model]);
        }
        self.circuits.replace(circuits);
    }

    /// Counts a reload that ended at this time in Unix seconds.
    pub(crate) fn reload(&self, result: ReloadResult, at: i64) {
        self.reloads.with_label_values(&[result.name()]).inc();
        self.last_reload_successful.set(f64::from(u8::from(result == ReloadResult::Success)));
        if result == ReloadResult::Success {
            self.last_reload_timestamp.set(at as f64);
        }
    }

    /// Notes the configuration of the start.
    pub(crate) fn started(&self, at: i64) {
        self.last_reload_successful.set(1.0);
        self.last_reload_timestamp.set(at as f64);
    }

    pub(crate) fn request(&self, result: RequestResult) {
        self.requests.with_label_values(&[result.name()]).inc();
    }

    pub(crate) fn served(&self, decided: ModelType, served: ModelType, why: Why) {
        self.served.with_label_values(&[decided.name(), served.name(), why.name()]).inc();
    }

    pub(crate) fn call(&self, model: &str, result: CallResult) {
        self.calls.with_label_values(&[model, result.name()]).inc();
    }

    pub(crate) fn tokens(&self, model: &str, tokens: Tokens) {
        for (kind, count) in TOKENS.iter().zip([tokens.input, tokens.cached_input, tokens.output]) {
            self.tokens.with_label_values(&[model, *kind]).inc_by(count);
        }
    }

    pub(crate) fn cost(&self, model: &str, cost: f64) {
        self.cost.with_label_values(&[model]).inc_by(cost);
    }

    pub(crate) fn baseline_cost(&self, cost: f64) {
        self.baseline_cost.inc_by(cost);
    }

    pub(crate) fn first_chunk(&self, model: &str, seconds: f64) {
        self.first_chunk.with_label_values(&[model]).observe(seconds);
    }

    pub(crate) fn feedback(&self, result: FeedbackResult) {
        self.feedback.with_label_values(&[result.name()]).inc();
    }

    pub(crate) fn judgement(&self, result: ComparisonResult) {
        self.judgements.with_label_values(&[result.name()]).inc();
    }

    pub(crate) fn shadow(&self, result: ComparisonResult) {
        self.shadows.with_label_values(&[result.name()]).inc();
    }

    /// How many requests had this result.
    pub(crate) fn requests(&self, result: RequestResult) -> u64 {
        self.requests.with_label_values(&[result.name()]).get()
    }

    /// How often routed requests had each reason that occurred.
    pub(crate) fn reasons(&self) -> Vec<(&'static str, u64)> {
        let count = |why| {
            let models = ModelType::ALL.into_iter();
            models.map(|served| self.served_for(served, why)).sum()
        };
        Why::names().map(|why| (why, count(why))).filter(|(_, count)| *count > 0).collect()
    }

    /// How many routed requests a model served.
    pub(crate) fn served_by(&self, model: ModelType) -> u64 {
        Why::names().map(|why| self.served_for(model, why)).sum()
    }

    fn served_for(&self, served: ModelType, why: &str) -> u64 {
        let count =
            |decided: ModelType| self.served.with_label_values(&[decided.name(), served.name(), why]).get();
        ModelType::ALL.into_iter().map(count).sum()
    }

    /// The cost of all models.
    pub(crate) fn total_cost(&self) -> f64 {
        let families = self.cost.collect();
        families
            .iter()
            .flat_map(MetricFamily::get_metric)
            .map(|metric| metric.get_counter().get_value())
            .sum()
    }

    pub(crate) fn total_baseline_cost(&self) -> f64 {
        self.baseline_cost.get()
    }

    /// The upper bounds of the buckets of times to the first byte, and how many calls of all models took at most so long.
    pub(crate) fn first_bytes(&self) -> Vec<(f64, u64)> {
        let mut buckets: Vec<_> =
            FIRST_CHUNK.iter().copied().chain([f64::INFINITY]).map(|bound| (bound, 0)).collect();
        for metric in self.first_chunk.collect().iter().flat_map(MetricFamily::get_metric) {
            let histogram = metric.get_histogram();
            let counts = histogram.get_bucket().iter().map(prometheus::proto::Bucket::cumulative_count);
            let counts = counts.take(FIRST_CHUNK.len()).chain([histogram.get_sample_count()]);
            for ((_, sum), count) in buckets.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        buckets
    }
}

/// The name of a model, and its circuit.
type OfModel = (String, Arc<Circuit>);

/// Which models are not called. A wait ends without a call, so each scrape computes it.
#[derive(Clone, Debug)]
struct Circuits {
    open: GaugeVec,
    of_models: Arc<Mutex<Vec<OfModel>>>,
}

impl Circuits {
    fn new() -> Result<Self, prometheus::Error> {
        let help = "1 while a model is not called, because it failed or named a wait.";
        let open = GaugeVec::new(opts("upstream_circuit_open", help), &["model"])?;
        Ok(Self { open, of_models: Arc::default() })
    }

    fn replace(&self, circuits: Vec<OfModel>) {
        // A poisoned lock is safe to use: this is the only change.
        *self.of_models.lock().unwrap_or_else(PoisonError::into_inner) = circuits;
    }
}

impl Collector for Circuits {
    fn desc(&self) -> Vec<&Desc> {
        self.open.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Two scrapes at once would change each other's gauges, so the lock is held to the end.
        let circuits = self.of_models.lock().unwrap_or_else(PoisonError::into_inner);
        self.open.reset();
        for (model, circuit) in &*circuits {
            let gauge = self.open.with_label_values(&[model]);
            // One model at two addresses has two circuits.
            gauge.set(gauge.get().max(f64::from(u8::from(circuit.wait().is_some()))));
        }
        self.open.collect()
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("tiny_dancer_gateway_{name}"), help)
}

struct Families<'a> {
    registry: &'a Registry,
}

impl Families<'_> {
    fn register<C: Collector + Clone + 'static>(&self, family: C) -> Result<C, prometheus::Error> {
        self.registry.register(Box::new(family.clone()))?;
        Ok(family)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        self.register(IntCounterVec::new(opts(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
        self.register(Gauge::with_opts(opts(name, help))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tiny_dancer::Clock;

    #[test]
    fn an_open_circuit_is_shown_until_its_wait_ends_without_a_call() {
        let (clock, hand) = Clock::manual(0);
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let circuit = |clock: &Clock| Arc::new(Circuit::new(clock.clone()));
        let (big, small) = (circuit(&clock), circuit(&clock));
        metrics.models(&["big"], vec![("big".to_owned(), Arc::clone(&big)), ("small".to_owned(), small)]);
        let shown = || {
            let families = registry.gather();
            let family = families.iter().find(|family| family.name().ends_with("upstream_circuit_open"));
            let shown = family.unwrap().get_metric().iter();
            shown
                .map(|metric| (metric.get_label()[0].value().to_owned(), metric.get_gauge().get_value()))
                .collect::<Vec<_>>()
        };
        let all = |big, small| vec![("big".to_owned(), big), ("small".to_owned(), small)];
        assert_eq!(shown(), all(0.0, 0.0));
        big.failed(Some(Duration::from_secs(20)));
        hand.advance(Duration::from_secs(19));
        assert_eq!(shown(), all(1.0, 0.0));
        hand.advance(Duration::from_secs(1));
        assert_eq!(shown(), all(0.0, 0.0));
    }

    #[test]
    fn a_model_at_two_addresses_is_shown_as_its_worse_circuit() {
        let (clock, _) = Clock::manual(0);
        let circuits = Circuits::new().unwrap();
        let [failing, working] = [(); 2].map(|()| Arc::new(Circuit::new(clock.clone())));
        failing.failed(Some(Duration::from_secs(20)));
        circuits.replace([failing, working].map(|circuit| ("m".to_owned(), circuit)).into());
        let families = circuits.collect();
        let shown: Vec<_> =
            families[0].get_metric().iter().map(|metric| metric.get_gauge().get_value()).collect();
        assert_eq!(shown, [1.0]);
    }
}
