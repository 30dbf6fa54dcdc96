//! Parts of the computation, for benchmarks and for comparisons of instruction sets.

use crate::activation;
use crate::fastgrnn::State;
use crate::features::{self, Columns, Feature, FillSimilarities, Scales, Setting};
use crate::kernel::Kernel;
use crate::model::Ties;
use crate::order::{self, JointOrder};
use crate::similarity::Cosine;
use crate::{Candidate, CandidateSet, Model, RouteError, RoutingRequest};
use pulp::{Simd, WithSimd};
use std::time::Duration;

/// The features of a request, for a model that counts a tie as a success, and memory for each candidate's own confidence.
#[derive(Default)]
pub struct Scratch(Columns);

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scratch").field("candidates", &self.0.features().len()).finish()
    }
}

impl Scratch {
    /// One feature of all candidates.
    pub fn column(&self, feature: Feature) -> &[f32] {
        self.0.features().column(feature)
    }
}

/// The constants of the features.
#[derive(Debug)]
pub struct Engineer(Scales);

impl Engineer {
    /// With the default half-life.
    #[expect(clippy::new_without_default, reason = "it computes a table")]
    pub fn new() -> Self {
        Self(Scales::new(Duration::from_secs(7 * 86_400)))
    }

    /// The five features of all candidates, cosines and checks included.
    ///
    /// # Errors
    /// If the query or a candidate is bad.
    pub fn features(
        &self,
        kernel: Kernel,
        request: &RoutingRequest<'_>,
        scratch: &mut Scratch,
    ) -> Result<(), RouteError> {
        let now = request.query.now.unwrap_or_default();
        let setting = Setting { kernel, scales: &self.0, ties: Ties::Whole, now };
        features::engineer(setting, &request.query, request.candidates, &mut scratch.0)
    }
}

/// The embeddings of a set, as a search reads them.
pub fn embeddings(set: &CandidateSet) -> &[f32] {
    set.embeddings()
}

/// Computes the cosines of a query with all candidates, with norms and checks of embeddings. Returns false if an embedding
/// is bad.
///
/// # Errors
/// If the query is bad.
pub fn cosines(
    kernel: Kernel,
    query: &[f32],
    candidates: &[Candidate],
    similarities: &mut [f32],
) -> Result<bool, RouteError> {
    let cosine = &Cosine::new(kernel, query)?;
    Ok(kernel.dispatch(FillSimilarities { cosine, candidates, similarities }))
}

/// The places of the joint pass's candidates, farthest first, ties by place.
pub fn joint_order(kernel: Kernel, similarity: &[f32]) -> Vec<u32> {
    let mut order = JointOrder::default();
    order.fill(kernel, similarity, |_, _| std::cmp::Ordering::Equal);
    order.positions().to_vec()
}

/// Writes the place of each value in descending order. Returns false where the router sorts instead.
pub fn descending(kernel: Kernel, values: &[f32], places: &mut [usize]) -> bool {
    order::descending(kernel, values, |index, place| places[index] = place)
}

/// The confidence of the joint pass over `candidates`. NaN if it is not finite.
pub fn joint(kernel: Kernel, model: &Model, scratch: &Scratch, candidates: &[u32]) -> f32 {
    let mut state = State::ZERO;
    model.cell().read(kernel, scratch.0.features(), candidates, &mut state);
    model.cell().confidence(kernel, &state).unwrap_or(f32::NAN)
}

/// The per-candidate pass: each candidate's own confidence. The first element is NaN if a confidence is not finite.
pub fn per_candidate<'a>(kernel: Kernel, model: &Model, scratch: &'a mut Scratch) -> &'a [f32] {
    let (features, confidences, _) = scratch.0.split();
    if model.cell().per_candidate(kernel, features, confidences).is_err() {
        confidences[0] = f32::NAN;
    }
    confidences
}

/// `1 / (1 + e^-x)` of each value.
pub fn sigmoid(kernel: Kernel, values: &mut [f32]) {
    kernel.dispatch(Sigmoid(values));
}

struct Sigmoid<'a>(&'a mut [f32]);

impl WithSimd for Sigmoid<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (vectors, rest) = S::as_mut_simd_f32s(self.0);
        for values in vectors {
            *values = activation::sigmoid(simd, *values);
        }
        if !rest.is_empty() {
            let values = activation::sigmoid(simd, simd.partial_load_f32s(rest));
            simd.partial_store_f32s(rest, values);
        }
    }
}
