use super::*;
use crate::catalogue::CONFIDENCE_SCORES;
use crate::distribution::Distributions;
use crate::shard::Shards;
use std::collections::BTreeMap;

/// Scalar instructions, the best of this machine, and shorter vectors than these.
fn archs() -> Vec<Arch> {
    let best = Arch::new();
    let mut archs = vec![Arch::Scalar, best];
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    if let Arch::V4(simd) = best {
        archs.push(Arch::V3(*simd));
    }
    archs
}

fn with_bounds(confidence: Vec<f64>) -> Distributions {
    Distributions::new(&BTreeMap::from([(CONFIDENCE_SCORES.name.to_owned(), confidence)])).unwrap()
}

/// Decisions with reproducible numbers, the bounds among them.
fn decisions(count: usize, bounds: &[f64]) -> Vec<RoutingDecision> {
    let mut state = count as u64 + 1;
    let mut number = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bound = bounds[(state >> 60) as usize % bounds.len()] as f32;
        let any = (state >> 40) as f32 / (1 << 24) as f32;
        [any, bound, bound.next_up().min(1.0), bound.next_down()][(state >> 33) as usize % 4]
    };
    let mut decisions: Vec<_> = (0..count)
        .map(|candidate| {
            let mut decision = RoutingDecision::default();
            (decision.candidate, decision.confidence, decision.uncertainty) = (candidate, number(), number());
            decision.use_lightweight = decision.confidence >= THRESHOLD && decision.uncertainty <= 0.5;
            decision
        })
        .collect();
    decisions.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    decisions
}

const THRESHOLD: f32 = 0.6;

/// Records decisions, with columns in the order of the candidates.
fn record_all(arch: Arch, distributions: &Distributions, shards: &Shards, decisions: &[RoutingDecision]) {
    let mut by_candidate = decisions.to_vec();
    by_candidate.sort_by_key(|decision| decision.candidate);
    let column = |value: fn(&RoutingDecision) -> f32| by_candidate.iter().map(value).collect::<Vec<_>>();
    let columns = [column(|it| it.confidence), column(|it| it.uncertainty)];
    let columns = columns.each_ref().map(Vec::as_slice);
    record(arch, &distributions.blocks, &shards.writer(), columns, decisions, THRESHOLD);
}

/// Compares every bucket and every sum with those of single observations.
#[test]
fn one_pass_records_what_single_observations_do() {
    let catalogued = Distributions::new(&BTreeMap::new()).unwrap();
    let few = with_bounds(vec![0.4, 0.6]);
    let full = with_bounds((1..=16).map(|i| f64::from(i) / 32.0).collect());
    let many = with_bounds((1..=48).map(|i| f64::from(i) / 64.0).collect());
    for distributions in [catalogued, few, full, many] {
        for (arch, count) in
            archs().into_iter().flat_map(|arch| [0, 1, 2, 3, 10, 100, 300].map(|n| (arch, n)))
        {
            let bounds = &distributions.of(CONFIDENCE_SCORES.name).unwrap().bounds;
            let decisions = decisions(count, bounds);
            let shards = Shards::default();
            record_all(arch, &distributions, &shards, &decisions);
            for model in ModelType::ALL {
                let of_model =
                    decisions.iter().filter(|it| it.use_lightweight == (model == ModelType::Lightweight));
                let values: [fn(&RoutingDecision) -> f32; 2] = [|it| it.confidence, |it| it.uncertainty];
                for (family, value) in [&CONFIDENCE_SCORES, &UNCERTAINTY_ESTIMATES].into_iter().zip(values) {
                    let distribution = distributions.of(family.name).unwrap();
                    let mut expected = vec![0; distribution.bounds.len() + 1];
                    for value in of_model.clone().map(value) {
                        expected
                            [distribution.bounds.iter().filter(|&&bound| (bound as f32) < value).count()] +=
                            1;
                    }
                    let what = format!("{count} {} {}", family.name, model.name());
                    assert_eq!(distribution.buckets(&shards, model as usize), expected, "{what}");
                    let expected: f64 = of_model.clone().map(|it| f64::from(value(it))).sum();
                    assert!((distribution.sum(&shards, model as usize) - expected).abs() < 1e-12, "{what}");
                }
            }
        }
    }
}

/// A sum that is a difference must not fall by a rounding error.
#[test]
fn sums_never_fall() {
    let distributions = Distributions::new(&BTreeMap::new()).unwrap();
    let shards = Shards::default();
    let mut before = [0.0; 4];
    for count in 0..300 {
        record_all(Arch::new(), &distributions, &shards, &decisions(count, &[0.6, 1e-9]));
        let families =
            [&CONFIDENCE_SCORES, &UNCERTAINTY_ESTIMATES].map(|it| distributions.of(it.name).unwrap());
        let now = [0, 1, 2, 3].map(|i| families[i / 2].sum(&shards, i % 2));
        assert!(before.iter().zip(now).all(|(before, now)| *before <= now), "{before:?} {now:?}");
        before = now;
    }
    assert!(before.iter().all(|&sum| sum > 0.0));
}

#[test]
fn sums_are_precise_however_small_the_values() {
    for (arch, exponent) in
        archs().into_iter().flat_map(|arch| [1, 2, 5, 20].map(|exponent| (arch, exponent)))
    {
        for count in [0, 1, 31, 32, 100, 1000, 10_000] {
            // All bits of the mantissa are in use, and the largest value is 1.
            let values: Vec<_> = (0..count).map(|i| (1.0 - i as f32 / 10_007.0).powi(exponent)).collect();
            let exact: f64 = values.iter().copied().map(f64::from).sum();
            let error = (arch.dispatch(Sum(&values)) - exact).abs();
            assert!(error <= 1e-9 * f64::from(count), "{count} to the {exponent}: {error:e}");
        }
    }
}
