use super::*;

#[test]
fn the_first_sentence_ends_at_a_full_stop_before_a_capital_or_at_an_empty_line() {
    let sentence = |source| first_sentence(source).unwrap();
    assert_eq!(sentence("//! The clock. It ticks.\n"), "The clock");
    assert_eq!(
        sentence("//! Reads f. e. two\n//! lines: a and\n//! b.\n//!\n//! More.\n"),
        "Reads f. e. two lines: a and b"
    );
    assert_eq!(first_sentence("use std::fmt;\n"), None);
}

#[test]
fn links_become_their_text() {
    let text = "What a [`System`](crate::System) of [`Part`]s is [not]";
    assert_eq!(unlinked(text), "What a `System` of `Part`s is [not]");
}

#[test]
fn only_what_stands_between_the_marks_is_replaced() {
    let document = format!("a\n{BEGIN}old\n{END}b\n");
    let replaced = replace(&document, "new\n").unwrap();
    assert_eq!(replaced, format!("a\n{BEGIN}new\n\n{END}b\n"));
    assert_eq!(replace(&replaced, "new\n").unwrap(), replaced);
    assert!(replace("a\n", "new\n").is_err());
}

#[test]
fn tests_are_told_by_their_path() {
    assert!(is_test("src/router/tests.rs") && is_test("tests/it/main.rs") && is_test("src/tests/a.rs"));
    assert!(!is_test("src/contests.rs"));
}
