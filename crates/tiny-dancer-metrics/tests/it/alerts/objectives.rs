//! The objectives, and the alerts on how fast their error budgets are spent.
//!
//! An objective of 99.9% leaves a budget of 0.1% of the requests. A burn rate of 1 spends the budget of a period in just
//! that period. Google's SRE workbook, chapter 5, pages at a rate of 14.4 over an hour (2% of the budget of 30 days) and of
//! 6 over six hours (5%), and opens a ticket at 1 over three days (10%). A second, shorter window ends the alert soon after
//! the errors end.

use super::{Alert, Case, Recording, gateway};

/// The group of rules that is evaluated at each interval.
pub(super) const FAST: &str = "tiny-dancer";
/// The group of long windows.
pub(super) const SLOW: &str = "tiny-dancer-slow";

/// A share of requests that must be good.
struct Objective {
    /// In percent.
    percent: f64,
    /// The name of the recordings of the bad share.
    bad: &'static str,
    /// The bad share within a window, which `$` stands for. `%` stands for the longest time in seconds.
    share: &'static str,
    /// What good requests do, what bad ones do, and what one bad one does. `%` stands for the longest time.
    does: [&'static str; 3],
    /// The names of the alerts, by the places of [`BURNS`].
    alerts: [&'static str; BURNS.len()],
    runbook: &'static str,
    /// What is scraped if these many of each thousand requests are bad.
    series: fn(&[Stretch]) -> Vec<(&'static str, &'static str)>,
}

/// The longest time that a good request takes. It is a bound of the family's buckets.
const LONGEST_SECONDS: &str = "0.01";

const OBJECTIVES: [Objective; 2] = [
    Objective {
        percent: 99.9,
        bad: "job_router:tiny_dancer_failures_per_requests:ratio_rate",
        share: "sum by (job, router) (rate(tiny_dancer_routing_requests_total{status=\"failure\"}[$]))\n  \
            / sum by (job, router) (rate(tiny_dancer_routing_requests_total[$]))",
        does: ["do not fail", "fail", "fails"],
        alerts: [
            "TinyDancerAvailabilityBurnFast",
            "TinyDancerAvailabilityBurn",
            "TinyDancerAvailabilityBurnSlow",
        ],
        runbook: "`tiny_dancer_errors_total` by `error_type` shows which error; \
            [TinyDancerErrorRate](#tinydancererrorrate) lists what each of them means. Compare the instances: an error of \
            all of them comes from the callers, the vector store or the model file; an error of one comes from that \
            machine or its version.",
        series: failures,
    },
    Objective {
        percent: 99.9,
        bad: "job_router:tiny_dancer_slow_requests_per_requests:ratio_rate",
        // A scope includes the user's embedder, which may be a service far away.
        share: "1 - sum by (job, router) (rate(tiny_dancer_routing_latency_seconds_bucket{le=\"%\",operation!=\"scope\"}[$]))\n  \
            / sum by (job, router) (rate(tiny_dancer_routing_latency_seconds_count{operation!=\"scope\"}[$]))",
        does: ["take at most %", "take longer than %", "takes longer than %"],
        alerts: ["TinyDancerLatencyBurnFast", "TinyDancerLatencyBurn", "TinyDancerLatencyBurnSlow"],
        runbook: "Compare the instances and the values of `operation`. One instance: its machine, see \
            [TinyDancerSlow](#tinydancerslow). `route_set` alone: the set has grown. All of them since a deployment: its \
            observers, its sampling ratio, or more candidates a request.",
        series: slow,
    },
];

/// How fast a budget may be spent.
struct Burn {
    rate: f64,
    long: &'static str,
    short: &'static str,
    hold: &'static str,
    severity: &'static str,
    fires: Story,
    silent: [Story; 2],
}

/// A story, where `$` stands for what the bad requests do, and what was scraped until when.
type Story = (&'static str, &'static [Stretch], &'static str);
/// For how many scrapes how many of each thousand requests were bad.
type Stretch = (u64, u64);

const BURNS: [Burn; 3] = [
    Burn {
        rate: 14.4,
        long: "1h",
        short: "5m",
        hold: "2m",
        severity: "critical",
        fires: ("one in ten $ for a quarter of an hour", &[(220, 0), (60, 100)], "70m"),
        silent: [
            ("one in ten $ for seven minutes", &[(252, 0), (28, 100)], "70m"),
            (
                "one in ten $ for a quarter of an hour, until ten minutes ago",
                &[(180, 0), (60, 100), (40, 0)],
                "70m",
            ),
        ],
    },
    Burn {
        rate: 6.0,
        long: "6h",
        short: "30m",
        hold: "15m",
        severity: "critical",
        fires: ("one in twenty-five $ for an hour and a half", &[(240, 0), (360, 40)], "150m"),
        silent: [
            ("one in twenty-five $ for twenty-seven minutes", &[(852, 0), (108, 40)], "4h"),
            ("one in twenty-five $ for an hour, until forty minutes ago", &[(240, 40), (160, 0)], "100m"),
        ],
    },
    Burn {
        rate: 1.0,
        long: "3d",
        short: "6h",
        hold: "1h",
        severity: "warning",
        fires: ("one in five hundred $ for two hours", &[(480, 2)], "2h"),
        silent: [
            ("one in a hundred $ for forty minutes of eight hours", &[(1320, 0), (160, 10), (440, 0)], "8h"),
            ("one in a hundred $ for an hour, until seven hours ago", &[(240, 10), (1680, 0)], "8h"),
        ],
    },
];

/// What an objective allows.
pub(crate) struct Budget {
    /// The name of the recordings of the bad share, which a window completes.
    pub(crate) bad: &'static str,
    /// The share of requests that may be bad.
    pub(crate) share: f64,
}

/// The budgets of failures and of slow requests.
pub(crate) fn budgets() -> [Budget; OBJECTIVES.len()] {
    OBJECTIVES.map(|objective| Budget { bad: objective.bad, share: objective.budget() })
}

impl Objective {
    /// Rounded, since a difference of floats has more digits than it is worth.
    fn budget(&self) -> f64 {
        ((100.0 - self.percent) * 1e4).round() / 1e6
    }
}

/// All recording rules.
pub(super) fn recordings() -> Vec<Recording> {
    let mut recordings = Vec::new();
    for objective in OBJECTIVES {
        for (window, group) in [("5m", FAST), ("30m", FAST), ("1h", FAST), ("6h", SLOW), ("3d", SLOW)] {
            recordings.push(Recording {
                name: format!("{}{window}", objective.bad).leak(),
                expr: objective.share.replace('$', window).replace('%', LONGEST_SECONDS).leak(),
                group,
            });
        }
    }
    recordings.push(Recording {
        name: "job_operation_router:tiny_dancer_routing_latency_seconds:p95_rate5m",
        // Without requests it is not a number, which would count in the median of a day.
        expr: "histogram_quantile(0.95, sum by (job, router, operation, le) \
            (rate(tiny_dancer_routing_latency_seconds_bucket[5m]))) > 0",
        group: FAST,
    });
    recordings.push(Recording {
        name: "job_router:tiny_dancer_outcomes_per_decisions:ratio_rate1d",
        expr: "sum by (job, router) (rate(tiny_dancer_outcomes_total[1d]))\n  \
            / sum by (job, router) (rate(tiny_dancer_routing_decisions_total[1d]))",
        group: SLOW,
    });
    recordings.extend(gateway::RECORDINGS);
    recordings
}

/// An alert for each objective and each burn rate.
pub(super) fn alerts() -> Vec<Alert> {
    let each = |objective: &Objective| {
        (0..BURNS.len())
            .map(|burn| alert(objective, objective.alerts[burn], &BURNS[burn]))
            .collect::<Vec<_>>()
    };
    OBJECTIVES.iter().flat_map(each).collect()
}

fn alert(objective: &Objective, name: &'static str, burn: &Burn) -> Alert {
    let Burn { rate, long, short, hold, severity, .. } = *burn;
    let Objective { percent, bad, runbook, .. } = *objective;
    let [do_well, do_that, does_that] = objective.does.map(|does| does.replace('%', &longest()));
    let budget = objective.budget();
    let limit = (rate * budget * 1e8).round() / 1e6;
    let case = |&(story, stretches, at): &Story| Case {
        story: story.replace('$', &does_that).leak(),
        series: (objective.series)(stretches).leak(),
        at,
    };
    Alert {
        name,
        expr: format!("{bad}{long} > {rate} * {budget}\n  and {bad}{short} > {rate} * {budget}").leak(),
        hold,
        severity,
        when: format!("over {limit}% of the requests {do_that}, within {long} and within {short}, for {hold}").leak(),
        summary: format!("Over {limit}% of the requests to {{{{ $labels.job }}}} {do_that}").leak(),
        description: format!(
            "The objective is that {percent}% of the requests {do_well}. At this rate, the bad requests that it allows within 30 days \
             occur within {:.0} days.",
            30.0 / rate
        )
        .leak(),
        runbook,
        labels: &[("job", "j")],
        fires: vec![case(&burn.fires)].leak(),
        silent: burn.silent.iter().map(case).collect::<Vec<_>>().leak(),
    }
}

/// The longest time that a good request takes, in words.
fn longest() -> String {
    format!("{} ms", LONGEST_SECONDS.parse::<f64>().unwrap() * 1e3)
}

fn failures(stretches: &[Stretch]) -> Vec<(&'static str, &'static str)> {
    vec![
        (r#"tiny_dancer_routing_requests_total{status="failure",@}"#, rising(stretches, |bad| bad)),
        (r#"tiny_dancer_routing_requests_total{status="success",@}"#, rising(stretches, |bad| 1000 - bad)),
    ]
}

fn slow(stretches: &[Stretch]) -> Vec<(&'static str, &'static str)> {
    let bucket = |le| {
        &*format!(r#"tiny_dancer_routing_latency_seconds_bucket{{operation="route",le="{le}",@}}"#).leak()
    };
    vec![
        (bucket(LONGEST_SECONDS), rising(stretches, |bad| 1000 - bad)),
        (bucket("+Inf"), rising(stretches, |_| 1000)),
        (r#"tiny_dancer_routing_latency_seconds_count{operation="route",@}"#, rising(stretches, |_| 1000)),
    ]
}

/// A counter that rises by a number in each scrape of a stretch, in promtool's notation.
fn rising(stretches: &[Stretch], by: impl Fn(u64) -> u64) -> &'static str {
    let mut count = 0;
    let mut notation = Vec::new();
    for &(scrapes, bad) in stretches {
        let by = by(bad);
        notation.push(format!("{}+{by}x{}", count + by, scrapes - 1));
        count += by * scrapes;
    }
    notation.join(" ").leak()
}

#[test]
fn the_longest_time_is_a_bound_of_the_buckets_and_the_objectives_leave_a_budget() {
    let latency = "tiny_dancer_routing_latency_seconds_bucket";
    crate::queries::families(&format!("{latency}{{le=\"{LONGEST_SECONDS}\"}}"));
    for objective in OBJECTIVES {
        assert!((90.0..100.0).contains(&objective.percent), "{}", objective.percent);
    }
}
