//! One stream with a memory that begins empty, beside one that knows all and one that is frozen.

use super::stream::{Request, Rows};
use std::sync::Arc;
use tiny_dancer::parts::core::coin::{Coin, Purpose, Seed};
use tiny_dancer::parts::core::fastgrnn::JOINT_CANDIDATES;
use tiny_dancer::parts::core::{RouteError, Router};
use tiny_dancer::{Candidate, Metadata, ModelType, Query, RoutingRequest, RoutingResponse};
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
        let sent = || decisions.iter().zip(outcomes).filter(|(decision, _)| decision.lightweight);
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

/// A router's decision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Decision {
    pub(crate) confidence: f32,
    pub(crate) lightweight: bool,
}

/// The router's confidence by what a memory holds.
pub(crate) struct Remembered<'a> {
    router: &'a Router,
    response: RoutingResponse,
    candidates: Vec<Candidate>,
}

/// The time of all requests and of all that is remembered, in Unix seconds.
const NOW: i64 = 0;

impl<'a> Remembered<'a> {
    pub(crate) fn new(router: &'a Router) -> Self {
        Self { router, response: RoutingResponse::default(), candidates: vec![] }
    }

    /// Decides by the nearest entries of a snapshot, without the entry named `except`.
    fn decide(
        &mut self,
        snapshot: &Snapshot,
        embedding: &[f32],
        except: Option<&str>,
    ) -> Result<Decision, RouteError> {
        let k = JOINT_CANDIDATES + usize::from(except.is_some());
        let found = snapshot.nearest(embedding, k, &Metadata::new())?;
        let kept = found.iter().filter(|found| except != Some(found.candidate.id.as_str()));
        self.candidates.clear();
        self.candidates.extend(kept.take(JOINT_CANDIDATES).map(|found| (*found.candidate).clone()));
        let query = Query { now: Some(NOW), ..Query::new(embedding) };
        self.router.route_into(RoutingRequest { query, candidates: &self.candidates }, &mut self.response)?;
        let RoutingResponse { confidence, model, .. } = self.response;
        Ok(Decision { confidence, lightweight: model == ModelType::Lightweight })
    }
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

/// The three memories at one checkpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Checkpoint {
    /// The number of requests before it.
    pub(crate) after: usize,
    pub(crate) learning: Window,
    pub(crate) knowing: Window,
    pub(crate) frozen: Window,
}

