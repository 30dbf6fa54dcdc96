//! Shadows: the lightweight model answers a request too that the powerful one has answered, off the client's path, and a judge compares.
//! So the memory learns without a risk for the client.

use crate::config::{Config, ShadowConfig};
use crate::decide::Decider;
use crate::judge::{Answers, Judge};
use crate::metrics::ShadowResult;
use crate::upstream::{Call, Context, Upstream, UpstreamError};
use crate::usage::Usage;
use sha2::{Digest, Sha256};
use std::sync::{Arc, Mutex, PoisonError};
use tiny_dancer::{Clock, ModelType};
use tiny_dancer_memory::{Draws, RequestId, Served, Usage as Used};
use tokio::sync::Semaphore;
use tracing::Instrument;

const DAY: i64 = 24 * 3600;

/// The shadows of a gateway.
#[derive(Debug)]
pub(crate) struct Shadows {
    judge: Judge,
    config: ShadowConfig,
    places: Arc<Semaphore>,
    spent: Arc<Mutex<Spent>>,
}

/// What was spent on a day.
#[derive(Debug, Default)]
struct Spent {
    day: i64,
    cost: f64,
}

/// A request that is to be compared.
#[derive(Debug)]
pub(crate) struct Shadow {
    pub(crate) id: RequestId,
    pub(crate) question: String,
    /// The call to the lightweight model.
    pub(crate) call: Call,
}

/// What a shadow needs of the gateway.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) decider: Arc<Decider>,
    pub(crate) lightweight: Arc<Upstream>,
    pub(crate) context: Context,
}

impl Shadows {
    /// `None` where none is configured. What was spent today under the configuration before counts on, and so do its places, if
    /// there are as many.
    pub(crate) fn new(
        config: &Config,
        clock: Clock,
        before: Option<&Self>,
    ) -> Result<Option<Arc<Self>>, UpstreamError> {
        let Some(judge) = &config.judge else { return Ok(None) };
        let judge = Judge::new(judge, &config.timeouts, clock)?;
        let shadow = config.shadow.clone();
        let as_many = before.filter(|before| before.config.concurrent == shadow.concurrent);
        let places = as_many
            .map_or_else(|| Arc::new(Semaphore::new(shadow.concurrent)), |before| Arc::clone(&before.places));
        let spent = before.map_or_else(Arc::default, |before| Arc::clone(&before.spent));
        let shadows = Self { judge, config: shadow, places, spent };
        Ok((config.shadow.rate > 0.0).then(|| Arc::new(shadows)))
    }

    /// Calls the lightweight model in a task of its own, if there is room and money for it.
    pub(crate) fn start(
        self: Arc<Self>,
        shadow: Shadow,
        powerful: Option<String>,
        delivered: Option<Used>,
        parts: Parts,
    ) {
        let metrics = parts.context.metrics.clone();
        let Some(powerful) = powerful.filter(|text| !text.is_empty()) else {
            return metrics.shadow(ShadowResult::Undecided);
        };
        if self.config.daily_cost.is_some_and(|limit| self.spend(0.0, &parts.context.clock) >= limit) {
            return metrics.shadow(ShadowResult::OverLimit);
        }
        // Without a runtime the program is ending.
        let place =
            Arc::clone(&self.places).try_acquire_owned().ok().zip(tokio::runtime::Handle::try_current().ok());
        let Some((place, runtime)) = place else { return metrics.shadow(ShadowResult::Dropped) };
        let span = tracing::info_span!(parent: None, "shadow", otel.name = "shadow");
        let work = async move {
            let _place = place;
            let result = self.compare(shadow, &powerful, delivered, &parts).await;
            metrics.shadow(result);
        };
        drop(runtime.spawn(work.instrument(span)));
    }

    async fn compare(
        &self,
        shadow: Shadow,
        powerful: &str,
        delivered: Option<Used>,
        parts: &Parts,
    ) -> ShadowResult {
        let Parts { decider, lightweight, context } = parts;
        let answered = match lightweight.ask(shadow.call, context).await {
            Ok(answered) => answered,
            Err(result) => {
                if result.is_failure() {
                    lightweight.circuit.failed(None);
                }
                return ShadowResult::Failed;
            }
        };
        lightweight.circuit.succeeded();
        let mut used: Vec<_> = delivered.into_iter().collect();
        used.extend(self.pay(lightweight, &answered, context));
        let Some(text) = answered.text.filter(|text| !text.is_empty()) else {
            return ShadowResult::Undecided;
        };
        let id = shadow.id.to_string();
        // The lot of a request cannot be chosen by a client: ids are drawn here.
        let lightweight_first = Sha256::digest(id.as_bytes())[0].is_multiple_of(2);
        let answers =
            Answers { id: &id, question: &shadow.question, lightweight: &text, powerful, lightweight_first };
        let (verdict, usage) = self.judge.compare(answers, context).await;
        if let (Judge::Model { upstream, .. }, Some(usage)) = (&self.judge, &usage) {
            used.extend(self.pay(upstream, usage, context));
        }
        let judge = Some(self.judge.name().to_owned());
        let served = Served {
            model: ModelType::Powerful,
            usage: used,
            price_version: None,
            judge,
            draws: Draws::default(),
        };
        decider.memory.served(shadow.id, served);
        let Some(verdict) = verdict else { return ShadowResult::Undecided };
        match decider.judge(shadow.id, verdict) {
            Ok(_) if verdict.powerful.is_some_and(|powerful| verdict.lightweight < powerful) => {
                ShadowResult::Worse
            }
            Ok(_) => ShadowResult::NoWorse,
            Err(error) => {
                tracing::warn!(%error, "a verdict was not recorded");
                ShadowResult::Undecided
            }
        }
    }

    /// Adds the price of a call to what was spent today.
    fn pay(&self, upstream: &Upstream, usage: &Usage, context: &Context) -> Option<Used> {
        let tokens = usage.tokens?;
        if let Some(prices) = upstream.config.prices {
            self.spend(prices.of(tokens), &context.clock);
        }
        Some(Used { model: upstream.config.model.clone(), tokens })
    }

    /// What was spent on this day (UTC), with this.
    fn spend(&self, cost: f64, clock: &Clock) -> f64 {
        let day = clock.unix_seconds().div_euclid(DAY);
        // A poisoned lock is safe to use: a change is one assignment.
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.day != day {
            *spent = Spent { day, cost: 0.0 };
        }
        spent.cost += cost;
        spent.cost
    }
}
