//! The alerts.

use super::{Alert, Case, gateway, objectives};

// Series that several cases have.
const LIGHTWEIGHT: &str =
    r#"tiny_dancer_routing_decisions_total{model_type="lightweight",reason="confident",@}"#;
const NO_EVIDENCE: &str =
    r#"tiny_dancer_routing_decisions_total{model_type="powerful",reason="no_evidence",@}"#;
const CLOSINGS: &str =
    r#"tiny_dancer_circuit_breaker_transitions_total{circuit="lightweight",to="closed",@}"#;
const SUFFICED: &str =
    r#"tiny_dancer_outcomes_total{model_type="lightweight",origin="routed",result="sufficed",@}"#;
const STATE: &str = r#"tiny_dancer_circuit_breaker_state{circuit="lightweight",@}"#;

pub(super) const INSTANCE: &[(&str, &str)] = &[("instance", "a:1"), ("job", "j")];
pub(super) const JOB: &[(&str, &str)] = &[("job", "j")];

/// All alerts: first those on circuits and requests, then those on decisions, on the quality budget, on the model, on the memory,
/// on the gateway, and on the program.
pub(super) fn alerts() -> Vec<Alert> {
    [REQUESTS, &objectives::alerts(), DECISIONS, BUDGET, MODEL, MEMORY, gateway::ALERTS, PROGRAM].concat()
}

