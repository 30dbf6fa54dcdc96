//! The picture of docs/performance.md: where the time of a request goes, and how that compares, drawn from the record.

use super::goals::{self, Goal};
use super::measurement::Measurement;
use anyhow::{Context, Result};
use std::fmt::Write as _;

/// Parts of a request, by their names in a measurement, as they follow each other, with a colour each that people who see
/// few colours can tell apart.
const PARTS: [(&str, &str, &str); 7] = [
    ("circuit_breaker_check", "circuits", "#000000"),
    ("feature_engineering", "features", "#0072b2"),
    ("alone", "model: each alone", "#f0e442"),
    ("order", "model: order", "#d55e00"),
    ("together", "model: together", "#e69f00"),
    ("uncertainty_estimation", "uncertainties, sorted", "#009e73"),
    ("rest", "rest", "#b0b0b0"),
];

/// Requests that are taken apart, by the ends of their ids.
const REQUESTS: [(&str, &str); 3] = [
    ("stages/1x384", "1 candidate"),
    ("stages/10x384", "10 candidates"),
    ("stages/100x384", "100 candidates"),
];

/// Bars with a mark where the goal is: what they say, and of which measurements.
const NAIVE: [(&str, &str); 6] = [
    ("naive/1x128", "1 candidate, 128 dims"),
    ("naive/1x384", "1 candidate, 384 dims"),
    ("naive/10x128", "10 candidates, 128 dims"),
    ("naive/10x384", "10 candidates, 384 dims"),
    ("naive/100x128", "100 candidates, 128 dims"),
    ("naive/100x384", "100 candidates, 384 dims"),
];
const OBSERVERS: [(&str, &str); 12] = [
    ("metrics/10x384", "metrics, 10 candidates"),
    ("metrics/100x384", "metrics, 100 candidates"),
    ("tracing/10x384", "tracing at 1%, 10"),
    ("tracing/100x384", "tracing at 1%, 100"),
    ("facade metrics/10x384", "facade: metrics, 10"),
    ("facade metrics/100x384", "facade: metrics, 100"),
    ("facade tracing/10x384", "facade: tracing at 1%, 10"),
    ("facade tracing/100x384", "facade: tracing at 1%, 100"),
    ("facade both/10x384", "facade: both, 10"),
    ("facade both/100x384", "facade: both, 100"),
    ("bridge/10x384", "naive bridge, 10"),
    ("bridge/100x384", "naive bridge, 100"),
];

const LEFT: f64 = 210.0;
const WIDTH: f64 = 560.0;
/// The longest bar, which has its number beside it.
const LONGEST: f64 = 400.0;
const ROW: f64 = 30.0;
const BAR: f64 = 20.0;

/// Draws what the record holds.
pub(crate) fn draw(measurements: &[Measurement]) -> Result<String> {
    let mut canvas = Canvas { body: String::new(), y: 34.0 };
    canvas.title("Where the time of a request goes, 384 dims, nobody watching");
    for (id, label) in REQUESTS {
        let whole = measurements.iter().find(|it| it.id == id);
        canvas.stacked(label, whole.with_context(|| format!("the record has no {id}"))?);
    }
    canvas.legend(measurements);
    canvas.title("Times as fast as the naive router (more is better)");
    canvas.bars(&NAIVE, measurements);
    canvas.title("Time under an observer over time without, 384 dims (1 is free)");
    canvas.bars(&OBSERVERS, measurements);
    Ok(canvas.finish())
}

/// The parts of a request with their nanoseconds: label, colour, time.
pub(crate) fn parts(whole: &Measurement) -> Vec<(&'static str, &'static str, f64)> {
    let mut parts: Vec<_> =
        PARTS.iter().filter_map(|&(name, label, colour)| Some((label, colour, whole.time(name)?))).collect();
    let sum: f64 = parts.iter().map(|(.., time)| time).sum();
    // What no stage is: starting, choosing, answering. Two runs may differ by more than that.
    let [.., (_, rest, colour)] = PARTS;
    parts.push((rest, colour, (whole.value - sum).max(0.0)));
    parts
}

struct Canvas {
    body: String,
    /// Where the next line begins.
    y: f64,
}

impl Canvas {
    fn text(&mut self, x: f64, anchor: &str, style: &str, text: &str) {
        let y = self.y + 15.0;
        let _ = writeln!(
            self.body,
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" {style}>{}</text>"#,
            text.replace('&', "&amp;").replace('<', "&lt;")
        );
    }

    fn rect(&mut self, x: f64, width: f64, colour: &str) {
        let y = self.y;
        let _ = writeln!(
            self.body,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{BAR}" fill="{colour}"/>"#
        );
    }

