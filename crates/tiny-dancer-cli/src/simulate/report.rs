//! The results of a simulation: tables, JSON and figures.

use super::learning::{Checkpoint, Counts, Sampling, Window};
use super::stream::Order;
use serde_json::{Value, json};
use std::fmt::{self, Write};
use tiny_dancer_train::plots::figure::{Figure, Line, Panel};

/// What calls cost, in calls of the powerful model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Prices {
    /// One call of the lightweight model.
    pub(crate) lightweight: f64,
    /// One judgement of two answers.
    pub(crate) judgement: f64,
}

/// The mean cost of a request, in calls of the powerful model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Costs {
    /// The answers that were served.
    served: f64,
    /// The lightweight answers that were made for comparison only, and their judgements.
    shadowing: f64,
    /// The judgements of lightweight answers that were served, with the powerful answers that they compare with.
    judging: f64,
}

impl Costs {
    pub(super) fn new(counts: &Counts, prices: Prices) -> Self {
        let share = |count: usize| count as f64 / counts.requests.max(1) as f64;
        let lightweight = share(counts.lightweight);
        Self {
            served: 1.0 - lightweight + lightweight * prices.lightweight,
            shadowing: share(counts.shadowed) * (prices.lightweight + prices.judgement),
            judging: share(counts.judged) * (1.0 + prices.judgement),
        }
    }

    pub(super) fn net(&self) -> f64 {
        self.served + self.shadowing + self.judging
    }
}

/// A sampling in all streams of one order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sampled {
    pub(crate) sampling: Sampling,
    pub(crate) counts: Counts,
    /// The windows after the first one, together.
    pub(crate) later: Window,
}

impl Sampled {
    fn evidence(&self) -> usize {
        self.counts.judged + self.counts.shadowed
    }
}

/// All streams of one order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ordered {
    pub(crate) order: Order,
    /// The checkpoints of each stream.
    pub(crate) streams: Vec<Vec<Checkpoint>>,
    pub(crate) sampled: Vec<Sampled>,
}

