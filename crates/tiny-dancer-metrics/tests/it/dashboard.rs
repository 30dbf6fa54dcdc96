//! `docs/dashboards/tiny-dancer.json`, generated from the panels below.
//!
//! `BLESS=1 cargo test -p tiny-dancer-metrics` writes it; without `BLESS`, the test compares. Names and labels are checked
//! against the catalogue here. `cargo xtask test` checks that every query finds data in a real Prometheus, and that the
//! file has Grafana's own types.

use crate::{GUIDE, alerts, queries, read, stored};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tiny_dancer_metrics::ProcessCollector;
use tiny_dancer_metrics::prometheus::core::Collector;

mod gateway;
mod panels;

use panels::{annotations, panels};

#[test]
fn the_dashboard_matches_its_panels() {
    let text = serde_json::to_string_pretty(&dashboard()).unwrap() + "\n";
    stored("docs/dashboards/tiny-dancer.json", &text);
}

/// The families that a query names, also those behind its recordings.
fn families(query: &str) -> BTreeSet<&'static str> {
    queries::families(&alerts::resolved(query))
}

#[test]
fn every_family_has_a_panel() {
    let queries = panels().into_iter().flat_map(|panel| panel.queries).map(|(query, _)| query);
    let shown: BTreeSet<_> = queries.flat_map(|query| families(&query)).collect();
    let all = queries::FAMILIES.iter().map(|family| &*family.name);
    let missing: Vec<_> = all.filter(|name| !shown.contains(name)).collect();
    assert!(missing.is_empty(), "no panel of tests/it/dashboard/panels.rs shows {missing:?}");
}

