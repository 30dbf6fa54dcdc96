//! The picture of docs/performance.md, drawn from the record: parts of a request, and ratios beside their goals.

use super::goals::{self, Goal};
use super::record::{self, Measurement};
use anyhow::{Context, Result};
use std::fmt::Write as _;

/// The stages of a request in order: the name in a measurement, the label, and a colour that colour-blind readers
/// distinguish.
const PARTS: &[(&str, &str, &str)] = &[
    ("circuit_breaker_check", "circuits", "#000000"),
    ("feature_engineering", "features", "#0072b2"),
    ("per candidate", "model: per-candidate pass", "#f0e442"),
    ("order", "model: order", "#d55e00"),
    ("joint", "model: joint pass", "#e69f00"),
    ("uncertainty_estimation", "uncertainties, sorted", "#009e73"),
];
/// The label and colour of what is no stage.
const REST: (&str, &str) = ("rest", "#b0b0b0");

/// Requests that are divided into their parts, by the ends of their ids.
const REQUESTS: &[&str] = &["1x384", "10x384", "100x384"];
/// Sizes at which the router is compared with the naive one.
const SIZES: &[&str] = &["1x128", "1x384", "10x128", "10x384", "100x128", "100x384"];
/// Observers, and sizes at which they are shown.
const OBSERVERS: &[&str] =
    &["metrics", "tracing", "facade metrics", "facade tracing", "facade both", "bridge"];
const OBSERVED: &[&str] = &["10x384", "100x384"];

const LEFT: f64 = 170.0;
const WIDTH: f64 = 600.0;
/// The longest bar of a ratio, which has its number to the right.
const LONGEST: f64 = 420.0;
const ROW: f64 = 30.0;
const BAR: f64 = 20.0;

/// Draws the picture as SVG.
pub(crate) fn draw(measurements: &[Measurement]) -> Result<String> {
    let find = |id: &str| measurements.iter().find(|it| it.id == id);
    let mut canvas = Canvas { body: String::new(), y: 34.0 };
    canvas.title("Where the time of a request goes, candidates x dimensions, no observer");
    for size in REQUESTS {
        let id = format!("stages/{size}");
        canvas.stacked(size, find(&id).with_context(|| format!("the record has no {id}"))?);
    }
    canvas.legend();
    canvas.title("Time of the naive router over the router's (more is better)");
    canvas.bars(SIZES.iter().filter_map(|size| Some(((*size).to_owned(), find(&format!("naive/{size}"))?))));
    canvas.title("Time with an observer over time without (1 is free)");
    let observers = OBSERVERS.iter().flat_map(|name| OBSERVED.iter().map(move |size| (name, size)));
    canvas.bars(
        observers
            .filter_map(|(name, size)| Some((format!("{name} {size}"), find(&format!("{name}/{size}"))?))),
    );
    Ok(canvas.finish())
}

/// The parts of a request: label, colour, nanoseconds.
pub(crate) fn parts(request: &Measurement) -> Vec<(&'static str, &'static str, f64)> {
    let part = |&(name, label, colour): &(&str, _, _)| Some((label, colour, *request.nanoseconds.get(name)?));
    let mut parts: Vec<_> = PARTS.iter().filter_map(part).collect();
    let sum: f64 = parts.iter().map(|(.., time)| time).sum();
    // Parts and whole are from different requests, and may differ by more than the rest.
    parts.push((REST.0, REST.1, (request.value - sum).max(0.0)));
    parts
}

struct Canvas {
    body: String,
    /// The top of the next row.
    y: f64,
}

impl Canvas {
    fn text(&mut self, x: f64, anchor: &str, style: &str, text: &str) {
        let (y, text) = (self.y + 15.0, text.replace('<', "&lt;"));
        let _ = writeln!(
            self.body,
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" {style}>{text}</text>"#
        );
    }