/// The memories of all streams at one checkpoint.
struct Summed {
    after: usize,
    memories: [(&'static str, Window); 3],
    /// How far the APGR of the learning memory is behind the one that knows everything, and its standard error.
    behind: Option<(f64, Option<f64>)>,
}

/// The names of the memories, in the order of tables and figures.
const LEARNING: &str = "learning";
const KNOWING: &str = "knows everything";
const FROZEN: &str = "frozen";

impl Ordered {
    fn summed(&self) -> Vec<Summed> {
        let at = |number: usize| {
            let checkpoints: Vec<Checkpoint> = self.streams.iter().map(|stream| stream[number]).collect();
            let sum = |of: fn(&Checkpoint) -> Window, without: Option<usize>| {
                let mut sum = Window::default();
                let kept = checkpoints.iter().enumerate().filter(|(stream, _)| Some(*stream) != without);
                kept.for_each(|(_, checkpoint)| sum += of(checkpoint));
                sum
            };
            let behind = |without| {
                Some(sum(|it| it.knowing, without).apgr()? - sum(|it| it.learning, without).apgr()?)
            };
            let resampled: Option<Vec<f64>> =
                (0..checkpoints.len()).map(|stream| behind(Some(stream))).collect();
            Summed {
                after: checkpoints[0].after,
                memories: [
                    (LEARNING, sum(|it| it.learning, None)),
                    (KNOWING, sum(|it| it.knowing, None)),
                    (FROZEN, sum(|it| it.frozen, None)),
                ],
                behind: behind(None).map(|behind| (behind, resampled.and_then(|of| jackknife(&of)))),
            }
        };
        (0..self.streams.first().map_or(0, Vec::len)).map(at).collect()
    }
}

/// The standard error of an estimate, from the estimates without one of the streams each.
fn jackknife(without: &[f64]) -> Option<f64> {
    let n = without.len() as f64;
    let mean = without.iter().sum::<f64>() / n;
    let squares: f64 = without.iter().map(|it| (it - mean).powi(2)).sum();
    (n > 1.0).then(|| (squares * (n - 1.0) / n).sqrt())
}

/// What a simulation prints.
pub(crate) struct Report {
    pub(crate) orders: Vec<Ordered>,
    pub(crate) rows: usize,
    /// The requests of each stream.
    pub(crate) requests: usize,
    pub(crate) streams: usize,
    pub(crate) window: usize,
    pub(crate) seed: u64,
    /// The sampling of the learning curves.
    pub(crate) sampling: Sampling,
    pub(crate) prices: Prices,
}

fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

/// A share in percent with at most one digit after the point.
fn rounded(share: f64) -> f64 {
    (1000.0 * share).round() / 10.0
}

fn or_dash<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), text)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, requests, streams, window, seed, .. } = self;
        let Sampling { shadow_rate, explore, judge } = self.sampling;
        writeln!(f, "{streams} streams of {requests} of {rows} rows each in every order, seed {seed}.")?;
        writeln!(
            f,
            "Each line is about the {window} requests after the first n: the share that goes to the lightweight model, the share of"
        )?;
        writeln!(
            f,
            "these whose answer is worse, and the APGR. The frozen memory learns from the first {window} requests only. Shadow rate"
        )?;
        writeln!(
            f,
            "{shadow_rate}, explore {explore}, judge {judge}. The last column has its standard error over streams."
        )?;
        for ordered in &self.orders {
            write!(f, "\n{:<14}", ordered.order)?;
            for memory in [LEARNING, KNOWING, FROZEN] {
                write!(f, " {memory:>24}")?;
            }
            write!(f, "\n{:>14}", "n")?;
            for _ in 0..3 {
                write!(f, " {:>8} {:>8} {:>6}", "share", "worse", "APGR")?;
            }
            writeln!(f, " {:>16}", "APGR behind")?;
            for Summed { after, memories, behind } in ordered.summed() {
                write!(f, "{after:>14}")?;
                for (_, window) in memories {
                    let worse = or_dash(window.worse_rate(), percent);
                    let apgr = or_dash(window.apgr(), |apgr| format!("{apgr:.3}"));
                    write!(f, " {:>8} {worse:>8} {apgr:>6}", percent(window.share()))?;
                }
                let behind = or_dash(behind, |(behind, error)| {
                    or_dash(error, |error| format!("{behind:.3} ±{error:.3}"))
                });
                writeln!(f, " {behind:>16}")?;
            }
        }
        self.fmt_sampled(f)
    }
}

