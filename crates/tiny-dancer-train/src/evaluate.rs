//! Evaluation: a router against baselines, on rows whose outcome is known, in one run.
//!
//! Each row is a request without metadata, at the present time, with past rows or profiles as its memory. Each metric
//! has a 95% interval from a bootstrap over the rows (percentiles of [`RESAMPLES`] resamples). All routers are judged
//! on the same resamples, so differences are paired, and their intervals are narrower than those of the metrics
//! suggest.
//!
//! | router | ranks by |
//! | --- | --- |
//! | `model` | the router's confidence with the `k` nearest |
//! | `nearest-20`, `nearest-100` | the share of the 20 or 100 nearest where the lightweight model sufficed |
//! | `logistic` | logistic regression on the embedding, fitted to the past rows |
//! | `profiles-256` | the same share in the nearest of 256 k-means profiles of the past |
//! | `random` | random order: the average over all orders |
//! | `oracle` | the outcome itself, which a real router cannot know |

use crate::coverage::{Coverage, coverage};
use crate::curve::{Curve, Outcome, Ranking, ReliabilityBin, ece, reliability};
use crate::judge::{Judgement, judge_retrieved};
use crate::logistic::Logistic;
use crate::past::{ItemOutcome, Past};
use crate::profiles::Profiles;
use crate::retrieval::{Nearest, by_block, nearest};
use crate::vectors::embedder;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde_json::{Value, json};
use std::fmt;
use tiny_dancer_core::promise::RiskStep;
use tiny_dancer_core::{RouteError, Router, names};

/// The number of bootstrap resamples.
pub const RESAMPLES: usize = 1000;
/// The numbers of neighbours of the `nearest` baselines.
const NEIGHBOURS: &[usize] = &[20, 100];
/// The number of profiles of the `profiles` baseline.
const PROFILES: usize = 256;
const METRICS: usize = Metric::ALL.len();
/// The seed of the resamples and of k-means.
const SEED: u64 = 1;

/// Why an evaluation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// The embeddings of the rows and of the memory have different dimensions.
    #[error("the rows' embeddings have {rows} dimensions, the memory's {memory}")]
    Dimension {
        /// The rows' dimension.
        rows: usize,
        /// The memory's dimension.
        memory: usize,
    },
    /// The embeddings of the rows and of the memory are of different embedders, or only one of the two is known.
    #[error("the rows' embeddings are of {}, the memory's of {}", embedder(rows.as_deref()), embedder(memory.as_deref()))]
    Embedder {
        /// The embedder of the rows, if it is known.
        rows: Option<String>,
        /// The embedder of the memory, if it is known.
        memory: Option<String>,
    },
    /// There are no rows to judge by, or the memory is empty.
    #[error("{rows} rows to judge by and {memory} in memory, expected 1 or more of each")]
    Empty {
        /// Rows to judge by.
        rows: usize,
        /// Rows or profiles of the memory.
        memory: usize,
    },
    /// The powerful model is no better, so there is no performance gap to recover.
    #[error(
        "the powerful model's mean score is {powerful}, the lightweight one's {lightweight}: there is nothing to gain by routing"
    )]
    NoGap {
        /// Mean score of the lightweight model.
        lightweight: f64,
        /// Mean score of the powerful model.
        powerful: f64,
    },
    /// A row to judge by is a profile, which has no outcome of its own.
    #[error("{id} is a profile, expected a row with lightweight_correct")]
    Profile {
        /// The profile's id.
        id: String,
    },
    /// The router refuses a row.
    #[error("the router refuses a row: {source}")]
    Route {
        /// Why.
        #[from]
        source: RouteError,
    },
}

/// A metric of a router, in the order of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Metric {
    /// Average performance gap recovered; 0.5 is random.
    Apgr,
    /// Smallest share of powerful calls that recovers 50% of the performance gap.
    Cpt50,
    /// Smallest share of powerful calls that recovers 80% of the performance gap.
    Cpt80,
    /// Largest lightweight share at 95% of the powerful model's accuracy.
    LightweightAt95,
    /// Largest lightweight share at the powerful model's full accuracy.
    LightweightAt100,
    /// Probability that a row where the lightweight model suffices ranks above one where it does not.
    Auroc,
    /// Expected calibration error, for routers whose scores are probabilities.
    Ece,
}

