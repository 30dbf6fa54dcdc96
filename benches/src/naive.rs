//! The naive router: plain code with the semantics of the real router, frozen, to compare it with.
//!
//! It returns the decisions of `tiny_dancer_core::Router` with closed circuits, from the same weights and tables, and follows
//! the equations as they are written: one candidate at a time, the norms of both embeddings with each cosine, `exp` and
//! `tanh` of the standard library, a new vector for each intermediate result, ids cloned into the answer, and the clock
//! read around each candidate and each stage. It has no breaker and no model handle, so it is a little cheaper than a
//! naive version of the whole router.
//!
//! **It is frozen.** A ratio to the naive router is comparable only while the naive router does not change. Its code is
//! plain and not slow on purpose. Where the semantics of core change, correct it, and name the effect on its time in the
//! commit.
//!
//! The tests below check that both agree within 1e-5. An uncertainty counts the calibration scores from the candidate's own
//! score upwards, so it may differ by one step where a calibration score lies between the two confidences.
//!
//! ```
//! use tiny_dancer_benches::{Case, naive::Naive};
//! use tiny_dancer::parts::core::{Model, RouterConfig};
//!
//! let naive = Naive::new(&Model::embedded(), RouterConfig::default());
//! let case = Case::new(10, 128);
//! let answer = naive.route(case.request())?;
//! assert_eq!(answer.decisions.len(), 10);
//! # Ok::<(), tiny_dancer::parts::core::RouteError>(())
//! ```

use std::time::{Duration, Instant};
use tiny_dancer::Candidate;
use tiny_dancer::parts::core::conformal::{CalibrationTable, MIN_BIN_ROWS, nonconformity};
use tiny_dancer::parts::core::fastgrnn::{FastGrnnWeights, JOINT_CANDIDATES};
use tiny_dancer::parts::core::model::Ties;
use tiny_dancer::parts::core::{
    Metadata, Model, ModelType, Reason, RouteError, RouterConfig, RoutingRequest,
};

/// The router.
#[derive(Clone, Debug)]
pub struct Naive {
    weights: FastGrnnWeights,
    ties: Ties,
    per_candidate: CalibrationTable,
    joint: CalibrationTable,
    config: RouterConfig,
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub struct NaiveResponse {
    /// The chosen model.
    pub model: ModelType,
    /// The probability that the lightweight model suffices.
    pub confidence: f32,
    /// Its conformal uncertainty.
    pub uncertainty: f32,
    /// The test that decided.
    pub reason: Reason,
    /// The results of the per-candidate pass, highest confidence first, ties by candidate.
    pub decisions: Vec<NaiveDecision>,
    /// The time of each stage.
    pub stages: Vec<(String, Duration)>,
}

/// The result of the per-candidate pass for one candidate.
#[derive(Clone, Debug)]
pub struct NaiveDecision {
    /// The candidate's place in the request.
    pub candidate: usize,
    /// Its id.
    pub id: String,
    /// The confidence from this candidate alone.
    pub confidence: f32,
    /// The uncertainty of that confidence.
    pub uncertainty: f32,
    /// Whether this candidate alone would choose the lightweight model.
    pub use_lightweight: bool,
    /// The time of the cell's step.
    pub took: Duration,
}

impl Naive {
    /// A router with a model's weights and tables, and a configuration's thresholds.
    pub fn new(model: &Model, config: RouterConfig) -> Self {
        Self {
            weights: model.weights().clone(),
            ties: model.ties(),
            per_candidate: model.per_candidate().clone(),
            joint: model.joint().clone(),
            config,
        }
    }

