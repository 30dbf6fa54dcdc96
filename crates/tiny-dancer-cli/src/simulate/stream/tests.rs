use super::*;
use crate::simulate::testing::{file, matrix, row};
use std::collections::BTreeSet;

/// Two files of sixty rows each, with four subjects and three models.
fn rows(pairs: &[Pair]) -> Result<Rows, SimulateError> {
    let of = |name: &'static str| {
        file((0..60).map(move |i| {
            Scores {
                id: format!("{name}-{i}"),
                subject: Some(format!("subject {}", i % 4)),
                by_model: [("small", i % 2), ("middle", i % 3 % 2), ("large", i % 5 % 2)]
                    .map(|(name, score)| (name.to_owned(), f64::from(score)))
                    .into(),
            }
        }))
    };
    Rows::new(vec![of("first"), of("second")], pairs)
}

fn pair(text: &str) -> Pair {
    text.parse().unwrap()
}

fn two_pairs() -> Rows {
    rows(&[pair("small,large"), pair("middle,large")]).unwrap()
}

#[test]
fn an_order_changes_nothing_but_the_places_of_the_rows() {
    let rows = two_pairs();
    let drawn =
        |order| -> BTreeSet<usize> { rows.draw(order, 80, 1, 3).iter().map(|request| request.row).collect() };
    let random = drawn(Order::Random);
    assert_eq!(random.len(), 80);
    for order in Order::ALL {
        assert_eq!(drawn(order), random, "{order}");
        assert_eq!(rows.draw(order, 80, 1, 3), rows.draw(order, 80, 1, 3), "{order}");
    }
    assert_ne!(rows.draw(Order::Random, 80, 1, 3), rows.draw(Order::Random, 80, 1, 4));
    assert_ne!(rows.draw(Order::Random, 80, 1, 3), rows.draw(Order::Random, 80, 2, 3));
}

#[test]
fn each_order_sorts_by_its_own_fact() {
    let rows = two_pairs();
    let facts = |order| -> Vec<(usize, String, f64, usize)> {
        let of = |request: &Request| {
            let (file, place) = rows.places[request.row];
            let row = &rows.files[file].rows[place];
            (file, row.subject.clone().unwrap(), row.mean(), request.pair)
        };
        rows.draw(order, 120, 1, 0).iter().map(of).collect()
    };
    assert!(facts(Order::ByFile).is_sorted_by_key(|it| it.0));
    assert!(facts(Order::HardToEasy).is_sorted_by(|a, b| a.2 <= b.2));
    assert!(facts(Order::EasyToHard).is_sorted_by(|a, b| a.2 >= b.2));
    let pairs: Vec<usize> = facts(Order::PairAfterPair).iter().map(|it| it.3).collect();
    assert!(pairs.is_sorted());
    assert_eq!(pairs.iter().filter(|&&pair| pair == 1).count(), 60);
    // Each subject is in one piece.
    let subjects: Vec<String> = facts(Order::BySubject).into_iter().map(|it| it.1).collect();
    assert_eq!(subjects.chunk_by(|a, b| a == b).count(), 4);
    assert!(facts(Order::Random).iter().all(|it| it.3 == 0));
}

#[test]
fn a_row_takes_the_first_pair_whose_scores_it_has() {
    let files = vec![
        matrix(vec![row("a", &[("small", 0.0), ("large", 1.0)])], &[[1.0, 0.0]]),
        matrix(vec![row("b", &[("lightweight", 0.5), ("powerful", 0.25)])], &[[0.0, 1.0]]),
    ];
    let rows = Rows::new(files, &[pair("small,large"), Pair::default()]).unwrap();
    let outcome = |row| {
        let stream = rows.draw(Order::ByFile, 2, 1, 0);
        rows.outcome(stream[row]).map(|outcome| (outcome.lightweight, outcome.powerful))
    };
    assert_eq!((outcome(0), outcome(1)), (Some((0.0, 1.0)), Some((0.5, 0.25))));
}

#[test]
fn an_order_that_the_rows_do_not_suffice_for_is_refused_and_not_a_default() {
    let files = || vec![matrix(vec![row("a", &[("lightweight", 0.0), ("powerful", 1.0)])], &[[1.0, 0.0]])];
    let rows = Rows::new(files(), &[Pair::default()]).unwrap();
    assert_eq!(rows.orders(), [Order::Random, Order::EasyToHard, Order::HardToEasy]);
    let error = |order| rows.check(order).unwrap_err().to_string();
    assert_eq!(error(Order::ByFile), "order by-file needs several files");
    assert_eq!(error(Order::BySubject), "order by-subject needs rows with a subject");
    assert_eq!(error(Order::PairAfterPair), "order pair-after-pair needs several pairs of models");
    assert_eq!(two_pairs().orders(), Order::ALL);

    let error = Rows::new(files(), &[pair("small,large")]).unwrap_err().to_string();
    assert!(error.starts_with("a has the scores of no pair of models"), "{error}");
}

#[test]
fn files_of_different_embedders_are_refused() {
    let one = || matrix(vec![row("a", &[("lightweight", 0.0), ("powerful", 1.0)])], &[[1.0, 0.0]]);
    let other = Matrix { embedder: Some("other".to_owned()), ..one() };
    let error = Rows::new(vec![one(), other], &[Pair::default()]).unwrap_err().to_string();
    assert_eq!(error, "the first file's embeddings are of None, another one's of Some(\"other\")");
    let three = matrix(one().rows, &[[1.0, 0.0, 0.0]]);
    let error = Rows::new(vec![one(), three], &[Pair::default()]).unwrap_err().to_string();
    assert_eq!(error, "the first file's embeddings have 2 dimensions, another one's 3");
}

#[test]
fn a_pair_has_two_names() {
    for text in ["", "small", "small,", ",large", "a,b,c"] {
        let error = text.parse::<Pair>().unwrap_err().to_string();
        assert_eq!(error, format!("the pair is {text:?}, expected LIGHTWEIGHT,POWERFUL"));
    }
}
