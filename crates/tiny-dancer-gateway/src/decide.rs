//! The decision on a request, and which model serves it.

use crate::body::Conversation;
use crate::config::{Config, Mode};
use crate::evidence::Evidence;
use sha2::{Digest, Sha256};
use std::fmt;
use tiny_dancer::observer::StageErrorKind;
use tiny_dancer::{
    BuildError, Clock, ModelType, Outcome, OutcomeResult, Reason, RouteError, Router, RouterConfig,
    RoutingRequest,
};
use tiny_dancer_embed::{Embedder, StaticEmbedder};
use tiny_dancer_memory::{RequestId, Verdict};

/// Decides by the evidence.
#[derive(Debug)]
pub(crate) struct Decider {
    pub(crate) router: Router,
    embedder: StaticEmbedder,
    pub(crate) evidence: Evidence,
    clock: Clock,
}

/// What was decided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decision {
    pub(crate) id: RequestId,
    /// The router's choice; the powerful model where it failed.
    pub(crate) model: ModelType,
    /// `None` where the router failed.
    pub(crate) reason: Option<Reason>,
    pub(crate) confidence: f32,
    pub(crate) uncertainty: f32,
}

/// Why a request is served by its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The mode is canary, and the request is not in its share.
    Canary,
    /// The request needs what the lightweight model is not given.
    Capability,
    /// As the router decided.
    Decided(Reason),
    /// The router failed.
    Error,
    /// The lightweight model failed before its first byte.
    LightweightFailed,
    /// The lightweight model is not called at the moment.
    LightweightUnavailable,
    /// There is less evidence than the configuration requires.
    LittleEvidence,
    /// The conversation is longer than what the lightweight model is given.
    LongText,
    /// The mode is observe.
    Observe,
}

impl Why {
    /// All reasons but those of the router.
    const OWN: [Self; 8] = [
        Self::Canary,
        Self::Capability,
        Self::Error,
        Self::LightweightFailed,
        Self::LightweightUnavailable,
        Self::LittleEvidence,
        Self::LongText,
        Self::Observe,
    ];

    /// The names of all reasons.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        Reason::ALL.into_iter().map(Self::Decided).chain(Self::OWN).map(Self::name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Canary => "canary",
            Self::Capability => "capability",
            Self::Decided(reason) => reason.name(),
            Self::Error => "error",
            Self::LightweightFailed => "lightweight_failed",
            Self::LightweightUnavailable => "lightweight_unavailable",
            Self::LittleEvidence => "little_evidence",
            Self::LongText => "long_text",
            Self::Observe => "observe",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Decider {
    pub(crate) fn new(
        config: &Config,
        registry: &prometheus::Registry,
        clock: Clock,
    ) -> Result<Self, BuildError> {
        let embedder = StaticEmbedder::new();
        let router = RouterConfig {
            embedder: Some(embedder.id().to_string()),
            risk: config.risk,
            clock: clock.clone(),
            ..RouterConfig::default()
        };
        let router = Router::builder(router).registry(registry).build()?;
        Ok(Self { router, evidence: Evidence::new(embedder.dimensions()), embedder, clock })
    }

    /// Decides a request. It does not fail: without a decision the powerful model is chosen.
    pub(crate) fn decide(&self, conversation: &Conversation, tenant: Option<&str>) -> Decision {
        let mut scope = self.router.begin();
        let (text, mut embedding) = (&conversation.text, Vec::new());
        let is_embedded = scope.embedding(|report| match self.embedder.embed_into(text, &mut embedding) {
            Ok(reading) => {
                (report.items, report.truncated) = (reading.tokens, reading.truncated);
                true
            }
            Err(error) => {
                report.error = Some(error.kind().name().parse().unwrap_or(StageErrorKind::Other));
                false
            }
        });
        let routed = if is_embedded {
            let candidates = scope.memory_search(|report| {
                let found = self.evidence.nearest(&embedding, tenant);
                report.items = found.as_ref().map_or(0, Vec::len);
                report.error = found.is_err().then_some(StageErrorKind::Other);
                found.unwrap_or_default()
            });
            scope.route(RoutingRequest::new(&embedding, &candidates))
        } else {
            scope.route_without_evidence()
        };
        let id = RequestId::now();
        if is_embedded {
            self.evidence.wait(id, embedding, tenant, self.clock.unix_seconds());
        }
        match routed {
            Ok(response) => Decision {
                id,
                model: response.model,
                reason: Some(response.reason),
                confidence: response.confidence,
                uncertainty: response.uncertainty,
            },
            Err(error) => {
                log(&error);
                Decision { id, model: ModelType::Powerful, reason: None, confidence: 0.0, uncertainty: 1.0 }
            }
        }
    }

    /// Records a verdict on the lightweight answer to a request. Returns whether it is evidence now.
    pub(crate) fn judge(&self, id: RequestId, served: ModelType, verdict: Verdict) -> bool {
        let Some(sufficed) = self.evidence.judge(id, verdict) else { return false };
        if served == ModelType::Lightweight {
            let result = if sufficed { OutcomeResult::Sufficed } else { OutcomeResult::Insufficient };
            self.router.record_outcome(Outcome::new(served, result));
        }
        true
    }
}

fn log(error: &RouteError) {
    tracing::warn!(%error, "a request could not be decided, and goes to the powerful model");
}

impl Decision {
    /// Which model serves the request before any is called.
    pub(crate) fn serve(
        &self,
        config: &Config,
        conversation: &Conversation,
        evidence: usize,
    ) -> (ModelType, Why) {
        let powerful = |why| (ModelType::Powerful, why);
        let lightweight = &config.lightweight;
        let Some(reason) = self.reason else { return powerful(Why::Error) };
        if config.mode == Mode::Observe {
            powerful(Why::Observe)
        } else if config.mode == Mode::Canary && !self.is_in_share(config.canary_share) {
            powerful(Why::Canary)
        } else if evidence < config.min_evidence {
            powerful(Why::LittleEvidence)
        } else if self.model == ModelType::Powerful {
            powerful(Why::Decided(reason))
        } else if conversation.needs.iter().any(|need| !lightweight.accepts.contains(need)) {
            powerful(Why::Capability)
        } else if conversation.bytes > lightweight.max_text_bytes {
            powerful(Why::LongText)
        } else {
            (self.model, Why::Decided(reason))
        }
    }

    /// Whether the request is in a share of all, by the hash of its id: ids of one millisecond are consecutive.
    fn is_in_share(&self, share: f64) -> bool {
        let hash = Sha256::digest(self.id.as_bytes());
        let bits = hash.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        // The upper 53 bits are uniform among the multiples of 2^-53 in [0, 1).
        ((bits >> 11) as f64) < share * (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests;
