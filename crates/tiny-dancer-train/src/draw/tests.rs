use super::*;
use rand::SeedableRng;

fn seen(item: u32) -> Seen {
    Seen { item, similarity: 1.0 - item as f32 / 1000.0, frequency: 0.1, success: 1.0 }
}

/// One row with 200 candidates, of which every second has its subject. All have a success rate of 1, but drift
/// replaces it by 0.
fn memories() -> Memories {
    let subjects = (0..200).map(|item| Some(item % 2)).collect();
    let memory = Memory { seen: vec![(0..200).map(seen).collect()], success: vec![0.0; 200], subjects };
    Memories { rows: memory, profiles: vec![], subjects: vec![Some(0)] }
}

fn requests() -> Vec<Request> {
    let (memories, mut rng) = (memories(), ChaCha8Rng::seed_from_u64(1));
    (0..2000).map(|_| memories.draw(0, &mut rng)).collect()
}

#[test]
fn requests_have_one_to_sixty_four_candidates_nearest_first() {
    for request in requests() {
        assert!((1..=JOINT_CANDIDATES).contains(&request.joint.len()));
        assert!(request.joint.is_sorted_by(|a, b| a[0] >= b[0]));
        assert_eq!(request.per_candidate.len(), PER_CANDIDATE);
    }
}

#[test]
fn half_of_all_prefixes_have_64_candidates_and_a_quarter_fewer_than_8() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let prefixes: Vec<usize> = (0..10_000).map(|_| prefix(&mut rng)).collect();
    let count = |range: std::ops::RangeInclusive<usize>| {
        prefixes.iter().filter(|prefix| range.contains(prefix)).count()
    };
    for (range, expected) in [(1..=7, 2500), (8..=63, 2500), (64..=64, 5000)] {
        assert!(count(range).abs_diff(expected) < 200);
    }
}

#[test]
fn an_item_of_recency_r_keeps_its_success_rate_with_probability_r() {
    let steps: Vec<Step> = requests().into_iter().flat_map(|request| request.joint).collect();
    for low in [0.0, 0.2, 0.4, 0.6, 0.8] {
        let near: Vec<&Step> = steps.iter().filter(|step| (low..low + 0.2).contains(&step[1])).collect();
        let holds = near.iter().map(|step| step[3]).sum::<f64>() / near.len() as f64;
        let recency = near.iter().map(|step| step[1]).sum::<f64>() / near.len() as f64;
        assert!((holds - recency).abs() < 0.03, "{holds} of those of recency {recency}");
    }
    assert!(steps.iter().filter(|step| step[1] == 1.0).all(|step| step[3] == 1.0));
}

#[test]
fn only_equal_subjects_overlap() {
    let steps: Vec<Step> = requests().into_iter().flat_map(|request| request.joint).collect();
    // The similarity identifies the item.
    let item = |step: &Step| ((1.0 - step[0]) * 1000.0).round() as u32;
    assert!(steps.iter().all(|step| step[4] == 0.0 || item(step).is_multiple_of(2)));
    let shared = steps.iter().filter(|step| step[4] == 1.0).count() as f64 / steps.len() as f64;
    // Half of the requests have a subject, half of the candidates have the same one, and a quarter of these is
    // dropped.
    assert!((shared - 0.5 * 0.5 * 0.75).abs() < 0.03, "{shared}");
}

#[test]
fn a_row_without_candidates_makes_an_empty_request() {
    let mut memories = memories();
    memories.rows.seen[0].clear();
    let request = memories.draw(0, &mut ChaCha8Rng::seed_from_u64(1));
    assert!(request.joint.is_empty() && request.per_candidate.is_empty());
}

#[test]
fn ranks_are_below_the_number_of_candidates() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for candidates in [1, 2, 64, 500] {
        assert!((0..1000).all(|_| rank(&mut rng, candidates) < candidates));
    }
}

#[test]
fn a_label_is_mostly_the_mean_of_the_nearest_rows() {
    let row = |id: &str, part, lightweight| Row {
        part,
        id: id.to_owned(),
        subject: None,
        lightweight,
        powerful: 1.0,
    };
    let rows = vec![
        row("good", Part::Fit, 1.0),
        row("bad", Part::Fit, 0.0),
        row("near both", Part::Test, 1.0),
        row("isolated", Part::Test, 0.0),
    ];
    let data = Dataset {
        rows,
        embeddings: ndarray::Array2::ones((4, 1)),
        embedder: None,
        split_by_hash: 0,
        without_powerful: 0,
        unread: vec![],
        provenance: String::new(),
    };
    let memory = Memory {
        seen: vec![vec![seen(1)], vec![seen(0)], vec![seen(0), seen(1)], vec![]],
        success: vec![],
        subjects: vec![],
    };
    let memories = Memories { rows: memory, profiles: vec![], subjects: vec![] };
    // The rows' own labels are 1, 0, 1 and 0; the means of their neighbours are 0, 1, 0.5 and none.
    let expected = [0.1, 0.9, 0.55, 0.0];
    for (label, expected) in memories.labels(&data, Target::Suffices, 0.9).into_iter().zip(expected) {
        assert!((label - expected).abs() < 1e-12, "{label}, expected {expected}");
    }
}
