use super::*;
use proptest::prelude::*;

/// The order by its definition: sort everything, keep the end.
fn sorted(similarity: &[f32]) -> Vec<u32> {
    let mut order: Vec<_> = (0..similarity.len() as u32).collect();
    let value = |candidate: u32| similarity[candidate as usize];
    order.sort_by(|&a, &b| value(a).total_cmp(&value(b)).then(a.cmp(&b)));
    order.split_off(order.len().saturating_sub(JOINT_CANDIDATES))
}

/// Lists shorter and longer than what is ranked, of few distinct values, so that ties are common.
fn values() -> impl Strategy<Value = Vec<f32>> {
    proptest::collection::vec((1..=10_u8).prop_map(|x| f32::from(x) / 10.0), 0..300)
}

proptest! {
    #[test]
    fn the_nearest_are_read_in_ascending_similarity(similarity in values()) {
        for kernel in Kernel::available() {
            let order = JointOrder::new(kernel, &similarity);
            prop_assert_eq!(order.candidates(), sorted(&similarity));
        }
    }

    #[test]
    fn places_descend_with_ties_by_index(values in values()) {
        for kernel in Kernel::available() {
            let mut by_place = vec![usize::MAX; values.len()];
            if !descending(kernel, &values, |index, place| by_place[place] = index) {
                prop_assert!(values.len() > RANKED);
                continue;
            }
            let mut expected: Vec<_> = (0..values.len()).collect();
            expected.sort_by(|&a, &b| values[b].total_cmp(&values[a]).then(a.cmp(&b)));
            prop_assert_eq!(by_place, expected);
        }
    }
}
