//! A measurement, as the program `ratios` prints it and as the record keeps it.

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// The median over all rounds, and the quartiles beside it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Measurement {
    pub(crate) id: String,
    /// The vector instructions that the router decided with.
    pub(crate) kernel: String,
    pub(crate) value: f64,
    pub(crate) quartiles: [f64; 2],
    /// The times behind it, by name.
    pub(crate) nanoseconds: Vec<(String, f64)>,
}

impl Measurement {
    pub(crate) fn parse(value: &Value) -> Result<Self> {
        let id = value["id"].as_str().context("a measurement without an id")?.to_owned();
        let kernel = value["kernel"].as_str().with_context(|| format!("{id} without a kernel"))?.to_owned();
        let number = |value: &Value| value.as_f64().with_context(|| format!("{id}: {value} is not a number"));
        let quartiles = [number(&value["quartiles"][0])?, number(&value["quartiles"][1])?];
        let times = value["nanoseconds"].as_object().with_context(|| format!("{id} without times"))?;
        let nanoseconds =
            times.iter().map(|(name, time)| Ok((name.clone(), number(time)?))).collect::<Result<_>>()?;
        Ok(Self { value: number(&value["value"])?, quartiles, nanoseconds, kernel, id })
    }

    pub(crate) fn to_json(&self) -> Value {
        let nanoseconds: serde_json::Map<_, _> =
            self.nanoseconds.iter().map(|(name, time)| (name.clone(), json!(rounded(*time)))).collect();
        json!({
            "id": self.id,
            "kernel": self.kernel,
            "value": rounded(self.value),
            "quartiles": self.quartiles.map(rounded),
            "nanoseconds": nanoseconds,
        })
    }

    /// One of the times behind it.
    pub(crate) fn time(&self, name: &str) -> Option<f64> {
        self.nanoseconds.iter().find(|(other, _)| other == name).map(|(_, time)| *time)
    }
}

/// To five digits: more than any measurement is worth, and few enough to be read.
fn rounded(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_can_be_read_and_what_is_no_number_can_not() {
        let line = json!({
            "id": "metrics/10x384", "kernel": "avx2", "value": 1.086_412_3, "quartiles": [1.05, 1.15],
            "nanoseconds": { "none": 1597.93, "watched": 1736.0 },
        });
        let measurement = Measurement::parse(&line).unwrap();
        assert_eq!(measurement.time("watched"), Some(1736.0));
        let kept = measurement.to_json();
        assert_eq!(kept["value"], 1.0864);
        assert_eq!(Measurement::parse(&kept).unwrap().to_json(), kept);
        let mut broken = line;
        broken["nanoseconds"]["none"] = Value::Null;
        assert!(Measurement::parse(&broken).unwrap_err().to_string().contains("metrics/10x384"));
    }
}
