//! The index: its writer, and the snapshots that it publishes.

use crate::codes::{Centre, Codes};
use crate::kernel::Kernel;
use crate::rotation::Rotation;
use crate::segment::{SEGMENT, Segment, count, matches};
use crate::snapshot::{Neighbour, Snapshot, unit};
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use tiny_dancer_core::{Candidate, Metadata, RouteError};

mod shared;

use shared::Shared;

/// Remembered requests, searched by embedding.
///
/// An entry is a [`Candidate`]; its id is the key. Searches never wait: they read the last published [`Snapshot`]. Writers
/// wait for one another. A method that writes has published its changes, all at once, when it returns.
pub struct Index {
    shared: Shared<Snapshot, Writer>,
}

impl Index {
    /// An empty index of embeddings with this dimension.
    pub fn new(dimensions: usize) -> Self {
        Self::by(Kernel::detect(), dimensions)
    }

    pub(crate) fn by(kernel: Kernel, dimensions: usize) -> Self {
        Self::with_rotation(kernel, dimensions, Arc::new(Rotation::new(dimensions)))
    }

    /// An empty index of embeddings with the same dimension, which shares the rotation.
    pub(crate) fn empty(&self) -> Self {
        let like = self.shared.load();
        Self::with_rotation(like.kernel, like.dimensions, like.rotation.clone())
    }

    fn with_rotation(kernel: Kernel, dimensions: usize, rotation: Arc<Rotation>) -> Self {
        let (sealed, growing) = (Arc::default(), Segment::default());
        let snapshot = Snapshot { kernel, dimensions, rotation, len: 0, sealed, growing };
        let writer = Writer {
            snapshot: snapshot.clone(),
            places: HashMap::new(),
            removed: false,
            centre: Arc::default(),
            centred: 0,
        };
        Self { shared: Shared::new(snapshot, writer) }
    }

    /// Inserts entries. An entry replaces the one with the same id; of several in one call the last remains.
    ///
    /// The stored embeddings are divided by their norms. One bad entry fails the call, and the index stays as it is.
    ///
    /// # Errors
    /// If an embedding has another dimension, only zeros, or an element that is not finite, or if a rate is out of range.
    /// The error has the place in `entries`.
    pub fn insert(&self, mut entries: Vec<Candidate>) -> Result<(), RouteError> {
        let dimensions = self.shared.load().dimensions;
        for (place, entry) in entries.iter_mut().enumerate() {
            check_rates(entry, place)?;
            entry.embedding = unit(&entry.embedding, Some(place), dimensions)?;
        }
        self.write(|writer| entries.into_iter().for_each(|entry| writer.insert(Arc::new(entry))));
        Ok(())
    }

    /// The entry with this id. Its embedding has length 1. It waits for writers.
    pub fn get(&self, id: &str) -> Option<Arc<Candidate>> {
        self.shared.read(|writer| writer.get(id).cloned())
    }

    /// Removes the entries with these ids, all at once. If `erase`, removed rows do not stay in memory, except in snapshots
    /// that still exist.
    pub(crate) fn remove_all(&self, ids: &[String], erase: bool) {
        self.write(|writer| {
            for id in ids {
                writer.remove(id);
            }
            if erase {
                writer.erase();
            }
        });
    }

    /// Removes the entry with this id. Returns whether there was one.
    pub fn remove(&self, id: &str) -> bool {
        self.write(|writer| writer.remove(id))
    }

    /// Removes all entries whose metadata has all pairs of `filter`, such as those of a tenant. An empty filter is passed by
    /// all entries. Returns how many there were.
    ///
    /// It reads the metadata of all entries. Afterwards the index holds no entry that was ever replaced or removed, so that
    /// no data of a tenant remains except in snapshots that still exist. After the other methods, removed rows stay in memory
    /// until half of their segment is removed.
    pub fn remove_matching(&self, filter: &Metadata) -> usize {
        self.write(|writer| {
            let removed = writer.remove_where(|entry| matches(entry, filter));
            writer.erase();
            removed
        })
    }

