//! Comparisons: a model that did not answer a request answers it too, off the client's path, and a judge compares both answers.
//!
//! After an answer of the powerful model it is a *shadow*: a share of these requests, so that the memory learns without a risk for
//! the client. A shadow without room or money is dropped. After an answer of the lightweight model it is a *judgement*, which the
//! quality budget has drawn. Its room and its money were reserved before the coin fell, so it is made in any case, and waits for
//! its turn.

use crate::background::Background;
use crate::config::{Config, JudgeConfig};
use crate::decide::Decider;
use crate::fields;
use crate::gateway::GatewayError;
use crate::judge::{Answers, Judge};
use crate::judgement::Judgement;
use crate::metrics::ComparisonResult;
use crate::upstream::{Call, Context, Upstream};
use crate::usage::Usage;
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tiny_dancer::{Clock, ModelType};
use tiny_dancer_memory::{Draws, Memory, RequestId, Served, StoreError, Usage as Used, Verdict};
use tokio::sync::Semaphore;
use tracing::field::Empty;
use tracing::{Instrument, Span};

const DAY: i64 = 24 * 3600;

/// The comparisons of a gateway.
#[derive(Debug)]
pub(crate) struct Comparisons {
    judge: Judge,
    concurrent: usize,
    places: Arc<Semaphore>,
    /// How many judgements may be open.
    queue: u64,
    open: Arc<AtomicU64>,
    daily_cost: Option<f64>,
    spent: Arc<Mutex<Spent>>,
    margin: f32,
    judgement_timeout: Duration,
    pub(crate) tasks: Background,
    clock: Clock,
}

/// What was spent on a day.
#[derive(Debug, Default)]
struct Spent {
    day: i64,
    cost: f64,
    /// The mean price of a judgement, of which the last ones count most.
    judgement: Option<f64>,
}

/// How much the last judgement counts in the mean price: about a tenth, so that a very long one is forgotten soon.
const NEWEST: f64 = 0.1;

/// A delivered answer that is to be compared.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) id: RequestId,
    pub(crate) question: String,
    /// The call to the other model.
    pub(crate) call: Call,
}

/// The place of a judgement in the queue.
#[derive(Debug)]
pub(crate) struct PlaceInQueue(Arc<AtomicU64>);

/// What a comparison needs of the gateway.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) decider: Arc<Decider>,
    pub(crate) powerful: Arc<Upstream>,
    pub(crate) lightweight: Arc<Upstream>,
    pub(crate) context: Context,
}

impl Comparisons {
    /// `None` where nothing is compared. What was begun and spent under the configuration before counts on.
    pub(crate) fn new(
        config: &Config,
        clock: Clock,
        before: Option<&Self>,
    ) -> Result<Option<Arc<Self>>, GatewayError> {
        let Some(JudgeConfig { kind, concurrent, queue, daily_cost }) = &config.judge else {
            return Ok(None);
        };
        if config.shadow_rate == 0.0 && config.budget.is_none() {
            return Ok(None);
        }
        let budget = config.budget.clone().unwrap_or_default();
        let as_many = before.filter(|before| before.concurrent == *concurrent);
        Ok(Some(Arc::new(Self {
            judge: Judge::new(kind, &config.timeouts, clock.clone())?,
            concurrent: *concurrent,
            places: as_many
                .map_or_else(|| Arc::new(Semaphore::new(*concurrent)), |before| Arc::clone(&before.places)),
            queue: *queue,
            open: before.map_or_else(Arc::default, |before| Arc::clone(&before.open)),
            daily_cost: *daily_cost,
            spent: before.map_or_else(Arc::default, |before| Arc::clone(&before.spent)),
            margin: config.margin(),
            judgement_timeout: budget.judgement_timeout,
            tasks: before.map_or_else(Background::default, |before| before.tasks.clone()),
            clock,
        })))
    }

    /// Counts what was spent today before a restart, by the decision log: all calls but that of the delivered answer, at the prices
    /// of this configuration.
    pub(crate) fn continue_day(&self, config: &Config, memory: &Memory) -> Result<(), StoreError> {
        let judge = match &self.judge {
            Judge::Model { upstream, .. } => Some(&upstream.config),
            _ => None,
        };
        let models: Vec<_> = [&config.powerful, &config.lightweight].into_iter().chain(judge).collect();
        let cost = |used: &Used| {
            let model = models.iter().find(|model| model.model == used.model);
            model.and_then(|model| model.prices).map_or(0.0, |prices| prices.of(used.tokens))
        };
        let (mut spent, day) = (0.0, self.clock.unix_seconds().div_euclid(DAY));
        memory.compared(day * DAY * 1000, |decision| {
            let Some(Served { model, usage, .. }) = decision.served else { return };
            let delivered = match model {
                ModelType::Lightweight => &config.lightweight.model,
                ModelType::Powerful => &config.powerful.model,
            };
            let delivered = usage.iter().find(|used| used.model == *delivered);
            spent += usage.iter().map(cost).sum::<f64>() - delivered.map_or(0.0, cost);
        })?;
        self.spent_today().cost += spent;
        Ok(())
    }