/// A metric without a filter would show all routers of a Prometheus, and one with a label that it lacks would show none.
#[test]
fn every_metric_is_known_and_filtered_by_the_labels_that_it_has() {
    let process = ProcessCollector::new().unwrap();
    let process: BTreeSet<_> = process.desc().iter().map(|desc| desc.fq_name.clone()).collect();
    let panels = panels().into_iter().flat_map(|panel| panel.queries).map(|(query, _)| query);
    for query in panels.chain(annotations().into_iter().map(|(_, _, query, _)| query)) {
        let selectors: Vec<_> = query.split('}').filter_map(|part| part.split_once('{')).collect();
        assert!(!selectors.is_empty(), "{query}");
        for (before, matchers) in selectors {
            let begin = before.rfind(|c: char| !"_:".contains(c) && !c.is_ascii_alphanumeric());
            let name = &before[begin.map_or(0, |begin| begin + 1)..];
            let filter = match name {
                "ALERTS" => JOBS,
                "up" => TARGETS,
                name if process.contains(name) => TARGETS,
                name if name.contains(':') => SERVICES,
                // A gateway has one router, without a label.
                name if name.starts_with(queries::OF_GATEWAY) => TARGETS,
                name => {
                    assert!(name.starts_with("tiny_dancer_"), "{name} is not known: {query}");
                    ROUTERS
                }
            };
            assert!(matchers.ends_with(filter), "{name} needs {filter}: {query}");
        }
        // A family or a recording without braces has no filter.
        for (at, name) in query.match_indices("tiny_dancer_") {
            let rest = &query[at + name.len()..];
            let end =
                rest.find(|c: char| !"_:".contains(c) && !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
            assert!(rest[end..].starts_with('{'), "no filter: {query}");
        }
    }
}

#[test]
fn every_panel_has_a_description_a_unit_and_a_text_without_data() {
    let mut titles = BTreeSet::new();
    for panel in panels() {
        let title = panel.title;
        assert!(titles.insert(title), "{title} comes twice");
        if panel.look == Look::Row {
            continue;
        }
        assert!(panel.description.ends_with('.') && panel.description.len() > 30, "{title}");
        let units = ["bytes", "cps", "none", "percentunit", "reqps", "s"];
        assert!(units.contains(&panel.unit), "{title} has the unit {:?}", panel.unit);
        assert!(!panel.without_data.is_empty(), "{title}");
        for (query, _) in &panel.queries {
            // Extrapolation makes 1.07 of one event.
            assert_eq!(query.contains("increase("), query.starts_with("round("), "{query}");
        }
    }
}

/// A legend shows an aggregated label as an empty text, and lines with the same legend look the same.
#[test]
fn legends_name_the_labels_that_distinguish_their_series() {
    for panel in panels().iter().filter(|panel| panel.look != Look::Table) {
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

/// Two routers, each with a promise of its own: a maximum of one against a maximum of the other shows a broken promise as kept.
#[test]
fn a_promise_is_compared_with_its_own_alpha() {
    let queries = panels().into_iter().flat_map(|panel| panel.queries).map(|(query, _)| query);
    for query in queries.filter(|query| query.contains("promise_insufficient_ratio") && query.contains('/')) {
        let own = format!(
            "(tiny_dancer_promise_insufficient_ratio{{{ROUTERS}}} / tiny_dancer_promised_alpha{{{ROUTERS}}})"
        );
        assert!(query.contains(&own), "{query}");
    }
}

#[test]
fn every_link_leads_to_a_section_of_the_guide() {
    let guide = read(GUIDE);
    let headings = guide.lines().filter(|line| line.starts_with("##"));
    let anchors: BTreeSet<_> = headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect();
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut links: Vec<_> = dashboard["links"].as_array().unwrap().iter().collect();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let of_panel = panel["links"].as_array().unwrap();
        assert!(!of_panel.is_empty(), "{} has no link", panel["title"]);
        links.extend(of_panel);
    }
    for link in links {
        let (page, anchor) = link["url"].as_str().unwrap().split_once('#').unwrap();
        assert_eq!(page, alerts::url());
        assert!(anchors.contains(anchor), "the guide has no section {anchor}");
    }
}

/// Exemplars are of requests, so on another scale than seconds they are no points of the panel.
#[test]
fn panels_of_latency_and_no_others_show_exemplars() {
    for panel in panels() {
        let of_latency =
            panel.queries.iter().any(|(query, _)| query.contains("routing_latency_seconds_bucket"));
        let of_latency = of_latency && [Look::Heatmap, Look::TimeSeries].contains(&panel.look);
        assert_eq!(panel.exemplars, of_latency, "{}", panel.title);
    }
}

/// `router` is a label that a program adds, or doesn't. The filter for all must find series without it.
#[test]
fn all_routers_are_also_those_without_the_label() {
    let dashboard = dashboard();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<_> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["datasource", "job", "instance", "router"]);
    assert_eq!(variables[3]["allValue"], ".*");
    // `up` knows all targets of a Prometheus, so all jobs are those of this product.
    assert_eq!(variables[1]["allValue"], Value::Null);
    for variable in &variables[1..] {
        let query = variable["query"].as_str().unwrap();
        let (selector, label) = query.strip_prefix("label_values(").unwrap().rsplit_once(", ").unwrap();
        assert_eq!(families(selector).len(), 1, "{query}");
        assert_eq!(label.strip_suffix(')'), variable["name"].as_str());
    }
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

/// The selected routers: a filter of the families.
const ROUTERS: &str = r#"job=~"$job",instance=~"$instance",router=~"$router""#;
/// The selected targets: a filter of what has no label of a router.
const TARGETS: &str = r#"job=~"$job",instance=~"$instance""#;
/// The selected services: a filter of recordings, which add up instances.
const SERVICES: &str = r#"job=~"$job",router=~"$router""#;
/// The selected jobs: a filter of alerts, since some of them have no instance.
const JOBS: &str = r#"job=~"$job""#;

/// The type of a panel in Grafana.
#[derive(Clone, Copy, PartialEq)]
enum Look {
    Heatmap,
    /// Opens a row of panels.
    Row,
    Stat,
    StateTimeline,
    Table,
    TimeSeries,
}

/// Values, and the text and the colour that each is shown with.
type States = &'static [(&'static str, &'static str)];

struct Panel {
    title: &'static str,
    description: &'static str,
    look: Look,
    unit: &'static str,
    /// Of 24 columns.
    width: u64,
    /// PromQL and legend.
    queries: Vec<(String, &'static str)>,
    /// The colours and the values from which on they are shown, or the lines that are drawn.
    thresholds: Vec<(f64, &'static str)>,
    stacking: &'static str,
    /// What the values 0, 1 and so on mean.
    states: States,
    /// The text in place of the panel.
    without_data: &'static str,
    /// The headings of the guide's sections that explain the panel.
    sections: Vec<&'static str>,
    exemplars: bool,
    /// Whether values may be below 0.
    is_signed: bool,
    is_logarithmic: bool,
    /// Columns that are not shown.
    hidden: &'static [&'static str],
    /// Properties of single series or columns.
    overrides: Vec<Value>,
}

/// The section is that of all panels up to the next row.
fn row(title: &'static str, section: &'static str) -> Panel {
    Panel { sections: vec![section], ..panel(title, "", Look::Row, "", 24, &[]) }
}

/// `{$}` stands for the filter by routers, `{#}` for that by targets, `{%}` for that by services, `{&}` for that by jobs, and
/// `@` for the range of a rate.
fn panel(
    title: &'static str,
    description: &'static str,
    look: Look,
    unit: &'static str,
    width: u64,
    queries: &[(&str, &'static str)],
) -> Panel {
    Panel {
        title,
        description,
        look,
        unit,
        width,
        queries: queries.iter().map(|&(query, legend)| (expanded(query), legend)).collect(),
        thresholds: Vec::new(),
        stacking: "none",
        states: &[],
        without_data: "No data",
        sections: Vec::new(),
        exemplars: false,
        is_signed: false,
        is_logarithmic: false,
        hidden: &[],
        overrides: Vec::new(),
    }
}

fn expanded(query: &str) -> String {
    let filters = [("$}", ROUTERS), ("#}", TARGETS), ("%}", SERVICES), ("&}", JOBS)];
    let filtered = filters
        .iter()
        .fold(query.to_owned(), |query, (of, filter)| query.replace(of, &format!("{filter}}}")));
    filtered.replace('@', "$__rate_interval")
}

impl Panel {
    fn thresholds(self, thresholds: &[(f64, &'static str)]) -> Self {
        Self { thresholds: thresholds.to_vec(), ..self }
    }

    fn stacked(self, stacking: &'static str) -> Self {
        Self { stacking, ..self }
    }

    fn states(self, states: States) -> Self {
        Self { states, ..self }
    }

    fn without_data(self, without_data: &'static str) -> Self {
        Self { without_data, ..self }
    }

    fn section(mut self, section: &'static str) -> Self {
        self.sections.push(section);
        self
    }

    fn exemplars(self) -> Self {
        Self { exemplars: true, ..self }
    }

    fn signed(self) -> Self {
        Self { is_signed: true, ..self }
    }

    fn logarithmic(self) -> Self {
        Self { is_logarithmic: true, ..self }
    }

    fn hidden(self, hidden: &'static [&'static str]) -> Self {
        Self { hidden, ..self }
    }

    /// Sets properties of the series or the column with this name.
    fn with(mut self, name: &str, properties: &[(&str, Value)]) -> Self {
        let properties: Vec<_> =
            properties.iter().map(|(id, value)| json!({ "id": id, "value": value })).collect();
        self.overrides
            .push(json!({ "matcher": { "id": "byName", "options": name }, "properties": properties }));
        self
    }

    /// Series whose name means something keep their colour.
    fn coloured(self, colours: &[(&str, &str)]) -> Self {
        colours.iter().fold(self, |panel, (name, colour)| {
            panel.with(name, &[("color", json!({ "fixedColor": colour, "mode": "fixed" }))])
        })
    }
}

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// A link to the section of the guide with this heading.
fn link(heading: &str) -> Value {
    json!({
        "asDropdown": false, "icon": "doc", "includeVars": false, "keepTime": false, "tags": [], "targetBlank": true,
        "title": format!("Guide: {heading}"), "tooltip": "", "type": "link",
        "url": format!("{}#{}", alerts::url(), anchor(heading)),
    })
}

/// GitHub's anchor of a heading: lower case, without punctuation, hyphens for spaces.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|&c| c.is_alphanumeric() || " -_".contains(c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// A variable with the values of a label of its name.
fn variable(name: &str, label: &str, selector: &str, all: Option<&str>) -> Value {
    let mut variable = json!({
        "current": { "selected": true, "text": "All", "value": "$__all" },
        "datasource": datasource(), "includeAll": true, "label": label, "multi": true, "name": name,
        "query": format!("label_values(tiny_dancer_build_info{selector}, {name})"),
        "refresh": 2, "sort": 1, "type": "query",
    });
    // Without a value, Grafana lists all values.
    if let Some(all) = all {
        variable["allValue"] = json!(all);
    }
    variable
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
        "description": "What the Tiny Dancer router decides, how fast, how certain, and at what cost. Generated: change crates/tiny-dancer-metrics/tests/it/dashboard/panels.rs, then run cargo xtask codegen.",
        "editable": true,
        "graphTooltip": 1,
        "links": [
            link("What the numbers mean"), link("Alerts"), link("Troubleshooting"),
        ],
        "panels": placed(),
        "refresh": "30s",
        "schemaVersion": 39,
        "tags": ["tiny-dancer"],
        "templating": { "list": [
            { "label": "Data source", "name": "datasource", "query": "prometheus", "type": "datasource" },
            variable("job", "Job", "", None),
            variable("instance", "Instance", r#"{job=~"$job"}"#, Some(".*")),
            variable("router", "Router", r#"{job=~"$job",instance=~"$instance"}"#, Some(".*")),
        ] },
        "time": { "from": "now-1h", "to": "now" },
        "timezone": "browser",
        "title": "Tiny Dancer",
        "uid": "tiny-dancer",
    })
}

/// The panels with their places, from left to right and from top to bottom.
fn placed() -> Vec<Value> {
    let (mut x, mut y, mut height, mut section) = (0, 0, 0, "");
    let mut placed = Vec::new();
    for (id, mut panel) in (1..).zip(panels()) {
        let this = match panel.look {
            Look::Row => 1,
            Look::Stat => 4,
            Look::Table => 6,
            Look::Heatmap | Look::StateTimeline | Look::TimeSeries => 9,
        };
        if panel.look == Look::Row {
            section = panel.sections[0];
        } else {
            panel.sections.push(section);
        }
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
        panel.queries.iter().zip("ABCDE".chars()).map(|(query, id)| target(panel, query, id)).collect();
    let links: Vec<_> = panel.sections.iter().map(|section| link(section)).collect();
    let mut written = json!({
        "datasource": datasource(),
        "description": panel.description,
        "fieldConfig": { "defaults": defaults(panel), "overrides": panel.overrides },
        "gridPos": place,
        "id": id,
        "links": links,
        "options": options(panel),
        "targets": targets,
        "title": panel.title,
        "type": match panel.look {
            Look::Heatmap => "heatmap",
            Look::Row => "row",
            Look::Stat => "stat",
            Look::StateTimeline => "state-timeline",
            Look::Table => "table",
            Look::TimeSeries => "timeseries",
        },
    });
    if panel.look == Look::Table {
        // One table of all queries, with a row for each combination of labels.
        let hidden: serde_json::Map<_, _> =
            panel.hidden.iter().map(|&name| (name.to_owned(), json!(true))).collect();
        written["transformations"] = json!([
            { "id": "merge", "options": {} },
            { "id": "organize", "options": { "excludeByName": hidden } },
        ]);
    }
    written
}

fn target(panel: &Panel, (query, legend): &(String, &str), id: char) -> Value {
    let is_table = panel.look == Look::Table;
    json!({
        "datasource": datasource(),
        "editorMode": "code",
        "exemplar": panel.exemplars,
        "expr": query,
        "format": match panel.look {
            Look::Heatmap => "heatmap",
            Look::Table => "table",
            _ => "time_series",
        },
        "instant": is_table,
        "legendFormat": legend,
        "range": !is_table,
        "refId": id,
    })
}

fn defaults(panel: &Panel) -> Value {
    let is_line = panel.look == Look::TimeSeries;
    let mut steps = vec![json!({ "color": if is_line { "transparent" } else { "green" }, "value": null })];
    steps.extend(panel.thresholds.iter().map(|(value, colour)| json!({ "color": colour, "value": value })));
    let states: serde_json::Map<String, Value> = (0..)
        .zip(panel.states)
        .map(|(value, (text, colour))| {
            (format!("{value}"), json!({ "color": colour, "index": value, "text": text }))
        })
        .collect();
    let scale =
        if panel.is_logarithmic { json!({ "log": 10, "type": "log" }) } else { json!({ "type": "linear" }) };
    let custom = match panel.look {
        Look::TimeSeries => json!({
            "drawStyle": "line",
            "fillOpacity": if panel.stacking == "none" { 10 } else { 40 },
            "lineWidth": 1,
            "scaleDistribution": scale,
            "showPoints": "never",
            "stacking": { "group": "A", "mode": panel.stacking },
            "thresholdsStyle": { "mode": if panel.thresholds.is_empty() { "off" } else { "line" } },
        }),
        Look::StateTimeline => json!({ "fillOpacity": 80, "lineWidth": 0 }),
        Look::Table => json!({ "align": "auto", "cellOptions": { "type": "auto" }, "inspect": false }),
        Look::Heatmap | Look::Row | Look::Stat => json!({}),
    };
    let mut defaults = json!({
        "color": { "mode": if is_line { "palette-classic" } else { "thresholds" } },
        "custom": custom,
        "mappings": if states.is_empty() { json!([]) } else { json!([{ "options": states, "type": "value" }]) },
        "noValue": panel.without_data,
        "thresholds": { "mode": "absolute", "steps": steps },
        "unit": panel.unit,
    });
    // A logarithmic axis has no 0.
    if is_line && !panel.is_signed && !panel.is_logarithmic {
        defaults["min"] = json!(0);
    }
    defaults
}

fn options(panel: &Panel) -> Value {
    let tooltip = json!({ "mode": "multi", "sort": "desc" });
    let legend = |calcs: &[&str], mode| json!({ "calcs": calcs, "displayMode": mode, "placement": "bottom", "showLegend": true });
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
            "colorMode": if panel.thresholds.is_empty() && panel.states.is_empty() { "none" } else { "value" },
            "graphMode": if panel.states.is_empty() { "area" } else { "none" },
            "justifyMode": "auto",
            "orientation": "auto",
            "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
            "showPercentChange": false,
            "textMode": "auto",
            "wideLayout": true,
        }),
        Look::StateTimeline => json!({
            "alignValue": "left", "legend": legend(&[], "list"), "mergeValues": true, "rowHeight": 0.8, "showValue": "auto",
            "tooltip": tooltip,
        }),
        Look::Table => json!({ "cellHeight": "sm", "frameIndex": 0, "showHeader": true }),
        Look::TimeSeries => {
            json!({ "legend": legend(&["mean", "max", "lastNotNull"], "table"), "tooltip": tooltip })
        }
    }
}
