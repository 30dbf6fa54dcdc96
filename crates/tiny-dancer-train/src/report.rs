//! Reports: how well a model routes the test rows, against baselines.
//!
//! Everything is measured in one run, on the same rows. The `test` rows are not used for fitting or calibration.

use crate::calibrate::logits;
use crate::cell::{Parameters, Step, sigmoid};
use crate::draw::Memories;
use crate::fit::{self, Epoch};
use crate::rows::{Dataset, Part, Row};
use crate::score::{apgr, auroc, ece};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::fmt;
use tiny_dancer_core::conformal::{CalibrationTable, MIN_BIN_ROWS, nonconformity, p_value};
use tiny_dancer_core::{Feature, Model, RouterConfig};

pub use crate::coverage::LEVELS;

/// The number of neighbours of the baseline.
const BASELINE: usize = 100;

/// What `tiny-dancer train` prints.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The number of rows of each part.
    pub rows: Vec<(Part, usize)>,
    /// The best epoch; `None` if training was stopped before the end of the first.
    pub best: Option<Epoch>,
    /// The slope and intercept that turn the fitted logits into probabilities.
    pub scaling: (f64, f64),
    /// The quality of several rankings of the test rows.
    pub rankings: Vec<Ranking>,
    /// The model's decisions at the default thresholds, by memory.
    pub decisions: Vec<Decisions>,
    /// The number of directions that were checked, and of those that fail.
    pub directions: (usize, usize),
    /// The size of the weights and of the whole file, in bytes.
    pub bytes: (usize, usize),
}

/// The quality of one ranking of the test rows.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Ranking {
    /// The name of the ranking.
    pub name: String,
    /// The probability that a row where the lightweight model suffices ranks above one where it does not; `None` if
    /// all rows are of one kind.
    pub auroc: Option<f64>,
    /// The average performance gap recovered; `None` if the powerful model is no better.
    pub apgr: Option<f64>,
    /// The expected calibration error; `None` if the scores are no probabilities.
    pub ece: Option<f64>,
}

/// The model's decisions with one kind of memory.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Decisions {
    /// The name of the memory.
    pub memory: String,
    /// The share of test rows that go to the lightweight model.
    pub lightweight: f64,
    /// The share of these where it does not suffice; `None` if no row goes to it.
    pub failures: Option<f64>,
    /// Each level with the share of rows whose true label is in the prediction set.
    pub coverage: Vec<(f64, f64)>,
    /// The bins of the calibration table.
    pub bins: Vec<Bin>,
}

/// One bin of a calibration table, on the test rows.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Bin {
    /// The number of its calibration rows.
    pub calibration: usize,
    /// The number of its test rows.
    pub rows: usize,
    /// For each level, the number of test rows whose true label is in the prediction set.
    pub covered: Vec<usize>,
}

/// The input of a report.
pub(crate) struct Judged<'a> {
    pub(crate) data: &'a Dataset,
    pub(crate) memories: &'a Memories,
    pub(crate) parameters: &'a Parameters,
    pub(crate) model: &'a Model,
    pub(crate) epochs: &'a [Epoch],
    pub(crate) scaling: (f64, f64),
    pub(crate) seed: u64,
}

impl Report {
    pub(crate) fn new(judged: &Judged<'_>) -> Self {
        let &Judged { data, memories, parameters, model, epochs, scaling, seed } = judged;
        let test = data.select(|part| part == Part::Test);
        let scored = |scores: Vec<f64>| -> Vec<(&Row, f64)> {
            test.iter().map(|&row| &data.rows[row]).zip(scores).collect()
        };
        let ranking = |name: String, scored: &[(&Row, f64)], probability: bool| Ranking {
            name,
            auroc: auroc(scored),
            apgr: apgr(scored),
            ece: probability.then(|| ece(scored)),
        };

        let (mut rankings, mut decisions) = (vec![], vec![]);
        for (name, requests) in memories.kinds(&test) {
            let scored = scored(logits(parameters, &requests).into_iter().map(sigmoid).collect());
            rankings.push(ranking(format!("this model, {name}"), &scored, true));
            decisions.push(decide(name, model.joint(), &requests, &scored));
        }
        let suffices = |row: &Row| f64::from(u8::from(row.suffices()));
        let mean = |code: &dyn Fn(&Row) -> f64| {
            let train = data.select(Part::is_train);
            let base = train.iter().map(|&row| code(&data.rows[row])).sum::<f64>() / train.len() as f64;
            let means = memories.mean_of_nearest(data, &test, BASELINE, code);
            scored(means.into_iter().map(|mean| mean.unwrap_or(base)).collect())
        };
        rankings.push(ranking(format!("mean of the {BASELINE} nearest, suffices"), &mean(&suffices), true));
        rankings.push(ranking(
            format!("mean of the {BASELINE} nearest, win rate"),
            &mean(&Row::win_rate),
            false,
        ));
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let random = scored(test.iter().map(|_| rng.random()).collect());
        rankings.push(ranking("random".to_owned(), &random, false));

        Self {
            rows: Part::ALL.map(|part| (part, data.select(|of| of == part).len())).into(),
            best: epochs.iter().rfind(|epoch| epoch.best).copied(),
            scaling,
            rankings,
            decisions,
            directions: fit::directions(parameters),
            bytes: (parameters.values.len() * size_of::<f32>(), model.to_bytes().len()),
        }
    }
}

