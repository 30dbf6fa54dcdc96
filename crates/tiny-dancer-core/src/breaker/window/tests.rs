use super::*;

fn counts(calls: u64, failures: u64) -> Counts {
    Counts { calls, failures }
}

#[test]
fn a_call_counts_for_the_window_and_expires_a_slice_later() {
    let window = Window::new(Duration::from_millis(1600));
    assert_eq!(window.record(150, true), counts(1, 1));
    assert_eq!(window.counts(150 + 1600), counts(1, 1));
    assert_eq!(window.counts(1800), counts(0, 0));
}

#[test]
fn old_slices_make_room_for_new_ones() {
    let window = Window::new(Duration::from_millis(1600));
    for slice in 0..200 {
        let expected = (slice + 1).min(RING as u64);
        assert_eq!(window.record(slice * 100, slice % 2 == 0).calls, expected);
    }
}

#[test]
fn a_slice_that_overflows_keeps_its_ratio() {
    let window = Window::new(Duration::from_mins(1));
    for call in 0..200_000 {
        window.record(1, call % 4 == 0);
    }
    let Counts { calls, failures } = window.counts(1);
    assert!(calls > MAX / 2 && calls <= MAX);
    assert!((failures as f64 / calls as f64 - 0.25).abs() < 0.001);
}

#[test]
fn concurrent_calls_are_all_counted() {
    let window = Window::new(Duration::from_mins(1));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let window = &window;
            scope.spawn(move || {
                for _ in 0..5000 {
                    window.record(1, thread == 0);
                }
            });
        }
    });
    assert_eq!(window.counts(1), counts(20_000, 5000));
}

#[test]
fn clearing_removes_all_calls() {
    let window = Window::new(Duration::from_mins(1));
    window.record(1, true);
    window.clear();
    assert_eq!(window.counts(1), counts(0, 0));
}
