use super::*;

fn counts(counts: &[(&str, u64)]) -> Counts {
    counts.iter().map(|&(id, count)| (id.to_owned(), count)).collect()
}

/// The verdict on a benchmark with a recorded count of 1000.
fn judged(counted: u64) -> (Verdict, Result<()>) {
    let lines = compare(&counts(&[("a", 1000)]), &counts(&[("a", counted)]), "");
    (lines[0].verdict(), judge(&lines))
}

#[test]
fn a_count_above_the_tolerance_fails_with_the_difference_and_the_remedy() {
    let (verdict, judgement) = judged(1021);
    assert_eq!(verdict, Verdict::More);
    let error = judgement.unwrap_err().to_string();
    assert!(error.starts_with("1 of 1 benchmarks"), "{error}");
    assert!(error.contains("at most a, 2.1% more"), "{error}");
    assert!(error.ends_with(BLESS), "{error}");
}

#[test]
fn a_count_within_or_below_the_tolerance_passes() {
    for (counted, expected) in [(1020, Verdict::Same), (980, Verdict::Same), (979, Verdict::Fewer)] {
        let (verdict, judgement) = judged(counted);
        assert_eq!(verdict, expected, "{counted}");
        judgement.unwrap();
    }
}

#[test]
fn the_greatest_of_several_differences_is_named() {
    let recorded = counts(&[("a", 100), ("b", 100), ("c", 100)]);
    let counted = counts(&[("a", 110), ("b", 150), ("c", 50)]);
    let error = judge(&compare(&recorded, &counted, "")).unwrap_err().to_string();
    assert!(error.starts_with("2 of 3 benchmarks"), "{error}");
    assert!(error.contains("at most b, 50.0% more"), "{error}");
}

#[test]
fn a_new_or_missing_benchmark_fails() {
    let (old, both) = (counts(&[("a", 1)]), counts(&[("a", 1), ("b", 2)]));
    let error = |recorded, counted| judge(&compare(recorded, counted, "")).unwrap_err().to_string();
    assert!(error(&old, &both).starts_with("b is counted and not recorded"));
    assert!(error(&both, &old).starts_with("b is recorded and not counted"));
}

#[test]
fn the_table_notes_every_difference() {
    let recorded = counts(&[("gone", 5), ("slow", 100), ("same", 7)]);
    let counted = counts(&[("slow", 150), ("same", 7), ("new", 3)]);
    let table = table(&compare(&recorded, &counted, ""));
    let words: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    let expected: [&[&str]; 4] = [
        &["gone", "5", "-", "-", "not", "counted"],
        &["new", "-", "3", "-", "not", "recorded"],
        &["same", "7", "7", "1.000"],
        &["slow", "100", "150", "1.500", "MORE"],
    ];
    assert_eq!(words, expected);
    assert_eq!(compare(&recorded, &counted, "sa").len(), 1);
}

#[test]
fn ratios_with_a_goal_are_to_the_router_without_an_observer_at_each_size() {
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
        "route_into/10x128/exact 5.00 <= 6 holds",
        "route_into/10x128/naive 17.90 >= 18 misses",
        "route_into/1x128/by hand 0.99 >= 0.995 misses",
        "route_into/1x128/naive 6.00 >= 6 holds",
    ];
    assert_eq!(rows, expected);
}

#[test]
fn the_naive_router_must_be_counted_and_is_not_judged() {
    let (recorded, counted) = (counts(&[("a/naive", 1000)]), counts(&[("a/naive", 1500)]));
    judge(&compare(&recorded, &counted, "")).unwrap();
    assert!(judge(&compare(&recorded, &Counts::new(), "")).is_err());
}

#[test]
fn the_key_has_no_patch_version() {
    let key = |rustc| key("avx2", rustc);
    assert_eq!(key("rustc 1.95.0 (59807616e 2026-04-14)").unwrap(), "avx2, rustc 1.95");
    assert_eq!(key("rustc 1.97.0-nightly (59807616e 2026-04-14)").unwrap(), "avx2, rustc 1.97");
    assert!(key("rustc").is_err());
}

#[test]
fn the_file_of_the_record_is_written_as_it_is_read() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join(RECORD)).unwrap();
    let record: Record = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string_pretty(&record).unwrap() + "\n", text);
}
