//! `docs/alerts/`: the rules, and for each alert cases in which it fires and cases in which it is silent. The runbooks in
//! `docs/OBSERVABILITY.md`, one section for each alert.
//!
//! `BLESS=1 cargo test -p tiny-dancer-metrics` writes the files; without `BLESS`, the tests compare. Names and labels are
//! checked against the catalogue here. `cargo xtask test` runs `promtool` on both files, and follows alerts from the
//! example to a webhook.

use crate::{GUIDE, queries, read, stored, stored_in_the_guide};
use objectives::{FAST, SLOW, recordings};
use std::collections::BTreeSet;
use std::fmt::Write;

mod gateway;
mod list;
pub(crate) mod objectives;

/// An alert, its runbook and its cases.
#[derive(Clone, Copy)]
struct Alert {
    name: &'static str,
    /// The condition, with all labels that distinguish routers.
    expr: &'static str,
    /// For how long it must hold.
    hold: &'static str,
    /// `critical` pages, `warning` can wait for the morning.
    severity: &'static str,
    /// The condition in words.
    when: &'static str,
    /// One line; `{{ $labels.x }}` is the value of a label.
    summary: &'static str,
    description: &'static str,
    /// What to do, in Markdown.
    runbook: &'static str,
    /// The labels of the alert that fires, but for its severity.
    labels: &'static [(&'static str, &'static str)],
    fires: &'static [Case],
    silent: &'static [Case],
}

/// What Prometheus scraped every 15 s, in promtool's notation, and when the rule is evaluated. `@` stands for the labels of
/// one instance.
struct Case {
    story: &'static str,
    series: &'static [(&'static str, &'static str)],
    at: &'static str,
}

/// A query whose result Prometheus stores under a name.
#[derive(Clone, Copy)]
struct Recording {
    /// `level:metric:operations`.
    name: &'static str,
    expr: &'static str,
    /// The name of its group of rules.
    group: &'static str,
}

/// The lines of the guide that enclose its alerts.
const MARKS: [&str; 2] =
    ["<!-- alerts: made from the alerts by `cargo xtask codegen` -->\n", "<!-- end of alerts -->\n"];

#[test]
fn the_rules_match_the_alerts() {
    stored("docs/alerts/tiny-dancer.rules.yml", &rules());
}

#[test]
fn the_tests_of_the_rules_match_the_cases() {
    stored("docs/alerts/tiny-dancer.test.yml", &tests(|minutes| minutes < HOUR, "15s"));
    stored("docs/alerts/tiny-dancer.slow.test.yml", &tests(|minutes| minutes >= HOUR, "1m"));
}

#[test]
fn the_guide_has_a_runbook_for_each_alert() {
    let by_hand = stored_in_the_guide(MARKS, &runbooks());
    assert!(!by_hand.contains("### TinyDancer"), "a runbook without an alert");
}

#[test]
fn every_link_leads_to_a_runbook_and_every_runbook_has_an_alert() {
    let (rules, runbooks) = (rules(), runbooks());
    let linked: Vec<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("runbook_url: "))
        .map(str::to_owned)
        .collect();
    // The anchor of a heading is its text in lower case.
    let headings = runbooks.lines().filter_map(|line| line.strip_prefix("### "));
    let anchors: Vec<_> = headings.map(|name| format!("{}#{}", url(), name.to_lowercase())).collect();
    assert_eq!(linked, anchors);
    assert_eq!(linked.len(), rules.matches("- alert: ").count());
}

#[test]
fn every_alert_queries_families_of_the_catalogue_and_has_cases_and_texts() {
    let mut names = BTreeSet::new();
    for alert in list::alerts() {
        let queried = queries::families(&resolved(alert.expr));
        assert!(!queried.is_empty() || alert.expr.contains("up{"), "{}", alert.name);
        assert!(names.insert(alert.name), "{} comes twice", alert.name);
        for text in [alert.description, alert.runbook] {
            assert!(text.ends_with('.') && text.len() > 60, "{}: {text}", alert.name);
        }
        assert!(["critical", "warning"].contains(&alert.severity), "{}", alert.name);
        assert!(!alert.fires.is_empty(), "{} has no case in which it fires", alert.name);
        assert!(!alert.silent.is_empty(), "{} has no silent case", alert.name);
        for case in alert.fires.iter().chain(alert.silent) {
            for (series, _) in case.series {
                queries::families(&of_one_instance(series));
            }
        }
    }
}

