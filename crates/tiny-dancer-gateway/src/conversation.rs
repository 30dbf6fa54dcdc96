//! Conversations that stay with their model: a provider has the beginning of a conversation in its cache, and another model would
//! read it at the full price.
//!
//! What is decided here only leads from the lightweight model to the powerful one, so it never overrides an admission of the
//! quality budget. `docs/decisions/0117-conversations-that-stay.md` has the arithmetic.

use crate::config::{Config, Prices};
use crate::decide::Why;
use lru::LruCache;
use sha2::{Digest, Sha256};
use std::num::NonZero;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tiny_dancer::parts::core::Tick;
use tiny_dancer::{Clock, ModelType, Reason};
use tiny_dancer_memory::Tokens;

/// The conversations that are known: about 10 MB. Of more, those that are silent for longest are forgotten.
const KNOWN: NonZero<usize> = NonZero::new(1 << 16).expect("it is not zero");
/// The silence after which a conversation is forgotten: another question by then, for most people.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(1);

/// The hash of a conversation's name or beginning, and of its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 16]);

impl Key {
    /// Of the name that the client gives, or else of the beginning.
    pub(crate) fn new(client: Option<&str>, name: Option<&str>, beginning: &[u8; 32]) -> Self {
        let mut hash = Sha256::new();
        let client = client.unwrap_or_default();
        hash.update(client.len().to_le_bytes());
        hash.update(client);
        hash.update([u8::from(name.is_some())]);
        hash.update(name.map_or(&beginning[..], str::as_bytes));
        Self(hash.finalize().first_chunk().copied().unwrap_or_default())
    }
}

/// The conversations of a gateway. Of their content it keeps a hash alone.
#[derive(Debug)]
pub(crate) struct Conversations {
    clock: Clock,
    known: Mutex<LruCache<Key, State>>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// The model of the last request.
    model: ModelType,
    /// Whether it went up because the router chose the powerful model.
    is_difficult: bool,
    /// What the model's provider has in its cache, and the length of the last answer.
    cached: Option<Cached>,
    /// What the lightweight model would have saved, had its provider the conversation in its cache, since the conversation has stayed.
    waived: f64,
    at: Tick,
}

#[derive(Clone, Copy, Debug)]
struct Cached {
    prefix: u64,
    output: u64,
    at: Tick,
}

impl Conversations {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, known: Mutex::new(LruCache::new(KNOWN)) }
    }

    /// Notes a request of a conversation and its model, and returns the model that the conversation stays with. A request that
    /// begins a conversation makes an older one with the same beginning another conversation.
    pub(crate) fn stay(
        &self,
        key: Key,
        begins: bool,
        (served, why): (ModelType, Why),
        config: &Config,
    ) -> (ModelType, Why) {
        let at = self.clock.tick();
        let mut known = self.known();
        let new = State { model: served, is_difficult: false, cached: None, waived: 0.0, at };
        let Some(state) = known.get_mut(&key).filter(|state| !begins && self.is_known(state)) else {
            known.put(key, new);
            return (served, why);
        };
        state.at = at;
        if state.model == served {
            return (served, why);
        }
        if served == ModelType::Powerful {
            // What has no evidence, such as a text without words, is not known to be difficult.
            let reasons = [Reason::HighUncertainty, Reason::LowConfidence].map(Why::Decided);
            *state = State { is_difficult: reasons.contains(&why), ..new };
            return (served, why);
        }
        if state.is_difficult || self.is_cheaper(state, config) {
            return (ModelType::Powerful, Why::Conversation);
        }
        *state = new;
        (served, why)
    }

    /// Notes the model that answered at last, and the tokens that its provider has read and written.
    pub(crate) fn delivered(&self, key: Key, model: ModelType, tokens: Option<Tokens>) {
        let at = self.clock.tick();
        if let Some(state) = self.known().get_mut(&key) {
            if state.model != model {
                *state = State { model, waived: 0.0, ..*state };
            }
            state.at = at;
            state.cached = tokens.map(|Tokens { input, cached_input, output }| Cached {
                prefix: input.saturating_add(cached_input).saturating_add(output),
                output,
                at,
            });
        }
    }

    /// Whether the conversation stays with the powerful model because it became difficult.
    pub(crate) fn is_difficult(&self, key: Key) -> bool {
        self.known().peek(&key).is_some_and(|state| state.is_difficult && self.is_known(state))
    }

    /// Whether the powerful model is cheaper than the loss of its provider's cache.
    fn is_cheaper(&self, state: &mut State, config: &Config) -> bool {
        let cached = state.cached.filter(|cached| self.clock.since(cached.at) < config.conversations.cache);
        let prices = config.powerful.prices.zip(config.lightweight.prices);
        let (Some(Cached { prefix, output, .. }), Some((powerful, lightweight))) = (cached, prices) else {
            return false;
        };
        let (saving, loss) = change(powerful, lightweight, prefix, output);
        state.waived += saving;
        state.waived < loss
    }

    fn is_known(&self, state: &State) -> bool {
        self.clock.since(state.at) < FORGOTTEN_AFTER
    }

    fn known(&self) -> MutexGuard<'_, LruCache<Key, State>> {
        // A poisoned lock is safe to use: no method panics while it holds the lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a request costs less with the lightweight model once its provider has the conversation in its cache, and what it costs more
/// to read the conversation into that cache.
fn change(powerful: Prices, lightweight: Prices, prefix: u64, output: u64) -> (f64, f64) {
    let request = Tokens { input: 0, cached_input: prefix, output };
    let read = |input, cached_input| lightweight.of(Tokens { input, cached_input, output: 0 });
    (powerful.of(request) - lightweight.of(request), read(prefix, 0) - read(0, prefix))
}

#[cfg(test)]
mod tests;
