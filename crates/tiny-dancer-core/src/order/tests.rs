use super::*;
use proptest::prelude::*;

/// Lists of fewer and of more than [`RANKED`] values, few of them distinct, so that ties are common.
fn values() -> impl Strategy<Value = Vec<f32>> {
    proptest::collection::vec((1..=10_u8).prop_map(|x| f32::from(x) / 10.0), 0..300)
}

/// Distinct values, in any order.
fn distinct() -> impl Strategy<Value = Vec<f32>> {
    proptest::collection::hash_set(0..1_000_000_i32, 0..300)
        .prop_map(|set| set.into_iter().map(|x| x as f32).collect())
}

/// The order by its definition: sort all candidates, and keep the last ones.
fn sorted(similarity: &[f32], tie: impl Fn(usize, usize) -> Ordering) -> Vec<u32> {
    let mut order: Vec<_> = (0..similarity.len()).collect();
    order.sort_by(|&a, &b| similarity[a].total_cmp(&similarity[b]).then_with(|| tie(a, b)).then(a.cmp(&b)));
    order.split_off(order.len().saturating_sub(JOINT_CANDIDATES)).into_iter().map(|at| at as u32).collect()
}

proptest! {
    #[test]
    fn the_nearest_are_read_in_ascending_similarity(similarity in prop_oneof![values(), distinct()]) {
        // An arbitrary order of equal similarities.
        let tie = |a: usize, b: usize| (a % 7).cmp(&(b % 7));
        let mut order = JointOrder::default();
        for kernel in Kernel::available() {
            order.fill(kernel, &similarity, tie);
            prop_assert_eq!(order.positions(), sorted(&similarity, tie));
        }
    }

    #[test]
    fn places_are_in_descending_order_and_equal_values_are_detected(
        values in prop_oneof![values(), distinct()],
    ) {
        let mut expected: Vec<_> = (0..values.len()).collect();
        expected.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
        let tied = expected.windows(2).any(|pair| values[pair[0]] == values[pair[1]]);
        for kernel in Kernel::available() {
            let mut by_place = vec![usize::MAX; values.len()];
            let ranked = descending(kernel, &values, |index, place| by_place[place] = index);
            prop_assert_eq!(ranked, values.len() <= RANKED && !tied);
            if ranked {
                prop_assert_eq!(by_place, expected.clone());
            }
        }
    }
}

#[test]
fn of_equal_similarities_the_weaker_evidence_counts_as_nearer() {
    let tiebreak = Tiebreak { metadata: Some(&[("a".to_owned(), "b".to_owned())].into()), now: 100 };
    let good = Candidate {
        success_rate: 1.0,
        win_rate: 0.5,
        access_count: 5,
        created_at: 90,
        metadata: [("a".to_owned(), "b".to_owned())].into(),
        ..Default::default()
    };
    let worse = [
        Candidate { success_rate: 0.9, access_count: 9, ..good.clone() },
        Candidate { win_rate: 0.4, access_count: 9, ..good.clone() },
        Candidate { access_count: 4, created_at: 95, ..good.clone() },
        Candidate { created_at: 80, ..good.clone() },
        Candidate { metadata: Metadata::new(), ..good.clone() },
    ];
    for nearer in worse {
        assert_eq!(tiebreak.compare(&good, &nearer), Ordering::Less, "{nearer:?}");
        assert_eq!(tiebreak.compare(&nearer, &good), Ordering::Greater, "{nearer:?}");
    }
    // Candidates with equal features are equal.
    let frequent = Candidate { access_count: 1000, created_at: 100, ..good.clone() };
    let more = Candidate { access_count: 2000, created_at: 200, ..frequent.clone() };
    assert_eq!(tiebreak.compare(&frequent, &more), Ordering::Equal);
}
