//! `docs/dashboards/tiny-dancer.json`, generated from the panels below.
//!
//! `BLESS=1 cargo test -p tiny-dancer-metrics` writes it; without `BLESS`, the test compares. Names and labels are checked
//! against the catalogue here. `cargo xtask test` checks that every query finds data in a real Prometheus, and that the
//! file has Grafana's own types.

use crate::{queries, stored};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tiny_dancer_metrics::catalogue::CATALOGUE;

#[test]
fn the_dashboard_matches_its_panels() {
    let text = serde_json::to_string_pretty(&dashboard()).unwrap() + "\n";
    stored("docs/dashboards/tiny-dancer.json", &text);
}

#[test]
fn every_family_is_on_the_dashboard_and_nothing_else() {
    let queries = panels().into_iter().flat_map(|panel| panel.queries).map(|(query, _)| query);
    let named: BTreeSet<_> = queries.flat_map(|query| queries::families(&query)).collect();
    let catalogued: BTreeSet<_> = CATALOGUE.iter().map(|family| family.name).collect();
    assert_eq!(named, catalogued);
    for (_, _, query, _) in annotations() {
        assert_eq!(queries::families(&query).len(), 1, "{query}");
    }
}

#[test]
fn every_panel_has_a_description_and_filters_by_instance() {
    let mut titles = BTreeSet::new();
    for panel in panels() {
        let title = panel.title;
        assert!(titles.insert(title), "{title} comes twice");
        assert!(panel.description.ends_with('.') && panel.description.len() > 30, "{title}");
        let units: &[_] =
            if panel.look == Look::Row { &[""] } else { &["none", "percentunit", "reqps", "s", "short"] };
        assert!(units.contains(&panel.unit), "{title} has the unit {:?}", panel.unit);
        for (query, _) in panel.queries {
            let selectors = query.matches("tiny_dancer_").count();
            assert_eq!(query.matches(r#"instance=~"$instance""#).count(), selectors, "{query}");
        }
    }
}

/// A legend shows an aggregated label as an empty text, and lines with the same legend look the same.
#[test]
fn legends_name_the_labels_that_distinguish_their_series() {
    for panel in panels() {
        for (query, legend) in &panel.queries {
            // The bounds of buckets are lines in a heatmap only.
            let mut grouped = queries::grouped(query);
            grouped.retain(|label| label != "le" || panel.look == Look::Heatmap);
            assert_eq!(named(legend), grouped, "{}: {legend}", panel.title);
        }
        let legends: BTreeSet<_> = panel.queries.iter().map(|(_, legend)| legend).collect();
        assert_eq!(legends.len(), panel.queries.len(), "{}", panel.title);
    }
    for (name, _, query, title) in annotations() {
        assert_eq!(named(title), queries::grouped(&query), "{name}: {title}");
    }
}

/// The labels whose values a legend shows.
fn named(legend: &str) -> BTreeSet<String> {
    legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap().to_owned()).collect()
}

#[test]
fn panels_do_not_overlap_and_fill_their_rows() {
    let mut taken = BTreeSet::new();
    for panel in dashboard()["panels"].as_array().unwrap() {
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{}", panel["title"]);
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{} covers another panel", panel["title"]);
            }
        }
    }
    let height = taken.iter().map(|&(_, y)| y).max().unwrap() + 1;
    assert_eq!(taken.len() as u64, 24 * height, "there are holes");
}

/// The type of a panel in Grafana.
#[derive(Clone, Copy, PartialEq)]
enum Look {
    Heatmap,
    /// Opens a row of panels.
    Row,
    Stat,
    StateTimeline,
    TimeSeries,
}

