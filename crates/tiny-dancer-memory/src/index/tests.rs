use super::*;
use crate::segment::LARGEST;
use crate::snapshot::EXACT;
use crate::testing::{Drawn, entries};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

fn entry(id: &str, embedding: &[f32]) -> Candidate {
    Candidate { id: id.to_owned(), embedding: embedding.to_vec(), ..Candidate::default() }
}

fn ids(found: &[Neighbour]) -> Vec<&str> {
    found.iter().map(|neighbour| neighbour.candidate.id.as_str()).collect()
}

fn tenant(name: &str) -> Metadata {
    [("tenant".to_owned(), name.to_owned())].into()
}

fn unfiltered() -> Metadata {
    Metadata::new()
}

#[test]
fn entries_are_found_by_cosine_nearest_first() {
    let index = Index::new(2);
    index.insert(vec![entry("a", &[0.0, 9.0]), entry("b", &[2.0, 0.0]), entry("c", &[3.0, 4.0])]).unwrap();
    let found = index.nearest(&[0.5, 0.0], 2, &unfiltered()).unwrap();
    assert_eq!(ids(&found), ["b", "c"]);
    assert_eq!(found[0].similarity, 1.0);
    assert!((found[1].similarity - 0.6).abs() < 1e-6);
    assert_eq!(found[1].candidate.embedding, [0.6, 0.8]);
}

#[test]
fn an_entry_replaces_the_one_with_its_id_and_of_one_call_the_last_remains() {
    let index = Index::new(2);
    index.insert(vec![entry("a", &[1.0, 0.0])]).unwrap();
    index.insert(vec![entry("a", &[0.0, 1.0]), entry("a", &[-1.0, 0.0])]).unwrap();
    let found = index.nearest(&[1.0, 0.0], 9, &unfiltered()).unwrap();
    assert_eq!((found.len(), found[0].similarity), (1, -1.0));
    assert_eq!(index.snapshot().len(), 1);
}

#[test]
fn a_removed_entry_is_not_found() {
    let index = Index::new(1);
    index.insert(vec![entry("a", &[1.0]), entry("b", &[1.0])]).unwrap();
    assert!(index.remove("a"));
    assert!(!index.remove("a"));
    assert_eq!(ids(&index.nearest(&[1.0], 9, &unfiltered()).unwrap()), ["b"]);
}

#[test]
fn a_snapshot_does_not_change() {
    let index = Index::new(1);
    index.insert(vec![entry("a", &[1.0])]).unwrap();
    let before = index.snapshot();
    index.insert(vec![entry("b", &[1.0])]).unwrap();
    index.remove("a");
    assert_eq!(ids(&before.nearest(&[1.0], 9, &unfiltered()).unwrap()), ["a"]);
    assert_eq!(ids(&index.nearest(&[1.0], 9, &unfiltered()).unwrap()), ["b"]);
}

#[test]
fn the_oldest_entries_expire_by_time_and_by_count() {
    let index = Index::new(1);
    let made = |id: &str, created_at| Candidate { created_at, ..entry(id, &[1.0]) };
    index.insert(vec![made("a", 3), made("b", 1), made("c", 2), made("d", 1), made("e", 4)]).unwrap();
    assert_eq!(index.expire_to(5), 0);
    assert_eq!(index.expire_to(4), 1);
    assert_eq!(ids(&index.nearest(&[1.0], 9, &unfiltered()).unwrap()), ["d", "c", "a", "e"]);
    assert_eq!(index.expire_before(3), 2);
    assert_eq!(ids(&index.nearest(&[1.0], 9, &unfiltered()).unwrap()), ["a", "e"]);
    assert_eq!(index.expire_to(0), 2);
    assert!(index.snapshot().is_empty());
}

