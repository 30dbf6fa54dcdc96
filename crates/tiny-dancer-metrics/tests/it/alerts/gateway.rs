//! The alerts on the gateway.

use super::list::{INSTANCE, JOB};
use super::objectives::FAST;
use super::{Alert, Case, Recording};

// Series that several cases have.
const ANSWERED: &str = r#"tiny_dancer_gateway_requests_total{result="answered",@}"#;
const FAILED: &str = r#"tiny_dancer_gateway_requests_total{result="failed",@}"#;
const REFUSED: &str = r#"tiny_dancer_gateway_requests_total{result="refused",@}"#;
const SUCCESSES: &str = r#"tiny_dancer_gateway_upstream_calls_total{model="m",result="success",@}"#;
const ERRORS: &str = r#"tiny_dancer_gateway_upstream_calls_total{model="m",result="server_error",@}"#;
const REJECTED: &str = r#"tiny_dancer_gateway_upstream_calls_total{model="m",result="client_error",@}"#;
const OPEN: &str = r#"tiny_dancer_gateway_upstream_circuit_open{model="m",@}"#;
const QUEUED: &str = "tiny_dancer_gateway_requests_queued{@}";
const CONFIDENT: &str =
    r#"tiny_dancer_gateway_served_total{decided="lightweight",reason="confident",served="lightweight",@}"#;
const FALLBACKS: &str = r#"tiny_dancer_gateway_served_total{decided="lightweight",reason="lightweight_failed",served="powerful",@}"#;
const POWERFUL: &str =
    r#"tiny_dancer_gateway_served_total{decided="powerful",reason="low_confidence",served="powerful",@}"#;
const COST: &str = r#"tiny_dancer_gateway_cost_total{model="m",@}"#;
const BASELINE: &str = "tiny_dancer_gateway_baseline_cost_total{@}";
const NO_WORSE: &str = r#"tiny_dancer_gateway_judgements_total{result="no_worse",@}"#;
const RELOADED: &str = "tiny_dancer_gateway_config_last_reload_successful{@}";

const MODEL: &[(&str, &str)] = &[("instance", "a:1"), ("job", "j"), ("model", "m")];

/// What alerts need of the day before.
pub(super) const RECORDINGS: &[Recording] = &[Recording {
    name: "job_model:tiny_dancer_gateway_time_to_first_chunk_seconds:p95_rate5m",
    // Without calls it is not a number, which would count in the median of a day.
    expr: "histogram_quantile(0.95, sum by (job, model, le) \
            (rate(tiny_dancer_gateway_time_to_first_chunk_seconds_bucket[5m]))) > 0",
    group: FAST,
}];

