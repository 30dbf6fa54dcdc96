//! The memory: requests that are routed by what is remembered near them, and remembered.

use crate::config::{ConfigError, MemoryConfig};
use crate::record::{Context, Draws, Entry, LogEntry, RequestId, Served, Verdict, VerdictSource};
use crate::snapshot::Neighbour;
use crate::store::{
    Change, Erasure, Expiry, Reader, Receipt, SqliteStore, Store, StoreError, Vectors, Writer,
};
use account::{Tickets, Wake};
use evidence::{Evidence, Known};
use observed::Shared;
use pending::{Decision, Pending, Waiting};
use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tenants::Tenants;
use tiny_dancer_core::observer::{
    MemoryChange, MemoryEvent, MemoryState, StageErrorKind, StageReport, VerdictKind,
};
use tiny_dancer_core::{
    Candidate, ModelType, Observer, Origin, Outcome, OutcomeResult, Query, Reason, RouteError, Router,
    RoutingResponse, Scope, Thresholds,
};

mod account;
mod evidence;
mod observed;
mod pending;
mod re_embed;
mod tenants;
mod verdict;

pub use account::{AccountKeeper, KeepError, Keeping};
pub use re_embed::{ReEmbedError, ReEmbedded, re_embed};

/// Remembers requests, and routes others by the nearest of them.
///
/// It is `Send + Sync`: share one between all threads. [`route`](Self::route) waits neither for a disk nor for a writer.
pub struct Memory {
    config: MemoryConfig,
    tenants: Tenants,
    pending: Mutex<Pending>,
    /// Held while evidence changes. Routing does not take it.
    evidence: Mutex<Evidence>,
    shared: Arc<Shared>,
    store: Option<Arc<Attached>>,
    /// The tickets of answers that are to be judged.
    tickets: Mutex<Tickets>,
    /// Notifies the thread that keeps the account.
    wake: Arc<Wake>,
    /// When the store is next notified of what is too old, in Unix milliseconds.
    next_expiry: AtomicI64,
    /// When the oldest evidence was made, in Unix seconds, if there is as much as may be kept.
    oldest: AtomicI64,
}

/// A store, with the thread that writes to it and a connection that reads from it.
struct Attached {
    writer: Writer,
    /// Looks up single requests.
    lookup: Mutex<Box<dyn Reader>>,
    /// Reads all of them, which may take long.
    reader: Mutex<Box<dyn Reader>>,
}

impl Attached {
    /// Puts changes into the queue, and never waits. If it is full, they are lost.
    fn send<const N: usize>(&self, shared: &Shared, changes: [Change; N]) -> Result<Receipt, StoreError> {
        shared.queue.fetch_add(N, Ordering::Relaxed);
        self.writer.send_for_receipt(changes).inspect_err(|error| {
            shared.queue.fetch_sub(N, Ordering::Relaxed);
            shared.lost(N, error);
        })
    }
}

/// How often the store drops what is too old, in milliseconds.
const HOUR: i64 = 3_600_000;

/// The answer to a request, with the id under which the memory knows the request.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Routed {
    /// The id by which a verdict names the request.
    pub id: RequestId,
    /// The router's answer.
    pub response: RoutingResponse,
}

/// Why a memory could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The configuration is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A stored entry is not valid.
    #[error("the entry of request {id} is not valid: {source}")]
    Entry {
        /// Its request.
        id: RequestId,
        /// Why.
        source: RouteError,
    },
    /// The store cannot be read, or has the vectors of another embedder.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system cannot start the writer's thread.
    #[error("the writer's thread cannot be started: {source}")]
    Thread {
        /// Why.
        source: std::io::Error,
    },
}

/// Why a verdict was not recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The stored entry of the request is not valid.
    #[error("the entry of request {id} is not valid: {source}")]
    Entry {
        /// The request.
        id: RequestId,
        /// Why.
        source: RouteError,
    },
    /// A score is no number from 0 to 1.
    #[error("{field} is {value}, expected 0 to 1")]
    OutOfRange {
        /// Which of the verdict's scores.
        field: &'static str,
        /// Its value.
        value: f32,
    },
    /// The request is not in memory, and the store cannot be read.
    #[error("request {id} cannot be looked up: {source}")]
    Store {
        /// The request.
        id: RequestId,
        /// Why.
        source: StoreError,
    },
    /// No such request is remembered: its id is wrong, or it has expired or was erased.
    #[error("request {id} is not known")]
    Unknown {
        /// The request.
        id: RequestId,
    },
}

