//! The queries of the dashboard, as Grafana sends them.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeSet;

/// The prefix of the gateway's families.
const OF_GATEWAY: &str = "tiny_dancer_gateway_";

/// A query of a panel, an annotation or a variable.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) title: String,
    expr: String,
    /// Whether Grafana asks for exemplars, too.
    pub(crate) has_exemplars: bool,
}

/// The values of the dashboard's variables.
#[derive(Debug)]
pub(crate) struct Selection {
    pub(crate) job: String,
    pub(crate) instance: String,
    pub(crate) router: String,
}

impl Selection {
    /// `All` of each variable, by the value that the dashboard gives it.
    pub(crate) fn all(dashboard: &Value, job: &str) -> Result<Self> {
        let variables = dashboard["templating"]["list"].as_array().context("no variables")?;
        let value = |name: &str| {
            let variable = variables.iter().find(|variable| variable["name"] == name);
            let value = variable.and_then(|variable| variable["allValue"].as_str());
            value.map(str::to_owned).with_context(|| format!("All of {name} has no value"))
        };
        Ok(Self { job: job.to_owned(), instance: value("instance")?, router: value("router")? })
    }
}

impl Query {
    /// Whether it shows a gateway.
    pub(crate) fn is_of_gateway(&self) -> bool {
        self.expr.contains(OF_GATEWAY)
    }

    /// Whether it depends on the selected instance or router.
    pub(crate) fn is_selective(&self) -> bool {
        ["$instance", "$router"].iter().any(|variable| self.expr.contains(variable))
    }

    /// PromQL, with the values that Grafana substitutes for variables. A rate covers ten seconds.
    pub(crate) fn concrete(&self, selection: &Selection) -> String {
        self.expr
            .replace("$__rate_interval", "10s")
            .replace("$job", &selection.job)
            .replace("$instance", &selection.instance)
            .replace("$router", &selection.router)
    }
}

/// The queries of panels, annotations and variables.
pub(crate) fn queries(dashboard: &Value) -> Result<Vec<Query>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let query = |title: &Value, expr| Query { title: text(title), expr, has_exemplars: false };
    let mut queries = Vec::new();
    for panel in list(&dashboard["panels"]) {
        for target in list(&panel["targets"]) {
            let has_exemplars = target["exemplar"] == true;
            queries.push(Query { has_exemplars, ..query(&panel["title"], text(&target["expr"])) });
        }
    }
    for annotation in list(&dashboard["annotations"]["list"]) {
        // Grafana marks each moment of the shown time at which an annotation is found.
        let expr = format!("count_over_time(({})[15m:1s])", text(&annotation["expr"]));
        queries.push(query(&annotation["name"], expr));
    }
    for variable in list(&dashboard["templating"]["list"]) {
        // `label_values(selector, label)`: the values of a label, as a query has them.
        if let Some((selector, label)) = text(&variable["query"])
            .strip_prefix("label_values(")
            .and_then(|rest| rest.strip_suffix(')')?.rsplit_once(", "))
        {
            let (open, matchers) =
                selector.strip_suffix('}').map_or(("{", selector), |matchers| (",", matchers));
            let expr = format!("count by ({label}) ({matchers}{open}{label}!=\"\"}})");
            queries.push(query(&variable["name"], expr));
        }
    }
    if queries.len() < 60 || queries.iter().any(|query| query.expr.is_empty()) {
        bail!("the dashboard has {} queries, expected 60 or more and none of them empty", queries.len());
    }
    Ok(queries)
}

/// Fails unless a query found a number. With two instances, a query that shows the instance or the router must find both.
pub(crate) fn check_found(found: &Value, instances: usize) -> Result<()> {
    let series: Vec<_> =
        found.as_array().context("no vector")?.iter().filter(|&series| is_number(series)).collect();
    if series.is_empty() {
        bail!("no number: {found}")
    }
    for label in ["instance", "router"] {
        let values: BTreeSet<_> =
            series.iter().filter_map(|series| series["metric"][label].as_str()).collect();
        if !values.is_empty() && values.len() != instances {
            bail!("{label} is {values:?}, expected {instances} values: {found}");
        }
    }
    Ok(())
}

fn is_number(series: &Value) -> bool {
    let number = series["value"][1].as_str().and_then(|number| number.parse::<f64>().ok());
    number.is_some_and(f64::is_finite)
}

/// Fails unless the exemplars of a query name traces, of each of the instances.
pub(crate) fn check_exemplars(found: &Value, instances: usize) -> Result<()> {
    let mut of = BTreeSet::new();
    for series in found.as_array().context("no exemplars")? {
        for exemplar in series["exemplars"].as_array().context("no exemplars")? {
            if exemplar["labels"]["trace_id"].as_str().is_none_or(|id| id.len() != 32) {
                bail!("an exemplar without a trace: {exemplar}");
            }
            of.insert(series["seriesLabels"]["instance"].to_string());
        }
    }
    if of.len() != instances {
        bail!("exemplars of {of:?}, expected {instances} instances");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_numbers_are_found() {
        let of = |values: &[&str]| {
            let series: Vec<_> = values.iter().map(|value| json!({ "value": [1.5, value] })).collect();
            check_found(&Value::from(series), 1).is_ok()
        };
        assert!(of(&["0"]) && of(&["NaN", "1e3"]));
        assert!(!of(&[]) && !of(&["NaN", "+Inf"]));
        assert!(check_found(&Value::Null, 1).is_err());
    }

    #[test]
    fn a_query_that_shows_the_instance_must_find_both() {
        let series =
            |instance: &str, value: &str| json!({ "metric": { "instance": instance }, "value": [1, value] });
        let found = |series: &[Value]| check_found(&json!(series), 2).is_ok();
        assert!(found(&[series("a", "1"), series("b", "2")]));
        assert!(!found(&[series("a", "1")]));
        assert!(!found(&[series("a", "1"), series("b", "NaN")]));
        assert!(found(&[json!({ "metric": {}, "value": [1, "1"] })]), "it adds up instances");
    }

    #[test]
    fn an_exemplar_names_a_trace() {
        let of = |instance: &str, labels: Value| json!({ "seriesLabels": { "instance": instance }, "exemplars": [{ "labels": labels }] });
        let good = json!({ "trace_id": "0af7651916cd43dd8448eb211c80319c" });
        assert!(check_exemplars(&json!([of("a", good.clone()), of("b", good.clone())]), 2).is_ok());
        assert!(check_exemplars(&json!([of("a", good.clone())]), 2).is_err());
        assert!(check_exemplars(&json!([of("a", json!({})), of("b", good)]), 2).is_err());
        assert!(check_exemplars(&json!([]), 1).is_err());
    }

    #[test]
    fn a_dashboard_without_queries_is_refused() {
        assert!(queries(&json!({ "panels": [] })).is_err());
    }

    #[test]
    fn variables_are_substituted() {
        let expr =
            r#"rate(a{job=~"$job",instance=~"$instance",router=~"$router"}[$__rate_interval])"#.to_owned();
        let query = Query { title: String::new(), expr, has_exemplars: false };
        let [job, instance, router] = ["tiny-dancer", ".*", "sales"].map(str::to_owned);
        let selection = Selection { job, instance, router };
        let concrete = r#"rate(a{job=~"tiny-dancer",instance=~".*",router=~"sales"}[10s])"#;
        assert_eq!(query.concrete(&selection), concrete);
    }
}
