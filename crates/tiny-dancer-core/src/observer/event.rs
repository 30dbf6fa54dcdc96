//! The events, and their closed vocabularies.

use crate::breaker::{Cause, Circuit, CircuitState};
use crate::features::{Columns, Feature, Features};
use crate::guarantee::PromiseState;
use crate::kernel::Kernel;
use crate::model::{LoadError, Model};
use crate::order::JointOrder;
use crate::set::Nearest;
use crate::{Candidate, CandidateSet, ErrorKind, ModelType, Outcome, Reason, RouteError, RoutingDecision};
use std::time::Duration;

/// How much of a request an observer wants to hear. Ordered: each level adds to the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Detail {
    /// Nothing more.
    Off,
    /// Only what is no success: an error or a fallback, and its end, but not how long it took.
    Unsuccessful,
    /// Every decision or error, and the end with how long it took.
    Request,
    /// ... and the stages that it [hears](super::Observer::hears).
    Stages,
    /// ... and each candidate's step of the joint pass, as a `model_inference` of its own within the stage's.
    Candidates,
}

/// Which of the router's methods a request came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Operation {
    /// `route` and `route_into`
    Route,
    /// `route_batch`, once for each of its requests
    RouteBatch,
    /// `route_set` and `route_set_into`
    RouteSet,
}

impl Operation {
    /// All of them, in the order of their labels.
    pub const ALL: [Self; 3] = [Self::Route, Self::RouteBatch, Self::RouteSet];

    /// The name in labels, attributes and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::RouteBatch => "route_batch",
            Self::RouteSet => "route_set",
        }
    }
}

/// One of the four stages of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// May this request pass?
    CircuitBreakerCheck,
    /// Five numbers a candidate, and every check of what came in.
    FeatureEngineering,
    /// The cell: candidates alone, and together.
    ModelInference,
    /// What the confidences are worth.
    UncertaintyEstimation,
}

impl Stage {
    /// All four, in the order in which they run.
    pub const ALL: [Self; 4] = [
        Self::CircuitBreakerCheck,
        Self::FeatureEngineering,
        Self::ModelInference,
        Self::UncertaintyEstimation,
    ];

    /// The name in spans and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CircuitBreakerCheck => "circuit_breaker_check",
            Self::FeatureEngineering => "feature_engineering",
            Self::ModelInference => "model_inference",
            Self::UncertaintyEstimation => "uncertainty_estimation",
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// An error.
    Failure,
    /// Powerful, because a circuit is open or there is no evidence.
    Fallback,
    /// A decision of the model's.
    Success,
}

impl Status {
    /// All three, in the order of their labels.
    pub const ALL: [Self; 3] = [Self::Failure, Self::Fallback, Self::Success];

    /// The name in labels, attributes and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Fallback => "fallback",
            Self::Success => "success",
        }
    }

    /// How a request ends that was decided for this reason.
    pub(crate) fn of(reason: Reason) -> Self {
        if reason.is_fallback() { Self::Fallback } else { Self::Success }
    }

    /// The least detail that hears of such an end.
    pub(crate) fn detail(self) -> Detail {
        if self == Self::Success { Detail::Request } else { Detail::Unsuccessful }
    }
}

/// Requests came in together.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct BatchStart {
    /// How many.
    pub requests: usize,
}

/// A request came in.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RequestStart<'a> {
    /// The method it came through.
    pub operation: Operation,
    /// How many candidates it has, of a set those that it may take.
    pub candidates: usize,
    /// The query embedding's dimension.
    pub dimensions: usize,
    /// The version of the model that serves it.
    pub model_version: &'a str,
}

impl RequestStart<'_> {
    /// The name of a whole request in spans, as [`Stage::name`] is of its parts.
    pub const NAME: &'static str = "routing_request";
}

/// A stage, or one candidate's step, begins.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct StageStart<'a> {
    /// Which stage.
    pub stage: Stage,
    /// How many candidates the request has.
    pub candidates: usize,
    /// The candidate whose step this is; `None` is the whole stage.
    pub step: Option<CandidateStep<'a>>,
}

impl StageStart<'_> {
    /// The least detail that hears it.
    pub fn detail(&self) -> Detail {
        if self.step.is_some() { Detail::Candidates } else { Detail::Stages }
    }
}

/// One candidate's step of the joint pass.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CandidateStep<'a> {
    /// The candidate's place in the request.
    pub candidate: usize,
    /// How many candidates are nearer: 0 is the nearest, which is read last.
    pub rank: usize,
    pub(crate) names: Names<'a>,
}

impl<'a> CandidateStep<'a> {
    /// The candidate's name. Never a label; in logs only at `DEBUG` and below.
    pub fn id(&self) -> &'a str {
        self.names.get(self.candidate).unwrap_or_default()
    }
}

/// A stage, or one candidate's step, ended.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct StageEnd {
    /// Which stage.
    pub stage: Stage,
    /// How many candidates the request has.
    pub candidates: usize,
    /// Whether this was a candidate's step rather than the whole stage.
    pub is_step: bool,
    /// How long after the request it began.
    pub start: Duration,
    /// How long it took.
    pub duration: Duration,
}

