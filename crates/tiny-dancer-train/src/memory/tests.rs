use super::*;
use crate::retrieval::nearest;
use crate::rows::{Part, Row};
use ndarray::array;

/// Five rows of `train` and one of `test`. The first two and the last are copies of each other.
fn data() -> Dataset {
    let row = |id: &str, subject: &str, part, lightweight| Row {
        id: id.to_owned(),
        subject: Some(subject.to_owned()),
        part,
        lightweight,
        powerful: 1.0,
    };
    let rows = vec![
        row("a", "law", Part::Fit, 1.0),
        row("b", "law", Part::Fit, 0.0),
        row("c", "law", Part::EarlyStopping, 1.0),
        row("d", "maths", Part::Fit, 0.0),
        row("e", "maths", Part::Fit, 1.0),
        row("f", "law", Part::Test, 1.0),
    ];
    let embeddings = array![[1.0_f32, 0.0], [1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8], [1.0, 0.0]];
    Dataset {
        rows,
        embeddings,
        embedder: None,
        split_by_hash: 0,
        without_powerful: 0,
        unread: vec![],
        provenance: String::new(),
    }
}

fn of_profiles(data: &Dataset, assignment: Vec<u32>) -> Memory {
    let train = data.select(Part::is_train);
    let embeddings = data.gather(&train);
    let nearest = nearest(&data.embeddings, &embeddings, 10);
    let mut sums = ndarray::Array2::<f64>::zeros((2, 2));
    for (embedding, &profile) in embeddings.outer_iter().zip(&assignment) {
        sums.row_mut(profile as usize).zip_mut_with(&embedding, |sum, &x| *sum += f64::from(x));
    }
    Memory::of_profiles(data, &train, &Profiles { sums, assignment }, &nearest, Target::Suffices)
}

#[test]
fn a_memory_of_rows_leaves_out_the_row_and_its_copies() {
    let data = data();
    let train = data.select(Part::is_train);
    let nearest = nearest(&data.embeddings, &data.gather(&train), 10);
    let memory = Memory::of_rows(&data, &train, &nearest, Target::Suffices);
    for row in [0, 1, 5] {
        let items: Vec<u32> = memory.seen[row].iter().map(|seen| seen.item).collect();
        assert_eq!(items, [2, 4, 3], "row {row}");
    }
    assert_eq!(memory.seen[0][0].success, 1.0);
    assert_eq!(memory.seen[0][0].frequency, features::frequency(1));
}

#[test]
fn a_profile_appears_as_if_made_without_the_row_and_its_copies() {
    let data = data();
    // Rows a, b, c, e are one profile, d is the other.
    let memory = of_profiles(&data, vec![0, 0, 0, 1, 0]);
    for row in [0, 1, 5] {
        let own = memory.seen[row].iter().find(|seen| seen.item == 0).unwrap();
        // Its remaining members are c and e: both suffice, and the sum of their embeddings is (1.4, 1.4).
        assert_eq!((own.success, own.frequency), (1.0, features::frequency(2)));
        assert!((own.similarity - std::f32::consts::FRAC_1_SQRT_2).abs() < 1e-6);
    }
    // Row d is not a member of it.
    let whole = memory.seen[3].iter().find(|seen| seen.item == 0).unwrap();
    assert_eq!((whole.success, whole.frequency), (0.75, features::frequency(4)));
}

#[test]
fn a_profile_without_other_members_does_not_appear() {
    let memory = of_profiles(&data(), vec![0, 0, 0, 1, 0]);
    assert!(memory.seen[3].iter().all(|seen| seen.item == 0));
}

#[test]
fn a_profiles_subject_is_its_most_common_one() {
    let memory = of_profiles(&data(), vec![0, 0, 0, 1, 0]);
    assert_eq!(memory.subjects, [Some(0), Some(1)]);
    assert_eq!(most_common([None, Some(2), Some(1), Some(1), Some(2)].into_iter()), Some(1));
    assert_eq!(most_common::<u32>([None].into_iter()), None);
}

#[test]
fn a_candidate_now_has_recency_one_and_no_overlap() {
    let memory = of_profiles(&data(), vec![0, 0, 0, 1, 0]);
    let [step] = memory.now(3, 64)[..] else { panic!("one profile is seen") };
    assert_eq!((step[1], step[4]), (1.0, 0.0));
}