fn decide(
    memory: String,
    table: &CalibrationTable,
    requests: &[Vec<Step>],
    scored: &[(&Row, f64)],
) -> Decisions {
    let thresholds = RouterConfig::default();
    let (mut lightweight, mut failures) = (0.0, 0.0);
    let bin = |bin| Bin { calibration: table.scores(bin).len(), rows: 0, covered: vec![0; LEVELS.len()] };
    let mut bins: Vec<Bin> = (0..table.bins()).map(bin).collect();
    for (request, (row, confidence)) in requests.iter().zip(scored) {
        let confidence = *confidence as f32;
        let top = request.first().map_or(-1.0, |step| step[Feature::Similarity as usize] as f32);
        let uncertainty = table.uncertainty(confidence, top, request.len());
        if confidence >= thresholds.confidence_threshold && uncertainty <= thresholds.max_uncertainty {
            lightweight += 1.0;
            failures += f64::from(u8::from(!row.suffices()));
        }
        let number = table.bin(top, request.len());
        let p = p_value(table.scores(number), nonconformity(confidence, row.suffices()));
        let bin = &mut bins[number];
        bin.rows += 1;
        for (covered, level) in bin.covered.iter_mut().zip(LEVELS) {
            // In a bin with too few calibration rows, both labels are in the set.
            *covered += usize::from(bin.calibration < MIN_BIN_ROWS || f64::from(p) > 1.0 - level);
        }
    }
    let n = scored.len() as f64;
    let share = |i: usize| bins.iter().map(|bin| bin.covered[i]).sum::<usize>() as f64 / n;
    Decisions {
        memory,
        lightweight: lightweight / n,
        failures: (lightweight > 0.0).then(|| failures / lightweight),
        coverage: LEVELS.iter().enumerate().map(|(i, &level)| (level, share(i))).collect(),
        bins,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rows      ")?;
        for (i, (part, rows)) in self.rows.iter().enumerate() {
            write!(f, "{}{} {rows}", if i == 0 { "" } else { ", " }, part.name())?;
        }
        if let Some(Epoch { number, fit, early_stopping, .. }) = &self.best {
            writeln!(f, "\nbest      epoch {number}, by the early-stopping rows")?;
            writeln!(f, "losses    {:>16} {:>16} {:>16}", "joint", "per candidate", "directions")?;
            for (name, losses) in [("fit", fit), ("early stopping", early_stopping)] {
                let (joint, per_candidate, direction) =
                    (losses.joint, losses.per_candidate, losses.direction);
                writeln!(f, "  {name:<14} {joint:>9.4} {per_candidate:>16.4} {direction:>16.6}")?;
            }
        }
        let (slope, intercept) = self.scaling;
        writeln!(f, "scaling   logit = {slope:.3} fitted {intercept:+.3}")?;
        let (checked, broken) = self.directions;
        writeln!(f, "directions {} of {checked} hold", checked - broken)?;
        writeln!(f, "bytes     weights {}, file {}\n", self.bytes.0, self.bytes.1)?;

        writeln!(f, "{:<44} {:>6} {:>6} {:>6}", "test rows", "AUROC", "APGR", "ECE")?;
        for Ranking { name, auroc, apgr, ece } in &self.rankings {
            let [auroc, apgr, ece] = [auroc, apgr, ece]
                .map(|number| number.map_or_else(|| "-".to_owned(), |number| format!("{number:.3}")));
            writeln!(f, "{name:<44} {auroc:>6} {apgr:>6} {ece:>6}")?;
        }
        write!(f, "\n{:<44} {:>11} {:>13}", "default thresholds, test rows", "lightweight", "insufficient")?;
        for level in LEVELS {
            write!(f, " {:>14}", format!("coverage {level:.2}"))?;
        }
        for Decisions { memory, lightweight, failures, coverage, .. } in &self.decisions {
            let percent = |share: f64| format!("{:.1}%", 100.0 * share);
            let failures = failures.map_or_else(|| "-".to_owned(), percent);
            write!(f, "\n{memory:<44} {:>11} {failures:>13}", percent(*lightweight))?;
            for (_, covered) in coverage {
                write!(f, " {covered:>14.3}")?;
            }
        }
        Ok(())
    }
}
