//! Why a request could not be routed.

use crate::breaker::Circuit;
use crate::names::names;
use std::time::Duration;

/// Why a request was not routed. One bad candidate fails the whole request.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// A [`Scope`](crate::Scope) was dropped before it was routed. Only observers receive this error.
    #[error("the scope was dropped before it was routed")]
    Abandoned,
    /// A circuit is open, and the configuration has `OnOpen::Reject`.
    #[error("the {} circuit is open", circuit.name())]
    CircuitOpen {
        /// Which of the two.
        circuit: Circuit,
        /// The time after which it lets the next probe through, at the latest; `None` where it was forced open.
        retry_after: Option<Duration>,
    },
    /// An embedding has another dimension than the others. This names the query where all candidates have one other
    /// dimension. Otherwise it names a candidate that differs from the query, or from the first candidate of a set.
    #[error("{}embedding has {actual} dimensions, expected {expected}", Owner(*candidate))]
    DimensionMismatch {
        /// The candidate's place in the request or in the set; `None` is the query.
        candidate: Option<usize>,
        /// The dimension of the others.
        expected: usize,
        /// The dimension of this embedding.
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
        /// Its value.
        value: f32,
    },
    /// A win rate outside 0 to the success rate, or NaN. An answer that is better is also no worse, so the win rate is
    /// at most the success rate.
    #[error("candidate {candidate}: win_rate is {value}, expected 0 to its success_rate, {success_rate}")]
    InvalidWinRate {
        /// The candidate's place in the request.
        candidate: usize,
        /// Its value.
        value: f32,
        /// The candidate's success rate.
        success_rate: f32,
    },
    /// An element of an embedding is NaN or infinite.
    #[error("{}embedding[{index}] is {value}", Owner(*candidate))]
    NonFiniteEmbedding {
        /// The candidate's place in the request; `None` is the query.
        candidate: Option<usize>,
        /// The element's place in the embedding.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// The model's output is NaN or infinite. This is the router's own failure, and the only error that the `inference`
    /// circuit counts.
    #[error("{}the model's logit is {value}", Owner(*candidate))]
    NonFiniteOutput {
        /// The candidate of the per-candidate pass; `None` is the joint pass.
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

/// The query, or a candidate, as the start of a message.
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
            Self::Abandoned => ErrorKind::Abandoned,
            Self::CircuitOpen { .. } => ErrorKind::CircuitOpen,
            Self::DimensionMismatch { .. } => ErrorKind::DimensionMismatch,
            Self::EmptyQuery => ErrorKind::EmptyQuery,
            Self::InvalidSuccessRate { .. } => ErrorKind::InvalidSuccessRate,
            Self::InvalidWinRate { .. } => ErrorKind::InvalidWinRate,
            Self::NonFiniteEmbedding { .. } => ErrorKind::NonFiniteEmbedding,
            Self::NonFiniteOutput { .. } => ErrorKind::NonFiniteOutput,
            Self::ZeroNorm { .. } => ErrorKind::ZeroNorm,
        }
    }
}

/// The kind of a [`RouteError`], without its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ErrorKind {
    /// [`RouteError::Abandoned`]
    Abandoned,
    /// [`RouteError::CircuitOpen`]
    CircuitOpen,
    /// [`RouteError::DimensionMismatch`]
    DimensionMismatch,
    /// [`RouteError::EmptyQuery`]
    EmptyQuery,
    /// [`RouteError::InvalidSuccessRate`]
    InvalidSuccessRate,
    /// [`RouteError::InvalidWinRate`]
    InvalidWinRate,
    /// [`RouteError::NonFiniteEmbedding`]
    NonFiniteEmbedding,
    /// [`RouteError::NonFiniteOutput`]
    NonFiniteOutput,
    /// [`RouteError::ZeroNorm`]
    ZeroNorm,
}

names!(ErrorKind, "error kind", {
    Abandoned => "abandoned",
    CircuitOpen => "circuit_open",
    DimensionMismatch => "dimension_mismatch",
    EmptyQuery => "empty_query",
    InvalidSuccessRate => "invalid_success_rate",
    InvalidWinRate => "invalid_win_rate",
    NonFiniteEmbedding => "non_finite_embedding",
    NonFiniteOutput => "non_finite_output",
    ZeroNorm => "zero_norm",
});