    /// How many judgements may be drawn now: as many as the queue and the money of the day have room for, without those that
    /// are open.
    pub(crate) fn allowance(&self) -> u64 {
        self.queue.min(self.affordable()).saturating_sub(self.open.load(Ordering::SeqCst))
    }

    /// How many judgements the money of the day pays for.
    fn affordable(&self) -> u64 {
        let Some(limit) = self.daily_cost else { return u64::MAX };
        let spent = self.spent_today();
        let left = limit - spent.cost;
        // While anything is left, one judgement is made, and shows the price.
        if left > 0.0 { ((left / spent.judgement.unwrap_or(left)) as u64).max(1) } else { 0 }
    }

    /// Takes a place in the queue, before a request is decided that may draw a judgement. It is given back when this is dropped.
    pub(crate) fn place_in_queue(&self) -> PlaceInQueue {
        self.open.fetch_add(1, Ordering::SeqCst);
        PlaceInQueue(Arc::clone(&self.open))
    }

    /// Compares a delivered answer in a task of its own, if it is a shadow and there is room and money for it, or if its
    /// judgement was drawn. This is where the coin of a judgement is first looked at.
    pub(crate) fn start(
        self: &Arc<Self>,
        comparison: Comparison,
        judgement: Option<Judgement>,
        answer: Option<String>,
        delivered: Option<Used>,
        parts: Parts,
    ) {
        if judgement.as_ref().is_some_and(|judgement| !judgement.is_drawn()) {
            return;
        }
        let metrics = parts.context.metrics.clone();
        let end = move |judgement: Option<Judgement>, result| match judgement {
            Some(judgement) => judgement.settle(result),
            None => metrics.shadow(result),
        };
        let Some(answer) = answer.filter(|text| !text.is_empty()) else {
            return end(judgement, ComparisonResult::Undecided);
        };
        let place = if judgement.is_some() {
            None
        } else if self.daily_cost.is_some_and(|limit| self.spent_today().cost >= limit) {
            return end(judgement, ComparisonResult::OverLimit);
        } else {
            let place = Arc::clone(&self.places).try_acquire_owned().ok();
            if place.is_none() {
                return end(judgement, ComparisonResult::Dropped);
            }
            place
        };
        // Without a runtime the program is ending.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return end(judgement, ComparisonResult::Dropped);
        };
        let name = if judgement.is_some() { "judgement" } else { "shadow" };
        let span = tracing::info_span!(
            parent: None,
            "comparison",
            otel.name = name,
            { fields::RESULT } = Empty,
        );
        let this = Arc::clone(self);
        // A judgement counts itself.
        let shadow = judgement.is_none().then(|| parts.context.metrics.clone());
        let cut_off = move || {
            if let Some(metrics) = shadow {
                metrics.shadow(ComparisonResult::Stopped);
            }
        };
        let mut judgement = judgement;
        let work = async move {
            let result = match &mut judgement {
                None => this.compare(comparison, None, &answer, delivered, &parts).await,
                Some(drawn) => {
                    let work = async {
                        let _turn = this.places.acquire().await;
                        this.compare(comparison, Some(drawn), &answer, delivered, &parts).await
                    };
                    let timely = tokio::time::timeout(this.judgement_timeout, work).await;
                    timely.unwrap_or(ComparisonResult::Failed)
                }
            };
            Span::current().record(fields::RESULT, result.name());
            end(judgement, result);
            drop(place);
        };
        self.tasks.spawn(work.instrument(span), cut_off, &runtime);
    }

    async fn compare(
        &self,
        comparison: Comparison,
        mut judgement: Option<&mut Judgement>,
        answer: &str,
        delivered: Option<Used>,
        parts: &Parts,
    ) -> ComparisonResult {
        let Parts { decider, powerful, lightweight, context } = parts;
        let Comparison { id, question, call } = comparison;
        let (served, other) = match judgement {
            Some(_) => (ModelType::Lightweight, powerful),
            None => (ModelType::Powerful, lightweight),
        };
        if judgement.is_some() {
            // It is due, so it waits until the model may be called again.
            while let Some(wait) = other.circuit.wait() {
                tokio::time::sleep(wait).await;
            }
        }
        let answered = match other.ask(call, context).await {
            Ok(answered) => answered,
            Err(result) => {
                if result.is_failure() {
                    other.circuit.failed(None);
                }
                return ComparisonResult::Failed;
            }
        };
        other.circuit.succeeded();
        let mut used: Vec<_> = delivered.into_iter().collect();
        let mut cost = self.pay(other, &answered, &mut used);
        let log = |usage| {
            let (judge, draws) = (Some(self.judge.name().to_owned()), Draws::default());
            decider.memory.served(id, Served { model: served, usage, price_version: None, judge, draws });
        };
        // What is paid is logged also where no verdict follows.
        log(used.clone());
        let Some(compared) = answered.text.filter(|text| !text.is_empty()) else {
            return ComparisonResult::Undecided;
        };
        let text = id.to_string();
        // The lot of a request cannot be chosen by a client: ids are drawn here.
        let lightweight_first = Sha256::digest(text.as_bytes())[0].is_multiple_of(2);
        let (lightweight, powerful) = match served {
            ModelType::Lightweight => (answer, &*compared),
            ModelType::Powerful => (&*compared, answer),
        };
        let answers = Answers { id: &text, question: &question, lightweight, powerful, lightweight_first };
        let (verdict, usage) = self.judge.compare(answers, context).await;
        if let (Judge::Model { upstream, .. }, Some(usage)) = (&self.judge, &usage) {
            cost += self.pay(upstream, usage, &mut used);
        }
        if judgement.is_some() {
            self.spent_today().price(cost);
        }
        log(used);
        let Some(verdict) = verdict else { return ComparisonResult::Undecided };
        if let Some(judgement) = &mut judgement {
            judgement.leave_queue();
        }
        match decider.judge(id, verdict) {
            Ok(_) => self.result(verdict),
            Err(error) => {
                tracing::warn!(%error, "a verdict was not recorded");
                ComparisonResult::Undecided
            }
        }
    }

    /// The memory has the same rule.
    fn result(&self, verdict: Verdict) -> ComparisonResult {
        match verdict.powerful {
            Some(powerful) if verdict.lightweight >= powerful - self.margin => ComparisonResult::NoWorse,
            Some(_) => ComparisonResult::Worse,
            None => ComparisonResult::Undecided,
        }
    }

    /// Adds the price of a call to what was spent today, and returns it.
    fn pay(&self, upstream: &Upstream, usage: &Usage, used: &mut Vec<Used>) -> f64 {
        let Some(tokens) = usage.tokens else { return 0.0 };
        used.push(Used { model: upstream.config.model.clone(), tokens });
        let cost = upstream.config.prices.map_or(0.0, |prices| prices.of(tokens));
        self.spent_today().cost += cost;
        cost
    }

    /// What was spent on this day (UTC).
    fn spent_today(&self) -> MutexGuard<'_, Spent> {
        let day = self.clock.unix_seconds().div_euclid(DAY);
        // A poisoned lock is safe to use: each change is one assignment.
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.day != day {
            (spent.day, spent.cost) = (day, 0.0);
        }
        spent
    }
}

