use super::*;
use crate::catalogue::{CATALOGUE, Kind, Unit};

/// The buckets of the families with this unit.
fn buckets(unit: Unit) -> impl Iterator<Item = &'static [f64]> {
    CATALOGUE.iter().filter(move |family| family.unit == unit).filter_map(|family| match family.kind {
        Kind::Histogram { buckets } => Some(buckets),
        _ => None,
    })
}

#[test]
fn a_duration_is_in_the_bucket_that_a_search_finds() {
    for buckets in buckets(Unit::Seconds) {
        let grid = Grid::of_durations(buckets);
        let bounds: Vec<u64> = buckets.iter().map(|bound| (bound * 1e9).round() as u64).collect();
        let around = bounds.iter().flat_map(|&bound| [bound - 1, bound, bound + 1]);
        let spread = (0..12_000).map(|step| 1.003_f64.powi(step) as u64);
        for nanoseconds in around.chain(spread).chain([0, 1, u64::MAX]) {
            let searched = bounds.iter().filter(|&&bound| bound < nanoseconds).count();
            assert_eq!(grid.duration(nanoseconds), searched, "{nanoseconds} ns");
        }
    }
}

#[test]
fn a_probability_is_in_the_bucket_that_a_search_finds() {
    for buckets in buckets(Unit::Probability) {
        let grid = Grid::of_probabilities(buckets);
        let bounds: Vec<f32> = buckets.iter().map(|&bound| bound as f32).collect();
        let around = bounds.iter().flat_map(|&bound| [bound.next_down(), bound, bound.next_up().min(1.0)]);
        let spread = (0..=100_000).map(|step| step as f32 / 100_000.0);
        for probability in around.chain(spread).chain([f32::MIN_POSITIVE, 1e-9, 0.5]) {
            let searched = bounds.iter().filter(|&&bound| bound < probability).count();
            assert_eq!(grid.probability(probability), searched, "{probability}");
        }
    }
}

#[test]
fn a_probability_is_in_the_bucket_of_the_bound_that_is_written_alike() {
    assert!(f64::from(0.85_f32) > 0.85);
    let grid = Grid::of_probabilities(&[0.7, 0.85, 1.0]);
    assert_eq!([0.7, 0.85, 0.9, 1.0].map(|probability| grid.probability(probability)), [0, 1, 2, 2]);
}

#[test]
#[should_panic(expected = "two are in one cell")]
fn bounds_too_close_to_tell_apart_are_refused() {
    let _ = Grid::of_probabilities(&[0.5, 0.501]);
}

#[test]
#[should_panic(expected = "bounds fall")]
fn bounds_out_of_order_are_refused() {
    let _ = Grid::of_probabilities(&[0.25, 0.75, 0.5, 1.0]);
}

#[test]
#[should_panic(expected = "above the last cell")]
fn bounds_out_of_range_are_refused() {
    let _ = Grid::of_durations(&[1.0, 10.0]);
}
