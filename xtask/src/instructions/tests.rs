use super::*;

fn counts(counts: &[(&str, u64)]) -> Counts {
    counts.iter().map(|&(id, count)| (id.to_owned(), count)).collect()
}

/// One benchmark that took 1000 instructions and now takes so many.
fn judged(counted: u64) -> (Verdict, Result<()>) {
    let (recorded, counted) = (counts(&[("a", 1000)]), counts(&[("a", counted)]));
    let lines = compare(&recorded, &counted, "");
    (lines[0].verdict(), judge(&lines))
}

#[test]
fn more_than_the_tolerance_fails_and_says_by_how_much_and_what_to_do() {
    let (verdict, judgement) = judged(1021);
    assert_eq!(verdict, Verdict::More);
    let error = judgement.unwrap_err().to_string();
    assert!(error.starts_with("1 of 1 benchmarks"), "{error}");
    assert!(error.contains("at most a, 2.1% more"), "{error}");
    assert!(error.ends_with(BLESS), "{error}");
}

#[test]
fn within_the_tolerance_and_below_it_nothing_fails() {
    for (counted, expected) in [(1020, Verdict::Same), (980, Verdict::Same), (979, Verdict::Fewer)] {
        let (verdict, judgement) = judged(counted);
        assert_eq!(verdict, expected, "{counted}");
        judgement.unwrap();
    }
}

#[test]
fn the_worst_of_several_is_named() {
    let recorded = counts(&[("a", 100), ("b", 100), ("c", 100)]);
    let counted = counts(&[("a", 110), ("b", 150), ("c", 50)]);
    let error = judge(&compare(&recorded, &counted, "")).unwrap_err().to_string();
    assert!(error.starts_with("2 of 3 benchmarks"), "{error}");
    assert!(error.contains("at most b, 50.0% more"), "{error}");
}

#[test]
fn a_benchmark_that_is_new_or_gone_fails() {
    let (old, both) = (counts(&[("a", 1)]), counts(&[("a", 1), ("b", 2)]));
    let error = |recorded, counted| judge(&compare(recorded, counted, "")).unwrap_err().to_string();
    assert!(error(&old, &both).starts_with("b is counted and not recorded"));
    assert!(error(&both, &old).starts_with("b is recorded and not counted"));
}

#[test]
fn the_table_keeps_the_order_of_counting_and_says_what_is_odd() {
    let recorded = counts(&[("gone", 5), ("slow", 100), ("same", 7)]);
    let counted = counts(&[("slow", 150), ("same", 7), ("new", 3)]);
    let table = table(&compare(&recorded, &counted, ""));
    let words: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    let expected: [&[&str]; 4] = [
        &["slow", "100", "150", "1.500", "MORE"],
        &["same", "7", "7", "1.000"],
        &["new", "-", "3", "-", "not", "recorded"],
        &["gone", "5", "-", "-", "not", "counted"],
    ];
    assert_eq!(words, expected);
    assert_eq!(compare(&recorded, &counted, "sa").len(), 1);
}

#[test]
fn what_has_a_goal_is_compared_with_an_unobserved_router_at_each_size() {
    let counts = counts(&[
        ("route_into/1x128/none", 100),
        ("route_into/1x128/naive", 600),
        ("route_into/1x128/by hand", 99),
        ("route_into/1x128/metrics", 120),
        ("route_into/10x128/none", 100),
        ("route_into/10x128/naive", 1790),
        ("route_into/10x128/exact", 500),
        ("route_into/100x128/none", 100),
    ]);
    let table = against_none(&counts);
    let rows: Vec<String> =
        table.lines().skip(2).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let expected = [
        "route_into/1x128/naive 6.00 >= 6 holds",
        "route_into/1x128/by hand 0.99 >= 0.995 misses",
        "route_into/10x128/naive 17.90 >= 18 misses",
        "route_into/10x128/exact 5.00 <= 6 holds",
    ];
    assert_eq!(rows, expected);
}

#[test]
fn nobody_is_judged_by_the_naive_router_but_it_has_to_be_counted() {
    let (recorded, counted) = (counts(&[("a/naive", 1000)]), counts(&[("a/naive", 1500)]));
    judge(&compare(&recorded, &counted, "")).unwrap();
    assert!(judge(&compare(&recorded, &[], "")).is_err());
}
