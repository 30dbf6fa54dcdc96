//! The two passes of a search by codes, which choose what is compared at full precision.
//!
//! The first pass estimates all products with the query by one bit a dimension, and the second pass some of them by one
//! byte a dimension. The floor is the `k`-th best estimate of the second pass so far. It never exceeds the `k`-th best of
//! all rows by more than the rounding of bytes. A row is dropped where its estimate and a margin of some standard errors
//! are below the floor. So the true neighbour at the floor is lost with the probability of such an error, and a nearer one
//! with a smaller probability.
//!
//! The first pass goes before the second by a part of the blocks. Of the first part the second pass sees the best rows first,
//! so that the floor is high early. About as many rows as are searched for reach the floor with the margin of the second pass.
//! They are compared at full precision.

use crate::codes::{Codes, Table, integers};
use crate::kernel::{BLOCK, Instructions, Work};
use crate::rotation::Rotation;
use crate::segment::{LARGEST, Rows, Segment, ones};
use std::borrow::Cow;
use std::sync::Arc;
use tiny_dancer_core::Candidate;

/// The standard errors of the first pass's margin. A greater margin leaves more rows to the second pass.
const FIRST: f32 = 2.5;

/// The standard errors of the second pass's margin.
const SECOND: f32 = 4.0;

/// The blocks of a part. Its estimates are 128 kB, which remain in the second level of caches.
/// In a larger part fewer rows reach the floor that they meet.
const PART: usize = 1024;

/// The groups of a part's rows, of each of which the greatest estimate is found.
const GROUPS: usize = 1024;

/// The halvings of the range between the least and the greatest of these estimates, which is faster than sorting them.
const BISECTIONS: usize = 10;

/// The rows that the second pass sees at a time.
const BATCH: usize = 64;

/// A sealed segment and the rows that pass the filter.
pub(crate) struct Coded<'a> {
    pub(crate) codes: &'a Codes,
    pub(crate) segment: &'a Segment,
    pub(crate) rows: Cow<'a, [Rows]>,
}

/// Both passes. The result has all entries that may be among the `k` nearest.
pub(crate) struct Passes<'a, 's> {
    /// Of length 1.
    pub(crate) query: &'a [f32],
    pub(crate) rotation: &'a Rotation,
    pub(crate) k: usize,
    pub(crate) segments: &'a [Coded<'s>],
    /// Empty before and after. The caller keeps it, so that the next search need not allocate it again.
    pub(crate) part: &'a mut Part,
}

impl<'s> Work for Passes<'_, 's> {
    type Output = Vec<&'s Arc<Candidate>>;

    #[inline(always)]
    fn run<I: Instructions>(self, instructions: I) -> Self::Output {
        let Some(first) = self.segments.first() else { return Vec::new() };
        let mut rotated = vec![0.0; self.rotation.dimensions()];
        rotated[..self.query.len()].copy_from_slice(self.query);
        self.rotation.rotate(&mut rotated);
        let mut centre = &first.codes.centre;
        let mut table = Table::new(self.query, &rotated, centre, FIRST);
        let mut second = Second {
            segments: self.segments,
            query: &integers(self.query),
            k: self.k,
            batch: Vec::with_capacity(BATCH + BLOCK),
            rows: Vec::with_capacity(4 * BATCH),
            due: self.k.saturating_mul(2),
            floor: f32::NEG_INFINITY,
        };
        let part = self.part;
        for (place, Coded { codes, rows, .. }) in self.segments.iter().enumerate() {
            if !Arc::ptr_eq(centre, &codes.centre) {
                centre = &codes.centre;
                table = Table::new(self.query, &rotated, centre, FIRST);
            }
            let rows = rows.iter().flat_map(|rows| rows.blocks());
            for (number, (block, rows)) in codes.blocks().zip(rows).enumerate() {
                if rows == 0 {
                    continue;
                }
                let mut upper = table.upper(instructions, block);
                if rows != u32::MAX {
                    for i in 0..BLOCK {
                        upper[i] = if rows >> i & 1 == 1 { upper[i] } else { f32::NEG_INFINITY };
                    }
                }
                part.upper.push(upper);
                part.places.push((place * LARGEST + number * BLOCK) as u32);
                if part.upper.len() == PART {
                    second.see(instructions, part);
                }
            }
        }
        second.see(instructions, part);
        second.raise();
        second.rows.iter().map(|row| second.entry(row.place)).collect()
    }
}

/// What the first pass has seen and the second has not.
#[derive(Default)]
pub(crate) struct Part {
    /// The estimates of each block, with their margins.
    upper: Vec<[f32; BLOCK]>,
    /// The place of each block's first row.
    places: Vec<u32>,
}