    /// Removes the entries that were made before this time in Unix seconds. Returns how many there were.
    ///
    /// It reads the times of all entries.
    pub fn expire_before(&self, created_at: i64) -> usize {
        self.write(|writer| writer.remove_where(|entry| entry.created_at < created_at))
    }

    /// Removes the oldest entries until at most `count` are left. Of equally old ones those with the lower ids go first.
    /// Returns how many were removed.
    ///
    /// It reads the times of all entries.
    pub fn expire_to(&self, count: usize) -> usize {
        self.write(|writer| {
            let excess = writer.snapshot.len.saturating_sub(count);
            if excess == 0 {
                return 0;
            }
            let mut entries: Vec<_> = writer.snapshot.entries().cloned().collect();
            if excess < entries.len() {
                let older = |a: &Arc<Candidate>, b: &Arc<Candidate>| {
                    (a.created_at, &a.id).cmp(&(b.created_at, &b.id))
                };
                entries.select_nth_unstable_by(excess, older);
            }
            entries[..excess].iter().filter(|entry| writer.remove(&entry.id)).count()
        })
    }

    /// The last published state.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.shared.load())
    }

    /// [`Snapshot::nearest`] of the last published state.
    ///
    /// # Errors
    /// As [`Snapshot::nearest`].
    pub fn nearest(&self, query: &[f32], k: usize, filter: &Metadata) -> Result<Vec<Neighbour>, RouteError> {
        self.shared.load().nearest(query, k, filter)
    }

    /// Changes the index and publishes the result.
    fn write<T>(&self, change: impl FnOnce(&mut Writer) -> T) -> T {
        let compacted = |writer: &mut Writer| {
            let result = change(writer);
            writer.compact();
            result
        };
        self.shared.write(compacted, |writer| writer.snapshot.clone())
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Index").field(&*self.shared.load()).finish()
    }
}

/// Returns an error if a rate is out of range, as core does.
fn check_rates(entry: &Candidate, candidate: usize) -> Result<(), RouteError> {
    let Candidate { success_rate, win_rate, .. } = *entry;
    if !(0.0..=1.0).contains(&success_rate) {
        return Err(RouteError::InvalidSuccessRate { candidate, value: success_rate });
    }
    if !(0.0..=success_rate).contains(&win_rate) {
        return Err(RouteError::InvalidWinRate { candidate, value: win_rate, success_rate });
    }
    Ok(())
}

/// Embeddings with other numbers of dimensions have no codes and are compared exactly: with fewer, estimates have large
/// errors and an exact product is short; with more, their sums would overflow.
const CODED_DIMENSIONS: RangeInclusive<usize> = 64..=1 << 15;

/// A centre is the mean of about as many entries, so that it takes about a millisecond.
const SAMPLE: usize = 4096;

/// A centre is computed each time that the number of entries has grown by this factor, since a search makes a table for each
/// centre.
const CENTRED: usize = 16;

/// The next snapshot, and the number of each entry's row in it.
struct Writer {
    snapshot: Snapshot,
    places: HashMap<String, u64>,
    /// Whether a sealed segment has fewer live rows than at the last compaction.
    removed: bool,
    /// The centre of the segments that are sealed next.
    centre: Arc<Centre>,
    /// The number of entries when the centre was computed.
    centred: usize,
}

impl Writer {
    fn insert(&mut self, entry: Arc<Candidate>) {
        self.remove(&entry.id);
        self.append(entry);
    }

    fn get(&self, id: &str) -> Option<&Arc<Candidate>> {
        let row = *self.places.get(id)?;
        let Snapshot { sealed, growing, .. } = &self.snapshot;
        if row >= growing.first { growing.entry(row) } else { sealed[holder(sealed, row)].entry(row) }
    }

    fn append(&mut self, entry: Arc<Candidate>) {
        let Snapshot { growing, len, .. } = &mut self.snapshot;
        self.places.insert(entry.id.clone(), growing.end());
        growing.push(entry);
        *len += 1;
        if growing.entries.len() == SEGMENT {
            self.seal();
        }
    }

