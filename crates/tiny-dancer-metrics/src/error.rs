//! What can go wrong.

use std::error::Error;

/// Why a collector could not be registered. Nothing of it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Configured buckets can't be used.
    #[error("buckets of {family:?}: expected {expected}")]
    Buckets {
        /// The family's name, as it was configured.
        family: String,
        /// What they must be.
        expected: &'static str,
    },
    /// A constant label can't be one.
    #[error("constant label {name:?}: expected {expected}")]
    ConstLabel {
        /// The label's name.
        name: String,
        /// What it must be.
        expected: &'static str,
    },
    /// The registry has a family of that name: from another collector with the same constant labels, which can be
    /// cloned instead, or another crate's.
    #[error("{family} cannot be registered: {source}")]
    Family {
        /// The family's name.
        family: &'static str,
        /// What prometheus says, a `prometheus::Error`.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A price that is negative or no number.
    #[error("price of the {model} model: expected a number of at least 0, got {price}")]
    Price {
        /// Whose.
        model: &'static str,
        /// What was configured.
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
    /// What prometheus says, a `prometheus::Error`.
    pub source: Box<dyn Error + Send + Sync>,
}

impl ExportError {
    pub(crate) fn new(source: prometheus::Error) -> Self {
        Self { source: source.into() }
    }
}
