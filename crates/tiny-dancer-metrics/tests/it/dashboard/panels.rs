//! The panels, row by row, and the annotations.

use super::{Look, Panel, States, expanded, gateway, panel, row};
use crate::alerts::objectives::{self, Budget};
use serde_json::json;

/// The states of a circuit.
const CIRCUIT: States = &[("closed", "green"), ("half-open", "orange"), ("open", "red")];
const PROMISE: States = &[("kept", "green"), ("broken", "red")];
const RELOAD: States = &[("failed", "red"), ("succeeded", "green")];
const TARGET: States = &[("down", "red"), ("up", "green")];
/// The labels of a router, as a legend.
const ROUTER: &str = "{{job}} {{instance}} {{router}}";
const NO_RULES: &str = "No recording rules, or no requests";
const NO_PRICES: &str = "No prices";
const NO_PROMISE: &str = "No promise";
const NO_BUDGET: &str = "No budget";
const NO_SCOPES: &str = "No scopes";
const NO_MEMORY: &str = "No memory";
const NO_PROCESS: &str = "No ProcessCollector";

pub(super) fn panels() -> Vec<Panel> {
    [
        traffic_at_a_glance(),
        states_at_a_glance(),
        objectives(),
        traffic(),
        latency(),
        decisions(),
        scores(),
        stages(),
        text_in(),
        memory(),
        circuits(),
        promise(),
        budget(),
        cost(),
        gateway::panels(),
        targets(),
        process(),
        traces(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn stat(
    title: &'static str,
    description: &'static str,
    unit: &'static str,
    query: (&str, &'static str),
) -> Panel {
    panel(title, description, Look::Stat, unit, 4, &[query])
}

fn traffic_at_a_glance() -> Vec<Panel> {
    vec![
        row("At a glance", "What the numbers mean"),
        stat(
            "Targets up",
            "The share of the targets that Prometheus can scrape.",
            "percentunit",
            ("sum(up{#}) / count(up{#})", ""),
        )
        .thresholds(&[(0.0, "red"), (1.0, "green")])
        .without_data("No target")
        .section("TinyDancerTargetDown"),
        stat(
            "Alerts",
            "Alerts of the selected jobs that fire, of any severity.",
            "none",
            (r#"count(ALERTS{alertname=~"TinyDancer.+",alertstate="firing",&})"#, ""),
        )
        .thresholds(&[(0.0, "green"), (1.0, "red")])
        .without_data("None")
        .section("Alerts"),
        stat(
            "Requests",
            "Requests a second, however they ended.",
            "reqps",
            ("sum(rate(tiny_dancer_routing_requests_total{$}[@]))", ""),
        ),
        stat(
            "Failing",
            "The share of requests that end with an error. Alerts above 5%.",
            "percentunit",
            (
                r#"sum(rate(tiny_dancer_routing_requests_total{status="failure",$}[@])) / sum(rate(tiny_dancer_routing_requests_total{$}[@]))"#,
                "",
            ),
        )
        .thresholds(&[(0.0, "green"), (0.01, "orange"), (0.05, "red")])
        .without_data("No requests")
        .section("TinyDancerErrorRate"),
        stat(
            "P95",
            "95 of 100 requests take no longer, scopes aside. Alerts above 10 ms.",
            "s",
            ("histogram_quantile(0.95, sum by (le) (rate(tiny_dancer_routing_latency_seconds_bucket{operation!=\"scope\",$}[@])))", ""),
        )
        .thresholds(&[(0.0, "green"), (0.005, "orange"), (0.01, "red")])
        .without_data("No requests")
        .section("TinyDancerSlow"),
        stat(
            "Lightweight",
            "The share of decided requests that go to the lightweight model.",
            "percentunit",
            (
                r#"sum(rate(tiny_dancer_routing_decisions_total{model_type="lightweight",$}[@])) / sum(rate(tiny_dancer_routing_decisions_total{$}[@]))"#,
                "",
            ),
        )
        .without_data("No decisions")
        .section("TinyDancerNoLightweight"),
    ]
}

fn states_at_a_glance() -> Vec<Panel> {
    let [failures, slow] =
        objectives::budgets().map(|Budget { bad, share }| format!("max({bad}1h{{%}} / {share})"));
    // Both have the same labels, so `or` alone would show the first.
    let burn = format!("{failures} > {slow} or {slow}");
    vec![
        Panel {
            width: 8,
            ..stat(
                "Circuits",
                "The worst state of each circuit now. Open means that requests go to the powerful model.",
                "none",
                ("max by (circuit) (tiny_dancer_circuit_breaker_state{$})", "{{circuit}}"),
            )
        }
        .states(CIRCUIT)
        .thresholds(&[(1.0, "orange"), (2.0, "red")])
        .section("TinyDancerCircuitOpen"),
        stat(
            "Promise",
            "Whether outcomes have refuted the promise of any selected router.",
            "none",
            ("max(tiny_dancer_promise_broken{$})", ""),
        )
        .states(PROMISE)
        .thresholds(&[(1.0, "red")])
        .without_data(NO_PROMISE)
        .section("TinyDancerPromiseBroken"),
        stat(
            "Last reload",
            "Whether the last reload of every selected router succeeded. After a failure, the model from before it serves.",
            "none",
            ("min(tiny_dancer_model_last_reload_successful{$})", ""),
        )
        .states(RELOAD)
        .thresholds(&[(0.0, "red"), (1.0, "green")])
        .section("TinyDancerReloadFailing"),
        stat(
            "Budget burn",
            "How fast the worst error budget is spent, within 1 h: at 1 it lasts 30 days, at 14.4 two days.",
            "none",
            (&burn, ""),
        )
        .thresholds(&[(0.0, "green"), (1.0, "orange"), (14.4, "red")])
        .without_data(NO_RULES)
        .section("TinyDancerAvailabilityBurnFast"),
        stat(
            "Saved",
            "What routing saves of the cost of sending everything to the powerful model; below 0 it costs more. Needs prices.",
            "percentunit",
            ("1 - sum(rate(tiny_dancer_cost_total{$}[@])) / sum(rate(tiny_dancer_baseline_cost_total{$}[@]))", ""),
        )
        .thresholds(&[(-1.0, "red"), (0.0, "green")])
        .without_data(NO_PRICES)
        .section("TinyDancerCostAboveBaseline"),
    ]
}

fn objectives() -> Vec<Panel> {
    let burn = |title, description, runbook, Budget { bad, share }: Budget| {
        let burn = |window: &str| format!("max by (job, router) ({bad}{window}{{%}} / {share})");
        let [short, hour, six, days] = ["5m", "1h", "6h", "3d"].map(burn);
        panel(
            title,
            description,
            Look::TimeSeries,
            "none",
            8,
            &[
                (&short, "5m {{job}} {{router}}"),
                (&hour, "1h {{job}} {{router}}"),
                (&six, "6h {{job}} {{router}}"),
                (&days, "3d {{job}} {{router}}"),
            ],
        )
        .thresholds(&[(1.0, "yellow"), (6.0, "orange"), (14.4, "red")])
        .without_data(NO_RULES)
        .section(runbook)
    };
    let [availability, latency] = objectives::budgets();
    vec![
        row("Objectives: needs the rules of docs/alerts", "Alerts"),
        burn(
            "Burn of the failures' budget",
            "Failures as a multiple of the 0.1% that the objective allows, within each window. The lines are the alerts': 14.4 within 1 h and 6 within 6 h page, 1 within 3 days can wait.",
            "TinyDancerAvailabilityBurnFast",
            availability,
        ),
        burn(
            "Burn of the slow requests' budget",
            "Requests over 10 ms as a multiple of the 0.1% that the objective allows, within each window. The lines are those of the alerts.",
            "TinyDancerLatencyBurnFast",
            latency,
        ),
        panel(
            "Firing alerts",
            "Alerts of the selected jobs by name. The guide has a runbook for each.",
            Look::TimeSeries,
            "none",
            8,
            &[(
                r#"count by (alertname) (ALERTS{alertname=~"TinyDancer.+",alertstate="firing",&})"#,
                "{{alertname}}",
            )],
        )
        .without_data("None"),
    ]
}

fn traffic() -> Vec<Panel> {
    vec![
        row("Traffic", "What the numbers mean"),
        panel(
            "Requests by how they end",
            "A fallback is the powerful model because of missing evidence or an open circuit.",
            Look::TimeSeries,
            "reqps",
            8,
            &[("sum by (status) (rate(tiny_dancer_routing_requests_total{$}[@]))", "{{status}}")],
        )
        .stacked("normal")
        .coloured(&[("failure", "red"), ("fallback", "yellow"), ("success", "green")]),
        panel(
            "Failing requests by error",
            "The share of all requests, by the kind of error. The line is the alert's: 5% over all kinds.",
            Look::TimeSeries,
            "percentunit",
            8,
            &[(
                "sum by (error_type) (rate(tiny_dancer_errors_total{$}[@])) / scalar(sum(rate(tiny_dancer_routing_requests_total{$}[@])))",
                "{{error_type}}",
            )],
        )
        .thresholds(&[(0.05, "red")])
        .section("TinyDancerErrorRate"),
        panel(
            "Requests by instance",
            "One line that falls to 0 is an instance without traffic, one that rises alone is an uneven balance.",
            Look::TimeSeries,
            "reqps",
            8,
            &[("sum by (job, instance, router) (rate(tiny_dancer_routing_requests_total{$}[@]))", ROUTER)],
        ),
        panel(
            "Candidates a request",
            "The mean over requests that the model read: without fallbacks and failures.",
            Look::TimeSeries,
            "none",
            8,
            &[(
                r#"sum(rate(tiny_dancer_candidates_processed_total{$}[@])) / sum(rate(tiny_dancer_routing_requests_total{status="success",$}[@]))"#,
                "mean",
            )],
        ),
        panel(
            "Candidates by the size of their request",
            "Candidates a second, by how many candidates their request had.",
            Look::TimeSeries,
            "cps",
            8,
            &[(
                "sum by (batch_size_range) (rate(tiny_dancer_candidates_processed_total{$}[@]))",
                "{{batch_size_range}}",
            )],
        )
        .stacked("normal"),
        panel(
            "Requests in flight",
            "Requests that have begun and not ended, at the moment of a scrape; a few at most, since each takes microseconds.",
            Look::TimeSeries,
            "none",
            8,
            &[("sum by (job, instance, router) (tiny_dancer_requests_in_flight{$})", ROUTER)],
        ),
    ]
}

fn latency() -> Vec<Panel> {
    let quantile = |of: &str, by: &str| {
        format!(
            "histogram_quantile({of}, sum by (le{by}) (rate(tiny_dancer_routing_latency_seconds_bucket{{$}}[@])))"
        )
    };
    let quantiles = ["0.5", "0.95", "0.99"].map(|of| quantile(of, ""));
    let by_router = quantile("0.99", ", job, instance, router");
    vec![
        row("Latency: points are requests with a trace", "Metrics"),
        panel(
            "Requests by how long they take",
            "Points are exemplars, which are sampled requests. In the settings of the Prometheus data source, add trace_id under Exemplars and choose a data source of traces: then a point links to its trace.",
            Look::Heatmap,
            "s",
            12,
            &[("round(sum by (le) (increase(tiny_dancer_routing_latency_seconds_bucket{$}[@])))", "{{le}}")],
        )
        .exemplars(),
        panel(
            "How long a request takes",
            "Quantiles, interpolated within buckets. The line is the alert's: P95 of 10 ms. Points are exemplars: they link to traces if the data source maps trace_id to one of traces.",
            Look::TimeSeries,
            "s",
            12,
            &[(&quantiles[0], "P50"), (&quantiles[1], "P95"), (&quantiles[2], "P99")],
        )
        .thresholds(&[(0.01, "red")])
        .exemplars()
        .section("TinyDancerSlow"),
        panel(
            "P99 by instance",
            "One line above the others is a slow machine; all lines that rise together are more candidates or a new version. Points are exemplars.",
            Look::TimeSeries,
            "s",
            12,
            &[(&by_router, ROUTER)],
        )
        .exemplars()
        .section("TinyDancerLatencyBurnFast"),
        panel(
            "P95 by operation",
            "Within 5 minutes, as the rules record it. An alert compares it with its median of the day before.",
            Look::TimeSeries,
            "s",
            12,
            &[(
                "max by (job, router, operation) (job_operation_router:tiny_dancer_routing_latency_seconds:p95_rate5m{%})",
                "{{operation}} {{job}} {{router}}",
            )],
        )
        .without_data(NO_RULES)
        .section("TinyDancerSlowerThanNormal"),
    ]
}

fn decisions() -> Vec<Panel> {
    vec![
        row("Decisions", "What the numbers mean"),
        panel(
            "Lightweight against powerful",
            "The share of decided requests that goes to each model.",
            Look::TimeSeries,
            "reqps",
            8,
            &[("sum by (model_type) (rate(tiny_dancer_routing_decisions_total{$}[@]))", "{{model_type}}")],
        )
        .stacked("percent")
        .section("TinyDancerNoLightweight"),
        panel(
            "Why",
            "Decided requests by the test that decided. Much high_uncertainty: traffic differs from the calibration data.",
            Look::TimeSeries,
            "reqps",
            8,
            &[("sum by (reason) (rate(tiny_dancer_routing_decisions_total{$}[@]))", "{{reason}}")],
        )
        .stacked("percent")
        .section("TinyDancerNoEvidence"),
        panel(
            "How the models did",
            "Reported outcomes by model, result and why the model was called. Empty if the program does not call record_outcome.",
            Look::TimeSeries,
            "cps",
            8,
            &[(
                "sum by (model_type, result, origin) (rate(tiny_dancer_outcomes_total{$}[@]))",
                "{{model_type}} {{result}} {{origin}}",
            )],
        )
        .section("TinyDancerOutcomesMissing"),
        panel(
            "Explored and shadowed",
            "Requests a second that were explored or shadowed. Empty unless explore or shadow_rate is above 0.",
            Look::TimeSeries,
            "reqps",
            12,
            &[(r#"sum by (purpose) (rate(tiny_dancer_draws_total{happened="yes",$}[@]))"#, "{{purpose}}")],
        )
        .without_data("No draws")
        .section("Explore and shadow"),
        panel(
            "Would the lightweight model have sufficed?",
            "Of explored and shadowed requests, which the router would not have risked, the share with a sufficient lightweight answer.",
            Look::TimeSeries,
            "percentunit",
            12,
            &[(
                r#"sum by (origin) (rate(tiny_dancer_outcomes_total{origin!="routed",result="sufficed",$}[@])) / sum by (origin) (rate(tiny_dancer_outcomes_total{origin!="routed",$}[@]))"#,
                "{{origin}}",
            )],
        )
        .without_data("No outcomes")
        .section("Explore and shadow"),
    ]
}

fn scores() -> Vec<Panel> {
    let heat = |title, description, family: &str| {
        let query = format!("round(sum by (le) (increase({family}_bucket{{$}}[@])))");
        panel(title, description, Look::Heatmap, "percentunit", 8, &[(&query, "{{le}}")])
    };
    let mean = |family: &str| {
        format!(
            "sum by (decision_type) (rate({family}_sum{{$}}[@])) / sum by (decision_type) (rate({family}_count{{$}}[@]) > 0)"
        )
    };
    let (confidence, uncertainty) =
        (mean("tiny_dancer_confidence_scores"), mean("tiny_dancer_uncertainty_estimates"));
    vec![
        row("Confidence and uncertainty, one observation a candidate", "What the numbers mean"),
        heat(
            "Confidence",
            "Candidates by their confidence that the lightweight model suffices.",
            "tiny_dancer_confidence_scores",
        ),
        heat(
            "Uncertainty",
            "Candidates by their conformal uncertainty: 0 is certain, 1 is unlike all calibration data.",
            "tiny_dancer_uncertainty_estimates",
        ),
        panel(
            "Means",
            "Mean confidence and uncertainty, by the model that the candidate alone selects. An alert watches confidence for shifts.",
            Look::TimeSeries,
            "percentunit",
            8,
            &[
                (&confidence, "confidence, {{decision_type}}"),
                (&uncertainty, "uncertainty, {{decision_type}}"),
            ],
        )
        .section("TinyDancerConfidenceShift"),
    ]
}

fn stages() -> Vec<Panel> {
    let share = |family: &str| {
        format!(
            "sum(rate({family}_sum{{$}}[@])) / sum(rate(tiny_dancer_routing_latency_seconds_count{{$}}[@]))"
        )
    };
    let (features, inference) = (
        share("tiny_dancer_feature_engineering_duration_seconds"),
        share("tiny_dancer_model_inference_duration_seconds"),
    );
    let (embedding, search) = (
        share("tiny_dancer_embedding_duration_seconds"),
        share("tiny_dancer_memory_search_duration_seconds"),
    );
    let rest = "(sum(rate(tiny_dancer_routing_latency_seconds_sum{$}[@])) \
        - sum(rate(tiny_dancer_feature_engineering_duration_seconds_sum{$}[@])) \
        - sum(rate(tiny_dancer_model_inference_duration_seconds_sum{$}[@])) \
        - sum(rate(tiny_dancer_embedding_duration_seconds_sum{$}[@])) \
        - sum(rate(tiny_dancer_memory_search_duration_seconds_sum{$}[@]))) \
        / sum(rate(tiny_dancer_routing_latency_seconds_count{$}[@]))";
    vec![
        row("Stages", "What the numbers mean"),
        panel(
            "Where the time goes",
            "Mean time a request in each stage. The rest is circuits, uncertainty, the decision, observers, and your own code in scopes.",
            Look::TimeSeries,
            "s",
            8,
            &[
                (&embedding, "embedding"),
                (&search, "memory_search"),
                (&features, "feature_engineering"),
                (&inference, "model_inference"),
                (rest, "the rest"),
            ],
        )
        .stacked("normal"),
        panel(
            "Feature engineering by number of candidates",
            "P95 of checking the input and computing the features, by how many candidates the request had.",
            Look::TimeSeries,
            "s",
            8,
            &[(
                "histogram_quantile(0.95, sum by (le, batch_size) (rate(tiny_dancer_feature_engineering_duration_seconds_bucket{$}[@])))",
                "{{batch_size}}",
            )],
        ),
        panel(
            "Model inference",
            "P50 and P95 of the per-candidate pass and the joint pass of a request.",
            Look::TimeSeries,
            "s",
            8,
            &[
                (
                    "histogram_quantile(0.5, sum by (le) (rate(tiny_dancer_model_inference_duration_seconds_bucket{$}[@])))",
                    "P50",
                ),
                (
                    "histogram_quantile(0.95, sum by (le) (rate(tiny_dancer_model_inference_duration_seconds_bucket{$}[@])))",
                    "P95",
                ),
            ],
        ),
    ]
}

fn text_in() -> Vec<Panel> {
    let p95 = |stage: &str| {
        format!(
            "histogram_quantile(0.95, sum by (le) (rate(tiny_dancer_{stage}_duration_seconds_bucket{{$}}[@])))"
        )
    };
    let failing = |stage: &str| {
        format!(
            "sum by (error_type) (rate(tiny_dancer_{stage}_errors_total{{$}}[@])) / scalar(sum(rate(tiny_dancer_{stage}_duration_seconds_count{{$}}[@])))"
        )
    };
    let per_embedding = |counter: &str| {
        format!(
            "sum(rate(tiny_dancer_{counter}{{$}}[@])) / sum(rate(tiny_dancer_embedding_duration_seconds_count{{$}}[@]))"
        )
    };
    vec![
        row("Text in", "One scope a request"),
        panel(
            "Embedding and search",
            "P95 of the embedding of a scope's text and of the search for its candidates.",
            Look::TimeSeries,
            "s",
            6,
            &[(&p95("embedding"), "embedding"), (&p95("memory_search"), "memory_search")],
        )
        .without_data(NO_SCOPES),
        panel(
            "Failing embeddings and searches by error",
            "The share of each, by the kind of error. The line is the alert's on embeddings: 5% over all kinds but texts without tokens.",
            Look::TimeSeries,
            "percentunit",
            6,
            &[
                (&failing("embedding"), "embedding {{error_type}}"),
                (&failing("memory_search"), "memory_search {{error_type}}"),
            ],
        )
        .thresholds(&[(0.05, "red")])
        .without_data("None")
        .section("TinyDancerEmbeddingErrors"),
        panel(
            "Tokens and candidates",
            "How many tokens the embedder reads of a text, and how many candidates a search finds, on average.",
            Look::TimeSeries,
            "none",
            6,
            &[
                (&per_embedding("embedding_tokens_total"), "tokens a text"),
                (
                    "sum(rate(tiny_dancer_memory_search_candidates_total{$}[@])) / sum(rate(tiny_dancer_memory_search_duration_seconds_count{$}[@]))",
                    "candidates a search",
                ),
            ],
        )
        .without_data(NO_SCOPES),
        panel(
            "Truncated texts",
            "The share of texts of which the embedder leaves out a part.",
            Look::TimeSeries,
            "percentunit",
            6,
            &[(&per_embedding("embedding_truncated_total"), "truncated")],
        )
        .without_data(NO_SCOPES),
    ]
}

fn memory() -> Vec<Panel> {
    let of = |title, description, look, unit, queries| {
        panel(title, description, look, unit, 6, queries).without_data(NO_MEMORY).section("A memory")
    };
    vec![
        row("Memory: needs a memory that reports", "A memory"),
        of(
            "Entries",
            "Remembered requests. Those with a verdict are evidence; the others are pending. The decision log is beside them.",
            Look::TimeSeries,
            "none",
            &[
                ("sum by (state) (tiny_dancer_memory_entries{$})", "{{state}}"),
                ("sum(tiny_dancer_memory_log_entries{$})", "decision log"),
            ],
        ),
        of(
            "Verdicts by kind",
            "Verdicts a second. Accepted: the first on its request. Unknown: its request is not in the memory.",
            Look::TimeSeries,
            "cps",
            &[("sum by (kind) (rate(tiny_dancer_memory_verdicts_total{$}[@]))", "{{kind}}")],
        )
        .stacked("normal"),
        of(
            "Changes",
            "Changes a second that became durable, those that were lost, and failed commits, by error. Lost changes are in the process until it ends; those of a failed commit are committed again.",
            Look::TimeSeries,
            "cps",
            &[
                ("sum(rate(tiny_dancer_memory_changes_stored_total{$}[@]))", "stored"),
                (
                    "sum by (error_type) (rate(tiny_dancer_memory_changes_lost_total{$}[@]))",
                    "lost, {{error_type}}",
                ),
                (
                    "sum by (error_type) (rate(tiny_dancer_memory_commits_failed_total{$}[@]))",
                    "failed commits, {{error_type}}",
                ),
            ],
        )
        .section("TinyDancerMemoryChangesLost")
        .section("TinyDancerMemoryNotStoring"),
        of(
            "Queue",
            "The share of the queue before the store that is taken. Above the line, at 80%, an alert fires; at 100% changes are lost.",
            Look::TimeSeries,
            "percentunit",
            &[(
                "max by (job, instance, router) (tiny_dancer_memory_queue_length{$} / tiny_dancer_memory_queue_capacity{$})",
                ROUTER,
            )],
        )
        .thresholds(&[(0.8, "red")])
        .section("TinyDancerMemoryBehind"),
        of(
            "Commits",
            "P50 and P95 of making changes durable. One commit stores all changes that wait.",
            Look::TimeSeries,
            "s",
            &[
                (
                    "histogram_quantile(0.5, sum by (le) (rate(tiny_dancer_memory_commit_duration_seconds_bucket{$}[@])))",
                    "P50",
                ),
                (
                    "histogram_quantile(0.95, sum by (le) (rate(tiny_dancer_memory_commit_duration_seconds_bucket{$}[@])))",
                    "P95",
                ),
            ],
        ),
        of(
            "Changes a commit",
            "How many changes one commit stores, on average. More of them under load are cheaper.",
            Look::TimeSeries,
            "none",
            &[(
                "sum(rate(tiny_dancer_memory_changes_stored_total{$}[@])) / sum(rate(tiny_dancer_memory_commit_duration_seconds_count{$}[@]))",
                "changes",
            )],
        ),
        of(
            "Dropped entries",
            "Entries of the memory and of its decision log that were erased by request, or expired by age or number.",
            Look::TimeSeries,
            "none",
            &[(
                "round(sum by (cause, record) (increase(tiny_dancer_memory_dropped_total{$}[@])))",
                "{{cause}} {{record}}",
            )],
        ),
        of(
            "Segments",
            "Segments of the index. A search reads all of them, so many small ones are slower than few large ones.",
            Look::TimeSeries,
            "none",
            &[("sum by (job, instance, router) (tiny_dancer_memory_segments{$})", ROUTER)],
        ),
    ]
}

fn circuits() -> Vec<Panel> {
    vec![
        row("Circuits and model", "What the numbers mean"),
        panel(
            "Circuits over time",
            "The state of each circuit. Open: requests go to the powerful model; half-open: some are sent as probes.",
            Look::StateTimeline,
            "none",
            12,
            &[(
                "max by (circuit, job, instance, router) (tiny_dancer_circuit_breaker_state{$})",
                "{{circuit}} {{job}} {{instance}} {{router}}",
            )],
        )
        .states(CIRCUIT)
        .thresholds(&[(1.0, "orange"), (2.0, "red")])
        .section("TinyDancerCircuitOpen"),
        panel(
            "Transitions",
            "Changes of state within the range of a rate, by circuit and new state.",
            Look::TimeSeries,
            "none",
            12,
            &[(
                "round(sum by (circuit, to) (increase(tiny_dancer_circuit_breaker_transitions_total{$}[@])))",
                "{{circuit}} to {{to}}",
            )],
        )
        .section("TinyDancerCircuitFlapping"),
        panel(
            "State of the last reload",
            "Failed: the model from before it serves, until a reload succeeds.",
            Look::StateTimeline,
            "none",
            6,
            &[("min by (job, instance, router) (tiny_dancer_model_last_reload_successful{$})", ROUTER)],
        )
        .states(RELOAD)
        .thresholds(&[(0.0, "red"), (1.0, "green")])
        .section("TinyDancerReloadFailing"),
        panel(
            "Reloads",
            "Reloads within the range of a rate, by result. The load of a new router is none.",
            Look::TimeSeries,
            "none",
            6,
            &[("round(sum by (result) (increase(tiny_dancer_model_reloads_total{$}[@])))", "{{result}}")],
        )
        .coloured(&[("failure", "red"), ("success", "green")])
        .section("TinyDancerReloadFailing"),
        panel(
            "Models",
            "Routers by the version of the model that they loaded last. Several versions at once are a deployment, or a reload that some routers missed.",
            Look::TimeSeries,
            "none",
            6,
            &[("count by (version) (tiny_dancer_model_info{$})", "{{version}}")],
        )
        .stacked("normal"),
        panel(
            "Age of the model",
            "The time since each router last loaded a model successfully.",
            Look::TimeSeries,
            "s",
            6,
            &[(
                "max by (job, instance, router) (time() - tiny_dancer_model_last_reload_timestamp_seconds{$})",
                ROUTER,
            )],
        ),
    ]
}

fn promise() -> Vec<Panel> {
    let of = |title, description, look, unit, queries| {
        panel(title, description, look, unit, 6, queries)
            .without_data(NO_PROMISE)
            .section("TinyDancerPromiseBroken")
    };
    vec![
        row("Promise: needs a promised risk, and outcomes", "Outcomes"),
        of(
            "Insufficient answers against the promise",
            "The reported share of insufficient answers of the lightweight model over the promised one, each router against its own alpha. Above the line, at 100%, there are more than promised; the evidence shows whether that is chance.",
            Look::TimeSeries,
            "percentunit",
            &[(
                "max by (job, instance, router) (tiny_dancer_promise_insufficient_ratio{$} / tiny_dancer_promised_alpha{$})",
                ROUTER,
            )],
        )
        .thresholds(&[(1.0, "red")]),
        of(
            "Reported and promised shares",
            "Of the lightweight model's answers, the share that was reported as insufficient, and the largest share that is promised.",
            Look::TimeSeries,
            "percentunit",
            &[
                (
                    "max by (job, instance, router) (tiny_dancer_promise_insufficient_ratio{$})",
                    "reported {{job}} {{instance}} {{router}}",
                ),
                (
                    "max by (job, instance, router) (tiny_dancer_promised_alpha{$})",
                    "promised {{job}} {{instance}} {{router}}",
                ),
            ],
        ),
        of(
            "Evidence against the promise",
            "Evidence over 1/delta, which refutes the promise: 1 is the limit, delta is none.",
            Look::TimeSeries,
            "none",
            &[(
                "max by (job, instance, router) (tiny_dancer_promise_evidence{$} * tiny_dancer_promised_delta{$})",
                ROUTER,
            )],
        )
        .thresholds(&[(1.0, "red")])
        .logarithmic(),
        of(
            "Promises over time",
            "Broken: outcomes refuted the promise. It stays so until a reset, or a reload that changes the model or its thresholds.",
            Look::StateTimeline,
            "none",
            &[("max by (job, instance, router) (tiny_dancer_promise_broken{$})", ROUTER)],
        )
        .states(PROMISE)
        .thresholds(&[(1.0, "red")])
        .section("TinyDancerPromiseWasBroken"),
    ]
}

fn budget() -> Vec<Panel> {
    let of = |title, description, unit, queries| {
        panel(title, description, Look::TimeSeries, unit, 8, queries)
            .without_data(NO_BUDGET)
            .section("A quality budget")
    };
    vec![
        row("Quality budget: needs a budget", "A quality budget"),
        of(
            "Allowed, bound and spent",
            "Worse answers of the lightweight model: how many are allowed, their upper bound, and their estimate. The promise is that the truth stays below what is allowed.",
            "none",
            &[
                ("sum(tiny_dancer_budget_allowed_answers{$})", "allowed"),
                ("sum(tiny_dancer_budget_bound_answers{$})", "bound"),
                ("sum(tiny_dancer_budget_spent_answers{$})", "spent"),
            ],
        )
        .section("TinyDancerBudgetBurnSlow"),
        of(
            "Balance",
            "What is allowed without the bound. Pacing keeps it near zero. Below zero the account is closed until the missing answers are delivered, or judgements are good.",
            "none",
            &[
                ("min by (job, instance, router) (tiny_dancer_budget_balance_answers{$})", ROUTER),
                ("max(tiny_dancer_budget_missing_answers{$})", "missing answers"),
            ],
        )
        .section("TinyDancerBudgetSpent"),
        of(
            "Projected exhaustion",
            "How long the balance lasts at the rate of the last hour, at most a day.",
            "s",
            &[(
                "clamp_max(min by (job, instance, router) (clamp_min(tiny_dancer_budget_balance_answers{$}, 0) / clamp_min(-deriv(tiny_dancer_budget_balance_answers{$}[1h]), 1e-9)), 86400)",
                ROUTER,
            )],
        )
        .section("TinyDancerBudgetBurnFast"),
        of(
            "Judgements",
            "Drawn judgements by their result. Expired ones were not made in time, and count as worse.",
            "none",
            &[("sum by (state) (tiny_dancer_budget_judgements{$})", "{{state}}")],
        )
        .section("TinyDancerJudgementsExpired"),
        of(
            "Answers and verdicts of judges",
            "Delivered answers a second, and verdicts by what they changed. Settled is the first one, restored a late good one, withdrawn a worse one after a good one.",
            "cps",
            &[
                ("sum(clamp_min(deriv(tiny_dancer_budget_answers{$}[@]), 0))", "answers"),
                (
                    "sum by (settlement) (rate(tiny_dancer_budget_settlements_total{$}[@]))",
                    "{{settlement}}",
                ),
            ],
        ),
        of(
            "Threshold and judging rate",
            "The confidence threshold to which pacing has moved, and the probability with which a lightweight answer is judged.",
            "percentunit",
            &[
                ("max(tiny_dancer_budget_confidence_threshold{$})", "confidence threshold"),
                ("max(tiny_dancer_budget_judge_probability{$})", "judging rate"),
            ],
        ),
    ]
}

fn cost() -> Vec<Panel> {
    let of = |title, description, queries| {
        panel(title, description, Look::TimeSeries, "none", 12, queries)
            .without_data(NO_PRICES)
            .section("TinyDancerCostAboveBaseline")
    };
    vec![
        row("Cost: needs prices", "What the numbers mean"),
        of(
            "Cost an hour",
            "In the currency of your prices: what was paid, by model, and what it would have cost had all gone to the powerful one.",
            &[
                ("3600 * sum by (model_type) (rate(tiny_dancer_cost_total{$}[@]))", "{{model_type}}"),
                ("3600 * sum(rate(tiny_dancer_baseline_cost_total{$}[@]))", "all powerful"),
            ],
        ),
        of(
            "Savings an hour",
            "In the currency of your prices. Below 0 routing costs more than it saves: many lightweight answers had to be repeated.",
            &[(
                "3600 * (sum(rate(tiny_dancer_baseline_cost_total{$}[@])) - sum(rate(tiny_dancer_cost_total{$}[@])))",
                "saved",
            )],
        )
        .signed(),
    ]
}

fn targets() -> Vec<Panel> {
    vec![
        row("Targets and versions", "Scraping"),
        panel(
            "Routers",
            "Each router with the version, the revision and the vector instructions of the library, its model, and the time since the model was loaded and since the process began.",
            Look::Table,
            "none",
            24,
            &[
                (
                    "max by (job, instance, router, version, revision, kernel) (tiny_dancer_build_info{$})",
                    "",
                ),
                (
                    r#"max by (job, instance, router, model) (label_replace(tiny_dancer_model_info{$}, "model", "$1", "version", "(.*)"))"#,
                    "",
                ),
                (
                    "max by (job, instance, router) (time() - tiny_dancer_model_last_reload_timestamp_seconds{$})",
                    "",
                ),
                ("max by (job, instance) (time() - process_start_time_seconds{#})", ""),
            ],
        )
        .hidden(&["Time", "Value #A", "Value #B"])
        .with("Value #C", &[("displayName", json!("model loaded")), ("unit", json!("s"))])
        .with("Value #D", &[("displayName", json!("running for")), ("unit", json!("s"))]),
        panel(
            "Targets over time",
            "Whether Prometheus could scrape each target. A target that ends here has left service discovery.",
            Look::StateTimeline,
            "none",
            12,
            &[("max by (job, instance) (up{#})", "{{job}} {{instance}}")],
        )
        .states(TARGET)
        .thresholds(&[(0.0, "red"), (1.0, "green")])
        .section("TinyDancerTargetDown")
        .section("TinyDancerTargetGone"),
        panel(
            "Builds",
            "Instances by the version and the revision of the library, and by their vector instructions.",
            Look::TimeSeries,
            "none",
            12,
            &[(
                "count by (version, revision, kernel) (tiny_dancer_build_info{$})",
                "{{version}} {{revision}} {{kernel}}",
            )],
        )
        .stacked("normal"),
    ]
}

fn process() -> Vec<Panel> {
    let of = |title, description, unit, query| {
        panel(title, description, Look::TimeSeries, unit, 6, &[(query, "{{job}} {{instance}}")])
            .without_data(NO_PROCESS)
    };
    vec![
        row("Process: needs a ProcessCollector", "Metrics"),
        of(
            "Processor time",
            "Processors in use: 1 is all of one processor. Routing itself takes microseconds a request.",
            "none",
            "max by (job, instance) (rate(process_cpu_seconds_total{#}[@]))",
        ),
        of(
            "Memory",
            "Resident memory. The metrics' share is fixed, since the number of series is.",
            "bytes",
            "max by (job, instance) (process_resident_memory_bytes{#})",
        ),
        of(
            "Open files",
            "The share of the files that the process may open. At 100% it accepts no connections.",
            "percentunit",
            "max by (job, instance) (process_open_fds{#} / process_max_fds{#})",
        ),
        of(
            "Threads",
            "The number of threads, all of the process' own.",
            "none",
            "max by (job, instance) (process_threads{#})",
        ),
    ]
}

fn traces() -> Vec<Panel> {
    let of = |panel: Panel| panel.without_data("No tracing system").section("TinyDancerSpansLost");
    vec![
        row("Traces: needs a tracing system", "Traces and logs"),
        of(panel(
            "Spans by result",
            "Spans a second. Flushed: the collector accepted them. Failed: it refused them, or their export failed. Dropped: the queue had no slot.",
            Look::TimeSeries,
            "cps",
            12,
            &[("sum by (result) (rate(tiny_dancer_spans_total{$}[@]))", "{{result}}")],
        ))
        .stacked("normal")
        .coloured(&[("dropped", "orange"), ("failed", "red"), ("flushed", "green")]),
        of(panel(
            "Spans that never arrived",
            "The share of spans that were dropped or failed: traces are incomplete. The line is the alert's: 1%.",
            Look::TimeSeries,
            "percentunit",
            12,
            &[(
                r#"sum(rate(tiny_dancer_spans_total{result=~"dropped|failed",$}[@])) / sum(rate(tiny_dancer_spans_total{$}[@]))"#,
                "lost",
            )],
        ))
        .thresholds(&[(0.01, "red")]),
        panel(
            "Log records by result",
            "Log records a second, if they are exported over OTLP. Dropped and failed ones are missing at the collector; the program's own lines have them.",
            Look::TimeSeries,
            "cps",
            12,
            &[("sum by (result) (rate(tiny_dancer_log_records_total{$}[@]))", "{{result}}")],
        )
        .without_data("No export of log records")
        .section("Metrics and logs without a scrape")
        .stacked("normal")
        .coloured(&[("dropped", "orange"), ("failed", "red"), ("flushed", "green")]),
        panel(
            "Pushed metric points by result",
            "Points of metrics a second, if they are exported over OTLP. The next push has the counts of failed ones again.",
            Look::TimeSeries,
            "cps",
            12,
            &[("sum by (result) (rate(tiny_dancer_metric_points_total{$}[@]))", "{{result}}")],
        )
        .without_data("No export of metrics")
        .section("Metrics and logs without a scrape")
        .stacked("normal")
        .coloured(&[("dropped", "orange"), ("failed", "red"), ("flushed", "green")]),
    ]
}

/// Name, colour, PromQL, title. Grafana evaluates them once a minute.
pub(super) fn annotations() -> Vec<(&'static str, &'static str, String, &'static str)> {
    [
        (
            "Circuit changes",
            "orange",
            "sum by (circuit, to) (increase(tiny_dancer_circuit_breaker_transitions_total{$}[1m])) > 0",
            "{{circuit}} circuit to {{to}}",
        ),
        (
            "Reloads",
            "blue",
            "sum by (result) (increase(tiny_dancer_model_reloads_total{$}[1m])) > 0",
            "model reload: {{result}}",
        ),
        (
            // Also where a new instance has a new name, so that nothing of it changes.
            "Starts",
            "purple",
            "count by (job) (time() - process_start_time_seconds{#} < 60)",
            "processes of {{job}} started",
        ),
        (
            "New builds",
            "green",
            "count by (version, revision) (tiny_dancer_build_info{$}) unless count by (version, revision) (tiny_dancer_build_info{$} offset 1m)",
            "build {{version}} {{revision}} is new",
        ),
    ]
    .map(|(name, colour, query, title)| (name, colour, expanded(query), title))
    .into()
}
