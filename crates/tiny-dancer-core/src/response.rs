//! The router's answer, and the outcome that the caller reports.

use crate::budget::Ticket;
use crate::coin::Draw;
use crate::features::Columns;
use crate::names::names;
use crate::order::JointOrder;
use crate::set::Nearest;

/// Which of the two language models a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum ModelType {
    /// The cheap model, chosen where it suffices.
    Lightweight,
    /// The expensive model, chosen where it is needed or where evidence is missing.
    Powerful,
}

names!(ModelType, "model type", {
    Lightweight => "lightweight",
    Powerful => "powerful",
});

/// Why a request goes to its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Reason {
    /// The decision was lightweight, and the quality budget does not allow it: powerful.
    BudgetSpent,
    /// A circuit is open: powerful, without inference.
    CircuitOpen,
    /// The confidence and the uncertainty meet their thresholds: lightweight.
    Confident,
    /// The decision was powerful, for another reason than an open circuit, and the draw of
    /// [`explore`](crate::RouterConfig::explore) replaced it: lightweight.
    Explored,
    /// The confidence meets its threshold, but the uncertainty is too large: powerful.
    HighUncertainty,
    /// The confidence is below its threshold: powerful.
    LowConfidence,
    /// There are no candidates: powerful.
    NoEvidence,
}

names!(Reason, "reason", {
    BudgetSpent => "budget_spent",
    CircuitOpen => "circuit_open",
    Confident => "confident",
    Explored => "explored",
    HighUncertainty => "high_uncertainty",
    LowConfidence => "low_confidence",
    NoEvidence => "no_evidence",
});

impl Reason {
    /// The model that a decision for this reason chooses.
    pub const fn model(self) -> ModelType {
        match self {
            Self::Confident | Self::Explored => ModelType::Lightweight,
            _ => ModelType::Powerful,
        }
    }

    /// The reason after the draw of [`explore`](crate::RouterConfig::explore): `Explored` if it happened and the decision
    /// was powerful with closed circuits, else the same.
    ///
    /// ```
    /// use tiny_dancer_core::Reason;
    /// use tiny_dancer_core::coin::Draw;
    ///
    /// let draw = |happened| Some(Draw { probability: 0.1, happened });
    /// assert_eq!(Reason::LowConfidence.after(draw(true)), Reason::Explored);
    /// assert_eq!(Reason::LowConfidence.after(draw(false)), Reason::LowConfidence);
    /// assert_eq!(Reason::CircuitOpen.after(draw(true)), Reason::CircuitOpen);
    /// ```
    #[must_use]
    pub fn after(self, explore: Option<Draw>) -> Self {
        match self {
            Self::HighUncertainty | Self::LowConfidence | Self::NoEvidence
                if explore.is_some_and(|draw| draw.happened) =>
            {
                Self::Explored
            }
            _ => self,
        }
    }

    /// The reason after admission by the quality budget: `BudgetSpent` if the decision was lightweight and was refused, else
    /// the same.
    #[must_use]
    pub fn admitted(self, admitted: bool) -> Self {
        if self.model() == ModelType::Lightweight && !admitted { Self::BudgetSpent } else { self }
    }

    /// Whether the decision was made without inference: a circuit is open, or there are no candidates.
    pub const fn is_fallback(self) -> bool {
        matches!(self, Self::CircuitOpen | Self::NoEvidence)
    }
}

/// The conditions under which the lightweight model is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Thresholds {
    /// The least confidence, 0 to 1.
    pub confidence_threshold: f32,
    /// The largest uncertainty, 0 to 1.
    pub max_uncertainty: f32,
}

impl Thresholds {
    /// The reason of a decision. The confidence is tested first, then the uncertainty.
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

/// One candidate's decision, by the per-candidate pass.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RoutingDecision {
    /// The candidate's place in the request, or in the set.
    pub candidate: usize,
    /// The probability that the lightweight model suffices.
    pub confidence: f32,
    /// The conformal uncertainty of that confidence, from 0, certain, to 1, unknown.
    pub uncertainty: f32,
    /// Whether this candidate's confidence and uncertainty suffice for the lightweight model.
    pub use_lightweight: bool,
}

