//! The account of a router's quality budget, kept over restarts.
//!
//! ```text
//! route --draws--> wake --> keeper: prepare a lease --> queue --> writer's thread --> Store
//!                             ^                                        |
//!                             `----- grant the lease <----- durable ---'
//! ```
//!
//! A thread makes a few judgements durable as if they were found worse, and only then lets requests draw them. So whenever the
//! process stops, the stored account has charged at least what was really drawn. A request that finds no judgement to draw goes
//! to the powerful model: it waits neither for this thread nor for a disk.
//!
//! After a restart the account continues from the stored state. The decision log has the ticket of each decision and whether a
//! judge has found its answer worse, so that verdicts which came after that state are settled again, and later ones find their
//! ticket.

use super::{Attached, Memory, Shared, lock};
use crate::record::RequestId;
use crate::store::{Change, Fate, Receipt, StoreError};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tiny_dancer_core::budget::{Account, AccountState, Lease, Settlement, Ticket};
use tiny_dancer_core::{Clock, Observer, Router, Tick};

/// How often the thread stores an account that has changed, and tries again after an error.
const PAUSE: Duration = Duration::from_secs(1);

/// How the account of a quality budget is kept.
pub struct Keeping {
    /// How many judgements are leased at a time, at least 1. A crash charges those that were not drawn as worse, and while the
    /// disk synchronizes, requests draw no more than these. Default 4: some hundred judgements a second, where the default
    /// budget holds no more than seven a second over a longer time, and one crash costs less than half of the default burst.
    pub lease: u64,
    /// How many judgements may be drawn from now on: the room in the judge's queue, or what is left of the money. It is called
    /// on the keeper's thread, which leases no more. Up to `lease` judgements may still be drawn after it has fallen. Default no
    /// limit.
    pub allowance: Box<dyn Fn() -> u64 + Send>,
}

impl Default for Keeping {
    fn default() -> Self {
        Self { lease: 4, allowance: Box::new(|| u64::MAX) }
    }
}

impl fmt::Debug for Keeping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeping").field("lease", &self.lease).finish_non_exhaustive()
    }
}

/// Why an account is not kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeepError {
    /// The memory keeps an account already.
    #[error("the memory keeps an account already")]
    Kept,
    /// A lease of no judgement.
    #[error("lease is {lease}, expected at least 1")]
    Lease {
        /// The configured number.
        lease: u64,
    },
    /// The router has no quality budget.
    #[error("the router has no quality budget")]
    NoBudget,
    /// The decision log cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system cannot start the thread.
    #[error("the thread that keeps the account cannot be started: {source}")]
    Thread {
        /// Why.
        source: std::io::Error,
    },
}

/// Keeps the account of a quality budget on a thread of its own. Dropping it closes the account and stores its last state, so
/// that an orderly stop forfeits no judgement.
#[derive(Debug)]
#[must_use = "dropping it closes the account"]
pub struct AccountKeeper {
    wake: Arc<Wake>,
    thread: Option<JoinHandle<()>>,
}

