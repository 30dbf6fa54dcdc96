//! The process' own metrics: memory, time, files and threads, read from Linux' `/proc` at each scrape.
//!
//! The names are those of Prometheus' client libraries. The collector of the crate `prometheus` registers itself in the
//! default registry as soon as its feature is on anywhere in the build; this one is registered by a call.

use crate::error::RegisterError;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, Metric, MetricFamily, MetricType};
use std::collections::HashMap;
use std::fs;

/// Ticks a second in `/proc`: `USER_HZ`, which the interface between Linux and programs fixes at 100 on all processors
/// that Rust's standard library is tested on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Name, help, and whether it is a counter.
const FAMILIES: &[(&str, &str, bool)] = &[
    ("process_cpu_seconds_total", "Processor time spent, in seconds, of user and system.", true),
    ("process_max_fds", "How many files may be open.", false),
    ("process_open_fds", "How many files are open.", false),
    ("process_resident_memory_bytes", "Memory that is in use, in bytes.", false),
    ("process_start_time_seconds", "When the process began, in seconds since 1970.", false),
    ("process_threads", "How many threads there are.", false),
    ("process_virtual_memory_bytes", "Memory that is reserved, in bytes.", false),
];

/// A collector of the process' own metrics. Without `/proc` it shows nothing.
#[derive(Debug)]
pub struct ProcessCollector {
    descs: Vec<Desc>,
}

impl ProcessCollector {
    /// A collector, to be registered once in each registry.
    ///
    /// ```
    /// use tiny_dancer_metrics::ProcessCollector;
    /// use tiny_dancer_metrics::prometheus::Registry;
    ///
    /// let registry = Registry::new();
    /// registry.register(Box::new(ProcessCollector::new()?))?;
    /// # if cfg!(target_os = "linux") {
    /// assert!(registry.gather().iter().any(|family| family.name() == "process_resident_memory_bytes"));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If prometheus refuses the description of a family.
    pub fn new() -> Result<Self, RegisterError> {
        let desc = |&(name, help, _): &(&'static str, &str, bool)| {
            Desc::new(name.to_owned(), help.to_owned(), Vec::new(), HashMap::new())
                .map_err(|source| RegisterError::family(name, source))
        };
        Ok(Self { descs: FAMILIES.iter().map(desc).collect::<Result<_, _>>()? })
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    /// Leaves out what cannot be read: an unknown number is not 0.
    fn collect(&self) -> Vec<MetricFamily> {
        let read = |file: &str| fs::read_to_string(format!("/proc/{file}")).unwrap_or_default();
        let (stat, status) = (read("self/stat"), read("self/status"));
        let values = [
            cpu_seconds(&stat),
            max_files(&read("self/limits")),
            // The folder that is being read is open, too, and does not count.
            fs::read_dir("/proc/self/fd").ok().map(|files| files.count().saturating_sub(1) as f64),
            kilobytes(&status, "VmRSS:"),
            start_time(&stat, &read("stat")),
            line(&status, "Threads:").and_then(|threads| threads.trim().parse().ok()),
            kilobytes(&status, "VmSize:"),
        ];
        FAMILIES.iter().zip(values).filter_map(|(family, value)| Some(shown(family, value?))).collect()
    }
}

fn shown(&(name, help, is_counter): &(&str, &str, bool), value: f64) -> MetricFamily {
    let mut metric = Metric::default();
    if is_counter {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(if is_counter { MetricType::COUNTER } else { MetricType::GAUGE });
    family.set_metric(vec![metric]);
    family
}

/// A field of `/proc/self/stat`, by its number in proc(5), from 3 on. The first two are the process' number and name,
/// and the name may hold spaces and brackets.
fn field(stat: &str, number: usize) -> Option<f64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(number - 3)?.parse().ok()
}

/// `utime` and `stime`, in seconds.
fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((field(stat, 14)? + field(stat, 15)?) / TICKS_PER_SECOND)
}

/// `starttime`, which counts from the start of the machine.
fn start_time(stat: &str, machine: &str) -> Option<f64> {
    let booted: f64 = line(machine, "btime ")?.trim().parse().ok()?;
    Some(booted + field(stat, 22)? / TICKS_PER_SECOND)
}

/// The soft limit; `None` where it is unlimited.
fn max_files(limits: &str) -> Option<f64> {
    line(limits, "Max open files")?.split_ascii_whitespace().next()?.parse().ok()
}

fn kilobytes(status: &str, name: &str) -> Option<f64> {
    let number: f64 = line(status, name)?.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(number * 1024.0)
}

/// The rest of the line that begins with `start`.
fn line<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(start))
}

#[cfg(test)]
mod tests;
