//! What can go wrong.

/// Why a collector could not be registered. Nothing of it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// A constant label can't be one.
    #[error("constant label {name:?}: expected {expected}")]
    ConstLabel {
        /// The label's name.
        name: String,
        /// What it must be.
        expected: &'static str,
    },
    /// The registry has a family of that name: from another collector with the same constant labels, which can be
    /// cloned instead, or one of somebody else's.
    #[error("{family} cannot be registered")]
    Family {
        /// The family's name.
        family: &'static str,
        /// What prometheus has against it.
        source: prometheus::Error,
    },
}

/// Why a registry could not be written as text. Only a collector of somebody else's in the same registry can be the
/// cause.
#[derive(Debug, thiserror::Error)]
#[error("the registry cannot be written as text")]
#[non_exhaustive]
pub struct ExportError {
    /// What prometheus has against it.
    pub source: prometheus::Error,
}
