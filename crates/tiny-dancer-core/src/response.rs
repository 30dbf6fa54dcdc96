//! What the router answers, and what the caller reports back.

use crate::features::Columns;
use crate::set::Nearest;

/// Which of the two language models a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum ModelType {
    /// The cheap one, chosen where it suffices.
    Lightweight,
    /// The expensive one, chosen where it is needed or where too little is known.
    Powerful,
}

impl ModelType {
    /// Both, in the order of their labels.
    pub const ALL: [Self; 2] = [Self::Lightweight, Self::Powerful];

    /// The name in labels, attributes and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lightweight => "lightweight",
            Self::Powerful => "powerful",
        }
    }
}

/// Which test decided a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Reason {
    /// A circuit is open: powerful, unasked.
    CircuitOpen,
    /// Confident and certain enough: lightweight.
    Confident,
    /// Confident, but the uncertainty is above the limit: powerful.
    HighUncertainty,
    /// The confidence is below the threshold: powerful.
    LowConfidence,
    /// No candidates: powerful, for want of evidence.
    NoEvidence,
}

impl Reason {
    /// All five, in the order of their labels.
    pub const ALL: [Self; 5] =
        [Self::CircuitOpen, Self::Confident, Self::HighUncertainty, Self::LowConfidence, Self::NoEvidence];

    /// Which test decides: confidence first, then uncertainty.
    #[inline]
    pub(crate) fn of(confidence: f32, uncertainty: f32, threshold: f32, max_uncertainty: f32) -> Self {
        if confidence < threshold {
            Self::LowConfidence
        } else if uncertainty > max_uncertainty {
            Self::HighUncertainty
        } else {
            Self::Confident
        }
    }

    /// The name in labels, attributes and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CircuitOpen => "circuit_open",
            Self::Confident => "confident",
            Self::HighUncertainty => "high_uncertainty",
            Self::LowConfidence => "low_confidence",
            Self::NoEvidence => "no_evidence",
        }
    }

    /// The model that a decision for this reason chooses.
    pub const fn model(self) -> ModelType {
        match self {
            Self::Confident => ModelType::Lightweight,
            _ => ModelType::Powerful,
        }
    }

    /// Whether the answer is the safe one that needs no model: an open circuit, or no evidence.
    pub const fn is_fallback(self) -> bool {
        matches!(self, Self::CircuitOpen | Self::NoEvidence)
    }
}

/// What one candidate alone says of the request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RoutingDecision {
    /// The candidate's place in the request, or in the set.
    pub candidate: usize,
    /// The probability that the lightweight model suffices, were this candidate all that is known.
    pub confidence: f32,
    /// The conformal uncertainty of that confidence: 0 certain, 1 nothing known.
    pub uncertainty: f32,
    /// Whether this candidate alone would send the request to the lightweight model.
    pub use_lightweight: bool,
}

/// The answer: where the request goes, how sure that is, and why.
///
/// Keep one and pass it to `Router::route_into` to reuse its memory. It carries no timings: observers own time.
#[derive(Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RoutingResponse {
    /// Where the request goes.
    pub model: ModelType,
    /// The probability that the lightweight model suffices.
    pub confidence: f32,
    /// The conformal uncertainty: 0 certain, 1 nothing known.
    pub uncertainty: f32,
    /// Which test decided.
    pub reason: Reason,
    /// What each candidate says by itself, highest confidence first, ties by candidate.
    pub decisions: Vec<RoutingDecision>,
    /// Memory of the router's, kept here so that a reused response costs no allocation.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) columns: Columns,
    /// The candidates that were read together, farthest first, where an observer hears of their steps.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) joint: Vec<u32>,
    /// The memory for those that were found in a set; none where the request brought its own.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) nearest: Nearest,
}

impl RoutingResponse {
    /// Puts a decision in the place of the one before.
    pub(crate) fn decide(&mut self, reason: Reason, confidence: f32, uncertainty: f32) {
        self.model = reason.model();
        self.reason = reason;
        self.confidence = confidence;
        self.uncertainty = uncertainty;
    }

    /// Decides without looking at any candidate.
    pub(crate) fn fall_back(&mut self, reason: Reason) {
        self.decide(reason, 0.0, 1.0);
        self.decisions.clear();
        self.columns.clear();
        self.joint.clear();
    }
}

impl Default for RoutingResponse {
    /// What is known before anything is asked: powerful, confidence 0, uncertainty 1, no evidence.
    fn default() -> Self {
        Self {
            model: ModelType::Powerful,
            confidence: 0.0,
            uncertainty: 1.0,
            reason: Reason::NoEvidence,
            decisions: Vec::new(),
            columns: Columns::default(),
            joint: Vec::new(),
            nearest: Nearest::default(),
        }
    }
}

impl PartialEq for RoutingResponse {
    fn eq(&self, other: &Self) -> bool {
        (self.model, self.reason, &self.decisions) == (other.model, other.reason, &other.decisions)
            && (self.confidence, self.uncertainty) == (other.confidence, other.uncertainty)
    }
}

impl std::fmt::Debug for RoutingResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoutingResponse")
            .field("model", &self.model)
            .field("confidence", &self.confidence)
            .field("uncertainty", &self.uncertainty)
            .field("reason", &self.reason)
            .field("decisions", &self.decisions)
            .finish_non_exhaustive()
    }
}

/// How the chosen model did, as the caller saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum OutcomeResult {
    /// The call itself failed: an error, a timeout, a refusal.
    CallFailed,
    /// It answered, and the answer was not good enough.
    Insufficient,
    /// It answered, and the answer was good enough.
    Sufficed,
}

impl OutcomeResult {
    /// All three, in the order of their labels.
    pub const ALL: [Self; 3] = [Self::CallFailed, Self::Insufficient, Self::Sufficed];

    /// The name in labels, attributes and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CallFailed => "call_failed",
            Self::Insufficient => "insufficient",
            Self::Sufficed => "sufficed",
        }
    }
}

/// What the caller reports after the chosen model has answered: once a request, as late as it likes.
///
/// Duplicates are not detected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Outcome {
    /// The model that was asked.
    pub model: ModelType,
    /// How it did.
    pub result: OutcomeResult,
}