impl StageEnd {
    /// The least detail that hears it.
    pub fn detail(&self) -> Detail {
        if self.is_step { Detail::Candidates } else { Detail::Stages }
    }
}

/// The request was decided.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Decided<'a> {
    /// Where it goes.
    pub model: ModelType,
    /// The probability that the lightweight model suffices.
    pub confidence: f32,
    /// The conformal uncertainty of that.
    pub uncertainty: f32,
    /// Which test decided.
    pub reason: Reason,
    /// What each candidate says by itself, highest confidence first. Empty on a fallback.
    pub decisions: &'a [RoutingDecision],
    /// The confidence that lightweight needed.
    pub confidence_threshold: f32,
    /// The uncertainty that lightweight might have.
    pub max_uncertainty: f32,
    /// The version of the model that decided.
    pub model_version: &'a str,
    /// The vector instructions that computed it: another kernel may give other bits.
    pub kernel: Kernel,
    /// The configuration's [`digest`](crate::RouterConfig::digest).
    pub config_digest: &'a str,
    pub(crate) columns: &'a Columns,
    pub(crate) joint: &'a [u32],
    pub(crate) names: Names<'a>,
}

/// Where candidates' names are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Names<'a> {
    Request(&'a [Candidate]),
    Set(&'a CandidateSet, &'a Nearest),
}

impl<'a> Names<'a> {
    /// By place among the candidates of the request, or among those that were found.
    pub(crate) fn get(self, candidate: usize) -> Option<&'a str> {
        match self {
            Self::Request(candidates) => candidates.get(candidate).map(|candidate| candidate.id.as_str()),
            Self::Set(set, nearest) => set.id(nearest.neighbours().get(candidate)?.candidate as usize),
        }
    }
}

/// Places of candidates are those in the request; of a set, those among the candidates that were found in it, in its order.
impl<'a> Decided<'a> {
    /// The features, in the request's order. Empty on a fallback.
    pub fn features(&self) -> Features<'a> {
        self.columns.features()
    }

    /// The confidences of [`decisions`](Self::decisions) side by side, in the request's order. Empty on a fallback.
    #[inline]
    pub fn confidences(&self) -> &'a [f32] {
        self.columns.confidences()
    }

    /// The uncertainties of [`decisions`](Self::decisions) side by side, in the request's order. Empty on a fallback.
    #[inline]
    pub fn uncertainties(&self) -> &'a [f32] {
        self.columns.uncertainties()
    }

    /// A candidate's name. Never a label; in logs only at `DEBUG` and below.
    pub fn candidate_id(&self, candidate: usize) -> Option<&'a str> {
        self.names.get(candidate)
    }

    /// The candidates that were read together, as places in the request, farthest first. Empty on a fallback.
    ///
    /// They are found again, but for a request of which somebody hears at [`Detail::Candidates`].
    pub fn joint_candidates(&self) -> Vec<usize> {
        let places = |places: &[u32]| places.iter().map(|&place| place as usize).collect();
        if self.joint.is_empty() {
            let order = JointOrder::new(self.kernel, self.features().column(Feature::Similarity));
            return places(order.candidates());
        }
        places(self.joint)
    }

    /// How the request ended.
    pub fn status(&self) -> Status {
        Status::of(self.reason)
    }

    /// The least detail that hears it.
    pub fn detail(&self) -> Detail {
        self.status().detail()
    }
}

/// The request failed.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Failed<'a> {
    /// Why.
    pub error: &'a RouteError,
    /// The stage that found it.
    pub stage: Stage,
}

impl Failed<'_> {
    /// The error's kind, for labels.
    pub fn kind(&self) -> ErrorKind {
        self.error.kind()
    }
}

/// The request is over.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RequestEnd {
    /// The method it came through.
    pub operation: Operation,
    /// How many candidates it had.
    pub candidates: usize,
    /// How it ended.
    pub status: Status,
    /// How long it took; 0 where nobody wanted more than [`Detail::Unsuccessful`].
    pub duration: Duration,
}

impl RequestEnd {
    /// The least detail that hears it.
    pub fn detail(&self) -> Detail {
        self.status.detail()
    }
}

/// The caller reported how the chosen model did.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct OutcomeReported {
    /// What was reported.
    pub outcome: Outcome,
    /// What is known of the promised risk with it; `None` where none was promised.
    pub promise: Option<PromiseState>,
}

/// Outcomes refuted the promised risk.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PromiseBroken {
    /// What is known of it.
    pub promise: PromiseState,
}

/// A circuit changed its state.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct BreakerTransition {
    /// Which circuit.
    pub circuit: Circuit,
    /// What it was.
    pub from: CircuitState,
    /// What it is.
    pub to: CircuitState,
    /// Why.
    pub cause: Cause,
}

/// The router got its first model, or another one, or failed to.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ModelReload<'a> {
    /// The model that serves from now on, or why the one before goes on serving.
    pub result: Result<&'a Model, &'a LoadError>,
    /// The version that served before; `None` when the router was made.
    pub previous: Option<&'a str>,
    /// The confidence that lightweight needs from now on.
    pub confidence_threshold: f32,
    /// The uncertainty that lightweight may have from now on.
    pub max_uncertainty: f32,
    /// The vector instructions that the router computes with.
    pub kernel: Kernel,
}
