//! `docs/alerts/`: the rules, and for each rule a case in which it fires and some in which it does not.
//!
//! `BLESS=1 cargo test -p tiny-dancer-metrics` writes the files; without `BLESS`, the tests compare. Names and labels are
//! checked against the catalogue here. `cargo xtask test` runs `promtool` on both files, and follows one alert from the
//! example to a webhook.

use crate::{queries, stored};
use std::collections::BTreeSet;
use std::fmt::Write;

#[test]
fn the_rules_match_the_alerts() {
    stored("docs/alerts/tiny-dancer.rules.yml", &rules());
}

#[test]
fn the_tests_of_the_rules_match_the_cases() {
    stored("docs/alerts/tiny-dancer.test.yml", &tests());
}

#[test]
fn every_alert_queries_families_of_the_catalogue_and_has_a_runbook() {
    let mut names = BTreeSet::new();
    for alert in ALERTS {
        let queried = queries::families(alert.expr);
        assert!(!queried.is_empty() || alert.expr.starts_with("up{"), "{}", alert.name);
        assert!(names.insert(alert.name), "{} comes twice", alert.name);
        for text in [alert.description, alert.runbook] {
            assert!(text.ends_with('.') && text.len() > 60, "{}: {text}", alert.name);
        }
        assert!(!alert.silent.is_empty(), "{} has no silent case", alert.name);
        for case in std::iter::once(&alert.fires).chain(alert.silent) {
            for (series, _) in case.series {
                queries::families(series);
            }
        }
    }
}

/// The one file of the folder that is not generated, since each user changes it.
#[test]
fn the_example_configuration_scrapes_as_the_alerts_expect() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/alerts/prometheus.yml");
    let config = std::fs::read_to_string(file).unwrap();
    let down = ALERTS.iter().find(|alert| alert.expr.starts_with("up{")).unwrap();
    for setting in ["scrape_interval: 15s", "evaluation_interval: 15s", "- tiny-dancer.rules.yml"] {
        assert!(config.contains(setting), "no {setting}");
    }
    let (_, job) = config.split_once("job_name: ").unwrap();
    assert_eq!(down.expr, format!("up{{job=\"{}\"}} == 0", job.lines().next().unwrap()));
}

struct Alert {
    name: &'static str,
    /// The condition, with all labels that distinguish routers.
    expr: &'static str,
    /// For how long it must hold.
    hold: &'static str,
    severity: &'static str,
    /// One line; `{{ $labels.x }}` is the value of a label.
    summary: &'static str,
    description: &'static str,
    runbook: &'static str,
    /// The labels of the alert that fires, but for its severity.
    labels: &'static [(&'static str, &'static str)],
    fires: Case,
    silent: &'static [Case],
}

/// What Prometheus scraped every 15 s, in promtool's notation, and when the rule is evaluated.
struct Case {
    story: &'static str,
    series: &'static [(&'static str, &'static str)],
    at: &'static str,
}

const INSTANCE: &[(&str, &str)] = &[("instance", "a:1"), ("job", "j")];

