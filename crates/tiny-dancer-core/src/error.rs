//! Why a request could not be routed.

use crate::breaker::Circuit;
use std::time::Duration;

/// Why a request was not routed. One bad candidate fails the request; nothing half-done is returned.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// A circuit is open, and the configuration asks for an error (`OnOpen::Reject`) rather than the powerful model.
    #[error("the {} circuit is open", circuit.name())]
    CircuitOpen {
        /// Which of the two.
        circuit: Circuit,
        /// When it next lets a probe through; `None` where it was forced open or waits for its probes.
        retry_after: Option<Duration>,
    },
    /// A candidate's embedding has another length than the query's, or than those before it in a set.
    #[error("candidate {candidate}: embedding has {actual} dimensions, expected {expected}")]
    DimensionMismatch {
        /// The candidate's place in the request or in the set; 0 where a whole set has another dimension than the query.
        candidate: usize,
        /// The query's dimension, or that of the set's first candidate.
        expected: usize,
        /// The candidate's.
        actual: usize,
    },
    /// The query embedding has no elements.
    #[error("query_embedding is empty")]
    EmptyQuery,
    /// A success rate outside 0 to 1, or NaN.
    #[error("candidate {candidate}: success_rate is {value}, expected 0 to 1")]
    InvalidSuccessRate {
        /// The candidate's place in the request.
        candidate: usize,
        /// What it holds.
        value: f32,
    },
    /// An element of an embedding is NaN or infinite.
    #[error("{}embedding[{index}] is {value}", Owner(*candidate))]
    NonFiniteEmbedding {
        /// The candidate's place in the request; `None` is the query.
        candidate: Option<usize>,
        /// The element's place in the embedding.
        index: usize,
        /// What it holds.
        value: f32,
    },
    /// The model's output is NaN or infinite. This is the router's own failure, and the only one that counts for
    /// the `inference` circuit.
    #[error("{}the model's logit is {value}", Owner(*candidate))]
    NonFiniteOutput {
        /// The candidate that it was computed for; `None` is the request as a whole.
        candidate: Option<usize>,
        /// The output.
        value: f32,
    },
    /// An embedding of zeros has no direction.
    #[error("{}embedding has norm zero", Owner(*candidate))]
    ZeroNorm {
        /// The candidate's place in the request; `None` is the query.
        candidate: Option<usize>,
    },
}

/// Whose embedding it is, as the start of a message.
struct Owner(Option<usize>);

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(candidate) => write!(f, "candidate {candidate}: "),
            None => f.write_str("query: "),
        }
    }
}

impl RouteError {
    /// The kind, for labels.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::CircuitOpen { .. } => ErrorKind::CircuitOpen,
            Self::DimensionMismatch { .. } => ErrorKind::DimensionMismatch,
            Self::EmptyQuery => ErrorKind::EmptyQuery,
            Self::InvalidSuccessRate { .. } => ErrorKind::InvalidSuccessRate,
            Self::NonFiniteEmbedding { .. } => ErrorKind::NonFiniteEmbedding,
            Self::NonFiniteOutput { .. } => ErrorKind::NonFiniteOutput,
            Self::ZeroNorm { .. } => ErrorKind::ZeroNorm,
        }
    }
}

/// The kind of a [`RouteError`], without its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorKind {
    /// [`RouteError::CircuitOpen`]
    CircuitOpen,
    /// [`RouteError::DimensionMismatch`]
    DimensionMismatch,
    /// [`RouteError::EmptyQuery`]
    EmptyQuery,
    /// [`RouteError::InvalidSuccessRate`]
    InvalidSuccessRate,
    /// [`RouteError::NonFiniteEmbedding`]
    NonFiniteEmbedding,
    /// [`RouteError::NonFiniteOutput`]
    NonFiniteOutput,
    /// [`RouteError::ZeroNorm`]
    ZeroNorm,
}

impl ErrorKind {
    /// All seven, in the order of their labels.
    pub const ALL: [Self; 7] = [
        Self::CircuitOpen,
        Self::DimensionMismatch,
        Self::EmptyQuery,
        Self::InvalidSuccessRate,
        Self::NonFiniteEmbedding,
        Self::NonFiniteOutput,
        Self::ZeroNorm,
    ];

    /// The name in labels, attributes and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CircuitOpen => "circuit_open",
            Self::DimensionMismatch => "dimension_mismatch",
            Self::EmptyQuery => "empty_query",
            Self::InvalidSuccessRate => "invalid_success_rate",
            Self::NonFiniteEmbedding => "non_finite_embedding",
            Self::NonFiniteOutput => "non_finite_output",
            Self::ZeroNorm => "zero_norm",
        }
    }
}