/// Why an entry was not remembered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RememberError {
    /// The embedding is not valid, or has another dimension than the others.
    #[error(transparent)]
    Embedding(#[from] RouteError),
    /// The verdict is not valid, or the store could not be read.
    #[error(transparent)]
    Verdict(#[from] RecordError),
    /// The entry could not be stored.
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
}

impl Memory {
    /// A memory in a file of SQLite, which is made if it does not exist.
    ///
    /// # Errors
    /// As [`with_store`](Self::with_store), and if the file cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open_with(path, MemoryConfig::default())
    }

    /// A memory in a file of SQLite, which is made if it does not exist, with a configuration.
    ///
    /// # Errors
    /// As [`with_store`](Self::with_store), and if the file cannot be opened.
    pub fn open_with(path: impl AsRef<Path>, config: MemoryConfig) -> Result<Self, OpenError> {
        // A file is not made for a configuration that is refused.
        config.validate()?;
        Self::with_store(SqliteStore::open(path)?, config)
    }

    /// A memory without a store, which forgets all at the end. It knows the last [`queue`](MemoryConfig::queue) requests
    /// without a verdict, and has no decision log.
    ///
    /// # Errors
    /// If a field of the configuration is out of range.
    pub fn in_process(config: MemoryConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self::unstored(config, 0))
    }

    /// A memory over any store.
    ///
    /// # Errors
    /// If the configuration or a stored entry is not valid, if the store cannot be read, or if its vectors are those of
    /// another embedder.
    pub fn with_store(store: impl Store, config: MemoryConfig) -> Result<Self, OpenError> {
        config.validate()?;
        let start = config.clock.tick();
        let queue = config.queue;
        let mut memory = Self::unstored(config, queue);
        let (lookup, reader) = (store.reader()?, store.reader()?);
        memory.load(&*reader)?;
        let shared = memory.shared.clone();
        let writer = Writer::new(store, queue, move |report| shared.reported(&report))
            .map_err(|source| OpenError::Thread { source })?;
        let (lookup, reader) = (Mutex::new(lookup), Mutex::new(reader));
        memory.store = Some(Arc::new(Attached { writer, lookup, reader }));
        // Nothing has set it before.
        let _ = memory.shared.opened.set(memory.config.clock.since(start));
        Ok(memory)
    }

    fn unstored(config: MemoryConfig, queue_capacity: usize) -> Self {
        Self {
            tenants: Tenants::default(),
            pending: Mutex::default(),
            evidence: Mutex::default(),
            shared: Arc::new(Shared::new(queue_capacity)),
            store: None,
            tickets: Mutex::default(),
            wake: Arc::default(),
            next_expiry: AtomicI64::new(config.clock.unix_milliseconds()),
            oldest: AtomicI64::new(i64::MIN),
            config,
        }
    }

    /// Calls `notify` with each event from now on, and first with that of the opening. Of several functions the first one
    /// stays.
    ///
    /// An event has numbers and names of kinds, and no content. `notify` is called on the thread of the caller or on that of
    /// the writer, so it must not call the memory.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tiny_dancer_core::{Router, RouterConfig};
    /// use tiny_dancer_memory::{Memory, MemoryConfig};
    ///
    /// let router = Arc::new(Router::new(RouterConfig::default())?);
    /// let observed = router.clone();
    /// let memory = Memory::in_process(MemoryConfig::default())?.observed_by(move |event| observed.on_memory(event));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn observed_by(self, notify: impl Fn(&MemoryEvent) + Send + Sync + 'static) -> Self {
        self.shared.observe(Box::new(notify));
        self
    }

    /// Ends a scope: searches the tenant's nearest evidence, routes by it, and remembers the request until its verdict comes.
    ///
    /// It waits neither for the store nor for a thread that changes the memory. If the store's queue is full, the request is
    /// remembered in memory alone, and observers receive the loss.
    ///
    /// The first embedding decides the dimension of all others, unless the store knows it.
    ///
    /// # Errors
    /// As [`Router::route`], also if the embedding has another dimension than those in memory. Then the request is not
    /// remembered.
    pub fn route<O: Observer>(
        &self,
        mut scope: Scope<'_, O>,
        embedding: &[f32],
        context: impl Into<Context>,
    ) -> Result<Routed, RouteError> {
        let context = context.into();
        let found = scope.memory_search(|report| self.search(report, embedding, context.tenant.as_deref()));
        let found = match found {
            Ok(found) => found,
            Err(error) => return Err(scope.fail(error)),
        };
        let candidates: Vec<&Candidate> = found.iter().map(|found| &*found.candidate).collect();
        let (thresholds, model_version) = (scope.thresholds(), scope.model_version().to_owned());
        let query = Query { metadata: Some(&context.metadata), ..Query::new(embedding) };
        let response = scope.route_nearest(query, &candidates)?;
        let id = RequestId::now();
        self.keep(id, embedding, context, &response, (thresholds, model_version));
        Ok(Routed { id, response })
    }

    fn search(
        &self,
        report: &mut StageReport,
        embedding: &[f32],
        tenant: Option<&str>,
    ) -> Result<Vec<Neighbour>, RouteError> {
        let found =
            self.check(embedding).and_then(|()| self.tenants.nearest(tenant, embedding, self.config.k));
        match &found {
            Ok(found) => report.items = found.len(),
            Err(error) => report.error = Some(stage_error(error)),
        }
        found
    }

    /// Checks an embedding. The first one decides the dimension, also that of the store.
    fn check(&self, embedding: &[f32]) -> Result<(), RouteError> {
        self.tenants.check(embedding, |dimensions| {
            let embedder = self.config.embedder.clone();
            self.send([Change::Bind(Vectors { embedder, dimensions })]);
        })
    }

    /// Remembers and logs a request that was routed.
    fn keep(
        &self,
        id: RequestId,
        embedding: &[f32],
        context: Context,
        response: &RoutingResponse,
        (thresholds, model_version): (Thresholds, String),
    ) {
        let at = self.config.clock.unix_milliseconds();
        let Context { tenant, user, conversation, prompt, metadata, mode } = context;
        let created_at = at.div_euclid(1000);
        let embedding = embedding.to_vec();
        let entry = Entry { id, created_at, tenant, user, metadata, embedding, prompt: None, verdict: None };
        let changes = self.store.is_some().then(|| {
            let prompt = prompt.filter(|_| self.config.store_prompts);
            let log = LogEntry {
                id,
                at,
                tenant: entry.tenant.clone(),
                user: entry.user.clone(),
                conversation,
                model_version,
                embedder: self.config.embedder.clone(),
                mode: mode.or_else(|| self.config.mode.clone()),
                confidence: response.confidence,
                uncertainty: response.uncertainty,
                thresholds,
                reason: response.reason,
                decided: response.model,
                number: response.number,
                draws: Draws {
                    explore: response.explore,
                    shadow: response.shadow,
                    judge: response.ticket.map(|ticket| ticket.judge),
                    audit: None,
                },
                ticket: response.ticket,
                found_worse: None,
                served: None,
                verdict: None,
            };
            let entry = Entry { prompt, ..entry.clone() };
            [Change::Remember(Box::new(entry)), Change::Log(Box::new(log))]
        });
        self.admitted(id, response.ticket);
        let decision = Some(Decision { reason: response.reason, served: None });
        self.wait_for_verdict(Waiting { entry, decision });
        if let Some(changes) = changes {
            self.send(changes);
            self.expire_in_store(at);
        }
    }

    fn wait_for_verdict(&self, waiting: Waiting) {
        let mut pending = lock(&self.pending);
        pending.insert(waiting, self.config.queue);
        self.shared.pending.store(pending.len(), Ordering::Relaxed);
    }

    /// Records a verdict on the lightweight answer to a request: as late as you like, as often as it is sent, in any order.
    ///
    /// The last verdict by its own time counts. With its first verdict an entry becomes evidence for the requests near it, and
    /// `router` receives the outcome: the `lightweight` circuit counts each of them, the promise those of requests that
    /// were routed to the lightweight model. Later verdicts on the same request change the evidence alone, so that each
    /// answer counts once.
    ///
    /// A judge's verdict settles the judgement of an answer that was admitted by the router's quality budget; a client's verdict
    /// is evidence alone.
    ///
    /// It is durable after the next [`flush`](Self::flush).
    ///
    /// # Errors
    /// If a score is not from 0 to 1, or if no such request is known.
    pub fn record<O: Observer>(
        &self,
        router: &Router<O>,
        id: RequestId,
        verdict: Verdict,
    ) -> Result<VerdictKind, RecordError> {
        let (kind, outcome) = self.judge(id, verdict).inspect_err(|error| {
            if let RecordError::Unknown { .. } = error {
                self.shared.notify(MemoryChange::Verdict { kind: VerdictKind::Unknown });
            }
        })?;
        if let Some(outcome) = outcome {
            router.record_outcome(outcome);
        }
        if verdict.source == VerdictSource::Judge {
            let (is_no_worse, _) = verdict::judge(&self.config, &verdict);
            self.settle(router, id, !is_no_worse);
        }
        self.shared.notify(MemoryChange::Verdict { kind });
        Ok(kind)
    }

    /// Returns what a verdict is to its request, and the outcome that the router receives.
    fn judge(&self, id: RequestId, verdict: Verdict) -> Result<(VerdictKind, Option<Outcome>), RecordError> {
        verdict::check(&verdict).map_err(|(field, value)| RecordError::OutOfRange { field, value })?;
        let at = Some(verdict.at.unwrap_or_else(|| self.config.clock.unix_milliseconds()));
        let verdict = Verdict { at, ..verdict };
        let mut evidence = lock(&self.evidence);
        if let Some(known) = evidence.get(id).cloned() {
            let kind = verdict::kind(Some(&known.verdict), &verdict);
            if verdict.supersedes(&known.verdict) {
                self.replace(id, &known, &verdict)?;
                evidence.insert(id, Known { verdict, ..known });
                self.send([Change::Judge(id, verdict)]);
            }
            return Ok((kind, None));
        }
        let waiting = match self.take_pending(id) {
            Some(waiting) => waiting,
            None => self.look_up(&evidence, id)?,
        };
        let Waiting { entry, decision } = waiting;
        let before = entry.verdict;
        let kind = verdict::kind(before.as_ref(), &verdict);
        if before.is_none_or(|before| verdict.supersedes(&before)) {
            self.learn(&mut evidence, entry, verdict).map_err(|source| RecordError::Entry { id, source })?;
            self.send([Change::Judge(id, verdict)]);
        }
        let outcome = (kind == VerdictKind::Accepted).then(|| {
            let (is_no_worse, _) = verdict::judge(&self.config, &verdict);
            let result = if is_no_worse { OutcomeResult::Sufficed } else { OutcomeResult::Insufficient };
            Outcome::new(ModelType::Lightweight, result).with_origin(origin(decision))
        });
        Ok((kind, outcome))
    }

    fn take_pending(&self, id: RequestId) -> Option<Waiting> {
        let mut pending = lock(&self.pending);
        let waiting = pending.remove(id)?;
        self.shared.pending.store(pending.len(), Ordering::Relaxed);
        Some(waiting)
    }

    /// Reads a request from the store.
    fn look_up(&self, evidence: &Evidence, id: RequestId) -> Result<Waiting, RecordError> {
        let unknown = RecordError::Unknown { id };
        let Some(store) = &self.store else { return Err(unknown) };
        let failed = |source| RecordError::Store { id, source };
        let reader = lock(&store.lookup);
        let entry = reader.entry(id).map_err(failed)?.ok_or(unknown)?;
        let is_erased = |erasure: &Erasure| erasure.matches(entry.tenant.as_deref(), entry.user.as_deref());
        if evidence.erasing.iter().any(is_erased) {
            return Err(RecordError::Unknown { id });
        }
        let decision = reader.logged(id).map_err(failed)?.map(|logged| Decision {
            reason: logged.reason,
            served: logged.served.map(|served| served.model),
        });
        Ok(Waiting { entry, decision })
    }

    /// Makes an entry evidence, and drops what is too old or too much.
    fn learn(&self, evidence: &mut Evidence, entry: Entry, verdict: Verdict) -> Result<(), RouteError> {
        let Entry { id, created_at, tenant, user, .. } = &entry;
        let known = Known { tenant: tenant.clone(), user: user.clone(), created_at: *created_at, verdict };
        let (id, tenant) = (*id, known.tenant.clone());
        let grown = self.tenants.insert(tenant.as_deref(), vec![self.candidate(entry, &verdict)])?;
        evidence.insert(id, known);
        self.grow(grown);
        let old = evidence.oldest(self.before(), self.config.max_entries);
        let entries = self.drop_evidence(evidence, &old, false);
        self.notify_unstored(entries, MemoryChange::Expired { entries, log_entries: 0 });
        Ok(())
    }

    /// Replaces the rates of an entry.
    fn replace(&self, id: RequestId, known: &Known, verdict: &Verdict) -> Result<(), RecordError> {
        let tenant = known.tenant.as_deref();
        let Some(candidate) = self.tenants.get(tenant, &id.to_string()) else { return Ok(()) };
        let (success_rate, win_rate) = self.rates(verdict);
        if (candidate.success_rate, candidate.win_rate) != (success_rate, win_rate) {
            let candidate = Candidate { success_rate, win_rate, ..Candidate::clone(&candidate) };
            let grown = self.tenants.insert(tenant, vec![candidate]);
            self.grow(grown.map_err(|source| RecordError::Entry { id, source })?);
        }
        Ok(())
    }

    fn candidate(&self, entry: Entry, verdict: &Verdict) -> Candidate {
        let Entry { id, created_at, metadata, embedding, .. } = entry;
        let (success_rate, win_rate) = self.rates(verdict);
        let id = id.to_string();
        Candidate { id, embedding, metadata, created_at, access_count: 1, success_rate, win_rate }
    }

    fn rates(&self, verdict: &Verdict) -> (f32, f32) {
        let (is_no_worse, is_better) = verdict::judge(&self.config, verdict);
        (f32::from(is_no_worse), f32::from(is_better))
    }

    /// Sets what followed the decision on a request: which model's answer was delivered, and what the calls used. It is stored
    /// in the decision log. If the log does not have the request, nothing changes.
    pub fn served(&self, id: RequestId, served: Served) {
        lock(&self.pending).set_served(id, served.model);
        self.send([Change::Serve(id, Box::new(served))]);
    }

    /// Remembers a request that was routed elsewhere, for example one of a log. If the request is known, its verdict is
    /// recorded as by [`record`](Self::record), and the rest stays. No router receives an outcome. Returns whether
    /// anything is new.
    ///
    /// If the store's queue is full, it waits.
    ///
    /// # Errors
    /// If the embedding or the verdict is not valid, or if the store fails.
    pub fn remember(&self, entry: Entry) -> Result<bool, RememberError> {
        if let Some(verdict) = &entry.verdict {
            verdict::check(verdict).map_err(|(field, value)| RecordError::OutOfRange { field, value })?;
        }
        self.check(&entry.embedding)?;
        let (id, verdict) = (entry.id, entry.verdict);
        if self.knows(id)? {
            return match verdict {
                Some(verdict) => match self.judge(id, verdict)?.0 {
                    VerdictKind::Accepted | VerdictKind::Contradicting => Ok(true),
                    _ => Ok(false),
                },
                None => Ok(false),
            };
        }
        let at = verdict.map(|verdict| verdict.at.unwrap_or_else(|| self.config.clock.unix_milliseconds()));
        let verdict = verdict.map(|verdict| Verdict { at, ..verdict });
        let prompt = entry.prompt.clone().filter(|_| self.config.store_prompts);
        let entry = Entry { prompt: None, verdict, ..entry };
        if self.store.is_some() {
            self.send_and_wait(&Change::Remember(Box::new(Entry { prompt, ..entry.clone() })))?;
        }
        match verdict {
            Some(verdict) => self.learn(&mut lock(&self.evidence), entry, verdict)?,
            None => self.wait_for_verdict(Waiting { entry, decision: None }),
        }
        Ok(true)
    }

    /// Whether a request is remembered.
    fn knows(&self, id: RequestId) -> Result<bool, RecordError> {
        let evidence = lock(&self.evidence);
        if evidence.get(id).is_some() || lock(&self.pending).contains(id) {
            return Ok(true);
        }
        match self.look_up(&evidence, id) {
            Ok(_) => Ok(true),
            Err(RecordError::Unknown { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Erases the data of a tenant or a user: from the index, the requests without a verdict, the queue, and the store with
    /// its decision log. When it returns, no byte of them is left in the files, also after a crash.
    ///
    /// A request that is routed at the same time may be remembered after it.
    ///
    /// # Errors
    /// If the store fails. Then the data are erased from memory and may still be in the store: call it again.
    pub fn erase(&self, erasure: &Erasure) -> Result<(), Arc<StoreError>> {
        let mut evidence = lock(&self.evidence);
        evidence.erasing.push(erasure.clone());
        let chosen = evidence.matching(erasure);
        let mut entries = self.drop_evidence(&mut evidence, &chosen, true);
        {
            let mut pending = lock(&self.pending);
            let matches = |entry: &Entry| erasure.matches(entry.tenant.as_deref(), entry.user.as_deref());
            entries += pending.remove_where(matches);
            self.shared.pending.store(pending.len(), Ordering::Relaxed);
        }
        drop(evidence);
        if self.store.is_some() {
            self.send_and_wait(&Change::Erase(erasure.clone()))?;
            self.flush()?;
        }
        self.notify_unstored(entries, MemoryChange::Erased { entries, log_entries: 0 });
        lock(&self.evidence).erasing.retain(|erasing| erasing != erasure);
        Ok(())
    }

    /// Drops what is too old or too much, as the configuration says. It also happens by itself: with each new piece of
    /// evidence in memory, and in the store with the first request of each hour.
    pub fn expire(&self) {
        let mut evidence = lock(&self.evidence);
        let before = self.before();
        let old = evidence.oldest(before, self.config.max_entries);
        let mut entries = self.drop_evidence(&mut evidence, &old, false);
        drop(evidence);
        {
            let mut pending = lock(&self.pending);
            entries += pending.remove_where(|entry| entry.created_at < before);
            self.shared.pending.store(pending.len(), Ordering::Relaxed);
        }
        self.notify_unstored(entries, MemoryChange::Expired { entries, log_entries: 0 });
        self.next_expiry.store(i64::MIN, Ordering::Relaxed);
        self.expire_in_store(self.config.clock.unix_milliseconds());
    }

    /// Drops from the store what is too old, if that is due.
    fn expire_in_store(&self, now: i64) {
        let next = self.next_expiry.load(Ordering::Relaxed);
        let (order, config) = (Ordering::Relaxed, &self.config);
        if now < next || self.next_expiry.compare_exchange(next, now + HOUR, order, order).is_err() {
            return;
        }
        let milliseconds =
            |age: Duration| now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        // Requests without a verdict are kept as long as the oldest evidence: with a verdict, older ones would be dropped at
        // once. The entries of one second are kept or dropped together.
        let before = self.before().max(self.oldest.load(order));
        self.send([Change::Expire(Expiry {
            entries_before: (before > i64::MIN).then_some(before),
            keep_entries: None,
            log_before: config.log_max_age.map(milliseconds),
        })]);
    }

    /// Entries that were made before this time are too old.
    fn before(&self) -> i64 {
        let seconds = |age: Duration| i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        self.config
            .max_age
            .map_or(i64::MIN, |age| self.config.clock.unix_seconds().saturating_sub(seconds(age)))
    }

    /// Removes evidence. Returns how many entries there were.
    fn drop_evidence(&self, evidence: &mut Evidence, ids: &[RequestId], erase: bool) -> usize {
        let mut by_tenant: HashMap<Option<String>, Vec<String>> = HashMap::new();
        for &id in ids {
            if let Some(known) = evidence.remove(id) {
                by_tenant.entry(known.tenant).or_default().push(id.to_string());
            }
        }
        for (tenant, ids) in &by_tenant {
            self.grow(self.tenants.remove(tenant.as_deref(), ids, erase));
        }
        self.resized(evidence);
        ids.len()
    }

    /// Notifies the observer of removed entries, if there is no store, whose commits it is notified of.
    fn notify_unstored(&self, entries: usize, change: MemoryChange) {
        if self.store.is_none() && entries > 0 {
            self.shared.notify(change);
        }
    }

    /// Publishes how much evidence there is.
    fn resized(&self, evidence: &Evidence) {
        self.shared.evidence.store(evidence.len(), Ordering::Relaxed);
        let is_full = evidence.len() >= self.config.max_entries;
        let oldest = evidence.oldest_time().filter(|_| is_full).unwrap_or(i64::MIN);
        self.oldest.store(oldest, Ordering::Relaxed);
    }

    /// Adds to the number of segments.
    fn grow(&self, segments: isize) {
        // The sum of all additions is never negative.
        self.shared.segments.fetch_add(segments as usize, Ordering::Relaxed);
    }

    /// Sends changes to the store, and never waits. If the queue is full, they are lost.
    fn send<const N: usize>(&self, changes: [Change; N]) {
        let Some(store) = &self.store else { return };
        if store.send(&self.shared, changes).is_err() {
            self.shared.refused.fetch_add(N, Ordering::Relaxed);
        }
    }

    /// Sends a change to the store, and waits while the queue is full.
    fn send_and_wait(&self, change: &Change) -> Result<(), Arc<StoreError>> {
        let Some(store) = &self.store else { return Ok(()) };
        self.shared.queue.fetch_add(1, Ordering::Relaxed);
        while let Err(error) = store.writer.send([change.clone()]) {
            let flushed = match error {
                StoreError::QueueFull { .. } => store.writer.flush().map(drop),
                error => Err(Arc::new(error)),
            };
            if let Err(error) = flushed {
                self.shared.queue.fetch_sub(1, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Waits until all that was remembered, recorded and logged before is durable: it survives a crash of the machine.
    ///
    /// # Errors
    /// If something of it was lost since the last call, or is not yet stored, because the store fails.
    pub fn flush(&self) -> Result<(), Arc<StoreError>> {
        let Some(store) = &self.store else { return Ok(()) };
        store.writer.flush()?;
        if self.shared.refused.swap(0, Ordering::Relaxed) > 0 {
            return Err(Arc::new(StoreError::QueueFull { capacity: store.writer.capacity() }));
        }
        Ok(())
    }

    /// The sizes of the memory.
    pub fn stats(&self) -> MemoryState {
        self.shared.state()
    }

    /// Calls `each` with every entry, oldest first. With a store these are the durable ones: [`flush`](Self::flush) first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn entries(&self, mut each: impl FnMut(Entry)) -> Result<(), StoreError> {
        if let Some(store) = &self.store {
            return lock(&store.reader).entries(&mut each);
        }
        let evidence = lock(&self.evidence);
        let mut entries: Vec<Entry> = lock(&self.pending).entries().cloned().collect();
        entries.extend(evidence.iter().filter_map(|(id, known)| {
            let candidate = self.tenants.get(known.tenant.as_deref(), &id.to_string())?;
            Some(Entry {
                id,
                created_at: known.created_at,
                tenant: known.tenant.clone(),
                user: known.user.clone(),
                metadata: candidate.metadata.clone(),
                embedding: candidate.embedding.clone(),
                prompt: None,
                verdict: Some(known.verdict),
            })
        }));
        drop(evidence);
        entries.sort_by_key(|entry| (entry.created_at, entry.id));
        entries.into_iter().for_each(each);
        Ok(())
    }

    /// Calls `each` with every durable entry of the decision log, oldest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn log(&self, mut each: impl FnMut(LogEntry)) -> Result<(), StoreError> {
        self.store.as_ref().map_or(Ok(()), |store| lock(&store.reader).log(&mut each))
    }

    /// Calls `each` with every durable decision of which a judge was asked, from a time in Unix milliseconds, oldest first. By what
    /// their calls used it is known what comparisons cost.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn compared(&self, since: i64, mut each: impl FnMut(LogEntry)) -> Result<(), StoreError> {
        self.store.as_ref().map_or(Ok(()), |store| lock(&store.reader).compared(since, &mut each))
    }

    /// Reads the whole store and lists what is wrong, without any content. A sound store gives an empty list.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn verify(&self) -> Result<Vec<String>, StoreError> {
        self.store.as_ref().map_or(Ok(Vec::new()), |store| lock(&store.reader).verify())
    }

    /// Copies the durable entries and the decision log to a new file, while the memory is in use.
    ///
    /// # Errors
    /// If the file exists or cannot be written.
    pub fn back_up(&self, to: impl AsRef<Path>) -> Result<(), StoreError> {
        self.store.as_ref().map_or(Ok(()), |store| lock(&store.reader).back_up(to.as_ref()))
    }

    /// Reads a store.
    fn load(&mut self, reader: &dyn Reader) -> Result<(), OpenError> {
        if let Some(stored) = reader.vectors()? {
            let actual = Vectors { embedder: self.config.embedder.clone(), dimensions: stored.dimensions };
            if stored != actual {
                return Err(StoreError::EmbedderMismatch { stored, actual }.into());
            }
            self.tenants.set_dimensions(stored.dimensions);
        }
        let before = self.before();
        let mut evidence: VecDeque<(RequestId, Known, Candidate)> = VecDeque::new();
        reader.entries(&mut |entry| {
            let Some(verdict) = entry.verdict.filter(|_| entry.created_at >= before) else { return };
            // Entries come oldest first.
            if evidence.len() == self.config.max_entries {
                evidence.pop_front();
            }
            let Entry { id, created_at, tenant, user, .. } = &entry;
            let known =
                Known { tenant: tenant.clone(), user: user.clone(), created_at: *created_at, verdict };
            evidence.push_back((*id, known, self.candidate(entry, &verdict)));
        })?;
        let mut by_tenant: HashMap<Option<String>, (Vec<RequestId>, Vec<Candidate>)> = HashMap::new();
        let mut known_evidence = Evidence::default();
        for (id, known, candidate) in evidence {
            let (ids, candidates) = by_tenant.entry(known.tenant.clone()).or_default();
            ids.push(id);
            candidates.push(candidate);
            known_evidence.insert(id, known);
        }
        for (tenant, (ids, candidates)) in by_tenant {
            let grown = self.tenants.insert(tenant.as_deref(), candidates).map_err(|source| {
                // The error has the place of the entry.
                let id = place(&source).and_then(|place| ids.get(place)).unwrap_or(&ids[0]);
                OpenError::Entry { id: *id, source }
            })?;
            self.grow(grown);
        }
        self.resized(&known_evidence);
        self.evidence = Mutex::new(known_evidence);
        Ok(())
    }
}

/// The data under a lock are valid also after a panic: an observer, which may panic, is called after each change is complete.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The kind of a search's error, for observers of the stage.
fn stage_error(error: &RouteError) -> StageErrorKind {
    match error {
        RouteError::DimensionMismatch { .. } | RouteError::EmptyQuery => StageErrorKind::DimensionMismatch,
        RouteError::NonFiniteEmbedding { .. } => StageErrorKind::NonFinite,
        RouteError::ZeroNorm { .. } => StageErrorKind::ZeroNorm,
        _ => StageErrorKind::Other,
    }
}

/// The place of the entry that is not valid.
fn place(error: &RouteError) -> Option<usize> {
    match error {
        RouteError::DimensionMismatch { candidate, .. }
        | RouteError::NonFiniteEmbedding { candidate, .. }
        | RouteError::ZeroNorm { candidate } => *candidate,
        _ => None,
    }
}

/// Why the lightweight model answered. A request of which no decision is known is no evidence about the router's decisions.
fn origin(decision: Option<Decision>) -> Origin {
    match decision {
        Some(Decision { reason: Reason::Explored, .. }) => Origin::Explored,
        Some(Decision { reason, served }) if reason.model() == ModelType::Lightweight => match served {
            Some(ModelType::Powerful) => Origin::Shadowed,
            _ => Origin::Routed,
        },
        _ => Origin::Shadowed,
    }
}

/// Only numbers: no content.
impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("state", &self.stats()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