names!(Metric, "metric", {
    Apgr => "apgr",
    Cpt50 => "cpt_50",
    Cpt80 => "cpt_80",
    LightweightAt95 => "lightweight_at_95",
    LightweightAt100 => "lightweight_at_100",
    Auroc => "auroc",
    Ece => "ece",
});

impl Metric {
    /// The heading of the metric's column.
    const fn heading(self) -> &'static str {
        match self {
            Self::Apgr => "APGR",
            Self::Cpt50 => "CPT(50)",
            Self::Cpt80 => "CPT(80)",
            Self::LightweightAt95 => "light at 95%",
            Self::LightweightAt100 => "light at 100%",
            Self::Auroc => "AUROC",
            Self::Ece => "ECE",
        }
    }
}

/// A number and its 95% bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The number on all rows.
    pub value: f64,
    /// The 2.5th percentile of the resamples.
    pub low: f64,
    /// The 97.5th percentile of the resamples.
    pub high: f64,
}

impl Estimate {
    /// An estimate from a value and its resamples. Resamples without the number are left out.
    fn new(value: Option<f64>, resampled: impl Iterator<Item = Option<f64>>) -> Option<Self> {
        let mut resampled: Vec<f64> = resampled.flatten().collect();
        resampled.sort_unstable_by(f64::total_cmp);
        let last = resampled.len().checked_sub(1)?;
        let at = |share: f64| resampled[(share * last as f64).round() as usize];
        Some(Self { value: value?, low: at(0.025), high: at(0.975) })
    }

    fn to_json(self) -> Value {
        json!({"value": self.value, "low": self.low, "high": self.high})
    }
}

/// The results of one router.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Routed {
    /// The router's name.
    pub name: String,
    /// Its score of each row. A higher score means that the lightweight model more likely suffices.
    pub confidences: Vec<f64>,
    /// Its metrics, in the order of [`Metric::ALL`]; `None` where a metric is undefined.
    pub metrics: [Option<Estimate>; Metric::ALL.len()],
    /// The model's APGR minus this router's; `None` for the model itself.
    pub lead: Option<Estimate>,
}

/// The results of an evaluation.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Evaluation {
    /// The outcome of each row.
    pub outcomes: Vec<Outcome>,
    /// The model's judgement of each row.
    pub judgements: Vec<Judgement>,
    /// The model first, then the baselines.
    pub routers: Vec<Routed>,
    /// Conformal coverage of the model.
    pub coverage: Vec<Coverage>,
}

