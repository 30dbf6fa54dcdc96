use super::*;
use crate::catalogue::{CATALOGUE, Kind, Unit};

#[test]
fn a_duration_is_in_the_bucket_that_a_search_finds() {
    for family in CATALOGUE.iter().filter(|family| family.unit == Unit::Seconds) {
        let Kind::Histogram { buckets } = family.kind else { continue };
        let grid = Grid::new(buckets).unwrap();
        let bounds: Vec<u64> = buckets.iter().map(|bound| (bound * 1e9).round() as u64).collect();
        let around = bounds.iter().flat_map(|&bound| [bound - 1, bound, bound + 1]);
        let spread = (0..12_000).map(|step| 1.003_f64.powi(step) as u64);
        for nanoseconds in around.chain(spread).chain([0, 1, u64::MAX]) {
            let searched = bounds.iter().filter(|&&bound| bound < nanoseconds).count();
            assert_eq!(grid.bucket(nanoseconds), searched, "{nanoseconds} ns");
        }
    }
}

#[test]
fn bounds_that_share_a_cell_or_are_out_of_range_are_refused() {
    let refused: &[&[f64]] =
        &[&[1.0, 10.0], &[1e-9], &[1e-3, 1.001e-3], &[1e-3, 1e-4], &[f64::INFINITY], &[]];
    for bounds in refused {
        assert!(Grid::new(bounds).is_err(), "{bounds:?}");
    }
}

#[test]
fn the_documented_number_of_bounds_fits_at_the_documented_distance() {
    let fits = |count: u32| {
        let bounds: Vec<_> = (0..count).map(|i| 1e-3 * (1.0 + 1.0 / 32.0_f64).powi(i as i32)).collect();
        Grid::new(&bounds).is_ok()
    };
    assert!(fits(MOST_BOUNDS as u32));
    assert!(!fits(MOST_BOUNDS as u32 + 1));
}
