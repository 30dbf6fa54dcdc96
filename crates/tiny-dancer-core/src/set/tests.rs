use super::*;
use crate::testing::candidate;
use proptest::prelude::*;

/// The nearest by their definition: sort all, and keep the first.
fn sorted(similarities: &[f32], k: usize) -> Vec<(usize, f32)> {
    let mut all: Vec<(usize, f32)> = similarities.iter().copied().enumerate().collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all.truncate(k);
    all
}

proptest! {
    #[test]
    fn the_nearest_are_found_with_ties_by_place(
        // Few distinct values, so that ties are common.
        values in proptest::collection::vec(-10..=10_i8, 0..200), k in 0..50_usize,
    ) {
        let similarity: Vec<f32> = values.iter().map(|&x| f32::from(x) / 10.0).collect();
        let mut nearest = Nearest::default();
        nearest.clear(k);
        let nearer = |a: &Neighbour, b: &Neighbour| {
            b.similarity.total_cmp(&a.similarity).then(a.candidate.cmp(&b.candidate))
        };
        if k > 0 {
            for (candidate, &similarity) in (0..).zip(&similarity) {
                nearest.offer(candidate, similarity, nearer);
            }
        }
        nearest.finish(nearer);
        let mut expected = sorted(&similarity, k);
        expected.sort_by_key(|&(candidate, _)| candidate);
        let found: Vec<_> =
            nearest.neighbours().iter().map(|it| (it.candidate as usize, it.similarity)).collect();
        prop_assert_eq!(found, expected);
    }
}

/// More candidates than one thread searches at a time, with several of each similarity.
fn many() -> Vec<Candidate> {
    (0..20_000).map(|i| candidate(&i.to_string(), ((i * 7919) % 5000) as f32 / 5000.0, 0.5)).collect()
}

#[test]
fn the_nearest_of_a_large_set_equal_the_definition() {
    let candidates = many();
    let query = [1.0, 0.0];
    let kernel = Kernel::detect();
    let cosine = Cosine::new(kernel, &query).unwrap();
    let similarity = |candidate: &Candidate| {
        struct One<'a>(Cosine<'a>, &'a [f32]);
        impl WithSimd for One<'_> {
            type Output = f32;
            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) -> f32 {
                let mut similarity = [0.0];
                self.0.similarities(simd, &[self.1], |row| row, &mut similarity);
                similarity[0]
            }
        }
        kernel.dispatch(One(cosine, &candidate.embedding))
    };
    let similarities: Vec<f32> = candidates.iter().map(similarity).collect();
    let set = CandidateSet::new(candidates).unwrap();
    for k in [0, 1, 64, 1000, 30_000] {
        assert_eq!(set.nearest(&query, k).unwrap(), sorted(&similarities, k), "{k}");
    }
}

#[test]
fn a_set_returns_its_candidates() {
    let candidates = many();
    let set = CandidateSet::new(candidates.clone()).unwrap();
    assert_eq!((set.len(), set.dimensions(), set.is_empty()), (20_000, 2, false));
    assert_eq!(set.candidate(17).as_ref(), Some(&candidates[17]));
    assert_eq!((set.id(17), set.id(20_000), set.candidate(20_000)), (Some("17"), None, None));
    assert_eq!((set.id(usize::MAX), set.candidate(usize::MAX)), (None, None));
}

#[test]
fn a_bad_candidate_is_refused_with_its_place() {
    let refused = |bad: Candidate| CandidateSet::new(vec![candidate("", 0.5, 0.5), bad]).unwrap_err();
    let good = candidate("", 0.5, 0.5);
    assert_eq!(
        refused(Candidate { embedding: vec![1.0; 3], ..good.clone() }),
        RouteError::DimensionMismatch { candidate: Some(1), expected: 2, actual: 3 }
    );
    assert_eq!(
        refused(Candidate { embedding: vec![0.0; 2], ..good.clone() }),
        RouteError::ZeroNorm { candidate: Some(1) }
    );
    assert_eq!(
        refused(Candidate { embedding: vec![1.0, f32::INFINITY], ..good.clone() }),
        RouteError::NonFiniteEmbedding { candidate: Some(1), index: 1, value: f32::INFINITY }
    );
    assert_eq!(
        refused(Candidate { success_rate: 1.5, ..good }),
        RouteError::InvalidSuccessRate { candidate: 1, value: 1.5 }
    );
}

#[test]
fn a_query_of_another_dimension_is_an_error_and_an_empty_set_is_valid() {
    let set = CandidateSet::new(vec![candidate("", 0.5, 0.5)]).unwrap();
    let error = set.nearest(&[1.0, 0.0, 0.0], 1).unwrap_err();
    assert_eq!(error, RouteError::DimensionMismatch { candidate: None, expected: 2, actual: 3 });
    let empty = CandidateSet::new(vec![]).unwrap();
    assert_eq!((empty.nearest(&[1.0], 5), empty.dimensions()), (Ok(vec![]), 0));
}

#[test]
fn of_equal_similarities_the_nearest_have_the_weaker_evidence() {
    // More than one thread searches, all of one similarity. Every third has failed.
    let candidates: Vec<_> =
        (0..20_000).map(|i| candidate("", 0.5, if i % 3 == 2 { 0.0 } else { 1.0 })).collect();
    let set = CandidateSet::new(candidates).unwrap();
    for k in [1, 64, 5000] {
        let found: Vec<_> =
            set.nearest(&[1.0, 0.0], k).unwrap().into_iter().map(|(place, _)| place).collect();
        assert_eq!(found, (0..k).map(|i| 3 * i + 2).collect::<Vec<_>>());
    }
}
