//! The record of a simulation under a budget: counts, the tables that are made from them, and a picture.
//!
//! It holds no row, and is printed as JSON with a line for each cell. docs/promises.md has its tables and its picture; a test
//! compares them with the record under benches/record/.

use crate::simulate::learning::Counts;
use crate::simulate::report::{Costs, Prices};
use serde::{Deserialize, Serialize};
use std::fmt::{self, Write};
use tiny_dancer_train::plots::figure::{Figure, Line, Panel};

/// What a policy did in one stream or in several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[usize; 4]", into = "[usize; 4]")]
pub(crate) struct Tally {
    /// The answers of the lightweight model.
    pub(crate) lightweight: usize,
    /// Those of them that were worse.
    pub(crate) worse: usize,
    /// Those of them that were judged.
    pub(crate) judged: usize,
    /// The streams in which more answers were worse than allowed, at any moment.
    pub(crate) overdrawn: usize,
}

impl From<[usize; 4]> for Tally {
    fn from([lightweight, worse, judged, overdrawn]: [usize; 4]) -> Self {
        Self { lightweight, worse, judged, overdrawn }
    }
}

impl From<Tally> for [usize; 4] {
    fn from(Tally { lightweight, worse, judged, overdrawn }: Tally) -> Self {
        [lightweight, worse, judged, overdrawn]
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.lightweight += other.lightweight;
        self.worse += other.worse;
        self.judged += other.judged;
        self.overdrawn += other.overdrawn;
    }
}

/// The policies, in the order of tables and of [`Cell::tallies`].
pub(crate) const POLICIES: [&str; 5] = [
    "quality budget",
    "frozen threshold",
    "Learn-then-Test",
    "adaptive conformal",
    "best fixed threshold, in hindsight",
];
const BUDGET: usize = 0;
const BEST: usize = POLICIES.len() - 1;

/// The name of the traffic that is an enemy.
pub(crate) const ENEMY: &str = "enemy";

/// All streams of one kind of traffic, with one setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) traffic: String,
    pub(crate) judged: String,
    pub(crate) burst: f64,
    pub(crate) late: usize,
    pub(crate) lost: f64,
    /// The requests of a stream.
    pub(crate) requests: usize,
    pub(crate) streams: usize,
    /// The requests that were shadowed.
    pub(crate) shadowed: usize,
    /// One for each policy: lightweight answers, those that were worse, those that were judged, overdrawn streams.
    pub(crate) tallies: [Tally; POLICIES.len()],
}

/// One stream at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "(usize, f64, f64, usize, f32)", into = "(usize, f64, f64, usize, f32)")]
pub(crate) struct Moment {
    /// The answers so far.
    pub(crate) t: usize,
    pub(crate) allowed: f64,
    pub(crate) bound: f64,
    /// The worse answers so far, which the account does not know.
    pub(crate) worse: usize,
    /// The least confidence for the lightweight model.
    pub(crate) threshold: f32,
}

impl Moment {
    /// With as many digits as a picture shows.
    pub(crate) fn rounded(self) -> Self {
        let [allowed, bound] = [self.allowed, self.bound].map(|value| (100.0 * value).round() / 100.0);
        Self { allowed, bound, threshold: (1e4 * self.threshold).round() / 1e4, ..self }
    }
}

impl From<(usize, f64, f64, usize, f32)> for Moment {
    fn from((t, allowed, bound, worse, threshold): (usize, f64, f64, usize, f32)) -> Self {
        Self { t, allowed, bound, worse, threshold }
    }
}

impl From<Moment> for (usize, f64, f64, usize, f32) {
    fn from(it: Moment) -> Self {
        (it.t, it.allowed, it.bound, it.worse, it.threshold)
    }
}