/// The numbers of requests after which memories are compared: 0, a quarter and a half of the window, and each multiple of
/// it that has a whole window after it.
pub(crate) fn checkpoints(requests: usize, window: usize) -> Vec<usize> {
    let multiples = (1..).map(|times| times * window).take_while(|after| after + window <= requests);
    [0, window / 4, window / 2].into_iter().chain(multiples).collect()
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

    /// A request with its outcome, as it is remembered. The name is its place in the stream.
    fn entry(&self, place: usize, outcome: Outcome) -> Candidate {
        Candidate {
            id: name(place),
            embedding: self.embeddings[place].clone(),
            created_at: NOW,
            success_rate: f32::from(u8::from(outcome.sufficed())),
            win_rate: f32::from(u8::from(outcome.lightweight > outcome.powerful)),
            ..Candidate::default()
        }
    }

    /// The decisions by a memory that knows the outcome of every other request, with the pair of models in use.
    pub(crate) fn knowing(&self, rows: &Rows, stream: &[Request]) -> Result<Vec<Decision>, RouteError> {
        let mut remembered = Remembered::new(self.router);
        let mut decisions = Vec::with_capacity(stream.len());
        let mut known: Option<(usize, Arc<Snapshot>)> = None;
        for (place, request) in stream.iter().enumerate() {
            let snapshot = match &known {
                Some((pair, snapshot)) if *pair == request.pair => snapshot,
                _ => {
                    let entry = |(place, other): (usize, &Request)| {
                        let outcome = rows.outcome(Request { pair: request.pair, ..*other })?;
                        Some(self.entry(place, outcome))
                    };
                    let index = Index::new(self.dimensions);
                    index.insert(stream.iter().enumerate().filter_map(entry).collect())?;
                    &known.insert((request.pair, index.snapshot())).1
                }
            };
            decisions.push(remembered.decide(snapshot, &self.embeddings[place], Some(&name(place)))?);
        }
        Ok(decisions)
    }

    /// Replays the stream with a memory that begins empty. Returns the memory at each checkpoint.
    pub(crate) fn replay(
        &self,
        sampling: Sampling,
        checkpoints: &[usize],
    ) -> Result<(Counts, Vec<Arc<Snapshot>>), RouteError> {
        let index = Index::new(self.dimensions);
        let mut remembered = Remembered::new(self.router);
        let (mut counts, mut snapshots) = (Counts::default(), vec![]);
        for (place, (embedding, outcome)) in self.embeddings.iter().zip(&self.outcomes).enumerate() {
            let snapshot = index.snapshot();
            if checkpoints.contains(&place) {
                snapshots.push(Arc::clone(&snapshot));
            }
            let decision = remembered.decide(&snapshot, embedding, None)?;
            let draw = |purpose, rate| self.coin.draw(place as u64, purpose, rate).happened;
            let explored = !decision.lightweight && draw(Purpose::Explore, sampling.explore);
            let lightweight = decision.lightweight || explored;
            let judged = explored || lightweight && draw(Purpose::Judge, sampling.judge);
            let shadowed = !lightweight && draw(Purpose::Shadow, sampling.shadow_rate);
            counts += Counts {
                requests: 1,
                lightweight: lightweight.into(),
                worse: usize::from(lightweight && !outcome.sufficed()),
                explored: explored.into(),
                judged: judged.into(),
                shadowed: shadowed.into(),
            };
            if judged || shadowed {
                index.insert(vec![self.entry(place, *outcome)])?;
            }
        }
        Ok((counts, snapshots))
    }

    /// The window after a checkpoint, decided by one memory.
    pub(crate) fn window(&self, snapshot: &Snapshot, after: usize) -> Result<Window, RouteError> {
        let mut remembered = Remembered::new(self.router);
        let requests = after..after + self.window;
        let decide = |embedding: &Vec<f32>| remembered.decide(snapshot, embedding, None);
        let decisions: Vec<_> =
            self.embeddings[requests.clone()].iter().map(decide).collect::<Result<_, _>>()?;
        Ok(Window::new(&decisions, &self.outcomes[requests]))
    }

    /// The window after a checkpoint, with the decisions of the whole stream.
    pub(crate) fn window_of(&self, decisions: &[Decision], after: usize) -> Window {
        let requests = after..after + self.window;
        Window::new(&decisions[requests.clone()], &self.outcomes[requests])
    }

    /// The learning memory's window after each checkpoint.
    pub(crate) fn learning(
        &self,
        checkpoints: &[usize],
        snapshots: &[Arc<Snapshot>],
    ) -> Result<Vec<Window>, RouteError> {
        checkpoints.iter().zip(snapshots).map(|(&after, snapshot)| self.window(snapshot, after)).collect()
    }

    /// All three memories at each checkpoint. The frozen one is the learning one until it has seen a window of requests.
    pub(crate) fn compare(
        &self,
        checkpoints: &[usize],
        snapshots: &[Arc<Snapshot>],
        learning: &[Window],
        knowing: &[Decision],
    ) -> Result<Vec<Checkpoint>, RouteError> {
        let last = checkpoints.iter().rposition(|&after| after <= self.window).unwrap_or_default();
        let at = |(number, &after): (usize, &usize)| {
            let frozen =
                if number <= last { learning[number] } else { self.window(&snapshots[last], after)? };
            Ok(Checkpoint {
                after,
                learning: learning[number],
                knowing: self.window_of(knowing, after),
                frozen,
            })
        };
        checkpoints.iter().enumerate().map(at).collect()
    }
}

/// The name of a request in a memory. Later requests have later names.
fn name(place: usize) -> String {
    format!("{place:08}")
}

#[cfg(test)]
mod tests;