    /// Routes one request.
    ///
    /// # Errors
    /// As the real router's, without those of circuits.
    pub fn route(&self, request: RoutingRequest<'_>) -> Result<NaiveResponse, RouteError> {
        let mut stages = Vec::new();

        let start = now();
        let mut features = Vec::new();
        check_query(request.query.embedding)?;
        let at = request.query.now.unwrap_or_else(|| self.config.clock.unix_seconds());
        for (index, candidate) in request.candidates.iter().enumerate() {
            check_candidate(request.query.embedding, candidate, index)?;
            features.push(self.features(request, candidate, at));
        }
        stages.push(("feature_engineering".to_owned(), start.elapsed()));
        if request.candidates.is_empty() {
            let reason = Reason::NoEvidence;
            let (model, decisions) = (reason.model(), Vec::new());
            return Ok(NaiveResponse { model, confidence: 0.0, uncertainty: 1.0, reason, decisions, stages });
        }

        let start = now();
        let mut alone = Vec::new();
        for (index, x) in features.iter().enumerate() {
            let start = now();
            let h = self.step(x, &vec![0.0; self.weights.bias_gate.len()]);
            let confidence = self.confidence(&h, Some(index))?;
            alone.push((confidence, start.elapsed()));
        }
        let mut order: Vec<usize> = (0..features.len()).collect();
        order.sort_by(|&a, &b| {
            // Of equal similarities, the candidate that favours the lightweight model less is read last.
            let rates =
                |index: usize| (request.candidates[index].success_rate, request.candidates[index].win_rate);
            let ((a_success, a_win), (b_success, b_win)) = (rates(a), rates(b));
            let (a_features, b_features): (&[f32], &[f32]) = (&features[a], &features[b]);
            a_features[0]
                .total_cmp(&b_features[0])
                .then(b_success.total_cmp(&a_success))
                .then(b_win.total_cmp(&a_win))
                .then(b_features[2].total_cmp(&a_features[2]))
                .then(b_features[1].total_cmp(&a_features[1]))
                .then(b_features[4].total_cmp(&a_features[4]))
        });
        let nearest = order[order.len().saturating_sub(JOINT_CANDIDATES)..].to_vec();
        let mut h = vec![0.0; self.weights.bias_gate.len()];
        for &candidate in &nearest {
            h = self.step(&features[candidate], &h);
        }
        let confidence = self.confidence(&h, None)?;
        stages.push(("model_inference".to_owned(), start.elapsed()));

        let start = now();
        let mut decisions = Vec::new();
        for (index, candidate) in request.candidates.iter().enumerate() {
            let (confidence, took) = alone[index];
            let uncertainty = uncertainty(&self.per_candidate, confidence, features[index][0], 1);
            decisions.push(NaiveDecision {
                candidate: index,
                id: candidate.id.clone(),
                confidence,
                uncertainty,
                use_lightweight: self.reason(confidence, uncertainty) == Reason::Confident,
                took,
            });
        }
        let top = nearest.last().map_or(-1.0, |&candidate| features[candidate][0]);
        let uncertainty = uncertainty(&self.joint, confidence, top, nearest.len());
        stages.push(("uncertainty_estimation".to_owned(), start.elapsed()));

        let start = now();
        let reason = self.reason(confidence, uncertainty);
        decisions.sort_by(|a, b| b.confidence.total_cmp(&a.confidence).then(a.candidate.cmp(&b.candidate)));
        stages.push(("decision".to_owned(), start.elapsed()));
        Ok(NaiveResponse { model: reason.model(), confidence, uncertainty, reason, decisions, stages })
    }

    /// The five features of a candidate.
    fn features(&self, request: RoutingRequest<'_>, candidate: &Candidate, now: i64) -> Vec<f32> {
        let age = now.saturating_sub(candidate.created_at).max(0) as f64;
        let recency = (-age / self.config.recency_half_life.as_secs_f64()).exp2();
        let frequency = ((candidate.access_count as f64).ln_1p() / 1001_f64.ln()).min(1.0);
        vec![
            cosine(request.query.embedding, &candidate.embedding),
            recency as f32,
            frequency as f32,
            self.ties.rate(candidate.success_rate, candidate.win_rate),
            overlap(request.query.metadata, &candidate.metadata),
        ]
    }

