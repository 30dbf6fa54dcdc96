//! A store in memory: what the others are compared with, and one that fails as a test wants.

use super::{Change, Committed, Erasure, Expiry, Reader, Removed, Stats, Store, StoreError, Vectors};
use crate::record::{Entry, LogEntry, RequestId};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard};
use tiny_dancer_core::budget::AccountState;

/// Clones are the same store.
#[derive(Clone, Debug, Default)]
pub(crate) struct InProcessStore(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) vectors: Option<Vectors>,
    pub(crate) entries: BTreeMap<RequestId, Entry>,
    pub(crate) log: BTreeMap<RequestId, LogEntry>,
    pub(crate) account: Option<AccountState>,
    /// The number of changes of each commit.
    pub(crate) commits: Vec<usize>,
    /// The next commits fail with these errors.
    pub(crate) errors: VecDeque<StoreError>,
}

impl InProcessStore {
    pub(crate) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap()
    }
}

/// A store whose commits wait until the test lets them go.
pub(crate) struct Gate {
    pub(crate) store: InProcessStore,
    /// Gets the number of changes of each commit that begins.
    pub(crate) entered: Sender<usize>,
    pub(crate) open: Receiver<()>,
}

impl Store for Gate {
    fn commit(&mut self, changes: &[Change]) -> Result<Committed, StoreError> {
        // Without a test all gates are open.
        let _ = self.entered.send(changes.len());
        let _ = self.open.recv();
        self.store.commit(changes)
    }

    fn compact(&mut self) -> Result<(), StoreError> {
        self.store.compact()
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        self.store.reader()
    }
}

impl Store for InProcessStore {
    fn commit(&mut self, changes: &[Change]) -> Result<Committed, StoreError> {
        let mut kept = self.kept();
        if let Some(error) = kept.errors.pop_front() {
            return Err(error);
        }
        let mut new = Kept {
            vectors: kept.vectors.clone(),
            entries: kept.entries.clone(),
            log: kept.log.clone(),
            account: kept.account.clone(),
            ..Kept::default()
        };
        let mut committed = Committed::default();
        for change in changes {
            new.make(change, &mut committed)?;
        }
        let Kept { vectors, entries, log, account, .. } = new;
        (kept.vectors, kept.entries, kept.log, kept.account) = (vectors, entries, log, account);
        kept.commits.push(changes.len());
        Ok(committed)
    }

    fn compact(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(self.clone()))
    }
}

impl Kept {
    fn make(&mut self, change: &Change, committed: &mut Committed) -> Result<(), StoreError> {
        match change {
            Change::Account(state) => self.account = Some((**state).clone()),
            Change::Bind(new) => {
                if self.vectors.as_ref() != Some(new) {
                    self.entries.clear();
                    self.vectors = Some(new.clone());
                }
            }
            Change::Remember(entry) => {
                let dimensions = entry.embedding.len();
                let stored = self.vectors.get_or_insert(Vectors { embedder: None, dimensions });
                stored.require(&Vectors { embedder: stored.embedder.clone(), dimensions })?;
                self.entries.insert(entry.id, (**entry).clone());
            }
            Change::Log(entry) => {
                let mut entry = (**entry).clone();
                if let Some(served) = entry.served.take() {
                    entry.serve(served);
                }
                self.log.insert(entry.id, entry);
            }
            Change::Serve(id, served) => {
                if let Some(entry) = self.log.get_mut(id) {
                    entry.serve((**served).clone());
                }
            }
            Change::Judge(id, verdict) => {
                let known = [
                    self.entries.get_mut(id).map(|entry| &mut entry.verdict),
                    self.log.get_mut(id).map(|entry| &mut entry.verdict),
                ];
                for known in known.into_iter().flatten() {
                    if known.is_none_or(|known| verdict.supersedes(&known)) {
                        *known = Some(*verdict);
                    }
                }
            }
            Change::Settle(id, worse) => {
                if let Some(entry) = self.log.get_mut(id) {
                    entry.settle(*worse);
                }
            }
            Change::Erase(erasure) => {
                let erased = |tenant: &Option<String>, user: &Option<String>| match erasure {
                    Erasure::Tenant(erased) => tenant.as_ref() == Some(erased),
                    Erasure::User { tenant: of, user: erased } => {
                        tenant == of && user.as_ref() == Some(erased)
                    }
                };
                let removed = &mut committed.erased;
                self.remove(
                    removed,
                    |entry| erased(&entry.tenant, &entry.user),
                    |log| erased(&log.tenant, &log.user),
                );
            }
            Change::Expire(Expiry { entries_before, keep_entries, log_before }) => {
                let is_before = |time: i64, before: &Option<i64>| before.is_some_and(|before| time < before);
                self.remove(
                    &mut committed.expired,
                    |entry| is_before(entry.created_at, entries_before),
                    |log| is_before(log.at, log_before),
                );
                let mut oldest: Vec<_> =
                    self.entries.values().map(|entry| (entry.created_at, entry.id)).collect();
                oldest.sort_unstable();
                let keep = keep_entries.map_or(usize::MAX, |keep| keep as usize);
                oldest.truncate(oldest.len().saturating_sub(keep));
                let dropped = |entry: &Entry| oldest.binary_search(&(entry.created_at, entry.id)).is_ok();
                self.remove(&mut committed.expired, dropped, |_| false);
            }
        }
        Ok(())
    }