impl Report {
    fn fmt_sampled(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Prices { lightweight, judgement } = self.prices;
        writeln!(
            f,
            "\nWhat shadowing and exploring cost and bring, over whole streams with the learning memory; the APGR is that of all"
        )?;
        writeln!(
            f,
            "windows after the first. Remembered, shadowed and judged are per request. Costs are per request in calls of the"
        )?;
        writeln!(
            f,
            "powerful model: a lightweight call costs {lightweight:.3}, a judgement {judgement:.3}. Judging compares with a powerful"
        )?;
        writeln!(f, "answer, which it pays. Sending all to the powerful model costs 1.\n")?;
        write!(
            f,
            "{:<15} {:>6} {:>7} {:>8} {:>8} {:>6}",
            "order", "shadow", "explore", "share", "worse", "APGR"
        )?;
        writeln!(
            f,
            " {:>10} {:>8} {:>7} {:>7} {:>9} {:>8} {:>6}",
            "remembered", "shadowed", "judged", "served", "shadowing", "judging", "net"
        )?;
        let (mut empty, mut lines) = (false, String::new());
        for Ordered { order, sampled, .. } in &self.orders {
            for it in sampled {
                let Sampled { sampling: Sampling { shadow_rate, explore, .. }, counts, later } = it;
                let per_request = |count: usize| count as f64 / counts.requests.max(1) as f64;
                let worse = (counts.lightweight > 0).then(|| counts.worse as f64 / counts.lightweight as f64);
                let costs = Costs::new(counts, self.prices);
                write!(
                    lines,
                    "{order:<15} {shadow_rate:>6.2} {explore:>7.2} {:>8} {:>8} {:>6}",
                    percent(per_request(counts.lightweight)),
                    or_dash(worse, percent),
                    or_dash(later.apgr(), |apgr| format!("{apgr:.3}")),
                )?;
                writeln!(
                    lines,
                    " {:>10.3} {:>8.3} {:>7.3} {:>7.3} {:>9.3} {:>8.3} {:>6.3}",
                    per_request(it.evidence()),
                    per_request(counts.shadowed),
                    per_request(counts.judged),
                    costs.served,
                    costs.shadowing,
                    costs.judging,
                    costs.net(),
                )?;
                empty |= it.evidence() == 0;
            }
        }
        write!(f, "{}", lines.trim_end())?;
        if empty {
            write!(
                f,
                "\n\nWhere nothing is remembered, nothing can be learnt: an empty memory sends every request to the powerful model, so no\n\
                 lightweight answer is ever looked at. Shadow or explore some requests, or import a log."
            )?;
        }
        Ok(())
    }

    pub(crate) fn to_json(&self) -> Value {
        let window = |window: &Window| json!({"share": window.share(), "worse": window.worse_rate(), "apgr": window.apgr()});
        let ordered = |ordered: &Ordered| {
            let checkpoint = |at: Summed| {
                let mut object = json!({"after": at.after, "requests": at.memories[0].1.requests});
                for (name, memory) in &at.memories {
                    object[name.replace(' ', "_")] = window(memory);
                }
                object["apgr_behind"] = at.behind.map(|(behind, _)| behind).into();
                object["apgr_behind_error"] = at.behind.and_then(|(_, error)| error).into();
                object
            };
            let sampled = |it: &Sampled| {
                let costs = Costs::new(&it.counts, self.prices);
                let Counts { requests, lightweight, worse, explored, judged, shadowed } = it.counts;
                json!({
                    "shadow_rate": it.sampling.shadow_rate, "explore": it.sampling.explore,
                    "judge": it.sampling.judge, "requests": requests, "lightweight": lightweight,
                    "worse": worse, "explored": explored, "judged": judged, "shadowed": shadowed,
                    "apgr": it.later.apgr(), "cost_served": costs.served, "cost_shadowing": costs.shadowing,
                    "cost_judging": costs.judging, "cost_net": costs.net(),
                })
            };
            json!({
                "order": ordered.order.name(),
                "checkpoints": ordered.summed().into_iter().map(checkpoint).collect::<Vec<_>>(),
                "shadowing": ordered.sampled.iter().map(sampled).collect::<Vec<_>>(),
            })
        };
        json!({
            "rows": self.rows, "requests": self.requests, "streams": self.streams, "window": self.window,
            "seed": self.seed, "price_lightweight": self.prices.lightweight,
            "price_judgement": self.prices.judgement,
            "shadow_rate": self.sampling.shadow_rate, "explore": self.sampling.explore,
            "judge": self.sampling.judge, "orders": self.orders.iter().map(ordered).collect::<Vec<_>>(),
        })
    }

    /// The figures, with the names of their files.
    pub(crate) fn figures(&self) -> Vec<(String, Figure)> {
        let learning = self.orders.iter().map(|ordered| self.learning_figure(ordered));
        learning.chain([("shadowing".to_owned(), self.shadowing_figure())]).collect()
    }

