//! Why a text has no vector.

use std::time::Duration;

/// Why a text has no vector.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EmbedError {
    /// The service failed too often, and is not called for some time.
    #[error("the circuit is open for another {retry_after:?}")]
    CircuitOpen {
        /// The time until a call is let through again; zero while one is under way.
        retry_after: Duration,
    },
    /// The service did not answer in time.
    #[error("no answer within {deadline:?}")]
    DeadlineExceeded {
        /// The time that the call had.
        deadline: Duration,
    },
    /// The vectors of the service have other dimensions than those configured.
    #[error("a vector has {actual} dimensions, expected {expected}")]
    DimensionMismatch {
        /// The configured ones.
        expected: usize,
        /// Those of the service.
        actual: usize,
    },
    /// The answer of the service has no vectors for the texts.
    #[error("the answer of the service is invalid: {flaw}")]
    InvalidResponse {
        /// What is wrong with it.
        flaw: ResponseFlaw,
    },
    /// The text is empty, or what is read of it has only whitespace and control characters.
    #[error("the text of {bytes} bytes has no tokens")]
    NoTokens {
        /// The length of the text.
        bytes: usize,
    },
    /// An element of the vector is infinite or no number.
    #[error("element {element} of the vector is {value}")]
    NonFinite {
        /// Which element.
        element: usize,
        /// Its value.
        value: f32,
    },
    /// The service limits the rate of calls (status 429), also after all attempts.
    #[error("the service limits the rate of calls (429{})", Code(code.as_deref()))]
    RateLimited {
        /// The code of the service, such as `insufficient_quota`.
        code: Option<String>,
    },
    /// The service refused the call: the key, the model or the text is wrong, or the address redirects.
    #[error("the service refused the call ({status}{})", Code(code.as_deref()))]
    Rejected {
        /// The status of HTTP.
        status: u16,
        /// The code of the service, such as `context_length_exceeded`.
        code: Option<String>,
    },
    /// The service failed, also after all attempts.
    #[error("the service failed ({status}{})", Code(code.as_deref()))]
    Unavailable {
        /// The status of HTTP.
        status: u16,
        /// The code of the service.
        code: Option<String>,
    },
    /// No connection, or one that broke, also after all attempts.
    #[error("the service is unreachable: {source}")]
    Unreachable {
        /// The cause.
        source: TransportError,
    },
    /// The rows of the text's tokens add up to zero, which has no direction: each of its words is unknown.
    #[error("the vectors of the text's {tokens} tokens add up to zero")]
    ZeroNorm {
        /// Tokens that were read.
        tokens: usize,
    },
}

impl EmbedError {
    /// The kind, for labels.
    pub fn kind(&self) -> EmbedErrorKind {
        match self {
            Self::CircuitOpen { .. } => EmbedErrorKind::CircuitOpen,
            Self::DeadlineExceeded { .. } => EmbedErrorKind::DeadlineExceeded,
            Self::DimensionMismatch { .. } => EmbedErrorKind::DimensionMismatch,
            Self::InvalidResponse { .. } => EmbedErrorKind::InvalidResponse,
            Self::NoTokens { .. } => EmbedErrorKind::NoTokens,
            Self::NonFinite { .. } => EmbedErrorKind::NonFinite,
            Self::RateLimited { .. } => EmbedErrorKind::RateLimited,
            Self::Rejected { .. } => EmbedErrorKind::Rejected,
            Self::Unavailable { .. } => EmbedErrorKind::Unavailable,
            Self::Unreachable { .. } => EmbedErrorKind::Unreachable,
            Self::ZeroNorm { .. } => EmbedErrorKind::ZeroNorm,
        }
    }
}

/// The kind of an [`EmbedError`], without its values. Its name is also that of a `StageErrorKind` of `tiny-dancer-core`, so that a
/// scope can report it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum EmbedErrorKind {
    /// [`EmbedError::CircuitOpen`]
    CircuitOpen,
    /// [`EmbedError::DeadlineExceeded`]
    DeadlineExceeded,
    /// [`EmbedError::DimensionMismatch`]
    DimensionMismatch,
    /// [`EmbedError::InvalidResponse`]
    InvalidResponse,
    /// [`EmbedError::NoTokens`]
    NoTokens,
    /// [`EmbedError::NonFinite`]
    NonFinite,
    /// [`EmbedError::RateLimited`]
    RateLimited,
    /// [`EmbedError::Rejected`]
    Rejected,
    /// [`EmbedError::Unavailable`]
    Unavailable,
    /// [`EmbedError::Unreachable`]
    Unreachable,
    /// [`EmbedError::ZeroNorm`]
    ZeroNorm,
}

