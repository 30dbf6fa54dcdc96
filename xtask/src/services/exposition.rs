//! Prometheus' text format, as far as "does it say anything?" needs it.

use anyhow::{Result, bail};
use std::collections::BTreeMap;

/// The families that the source of the catalogue names.
pub(crate) fn families(catalogue: &str) -> Vec<String> {
    catalogue
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("name: \"")?.split_once('"'))
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.starts_with("tiny_dancer_"))
        .collect()
}

/// Fails unless each family is there, and its counters and histograms have counted something.
pub(crate) fn check(metrics: &str, families: &[String]) -> Result<()> {
    let (mut kinds, mut sums) = (BTreeMap::new(), BTreeMap::<&str, f64>::new());
    for line in metrics.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            kinds.insert(name, kind);
        } else if !line.starts_with('#')
            && let Some((series, value)) = line.rsplit_once(' ')
            && let Ok(value) = value.parse::<f64>()
        {
            let name = series.split_once('{').map_or(series, |(name, _)| name);
            *sums.entry(name).or_default() += value;
        }
    }
    let mut wrong = Vec::new();
    for family in families {
        let kind = kinds.get(family.as_str()).copied();
        let sample = if kind == Some("histogram") { format!("{family}_count") } else { family.clone() };
        match (kind, sums.get(sample.as_str())) {
            (None, _) => wrong.push(format!("{family} is not there")),
            (Some(_), None) => wrong.push(format!("{family} has no sample")),
            (Some("counter" | "histogram"), Some(&sum)) if sum <= 0.0 => {
                wrong.push(format!("{family} has counted nothing"));
            }
            (Some("counter" | "gauge" | "histogram"), Some(_)) => {}
            (Some(kind), Some(_)) => wrong.push(format!("{family} is a {kind}")),
        }
    }
    if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = "\
        # HELP tiny_dancer_a_total Some.\n\
        # TYPE tiny_dancer_a_total counter\n\
        tiny_dancer_a_total{of=\"x y\"} 0\n\
        tiny_dancer_a_total{of=\"z\"} 2\n\
        # TYPE tiny_dancer_b gauge\n\
        tiny_dancer_b 0\n\
        # TYPE tiny_dancer_c_seconds histogram\n\
        tiny_dancer_c_seconds_bucket{le=\"+Inf\"} 3\n\
        tiny_dancer_c_seconds_sum 0.5\n\
        tiny_dancer_c_seconds_count 3\n\
        # TYPE tiny_dancer_d_total counter\n\
        tiny_dancer_d_total 0\n\
        # TYPE tiny_dancer_e_total counter\n";

    fn wrong(families: &[&str]) -> String {
        let families: Vec<_> = families.iter().map(ToString::to_string).collect();
        check(METRICS, &families).map_or_else(|error| error.to_string(), |()| "nothing".to_owned())
    }

    #[test]
    fn families_that_counted_pass_and_gauges_may_be_zero() {
        assert_eq!(wrong(&["tiny_dancer_a_total", "tiny_dancer_b", "tiny_dancer_c_seconds"]), "nothing");
    }

    #[test]
    fn silent_empty_and_missing_families_fail() {
        assert_eq!(wrong(&["tiny_dancer_d_total"]), "tiny_dancer_d_total has counted nothing");
        assert_eq!(wrong(&["tiny_dancer_e_total"]), "tiny_dancer_e_total has no sample");
        assert_eq!(wrong(&["tiny_dancer_f_total"]), "tiny_dancer_f_total is not there");
    }

    #[test]
    fn the_families_are_those_that_the_catalogue_names() {
        let catalogue =
            "    name: \"tiny_dancer_a_total\",\n    labels: &[Label { name: \"of\" }],\n    name: \"le\",\n";
        assert_eq!(families(catalogue), ["tiny_dancer_a_total"]);
    }
}