impl Drop for PlaceInQueue {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Spent {
    /// Learns the price of a judgement.
    fn price(&mut self, cost: f64) {
        let mean = self.judgement.unwrap_or(cost);
        self.judgement = Some(mean + NEWEST * (cost - mean));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparisons(clock: Clock, judge: &str) -> Arc<Comparisons> {
        let model = "provider = \"openai\"\nmodel = \"m\"\nprices = { input = 1.0, output = 1.0 }\n";
        let text = format!(
            "version = 1\n[powerful]\n{model}[lightweight]\n{model}[budget]\n[judge]\nkind = \"exact\"\n{judge}"
        );
        let config = Config::parse(&text, &|_| Some("sk".to_owned())).unwrap();
        Comparisons::new(&config, clock, None).unwrap().unwrap()
    }

    #[test]
    fn as_many_judgements_may_be_drawn_as_the_queue_has_room_for() {
        let comparisons = comparisons(Clock::system(), "queue = 2");
        assert_eq!(comparisons.allowance(), 2);
        let mut places: Vec<_> = (0..3).map(|_| comparisons.place_in_queue()).collect();
        assert_eq!(comparisons.allowance(), 0, "leases can make the queue longer");
        places.truncate(1);
        assert_eq!(comparisons.allowance(), 1);
    }

    #[test]
    fn as_many_judgements_may_be_drawn_as_the_money_of_the_day_pays_for() {
        let (clock, hand) = Clock::manual(0);
        let comparisons = comparisons(clock, "daily_cost = 10.0");
        let spend = |cost| {
            comparisons.spent_today().cost += cost;
            comparisons.spent_today().price(cost);
        };
        assert_eq!(comparisons.allowance(), 1, "the price is unknown");
        spend(1.0);
        assert_eq!(comparisons.allowance(), 9);
        let open = comparisons.place_in_queue();
        assert_eq!(comparisons.allowance(), 8, "what is open will be paid");
        drop(open);
        spend(6.0);
        assert_eq!(comparisons.allowance(), 2, "the mean price is 1.5");
        spend(2.5);
        assert_eq!(comparisons.allowance(), 1, "less than a price is left");
        spend(0.5);
        assert_eq!(comparisons.allowance(), 0);
        hand.advance(Duration::from_secs(24 * 3600));
        assert_eq!(comparisons.allowance(), 6, "another day has money of its own");
    }
}
