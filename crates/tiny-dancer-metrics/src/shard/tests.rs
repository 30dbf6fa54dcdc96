use super::*;
use crate::catalogue::{CONFIDENCE_SCORES, ERRORS};
use std::sync::Barrier;
use std::sync::atomic::AtomicBool;
use std::thread::ScopedJoinHandle;

const COUNTERS: Counters = Counters::of(&ERRORS);
const HISTOGRAMS: Histograms = Histograms::of(&CONFIDENCE_SCORES);
/// How many bounds these have. Cells are for the maximum.
const BOUNDS: usize = 16;

#[test]
fn counters_are_side_by_side_and_histograms_after_them_fill_the_shard() {
    let is_histogram = |family: &&Family| matches!(family.kind, Kind::Histogram { .. });
    let (histograms, others): (Vec<_>, Vec<_>) = CATALOGUE.iter().partition(is_histogram);
    let mut next = 0;
    for family in others {
        assert_eq!(first_cell(Some(family)), next, "{}", family.name);
        next += cells(family);
    }
    next = next.next_multiple_of(LINE);
    for family in histograms {
        assert_eq!(first_cell(Some(family)), next, "{}", family.name);
        next += cells(family);
    }
    assert_eq!(next, CELLS);
}

#[test]
fn histograms_of_a_family_share_no_cell_and_begin_at_a_cache_line() {
    let cells_of = |series| (0..BUCKETS).map(move |bucket| HISTOGRAMS.cell(series, bucket));
    let mut all: Vec<_> = (0..2).flat_map(cells_of).chain([HISTOGRAMS.sum(0), HISTOGRAMS.sum(1)]).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 2 * (1 + BUCKETS));
    let family = HISTOGRAMS.first..HISTOGRAMS.first + cells(&CONFIDENCE_SCORES);
    assert!(all.iter().all(|cell| family.contains(cell)), "{all:?} in {family:?}");
    for series in 0..2 {
        assert_eq!(HISTOGRAMS.sum(series) % LINE, 0);
        assert_eq!(HISTOGRAMS.cell(series, 0), HISTOGRAMS.sum(series) + 1);
    }
    assert_eq!(align_of::<Shard>() % (LINE * size_of::<AtomicU64>()), 0);
}

/// Two threads that write to one cache line take it from each other with each increment.
#[test]
fn threads_write_to_cache_lines_of_their_own() {
    assert_eq!((align_of::<Shard>(), align_of::<Claim>()), (128, 128));
}

/// A million increments from eight threads during scrapes: none is lost, and no scrape sees a number fall.
#[test]
fn no_increment_is_lost_and_no_number_falls() {
    const EACH: u64 = 125_000;
    let (shards, start, done) = (Shards::default(), Barrier::new(9), AtomicBool::new(false));
    let write = || {
        start.wait();
        for i in 0..EACH {
            let writer = shards.writer();
            writer.increment(COUNTERS, 0, 1);
            writer.observe(HISTOGRAMS, 0, (i % 3) as usize, 1);
            writer.add_to_float_sum(HISTOGRAMS, 0, 0.1);
        }
    };
    let read = || {
        start.wait();
        let mut before = (0, vec![0; BOUNDS + 1], 0.0);
        while !done.load(Ordering::Relaxed) {
            let (counts, sum) = (shards.buckets(HISTOGRAMS, 0, BOUNDS), shards.float_sum(HISTOGRAMS, 0));
            let now = (shards.count(COUNTERS, 0), counts, sum);
            assert!(before.0 <= now.0, "a counter fell");
            assert!(before.1.iter().zip(&now.1).all(|(before, now)| before <= now), "a bucket fell");
            assert!(before.2 <= now.2, "a sum fell");
            before = now;
        }
    };
    std::thread::scope(|scope| {
        let reader = scope.spawn(read);
        let writers: Vec<_> = (0..8).map(|_| scope.spawn(write)).collect();
        let written: Vec<_> = writers.into_iter().map(ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
        assert!(written.iter().all(Result::is_ok));
    });
    let (counts, sum) = (shards.buckets(HISTOGRAMS, 0, BOUNDS), shards.float_sum(HISTOGRAMS, 0));
    assert_eq!(shards.count(COUNTERS, 0), 8 * EACH);
    assert_eq!(counts[..3].iter().sum::<u64>(), 8 * EACH);
    assert_eq!(counts[3..], [0; BOUNDS - 2]);
    assert!((sum - 8.0 * EACH as f64 * 0.1).abs() < 1e-3, "{sum}");
}

/// The rounding of a sum depends on the order of its terms, so the order must not change when a thread ends.
#[test]
fn the_counts_of_an_ended_thread_stay_and_its_shard_is_reused() {
    let shards = Shards::default();
    let mut before = 0.0;
    for thread in 1..=200_u32 {
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    shards.writer().increment(COUNTERS, 1, 1);
                    shards.writer().add_to_float_sum(HISTOGRAMS, 1, 0.1 * f64::from(thread));
                })
                .join()
                .unwrap();
        });
        assert_eq!(shards.count(COUNTERS, 1), u64::from(thread));
        let sum = shards.float_sum(HISTOGRAMS, 1);
        assert!(sum >= before, "{sum} after {before}");
        before = sum;
    }
    // As many as the threads at one time, those of other tests included.
    assert!(shards.all().count() < 100, "{} shards", shards.all().count());
}

