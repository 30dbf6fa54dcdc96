//! The router's draws, and the admission between them: which requests are explored, which answers are judged, and for which
//! requests the lightweight model answers too.

use crate::budget::Account;
use crate::coin::{Coin, Purpose, Seed};
use crate::{ConfigError, ModelType, Reason, RouterConfig, RoutingResponse};
use std::sync::atomic::{AtomicU64, Ordering};

/// The draws of a router with a rate above 0, or with a budget.
pub(super) struct Draws {
    coin: Coin,
    explore: f64,
    shadow_rate: f64,
    /// The number of the next request. It starts at random, so that routers with the same seed draw independently.
    next: AtomicU64,
}

impl Draws {
    /// `None` if nothing is drawn. Boxed, since each request writes the number: it must not share a cache line with what
    /// every request reads.
    pub(super) fn new(config: &RouterConfig) -> Result<Option<Box<Self>>, ConfigError> {
        let RouterConfig { explore, shadow_rate, ref budget, ref seed, .. } = *config;
        if explore == 0.0 && shadow_rate == 0.0 && budget.is_none() {
            return Ok(None);
        }
        let seed = seed.clone().map_or_else(Seed::random, Ok)?;
        let next = AtomicU64::new(getrandom::u64()?);
        Ok(Some(Box::new(Self { coin: Coin::new(seed), explore, shadow_rate, next })))
    }

    /// Numbers the next request so.
    pub(super) fn number_from(&mut self, first: u64) {
        *self.next.get_mut() = first;
    }

    /// Numbers a decided request and draws for it. An explored request goes to the lightweight model, if the budget admits
    /// it. The draws after admission change no decision.
    ///
    /// While a circuit is open, nothing is drawn: the lightweight model may be down, and so its answer says nothing.
    ///
    /// Most routers draw nothing, so this is a call, and their path stays short.
    #[cold]
    #[inline(never)]
    pub(super) fn draw(&self, account: Option<&Account>, response: &mut RoutingResponse) {
        response.number = self.next.fetch_add(1, Ordering::Relaxed);
        let draw = |purpose, rate, applies: bool| {
            (rate > 0.0 && applies).then(|| self.coin.draw(response.number, purpose, rate))
        };
        let powerful =
            |reason: Reason| reason.model() == ModelType::Powerful && reason != Reason::CircuitOpen;
        let explore = draw(Purpose::Explore, self.explore, powerful(response.reason));
        let mut reason = response.reason.after(explore);
        if let Some(account) = account
            && reason.model() == ModelType::Lightweight
        {
            let judge = |q| self.coin.draw(response.number, Purpose::Judge, q);
            response.ticket = account.admit(response.confidence, judge);
            reason = reason.admitted(response.ticket.is_some());
        }
        let shadow = draw(Purpose::Shadow, self.shadow_rate, powerful(reason));
        (response.explore, response.shadow) = (explore, shadow);
        (response.model, response.reason) = (reason.model(), reason);
    }
}

#[cfg(test)]
mod tests;