/// Judges a router and the baselines on rows, with the `k` nearest of `memory` as each row's candidates.
///
/// # Errors
/// There are no rows, the memory is empty, the powerful model is no better, a row is a profile, embeddings differ in
/// dimension or embedder, or the router refuses a row.
pub fn evaluate(router: &Router, rows: &Past, memory: &Past, k: usize) -> Result<Evaluation, EvaluateError> {
    let outcome = |item: &crate::past::Item| match item.outcome {
        ItemOutcome::Row { lightweight, powerful } => Ok(Outcome { lightweight, powerful }),
        ItemOutcome::Profile { .. } => Err(EvaluateError::Profile { id: item.id.clone() }),
    };
    let outcomes: Vec<Outcome> = rows.items.iter().map(outcome).collect::<Result<_, _>>()?;
    let (rows_d, memory_d) = (rows.embeddings.ncols(), memory.embeddings.ncols());
    if rows_d != memory_d {
        return Err(EvaluateError::Dimension { rows: rows_d, memory: memory_d });
    }
    if rows.embedder != memory.embedder {
        return Err(EvaluateError::Embedder { rows: rows.embedder.clone(), memory: memory.embedder.clone() });
    }
    if outcomes.is_empty() || memory.items.is_empty() {
        return Err(EvaluateError::Empty { rows: outcomes.len(), memory: memory.items.len() });
    }
    let mean = |score: fn(&Outcome) -> f64| outcomes.iter().map(score).sum::<f64>() / outcomes.len() as f64;
    let (lightweight, powerful) = (mean(|outcome| outcome.lightweight), mean(|outcome| outcome.powerful));
    if lightweight >= powerful {
        return Err(EvaluateError::NoGap { lightweight, powerful });
    }

    let queries = &rows.embeddings;
    let deepest = NEIGHBOURS.iter().copied().fold(k, usize::max);
    let retrieved = nearest(queries, &memory.embeddings, deepest);
    let judgements = judge_retrieved(router, queries, &memory.candidates(), &retrieved, k)?;
    let mut rankings = vec![Ranked {
        name: "model".to_owned(),
        confidences: judgements.iter().map(|judgement| f64::from(judgement.confidence)).collect(),
        probability: true,
    }];
    rankings.extend(baselines(rows, memory, &retrieved, &outcomes));
    let routers = measure(rankings, &outcomes);
    let tried: Vec<_> =
        judgements.iter().copied().zip(outcomes.iter().map(|outcome| outcome.sufficed())).collect();
    let coverage = coverage(router.model().joint(), &tried);
    Ok(Evaluation { outcomes, judgements, routers, coverage })
}

/// A router before it is measured.
struct Ranked {
    name: String,
    confidences: Vec<f64>,
    probability: bool,
}

fn baselines(rows: &Past, memory: &Past, retrieved: &[Nearest], outcomes: &[Outcome]) -> Vec<Ranked> {
    let sufficed: Vec<f64> = memory.items.iter().map(|item| item.outcome.sufficed()).collect();
    let base_rate = sufficed.iter().sum::<f64>() / sufficed.len() as f64;
    let mean_of = |members: &mut dyn Iterator<Item = usize>| {
        let (mut sum, mut n) = (0.0, 0.0);
        for member in members {
            sum += sufficed[member];
            n += 1.0;
        }
        if n > 0.0 { sum / n } else { base_rate }
    };
    let mut rankings: Vec<Ranked> = NEIGHBOURS
        .iter()
        .map(|&count| Ranked {
            name: format!("nearest-{count}"),
            confidences: retrieved
                .iter()
                .map(|nearest| {
                    mean_of(&mut nearest.neighbours.iter().take(count).map(|near| near.item as usize))
                })
                .collect(),
            probability: true,
        })
        .collect();

    let queries = &rows.embeddings;
    let confidences = Logistic::fit(&memory.embeddings, &sufficed).predict(queries);
    rankings.push(Ranked { name: "logistic".to_owned(), confidences, probability: true });

    // A memory with fewer than `PROFILES` different rows has no profiles, so this baseline is left out.
    if let Ok(profiles) = Profiles::new(&memory.embeddings, PROFILES, SEED) {
        let rates: Vec<f64> =
            profiles.members().iter().map(|members| mean_of(&mut members.iter().copied())).collect();
        let confidences = by_block(queries, &profiles.centroids(), |similarities| {
            let best = (0..similarities.len()).max_by(|&a, &b| similarities[a].total_cmp(&similarities[b]));
            best.map_or(base_rate, |profile| rates[profile])
        });
        rankings.push(Ranked { name: format!("profiles-{PROFILES}"), confidences, probability: true });
    }

    // Equal scores: a curve averages over the orders of tied rows.
    let random = vec![0.5; outcomes.len()];
    rankings.push(Ranked { name: "random".to_owned(), confidences: random, probability: false });
    let oracle = outcomes.iter().map(|outcome| outcome.lightweight - outcome.powerful).collect();
    rankings.push(Ranked { name: "oracle".to_owned(), confidences: oracle, probability: false });
    rankings
}