impl Memory {
    /// The account that was stored last; `None` if there is none. Let the router [continue](Router::restore_account) from it
    /// before its first request, then [keep](Self::keep_account) it.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn stored_account(&self) -> Result<Option<AccountState>, StoreError> {
        self.store.as_ref().map_or(Ok(None), |store| lock(&store.reader).account())
    }

    /// Keeps the account of the router's quality budget over restarts. Call it before the first request.
    ///
    /// First it settles again the verdicts that the decision log has on tickets of the account. Then requests draw judgements
    /// from small leases, which are durable before they are drawn. Until the first one is, and while the store fails, requests
    /// go to the powerful model ([`BudgetSpent`](tiny_dancer_core::Reason::BudgetSpent)). Without a store nothing is waited for.
    ///
    /// ```
    /// use tiny_dancer_core::{QualityBudget, Router, RouterConfig};
    /// use tiny_dancer_memory::{Keeping, Memory, MemoryConfig};
    ///
    /// let memory = Memory::in_process(MemoryConfig::default())?; // or `Memory::open("memory.db")`
    /// let config = RouterConfig { budget: Some(QualityBudget::default()), ..Default::default() };
    /// let mut router = Router::new(config)?;
    /// if let Some(state) = memory.stored_account()? {
    ///     router.restore_account(&state)?;
    /// }
    /// let keeper = memory.keep_account(&router, Keeping::default())?;
    /// keeper.flush()?;
    /// assert_eq!(router.budget().and_then(|state| state.room), Some(4));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the router has no budget, if the memory keeps an account already, or if the decision log cannot be read.
    pub fn keep_account<O: Observer>(
        &self,
        router: &Router<O>,
        keeping: Keeping,
    ) -> Result<AccountKeeper, KeepError> {
        let account = router.account().ok_or(KeepError::NoBudget)?.clone();
        if keeping.lease == 0 {
            return Err(KeepError::Lease { lease: 0 });
        }
        if self.wake.kept.swap(true, Ordering::SeqCst) {
            return Err(KeepError::Kept);
        }
        account.limit_judgements(Some(0));
        let started = self.settle_again(router, &account).map_err(KeepError::from).and_then(|()| {
            *lock(&self.wake.work) = Work { changed: true, ..Work::default() };
            let (store, shared, wake) = (self.store.clone(), self.shared.clone(), self.wake.clone());
            let clock = Clock::system();
            let due = clock.tick();
            let thread = Thread {
                account,
                keeping,
                store,
                shared,
                wake,
                clock,
                sent: None,
                stored: None,
                saves: true,
                saved: due,
            };
            let builder = std::thread::Builder::new().name("account-keeper".into());
            builder.spawn(|| thread.run()).map_err(|source| KeepError::Thread { source })
        });
        match started {
            Ok(thread) => Ok(AccountKeeper { wake: self.wake.clone(), thread: Some(thread) }),
            Err(error) => {
                self.wake.kept.store(false, Ordering::SeqCst);
                Err(error)
            }
        }
    }

    /// Settles the judgement of a lightweight answer as worse without a verdict: its call failed after a part of it was
    /// delivered, or no judgement can be made. It is no evidence. Returns [`Settlement::Unknown`] if the answer is not to be judged.
    pub fn fail<O: Observer>(&self, router: &Router<O>, id: RequestId) -> Settlement {
        self.settle(router, id, true)
    }

    /// Settles the judgement of a request, and logs what it said.
    pub(super) fn settle<O: Observer>(&self, router: &Router<O>, id: RequestId, worse: bool) -> Settlement {
        let Some(ticket) = lock(&self.tickets).get(id) else { return Settlement::Unknown };
        let settlement = router.settle(&ticket, worse);
        self.send([Change::Settle(id, worse)]);
        // A refund that was withdrawn must not be in the stored account.
        self.wake.notify(|work| work.saves |= settlement == Settlement::Withdrawn);
        settlement
    }

    /// Keeps the ticket of a request whose answer is to be judged.
    pub(super) fn admitted(&self, id: RequestId, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket.filter(|ticket| ticket.judge.happened) {
            lock(&self.tickets).insert(id, ticket, self.config.queue);
            self.wake.notify(|_| ());
        }
    }

    /// Finds the requests of the account's tickets in the log, and settles what judges have said of them.
    fn settle_again<O: Observer>(&self, router: &Router<O>, account: &Account) -> Result<(), StoreError> {
        let Some(store) = &self.store else { return Ok(()) };
        let reader = lock(&store.lookup);
        for held in account.save().tickets {
            let logged = reader.ticketed(held.generation)?;
            let Some((entry, ticket)) = logged.and_then(|entry| entry.ticket.map(|ticket| (entry, ticket)))
            else {
                continue;
            };
            lock(&self.tickets).insert(entry.id, ticket, self.config.queue);
            if let Some(worse) = entry.found_worse {
                router.settle(&ticket, worse);
            }
        }
        Ok(())
    }
}

impl AccountKeeper {
    /// Waits until a lease and the state of the account at the time of the call are durable, as far as the allowance goes.
    ///
    /// # Errors
    /// If the store fails. The thread tries again later.
    pub fn flush(&self) -> Result<(), Arc<StoreError>> {
        let mut work = lock(&self.wake.work);
        work.flushes += 1;
        let mine = work.flushes;
        self.wake.woken.notify_one();
        while work.flushed < mine {
            work = self.wake.done.wait(work).unwrap_or_else(PoisonError::into_inner);
        }
        work.error.clone().map_or(Ok(()), Err)
    }
}

impl Drop for AccountKeeper {
    fn drop(&mut self) {
        self.wake.notify(|work| work.ended = true);
        if let Some(thread) = self.thread.take() {
            // It does not panic: the caller's function is caught.
            let _ = thread.join();
        }
        self.wake.kept.store(false, Ordering::SeqCst);
    }
}

/// The tickets of the last answers that are to be judged, by their requests.
#[derive(Default)]
pub(super) struct Tickets {
    tickets: HashMap<RequestId, Ticket>,
    order: VecDeque<RequestId>,
}

impl Tickets {
    fn get(&self, id: RequestId) -> Option<Ticket> {
        self.tickets.get(&id).copied()
    }

    /// Adds a ticket, and drops the oldest ones above `capacity`, whose answers count as worse.
    fn insert(&mut self, id: RequestId, ticket: Ticket, capacity: usize) {
        if self.tickets.insert(id, ticket).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.tickets.remove(&oldest);
        }
    }
}

/// What the keeper's thread waits for. Its lock is never held while something is stored.
#[derive(Debug, Default)]
pub(super) struct Wake {
    /// Whether there is a keeper.
    kept: AtomicBool,
    work: Mutex<Work>,
    /// Notifies the thread.
    woken: Condvar,
    /// Notifies flushes.
    done: Condvar,
}

