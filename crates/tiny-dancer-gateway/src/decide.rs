//! The decision on a request, and which model serves it.

use crate::body::Conversation;
use crate::config::{Config, Mode};
use crate::gateway::GatewayError;
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;
use tiny_dancer::observer::{StageErrorKind, VerdictKind};
use tiny_dancer::parts::core::budget::{RestoreError, Ticket};
use tiny_dancer::parts::core::coin::Draw;
use tiny_dancer::{Clock, ModelType, Reason, RouteError, Router, RouterConfig};
use tiny_dancer_embed::{Embedder, StaticEmbedder};
use tiny_dancer_memory::{Context, Memory, MemoryConfig, OpenError, RecordError, RequestId, Routed, Verdict};

/// Decides by the evidence of a memory.
#[derive(Debug)]
pub(crate) struct Decider {
    pub(crate) router: Arc<Router>,
    embedder: StaticEmbedder,
    pub(crate) memory: Memory,
    store_prompts: bool,
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
    /// The router's draw of a shadow; it draws where it chose the powerful model.
    shadow: Option<Draw>,
    /// The router's admission of a lightweight answer, where there is a quality budget.
    pub(crate) ticket: Option<Ticket>,
    /// Why the lightweight model is not given the request.
    bar: Option<Why>,
}

/// Why a request is served by its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The mode is canary, and the request is not in its share.
    Canary,
    /// The request needs what the lightweight model is not given.
    Capability,
    /// Its conversation stays with the powerful model.
    Conversation,
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
    /// There is a quality budget, and the gateway does not get the answer, so no judge could compare it.
    Unjudged,
}

impl Why {
    /// All reasons but those of the router.
    const OWN: [Self; 10] = [
        Self::Canary,
        Self::Capability,
        Self::Conversation,
        Self::Error,
        Self::LightweightFailed,
        Self::LightweightUnavailable,
        Self::LittleEvidence,
        Self::LongText,
        Self::Observe,
        Self::Unjudged,
    ];

    /// The names of all reasons.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        Reason::ALL.into_iter().map(Self::Decided).chain(Self::OWN).map(Self::name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Canary => "canary",
            Self::Capability => "capability",
            Self::Conversation => "conversation",
            Self::Decided(reason) => reason.name(),
            Self::Error => "error",
            Self::LightweightFailed => "lightweight_failed",
            Self::LightweightUnavailable => "lightweight_unavailable",
            Self::LittleEvidence => "little_evidence",
            Self::LongText => "long_text",
            Self::Observe => "observe",
            Self::Unjudged => "unjudged",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The requests that wait for a verdict in memory, and the changes that wait for the disk: about 25 MB. Of an older request the
/// verdict is found in the file.
const QUEUE: usize = 8192;

impl Decider {
    pub(crate) fn new(
        config: &Config,
        registry: &prometheus::Registry,
        clock: Clock,
    ) -> Result<Self, GatewayError> {
        let embedder = StaticEmbedder::new();
        let id = Some(embedder.id().to_string());
        let router = RouterConfig {
            embedder: id.clone(),
            risk: config.risk,
            budget: config.budget.clone(),
            shadow_rate: config.shadow_rate,
            clock: clock.clone(),
            ..RouterConfig::default()
        };
        let mut router = Router::builder(router).registry(registry).build()?;
        let memory = MemoryConfig {
            embedder: id,
            margin: config.margin(),
            store_prompts: config.memory.store_prompts,
            queue: QUEUE,
            clock,
            ..MemoryConfig::default()
        };
        let memory = match &config.memory.path {
            Some(path) => Memory::open_with(path, memory)?,
            None => Memory::in_process(memory).map_err(OpenError::from)?,
        };
        if config.budget.is_some() {
            continue_account(&mut router, &memory)?;
        }
        let router = Arc::new(router);
        let observed = Arc::clone(&router);
        let memory = memory.observed_by(move |event| observed.core().on_memory(event));
        Ok(Self { router, embedder, memory, store_prompts: config.memory.store_prompts })
    }

    /// The number of requests with a verdict.
    pub(crate) fn evidence(&self) -> usize {
        self.memory.stats().evidence
    }