#[test]
fn equal_similarities_are_ordered_by_weaker_evidence_then_by_id() {
    let like = |id: &str, success_rate, win_rate, access_count, created_at| Candidate {
        success_rate,
        win_rate,
        access_count,
        created_at,
        ..entry(id, &[1.0])
    };
    let entries = vec![
        like("f", 1.0, 0.0, 0, 0),
        like("e", 0.5, 0.5, 0, 0),
        like("d", 0.5, 0.0, 5000, 0),
        like("c", 0.5, 0.0, 1000, 0),
        like("b", 0.5, 0.0, 999, 9),
        like("a", 0.5, 0.0, 999, 8),
    ];
    for reversed in [false, true] {
        let mut entries = entries.clone();
        if reversed {
            entries.reverse();
        }
        let index = Index::new(1);
        index.insert(entries).unwrap();
        for k in 1..=6 {
            let found = index.nearest(&[1.0], k, &unfiltered()).unwrap();
            assert_eq!(ids(&found), ["a", "b", "c", "d", "e", "f"][..k]);
        }
    }
}

#[test]
fn one_bad_entry_fails_the_call_and_the_index_stays_as_it_is() {
    let bad = [
        (entry("b", &[1.0]), RouteError::DimensionMismatch { candidate: Some(1), expected: 2, actual: 1 }),
        (entry("b", &[0.0, -0.0]), RouteError::ZeroNorm { candidate: Some(1) }),
        (
            entry("b", &[0.0, f32::INFINITY]),
            RouteError::NonFiniteEmbedding { candidate: Some(1), index: 1, value: f32::INFINITY },
        ),
        (
            Candidate { success_rate: 1.5, ..entry("b", &[1.0, 0.0]) },
            RouteError::InvalidSuccessRate { candidate: 1, value: 1.5 },
        ),
        (
            Candidate { success_rate: 0.5, win_rate: 0.75, ..entry("b", &[1.0, 0.0]) },
            RouteError::InvalidWinRate { candidate: 1, value: 0.75, success_rate: 0.5 },
        ),
    ];
    for (bad, error) in bad {
        let index = Index::new(2);
        assert_eq!(index.insert(vec![entry("a", &[1.0, 0.0]), bad]), Err(error));
        assert!(index.snapshot().is_empty());
    }
}

#[test]
fn a_bad_query_is_refused() {
    let index = Index::new(2);
    let search = |query: &[f32]| index.nearest(query, 1, &unfiltered()).unwrap_err();
    assert_eq!(search(&[]), RouteError::EmptyQuery);
    assert_eq!(search(&[1.0]), RouteError::DimensionMismatch { candidate: None, expected: 2, actual: 1 });
    assert_eq!(search(&[0.0, 0.0]), RouteError::ZeroNorm { candidate: None });
    let Err(RouteError::NonFiniteEmbedding { candidate: None, index: 1, .. }) =
        index.nearest(&[0.0, f32::NAN], 1, &unfiltered())
    else {
        panic!("an element that is not finite is refused");
    };
}

#[test]
fn embeddings_at_the_ends_of_the_range_have_a_direction() {
    let index = Index::new(2);
    index.insert(vec![entry("a", &[f32::MAX, f32::MAX]), entry("b", &[f32::from_bits(1), 0.0])]).unwrap();
    let found = index.nearest(&[1e-40, 0.0], 2, &unfiltered()).unwrap();
    assert_eq!(ids(&found), ["b", "a"]);
    assert!((found[1].similarity - 0.5_f32.sqrt()).abs() < 1e-6);
}

#[test]
fn a_segment_that_is_mostly_removed_gives_its_memory_back() {
    let index = Index::new(1);
    index.insert((0..3 * SEGMENT).map(|i| entry(&i.to_string(), &[1.0])).collect()).unwrap();
    for i in 0..3 * SEGMENT {
        if i % 4 != 0 {
            index.remove(&i.to_string());
        }
    }
    let snapshot = index.snapshot();
    assert_eq!(snapshot.len(), 3 * SEGMENT / 4);
    let rows: usize = snapshot.segments().map(|segment| segment.entries.len()).sum();
    assert!(rows <= 2 * snapshot.len() + SEGMENT, "{rows} rows");
}

