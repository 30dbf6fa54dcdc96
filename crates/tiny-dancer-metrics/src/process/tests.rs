use super::*;

/// As Linux writes it, with a name that holds spaces and brackets.
const STAT: &str = "42 (a) 1 (b) S 1 42 42 0 -1 4194560 500 0 0 0 250 50 0 0 20 0 4 0 12345 1000000 300 18446744073709551615";

#[test]
fn fields_are_found_after_any_name() {
    assert_eq!(cpu_seconds(STAT), Some(3.0));
    assert_eq!(start_time(STAT, "cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_123.45));
}

#[test]
fn sizes_and_limits_are_read_as_linux_writes_them() {
    let status = "Name:\tx\nVmSize:\t    2048 kB\nVmRSS:\t     512 kB\nThreads:\t7\n";
    assert_eq!(kilobytes(status, "VmRSS:"), Some(524_288.0));
    assert_eq!(kilobytes(status, "VmSize:"), Some(2_097_152.0));
    let limits =
        |soft: &str| format!("Limit  Soft Limit  Hard Limit  Units\nMax open files  {soft}  4096  files\n");
    assert_eq!(max_files(&limits("1024")), Some(1024.0));
    assert_eq!(max_files(&limits("unlimited")), None);
}

#[test]
fn what_cannot_be_read_is_left_out() {
    assert_eq!(
        (cpu_seconds(""), start_time(STAT, ""), kilobytes("VmRSS: lots", "VmRSS:")),
        (None, None, None)
    );
}

#[test]
#[cfg(target_os = "linux")]
fn this_process_shows_all_families() {
    let shown = ProcessCollector::new().unwrap().collect();
    let names: Vec<_> = shown.iter().map(MetricFamily::name).collect();
    assert!(
        names.iter().copied().eq(FAMILIES.iter().map(|family| family.0)) || names.len() == 6,
        "{names:?}"
    );
    for family in shown {
        let metric = &family.get_metric()[0];
        let value = metric.get_counter().get_value() + metric.get_gauge().get_value();
        assert!(value > 0.0 || family.name() == "process_cpu_seconds_total", "{}: {value}", family.name());
    }
}
