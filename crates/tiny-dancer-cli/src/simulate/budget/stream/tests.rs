use super::*;
use crate::router;
use crate::simulate::stream::{Order, Pair, Rows};
use crate::simulate::testing::clusters;
use tiny_dancer::parts::core::coin::Seed;

const SETTING: Setting = Setting { judge_rate: JudgeRate::Fixed(1.0), burst: 10.0, late: 0, lost: 0.0 };

/// Rows around two axes: the lightweight model is worse on the second one.
struct Made(Neighbours, Vec<(usize, Outcome)>);

fn made(requests: usize) -> Made {
    let rows = Rows::new(vec![clusters([0, 1], requests)], &[Pair::default()]).unwrap();
    let drawn = rows.draw(Order::Random, requests, 1, 0);
    let neighbours = Neighbours::new(&rows, &drawn).unwrap();
    let place = |row| neighbours.place(row).unwrap();
    let requests = drawn.iter().map(|it| (place(it.row), rows.outcome(*it).unwrap())).collect();
    Made(neighbours, requests)
}

impl Made {
    fn stream(&self, enemy: bool) -> Stream<'_> {
        Stream { neighbours: &self.0, requests: self.1.clone(), enemy }
    }
}

/// The configuration of a router with this budget, which shadows half of the requests.
fn config(budget: QualityBudget) -> RouterConfig {
    RouterConfig {
        budget: Some(budget),
        shadow_rate: 0.5,
        seed: Some(Seed::new([7; 16])),
        ..router(None, None).unwrap().config().clone()
    }
}

fn spend(stream: &Stream<'_>, setting: Setting) -> Spent {
    stream.spend(setting, config(setting.budget()), 0, || false).unwrap()
}

#[test]
fn a_memory_that_begins_empty_learns_what_to_send() {
    let spent = spend(&made(800).stream(false), SETTING);
    assert!(!spent.scored[0].lightweight);
    assert!(spent.tally.lightweight > 200, "{:?}", spent.tally);
    assert_eq!((spent.tally.judged, spent.tally.overdrawn), (spent.tally.lightweight, 0));
    assert!(spent.shadowed > 100, "{}", spent.shadowed);
}

#[test]
fn a_router_that_spends_more_than_it_is_compared_with_is_overdrawn() {
    let made = made(800);
    let stream = made.stream(true);
    assert_eq!(spend(&stream, SETTING).tally.overdrawn, 0);
    let larger = config(QualityBudget { burst: 12.0, ..SETTING.budget() });
    let spent = stream.spend(SETTING, larger, 0, || false).unwrap();
    assert_eq!(spent.tally.overdrawn, 1, "{:?}", spent.tally);
}

#[test]
fn an_enemy_s_answers_are_worse_where_they_are_served_and_good_where_they_are_shadowed() {
    let spent = spend(&made(400).stream(true), SETTING);
    assert_eq!(spent.tally.worse, spent.tally.lightweight);
    assert!(spent.tally.worse > 0);
    for it in &spent.scored {
        assert!(it.worse);
        assert!(it.verdict.is_none_or(|verdict| verdict.worse == it.lightweight), "{it:?}");
    }
}

#[test]
fn a_verdict_is_known_as_many_requests_later_as_it_is_late() {
    let known = |late: usize| {
        let spent = spend(&made(400).stream(false), Setting { late, ..SETTING });
        spent.scored.iter().enumerate().filter_map(|(i, it)| Some(it.verdict?.known - i)).collect::<Vec<_>>()
    };
    assert!(known(0).iter().all(|&later| later == 1));
    assert!(known(20).iter().all(|&later| later == 20));
    // Nothing is known when the first twenty requests are decided.
    let spent = spend(&made(400).stream(false), Setting { late: 20, ..SETTING });
    assert!(spent.scored[..20].iter().all(|it| it.confidence == 0.0));
    assert!(spent.scored[..25].iter().any(|it| it.confidence > 0.0));
}

#[test]
fn a_lost_verdict_is_paid_for_and_never_comes() {
    let made = made(800);
    let stream = made.stream(false);
    let all = config(SETTING.budget());
    // The memory learns from shadows: they come first, so the first hundred verdicts are not lost.
    let mut drawn = 0;
    let lost = stream.spend(SETTING, all, 0, || {
        drawn += 1;
        drawn > 100
    });
    let lost = lost.unwrap();
    assert!(lost.scored.iter().filter(|it| it.verdict.is_some()).count() == 100);
    // Each lost judgement counts as worse, so few are admitted.
    assert!(lost.tally.lightweight < spend(&stream, SETTING).tally.lightweight, "{:?}", lost.tally);
}

#[test]
fn one_start_gives_the_same_stream_and_another_one_other_coins() {
    let setting = Setting { judge_rate: JudgeRate::Fixed(0.5), burst: 40.0, ..SETTING };
    let from = |first| {
        made(400).stream(false).spend(setting, config(setting.budget()), first, || false).unwrap().scored
    };
    assert_eq!(from(0), from(0));
    assert_ne!(from(0), from(1 << 32));
}