/// The record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The version of the router's model.
    pub(crate) model: String,
    pub(crate) rows: usize,
    pub(crate) seed: u64,
    pub(crate) loss_rate: f64,
    pub(crate) delta: f64,
    pub(crate) shadow_rate: f64,
    pub(crate) explore: f64,
    /// In calls of the powerful model.
    pub(crate) price_lightweight: f64,
    pub(crate) price_judgement: f64,
    /// The promise of Learn-then-Test: the largest share of insufficient answers among the lightweight ones.
    pub(crate) alpha: f64,
    pub(crate) cells: Vec<Cell>,
    /// The traffic of the stream in the picture.
    pub(crate) pictured: String,
    pub(crate) moments: Vec<Moment>,
}

/// What a share of the best fixed threshold's must be, by the design.
struct Goal {
    judged: &'static str,
    late: usize,
    longer: bool,
    least: f64,
}

const GOALS: [Goal; 3] = [
    Goal { judged: "1", late: 0, longer: false, least: 1.0 },
    Goal { judged: "0.2", late: 20, longer: false, least: 0.5 },
    Goal { judged: "0.2", late: 20, longer: true, least: 0.7 },
];

/// Cells that are one line of a table.
#[derive(Default)]
struct Sum {
    requests: usize,
    streams: usize,
    shadowed: usize,
    tallies: [Tally; POLICIES.len()],
}

impl Sum {
    fn new<'a>(cells: impl Iterator<Item = &'a Cell>) -> Option<Self> {
        let mut sum = Self::default();
        for cell in cells {
            sum.requests += cell.requests * cell.streams;
            sum.streams += cell.streams;
            sum.shadowed += cell.shadowed;
            sum.tallies.iter_mut().zip(cell.tallies).for_each(|(sum, tally)| *sum += tally);
        }
        (sum.streams > 0).then_some(sum)
    }

    fn share(&self, policy: usize) -> f64 {
        self.tallies[policy].lightweight as f64 / self.requests as f64
    }

    /// The share of the budget, of that of the best fixed threshold.
    fn ratio(&self) -> f64 {
        self.share(BUDGET) / self.share(BEST).max(f64::MIN_POSITIVE)
    }

    fn worse(&self, policy: usize) -> f64 {
        1000.0 * self.tallies[policy].worse as f64 / self.requests as f64
    }

    fn net(&self, policy: usize, prices: Prices) -> f64 {
        let Tally { lightweight, worse, judged, .. } = self.tallies[policy];
        let counts = Counts {
            requests: self.requests,
            lightweight,
            worse,
            judged,
            shadowed: self.shadowed,
            explored: 0,
        };
        Costs::new(&counts, prices).net()
    }

    fn overdrawn(&self, policy: usize) -> String {
        format!("{} of {}", self.tallies[policy].overdrawn, self.streams)
    }
}

/// The most of `streams` that may be overdrawn: the share `delta`, and three standard deviations of a binomial more.
pub(crate) fn most_overdrawn(streams: usize, delta: f64) -> usize {
    let expected = delta * streams as f64;
    (expected + 3.0 * (expected * (1.0 - delta)).sqrt()) as usize
}