    fn remove(
        &mut self,
        removed: &mut Removed,
        entry: impl Fn(&Entry) -> bool,
        log: impl Fn(&LogEntry) -> bool,
    ) {
        removed.entries += self.entries.extract_if(.., |_, kept| entry(kept)).count() as u64;
        removed.log_entries += self.log.extract_if(.., |_, kept| log(kept)).count() as u64;
    }
}

impl Reader for InProcessStore {
    fn vectors(&self) -> Result<Option<Vectors>, StoreError> {
        Ok(self.kept().vectors.clone())
    }

    fn entries(&self, each: &mut dyn FnMut(Entry)) -> Result<(), StoreError> {
        let mut entries: Vec<_> = self.kept().entries.values().cloned().collect();
        entries.sort_by_key(|entry| (entry.created_at, entry.id));
        entries.into_iter().for_each(each);
        Ok(())
    }

    fn entry(&self, id: RequestId) -> Result<Option<Entry>, StoreError> {
        Ok(self.kept().entries.get(&id).cloned())
    }

    fn log(&self, each: &mut dyn FnMut(LogEntry)) -> Result<(), StoreError> {
        let mut log: Vec<_> = self.kept().log.values().cloned().collect();
        log.sort_by_key(|entry| (entry.at, entry.id));
        log.into_iter().for_each(each);
        Ok(())
    }

    fn compared(&self, since: i64, each: &mut dyn FnMut(LogEntry)) -> Result<(), StoreError> {
        self.log(&mut |entry| {
            let has_judge = entry.served.as_ref().is_some_and(|served| served.judge.is_some());
            if has_judge && entry.at >= since {
                each(entry);
            }
        })
    }

    fn logged(&self, id: RequestId) -> Result<Option<LogEntry>, StoreError> {
        Ok(self.kept().log.get(&id).cloned())
    }

    fn ticketed(&self, generation: u64) -> Result<Option<LogEntry>, StoreError> {
        let has = |entry: &&LogEntry| entry.ticket.is_some_and(|ticket| ticket.generation == generation);
        Ok(self.kept().log.values().find(has).cloned())
    }

    fn account(&self) -> Result<Option<AccountState>, StoreError> {
        Ok(self.kept().account.clone())
    }

    fn stats(&self) -> Result<Stats, StoreError> {
        let kept = self.kept();
        let evidence = kept.entries.values().filter(|entry| entry.verdict.is_some()).count() as u64;
        Ok(Stats {
            entries: kept.entries.len() as u64,
            evidence,
            log_entries: kept.log.len() as u64,
            bytes: 0,
        })
    }

    fn verify(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    fn back_up(&self, to: &Path) -> Result<(), StoreError> {
        Err(StoreError::Unavailable {
            path: to.to_owned(),
            source: io::Error::from(io::ErrorKind::Unsupported).into(),
        })
    }
}
