//! The configuration of a collector: constant labels, buckets, prices.

use std::collections::BTreeMap;

/// The configuration of a collector. Registration validates it.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct MetricsConfig {
    /// Labels that all series get, by name and value. Collectors on one registry need the same names and different
    /// values.
    pub const_labels: Vec<(String, String)>,
    /// Upper bounds for histograms instead of [`CATALOGUE`](crate::catalogue::CATALOGUE)'s, by the family's full
    /// name.
    ///
    /// At most 48, rising. Durations are in seconds, from 2 ns to 2.1 s, each at least 1/32 above the one before;
    /// probabilities are above 0 and up to 1. The alert on the 95th percentile needs bounds around 10 ms.
    pub buckets: BTreeMap<String, Vec<f64>>,
    /// What a request costs. Without it, the families of costs are absent.
    pub prices: Option<Prices>,
}

/// What a request costs on average, in your currency.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Prices {
    /// One call of the lightweight model.
    pub lightweight: f64,
    /// One call of the powerful model.
    pub powerful: f64,
    /// Whether your program repeats a request with the powerful model after a failed call or an insufficient answer of the
    /// lightweight one. Such an outcome then costs both calls, and routing may cost more than it saves.
    #[cfg_attr(feature = "serde", serde(default))]
    pub repeated: bool,
}

#[cfg(all(test, feature = "serde"))]
mod tests;
