use super::*;
use crate::simulate::learning::entry;
use crate::simulate::stream::{Order, Pair};
use crate::simulate::testing::clusters;
use std::collections::BTreeSet;
use tiny_dancer::Metadata;
use tiny_dancer_memory::Index;
use tiny_dancer_train::curve::Outcome;

const K: usize = 8;

/// Whether a memory that remembers each row with a number below `known` finds what the index finds.
fn finds_the_same(rows: usize, known: usize) -> bool {
    let rows = Rows::new(vec![clusters([0, 1], rows)], &[Pair::default()]).unwrap();
    let drawn = rows.draw(Order::Random, rows.len(), 1, 0);
    let neighbours = Neighbours::new(&rows, &drawn).unwrap();
    let (mut memory, index) = (neighbours.memory(), Index::new(rows.dimensions()));
    let outcome = Outcome { lightweight: 1.0, powerful: 1.0 };
    for (number, request) in drawn.iter().enumerate().take(known) {
        let place = neighbours.place(request.row).unwrap();
        let entry = entry(number, &rows.embedding(request.row), outcome);
        memory.remember(place, entry.clone());
        index.insert(vec![entry]).unwrap();
    }
    drawn[known..].iter().all(|request| {
        let place = neighbours.place(request.row).unwrap();
        // Many rows are copies of each other, so similarities are compared and not rows.
        let similarities = |found: Vec<&Candidate>| {
            let of = |candidate: &Candidate| -> f32 {
                let row = neighbours.embedding(place).iter().zip(&candidate.embedding);
                let norm: f32 = candidate.embedding.iter().map(|x| x * x).sum();
                row.map(|(a, b)| a * b).sum::<f32>() / norm.sqrt()
            };
            let mut similarities: Vec<f32> = found.into_iter().map(of).collect();
            similarities.sort_unstable_by(f32::total_cmp);
            similarities
        };
        let found = similarities(memory.nearest(place, K));
        let expected = index.nearest(&rows.embedding(request.row), K, &Metadata::new()).unwrap();
        let expected = similarities(expected.iter().map(|it| &*it.candidate).collect());
        found.len() == expected.len() && found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5)
    })
}

#[test]
fn it_finds_what_the_memory_s_index_finds() {
    // No more than are searched for, a small memory, and one that the lists suffice for.
    assert!(finds_the_same(400, K - 1));
    assert!(finds_the_same(400, 40));
    assert!(finds_the_same(400, 390));
    // The lists are shorter than the rows.
    assert!(finds_the_same(2500, 12));
}

#[test]
fn a_row_has_one_place_in_any_order() {
    let rows = Rows::new(vec![clusters([0, 1], 100)], &[Pair::default()]).unwrap();
    let drawn = rows.draw(Order::Random, 60, 1, 0);
    let neighbours = Neighbours::new(&rows, &drawn).unwrap();
    let places: BTreeSet<_> = drawn.iter().map(|request| neighbours.place(request.row)).collect();
    assert_eq!(places, (0..60).map(Some).collect());
    let absent = (0..100).find(|row| drawn.iter().all(|request| request.row != *row)).unwrap();
    assert_eq!(neighbours.place(absent), None);
}
