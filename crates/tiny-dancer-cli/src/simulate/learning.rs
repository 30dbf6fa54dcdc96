//! One stream with a memory that begins empty, beside one that knows all and one that is frozen.

use super::stream::{Request, Rows};
use std::sync::Arc;
use tiny_dancer::parts::core::coin::{Coin, Purpose, Seed};
use tiny_dancer::parts::core::fastgrnn::JOINT_CANDIDATES;
use tiny_dancer::parts::core::{RouteError, Router};
use tiny_dancer::{Candidate, Metadata, ModelType, Query, Reason, RoutingResponse};
use tiny_dancer_memory::{Index, Snapshot};
use tiny_dancer_train::curve::{Outcome, Ranking};

/// Which requests are looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sampling {
    /// The probability that the lightweight model answers a request of the powerful model too, for comparison only.
    pub(crate) shadow_rate: f64,
    /// The probability that a request of the powerful model goes to the lightweight one.
    pub(crate) explore: f64,
    /// The probability that a lightweight answer is judged.
    pub(crate) judge: f64,
}

/// What happened to the requests of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// All requests.
    pub(crate) requests: usize,
    /// Those that the lightweight model answered, explored ones included.
    pub(crate) lightweight: usize,
    /// Those of them whose answer was worse than the powerful model's.
    pub(crate) worse: usize,
    /// Those of them that were explored.
    pub(crate) explored: usize,
    /// Those of them that were judged. An explored answer always is.
    pub(crate) judged: usize,
    /// Those of the powerful model that were shadowed.
    pub(crate) shadowed: usize,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.lightweight += other.lightweight;
        self.worse += other.worse;
        self.explored += other.explored;
        self.judged += other.judged;
        self.shadowed += other.shadowed;
    }
}

/// One memory on the requests of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Window {
    pub(crate) requests: usize,
    /// Those that the thresholds send to the lightweight model.
    pub(crate) lightweight: usize,
    /// Those of them whose lightweight answer is worse.
    pub(crate) worse: usize,
    /// The part of the gap between the two models that the ranking recovers, times the requests.
    pub(crate) recovered: f64,
    /// The gap between the two models, times the requests.
    pub(crate) gap: f64,
}

impl std::ops::AddAssign for Window {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.lightweight += other.lightweight;
        self.worse += other.worse;
        self.recovered += other.recovered;
        self.gap += other.gap;
    }
}

/// The smallest gap between the two models, in mean scores, by which an APGR is divided.
const LEAST_GAP: f64 = 0.02;

impl Window {
    fn new(decisions: &[Decision], outcomes: &[Outcome]) -> Self {
        let requests = outcomes.len();
        let confidences: Vec<f64> = decisions.iter().map(|decision| decision.confidence.into()).collect();
        let curve = Ranking::new(&confidences).curve(outcomes, &vec![1.0; requests]);
        let sent = || decisions.iter().zip(outcomes).filter(|(decision, _)| is_lightweight(decision.reason));
        Self {
            requests,
            lightweight: sent().count(),
            worse: sent().filter(|(_, outcome)| !outcome.sufficed()).count(),
            recovered: curve.recovered() * requests as f64,
            gap: curve.gap() * requests as f64,
        }
    }

    /// The share of the requests that go to the lightweight model.
    pub(crate) fn share(&self) -> f64 {
        self.lightweight as f64 / self.requests.max(1) as f64
    }

    /// The share of these whose answer is worse; `None` if there are none.
    pub(crate) fn worse_rate(&self) -> Option<f64> {
        (self.lightweight > 0).then(|| self.worse as f64 / self.lightweight as f64)
    }

    /// The mean APGR, with each set of rows weighted by its gap; `None` where the powerful model is not much better.
    pub(crate) fn apgr(&self) -> Option<f64> {
        (self.gap >= LEAST_GAP * self.requests as f64 && self.gap > 0.0).then(|| self.recovered / self.gap)
    }
}

fn is_lightweight(reason: Reason) -> bool {
    reason.model() == ModelType::Lightweight
}

/// A router's decision, before exploring.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Decision {
    confidence: f32,
    reason: Reason,
}

/// The time of all requests and of all that is remembered, in Unix seconds.
pub(super) const NOW: i64 = 0;

/// A request with its outcome, as it is remembered. The name is its place in the stream.
pub(super) fn entry(place: usize, embedding: &[f32], outcome: Outcome) -> Candidate {
    Candidate {
        id: name(place),
        embedding: embedding.to_vec(),
        created_at: NOW,
        success_rate: f32::from(u8::from(outcome.sufficed())),
        win_rate: f32::from(u8::from(outcome.lightweight > outcome.powerful)),
        ..Candidate::default()
    }
}

/// The router's decision by the nearest entries of a memory, without the entry named `except`.
fn remembered(
    router: &Router,
    memory: &Snapshot,
    embedding: &[f32],
    except: Option<&str>,
) -> Result<Decision, RouteError> {
    let k = JOINT_CANDIDATES + usize::from(except.is_some());
    let found = memory.nearest(embedding, k, &Metadata::new())?;
    let kept = found.iter().map(|found| &*found.candidate).filter(|it| except != Some(it.id.as_str()));
    let nearest: Vec<&Candidate> = kept.take(JOINT_CANDIDATES).collect();
    let query = Query { now: Some(NOW), ..Query::new(embedding) };
    let RoutingResponse { confidence, reason, .. } = router.begin().route_nearest(query, &nearest)?;
    Ok(Decision { confidence, reason })
}