    /// Decides a request. It does not fail: without a decision the powerful model is chosen.
    pub(crate) fn decide(&self, conversation: &Conversation, context: Context, bar: Option<Why>) -> Decision {
        let mut scope = self.router.core().begin();
        if bar.is_some() {
            scope.without_admission();
        }
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
        let prompt = self.store_prompts.then(|| text.clone());
        let routed = if is_embedded {
            let routed = self.memory.route(scope, &embedding, Context { prompt, ..context });
            routed.map(|Routed { id, response, .. }| (id, response))
        } else {
            scope.route_without_evidence().map(|response| (RequestId::now(), response))
        };
        match routed {
            Ok((id, response)) => Decision {
                id,
                model: response.model,
                reason: Some(response.reason),
                confidence: response.confidence,
                uncertainty: response.uncertainty,
                shadow: response.shadow,
                ticket: response.ticket,
                bar,
            },
            Err(error) => {
                log(&error);
                let (id, model) = (RequestId::now(), ModelType::Powerful);
                Decision {
                    id,
                    model,
                    reason: None,
                    confidence: 0.0,
                    uncertainty: 1.0,
                    shadow: None,
                    ticket: None,
                    bar,
                }
            }
        }
    }

    /// Records a verdict on the lightweight answer to a request.
    pub(crate) fn judge(&self, id: RequestId, verdict: Verdict) -> Result<VerdictKind, RecordError> {
        self.memory.record(self.router.core(), id, verdict)
    }
}

/// Continues the account that the memory has of the quality budget. An account of another promise is left: a new one begins.
fn continue_account(router: &mut Router, memory: &Memory) -> Result<(), GatewayError> {
    let Some(state) = memory.stored_account()? else { return Ok(()) };
    match router.restore_account(&state) {
        Err(error @ RestoreError::Different { .. }) => {
            tracing::warn!(%error, "the stored account is of another quality budget, and a new one begins");
            Ok(())
        }
        continued => Ok(continued?),
    }
}

fn log(error: &RouteError) {
    tracing::warn!(%error, "a request could not be decided, and goes to the powerful model");
}

impl Decision {
    /// Which model serves the request before any is called.
    pub(crate) fn serve(&self) -> (ModelType, Why) {
        let powerful = |why| (ModelType::Powerful, why);
        match (self.bar, self.reason) {
            (Some(Why::Capability | Why::LongText) | None, Some(reason))
                if self.model == ModelType::Powerful =>
            {
                powerful(Why::Decided(reason))
            }
            (None, Some(reason)) => (self.model, Why::Decided(reason)),
            (Some(why), _) => powerful(why),
            (None, None) => powerful(Why::Error),
        }
    }

    /// Whether a quality budget grows by the answer: the lightweight model could have been given the request.
    pub(crate) fn deposits(&self) -> bool {
        self.bar.is_none() && self.reason.is_some()
    }

    /// Whether a request that the powerful model serves is answered by the lightweight one, too, for comparison. Where the router
    /// chose the lightweight model it draws none.
    pub(crate) fn is_shadowed(&self, config: &Config, conversation: &Conversation) -> bool {
        let lightweight = &config.lightweight;
        let is_drawn = match (self.model, self.shadow) {
            (ModelType::Powerful, draw) => draw.is_some_and(|draw| draw.happened),
            (ModelType::Lightweight, _) => is_in(self.id, b"shadow", config.shadow_rate),
        };
        is_drawn
            && conversation.needs.iter().all(|need| lightweight.accepts.contains(need))
            && conversation.bytes <= lightweight.max_text_bytes
    }
}

/// Why the lightweight model is not given a request, for reasons other than the decision. Such a request is no part of a quality
/// budget.
pub(crate) fn bar(config: &Config, conversation: &Conversation, evidence: usize) -> Option<Why> {
    let lightweight = &config.lightweight;
    if config.mode == Mode::Observe {
        Some(Why::Observe)
    } else if config.mode == Mode::Canary && !is_in(RequestId::now(), b"canary", config.canary_share) {
        Some(Why::Canary)
    } else if evidence < config.min_evidence {
        Some(Why::LittleEvidence)
    } else if conversation.needs.iter().any(|need| !lightweight.accepts.contains(need)) {
        Some(Why::Capability)
    } else if conversation.bytes > lightweight.max_text_bytes {
        Some(Why::LongText)
    } else {
        None
    }
}

/// Whether an id is in a share of all for a purpose, by its hash: ids of one millisecond are consecutive.
fn is_in(id: RequestId, purpose: &[u8], share: f64) -> bool {
    let hash = Sha256::new().chain_update(id.as_bytes()).chain_update(purpose).finalize();
    let bits = hash.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    // The upper 53 bits are uniform among the multiples of 2^-53 in [0, 1).
    ((bits >> 11) as f64) < share * (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests;