impl Record {
    /// The values of a cell's field, each once, in the order of the cells.
    fn values<T: PartialEq>(&self, of: impl Fn(&Cell) -> T) -> Vec<T> {
        let mut values = vec![];
        for value in self.cells.iter().map(of) {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values
    }

    fn length(&self) -> usize {
        self.cells.iter().map(|cell| cell.requests).min().unwrap_or_default()
    }

    fn sum(&self, keep: impl Fn(&Cell) -> bool) -> Option<Sum> {
        Sum::new(self.cells.iter().filter(|cell| keep(cell)))
    }

    /// The cells of usual length.
    fn usual(&self, keep: impl Fn(&Cell) -> bool) -> Option<Sum> {
        let length = self.length();
        self.sum(|cell| cell.requests == length && keep(cell))
    }

    fn prices(&self) -> Prices {
        Prices { lightweight: self.price_lightweight, judgement: self.price_judgement }
    }

    /// The tables, by name, as Markdown.
    pub(crate) fn tables(&self) -> Result<Vec<(&'static str, String)>, fmt::Error> {
        Ok(vec![
            ("overdrawn", self.overdrawn()?),
            ("goals", self.goals()?),
            ("policies", self.policies()?),
            ("traffic", self.traffic()?),
            ("delays", self.delays()?),
        ])
    }

    fn overdrawn(&self) -> Result<String, fmt::Error> {
        let mut table =
            "| judged | drifting streams overdrawn | most by chance | by the enemy | most by chance |\n"
                .to_owned();
        table += "| --- | ---: | ---: | ---: | ---: |\n";
        for judged in self.values(|cell| cell.judged.clone()) {
            let of = |enemy: bool| self.usual(|it| it.judged == judged && (it.traffic == ENEMY) == enemy);
            let (Some(drift), Some(enemy)) = (of(false), of(true)) else { continue };
            let most = |sum: &Sum| if judged == "1" { 0 } else { most_overdrawn(sum.streams, self.delta) };
            write!(table, "| {judged} | {} | {} |", drift.overdrawn(BUDGET), most(&drift))?;
            writeln!(table, " {} | {} |", enemy.overdrawn(BUDGET), most(&enemy))?;
        }
        Ok(table)
    }

    fn goals(&self) -> Result<String, fmt::Error> {
        let mut table =
            "| judged | late | requests | traffic | share | best fixed | ratio | goal | | net cost |\n"
                .to_owned();
        table += "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | --- | ---: |\n";
        let usual = self.length();
        for Goal { judged, late, longer, least } in GOALS {
            for traffic in ["random", "by-subject"] {
                let keep = |it: &Cell| {
                    (it.judged.as_str(), it.late, it.lost, it.burst) == (judged, late, 0.0, 10.0)
                        && it.traffic == traffic
                        && (it.requests > usual) == longer
                };
                if let Some(sum) = self.sum(keep) {
                    let requests = sum.requests / sum.streams;
                    let [share, best] = [BUDGET, BEST].map(|policy| percent(sum.share(policy)));
                    let (ratio, verdict) =
                        (sum.ratio(), if sum.ratio() >= least { "holds" } else { "**missed**" });
                    let net = sum.net(BUDGET, self.prices());
                    write!(table, "| {judged} | {late} | {requests} | {traffic} | {share} | {best} |")?;
                    writeln!(table, " {ratio:.2} | {least:.2} | {verdict} | {net:.3} |")?;
                }
            }
        }
        Ok(table)
    }

    fn policies(&self) -> Result<String, fmt::Error> {
        let mut table =
            "| judged | policy | share | worse in 1,000 | overdrawn | net cost | enemy: share | worse in 1,000 | overdrawn |\n"
                .to_owned();
        table += "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n";
        for judged in self.values(|cell| cell.judged.clone()) {
            let of = |enemy: bool| self.usual(|it| it.judged == judged && (it.traffic == ENEMY) == enemy);
            let (Some(drift), Some(enemy)) = (of(false), of(true)) else { continue };
            for (policy, name) in POLICIES.iter().enumerate() {
                write!(table, "| {judged} | {name} |")?;
                write!(table, " {} | {:.1} |", percent(drift.share(policy)), drift.worse(policy))?;
                write!(table, " {} | {:.3} |", drift.overdrawn(policy), drift.net(policy, self.prices()))?;
                write!(table, " {} | {:.1} |", percent(enemy.share(policy)), enemy.worse(policy))?;
                writeln!(table, " {} |", enemy.overdrawn(policy))?;
            }
        }
        Ok(table)
    }

    fn traffic(&self) -> Result<String, fmt::Error> {
        let mut table =
            "| traffic | judged | share | best fixed | ratio | worse in 1,000 | net cost |\n".to_owned();
        table += "| --- | --- | ---: | ---: | ---: | ---: | ---: |\n";
        for traffic in self.values(|cell| cell.traffic.clone()) {
            for judged in self.values(|cell| cell.judged.clone()) {
                let keep = |it: &Cell| {
                    it.traffic == traffic
                        && it.judged == judged
                        && (it.late, it.lost, it.burst) == (20, 0.0, 10.0)
                };
                if let Some(sum) = self.usual(keep) {
                    let [share, best] = [BUDGET, BEST].map(|policy| percent(sum.share(policy)));
                    let (ratio, worse) = (sum.ratio(), sum.worse(BUDGET));
                    let net = sum.net(BUDGET, self.prices());
                    writeln!(
                        table,
                        "| {traffic} | {judged} | {share} | {best} | {ratio:.2} | {worse:.1} | {net:.3} |"
                    )?;
                }
            }
        }
        Ok(table)
    }

    fn delays(&self) -> Result<String, fmt::Error> {
        let mut delays = self.values(|cell| (cell.burst, cell.late, cell.lost));
        delays.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        let name = |&(burst, late, lost): &(f64, usize, f64)| {
            let late = if late == 0 { "at once".to_owned() } else { format!("{late} late") };
            let lost = if lost > 0.0 { format!(", {} lost", percent(lost)) } else { String::new() };
            format!("burst {burst}, {late}{lost}")
        };
        let names: Vec<String> = delays.iter().map(name).collect();
        let mut table =
            format!("| judged | {} |\n| --- |{}\n", names.join(" | "), " ---: |".repeat(names.len()));
        for judged in self.values(|cell| cell.judged.clone()) {
            write!(table, "| {judged} |")?;
            for delay in &delays {
                let keep = |it: &Cell| {
                    it.judged == judged && it.traffic != ENEMY && (it.burst, it.late, it.lost) == *delay
                };
                let ratio = self.usual(keep).map_or("-".to_owned(), |sum| format!("{:.2}", sum.ratio()));
                write!(table, " {ratio} |")?;
            }
            table += "\n";
        }
        Ok(table)
    }

    /// JSON with a line for each cell.
    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        let cells: Vec<String> = self.cells.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        let moments = serde_json::to_string(&self.moments)?;
        // Without its lists it is short, and then they are put in.
        let head = serde_json::to_string_pretty(&Self { cells: vec![], moments: vec![], ..self.clone() })?;
        let cells = format!("\"cells\": [\n{}\n]", cells.join(",\n"));
        let head = head.replacen("\"cells\": []", &cells, 1);
        Ok(head.replacen("\"moments\": []", &format!("\"moments\": {moments}"), 1))
    }