#[test]
fn nothing_is_left_of_a_tenant_that_is_removed() {
    let index = Index::new(1);
    let of =
        |name: &str, i: usize| Candidate { metadata: tenant(name), ..entry(&format!("{name}{i}"), &[1.0]) };
    let mut held = Vec::new();
    // The second round replaces the first.
    for _ in 0..2 {
        index.insert((0..1000).flat_map(|i| [of("a", i), of("b", i)]).collect()).unwrap();
        let snapshot = index.snapshot();
        let entries = snapshot.entries().filter(|entry| entry.metadata == tenant("a"));
        held.extend(entries.map(Arc::downgrade));
    }
    assert_eq!(held.len(), 2000);
    assert_eq!(index.remove_matching(&tenant("a")), 1000);
    assert!(held.iter().all(|entry| entry.upgrade().is_none()));
    assert_eq!(index.nearest(&[1.0], 2000, &unfiltered()).unwrap().len(), 1000);
}

#[test]
fn an_entry_that_is_replaced_often_stays_one_row_among_the_sealed() {
    let index = Index::new(1);
    for _ in 0..5 * SEGMENT {
        index.insert(vec![entry("a", &[1.0])]).unwrap();
    }
    assert_eq!((index.snapshot().len(), index.snapshot().sealed.len()), (1, 0));
}

#[test]
fn sealed_segments_are_merged_and_entries_keep_their_rows() {
    let index = Index::new(1);
    let insert = |entries: std::ops::Range<usize>| {
        index.insert(entries.map(|i| entry(&i.to_string(), &[1.0])).collect()).unwrap();
    };
    let lengths = || index.snapshot().sealed.iter().map(|it| it.entries.len()).collect::<Vec<_>>();
    insert(0..2 * LARGEST + 7 * SEGMENT);
    assert_eq!(lengths(), [LARGEST, LARGEST, 4 * SEGMENT, 2 * SEGMENT, SEGMENT]);
    insert(2 * LARGEST + 7 * SEGMENT..3 * LARGEST);
    assert_eq!(lengths(), [LARGEST; 3]);
    assert!((0..3 * LARGEST).all(|i| index.get(&i.to_string()).unwrap().id == i.to_string()));
    for i in LARGEST..2 * LARGEST {
        index.remove(&i.to_string());
    }
    assert_eq!(lengths(), [LARGEST; 2]);
    assert!((0..3 * LARGEST).all(|i| index.get(&i.to_string()).is_some() == (i / LARGEST != 1)));
    insert(0..SEGMENT);
    assert_eq!(index.snapshot().len(), 2 * LARGEST);
}

/// The share of the exact nearest that an index finds, over some queries.
fn recall(n: usize, dimensions: usize, k: usize, filter: &Metadata) -> f64 {
    let mut vectors = Drawn::new(5).texts(n + 40, dimensions);
    let queries = vectors.split_off(n);
    let mut entries = entries(vectors);
    for (i, entry) in entries.iter_mut().enumerate() {
        entry.metadata = tenant(TENANTS[i % 3]);
    }
    let map: BTreeMap<_, _> = entries.iter().map(|entry| (entry.id.clone(), entry.clone())).collect();
    let index = Index::new(dimensions);
    index.insert(entries).unwrap();
    let mut found = 0;
    for query in &queries {
        let expected = naive(&map, query, k, filter);
        let neighbours = index.nearest(query, k, filter).unwrap();
        found += ids(&neighbours).iter().filter(|id| expected.contains(id)).count();
    }
    found as f64 / (k * queries.len()) as f64
}

#[test]
fn the_mean_recall_of_the_64_nearest_is_at_least_0_999() {
    for (dimensions, filter) in [(64, unfiltered()), (256, unfiltered()), (256, tenant("b"))] {
        let recall = recall(10_000, dimensions, 64, &filter);
        assert!(recall >= 0.999, "{dimensions} dimensions, {filter:?}: recall {recall}");
    }
}

