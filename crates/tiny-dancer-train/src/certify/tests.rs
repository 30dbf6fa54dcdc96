use super::*;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::Path;
use tiny_dancer_core::RouterConfig;
use tiny_dancer_core::promise::{RiskBudget, resolve};

const BUDGET: RiskBudget = RiskBudget { alpha: 0.15, delta: 0.05 };
const RESPLITS: u32 = 400;

fn judgement(confidence: f32, uncertainty: f32) -> Judgement {
    Judgement { confidence, uncertainty, top_similarity: 0.5, candidates: 64 }
}

/// The outcomes of many promises.
#[derive(Debug, Default)]
struct Promises {
    /// Promises that were refused.
    refused: u32,
    /// Promises whose threshold fails more often than promised.
    broken: u32,
    /// The mean share of rows that go to the lightweight model.
    share: f64,
}

impl Promises {
    fn of(chosen: impl Iterator<Item = Option<f32>>, pool: &[Tried]) -> Self {
        let mut promises = Self::default();
        for threshold in chosen {
            let Some(threshold) = threshold else {
                promises.refused += 1;
                continue;
            };
            let on_all = count(&[threshold], pool)[0];
            promises.broken += u32::from(f64::from(on_all.failures) > BUDGET.alpha * f64::from(on_all.n));
            promises.share += f64::from(on_all.n) / pool.len() as f64 / f64::from(RESPLITS);
        }
        promises
    }
}

/// Certifies with `certifying` random rows of the pool for each promise: by the bound, and by the plain average.
fn resplit(thresholds: &[f32], pool: &[Tried], certifying: usize) -> [Promises; 2] {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut rows = pool.to_vec();
    let paths: Vec<_> = (0..RESPLITS)
        .map(|_| {
            rows.shuffle(&mut rng);
            count(thresholds, &rows[..certifying])
        })
        .collect();
    let by_bound = paths.iter().map(|path| resolve(path, BUDGET).ok().map(|step| step.confidence_threshold));
    let by_average = paths.iter().map(|path| {
        let kept = |step: &&RiskStep| f64::from(step.failures) <= BUDGET.alpha * f64::from(step.n);
        path.iter().take_while(kept).last().map(|step| step.confidence_threshold)
    });
    [Promises::of(by_bound, pool), Promises::of(by_average, pool)]
}

/// The most broken promises that chance explains with 99% confidence, if each breaks with probability delta.
fn allowance() -> u32 {
    let too_many = |broken: &u32| upper_bound(RESPLITS, RESPLITS - broken, 0.01) < 1.0 - BUDGET.delta;
    (0..=RESPLITS).find(too_many).unwrap() - 1
}

#[test]
fn the_allowance_is_a_quantile_of_the_binomial() {
    // P(X >= 32) = 0.0071 and P(X >= 31) = 0.0123 for 400 tries at 0.05.
    assert_eq!(allowance(), 31);
}

#[test]
fn thresholds_fall_from_a_hundred_rows_to_all_with_a_known_uncertainty() {
    let fitting: Vec<Tried> = (0..1000)
        .map(|i| (judgement(i as f32 / 1000.0, if i < 100 { 1.0 } else { 0.2 }), i >= 800))
        .collect();
    let thresholds = thresholds(&fitting, 500);
    assert_eq!((thresholds[0], thresholds[thresholds.len() - 1]), (0.8, 0.1));
    assert_eq!(thresholds[1], 0.775);
    assert!(thresholds.is_sorted_by(|a, b| a > b));
}

#[test]
fn the_path_begins_where_the_fitting_rows_predict_the_smallest_bound() {
    // No failure in the upper half, only failures below it: the whole upper half has the smallest bound.
    let fitting: Vec<Tried> = (0..1000).map(|i| (judgement(i as f32 / 1000.0, 0.2), i >= 500)).collect();
    assert_eq!(thresholds(&fitting, 500)[0], 0.5);
}

/// The row counts of a log of 2,000 rows. A hundred of 139 certifying rows would be more than two thirds of them, of
/// which too many fail.
#[test]
fn a_path_of_few_certifying_rows_begins_with_fewer_than_a_hundred() {
    let row = |i: usize| {
        (
            judgement(i as f32 / 1251.0, 0.2),
            if i >= 750 { !i.is_multiple_of(17) } else { !i.is_multiple_of(3) },
        )
    };
    let fitting: Vec<Tried> = (0..1251).map(row).collect();
    let certifying: Vec<Tried> = (0..1251).step_by(9).map(row).collect();
    assert_eq!(certifying.len(), 139);
    let path = count(&thresholds(&fitting, 139), &certifying);
    assert_eq!((path[0].n, path[0].failures), (51, 3));
    let kept = resolve(&path, BUDGET).unwrap();
    assert!(kept.n >= 51 && kept.n < 80, "{kept:?}");
}

