//! `docs/gateway.md` has all that there is, and `metrics.txt` beside this file what a new gateway shows.

use crate::running::Running;
use std::path::Path;
use tiny_dancer_gateway::Config;

const PAGE: &str = include_str!("../../../../docs/gateway.md");
/// The prefix of the gateway's families.
const FAMILIES: &str = "tiny_dancer_gateway_";
/// The series whose value is a time, cut after its first digit.
const START: &str = "tiny_dancer_gateway_config_last_reload_timestamp_seconds 1";

/// The dashboard and the alerts, which are written by tests of `tiny-dancer-metrics`, query the families of this file. With
/// `BLESS` set, writes it.
#[tokio::test]
async fn the_stored_scrape_has_each_series_of_a_new_gateway() {
    let (running, ..) = Running::live().await;
    let text = running.metrics().await;
    let ours =
        |line: &&str| line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ").starts_with(FAMILIES);
    // The time of the start is another one in each run.
    let stable = |line| if str::starts_with(line, START) { START } else { line };
    let scrape: String = text.lines().filter(ours).map(stable).flat_map(|line| [line, "\n"]).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/metrics.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &scrape).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == scrape, "metrics.txt is out of date or was edited by hand: run `cargo xtask codegen`");
}

#[tokio::test]
async fn the_page_names_every_family_of_metrics_with_its_values() {
    let (running, ..) = Running::live().await;
    let text = running.metrics().await;
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_prefix(FAMILIES));
    let families: Vec<_> = families.filter_map(|line| line.split(' ').next()).collect();
    assert!(families.len() > 10, "{families:?}");
    for family in families {
        assert!(PAGE.contains(&format!("`{family}`")), "{family}");
    }
    for line in text.lines().filter_map(|line| line.strip_prefix(FAMILIES)) {
        let Some((family, labels)) = line.split_once('{') else { continue };
        let row = PAGE.lines().find(|row| row.starts_with(&format!("| `{family}`")));
        for label in ["kind=\"", "result=\""] {
            let value = labels.split_once(label).and_then(|(_, rest)| rest.split('"').next());
            let Some(value) = value else { continue };
            let values =
                row.unwrap_or_else(|| panic!("{family}")).split(|c: char| !c.is_alphanumeric() && c != '_');
            assert!(values.into_iter().any(|word| word == value), "{value} of {family}");
        }
    }
    let reasons = text.split("reason=\"").skip(1).filter_map(|rest| rest.split('"').next());
    for reason in reasons.collect::<std::collections::BTreeSet<_>>() {
        assert!(PAGE.contains(&format!("`{reason}`")), "{reason}");
    }
}

#[test]
fn the_configuration_of_the_tour_is_accepted() {
    let (_, rest) = include_str!("../../../../docs/tour.md").split_once("```toml\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    let config = Config::parse(text, &|variable| Some(variable.to_owned())).unwrap();
    assert!(config.budget.is_some() && config.judge.is_some() && config.shadow_rate > 0.0);
}

/// A runbook that says which key to change must not name one that there is not.
#[test]
fn every_document_names_keys_of_the_configuration_alone() {
    const SECTIONS: [&str; 7] =
        ["budget", "conversations", "judge", "limits", "memory", "shadow", "timeouts"];
    let documents =
        [PAGE, include_str!("../../../../docs/OBSERVABILITY.md"), include_str!("../../../../docs/tour.md")];
    let mut named = 0;
    for code in documents.iter().flat_map(|text| text.split('`').skip(1).step_by(2)) {
        let Some((section, key)) = code.split_once('.') else { continue };
        if !SECTIONS.contains(&section) || !key.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
            continue;
        }
        named += 1;
        let text = format!("version = 1\n[{section}]\n{key} = 1\n");
        let error = Config::parse(&text, &|_| None).unwrap_err().to_string();
        assert!(!error.contains(&format!("{code} is unknown")), "{error}");
    }
    assert!(named > 10, "{named}");
}

#[test]
fn the_page_names_every_key_of_the_configuration() {
    let source = include_str!("../../src/config.rs");
    let calls = [
        "or",
        "optional",
        "required",
        "required_table",
        "table",
        "table_or_empty",
        "each_table",
        "count",
        "seconds",
    ];
    let mut found = 0;
    for call in source.split('(').zip(source.split('(').skip(1)) {
        let (before, after) = call;
        let name: String = before.chars().rev().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let name: String = name.chars().rev().collect();
        let Some(key) = after.strip_prefix('"').and_then(|rest| rest.split('"').next()) else { continue };
        if calls.contains(&name.as_str()) {
            found += 1;
            assert!(PAGE.contains(&format!("`{key}`")), "{key}");
        }
    }
    assert!(found > 25, "{found} keys");
}