/// The answer: the model that the request goes to, with its confidence, its uncertainty and the reason.
///
/// `Router::route_into` reuses the memory of a response. A response has no durations: observers receive them.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RoutingResponse {
    /// The model that the request goes to.
    pub model: ModelType,
    /// The probability that the lightweight model suffices.
    pub confidence: f32,
    /// The conformal uncertainty of the confidence, from 0, certain, to 1, unknown.
    pub uncertainty: f32,
    /// Why the request goes to that model.
    pub reason: Reason,
    /// The candidates' decisions by the per-candidate pass, highest confidence first, ties by candidate.
    pub decisions: Vec<RoutingDecision>,
    /// The number by which the draws of this request can be computed again, by those who hold the seed. 0 where the router
    /// draws nothing.
    #[cfg_attr(feature = "serde", serde(default))]
    pub number: u64,
    /// The draw of [`explore`](crate::RouterConfig::explore), if the decision was powerful.
    #[cfg_attr(feature = "serde", serde(default))]
    pub explore: Option<Draw>,
    /// The draw of [`shadow_rate`](crate::RouterConfig::shadow_rate), if the answer is powerful. If it happened, call the
    /// lightweight model too, after the answer and only for comparison.
    #[cfg_attr(feature = "serde", serde(default))]
    pub shadow: Option<Draw>,
    /// The ticket of a lightweight answer under a [quality budget](crate::RouterConfig::budget): whether the answer is to be
    /// judged, and where [`Router::settle`](crate::Router::settle) records the verdict.
    #[cfg_attr(feature = "serde", serde(default))]
    pub ticket: Option<Ticket>,
    /// The working memory, kept for reuse.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) scratch: Scratch,
}

impl RoutingResponse {
    /// Replaces the decision, and forgets the draws.
    pub(crate) fn decide(&mut self, reason: Reason, confidence: f32, uncertainty: f32) {
        self.model = reason.model();
        self.reason = reason;
        self.confidence = confidence;
        self.uncertainty = uncertainty;
        (self.number, self.explore, self.shadow, self.ticket) = (0, None, None, None);
    }

    /// Whether the lightweight model will be called: it answers, or is compared.
    pub(crate) fn calls_lightweight(&self) -> bool {
        self.model == ModelType::Lightweight || self.shadow.is_some_and(|draw| draw.happened)
    }

    /// Decides without inference.
    pub(crate) fn fall_back(&mut self, reason: Reason) {
        self.decide(reason, 0.0, 1.0);
        self.decisions.clear();
        self.scratch.columns.clear();
        self.scratch.joint.clear();
    }
}

impl Default for RoutingResponse {
    /// The answer without any evidence: powerful, confidence 0, uncertainty 1.
    fn default() -> Self {
        Self {
            model: ModelType::Powerful,
            confidence: 0.0,
            uncertainty: 1.0,
            reason: Reason::NoEvidence,
            decisions: Vec::new(),
            number: 0,
            explore: None,
            shadow: None,
            ticket: None,
            scratch: Scratch::default(),
        }
    }
}

/// The router's working memory. It is not part of the answer, so all values are equal, and a clone is empty.
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

/// The result of a call to a model, as the caller reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum OutcomeResult {
    /// The call failed: an error, a timeout, a refusal.
    CallFailed,
    /// The answer was not good enough.
    Insufficient,
    /// The answer was good enough.
    Sufficed,
}

names!(OutcomeResult, "outcome", {
    CallFailed => "call_failed",
    Insufficient => "insufficient",
    Sufficed => "sufficed",
});

/// Why the model of an outcome was called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Origin {
    /// The request was explored: the lightweight model answered although the decision was powerful.
    Explored,
    /// The decision chose the model.
    #[default]
    Routed,
    /// The lightweight model was called for comparison only: the powerful model answered.
    Shadowed,
}

names!(Origin, "origin", {
    Explored => "explored",
    Routed => "routed",
    Shadowed => "shadowed",
});

/// What the caller reports after a model has answered: once per call, at any time.
///
/// The circuits count the outcomes of every origin. The test of the promise reads those of routed requests alone, since the
/// promise is about the router's own decisions. Duplicates are not detected.
///
/// ```
/// use tiny_dancer_core::{ModelType, Origin, Outcome, OutcomeResult};
///
/// let outcome = Outcome::new(ModelType::Lightweight, OutcomeResult::Sufficed);
/// assert_eq!((outcome.result.name(), outcome.origin), ("sufficed", Origin::Routed));
/// assert_eq!(outcome.with_origin(Origin::Shadowed).origin.name(), "shadowed");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Outcome {
    /// The model that was called.
    pub model: ModelType,
    /// The result of the call.
    pub result: OutcomeResult,
    /// Why the model was called.
    #[cfg_attr(feature = "serde", serde(default))]
    pub origin: Origin,
}

impl Outcome {
    /// The outcome of a call to `model`, which the decision chose.
    pub fn new(model: ModelType, result: OutcomeResult) -> Self {
        Self { model, result, origin: Origin::Routed }
    }

    /// The same, of a call for another reason.
    #[must_use]
    pub fn with_origin(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }
}