#[test]
fn all_kernels_find_the_same() {
    let mut vectors = Drawn::new(5).texts(5000, 80);
    let queries = vectors.split_off(4950);
    let found: Vec<_> = Kernel::available()
        .into_iter()
        .map(|kernel| {
            let index = Index::by(kernel, 80);
            index.insert(entries(vectors.clone())).unwrap();
            let search = |query: &Vec<f32>| index.nearest(query, 10, &unfiltered()).unwrap();
            queries.iter().map(search).collect::<Vec<_>>()
        })
        .collect();
    assert!(found.iter().all(|by_kernel| *by_kernel == found[0]));
}

#[test]
fn any_k_and_a_set_of_equal_vectors_are_searched() {
    let index = Index::new(64);
    index.insert(entries(vec![vec![1.0; 64]; 3000])).unwrap();
    let query: Vec<f32> = (0..64).map(|i| i as f32).collect();
    for k in [0, 1, 64, 3000, usize::MAX] {
        assert_eq!(index.nearest(&query, k, &unfiltered()).unwrap().len(), k.min(3000));
    }
}

#[test]
fn readers_see_each_call_whole_while_a_writer_inserts_removes_and_seals() {
    const PAIRS: usize = 3000;
    let index = Index::new(8);
    let named = |pair: usize| Metadata::from([("pair".to_owned(), pair.to_string())]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for pair in 0..PAIRS {
                let embedding = Drawn::new(pair as u64).vector(8);
                let mut metadata = named(pair);
                metadata.extend(tenant(TENANTS[pair % 3]));
                let both = ["x", "y"].map(|name| Candidate {
                    metadata: metadata.clone(),
                    ..entry(&format!("{name}{pair}"), &embedding)
                });
                index.insert(both.to_vec()).unwrap();
                // The next search of the same thread sees it.
                let found = index.nearest(&embedding, 2, &unfiltered()).unwrap();
                assert_eq!(ids(&found), [format!("x{pair}"), format!("y{pair}")]);
                if pair >= 1000 {
                    assert_eq!(index.remove_matching(&named(pair - 1000)), 2);
                }
            }
            done.store(true, Ordering::Release);
        });
        for thread in 0..2 {
            let (index, done) = (&index, &done);
            scope.spawn(move || {
                let mut drawn = Drawn::new(1000 + thread);
                while !done.load(Ordering::Acquire) {
                    let snapshot = index.snapshot();
                    let pairs: BTreeSet<_> =
                        snapshot.entries().map(|entry| &entry.metadata["pair"]).collect();
                    assert_eq!(2 * pairs.len(), snapshot.len());
                    let found = snapshot.nearest(&drawn.vector(8), 8, &tenant("b")).unwrap();
                    assert!(found.iter().all(|found| matches(&found.candidate, &tenant("b"))));
                    assert!(found.is_sorted_by(|a, b| a.similarity >= b.similarity));
                }
            });
        }
    });
}

/// A call on the index.
#[derive(Clone, Debug)]
enum Call {
    Insert { first: usize, entries: usize, seed: u64 },
    Remove { first: usize, entries: usize },
    RemoveTenant(usize),
    ExpireBefore(i64),
    ExpireTo(usize),
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        5 => (0..900_usize, 1..700_usize, any::<u64>())
            .prop_map(|(first, entries, seed)| Call::Insert { first, entries, seed }),
        2 => (0..900_usize, 1..400_usize).prop_map(|(first, entries)| Call::Remove { first, entries }),
        1 => (0..3_usize).prop_map(Call::RemoveTenant),
        1 => (0..40_i64).prop_map(Call::ExpireBefore),
        1 => (300..1500_usize).prop_map(Call::ExpireTo),
    ]
}