/// The metrics of a router on weighted rows.
fn metrics(
    ranking: &Ranking,
    ranked: &Ranked,
    outcomes: &[Outcome],
    weights: &[f64],
) -> [Option<f64>; METRICS] {
    let curve = ranking.curve(outcomes, weights);
    Metric::ALL.map(|metric| match metric {
        Metric::Apgr => curve.apgr(),
        Metric::Cpt50 => Some(curve.call_performance(0.5)),
        Metric::Cpt80 => Some(curve.call_performance(0.8)),
        Metric::LightweightAt95 => Some(curve.lightweight_share(0.95 * curve.powerful())),
        Metric::LightweightAt100 => Some(curve.lightweight_share(curve.powerful())),
        Metric::Auroc => ranking.auroc(outcomes, weights),
        Metric::Ece => ranked.probability.then(|| ece(&reliability(&ranked.confidences, outcomes, weights))),
    })
}

/// The metrics of all routers.
type All = Vec<[Option<f64>; METRICS]>;

/// Measures all routers on all rows and on the same resamples.
fn measure(rankings: Vec<Ranked>, outcomes: &[Outcome]) -> Vec<Routed> {
    let sorted: Vec<Ranking> = rankings.iter().map(|ranked| Ranking::new(&ranked.confidences)).collect();
    let all = |weights: &[f64]| -> All {
        sorted
            .iter()
            .zip(&rankings)
            .map(|(sorted, ranked)| metrics(sorted, ranked, outcomes, weights))
            .collect()
    };
    let values = all(&vec![1.0; outcomes.len()]);
    let resamples: Vec<_> = (0..RESAMPLES)
        .into_par_iter()
        .map(|resample| {
            let mut rng = ChaCha8Rng::seed_from_u64(SEED);
            rng.set_stream(resample as u64 + 1);
            let mut weights = vec![0.0; outcomes.len()];
            for _ in 0..outcomes.len() {
                weights[rng.random_range(0..outcomes.len())] += 1.0;
            }
            all(&weights)
        })
        .collect();
    let estimate = |of: &dyn Fn(&All) -> Option<f64>| Estimate::new(of(&values), resamples.iter().map(of));
    let apgr = Metric::Apgr as usize;
    let routed = |(router, ranked): (usize, Ranked)| Routed {
        name: ranked.name,
        confidences: ranked.confidences,
        metrics: std::array::from_fn(|metric| estimate(&|all| all[router][metric])),
        lead: if router == 0 { None } else { estimate(&|all| Some(all[0][apgr]? - all[router][apgr]?)) },
    };
    rankings.into_iter().enumerate().map(routed).collect()
}

impl Evaluation {
    /// The curve of one router.
    pub fn curve(&self, router: &Routed) -> Curve {
        Ranking::new(&router.confidences).curve(&self.outcomes, &vec![1.0; self.outcomes.len()])
    }

    /// The model's confidences against outcomes, in bins.
    pub fn reliability(&self) -> [ReliabilityBin; crate::curve::RELIABILITY_BINS] {
        let confidences: Vec<f64> =
            self.judgements.iter().map(|judgement| f64::from(judgement.confidence)).collect();
        reliability(&confidences, &self.outcomes, &vec![1.0; self.outcomes.len()])
    }

    /// The share of rows that a step's thresholds send to the lightweight model.
    pub fn sent_by(&self, step: &RiskStep) -> f64 {
        let sent = |judgement: &&Judgement| {
            judgement.confidence >= step.confidence_threshold && judgement.uncertainty <= step.max_uncertainty
        };
        self.judgements.iter().filter(sent).count() as f64 / self.judgements.len() as f64
    }