#[test]
fn few_certifying_rows_give_one_step_and_uncertain_rows_give_none() {
    let fitting: Vec<Tried> = (0..10).map(|i| (judgement(i as f32 / 10.0, 0.2), true)).collect();
    assert_eq!(thresholds(&fitting, 50), [0.0]);
    assert_eq!(thresholds(&[(judgement(0.9, 1.0), true)], 1000), [] as [f32; 0]);
}

#[test]
fn a_memory_of_another_dimension_is_refused() {
    let router = Router::new(RouterConfig::default()).unwrap();
    let mut data = crate::tests::synthetic(100);
    let memory = Past::memory(&data);
    data.embeddings = crate::retrieval::tests::unit_rows(100, 5, 1);
    let refused = certify(&router, &data, &memory);
    assert!(matches!(refused, Err(CertifyError::Dimension { rows: 5, memory: 12 })), "{refused:?}");
}

#[test]
fn a_memory_of_another_embedder_or_of_an_unknown_one_is_refused() {
    let router = Router::new(RouterConfig::default()).unwrap();
    let data = crate::tests::synthetic(100);
    let mine = Dataset { embedder: Some("mine".to_owned()), ..data.clone() };
    let yours = Dataset { embedder: Some("yours".to_owned()), ..data.clone() };
    let refusal = |data, memory| certify(&router, data, &Past::memory(memory)).unwrap_err().to_string();
    assert_eq!(
        refusal(&mine, &yours),
        "the rows' embeddings are of embedder mine, the memory's of embedder yours"
    );
    let unknown = "the rows' embeddings are of an unknown embedder, the memory's of embedder yours";
    assert_eq!(refusal(&data, &yours), unknown);
}

#[test]
fn without_certifying_rows_the_path_still_ends() {
    let fitting: Vec<Tried> = (0..10).map(|i| (judgement(i as f32 / 10.0, 0.2), true)).collect();
    assert_eq!(thresholds(&fitting, 0), [0.0]);
}

#[test]
fn a_step_counts_the_rows_that_the_router_would_send() {
    let rows = [
        (judgement(0.9, 0.1), true),
        (judgement(0.9, 1.0), false),
        (judgement(0.8, 0.99), false),
        (judgement(0.7, 0.5), true),
    ];
    let counts: Vec<_> = count(&[0.9, 0.8, 0.1], &rows).iter().map(|step| (step.n, step.failures)).collect();
    assert_eq!(counts, [(1, 0), (2, 1), (3, 1)]);
}

#[test]
fn resplits_of_synthetic_rows_keep_the_promise_and_the_plain_average_does_not() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut row = || {
        let confidence: f32 = rng.random();
        (judgement(confidence, 0.3), rng.random_bool(f64::from(0.7 + 0.25 * confidence)))
    };
    let fitting: Vec<Tried> = (0..5000).map(|_| row()).collect();
    let pool: Vec<Tried> = (0..4000).map(|_| row()).collect();
    let [bound, average] = resplit(&thresholds(&fitting, 800), &pool, 800);
    assert!(bound.broken <= allowance(), "{bound:?}");
    assert!(bound.share > 0.15, "{bound:?}");
    assert!(average.broken > 5 * bound.broken.max(allowance()), "{average:?}");
}

/// The embedded model's judgements of real rows: certified on rows drawn from half of `cal` and `test`, judged on all
/// of these.
#[test]
fn resplits_of_real_rows_keep_the_promise_and_the_plain_average_does_not() {
    let Some(folder) = std::env::var_os("TINY_DANCER_DATA") else {
        eprintln!(
            "SKIPPED: set TINY_DANCER_DATA to a folder with routellm.jsonl.zst and routellm-minilm.safetensors"
        );
        return;
    };
    let file = |name| Path::new(&folder).join(name);
    let (rows, embeddings) = (file("routellm.jsonl.zst"), file("routellm-minilm.safetensors"));
    let data = Dataset::read(&rows, &embeddings).unwrap();
    let memory = Past::read(&rows, &embeddings, "train").unwrap();
    let router = Router::new(RouterConfig::default()).unwrap();
    let part = |part| tried(&router, &data, &memory, part).unwrap();
    let fitting = part(Part::Fit);
    let certifying = part(Part::Certification);
    let pool = [certifying.clone(), part(Part::Test)].concat();
    // The number of rows that certify the shipped model, and twice that, about the size of `cal`.
    for certifying in [certifying.len(), 2 * certifying.len()] {
        let [bound, average] = resplit(&thresholds(&fitting, certifying), &pool, certifying);
        eprintln!("{certifying} of {} rows certify: bound {bound:?}, average {average:?}", pool.len());
        assert!(bound.broken <= allowance());
        assert!(bound.share > 0.1);
        assert!(bound.refused < RESPLITS / 2);
        assert!(average.broken > 4 * bound.broken.max(RESPLITS / 20));
    }
}
