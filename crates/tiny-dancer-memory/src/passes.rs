//! The two passes of a search by codes, which choose what is compared at full precision.
//!
//! The first pass estimates all products with the query by one bit a dimension, and the second pass some of them by one
//! byte a dimension. The floor is the `k`-th best estimate of the second pass so far. It never exceeds the `k`-th best of
//! all rows by more than the rounding of bytes. A row is dropped where its estimate and a margin of some standard errors
//! are below the floor. So the true neighbour at the floor is lost with the probability of such an error, and a nearer one
//! with a smaller probability.
//!
//! The second pass sees the best rows of the first pass early, so that the floor rises early, and at the end all that are
//! left. About as many rows as are searched for reach the floor with the margin of the second pass. They are compared at full
//! precision.

use crate::codes::{Codes, Table, integers};
use crate::kernel::{BLOCK, Instructions, Work};
use crate::rotation::Rotation;
use crate::segment::{Rows, SEGMENT, Segment, ones};
use std::sync::Arc;

/// The standard errors of the first pass's margin. A greater margin leaves more rows to the second pass.
const FIRST: f32 = 3.0;

/// The standard errors of the second pass's margin.
const SECOND: f32 = 4.0;

/// A sealed segment and the rows that pass the filter.
pub(crate) struct Coded<'a> {
    pub(crate) codes: &'a Codes,
    pub(crate) segment: &'a Segment,
    pub(crate) rows: Rows,
}

/// Both passes. The result is the rows of each segment that may be among the `k` nearest.
pub(crate) struct Passes<'a, 's> {
    /// Of length 1.
    pub(crate) query: &'a [f32],
    pub(crate) rotation: &'a Rotation,
    pub(crate) k: usize,
    pub(crate) segments: &'a [Coded<'s>],
}

impl<'s> Work for Passes<'_, 's> {
    type Output = Vec<(&'s Segment, Rows)>;

    #[inline(always)]
    fn run<I: Instructions>(self, instructions: I) -> Self::Output {
        let Some(first) = self.segments.first() else { return Vec::new() };
        let integers = integers(self.query);
        let mut passed = Passed {
            search: &self,
            integers: &integers,
            first: Vec::new(),
            second: Vec::new(),
            floor: f32::NEG_INFINITY,
        };
        // The floor is computed again each time that twice as many rows have been seen.
        let (mut seen, mut due) = (0, self.k.saturating_mul(8).max(SEGMENT));
        let mut centre = &first.codes.centre;
        let mut table = Table::new(self.query, self.rotation, centre, FIRST);
        for (place, Coded { codes, rows, .. }) in self.segments.iter().enumerate() {
            if !Arc::ptr_eq(centre, &codes.centre) {
                centre = &codes.centre;
                table = Table::new(self.query, self.rotation, centre, FIRST);
            }
            for block in 0..SEGMENT / BLOCK {
                let rows = rows.block(block);
                if rows == 0 {
                    continue;
                }
                let (upper, margins) = codes.estimates(instructions, block, &table);
                let reaching = rows & instructions.at_least(&upper, passed.floor);
                for i in ones(u64::from(reaching)) {
                    let (estimate, upper) = (upper[i] - margins[i], upper[i]);
                    let place = (place * SEGMENT + block * BLOCK + i) as u32;
                    passed.first.push(Row { estimate, upper, place });
                }
                seen += rows.count_ones() as usize;
                if seen >= due {
                    passed.check(passed.few());
                    due = due.saturating_mul(2);
                }
            }
        }
        passed.check(passed.few());
        passed.check(passed.few().saturating_mul(2));
        passed.check(usize::MAX);
        passed.second.sort_unstable_by_key(|row| row.place);
        let mut result: Vec<(&Segment, Rows)> = Vec::new();
        for rows in passed.second.chunk_by(|a, b| a.place as usize / SEGMENT == b.place as usize / SEGMENT) {
            let mut found = Rows::default();
            for row in rows {
                found.insert(row.place as usize % SEGMENT);
            }
            result.push((self.segments[rows[0].place as usize / SEGMENT].segment, found));
        }
        result
    }
}

/// A row that may be among the nearest.
#[derive(Clone, Copy)]
struct Row {
    /// The estimated product with the query.
    estimate: f32,
    /// The same with its margin.
    upper: f32,
    /// The place of its segment, times [`SEGMENT`], and its place there.
    place: u32,
}

/// The rows of which each may be among the `k` nearest.
struct Passed<'a, 's> {
    search: &'a Passes<'a, 's>,
    integers: &'a [i16],
    /// The rows that only the first pass has seen.
    first: Vec<Row>,
    /// Those that the second pass has seen too.
    second: Vec<Row>,
    /// The `k`-th best estimate of the second pass so far.
    floor: f32,
}

impl Passed<'_, '_> {
    /// How many rows the second pass sees at a time while the first pass goes on.
    fn few(&self) -> usize {
        self.search.k.saturating_mul(2)
    }

    /// Brings the `n` best rows to the second pass, and drops rows that do not reach the floor.
    #[inline(always)]
    fn check(&mut self, n: usize) {
        let kept = self.first.len().saturating_sub(n);
        if kept > 0 {
            self.first.select_nth_unstable_by(kept, |a, b| a.estimate.total_cmp(&b.estimate));
        }
        for &Row { place, .. } in &self.first[kept..] {
            let codes = self.search.segments[place as usize / SEGMENT].codes;
            let (estimate, error) = codes.product(place as usize % SEGMENT, self.integers);
            self.second.push(Row { estimate, upper: estimate + SECOND * error, place });
        }
        self.first.truncate(kept);
        let k = self.search.k;
        if self.second.len() >= k {
            let nth = self.second.select_nth_unstable_by(k - 1, |a, b| b.estimate.total_cmp(&a.estimate));
            self.floor = nth.1.estimate;
        }
        let floor = self.floor;
        self.first.retain(|row| row.upper >= floor);
        self.second.retain(|row| row.upper >= floor);
    }
}