    /// One stream: what is allowed, the bound, the truth, and the threshold.
    pub(crate) fn figure(&self) -> Figure {
        let line = |label: &str, colour: usize, dashed: bool, value: &dyn Fn(&Moment) -> f64| Line {
            label: label.to_owned(),
            points: self.moments.iter().map(|moment| (moment.t as f64, value(moment))).collect(),
            colour,
            dashed,
            dots: None,
        };
        let panel = |y: &str, shows, lines| Panel {
            x: "answers so far".to_owned(),
            y: y.to_owned(),
            percent: false,
            shows,
            lines,
        };
        let most = self.moments.iter().fold(0.0, |most: f64, it| most.max(it.allowed));
        Figure {
            title: format!("A quality budget in one stream: requests {}", self.pictured),
            explanation: vec![
                format!(
                    "At most {} worse answers in 100 are allowed, and 10 more. All answers are judged at first, and one in five later; verdicts come 20",
                    100.0 * self.loss_rate
                ),
                "requests late. The account knows the bound and not the truth. The threshold moves so that the budget lasts.".to_owned(),
            ],
            panels: vec![
                panel(
                    "worse answers",
                    (0.0, most),
                    vec![
                        line("allowed", 3, true, &|it| it.allowed),
                        line("bound", 1, false, &|it| it.bound),
                        line("truth", 0, false, &|it| it.worse as f64),
                    ],
                ),
                panel(
                    "least confidence for the lightweight model",
                    (0.75, 0.9),
                    vec![line("threshold", 2, false, &|it| it.threshold.into())],
                ),
            ],
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, seed, loss_rate, delta, .. } = self;
        write!(f, "{rows} rows, seed {seed}, loss rate {loss_rate}, delta {delta}.")?;
        for (name, table) in self.tables()? {
            write!(f, "\n\n{name}\n{}", table.trim_end())?;
        }
        Ok(())
    }
}

fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

#[cfg(test)]
mod tests;
