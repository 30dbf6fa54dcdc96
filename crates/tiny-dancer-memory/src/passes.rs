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
        let mut passed =
            Passed { search: &self, integers: &integers, rows: Vec::new(), floor: f32::NEG_INFINITY };
        // The rows at which the floor is computed again.
        let mut limit = passed.checked();
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
                    let (estimate, place) = (upper[i] - margins[i], place * SEGMENT + block * BLOCK + i);
                    passed.rows.push(Row { estimate, upper: upper[i], place, is_checked: false });
                }
                if passed.rows.len() >= limit {
                    passed.prune(passed.checked());
                    limit = passed.rows.len().saturating_add(passed.checked());
                }
            }
        }
        passed.prune(passed.checked());
        passed.prune(passed.rows.len());
        passed.rows.sort_unstable_by_key(|row| row.place);
        let mut result: Vec<(&Segment, Rows)> = Vec::new();
        let mut last = None;
        for row in &passed.rows {
            let place = row.place / SEGMENT;
            if last != Some(place) {
                result.push((self.segments[place].segment, Rows::default()));
                last = Some(place);
            }
            if let Some((_, rows)) = result.last_mut() {
                rows.insert(row.place % SEGMENT);
            }
        }
        result
    }
}

/// A row that may be among the nearest.
struct Row {
    /// The product with the query, estimated by the pass that saw the row last.
    estimate: f32,
    /// The same with its margin.
    upper: f32,
    /// `segment * SEGMENT + row`
    place: usize,
    /// Whether the second pass saw it.
    is_checked: bool,
}

/// The rows of which each may be among the `k` nearest.
struct Passed<'a, 's> {
    search: &'a Passes<'a, 's>,
    integers: &'a [i16],
    rows: Vec<Row>,
    /// The `k`-th best estimate of the second pass so far.
    floor: f32,
}

impl Passed<'_, '_> {
    /// How many rows the second pass sees before the first one ends: enough that the floor comes close to its last value.
    fn checked(&self) -> usize {
        self.search.k.saturating_mul(2)
    }

    /// Checks the `n` best rows by the second pass, and removes rows that do not reach the floor.
    #[inline(always)]
    fn prune(&mut self, n: usize) {
        if n < self.rows.len() {
            self.rows.select_nth_unstable_by(n, |a, b| b.estimate.total_cmp(&a.estimate));
        }
        for row in self.rows.iter_mut().take(n).filter(|row| !row.is_checked) {
            let codes = self.search.segments[row.place / SEGMENT].codes;
            let (product, error) = codes.product(row.place % SEGMENT, self.integers);
            *row = Row { estimate: product, upper: product + SECOND * error, is_checked: true, ..*row };
        }
        let mut checked: Vec<f32> =
            self.rows.iter().filter(|row| row.is_checked).map(|row| row.estimate).collect();
        if checked.len() >= self.search.k {
            let (_, floor, _) = checked.select_nth_unstable_by(self.search.k - 1, |a, b| b.total_cmp(a));
            self.floor = self.floor.max(*floor);
        }
        let floor = self.floor;
        self.rows.retain(|row| row.upper >= floor);
    }
}
