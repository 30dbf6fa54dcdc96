//! What is known about past requests, by which the next ones are decided.
//!
//! It is in memory alone: a restart forgets it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tiny_dancer::{Candidate, Metadata, RouteError};
use tiny_dancer_memory::{Index, RequestId, Verdict};

/// The number of candidates of a request, which is how many the joint pass reads.
const NEAREST: usize = 64;
/// How many requests wait for a verdict. Verdicts on older ones come too late.
const WAITING: usize = 10_000;
/// From this score on, an answer counts as good enough.
const GOOD_ENOUGH: f32 = 0.5;
/// The key of the entries' client.
const TENANT: &str = "tenant";

/// Requests with a verdict, and those that wait for one.
#[derive(Debug)]
pub(crate) struct Evidence {
    index: Index,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    requests: HashMap<RequestId, Candidate>,
    order: VecDeque<RequestId>,
}

impl Evidence {
    pub(crate) fn new(dimensions: usize) -> Self {
        Self { index: Index::new(dimensions), waiting: Mutex::default() }
    }

    /// Adds profiles of past requests.
    pub(crate) fn insert(&self, profiles: Vec<Candidate>) -> Result<(), RouteError> {
        self.index.insert(profiles)
    }

    pub(crate) fn len(&self) -> usize {
        self.index.snapshot().len()
    }

    /// The nearest entries of a client, or of all.
    pub(crate) fn nearest(&self, query: &[f32], tenant: Option<&str>) -> Result<Vec<Candidate>, RouteError> {
        let found = self.index.nearest(query, NEAREST, &metadata(tenant))?;
        Ok(found.into_iter().map(|found| (*found.candidate).clone()).collect())
    }

    /// Keeps a request until its verdict arrives.
    pub(crate) fn wait(&self, id: RequestId, embedding: Vec<f32>, tenant: Option<&str>, now: i64) {
        let candidate = Candidate {
            id: id.to_string(),
            embedding,
            metadata: metadata(tenant),
            created_at: now,
            access_count: 1,
            ..Candidate::default()
        };
        let mut waiting = self.waiting();
        waiting.requests.insert(id, candidate);
        waiting.order.push_back(id);
        if waiting.order.len() > WAITING
            && let Some(oldest) = waiting.order.pop_front()
        {
            waiting.requests.remove(&oldest);
        }
    }

    /// Makes a request evidence. Returns whether its lightweight answer sufficed; `None` if the request is unknown, too old,
    /// or has a verdict.
    pub(crate) fn judge(&self, id: RequestId, verdict: Verdict) -> Option<bool> {
        let mut candidate = self.waiting().requests.remove(&id)?;
        let Verdict { lightweight, powerful, .. } = verdict;
        let sufficed = powerful.map_or(lightweight >= GOOD_ENOUGH, |powerful| lightweight >= powerful);
        candidate.success_rate = f32::from(u8::from(sufficed));
        candidate.win_rate = f32::from(u8::from(powerful.is_some_and(|powerful| lightweight > powerful)));
        // Its embedding was routed, so it is valid.
        self.index.insert(vec![candidate]).ok().map(|()| sufficed)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // A poisoned lock is safe to use: each change leaves both collections usable.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn metadata(tenant: Option<&str>) -> Metadata {
    tenant.map(|tenant| (TENANT.to_owned(), tenant.to_owned())).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_makes_a_request_evidence_once_and_for_its_client_alone() {
        let evidence = Evidence::new(2);
        let (one, two) = (RequestId::now(), RequestId::now());
        evidence.wait(one, vec![1.0, 0.0], Some("a"), 5);
        evidence.wait(two, vec![1.0, 0.0], Some("b"), 5);
        assert_eq!(evidence.len(), 0, "without a verdict it is no evidence");
        assert_eq!(evidence.judge(one, Verdict::lightweight(0.5)), Some(true));
        assert_eq!(evidence.judge(one, Verdict::lightweight(0.0)), None, "it has a verdict");
        assert_eq!(evidence.judge(two, Verdict::judged(0.4, 0.5)), Some(false));
        let rates = |tenant| {
            let found = evidence.nearest(&[0.6, 0.8], tenant).unwrap();
            found.iter().map(|found| found.success_rate).collect::<Vec<_>>()
        };
        assert_eq!((rates(Some("a")), rates(Some("b")), rates(None).len()), (vec![1.0], vec![0.0], 2));
    }

    #[test]
    fn the_oldest_request_is_dropped_when_too_many_wait() {
        let evidence = Evidence::new(2);
        let ids: Vec<_> = (0..=WAITING).map(|_| RequestId::now()).collect();
        for id in &ids {
            evidence.wait(*id, vec![1.0, 0.0], None, 0);
        }
        assert_eq!(evidence.judge(ids[0], Verdict::lightweight(1.0)), None);
        assert_eq!(evidence.judge(ids[1], Verdict::lightweight(1.0)), Some(true));
    }
}