    /// One step of the cell: the state after reading `x` in the state `h`.
    pub fn step(&self, x: &[f32], h: &[f32]) -> Vec<f32> {
        let FastGrnnWeights { w, u, bias_gate, bias_update, zeta, nu, .. } = &self.weights;
        let mut next = Vec::new();
        for unit in 0..h.len() {
            let pre = dot(row(w, unit, x.len()), x) + dot(row(u, unit, h.len()), h);
            let z = sigmoid(pre + bias_gate[unit]);
            let update = (pre + bias_update[unit]).tanh();
            next.push((sigmoid(*zeta) * (1.0 - z) + sigmoid(*nu)) * update + z * h[unit]);
        }
        next
    }

    /// The head's output for a state, of one candidate or of all.
    fn confidence(&self, h: &[f32], candidate: Option<usize>) -> Result<f32, RouteError> {
        let logit = dot(&self.weights.head_weight, h) + self.weights.head_bias;
        if !logit.is_finite() {
            return Err(RouteError::NonFiniteOutput { candidate, value: logit });
        }
        Ok(sigmoid(logit))
    }

    /// The test that decides.
    fn reason(&self, confidence: f32, uncertainty: f32) -> Reason {
        if confidence < self.config.confidence_threshold {
            Reason::LowConfidence
        } else if uncertainty > self.config.max_uncertainty {
            Reason::HighUncertainty
        } else {
            Reason::Confident
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the naive router uses the standard clock")]
fn now() -> Instant {
    Instant::now()
}

fn check_query(query: &[f32]) -> Result<(), RouteError> {
    if query.is_empty() {
        return Err(RouteError::EmptyQuery);
    }
    check_embedding(query, None)
}

fn check_candidate(query: &[f32], candidate: &Candidate, index: usize) -> Result<(), RouteError> {
    let (expected, actual) = (query.len(), candidate.embedding.len());
    if actual != expected {
        return Err(RouteError::DimensionMismatch { candidate: Some(index), expected, actual });
    }
    check_embedding(&candidate.embedding, Some(index))?;
    let value = candidate.success_rate;
    if !(0.0..=1.0).contains(&value) {
        return Err(RouteError::InvalidSuccessRate { candidate: index, value });
    }
    let (value, success_rate) = (candidate.win_rate, value);
    if !(0.0..=success_rate).contains(&value) {
        return Err(RouteError::InvalidWinRate { candidate: index, value, success_rate });
    }
    Ok(())
}

fn check_embedding(embedding: &[f32], candidate: Option<usize>) -> Result<(), RouteError> {
    if let Some(index) = embedding.iter().position(|x| !x.is_finite()) {
        return Err(RouteError::NonFiniteEmbedding { candidate, index, value: embedding[index] });
    }
    if embedding.iter().all(|&x| x == 0.0) {
        return Err(RouteError::ZeroNorm { candidate });
    }
    Ok(())
}

/// The cosine of two embeddings.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let (mut dot, mut a_squared, mut b_squared) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        dot += a * b;
        a_squared += a * a;
        b_squared += b * b;
    }
    (dot / (f32::sqrt(a_squared) * f32::sqrt(b_squared))).clamp(-1.0, 1.0)
}

/// One row of a matrix of that width.
fn row(matrix: &[f32], row: usize, width: usize) -> &[f32] {
    &matrix[row * width..(row + 1) * width]
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The logistic function.
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// Jaccard index of two sets of key-value pairs.
fn overlap(query: Option<&Metadata>, candidate: &Metadata) -> f32 {
    let Some(query) = query.filter(|query| !query.is_empty() && !candidate.is_empty()) else { return 0.0 };
    let shared = query.iter().filter(|(key, value)| candidate.get(*key) == Some(value)).count();
    shared as f32 / (query.len() + candidate.len() - shared) as f32
}

/// The smaller of the two labels' p-values.
fn uncertainty(table: &CalibrationTable, confidence: f32, top_similarity: f32, candidates: usize) -> f32 {
    let scores = table.scores(table.bin(top_similarity, candidates));
    if scores.len() < MIN_BIN_ROWS {
        return 1.0;
    }
    let p_value = |sufficed| {
        let own = nonconformity(confidence, sufficed);
        let smaller = scores.partition_point(|&score| score < own);
        (scores.len() - smaller + 1) as f32 / (scores.len() + 1) as f32
    };
    p_value(true).min(p_value(false))
}

#[cfg(test)]
mod tests;