    /// Seals the growing segment and begins the next one.
    fn seal(&mut self) {
        let mut full = std::mem::take(&mut self.snapshot.growing);
        if is_sparse(&full) {
            self.snapshot.growing = Segment::at(full.first);
            self.move_live(&full);
            return;
        }
        self.snapshot.growing = Segment::at(full.end());
        let codes = self.codes(&full);
        full.seal(codes);
        let sealed = Arc::make_mut(&mut self.snapshot.sealed);
        while let Some(merged) = sealed.last().and_then(|last| last.merged(&full)) {
            full = merged;
            sealed.pop();
        }
        sealed.push(Arc::new(full));
    }

    /// The codes of a full segment.
    fn codes(&mut self, full: &Segment) -> Option<Codes> {
        let Snapshot { kernel, dimensions, len, .. } = self.snapshot;
        if !CODED_DIMENSIONS.contains(&dimensions) {
            return None;
        }
        // Codes remain correct with any centre, and are best with the mean.
        if len >= CENTRED * self.centred {
            let step = len / SAMPLE + 1;
            let sample = self.snapshot.entries().chain(full.live()).step_by(step);
            self.centre =
                Arc::new(Centre::of(&self.snapshot.rotation, sample.map(|entry| &*entry.embedding)));
            self.centred = len;
        }
        Some(Codes::of(kernel, &self.snapshot.rotation, &self.centre, &full.entries))
    }

    fn remove(&mut self, id: &str) -> bool {
        let Some(row) = self.places.remove(id) else { return false };
        let Snapshot { sealed, growing, len, .. } = &mut self.snapshot;
        *len -= 1;
        if row >= growing.first {
            growing.remove(row);
        } else {
            let holder = holder(sealed, row);
            Arc::make_mut(&mut Arc::make_mut(sealed)[holder]).remove(row);
            self.removed = true;
        }
        true
    }

    fn remove_where(&mut self, chosen: impl Fn(&Candidate) -> bool) -> usize {
        let entries: Vec<_> = self.snapshot.entries().filter(|entry| chosen(entry)).cloned().collect();
        entries.iter().filter(|entry| self.remove(&entry.id)).count()
    }

    /// Dissolves sealed segments of which less than half is live, so that removed rows take at most as much memory as entries.
    fn compact(&mut self) {
        if std::mem::take(&mut self.removed) {
            self.dissolve(is_sparse);
        }
    }

    /// Drops all removed rows.
    fn erase(&mut self) {
        let has_removed = |segment: &Segment| count(&segment.live) < segment.entries.len();
        if has_removed(&self.snapshot.growing) {
            let next = Segment::at(self.snapshot.growing.first);
            let growing = std::mem::replace(&mut self.snapshot.growing, next);
            self.move_live(&growing);
        }
        self.dissolve(has_removed);
    }

    /// Moves the live entries of some sealed segments to the growing one.
    fn dissolve(&mut self, chosen: impl Fn(&Segment) -> bool) {
        if self.snapshot.sealed.iter().any(|segment| chosen(segment)) {
            let sealed = Arc::make_mut(&mut self.snapshot.sealed);
            let dissolved: Vec<_> = sealed.extract_if(.., |segment| chosen(segment)).collect();
            for segment in dissolved {
                self.move_live(&segment);
            }
        }
    }

    fn move_live(&mut self, segment: &Segment) {
        self.snapshot.len -= count(&segment.live);
        segment.live().for_each(|entry| self.append(entry.clone()));
    }
}

/// The place of the sealed segment that has this row.
fn holder(sealed: &[Arc<Segment>], row: u64) -> usize {
    sealed.partition_point(|segment| segment.end() <= row)
}

/// Whether less than half of a full segment's rows are live.
fn is_sparse(segment: &Segment) -> bool {
    2 * count(&segment.live) < segment.entries.len()
}

#[cfg(test)]
mod interleavings;
#[cfg(test)]
mod tests;