const ALERTS: &[Alert] = &[
    Alert {
        name: "TinyDancerCircuitOpen",
        // Half-open counts too: a circuit whose probes fail is half-open for moments, and not closed.
        expr: "max by (job, instance, router, circuit) (tiny_dancer_circuit_breaker_state) > 0",
        hold: "1m",
        severity: "critical",
        summary: "The {{ $labels.circuit }} circuit of {{ $labels.instance }} has not been closed for a minute",
        description: "All requests but some probes go to the powerful model, which costs more; where on_open is Reject, \
            they fail.",
        runbook: "Circuit lightweight: calls of the lightweight model fail, see tiny_dancer_outcomes_total with result \
            call_failed and that model's own status. It closes by itself once probes succeed; reset() closes it now. \
            Circuit inference: the router's model file gives no finite numbers, see tiny_dancer_errors_total with \
            error_type non_finite_output; put a good file in place and call reload_model(). Opened by hand with \
            force_open(), or by a broken promise: it stays open until reset().",
        labels: &[("circuit", "lightweight"), ("instance", "a:1"), ("job", "j")],
        fires: Case {
            story: "open, with a probe that fails",
            series: &[(
                r#"tiny_dancer_circuit_breaker_state{circuit="lightweight",instance="a:1",job="j"}"#,
                "0+0x3 2 2 1 2 2+0x20",
            )],
            at: "2m30s",
        },
        silent: &[Case {
            story: "open for half a minute",
            series: &[(
                r#"tiny_dancer_circuit_breaker_state{circuit="lightweight",instance="a:1",job="j"}"#,
                "0+0x3 2+0x1 0+0x20",
            )],
            at: "2m15s",
        }],
    },
    Alert {
        name: "TinyDancerErrorRate",
        expr: "sum by (job, instance, router) (rate(tiny_dancer_routing_requests_total{status=\"failure\"}[5m]))\n  \
            / sum by (job, instance, router) (rate(tiny_dancer_routing_requests_total[5m])) > 0.05",
        hold: "5m",
        severity: "warning",
        summary: "More than 5% of the requests to {{ $labels.instance }} fail",
        description: "Requests end with an error and without a decision, so the caller must choose a model.",
        runbook: "tiny_dancer_errors_total shows which error, the log and the trace of a failed request show which \
            candidate. dimension_mismatch, zero_norm and non_finite_embedding: the embedding model or the vector store \
            changed or is broken. invalid_success_rate, invalid_win_rate and empty_query: the caller's code. non_finite_output: the model \
            file. circuit_open: a circuit is open and on_open is Reject.",
        labels: INSTANCE,
        fires: Case {
            story: "one in ten fails",
            series: &[
                (r#"tiny_dancer_routing_requests_total{status="failure",instance="a:1",job="j"}"#, "0+10x60"),
                (r#"tiny_dancer_routing_requests_total{status="success",instance="a:1",job="j"}"#, "0+90x60"),
            ],
            at: "11m",
        },
        silent: &[Case {
            story: "one in twenty-five fails",
            series: &[
                (r#"tiny_dancer_routing_requests_total{status="failure",instance="a:1",job="j"}"#, "0+4x60"),
                (r#"tiny_dancer_routing_requests_total{status="success",instance="a:1",job="j"}"#, "0+96x60"),
            ],
            at: "11m",
        }],
    },
    Alert {
        name: "TinyDancerSlow",
        expr: "histogram_quantile(0.95, sum by (job, instance, router, le) \
            (rate(tiny_dancer_routing_latency_seconds_bucket[5m]))) > 0.01",
        hold: "5m",
        severity: "warning",
        summary: "P95 of routing at {{ $labels.instance }} is above 10 ms",
        description: "A request of a hundred candidates takes microseconds, so something else takes the time.",
        runbook: "Mostly the machine: too many threads for its processors, or a limit on processor time that stops the \
            program within a request. Look at the process' processor time and at throttling first. Then at candidates a \
            request: thousands take milliseconds. Then at the sampling ratio and at observers of your own: they run \
            within the request.",
        labels: INSTANCE,
        fires: Case {
            story: "one in ten takes up to 50 ms",
            series: &[
                (
                    r#"tiny_dancer_routing_latency_seconds_bucket{le="0.01",instance="a:1",job="j"}"#,
                    "0+90x60",
                ),
                (
                    r#"tiny_dancer_routing_latency_seconds_bucket{le="0.05",instance="a:1",job="j"}"#,
                    "0+100x60",
                ),
                (
                    r#"tiny_dancer_routing_latency_seconds_bucket{le="+Inf",instance="a:1",job="j"}"#,
                    "0+100x60",
                ),
            ],
            at: "11m",
        },
        silent: &[Case {
            story: "one in twenty-five takes up to 50 ms",
            series: &[
                (
                    r#"tiny_dancer_routing_latency_seconds_bucket{le="0.01",instance="a:1",job="j"}"#,
                    "0+96x60",
                ),
                (
                    r#"tiny_dancer_routing_latency_seconds_bucket{le="0.05",instance="a:1",job="j"}"#,
                    "0+100x60",
                ),
                (
                    r#"tiny_dancer_routing_latency_seconds_bucket{le="+Inf",instance="a:1",job="j"}"#,
                    "0+100x60",
                ),
            ],
            at: "11m",
        }],
    },
    Alert {
        name: "TinyDancerNoLightweight",
        expr: "sum by (job, instance, router) \
            (rate(tiny_dancer_routing_decisions_total{model_type=\"lightweight\"}[15m])) == 0\n  \
            and sum by (job, instance, router) (rate(tiny_dancer_routing_decisions_total[15m])) > 0",
        hold: "15m",
        severity: "warning",
        summary: "{{ $labels.instance }} sends nothing to the lightweight model",
        description: "There is traffic, and all of it goes to the powerful model: the router saves nothing.",
        runbook: "tiny_dancer_routing_decisions_total by reason shows why. no_evidence: the vector store is empty or its \
            search fails. circuit_open: see that alert. high_uncertainty: the embedding model or the memory differs \
            from that of the calibration; recalibrate. low_confidence: success rates have fallen, or thresholds are \
            too high for this traffic.",
        labels: INSTANCE,
        fires: Case {
            story: "all powerful",
            series: &[
                (
                    r#"tiny_dancer_routing_decisions_total{model_type="lightweight",reason="confident",instance="a:1",job="j"}"#,
                    "0+0x200",
                ),
                (
                    r#"tiny_dancer_routing_decisions_total{model_type="powerful",reason="no_evidence",instance="a:1",job="j"}"#,
                    "0+5x200",
                ),
            ],
            at: "40m",
        },
        silent: &[
            Case {
                story: "a trickle of lightweight",
                series: &[
                    (
                        r#"tiny_dancer_routing_decisions_total{model_type="lightweight",reason="confident",instance="a:1",job="j"}"#,
                        "0+1x200",
                    ),
                    (
                        r#"tiny_dancer_routing_decisions_total{model_type="powerful",reason="no_evidence",instance="a:1",job="j"}"#,
                        "0+500x200",
                    ),
                ],
                at: "40m",
            },
            Case {
                story: "no traffic at all",
                series: &[
                    (
                        r#"tiny_dancer_routing_decisions_total{model_type="lightweight",reason="confident",instance="a:1",job="j"}"#,
                        "0+0x200",
                    ),
                    (
                        r#"tiny_dancer_routing_decisions_total{model_type="powerful",reason="no_evidence",instance="a:1",job="j"}"#,
                        "7+0x200",
                    ),
                ],
                at: "40m",
            },
        ],
    },
    Alert {
        name: "TinyDancerConfidenceShift",
        expr: "abs(\n  sum by (job, instance, router) (rate(tiny_dancer_confidence_scores_sum[15m]))\n    \
            / sum by (job, instance, router) (rate(tiny_dancer_confidence_scores_count[15m]))\n  \
            - sum by (job, instance, router) (rate(tiny_dancer_confidence_scores_sum[1h] offset 15m))\n    \
            / sum by (job, instance, router) (rate(tiny_dancer_confidence_scores_count[1h] offset 15m))\n) > 0.1",
        hold: "10m",
        severity: "warning",
        summary: "Mean confidence at {{ $labels.instance }} has moved by more than 0.1 against the hour before",
        description: "Confidences differ from those of the hour before: traffic, the memory or the model has changed, and \
            calibration may no longer hold.",
        runbook: "Was a model reloaded (tiny_dancer_model_info, annotations on the dashboard)? Then it is the new model; \
            compare its evaluation. Was the memory rebuilt or the embedding model changed? Then recalibrate. Neither: \
            look at the requests. Watch outcomes meanwhile, and the promise if there is one.",
        labels: INSTANCE,
        fires: Case {
            story: "from 0.9 to 0.5",
            series: &[
                (
                    r#"tiny_dancer_confidence_scores_sum{decision_type="lightweight",instance="a:1",job="j"}"#,
                    "0+90x320 28850+50x100",
                ),
                (
                    r#"tiny_dancer_confidence_scores_count{decision_type="lightweight",instance="a:1",job="j"}"#,
                    "0+100x420",
                ),
            ],
            at: "105m",
        },
        silent: &[Case {
            story: "from 0.9 to 0.85",
            series: &[
                (
                    r#"tiny_dancer_confidence_scores_sum{decision_type="lightweight",instance="a:1",job="j"}"#,
                    "0+90x320 28885+85x100",
                ),
                (
                    r#"tiny_dancer_confidence_scores_count{decision_type="lightweight",instance="a:1",job="j"}"#,
                    "0+100x420",
                ),
            ],
            at: "105m",
        }],
    },
    Alert {
        name: "TinyDancerPromiseBroken",
        expr: "max by (job, instance, router) (tiny_dancer_promise_broken) == 1",
        hold: "0m",
        severity: "critical",
        summary: "The promise of {{ $labels.instance }} is broken",
        description: "Outcomes refute the promise: more than the promised share of the lightweight model's answers is \
            insufficient, with the promised confidence.",
        runbook: "Compare tiny_dancer_promise_insufficient_ratio with tiny_dancer_promised_alpha. Make sure that outcomes \
            are reported independently of their result; complaints alone refute any promise. If the excess is real: calibrate on \
            recent traffic and reload, or promise less. Until then, open the lightweight circuit with force_open(), or \
            set open_on_broken_promise. It resolves with reset_promise(), or with a reload that changes the model or its \
            thresholds.",
        labels: INSTANCE,
        fires: Case {
            story: "refuted a moment ago",
            series: &[(r#"tiny_dancer_promise_broken{instance="a:1",job="j"}"#, "0+0x3 1+0x10")],
            at: "1m",
        },
        silent: &[Case {
            story: "some evidence, and kept so far",
            series: &[
                (r#"tiny_dancer_promise_broken{instance="a:1",job="j"}"#, "0+0x20"),
                (r#"tiny_dancer_promise_evidence{instance="a:1",job="j"}"#, "1+1x20"),
            ],
            at: "5m",
        }],
    },
    Alert {
        name: "TinyDancerReloadFailing",
        expr: "sum by (job, instance, router) (increase(tiny_dancer_model_reloads_total{result=\"failure\"}[15m])) > 0",
        hold: "0m",
        severity: "warning",
        summary: "{{ $labels.instance }} could not load its model",
        description: "A reload failed within the last quarter of an hour. The previous model still serves.",
        runbook: "The WARN line of the failed reload and the error of reload_model() name what is wrong with the file. \
            Truncated or foreign: copy it again, under another name, and rename it into place. A promise that it can't \
            keep: calibrate it on more rows, or promise less. tiny_dancer_model_info shows the version that serves.",
        labels: INSTANCE,
        fires: Case {
            story: "one reload failed",
            series: &[(
                r#"tiny_dancer_model_reloads_total{result="failure",instance="a:1",job="j"}"#,
                "0+0x4 1+0x40",
            )],
            at: "5m",
        },
        silent: &[Case {
            story: "reloads succeed",
            series: &[
                (r#"tiny_dancer_model_reloads_total{result="failure",instance="a:1",job="j"}"#, "3+0x40"),
                (r#"tiny_dancer_model_reloads_total{result="success",instance="a:1",job="j"}"#, "0+1x40"),
            ],
            at: "5m",
        }],
    },
    Alert {
        name: "TinyDancerSpansLost",
        expr: "sum by (job, instance, router) (rate(tiny_dancer_spans_total{result=~\"dropped|failed\"}[5m]))\n  \
            / sum by (job, instance, router) (rate(tiny_dancer_spans_total[5m])) > 0.01",
        hold: "10m",
        severity: "warning",
        summary: "Over 1% of the spans of {{ $labels.instance }} never reach the collector",
        description: "Traces of this instance are incomplete or missing. Requests are not affected: spans wait in a \
            bounded queue, and another thread sends them.",
        runbook: "tiny_dancer_spans_total by result shows why. failed: the collector is unreachable or slow, or refuses them; the WARN \
            line `spans can't be exported` has its error, and `spans are exported again` follows by itself. dropped: there \
            are more spans than one connection carries; lower sampling_ratio or candidate_spans, or raise \
            OTEL_BSP_MAX_QUEUE_SIZE if they come in bursts.",
        labels: INSTANCE,
        fires: Case {
            story: "one in twenty is dropped",
            series: &[
                (r#"tiny_dancer_spans_total{result="dropped",instance="a:1",job="j"}"#, "0+5x80"),
                (r#"tiny_dancer_spans_total{result="flushed",instance="a:1",job="j"}"#, "0+95x80"),
            ],
            at: "16m",
        },
        silent: &[
            Case {
                story: "one in two hundred is dropped",
                series: &[
                    (r#"tiny_dancer_spans_total{result="dropped",instance="a:1",job="j"}"#, "0+1x80"),
                    (r#"tiny_dancer_spans_total{result="flushed",instance="a:1",job="j"}"#, "0+199x80"),
                ],
                at: "16m",
            },
            Case {
                story: "the collector was unreachable for two minutes",
                series: &[
                    (
                        r#"tiny_dancer_spans_total{result="failed",instance="a:1",job="j"}"#,
                        "0+0x20 100+100x8 900+0x60",
                    ),
                    (
                        r#"tiny_dancer_spans_total{result="flushed",instance="a:1",job="j"}"#,
                        "0+100x20 2000+0x8 2100+100x60",
                    ),
                ],
                at: "16m",
            },
        ],
    },
    Alert {
        name: "TinyDancerTargetDown",
        expr: "up{job=\"tiny-dancer\"} == 0",
        hold: "1m",
        severity: "critical",
        summary: "Prometheus can't scrape {{ $labels.instance }}",
        description: "The program is down, or its /metrics can't be reached. No other alert can fire for it meanwhile. The \
            rule expects the job name tiny-dancer.",
        runbook: "Open the target's page in Prometheus: it shows the error of the last scrape. Refused: the program is \
            down, or listens elsewhere; the server of the library listens at the loopback address unless configured \
            otherwise. Timed out: the machine is overloaded. Then read the program's log.",
        labels: &[("instance", "a:1"), ("job", "tiny-dancer")],
        fires: Case {
            story: "down",
            series: &[(r#"up{instance="a:1",job="tiny-dancer"}"#, "1+0x3 0+0x20")],
            at: "3m",
        },
        silent: &[Case {
            story: "two scrapes missed",
            series: &[(r#"up{instance="a:1",job="tiny-dancer"}"#, "1+0x3 0+0x1 1+0x20")],
            at: "2m",
        }],
    },
];

const HEAD: &str = "\
# Generated from the alerts in crates/tiny-dancer-metrics/tests/it/alerts.rs. Change them there, then run `cargo xtask codegen`.
";

fn rules() -> String {
    let mut text = HEAD.to_owned();
    text += "groups:\n  - name: tiny-dancer\n    rules:\n";
    for alert in ALERTS {
        writeln!(text, "      - alert: {}", alert.name).unwrap();
        text += "        expr: |-\n";
        for line in alert.expr.lines() {
            writeln!(text, "          {line}").unwrap();
        }
        writeln!(text, "        for: {}", alert.hold).unwrap();
        writeln!(text, "        labels:\n          severity: {}\n        annotations:", alert.severity)
            .unwrap();
        for (name, value) in annotations(alert) {
            writeln!(text, "          {name}: >-\n{}", wrapped(value)).unwrap();
        }
    }
    text
}

fn annotations(alert: &Alert) -> impl Iterator<Item = (&'static str, &'static str)> {
    [("description", alert.description), ("runbook", alert.runbook), ("summary", alert.summary)].into_iter()
}

/// A text in the lines of a YAML block, which turns each line break into a space.
fn wrapped(text: &str) -> String {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split(' ') {
        if !line.is_empty() && line.len() + word.len() > 96 {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    lines.push(line);
    lines.iter().map(|line| format!("            {line}")).collect::<Vec<_>>().join("\n")
}

fn tests() -> String {
    let mut text = HEAD.to_owned();
    text += "rule_files:\n  - tiny-dancer.rules.yml\nevaluation_interval: 15s\ntests:\n";
    for alert in ALERTS {
        test(&mut text, alert, &alert.fires, true);
        for case in alert.silent {
            test(&mut text, alert, case, false);
        }
    }
    text
}

fn test(text: &mut String, alert: &Alert, case: &Case, fires: bool) {
    let word = if fires { "fires" } else { "is silent" };
    writeln!(text, "  - name: '{} {word}: {}'\n    interval: 15s\n    input_series:", alert.name, case.story)
        .unwrap();
    for (series, values) in case.series {
        writeln!(text, "      - series: '{series}'\n        values: '{values}'").unwrap();
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
        let filled = alert.labels.iter().fold(value.to_owned(), |text, (label, value)| {
            text.replace(&format!("{{{{ $labels.{label} }}}}"), value)
        });
        writeln!(text, "              {name}: {}", serde_json::to_string(&filled).unwrap()).unwrap();
    }
}
