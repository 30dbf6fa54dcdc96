//! A strict reader of Prometheus' text format.

use std::collections::{BTreeMap, BTreeSet};

/// Names and values, sorted by name.
pub(crate) type Labels = BTreeMap<String, String>;

/// A parsed scrape.
#[derive(Debug, Default)]
pub(crate) struct Scrape {
    pub(crate) families: BTreeMap<String, Family>,
    /// The value of each series.
    samples: BTreeMap<(String, Labels), f64>,
}

#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) help: String,
}

impl Scrape {
    /// Panics if the text violates the format, or if a histogram contradicts itself.
    pub(crate) fn parse(text: &str) -> Self {
        let mut scrape = Self::default();
        let (mut lines, mut family) = (text.lines(), String::new());
        assert!(text.ends_with('\n'), "the last line does not end");
        while let Some(line) = lines.next() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect("a help text");
                let kind =
                    lines.next().and_then(|line| line.strip_prefix("# TYPE ")?.strip_prefix(name)).unwrap();
                let kind = kind.trim_start().to_owned();
                assert!(["counter", "gauge", "histogram"].contains(&&*kind), "{name} is a {kind:?}");
                name.clone_into(&mut family);
                let new = scrape.families.insert(family.clone(), Family { kind, help: help.to_owned() });
                assert!(new.is_none(), "{name} comes twice");
            } else {
                let (name, labels, value) = sample(line);
                let kind = &scrape.families.get(&family).expect("a family before its samples").kind;
                let suffix = name.strip_prefix(&family).unwrap_or_else(|| panic!("{name} within {family}"));
                let suffixes: &[_] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
                assert!(suffixes.contains(&suffix), "{name} is in the {kind} {family}");
                assert!(kind == "gauge" || value >= 0.0, "{line}");
                assert!(scrape.samples.insert((name, labels), value).is_none(), "twice: {line}");
            }
        }
        for (name, family) in &scrape.families {
            if family.kind == "histogram" {
                scrape.check_histograms(name);
            }
        }
        scrape
    }

    /// The value of a series, written as in the text with its labels in alphabetical order.
    pub(crate) fn value(&self, series: &str) -> f64 {
        let (name, labels, _) = sample(&format!("{series} 0"));
        *self.samples.get(&(name, labels)).unwrap_or_else(|| panic!("there is no {series}"))
    }

    /// The sum over all series of that name; that of a histogram has a suffix.
    pub(crate) fn total(&self, name: &str) -> f64 {
        let all: Vec<f64> = self.series(name).map(|(_, value)| value).collect();
        assert!(!all.is_empty(), "there is no {name}");
        all.into_iter().sum()
    }

    /// All series of that name.
    pub(crate) fn series(&self, name: &str) -> impl Iterator<Item = (&Labels, f64)> {
        self.samples
            .iter()
            .filter(move |((this, _), _)| this == name)
            .map(|((_, labels), &value)| (labels, value))
    }

    /// How many series there are.
    pub(crate) fn len(&self) -> usize {
        self.samples.len()
    }

    /// All series but those of gauges.
    pub(crate) fn counted(&self) -> impl Iterator<Item = (&(String, Labels), f64)> {
        let is_gauge = |name: &str| self.families.get(name).is_some_and(|family| family.kind == "gauge");
        self.samples
            .iter()
            .filter(move |((name, _), _)| !is_gauge(name))
            .map(|(series, &value)| (series, value))
    }

    fn check_histograms(&self, name: &str) {
        let mut histograms = BTreeMap::<Labels, Vec<(f64, f64)>>::new();
        for (labels, value) in self.series(&format!("{name}_bucket")) {
            let mut labels = labels.clone();
            let bound = labels.remove("le").expect("a bucket has a bound");
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() };
            histograms.entry(labels).or_default().push((bound, value));
        }
        let count: BTreeMap<_, _> = self.series(&format!("{name}_count")).collect();
        let sums: BTreeSet<_> = self.series(&format!("{name}_sum")).map(|(labels, _)| labels).collect();
        assert_eq!(histograms.keys().collect::<BTreeSet<_>>(), sums, "sums of {name}");
        assert_eq!(histograms.len(), count.len(), "counts of {name}");
        for (labels, mut buckets) in histograms {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{name}{labels:?}: {buckets:?}");
            assert_eq!(buckets.last(), Some(&(f64::INFINITY, count[&labels])), "{name}{labels:?}");
        }
    }
}

/// `name{label="value",...} number`
fn sample(line: &str) -> (String, Labels, f64) {
    let is_name = |name: &str| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
    };
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no sample: {line}"));
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "no name: {line}");
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
            assert!(is_name(label), "no label: {line}");
            let (value, after) = quoted(after);
            assert!(labels.insert(label.to_owned(), value).is_none(), "{label} comes twice: {line}");
            match after.split_at(1) {
                (",", more) => rest = more,
                ("}", end) => break rest = end,
                _ => panic!("{line}"),
            }
        }
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("no value: {line}"));
    (name.to_owned(), labels, value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
}

/// Up to the closing quote, and what follows.
fn quoted(text: &str) -> (String, &str) {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (value, &text[at + 1..]),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                other => panic!("{other:?} after a backslash in {text}"),
            },
            char => value.push(char),
        }
    }
    panic!("no closing quote: {text}")
}

#[test]
fn the_reader_reads_what_the_format_allows() {
    let scrape = Scrape::parse(concat!(
        "# HELP a_total Some.\n# TYPE a_total counter\na_total{x=\"\\\"1\\\\,\\n\",y=\"}\"} 2\na_total 3\n",
        "# HELP h Other.\n# TYPE h histogram\nh_bucket{le=\"0.5\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 0.7\nh_count 2\n"
    ));
    assert_eq!(scrape.value("a_total{x=\"\\\"1\\\\,\\n\",y=\"}\"}"), 2.0);
    assert_eq!((scrape.total("a_total"), scrape.len(), scrape.value("h_sum")), (5.0, 6, 0.7));
}

#[test]
fn the_reader_refuses_what_the_format_does_not_allow() {
    let bad = [
        "a 1\n",
        "# HELP a A.\n# TYPE a counter\na 1",
        "# HELP a A.\n# TYPE a counter\na 1\na 1\n",
        "# HELP a A.\n# TYPE a counter\na{x=\"1\",x=\"2\"} 1\n",
        "# HELP a A.\n# TYPE a counter\nb 1\n",
        "# HELP a A.\n# TYPE a counter\na -1\n",
        "# HELP a A.\n# TYPE a counter\na one\n",
        "# HELP a A.\n# TYPE a counter\n# HELP a A.\n# TYPE a counter\n",
        "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\nh_sum 0\nh_count 1\n",
        "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 1\nh_sum 0\nh_count 2\n",
        "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 0\nh_count 1\n",
    ];
    for text in bad {
        assert!(std::panic::catch_unwind(|| Scrape::parse(text)).is_err(), "{text}");
    }
}
