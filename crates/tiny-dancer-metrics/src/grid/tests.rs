use super::*;
use crate::catalogue::{CATALOGUE, Kind, Unit};

/// Every grid of the catalogue, and the bounds that it should know.
fn grids() -> impl Iterator<Item = (Grid, Vec<f64>)> {
    CATALOGUE.iter().filter_map(|family| {
        let Kind::Histogram { buckets } = family.kind else { return None };
        Some(match family.unit {
            Unit::Seconds => {
                (Grid::of_nanoseconds(buckets), buckets.iter().map(|bound| (bound * 1e9).round()).collect())
            }
            _ => (Grid::of_f32(buckets), buckets.iter().map(|&bound| f64::from(bound as f32)).collect()),
        })
    })
}

fn assert_agrees(grid: &Grid, bounds: &[f64], value: f64) {
    let searched = bounds.iter().filter(|&&bound| bound < value).count();
    assert_eq!(grid.bucket(value), searched, "{value} among {bounds:?}");
}

#[test]
fn a_bound_is_in_its_own_bucket_and_the_next_number_is_not() {
    for (grid, bounds) in grids() {
        for (bucket, &bound) in bounds.iter().enumerate() {
            assert_eq!(grid.bucket(bound), bucket, "{bound}");
            assert_eq!(grid.bucket(bound.next_up()), bucket + 1, "just above {bound}");
            assert_eq!(grid.bucket(bound.next_down()), bucket, "just below {bound}");
        }
    }
}

#[test]
fn the_table_agrees_with_a_search() {
    for (grid, bounds) in grids() {
        let (mut value, last) = (bounds[0] / 8.0, bounds[bounds.len() - 1] * 8.0);
        while value < last {
            assert_agrees(&grid, &bounds, value);
            value *= 1.000_1;
        }
        for value in [0.0, f64::MIN_POSITIVE, f64::MAX, f64::INFINITY] {
            assert_agrees(&grid, &bounds, value);
        }
    }
}

#[test]
fn an_f32_is_in_the_bucket_of_the_bound_that_is_written_alike() {
    let grid = Grid::of_f32(&[0.7, 0.85, 1.0]);
    assert!(f64::from(0.85_f32) > 0.85);
    assert_eq!(grid.bucket(f64::from(0.85_f32)), 1);
    assert_eq!(grid.bucket(f64::from(0.7_f32)), 0);
}

#[test]
#[should_panic(expected = "two are in one cell")]
fn bounds_too_close_to_tell_apart_are_refused() {
    let _ = Grid::of_f32(&[0.5, 0.501]);
}

#[test]
#[should_panic(expected = "bounds fall")]
fn bounds_out_of_order_are_refused() {
    let _ = Grid::of_f32(&[0.25, 0.75, 0.5, 1.0]);
}