    /// A rectangle `down` from the top of the row.
    fn rect(&mut self, x: f64, down: f64, width: f64, height: f64, colour: &str) {
        let y = self.y + down;
        let _ = writeln!(
            self.body,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height}" fill="{colour}"/>"#
        );
    }

    fn title(&mut self, title: &str) {
        self.y += 14.0;
        self.text(20.0, "start", r#"font-weight="bold""#, title);
        self.y += ROW;
    }

    /// A bar of a request's parts, with their shares of the sum.
    fn stacked(&mut self, label: &str, request: &Measurement) {
        self.text(LEFT - 10.0, "end", "", label);
        let parts = parts(request);
        let sum: f64 = parts.iter().map(|(.., time)| time).sum();
        let mut x = LEFT;
        for (_, colour, time) in parts {
            let share = time / sum;
            self.rect(x, 0.0, WIDTH * share, BAR, colour);
            if share > 0.055 {
                let ink = if ["#0072b2", "#009e73", "#d55e00"].contains(&colour) { "#fff" } else { "#000" };
                let middle = x + WIDTH * share / 2.0;
                self.text(middle, "middle", &format!(r#"fill="{ink}""#), &format!("{:.0}%", 100.0 * share));
            }
            x += WIDTH * share;
        }
        self.text(LEFT + WIDTH + 10.0, "start", "", &format!("{:.2} \u{b5}s", request.value / 1000.0));
        self.y += ROW;
    }

    /// The meaning of the colours.
    fn legend(&mut self) {
        let labels = PARTS.iter().map(|&(_, label, colour)| (label, colour)).chain([REST]);
        for (at, (label, colour)) in labels.enumerate() {
            let x = LEFT + WIDTH / 3.0 * (at % 3) as f64;
            self.rect(x, 4.0, 12.0, 12.0, colour);
            self.text(x + 18.0, "start", "", label);
            if at % 3 == 2 {
                self.y += ROW;
            }
        }
        self.y += ROW;
    }

    /// Bars of ratios with their values, and a mark at each goal.
    fn bars<'a>(&mut self, rows: impl Iterator<Item = (String, &'a Measurement)>) {
        let rows: Vec<_> = rows.map(|(label, it)| (label, it.value, goals::goal_of(it))).collect();
        let end = |value: f64, goal: Option<Goal>| goal.map_or(value, |goal| goal.number().max(value));
        let scale = LONGEST / rows.iter().map(|(_, value, goal)| end(*value, *goal)).fold(1.0, f64::max);
        for (label, value, goal) in rows {
            self.text(LEFT - 10.0, "end", "", &label);
            let (colour, note) = match goal {
                None => ("#b0b0b0", String::new()),
                Some(goal) if goal.holds(value) => ("#0072b2", format!(", goal {goal}")),
                Some(goal) => ("#d55e00", format!(", goal {goal}: misses")),
            };
            self.rect(LEFT, 0.0, value * scale, BAR, colour);
            if let Some(goal) = goal {
                self.rect(LEFT + goal.number() * scale - 1.0, -3.0, 2.0, BAR + 6.0, "#000");
            }
            let text = format!("{value:.2}{note}");
            self.text(LEFT + end(value, goal) * scale + 8.0, "start", "", &text);
            self.y += ROW;
        }
    }

    fn finish(self) -> String {
        let (width, height) = (LEFT + WIDTH + 110.0, self.y + 14.0);
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">
<rect width="100%" height="100%" fill="#fff"/>
<text x="20" y="26" font-size="12" fill="#555">From {}; drawn by cargo xtask bench</text>
{}</svg>
"##,
            record::RATIOS,
            self.body
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurements() -> Vec<Measurement> {
        let stages = [("clock", 10.0), ("feature_engineering", 300.0), ("joint", 500.0)];
        let requests =
            REQUESTS.iter().map(|size| Measurement::of(&format!("stages/{size}"), 1000.0, &stages));
        let naive = SIZES.iter().map(|size| format!("naive/{size}"));
        let observers =
            OBSERVERS.iter().flat_map(|name| OBSERVED.iter().map(move |size| format!("{name}/{size}")));
        requests.chain(naive.chain(observers).map(|id| Measurement::of(&id, 5.0, &[]))).collect()
    }

    #[test]
    fn a_request_has_its_stages_and_the_rest_as_parts() {
        let parts = parts(&measurements()[0]);
        let times: Vec<_> = parts.iter().map(|(label, _, time)| (*label, *time)).collect();
        assert_eq!(times, [("features", 300.0), ("model: joint pass", 500.0), ("rest", 200.0)]);
    }

    #[test]
    fn every_measurement_has_a_bar() {
        let mut measurements = measurements();
        let picture = draw(&measurements).unwrap();
        for label in ["100x384", "1x128", "metrics 10x384", "facade both 100x384", "bridge 10x384"] {
            assert!(picture.contains(&format!(">{label}<")), "{label}");
        }
        assert!(picture.contains("goal &lt;= 1.15: misses"), "{picture}");
        measurements.retain(|it| it.id != "bridge/10x384");
        assert!(!draw(&measurements).unwrap().contains("bridge 10x384<"));
        measurements.retain(|it| it.id != "stages/1x384");
        assert!(draw(&measurements).unwrap_err().to_string().contains("stages/1x384"));
    }
}
