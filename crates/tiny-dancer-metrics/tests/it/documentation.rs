//! `docs/metrics.md` and the table of families in `docs/OBSERVABILITY.md`, generated from the catalogue.
//!
//! `BLESS=1 cargo test -p tiny-dancer-metrics` writes it; without `BLESS`, the test compares.

use crate::{queries, stored, stored_in_the_guide};
use std::fmt::Write;
use tiny_dancer_metrics::catalogue::{CATALOGUE, Family, Kind, Label, Unit};

#[test]
fn the_document_matches_the_catalogue() {
    stored("docs/metrics.md", &document());
}

/// The lines of `docs/OBSERVABILITY.md` that enclose its table of families.
const MARKS: [&str; 2] =
    ["<!-- families: made from the catalogue by `cargo xtask codegen` -->\n", "<!-- end of families -->\n"];

#[test]
fn the_guide_lists_every_family() {
    let mut table = "\n| family | kind | labels | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for Family { name, kind, labels, help, .. } in CATALOGUE {
        let labels: Vec<_> = labels.iter().map(|label| format!("`{}`", label.name)).collect();
        writeln!(table, "| `{name}` | {} | {} | {help} |", kind.name(), labels.join(", ")).unwrap();
    }
    stored_in_the_guide(MARKS, &(table + "\n"));
}

/// A query with a wrong name finds nothing, without an error.
#[test]
fn every_name_in_the_document_is_a_familys() {
    let document = document();
    let names = document.matches("tiny_dancer_").count();
    let queries = document.split("```promql\n").skip(1).filter_map(|rest| rest.split("```").next());
    let found: std::collections::BTreeSet<_> = queries.flat_map(queries::families).collect();
    assert!(found.len() > CATALOGUE.len() / 2, "{found:?}");
    // In prose names stand alone, without labels.
    let words = document.split('`').filter(|word| word.starts_with("tiny_dancer_"));
    for name in words.filter(|word| !word.ends_with('_')) {
        queries::families(name);
    }
    assert!(names > 2 * CATALOGUE.len());
}

fn document() -> String {
    let mut text = HEAD.to_owned();
    for family in CATALOGUE {
        let Family { name, kind, unit, help, presence, .. } = family;
        let labels: Vec<_> = family.labels.iter().map(label).collect();
        let labels = if labels.is_empty() { "none".to_owned() } else { labels.join("; ") };
        writeln!(
            text,
            "| `{name}` | {} | {} | {labels} | {help} | {} |",
            kind.name(),
            unit.name(),
            presence.name()
        )
        .unwrap();
    }
    text += "\n## Buckets\n\nUpper bounds, inclusive; `le` has durations in seconds. After the last comes `+Inf`. `MetricsConfig::buckets`\nreplaces them.\n\n";
    for family in CATALOGUE {
        if let Kind::Histogram { buckets } = family.kind {
            let bounds: Vec<_> = buckets.iter().map(|&bound| written(bound, family.unit)).collect();
            writeln!(text, "- `{}`: {}", family.name, bounds.join(", ")).unwrap();
        }
    }
    text + TAIL
}

/// A label, and each of its values once.
fn label(label: &Label) -> String {
    let mut values: Vec<&str> = Vec::new();
    for &value in label.values {
        if !values.contains(&value) {
            values.push(value);
        }
    }
    match &*values {
        [] => format!("`{}`: any, one series at a time", label.name),
        values => format!("`{}`: {}", label.name, values.join(", ")),
    }
}

/// A bound, as people write it.
fn written(bound: f64, unit: Unit) -> String {
    let scales = [(1.0, "s"), (1e3, "ms"), (1e6, "µs"), (1e9, "ns")];
    match scales.iter().find(|(per_second, _)| bound * per_second >= 0.999_999) {
        Some((per_second, name)) if unit == Unit::Seconds => {
            format!("{} {name}", (bound * per_second * 10.0).round() / 10.0)
        }
        _ => bound.to_string(),
    }
}

const HEAD: &str = "\
# Metrics

<!-- Generated from the catalogue in crates/tiny-dancer-metrics/src/catalogue.rs. Change it there, then run `cargo xtask codegen`. -->

The families of `/metrics`. Labels have these values only. A family that is always shown has all of its series from the
first scrape on, at 0, so that a rate does not wait for the first event. The exceptions are `tiny_dancer_model_info`, which
has one series that a reload replaces, and `tiny_dancer_build_info`, which has one series for good.

