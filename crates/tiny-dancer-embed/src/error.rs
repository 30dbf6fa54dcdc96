//! Why a text has no vector.

/// Why a text has no vector.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EmbedError {
    /// The text is empty, or what is read of it has only whitespace and control characters.
    #[error("the text of {bytes} bytes has no tokens")]
    NoTokens {
        /// The length of the text.
        bytes: usize,
    },
    /// An element of the vector is infinite or no number.
    #[error("element {element} of the vector is {value}")]
    NotFinite {
        /// Which element.
        element: usize,
        /// Its value.
        value: f32,
    },
    /// The rows of the text's tokens add up to zero, which has no direction.
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
            Self::NoTokens { .. } => EmbedErrorKind::NoTokens,
            Self::NotFinite { .. } => EmbedErrorKind::NotFinite,
            Self::ZeroNorm { .. } => EmbedErrorKind::ZeroNorm,
        }
    }
}

/// The kind of an [`EmbedError`], without its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum EmbedErrorKind {
    /// [`EmbedError::NoTokens`]
    NoTokens,
    /// [`EmbedError::NotFinite`]
    NotFinite,
    /// [`EmbedError::ZeroNorm`]
    ZeroNorm,
}

impl EmbedErrorKind {
    /// Every kind, in the order of the labels.
    pub const ALL: [Self; 3] = [Self::NoTokens, Self::NotFinite, Self::ZeroNorm];

    /// The name in labels, attributes and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoTokens => "no_tokens",
            Self::NotFinite => "not_finite",
            Self::ZeroNorm => "zero_norm",
        }
    }
}

impl std::fmt::Display for EmbedErrorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
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
        let errors = [
            EmbedError::NoTokens { bytes: 3 },
            EmbedError::NotFinite { element: 5, value: f32::INFINITY },
            EmbedError::ZeroNorm { tokens: 7 },
        ];
        assert_eq!(errors.each_ref().map(EmbedError::kind), EmbedErrorKind::ALL);
        assert_eq!(EmbedErrorKind::ALL.map(EmbedErrorKind::name), ["no_tokens", "not_finite", "zero_norm"]);
        assert_eq!(errors[0].to_string(), "the text of 3 bytes has no tokens");
        let batch = |text| BatchError::new(text, errors[2].clone()).to_string();
        assert_eq!(batch(Some(4)), "text 4: the vectors of the text's 7 tokens add up to zero");
        assert_eq!(batch(None), errors[2].to_string());
    }
}
