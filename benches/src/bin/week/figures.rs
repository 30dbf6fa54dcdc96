//! The pictures of the week.

use crate::traffic::{self, DAYS, PER_DAY};
use crate::{Point, STEP};
use std::fmt::Write as _;
use tiny_dancer_train::plots::figure::{Figure, Line, Panel};

fn line(label: &str, colour: usize, dashed: bool, points: &[Point], of: impl Fn(&Point) -> f64) -> Line {
    let day = |point: &Point| point.requests as f64 / PER_DAY as f64;
    let points = points.iter().map(|point| (day(point), of(point))).collect();
    Line { label: label.to_owned(), points, colour, dashed, dots: None }
}

fn explained() -> Vec<String> {
    let mut days = "Traffic by day:".to_owned();
    for day in 0..DAYS {
        let _ = write!(days, " {} {};", day + 1, traffic::name(day));
    }
    days.pop();
    vec![
        "Two days of observing, one of a canary with a quarter of the requests, then live. The gateway restarts each night.".to_owned(),
        days,
    ]
}

pub(crate) fn budget(points: &[Point]) -> Figure {
    Figure {
        title: "A week under a quality budget".to_owned(),
        explanation: explained(),
        panels: vec![
            Panel {
                x: "days".to_owned(),
                y: "worse answers of the lightweight model".to_owned(),
                percent: false,
                shows: (0.0, 100.0),
                lines: vec![
                    line("allowed", 0, true, points, |point| point.allowed),
                    line("bound", 1, false, points, |point| point.bound),
                    line("truth, which the gateway does not know", 3, false, points, |point| {
                        point.worse as f64
                    }),
                ],
            },
            Panel {
                x: "days".to_owned(),
                y: "probability that an answer is judged".to_owned(),
                percent: true,
                shows: (0.0, 1.0),
                lines: vec![line("judged", 4, false, points, |point| point.judge_rate)],
            },
        ],
    }
}

pub(crate) fn share(points: &[Point]) -> Figure {
    let smooth = |of: fn(&Point) -> f64| {
        let means: Vec<f64> = (0..points.len())
            .map(|at| {
                let last = &points[at.saturating_sub(4)..=at];
                last.iter().map(of).sum::<f64>() / (last.len() * STEP) as f64
            })
            .collect();
        move |point: &Point| means[point.requests / STEP - 1]
    };
    Figure {
        title: "A week: what went to the lightweight model, and what it cost".to_owned(),
        explanation: explained(),
        panels: vec![
            Panel {
                x: "days".to_owned(),
                y: "share of the last 500 requests".to_owned(),
                percent: true,
                shows: (0.0, 1.0),
                lines: vec![
                    line("lightweight", 0, false, points, smooth(|point| point.lightweight as f64)),
                    line("mean score", 2, false, points, smooth(|point| point.score)),
                    line(
                        "mean score of the powerful model",
                        6,
                        true,
                        points,
                        smooth(|point| point.powerful_score),
                    ),
                ],
            },
            Panel {
                x: "days".to_owned(),
                y: "cost so far, judging and shadows included".to_owned(),
                percent: false,
                shows: (0.0, 1.0),
                lines: vec![
                    line("cost", 0, false, points, |point| point.cost),
                    line("all by the powerful model", 6, true, points, |point| point.baseline),
                ],
            },
        ],
    }
}