pub(super) const ALERTS: &[Alert] = &[
    Alert {
        name: "TinyDancerGatewayFailing",
        // Clients' own mistakes are refused or fail, too, so a sign of a failing model is required.
        expr: "sum by (job, instance) (rate(tiny_dancer_gateway_requests_total{result=~\"failed|refused\"}[5m]))\n  \
                / sum by (job, instance) (rate(tiny_dancer_gateway_requests_total{result!=\"cancelled\"}[5m])) > 0.05\n\
                and on (job, instance) (\n  \
                max by (job, instance) (max_over_time(tiny_dancer_gateway_upstream_circuit_open[5m])) > 0\n  \
                or sum by (job, instance) (rate(tiny_dancer_gateway_upstream_calls_total\
                {result=~\"broken|rate_limited|server_error|timeout|unreachable\"}[5m]))\n    \
                / sum by (job, instance) (rate(tiny_dancer_gateway_upstream_calls_total[5m])) > 0.025)",
        hold: "5m",
        severity: "critical",
        when: "over 5% of the requests get no answer, and a model fails, for 5m",
        summary: "Over 5% of the requests to {{ $labels.instance }} get no answer",
        description: "The powerful model fails, or answers break off after they began. A lightweight model that fails before its \
                first byte is replaced by the powerful one, and does not cause this.",
        runbook: "`tiny_dancer_gateway_upstream_calls_total` by `model` and `result` shows which model fails and how; the \
                `WARN` line `a model gave no answer` has the cause. `unreachable`: the address, the network, a proxy, a \
                certificate. `timeout`: the provider is slow, or `timeouts.first_byte` or `timeouts.answer` is short for long answers. \
                `rate_limited`: ask the provider for a higher limit, or lower `limits.concurrent`. `server_error` and `broken`: see \
                the provider's status page. While the provider is down, point `base_url` of the model to another one that has the same \
                interface. The gateway reads a changed file within seconds, without a restart, and open requests end as they began. \
                Another `provider` needs a restart.",
        labels: INSTANCE,
        fires: &[
            Case {
                story: "one in ten fails",
                series: &[
                    (ANSWERED, "0+90x60"),
                    (FAILED, "0+10x60"),
                    (SUCCESSES, "0+90x60"),
                    (ERRORS, "0+10x60"),
                ],
                at: "9m",
            },
            Case {
                story: "the powerful model is down and hardly called, the lightweight one answers half",
                series: &[
                    (ANSWERED, "0+50x60"),
                    (FAILED, "0+1x60"),
                    (REFUSED, "0+49x60"),
                    (SUCCESSES, "0+50x60"),
                    (ERRORS, "0+1x60"),
                    (OPEN, "1+0x60"),
                ],
                at: "9m",
            },
        ],
        silent: &[
            Case {
                story: "three in a hundred fail",
                series: &[
                    (ANSWERED, "0+97x60"),
                    (FAILED, "0+3x60"),
                    (SUCCESSES, "0+97x60"),
                    (ERRORS, "0+3x60"),
                ],
                at: "11m",
            },
            Case {
                story: "clients send bodies that the model rejects, or no valid key",
                series: &[
                    (ANSWERED, "0+50x60"),
                    (FAILED, "0+25x60"),
                    (REFUSED, "0+25x60"),
                    (SUCCESSES, "0+50x60"),
                    (REJECTED, "0+25x60"),
                    (OPEN, "0+0x60"),
                ],
                at: "11m",
            },
            Case {
                story: "the lightweight model is down, the powerful one answers",
                series: &[
                    (ANSWERED, "0+100x60"),
                    (FAILED, "0+0x60"),
                    (SUCCESSES, "0+100x60"),
                    (ERRORS, "0+20x60"),
                    (OPEN, "1+0x60"),
                ],
                at: "11m",
            },
        ],
    },
    Alert {
        name: "TinyDancerGatewayOverloaded",
        expr: "min by (job, instance) (min_over_time(tiny_dancer_gateway_requests_queued[2m])) > 0",
        hold: "3m",
        severity: "critical",
        when: "requests wait for their turn at each scrape, for 5m",
        summary: "Requests wait for their turn at {{ $labels.instance }}",
        description: "As many requests are open as `limits.concurrent` allows, and others wait, at most `timeouts.queue`. Those \
                for which the queue has no room are refused with status 503.",
        runbook: "Compare `tiny_dancer_gateway_requests_in_flight` with `limits.concurrent`. Has \
                `tiny_dancer_gateway_time_to_first_chunk_seconds` risen? Then slow models hold the places; see \
                [TinyDancerGatewayFirstChunkSlow](#tinydancergatewayfirstchunkslow). Otherwise the traffic has grown: raise \
                `limits.concurrent` while memory and the providers' rate limits allow it, or start another instance. One client \
                that takes all places is bounded by `limits.concurrent_per_client`.",
        labels: INSTANCE,
        fires: &[Case { story: "some wait", series: &[(QUEUED, "0+0x4 3+0x60")], at: "8m" }],
        silent: &[
            Case { story: "none wait", series: &[(QUEUED, "0+0x60")], at: "8m" },
            Case {
                story: "some wait now and then",
                series: &[(QUEUED, "4 9 7 0 8 9 5 6 0 9 8 7 9 4 0 9 8 9 7 6 0 5 7 9 8 9 0 8 7 9 6 7 8 9 0")],
                at: "8m",
            },
        ],
    },
    Alert {
        name: "TinyDancerGatewayRefusing",
        expr: "sum by (job, instance) (rate(tiny_dancer_gateway_requests_total{result=\"refused\"}[5m]))\n  \
                / sum by (job, instance) (rate(tiny_dancer_gateway_requests_total[5m])) > 0.05",
        hold: "10m",
        severity: "warning",
        when: "the gateway refuses over 5% of the requests, for 10m",
        summary: "{{ $labels.instance }} refuses over 5% of its requests",
        description: "The gateway answers these requests itself, with an error: there is no room, the key or the body is not valid, \
                or the model is not called at the moment.",
        runbook: "The `DEBUG` line `refused` has the reason, and the span of the request its status. 503 with a queue that is not empty: see \
                [TinyDancerGatewayOverloaded](#tinydancergatewayoverloaded). 503 otherwise: see \
                [TinyDancerGatewayCircuitOpen](#tinydancergatewaycircuitopen). 429: one client has \
                `limits.concurrent_per_client` open requests. 401: a client has no valid key; was one replaced in `clients`? 400 and 413: \
                a client's bodies are not valid, or longer than `limits.body_bytes`.",
        labels: INSTANCE,
        fires: &[Case {
            story: "one in ten",
            series: &[(ANSWERED, "0+90x80"), (REFUSED, "0+10x80")],
            at: "16m",
        }],
        silent: &[
            Case { story: "one in fifty", series: &[(ANSWERED, "0+98x80"), (REFUSED, "0+2x80")], at: "16m" },
            Case {
                story: "all, for three minutes",
                series: &[
                    (ANSWERED, "0+100x20 2000+0x12 2100+100x60"),
                    (REFUSED, "0+0x20 100+100x11 1200+0x60"),
                ],
                at: "11m",
            },
        ],
    },
    Alert {
        name: "TinyDancerGatewayModelErrors",
        expr: "sum by (job, instance, model) (rate(tiny_dancer_gateway_upstream_calls_total\
                {result=~\"broken|rate_limited|server_error|timeout|unreachable\"}[5m]))\n  \
                / sum by (job, instance, model) (rate(tiny_dancer_gateway_upstream_calls_total{result!=\"cancelled\"}[5m])) > 0.1",
        hold: "10m",
        severity: "warning",
        when: "over 10% of the calls to a model fail, for 10m",
        summary: "Over 10% of the calls of {{ $labels.instance }} to {{ $labels.model }} fail",
        description: "Failed calls of the lightweight model are made again by the powerful one, which costs more; those of the \
                powerful model fail for the client. Calls of shadows and judges are among them.",
        runbook: "`tiny_dancer_gateway_upstream_calls_total` of this model by `result` shows how they fail. `rate_limited`: the \
                provider's limit is too low for this traffic; shadows count too, so lower `shadow.rate` first. `timeout`: compare \
                `tiny_dancer_gateway_time_to_first_chunk_seconds` with `timeouts.first_byte`. `broken`: answers end early; look at proxies \
                between the gateway and the provider, and at `timeouts.idle`. `server_error` and `unreachable`: see the provider's status \
                page and the `WARN` line `a model gave no answer`. A judge that is called by `webhook` is a service of yours.",
        labels: MODEL,
        fires: &[Case {
            story: "one in five",
            series: &[(SUCCESSES, "0+80x80"), (ERRORS, "0+20x80")],
            at: "16m",
        }],
        silent: &[
            Case { story: "one in twenty", series: &[(SUCCESSES, "0+95x80"), (ERRORS, "0+5x80")], at: "16m" },
            Case {
                story: "clients hang up, and send what the model rejects",
                series: &[
                    (SUCCESSES, "0+80x80"),
                    (
                        r#"tiny_dancer_gateway_upstream_calls_total{model="m",result="cancelled",@}"#,
                        "0+20x80",
                    ),
                    (REJECTED, "0+20x80"),
                ],
                at: "16m",
            },
        ],
    },
    Alert {
        name: "TinyDancerGatewayCallsRejected",
        expr: "sum by (job, instance, model) (rate(tiny_dancer_gateway_upstream_calls_total{result=\"client_error\"}[5m]))\n  \
                / sum by (job, instance, model) (rate(tiny_dancer_gateway_upstream_calls_total{result!=\"cancelled\"}[5m])) > 0.5",
        hold: "10m",
        severity: "warning",
        when: "a model rejects over half of its calls, for 10m",
        summary: "{{ $labels.model }} rejects over half of the calls of {{ $labels.instance }}",
        description: "The model answers with a status from 400 to 499 other than 408 and 429, so the request, the key or the name \
                is wrong. So many of them are rarely clients' mistakes.",
        runbook: "Look at the status on the spans of the calls. 401 and 403: the key in `key_variable` or `key_file` has expired, or \
                has no access to this model. 404: the model's name or `base_url` is wrong, or the provider has retired the model. 400: \
                clients send parameters that this model does not know, so that it can't stand in for the other one; set its `accepts`, or \
                choose another.",
        labels: MODEL,
        fires: &[Case {
            story: "the key has expired",
            series: &[(SUCCESSES, "50+0x80"), (REJECTED, "0+20x80")],
            at: "16m",
        }],
        silent: &[Case {
            story: "a quarter of the requests are wrong",
            series: &[(SUCCESSES, "0+75x80"), (REJECTED, "0+25x80")],
            at: "16m",
        }],
    },
    Alert {
        name: "TinyDancerGatewayCircuitOpen",
        // After each wait the model is called, and a scrape then finds its circuit closed until that call has failed.
        expr: "max by (job, instance, model) (max_over_time(tiny_dancer_gateway_upstream_circuit_open[2m])) > 0\n\
                and on (job, instance) sum by (job, instance) (rate(tiny_dancer_gateway_requests_total[5m])) > 0",
        hold: "10m",
        severity: "warning",
        when: "requests arrive, and the circuit of a model is open at least once in 2m, for 10m",
        summary: "The circuit of {{ $labels.model }} at {{ $labels.instance }} opens again and again, or stays open",
        description: "The model failed five times in a row, or asked for a wait by `Retry-After`. Each wait is followed by one call, \
                which failed too. Meanwhile lightweight requests go to the powerful model; without that one, requests get status 503.",
        runbook: "The results of `tiny_dancer_gateway_upstream_calls_total` say why; see \
                [TinyDancerGatewayModelErrors](#tinydancergatewaymodelerrors). The circuit closes by itself with the first call that succeeds. \
                `rate_limited` with long waits is a spent quota: raise it at the provider. If the model will be away for long, put \
                another one in its place in the configuration, which needs no restart.",
        labels: MODEL,
        fires: &[Case {
            story: "each wait is followed by a call that fails",
            series: &[
                (
                    OPEN,
                    "0+0x8 1 1 0 0 1 0 0 1 0 0 0 0 0 1 0 0 1 1 0 0 1 0 0 0 1 0 0 1 0 0 1 0 0 0 1 0 0 1 0 0 1 0 1 0 0 1 0 0 1 0 1",
                ),
                (ANSWERED, "0+10x60"),
            ],
            at: "13m",
        }],
        silent: &[
            Case {
                story: "one wait of five minutes",
                series: &[(OPEN, "0+0x8 1+0x20 0+0x60"), (ANSWERED, "0+10x80")],
                at: "13m",
            },
            Case {
                story: "closed for some minutes in between",
                series: &[(OPEN, "0+0x8 1+0x20 0+0x12 1+0x20 0+0x20"), (ANSWERED, "0+10x90")],
                at: "15m",
            },
            Case {
                story: "no requests",
                series: &[(OPEN, "0+0x8 1+0x80"), (ANSWERED, "0+10x8 80+0x80")],
                at: "20m",
            },
        ],
    },
    Alert {
        name: "TinyDancerGatewayFallbacks",
        expr: "sum by (job, instance) (rate(tiny_dancer_gateway_served_total\
                {decided=\"lightweight\",reason=~\"lightweight_failed|lightweight_unavailable\"}[5m]))\n  \
                / sum by (job, instance) (rate(tiny_dancer_gateway_served_total{decided=\"lightweight\"}[5m])) > 0.1",
        hold: "10m",
        severity: "warning",
        when: "the powerful model replaces the lightweight one for over 10% of its requests, for 10m",
        summary: "Over 10% of the lightweight requests of {{ $labels.instance }} fall back to the powerful model",
        description: "The lightweight model fails before its first byte or is not called, so the powerful one answers. Clients get \
                their answers, later and at a higher cost.",
        runbook: "`lightweight_failed`: look at the calls of the lightweight model by `result`, as in \
                [TinyDancerGatewayModelErrors](#tinydancergatewaymodelerrors); a `timeout` costs the client all of `timeouts.first_byte` before \
                the powerful model begins, so shorten that. `client_error`: the lightweight model rejects what the powerful one accepts; \
                set its `accepts` and `max_text_bytes`. `lightweight_unavailable`: see \
                [TinyDancerGatewayCircuitOpen](#tinydancergatewaycircuitopen). Mode `observe` stops all lightweight calls but shadows.",
        labels: INSTANCE,
        fires: &[Case {
            story: "one in five",
            series: &[(CONFIDENT, "0+80x80"), (FALLBACKS, "0+20x80")],
            at: "16m",
        }],
        silent: &[
            Case {
                story: "one in twenty",
                series: &[(CONFIDENT, "0+95x80"), (FALLBACKS, "0+5x80")],
                at: "16m",
            },
            Case {
                story: "all are only observed",
                series: &[(
                    r#"tiny_dancer_gateway_served_total{decided="lightweight",reason="observe",served="powerful",@}"#,
                    "0+100x80",
                )],
                at: "16m",
            },
        ],
    },
    Alert {
        name: "TinyDancerGatewayFirstChunkSlow",
        expr: "job_model:tiny_dancer_gateway_time_to_first_chunk_seconds:p95_rate5m\n  > 3 * quantile_over_time(0.5, \
                job_model:tiny_dancer_gateway_time_to_first_chunk_seconds:p95_rate5m[1d] offset 1h)\n\
                and job_model:tiny_dancer_gateway_time_to_first_chunk_seconds:p95_rate5m > 1",
        hold: "10m",
        severity: "warning",
        when: "P95 of a model's first chunk is over 3 times its median of the day before, and over 1 s, for 10m",
        summary: "{{ $labels.model }} at {{ $labels.job }} begins its answers over 3 times as late as on the day before",
        description: "Clients wait for the first byte. An answer that is not streamed has it when it is complete, so longer answers \
                look like a slower model.",
        runbook: "Compare both models: if both are slow, look at the network and at the machine. One of them: see the provider's \
                status page, and whether `rate_limited` calls rise. Has a client changed: longer prompts or answers \
                (`tiny_dancer_gateway_tokens_total` by `kind`), or no streaming any more? `timeouts.first_byte` bounds the wait of a \
                streamed answer. After a day the new time is the normal one and the alert ends.",
        labels: &[("job", "j"), ("model", "m")],
        fires: &[Case {
            story: "from 0.5 s to 4 s",
            series: &[
                (
                    r#"tiny_dancer_gateway_time_to_first_chunk_seconds_bucket{le="0.5",model="m",@}"#,
                    "0+100x260 26000+0x100",
                ),
                (
                    r#"tiny_dancer_gateway_time_to_first_chunk_seconds_bucket{le="2",model="m",@}"#,
                    "0+100x260 26000+0x100",
                ),
                (
                    r#"tiny_dancer_gateway_time_to_first_chunk_seconds_bucket{le="4",model="m",@}"#,
                    "0+100x360",
                ),
                (
                    r#"tiny_dancer_gateway_time_to_first_chunk_seconds_bucket{le="+Inf",model="m",@}"#,
                    "0+100x360",
                ),
            ],
            at: "85m",
        }],
        silent: &[
            Case {
                story: "from 0.1 s to 0.5 s",
                series: &[
                    (
                        r#"tiny_dancer_gateway_time_to_first_chunk_seconds_bucket{le="0.1",model="m",@}"#,
                        "0+100x260 26000+0x100",
                    ),
                    (
                        r#"tiny_dancer_gateway_time_to_first_chunk_seconds_bucket{le="0.25",model="m",@}"#,
                        "0+100x260 26000+0x100",
                    ),
                    (
                        r#"tiny_dancer_gateway_time_to_first_chunk_seconds_bucket{le="0.5",model="m",@}"#,
                        "0+100x360",
                    ),
                    (
                        r#"tiny_dancer_gateway_time_to_first_chunk_seconds_bucket{le="+Inf",model="m",@}"#,
                        "0+100x360",
                    ),
                ],
                at: "85m",
            },
            Case {
                story: "4 s from the first day on",
                series: &[
                    (
                        r#"tiny_dancer_gateway_time_to_first_chunk_seconds_bucket{le="2",model="m",@}"#,
                        "0+0x360",
                    ),
                    (
                        r#"tiny_dancer_gateway_time_to_first_chunk_seconds_bucket{le="4",model="m",@}"#,
                        "0+100x360",
                    ),
                    (
                        r#"tiny_dancer_gateway_time_to_first_chunk_seconds_bucket{le="+Inf",model="m",@}"#,
                        "0+100x360",
                    ),
                ],
                at: "85m",
            },
        ],
    },
    Alert {
        name: "TinyDancerGatewayOverhead",
        expr: "histogram_quantile(0.95, sum by (job, instance, le) \
                (rate(tiny_dancer_gateway_overhead_seconds_bucket[5m]))) > 0.006",
        hold: "10m",
        severity: "warning",
        when: "P95 of the gateway's own time before a call is above 6 ms, for 10m",
        summary: "{{ $labels.instance }} takes over 6 ms before it calls a model",
        description: "Embedding, search and decision take some hundred microseconds together, so something else takes the time. Clients \
                notice it only beside a fast model.",
        runbook: "Mostly the machine: look at the process' processor time, at throttling and at other programs. Then at the stages, on \
                the dashboard or on a trace: `tiny_dancer_memory_search_duration_seconds` grows with the memory; let entries expire, or give \
                the gateway more processors. `tiny_dancer_embedding_duration_seconds` grows with the texts, up to what the embedder reads.",
        labels: INSTANCE,
        fires: &[Case {
            story: "one in ten takes up to 12 ms",
            series: &[
                (r#"tiny_dancer_gateway_overhead_seconds_bucket{le="0.006",@}"#, "0+90x80"),
                (r#"tiny_dancer_gateway_overhead_seconds_bucket{le="0.012",@}"#, "0+100x80"),
                (r#"tiny_dancer_gateway_overhead_seconds_bucket{le="+Inf",@}"#, "0+100x80"),
            ],
            at: "16m",
        }],
        silent: &[Case {
            story: "one in twenty-five takes up to 12 ms",
            series: &[
                (r#"tiny_dancer_gateway_overhead_seconds_bucket{le="0.006",@}"#, "0+96x80"),
                (r#"tiny_dancer_gateway_overhead_seconds_bucket{le="0.012",@}"#, "0+100x80"),
                (r#"tiny_dancer_gateway_overhead_seconds_bucket{le="+Inf",@}"#, "0+100x80"),
            ],
            at: "16m",
        }],
    },
    Alert {
        name: "TinyDancerGatewayShadowsFailing",
        expr: "sum by (job, instance) (increase(tiny_dancer_gateway_shadows_total{result=~\"dropped|failed|undecided\"}[1h])) > 10\n\
                and sum by (job, instance) (increase(tiny_dancer_gateway_shadows_total{result=~\"dropped|failed|undecided\"}[1h]))\n  \
                > 0.5 * sum by (job, instance) (increase(tiny_dancer_gateway_shadows_total{result!=\"over_limit\"}[1h]))",
        hold: "15m",
        severity: "warning",
        when: "over half of the shadows give no verdict, within 1h, for 15m",
        summary: "Over half of the shadows of {{ $labels.instance }} give no verdict",
        description: "Clients notice nothing. But the memory learns little, so requests stay with the powerful model, and calls whose \
                answers are not compared are paid for.",
        runbook: "`tiny_dancer_gateway_shadows_total` by `result`. `dropped`: comparisons take longer than they arrive; raise \
                `judge.concurrent`, or lower `shadow.rate`. `failed`: the lightweight model gives no answer, see \
                [TinyDancerGatewayModelErrors](#tinydancergatewaymodelerrors). `undecided`: the judge gives no verdict; look at its calls in \
                `tiny_dancer_gateway_upstream_calls_total`, and whether a judge of yours ends with `A`, `B` or `TIE`, or a webhook answers \
                with both scores. Answers that only call tools have no text to compare.",
        labels: INSTANCE,
        fires: &[Case {
            story: "the judge is down",
            series: &[
                (r#"tiny_dancer_gateway_shadows_total{result="undecided",@}"#, "0+3x400"),
                (r#"tiny_dancer_gateway_shadows_total{result="no_worse",@}"#, "50+0x400"),
            ],
            at: "90m",
        }],
        silent: &[
            Case {
                story: "one in four",
                series: &[
                    (r#"tiny_dancer_gateway_shadows_total{result="failed",@}"#, "0+1x400"),
                    (r#"tiny_dancer_gateway_shadows_total{result="worse",@}"#, "0+1x400"),
                    (r#"tiny_dancer_gateway_shadows_total{result="no_worse",@}"#, "0+2x400"),
                ],
                at: "90m",
            },
            Case {
                story: "five shadows, and all fail",
                series: &[(r#"tiny_dancer_gateway_shadows_total{result="failed",@}"#, "0+0x250 5+0x150")],
                at: "90m",
            },
        ],
    },
    Alert {
        name: "TinyDancerGatewayShadowsOverLimit",
        expr: "sum by (job, instance) (increase(tiny_dancer_gateway_shadows_total{result=\"over_limit\"}[1h])) > 10\n\
                and sum by (job, instance) (increase(tiny_dancer_gateway_shadows_total{result=\"over_limit\"}[1h]))\n  \
                > 0.5 * sum by (job, instance) (increase(tiny_dancer_gateway_shadows_total[1h]))",
        hold: "15m",
        severity: "warning",
        when: "the money of the day is spent for over half of the shadows, within 1h, for 15m",
        summary: "{{ $labels.instance }} has spent what its shadows may cost today",
        description: "Shadows and judgements have cost `judge.daily_cost`, so no request is compared until midnight (UTC). The evidence \
                is only of the hours before, and traffic of the evening may be another.",
        runbook: "Lower `shadow.rate` until the money lasts for the day, so that the evidence is of all hours, or raise \
                `judge.daily_cost`. Does a judge cost more than both answers? `tiny_dancer_gateway_cost_total` by `model` says so: choose a \
                cheaper judge. A new memory may be worth a high rate for some days; silence the alert for as long.",
        labels: INSTANCE,
        fires: &[Case {
            story: "spent an hour ago",
            series: &[
                (r#"tiny_dancer_gateway_shadows_total{result="over_limit",@}"#, "0+2x400"),
                (r#"tiny_dancer_gateway_shadows_total{result="worse",@}"#, "90+0x400"),
            ],
            at: "90m",
        }],
        silent: &[
            Case {
                story: "spent some minutes ago",
                series: &[
                    (r#"tiny_dancer_gateway_shadows_total{result="over_limit",@}"#, "0+0x300 2+2x100"),
                    (r#"tiny_dancer_gateway_shadows_total{result="worse",@}"#, "0+2x300 600+0x100"),
                ],
                at: "95m",
            },
            Case {
                story: "no limit",
                series: &[
                    (r#"tiny_dancer_gateway_shadows_total{result="over_limit",@}"#, "0+0x400"),
                    (r#"tiny_dancer_gateway_shadows_total{result="worse",@}"#, "0+2x400"),
                ],
                at: "90m",
            },
        ],
    },
    Alert {
        name: "TinyDancerGatewayJudgementsFailing",
        // A broken answer is the model's fault or the client's.
        expr: "sum by (job, instance) (increase(tiny_dancer_gateway_judgements_total{result=~\"failed|stopped|undecided\"}[1h])) > 5\n\
                and sum by (job, instance) (increase(tiny_dancer_gateway_judgements_total{result=~\"failed|stopped|undecided\"}[1h]))\n  \
                > 0.1 * sum by (job, instance) (increase(tiny_dancer_gateway_judgements_total[1h]))",
        hold: "15m",
        severity: "warning",
        when: "over 10% of the judgements are not made, within 1h, for 15m",
        summary: "Over 10% of the judgements of {{ $labels.instance }} are not made",
        description: "Answers whose judgement was drawn and is not made count as worse, so the quality budget pays for answers that may \
                be good, and more requests go to the powerful model. The promise holds.",
        runbook: "`tiny_dancer_gateway_judgements_total` by `result`, and the `WARN` line `a judgement was not made, and counts as \
                worse`. `failed`: the powerful model gives no answer to compare with, see \
                [TinyDancerGatewayModelErrors](#tinydancergatewaymodelerrors); or `judgement_timeout` passes, so compare it with the time \
                of both calls, and raise `judge.concurrent` if judgements wait for each other. `undecided`: the judge gives no verdict; \
                look at its calls in `tiny_dancer_gateway_upstream_calls_total`, and whether a judge of yours ends with `A`, `B` or `TIE`, \
                or a webhook answers with both scores. Answers that only call tools have no text to compare. `stopped`: restarts cut \
                judgements off. Reload the configuration instead, or give the program longer to stop. While the judge is down, mode \
                `observe` spends nothing, and a reload is enough for that.",
        labels: INSTANCE,
        fires: &[Case {
            story: "one in four has no verdict",
            series: &[
                (r#"tiny_dancer_gateway_judgements_total{result="undecided",@}"#, "0+1x400"),
                (NO_WORSE, "0+3x400"),
            ],
            at: "90m",
        }],
        silent: &[
            Case {
                story: "one in twenty fails",
                series: &[
                    (r#"tiny_dancer_gateway_judgements_total{result="failed",@}"#, "0+1x400"),
                    (NO_WORSE, "0+19x400"),
                ],
                at: "90m",
            },
            Case {
                story: "many answers are worse, or their clients hang up",
                series: &[
                    (r#"tiny_dancer_gateway_judgements_total{result="worse",@}"#, "0+1x400"),
                    (r#"tiny_dancer_gateway_judgements_total{result="broken",@}"#, "0+1x400"),
                    (NO_WORSE, "0+2x400"),
                ],
                at: "90m",
            },
            Case {
                story: "four at a restart",
                series: &[(r#"tiny_dancer_gateway_judgements_total{result="stopped",@}"#, "0+0x250 4+0x150")],
                at: "90m",
            },
        ],
    },
    Alert {
        name: "TinyDancerGatewayReloadFailing",
        expr: "min by (job, instance) (tiny_dancer_gateway_config_last_reload_successful) == 0",
        // An editor may store a file that is not finished.
        hold: "5m",
        severity: "warning",
        when: "the last reload of the configuration failed, for 5m",
        summary: "{{ $labels.instance }} does not use its new configuration",
        description: "The gateway refused the configuration that it read last. Requests go on with the one before. A restart would \
                read the refused one.",
        runbook: "The `ERROR` line `the configuration is not reloaded, the previous one stays` names all mistakes. \
                `tiny_dancer_gateway_config_reloads_total` by `result`: `invalid` is a mistake, a variable or a file of a key that \
                is not there, or a key that can't be a header. Correct the file, which is read again when it changes, or send SIGHUP. \
                `restart_required` changes what is fixed while the gateway runs, such as `listen`, `provider`, `budget` or `memory.path`: \
                restart it, which lets open requests end, or take the change back. \
                `tiny_dancer_gateway_config_last_reload_timestamp_seconds` says since when the present one is in use.",
        labels: INSTANCE,
        fires: &[Case {
            story: "a mistake, half an hour ago",
            series: &[(RELOADED, "1+0x4 0+0x200")],
            at: "31m",
        }],
        silent: &[
            Case {
                story: "corrected after two minutes",
                series: &[(RELOADED, "1+0x4 0+0x8 1+0x200")],
                at: "8m",
            },
            Case { story: "never reloaded", series: &[(RELOADED, "1+0x200")], at: "31m" },
        ],
    },
    Alert {
        name: "TinyDancerGatewayCostAboveBaseline",
        // The margin is for rounding. Where the lightweight model serves little, shadows cost more than it saves, as intended.
        expr: "sum by (job) (rate(tiny_dancer_gateway_cost_total[1h]))\n  \
                > 1.01 * (sum by (job) (rate(tiny_dancer_gateway_baseline_cost_total[1h])) > 0)\n\
                and sum by (job) (rate(tiny_dancer_gateway_served_total{served=\"lightweight\"}[1h]))\n  \
                > 0.1 * sum by (job) (rate(tiny_dancer_gateway_served_total[1h]))",
        hold: "30m",
        severity: "warning",
        when: "over 10% of the routed requests are lightweight, and the cost is over 1% above that of the powerful model alone, within 1h, for 30m",
        summary: "{{ $labels.job }} costs more than the powerful model alone",
        description: "The cost is that of the configured prices, shadows and judges included. The baseline is what the delivered tokens \
                would have cost without the lightweight model.",
        runbook: "`tiny_dancer_gateway_cost_total` by `model` shows which model costs more than expected. The judge, or the powerful \
                model beside many lightweight answers: comparisons cost more than lightweight answers save. Choose a cheaper judge, lower \
                `shadow.rate` or set `judge.daily_cost`; under a budget see `tiny_dancer_budget_judge_probability`, which \
                falls from 1 as an adaptive `judge_rate` saves. The lightweight model: its answers are longer than its lower price is \
                worth, or it reads the prompts uncached; see `tiny_dancer_gateway_tokens_total` by `kind`. Answers that break off cost, \
                too. Compare the configured prices with the bill: both models need them.",
        labels: JOB,
        fires: &[Case {
            story: "an expensive judge: a fifth above the baseline",
            series: &[
                (COST, "0+1.2x500"),
                (BASELINE, "0+1x500"),
                (CONFIDENT, "0+5x500"),
                (POWERFUL, "0+5x500"),
            ],
            at: "100m",
        }],
        silent: &[
            Case {
                story: "a tenth less",
                series: &[
                    (COST, "0+0.9x500"),
                    (BASELINE, "0+1x500"),
                    (CONFIDENT, "0+5x500"),
                    (POWERFUL, "0+5x500"),
                ],
                at: "100m",
            },
            Case {
                story: "shadows in mode observe",
                series: &[
                    (COST, "0+1.2x500"),
                    (BASELINE, "0+1x500"),
                    (CONFIDENT, "0+0x500"),
                    (POWERFUL, "0+10x500"),
                ],
                at: "100m",
            },
            Case {
                story: "twice the traffic",
                series: &[
                    (COST, "0+0.9x250 226.8+1.8x250"),
                    (BASELINE, "0+1x250 252+2x250"),
                    (CONFIDENT, "0+5x250 1260+10x250"),
                    (POWERFUL, "0+5x250 1260+10x250"),
                ],
                at: "100m",
            },
            Case {
                story: "the powerful model has no price",
                series: &[
                    (COST, "0+0.1x500"),
                    (BASELINE, "0+0x500"),
                    (CONFIDENT, "0+5x500"),
                    (POWERFUL, "0+5x500"),
                ],
                at: "100m",
            },
        ],
    },
    Alert {
        name: "TinyDancerGatewayFeedbackUnknown",
        expr: "sum by (job, instance) (increase(tiny_dancer_gateway_feedback_total{result=\"unknown\"}[1h])) > 10\n\
                and sum by (job, instance) (increase(tiny_dancer_gateway_feedback_total{result=\"unknown\"}[1h]))\n  \
                > 0.2 * sum by (job, instance) (increase(tiny_dancer_gateway_feedback_total[1h]))",
        hold: "15m",
        severity: "warning",
        when: "over 20% of the clients' verdicts are on requests that are not remembered, within 1h, for 15m",
        summary: "Over 20% of the verdicts that {{ $labels.instance }} gets are on unknown requests",
        description: "These verdicts are lost, and the memory does not learn from them. Ids that this gateway did not sign are not among \
                them: they get status 404.",
        runbook: "Is the memory only in process? Then a restart forgets all: set `memory.path`. Do verdicts come later than entries \
                expire? `tiny_dancer_memory_dropped_total` counts these. With several instances that share `id_key_file`, a verdict is \
                unknown to all but the instance that answered: send it to that one. After an erasure of a client's data it is expected.",
        labels: INSTANCE,
        fires: &[Case {
            story: "half of them",
            series: &[
                (r#"tiny_dancer_gateway_feedback_total{result="unknown",@}"#, "0+1x400"),
                (r#"tiny_dancer_gateway_feedback_total{result="accepted",@}"#, "0+1x400"),
            ],
            at: "90m",
        }],
        silent: &[
            Case {
                story: "one in ten",
                series: &[
                    (r#"tiny_dancer_gateway_feedback_total{result="unknown",@}"#, "0+1x400"),
                    (r#"tiny_dancer_gateway_feedback_total{result="accepted",@}"#, "0+9x400"),
                ],
                at: "90m",
            },
            Case {
                story: "five after a restart",
                series: &[(r#"tiny_dancer_gateway_feedback_total{result="unknown",@}"#, "0+0x250 5+0x150")],
                at: "90m",
            },
        ],
    },
];