    fn learning_figure(&self, ordered: &Ordered) -> (String, Figure) {
        let summed = ordered.summed();
        let lines = |value: fn(&Window) -> Option<f64>| {
            let line = |number: usize| Line {
                label: [LEARNING, KNOWING, FROZEN][number].to_owned(),
                points: summed
                    .iter()
                    .filter_map(|at| Some((at.after as f64, value(&at.memories[number].1)?)))
                    .collect(),
                colour: number,
                dashed: number > 0,
                dots: None,
            };
            // The learning memory is drawn last, over the others.
            [1, 2, 0].map(line).into()
        };
        let Self { window, streams, requests, .. } = self;
        let Sampling { shadow_rate, explore, .. } = self.sampling;
        let panel = |y: &str, percent, shows, lines| Panel {
            x: "requests so far".to_owned(),
            y: y.to_owned(),
            percent,
            shows,
            lines,
        };
        let figure = Figure {
            title: format!("A memory that learns: requests {}", spoken(ordered.order)),
            explanation: vec![
                format!(
                    "Each point is measured on the next {window} requests, over {streams} streams of {requests}. The learning memory begins empty; {}% of the requests",
                    rounded(shadow_rate)
                ),
                format!(
                    "of the powerful model are shadowed, {}% are explored. One memory knows everything from the start, one is frozen after {window} requests.",
                    rounded(explore)
                ),
            ],
            panels: vec![
                panel("APGR (random: 0.5)", false, (0.48, 0.6), lines(Window::apgr)),
                panel("share to the lightweight model", true, (0.0, 0.2), lines(|it| Some(it.share()))),
            ],
        };
        (format!("learning-{}", ordered.order), figure)
    }

    fn shadowing_figure(&self) -> Figure {
        let lines = |value: &dyn Fn(&Sampled) -> Option<f64>| {
            let mut lines = vec![];
            for (number, ordered) in self.orders.iter().enumerate() {
                for explored in [true, false] {
                    let of = || ordered.sampled.iter().filter(|it| (it.sampling.explore > 0.0) == explored);
                    let x = |it: &Sampled| Costs::new(&it.counts, self.prices).shadowing;
                    // The rates are beside the dots of the first order.
                    let text = |it: &Sampled| match number {
                        0 if !explored => format!("{}", it.sampling.shadow_rate),
                        _ => String::new(),
                    };
                    lines.push(Line {
                        label: if explored { String::new() } else { ordered.order.name().to_owned() },
                        points: of().filter_map(|it| Some((x(it), value(it)?))).collect(),
                        colour: number,
                        dashed: explored,
                        dots: Some(of().filter(|it| value(it).is_some()).map(text).collect()),
                    });
                }
            }
            lines
        };
        let share = |it: &Sampled| Some(it.counts.lightweight as f64 / it.counts.requests.max(1) as f64);
        let panel = |y: &str, percent, shows, lines| Panel {
            x: "cost of shadowing per request, in calls of the powerful model".to_owned(),
            y: y.to_owned(),
            percent,
            shows,
            lines,
        };
        Figure {
            title: "What shadowing costs and brings".to_owned(),
            explanation: vec![
                format!(
                    "Whole streams of {} requests, with a memory that begins empty. A shadowed request costs one more lightweight call ({:.2}) and a judgement ({:.2}).",
                    self.requests, self.prices.lightweight, self.prices.judgement
                ),
                "The numbers beside the dots are shadow rates. Dashed: 5% of the powerful model's requests are explored too.".to_owned(),
            ],
            panels: vec![
                panel("APGR after the first window", false, (0.48, 0.6), lines(&|it| it.later.apgr())),
                panel("share to the lightweight model", true, (0.0, 0.2), lines(&share)),
            ],
        }
    }
}

/// The order as the end of a sentence on requests.
pub(super) fn spoken(order: Order) -> &'static str {
    match order {
        Order::Random => "in random order",
        Order::BySubject => "subject by subject",
        Order::ByFile => "file after file",
        Order::EasyToHard => "from easy to hard",
        Order::HardToEasy => "from hard to easy",
        Order::PairAfterPair => "with one pair of models after the other",
    }
}

#[cfg(test)]
mod tests;
