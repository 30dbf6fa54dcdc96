//! The configuration of a memory: plain data, checked once.

use std::time::Duration;
use tiny_dancer_core::Clock;

/// How a memory searches, judges and forgets. It is checked when the memory is opened.
///
/// ```
/// use tiny_dancer_memory::MemoryConfig;
///
/// let config = MemoryConfig { good_enough: 0.7, ..Default::default() };
/// assert_eq!(config.k, 64);
/// ```
#[derive(Clone, Debug)]
pub struct MemoryConfig {
    /// The id of the embedder whose vectors are routed. A store with the vectors of another one is refused. Default none: not
    /// checked.
    pub embedder: Option<String>,
    /// How many of the nearest entries a request is routed by, 1 to 4096. Default 64, as the embedded models were trained.
    pub k: usize,
    /// The least score of a lightweight answer that is good enough, where the powerful answer is unknown, 0 to 1. Default
    /// 0.5, between a thumb up and a thumb down.
    pub good_enough: f32,
    /// How far the score of the lightweight answer may be below that of the powerful one and still be no worse, and how far above
    /// it must be to be better, 0 to 1. Default 0.
    pub margin: f32,
    /// Whether the text of a request is stored. Default no. Only stored texts can be embedded again by another embedder.
    pub store_prompts: bool,
    /// The mode of the service, such as `observe`, for the decision log; that of a request takes precedence. Default none.
    pub mode: Option<String>,
    /// The age at which an entry is dropped, at least a second. Default 180 days: with the router's half-life of seven
    /// days, the recency of older entries is about 0, and traffic changes. `None` keeps entries of each age.
    pub max_age: Option<Duration>,
    /// How many entries with a verdict are kept; the oldest are dropped first. Default 1,000,000, which take about 1.5 GB at 256
    /// dimensions.
    pub max_entries: usize,
    /// The age at which an entry of the decision log is dropped, at least a second. Default 400 days: a year can be compared with
    /// the one before. `None` keeps entries of each age.
    pub log_max_age: Option<Duration>,
    /// How many changes wait for the store at most, 1 to 10,000,000, and how many requests without a verdict are in memory; the
    /// store has the rest of these. Default 16,384: some seconds of heavy traffic, and at 256 dimensions some 20 MB.
    pub queue: usize,
    /// The clock by which entries age. Default the system's.
    pub clock: Clock,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        const DAY: u64 = 24 * 3600;
        Self {
            embedder: None,
            k: 64,
            good_enough: 0.5,
            margin: 0.0,
            store_prompts: false,
            mode: None,
            max_age: Some(Duration::from_secs(180 * DAY)),
            max_entries: 1_000_000,
            log_max_age: Some(Duration::from_secs(400 * DAY)),
            queue: 16_384,
            clock: Clock::system(),
        }
    }
}

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A field is out of range.
    #[error("{field} is {value}, expected {expected}")]
    OutOfRange {
        /// Which field; times are in seconds.
        field: &'static str,
        /// Its value.
        value: f64,
        /// The range that it must have.
        expected: &'static str,
    },
}

impl MemoryConfig {
    /// Checks every field.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let count = |field, value: usize, most, expected| {
            require(field, value as f64, expected, (1..=most).contains(&value))
        };
        let unit = |field, value: f32| require(field, value.into(), "0 to 1", (0.0..=1.0).contains(&value));
        let age = |field, age: Option<Duration>| {
            let seconds = age.map_or(1.0, |age| age.as_secs_f64());
            require(field, seconds, "at least 1 s", seconds >= 1.0)
        };
        count("k", self.k, 4096, "1 to 4096")?;
        unit("good_enough", self.good_enough)?;
        unit("margin", self.margin)?;
        age("max_age", self.max_age)?;
        count("max_entries", self.max_entries, usize::MAX, "at least 1")?;
        age("log_max_age", self.log_max_age)?;
        count("queue", self.queue, 10_000_000, "1 to 10000000")
    }
}

fn require(field: &'static str, value: f64, expected: &'static str, holds: bool) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError::OutOfRange { field, value, expected }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(MemoryConfig::default().validate(), Ok(()));
    }

    #[test]
    fn a_field_out_of_range_is_refused_by_name() {
        let config = MemoryConfig::default;
        let zero = Some(Duration::ZERO);
        let cases = [
            (MemoryConfig { k: 0, ..config() }, "k is 0, expected 1 to 4096"),
            (MemoryConfig { k: 4097, ..config() }, "k is 4097, expected 1 to 4096"),
            (MemoryConfig { good_enough: f32::NAN, ..config() }, "good_enough is NaN, expected 0 to 1"),
            (MemoryConfig { margin: -0.5, ..config() }, "margin is -0.5, expected 0 to 1"),
            (MemoryConfig { max_age: zero, ..config() }, "max_age is 0, expected at least 1 s"),
            (MemoryConfig { max_entries: 0, ..config() }, "max_entries is 0, expected at least 1"),
            (MemoryConfig { log_max_age: zero, ..config() }, "log_max_age is 0, expected at least 1 s"),
            (MemoryConfig { queue: 0, ..config() }, "queue is 0, expected 1 to 10000000"),
            (MemoryConfig { queue: 10_000_001, ..config() }, "queue is 10000001, expected 1 to 10000000"),
        ];
        for (config, text) in cases {
            assert_eq!(config.validate().map_err(|error| error.to_string()), Err(text.to_owned()));
        }
    }
}