/// A stream with all that its simulations share.
pub(crate) struct Simulation<'a> {
    router: &'a Router,
    embeddings: Vec<Vec<f32>>,
    outcomes: Vec<Outcome>,
    coin: Coin,
    /// The number of requests over which an APGR is taken, and that the frozen memory remembers.
    window: usize,
    dimensions: usize,
}

/// A stream with a memory that learnt from it.
pub(crate) struct Replayed {
    pub(crate) counts: Counts,
    /// The decision on each request, by what was remembered before it.
    pub(crate) decisions: Vec<Decision>,
    /// What was remembered after the first window.
    first: Arc<Snapshot>,
}

/// The three memories at one checkpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Checkpoint {
    /// The number of requests before it.
    pub(crate) after: usize,
    pub(crate) learning: Window,
    pub(crate) knowing: Window,
    pub(crate) frozen: Window,
}

/// The numbers of requests after which memories are compared: each multiple of the window that has a whole one after it.
pub(crate) fn checkpoints(requests: usize, window: usize) -> Vec<usize> {
    (0..requests / window).map(|times| times * window).collect()
}

impl<'a> Simulation<'a> {
    pub(crate) fn new(
        rows: &Rows,
        stream: &[Request],
        router: &'a Router,
        window: usize,
        seed: Seed,
    ) -> Self {
        let outcome = |&request: &Request| rows.outcome(request).expect("a request has a pair of its row");
        Self {
            router,
            embeddings: stream.iter().map(|request| rows.embedding(request.row)).collect(),
            outcomes: stream.iter().map(outcome).collect(),
            coin: Coin::new(seed),
            window,
            dimensions: rows.dimensions(),
        }
    }

    /// The decisions by a memory that knows the outcome of every other request, with the pair of models in use.
    pub(crate) fn knowing(&self, rows: &Rows, stream: &[Request]) -> Result<Vec<Decision>, RouteError> {
        let mut decisions = Vec::with_capacity(stream.len());
        let mut known: Option<(usize, Arc<Snapshot>)> = None;
        for (place, request) in stream.iter().enumerate() {
            let snapshot = match &known {
                Some((pair, snapshot)) if *pair == request.pair => snapshot,
                _ => {
                    let by_all = |(place, other): (usize, &Request)| {
                        let outcome = rows.outcome(Request { pair: request.pair, ..*other })?;
                        Some(entry(place, &self.embeddings[place], outcome))
                    };
                    let index = Index::new(self.dimensions);
                    index.insert(stream.iter().enumerate().filter_map(by_all).collect())?;
                    &known.insert((request.pair, index.snapshot())).1
                }
            };
            let (embedding, own) = (&self.embeddings[place], name(place));
            decisions.push(remembered(self.router, snapshot, embedding, Some(&own))?);
        }
        Ok(decisions)
    }

    /// Replays the stream with a memory that begins empty.
    pub(crate) fn replay(&self, sampling: Sampling) -> Result<Replayed, RouteError> {
        let index = Index::new(self.dimensions);
        let (mut counts, mut decisions, mut first) = (Counts::default(), vec![], index.snapshot());
        for (place, (embedding, outcome)) in self.embeddings.iter().zip(&self.outcomes).enumerate() {
            let snapshot = index.snapshot();
            if place == self.window {
                first = Arc::clone(&snapshot);
            }
            let decision = remembered(self.router, &snapshot, embedding, None)?;
            let draw = |purpose, rate| self.coin.draw(place as u64, purpose, rate);
            let served = decision.reason.after(Some(draw(Purpose::Explore, sampling.explore)));
            let (explored, lightweight) = (served == Reason::Explored, is_lightweight(served));
            let judged = explored || lightweight && draw(Purpose::Judge, sampling.judge).happened;
            let shadowed = !lightweight && draw(Purpose::Shadow, sampling.shadow_rate).happened;
            counts += Counts {
                requests: 1,
                lightweight: lightweight.into(),
                worse: usize::from(lightweight && !outcome.sufficed()),
                explored: explored.into(),
                judged: judged.into(),
                shadowed: shadowed.into(),
            };
            if judged || shadowed {
                index.insert(vec![entry(place, embedding, *outcome)])?;
            }
            decisions.push(decision);
        }
        Ok(Replayed { counts, decisions, first })
    }

    /// The decisions of a memory that learnt from the first window only.
    pub(crate) fn frozen(&self, learning: &Replayed) -> Result<Vec<Decision>, RouteError> {
        let mut decisions = learning.decisions[..self.window].to_vec();
        for embedding in &self.embeddings[self.window..] {
            decisions.push(remembered(self.router, &learning.first, embedding, None)?);
        }
        Ok(decisions)
    }

    /// The decisions on the window after so many requests.
    pub(crate) fn window(&self, decisions: &[Decision], after: usize) -> Window {
        let requests = after..after + self.window;
        Window::new(&decisions[requests.clone()], &self.outcomes[requests])
    }
}

/// The name of a request in a memory. Later requests have later names.
fn name(place: usize) -> String {
    format!("{place:08}")
}

#[cfg(test)]
mod tests;