#[derive(Debug, Default)]
struct Work {
    /// Whether a request has drawn a judgement, or a verdict has come.
    changed: bool,
    /// Whether the state must be stored without need for a lease.
    saves: bool,
    /// How many flushes have begun, and how many have ended.
    flushes: u64,
    flushed: u64,
    /// Why the last round failed, if it did.
    error: Option<Arc<StoreError>>,
    ended: bool,
}

impl Wake {
    fn notify(&self, change: impl FnOnce(&mut Work)) {
        if self.kept.load(Ordering::SeqCst) {
            let mut work = lock(&self.work);
            work.changed = true;
            change(&mut work);
            self.woken.notify_one();
        }
    }

    /// Waits for work, at most for [`PAUSE`].
    fn wait(&self) -> Round {
        let is_idle = |work: &mut Work| !work.changed && work.flushes == work.flushed && !work.ended;
        let waited = self.woken.wait_timeout_while(lock(&self.work), PAUSE, is_idle);
        let (mut work, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let saves = work.saves || work.flushes > work.flushed;
        (work.changed, work.saves) = (false, false);
        Round { saves, flushes: work.flushes, is_last: work.ended }
    }

    fn ended(&self, round: &Round, result: Result<(), Arc<StoreError>>) {
        let mut work = lock(&self.work);
        (work.flushed, work.error) = (round.flushes, result.err());
        self.done.notify_all();
    }
}

/// What the thread does at a time.
struct Round {
    /// Whether the state is stored, also where no lease is needed.
    saves: bool,
    flushes: u64,
    is_last: bool,
}

struct Thread {
    account: Arc<Account>,
    keeping: Keeping,
    store: Option<Arc<Attached>>,
    shared: Arc<Shared>,
    wake: Arc<Wake>,
    clock: Clock,
    /// A lease whose state is in the queue.
    sent: Option<(Lease, Receipt)>,
    /// The state that was stored last.
    stored: Option<AccountState>,
    /// When that was.
    saved: Tick,
    /// Whether the state must be stored again.
    saves: bool,
}

impl Thread {
    fn run(mut self) {
        loop {
            let round = self.wake.wait();
            if round.is_last {
                self.close();
                return self.wake.ended(&round, Ok(()));
            }
            self.saves |= round.saves || self.clock.since(self.saved) >= PAUSE;
            let result = self.keep();
            self.wake.ended(&round, result);
        }
    }

    /// Stores the state with a new lease, and grants it.
    fn keep(&mut self) -> Result<(), Arc<StoreError>> {
        self.finish()?;
        let missing = self.missing();
        if missing == 0 && !self.saves {
            return Ok(());
        }
        let lease = self.account.lease(missing);
        if self.stored.as_ref() == Some(lease.state()) {
            self.saves = false;
            return Ok(());
        }
        let Some(store) = &self.store else {
            self.grant(lease);
            return Ok(());
        };
        let change = Change::Account(Box::new(lease.state().clone()));
        let receipt = store.send(&self.shared, [change]).map_err(Arc::new)?;
        self.sent = Some((lease, receipt));
        self.finish()
    }

    /// Grants the lease whose state is in the queue, once that is durable.
    fn finish(&mut self) -> Result<(), Arc<StoreError>> {
        let Some(((lease, receipt), store)) = self.sent.take().zip(self.store.as_ref()) else {
            return Ok(());
        };
        match store.writer.wait_for(&receipt) {
            Fate::Durable => {
                self.grant(lease);
                Ok(())
            }
            Fate::Lost(error) => Err(error),
            Fate::Waiting(error) => {
                // A second state in the queue would not help.
                self.sent = Some((lease, receipt));
                Err(error)
            }
        }
    }

    fn grant(&mut self, lease: Lease) {
        self.stored = Some(lease.state().clone());
        (self.saves, self.saved) = (false, self.clock.tick());
        self.account.grant(lease);
    }

    /// How many judgements the next lease has: it is prepared while half of the last one is left.
    fn missing(&self) -> u64 {
        // A function that panics allows nothing.
        let allowed = catch_unwind(AssertUnwindSafe(|| (self.keeping.allowance)())).unwrap_or(0);
        let most = self.keeping.lease.min(allowed);
        let room = self.account.room().unwrap_or(0);
        if room <= most / 2 { most.saturating_sub(room) } else { 0 }
    }

    /// Stores the last state. If it is still in the queue after an error, the memory's writer stores it with the rest. If it is
    /// lost, that of the last lease is stored, which charges more.
    fn close(&self) {
        let last = Change::Account(Box::new(self.account.close()));
        if let Some(store) = &self.store
            && let Ok(receipt) = store.send(&self.shared, [last])
        {
            store.writer.wait_for(&receipt);
        }
    }
}
