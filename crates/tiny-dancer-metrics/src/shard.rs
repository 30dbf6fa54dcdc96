//! Where the counts are kept: one shard a thread, added up at each scrape.
//!
//! A shard has one cell for each counter, and for each bucket and sum of each histogram, at a place that is known at
//! compile time. The number of buckets is configured later, so each histogram has room for the maximum. Only the thread
//! that owns a shard writes to it. So an increment is a load, an addition and a store: there is no lock, no locked
//! instruction, and no cache line that two threads write to. A reader adds up the cells of all shards. Each cell only
//! rises, so the totals never fall. The count of a histogram is the sum of its buckets, so the two always agree.

use crate::catalogue::{CATALOGUE, Family, Kind, Presence};
use crate::slot::{Pool, Slot};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// The maximum number of bounds of a histogram.
pub(crate) const MOST_BOUNDS: usize = 48;

/// How many buckets a histogram has room for: an index below it needs no check.
pub(crate) const BUCKETS: usize = 64;

/// How many bounds are compared at a time: no vector holds more.
pub(crate) const BLOCK: usize = 16;

const _: () = assert!(MOST_BOUNDS < BUCKETS && BUCKETS.is_multiple_of(BLOCK));

/// How many cells a shard has.
const CELLS: usize = first_cell(None);

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

/// The histograms of a family, one a series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Histograms {
    first: usize,
}

impl Histograms {
    pub(crate) const fn of(family: &Family) -> Self {
        assert!(matches!(family.kind, Kind::Histogram { .. }));
        Self { first: first_cell(Some(family)) }
    }

    /// The sum is before the buckets, so that the first of them are on the same cache line.
    #[inline]
    const fn sum(self, series: usize) -> usize {
        self.first + series * HISTOGRAM
    }

    #[inline]
    const fn cell(self, series: usize, bucket: usize) -> usize {
        self.sum(series) + 1 + bucket
    }
}

/// How many cells a cache line has. Histograms begin at a line.
const LINE: usize = 8;

/// How many cells a histogram takes: its sum, and room for its buckets.
const HISTOGRAM: usize = (1 + BUCKETS).next_multiple_of(LINE);

/// How many cells a family takes. Gauges are kept elsewhere, costs are computed from other counters, and the tracing
/// system counts what it exports.
const fn cells(family: &Family) -> usize {
    match family.kind {
        Kind::Counter => match family.presence {
            Presence::WithLogs | Presence::WithPrices | Presence::WithPush | Presence::WithTraces => 0,
            _ => family.series(),
        },
        Kind::Gauge => 0,
        Kind::Histogram { .. } => family.series() * HISTOGRAM,
    }
}

/// The first cell of a family of the catalogue; for `None`, the cell after the last. Counters come first, side by side,
/// since each request changes some of them.
const fn first_cell(family: Option<&Family>) -> usize {
    let (mut cell, mut turn) = (0_usize, 0);
    while turn < 2 {
        let mut i = 0;
        while i < CATALOGUE.len() {
            let this = &CATALOGUE[i];
            if matches!(this.kind, Kind::Histogram { .. }) == (turn == 1) {
                if let Some(family) = family
                    && is_same(this.name, family.name)
                {
                    return cell;
                }
                cell += cells(this);
            }
            i += 1;
        }
        cell = cell.next_multiple_of(LINE);
        turn += 1;
    }
    assert!(family.is_none(), "the family is not in the catalogue");
    cell
}

/// `==` of strings, which constants cannot call.
const fn is_same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}

/// One thread's cells. Aligned to two cache lines, since processors fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Shard {
    cells: [AtomicU64; CELLS],
    in_flight: AtomicU64,
}

impl Default for Shard {
    fn default() -> Self {
        Self { cells: [const { AtomicU64::new(0) }; CELLS], in_flight: AtomicU64::new(0) }
    }
}

/// Called by the owning thread only. Code that makes several calls dereferences the writer once, before them.
impl Shard {
    #[inline]
    pub(crate) fn increment(&self, counters: Counters, series: usize, by: u64) {
        add(&self.cells[counters.first + series], by);
    }

    /// Adds observations to a bucket's cell.
    #[inline]
    pub(crate) fn observe(&self, histograms: Histograms, series: usize, bucket: usize, observations: u64) {
        add(&self.cells[histograms.cell(series, bucket)], observations);
    }

    /// The same for the cells of a block of buckets.
    #[inline(always)]
    pub(crate) fn observe_block(
        &self,
        histograms: Histograms,
        series: usize,
        block: usize,
        observations: &[u32; BLOCK],
    ) {
        // The remainder is `block` itself, and makes bounds checks unnecessary.
        let first = histograms.cell(series, block % (BUCKETS / BLOCK) * BLOCK);
        let buckets = &self.cells[first..first + BLOCK];
        for (bucket, &observations) in buckets.iter().zip(observations) {
            add(bucket, observations.into());
        }
    }

