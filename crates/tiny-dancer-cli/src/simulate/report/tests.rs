use super::*;

const PRICES: Prices = Prices { lightweight: 0.05, judgement: 0.5 };

#[test]
fn costs_equal_those_computed_by_hand() {
    let counts = Counts { requests: 100, lightweight: 40, worse: 4, explored: 5, judged: 10, shadowed: 20 };
    let costs = Costs::new(&counts, PRICES);
    let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
    assert!(close(costs.served, 0.6 + 0.4 * 0.05));
    assert!(close(costs.shadowing, 0.2 * 0.55));
    assert!(close(costs.judging, 0.1 * 1.5));
    assert!(close(costs.net(), 0.62 + 0.11 + 0.15));
}

#[test]
fn the_jackknife_of_a_mean_is_its_standard_error() {
    // The means without one of 1, 2, 3, 6: their standard error is sqrt(14/3 / 4).
    let without = [11.0, 10.0, 9.0, 6.0].map(|sum: f64| sum / 3.0);
    assert!((jackknife(&without).unwrap() - (14.0_f64 / 12.0).sqrt()).abs() < 1e-12);
    assert_eq!(jackknife(&[1.0]), None);
}

fn report(counts: Counts) -> Report {
    let sampling = Sampling { shadow_rate: 0.2, explore: 0.0, judge: 1.0 };
    let window =
        |lightweight, recovered| Window { requests: 100, lightweight, worse: 3, recovered, gap: 20.0 };
    let checkpoint = |recovered| Checkpoint {
        after: 0,
        learning: window(30, recovered),
        knowing: window(40, 14.0),
        frozen: window(0, 10.0),
    };
    let sampled = vec![Sampled { sampling, counts, later: window(30, 12.0) }];
    let streams = vec![vec![checkpoint(11.0)], vec![checkpoint(13.0)]];
    let orders = vec![Ordered { order: Order::Random, streams, sampled }];
    Report { orders, rows: 500, requests: 300, streams: 2, window: 100, seed: 1, sampling, prices: PRICES }
}

#[test]
fn memories_are_summed_over_streams_and_compared() {
    let text = report(Counts { requests: 100, judged: 1, ..Counts::default() }).to_string();
    let line = text.lines().find(|line| line.trim_start().starts_with("0 ")).unwrap();
    let cells: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(cells[..7], ["0", "30.0%", "10.0%", "0.600", "40.0%", "7.5%", "0.700"], "{text}");
    assert_eq!(cells[7..], ["0.0%", "-", "0.500", "0.100", "±0.050"], "{text}");
    assert!(!text.contains("nothing can be learnt"), "{text}");
}

#[test]
fn a_report_says_where_nothing_can_be_learnt() {
    let text = report(Counts { requests: 100, ..Counts::default() }).to_string();
    assert!(text.contains("nothing can be learnt"), "{text}");
}

#[test]
fn a_figure_of_each_order_and_one_of_all_are_drawn() {
    let report = report(Counts { requests: 100, judged: 1, ..Counts::default() });
    let figures = report.figures();
    assert_eq!(
        figures.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["learning-random", "shadowing"]
    );
    let labels: Vec<&str> = figures[0].1.panels[0].lines.iter().map(|line| line.label.as_str()).collect();
    assert_eq!(labels, ["knows everything", "frozen", "learning"]);
    assert_eq!(figures[0].1.panels[0].lines[2].points, [(0.0, 0.6)]);
}