const REQUESTS: &[Alert] = &[
    Alert {
        name: "TinyDancerCircuitOpen",
        // Half-open counts too: a circuit whose probes fail is half-open for moments, and not closed.
        expr: "max by (job, instance, router, circuit) (tiny_dancer_circuit_breaker_state) > 0",
        hold: "1m",
        severity: "critical",
        when: "a circuit has not been closed for 1m",
        summary: "The {{ $labels.circuit }} circuit of {{ $labels.instance }} has not been closed for a minute",
        description: "All requests but some probes go to the powerful model, which costs more; where `on_open` is \
                `Reject`, they fail.",
        runbook: "Circuit `lightweight`: calls of the lightweight model fail, see `tiny_dancer_outcomes_total` with \
                result `call_failed` and that model's own status. It closes by itself once probes succeed; `reset()` \
                closes it now. Circuit `inference`: the router's model file gives no finite numbers, see \
                `tiny_dancer_errors_total` with error_type `non_finite_output`; put a good file in place and call \
                `reload_model()`. Opened by hand with `force_open()`, or by a broken promise: it stays open until \
                `reset()`.",
        labels: &[("circuit", "lightweight"), ("instance", "a:1"), ("job", "j")],
        fires: &[Case {
            story: "open, with a probe that fails",
            series: &[(STATE, "0+0x3 2 2 1 2 2+0x20")],
            at: "2m30s",
        }],
        silent: &[Case {
            story: "open for half a minute",
            series: &[(STATE, "0+0x3 2+0x1 0+0x20")],
            at: "1m15s",
        }],
    },
    Alert {
        name: "TinyDancerCircuitOpened",
        // A circuit that stays open opens again after each failed probe, so closings are counted.
        expr: "round(sum by (job, instance, router, circuit) \
                (increase(tiny_dancer_circuit_breaker_transitions_total{to=\"closed\"}[30m]))) > 0",
        hold: "0m",
        severity: "warning",
        when: "a circuit opened and closed again within 30m",
        summary: "The {{ $labels.circuit }} circuit of {{ $labels.instance }} was open",
        description: "The circuit opened, its probes succeeded, and it closed. It may be closed at each scrape, so that its \
                state shows nothing.",
        runbook: "Nothing has to be done now. Look for the cause at the time of the transitions, which the dashboard marks: \
                for circuit `lightweight` the status of the called model, for circuit `inference` the `ERROR` lines. If it \
                recurs, [TinyDancerCircuitFlapping](#tinydancercircuitflapping) fires.",
        labels: &[("circuit", "lightweight"), ("instance", "a:1"), ("job", "j")],
        fires: &[Case {
            story: "closed at each scrape, but open between two of them",
            series: &[(STATE, "0+0x80"), (CLOSINGS, "0+0x8 1+0x70")],
            at: "4m",
        }],
        silent: &[
            Case {
                story: "open, with probes that fail",
                series: &[
                    (
                        r#"tiny_dancer_circuit_breaker_transitions_total{circuit="lightweight",to="open",@}"#,
                        "0+1x80",
                    ),
                    (CLOSINGS, "0+0x80"),
                ],
                at: "15m",
            },
            Case { story: "open half an hour ago", series: &[(CLOSINGS, "5+0x8 6+0x150")], at: "36m" },
        ],
    },
    Alert {
        name: "TinyDancerCircuitFlapping",
        // A circuit that stays open opens again after each failed probe, so closings are counted. Extrapolation makes
        // an increase a little more than a whole number.
        expr: "round(sum by (job, instance, router, circuit) \
                (increase(tiny_dancer_circuit_breaker_transitions_total{to=\"closed\"}[30m]))) > 2",
        hold: "0m",
        severity: "warning",
        when: "a circuit opened and closed again at least three times within 30m",
        summary: "The {{ $labels.circuit }} circuit of {{ $labels.instance }} keeps opening and closing",
        description: "The circuit opens, its probes succeed, and it opens again. It may be closed at each scrape, so that \
                its state shows nothing.",
        runbook: "The called model fails now and then: overload, a rate limit, one of several replicas. Circuit \
                `lightweight`: look at that model's own status at the times of the transitions, which the dashboard marks; \
                raise `lightweight_failure_ratio` or `lightweight_min_calls` if the failures are acceptable. Circuit \
                `inference`: some inputs give no finite number; the `ERROR` lines name them.",
        labels: &[("circuit", "lightweight"), ("instance", "a:1"), ("job", "j")],
        fires: &[Case {
            story: "closed at each scrape, but three times open between",
            series: &[
                (STATE, "0+0x80"),
                (
                    r#"tiny_dancer_circuit_breaker_transitions_total{circuit="lightweight",to="open",@}"#,
                    "0+0x8 1+0x20 2+0x20 3+0x30",
                ),
                (CLOSINGS, "0+0x8 1+0x20 2+0x20 3+0x30"),
            ],
            at: "15m",
        }],
        silent: &[
            Case {
                // The gap makes Prometheus extrapolate to a little more than 2.
                story: "twice open between scrapes",
                series: &[(CLOSINGS, "5+0x39 _ 5+0x20 6+0x30 7+0x90")],
                at: "40m",
            },
            Case {
                story: "open, with probes that fail",
                series: &[
                    (
                        r#"tiny_dancer_circuit_breaker_transitions_total{circuit="lightweight",to="open",@}"#,
                        "0+1x80",
                    ),
                    (CLOSINGS, "0+0x80"),
                ],
                at: "15m",
            },
        ],
    },
    Alert {
        name: "TinyDancerErrorRate",
        expr: "sum by (job, instance, router) (rate(tiny_dancer_routing_requests_total{status=\"failure\"}[5m]))\n  \
                / sum by (job, instance, router) (rate(tiny_dancer_routing_requests_total[5m])) > 0.05",
        hold: "5m",
        severity: "warning",
        when: "over 5% of the requests to an instance fail, for 5m",
        summary: "More than 5% of the requests to {{ $labels.instance }} fail",
        description: "Requests end with an error and without a decision, so the caller must choose a model.",
        runbook: "`tiny_dancer_errors_total` shows which error, the log and the trace of a failed request show which \
                candidate. `dimension_mismatch`, `zero_norm` and `non_finite_embedding`: the embedding model or the vector \
                store changed or is broken. `invalid_success_rate`, `invalid_win_rate` and `empty_query`: the caller's \
                code. `abandoned`: the caller's code drops scopes before they are routed, as after an early return. \
                `non_finite_output`: the model file. `circuit_open`: a circuit is open and `on_open` is `Reject`.",
        labels: INSTANCE,
        fires: &[Case {
            story: "one in ten fails",
            series: &[
                (r#"tiny_dancer_routing_requests_total{status="failure",@}"#, "0+10x60"),
                (r#"tiny_dancer_routing_requests_total{status="success",@}"#, "0+90x60"),
            ],
            at: "11m",
        }],
        silent: &[Case {
            story: "one in twenty-five fails",
            series: &[
                (r#"tiny_dancer_routing_requests_total{status="failure",@}"#, "0+4x60"),
                (r#"tiny_dancer_routing_requests_total{status="success",@}"#, "0+96x60"),
            ],
            at: "11m",
        }],
    },
    Alert {
        name: "TinyDancerSlow",
        // A scope includes the user's embedder, which may be a service far away.
        expr: "histogram_quantile(0.95, sum by (job, instance, router, le) \
                (rate(tiny_dancer_routing_latency_seconds_bucket{operation!=\"scope\"}[5m]))) > 0.01",
        hold: "5m",
        severity: "warning",
        when: "P95 of an instance is above 10 ms, scopes aside, for 5m",
        summary: "P95 of routing at {{ $labels.instance }} is above 10 ms",
        description: "A request of a hundred candidates takes microseconds, so something else takes the time. Scopes are left \
                out, since they include the embedder's time.",
        runbook: "Mostly the machine: too many threads for its processors, or a limit on processor time that stops the \
                program within a request. Look at the process' processor time and at throttling first. Then at candidates a \
                request: thousands take milliseconds. Then at the sampling ratio and at observers of your own: they run \
                within the request.",
        labels: INSTANCE,
        fires: &[Case {
            story: "one in ten takes up to 50 ms",
            series: &[
                (r#"tiny_dancer_routing_latency_seconds_bucket{le="0.01",@}"#, "0+90x60"),
                (r#"tiny_dancer_routing_latency_seconds_bucket{le="0.05",@}"#, "0+100x60"),
                (r#"tiny_dancer_routing_latency_seconds_bucket{le="+Inf",@}"#, "0+100x60"),
            ],
            at: "11m",
        }],
        silent: &[
            Case {
                story: "scopes that wait for their embedder",
                series: &[
                    (
                        r#"tiny_dancer_routing_latency_seconds_bucket{operation="scope",le="0.01",@}"#,
                        "0+0x60",
                    ),
                    (
                        r#"tiny_dancer_routing_latency_seconds_bucket{operation="scope",le="0.05",@}"#,
                        "0+100x60",
                    ),
                    (
                        r#"tiny_dancer_routing_latency_seconds_bucket{operation="scope",le="+Inf",@}"#,
                        "0+100x60",
                    ),
                ],
                at: "11m",
            },
            Case {
                story: "one in twenty-five takes up to 50 ms",
                series: &[
                    (r#"tiny_dancer_routing_latency_seconds_bucket{le="0.01",@}"#, "0+96x60"),
                    (r#"tiny_dancer_routing_latency_seconds_bucket{le="0.05",@}"#, "0+100x60"),
                    (r#"tiny_dancer_routing_latency_seconds_bucket{le="+Inf",@}"#, "0+100x60"),
                ],
                at: "11m",
            },
        ],
    },
    Alert {
        name: "TinyDancerSlowerThanNormal",
        expr: "job_operation_router:tiny_dancer_routing_latency_seconds:p95_rate5m\n  > 20 * \
                quantile_over_time(0.5, job_operation_router:tiny_dancer_routing_latency_seconds:p95_rate5m[1d] offset 1h)",
        hold: "10m",
        severity: "warning",
        when: "P95 of an operation is over 20 times its median of the day before, for 10m",
        summary: "{{ $labels.operation }} at {{ $labels.job }} takes over 20 times as long as on the day before",
        description: "P95 of the operation is far above its normal, though it may be far below 10 ms.",
        runbook: "What changed at that time: a deployment, a reload, the number of candidates a request \
                (`tiny_dancer_candidates_processed_total` by `batch_size_range`), the size of a set, an observer of your \
                own, the machine's load? Twenty times is more than ten times the candidates take. After a day the new time \
                is the normal one and the alert ends.",
        labels: &[("job", "j"), ("operation", "route")],
        fires: &[Case {
            story: "from 16 µs to 2.5 ms",
            series: &[
                (
                    r#"tiny_dancer_routing_latency_seconds_bucket{operation="route",le="0.000016",@}"#,
                    "0+100x260 26000+0x100",
                ),
                (
                    r#"tiny_dancer_routing_latency_seconds_bucket{operation="route",le="0.001",@}"#,
                    "0+100x260 26000+0x100",
                ),
                (
                    r#"tiny_dancer_routing_latency_seconds_bucket{operation="route",le="0.0025",@}"#,
                    "0+100x360",
                ),
                (r#"tiny_dancer_routing_latency_seconds_bucket{operation="route",le="+Inf",@}"#, "0+100x360"),
            ],
            at: "85m",
        }],
        silent: &[
            Case {
                story: "from 16 µs to 125 µs",
                series: &[
                    (
                        r#"tiny_dancer_routing_latency_seconds_bucket{operation="route",le="0.000016",@}"#,
                        "0+100x260 26000+0x100",
                    ),
                    (
                        r#"tiny_dancer_routing_latency_seconds_bucket{operation="route",le="0.000064",@}"#,
                        "0+100x260 26000+0x100",
                    ),
                    (
                        r#"tiny_dancer_routing_latency_seconds_bucket{operation="route",le="0.000125",@}"#,
                        "0+100x360",
                    ),
                    (
                        r#"tiny_dancer_routing_latency_seconds_bucket{operation="route",le="+Inf",@}"#,
                        "0+100x360",
                    ),
                ],
                at: "85m",
            },
            Case {
                story: "2.5 ms from the first day on",
                series: &[
                    (
                        r#"tiny_dancer_routing_latency_seconds_bucket{operation="route",le="0.001",@}"#,
                        "0+0x360",
                    ),
                    (
                        r#"tiny_dancer_routing_latency_seconds_bucket{operation="route",le="0.0025",@}"#,
                        "0+100x360",
                    ),
                    (
                        r#"tiny_dancer_routing_latency_seconds_bucket{operation="route",le="+Inf",@}"#,
                        "0+100x360",
                    ),
                ],
                at: "85m",
            },
        ],
    },
];

const DECISIONS: &[Alert] = &[
    Alert {
        name: "TinyDancerEmbeddingErrors",
        expr: "sum by (job, instance, router) (rate(tiny_dancer_embedding_errors_total{error_type!=\"no_tokens\"}[5m]))\n  \
                / sum by (job, instance, router) (rate(tiny_dancer_embedding_duration_seconds_count[5m])) > 0.05",
        hold: "5m",
        severity: "warning",
        when: "over 5% of the embeddings of an instance fail, texts without tokens aside, for 5m",
        summary: "More than 5% of the embeddings at {{ $labels.instance }} fail",
        description: "Requests whose text has no vector have no evidence and go to the powerful model, easy ones included.",
        runbook: "`tiny_dancer_embedding_errors_total` by `error_type` shows why; the `WARN` line `stage failed` and the \
                span `embedding` have the time. `unavailable` and `timeout`: the embedding service is down, slow or out of \
                reach, see its own status and `tiny_dancer_embedding_duration_seconds`. `rejected`: a key, a quota or a limit \
                on texts. `invalid_response` and `dimension_mismatch`: the service changed its model. `embedder_mismatch`: \
                the memory was filled by another embedder; embed it again.",
        labels: INSTANCE,
        fires: &[Case {
            story: "one in ten times out",
            series: &[
                (r#"tiny_dancer_embedding_errors_total{error_type="deadline_exceeded",@}"#, "0+10x60"),
                ("tiny_dancer_embedding_duration_seconds_count{@}", "0+100x60"),
            ],
            at: "11m",
        }],
        silent: &[
            Case {
                story: "one in twenty-five times out",
                series: &[
                    (r#"tiny_dancer_embedding_errors_total{error_type="deadline_exceeded",@}"#, "0+4x60"),
                    ("tiny_dancer_embedding_duration_seconds_count{@}", "0+100x60"),
                ],
                at: "11m",
            },
            Case {
                story: "one in ten texts has no tokens",
                series: &[
                    (r#"tiny_dancer_embedding_errors_total{error_type="no_tokens",@}"#, "0+10x60"),
                    ("tiny_dancer_embedding_duration_seconds_count{@}", "0+100x60"),
                ],
                at: "11m",
            },
        ],
    },
    Alert {
        name: "TinyDancerNoLightweight",
        expr: "sum by (job, instance, router) \
                (rate(tiny_dancer_routing_decisions_total{model_type=\"lightweight\"}[15m])) == 0\n  \
                and sum by (job, instance, router) (rate(tiny_dancer_routing_decisions_total[15m])) > 0",
        hold: "15m",
        severity: "warning",
        when: "an instance has traffic, and none of it is lightweight, for 15m",
        summary: "{{ $labels.instance }} sends nothing to the lightweight model",
        description: "There is traffic, and all of it goes to the powerful model: the router saves nothing.",
        runbook: "`tiny_dancer_routing_decisions_total` by `reason` shows why. `no_evidence`: the embedder is down, or the \
                vector store is empty or its search fails. `circuit_open`: see [TinyDancerCircuitOpen](#tinydancercircuitopen). \
                `high_uncertainty`: the embedding model or the memory differs from that of the calibration; recalibrate. \
                `low_confidence`: success rates have fallen, or thresholds are too high for this traffic.",
        labels: INSTANCE,
        fires: &[Case {
            story: "all powerful",
            series: &[(LIGHTWEIGHT, "0+0x200"), (NO_EVIDENCE, "0+5x200")],
            at: "40m",
        }],
        silent: &[
            Case {
                story: "a trickle of lightweight",
                series: &[(LIGHTWEIGHT, "0+1x200"), (NO_EVIDENCE, "0+500x200")],
                at: "40m",
            },
            Case {
                story: "no traffic at all",
                series: &[(LIGHTWEIGHT, "0+0x200"), (NO_EVIDENCE, "7+0x200")],
                at: "40m",
            },
        ],
    },
    Alert {
        name: "TinyDancerNoEvidence",
        expr: "sum by (job, instance, router) \
                (rate(tiny_dancer_routing_decisions_total{reason=\"no_evidence\"}[15m]))\n  \
                / sum by (job, instance, router) (rate(tiny_dancer_routing_decisions_total[15m])) > 0.5",
        hold: "30m",
        severity: "warning",
        when: "over half of the decisions of an instance have no candidates, for 30m",
        summary: "Over half of the requests to {{ $labels.instance }} have no candidates",
        description: "Requests without candidates go to the powerful model, easy ones included. The rest is routed as \
                usual.",
        runbook: "The search of the vector store finds nothing for most requests. Is the store reachable and filled? Does \
                the search fail for a part of the requests: a timeout, one of several shards, a filter by tenant? Is the \
                limit on the distance too strict since the embedding model changed? A new store needs some days of \
                requests until most of them have neighbours.",
        labels: INSTANCE,
        fires: &[Case {
            story: "95 in a hundred for an hour",
            series: &[(LIGHTWEIGHT, "0+100x80 8000+5x240"), (NO_EVIDENCE, "0+0x80 0+95x240")],
            at: "80m",
        }],
        silent: &[Case {
            story: "two in five for an hour",
            series: &[(LIGHTWEIGHT, "0+60x320"), (NO_EVIDENCE, "0+40x320")],
            at: "80m",
        }],
    },
    Alert {
        name: "TinyDancerConfidenceShift",
        // Without the instance: after a rolling deployment no instance has an hour before.
        expr: "abs(\n  sum by (job, router) (rate(tiny_dancer_confidence_scores_sum[15m]))\n    \
                / sum by (job, router) (rate(tiny_dancer_confidence_scores_count[15m]))\n  \
                - sum by (job, router) (rate(tiny_dancer_confidence_scores_sum[1h] offset 15m))\n    \
                / sum by (job, router) (rate(tiny_dancer_confidence_scores_count[1h] offset 15m))\n) > 0.1",
        hold: "10m",
        severity: "warning",
        when: "mean confidence of a job has moved by over 0.1 against the hour before, for 10m",
        summary: "Mean confidence of {{ $labels.job }} has moved by more than 0.1 against the hour before",
        description: "Confidences differ from those of the hour before: traffic, the memory or the model has changed, \
                and calibration may no longer hold.",
        runbook: "Was a model reloaded or deployed (`tiny_dancer_model_info`, annotations on the dashboard)? Then it is \
                the new model; compare its evaluation. Was the memory rebuilt or the embedding model changed? Then \
                recalibrate. Neither: look at the requests. Watch outcomes meanwhile, and the promise if there is one.",
        labels: JOB,
        fires: &[
            Case {
                story: "from 0.9 to 0.5",
                series: &[
                    (
                        r#"tiny_dancer_confidence_scores_sum{decision_type="lightweight",@}"#,
                        "0+90x320 28850+50x100",
                    ),
                    (r#"tiny_dancer_confidence_scores_count{decision_type="lightweight",@}"#, "0+100x420"),
                ],
                at: "105m",
            },
            Case {
                story: "from 0.9 to 0.5 with a deployment that renames the instance",
                series: &[
                    (r#"tiny_dancer_confidence_scores_sum{decision_type="lightweight",@}"#, "0+90x320"),
                    (r#"tiny_dancer_confidence_scores_count{decision_type="lightweight",@}"#, "0+100x320"),
                    (
                        r#"tiny_dancer_confidence_scores_sum{decision_type="lightweight",instance="b:1",job="j"}"#,
                        "_x320 0+50x100",
                    ),
                    (
                        r#"tiny_dancer_confidence_scores_count{decision_type="lightweight",instance="b:1",job="j"}"#,
                        "_x320 0+100x100",
                    ),
                ],
                at: "105m",
            },
        ],
        silent: &[Case {
            story: "from 0.9 to 0.85",
            series: &[
                (
                    r#"tiny_dancer_confidence_scores_sum{decision_type="lightweight",@}"#,
                    "0+90x320 28885+85x100",
                ),
                (r#"tiny_dancer_confidence_scores_count{decision_type="lightweight",@}"#, "0+100x420"),
            ],
            at: "105m",
        }],
    },
    Alert {
        name: "TinyDancerCostAboveBaseline",
        // The margin is for rounding: without lightweight decisions both costs are equal.
        expr: "sum by (job, router) (rate(tiny_dancer_cost_total[1h]))\n  \
                > 1.01 * sum by (job, router) (rate(tiny_dancer_baseline_cost_total[1h]))",
        hold: "30m",
        severity: "warning",
        when: "routing costs over 1% more than the powerful model alone, within 1h, for 30m",
        summary: "Routing at {{ $labels.job }} costs more than sending everything to the powerful model",
        description: "So many answers of the lightweight model fail or are insufficient that the repeated calls cost more \
                than the others save.",
        runbook: "`tiny_dancer_outcomes_total` for `lightweight` shows the share of bad answers. Much `call_failed`: the \
                lightweight model is down; force its circuit open until it is back. Much `insufficient`: promise a smaller \
                risk, or raise the confidence threshold, or calibrate on recent traffic. Compare the configured prices with \
                the bill.",
        labels: JOB,
        fires: &[Case {
            story: "a tenth more",
            series: &[
                (r#"tiny_dancer_cost_total{model_type="lightweight",@}"#, "0+0.2x500"),
                (r#"tiny_dancer_cost_total{model_type="powerful",@}"#, "0+0.9x500"),
                ("tiny_dancer_baseline_cost_total{@}", "0+1x500"),
            ],
            at: "100m",
        }],
        silent: &[
            Case {
                story: "all powerful",
                series: &[
                    (r#"tiny_dancer_cost_total{model_type="lightweight",@}"#, "0+0x500"),
                    (r#"tiny_dancer_cost_total{model_type="powerful",@}"#, "0+0.3x500"),
                    ("tiny_dancer_baseline_cost_total{@}", "0+0.3x500"),
                ],
                at: "100m",
            },
            Case {
                story: "a tenth less",
                series: &[
                    (r#"tiny_dancer_cost_total{model_type="lightweight",@}"#, "0+0.1x500"),
                    (r#"tiny_dancer_cost_total{model_type="powerful",@}"#, "0+0.8x500"),
                    ("tiny_dancer_baseline_cost_total{@}", "0+1x500"),
                ],
                at: "100m",
            },
        ],
    },
];

const BUDGET: &[Alert] = &[
    Alert {
        name: "TinyDancerBudgetBurnFast",
        // The bound rises with each judgement that is drawn, and falls when it is good, so few answers say nothing.
        expr: "max by (job, instance, router) (delta(tiny_dancer_budget_bound_answers[1h])\n  \
                > 2 * delta(tiny_dancer_budget_allowed_answers[1h])\n  \
                and delta(tiny_dancer_budget_bound_answers[5m]) > 2 * delta(tiny_dancer_budget_allowed_answers[5m])\n  \
                and delta(tiny_dancer_budget_bound_answers[1h]) > 20)",
        hold: "2m",
        severity: "critical",
        when: "within 1h and within 5m, worse answers use the quality budget over twice as fast as it grows",
        summary: "{{ $labels.instance }} spends its quality budget at twice the rate at which it grows",
        description: "So many answers of the lightweight model are worse that savings of the budget are used up. When they are, \
                requests go to the powerful model. The promise holds in any case.",
        runbook: "Has the lightweight model, its prompt or the judge changed? `tiny_dancer_budget_judgements` shows whether \
                judgements are worse or expired. Expired ones: see \
                [TinyDancerJudgementsExpired](#tinydancerjudgementsexpired). Worse ones of a changed model: force the \
                `lightweight` circuit open until it is back. A change of the traffic needs nothing: the thresholds follow \
                within some hundred requests.",
        labels: INSTANCE,
        fires: &[Case {
            story: "four times as fast",
            series: &[
                ("tiny_dancer_budget_bound_answers{@}", "30+1x450"),
                ("tiny_dancer_budget_allowed_answers{@}", "200+0.25x450"),
            ],
            at: "90m",
        }],
        silent: &[
            Case {
                story: "as fast as it grows",
                series: &[
                    ("tiny_dancer_budget_bound_answers{@}", "30+1x450"),
                    ("tiny_dancer_budget_allowed_answers{@}", "200+1x450"),
                ],
                at: "90m",
            },
            Case {
                story: "four times as fast, until ten minutes ago",
                series: &[
                    ("tiny_dancer_budget_bound_answers{@}", "30+1x320 350+0x200"),
                    ("tiny_dancer_budget_allowed_answers{@}", "200+0.25x450"),
                ],
                at: "90m",
            },
            Case {
                story: "a few pending judgements",
                series: &[
                    ("tiny_dancer_budget_bound_answers{@}", "30+0x345 36+3x60"),
                    ("tiny_dancer_budget_allowed_answers{@}", "200+0.01x450"),
                ],
                at: "87m",
            },
        ],
    },
    Alert {
        name: "TinyDancerBudgetBurnSlow",
        expr: "max by (job, instance, router) (delta(tiny_dancer_budget_bound_answers[6h])\n  \
                > 1.2 * delta(tiny_dancer_budget_allowed_answers[6h])\n  \
                and delta(tiny_dancer_budget_bound_answers[30m]) > 1.2 * delta(tiny_dancer_budget_allowed_answers[30m])\n  \
                and delta(tiny_dancer_budget_bound_answers[6h]) > 50)",
        hold: "15m",
        severity: "warning",
        when: "within 6h and within 30m, worse answers use the quality budget over 1.2 times as fast as it grows, for 15m",
        summary: "{{ $labels.instance }} spends more of its quality budget than it grows by",
        description: "The budget has savings, and worse answers use them up. The thresholds become more careful as it shrinks.",
        runbook: "It may be intended: pacing spends what has been saved over some hundred requests, such as after a start with a \
                large `burst`. If it recurs, look at `tiny_dancer_budget_confidence_threshold`: if it rises, the traffic has \
                become harder, or the lightweight model worse.",
        labels: INSTANCE,
        fires: &[Case {
            story: "half as fast again",
            series: &[
                ("tiny_dancer_budget_bound_answers{@}", "30+1.5x2000"),
                ("tiny_dancer_budget_allowed_answers{@}", "300+1x2000"),
            ],
            at: "450m",
        }],
        silent: &[Case {
            story: "as fast as it grows",
            series: &[
                ("tiny_dancer_budget_bound_answers{@}", "30+1x2000"),
                ("tiny_dancer_budget_allowed_answers{@}", "300+1x2000"),
            ],
            at: "450m",
        }],
    },
    Alert {
        name: "TinyDancerBudgetSpent",
        expr: "sum by (job, router) (rate(tiny_dancer_routing_decisions_total{reason=\"budget_spent\"}[1h]))\n  \
                > 0.5 * sum by (job, router) \
                (rate(tiny_dancer_routing_decisions_total{reason=~\"budget_spent|confident|explored\"}[1h]))\n\
                and sum by (job, router) (rate(tiny_dancer_routing_decisions_total{reason=\"budget_spent\"}[5m]))\n  \
                > 0.5 * sum by (job, router) \
                (rate(tiny_dancer_routing_decisions_total{reason=~\"budget_spent|confident|explored\"}[5m]))",
        hold: "15m",
        severity: "warning",
        when: "the quality budget refuses over half of the lightweight decisions, within 1h and within 5m, for 15m",
        summary: "The quality budget of {{ $labels.job }} is spent",
        description: "Most requests that the router would send to the lightweight model go to the powerful one, which costs more. \
                The quality is as promised.",
        runbook: "`tiny_dancer_budget_missing_answers` says how many answers are missing. At the start of a budget that judges by \
                chance that is ordinary: it opens once it can afford its logarithm, some hundred answers later. Does it grow at \
                all? `tiny_dancer_budget_answers` must rise, which is `answered()` in your program. Are judgements made? \
                Pending and expired ones count as worse. Is there room for them? A judge without money or queue closes the \
                account. Otherwise the lightweight model is worse than the budget allows.",
        labels: JOB,
        fires: &[Case {
            story: "three of four are refused",
            series: &[
                (LIGHTWEIGHT, "0+10x450"),
                (
                    r#"tiny_dancer_routing_decisions_total{model_type="powerful",reason="budget_spent",@}"#,
                    "0+30x450",
                ),
            ],
            at: "100m",
        }],
        silent: &[
            Case {
                story: "one of ten is refused",
                series: &[
                    (LIGHTWEIGHT, "0+90x450"),
                    (
                        r#"tiny_dancer_routing_decisions_total{model_type="powerful",reason="budget_spent",@}"#,
                        "0+10x450",
                    ),
                ],
                at: "100m",
            },
            Case { story: "there is no budget", series: &[(LIGHTWEIGHT, "0+90x450")], at: "100m" },
        ],
    },
    Alert {
        name: "TinyDancerJudgementsExpired",
        expr: "sum by (job, instance, router) (delta(tiny_dancer_budget_judgements{state=\"expired\"}[1h])) > 3\n\
                and sum by (job, instance, router) (delta(tiny_dancer_budget_judgements{state=\"expired\"}[1h]))\n  \
                > 0.1 * sum by (job, instance, router) \
                (delta(tiny_dancer_budget_judgements{state!=\"pending\"}[1h]))",
        hold: "5m",
        severity: "warning",
        when: "over a tenth of the judgements are not made in time, within 1h, for 5m",
        summary: "The judge of {{ $labels.instance }} does not keep up",
        description: "A judgement that is not made within `judgement_timeout` counts as worse, so the quality budget pays for \
                answers that may be good.",
        runbook: "Is the judge reachable, and how long is its queue? Limit what may be drawn to what it has room for \
                (`limit_judgements`), lower the judging rate for a new budget, or lengthen `judgement_timeout`. Verdicts that \
                arrive within as long again restore what was charged: `tiny_dancer_budget_settlements_total` counts them as \
                `restored`.",
        labels: INSTANCE,
        fires: &[Case {
            story: "a third expires",
            series: &[
                (r#"tiny_dancer_budget_judgements{state="expired",@}"#, "0+1x450"),
                (r#"tiny_dancer_budget_judgements{state="good",@}"#, "0+2x450"),
                (r#"tiny_dancer_budget_judgements{state="pending",@}"#, "5+0x450"),
            ],
            at: "90m",
        }],
        silent: &[
            Case {
                story: "one in a hundred expires",
                series: &[
                    (r#"tiny_dancer_budget_judgements{state="expired",@}"#, "0+0.1x450"),
                    (r#"tiny_dancer_budget_judgements{state="good",@}"#, "0+10x450"),
                ],
                at: "90m",
            },
            Case {
                story: "two judgements, and both expire",
                series: &[
                    (r#"tiny_dancer_budget_judgements{state="expired",@}"#, "0+0x240 2+0x300"),
                    (r#"tiny_dancer_budget_judgements{state="good",@}"#, "7+0x450"),
                ],
                at: "90m",
            },
        ],
    },
];

const MODEL: &[Alert] = &[
    Alert {
        name: "TinyDancerOutcomesMissing",
        expr: "sum by (job, router) (increase(tiny_dancer_outcomes_total[1h]))\n  \
                < 0.1 * job_router:tiny_dancer_outcomes_per_decisions:ratio_rate1d\n    \
                * sum by (job, router) (increase(tiny_dancer_routing_decisions_total[1h]))\n\
                and job_router:tiny_dancer_outcomes_per_decisions:ratio_rate1d\n    \
                * sum by (job, router) (increase(tiny_dancer_routing_decisions_total[1h])) > 20",
        hold: "15m",
        severity: "warning",
        when: "within 1h, under a tenth of the outcomes are reported that the day before leads to expect, for 15m",
        summary: "{{ $labels.job }} hardly reports outcomes any more, although requests go on",
        description: "The `lightweight` circuit and the test of the promise see nothing of what happens now. The alert \
                needs 20 expected outcomes an hour, and ends by itself a day after the reports ended.",
        runbook: "Outcomes come from your code: `record_outcome`. Does the part that judges answers still run, and does \
                its queue move? Was it deployed without the call? If outcomes arrive in batches, lengthen the window of \
                one hour beyond the time between two batches. If the reports ended on purpose, silence the alert for a day.",
        labels: JOB,
        fires: &[Case {
            story: "the reports end, the requests go on",
            series: &[(SUFFICED, "0+10x300 3000+0x320"), (LIGHTWEIGHT, "0+20x620")],
            at: "2h35m",
        }],
        silent: &[
            Case {
                story: "the requests end, too",
                series: &[(SUFFICED, "0+10x300 3000+0x320"), (LIGHTWEIGHT, "0+20x300 6000+0x320")],
                at: "2h35m",
            },
            Case {
                story: "so few requests that none of them may be reported by chance",
                series: &[(SUFFICED, "0+1x300 300+0x320"), (LIGHTWEIGHT, "0+20x300 6000+1x320")],
                at: "2h35m",
            },
            Case {
                story: "half as many as on the day before",
                series: &[(SUFFICED, "0+10x300 3000+5x320"), (LIGHTWEIGHT, "0+20x620")],
                at: "2h35m",
            },
            Case {
                story: "never reported",
                series: &[(SUFFICED, "0+0x620"), (LIGHTWEIGHT, "0+20x620")],
                at: "2h35m",
            },
        ],
    },
    Alert {
        name: "TinyDancerPromiseBroken",
        expr: "max by (job, instance, router) (tiny_dancer_promise_broken) == 1",
        hold: "0m",
        severity: "critical",
        when: "outcomes refute the promised risk",
        summary: "The promise of {{ $labels.instance }} is broken",
        description: "Outcomes refute the promise: more than the promised share of the lightweight model's answers is \
                insufficient, with the promised confidence.",
        runbook: "Compare `tiny_dancer_promise_insufficient_ratio` with `tiny_dancer_promised_alpha`. Make sure that \
                outcomes are reported independently of their result; complaints alone refute any promise. If the excess is \
                real: calibrate on recent traffic and reload, or promise less. Until then, open the lightweight circuit \
                with `force_open()`, or set `open_on_broken_promise`. The alert ends with `reset_promise()` and the next \
                outcome, or with a reload that changes the model or its thresholds.",
        labels: INSTANCE,
        fires: &[Case {
            story: "refuted a moment ago",
            series: &[("tiny_dancer_promise_broken{@}", "0+0x3 1+0x10")],
            at: "1m",
        }],
        silent: &[Case {
            story: "some evidence, and kept so far",
            series: &[
                ("tiny_dancer_promise_broken{@}", "0+0x20"),
                ("tiny_dancer_promise_evidence{@}", "1+1x20"),
            ],
            at: "5m",
        }],
    },
    Alert {
        name: "TinyDancerPromiseWasBroken",
        expr: "max by (job, router) (max_over_time(tiny_dancer_promise_broken[3d])) == 1\n  \
                unless max by (job, router) (tiny_dancer_promise_broken) == 1",
        hold: "0m",
        severity: "warning",
        when: "outcomes refuted the promised risk within 3d, and the promise was made again since",
        summary: "The promise of {{ $labels.job }} was broken within the last three days",
        description: "The evidence against the promise is gone, by a reset, a reload or a restart of the process. After \
                a restart the same model makes the same promise again, and nothing is repaired.",
        runbook: "Find out which of the three it was: the log has a line for each. After a restart act as after \
                [TinyDancerPromiseBroken](#tinydancerpromisebroken). After that, or if it was done on purpose, silence the \
                alert for three days.",
        labels: JOB,
        fires: &[
            Case {
                story: "the process restarted",
                series: &[("tiny_dancer_promise_broken{@}", "0+0x3 1+0x10 0+0x200")],
                at: "40m",
            },
            Case {
                story: "another instance took over",
                series: &[
                    ("tiny_dancer_promise_broken{@}", "0+0x3 1+0x10"),
                    (r#"tiny_dancer_promise_broken{instance="b:1",job="j"}"#, "_x14 0+0x200"),
                ],
                at: "40m",
            },
        ],
        silent: &[
            Case {
                story: "it is still broken, which is another alert",
                series: &[("tiny_dancer_promise_broken{@}", "0+0x3 1+0x200")],
                at: "40m",
            },
            Case {
                story: "it was always kept",
                series: &[("tiny_dancer_promise_broken{@}", "0+0x200")],
                at: "40m",
            },
        ],
    },
    Alert {
        name: "TinyDancerReloadFailing",
        expr: "min by (job, instance, router) (tiny_dancer_model_last_reload_successful) == 0",
        hold: "0m",
        severity: "warning",
        when: "the last reload failed, until one succeeds",
        summary: "{{ $labels.instance }} could not load its model",
        description: "The last reload failed and none has succeeded since. The model from before it serves.",
        runbook: "The `WARN` line of the failed reload and the error of `reload_model()` name what is wrong with the \
                file. Truncated or foreign: copy it again, under another name, and rename it into place. A promise that it \
                can't keep: calibrate it on more rows, or promise less. `tiny_dancer_model_info` shows the version that \
                serves, `tiny_dancer_model_last_reload_timestamp_seconds` since when. The alert ends with the next \
                `reload_model()` that succeeds.",
        labels: INSTANCE,
        fires: &[Case {
            story: "a reload failed 35 minutes ago",
            series: &[("tiny_dancer_model_last_reload_successful{@}", "1+0x4 0+0x200")],
            at: "36m15s",
        }],
        silent: &[Case {
            story: "a reload failed, the next one succeeded",
            series: &[("tiny_dancer_model_last_reload_successful{@}", "1+0x4 0+0x20 1+0x200")],
            at: "36m15s",
        }],
    },
];

const MEMORY: &[Alert] = &[
    Alert {
        name: "TinyDancerMemoryBehind",
        expr: "max by (job, instance, router) (tiny_dancer_memory_queue_length / tiny_dancer_memory_queue_capacity) > 0.8",
        hold: "5m",
        severity: "warning",
        when: "the queue before the memory's store is over 80% full, for 5m",
        summary: "The memory of {{ $labels.instance }} falls behind",
        description: "Changes come faster than the store makes them durable. Once the queue is full, further changes are lost. \
                Requests are not affected: they read the memory in process.",
        runbook: "`tiny_dancer_memory_commit_duration_seconds` shows how long a commit takes. Long: the disk is slow, overloaded or \
                shared, or a backup or a compaction runs. Short: there are more changes than one writer stores; compare \
                `tiny_dancer_memory_changes_stored_total` with the requests, lower `shadow_rate`, or give the memory a longer \
                queue, if the excess is a burst.",
        labels: INSTANCE,
        fires: &[Case {
            story: "nine in ten slots are taken",
            series: &[
                ("tiny_dancer_memory_queue_length{@}", "0+0x4 900+0x60"),
                ("tiny_dancer_memory_queue_capacity{@}", "1000+0x64"),
            ],
            at: "7m",
        }],
        silent: &[
            Case {
                story: "half of the slots are taken",
                series: &[
                    ("tiny_dancer_memory_queue_length{@}", "500+0x64"),
                    ("tiny_dancer_memory_queue_capacity{@}", "1000+0x64"),
                ],
                at: "7m",
            },
            Case {
                story: "full for three minutes",
                series: &[
                    ("tiny_dancer_memory_queue_length{@}", "0+0x4 1000+0x12 0+0x60"),
                    ("tiny_dancer_memory_queue_capacity{@}", "1000+0x80"),
                ],
                at: "7m",
            },
        ],
    },
    Alert {
        name: "TinyDancerMemoryChangesLost",
        expr: "round(sum by (job, instance, router, error_type) \
                (increase(tiny_dancer_memory_changes_lost_total[15m]))) > 0",
        hold: "0m",
        severity: "warning",
        when: "changes of the memory were lost within 15m",
        summary: "The memory of {{ $labels.instance }} loses changes: {{ $labels.error_type }}",
        description: "Requests or verdicts are in the memory of the process and will be gone after a restart. Requests are not \
                affected.",
        runbook: "`queue_full`: the store falls behind, see [TinyDancerMemoryBehind](#tinydancermemorybehind). `full`: make room on \
                the disk, or let entries expire earlier. `read_only`: mount the file system for writing, and check its owner. \
                `locked`: another process writes to this file; give each its own. `unavailable`: the disk fails, see the kernel's \
                log. `corrupt`: stop, and restore the last backup. `unsupported_version`: a newer version has written the file; \
                deploy that one. Losses end by themselves once commits succeed; what was lost is reported by the line \
                `memory changes lost`.",
        labels: &[("error_type", "full"), ("instance", "a:1"), ("job", "j")],
        fires: &[Case {
            story: "the disk was full for a moment",
            series: &[(r#"tiny_dancer_memory_changes_lost_total{error_type="full",@}"#, "0+0x8 12+0x60")],
            at: "4m",
        }],
        silent: &[Case {
            story: "lost half an hour ago",
            series: &[(r#"tiny_dancer_memory_changes_lost_total{error_type="full",@}"#, "0+0x8 12+0x160")],
            at: "32m",
        }],
    },
    Alert {
        name: "TinyDancerMemoryNotStoring",
        expr: "min by (job, instance, router) (min_over_time(tiny_dancer_memory_queue_length[10m])) > 0\n\
                and sum by (job, instance, router) (increase(tiny_dancer_memory_changes_stored_total[10m])) == 0",
        hold: "1m",
        severity: "critical",
        when: "changes of the memory wait and none is stored, for over 10m",
        summary: "The memory of {{ $labels.instance }} stores nothing",
        description: "Changes wait for the store and no commit succeeds. All of them are lost if the process ends.",
        runbook: "Look for lines `memory commit failed` first, they name the error. Without any: the writer waits for the disk, or \
                for a lock on the file. Look at the state of the process' threads (`D` is a disk that does not answer) and \
                at other processes that hold the file. A restart loses what waits, so copy the file by a backup first if the disk \
                answers again.",
        labels: INSTANCE,
        fires: &[Case {
            story: "the disk does not answer",
            series: &[
                ("tiny_dancer_memory_queue_length{@}", "0+0x8 1+1x80"),
                ("tiny_dancer_memory_changes_stored_total{@}", "0+5x8 40+0x80"),
            ],
            at: "14m",
        }],
        silent: &[
            Case {
                story: "nothing waits",
                series: &[
                    ("tiny_dancer_memory_queue_length{@}", "0+0x90"),
                    ("tiny_dancer_memory_changes_stored_total{@}", "40+0x90"),
                ],
                at: "14m",
            },
            Case {
                story: "some wait, and others are stored",
                series: &[
                    ("tiny_dancer_memory_queue_length{@}", "5+0x90"),
                    ("tiny_dancer_memory_changes_stored_total{@}", "0+3x90"),
                ],
                at: "14m",
            },
        ],
    },
];

const PROGRAM: &[Alert] = &[
    Alert {
        name: "TinyDancerSpansLost",
        expr: "sum by (job, instance, router) (rate(tiny_dancer_spans_total{result=~\"dropped|failed\"}[5m]))\n  \
                / sum by (job, instance, router) (rate(tiny_dancer_spans_total[5m])) > 0.01",
        hold: "10m",
        severity: "warning",
        when: "over 1% of the spans of an instance never arrive, for 10m",
        summary: "Over 1% of the spans of {{ $labels.instance }} never reach the collector",
        description: "Traces of this instance are incomplete or missing. Requests are not affected: spans wait in a \
                bounded queue, and another thread sends them.",
        runbook: "`tiny_dancer_spans_total` by `result` shows why. `failed`: the collector is unreachable or slow, or \
                refuses them; the `WARN` line `spans can't be exported` has its error, and `spans are exported again` \
                follows by itself. `dropped`: there are more spans than one connection carries; lower `sampling_ratio` or \
                `candidate_spans`, or raise `OTEL_BSP_MAX_QUEUE_SIZE` if they come in bursts.",
        labels: INSTANCE,
        fires: &[Case {
            story: "one in twenty is dropped",
            series: &[
                (r#"tiny_dancer_spans_total{result="dropped",@}"#, "0+5x80"),
                (r#"tiny_dancer_spans_total{result="flushed",@}"#, "0+95x80"),
            ],
            at: "16m",
        }],
        silent: &[
            Case {
                story: "one in two hundred is dropped",
                series: &[
                    (r#"tiny_dancer_spans_total{result="dropped",@}"#, "0+1x80"),
                    (r#"tiny_dancer_spans_total{result="flushed",@}"#, "0+199x80"),
                ],
                at: "16m",
            },
            Case {
                story: "the collector was unreachable for two minutes",
                series: &[
                    (r#"tiny_dancer_spans_total{result="failed",@}"#, "0+0x20 100+100x8 900+0x60"),
                    (r#"tiny_dancer_spans_total{result="flushed",@}"#, "0+100x20 2000+0x8 2100+100x60"),
                ],
                at: "11m",
            },
        ],
    },
    Alert {
        name: "TinyDancerTargetDown",
        expr: "up{job=\"tiny-dancer\"} == 0",
        hold: "1m",
        severity: "critical",
        when: "Prometheus can't scrape a target, for 1m",
        summary: "Prometheus can't scrape {{ $labels.instance }}",
        description: "The program is down, or its `/metrics` can't be reached. No other alert can fire for it meanwhile. \
                The rule expects the job name `tiny-dancer`.",
        runbook: "Open the target's page in Prometheus: it shows the error of the last scrape. Refused: the program is \
                down, or listens elsewhere; the server of the library listens at the loopback address unless configured \
                otherwise. Timed out: the machine is overloaded. Then read the program's log.",
        labels: &[("instance", "a:1"), ("job", "tiny-dancer")],
        fires: &[Case {
            story: "down",
            series: &[(r#"up{instance="a:1",job="tiny-dancer"}"#, "1+0x3 0+0x20")],
            at: "3m",
        }],
        silent: &[Case {
            story: "two scrapes missed",
            series: &[(r#"up{instance="a:1",job="tiny-dancer"}"#, "1+0x3 0+0x1 1+0x20")],
            at: "1m15s",
        }],
    },
    Alert {
        name: "TinyDancerTargetGone",
        expr: "absent(up{job=\"tiny-dancer\"})",
        hold: "5m",
        severity: "critical",
        when: "Prometheus knows no target of the job, for 5m",
        summary: "Prometheus knows no target of the job {{ $labels.job }}",
        description: "Service discovery finds no instance, so Prometheus scrapes none and no other alert can fire. The \
                rule expects the job name `tiny-dancer`.",
        runbook: "Look at service discovery in Prometheus: are the targets missing, or dropped by relabelling? Was the \
                deployment deleted or scaled to 0, its label or port renamed, or the job renamed in Prometheus? If several \
                jobs run the router, give each a copy of this rule.",
        labels: &[("job", "tiny-dancer")],
        fires: &[Case {
            story: "gone from service discovery",
            series: &[(r#"up{instance="a:1",job="tiny-dancer"}"#, "1+0x3 stale")],
            at: "7m",
        }],
        silent: &[
            Case {
                story: "gone for four minutes",
                series: &[(r#"up{instance="a:1",job="tiny-dancer"}"#, "1+0x3 stale _x15 1+0x20")],
                at: "4m45s",
            },
            Case {
                story: "one of two is gone",
                series: &[
                    (r#"up{instance="a:1",job="tiny-dancer"}"#, "1+0x3 stale"),
                    (r#"up{instance="b:1",job="tiny-dancer"}"#, "1+0x60"),
                ],
                at: "7m",
            },
        ],
    },
];