const TENANTS: [&str; 3] = ["a", "b", "c"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The index equals a map that is searched naively, after any calls: filters never leak, and nothing is lost.
    #[test]
    fn an_index_equals_a_map_that_is_searched_naively(calls in prop::collection::vec(call(), 1..9)) {
        let (index, mut map) = (Index::new(64), BTreeMap::new());
        let mut queries = Drawn::new(7);
        for call in calls {
            match call {
                Call::Insert { first, entries, seed } => {
                    let mut drawn = Drawn::new(seed);
                    let entries: Vec<Candidate> = (first..first + entries)
                        .map(|i| Candidate {
                            created_at: drawn.below(40) as i64,
                            metadata: tenant(TENANTS[drawn.below(3)]),
                            success_rate: drawn.below(2) as f32,
                            // Few directions, so that there are ties.
                            ..entry(&i.to_string(), &Drawn::new(drawn.below(400) as u64).vector(64))
                        })
                        .collect();
                    index.insert(entries.clone()).unwrap();
                    map.extend(entries.into_iter().map(|entry| (entry.id.clone(), entry)));
                }
                Call::Remove { first, entries } => {
                    for id in (first..first + entries).map(|i| i.to_string()) {
                        prop_assert_eq!(index.remove(&id), map.remove(&id).is_some());
                    }
                }
                Call::RemoveTenant(i) => {
                    let before = map.len();
                    map.retain(|_, entry| entry.metadata["tenant"] != TENANTS[i]);
                    prop_assert_eq!(index.remove_matching(&tenant(TENANTS[i])), before - map.len());
                }
                Call::ExpireBefore(time) => {
                    let before = map.len();
                    map.retain(|_, entry| entry.created_at >= time);
                    prop_assert_eq!(index.expire_before(time), before - map.len());
                }
                Call::ExpireTo(count) => {
                    let mut ages: Vec<_> =
                        map.values().map(|entry| (entry.created_at, entry.id.clone())).collect();
                    ages.sort();
                    let excess = ages.len().saturating_sub(count);
                    for (_, id) in &ages[..excess] {
                        map.remove(id);
                    }
                    prop_assert_eq!(index.expire_to(count), excess);
                }
            }
            prop_assert_eq!(index.snapshot().len(), map.len());
            let query = queries.vector(64);
            for filter in [unfiltered(), tenant("a"), tenant("d")] {
                let found = index.nearest(&query, 20, &filter).unwrap();
                for neighbour in &found {
                    let expected = &map[&neighbour.candidate.id];
                    prop_assert!(matches(expected, &filter), "the filter leaks {}", expected.id);
                    prop_assert_eq!(&expected.metadata, &neighbour.candidate.metadata);
                    prop_assert_eq!(expected.created_at, neighbour.candidate.created_at);
                }
                let expected = naive(&map, &query, 20, &filter);
                prop_assert_eq!(found.len(), expected.len());
                // Larger sets are searched by codes.
                if map.values().filter(|entry| matches(entry, &filter)).count() <= EXACT {
                    prop_assert_eq!(ids(&found), expected);
                }
            }
        }
    }
}

/// The ids of the nearest, by sorting all entries.
fn naive<'a>(
    map: &'a BTreeMap<String, Candidate>,
    query: &[f32],
    k: usize,
    filter: &Metadata,
) -> Vec<&'a str> {
    let query = unit(query, None, query.len()).unwrap();
    let mut all: Vec<_> = map
        .values()
        .filter(|entry| matches(entry, filter))
        .map(|entry| {
            let row = unit(&entry.embedding, None, query.len()).unwrap();
            let similarity = crate::kernel::product(&query, &row).clamp(-1.0, 1.0);
            (-similarity, entry.success_rate, entry.created_at, entry.id.as_str())
        })
        .collect();
    all.sort_by(|a, b| a.partial_cmp(b).unwrap());
    all.into_iter().take(k).map(|(.., id)| id).collect()
}
