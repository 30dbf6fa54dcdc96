use super::*;
use crate::router;
use crate::simulate::stream::{Order, Pair};
use crate::simulate::testing::clusters;

const WINDOW: usize = 100;
const SHADOWED: Sampling = Sampling { shadow_rate: 0.5, explore: 0.0, judge: 1.0 };
const NOTHING: Sampling = Sampling { shadow_rate: 0.0, explore: 0.0, judge: 1.0 };

/// Two files of clusters, each around axes of its own.
fn two_files() -> Rows {
    Rows::new(vec![clusters([0, 1], 400), clusters([2, 3], 400)], &[Pair::default()]).unwrap()
}

/// Compares the memories in a stream.
fn compare(rows: &Rows, order: Order, sampling: Sampling) -> (Counts, Vec<Checkpoint>) {
    let router = router(None, None).unwrap();
    let stream = rows.draw(order, rows.len(), 1, 0);
    let simulation = Simulation::new(rows, &stream, &router, WINDOW, Seed::new([1; 16]));
    let replayed = simulation.replay(sampling).unwrap();
    let (knowing, frozen) =
        (simulation.knowing(rows, &stream).unwrap(), simulation.frozen(&replayed).unwrap());
    let at = |after| Checkpoint {
        after,
        learning: simulation.window(&replayed.decisions, after),
        knowing: simulation.window(&knowing, after),
        frozen: simulation.window(&frozen, after),
    };
    (replayed.counts, checkpoints(stream.len(), WINDOW).into_iter().map(at).collect())
}

/// The best APGR of a window: that of a ranking with all rows first which the lightweight model answers. A share `bad` of the
/// rows is lost by it, and each of them costs one.
fn best(window: &Window) -> f64 {
    1.0 - window.gap / window.requests as f64 / 2.0
}

fn assert_best(window: &Window) {
    assert!((window.apgr().unwrap() - best(window)).abs() < 1e-9, "{window:?}");
}

/// Whether all requests have one confidence.
fn is_random(window: &Window) -> bool {
    (window.apgr().unwrap() - 0.5).abs() < 1e-9
}

#[test]
fn a_learning_memory_reaches_the_one_that_knows_everything() {
    let rows = Rows::new(vec![clusters([0, 1], 600)], &[Pair::default()]).unwrap();
    let (_, compared) = compare(&rows, Order::Random, SHADOWED);
    let (first, last) = (compared[0], compared[compared.len() - 1]);
    assert_eq!((first.after, last.after), (0, 500));
    // The first few requests have one confidence.
    assert!(first.learning.apgr() < first.knowing.apgr(), "{first:?}");
    assert_best(&last.knowing);
    assert_best(&last.learning);
}

#[test]
fn after_a_shift_a_frozen_memory_does_not_learn_and_the_learning_one_does() {
    let (_, compared) = compare(&two_files(), Order::ByFile, SHADOWED);
    let at = |after: usize| compared.iter().find(|it| it.after == after).unwrap();
    // Before the shift it is as good as the others.
    let before = at(300);
    [before.frozen, before.learning].iter().for_each(assert_best);
    let last = at(700);
    [last.knowing, last.learning].iter().for_each(assert_best);
    assert!(last.frozen.apgr().unwrap() < 0.65, "{:?}", last.frozen);
}

#[test]
fn without_shadowing_and_exploring_nothing_is_remembered() {
    let (counts, compared) = compare(&two_files(), Order::Random, NOTHING);
    assert_eq!(counts, Counts { requests: 800, ..Counts::default() });
    assert!(compared.iter().all(|it| is_random(&it.learning) && it.learning.lightweight == 0));
}

#[test]
fn shadowing_explores_no_request_and_exploring_shadows_none() {
    let rows = two_files();
    let (shadowed, _) = compare(&rows, Order::Random, Sampling { shadow_rate: 1.0, ..NOTHING });
    assert_eq!(shadowed.explored, 0);
    assert_eq!(shadowed.shadowed + shadowed.lightweight, shadowed.requests);
    let (explored, _) = compare(&rows, Order::Random, Sampling { explore: 0.25, ..NOTHING });
    assert!(explored.explored > 0 && explored.shadowed == 0, "{explored:?}");
    assert_eq!(explored.judged, explored.lightweight);
    // A judge that looks at nothing else looks at explored answers.
    let unjudged = Sampling { explore: 0.25, judge: 0.0, ..NOTHING };
    let (unjudged, _) = compare(&rows, Order::Random, unjudged);
    assert_eq!(unjudged.judged, unjudged.explored);
}

#[test]
fn the_frozen_memory_is_the_learning_one_until_it_is_full() {
    let (_, compared) = compare(&two_files(), Order::Random, SHADOWED);
    assert_eq!(compared[0].frozen, compared[0].learning);
    assert_ne!(compared[2].frozen, compared[2].learning);
}

#[test]
fn checkpoints_have_a_whole_window_after_them() {
    assert_eq!(checkpoints(400, 100), [0, 100, 200, 300]);
    assert_eq!(checkpoints(399, 100), [0, 100, 200]);
}

#[test]
fn an_apgr_is_left_out_where_the_models_are_about_equal() {
    let window = Window { requests: 1000, gap: 20.0, recovered: 15.0, ..Window::default() };
    assert_eq!(window.apgr(), Some(0.75));
    assert_eq!(Window { gap: 19.0, ..window }.apgr(), None);
    assert_eq!(Window::default().apgr(), None);
}