/// A rule that is not used costs each evaluation.
#[test]
fn every_recording_queries_families_of_the_catalogue_and_is_used() {
    let alerts = list::alerts();
    for Recording { name, expr, .. } in recordings() {
        assert!(!queries::families(expr).is_empty(), "{name}");
        assert_eq!(name.split(':').count(), 3, "{name} is no level:metric:operations");
        let (level, _) = name.split_once(':').unwrap();
        let grouped: BTreeSet<_> = queries::grouped(expr).into_iter().filter(|label| label != "le").collect();
        assert_eq!(level.split('_').map(str::to_owned).collect::<BTreeSet<_>>(), grouped, "{name}");
        assert!(alerts.iter().any(|alert| alert.expr.contains(name)), "no alert uses {name}");
    }
}

/// The one file of the folder that is not generated, since each user changes it.
#[test]
fn the_example_configuration_scrapes_as_the_alerts_expect() {
    let config = read("docs/alerts/prometheus.yml");
    for setting in ["scrape_interval: 15s", "evaluation_interval: 15s", "- tiny-dancer.rules.yml"] {
        assert!(config.contains(setting), "no {setting}");
    }
    let (_, job) = config.split_once("job_name: ").unwrap();
    let targets = format!("up{{job=\"{}\"}}", job.lines().next().unwrap());
    let exprs: Vec<_> =
        list::alerts().iter().map(|alert| alert.expr).filter(|expr| expr.contains("up{")).collect();
    assert_eq!(exprs, [format!("{targets} == 0"), format!("absent({targets})")]);
}

/// A query with the definition of each recording in place of its name.
pub(crate) fn resolved(expr: &str) -> String {
    let resolved = recordings().iter().fold(expr.to_owned(), |expr, recording| {
        expr.replace(recording.name, &format!("({})", recording.expr))
    });
    assert!(!resolved.contains(':'), "an unknown recording: {resolved}");
    resolved
}

/// The page that has the runbooks.
pub(crate) fn url() -> String {
    format!("{}/blob/main/{GUIDE}", env!("CARGO_PKG_REPOSITORY"))
}

const HEAD: &str = "\
# Generated from the alerts in crates/tiny-dancer-metrics/tests/it/alerts.rs. Change them there, then run `cargo xtask codegen`.
";

fn rules() -> String {
    let mut text = HEAD.to_owned();
    text += "groups:\n";
    for (group, interval) in [(FAST, None), (SLOW, Some("1m"))] {
        writeln!(text, "  - name: {group}").unwrap();
        if let Some(interval) = interval {
            writeln!(text, "    interval: {interval}").unwrap();
        }
        text += "    rules:\n";
        for recording in recordings().iter().filter(|recording| recording.group == group) {
            writeln!(text, "      - record: {}", recording.name).unwrap();
            expression(&mut text, recording.expr);
        }
        if group == FAST {
            for alert in list::alerts() {
                rule(&mut text, &alert);
            }
        }
    }
    text
}

fn expression(text: &mut String, expr: &str) {
    text.push_str("        expr: |-\n");
    for line in expr.lines() {
        writeln!(text, "          {line}").unwrap();
    }
}

fn rule(text: &mut String, alert: &Alert) {
    writeln!(text, "      - alert: {}", alert.name).unwrap();
    expression(text, alert.expr);
    writeln!(text, "        for: {}", alert.hold).unwrap();
    writeln!(text, "        labels:\n          severity: {}\n        annotations:", alert.severity).unwrap();
    for (name, value) in annotations(alert) {
        if name == "runbook_url" {
            writeln!(text, "          {name}: {value}").unwrap();
        } else {
            writeln!(text, "          {name}: >-\n            {}", wrapped(&value, 96, "            "))
                .unwrap();
        }
    }
}

