//! The panels of the gateway.

use super::{Look, Panel, States, panel, row};

/// Whether a model is called.
const CALLED: States = &[("called", "green"), ("not called", "red")];
/// How the last reload ended.
const RELOAD: States = &[("failed", "red"), ("succeeded", "green")];
const INSTANCE: &str = "{{job}} {{instance}}";
const SECTION: &str = "The gateway";

pub(super) fn panels() -> Vec<Panel> {
    let mut panels = vec![row("Gateway: needs tiny-dancer serve", SECTION)];
    let all = [requests(), models(), times(), learning(), money(), configuration()];
    panels.extend(all.into_iter().flatten().map(|panel| panel.without_data("No gateway")));
    panels
}

fn of(
    title: &'static str,
    description: &'static str,
    unit: &'static str,
    queries: &[(&str, &'static str)],
) -> Panel {
    panel(title, description, Look::TimeSeries, unit, 8, queries)
}

fn requests() -> Vec<Panel> {
    vec![
        of(
            "Requests by result",
            "Requests a second. Refused: the gateway answered, for want of room, a key or a valid body, or because no model is called.",
            "reqps",
            &[("sum by (result) (rate(tiny_dancer_gateway_requests_total{#}[@]))", "{{result}}")],
        )
        .stacked("normal")
        .coloured(&[("answered", "green"), ("cancelled", "blue"), ("failed", "red"), ("refused", "orange")])
        .section("TinyDancerGatewayFailing")
        .section("TinyDancerGatewayRefusing"),
        of(
            "Served against decided",
            "Routed requests by the model that answered and the one that the router chose. They differ in mode observe, outside of a canary's share, and where a model is not available.",
            "reqps",
            &[(
                "sum by (served, decided) (rate(tiny_dancer_gateway_served_total{#}[@]))",
                "{{served}}, decided {{decided}}",
            )],
        )
        .stacked("normal"),
        of(
            "Why that model answers",
            "Routed requests by the reason for the model that answered: one of the router's, or one of the gateway's.",
            "reqps",
            &[("sum by (reason) (rate(tiny_dancer_gateway_served_total{#}[@]))", "{{reason}}")],
        )
        .stacked("percent"),
    ]
}

fn models() -> Vec<Panel> {
    vec![
        of(
            "Calls by result",
            "Calls a second to each model. A fallback is a second call, and a shadow is one too.",
            "cps",
            &[(
                "sum by (model, result) (rate(tiny_dancer_gateway_upstream_calls_total{#}[@]))",
                "{{model}} {{result}}",
            )],
        )
        .section("TinyDancerGatewayModelErrors")
        .section("TinyDancerGatewayCallsRejected"),
        of(
            "Failing calls and fallbacks",
            "The share of each model's calls that fail, and of the lightweight decisions that fall back to the powerful model. The line is the alerts': 10%.",
            "percentunit",
            &[
                (
                    r#"sum by (model) (rate(tiny_dancer_gateway_upstream_calls_total{result=~"broken|rate_limited|server_error|timeout|unreachable",#}[@])) / sum by (model) (rate(tiny_dancer_gateway_upstream_calls_total{result!="cancelled",#}[@]))"#,
                    "calls of {{model}}",
                ),
                (
                    r#"sum(rate(tiny_dancer_gateway_served_total{decided="lightweight",reason=~"lightweight_failed|lightweight_unavailable",#}[@])) / sum(rate(tiny_dancer_gateway_served_total{decided="lightweight",#}[@]))"#,
                    "fallbacks",
                ),
            ],
        )
        .thresholds(&[(0.1, "red")])
        .section("TinyDancerGatewayFallbacks"),
        panel(
            "Circuits of models",
            "Not called: the model failed five times in a row, or asked for a wait, at any scrape within the range of a rate. Of two instances, the worse.",
            Look::StateTimeline,
            "none",
            8,
            &[(
                "max by (model) (max_over_time(tiny_dancer_gateway_upstream_circuit_open{#}[@]))",
                "{{model}}",
            )],
        )
        .states(CALLED)
        .thresholds(&[(1.0, "red")])
        .section("TinyDancerGatewayCircuitOpen"),
    ]
}

fn times() -> Vec<Panel> {
    let quantile = |of: &str, family: &str, by: &str| {
        format!("histogram_quantile({of}, sum by (le{by}) (rate({family}_bucket{{#}}[@])))")
    };
    let [chunk, overhead] =
        ["tiny_dancer_gateway_time_to_first_chunk_seconds", "tiny_dancer_gateway_overhead_seconds"];
    vec![
        of(
            "Time to the first chunk",
            "From a call to its answer's first byte, by model. An answer that is not streamed has its first byte when it is complete.",
            "s",
            &[
                (&quantile("0.5", chunk, ", model"), "P50 {{model}}"),
                (&quantile("0.95", chunk, ", model"), "P95 {{model}}"),
            ],
        )
        .section("TinyDancerGatewayFirstChunkSlow"),
        of(
            "Overhead",
            "The gateway's own time: from a received body to the first call, embedding, search and decision included. The line is the alert's: P95 of 6 ms.",
            "s",
            &[(&quantile("0.5", overhead, ""), "P50"), (&quantile("0.95", overhead, ""), "P95")],
        )
        .thresholds(&[(0.006, "red")])
        .section("TinyDancerGatewayOverhead"),
        of(
            "Requests in flight and in the queue",
            "Requests that are being answered, and requests that wait for their turn, at the moment of a scrape.",
            "none",
            &[
                ("sum by (job, instance) (tiny_dancer_gateway_requests_in_flight{#})", "in flight {{job}} {{instance}}"),
                ("sum by (job, instance) (tiny_dancer_gateway_requests_queued{#})", "queued {{job}} {{instance}}"),
            ],
        )
        .section("TinyDancerGatewayOverloaded"),
    ]
}

fn learning() -> Vec<Panel> {
    vec![
        of(
            "Shadows by result",
            "Requests a second that both models answered. Undecided: there was no text, or the judge gave no verdict. Over limit: the money of the day was spent.",
            "cps",
            &[("sum by (result) (rate(tiny_dancer_gateway_shadows_total{#}[@]))", "{{result}}")],
        )
        .stacked("normal")
        .section("TinyDancerGatewayShadowsFailing")
        .section("TinyDancerGatewayShadowsOverLimit"),
        of(
            "Judgements by result",
            "Lightweight answers a second whose judgement was drawn. All but no_worse count as worse. Failed, stopped and undecided: no judgement was made. Broken: the answer broke off, or its client hung up.",
            "cps",
            &[("sum by (result) (rate(tiny_dancer_gateway_judgements_total{#}[@]))", "{{result}}")],
        )
        .stacked("normal")
        .coloured(&[("no_worse", "green"), ("worse", "red")])
        .section("TinyDancerGatewayJudgementsFailing"),
        of(
            "Feedback by result",
            "Clients' verdicts a second. Powerful: they are on answers of the powerful model, and are no evidence. Unknown: the request is not remembered any more.",
            "cps",
            &[("sum by (result) (rate(tiny_dancer_gateway_feedback_total{#}[@]))", "{{result}}")],
        )
        .stacked("normal")
        .section("TinyDancerGatewayFeedbackUnknown"),
    ]
}

fn money() -> Vec<Panel> {
    let of = |title, description, unit, queries: &[(&str, &'static str)]| Panel {
        width: 6,
        ..of(title, description, unit, queries)
    };
    vec![
        of(
            "Cost of models an hour",
            "In the currency of the configured prices: the cost by model, with shadows and judges; and the baseline, which is what the delivered tokens would have cost without the lightweight model.",
            "none",
            &[
                ("3600 * sum by (model) (rate(tiny_dancer_gateway_cost_total{#}[@]))", "{{model}}"),
                ("3600 * sum(rate(tiny_dancer_gateway_baseline_cost_total{#}[@]))", "baseline"),
            ],
        )
        .section("TinyDancerGatewayCostAboveBaseline"),
        of(
            "Share of the cost that is saved",
            "What the gateway saves of the baseline, shadows and judges included. Below 0 it costs more, as with shadows in mode observe.",
            "percentunit",
            &[(
                "1 - sum(rate(tiny_dancer_gateway_cost_total{#}[@])) / sum(rate(tiny_dancer_gateway_baseline_cost_total{#}[@]))",
                "saved",
            )],
        )
        .signed()
        .section("TinyDancerGatewayCostAboveBaseline"),
        of(
            "Cost of a thousand answers",
            "In the currency of the configured prices, shadows and judges included.",
            "none",
            &[(
                r#"1000 * sum(rate(tiny_dancer_gateway_cost_total{#}[@])) / sum(rate(tiny_dancer_gateway_requests_total{result="answered",#}[@]))"#,
                "a thousand answers",
            )],
        )
        .section("TinyDancerGatewayCostAboveBaseline"),
        of(
            "Tokens by kind",
            "Tokens a second as the models count them: of routed requests, shadows and judges, and of requests that pass.",
            "cps",
            &[("sum by (model, kind) (rate(tiny_dancer_gateway_tokens_total{#}[@]))", "{{model}} {{kind}}")],
        ),
    ]
}

fn configuration() -> Vec<Panel> {
    vec![
        panel(
            "Last reload of the configuration",
            "Failed: the gateway refused the configuration that it read last, and the one before is in use.",
            Look::StateTimeline,
            "none",
            8,
            &[("min by (job, instance) (tiny_dancer_gateway_config_last_reload_successful{#})", INSTANCE)],
        )
        .states(RELOAD)
        .thresholds(&[(0.0, "red"), (1.0, "green")])
        .section("TinyDancerGatewayReloadFailing"),
        of(
            "Reloads of the configuration",
            "Reloads within the range of a rate. Invalid: it has mistakes, or could not be read. Restart required: it changes what is fixed while the gateway runs.",
            "none",
            &[(
                "round(sum by (result) (increase(tiny_dancer_gateway_config_reloads_total{#}[@])))",
                "{{result}}",
            )],
        )
        .coloured(&[("invalid", "red"), ("restart_required", "orange"), ("success", "green")])
        .section("TinyDancerGatewayReloadFailing"),
        of(
            "Age of the configuration",
            "The time since each gateway read the configuration that is in use.",
            "s",
            &[(
                "max by (job, instance) (time() - tiny_dancer_gateway_config_last_reload_timestamp_seconds{#})",
                INSTANCE,
            )],
        )
        .section("TinyDancerGatewayReloadFailing"),
    ]
}