`revision` is the value of the environment variable `TINY_DANCER_REVISION` when the library is compiled, or `unknown`:
`TINY_DANCER_REVISION=$(git rev-parse HEAD) cargo build --release`.

Routers that share families add up, and a shared state is the worst one. To distinguish routers, give each a constant
label `router` (`RouterBuilder::label`, or `MetricsCollector::with_const_labels` without the facade).

The families of `tiny-dancer serve`, which begin with `tiny_dancer_gateway_`, are in [gateway.md](gateway.md#metrics-and-traces).

| family | kind | unit | labels | meaning | shown |
| --- | --- | --- | --- | --- | --- |
";

const TAIL: &str = r#"
## How the families relate

- Every request is in `tiny_dancer_routing_requests_total` and in `tiny_dancer_routing_latency_seconds`. Successful
  requests and fallbacks are in `tiny_dancer_routing_decisions_total`, failed ones in `tiny_dancer_errors_total`.
- In `tiny_dancer_routing_decisions_total` the `reason` determines the `model_type`: `confident` and `explored` are `lightweight`.
- `tiny_dancer_draws_total` has the draws of `RouterConfig::explore` and `shadow_rate`. Each draw of `explore` that happened is a
  decision with the reason `explored`; each of `shadow` that happened asks for an outcome with the origin `shadowed`.
- `tiny_dancer_confidence_scores` and `tiny_dancer_uncertainty_estimates` have one observation for each candidate in
  `tiny_dancer_candidates_processed_total`, from the per-candidate pass. `decision_type` is the model that the candidate
  alone selects.
- Their buckets are uneven: narrow where the embedded model's numbers lie on real prompts, so that none of them holds more
  than a fifth of the observations. Two uncertainties are so frequent that each has a bucket to itself: 1 (nothing comparable
  was calibrated), and one just below 0.133. The numbers of a model of your own lie elsewhere: set `MetricsConfig::buckets`.
- The candidates of a failed request or a fallback are not processed. So `batch_size_range` 0 stays at 0.
- A promise holds if the true share behind `tiny_dancer_promise_insufficient_ratio` is at most
  `tiny_dancer_promised_alpha`. `tiny_dancer_promise_evidence` measures whether an excess is more than chance, and
  `tiny_dancer_promise_broken` is 1 once it is. Of several routers' promises these four show the worst: a broken one, or else
  the one with the most evidence.
- `tiny_dancer_cost_total` and `tiny_dancer_baseline_cost_total` are the decisions times the configured prices
  (`MetricsConfig::prices`); with `Prices::repeated`, outcomes count too. A shadowed request costs a call of the lightweight model
  besides, and its insufficient answer is not repeated.
- The families of a memory, but for those of its search, are what `tiny-dancer-memory` reports. Gauges are those of its last report.
  A change is stored or lost, or it waits in the queue; the memory in process has it in any case.
- `tiny_dancer_spans_total` counts a span once for each exporter, when its result is known. A span that waits or is being
  sent is in none of its series yet.
- The rest of a request's time, beside `tiny_dancer_feature_engineering_duration_seconds` and
  `tiny_dancer_model_inference_duration_seconds`, goes to the circuit breaker, the uncertainty and the decision. In a scope it
  also includes `tiny_dancer_embedding_duration_seconds`, `tiny_dancer_memory_search_duration_seconds` and the program's own code.
- An embedding or a search that fails is in the errors of its stage, and in its duration. Its request is counted by how it ends,
  mostly as a fallback with the reason `no_evidence`.

## Questions, as PromQL

What share of requests goes to the lightweight model?

```promql
sum(rate(tiny_dancer_routing_decisions_total{model_type="lightweight"}[5m]))
  / sum(rate(tiny_dancer_routing_decisions_total[5m]))
```

How long does an embedding take, what share of them fails, and why?

```promql
histogram_quantile(0.95, sum by (le) (rate(tiny_dancer_embedding_duration_seconds_bucket[5m])))
```

```promql
sum by (error_type) (rate(tiny_dancer_embedding_errors_total[5m]))
  / scalar(sum(rate(tiny_dancer_embedding_duration_seconds_count[5m])))
```

Why do requests go to the powerful one?

```promql
sum by (reason) (rate(tiny_dancer_routing_decisions_total{model_type="powerful"}[5m]))
```

How long do 99 of 100 requests take, and what share stays below 10 ms?

```promql
histogram_quantile(0.99, sum by (le) (rate(tiny_dancer_routing_latency_seconds_bucket[5m])))
```

```promql
sum(rate(tiny_dancer_routing_latency_seconds_bucket{le="0.01"}[5m]))
  / sum(rate(tiny_dancer_routing_latency_seconds_count[5m]))
```

Does one of the router's methods take longer than the others?

```promql
histogram_quantile(0.95, sum by (le, operation) (rate(tiny_dancer_routing_latency_seconds_bucket[5m])))
```

What share of the time does the model take?

```promql
sum(rate(tiny_dancer_model_inference_duration_seconds_sum[5m]))
  / sum(rate(tiny_dancer_routing_latency_seconds_sum[5m]))
```

Does computing the features take longer with more candidates?

```promql
histogram_quantile(0.5, sum by (le, batch_size) (rate(tiny_dancer_feature_engineering_duration_seconds_bucket[5m])))
```

What share of requests fails, and why?

```promql
sum(rate(tiny_dancer_routing_requests_total{status="failure"}[5m]))
  / sum(rate(tiny_dancer_routing_requests_total[5m]))
```

```promql
sum by (error_type) (rate(tiny_dancer_errors_total[5m])) > 0
```

Is a circuit open, and how often did it open within an hour?

```promql
max by (circuit) (tiny_dancer_circuit_breaker_state) == 2
```

```promql
sum by (circuit) (increase(tiny_dancer_circuit_breaker_transitions_total{to="open"}[1h]))
```

How close are the worse answers to what the quality budget allows, and what were the results of the judgements?

```promql
sum(tiny_dancer_budget_bound_answers) / sum(tiny_dancer_budget_allowed_answers)
```

```promql
sum by (state) (tiny_dancer_budget_judgements)
```

Of the requests that went to the lightweight model and were reported on, what share was insufficient?

```promql
sum(rate(tiny_dancer_outcomes_total{model_type="lightweight", origin="routed", result="insufficient"}[1h]))
  / sum(rate(tiny_dancer_outcomes_total{model_type="lightweight", origin="routed"}[1h]))
```

How often would the lightweight model have sufficed where the powerful one was chosen?

```promql
sum(rate(tiny_dancer_outcomes_total{origin=~"explored|shadowed", result="sufficed"}[1d]))
  / sum(rate(tiny_dancer_outcomes_total{origin=~"explored|shadowed"}[1d]))
```

How many requests are explored and shadowed a second?

```promql
sum by (purpose) (rate(tiny_dancer_draws_total{happened="yes"}[5m]))
```

How long does a commit of the memory take, how many changes does it store, and how full is the queue before it?

```promql
histogram_quantile(0.95, sum by (le) (rate(tiny_dancer_memory_commit_duration_seconds_bucket[5m])))
```

```promql
sum(rate(tiny_dancer_memory_changes_stored_total[5m]))
  / sum(rate(tiny_dancer_memory_commit_duration_seconds_count[5m]))
```

```promql
max by (instance) (tiny_dancer_memory_queue_length / tiny_dancer_memory_queue_capacity)
```

How fast does the memory learn, how many of its requests have a verdict, and is anything lost?

```promql
sum(rate(tiny_dancer_memory_verdicts_total{kind="accepted"}[1h]))
```

```promql
sum(tiny_dancer_memory_entries{state="evidence"}) / sum(tiny_dancer_memory_entries)
```

```promql
sum by (error_type) (increase(tiny_dancer_memory_changes_lost_total[1h])) > 0
```

What share of candidates is unlike all calibration data?

```promql
1 - sum(rate(tiny_dancer_uncertainty_estimates_bucket{le="0.99"}[5m]))
  / sum(rate(tiny_dancer_uncertainty_estimates_count[5m]))
```

What does routing save an hour? It is negative if repeated calls cost more than routing saves.

```promql
3600 * (sum(rate(tiny_dancer_baseline_cost_total[1h])) - sum(rate(tiny_dancer_cost_total[1h])))
```

How strong is the evidence against the promise? 1 is none; `1 / delta`, which is 20 for a delta of 0.05, refutes it.

```promql
max(tiny_dancer_promise_evidence)
```

Do all instances serve the same model, and did the last reload fail?

```promql
count by (version) (tiny_dancer_model_info)
```

```promql
min by (instance) (tiny_dancer_model_last_reload_successful) == 0
```

How long ago was each instance's model loaded?

```promql
time() - tiny_dancer_model_last_reload_timestamp_seconds
```
"#;
