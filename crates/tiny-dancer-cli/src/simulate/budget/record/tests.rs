use super::*;
use std::path::{Path, PathBuf};

fn cell(traffic: &str, judged: &str, late: usize, requests: usize, tallies: [[usize; 4]; 5]) -> Cell {
    let (traffic, judged) = (traffic.to_owned(), judged.to_owned());
    let tallies = tallies.map(Tally::from);
    Cell { traffic, judged, burst: 10.0, late, lost: 0.0, requests, streams: 2, shadowed: 100, tallies }
}

fn record() -> Record {
    let tallies = |lightweight| {
        [[lightweight, 50, 200, 0], [500, 80, 100, 1], [0; 4], [300, 90, 60, 2], [800, 120, 0, 1]]
    };
    let moment =
        |t: usize| Moment { t, allowed: 10.0 + t as f64 / 20.0, bound: 5.0, worse: 3, threshold: 0.85 };
    Record {
        model: "version".to_owned(),
        rows: 5000,
        seed: 1,
        loss_rate: 0.05,
        delta: 0.05,
        shadow_rate: 0.2,
        explore: 0.0,
        price_lightweight: 0.05,
        price_judgement: 0.5,
        alpha: 0.15,
        cells: vec![
            cell("random", "1", 0, 1000, tallies(800)),
            cell("by-subject", "1", 0, 1000, tallies(720)),
            cell(ENEMY, "1", 0, 1000, tallies(40)),
            cell("random", "0.2", 20, 1000, tallies(400)),
            cell(ENEMY, "0.2", 20, 1000, tallies(40)),
            cell("random", "0.2", 20, 4000, tallies(480)),
        ],
        pictured: "in random order".to_owned(),
        moments: vec![moment(10), moment(1000)],
    }
}

fn table(name: &str) -> String {
    record().tables().unwrap().into_iter().find(|it| it.0 == name).unwrap().1
}

#[test]
fn a_goal_that_is_missed_is_marked() {
    let table = table("goals");
    let lines: Vec<&str> = table.lines().skip(2).map(|line| line.rsplit_once(" 0.").unwrap().0).collect();
    assert_eq!(lines[0], "| 1 | 0 | 1000 | random | 40.0% | 40.0% | 1.00 | 1.00 | holds |");
    assert_eq!(lines[1], "| 1 | 0 | 1000 | by-subject | 36.0% | 40.0% | 0.90 | 1.00 | **missed** |");
    assert_eq!(lines[2], "| 0.2 | 20 | 1000 | random | 20.0% | 40.0% | 0.50 | 0.50 | holds |");
    assert_eq!(lines[3], "| 0.2 | 20 | 4000 | random | 6.0% | 10.0% | 0.60 | 0.70 | **missed** |");
}

#[test]
fn longer_streams_are_in_no_other_table_and_an_enemy_is_beside_the_drift() {
    let table = table("overdrawn");
    assert_eq!(table.lines().nth(2), Some("| 1 | 0 of 4 | 0 | 0 of 2 | 0 |"));
    assert_eq!(table.lines().nth(3), Some("| 0.2 | 0 of 2 | 1 | 0 of 2 | 1 |"));
}

#[test]
fn a_net_cost_has_judging_and_shadowing_in_it() {
    // 0.2 of 2,000 lightweight at 0.05; 200 judged at 1.5, 100 shadowed at 0.55.
    let net = 0.8 + 0.2 * 0.05 + 0.1 * 1.5 + 0.05 * 0.55;
    let expected = format!("| 0.2 | quality budget | 20.0% | 25.0 | 0 of 2 | {net:.3} |");
    assert!(table("policies").contains(&expected), "{expected}\n{}", table("policies"));
}

#[test]
fn chance_allows_three_standard_deviations_more() {
    assert_eq!([400, 432].map(|streams| most_overdrawn(streams, 0.05)), [33, 35]);
}

#[test]
fn json_has_a_line_for_each_cell_and_reads_back() {
    let (record, text) = (record(), record().to_json().unwrap());
    let cells = text.lines().filter(|line| line.starts_with("{\"traffic\"")).count();
    assert_eq!(cells, record.cells.len(), "{text}");
    assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

const RECORD: &str = "benches/record/budget.json";
const DOCUMENT: &str = "docs/promises.md";
const PICTURE: &str = "docs/pictures/budget.svg";

/// With `BLESS` set it writes both. `cargo xtask codegen` sets it.
#[test]
fn the_tables_and_the_picture_of_the_document_match_the_record() {
    let read = |file: &str| std::fs::read_to_string(root().join(file)).unwrap();
    let record: Record = serde_json::from_str(&read(RECORD)).unwrap();
    let before = read(DOCUMENT);
    let mut document = before.clone();
    for (name, table) in record.tables().unwrap() {
        let (begin, end) = (format!("<!-- {name}, from the record -->\n"), format!("<!-- end of {name} -->"));
        let (start, rest) = document.split_once(&begin).unwrap_or_else(|| panic!("{DOCUMENT} lacks {begin}"));
        let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{DOCUMENT} lacks {end}"));
        document = format!("{start}{begin}{table}{end}{after}");
    }
    let folder = tempfile::tempdir().unwrap();
    let [svg, _] = record.figure().write("budget", folder.path()).unwrap();
    let picture = std::fs::read_to_string(svg).unwrap();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(root().join(DOCUMENT), &document).unwrap();
        std::fs::write(root().join(PICTURE), &picture).unwrap();
        return;
    }
    assert!(document == before, "{DOCUMENT} does not match {RECORD}: cargo xtask codegen");
    assert!(picture == read(PICTURE), "{PICTURE} does not match {RECORD}: cargo xtask codegen");
}