#[test]
fn a_request_may_end_on_another_thread() {
    let shards = Shards::default();
    shards.writer().add_in_flight(1);
    std::thread::scope(|scope| {
        scope.spawn(|| shards.writer().add_in_flight(1)).join().unwrap();
        assert_eq!(shards.in_flight(), 2);
        scope.spawn(|| shards.writer().add_in_flight(-1)).join().unwrap();
    });
    shards.writer().add_in_flight(-1);
    assert_eq!(shards.in_flight(), 0);
}

#[test]
fn two_sets_of_shards_are_independent() {
    let (one, other) = (Shards::default(), Shards::default());
    one.writer().increment(COUNTERS, 0, 3);
    assert_eq!((one.count(COUNTERS, 0), other.count(COUNTERS, 0)), (3, 0));
}

/// Text formats show the sign of zero.
#[test]
fn the_sum_of_no_observation_has_no_sign() {
    let sum = Shards::default().float_sum(Histograms::of(&CONFIDENCE_SCORES), 0);
    assert!(sum.is_sign_positive(), "{sum:?}");
}

/// A thread finds its writers by the number of the shards, which later shards have again.
#[test]
fn shards_with_the_number_of_dropped_ones_begin_at_zero() {
    let mut counted = Vec::new();
    for by in 1..=3 {
        let shards = Shards::default();
        shards.writer().increment(COUNTERS, 0, by);
        counted.push(shards.count(COUNTERS, 0));
    }
    assert_eq!(counted, [1, 2, 3]);
}

#[test]
fn a_thread_reuses_its_writer() {
    let shards = Shards::default();
    let (one, again) = (shards.writer(), shards.writer());
    assert!(Rc::ptr_eq(&one.0, &again.0));
    let elsewhere = std::thread::scope(|scope| {
        scope.spawn(|| Arc::as_ptr(&shards.writer().0.shard).addr()).join().unwrap()
    });
    assert_ne!(Arc::as_ptr(&one.0.shard).addr(), elsewhere);
}

/// At that time the thread has no writers any more.
#[test]
fn a_destructor_of_a_thread_local_still_counts() {
    struct CountOnDrop(Arc<Shards>);
    impl Drop for CountOnDrop {
        fn drop(&mut self) {
            self.0.writer().increment(COUNTERS, 0, 1);
        }
    }
    thread_local! {
        static LAST: RefCell<Option<CountOnDrop>> = const { RefCell::new(None) };
    }
    let shards = Arc::new(Shards::default());
    let shared = Arc::clone(&shards);
    std::thread::spawn(move || {
        // Made first, destroyed last.
        LAST.with_borrow_mut(|last| *last = Some(CountOnDrop(Arc::clone(&shared))));
        shared.writer().increment(COUNTERS, 0, 1);
    })
    .join()
    .unwrap();
    assert_eq!(shards.count(COUNTERS, 0), 2);
}
