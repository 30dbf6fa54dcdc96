//! What the router answers, and what the caller reports back.

use crate::features::Columns;
use crate::names::names;
use crate::order::JointOrder;
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

names!(ModelType, "model type", {
    Lightweight => "lightweight",
    Powerful => "powerful",
});

/// Which test decided a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
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

names!(Reason, "reason", {
    CircuitOpen => "circuit_open",
    Confident => "confident",
    HighUncertainty => "high_uncertainty",
    LowConfidence => "low_confidence",
    NoEvidence => "no_evidence",
});

impl Reason {
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

/// What the lightweight model needs to be chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Thresholds {
    /// The least confidence, 0 to 1.
    pub confidence_threshold: f32,
    /// The largest uncertainty, 0 to 1.
    pub max_uncertainty: f32,
}

impl Thresholds {
    /// Which test decides: confidence first, then uncertainty.
    ///
    /// ```
    /// use tiny_dancer_core::{Reason, Thresholds};
    ///
    /// let thresholds = Thresholds { confidence_threshold: 0.85, max_uncertainty: 0.15 };
    /// assert_eq!(thresholds.reason(0.85, 0.15), Reason::Confident);
    /// assert_eq!(thresholds.reason(0.84, 0.99), Reason::LowConfidence);
    /// assert_eq!(thresholds.reason(0.99, 0.16), Reason::HighUncertainty);
    /// ```
    #[inline]
    pub fn reason(&self, confidence: f32, uncertainty: f32) -> Reason {
        if confidence < self.confidence_threshold {
            Reason::LowConfidence
        } else if uncertainty > self.max_uncertainty {
            Reason::HighUncertainty
        } else {
            Reason::Confident
        }
    }
}

/// What one candidate alone says of the request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
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
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
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
    /// The memory that a reused response saves.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) scratch: Scratch,
}

impl RoutingResponse {
    /// Replaces the decision.
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
        self.scratch.columns.clear();
        self.scratch.joint.clear();
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
            scratch: Scratch::default(),
        }
    }
}

/// The router's working memory. It is no part of the answer: all of them are equal, and a clone is empty.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) columns: Columns,
    pub(crate) joint: JointOrder,
    /// The candidates that were found in a set; empty where the request brings its own.
    pub(crate) nearest: Nearest,
}

impl Clone for Scratch {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Scratch {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("..")
    }
}

/// How the chosen model did, as the caller saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum OutcomeResult {
    /// The call itself failed: an error, a timeout, a refusal.
    CallFailed,
    /// It answered, and the answer was not good enough.
    Insufficient,
    /// It answered, and the answer was good enough.
    Sufficed,
}

names!(OutcomeResult, "outcome", {
    CallFailed => "call_failed",
    Insufficient => "insufficient",
    Sufficed => "sufficed",
});

/// What the caller reports after the chosen model has answered: once a request, as late as it likes.
///
/// Duplicates are not detected.
///
/// ```
/// use tiny_dancer_core::{ModelType, Outcome, OutcomeResult};
///
/// let outcome = Outcome::new(ModelType::Lightweight, OutcomeResult::Sufficed);
/// assert_eq!(outcome.result.name(), "sufficed");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Outcome {
    /// The model that was asked.
    pub model: ModelType,
    /// How it did.
    pub result: OutcomeResult,
}

impl Outcome {
    /// What became of a call to `model`.
    pub fn new(model: ModelType, result: OutcomeResult) -> Self {
        Self { model, result }
    }
}
