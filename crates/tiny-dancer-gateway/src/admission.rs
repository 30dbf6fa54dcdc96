//! Who may send a request, and how many are open at the same time.

use crate::config::{ClientConfig, Config, Limits};
use crate::headers;
use crate::metrics::Metrics;
use crate::refusal::Refusal;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use http_body_util::LengthLimitError;
use prometheus::Gauge;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The doors.
#[derive(Debug)]
pub(crate) struct Admission {
    /// The clients by the digests of their keys.
    clients: HashMap<[u8; 32], usize>,
    open: Arc<Semaphore>,
    /// The places of each client.
    per_client: Vec<Arc<Semaphore>>,
    limits: Limits,
    waiting: AtomicUsize,
    patience: Duration,
    body_time: Duration,
    in_flight: Gauge,
    queued: Gauge,
}

/// The place of an open request, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _open: OwnedSemaphorePermit,
    _of_client: Option<OwnedSemaphorePermit>,
    in_flight: Gauge,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.in_flight.dec();
    }
}

impl Admission {
    /// Places that were taken under the configuration before stay taken, if their number is the same.
    pub(crate) fn new(config: &Config, metrics: &Metrics, before: Option<(&Config, &Self)>) -> Self {
        let limits = &config.limits;
        // No semaphore has more; and so many requests are never open.
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        let clients = config.clients.iter().enumerate();
        let same = before.filter(|(before, _)| before.limits.concurrent == limits.concurrent);
        let open = same.map_or_else(|| semaphore(limits.concurrent), |(_, before)| Arc::clone(&before.open));
        let per_client = |client: &ClientConfig| {
            let limit = limits.concurrent_per_client;
            let same = before.filter(|(before, _)| before.limits.concurrent_per_client == limit);
            let known = same.and_then(|(config, before)| {
                let index = config.clients.iter().position(|known| known.name == client.name)?;
                before.per_client.get(index).map(Arc::clone)
            });
            known.unwrap_or_else(|| semaphore(limit))
        };
        Self {
            clients: clients.map(|(index, client)| (client.key_sha256, index)).collect(),
            open,
            per_client: config.clients.iter().map(per_client).collect(),
            limits: limits.clone(),
            waiting: AtomicUsize::new(0),
            patience: config.timeouts.queue,
            body_time: config.timeouts.body,
            in_flight: metrics.in_flight.clone(),
            queued: metrics.queued.clone(),
        }
    }

    /// The client with the key of these headers; `None` where no clients are configured.
    pub(crate) fn client(&self, headers: &HeaderMap) -> Result<Option<usize>, Refusal> {
        if self.clients.is_empty() {
            return Ok(None);
        }
        let key = headers::key(headers).ok_or(Refusal::Key)?;
        // A digest of random keys: the time of its comparison says nothing about a key.
        let digest: [u8; 32] = Sha256::digest(key).into();
        self.clients.get(&digest).map(|client| Some(*client)).ok_or(Refusal::Key)
    }

    /// Waits for a place.
    pub(crate) async fn place(&self, client: Option<usize>) -> Result<Place, Refusal> {
        let of_client = client.and_then(|client| self.per_client.get(client)).map(|places| {
            let place = Arc::clone(places).try_acquire_owned();
            place.map_err(|_| Refusal::ClientBusy { limit: self.limits.concurrent_per_client })
        });
        let of_client = of_client.transpose()?;
        let open = match Arc::clone(&self.open).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => self.wait().await?,
        };
        self.in_flight.inc();
        Ok(Place { _open: open, _of_client: of_client, in_flight: self.in_flight.clone() })
    }

    async fn wait(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let waiting = Waiting::new(self).ok_or(Refusal::Overloaded)?;
        let place = tokio::time::timeout(self.patience, Arc::clone(&self.open).acquire_owned()).await;
        drop(waiting);
        // The semaphore is never closed.
        place.ok().and_then(Result::ok).ok_or(Refusal::Overloaded)
    }

    /// Receives a body.
    pub(crate) async fn body(&self, headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
        let limit = self.limits.body_bytes;
        let too_large = || Refusal::BodyTooLarge { limit };
        let length =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: u64| length > limit as u64) {
            return Err(too_large());
        }
        let received = tokio::time::timeout(self.body_time, axum::body::to_bytes(body, limit)).await;
        let received = received.map_err(|_| Refusal::BodySlow { limit: self.body_time })?;
        received.map_err(|source| match source.source() {
            Some(cause) if cause.is::<LengthLimitError>() => too_large(),
            _ => Refusal::BodyBroken { source },
        })
    }
}

/// A request in the queue.
struct Waiting<'a>(&'a Admission);

impl<'a> Waiting<'a> {
    fn new(admission: &'a Admission) -> Option<Self> {
        let before = admission.waiting.fetch_add(1, Ordering::Relaxed);
        // Dropped, it gives its number back.
        let waiting = Self(admission);
        admission.queued.inc();
        (before < admission.limits.queue).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.queued.dec();
    }
}
