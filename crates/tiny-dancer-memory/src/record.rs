//! What is kept of a request: its entry in the memory, its entry in the decision log, and the verdict on its answer.

use std::fmt;
use std::str::FromStr;
use tiny_dancer_core::budget::Ticket;
use tiny_dancer_core::coin::Draw;
use tiny_dancer_core::{Metadata, ModelType, Reason, Thresholds, names};
use uuid::Uuid;

/// The id of a request: a UUID of version 7 (RFC 9562), so that ids are in the order of their time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(Uuid);

impl RequestId {
    /// A new id, of the current time.
    pub fn now() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Its bytes, which sort as the ids do.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RequestId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Where a request comes from, and what is known about it besides its embedding.
///
/// ```
/// use tiny_dancer_memory::Context;
///
/// let context = Context { tenant: Some("acme".into()), ..Context::default() };
/// assert_eq!(context.user, None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// Whose memory is searched. A request without a tenant sees the entries without one.
    pub tenant: Option<String>,
    /// The user, whose data can be erased.
    pub user: Option<String>,
    /// The conversation that the request is part of.
    pub conversation: Option<String>,
    /// The text. It is stored only if the memory's configuration says so.
    pub prompt: Option<String>,
    /// Key-value pairs that the router compares with those of the candidates.
    pub metadata: Metadata,
    /// The mode of the service, for the decision log. Without it, that of the memory's configuration.
    pub mode: Option<String>,
}

impl From<Metadata> for Context {
    fn from(metadata: Metadata) -> Self {
        Self { metadata, ..Self::default() }
    }
}

/// Who gives a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum VerdictSource {
    /// A user or the calling service.
    Client,
    /// A judge that compares answers.
    Judge,
}

names!(VerdictSource, "source of a verdict", {
    Client => "client",
    Judge => "judge",
});

/// How the lightweight answer to a request was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The score of the lightweight answer, 0 to 1.
    pub lightweight: f32,
    /// The score of the powerful answer, 0 to 1; `None` if there is none to compare with.
    pub powerful: Option<f32>,
    /// Who gives it.
    pub source: VerdictSource,
    /// When it was given, in Unix milliseconds; `None` is the time at which it is recorded. Of two verdicts on one request
    /// the later one counts.
    pub at: Option<i64>,
}

impl Verdict {
    /// A client's verdict on the lightweight answer alone.
    pub const fn lightweight(score: f32) -> Self {
        Self { lightweight: score, powerful: None, source: VerdictSource::Client, at: None }
    }

    /// A judge's verdict on both answers.
    pub const fn judged(lightweight: f32, powerful: f32) -> Self {
        Self { lightweight, powerful: Some(powerful), source: VerdictSource::Judge, at: None }
    }

    /// Whether this verdict counts where `other`, on the same request, is known too: the later one counts. Of two at the same
    /// time, the one with the lower score of the lightweight answer counts, then that with the higher score of the powerful
    /// one, then a judge's, so that verdicts lead to the same result in any order.
    pub fn supersedes(&self, other: &Self) -> bool {
        let time = self.at.cmp(&other.at);
        let lightweight = || other.lightweight.total_cmp(&self.lightweight);
        let score = |powerful: Option<f32>| powerful.unwrap_or(f32::NEG_INFINITY);
        let powerful = || score(self.powerful).total_cmp(&score(other.powerful));
        let source = || self.source.cmp(&other.source);
        time.then_with(lightweight).then_with(powerful).then_with(source).is_gt()
    }
}

/// A remembered request. With a verdict it is evidence: a candidate for the requests near it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The request.
    pub id: RequestId,
    /// When it was routed, in Unix seconds.
    pub created_at: i64,
    /// As in [`Context`].
    pub tenant: Option<String>,
    /// As in [`Context`].
    pub user: Option<String>,
    /// As in [`Context`].
    pub metadata: Metadata,
    /// The embedding, as it was routed.
    pub embedding: Vec<f32>,
    /// The text, if prompts are stored.
    pub prompt: Option<String>,
    /// The verdict that counts, if there is one. Its time is known.
    pub verdict: Option<Verdict>,
}

/// The draws of a request: `None` where nothing was drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "the purposes are described at core's `Purpose`")]
pub struct Draws {
    pub explore: Option<Draw>,
    pub shadow: Option<Draw>,
    pub judge: Option<Draw>,
    pub audit: Option<Draw>,
}

/// The tokens of a call, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Input tokens that were not read from the provider's cache.
    pub input: u64,
    /// Input tokens that were read from the provider's cache.
    pub cached_input: u64,
    /// Output tokens.
    pub output: u64,
}

/// What a call to a language model used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The name of the model.
    pub model: String,
    /// What it read and wrote.
    pub tokens: Tokens,
}

/// What was done for a request after it was decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Served {
    /// The model whose answer was delivered. It differs from the decision where, for example, a call failed.
    pub model: ModelType,
    /// All calls: that of the answer, of a shadow, of a judge.
    pub usage: Vec<Usage>,
    /// The version of the prices that were in force.
    pub price_version: Option<String>,
    /// The judge that is asked, if any.
    pub judge: Option<String>,
    /// The draw after the decision, `audit`. The others are of the decision, and are ignored here.
    pub draws: Draws,
}

/// An entry of the decision log: all that is asked about a decision later, without the embedding and the text.
#[derive(Clone, Debug, PartialEq)]
pub struct LogEntry {
    /// The request.
    pub id: RequestId,
    /// When it was decided, in Unix milliseconds.
    pub at: i64,
    /// As in [`Context`].
    pub tenant: Option<String>,
    /// As in [`Context`].
    pub user: Option<String>,
    /// As in [`Context`].
    pub conversation: Option<String>,
    /// The version of the router's model.
    pub model_version: String,
    /// The id of the embedder, if it is known.
    pub embedder: Option<String>,
    /// The mode of the service, such as `observe`, if it has one.
    pub mode: Option<String>,
    /// The confidence of the decision.
    pub confidence: f32,
    /// Its uncertainty.
    pub uncertainty: f32,
    /// The thresholds in force.
    pub thresholds: Thresholds,
    /// The reason.
    pub reason: Reason,
    /// The model that the router chose.
    pub decided: ModelType,
    /// The number by which the coin draws.
    pub number: u64,
    /// The draws. `judge` is that of the ticket, if there is one.
    pub draws: Draws,
    /// The admission of a lightweight answer under a quality budget. Its confidence is the decision's.
    pub ticket: Option<Ticket>,
    /// Whether a judge has found the answer worse than the powerful one, once one has judged it. A later verdict that says good
    /// changes nothing: the budget refunds no answer that was once found worse.
    pub found_worse: Option<bool>,
    /// What followed, once it is known.
    pub served: Option<Served>,
    /// The verdict that counts, once there is one. Its time is known.
    pub verdict: Option<Verdict>,
}

impl LogEntry {
    /// Sets what followed the decision, and its draw.
    pub fn serve(&mut self, mut served: Served) {
        let audit = served.draws.audit;
        served.draws = Draws { audit, ..Draws::default() };
        self.draws.audit = audit;
        self.served = Some(served);
    }

    /// Sets whether a judge has found the answer worse, unless one has before.
    pub fn settle(&mut self, worse: bool) {
        self.found_worse = Some(worse || self.found_worse == Some(true));
    }
}

#[cfg(test)]
mod tests;
