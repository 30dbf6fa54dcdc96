//! Snapshots: the index at one moment, and its search.

use crate::kernel::{Instructions, Kernel, Work, product};
use crate::passes::{Coded, Part, Passes};
use crate::rotation::Rotation;
use crate::segment::{Segment, count};
use std::cell::Cell;
use std::cmp::Ordering;
use std::hint::black_box;
use std::sync::Arc;
use tiny_dancer_core::{Candidate, Metadata, RouteError};

/// The access count from which more requests count the same, as in core's order of ties.
const FREQUENT: u64 = 1000;

/// Up to this number of entries, or eight times as many as are searched for, all are compared at full precision.
pub(crate) const EXACT: usize = 512;

/// The entries that are loaded at a time.
const BATCH: usize = 16;

/// The elements of an embedding in a cache line.
const LINE: usize = 16;

thread_local! {
    /// The estimates of a search, up to 132 kB that are not allocated again.
    static PART: Cell<Part> = Cell::default();
}

/// An entry of a search's result.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Neighbour {
    /// The entry. Its embedding has length 1.
    pub candidate: Arc<Candidate>,
    /// The cosine of its embedding with the query.
    pub similarity: f32,
}

/// The index at one moment.
///
/// It does not change, so several searches of one request see the same entries. It keeps removed entries in memory as long
/// as it exists.
#[derive(Clone)]
pub struct Snapshot {
    pub(crate) kernel: Kernel,
    pub(crate) dimensions: usize,
    pub(crate) rotation: Arc<Rotation>,
    pub(crate) len: usize,
    pub(crate) sealed: Arc<Vec<Arc<Segment>>>,
    pub(crate) growing: Segment,
}

impl Snapshot {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The dimension of all embeddings.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// The `k` nearest entries by cosine, nearest first, among those whose metadata has all pairs of `filter`. An empty
    /// filter is passed by all entries.
    ///
    /// Of equal similarities the lower `success_rate` counts as nearer, then the lower `win_rate`, the lower
    /// `access_count` (up to 1000), the older entry, and last the lower id: the order of
    /// [`CandidateSet::nearest`](tiny_dancer_core::CandidateSet::nearest), with ids for places.
    ///
    /// # Errors
    /// If the query is empty, has another dimension, only zeros, or an element that is not finite.
    pub fn nearest(&self, query: &[f32], k: usize, filter: &Metadata) -> Result<Vec<Neighbour>, RouteError> {
        if query.is_empty() {
            return Err(RouteError::EmptyQuery);
        }
        let query = unit(query, None, self.dimensions)?;
        if k == 0 {
            return Ok(Vec::new());
        }
        let (mut sealed, mut exact, mut rows) = (Vec::new(), Vec::new(), 0);
        for segment in self.segments() {
            let matching = segment.matching(filter);
            let n = count(&matching);
            rows += n;
            match &segment.codes {
                _ if n == 0 => {}
                Some(codes) => sealed.push(Coded { codes, segment, rows: matching }),
                None => exact.extend(segment.of(&matching)),
            }
        }
        if rows <= EXACT.max(k.saturating_mul(8)) {
            for Coded { segment, rows, .. } in sealed.drain(..) {
                exact.extend(segment.of(&rows));
            }
        }
        let (query, rotation) = (query.as_slice(), &*self.rotation);
        let mut part = PART.take();
        exact.extend(self.kernel.dispatch(Passes { query, rotation, k, segments: &sealed, part: &mut part }));
        PART.set(part);
        Ok(self.kernel.dispatch(Exact { query, entries: &exact, k }).finish())
    }

    /// All entries, in no particular order.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Candidate>> {
        self.segments().flat_map(Segment::live)
    }

    pub(crate) fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.sealed.iter().map(AsRef::as_ref).chain([&self.growing])
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("entries", &self.len)
            .field("dimensions", &self.dimensions)
            .finish_non_exhaustive()
    }
}

/// An embedding, checked and divided by its norm. The norm is computed in f64, whose range holds each sum of squares of f32.
pub(crate) fn unit(
    embedding: &[f32],
    candidate: Option<usize>,
    dimensions: usize,
) -> Result<Vec<f32>, RouteError> {
    let actual = embedding.len();
    if actual != dimensions {
        return Err(RouteError::DimensionMismatch { candidate, expected: dimensions, actual });
    }
    if let Some(index) = embedding.iter().position(|x| !x.is_finite()) {
        return Err(RouteError::NonFiniteEmbedding { candidate, index, value: embedding[index] });
    }
    let norm = embedding.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    if norm == 0.0 {
        return Err(RouteError::ZeroNorm { candidate });
    }
    Ok(embedding.iter().map(|&x| (f64::from(x) / norm) as f32).collect())
}

/// Compares the query with entries at full precision.
struct Exact<'a, 's> {
    query: &'a [f32],
    entries: &'a [&'s Arc<Candidate>],
    k: usize,
}

impl<'s> Work for Exact<'_, 's> {
    type Output = Nearest<'s>;

    #[inline(always)]
    fn run<I: Instructions>(self, _: I) -> Nearest<'s> {
        let mut nearest = Nearest::new(self.k);
        for entries in self.entries.chunks(BATCH) {
            // The processor loads many entries at a time where it need not compare them.
            for entry in entries {
                black_box(entry.embedding.as_ptr());
            }
            for entry in entries {
                entry.embedding.iter().step_by(LINE).for_each(|x| {
                    black_box(*x);
                });
            }
            for entry in entries {
                nearest.offer(self.query, entry);
            }
        }
        nearest
    }
}

/// The nearest so far: up to twice as many as needed, so that a selection among them is rare.
struct Nearest<'a> {
    k: usize,
    kept: Vec<(f32, &'a Arc<Candidate>)>,
    /// Entries below this similarity are not among the nearest.
    floor: f32,
}

impl<'a> Nearest<'a> {
    fn new(k: usize) -> Self {
        Self { k, kept: Vec::new(), floor: f32::NEG_INFINITY }
    }

    #[inline(always)]
    fn offer(&mut self, query: &[f32], entry: &'a Arc<Candidate>) {
        let similarity = product(query, &entry.embedding).clamp(-1.0, 1.0);
        if similarity >= self.floor {
            self.kept.push((similarity, entry));
            if self.kept.len() / 2 >= self.k {
                self.prune();
            }
        }
    }

    #[cold]
    fn prune(&mut self) {
        if self.kept.len() > self.k {
            let (_, last, _) = self.kept.select_nth_unstable_by(self.k - 1, nearer);
            self.floor = last.0;
            self.kept.truncate(self.k);
        }
    }

    fn finish(mut self) -> Vec<Neighbour> {
        self.prune();
        self.kept.sort_unstable_by(nearer);
        let found = self.kept.into_iter();
        found.map(|(similarity, entry)| Neighbour { candidate: entry.clone(), similarity }).collect()
    }
}

/// The order that sorts the nearest first. No two entries are equal, since their ids differ.
fn nearer(
    &(a_similarity, a): &(f32, &Arc<Candidate>),
    &(b_similarity, b): &(f32, &Arc<Candidate>),
) -> Ordering {
    b_similarity
        .partial_cmp(&a_similarity)
        .unwrap_or(Ordering::Equal)
        .then_with(|| a.success_rate.total_cmp(&b.success_rate))
        .then_with(|| a.win_rate.total_cmp(&b.win_rate))
        .then_with(|| a.access_count.min(FREQUENT).cmp(&b.access_count.min(FREQUENT)))
        .then_with(|| a.created_at.cmp(&b.created_at))
        .then_with(|| a.id.cmp(&b.id))
}