impl Part {
    /// An estimate that is reached by at least `n` rows, if there are as many, and by few more: the `n`-th of the greatest of
    /// groups of rows. If `n` exceeds half of the groups, all rows reach it.
    #[inline(always)]
    fn reached_by<I: Instructions>(&self, instructions: I, n: usize) -> f32 {
        if n > GROUPS / 2 {
            return f32::NEG_INFINITY;
        }
        let mut groups = [[f32::NEG_INFINITY; BLOCK]; GROUPS / BLOCK];
        for (at, upper) in self.upper.iter().enumerate() {
            let group = &mut groups[at % (GROUPS / BLOCK)];
            *group = instructions.greater(group, upper);
        }
        // No product of two vectors of length 1 is less.
        let mut low = -1.0;
        if reaching(instructions, &groups, low) < n {
            return f32::NEG_INFINITY;
        }
        let mut greatest = groups[0];
        for group in &groups {
            greatest = instructions.greater(&greatest, group);
        }
        let mut high = greatest.into_iter().fold(low, f32::max);
        for _ in 0..BISECTIONS {
            let middle = f32::midpoint(low, high);
            (low, high) =
                if reaching(instructions, &groups, middle) >= n { (middle, high) } else { (low, middle) };
        }
        low
    }
}

/// How many of these estimates reach a floor. It is a loop, since a closure of an iterator would not be compiled for the instruction
/// set.
#[inline(always)]
fn reaching<I: Instructions>(instructions: I, estimates: &[[f32; BLOCK]], floor: f32) -> usize {
    let mut reaching = 0;
    for block in estimates {
        reaching += instructions.at_least(block, floor).count_ones() as usize;
    }
    reaching
}

/// A row that may be among the nearest.
#[derive(Clone, Copy)]
struct Row {
    /// The product with the query by bytes.
    estimate: f32,
    /// The same with its margin.
    upper: f32,
    /// The place of its segment, times [`LARGEST`], and its place there.
    place: u32,
}

/// The second pass.
struct Second<'a, 's> {
    segments: &'a [Coded<'s>],
    query: &'a [[i16; 64]],
    k: usize,
    /// The places of the rows that are seen next.
    batch: Vec<u32>,
    /// The rows that may be among the nearest.
    rows: Vec<Row>,
    /// The number of rows at which the floor is raised.
    due: usize,
    /// The `k`-th best estimate when the floor was raised.
    floor: f32,
}

impl<'s> Second<'_, 's> {
    /// Sees the rows of a part that reach the floor, and clears it.
    #[inline(always)]
    fn see<I: Instructions>(&mut self, instructions: I, part: &mut Part) {
        let mut best = f32::INFINITY;
        if self.floor == f32::NEG_INFINITY {
            best = part.reached_by(instructions, self.k.saturating_mul(2).min(GROUPS / 2).max(self.k));
            for (upper, place) in part.upper.iter().zip(&part.places) {
                self.add(instructions, instructions.at_least(upper, best), *place);
            }
            self.finish(instructions);
            self.raise();
        }
        for (upper, place) in part.upper.iter().zip(&part.places) {
            let reaching = instructions.at_least(upper, self.floor) & !instructions.at_least(upper, best);
            self.add(instructions, reaching, *place);
        }
        self.finish(instructions);
        part.upper.clear();
        part.places.clear();
    }

    /// Adds the chosen rows of a block to the batch.
    #[inline(always)]
    fn add<I: Instructions>(&mut self, instructions: I, rows: u32, block: u32) {
        for i in ones(u64::from(rows)) {
            self.batch.push(block + i as u32);
        }
        if self.batch.len() >= BATCH {
            self.finish(instructions);
        }
    }

    /// Compares the batch.
    #[inline(always)]
    fn finish<I: Instructions>(&mut self, instructions: I) {
        let segments = self.segments;
        let codes = |place: u32| (segments[place as usize / LARGEST].codes, place as usize % LARGEST);
        for (codes, row) in self.batch.iter().map(|place| codes(*place)) {
            codes.load(row, self.query.len());
        }
        for place in self.batch.drain(..) {
            let (codes, row) = codes(place);
            let (estimate, error) = codes.product(instructions, row, self.query);
            let upper = estimate + SECOND * error;
            if upper >= self.floor {
                self.rows.push(Row { estimate, upper, place });
            }
        }
        if self.rows.len() >= self.due {
            self.raise();
        }
    }

    /// Raises the floor, and drops the rows that do not reach it.
    fn raise(&mut self) {
        if self.rows.len() >= self.k {
            let best_first = |a: &Row, b: &Row| b.estimate.total_cmp(&a.estimate);
            self.floor = self.rows.select_nth_unstable_by(self.k - 1, best_first).1.estimate;
            self.rows.retain(|row| row.upper >= self.floor);
        }
        // At least twice as many, so that many equal rows are not sorted again and again.
        self.due = self.rows.len().max(self.k).saturating_mul(2);
    }

    fn entry(&self, place: u32) -> &'s Arc<Candidate> {
        &self.segments[place as usize / LARGEST].segment.entries[place as usize % LARGEST]
    }
}