    /// Adds to a sum of whole numbers.
    #[inline]
    pub(crate) fn add_to_sum(&self, histograms: Histograms, series: usize, values: u64) {
        add(&self.cells[histograms.sum(series)], values);
    }

    /// Adds to a sum of floats.
    #[inline]
    pub(crate) fn add_to_float_sum(&self, histograms: Histograms, series: usize, values: f64) {
        let sum = &self.cells[histograms.sum(series)];
        let more = f64::from_bits(sum.load(Ordering::Relaxed)) + values;
        sum.store(more.to_bits(), Ordering::Relaxed);
    }

    /// Counts one request more, or one less.
    #[inline]
    pub(crate) fn add_in_flight(&self, change: i64) {
        add(&self.in_flight, change.cast_unsigned());
    }
}

/// Writes to this thread's shard. It cannot leave the thread.
#[derive(Clone, Debug)]
pub(crate) struct Writer(Rc<Claim>);

/// Each request changes its reference count, so it is on cache lines of its own, too.
#[derive(Debug)]
#[repr(align(128))]
struct Claim {
    shard: Arc<Shard>,
    /// The id of the [`Shards`] that the shard belongs to.
    of: u64,
    /// While this lives, no other thread has the shard.
    _slot: Rc<Slot>,
}

thread_local! {
    /// This thread's writers, by the number of the [`Shards`]. They are found without a lock, and cloned without a locked
    /// instruction.
    static WRITERS: RefCell<Vec<Option<Writer>>> = const { RefCell::new(Vec::new()) };
}

impl std::ops::Deref for Writer {
    type Target = Shard;

    #[inline]
    fn deref(&self) -> &Shard {
        &self.0.shard
    }
}

/// No other thread writes to the cell, so nothing is lost between the load and the store.
#[inline]
fn add(cell: &AtomicU64, by: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

/// The shards of all threads.
///
/// A table of tables, each twice as long as the one before. So a shard never moves, and is found without a lock.
#[derive(Debug)]
pub(crate) struct Shards {
    tables: [OnceLock<Table>; 32],
    /// The index of these shards' writer among a thread's writers. Later shards may have it again.
    number: Slot,
    /// Differs from the id of all other shards.
    id: u64,
}

type Table = Box<[OnceLock<Arc<Shard>>]>;

impl Default for Shards {
    fn default() -> Self {
        static NUMBERS: Pool = Pool::new();
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { tables: Default::default(), number: NUMBERS.claim(), id }
    }
}

impl Shards {
    /// This thread's writer, which its first request makes.
    #[inline]
    pub(crate) fn writer(&self) -> Writer {
        let known = WRITERS.try_with(|writers| {
            let writers = writers.borrow();
            let writer = writers.get(self.number.number())?.as_ref()?;
            (writer.0.of == self.id).then(|| writer.clone())
        });
        known.ok().flatten().unwrap_or_else(|| self.claim())
    }

    /// Makes a writer and keeps it for the thread, instead of one of dropped shards. During the destruction of a thread's
    /// locals it is not kept.
    #[cold]
    fn claim(&self) -> Writer {
        let slot = Slot::current();
        let shard = Arc::clone(self.shard(slot.number()));
        let writer = Writer(Rc::new(Claim { shard, of: self.id, _slot: slot }));
        let _ = WRITERS.try_with(|writers| {
            let (mut writers, number) = (writers.borrow_mut(), self.number.number());
            if writers.len() <= number {
                writers.resize(number + 1, None);
            }
            writers[number] = Some(writer.clone());
        });
        writer
    }

    /// The shard of the thread with this number.
    fn shard(&self, number: usize) -> &Arc<Shard> {
        let place = number + 1;
        let table = place.ilog2();
        let shards =
            self.tables[table as usize].get_or_init(|| (0..1 << table).map(|_| OnceLock::new()).collect());
        shards[place - (1 << table)].get_or_init(Arc::default)
    }

    pub(crate) fn count(&self, counters: Counters, series: usize) -> u64 {
        self.total(counters.first + series)
    }

    /// The cells of this many bounds, and that of +Inf.
    pub(crate) fn buckets(&self, histograms: Histograms, series: usize, bounds: usize) -> Vec<u64> {
        (0..=bounds).map(|bucket| self.total(histograms.cell(series, bucket))).collect()
    }

    /// The sum of observations that are whole numbers.
    pub(crate) fn sum(&self, histograms: Histograms, series: usize) -> u64 {
        self.total(histograms.sum(series))
    }

    /// The sum of observations that are floats.
    pub(crate) fn float_sum(&self, histograms: Histograms, series: usize) -> f64 {
        let sum = histograms.sum(series);
        // The order is always the same and each term only rises, so the rounded sum never falls.
        // From 0.0, since the sum of nothing is -0.0 otherwise.
        self.all().fold(0.0, |total, shard| total + f64::from_bits(shard.cells[sum].load(Ordering::Relaxed)))
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
