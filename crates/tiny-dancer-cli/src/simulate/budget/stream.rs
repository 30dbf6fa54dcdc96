//! One stream under a quality budget: the router, its memory, a judge, and the truth, which the router does not see.

use super::neighbours::Neighbours;
use super::record::{Moment, Tally};
use crate::simulate::learning::{NOW, entry};
use std::collections::VecDeque;
use std::time::Duration;
use tiny_dancer::parts::core::budget::{JudgeRate, QualityBudget, Ticket};
use tiny_dancer::parts::core::fastgrnn::JOINT_CANDIDATES;
use tiny_dancer::parts::core::{Clock, Router, RouterConfig};
use tiny_dancer::{Candidate, ModelType, Query};
use tiny_dancer_train::curve::Outcome;

/// How answers are judged, and what is allowed at the start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Setting {
    pub(crate) judge_rate: JudgeRate,
    pub(crate) burst: f64,
    /// How many requests later a verdict comes. At 0 it comes before the next request.
    pub(crate) late: usize,
    /// The share of verdicts that never come.
    pub(crate) lost: f64,
}

impl Setting {
    pub(crate) fn budget(self) -> QualityBudget {
        QualityBudget { judge_rate: self.judge_rate, burst: self.burst, ..QualityBudget::default() }
    }
}

/// The requests of a stream with their truth.
pub(crate) struct Stream<'a> {
    pub(crate) neighbours: &'a Neighbours,
    /// The place of each request among the neighbours, and its outcome.
    pub(crate) requests: Vec<(usize, Outcome)>,
    /// An enemy makes an answer worse exactly if the lightweight model gives it. Shadows are good, so that they lure.
    pub(crate) enemy: bool,
}

/// The verdict on a lightweight answer, served or shadowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Verdict {
    /// The number of requests after which it is known.
    pub(crate) known: usize,
    /// The probability with which it was drawn.
    pub(crate) probability: f64,
    pub(crate) worse: bool,
}

/// A request with what the router computed for it, and the truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scored {
    pub(crate) confidence: f32,
    pub(crate) uncertainty: f32,
    /// Whether the lightweight model served it.
    pub(crate) lightweight: bool,
    /// Whether its answer was to be judged.
    pub(crate) judged: bool,
    /// Whether an answer of the lightweight model is worse, if it is served.
    pub(crate) worse: bool,
    /// `None` if no verdict was drawn, or if it was lost.
    pub(crate) verdict: Option<Verdict>,
}

/// A stream that was replayed under a budget.
pub(crate) struct Spent {
    pub(crate) tally: Tally,
    pub(crate) shadowed: usize,
    pub(crate) scored: Vec<Scored>,
    /// Some moments of the stream, evenly spaced.
    pub(crate) moments: Vec<Moment>,
}

/// A verdict that is on its way.
struct Due {
    at: usize,
    ticket: Option<Ticket>,
    worse: bool,
    row: usize,
    entry: Candidate,
}

/// How many moments are kept.
const MOMENTS: usize = 200;

impl Stream<'_> {
    /// Replays the stream with a memory that begins empty. The configuration has the budget, the rates and the seed; it gets a clock
    /// by which a second passes for each request. The draws are numbered from `first`, and `is_lost` draws which verdicts are
    /// lost.
    pub(crate) fn spend(
        &self,
        setting: Setting,
        config: RouterConfig,
        first: u64,
        mut is_lost: impl FnMut() -> bool,
    ) -> anyhow::Result<Spent> {
        let (clock, time) = Clock::manual(NOW);
        let mut router = Router::new(RouterConfig { clock, ..config })?;
        router.number_from(first);
        let mut memory = self.neighbours.memory();
        let mut allowance = Allowance::new(&setting.budget());
        let (mut shadowed, mut scored, mut moments) = (0, vec![], vec![]);
        let mut due: VecDeque<Due> = VecDeque::new();
        for (place, &(row, outcome)) in self.requests.iter().enumerate() {
            time.advance(Duration::from_secs(1));
            while due.front().is_some_and(|due| due.at <= place)
                && let Some(Due { ticket, worse, row, entry, .. }) = due.pop_front()
            {
                if let Some(ticket) = ticket {
                    router.settle(&ticket, worse);
                }
                memory.remember(row, entry);
            }
            let threshold = router.thresholds().confidence_threshold;
            let embedding = self.neighbours.embedding(row);
            let query = Query { now: Some(NOW), ..Query::new(embedding) };
            let response = router.begin().route_nearest(query, &memory.nearest(row, JOINT_CANDIDATES))?;
            router.answered();

            let lightweight = response.model == ModelType::Lightweight;
            let worse = self.enemy || !outcome.sufficed();
            let ticket = response.ticket.filter(|ticket| ticket.judge.happened);
            let shadow = response.shadow.filter(|draw| draw.happened);
            shadowed += usize::from(shadow.is_some());
            allowance.record(lightweight && worse, lightweight, ticket.is_some());

            let drawn = ticket.map(|ticket| ticket.judge).or(shadow).filter(|_| !is_lost());
            let verdict = drawn.map(|draw| Verdict {
                known: place + setting.late.max(1),
                probability: draw.probability,
                worse: if lightweight { worse } else { !self.enemy && worse },
            });
            // A verdict that is lost settles nothing: its ticket expires by the clock.
            if let Some(Verdict { known: at, worse, .. }) = verdict {
                let outcome = match (self.enemy, worse) {
                    (false, _) => outcome,
                    (true, worse) => Outcome { lightweight: f64::from(u8::from(!worse)), powerful: 1.0 },
                };
                let entry = entry(place, embedding, outcome);
                due.push_back(Due { at, ticket, worse, row, entry });
            }
            let (confidence, uncertainty) = (response.confidence, response.uncertainty);
            let judged = ticket.is_some();
            scored.push(Scored { confidence, uncertainty, lightweight, judged, worse, verdict });
            let t = place + 1;
            if t * MOMENTS / self.requests.len() > place * MOMENTS / self.requests.len()
                && let Some(state) = router.budget()
            {
                let (allowed, bound, worse) = (state.allowed, state.bound, allowance.tally.worse);
                moments.push(Moment { t, allowed, bound, worse, threshold }.rounded());
            }
        }
        Ok(Spent { tally: allowance.tally, shadowed, scored, moments })
    }
}

/// Counts what a policy does, and compares the worse answers with what is allowed, at each request.
pub(crate) struct Allowance {
    loss_rate: f64,
    burst: f64,
    answers: usize,
    pub(crate) tally: Tally,
}

impl Allowance {
    pub(crate) fn new(&QualityBudget { loss_rate, burst, .. }: &QualityBudget) -> Self {
        Self { loss_rate, burst, answers: 0, tally: Tally::default() }
    }

    /// Records an answer that was delivered.
    pub(crate) fn record(&mut self, worse: bool, lightweight: bool, judged: bool) {
        self.answers += 1;
        self.tally.lightweight += usize::from(lightweight);
        self.tally.worse += usize::from(worse);
        self.tally.judged += usize::from(judged);
        if self.tally.worse as f64 > self.allowed(self.answers) {
            self.tally.overdrawn = 1;
        }
    }

    /// How many worse answers are allowed after so many answers.
    pub(crate) fn allowed(&self, answers: usize) -> f64 {
        self.loss_rate * answers as f64 + self.burst
    }
}

#[cfg(test)]
mod tests;