fn annotations(alert: &Alert) -> [(&'static str, String); 3] {
    [
        ("description", alert.description.to_owned()),
        ("runbook_url", format!("{}#{}", url(), alert.name.to_lowercase())),
        ("summary", alert.summary.to_owned()),
    ]
}

/// A text in lines of at most this width. Each line but the first is indented.
fn wrapped(text: &str, width: usize, indent: &str) -> String {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split(' ') {
        if !line.is_empty() && line.len() + word.len() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    lines.push(line);
    lines.join(&format!("\n{indent}"))
}

/// The part of the guide between the marks.
fn runbooks() -> String {
    let mut text = "\n| alert | severity | when |\n| --- | --- | --- |\n".to_owned();
    for Alert { name, severity, when, .. } in list::alerts() {
        writeln!(text, "| [`{name}`](#{}) | {severity} | {when} |", name.to_lowercase()).unwrap();
    }
    for alert in list::alerts() {
        let paragraphs = [alert.description, alert.runbook].map(|text| wrapped(text, 126, ""));
        writeln!(text, "\n### {}\n\n{}\n\n{}", alert.name, paragraphs[0], paragraphs[1]).unwrap();
    }
    text + "\n"
}

/// In minutes. Cases of an hour and more are in a file of their own, since `promtool` evaluates all rules in each interval of
/// the whole time.
const HOUR: u32 = 60;

/// The cases whose time is selected, with the interval in which rules are evaluated.
fn tests(is_selected: impl Fn(u32) -> bool, interval: &str) -> String {
    let mut text = HEAD.to_owned();
    writeln!(text, "rule_files:\n  - tiny-dancer.rules.yml\nevaluation_interval: {interval}\ntests:")
        .unwrap();
    for alert in &list::alerts() {
        for (cases, fires) in [(alert.fires, true), (alert.silent, false)] {
            for case in cases.iter().filter(|case| is_selected(minutes(case.at))) {
                test(&mut text, alert, case, fires);
            }
        }
    }
    text
}

/// The whole minutes of a duration such as "2h35m" or "4m45s".
fn minutes(duration: &str) -> u32 {
    let (mut total, mut number) = (0, 0);
    for letter in duration.chars() {
        match letter {
            'h' => total += HOUR * std::mem::take(&mut number),
            'm' => total += std::mem::take(&mut number),
            's' => number = 0,
            digit => number = number * 10 + digit.to_digit(10).unwrap(),
        }
    }
    total
}

fn of_one_instance(series: &str) -> String {
    series.replace('@', r#"instance="a:1",job="j""#)
}

fn test(text: &mut String, alert: &Alert, case: &Case, fires: bool) {
    let word = if fires { "fires" } else { "is silent" };
    writeln!(text, "  - name: '{} {word}: {}'\n    interval: 15s\n    input_series:", alert.name, case.story)
        .unwrap();
    for (series, values) in case.series {
        writeln!(text, "      - series: '{}'\n        values: '{values}'", of_one_instance(series)).unwrap();
    }
    writeln!(text, "    alert_rule_test:\n      - eval_time: {}\n        alertname: {}", case.at, alert.name)
        .unwrap();
    if !fires {
        return;
    }
    text.push_str("        exp_alerts:\n          - exp_labels:\n");
    for (name, value) in alert.labels.iter().chain(&[("severity", alert.severity)]) {
        writeln!(text, "              {name}: '{value}'").unwrap();
    }
    text.push_str("            exp_annotations:\n");
    for (name, value) in annotations(alert) {
        let filled = alert
            .labels
            .iter()
            .fold(value, |text, (label, value)| text.replace(&format!("{{{{ $labels.{label} }}}}"), value));
        writeln!(text, "              {name}: {}", serde_json::to_string(&filled).unwrap()).unwrap();
    }
}