    /// The risk by share: after each group of rows of equal confidence, in descending order, the share of rows sent
    /// to the lightweight model so far and the share of these that it fails.
    pub fn failures(&self) -> Vec<(f64, f64)> {
        let mut rows: Vec<usize> = (0..self.outcomes.len()).collect();
        let confidence = |row: usize| self.judgements[row].confidence;
        rows.sort_by(|&a, &b| confidence(b).total_cmp(&confidence(a)));
        let (mut sent, mut failed) = (0.0, 0.0);
        rows.chunk_by(|&a, &b| confidence(a) == confidence(b))
            .map(|group| {
                sent += group.len() as f64;
                failed += group.iter().filter(|&&row| !self.outcomes[row].sufficed()).count() as f64;
                (sent / rows.len() as f64, failed / sent)
            })
            .collect()
    }

    /// `{"rows": n, "routers": [{"name": .., "apgr": {"value": .., "low": .., "high": ..}, ..}]}`. An undefined
    /// metric is null.
    pub fn to_json(&self) -> Value {
        let router = |routed: &Routed| {
            let mut object = json!({"name": routed.name});
            for (metric, estimate) in Metric::ALL.iter().zip(routed.metrics) {
                object[metric.name()] = estimate.map_or(Value::Null, Estimate::to_json);
            }
            match routed.lead {
                Some(lead) => object["model_minus_this_apgr"] = lead.to_json(),
                None => object["coverage"] = self.coverage.iter().map(coverage_json).collect(),
            }
            object
        };
        json!({"rows": self.outcomes.len(), "routers": self.routers.iter().map(router).collect::<Vec<_>>()})
    }
}

fn coverage_json(coverage: &Coverage) -> Value {
    let &Coverage { bin, level, calibration, rows, covered, at_least } = coverage;
    json!({
        "bin": bin, "level": level, "calibration_rows": calibration, "rows": rows,
        "covered": covered, "at_least": at_least,
    })
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.outcomes.len();
        let mean = |score: fn(&Outcome) -> f64| self.outcomes.iter().map(score).sum::<f64>() / n as f64;
        let suffice = self.outcomes.iter().filter(|outcome| outcome.sufficed()).count() as f64 / n as f64;
        writeln!(
            f,
            "{n} rows: mean score of the lightweight model {:.3}, of the powerful one {:.3};",
            mean(|o| o.lightweight),
            mean(|o| o.powerful)
        )?;
        writeln!(
            f,
            "the lightweight model suffices for {:.1}%. 95% bootstrap intervals, {RESAMPLES} resamples.\n",
            100.0 * suffice
        )?;
        write!(f, "{:<13}", "router")?;
        for metric in Metric::ALL {
            write!(f, " {:>20}", metric.heading())?;
        }
        writeln!(f, " {:>22}", "model's APGR lead")?;
        for routed in &self.routers {
            write!(f, "{:<13}", routed.name)?;
            for estimate in routed.metrics {
                let cell = estimate.map_or_else(
                    || "-".to_owned(),
                    |Estimate { value, low, high }| format!("{value:.3} [{low:.3} {high:.3}]"),
                );
                write!(f, " {cell:>20}")?;
            }
            let lead = routed.lead.map_or_else(
                || "-".to_owned(),
                |Estimate { value, low, high }| format!("{value:+.3} [{low:+.3} {high:+.3}]"),
            );
            writeln!(f, " {lead:>22}")?;
        }
        if self.coverage.is_empty() {
            return write!(f, "\nconformal coverage: no row is in a bin that holds enough calibration rows");
        }
        write!(
            f,
            "\n{:<22} {:>5} {:>16} {:>6} {:>8} {:>9} {:>8}",
            "conformal coverage", "level", "calibration rows", "rows", "covered", "at least", "holds"
        )?;
        for coverage in &self.coverage {
            let name = coverage.bin.map_or_else(|| "all bins".to_owned(), |bin| format!("bin {bin}"));
            let share = |count: usize| count as f64 / coverage.rows as f64;
            write!(
                f,
                "\n{name:<22} {:>5.2} {:>16} {:>6} {:>8.3} {:>9.3} {:>8}",
                coverage.level,
                coverage.calibration,
                coverage.rows,
                share(coverage.covered),
                share(coverage.at_least),
                if coverage.holds() { "yes" } else { "NO" },
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
