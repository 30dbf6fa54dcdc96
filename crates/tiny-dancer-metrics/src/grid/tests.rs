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
        let grid = Grid::of_durations(buckets).unwrap();
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
        let grid = Grid::of_probabilities(buckets).unwrap();
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
    let grid = Grid::of_probabilities(&[0.7, 0.85, 1.0]).unwrap();
    assert_eq!([0.7, 0.85, 0.9, 1.0].map(|probability| grid.probability(probability)), [0, 1, 2, 2]);
}

#[test]
fn bounds_that_cannot_be_told_apart_or_held_are_refused() {
    let probabilities: [&[f64]; 8] = [
        &[0.5, 0.501],
        &[0.25, 0.75, 0.5, 1.0],
        &[0.5, 0.5],
        &[0.0, 0.5],
        &[0.5, 1.5],
        &[-0.5],
        &[f64::NAN],
        &[],
    ];
    for bounds in probabilities {
        assert!(Grid::of_probabilities(bounds).is_err(), "{bounds:?}");
    }
    let durations: [&[f64]; 6] =
        [&[1.0, 10.0], &[1e-9], &[1e-3, 1.001e-3], &[1e-3, 1e-4], &[f64::INFINITY], &[]];
    for bounds in durations {
        assert!(Grid::of_durations(bounds).is_err(), "{bounds:?}");
    }
}

#[test]
fn as_many_bounds_as_are_promised_fit_at_the_promised_distance() {
    let fits = |count: u32| {
        let probabilities: Vec<_> = (1..=count).map(|i| f64::from(i) / 128.0).collect();
        let durations: Vec<_> = (0..count).map(|i| 1e-3 * (1.0 + 1.0 / 32.0_f64).powi(i as i32)).collect();
        (Grid::of_probabilities(&probabilities).is_ok(), Grid::of_durations(&durations).is_ok())
    };
    assert_eq!(fits(MOST_BOUNDS as u32), (true, true));
    assert_eq!(fits(MOST_BOUNDS as u32 + 1), (false, false));
}