impl EmbedErrorKind {
    /// Every kind, in the order of the labels.
    pub const ALL: [Self; 11] = [
        Self::CircuitOpen,
        Self::DeadlineExceeded,
        Self::DimensionMismatch,
        Self::InvalidResponse,
        Self::NoTokens,
        Self::NonFinite,
        Self::RateLimited,
        Self::Rejected,
        Self::Unavailable,
        Self::Unreachable,
        Self::ZeroNorm,
    ];

    /// The name in labels, attributes and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CircuitOpen => "circuit_open",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::DimensionMismatch => "dimension_mismatch",
            Self::InvalidResponse => "invalid_response",
            Self::NoTokens => "no_tokens",
            Self::NonFinite => "non_finite",
            Self::RateLimited => "rate_limited",
            Self::Rejected => "rejected",
            Self::Unavailable => "unavailable",
            Self::Unreachable => "unreachable",
            Self::ZeroNorm => "zero_norm",
        }
    }
}

impl std::fmt::Display for EmbedErrorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseFlaw {
    /// A vector as text is not base64 of whole floats.
    #[error("row {index} is not base64 of floats")]
    Base64 {
        /// Which row.
        index: usize,
    },
    /// More or fewer rows than texts.
    #[error("{actual} rows, expected {expected}")]
    Count {
        /// The number of texts.
        expected: usize,
        /// The number of rows.
        actual: usize,
    },
    /// An index is out of range, or twice.
    #[error("row index {index} among {count} texts, out of range or repeated")]
    Index {
        /// The index.
        index: usize,
        /// The number of texts.
        count: usize,
    },
    /// Not JSON, or not of this shape.
    #[error("not the JSON of embeddings, at line {line}, column {column}")]
    Json {
        /// Where reading ended.
        line: usize,
        /// Where reading ended.
        column: usize,
    },
    /// Longer than vectors of this many texts can be.
    #[error("more than {max} bytes")]
    TooLarge {
        /// The most bytes.
        max: u64,
    },
}

/// The failure of a connection, as text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TransportError(String);

impl TransportError {
    /// For implementations of [`Embedder`](crate::Embedder).
    pub fn new(cause: impl Into<String>) -> Self {
        Self(cause.into())
    }
}

/// A code in a message.
struct Code<'a>(Option<&'a str>);

impl std::fmt::Display for Code<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |code| write!(f, ", {code}"))
    }
}

/// Why a batch has no vectors.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}{source}", text.map_or(String::new(), |text| format!("text {text}: ")))]
#[non_exhaustive]
pub struct BatchError {
    /// The place of the text that failed; `None` where all failed together.
    pub text: Option<usize>,
    /// Why.
    pub source: EmbedError,
}

impl BatchError {
    /// For implementations of [`Embedder`](crate::Embedder).
    pub fn new(text: Option<usize>, source: EmbedError) -> Self {
        Self { text, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_distinct_names_and_errors_show_their_values() {
        let code = || Some("quota".to_owned());
        let errors = [
            EmbedError::CircuitOpen { retry_after: Duration::from_secs(3) },
            EmbedError::DeadlineExceeded { deadline: Duration::from_millis(1500) },
            EmbedError::DimensionMismatch { expected: 384, actual: 1536 },
            EmbedError::InvalidResponse { flaw: ResponseFlaw::Count { expected: 2, actual: 1 } },
            EmbedError::NoTokens { bytes: 3 },
            EmbedError::NonFinite { element: 5, value: f32::INFINITY },
            EmbedError::RateLimited { code: code() },
            EmbedError::Rejected { status: 401, code: None },
            EmbedError::Unavailable { status: 503, code: code() },
            EmbedError::Unreachable { source: TransportError::new("host not found") },
            EmbedError::ZeroNorm { tokens: 7 },
        ];
        assert_eq!(errors.each_ref().map(EmbedError::kind), EmbedErrorKind::ALL);
        let mut names = EmbedErrorKind::ALL.map(EmbedErrorKind::name).to_vec();
        assert!(names.is_sorted());
        names.dedup();
        assert_eq!(names.len(), EmbedErrorKind::ALL.len());
        assert_eq!(
            errors.each_ref().map(ToString::to_string),
            [
                "the circuit is open for another 3s",
                "no answer within 1.5s",
                "a vector has 1536 dimensions, expected 384",
                "the answer of the service is invalid: 1 rows, expected 2",
                "the text of 3 bytes has no tokens",
                "element 5 of the vector is inf",
                "the service limits the rate of calls (429, quota)",
                "the service refused the call (401)",
                "the service failed (503, quota)",
                "the service is unreachable: host not found",
                "the vectors of the text's 7 tokens add up to zero",
            ]
        );
        let batch = |text| BatchError::new(text, errors[10].clone()).to_string();
        assert_eq!(batch(Some(4)), "text 4: the vectors of the text's 7 tokens add up to zero");
        assert_eq!(batch(None), errors[10].to_string());
    }
}
