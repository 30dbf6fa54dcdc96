//! Where the numbers are kept: one shard a thread, added up when somebody looks.
//!
//! A shard has one cell for each counter and for each bucket and sum of each histogram, at a place that is known when
//! the package is compiled; how many buckets there are is said later, so there is room for the most. Only the thread that owns it writes to it, so that an increment is a load, an addition and
//! a store: no lock, no locked instruction, and no cache line that two threads fight over. A reader adds up the cells
//! of all shards. Each cell only rises, so what a reader sees never falls, and the count of a histogram is the sum of
//! its buckets, so the two always agree.

use crate::catalogue::{CATALOGUE, Family, Kind, Presence};
use crate::grid::MOST_BOUNDS;
use crate::slot::Slot;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// How many cells a shard has: those that counters and histograms take, and behind them as many as make any bucket
/// that a `u8` can count of any two series a cell of the shard, so that the compiler drops the check of the index. They
/// are never touched.
const CELLS: usize = first_cell(None) + 2 * 256;

/// The counters of a family, one a series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counters {
    first: usize,
}

impl Counters {
    pub(crate) const fn of(family: &Family) -> Self {
        assert!(matches!(family.kind, Kind::Counter) && cells(family) > 0);
        Self { first: first_cell(Some(family)) }
    }
}

/// The histograms of a family, one a series: room for as many buckets as anyone may configure, and the sum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Histograms {
    first: usize,
    series: usize,
}

impl Histograms {
    pub(crate) const fn of(family: &Family) -> Self {
        assert!(matches!(family.kind, Kind::Histogram { .. }));
        Self { first: first_cell(Some(family)), series: family.series() }
    }

    /// The cell of a bucket; the one after the last is the one up to infinity. All series' cells of a bucket lie side
    /// by side, behind their sums.
    #[inline]
    const fn bucket(self, series: usize, bucket: usize) -> usize {
        self.first + (1 + bucket) * self.series + series
    }

    #[inline]
    const fn sum(self, series: usize) -> usize {
        self.first + series
    }
}

/// How many cells a family takes. Gauges are kept elsewhere, and costs are made of what is counted anyway.
const fn cells(family: &Family) -> usize {
    match family.kind {
        Kind::Counter if matches!(family.presence, Presence::WithPrices) => 0,
        Kind::Counter => family.series(),
        Kind::Gauge => 0,
        Kind::Histogram { .. } => family.series() * (MOST_BOUNDS + 2),
    }
}

/// The first cell of a family of the catalogue; of `None`, the one after the last.
const fn first_cell(family: Option<&Family>) -> usize {
    let (mut cell, mut i) = (0, 0);
    while i < CATALOGUE.len() {
        let this = &CATALOGUE[i];
        if let Some(family) = family
            && is_same(this.name, family.name)
        {
            return cell;
        }
        cell += cells(this);
        i += 1;
    }
    assert!(family.is_none(), "the family is not in the catalogue");
    cell
}

/// `==`, which is not to be had before the program runs.
const fn is_same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}

/// One thread's cells. Aligned to two cache lines, which processors like to fetch in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Shard {
    cells: [AtomicU64; CELLS],
    in_flight: AtomicU64,
}

impl Default for Shard {
    fn default() -> Self {
        Self { cells: [const { AtomicU64::new(0) }; CELLS], in_flight: AtomicU64::new(0) }
    }
}

/// The right to write to this thread's shard. It can't leave the thread.
#[derive(Debug)]
pub(crate) struct Writer {
    shard: Arc<Shard>,
    /// While this lives, nobody else has the shard.
    _slot: Rc<Slot>,
}

impl Writer {
    #[inline]
    pub(crate) fn increment(&self, counters: Counters, series: usize, by: u64) {
        add(&self.shard.cells[counters.first + series], by);
    }

    /// One observation's part in its bucket.
    #[inline]
    pub(crate) fn observe(&self, histograms: Histograms, series: usize, bucket: usize) {
        add(&self.shard.cells[histograms.bucket(series, bucket)], 1);
    }

    /// Observations' part in the sum.
    #[inline]
    pub(crate) fn add_to_sum(&self, histograms: Histograms, series: usize, values: f64) {
        let sum = &self.shard.cells[histograms.sum(series)];
        let more = f64::from_bits(sum.load(Ordering::Relaxed)) + values;
        sum.store(more.to_bits(), Ordering::Relaxed);
    }

    /// One more request, or one less.
    #[inline]
    pub(crate) fn add_in_flight(&self, change: i64) {
        add(&self.shard.in_flight, change.cast_unsigned());
    }
}

/// Nobody else writes to the cell, so nothing is lost between the load and the store.
#[inline]
fn add(cell: &AtomicU64, by: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

/// The shards of all threads.
///
/// A table of tables, each twice as long as the one before, so that a shard once made never moves and is found without
/// a lock.
#[derive(Debug, Default)]
pub(crate) struct Shards {
    tables: [OnceLock<Table>; 32],
}

type Table = Box<[OnceLock<Arc<Shard>>]>;

impl Shards {
    /// This thread's, which is made by its first request.
    #[inline]
    pub(crate) fn writer(&self) -> Writer {
        let slot = Slot::current();
        let place = slot.number() + 1;
        let table = place.ilog2();
        let shards =
            self.tables[table as usize].get_or_init(|| (0..1 << table).map(|_| OnceLock::new()).collect());
        let shard = shards[place - (1 << table)].get_or_init(Arc::default);
        Writer { shard: Arc::clone(shard), _slot: slot }
    }

    pub(crate) fn count(&self, counters: Counters, series: usize) -> u64 {
        self.total(counters.first + series)
    }

    /// How many observations each bucket of so many bounds has, the one up to infinity included, and the sum of all.
    pub(crate) fn histogram(&self, histograms: Histograms, series: usize, bounds: usize) -> (Vec<u64>, f64) {
        let counts = (0..=bounds).map(|bucket| self.total(histograms.bucket(series, bucket))).collect();
        let sum = histograms.sum(series);
        // Always in the same order, and each term only rises: so the rounded sum never falls.
        let sum = self.all().map(|shard| f64::from_bits(shard.cells[sum].load(Ordering::Relaxed))).sum();
        (counts, sum)
    }

    pub(crate) fn in_flight(&self) -> i64 {
        let all = self.all().map(|shard| shard.in_flight.load(Ordering::Relaxed));
        all.fold(0, u64::wrapping_add).cast_signed()
    }

    fn total(&self, cell: usize) -> u64 {
        self.all().map(|shard| shard.cells[cell].load(Ordering::Relaxed)).sum()
    }

    fn all(&self) -> impl Iterator<Item = &Shard> {
        let tables = self.tables.iter().filter_map(OnceLock::get);
        tables.flat_map(|table| table.iter().filter_map(OnceLock::get)).map(Arc::as_ref)
    }
}

#[cfg(test)]
mod tests;