struct Panel {
    title: &'static str,
    description: &'static str,
    look: Look,
    unit: &'static str,
    /// Of 24 columns.
    width: u64,
    /// PromQL and legend.
    queries: Vec<(String, &'static str)>,
    /// The colours and the values from which on they are shown, or the line that is drawn.
    thresholds: Vec<(f64, &'static str)>,
    stacking: &'static str,
}

fn row(title: &'static str) -> Panel {
    Panel {
        look: Look::Row,
        ..panel(title, "A row of panels that belong together, with a title.", Look::Row, "", 24, &[])
    }
}

/// `$` stands for the selected instances, `@` for the range of a rate.
fn panel(
    title: &'static str,
    description: &'static str,
    look: Look,
    unit: &'static str,
    width: u64,
    queries: &[(&str, &'static str)],
) -> Panel {
    let queries = queries.iter().map(|&(query, legend)| (expanded(query), legend)).collect();
    Panel { title, description, look, unit, width, queries, thresholds: Vec::new(), stacking: "none" }
}

fn expanded(query: &str) -> String {
    query.replace('$', r#"instance=~"$instance""#).replace('@', "$__rate_interval")
}

impl Panel {
    fn thresholds(mut self, thresholds: &[(f64, &'static str)]) -> Self {
        self.thresholds = thresholds.to_vec();
        self
    }

    fn stacked(mut self, stacking: &'static str) -> Self {
        self.stacking = stacking;
        self
    }
}

fn panels() -> Vec<Panel> {
    [glance(), traffic(), decisions(), scores(), stages(), circuits(), promise_and_cost(), traces()]
        .into_iter()
        .flatten()
        .collect()
}

fn glance() -> Vec<Panel> {
    let stat = |title, description, unit, query| panel(title, description, Look::Stat, unit, 4, &[query]);
    vec![
        row("At a glance"),
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
        .thresholds(&[(0.0, "green"), (0.01, "orange"), (0.05, "red")]),
        stat(
            "P95",
            "95 of 100 requests take no longer. Alerts above 10 ms.",
            "s",
            ("histogram_quantile(0.95, sum by (le) (rate(tiny_dancer_routing_latency_seconds_bucket{$}[@])))", ""),
        )
        .thresholds(&[(0.0, "green"), (0.005, "orange"), (0.01, "red")]),
        stat(
            "Lightweight",
            "The share of decided requests that go to the lightweight model.",
            "percentunit",
            (
                r#"sum(rate(tiny_dancer_routing_decisions_total{model_type="lightweight",$}[@])) / sum(rate(tiny_dancer_routing_decisions_total{$}[@]))"#,
                "",
            ),
        ),
        stat(
            "Circuits",
            "The worst state of each circuit now. Open means that requests go to the powerful model.",
            "none",
            ("max by (circuit) (tiny_dancer_circuit_breaker_state{$})", "{{circuit}}"),
        )
        .thresholds(&[(0.0, "green"), (1.0, "orange"), (2.0, "red")]),
        stat(
            "Saved",
            "What routing saves of the cost of sending everything to the powerful model; below 0 it costs more. Needs prices.",
            "percentunit",
            ("1 - sum(rate(tiny_dancer_cost_total{$}[@])) / sum(rate(tiny_dancer_baseline_cost_total{$}[@]))", ""),
        )
        .thresholds(&[(-1.0, "red"), (0.0, "green")]),
    ]
}

fn traffic() -> Vec<Panel> {
    let quantile = |of: &str| {
        format!(
            "histogram_quantile({of}, sum by (le) (rate(tiny_dancer_routing_latency_seconds_bucket{{$}}[@])))"
        )
    };
    let quantiles = ["0.5", "0.95", "0.99"].map(quantile);
    vec![
        row("Traffic"),
        panel(
            "Requests by how they end",
            "A fallback is the powerful model because of missing evidence or an open circuit.",
            Look::TimeSeries,
            "reqps",
            8,
            &[("sum by (status) (rate(tiny_dancer_routing_requests_total{$}[@]))", "{{status}}")],
        )
        .stacked("normal"),
        panel(
            "How long a request takes",
            "Quantiles, interpolated within buckets. The line is the alert's: P95 of 10 ms.",
            Look::TimeSeries,
            "s",
            8,
            &[(&quantiles[0], "P50"), (&quantiles[1], "P95"), (&quantiles[2], "P99")],
        )
        .thresholds(&[(0.01, "red")]),
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
        .thresholds(&[(0.05, "red")]),
        panel(
            "Candidates a request",
            "The mean over requests that the model read: without fallbacks and failures.",
            Look::TimeSeries,
            "short",
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
            "short",
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
            "short",
            8,
            &[("sum by (instance) (tiny_dancer_requests_in_flight{$})", "{{instance}}")],
        ),
    ]
}

fn decisions() -> Vec<Panel> {
    vec![
        row("Decisions"),
        panel(
            "Lightweight against powerful",
            "The share of decided requests that goes to each model.",
            Look::TimeSeries,
            "reqps",
            8,
            &[("sum by (model_type) (rate(tiny_dancer_routing_decisions_total{$}[@]))", "{{model_type}}")],
        )
        .stacked("percent"),
        panel(
            "Why",
            "Decided requests by the test that decided. Much high_uncertainty: traffic differs from the calibration data.",
            Look::TimeSeries,
            "reqps",
            8,
            &[("sum by (reason) (rate(tiny_dancer_routing_decisions_total{$}[@]))", "{{reason}}")],
        )
        .stacked("percent"),
        panel(
            "How the models did",
            "Reported outcomes by model and result. Empty if the program does not call record_outcome.",
            Look::TimeSeries,
            "reqps",
            8,
            &[("sum by (model_type, result) (rate(tiny_dancer_outcomes_total{$}[@]))", "{{model_type}} {{result}}")],
        ),
    ]
}

fn scores() -> Vec<Panel> {
    let mean = |family: &str| {
        format!(
            "sum by (decision_type) (rate({family}_sum{{$}}[@])) / sum by (decision_type) (rate({family}_count{{$}}[@]) > 0)"
        )
    };
    let (confidence, uncertainty) =
        (mean("tiny_dancer_confidence_scores"), mean("tiny_dancer_uncertainty_estimates"));
    vec![
        row("Confidence and uncertainty, one observation a candidate"),
        panel(
            "Confidence",
            "Candidates by their confidence that the lightweight model suffices.",
            Look::Heatmap,
            "percentunit",
            8,
            &[("sum by (le) (increase(tiny_dancer_confidence_scores_bucket{$}[@]))", "{{le}}")],
        ),
        panel(
            "Uncertainty",
            "Candidates by their conformal uncertainty: 0 is certain, 1 is unlike all calibration data.",
            Look::Heatmap,
            "percentunit",
            8,
            &[("sum by (le) (increase(tiny_dancer_uncertainty_estimates_bucket{$}[@]))", "{{le}}")],
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
        ),
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
    let rest = "(sum(rate(tiny_dancer_routing_latency_seconds_sum{$}[@])) \
        - sum(rate(tiny_dancer_feature_engineering_duration_seconds_sum{$}[@])) \
        - sum(rate(tiny_dancer_model_inference_duration_seconds_sum{$}[@]))) \
        / sum(rate(tiny_dancer_routing_latency_seconds_count{$}[@]))";
    vec![
        row("Stages"),
        panel(
            "Where the time goes",
            "Mean time a request in each stage. The rest is circuits, uncertainty, the decision and observers.",
            Look::TimeSeries,
            "s",
            8,
            &[(&features, "feature_engineering"), (&inference, "model_inference"), (rest, "the rest")],
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

fn circuits() -> Vec<Panel> {
    vec![
        row("Circuits and model"),
        panel(
            "Circuits over time",
            "The worst state of each circuit. Open: requests go to the powerful model; half-open: some are sent as probes.",
            Look::StateTimeline,
            "none",
            8,
            &[("max by (circuit) (tiny_dancer_circuit_breaker_state{$})", "{{circuit}}")],
        )
        .thresholds(&[(0.0, "green"), (1.0, "orange"), (2.0, "red")]),
        panel(
            "Transitions",
            "Changes of state within the range of a rate, by circuit and new state.",
            Look::TimeSeries,
            "short",
            8,
            &[(
                "sum by (circuit, to) (increase(tiny_dancer_circuit_breaker_transitions_total{$}[@]))",
                "{{circuit}} to {{to}}",
            )],
        ),
        panel(
            "Models and reloads",
            "Instances by the version of the model that they loaded last, and reloads within the range of a rate.",
            Look::TimeSeries,
            "short",
            8,
            &[
                ("count by (version) (tiny_dancer_model_info{$})", "{{version}}"),
                ("sum by (result) (increase(tiny_dancer_model_reloads_total{$}[@]))", "reload {{result}}"),
            ],
        ),
        panel(
            "Failed reloads",
            "Instances whose last reload failed: the model from before it serves. An alert fires from one on.",
            Look::TimeSeries,
            "short",
            8,
            &[("sum(1 - tiny_dancer_model_last_reload_successful{$})", "failed")],
        ),
        panel(
            "Age of the model",
            "The time since each instance last loaded a model successfully.",
            Look::TimeSeries,
            "s",
            8,
            &[(
                "max by (instance) (time() - tiny_dancer_model_last_reload_timestamp_seconds{$})",
                "{{instance}}",
            )],
        ),
        panel(
            "Builds",
            "Instances by the version and the revision of the library, and by their vector instructions.",
            Look::TimeSeries,
            "short",
            8,
            &[(
                "count by (version, revision, kernel) (tiny_dancer_build_info{$})",
                "{{version}} {{revision}} {{kernel}}",
            )],
        ),
    ]
}

fn traces() -> Vec<Panel> {
    vec![
        row("Traces: needs a tracing system"),
        panel(
            "Spans by result",
            "Spans a second. Flushed: the collector accepted them. Failed: it refused them, or their export failed. Dropped: the queue had no slot.",
            Look::TimeSeries,
            "short",
            12,
            &[("sum by (result) (rate(tiny_dancer_spans_total{$}[@]))", "{{result}}")],
        )
        .stacked("normal"),
        panel(
            "Spans that never arrived",
            "The share of spans that were dropped or failed: traces are incomplete. The line is the alert's: 1%.",
            Look::TimeSeries,
            "percentunit",
            12,
            &[(
                r#"sum(rate(tiny_dancer_spans_total{result=~"dropped|failed",$}[@])) / sum(rate(tiny_dancer_spans_total{$}[@]))"#,
                "lost",
            )],
        )
        .thresholds(&[(0.01, "red")]),
    ]
}

fn promise_and_cost() -> Vec<Panel> {
    vec![
        row("Promise and cost: needs a promised risk, and prices"),
        panel(
            "Promise against observed failures",
            "The promised largest share of insufficient answers of the lightweight model, and the reported share.",
            Look::TimeSeries,
            "percentunit",
            6,
            &[
                ("max(tiny_dancer_promised_alpha{$})", "promised"),
                ("max(tiny_dancer_promise_insufficient_ratio{$})", "reported"),
            ],
        ),
        panel(
            "Evidence against the promise",
            "1 is none; 1/delta, 20 for a delta of 0.05, refutes the promise. Broken stays 1 until a reset, or a reload that changes the model or its thresholds.",
            Look::TimeSeries,
            "short",
            6,
            &[
                ("max(tiny_dancer_promise_evidence{$})", "evidence"),
                ("max(tiny_dancer_promise_broken{$})", "broken"),
            ],
        ),
        panel(
            "Cost an hour",
            "In your currency: what was paid, by model, and what it would have cost had all gone to the powerful one.",
            Look::TimeSeries,
            "short",
            6,
            &[
                ("3600 * sum by (model_type) (rate(tiny_dancer_cost_total{$}[@]))", "{{model_type}}"),
                ("3600 * sum(rate(tiny_dancer_baseline_cost_total{$}[@]))", "all powerful"),
            ],
        ),
        panel(
            "Savings an hour",
            "In your currency. Below 0 routing costs more than it saves: many lightweight answers had to be repeated.",
            Look::TimeSeries,
            "short",
            6,
            &[(
                "3600 * (sum(rate(tiny_dancer_baseline_cost_total{$}[@])) - sum(rate(tiny_dancer_cost_total{$}[@])))",
                "saved",
            )],
        ),
    ]
}

/// Name, colour, PromQL, title.
fn annotations() -> Vec<(&'static str, &'static str, String, &'static str)> {
    vec![
        (
            "Circuit changes",
            "orange",
            expanded(
                "sum by (circuit, to) (increase(tiny_dancer_circuit_breaker_transitions_total{$}[1m])) > 0",
            ),
            "{{circuit}} circuit to {{to}}",
        ),
        (
            "Reloads",
            "blue",
            expanded("sum by (result) (increase(tiny_dancer_model_reloads_total{$}[1m])) > 0"),
            "model reload: {{result}}",
        ),
    ]
}

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

fn dashboard() -> Value {
    let annotations: Vec<_> = annotations()
        .into_iter()
        .map(|(name, colour, query, title)| {
            json!({
                "datasource": datasource(), "enable": true, "expr": query, "iconColor": colour, "name": name,
                "step": "60s", "titleFormat": title,
            })
        })
        .collect();
    json!({
        "annotations": { "list": annotations },
        "description": "What the Tiny Dancer router decides, how fast, how certain, and at what cost. Generated: change crates/tiny-dancer-metrics/tests/it/dashboard.rs, then run cargo xtask codegen.",
        "editable": true,
        "graphTooltip": 1,
        "panels": placed(),
        "refresh": "30s",
        "schemaVersion": 39,
        "tags": ["tiny-dancer"],
        "templating": { "list": [
            { "label": "Data source", "name": "datasource", "query": "prometheus", "type": "datasource" },
            {
                "allValue": ".*", "current": { "selected": true, "text": "All", "value": "$__all" },
                "datasource": datasource(), "includeAll": true, "label": "Instance", "multi": true,
                "name": "instance", "query": "label_values(tiny_dancer_requests_in_flight, instance)",
                "refresh": 2, "sort": 1, "type": "query",
            },
        ] },
        "time": { "from": "now-1h", "to": "now" },
        "timezone": "browser",
        "title": "Tiny Dancer",
        "uid": "tiny-dancer",
    })
}

/// The panels with their places, from left to right and from top to bottom.
fn placed() -> Vec<Value> {
    let (mut x, mut y, mut height) = (0, 0, 0);
    let mut placed = Vec::new();
    for (id, panel) in (1..).zip(panels()) {
        let this = match panel.look {
            Look::Row => 1,
            Look::Stat => 4,
            Look::Heatmap | Look::StateTimeline | Look::TimeSeries => 8,
        };
        if panel.look == Look::Row || x + panel.width > 24 {
            (x, y) = (0, y + height);
        }
        height = this;
        let place = json!({ "x": x, "y": y, "w": panel.width, "h": this });
        x += panel.width;
        placed.push(written(&panel, id, &place));
    }
    placed
}

fn written(panel: &Panel, id: u64, place: &Value) -> Value {
    if panel.look == Look::Row {
        return json!({
            "collapsed": false, "gridPos": place, "id": id, "panels": [], "title": panel.title, "type": "row",
        });
    }
    let targets: Vec<_> =
        panel.queries.iter().zip("ABC".chars()).map(|(query, id)| target(panel, query, id)).collect();
    json!({
        "datasource": datasource(),
        "description": panel.description,
        "fieldConfig": { "defaults": defaults(panel), "overrides": [] },
        "gridPos": place,
        "id": id,
        "options": options(panel),
        "targets": targets,
        "title": panel.title,
        "type": match panel.look {
            Look::Heatmap => "heatmap",
            Look::Row => "row",
            Look::Stat => "stat",
            Look::StateTimeline => "state-timeline",
            Look::TimeSeries => "timeseries",
        },
    })
}

fn target(panel: &Panel, (query, legend): &(String, &str), id: char) -> Value {
    json!({
        "datasource": datasource(),
        "editorMode": "code",
        "expr": query,
        "format": if panel.look == Look::Heatmap { "heatmap" } else { "time_series" },
        "legendFormat": legend,
        "range": true,
        "refId": id,
    })
}

fn defaults(panel: &Panel) -> Value {
    let is_line = panel.look == Look::TimeSeries;
    let mut steps = vec![json!({ "color": if is_line { "transparent" } else { "green" }, "value": null })];
    steps.extend(panel.thresholds.iter().map(|(value, colour)| json!({ "color": colour, "value": value })));
    let is_state = panel.queries.iter().any(|(query, _)| query.contains("circuit_breaker_state"));
    let states = [("closed", "green"), ("half-open", "orange"), ("open", "red")];
    let states: serde_json::Map<String, Value> = (0..)
        .zip(states)
        .map(|(value, (name, colour))| {
            (format!("{value}"), json!({ "color": colour, "index": value, "text": name }))
        })
        .collect();
    let custom = match panel.look {
        Look::TimeSeries => json!({
            "drawStyle": "line",
            "fillOpacity": if panel.stacking == "none" { 10 } else { 40 },
            "lineWidth": 1,
            "showPoints": "never",
            "stacking": { "group": "A", "mode": panel.stacking },
            "thresholdsStyle": { "mode": if panel.thresholds.is_empty() { "off" } else { "line" } },
        }),
        Look::StateTimeline => json!({ "fillOpacity": 80, "lineWidth": 0 }),
        Look::Heatmap | Look::Row | Look::Stat => json!({}),
    };
    json!({
        "color": { "mode": if is_line { "palette-classic" } else { "thresholds" } },
        "custom": custom,
        "mappings": if is_state { json!([{ "options": states, "type": "value" }]) } else { json!([]) },
        "thresholds": { "mode": "absolute", "steps": steps },
        "unit": panel.unit,
    })
}

fn options(panel: &Panel) -> Value {
    let tooltip = json!({ "mode": "multi", "sort": "desc" });
    let legend = json!({ "calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": true });
    match panel.look {
        Look::Row => json!({}),
        Look::Heatmap => json!({
            "calculate": false,
            "cellGap": 1,
            "color": { "exponent": 0.5, "fill": "dark-orange", "mode": "scheme", "reverse": false, "scheme": "Oranges", "steps": 64 },
            "exemplars": { "color": "rgba(255,0,255,0.7)" },
            "filterValues": { "le": 1e-9 },
            "legend": { "show": true },
            "rowsFrame": { "layout": "auto" },
            "showValue": "never",
            "tooltip": { "mode": "single", "yHistogram": false },
            "yAxis": { "axisPlacement": "left", "reverse": false, "unit": panel.unit },
        }),
        Look::Stat => json!({
            "colorMode": if panel.thresholds.is_empty() { "none" } else { "value" },
            "graphMode": "area",
            "justifyMode": "auto",
            "orientation": "auto",
            "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
            "showPercentChange": false,
            "textMode": "auto",
            "wideLayout": true,
        }),
        Look::StateTimeline => json!({
            "alignValue": "left", "legend": legend, "mergeValues": true, "rowHeight": 0.8, "showValue": "auto", "tooltip": tooltip,
        }),
        Look::TimeSeries => json!({ "legend": legend, "tooltip": tooltip }),
    }
}
