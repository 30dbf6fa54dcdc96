//! The router's draws: which requests are explored, and for which the lightweight model answers too.

use crate::coin::{Coin, Purpose, Seed};
use crate::{ConfigError, ModelType, Reason, RouterConfig, RoutingResponse};
use std::sync::atomic::{AtomicU64, Ordering};

/// The draws of a router with a rate above 0.
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
        let RouterConfig { explore, shadow_rate, ref seed, .. } = *config;
        if explore == 0.0 && shadow_rate == 0.0 {
            return Ok(None);
        }
        let seed = seed.clone().map_or_else(Seed::random, Ok)?;
        let next = AtomicU64::new(getrandom::u64()?);
        Ok(Some(Box::new(Self { coin: Coin::new(seed), explore, shadow_rate, next })))
    }

    /// Numbers a decided request and draws for it. An explored request goes to the lightweight model.
    ///
    /// While a circuit is open, nothing is drawn: the lightweight model may be down, and so its answer says nothing.
    ///
    /// Most routers draw nothing, so this is a call, and their path stays short.
    #[cold]
    #[inline(never)]
    pub(super) fn draw(&self, response: &mut RoutingResponse) {
        response.number = self.next.fetch_add(1, Ordering::Relaxed);
        let draw = |purpose, rate, applies: bool| {
            (rate > 0.0 && applies).then(|| self.coin.draw(response.number, purpose, rate))
        };
        let powerful =
            |reason: Reason| reason.model() == ModelType::Powerful && reason != Reason::CircuitOpen;
        let explore = draw(Purpose::Explore, self.explore, powerful(response.reason));
        let reason = response.reason.after(explore);
        let shadow = draw(Purpose::Shadow, self.shadow_rate, powerful(reason));
        (response.explore, response.shadow) = (explore, shadow);
        (response.model, response.reason) = (reason.model(), reason);
    }
}

#[cfg(test)]
mod tests;
