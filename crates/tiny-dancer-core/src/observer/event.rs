//! The events, and their closed vocabularies.

use crate::breaker::{Cause, Circuit, CircuitState};
use crate::features::{Columns, Feature, Features};
use crate::kernel::Kernel;
use crate::model::{LoadError, Model};
use crate::names::names;
use crate::order::JointOrder;
use crate::promise::PromiseState;
use crate::request::Candidates;
use crate::{ErrorKind, ModelType, Outcome, Reason, RouteError, RoutingDecision, Thresholds};
use std::time::Duration;

/// How much of a request an observer receives. Ordered: each level adds to the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Detail {
    /// Nothing more.
    Off,
    /// Only what is no success: an error or a fallback, and its end, but not how long it took.
    Unsuccessful,
    /// Every decision or error, and the end with how long it took.
    Request,
    /// ... and the stages that it [enables](super::Observer::is_enabled).
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

names!(Operation, "operation", {
    Route => "route",
    RouteBatch => "route_batch",
    RouteSet => "route_set",
});

/// One of the four stages of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
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

names!(Stage, "stage", {
    CircuitBreakerCheck => "circuit_breaker_check",
    FeatureEngineering => "feature_engineering",
    ModelInference => "model_inference",
    UncertaintyEstimation => "uncertainty_estimation",
});

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

names!(Status, "status", {
    Failure => "failure",
    Fallback => "fallback",
    Success => "success",
});

impl Status {
    /// How a request ends that was decided for this reason.
    pub(crate) fn of(reason: Reason) -> Self {
        if reason.is_fallback() { Self::Fallback } else { Self::Success }
    }

    /// The least detail that has such an end.
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
    /// The least detail that has it.
    pub fn detail(&self) -> Detail {
        if self.step.is_some() { Detail::Candidates } else { Detail::Stages }
    }
}

/// One candidate's step of the joint pass.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CandidateStep<'a> {
    /// The candidate's place in the request, or in the set.
    pub candidate: usize,
    /// How many candidates are nearer: 0 is the nearest, which is read last.
    pub rank: usize,
    /// The candidate's name. Never a label; in logs only at `DEBUG` and below.
    pub id: &'a str,
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
    /// The least detail that has it.
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
    /// What lightweight needed.
    pub thresholds: Thresholds,
    /// The version of the model that decided.
    pub model_version: &'a str,
    /// The vector instructions that computed it: another kernel may give other bits.
    pub kernel: Kernel,
    /// The configuration's [`digest`](crate::RouterConfig::digest).
    pub config_digest: &'a str,
    pub(crate) columns: &'a Columns,
    pub(crate) joint: &'a JointOrder,
    pub(crate) candidates: Candidates<'a>,
}

impl<'a> Decided<'a> {
    /// The candidates' features, in the order of the request; of a set, in its order, those that were found.
    pub fn features(&self) -> Features<'a> {
        self.columns.features()
    }

    /// The confidences of [`decisions`](Self::decisions) side by side, in the order of [`features`](Self::features). Empty
    /// on a fallback.
    #[inline]
    pub fn confidences(&self) -> &'a [f32] {
        self.columns.confidences()
    }

    /// The uncertainties of [`decisions`](Self::decisions) side by side, in the same order. Empty on a fallback.
    #[inline]
    pub fn uncertainties(&self) -> &'a [f32] {
        self.columns.uncertainties()
    }

    /// The name of each decision's candidate, in the order of [`decisions`](Self::decisions). Never a label; in logs only at
    /// `DEBUG` and below.
    pub fn candidate_ids(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let candidates = self.candidates;
        self.decisions.iter().map(move |decision| candidates.id(decision.candidate))
    }

    /// The candidates of the joint pass, farthest first: each one's place in the request, or in the set, and its features in
    /// the order of [`Feature::ALL`]. Empty on a fallback.
    pub fn joint(&self) -> impl ExactSizeIterator<Item = (usize, [f32; Feature::COUNT])> + use<'a> {
        let (candidates, features) = (self.candidates, self.features());
        self.joint.positions().iter().map(move |&position| {
            let position = position as usize;
            (candidates.place(position), features.row(position))
        })
    }

    /// How the request ended.
    pub fn status(&self) -> Status {
        Status::of(self.reason)
    }

    /// The least detail that has it.
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
    /// How long it took; 0 where the detail is below [`Detail::Request`].
    pub duration: Duration,
}

impl RequestEnd {
    /// The least detail that has it.
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
    /// What lightweight needs from now on.
    pub thresholds: Thresholds,
    /// The vector instructions that decide.
    pub kernel: Kernel,
    /// What is known of the promised risk; `None` where none is promised.
    pub promise: Option<PromiseState>,
}