    fn title(&mut self, title: &str) {
        self.y += 14.0;
        self.text(20.0, "start", r#"font-weight="bold""#, title);
        self.y += ROW;
    }

    /// A bar of a request's parts, as shares of the whole.
    fn stacked(&mut self, label: &str, whole: &Measurement) {
        self.text(LEFT - 10.0, "end", "", label);
        let parts = parts(whole);
        let sum: f64 = parts.iter().map(|(.., time)| time).sum();
        let mut x = LEFT;
        for (_, colour, time) in parts {
            let width = WIDTH * time / sum;
            self.rect(x, width, colour);
            let share = 100.0 * time / sum;
            if width > 32.0 {
                let ink = if ["#0072b2", "#009e73", "#d55e00"].contains(&colour) { "#fff" } else { "#000" };
                self.text(x + width / 2.0, "middle", &format!(r#"fill="{ink}""#), &format!("{share:.0}%"));
            }
            x += width;
        }
        self.text(LEFT + WIDTH + 10.0, "start", "", &format!("{:.2} \u{b5}s", whole.value / 1000.0));
        self.y += ROW;
    }

    /// What the colours mean, of the parts that were measured.
    fn legend(&mut self, measurements: &[Measurement]) {
        let shown = measurements.iter().find(|it| it.id == REQUESTS[0].0).map(parts).unwrap_or_default();
        let mut x = LEFT;
        for (label, colour, _) in shown {
            let width = 34.0 + 7.2 * label.len() as f64;
            if x + width > LEFT + WIDTH + 80.0 {
                x = LEFT;
                self.y += ROW;
            }
            let y = self.y + 4.0;
            let _ = writeln!(
                self.body,
                r#"<rect x="{x:.1}" y="{y:.1}" width="12" height="12" fill="{colour}"/>"#
            );
            self.text(x + 18.0, "start", "", label);
            x += width;
        }
        self.y += ROW;
    }

    /// Bars with their values, and a line where a goal is. What was not measured has no bar.
    fn bars(&mut self, rows: &[(&str, &str)], measurements: &[Measurement]) {
        let bars: Vec<_> = rows
            .iter()
            .filter_map(|(id, label)| {
                let measurement = measurements.iter().find(|it| it.id == *id)?;
                let goal = goals::ROWS.iter().find_map(|row| row.goal_of(measurement));
                Some((label, measurement.value, goal))
            })
            .collect();
        let ends = bars
            .iter()
            .flat_map(|(_, value, goal)| [*value, goal.map_or(0.0, Goal::number)])
            .fold(1.0, f64::max);
        let scale = LONGEST / ends;
        for (label, value, goal) in bars {
            self.text(LEFT - 10.0, "end", "", label);
            let colour = match goal {
                None => "#b0b0b0",
                Some(goal) if goal.holds(value) => "#0072b2",
                Some(_) => "#d55e00",
            };
            self.rect(LEFT, value * scale, colour);
            let mut end = value * scale;
            if let Some(goal) = goal {
                let (x, y) = (LEFT + goal.number() * scale, self.y);
                let _ = writeln!(
                    self.body,
                    r##"<line x1="{x:.1}" x2="{x:.1}" y1="{:.1}" y2="{:.1}" stroke="#000" stroke-width="2"/>"##,
                    y - 3.0,
                    y + BAR + 3.0
                );
                end = end.max(goal.number() * scale);
            }
            let said = goal.map_or_else(String::new, |goal| {
                format!(", goal {goal}{}", if goal.holds(value) { "" } else { ": misses" })
            });
            self.text(LEFT + end + 8.0, "start", "", &format!("{value:.2}{said}"));
            self.y += ROW;
        }
    }

    fn finish(self) -> String {
        let (width, height) = (LEFT + WIDTH + 110.0, self.y + 14.0);
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0}" height="{height:.0}" viewBox="0 0 {width:.0} {height:.0}" font-family="sans-serif" font-size="13">
<title>What routing costs</title>
<rect width="100%" height="100%" fill="#fff"/>
<text x="20" y="26" font-size="12" fill="#555">From {}; drawn by cargo xtask bench</text>
{}</svg>
"##,
            super::record::RATIOS,
            self.body
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(id: &str, value: f64, times: &[(&str, f64)]) -> Measurement {
        let nanoseconds = times.iter().map(|(name, time)| ((*name).to_owned(), *time)).collect();
        Measurement {
            id: id.to_owned(),
            kernel: String::new(),
            value,
            quartiles: [value, value],
            nanoseconds,
        }
    }

    fn measurements() -> Vec<Measurement> {
        let stages = [("clock", 10.0), ("feature_engineering", 300.0), ("together", 500.0)];
        let requests = REQUESTS.map(|(id, _)| measurement(id, 1000.0, &stages));
        let bars = NAIVE.iter().chain(&OBSERVERS).map(|(id, _)| measurement(id, 5.0, &[]));
        requests.into_iter().chain(bars).collect()
    }

    #[test]
    fn a_request_is_its_stages_and_the_rest() {
        let parts = parts(&measurements()[0]);
        let times: Vec<_> = parts.iter().map(|(label, _, time)| (*label, *time)).collect();
        assert_eq!(times, [("features", 300.0), ("model: together", 500.0), ("rest", 200.0)]);
    }

    #[test]
    fn every_measurement_has_its_bar_and_a_missing_one_has_none() {
        let mut measurements = measurements();
        let picture = draw(&measurements).unwrap();
        for label in REQUESTS.iter().chain(&NAIVE).chain(&OBSERVERS).map(|(_, label)| label) {
            assert!(picture.contains(&format!(">{label}<")), "{label}");
        }
        assert!(picture.contains("goal &lt;= 1.15: misses"), "{picture}");
        measurements.retain(|it| it.id != "bridge/10x384");
        assert!(!draw(&measurements).unwrap().contains("naive bridge, 10<"));
        measurements.retain(|it| it.id != "stages/1x384");
        assert!(draw(&measurements).unwrap_err().to_string().contains("stages/1x384"));
    }
}
