//! The errors of registration and export.

use std::error::Error;

/// Why a collector could not be registered. None of its families is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Configured buckets are not valid.
    #[error("buckets of {family:?}: expected {expected}")]
    Buckets {
        /// The family's name, as it was configured.
        family: String,
        /// What is expected of them.
        expected: &'static str,
    },
    /// A constant label is not valid.
    #[error("constant label {name:?}: expected {expected}")]
    ConstLabel {
        /// The label's name.
        name: String,
        /// What is expected of it.
        expected: &'static str,
    },
    /// The registry already has a family of that name: from another collector with the same constant labels, which can be
    /// cloned instead, or from another crate.
    #[error("{family} cannot be registered: {source}")]
    Family {
        /// The family's name.
        family: &'static str,
        /// prometheus' error, a `prometheus::Error`.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A price is negative or not finite.
    #[error("price of the {model} model: expected a number of at least 0, got {price}")]
    Price {
        /// The model with this price.
        model: &'static str,
        /// The configured price.
        price: f64,
    },
}

impl RegisterError {
    pub(crate) fn family(family: &'static str, source: prometheus::Error) -> Self {
        Self::Family { family, source: source.into() }
    }
}

/// Why a registry could not be written as text. Only another crate's collector in the same registry can be the cause.
#[derive(Debug, thiserror::Error)]
#[error("the registry cannot be written as text: {source}")]
#[non_exhaustive]
pub struct ExportError {
    /// prometheus' error, a `prometheus::Error`.
    pub source: Box<dyn Error + Send + Sync>,
}

impl ExportError {
    pub(crate) fn new(source: prometheus::Error) -> Self {
        Self { source: source.into() }
    }
}
